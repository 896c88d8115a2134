//! For programs: one JSON object a line, the first with the version of what follows.

use jiff::Timestamp;
use serde::Serialize;
use serde_json::json;

use super::output::Output;
use super::waits::under_way;
use crate::run::{ProgressNote, Record, RunState, Sink, Stop};

/// Raised when a line changes so that a reader has to know.
pub const VERSION: u32 = 1;

/// JSON lines.
#[derive(Debug)]
pub struct JsonLines(Output);

impl JsonLines {
    /// Writes the version line: `{"migrate":"0.1.0","json":1,"of":"events"}`.
    pub fn new(output: Output, of: &str) -> Self {
        let mut lines = Self(output);
        lines.value(&json!({ "migrate": env!("CARGO_PKG_VERSION"), "json": VERSION, "of": of }));
        lines
    }

    /// Goes on after a version line that another one has written.
    pub const fn continued(output: Output) -> Self {
        Self(output)
    }

    /// One more line.
    pub fn value(&mut self, value: &impl Serialize) {
        let line = serde_json::to_string(value).expect("our own types have string keys");
        self.0.text(&format!("{line}\n"));
    }
}

impl Sink for JsonLines {
    fn on_record(&mut self, record: &Record, _state: &RunState) {
        self.value(record);
    }

    fn on_progress(&mut self, note: &ProgressNote, _state: &RunState) {
        let amount = note
            .amount
            .map(|(done, total, unit)| json!({ "done": done, "total": total, "unit": unit }));
        self.value(
            &json!({ "progress": { "step": note.step, "text": note.text, "amount": amount } }),
        );
    }

    fn on_stopping(&mut self, _now: Timestamp, stop: Stop, state: &RunState) {
        let waits_for: Vec<_> = under_way(state).map(|(planned, _)| &planned.id).collect();
        self.value(&json!({ "stopping": { "stop": stop, "waits_for": waits_for } }));
    }

    fn on_tick(&mut self, _now: Timestamp, _state: &RunState) {}
}
