//! What people read when something is wrong: code, place, cause, remedy.
//!
//! A [`Diagnostic`] is data. One renderer ([`render`]) turns it into text, and one page per code under `codes/` is what
//! `migrate explain CODE` prints.

pub mod codes;
pub mod mask;
pub mod redact;
pub mod render;
pub mod source;

use serde::Serialize;

/// A place in a file that a person wrote.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
pub struct Place {
    /// The file as it was named on the command line or in the including runbook.
    pub file: String,
    /// From 1.
    pub line: u32,
    /// From 1, in characters.
    pub column: u32,
    /// Characters to underline; at least 1.
    pub length: u32,
}

/// How bad it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    /// Nothing runs.
    Error,
    /// Shown, never stops.
    Warning,
}

/// One thing that is wrong, where, and what to do.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Diagnostic {
    /// Stable code with a page: `RB004`, `CAF012`, `MIG0301`.
    pub code: &'static str,
    /// See [`Severity`].
    pub severity: Severity,
    /// Lower case, no full stop: "unknown key `uess`".
    pub message: String,
    /// Where, when a file is at fault.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub place: Option<Place>,
    /// Further places: "first defined here".
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub related: Vec<(Place, String)>,
    /// What to type or change: "did you mean `uses`?".
    #[serde(skip_serializing_if = "Option::is_none")]
    pub hint: Option<String>,
}

impl Diagnostic {
    /// An error without a place.
    pub fn error(code: &'static str, message: impl Into<String>) -> Self {
        Self {
            code,
            severity: Severity::Error,
            message: message.into(),
            place: None,
            related: Vec::new(),
            hint: None,
        }
    }

    /// Puts it at a place.
    #[must_use]
    pub fn at(mut self, place: Place) -> Self {
        self.place = Some(place);
        self
    }

    /// Says what to do.
    #[must_use]
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }
}
