//! The run as a pure function: facts, the fold over them, and the decision what to do next.
//!
//! No clock, no I/O, no hash order. Time arrives inside inputs.
//!
//! ```text
//! Input -> decide(state, input, at) -> facts -> (append, fold) -> schedule(state, at) -> facts, commands
//! ```

mod decide;
mod event;
mod failure;
mod finish;
mod frontier;
mod id;
mod intent;
mod outcome;
pub mod recovery;
mod schedule;
mod sink;
mod state;
#[cfg(test)]
mod tests;
mod texts;
pub mod transition;

pub use decide::{Command, Decision, Input, decide};
pub use event::{
    Ending, Event, Header, Operator, PersonRequest, Record, Request, Resolution, Stop, Waiting,
};
pub use failure::{FailureClass, StepError};
pub use finish::{Finish, finish};
pub use frontier::Frontier;
pub use id::{EffectId, RunId, Stage, StepId, WaveName, WorkloadName};
pub use intent::{Intent, RecordedEffect, Repeat, Sent, Undo, Verdict};
pub use outcome::{Answer, Evidence, Outcome, Outputs, Question};
pub use schedule::{Circumstances, schedule};
pub use sink::{ProgressNote, Sink};
pub use state::{IllegalFact, RunState, StepRecord, StepState};
pub use texts::Instead;

use sha2::{Digest, Sha256};

/// SHA-256 in hex over the JSON text of a value; object keys count in the order they stand.
pub fn fingerprint(value: &serde_json::Value) -> String {
    hex(&Sha256::digest(value.to_string()))
}

/// Lower-case hex.
pub fn hex(bytes: &[u8]) -> String {
    use std::fmt::Write as _;
    bytes.iter().fold(String::with_capacity(bytes.len() * 2), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}
