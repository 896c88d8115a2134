//! Every request to ARM with its whole answer, in order, for whoever holds them against a specification.
//!
//! Kept only where the scenario says so. Unlike the ledger it holds reads, queries and bodies, nothing is folded from it,
//! and it is not synced: the last line may be torn after a crash. No token is kept.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::Write;
use std::path::Path;
use std::sync::{Mutex, PoisonError};

use hyper::http::{HeaderName, header};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::disk;
use super::error::SandboxError;
use super::http::{Answer, Request};

/// Its name in the sandbox's folder.
pub const EXCHANGES_FILE: &str = "exchanges.jsonl";

/// A request and its answer.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Exchange {
    /// HTTP method.
    pub method: String,
    /// Percent-decoded.
    pub path: String,
    /// Decoded pairs, in order.
    pub query: Vec<(String, String)>,
    /// Names in lower case; of `authorization` only the scheme.
    pub headers: BTreeMap<String, String>,
    /// `Null` where there was none; text that is no JSON as a string.
    pub body: Value,
    /// HTTP status; none where the connection was closed without an answer.
    pub status: Option<u16>,
    /// Names in lower case.
    pub answer_headers: BTreeMap<String, String>,
    /// As `body`.
    pub answer: Value,
}

/// What the sandbox in `dir` kept; empty where its scenario did not ask for it.
pub fn read(dir: &Path) -> Result<Vec<Exchange>, SandboxError> {
    let path = dir.join(EXCHANGES_FILE);
    match fs::read(&path) {
        Ok(bytes) => {
            let lines = bytes.split(|byte| *byte == b'\n');
            Ok(lines.filter_map(|line| serde_json::from_slice(line).ok()).collect())
        }
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(Vec::new()),
        Err(error) => Err(SandboxError::file("read", &path)(error)),
    }
}

/// The file, open.
#[derive(Debug)]
pub(super) struct Exchanges(Mutex<File>);

impl Exchanges {
    pub(super) fn open(dir: &Path) -> Result<Self, SandboxError> {
        Ok(Self(Mutex::new(disk::append_to(&dir.join(EXCHANGES_FILE))?)))
    }

    pub(super) fn keep(&self, mut exchange: Exchange, answer: &Answer) {
        if let Answer::Reply(reply) = answer {
            exchange.status = Some(reply.status.as_u16());
            exchange.answer = json_or_text(&reply.body);
            let headers = reply.headers.iter();
            exchange.answer_headers =
                headers.map(|(name, value)| (name.as_str().to_owned(), value.clone())).collect();
        }
        let mut line = serde_json::to_vec(&exchange).expect("an exchange is plain JSON");
        line.push(b'\n');
        let mut file = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Err(error) = file.write_all(&line) {
            tracing::warn!(%error, "an exchange could not be kept");
        }
    }
}

impl Exchange {
    /// The half that is known before the answer.
    pub(super) fn asked(request: &Request) -> Self {
        let shown = |name: &HeaderName, value: &str| match name {
            &header::AUTHORIZATION => value.split(' ').next().unwrap_or_default().to_owned(),
            _ => value.to_owned(),
        };
        let headers = request.headers.iter().filter_map(|(name, value)| {
            Some((name.as_str().to_owned(), shown(name, value.to_str().ok()?)))
        });
        Self {
            method: request.method.to_string(),
            path: request.path.clone(),
            query: request.query.clone(),
            headers: headers.collect(),
            body: json_or_text(&request.body),
            ..Self::default()
        }
    }
}

fn json_or_text(body: &[u8]) -> Value {
    if body.is_empty() {
        return Value::Null;
    }
    serde_json::from_slice(body).unwrap_or_else(|_| String::from_utf8_lossy(body).into())
}
