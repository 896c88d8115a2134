//! The watch over open freezes, at every step boundary.
//!
//! A freeze is open from the success of a step with [`Role::Freezes`] to the success of the next with
//! [`Role::Unfreezes`]. Before a step starts, the effects that the freeze recorded are probed: one that is not in place
//! any more means that something changed which must not.

use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use tokio::sync::Mutex;

use super::executor::Bench;
use crate::clock::since;
use crate::plan::{Plan, PlannedStep, Role};
use crate::run::{
    FailureClass, RecordedEffect, RunState, Stage, StepError, StepState, Undo, Verdict,
};
use crate::steps;

/// A freeze that holds, or should.
#[derive(Debug, Clone)]
pub(super) struct OpenFreeze {
    pub(super) index: usize,
    pub(super) effects: Vec<RecordedEffect>,
}

/// When the freezes were last seen to hold; lanes that start together share one look.
#[derive(Debug, Clone, Default)]
pub(super) struct LastSeen(Arc<Mutex<Option<Timestamp>>>);

/// How long one look is good for.
const FRESH: Duration = Duration::from_secs(10);

/// Freezes open in `state`.
pub(super) fn open(state: &RunState) -> Vec<OpenFreeze> {
    let mut open = Vec::new();
    for (index, (planned, own)) in state.plan().steps.iter().zip(&state.steps).enumerate() {
        if own.state != StepState::Succeeded {
            continue;
        }
        if has(planned, Role::Unfreezes) {
            open.clear();
        } else if has(planned, Role::Freezes) {
            open.push(OpenFreeze { index, effects: own.effects.clone() });
        }
    }
    open
}

fn has(step: &PlannedStep, role: Role) -> bool {
    steps::kind(&step.uses).is_some_and(|kind| kind.spec.roles.contains(&role))
}

/// Whether a freeze opens or closes when this step succeeds.
pub(super) fn concerns(plan: &Plan, index: usize) -> bool {
    has(&plan.steps[index], Role::Freezes) || has(&plan.steps[index], Role::Unfreezes)
}

/// Whether a broken freeze keeps this step from starting. Once traffic has moved nothing is kept back any more:
/// resuming writes must not depend on it. Telling people never does.
fn is_guarded(step: &PlannedStep) -> bool {
    let exempt = [Role::Freezes, Role::Unfreezes, Role::VerifiesFreeze, Role::Notifies];
    (step.stage < Stage::Release || step.in_window) && !exempt.iter().any(|role| has(step, *role))
}

/// Refuses when an open freeze does not hold, or can not be shown to.
pub(super) async fn watch(
    bench: &Bench,
    step: &PlannedStep,
    freezes: &[OpenFreeze],
    seen: &LastSeen,
) -> Result<(), StepError> {
    if freezes.is_empty() || !is_guarded(step) {
        return Ok(());
    }
    let clock = &bench.world.clock;
    let mut seen = seen.0.lock().await;
    if seen.is_some_and(|at| since(at, clock.steady()) < FRESH) {
        return Ok(());
    }
    for freeze in freezes {
        let begun = &bench.world.plan.steps[freeze.index];
        let (kind, cx) = bench.prepare(freeze.index, freeze.effects.clone())?;
        for effect in &freeze.effects {
            let broken = match kind.probe(&cx, effect).await {
                Verdict::Done { .. } => continue,
                Verdict::NotDone if effect.intent.undo == Undo::Restores => {
                    format!("{} is gone", effect.intent.target)
                }
                Verdict::NotDone => format!("{} does not hold any more", effect.intent.target),
                Verdict::Unknown { evidence } => evidence,
            };
            return Err(StepError::new(
                FailureClass::Refused,
                "MIG0707",
                format!("start {} under the freeze of {}", step.id, begun.id),
                "the step was not started and changed nothing",
            )
            .cause(broken)
            .hint(format!(
                "have the change taken back, or agreed under `exceptions` of {}, then resume; or roll back",
                begun.id
            )));
        }
    }
    *seen = Some(clock.steady());
    Ok(())
}
