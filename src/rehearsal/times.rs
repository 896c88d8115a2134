//! How long a run took, in the sandbox's time and in real time: pure, from its records as they became durable.

use std::collections::BTreeMap;
use std::time::Duration;

use jiff::Timestamp;
use serde::Serialize;

use crate::clock::since;
use crate::plan::{Plan, Role};
use crate::report::WritePause;
use crate::run::{Event, Record, Stage, StepId};
use crate::steps;

/// One length, on two clocks.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize)]
pub struct Span {
    /// As the plan and the window count: what is only waited for included.
    pub sandbox_seconds: f64,
    /// On this machine, where waiting is skipped.
    pub real_seconds: f64,
}

/// A moment, on two clocks.
#[derive(Debug, Clone, Copy)]
struct Moment {
    at: Timestamp,
    real: Duration,
}

impl Moment {
    fn until(self, end: Self) -> Span {
        Span {
            sandbox_seconds: since(self.at, end.at).as_secs_f64(),
            real_seconds: end.real.saturating_sub(self.real).as_secs_f64(),
        }
    }
}

/// One step.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct StepTime {
    /// The step.
    pub step: StepId,
    /// Its stage.
    pub stage: Stage,
    /// Its kind.
    pub uses: String,
    /// From its first start to its last end.
    #[serde(flatten)]
    pub span: Span,
}

/// One stage.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct StageTime {
    /// The stage.
    pub stage: Stage,
    /// Steps that ran in it.
    pub steps: usize,
    /// From its start to the next one's, or the end.
    #[serde(flatten)]
    pub span: Span,
}

/// From pausing writes until traffic is confirmed on the target.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Cutover {
    /// The step that paused writes first.
    pub paused_by: StepId,
    /// When it began.
    pub from: Timestamp,
    /// The last step that moved traffic and proved it.
    pub confirmed_by: StepId,
    /// When it ended.
    pub until: Timestamp,
    /// How long.
    #[serde(flatten)]
    pub span: Span,
}

/// The agreed window, and what the run needed of it.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Window {
    /// First moment.
    pub opens: Timestamp,
    /// Last moment.
    pub closes: Timestamp,
    /// Kept free before that for going back.
    pub rollback_reserve_seconds: f64,
    /// When the last step that has to be inside ended.
    pub last_needed: Timestamp,
    /// From there to the reserve; below zero: it does not fit.
    pub spare_seconds: f64,
}

/// See the module.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct Times {
    /// From the first record to the last.
    pub total: Span,
    /// By stage.
    pub stages: Vec<StageTime>,
    /// By step, in the plan's order.
    pub steps: Vec<StepTime>,
    /// See [`Cutover`]; none where no writes were paused or no traffic moved.
    pub cutover: Option<Cutover>,
    /// How long each workload took no writes.
    pub writes_paused: Vec<WritePause>,
    /// See [`Window`]; none where none is agreed.
    pub window: Option<Window>,
}

impl Times {
    /// From the records, each with the real time at which it was seen.
    pub(super) fn of(
        records: &[(Duration, Record)],
        plan: &Plan,
        writes_paused: Vec<WritePause>,
    ) -> Self {
        let moment = |(real, record): &(Duration, Record)| Moment { at: record.at, real: *real };
        let Some((first, last)) = records.first().zip(records.last()) else {
            return Self { writes_paused, ..Self::default() };
        };
        let (mut began, mut ended) = (BTreeMap::new(), BTreeMap::new());
        let mut stages = Vec::new();
        for seen in records {
            match &seen.1.event {
                Event::StageStarted { stage } => stages.push((*stage, moment(seen))),
                Event::StepStarted { step, .. } => {
                    began.entry(step.clone()).or_insert_with(|| moment(seen));
                }
                Event::StepSucceeded { step, .. } | Event::StepFailed { step, .. } => {
                    ended.insert(step.clone(), moment(seen));
                }
                _ => {}
            }
        }
        let ran = Ran { plan, began, ended };
        let steps = ran.steps();
        let ends = stages.iter().skip(1).map(|(_, start)| *start).chain([moment(last)]);
        let stages = stages.iter().zip(ends).map(|((stage, start), end)| StageTime {
            stage: *stage,
            steps: steps.iter().filter(|step| step.stage == *stage).count(),
            span: start.until(end),
        });
        Self {
            total: moment(first).until(moment(last)),
            stages: stages.collect(),
            cutover: ran.cutover(),
            window: ran.window(),
            steps,
            writes_paused,
        }
    }
}

/// When each step ran.
struct Ran<'p> {
    plan: &'p Plan,
    began: BTreeMap<StepId, Moment>,
    ended: BTreeMap<StepId, Moment>,
}

impl Ran<'_> {
    fn steps(&self) -> Vec<StepTime> {
        let spans = self.plan.steps.iter().filter_map(|step| {
            let span = self.began.get(&step.id)?.until(*self.ended.get(&step.id)?);
            Some(StepTime {
                step: step.id.clone(),
                stage: step.stage,
                uses: step.uses.clone(),
                span,
            })
        });
        spans.collect()
    }

    /// Steps of the release with that role.
    fn of(&self, role: Role) -> impl Iterator<Item = &StepId> {
        let release = self.plan.steps.iter().filter(|step| step.stage == Stage::Release);
        release
            .filter(move |step| {
                steps::kind(&step.uses).is_some_and(|kind| kind.spec.roles.contains(&role))
            })
            .map(|step| &step.id)
    }

    fn cutover(&self) -> Option<Cutover> {
        let pauses = self.of(Role::PausesWrites).filter_map(|id| Some((id, *self.began.get(id)?)));
        let (paused_by, from) = pauses.min_by_key(|(_, from)| from.at)?;
        let moves =
            self.of(Role::SwitchesTraffic).filter_map(|id| Some((id, *self.ended.get(id)?)));
        let (confirmed_by, until) = moves.max_by_key(|(_, until)| until.at)?;
        Some(Cutover {
            paused_by: paused_by.clone(),
            from: from.at,
            confirmed_by: confirmed_by.clone(),
            until: until.at,
            span: from.until(until),
        })
    }

    fn window(&self) -> Option<Window> {
        let window = self.plan.window.as_ref()?;
        let inside = self.plan.steps.iter().filter(|step| step.in_window);
        let inside = inside.filter(|step| step.stage == Stage::Release);
        let last = inside.filter_map(|step| self.ended.get(&step.id)).map(|end| end.at).max()?;
        let reserve = window.rollback_reserve.as_secs_f64();
        let left = window.closes.duration_since(last).as_secs_f64();
        Some(Window {
            opens: window.opens,
            closes: window.closes,
            rollback_reserve_seconds: reserve,
            last_needed: last,
            spare_seconds: left - reserve,
        })
    }
}
