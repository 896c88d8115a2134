//! How long writes were paused: the number everybody on the bridge asks for.
//!
//! Counted on the safe side: from the start of the step that pauses them until the step that resumed them has ended; where
//! none names the pause, until traffic was on a target which takes writes. A target that is closed before anybody uses it
//! is no pause.

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde::Serialize;

use crate::clock::since;
use crate::plan::{PlannedStep, Role};
use crate::run::{Event, Record, RunState, Stage, StepId, StepState, WorkloadName};

/// One interval in which a workload took no writes.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct WritePause {
    /// Whose writes; none: the whole wave's.
    pub workload: Option<WorkloadName>,
    /// The step that paused them.
    pub step: StepId,
    /// From its start.
    pub from: Timestamp,
    /// None while they are paused.
    pub until: Option<Timestamp>,
    /// The step whose end ended the pause; the pausing step itself when it was taken back.
    pub ended_by: Option<StepId>,
}

impl WritePause {
    /// How long, as of `now` while it lasts.
    pub fn lasted(&self, now: Timestamp) -> std::time::Duration {
        since(self.from, self.until.unwrap_or(now))
    }
}

/// When steps were taken back: the fold keeps that they were, not when.
#[derive(Debug, Clone, Default)]
pub struct TakenBack(BTreeMap<StepId, Timestamp>);

impl TakenBack {
    /// Takes note of one more record.
    pub fn see(&mut self, record: &Record) {
        if let Event::StepUndone { step } = &record.event {
            self.0.insert(step.clone(), record.at);
        }
    }
}

/// Every pause of the run so far. One that was taken back without a known time is left out.
pub(super) fn pauses(state: &RunState, taken_back: &TakenBack) -> Vec<WritePause> {
    pauses_by(state, taken_back, |uses, role| {
        crate::steps::kind(uses).is_some_and(|kind| kind.spec.roles.contains(&role))
    })
}

/// The same, told what a kind is for.
pub(super) fn pauses_by(
    state: &RunState,
    taken_back: &TakenBack,
    has: impl Fn(&str, Role) -> bool,
) -> Vec<WritePause> {
    let steps: Vec<_> = state.header.plan.steps.iter().zip(&state.steps).collect();
    let mut found = Vec::new();
    for (at, (planned, step)) in steps.iter().enumerate() {
        let Some(from) = step.first_started.filter(|_| has(&planned.uses, Role::PausesWrites))
        else {
            continue;
        };
        let names_it = |other: &PlannedStep| {
            has(&other.uses, Role::ResumesWrites) && other.with["pause"] == planned.id.as_str()
        };
        let named = steps.iter().any(|(other, _)| names_it(other));
        if !named && planned.stage != Stage::Release {
            continue;
        }
        let forward = steps[at + 1..].iter().filter_map(|(other, later)| {
            let ends =
                has(&other.uses, Role::ResumesWrites) || has(&other.uses, Role::SwitchesTraffic);
            let same = planned.workload.is_none()
                || other.workload.is_none()
                || planned.workload == other.workload;
            let ends = if named { names_it(other) } else { ends && same };
            let ended = later.ended.filter(|_| later.state == StepState::Succeeded && ends);
            ended.map(|until| (until, other.id.clone()))
        });
        let back = taken_back.0.get(&planned.id).map(|until| (*until, planned.id.clone()));
        let end = forward.chain(back).min();
        if step.effects.is_empty() || (end.is_none() && step.state == StepState::Undone) {
            continue;
        }
        let (until, ended_by) = end.unzip();
        found.push(WritePause {
            workload: planned.workload.clone(),
            step: planned.id.clone(),
            from,
            until,
            ended_by,
        });
    }
    found
}
