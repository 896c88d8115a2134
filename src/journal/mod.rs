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
//! - A torn tail (what a write cut short leaves after the last newline: a strict prefix of the next record, zeros, or both) is
//!   kept in a side file, cut off and journalled, each step durable before the next. Every other damage is refused, naming
//!   the record and the byte where its line starts; which byte of the line was changed, its hash can not tell.
//! - Opening makes durable what the last process wrote and did not live to sync, before anything is concluded from it.
//! - No permit is made unless there is room for the outcome: a full disk is met before an effect.
//!
//! # What the head proves
//!
//! Whole records cut off the end, or lost or overwritten with the last blocks of a disk, can not be seen from inside. The head (count and
//! hash) kept outside the file shows them: it is in `head.json` at each stage end, in every posted notification, with every
//! question at the prompt and every `migrate approve`, and at the foot of every summary and status. `journal verify --head`
//! takes any of these. A head that holds proves that the journal still begins with exactly the records it was kept of; it says
//! nothing of what was appended since, nor of who wrote a record, and it protects only against whoever can not reach the
//! place where it is kept: `head.json`, beside the journal, is for accidents.
//!
//! # A new format version
//!
//! The frame of a line (its five members and the seal) never changes, so that damage and a newer format are told apart by
//! every version. Before [`FORMAT`] is raised, the program of the old version runs `wave-2` (killed once, its tail torn, and
//! resumed) below neutral paths, and `journal.jsonl` and `head.json` go to `tests/it/journals/format-<version>`. The tests of
//! `tests/it/journals.rs` then hold every later program to reading it. A field added to a fact gets a default that reads as the
//! worst.

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
