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

/// Checks that one line (without its newline) is as it was written and follows `prev`; returns its hash. The seal is
/// the same in every format, so damage is told from a newer format before anything else is read.
pub(super) fn unseal(line: &[u8], prev: &str) -> Result<String, String> {
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
    Ok(expected)
}

/// The record of an unsealed line, at its place in the chain.
pub(super) fn decode(line: &[u8], seq: u64, prev: &str, hash: &str) -> Result<Record, String> {
    let text = std::str::from_utf8(line).map_err(|error| error.to_string())?;
    let read: Line = serde_json::from_str(text).map_err(|error| error.to_string())?;
    if read.seq != seq || read.prev != prev || read.hash != hash {
        return Err(format!("it is record {} with another predecessor", read.seq));
    }
    Ok(Record { seq: read.seq, at: read.at, event: read.event })
}

/// Whether bytes after the last newline are what a torn write leaves: a strict prefix of the next record, then maybe
/// zeros, or zeros alone. A record that is whole but for its newline is not: it may have been acknowledged.
pub(super) fn is_torn(tail: &[u8], seq: u64, prev: &str) -> bool {
    let written = tail.iter().rposition(|byte| *byte != 0).map_or(0, |last| last + 1);
    let written = &tail[..written];
    let text = match std::str::from_utf8(written) {
        Ok(_) => true,
        Err(error) => error.error_len().is_none(),
    };
    text && written.iter().all(|byte| *byte >= b' ')
        && matches!(follow(written, seq, prev), Err(Parted::Ended))
}

/// Why bytes are not a whole record.
enum Parted {
    /// They end where it would go on.
    Ended,
    /// They are something else.
    Differs,
}

/// Follows a record member by member: its number and its `prev` are known, its hash follows from what stands before it.
fn follow<'a>(written: &'a [u8], seq: u64, prev: &str) -> Result<&'a [u8], Parted> {
    let rest = expect(written, &format!("{{\"seq\":{seq},\"at\":\""))?;
    let Some(end) = rest.iter().position(|byte| *byte == b'"') else {
        let of_time = |byte: &u8| byte.is_ascii_digit() || b"-:.TZ".contains(byte);
        return Err(if rest.iter().all(of_time) { Parted::Ended } else { Parted::Differs });
    };
    let at = std::str::from_utf8(&rest[..end]).ok().and_then(|at| at.parse::<Timestamp>().ok());
    at.ok_or(Parted::Differs)?;
    let rest = expect(&rest[end..], "\",\"event\":")?;
    let mut events = serde_json::Deserializer::from_slice(rest).into_iter::<Event>();
    match events.next() {
        Some(Ok(_)) => {}
        Some(Err(error)) if !error.is_eof() => return Err(Parted::Differs),
        Some(Err(_)) | None => return Err(Parted::Ended),
    }
    let rest = expect(&rest[events.byte_offset()..], &format!(",\"prev\":\"{prev}\""))?;
    let hash = seal(prev, &written[..written.len() - rest.len()]);
    expect(rest, &format!("{SEAL}{hash}{}", END.trim_end()))
}

/// What comes after `literal`.
fn expect<'a>(bytes: &'a [u8], literal: &str) -> Result<&'a [u8], Parted> {
    match bytes.strip_prefix(literal.as_bytes()) {
        Some(rest) => Ok(rest),
        None if literal.as_bytes().starts_with(bytes) => Err(Parted::Ended),
        None => Err(Parted::Differs),
    }
}
