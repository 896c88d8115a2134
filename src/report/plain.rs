//! For CI and pipes: one line per fact worth a person's time, RFC 3339 time in front, and a heartbeat while something waits.

use std::time::{Duration, Instant};

use jiff::Timestamp;

use super::narrate::{Detail, narrate, stopping};
use super::output::Output;
use super::row::Layout;
use super::waits::{Notes, pressing};
use crate::run::{ProgressNote, Record, RunState, Sink, Stop};

/// Without a fact for so long in real time, a heartbeat says why.
pub(super) const HEARTBEAT: Duration = Duration::from_secs(30);

/// Steps named in one heartbeat; a wave of 200 must not fill the log.
const NAMED: usize = 8;

/// Plain lines.
#[derive(Debug)]
pub struct Plain {
    output: Output,
    detail: Detail,
    layout: Layout,
    notes: Notes,
    /// Real time: in a sandbox run the run's own clock skips hours within a second.
    last_line: Instant,
}

impl Plain {
    /// Into this stream; commands to type begin with `program`.
    pub fn new(output: Output, detail: Detail, program: String) -> Self {
        let layout = Layout { program, with_date: true, width: None };
        Self { output, detail, layout, notes: Notes::default(), last_line: Instant::now() }
    }

    /// Every step that runs or waits, and what presses.
    pub(super) fn heartbeat(&mut self, now: Timestamp, state: &RunState) {
        let reasons: Vec<_> = self.notes.reasons(now, state).collect();
        let mut lines: Vec<_> = reasons
            .iter()
            .take(NAMED)
            .flat_map(|(step, why)| self.layout.heartbeat(now, Some(step), why.clone(), state))
            .collect();
        let mut rest = pressing(now, state);
        if reasons.len() > NAMED {
            rest.insert(0, format!("and {} more steps run or wait", reasons.len() - NAMED));
        }
        if !reasons.is_empty() && !rest.is_empty() {
            lines.extend(self.layout.heartbeat(now, None, rest.join("; "), state));
        }
        self.output.page(&lines);
    }
}

impl Sink for Plain {
    fn on_record(&mut self, record: &Record, state: &RunState) {
        self.notes.prune(state);
        if let Some(row) = narrate(record, state, self.detail) {
            self.output.page(&self.layout.lines(record.at, &row, state));
            self.last_line = Instant::now();
        }
    }

    fn on_progress(&mut self, note: &ProgressNote, _state: &RunState) {
        self.notes.keep(note);
    }

    fn on_stopping(&mut self, now: Timestamp, stop: Stop, state: &RunState) {
        self.output.page(&self.layout.lines(now, &stopping(stop, state), state));
        self.last_line = Instant::now();
    }

    fn on_tick(&mut self, now: Timestamp, state: &RunState) {
        if self.detail >= Detail::Normal && self.last_line.elapsed() >= HEARTBEAT {
            self.last_line = Instant::now();
            self.heartbeat(now, state);
        }
    }
}
