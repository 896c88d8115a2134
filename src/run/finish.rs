//! How the engine came to its end: one word that decides the exit code.

use super::{Ending, FailureClass, RunState, StepState, Stop};

/// Why a run, or this process's part of it, is over.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Finish {
    /// Every step succeeded or was skipped.
    Completed,
    /// Failed or asked to, and rolled back cleanly.
    RolledBack,
    /// Rolled back as far as possible.
    RollbackIncomplete,
    /// A step failed in a known state.
    Failed,
    /// A gate refused.
    Refused,
    /// Only people can go on.
    WaitsForPerson,
    /// The outcome of an effect is unknown.
    Unknown,
    /// Validation found a difference.
    Mismatch,
    /// The world differs from what plan or journal says.
    Drift,
    /// SIGINT or SIGHUP.
    Interrupted,
    /// SIGTERM.
    Terminated,
}

/// Reads it off the state; the gravest failure counts, and any failure counts more than waiting for people.
pub fn finish(state: &RunState) -> Finish {
    match state.ended {
        Some(Ending::Completed) => return Finish::Completed,
        Some(Ending::RolledBack) => return Finish::RolledBack,
        Some(Ending::RollbackIncomplete) => return Finish::RollbackIncomplete,
        None => {}
    }
    match state.stopped {
        Some(Stop::Interrupted) => return Finish::Interrupted,
        Some(Stop::Terminated) => return Finish::Terminated,
        _ => {}
    }
    let failures = state.steps.iter().filter_map(|own| match own.state {
        StepState::InDoubt => Some(Finish::Unknown),
        StepState::Held | StepState::Failed if own.in_doubt().next().is_some() => {
            Some(Finish::Unknown)
        }
        StepState::Held if own.doubt.is_some() => Some(Finish::Unknown),
        StepState::Held | StepState::Failed => own.failure.as_ref().map(|it| of(it.class)),
        _ => None,
    });
    failures.max_by_key(|finish| gravity(*finish)).unwrap_or(Finish::WaitsForPerson)
}

const fn of(class: FailureClass) -> Finish {
    match class {
        FailureClass::Failed | FailureClass::Cancelled => Finish::Failed,
        FailureClass::Refused => Finish::Refused,
        FailureClass::NeedsPerson => Finish::WaitsForPerson,
        FailureClass::Unknown => Finish::Unknown,
        FailureClass::Mismatch => Finish::Mismatch,
        FailureClass::Drift => Finish::Drift,
    }
}

const fn gravity(finish: Finish) -> u8 {
    match finish {
        Finish::Unknown => 5,
        Finish::Drift => 4,
        Finish::Mismatch => 3,
        Finish::Failed => 2,
        Finish::Refused => 1,
        _ => 0,
    }
}
