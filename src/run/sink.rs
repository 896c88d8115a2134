//! Where facts and progress are shown. Sinks hold view state only and decide nothing.

use jiff::Timestamp;

use super::{Record, RunState, StepId, Stop};

/// One line about long work, and how far it is. Never journalled.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProgressNote {
    /// The step.
    pub step: StepId,
    /// Why it waits or what it does: "lag 4 s, limit 0 s, reading 1 s old".
    pub text: String,
    /// Done and total, with a unit, when the total is known.
    pub amount: Option<(u64, u64, &'static str)>,
}

/// A consumer of the one stream of events. Called after the record is durable and folded, never before.
pub trait Sink: Send {
    /// A fact; `state` already contains it.
    fn on_record(&mut self, record: &Record, state: &RunState);
    /// Progress of a running step.
    fn on_progress(&mut self, note: &ProgressNote, state: &RunState) {
        let _ = (note, state);
    }
    /// A signal asked the run to stop. No fact yet: said at once, while what is under way comes to a safe point.
    fn on_stopping(&mut self, now: Timestamp, stop: Stop, state: &RunState) {
        let _ = (now, stop, state);
    }
    /// Time passes; for heartbeats and bars.
    fn on_tick(&mut self, now: Timestamp, state: &RunState) {
        let _ = (now, state);
    }
}
