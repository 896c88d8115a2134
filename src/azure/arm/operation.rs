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

    /// Waits until the operation at a stored URL has ended, if there is one. Such URLs expire; what the operation was about
    /// stays, and whoever asks reads it next.
    pub(in crate::azure) async fn wait_out(
        &self,
        wait: &mut Wait<'_>,
        link: Option<&str>,
    ) -> Result<(), ArmError> {
        let Some(link) = link else { return Ok(()) };
        match self.attach(wait, link).await {
            Ok(_) => Ok(()),
            Err(ArmError::Service(service)) if service.status == 404 => Ok(()),
            Err(error) => Err(error.in_flight()),
        }
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

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::azure::testing::{Answer, world};

    const URL: &str = "https://management.azure.com/subscriptions/s/ops/a;b;zone;Regular?t=1&s=%2B";

    fn reply(status: u16, body: &Value) -> Answer {
        Answer::json(status, body)
    }

    async fn attached(answers: Vec<Answer>) -> (Result<Finished, ArmError>, Vec<String>) {
        let (azure, script, mut wait, _) = world(answers);
        let arm = azure.arm().await.expect("connected");
        (arm.attach(&mut wait, URL).await, script.lines())
    }

    #[tokio::test]
    async fn every_shape_of_running_and_ended_is_read() {
        let none = Value::Null;
        let cases = [
            (
                "status document",
                vec![
                    reply(200, &json!({ "status": "InventedByProvider", "percentComplete": null })),
                    reply(200, &json!({ "status": "Succeeded" })),
                ],
            ),
            ("Location", vec![reply(202, &none), reply(200, &json!({ "value": 1 }))]),
            ("Location, no content", vec![reply(202, &none), reply(204, &none)]),
            (
                "private DNS",
                vec![
                    reply(202, &json!({ "status": "InProgress" })),
                    reply(200, &json!({ "status": "Succeeded" })),
                ],
            ),
            (
                "Site Recovery",
                vec![
                    reply(
                        200,
                        &json!({ "error": null, "name": "x", "status": "InProgress", "percentComplete": null }),
                    ),
                    reply(200, &json!({ "error": null, "name": "x", "status": "Succeeded" })),
                ],
            ),
            (
                "the resource itself",
                vec![
                    reply(
                        200,
                        &json!({ "type": "t", "status": "odd", "properties": { "provisioningState": "Updating" } }),
                    ),
                    reply(
                        200,
                        &json!({ "type": "t", "status": "odd", "properties": { "provisioningState": "Succeeded" } }),
                    ),
                ],
            ),
        ];
        for (shape, answers) in cases {
            let (ended, lines) = attached(answers).await;
            assert!(ended.is_ok(), "{shape}: {ended:?}");
            assert_eq!(lines.len(), 2, "{shape}");
            assert!(lines[0].ends_with("/ops/a;b;zone;Regular?t=1&s=%2B"), "{shape}: as it came");
        }
    }

    #[tokio::test]
    async fn a_failure_inside_http_200_is_a_failure() {
        let error = json!({ "code": "Conflict", "message": "no" });
        let cases = [
            json!({ "status": "Failed", "error": error }),
            json!({ "status": "Canceled", "error": error }),
            json!({ "type": "t", "properties": { "provisioningState": "Failed", "error": error } }),
            json!({ "status": "Failed", "properties": { "error": error } }),
        ];
        for body in cases {
            let (ended, _) = attached(vec![reply(200, &body)]).await;
            let ended = ended.expect_err("failed");
            assert_eq!(ended.code(), "MIG0111");
            assert_eq!(ended.service().expect("why").code, "Conflict", "{body}");
        }
        let (ended, _) = attached(vec![reply(200, &json!({ "status": "Canceled" }))]).await;
        assert_eq!(ended.expect_err("failed").service().expect("why").code, "Canceled");
    }

    #[tokio::test]
    async fn a_stored_url_of_another_host_gets_no_token() {
        for link in ["https://evil.example/ops/1", "http://management.azure.com/ops/1", "nonsense"]
        {
            let (azure, script, mut wait, _) = world([]);
            let arm = azure.arm().await.expect("connected");
            let error = arm.attach(&mut wait, link).await.expect_err("refused");
            assert!(matches!(error, ArmError::ForeignUrl(_)), "{link}");
            assert!(script.seen().is_empty(), "{link}");
        }
    }
}
