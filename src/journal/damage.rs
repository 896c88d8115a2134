//! What can be wrong with a journal, and how to say it.

use std::io;
use std::path::PathBuf;

use crate::run::{IllegalFact, RunId};

/// Reading or writing failed.
#[derive(Debug, thiserror::Error)]
pub enum JournalError {
    /// The file can not be opened or read.
    #[error("can not read {path}")]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// A record is not what was written.
    #[error("{path} is damaged at record {seq}, byte {byte}: {what}")]
    Damaged {
        /// The file.
        path: PathBuf,
        /// The record, from 0.
        seq: u64,
        /// Where its line starts.
        byte: u64,
        /// What is wrong with it.
        what: String,
    },
    /// Every record is whole, but they do not follow from one another.
    #[error("{path} is not the journal of a run")]
    Inconsistent {
        /// The file.
        path: PathBuf,
        /// Why.
        source: IllegalFact,
    },
    /// Written by a newer program.
    #[error(
        "{path} has format {found}, this program reads up to {known}: migrate {tool} or newer is needed"
    )]
    Newer {
        /// The file.
        path: PathBuf,
        /// Its format.
        found: u32,
        /// What is known here.
        known: u32,
        /// Version of the program that wrote it.
        tool: String,
    },
    /// It can not be written any more.
    #[error("can not write {path}: no further effect is started")]
    Unwritable {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// An earlier write or sync failed.
    #[error("an earlier write to {path} failed, so nothing more is written to it")]
    Poisoned {
        /// The file.
        path: PathBuf,
    },
}

impl JournalError {
    /// Stable code with a page.
    pub const fn code(&self) -> &'static str {
        match self {
            Self::Unreadable { .. } | Self::Damaged { .. } | Self::Inconsistent { .. } => "MIG0701",
            Self::Newer { .. } => "MIG0702",
            Self::Unwritable { .. } | Self::Poisoned { .. } => "MIG0704",
        }
    }

    /// The run, by the folder that its journal is in.
    pub fn run(&self) -> Option<RunId> {
        let (Self::Unreadable { path, .. }
        | Self::Damaged { path, .. }
        | Self::Inconsistent { path, .. }
        | Self::Newer { path, .. }
        | Self::Unwritable { path, .. }
        | Self::Poisoned { path }) = self;
        Some(RunId::new(path.parent()?.file_name()?.to_str()?))
    }

    /// It could not be written, as against read.
    pub const fn is_write(&self) -> bool {
        matches!(self, Self::Unwritable { .. } | Self::Poisoned { .. })
    }
}
