//! The journal: hash-chained, and synced before anything it speaks of happens.
//!
//! # On disk
//!
//! ```text
//! <state dir>/runs/<run id>/journal.jsonl   0600, one JSON object a line
//!                           lock            locked while an engine lives; holds the owner for messages
//!                           head.json       count and hash at the last stage end
//!                           inbox/          requests of people, taken up and removed by the engine
//!                           progress/       progress files of bulk effects
//!                           sandbox/        the world of a sandbox run
//! <state dir>/waves/<wave>.lock             one run of a wave at a time
//! ```
//!
//! A line: `{"seq":7,"at":"…Z","event":{"<fact>":{…}},"prev":"<hash of line 6>","hash":"<own hash>"}`. `hash` is SHA-256 over
//! `prev` and every byte of the line before `,"hash"`; the first `prev` is 64 zeros. The first fact is `run_started`.
//!
//! # Promises
//!
//! - Created by write to a temporary name, sync, rename, sync of the folder. Appended with one `fdatasync` per batch.
//! - A failed write or sync poisons the journal: nothing more is appended and no permit is made. It is never retried,
//!   because a second `fsync` may report success for bytes that are gone.
//! - A torn tail (what a write cut short leaves after the last newline) is kept in a side file, cut off and journalled.
//!   Every other damage is refused, naming record and byte.
//! - Whole records cut off the end can not be seen from inside. The head (count and hash) outside the file shows them;
//!   it protects only against whoever can not reach the place where the head is kept.

mod append;
mod damage;
mod lock;
mod permit;
mod read;
mod record;
#[cfg(test)]
mod tests;
#[cfg(test)]
mod under_fire;

pub use append::Journal;
pub use damage::JournalError;
pub use lock::{Lock, LockError, Owner, holder};
pub use permit::EffectPermit;
pub use read::{Head, Kept, Reading, compare, read};

/// Version of the format that this program writes. Older ones stay readable, newer ones are refused.
pub const FORMAT: u32 = 1;
/// Name of the file in a run's folder.
pub const FILE: &str = "journal.jsonl";
