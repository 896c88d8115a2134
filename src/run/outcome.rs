//! What a step leaves behind in the journal besides its effects.

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::Value;

/// Named values for `{{ steps.<id>.<output> }}`.
pub type Outputs = BTreeMap<String, Value>;

/// One thing that was compared, for the summary.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Evidence {
    /// What was compared: "rows in customers".
    pub check: String,
    /// What came out: `equal`, `healthy`, `not compared`, …
    pub verdict: String,
    /// Numbers and names.
    pub detail: String,
    /// Whether this opens a gate. A check that could not compare never does.
    pub holds: bool,
}

/// What a finished step leaves behind.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Outcome {
    /// For `{{ steps.<id>.<output> }}`.
    pub outputs: Outputs,
    /// For the summary.
    pub evidence: Vec<Evidence>,
}

/// Answer of the people who were asked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answer {
    /// Everybody needed said yes, nobody said no.
    pub approved: bool,
    /// Who, in order.
    pub people: Vec<String>,
    /// What they wrote.
    pub comments: Vec<String>,
}

/// A question to people.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Question {
    /// What is asked.
    pub ask: String,
    /// How many different people must say yes.
    pub approvers: u32,
    /// Who may answer; empty means anybody.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub from: Vec<String>,
    /// After this moment the answer is no.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expires: Option<Timestamp>,
}
