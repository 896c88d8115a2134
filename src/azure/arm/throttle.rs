//! When a request is repeated, and after which pause.
//!
//! The library gives up after sixty seconds; ARM's buckets may ask for more. Here `Retry-After` is honoured as it
//! comes, on the engine's clock, until the caller's attempt ends.

use std::time::Duration;

use azure_core::http::headers::Headers;

use super::{ArmError, Call, Purpose, ServiceError};
use crate::azure::credential::CredentialReport;

/// Repeats of a read that failed without being throttled.
const REPEATS: u32 = 5;
/// Times a throttled request is sent again; with a pause each, that is long.
const THROTTLED: u32 = 60;
/// First pause where the service named none; doubles.
const FIRST_PAUSE: Duration = Duration::from_millis(500);
/// Longest pause where the service named none.
const LONGEST_PAUSE: Duration = Duration::from_secs(30);

/// One attempt at a request that gave no usable reply.
#[derive(Debug)]
pub(super) enum Failure {
    /// No token; nothing was sent.
    Credential(String),
    /// No connection; nothing was sent.
    NotSent { cause: String },
    /// The request may have left; no reply.
    Lost { cause: String, request_id: String },
    /// An error status.
    Service { service: Box<ServiceError>, request_id: String },
    /// Cancelled while it may have been under way.
    Cancelled { request_id: String },
}

impl std::fmt::Display for Failure {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Credential(cause) | Self::NotSent { cause } | Self::Lost { cause, .. } => {
                f.write_str(cause)
            }
            Self::Service { service, .. } => {
                write!(f, "{} (HTTP {})", service.code, service.status)
            }
            Self::Cancelled { .. } => f.write_str("stopped from outside"),
        }
    }
}

/// Counts repeats of one request.
#[derive(Debug, Default)]
pub(super) struct Patience {
    repeats: u32,
    throttled: u32,
    unauthorized: bool,
}

impl Patience {
    /// The pause before the next attempt, or none if there must not be one.
    pub(super) fn pause_after(&mut self, purpose: &Purpose, failure: &Failure) -> Option<Duration> {
        let read = matches!(purpose, Purpose::Read);
        match failure {
            Failure::NotSent { .. } => self.backoff(),
            Failure::Lost { .. } if read => self.backoff(),
            Failure::Service { service, .. } => match service.status {
                // The pipeline has dropped the token; the next attempt gets a fresh one. A 401 changed nothing.
                401 if !self.unauthorized => {
                    self.unauthorized = true;
                    Some(Duration::ZERO)
                }
                // A quota is no throttling: waiting does not help.
                429 if service.code != "OperationNotAllowed" => {
                    self.throttled += 1;
                    (self.throttled <= THROTTLED)
                        .then(|| self.pause(service.retry_after, self.throttled))
                }
                503 if read && service.retry_after.is_some() => {
                    self.throttled += 1;
                    (self.throttled <= THROTTLED)
                        .then(|| self.pause(service.retry_after, self.throttled))
                }
                408 | 500 | 502 | 503 | 504 if read => self.backoff(),
                _ => None,
            },
            _ => None,
        }
    }

    fn backoff(&mut self) -> Option<Duration> {
        self.repeats += 1;
        (self.repeats <= REPEATS).then(|| self.pause(None, self.repeats))
    }

    #[expect(clippy::unused_self, reason = "reads as what it is: this request's pause")]
    fn pause(&self, asked: Option<Duration>, nth: u32) -> Duration {
        asked.unwrap_or_else(|| (FIRST_PAUSE * 2_u32.pow(nth.min(10) - 1)).min(LONGEST_PAUSE))
    }
}

/// What the caller is told when there is no further attempt.
pub(super) fn final_error(call: &Call, failure: Failure) -> ArmError {
    let host = || call.url.authority().to_owned();
    let change = matches!(call.purpose, Purpose::Change(_));
    match failure {
        Failure::Credential(cause) => ArmError::Credential(CredentialReport::refused(cause)),
        Failure::NotSent { cause } => ArmError::Unreachable { host: host(), cause },
        Failure::Lost { cause, request_id } if change => ArmError::ReplyLost { request_id, cause },
        Failure::Lost { cause, .. } => ArmError::NoReply { host: host(), cause },
        Failure::Cancelled { request_id } if change => {
            ArmError::ReplyLost { request_id, cause: "stopped while it was under way".to_owned() }
        }
        Failure::Cancelled { .. } => ArmError::Cancelled,
        // A gateway that gave up says nothing about what the provider behind it did.
        Failure::Service { service, request_id } if change && indecisive(service.status) => {
            ArmError::ReplyLost { request_id, cause: service.to_string() }
        }
        Failure::Service { service, .. } => ArmError::Service(service),
    }
}

fn indecisive(status: u16) -> bool {
    matches!(status, 408 | 500..=599)
}

/// Requests left in the buckets ARM tells about; the smallest is what counts.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct Remaining(pub(super) Vec<(&'static str, u64)>);

/// Below this many requests it is worth a line in the log.
const SCARCE: u64 = 20;

impl Remaining {
    const HEADERS: [&'static str; 10] = [
        "x-ms-ratelimit-remaining-subscription-reads",
        "x-ms-ratelimit-remaining-subscription-writes",
        "x-ms-ratelimit-remaining-subscription-deletes",
        "x-ms-ratelimit-remaining-tenant-reads",
        "x-ms-ratelimit-remaining-tenant-writes",
        "x-ms-ratelimit-remaining-subscription-resource-requests",
        "x-ms-ratelimit-remaining-tenant-resource-requests",
        "x-ms-ratelimit-remaining-subscription-global-reads",
        "x-ms-ratelimit-remaining-subscription-global-writes",
        "x-ms-ratelimit-remaining-subscription-global-deletes",
    ];

    /// What a reply says.
    pub(super) fn read(headers: &Headers) -> Self {
        Self(
            Self::HEADERS
                .into_iter()
                .filter_map(|name| {
                    let left = super::envelope::header(headers, name)?.trim().parse().ok()?;
                    Some((name, left))
                })
                .collect(),
        )
    }

    /// Logs a bucket that runs dry, so that a later 429 is no surprise.
    pub(super) fn note(&self, path: &str) {
        for (bucket, left) in self.0.iter().filter(|(_, left)| *left < SCARCE) {
            tracing::warn!(path, bucket, left, "few requests left before Azure throttles");
        }
    }
}
