//! Why it waits: for the status line and the heartbeat. Value, limit and age come from the step's own progress; this adds
//! the window and how long writes have been paused.

use std::collections::BTreeMap;

use jiff::Timestamp;

use super::pauses::{TakenBack, pauses};
use super::phrase;
use crate::clock::since;
use crate::plan::PlannedStep;
use crate::run::{ProgressNote, RunState, StepId, StepRecord, StepState, Waiting};

/// The last note of every running step.
#[derive(Debug, Default)]
pub(super) struct Notes(BTreeMap<StepId, ProgressNote>);

impl Notes {
    pub(super) fn keep(&mut self, note: &ProgressNote) {
        self.0.insert(note.step.clone(), note.clone());
    }

    /// Forgets steps that no longer run.
    pub(super) fn prune(&mut self, state: &RunState) {
        self.0.retain(|step, _| state.step(step).is_some_and(|step| is_under_way(&step.state)));
    }

    /// Every step that runs or waits, with the reason, in the order of the plan.
    pub(super) fn reasons<'a>(
        &'a self,
        now: Timestamp,
        state: &'a RunState,
    ) -> impl Iterator<Item = (&'a StepId, String)> {
        state.header.plan.steps.iter().zip(&state.steps).filter_map(move |(planned, step)| {
            let said = || self.0.get(&planned.id).map(with_amount);
            let reason = match &step.state {
                StepState::Waiting(waiting) => self::waiting(now, waiting),
                StepState::Running(_) => match &step.question {
                    Some((question, yes)) => {
                        format!(
                            "{} ({} of {} said yes)",
                            question.ask,
                            yes.len(),
                            question.approvers
                        )
                    }
                    None => {
                        said().unwrap_or_else(|| running(now, &planned.uses, step.last_started))
                    }
                },
                StepState::Undoing => said().unwrap_or_else(|| "being taken back".to_owned()),
                _ => return None,
            };
            Some((&planned.id, reason))
        })
    }
}

const fn is_under_way(state: &StepState) -> bool {
    matches!(state, StepState::Running(_) | StepState::Undoing)
}

/// Steps that are being carried out or taken back, in the order of the plan.
pub(super) fn under_way(state: &RunState) -> impl Iterator<Item = (&PlannedStep, &StepRecord)> {
    let steps = state.header.plan.steps.iter().zip(&state.steps);
    steps.filter(|(_, own)| is_under_way(&own.state))
}

fn waiting(now: Timestamp, waiting: &Waiting) -> String {
    match waiting {
        Waiting::Window { opens } => {
            format!("the window opens in {}", phrase::lasting(since(now, *opens)))
        }
        Waiting::Hold => "a planned hold, until released".to_owned(),
        Waiting::Backoff { until } => {
            format!("next attempt in {}", phrase::lasting(since(now, *until)))
        }
    }
}

fn running(now: Timestamp, uses: &str, started: Option<Timestamp>) -> String {
    match started {
        Some(started) => format!("{uses} for {}", phrase::lasting(since(started, now))),
        None => uses.to_owned(),
    }
}

fn with_amount(note: &ProgressNote) -> String {
    match note.amount {
        Some((done, total, unit)) => format!("{}, {done} of {total} {unit}", note.text),
        None => note.text.clone(),
    }
}

/// `window closes in 1h12m; writes paused for 4m12s`: what presses, whatever the steps do.
pub(super) fn pressing(now: Timestamp, state: &RunState) -> Vec<String> {
    let mut out = Vec::new();
    if let Some(window) = &state.header.plan.window {
        if now < window.opens {
            out.push(format!("window opens in {}", phrase::lasting(since(now, window.opens))));
        } else if now < window.closes {
            out.push(format!("window closes in {}", phrase::lasting(since(now, window.closes))));
        } else {
            out.push(format!("window closed {} ago", phrase::lasting(since(window.closes, now))));
        }
    }
    for pause in pauses(state, &TakenBack::default()).iter().filter(|pause| pause.until.is_none()) {
        let whose = pause.workload.as_ref().map(|name| format!(" ({name})")).unwrap_or_default();
        out.push(format!("writes paused{whose} for {}", phrase::lasting(since(pause.from, now))));
    }
    out
}
