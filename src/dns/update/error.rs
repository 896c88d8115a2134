//! What can go wrong with an update, told apart by what it says about the primary.

use std::io;
use std::net::SocketAddr;

use domain::base::iana::Rcode;
use domain::tsig::ValidationError;

use crate::dns::query::QueryError;
use crate::run::{FailureClass, StepError};

/// A failed exchange with a primary. None of them holds anything of the key but its name.
#[derive(Debug, thiserror::Error)]
pub enum UpdateError {
    /// No connection. Nothing was sent.
    #[error("{0} can not be reached")]
    Unreachable(SocketAddr, #[source] io::Error),
    /// Nothing was sent: the records do not fit into a message.
    #[error("the records are too long for one message")]
    TooLong,
    /// It was sent, and no reply that can be trusted came. Whether it was carried out is unknown.
    #[error("no reply from {0} that tells the outcome: {1}")]
    ReplyLost(SocketAddr, String),
    /// What had to be there is not there. Nothing was changed.
    #[error("{0} found other records than were read before ({1})")]
    Changed(SocketAddr, Rcode),
    /// The primary refuses: the key, the rights, the zone. Nothing was changed.
    #[error("{0} refused: {1}")]
    Refused(SocketAddr, String),
    /// A question to the primary failed.
    #[error(transparent)]
    Question(#[from] QueryError),
    /// The server does not speak for the zone.
    #[error("{0} is not authoritative for {1}")]
    NotAuthoritative(SocketAddr, String),
}

impl UpdateError {
    /// Whether the change may have been made nevertheless.
    pub fn outcome_unknown(&self) -> bool {
        matches!(self, Self::ReplyLost(..))
    }

    /// As the failure of a step; `known` says what is known of the primary where nothing was changed.
    pub fn into_step_error(self, attempted: &str, known: &str) -> StepError {
        let (class, code, known, hint) = match &self {
            Self::ReplyLost(..) => (
                FailureClass::Unknown,
                "MIG0210",
                "the change may or may not have been made",
                "resume the run: it asks the primary before it does anything again",
            ),
            Self::Changed(..) => (
                FailureClass::Drift,
                "MIG0211",
                known,
                "find out who changed the records and why; correct them or `expect`, then plan again",
            ),
            Self::Refused(..) => (
                FailureClass::Refused,
                "MIG0208",
                known,
                "give the key the missing right at the primary, or correct the system, then `migrate resume`",
            ),
            Self::TooLong => {
                (FailureClass::Refused, "MIG0208", known, "make the record set smaller")
            }
            Self::Unreachable(..) | Self::Question(_) | Self::NotAuthoritative(..) => (
                FailureClass::Failed,
                "MIG0209",
                known,
                "check the primary's address under `systems`, and that TCP port 53 is open from here",
            ),
        };
        let retryable = matches!(self, Self::Unreachable(..) | Self::Question(_));
        let error = StepError::new(class, code, attempted, known).because(&self).hint(hint);
        if retryable { error.retryable() } else { error }
    }
}

/// Why a signature does not count, for people.
pub(super) fn signature(error: ValidationError, key: &str) -> String {
    match error {
        ValidationError::ServerBadKey => format!("it does not know the key {key}"),
        ValidationError::ServerBadSig => {
            format!("the secret of the key {key} is another one there")
        }
        ValidationError::ServerBadTime { client, server } => {
            let apart = u64::from(server).abs_diff(u64::from(client));
            format!("its clock and this machine's are {apart} s apart")
        }
        other => format!("the signature of its reply does not count: {other}"),
    }
}
