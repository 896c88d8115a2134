//! Rehearsals: how long a runbook takes, and whether anything can interrupt it badly.
//!
//! A rehearsal starts this program as a child, `run RUNBOOK --sandbox`, in a state folder that is thrown away, and looks at
//! what it left behind from outside: its journal, the sandbox's ledger, its world, the orders its client was acknowledged.
//! The whole run is the measure. Every trial does something bad to another run, lets it be put right as an operator would,
//! and is compared with the measure: the same ending, the same world, every change as often, no order lost, nothing changed
//! without an intent in the journal before it.
//!
//! Planning of points and judging of outcomes are pure; only [`Trial`] starts processes and reads files. Nothing here
//! touches the real world: every child is a sandbox run.

mod certificate;
mod crash_matrix;
mod faults;
mod judge;
mod left;
mod markdown;
mod page;
mod point;
mod points;
mod rollback;
mod side_by_side;
mod times;
mod trial;
mod whole;
mod words;

pub use certificate::{Certificate, Choice, Count, Matrix, Tried, counts};
pub use crash_matrix::crash_matrix;
pub use faults::{draw, faults};
pub use judge::{Deviation, Outcome, Verdict, judge};
pub use left::{Difference, Doubt, Left, changes, comparable, differences, stable, unannounced};
pub use markdown::markdown;
pub use page::page;
pub use point::Point;
pub use points::points;
pub use rollback::{notes, rollback_matrix};
pub use side_by_side::Pace;
pub use times::{Cutover, Span, StageTime, StepTime, Times, Window};
pub use trial::{Ended, How, Setting, Trial};
pub use whole::Whole;

use std::io;
use std::path::PathBuf;

use crate::journal::JournalError;
use crate::sandbox::SandboxError;

/// A rehearsal could not be carried out; it says nothing about the runbook.
#[derive(Debug, thiserror::Error)]
pub enum RehearsalError {
    /// A file or folder of a trial.
    #[error("can not {doing} {}", path.display())]
    File {
        /// What was attempted: "create", "write".
        doing: &'static str,
        /// Where.
        path: PathBuf,
        /// Why not.
        #[source]
        source: io::Error,
    },
    /// A child could not be started or read.
    #[error("can not start {} as a child", program.display())]
    Start {
        /// This program.
        program: PathBuf,
        /// Why not.
        #[source]
        source: io::Error,
    },
    /// What a child left behind can not be read.
    #[error(transparent)]
    Sandbox(#[from] SandboxError),
    /// The same of its journal.
    #[error(transparent)]
    Journal(#[from] JournalError),
}
