//! A service that plays examples: answers the client's first request with one, ends whatever operation that began, and
//! keeps what it was asked.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use async_trait::async_trait;
use azure_core::error::{Error, ErrorKind};
use azure_core::http::headers::Headers;
use azure_core::http::{AsyncRawResponse, Body, HttpClient, Request, StatusCode, Url};
use jiff::Timestamp;
use migrate::azure::{Azure, Wait};
use migrate::clock::Clock;
use migrate::journal::EffectPermit;
use migrate::sandbox::exchanges::Exchange;
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;

use crate::hostile::entry::PERMIT;

use super::openapi::{Example, Operation};

/// More than any operation takes.
const REQUESTS: usize = 40;

/// See the module.
#[derive(Debug)]
pub(crate) struct Player {
    /// What is read before the operation.
    given: Answer,
    /// The operation's answer.
    first: Answer,
    /// The answer to polls, and to a read of the resource after them.
    last: Answer,
    operation: Operation,
    seen: Mutex<Vec<(Url, Exchange)>>,
}

#[derive(Debug, Clone)]
struct Answer {
    status: u16,
    headers: BTreeMap<String, String>,
    body: Value,
}

impl Answer {
    fn of(example: &Example) -> Self {
        let (headers, mut body) = (example.headers.clone(), example.body.clone());
        // Links of the examples lead to hosts like `servicehost`; those of the service lead to itself.
        // Some examples have a placeholder there, `{originalRequestUrl}?…`, which leads nowhere.
        if let Some(link) = body["nextLink"].as_str().map(Url::parse) {
            body["nextLink"] = link.map_or(Value::Null, |mut link| {
                link.set_host(Some("management.azure.com")).expect("a host");
                json!(link)
            });
        }
        Self { status: example.status, headers, body }
    }
}

impl Player {
    /// Answers `operation` with `first`, earlier requests with `given`, later ones with `last`; without one, operations
    /// succeed and further pages are empty.
    pub(crate) fn new(
        operation: &Operation,
        given: Option<Value>,
        first: &Example,
        last: Option<&Example>,
    ) -> Arc<Self> {
        let done = || Answer {
            status: 200,
            headers: BTreeMap::new(),
            body: json!({ "status": "Succeeded", "value": [] }),
        };
        let last = last.map_or_else(done, Answer::of);
        let body = given.unwrap_or_default();
        let given = Answer { status: 200, headers: BTreeMap::new(), body };
        let (operation, first) = (operation.clone(), Answer::of(first));
        Arc::new(Self { given, first, last, operation, seen: Mutex::default() })
    }

    /// From the first request that is the operation's, else from the first.
    pub(crate) fn seen(&self) -> Vec<(Url, Exchange)> {
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let first =
            seen.iter().position(|(_, exchange)| self.is_asked(&exchange.method, &exchange.path));
        seen.drain(..first.unwrap_or(0));
        seen
    }

    fn is_asked(&self, method: &str, path: &str) -> bool {
        self.operation.method == method && self.operation.matches(path).is_some()
    }
}

#[async_trait]
impl HttpClient for Player {
    async fn execute_request(&self, request: &Request) -> azure_core::Result<AsyncRawResponse> {
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        if seen.len() == REQUESTS {
            let why = "the client does not stop asking";
            return Err(Error::with_message(ErrorKind::Io, why));
        }
        let asked = |(_, it): &(Url, Exchange)| self.is_asked(&it.method, &it.path);
        let answer = if seen.iter().any(asked) {
            &self.last
        } else if self.is_asked(request.method().as_ref(), request.url().path()) {
            &self.first
        } else {
            &self.given
        };
        let headers = request.headers().iter();
        let url = request.url().clone();
        let exchange = Exchange {
            method: request.method().as_ref().to_owned(),
            path: url.path().to_owned(),
            query: url.query_pairs().into_owned().collect(),
            headers: headers.map(|(k, v)| (k.as_str().to_owned(), v.as_str().to_owned())).collect(),
            body: match request.body() {
                Body::Bytes(bytes) => serde_json::from_slice(bytes).unwrap_or_default(),
                Body::SeekableStream(_) => Value::Null,
            },
            status: Some(answer.status),
            answer_headers: answer.headers.clone(),
            answer: answer.body.clone(),
        };
        seen.push((url, exchange));
        let mut headers = Headers::new();
        for (name, value) in &answer.headers {
            headers.insert(name.clone(), value.clone());
        }
        let body = if answer.body.is_null() { String::new() } else { answer.body.to_string() };
        Ok(AsyncRawResponse::from_bytes(StatusCode::from(answer.status), headers, body))
    }
}

/// The client, and what its methods ask for.
pub(crate) struct Asking {
    pub(crate) azure: Azure,
    pub(crate) wait: Wait<'static>,
    pub(crate) permit: &'static EffectPermit,
}

impl Asking {
    /// The client of a runbook, connected to the player.
    pub(crate) fn of(player: &Arc<Player>) -> Self {
        let clock = Clock::skipping_from(Timestamp::UNIX_EPOCH);
        let wait = Wait::new(&clock, &CancellationToken::new());
        let azure = Azure::played(Arc::clone(player) as Arc<dyn HttpClient>, &clock);
        Self { azure, wait, permit: &PERMIT }
    }
}
