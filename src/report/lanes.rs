//! Many lanes that do the same are told and listed as one, so that a wave of forty does not drown whoever watches it. What
//! goes wrong in a lane is always told by itself, and `-v` tells everything.

use super::line::{Line, Paint};
use super::overview::{Overview, StepView};
use super::phrase;
use super::row::Row;
use crate::clock::since;
use crate::run::{Event, Record, RunState, StepId, StepRecord, StepState, Waiting, WorkloadName};

/// From so many lanes on, one row stands for all.
const MANY: usize = 9;
/// Lanes named in one row.
const NAMED: usize = 8;

/// `move` out of `move[web-01]`.
fn base<'s>(step: &'s StepId, lane: Option<&WorkloadName>) -> Option<&'s str> {
    let id = step.as_str().strip_suffix(']')?;
    let (base, inside) = id.split_once('[')?;
    (inside == lane?.as_str()).then_some(base)
}

/// The same step of every lane.
struct Lanes<'a> {
    base: &'a str,
    uses: &'a str,
    steps: Vec<&'a StepRecord>,
}

impl<'a> Lanes<'a> {
    /// Those that go with a step, where there are many.
    fn of(step: &StepId, state: &'a RunState) -> Option<Self> {
        let plan = state.plan();
        let planned = &plan.steps[*state.index.get(step)?];
        let base = base(&planned.id, planned.workload.as_ref())?;
        let is_one = |other: &&crate::plan::PlannedStep| {
            other.stage == planned.stage
                && self::base(&other.id, other.workload.as_ref()) == Some(base)
        };
        let records = plan.steps.iter().zip(&state.steps).filter(|(it, _)| is_one(it));
        let steps: Vec<_> = records.map(|(_, record)| record).collect();
        (steps.len() >= MANY).then_some(Self { base, uses: &planned.uses, steps })
    }

    fn count(&self, which: impl Fn(&StepState) -> bool) -> usize {
        self.steps.iter().filter(|step| which(&step.state)).count()
    }

    fn row(&self, word: &'static str, paint: Paint, text: String) -> Row {
        Row::new(Some(&StepId::new(self.base)), word, paint, text)
    }

    /// So far: told at every quarter, and when nothing of it is left to do.
    fn progress(&self) -> Option<Row> {
        let total = self.steps.len();
        let well = self.count(|it| matches!(it, StepState::Succeeded | StepState::Skipped));
        let stopped =
            self.count(|it| matches!(it, StepState::Failed | StepState::Held | StepState::InDoubt));
        let tells = well.is_multiple_of(total.div_ceil(4)) || well + stopped == total;
        let stopped = match stopped {
            0 => String::new(),
            n => format!("; {n} failed or held"),
        };
        tells.then(|| self.row("ok", Paint::Good, format!("{well} of {total}{stopped}")))
    }
}

/// What becomes of a fact about a lane among many.
pub(super) enum Told {
    /// It is told like any other.
    AsItIs,
    /// A row stands for it and the other lanes.
    Together(Row),
    /// The rows of the other lanes say it.
    NotAtAll,
}

impl From<Option<Row>> for Told {
    fn from(row: Option<Row>) -> Self {
        row.map_or(Self::NotAtAll, Self::Together)
    }
}

/// Decides on one fact; `state` is after it.
pub(super) fn told(record: &Record, state: &RunState) -> Told {
    match &record.event {
        Event::StepStarted { step, attempt: 1 } => together(step, state, |lanes| {
            let first = lanes.steps.iter().filter(|it| it.attempts > 0).count() == 1;
            let text = format!("{}, {} lanes", lanes.uses, lanes.steps.len());
            first.then(|| lanes.row("starts", Paint::Plain, text))
        }),
        Event::StepWaiting { step, waiting: waiting @ Waiting::Window { opens } } => {
            together(step, state, |lanes| {
                let left = phrase::lasting(since(record.at, *opens));
                let text = format!("the window opens {} (in {left})", phrase::moment(*opens));
                let first = lanes.count(|it| *it == StepState::Waiting(waiting.clone())) == 1;
                first.then(|| lanes.row("waits", Paint::Warn, text))
            })
        }
        Event::Done { step, .. } => together(step, state, |_| None),
        Event::StepSucceeded { step, evidence, .. } if evidence.iter().all(|it| it.holds) => {
            together(step, state, Lanes::progress)
        }
        Event::PointOfNoReturnCrossed { step } => together(step, state, |lanes| {
            let text =
                "the first lane crosses the point of no return; rollback is refused from here on";
            let first = lanes.count(|it| *it == StepState::Succeeded) == 1;
            first.then(|| lanes.row("NO RETURN", Paint::Bad, text.to_owned()))
        }),
        _ => Told::AsItIs,
    }
}

fn together<'a>(
    step: &StepId,
    state: &'a RunState,
    row: impl FnOnce(&Lanes<'a>) -> Option<Row>,
) -> Told {
    Lanes::of(step, state).map_or(Told::AsItIs, |lanes| row(&lanes).into())
}

/// The steps of a summary: those of many lanes as one, every other by itself.
pub(super) enum Listed<'a> {
    One(&'a StepView),
    Many(&'a str, Vec<&'a StepView>),
}

/// In the order of the plan.
pub(super) fn listed(run: &Overview) -> Vec<Listed<'_>> {
    let mut list: Vec<Listed<'_>> = Vec::new();
    for step in &run.steps {
        let base = base(&step.step, step.workload.as_ref());
        let open = list.iter_mut().rev().find_map(|listed| match listed {
            Listed::Many(name, steps) if Some(*name) == base && steps[0].stage == step.stage => {
                Some(steps)
            }
            _ => None,
        });
        match (open, base) {
            (Some(steps), _) => steps.push(step),
            (None, Some(base)) => list.push(Listed::Many(base, vec![step])),
            (None, None) => list.push(Listed::One(step)),
        }
    }
    let few = |listed| match listed {
        Listed::Many(_, steps) if steps.len() < MANY => {
            steps.into_iter().map(Listed::One).collect()
        }
        listed => vec![listed],
    };
    list.into_iter().flat_map(few).collect()
}

/// `38 of 40 finished; 2 held: web-07, sql-03`; none where there are few lanes.
pub(super) fn standing(run: &Overview) -> Option<(String, Paint)> {
    let mut lanes: Vec<(&WorkloadName, Vec<&StepView>)> = Vec::new();
    for step in &run.steps {
        let Some(lane) = &step.workload else { continue };
        match lanes.iter_mut().find(|(name, _)| *name == lane) {
            Some((_, steps)) => steps.push(step),
            None => lanes.push((lane, vec![step])),
        }
    }
    if lanes.len() < MANY {
        return None;
    }
    let finished = |steps: &[&StepView]| {
        steps.last().is_some_and(|last| matches!(last.state, "succeeded" | "skipped"))
    };
    let stopped = |steps: &[&StepView]| {
        steps.iter().any(|step| match step.state {
            "failed" => !step.goes_on,
            state => matches!(state, "held" | "in doubt"),
        })
    };
    let done = lanes.iter().filter(|(_, steps)| finished(steps)).count();
    let held: Vec<&str> = lanes
        .iter()
        .filter(|(_, steps)| !finished(steps) && stopped(steps))
        .map(|(name, _)| name.as_str())
        .collect();
    let mut text = format!("{done} of {} finished", lanes.len());
    if held.is_empty() {
        return Some((text, Paint::Plain));
    }
    text = format!("{text}; {} held: {}", held.len(), held[..held.len().min(NAMED)].join(", "));
    if held.len() > NAMED {
        text = format!("{text} and {} more", held.len() - NAMED);
    }
    Some((text, Paint::Bad))
}

/// The line of many lanes in a summary.
pub(super) fn line(base: &str, steps: &[&StepView], widest: usize) -> Line {
    let mut states: Vec<(&str, usize)> = Vec::new();
    for step in steps {
        match states.iter_mut().find(|(state, _)| *state == step.state) {
            Some((_, count)) => *count += 1,
            None => states.push((step.state, 1)),
        }
    }
    states.sort_unstable();
    let well = states.iter().all(|(state, _)| matches!(*state, "succeeded" | "skipped"));
    let states: Vec<_> = states.iter().map(|(state, count)| format!("{count} {state}")).collect();
    let longest = steps.iter().filter_map(|step| step.seconds).reduce(f64::max);
    let longest = longest.and_then(|it| std::time::Duration::try_from_secs_f64(it).ok());
    let took = longest.map(|it| format!("at most {}, ", phrase::lasting(it))).unwrap_or_default();
    Line::new()
        .text("  ")
        .paint(Paint::Dim, steps[0].stage.as_str())
        .to(11)
        .text(format!("{base} x {}", steps.len()))
        .to(13 + widest)
        .paint(if well { Paint::Good } else { Paint::Warn }, states.join(", "))
        .paint(Paint::Dim, format!("  {took}{}", steps[0].uses))
}
