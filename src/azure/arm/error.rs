//! What can go wrong between us and Azure Resource Manager, told apart by what it says about the target.
//!
//! The one distinction everything else hangs on: did a change certainly not happen, or is its outcome unknown? Only
//! [`ArmError::ReplyLost`] means the latter. No variant ever holds a token, a secret or the query of a URL.

use std::fmt;
use std::time::Duration;

use serde_json::Value;

use super::envelope;
use crate::azure::credential::CredentialReport;
use crate::run::{FailureClass, StepError};

/// A failed call to Azure.
#[derive(Debug, thiserror::Error)]
pub enum ArmError {
    /// The runbook has no `azure` section.
    #[error("the runbook has no `azure` section")]
    NotConfigured,
    /// Something under `azure` in the runbook can not be used: a cloud, a file, an id.
    #[error("{0}")]
    Settings(String),
    /// No credential gave a token. Nothing was sent.
    #[error("no token for Azure: {0}")]
    Credential(CredentialReport),
    /// The request provably did not reach the server. Nothing was changed.
    #[error("{host} can not be reached: {cause}")]
    Unreachable {
        /// Host and port.
        host: String,
        /// In words.
        cause: String,
    },
    /// A change was sent and its reply was lost, or does not tell (5xx). The outcome is unknown; never resent blindly.
    #[error("no reply that tells the outcome of request {request_id}: {cause}")]
    ReplyLost {
        /// `x-ms-client-request-id` of the request, for the activity log and for support.
        request_id: String,
        /// In words.
        cause: String,
    },
    /// A read was sent, and no usable reply came, as often as it was repeated.
    #[error("no reply from {host}: {cause}")]
    NoReply {
        /// Host and port.
        host: String,
        /// In words.
        cause: String,
    },
    /// The service answered with an error before it changed anything.
    #[error(transparent)]
    Service(Box<ServiceError>),
    /// HTTP 412 for a conditional change: somebody else changed the target. Nothing was overwritten.
    #[error("{target} was changed by somebody else")]
    Drift {
        /// The thing.
        target: String,
        /// What it was expected to be; none: it was expected not to exist.
        expected: Option<Box<Value>>,
        /// What it is now; none: it does not exist.
        found: Option<Box<Value>>,
    },
    /// A long-running operation ended, and not well.
    #[error("the operation ended as {state}: {service}")]
    OperationFailed {
        /// `Failed`, `Canceled`, …
        state: String,
        /// Why.
        service: Box<ServiceError>,
    },
    /// An answer that can not be read.
    #[error("the answer about {what} can not be read: {cause}")]
    Unreadable {
        /// What was asked for.
        what: String,
        /// In words.
        cause: String,
    },
    /// A link in an answer leads away from the ARM endpoint; no token is sent there.
    #[error("the link leads to `{0}`, which is not the ARM endpoint; no token was sent there")]
    ForeignUrl(String),
    /// Stopped from outside before anything was changed.
    #[error("stopped from outside")]
    Cancelled,
}

/// An error body of ARM or of a resource provider, with or without the `error` wrapper.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub struct ServiceError {
    /// HTTP status; 200 where an operation failed inside a successful answer.
    pub status: u16,
    /// `ScopeLocked`, `AuthorizationFailed`, … ; the HTTP status where the body had none.
    pub code: String,
    /// The service's words.
    pub message: String,
    /// `x-ms-request-id` or the correlation id.
    pub request_id: Option<String>,
    /// `code: message` of every nested detail, outermost first.
    pub details: Vec<String>,
    /// `Retry-After`.
    pub retry_after: Option<Duration>,
}

impl fmt::Display for ServiceError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} (HTTP {}): {}", self.code, self.status, self.message)?;
        self.details.iter().try_for_each(|detail| write!(f, "; {detail}"))?;
        match &self.request_id {
            Some(id) => write!(f, " [request {id}]"),
            None => Ok(()),
        }
    }
}

impl ServiceError {
    /// The error in a JSON body, with or without the `error` wrapper, from an answer of status 200.
    pub(in crate::azure) fn from_body(body: &Value) -> Self {
        envelope::from_value(200, body)
    }
}

impl ArmError {
    /// The same failure once a change was accepted and its operation is under way: unless the service said how it
    /// ended, the outcome is unknown.
    pub(in crate::azure) fn in_flight(self) -> Self {
        match self {
            Self::OperationFailed { .. } | Self::ReplyLost { .. } => self,
            other => Self::ReplyLost {
                request_id: other.service().and_then(|s| s.request_id.clone()).unwrap_or_default(),
                cause: other.to_string(),
            },
        }
    }

    /// HTTP status, where the service answered with one.
    pub fn status(&self) -> Option<u16> {
        self.service().map(|service| service.status)
    }

    /// The service's own error, where it gave one.
    pub fn service(&self) -> Option<&ServiceError> {
        match self {
            Self::Service(service) | Self::OperationFailed { service, .. } => Some(service),
            _ => None,
        }
    }

    /// Whether the change may have happened nevertheless.
    pub fn outcome_unknown(&self) -> bool {
        matches!(self, Self::ReplyLost { .. })
    }

    /// Stable code; each has a page.
    pub fn code(&self) -> &'static str {
        match self {
            Self::NotConfigured => "MIG0101",
            Self::Settings(_) => "MIG0102",
            Self::Credential(_) => "MIG0103",
            Self::Unreachable { .. } | Self::NoReply { .. } => "MIG0104",
            Self::ReplyLost { .. } => "MIG0105",
            Self::Service(service) => match (service.status, service.code.as_str()) {
                (_, "ScopeLocked") => "MIG0108",
                (401 | 403, _) => "MIG0107",
                (429, _) => "MIG0109",
                _ => "MIG0106",
            },
            Self::Drift { .. } => "MIG0110",
            Self::OperationFailed { .. } => "MIG0111",
            Self::Unreadable { .. } => "MIG0112",
            Self::ForeignUrl(_) => "MIG0113",
            Self::Cancelled => "MIG0001",
        }
    }

    fn class(&self) -> FailureClass {
        match self {
            Self::ReplyLost { .. } => FailureClass::Unknown,
            Self::Drift { .. } => FailureClass::Drift,
            Self::Cancelled => FailureClass::Cancelled,
            Self::NotConfigured | Self::Settings(_) | Self::Credential(_) => FailureClass::Refused,
            Self::Service(service) => match service.status {
                401 | 403 => FailureClass::Refused,
                412 => FailureClass::Drift,
                _ => FailureClass::Failed,
            },
            _ => FailureClass::Failed,
        }
    }

    fn retryable(&self) -> bool {
        match self {
            Self::Unreachable { .. } | Self::NoReply { .. } => true,
            Self::Service(service) => {
                matches!(service.status, 408 | 429 | 500 | 502 | 503 | 504)
                    || matches!(
                        service.code.as_str(),
                        "ScopeLocked" | "AnotherOperationInProgress" | "DeploymentActive"
                    )
            }
            _ => false,
        }
    }

    fn hint(&self) -> Option<&'static str> {
        match self.code() {
            "MIG0101" => Some("add an `azure` section with `subscription` to the runbook"),
            "MIG0103" => {
                Some("sign in with `az login`, or name a credential under `azure.credential`")
            }
            "MIG0105" => Some("resume the run: it asks the target before it does anything again"),
            "MIG0107" => Some("give the identity the missing role, then resume"),
            "MIG0108" => Some("find the lock that is in the way with `az lock list`, then resume"),
            "MIG0110" => Some("decide which of the two values is right, then plan again"),
            _ => None,
        }
    }

    /// For steps that only read: why nothing could be read, where that heals by itself. Missing rights or settings do not,
    /// and a stop from outside is none of it: these end the step.
    pub fn unread(self, attempted: impl Into<String>) -> Result<String, StepError> {
        let why = self.to_string();
        let failure = self.into_step_error(attempted, "nothing was changed");
        match failure.class {
            FailureClass::Refused | FailureClass::Cancelled => Err(failure),
            _ => Ok(why),
        }
    }

    /// As the failure of a step. `attempted` names the action, `known` what is known of the target when the change
    /// certainly did not happen; a lost reply says so itself.
    pub fn into_step_error(
        self,
        attempted: impl Into<String>,
        known: impl Into<String>,
    ) -> StepError {
        let known = if self.outcome_unknown() {
            "the change may or may not have been made".to_owned()
        } else {
            known.into()
        };
        let mut error = StepError::new(self.class(), self.code(), attempted, known).because(&self);
        if let Self::Drift { expected, found, .. } = &self {
            error = error
                .cause(format!("expected: {}", shown(expected.as_deref())))
                .cause(format!("found: {}", shown(found.as_deref())));
        }
        if let Some(hint) = self.hint() {
            error = error.hint(hint);
        }
        if self.retryable() { error.retryable() } else { error }
    }
}

fn shown(value: Option<&Value>) -> String {
    value.map_or_else(|| "nothing".to_owned(), Value::to_string)
}
