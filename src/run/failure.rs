//! How a step fails. The class decides the exit code, whether a retry makes sense, and what is known of the target.

use std::fmt;

use serde::{Deserialize, Serialize};

/// What kind of failure it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FailureClass {
    /// It failed, the state of the target is known (exit 1).
    Failed,
    /// A gate refused; nothing was changed by it (exit 4).
    Refused,
    /// A person is needed (exit 5).
    NeedsPerson,
    /// The outcome of an effect is unknown (exit 6).
    Unknown,
    /// Validation found a difference (exit 7).
    Mismatch,
    /// The world differs from what plan or journal says (exit 11).
    Drift,
    /// Stopped from outside: Ctrl-C, abort, timeout (exit 130 or 1).
    Cancelled,
}

/// A failure that an operator can act on.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct StepError {
    /// See [`FailureClass`].
    pub class: FailureClass,
    /// Stable code with a page: `MIG0412`.
    pub code: String,
    /// What was attempted: "replace CNAME crm in zone contoso.example".
    pub attempted: String,
    /// What is known about the target now.
    pub known: String,
    /// Cause chain, outermost first. Never contains a secret or a URL's query.
    pub causes: Vec<String>,
    /// What to do or type next.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hint: Option<String>,
    /// Another attempt may succeed without anybody doing anything.
    pub retryable: bool,
}

impl StepError {
    /// A failure of the given class, not retryable.
    pub fn new(
        class: FailureClass,
        code: &str,
        attempted: impl Into<String>,
        known: impl Into<String>,
    ) -> Self {
        Self {
            class,
            code: code.to_owned(),
            attempted: attempted.into(),
            known: known.into(),
            causes: Vec::new(),
            hint: None,
            retryable: false,
        }
    }

    /// Stopped from outside while doing something.
    pub fn cancelled(doing: &str) -> Self {
        Self::new(FailureClass::Cancelled, "MIG0001", doing, "nothing was changed by this")
    }

    /// Adds an error and its sources to the cause chain.
    #[must_use]
    pub fn because(mut self, cause: &dyn std::error::Error) -> Self {
        let mut next = Some(cause);
        while let Some(cause) = next {
            self.causes.push(cause.to_string());
            next = cause.source();
        }
        self
    }

    /// Adds a cause in words.
    #[must_use]
    pub fn cause(mut self, cause: impl Into<String>) -> Self {
        self.causes.push(cause.into());
        self
    }

    /// Says what to do next.
    #[must_use]
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    /// Another attempt may succeed.
    #[must_use]
    pub fn retryable(mut self) -> Self {
        self.retryable = true;
        self
    }
}

impl fmt::Display for StepError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}; {}", self.code, self.attempted, self.known)?;
        self.causes.iter().try_for_each(|cause| write!(f, ": {cause}"))
    }
}

impl std::error::Error for StepError {}
