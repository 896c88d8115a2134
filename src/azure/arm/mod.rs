//! One HTTP pipeline for everything that talks to Azure Resource Manager.
//!
//! Promises: every call names its api-version; a token goes over https to the ARM endpoint's own host and nowhere
//! else; a read is repeated when that may help; a change is sent again only when it provably was not carried out
//! (no connection, 401, 429, a lock that is gone), and every change carries the id of its effect as `x-ms-client-request-id`.

mod envelope;
mod error;
mod generated;
mod operation;
mod paging;
#[cfg(test)]
mod tests;
mod throttle;
mod unlock;
mod wait;

use std::sync::Arc;
use std::time::Duration;

use azure_core::credentials::TokenCredential;
use azure_core::error::ErrorKind;
use azure_core::http::headers::{HeaderName, Headers};
use azure_core::http::policies::Policy;
use azure_core::http::policies::auth::BearerTokenAuthorizationPolicy;
use azure_core::http::{
    ClientOptions, Context, HttpClient, Method, Pipeline, PipelineSendOptions, Request,
    RetryOptions, Transport, Url,
};
use bytes::Bytes;
use serde::de::DeserializeOwned;
use serde_json::Value;
use sha2::{Digest, Sha256};
use uuid::Uuid;

pub use error::{ArmError, ServiceError};
pub(super) use generated::Parts;
pub use operation::{Accepted, Finished};
use throttle::Remaining;
pub use wait::Wait;

use crate::clock::Clock;
use crate::journal::EffectPermit;
use crate::run::{EffectId, RunId};

/// The pipeline. Cheap to clone.
#[derive(Debug, Clone)]
pub(super) struct Arm {
    pipeline: Pipeline,
    endpoint: Url,
    clock: Clock,
    run: RunId,
}

/// What a request is allowed to do.
#[derive(Debug, Clone)]
enum Purpose {
    /// Changes nothing; may be repeated at will.
    Read,
    /// Changes something; carries the id of its effect.
    Change(Uuid),
}

/// One request, complete but for token and retries.
#[derive(Debug, Clone)]
pub(super) struct Call {
    purpose: Purpose,
    method: Method,
    url: Url,
    body: Option<Bytes>,
    headers: Vec<(&'static str, String)>,
}

/// A successful answer.
#[derive(Debug, Clone)]
pub(super) struct Reply {
    pub(super) status: u16,
    headers: Headers,
    body: Bytes,
    what: String,
    request_id: String,
}

impl Call {
    /// A GET, or a POST that changes nothing (`validate`, `whatIf`).
    pub(super) fn read(method: Method, url: Url) -> Self {
        Self { purpose: Purpose::Read, method, url, body: None, headers: Vec::new() }
    }

    #[must_use]
    pub(super) fn json(mut self, body: &Value) -> Self {
        self.body = Some(Bytes::from(body.to_string()));
        self
    }

    #[must_use]
    pub(super) fn header(mut self, name: &'static str, value: impl Into<String>) -> Self {
        self.headers.push((name, value.into()));
        self
    }

    /// The thing as an operator names it: the path without the query.
    fn what(&self) -> String {
        self.url.path().to_owned()
    }
}

impl Reply {
    /// A header by its lower-case name.
    pub(super) fn header(&self, name: &'static str) -> Option<&str> {
        envelope::header(&self.headers, name)
    }

    /// The service's id of the request, or ours.
    pub(super) fn request_id(&self) -> String {
        self.header("x-ms-request-id").unwrap_or(&self.request_id).to_owned()
    }

    /// The body; `Null` when it is empty.
    pub(super) fn value(&self) -> Result<Value, ArmError> {
        if self.body.iter().all(u8::is_ascii_whitespace) {
            return Ok(Value::Null);
        }
        self.read()
    }

    /// The body as `T`.
    pub(super) fn read<T: DeserializeOwned>(&self) -> Result<T, ArmError> {
        serde_json::from_slice(&self.body).map_err(|error| ArmError::Unreadable {
            what: self.what.clone(),
            cause: error.to_string(),
        })
    }
}

/// 404 is an answer, not a failure: the thing does not exist.
pub(super) fn found<T>(result: Result<T, ArmError>) -> Result<Option<T>, ArmError> {
    match result {
        Ok(value) => Ok(Some(value)),
        Err(error) if error.status() == Some(404) => Ok(None),
        Err(error) => Err(error),
    }
}

/// The `x-ms-client-request-id` of a change, the same in every attempt at the same effect of the same run: a UUID out of
/// SHA-256. The activity log repeats it, so a run knows its own changes there.
pub fn change_request_id(run: &RunId, effect: &EffectId) -> Uuid {
    let digest = Sha256::digest(format!("{run}\n{effect}"));
    let mut bytes = [0; 16];
    bytes.copy_from_slice(&digest[..16]);
    uuid::Builder::from_custom_bytes(bytes).into_uuid()
}

impl Arm {
    /// A pipeline over `transport` with tokens of `credential` for `scope`.
    pub(super) fn new(
        endpoint: Url,
        scope: &str,
        credential: Arc<dyn TokenCredential>,
        transport: Arc<dyn HttpClient>,
        clock: Clock,
        run: RunId,
    ) -> Self {
        let bearer: Arc<dyn Policy> =
            Arc::new(BearerTokenAuthorizationPolicy::new(credential, [scope]));
        let pipeline = Pipeline::new(
            Some("migrate"),
            option_env!("CARGO_PKG_VERSION"),
            ClientOptions {
                transport: Some(Transport::new(transport)),
                retry: RetryOptions::none(),
                ..ClientOptions::default()
            },
            Vec::new(),
            vec![bearer],
            None,
        );
        Self { pipeline, endpoint, clock, run }
    }

    /// The URL of `path` with its api-version.
    pub(super) fn url(&self, path: &str, api_version: &str) -> Url {
        let mut url = self.endpoint.clone();
        url.set_path(path);
        url.set_query(None);
        url.query_pairs_mut().append_pair("api-version", api_version);
        url
    }

    /// A request that changes something, under the permit of its effect.
    pub(super) fn change(&self, permit: &EffectPermit, method: Method, url: Url) -> Call {
        let purpose = Purpose::Change(change_request_id(&self.run, permit.effect()));
        Call { purpose, method, url, body: None, headers: Vec::new() }
    }

    /// Sends it, waits out throttling, repeats what may be repeated.
    pub(super) async fn send(&self, wait: &mut Wait<'_>, call: &Call) -> Result<Reply, ArmError> {
        self.own_url(&call.url)?;
        if wait.cancelled().is_cancelled() {
            return Err(ArmError::Cancelled);
        }
        let mut patience = throttle::Patience::default();
        let mut unlocking = unlock::Unlocking::default();
        loop {
            let error = match self.send_once(wait, call).await {
                Ok(reply) => return Ok(reply),
                Err(error) => error,
            };
            if self.outlasts_lock(wait, &mut unlocking, &call.method, &error).await? {
                continue;
            }
            match patience.pause_after(&call.purpose, &error) {
                Some(pause) => {
                    let why = format!("waits {} s for Azure: {error}", pause.as_secs());
                    tracing::warn!(path = call.url.path(), "{why}");
                    wait.sleep(&self.clock, pause, &why).await?;
                }
                None => return Err(throttle::final_error(call, error)),
            }
        }
    }

    async fn send_once(&self, wait: &Wait<'_>, call: &Call) -> Result<Reply, throttle::Failure> {
        let request_id = match call.purpose {
            Purpose::Read => Uuid::new_v4(),
            Purpose::Change(id) => id,
        }
        .to_string();
        let mut request = Request::new(call.url.clone(), call.method);
        request.insert_header("accept", "application/json");
        request.insert_header("x-ms-client-request-id", request_id.clone());
        for (name, value) in &call.headers {
            request.insert_header(HeaderName::from_static(name), value.clone());
        }
        if let Some(body) = &call.body {
            request.insert_header("content-type", "application/json");
            request.set_body(body.clone());
        }
        let options = PipelineSendOptions { skip_checks: true, ..PipelineSendOptions::default() };
        let cancel = wait.cancelled();
        let context = Context::new();
        let sent = tokio::select! {
            biased;
            () = cancel.cancelled() => return Err(throttle::Failure::Cancelled { request_id }),
            sent = self.pipeline.send(&context, &mut request, Some(options)) => sent,
        };
        let (status, headers, body) = match sent {
            Ok(response) => response.deconstruct(),
            Err(error) => return Err(transport_failure(&error, request_id)),
        };
        let (status, body) = (u16::from(status), Bytes::from(body));
        tracing::debug!(method = ?call.method, path = call.url.path(), status, request_id, "azure");
        Remaining::read(&headers).note(call.url.path());
        if (200..300).contains(&status) {
            return Ok(Reply { status, headers, body, what: call.what(), request_id });
        }
        let mut service = envelope::service_error(status, &headers, &body);
        service.request_id.get_or_insert_with(|| request_id.clone());
        Err(throttle::Failure::Service { service: Box::new(service), request_id })
    }

    /// Sleeps on the clock of the calls, and says why.
    pub(super) async fn sleep(
        &self,
        wait: &mut Wait<'_>,
        duration: Duration,
        why: &str,
    ) -> Result<(), ArmError> {
        wait.sleep(&self.clock, duration, why).await
    }

    /// Refuses any URL a token must not be sent to.
    fn own_url(&self, url: &Url) -> Result<(), ArmError> {
        if url.scheme() == "https" && url.origin() == self.endpoint.origin() {
            return Ok(());
        }
        Err(ArmError::ForeignUrl(url.host_str().unwrap_or("no host").to_owned()))
    }

    /// A URL that came from the service, opaque, as it came; one without a host is the endpoint's.
    fn followed(&self, link: &str) -> Result<Url, ArmError> {
        let url = if link.starts_with('/') { self.endpoint.join(link) } else { Url::parse(link) };
        let url = url.map_err(|_| ArmError::ForeignUrl("no URL".to_owned()))?;
        self.own_url(&url)?;
        Ok(url)
    }
}

fn transport_failure(error: &azure_core::Error, request_id: String) -> throttle::Failure {
    let cause = causes(error);
    match error.kind() {
        ErrorKind::Credential => throttle::Failure::Credential(cause),
        ErrorKind::Connection => throttle::Failure::NotSent { cause },
        _ => throttle::Failure::Lost { cause, request_id },
    }
}

/// The chain of causes on one line, every URL cut before its query.
pub(super) fn causes(error: &dyn std::error::Error) -> String {
    let mut chain = vec![error.to_string()];
    let mut next = error.source();
    while let Some(cause) = next {
        chain.push(cause.to_string());
        next = cause.source();
    }
    without_queries(&chain.join(": "))
}

fn without_queries(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find("://") {
        let end = rest[at..]
            .find(|c: char| c.is_whitespace() || matches!(c, ')' | '"' | '\'' | '>' | ','))
            .map_or(rest.len(), |length| at + length);
        let url = &rest[..end];
        out.push_str(url.split('?').next().unwrap_or_default());
        rest = &rest[end..];
    }
    out + rest
}
