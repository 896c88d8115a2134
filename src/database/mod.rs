//! Databases as a migration sees them: schemas, counts, content compared table by table; how far one trails another, and
//! whether it takes writes.
//!
//! What reads sees one snapshot, in a session that can not write. What could not be compared says so and never counts as
//! equal; a server that does not answer is unknown, and no reading of zero.

mod compare;
mod link;
pub mod mysql;
pub mod postgres;
pub mod preflight;
pub mod replication;
mod sqlite;
pub mod sqlserver;
mod sum;
mod tables;
mod trace;
pub mod wall;

pub use compare::{Comparison, Depth, TableComparison, TableVerdict, compare};
pub use sqlite::{Database, SchemaObject};
pub use tables::{Limits, Pace, Reached, Sample, Side, Told, Wanted, Watch, compare_servers};
pub use trace::{Distance, Trace};

use std::collections::BTreeMap;
use std::path::PathBuf;

use serde::de::DeserializeOwned;
use serde_json::Value;

use crate::run::{FailureClass, StepError};

/// A row by the names of its columns, in small letters: servers differ in the large ones.
pub type Named = BTreeMap<String, Option<String>>;

/// A row of texts in the order of its columns; none is NULL.
pub type Row = Vec<Option<String>>;

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

/// Why a database could not be read or changed.
#[derive(Debug, thiserror::Error)]
pub enum DatabaseError {
    /// The system is not one that holds tables, or not of the engine that was asked for.
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
    /// A server refuses: a wrong password, missing rights, nothing of that name. Waiting does not heal it, and what was asked
    /// was not done.
    #[error("{at} refuses: {cause}")]
    Refused {
        /// Database and server.
        at: String,
        /// In the server's words.
        cause: String,
    },
    /// A server can not be reached, is too busy, or broke off. Whether it did what was asked is not known.
    #[error("{at} did not answer: {cause}")]
    Silent {
        /// Database and server.
        at: String,
        /// What was seen instead of an answer.
        cause: String,
    },
    /// The work was stopped from outside.
    #[error("stopped from outside")]
    Cancelled,
}

impl DatabaseError {
    /// What a driver reported of the server `at`, by whether waiting may heal it.
    pub(crate) fn of_server(at: &str, error: &sqlx::Error) -> Self {
        let at = at.to_owned();
        match error {
            sqlx::Error::Database(told) => {
                let state = told.code().unwrap_or_default();
                let cause = format!("{} (SQLSTATE {state})", told.message());
                if is_refusal(&state) {
                    Self::Refused { at, cause }
                } else {
                    Self::Silent { at, cause }
                }
            }
            // A certificate that does not verify will not do so later.
            sqlx::Error::Configuration(_) | sqlx::Error::Tls(_) | sqlx::Error::Encode(_) => {
                Self::Refused { at, cause: error.to_string() }
            }
            sqlx::Error::Io(error) if is_no_proof(error) => {
                Self::Refused { at, cause: error.to_string() }
            }
            _ => Self::Silent { at, cause: error.to_string() },
        }
    }

    /// As the failure of a step that was `attempted`; nothing has been changed by reading.
    pub fn as_step_error(&self, attempted: &str) -> StepError {
        let known = "reading changed nothing";
        let failed = |class, code| StepError::new(class, code, attempted, known).because(self);
        match self {
            Self::Cancelled => StepError::cancelled(attempted),
            Self::System(_) => {
                failed(FailureClass::Failed, "MIG0307").hint("correct `systems` in the runbook")
            }
            Self::Open { .. } | Self::Read { .. } => failed(FailureClass::Failed, "MIG0306")
                .hint("check path, rights, and whether another process holds it"),
            Self::Refused { .. } => failed(FailureClass::Refused, "MIG0308")
                .hint("give what is missing, then `migrate resume`"),
            Self::Silent { .. } => failed(FailureClass::Failed, "MIG0309")
                .hint("look whether the server is up and reached from here, then `migrate resume`")
                .retryable(),
        }
    }

    /// As the failure of a step that asked the server for a change. What a server refuses it has not done.
    pub fn as_change_error(&self, attempted: &str) -> StepError {
        let mut error = self.as_step_error(attempted);
        if let Self::Silent { .. } = self {
            error.class = FailureClass::Unknown;
            error.retryable = false;
            "the server may have made the change".clone_into(&mut error.known);
        } else {
            "this changed nothing".clone_into(&mut error.known);
        }
        error
    }
}

/// The system `name` of a runbook, which has to be of the engine whose key that is, and whose servers are called that.
fn declared<S: DeserializeOwned>(
    name: &str,
    systems: &BTreeMap<String, Value>,
    (key, what): (&str, &str),
) -> Result<S, DatabaseError> {
    let unfit = DatabaseError::System;
    let system = systems.get(name).ok_or_else(|| unfit(format!("there is no system `{name}`")))?;
    if system.get(key).is_none() {
        let why = format!("system `{name}` is no {what}; expected `{key}: \"host=…\"`");
        return Err(unfit(why));
    }
    S::deserialize(system).map_err(|why| unfit(format!("system `{name}`: {why}")))
}

/// Whether a connection ended because the server's certificate does not prove who it is.
fn is_no_proof(error: &std::io::Error) -> bool {
    let inner = error.get_ref().and_then(|inner| inner.downcast_ref::<rustls::Error>());
    matches!(inner, Some(rustls::Error::InvalidCertificate(_)))
}

/// Whether an SQLSTATE says that asking again will be answered the same: rights, names, statements and values that do not fit.
/// Everything else (connection lost, too many clients, shutting down, deadlock, cancelled) may pass.
fn is_refusal(state: &str) -> bool {
    ["0A", "22", "23", "28", "2B", "3D", "3F", "42"].iter().any(|class| state.starts_with(class))
        || ["25006", "55000", "55006"].contains(&state)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_may_pass_is_no_refusal() {
        for state in ["28P01", "28000", "3D000", "42501", "42P01", "0A000", "55000"] {
            assert!(is_refusal(state), "{state}");
        }
        // Too many clients, starting up, shut down by an administrator, lost, deadlock, time-out, lock not available.
        for state in ["53300", "57P03", "57P01", "08006", "40P01", "57014", "55P03", "XX000", ""] {
            assert!(!is_refusal(state), "{state}");
        }
    }

    #[test]
    fn a_change_without_an_answer_is_unknown_and_a_refused_one_is_not() {
        let (at, cause) = ("crm at db:5432".to_owned(), "why".to_owned());
        let silent = DatabaseError::Silent { at: at.clone(), cause: cause.clone() };
        let refused = DatabaseError::Refused { at, cause };
        assert_eq!(silent.as_change_error("x").class, FailureClass::Unknown);
        assert_eq!(silent.as_step_error("x").class, FailureClass::Failed);
        assert_eq!(refused.as_change_error("x").class, FailureClass::Refused);
    }
}
