//! What to do about an effect whose intent is recorded and whose outcome is not.
//!
//! After a crash or a lost reply the target is probed; this table decides. It is total: repeat class times answer.

use super::{Repeat, Verdict};

/// What follows from a probe.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Recovery {
    /// Journal it as done; never do it again.
    RecordDone,
    /// Journal it as not done; the next attempt may do it.
    RunAgain,
    /// Stop and show the evidence; a person decides.
    Stop,
}

/// A probe's answer without its details.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[expect(missing_docs, reason = "the same names as Verdict, documented there")]
pub enum Answered {
    Done,
    NotDone,
    Unknown,
}

impl Verdict {
    /// Without details.
    pub const fn answered(&self) -> Answered {
        match self {
            Self::Done { .. } => Answered::Done,
            Self::NotDone => Answered::NotDone,
            Self::Unknown { .. } => Answered::Unknown,
        }
    }
}

/// Every case.
pub const TABLE: &[(Repeat, Answered, Recovery)] = &[
    (Repeat::Guarded, Answered::Done, Recovery::RecordDone),
    (Repeat::Guarded, Answered::NotDone, Recovery::RunAgain),
    // The guard would refuse a second time, but what stands there now is neither before nor after: somebody else acted.
    (Repeat::Guarded, Answered::Unknown, Recovery::Stop),
    (Repeat::Repeatable, Answered::Done, Recovery::RecordDone),
    (Repeat::Repeatable, Answered::NotDone, Recovery::RunAgain),
    (Repeat::Repeatable, Answered::Unknown, Recovery::RunAgain),
    (Repeat::Ask, Answered::Done, Recovery::RecordDone),
    (Repeat::Ask, Answered::NotDone, Recovery::RunAgain),
    (Repeat::Ask, Answered::Unknown, Recovery::Stop),
];

/// Looks the case up.
pub fn decide(repeat: Repeat, answered: Answered) -> Recovery {
    TABLE
        .iter()
        .find(|row| row.0 == repeat && row.1 == answered)
        .map(|row| row.2)
        .expect("the table is total; a test enumerates it")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_case_has_exactly_one_row() {
        for repeat in [Repeat::Guarded, Repeat::Repeatable, Repeat::Ask] {
            for answered in [Answered::Done, Answered::NotDone, Answered::Unknown] {
                let rows = TABLE.iter().filter(|row| (row.0, row.1) == (repeat, answered)).count();
                assert_eq!(rows, 1, "{repeat:?} {answered:?}");
            }
        }
    }

    #[test]
    fn unknown_is_never_taken_for_done() {
        assert!(
            TABLE
                .iter()
                .filter(|row| row.1 == Answered::Unknown)
                .all(|row| row.2 != Recovery::RecordDone)
        );
    }
}
