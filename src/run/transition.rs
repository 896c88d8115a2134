//! The transition table of a step. Anything that is not a row is an error value, never a silent change.

use super::{Event, StepId, StepState};

/// [`StepState`] without its details.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
#[expect(missing_docs, reason = "the same names as StepState, documented there")]
pub enum Phase {
    Pending,
    Waiting,
    Running,
    Succeeded,
    Skipped,
    Failed,
    InDoubt,
    Held,
    Undoing,
    Undone,
    UndoFailed,
}

/// A fact that moves a step.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
#[expect(missing_docs, reason = "the same names as the events, documented there")]
pub enum Move {
    Waiting,
    Started,
    Succeeded,
    Expired,
    Skipped,
    Failed,
    InDoubt,
    Held,
    UndoStarted,
    Undone,
    UndoFailed,
}

/// Every legal move: from, fact, to.
pub const TABLE: &[(Phase, Move, Phase)] = &[
    (Phase::Pending, Move::Waiting, Phase::Waiting),
    (Phase::Pending, Move::Started, Phase::Running),
    (Phase::Waiting, Move::Waiting, Phase::Waiting),
    (Phase::Waiting, Move::Started, Phase::Running),
    // A process died inside the attempt; what it left is settled, and the next attempt begins.
    (Phase::Running, Move::Started, Phase::Running),
    (Phase::Running, Move::Succeeded, Phase::Succeeded),
    (Phase::Running, Move::Skipped, Phase::Skipped),
    (Phase::Running, Move::Failed, Phase::Failed),
    (Phase::Running, Move::InDoubt, Phase::InDoubt),
    (Phase::Running, Move::UndoStarted, Phase::Undoing),
    (Phase::Failed, Move::Waiting, Phase::Waiting),
    (Phase::Failed, Move::Started, Phase::Running),
    (Phase::Failed, Move::Skipped, Phase::Skipped),
    // Its effect's outcome was lost, and the probe could not tell.
    (Phase::Failed, Move::InDoubt, Phase::InDoubt),
    (Phase::Failed, Move::Held, Phase::Held),
    (Phase::Failed, Move::UndoStarted, Phase::Undoing),
    (Phase::InDoubt, Move::Started, Phase::Running),
    (Phase::InDoubt, Move::Skipped, Phase::Skipped),
    (Phase::InDoubt, Move::Held, Phase::Held),
    (Phase::InDoubt, Move::UndoStarted, Phase::Undoing),
    // A later process probed again and still could not tell.
    (Phase::Held, Move::InDoubt, Phase::InDoubt),
    (Phase::Held, Move::Started, Phase::Running),
    (Phase::Held, Move::Skipped, Phase::Skipped),
    (Phase::Held, Move::UndoStarted, Phase::Undoing),
    (Phase::Waiting, Move::UndoStarted, Phase::Undoing),
    // Only a check, and only while nothing that it guards has begun.
    (Phase::Succeeded, Move::Expired, Phase::Pending),
    (Phase::Succeeded, Move::UndoStarted, Phase::Undoing),
    (Phase::Skipped, Move::UndoStarted, Phase::Undoing),
    // A process died inside the undo.
    (Phase::Undoing, Move::UndoStarted, Phase::Undoing),
    (Phase::Undoing, Move::Undone, Phase::Undone),
    (Phase::Undoing, Move::UndoFailed, Phase::UndoFailed),
    // A later process was asked to go on with the rollback.
    (Phase::UndoFailed, Move::UndoStarted, Phase::Undoing),
];

/// Where `fact` leads from `from`, if it may.
pub fn next(from: Phase, fact: Move) -> Option<Phase> {
    TABLE.iter().find(|row| row.0 == from && row.1 == fact).map(|row| row.2)
}

impl StepState {
    /// Without details.
    pub const fn phase(&self) -> Phase {
        match self {
            Self::Pending => Phase::Pending,
            Self::Waiting(_) => Phase::Waiting,
            Self::Running(_) => Phase::Running,
            Self::Succeeded => Phase::Succeeded,
            Self::Skipped => Phase::Skipped,
            Self::Failed => Phase::Failed,
            Self::InDoubt => Phase::InDoubt,
            Self::Held => Phase::Held,
            Self::Undoing => Phase::Undoing,
            Self::Undone => Phase::Undone,
            Self::UndoFailed => Phase::UndoFailed,
        }
    }
}

/// The step an event moves, how, and the state it would be in.
pub(super) fn of(event: &Event) -> Option<(&StepId, Move, StepState)> {
    Some(match event {
        Event::StepWaiting { step, waiting } => {
            (step, Move::Waiting, StepState::Waiting(waiting.clone()))
        }
        Event::StepStarted { step, attempt } => (step, Move::Started, StepState::Running(*attempt)),
        Event::StepSucceeded { step, .. } => (step, Move::Succeeded, StepState::Succeeded),
        Event::ReadingExpired { step } => (step, Move::Expired, StepState::Pending),
        Event::StepSkipped { step, .. } => (step, Move::Skipped, StepState::Skipped),
        Event::StepFailed { step, .. } => (step, Move::Failed, StepState::Failed),
        Event::StepInDoubt { step, .. } => (step, Move::InDoubt, StepState::InDoubt),
        Event::StepHeld { step } => (step, Move::Held, StepState::Held),
        Event::UndoStarted { step } => (step, Move::UndoStarted, StepState::Undoing),
        Event::StepUndone { step } => (step, Move::Undone, StepState::Undone),
        Event::UndoFailed { step, .. } => (step, Move::UndoFailed, StepState::UndoFailed),
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_two_rows_disagree() {
        for (at, row) in TABLE.iter().enumerate() {
            let twin = TABLE[at + 1..].iter().find(|other| (other.0, other.1) == (row.0, row.1));
            assert_eq!(twin, None, "two rows for {:?} on {:?}", row.0, row.1);
        }
    }

    #[test]
    fn what_is_undone_stays_undone() {
        assert!(TABLE.iter().all(|row| row.0 != Phase::Undone));
    }

    #[test]
    fn a_finished_step_can_only_be_taken_back_or_read_again() {
        for done in [Phase::Succeeded, Phase::Skipped] {
            for row in TABLE.iter().filter(|row| row.0 == done) {
                assert!(matches!(row.1, Move::UndoStarted | Move::Expired), "{row:?}");
            }
        }
    }
}
