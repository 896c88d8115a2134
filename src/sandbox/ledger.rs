//! The ledger: one JSON line per thing that changed the sandbox's Azure, or tried to. It is the state, too.
//!
//! Every entry carries the resources it put or removed, so the world is the fold of the ledger and one synced append
//! makes a change and its record durable together. Nothing is answered before that. The order of lines is the order of
//! events; a last line without its newline was never answered and is cut.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::Write;
use std::path::{Path, PathBuf};

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::disk;
use super::error::SandboxError;

/// The ledger's name in the sandbox's folder.
pub const LEDGER_FILE: &str = "ledger.jsonl";

/// Put (`Some`) or removed (`None`), by key: lower-case resource id, or a key of the sandbox's own without a slash.
pub(crate) type Changes = BTreeMap<String, Option<Value>>;

/// Who caused an entry.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Cause {
    /// The scenario's world as it was at first.
    Opening,
    /// A client.
    Request,
    /// Another hand, scripted by the scenario.
    Drift,
}

/// One line.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Entry {
    /// From 0, no gaps.
    pub seq: u64,
    /// The sandbox's time.
    pub at: Timestamp,
    /// See [`Cause`].
    pub cause: Cause,
    /// HTTP method.
    pub method: String,
    /// Host and path for the applications, path alone for ARM; never the query.
    pub path: String,
    /// SHA-256 of the request's body, hexadecimal.
    pub body: String,
    /// `Idempotency-Key`, else `x-ms-client-request-id`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub request_id: Option<String>,
    /// `If-Match`, as sent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub if_match: Option<String>,
    /// `If-None-Match`, as sent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub if_none_match: Option<String>,
    /// Who, by the token.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub caller: Option<String>,
    /// HTTP status of the answer.
    pub status: u16,
    /// The fault that decided the answer, if one did.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fault: Option<String>,
    /// Whether anything is different after it.
    pub changed: bool,
    /// What it put and removed.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub changes: Changes,
}

impl Entry {
    /// Whether a client sent it with a method that may change something.
    pub fn is_mutating_request(&self) -> bool {
        self.cause == Cause::Request && !matches!(self.method.as_str(), "GET" | "HEAD" | "OPTIONS")
    }
}

/// The ledger of the sandbox in `dir`, oldest first; empty when there is none yet.
pub fn read(dir: &Path) -> Result<Vec<Entry>, SandboxError> {
    Ok(parse(&dir.join(LEDGER_FILE))?.0)
}

/// The sandbox's time at its last change: where a skipping clock has to go on after a restart.
pub fn last_time(dir: &Path) -> Result<Option<Timestamp>, SandboxError> {
    Ok(read(dir)?.last().map(|entry| entry.at))
}

/// Effects that were performed twice: both changed something, with the same method, path, body and request id.
pub fn duplicates(entries: &[Entry]) -> Vec<(&Entry, &Entry)> {
    let mut first = BTreeMap::new();
    let mut twice = Vec::new();
    for entry in entries.iter().filter(|entry| entry.changed && entry.is_mutating_request()) {
        let Some(id) = &entry.request_id else { continue };
        match first.get(&(&entry.method, &entry.path, &entry.body, id)) {
            Some(earlier) => twice.push((*earlier, entry)),
            None => {
                first.insert((&entry.method, &entry.path, &entry.body, id), entry);
            }
        }
    }
    twice
}

/// Entries and the length of the file that they take.
fn parse(path: &Path) -> Result<(Vec<Entry>, u64), SandboxError> {
    let bytes = match fs::read(path) {
        Ok(bytes) => bytes,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok((Vec::new(), 0)),
        Err(error) => return Err(SandboxError::file("read", path)(error)),
    };
    let whole = bytes.iter().rposition(|byte| *byte == b'\n').map_or(0, |at| at + 1);
    let mut entries = Vec::new();
    for line in bytes[..whole].split_inclusive(|byte| *byte == b'\n') {
        let damaged = |why: String| SandboxError::Ledger {
            path: path.to_owned(),
            line: entries.len() + 1,
            why,
        };
        let entry: Entry =
            serde_json::from_slice(line).map_err(|error| damaged(error.to_string()))?;
        if entry.seq != entries.len() as u64 {
            return Err(damaged(format!("entry {} out of order", entry.seq)));
        }
        entries.push(entry);
    }
    Ok((entries, whole as u64))
}

/// The open ledger. A failed append poisons it: the change is not answered and nothing is appended after it.
#[derive(Debug)]
pub(super) struct Ledger {
    path: PathBuf,
    file: File,
    poisoned: bool,
}

impl Ledger {
    /// Opens the ledger in `dir`, cutting a torn tail, and returns what it holds.
    pub(super) fn open(dir: &Path) -> Result<(Self, Vec<Entry>), SandboxError> {
        let path = dir.join(LEDGER_FILE);
        let (entries, length) = parse(&path)?;
        let file = disk::append_to(&path)?;
        file.set_len(length)
            .and_then(|()| file.sync_all())
            .map_err(SandboxError::file("cut the torn tail of", &path))?;
        Ok((Self { path, file, poisoned: false }, entries))
    }

    /// Returns when the entry is durable.
    pub(super) fn append(&mut self, entry: &Entry) -> Result<(), SandboxError> {
        let mut line = serde_json::to_vec(entry).expect("an entry is plain JSON");
        line.push(b'\n');
        if self.poisoned {
            let earlier = std::io::Error::other("an earlier append failed");
            return Err(SandboxError::file("append to", &self.path)(earlier));
        }
        self.file.write_all(&line).and_then(|()| self.file.sync_data()).map_err(|error| {
            self.poisoned = true;
            SandboxError::file("append to", &self.path)(error)
        })
    }
}
