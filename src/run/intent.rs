//! What a step is about to change, and what became of it.
//!
//! An intent is data: it is journalled before the change and is all that `probe` and `undo` get after a crash.
//! It never holds a secret.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

/// What happens when the same effect is performed a second time.
#[derive(
    Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema,
)]
#[serde(rename_all = "snake_case")]
pub enum Repeat {
    /// Exactly once: something at the target refuses a second time (an `ETag`, a DNS prerequisite, a create-only name).
    Guarded,
    /// The same again is harmless: a copy that compares first, a message with the same id.
    Repeatable,
    /// Neither: if the outcome is unknown a person decides. What a journal without the class is taken for.
    #[default]
    Ask,
}

/// How an effect is taken back.
#[derive(
    Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema,
)]
#[serde(rename_all = "snake_case")]
pub enum Undo {
    /// Exactly, from the previous state recorded in the intent.
    Restores,
    /// It stays and harms nothing: a copy on the target, a message.
    LeavesInPlace,
    /// It can not be taken back. What a journal without the class is taken for.
    #[default]
    Irreversible,
}

/// One change outside the process, declared before it is made.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Intent {
    /// Stable within the step, the same in every attempt: `record:CNAME/crm`. It is what makes a repeat recognisable.
    pub key: String,
    /// The thing that changes, as an operator names it: an ARM id, a folder, a URL without its query.
    pub target: String,
    /// What is done to it: `create`, `replace`, `delete`, `post`, `copy`, `run`.
    pub verb: String,
    /// See [`Repeat`].
    #[serde(default)]
    pub repeat: Repeat,
    /// See [`Undo`].
    #[serde(default)]
    pub undo: Undo,
    /// SHA-256 in hex over the wanted state or request body; tells a changed request from a repeated one.
    pub request: String,
    /// State of the target before the change, enough to restore it. `Null` where nothing was there.
    pub before: Value,
    /// The wanted state, enough for `probe` to recognise it.
    pub after: Value,
    /// How a person takes it back, where this program can not.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub by_hand: Option<String>,
}

impl Intent {
    /// An intent whose request fingerprint is taken over `after`.
    pub fn new(
        key: impl Into<String>,
        target: impl Into<String>,
        verb: &str,
        (repeat, undo): (Repeat, Undo),
        before: Value,
        after: Value,
    ) -> Self {
        Self {
            key: key.into(),
            target: target.into(),
            verb: verb.to_owned(),
            repeat,
            undo,
            request: super::fingerprint(&after),
            before,
            after,
            by_hand: None,
        }
    }

    /// Says how a person takes it back.
    #[must_use]
    pub fn by_hand(mut self, how: impl Into<String>) -> Self {
        self.by_hand = Some(how.into());
        self
    }
}

/// What came back when the request left: enough to find the operation again.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Sent {
    /// URL to poll a long-running operation; opaque, used as it came.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub operation_url: Option<String>,
    /// The service's id of the request.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub request_id: Option<String>,
}

/// An effect as the journal knows it: what `probe` and `undo` work from.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct RecordedEffect {
    /// The intent as it was journalled last.
    pub intent: Intent,
    /// Present once the request left.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sent: Option<Sent>,
    /// State read back from the target after the change.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub observed: Option<Value>,
    /// `done` was journalled.
    pub done: bool,
}

/// Three answers, not two: is a recorded intent in place?
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "answer", rename_all = "snake_case")]
pub enum Verdict {
    /// The target is as the intent wanted it.
    Done {
        /// State read from the target.
        observed: Value,
    },
    /// The target is as it was before; nothing of the intent happened.
    NotDone,
    /// Neither can be shown.
    Unknown {
        /// What was read, for the person who decides.
        evidence: String,
    },
}
