//! Databases as a migration sees them: schemas, counts, and content compared table by table.
//!
//! Connections are read-only and see one snapshot. What could not be compared says so and never counts as equal.

mod compare;
mod sqlite;
mod sum;

pub use compare::{Comparison, Depth, TableComparison, TableVerdict, compare};
pub use sqlite::{Database, SchemaObject};

use std::path::PathBuf;

use crate::run::{FailureClass, StepError};

/// A column, as far as two tables must agree in it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Column {
    /// Its name.
    pub name: String,
    /// The type it was declared with, in capitals; may be empty in SQLite.
    pub declared: String,
    /// `NOT NULL`.
    pub not_null: bool,
    /// Place in the primary key, from 1; 0 where it is not part of it.
    pub key: u32,
}

/// Why a database could not be read.
#[derive(Debug, thiserror::Error)]
pub enum DatabaseError {
    /// The system is not one that holds tables.
    #[error("{0}")]
    System(String),
    /// It could not be opened.
    #[error("can not open {path}")]
    Open {
        /// The file.
        path: PathBuf,
        /// Why not.
        #[source]
        cause: sqlx::Error,
    },
    /// A query failed.
    #[error("can not read {path}")]
    Read {
        /// The file.
        path: PathBuf,
        /// Why not.
        #[source]
        cause: sqlx::Error,
    },
    /// The work was stopped from outside.
    #[error("stopped from outside")]
    Cancelled,
}

impl DatabaseError {
    /// As the failure of a step that was `attempted`; nothing has been changed by reading.
    pub fn as_step_error(&self, attempted: &str) -> StepError {
        let known = "reading changed nothing";
        let failed =
            |code| StepError::new(FailureClass::Failed, code, attempted, known).because(self);
        match self {
            Self::Cancelled => StepError::cancelled(attempted),
            Self::System(_) => failed("MIG0307").hint("correct `systems` in the runbook"),
            Self::Open { .. } | Self::Read { .. } => {
                failed("MIG0306").hint("check path, rights, and whether another process holds it")
            }
        }
    }
}
