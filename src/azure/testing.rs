//! An Azure in memory: scripted answers, and a record of what was asked. For unit tests of this module and of steps.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex, PoisonError};

use async_trait::async_trait;
use azure_core::error::{Error, ErrorKind};
use azure_core::http::headers::Headers;
use azure_core::http::{AsyncRawResponse, Body, HttpClient, Request, StatusCode, Url};
use jiff::Timestamp;
use serde_json::Value;
use tokio_util::sync::CancellationToken;

use super::Azure;
use super::arm::Wait;
use crate::clock::Clock;

/// One scripted answer.
#[derive(Debug)]
pub(crate) enum Answer {
    Reply(u16, Vec<(&'static str, String)>, Vec<u8>),
    Lost,
    NoConnection,
}

impl Answer {
    /// A JSON answer; `Null` is an empty body.
    pub(crate) fn json(status: u16, body: &Value) -> Self {
        let body = if body.is_null() { Vec::new() } else { body.to_string().into_bytes() };
        Self::Reply(status, Vec::new(), body)
    }

    /// The same with a header.
    pub(crate) fn with(mut self, name: &'static str, value: impl Into<String>) -> Self {
        if let Self::Reply(_, headers, _) = &mut self {
            headers.push((name, value.into()));
        }
        self
    }
}

/// One request that arrived.
#[derive(Debug, Clone)]
pub(crate) struct Seen {
    pub(crate) method: String,
    pub(crate) url: Url,
    pub(crate) headers: BTreeMap<String, String>,
    pub(crate) body: Value,
}

impl Seen {
    /// `PUT /path?query`.
    pub(crate) fn line(&self) -> String {
        let query = self.url.query().unwrap_or_default();
        format!("{} {}?{query}", self.method, self.url.path())
    }
}

/// Answers in order; a request beyond the script fails the test by a lost reply.
#[derive(Debug, Default)]
pub(crate) struct Script {
    answers: Mutex<VecDeque<Answer>>,
    seen: Mutex<Vec<Seen>>,
}

impl Script {
    pub(crate) fn new(answers: impl IntoIterator<Item = Answer>) -> Arc<Self> {
        Arc::new(Self {
            answers: Mutex::new(answers.into_iter().collect()),
            seen: Mutex::default(),
        })
    }

    pub(crate) fn seen(&self) -> Vec<Seen> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    pub(crate) fn lines(&self) -> Vec<String> {
        self.seen().iter().map(Seen::line).collect()
    }
}

#[async_trait]
impl HttpClient for Script {
    async fn execute_request(&self, request: &Request) -> azure_core::Result<AsyncRawResponse> {
        let body = match request.body() {
            Body::Bytes(bytes) if !bytes.is_empty() => serde_json::from_slice(bytes)
                .unwrap_or_else(|_| String::from_utf8_lossy(bytes).into()),
            _ => Value::Null,
        };
        let headers = request.headers().iter();
        let headers =
            headers.map(|(k, v)| (k.as_str().to_owned(), v.as_str().to_owned())).collect();
        let method = request.method().as_ref().to_owned();
        let seen = Seen { method, url: request.url().clone(), headers, body };
        self.seen.lock().unwrap_or_else(PoisonError::into_inner).push(seen);
        let answer = self.answers.lock().unwrap_or_else(PoisonError::into_inner).pop_front();
        match answer {
            Some(Answer::Reply(status, fields, body)) => {
                let mut headers = Headers::new();
                for (name, value) in fields {
                    headers.insert(name, value);
                }
                Ok(AsyncRawResponse::from_bytes(StatusCode::from(status), headers, body))
            }
            Some(Answer::NoConnection) => Err(failed(ErrorKind::Connection, "connection refused")),
            Some(Answer::Lost) => Err(failed(ErrorKind::Io, "connection reset")),
            None => Err(failed(ErrorKind::Io, "the script has ended")),
        }
    }
}

fn failed(kind: ErrorKind, why: &'static str) -> Error {
    Error::with_message(kind, why)
}

/// A handle that is connected to the script. Time is skipping from the epoch.
pub(crate) fn azure(script: &Arc<Script>, clock: &Clock) -> Azure {
    Azure::played(Arc::clone(script) as Arc<dyn HttpClient>, clock)
}

/// A scripted Azure with its clock and a wait of its own.
pub(crate) fn world(
    answers: impl IntoIterator<Item = Answer>,
) -> (Azure, Arc<Script>, Wait<'static>, Clock) {
    let clock = Clock::skipping_from(Timestamp::UNIX_EPOCH);
    let script = Script::new(answers);
    let wait = Wait::new(&clock, &CancellationToken::new());
    (azure(&script, &clock), script, wait, clock)
}
