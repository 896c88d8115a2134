//! Long-running operations: how they start, how they are watched, how they end.
//!
//! ARM has three ways to say "not yet" (`Azure-AsyncOperation`, `Location`, `properties.provisioningState`), resource
//! providers mix them, and a failure often hides in an HTTP 200. One rule reads them all ([`Progress::of`]), so that an
//! operation URL stored in the journal can be taken up again without knowing which header it came from.

use std::time::Duration;

use azure_core::http::{Method, Url};
use serde_json::Value;

use super::{Arm, ArmError, Call, Reply, ServiceError, Wait, envelope};

/// Pause between polls where the service names none.
const PAUSE: Duration = Duration::from_secs(5);

/// A change was accepted; it may still be under way.
#[derive(Debug, Clone, PartialEq)]
pub struct Accepted {
    /// Where to ask how it goes, opaque; none when the change is complete or its resource has to be asked.
    pub operation_url: Option<String>,
    /// The service's id of the request.
    pub request_id: String,
    /// The body of the first answer; `Null` when empty.
    pub body: Value,
    pause: Option<Duration>,
}

/// A long-running operation that ended well.
#[derive(Debug, Clone, PartialEq)]
pub struct Finished {
    /// The last answer's body: a result, a status document, or `Null`.
    pub body: Value,
}

/// How far an operation is, read from one answer.
#[derive(Debug)]
enum Progress {
    Running,
    Ended,
    Failed { state: String, service: Box<ServiceError> },
}

impl Progress {
    fn of(status: u16, body: &Value) -> Self {
        let state = body
            .pointer("/properties/provisioningState")
            .and_then(Value::as_str)
            .map_or(State::None, State::named);
        // A resource has a `type`; its own `status` property, if any, is none of ours.
        let document = match body.get("status").and_then(Value::as_str) {
            Some(status) if body.get("type").is_none() => State::named(status),
            _ => State::None,
        };
        match (document, state) {
            (State::Bad(state), _) | (State::None, State::Bad(state)) => {
                let cause =
                    body.pointer("/properties/error").filter(|_| body.get("error").is_none());
                let mut service = envelope::from_value(200, cause.unwrap_or(body));
                if service.code == "HTTP200" {
                    state.clone_into(&mut service.code);
                }
                Self::Failed { state, service: Box::new(service) }
            }
            (State::Running, _) | (State::None, State::Running) => Self::Running,
            (State::None, _) if status == 202 => Self::Running,
            (State::Good | State::None, _) => Self::Ended,
        }
    }
}

enum State {
    None,
    Good,
    Running,
    Bad(String),
}

impl State {
    fn named(name: &str) -> Self {
        match name.to_ascii_lowercase().as_str() {
            "succeeded" => Self::Good,
            "failed" | "canceled" | "cancelled" => Self::Bad(name.to_owned()),
            "" => Self::None,
            // Providers invent names; anything that is not an end is still under way.
            _ => Self::Running,
        }
    }
}

impl Accepted {
    /// What the first answer to a change says.
    pub(in crate::azure) fn of(reply: &Reply) -> Result<Self, ArmError> {
        let operation_url = reply
            .header("azure-asyncoperation")
            .or_else(|| reply.header("location").filter(|_| reply.status == 202))
            .map(str::to_owned);
        Ok(Self {
            operation_url,
            request_id: reply.request_id(),
            body: reply.value()?,
            pause: envelope::retry_after(&reply.headers),
        })
    }
}

impl Arm {
    /// Waits until the accepted operation has ended. Without an operation URL, `resource` is asked until its
    /// provisioning state is final; without either, the first answer was the end.
    pub(in crate::azure) async fn finish(
        &self,
        wait: &mut Wait<'_>,
        accepted: Accepted,
        resource: Option<Url>,
    ) -> Result<Finished, ArmError> {
        let url = match accepted.operation_url {
            Some(link) => self.followed(&link)?,
            None => match (Progress::of(200, &accepted.body), resource) {
                (Progress::Running, Some(url)) => url,
                (Progress::Failed { state, service }, _) => {
                    return Err(ArmError::OperationFailed { state, service });
                }
                _ => return Ok(Finished { body: accepted.body }),
            },
        };
        self.pause(wait, accepted.pause).await?;
        self.poll(wait, url).await
    }

    /// Takes up an operation again from its stored URL.
    pub(in crate::azure) async fn attach(
        &self,
        wait: &mut Wait<'_>,
        link: &str,
    ) -> Result<Finished, ArmError> {
        let url = self.followed(link)?;
        self.poll(wait, url).await
    }

    async fn poll(&self, wait: &mut Wait<'_>, mut url: Url) -> Result<Finished, ArmError> {
        loop {
            let reply = self.send(wait, &Call::read(Method::Get, url.clone())).await?;
            let body = reply.value()?;
            match Progress::of(reply.status, &body) {
                Progress::Ended => return Ok(Finished { body }),
                Progress::Failed { state, mut service } => {
                    service.request_id.get_or_insert_with(|| reply.request_id());
                    return Err(ArmError::OperationFailed { state, service });
                }
                Progress::Running => {
                    self.pause(wait, envelope::retry_after(&reply.headers)).await?;
                }
            }
            // A 202 may name a newer URL for the next poll.
            if let Some(link) = reply.header("location").filter(|_| reply.status == 202) {
                url = self.followed(link)?;
            }
        }
    }

    /// Sleeps between polls.
    pub(in crate::azure) async fn pause(
        &self,
        wait: &mut Wait<'_>,
        asked: Option<Duration>,
    ) -> Result<(), ArmError> {
        let pause = asked.unwrap_or(PAUSE);
        wait.sleep(&self.clock, pause, "waits for Azure to finish the operation").await
    }
}
