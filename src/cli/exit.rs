//! How the process ends. Scripts depend on these numbers: they are never reused or changed.

use std::process::ExitCode;

/// The exit codes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u8)]
pub enum Exit {
    /// Done, or nothing to do.
    Done = 0,
    /// A step failed; the state is known; the run can be resumed.
    Failed = 1,
    /// The command line is wrong.
    Usage = 2,
    /// The runbook is invalid.
    InvalidRunbook = 3,
    /// A gate refused; nothing was changed by it.
    Refused = 4,
    /// Waiting for a person.
    NeedsPerson = 5,
    /// The outcome of an effect is unknown.
    Unknown = 6,
    /// Validation found a difference.
    Mismatch = 7,
    /// Failed, and rolled back cleanly.
    RolledBack = 8,
    /// Rollback is incomplete; manual work is listed.
    RollbackIncomplete = 9,
    /// Another run holds the lock.
    Locked = 10,
    /// The world differs from plan or journal, or the plan is stale.
    Drift = 11,
    /// Changes are pending (`--detailed-exitcode` only).
    ChangesPending = 12,
    /// The journal is damaged or cannot be read.
    JournalDamaged = 13,
    /// The journal could not be written.
    JournalNotWritten = 14,
    /// Interrupted by Ctrl-C or a closed terminal; the journal is safe.
    Interrupted = 130,
    /// Ended by SIGTERM; the journal is safe.
    Terminated = 143,
}

impl Exit {
    /// Every code, with what it means, for the help text and the reference.
    pub const ALL: [(Self, &'static str); 17] = [
        (Self::Done, "done, or nothing to do"),
        (Self::Failed, "a step failed; state known; resumable"),
        (Self::Usage, "usage"),
        (Self::InvalidRunbook, "runbook invalid"),
        (Self::Refused, "a gate refused; nothing changed by it"),
        (Self::NeedsPerson, "waiting for a person"),
        (Self::Unknown, "outcome unknown"),
        (Self::Mismatch, "validation mismatch"),
        (Self::RolledBack, "failed, and rolled back cleanly"),
        (Self::RollbackIncomplete, "rollback incomplete; manual work listed"),
        (Self::Locked, "another run holds the lock"),
        (Self::Drift, "drift, or a stale plan"),
        (Self::ChangesPending, "changes pending (--detailed-exitcode only)"),
        (Self::JournalDamaged, "journal damaged or unreadable"),
        (Self::JournalNotWritten, "journal could not be written"),
        (Self::Interrupted, "interrupted; journal safe"),
        (Self::Terminated, "terminated; journal safe"),
    ];

    /// The number.
    pub const fn code(self) -> u8 {
        self as u8
    }
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit.code())
    }
}
