//! One record, one line: encoding, chaining, checking.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::run::{Event, Record, hex};

/// The `prev` of the first record.
pub(super) const GENESIS: &str = "0000000000000000000000000000000000000000000000000000000000000000";

/// What stands between the chained bytes and the hash, and after it.
const SEAL: &str = ",\"hash\":\"";
const END: &str = "\"}\n";
/// Bytes of `,"hash":"<64>"}` at the end of every line, without the newline.
const SEALED: usize = SEAL.len() + 64 + END.len() - 1;

/// Borrowing form for writing: field order is file order.
#[derive(Serialize)]
struct Chained<'a> {
    seq: u64,
    at: Timestamp,
    event: &'a Event,
    prev: &'a str,
}

/// Owning form for reading.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Line<'a> {
    seq: u64,
    at: Timestamp,
    event: Event,
    #[serde(borrow)]
    prev: &'a str,
    #[serde(borrow)]
    hash: &'a str,
}

/// SHA-256 over `prev` and every byte of the line before `,"hash"`.
fn seal(prev: &str, chained: &[u8]) -> String {
    hex(&Sha256::new().chain_update(prev).chain_update(chained).finalize())
}

/// Appends the line of `record` to `out` and returns its hash.
pub(super) fn encode(record: &Record, prev: &str, out: &mut Vec<u8>) -> String {
    let start = out.len();
    let chained = Chained { seq: record.seq, at: record.at, event: &record.event, prev };
    serde_json::to_writer(&mut *out, &chained).expect("facts are plain data with text keys");
    // Reopen the object: the hash is its last member.
    out.pop();
    let hash = seal(prev, &out[start..]);
    out.extend_from_slice(SEAL.as_bytes());
    out.extend_from_slice(hash.as_bytes());
    out.extend_from_slice(END.as_bytes());
    hash
}

/// Checks one line (without its newline) against its place in the chain and returns the record with its hash.
pub(super) fn decode(line: &[u8], seq: u64, prev: &str) -> Result<(Record, String), String> {
    let body = line.len().checked_sub(SEALED).ok_or("it is too short for a record")?;
    let (chained, sealed) = line.split_at(body);
    let hash = sealed
        .strip_prefix(SEAL.as_bytes())
        .and_then(|rest| rest.strip_suffix(&END.as_bytes()[..END.len() - 1]))
        .ok_or("it does not end in a hash")?;
    let expected = seal(prev, chained);
    if hash != expected.as_bytes() {
        return Err("its hash does not match its bytes".to_owned());
    }
    let text = std::str::from_utf8(line).map_err(|error| error.to_string())?;
    let read: Line = serde_json::from_str(text).map_err(|error| error.to_string())?;
    if read.seq != seq || read.prev != prev || read.hash != expected {
        return Err(format!("it is record {} with another predecessor", read.seq));
    }
    Ok((Record { seq: read.seq, at: read.at, event: read.event }, expected))
}

/// Whether bytes after the last newline are what a torn write leaves: a strict prefix of the next record, then maybe
/// zeros, or zeros alone. A record that is whole but for its newline is not: it may have been acknowledged.
pub(super) fn is_torn(tail: &[u8], seq: u64) -> bool {
    let written = tail.iter().rposition(|byte| *byte != 0).map_or(0, |last| last + 1);
    let written = &tail[..written];
    let opening = format!("{{\"seq\":{seq},\"at\":\"");
    let shared = opening.len().min(written.len());
    written[..shared] == opening.as_bytes()[..shared]
        && written.iter().all(|byte| *byte >= b' ')
        && serde_json::from_slice::<serde::de::IgnoredAny>(written)
            .err()
            .is_some_and(|error| error.is_eof() || written.is_empty())
}
