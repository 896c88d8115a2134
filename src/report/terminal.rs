//! For a person at a terminal: the same rows as `plain`, bars for work with a known amount, and one status line that says
//! why it waits, how much of the window is left and how long writes have been paused.
//!
//! While a question is open nothing is drawn below it: what the person types stays readable.

use std::collections::{BTreeMap, BTreeSet};

use std::path::Path;

use indicatif::{MultiProgress, ProgressBar, ProgressDrawTarget, ProgressStyle};
use jiff::Timestamp;

use super::line::{Line, Style};
use super::narrate::{Detail, narrate, stopping};
use super::output::Output;
use super::row::Layout;
use super::waits::{Notes, pressing};
use crate::diagnostic::redact::Redactor;
use crate::run::{Event, ProgressNote, Record, RunState, Sink, StepId, StepState, Stop};

/// More bars would push the rows off a small screen.
const BARS: usize = 6;

/// Bars and a status line below the rows.
#[derive(Debug)]
pub struct Terminal {
    screen: MultiProgress,
    status: ProgressBar,
    bars: BTreeMap<StepId, ProgressBar>,
    asked: BTreeSet<StepId>,
    notes: Notes,
    /// Takes the rows while a question is open: nothing passes a hidden screen.
    beside_question: Output,
    style: Style,
    detail: Detail,
    layout: Layout,
    /// Who is asked at this keyboard, if anybody is.
    keyboard: Option<String>,
    redactor: Redactor,
    /// Paths below it are shown relative to it.
    base: String,
}

impl Terminal {
    /// On standard error. Commands to type begin with `program`; `keyboard` is the login name of whoever can be asked here.
    pub fn new(
        style: Style,
        detail: Detail,
        redactor: Redactor,
        base: &Path,
        program: String,
        keyboard: Option<String>,
    ) -> Self {
        let screen = MultiProgress::with_draw_target(ProgressDrawTarget::stderr());
        let status = screen.add(ProgressBar::new_spinner().with_style(only_message()));
        Self {
            screen,
            status,
            bars: BTreeMap::new(),
            asked: BTreeSet::new(),
            notes: Notes::default(),
            beside_question: Output::stderr(redactor.clone()).relative_to(base),
            style,
            detail,
            layout: Layout { program, with_date: false, width: None },
            keyboard,
            redactor,
            base: format!("{}/", base.display()),
        }
    }

    fn show(&mut self, line: &Line) {
        if !self.asked.is_empty() {
            self.beside_question.line(line);
            return;
        }
        let text = line.render(self.style).replace(&self.base, "");
        // A terminal that is gone takes nothing; the run goes on.
        let _ = self.screen.println(self.redactor.redact(&text));
    }

    fn redraw(&mut self, now: Timestamp, state: &RunState) {
        self.bars.retain(|step, bar| {
            let lives = state.step(step).is_some_and(|step| {
                matches!(step.state, StepState::Running(_) | StepState::Undoing)
            });
            if !lives {
                bar.finish_and_clear();
            }
            lives
        });
        let text = status_line(now, state, &self.notes).replace(&self.base, "");
        self.status.set_message(self.redactor.redact(&text).into_owned());
    }

    /// Bars give way to a question, and come back when none is open.
    fn make_room(&mut self, record: &Record, state: &RunState) {
        let was_asked = !self.asked.is_empty();
        let Some(who) = &self.keyboard else { return };
        if let Event::Asked { step, question } = &record.event
            && (question.from.is_empty() || question.from.contains(who))
        {
            self.asked.insert(step.clone());
        }
        self.asked.retain(|step| {
            state.step(step).is_some_and(|step| {
                let answered = step
                    .question
                    .as_ref()
                    .is_some_and(|(_, yes)| yes.iter().any(|(name, _)| name == who));
                matches!(step.state, StepState::Running(_)) && !answered
            })
        });
        let is_asked = !self.asked.is_empty();
        if is_asked && !was_asked {
            let _ = self.screen.clear();
            self.screen.set_draw_target(ProgressDrawTarget::hidden());
        } else if was_asked && !is_asked {
            self.screen.set_draw_target(ProgressDrawTarget::stderr());
        }
    }
}

impl Sink for Terminal {
    fn on_record(&mut self, record: &Record, state: &RunState) {
        self.layout.width = width();
        self.notes.prune(state);
        self.make_room(record, state);
        if let Some(row) = narrate(record, state, self.detail) {
            for line in self.layout.lines(record.at, &row, state) {
                self.show(&line);
            }
        }
        self.redraw(record.at, state);
        if matches!(record.event, Event::RunStopped { .. } | Event::RunEnded { .. }) {
            self.status.finish_and_clear();
        }
    }

    fn on_progress(&mut self, note: &ProgressNote, _state: &RunState) {
        self.notes.keep(note);
        let Some((done, total, unit)) = note.amount else { return };
        if !self.bars.contains_key(&note.step) && self.bars.len() >= BARS {
            return;
        }
        let bar = self.bars.entry(note.step.clone()).or_insert_with(|| {
            let bar = ProgressBar::new(total).with_style(with_amount(unit));
            self.screen.insert_before(&self.status, bar).with_prefix(note.step.to_string())
        });
        bar.set_length(total);
        bar.set_position(done);
        let text = note.text.replace(&self.base, "");
        bar.set_message(self.redactor.redact(&text).into_owned());
    }

    fn on_stopping(&mut self, now: Timestamp, stop: Stop, state: &RunState) {
        for line in self.layout.lines(now, &stopping(stop, state), state) {
            self.show(&line);
        }
    }

    fn on_tick(&mut self, now: Timestamp, state: &RunState) {
        self.redraw(now, state);
    }
}

/// `release 14/27 · lag[crm]: lag 4 s, limit 0 s, reading 1 s old · window closes in 1h12m · writes paused for 4m12s`.
fn status_line(now: Timestamp, state: &RunState, notes: &Notes) -> String {
    let ended = state
        .steps
        .iter()
        .filter(|step| matches!(step.state, StepState::Succeeded | StepState::Skipped))
        .count();
    let begun = state.stage.map_or("-", |stage| stage.as_str());
    let mut parts = vec![format!("{begun} {ended}/{}", state.steps.len())];
    let mut reasons = notes.reasons(now, state);
    if let Some((step, why)) = reasons.next() {
        parts.push(format!("{step}: {why}"));
    }
    let more = reasons.count();
    if more > 0 {
        parts.push(format!("{more} more"));
    }
    parts.extend(pressing(now, state));
    parts.join(" · ")
}

/// Columns of the screen.
fn width() -> Option<usize> {
    let size = rustix::termios::tcgetwinsize(std::io::stderr()).ok()?;
    Some(usize::from(size.ws_col)).filter(|&columns| columns > 0)
}

fn only_message() -> ProgressStyle {
    ProgressStyle::with_template("{wide_msg}").expect("a constant template")
}

fn with_amount(unit: &str) -> ProgressStyle {
    let template = match unit {
        "bytes" => "  {prefix:24} [{bar:24}] {bytes}/{total_bytes} {wide_msg}",
        _ => "  {prefix:24} [{bar:24}] {pos}/{len} {wide_msg}",
    };
    ProgressStyle::with_template(template).expect("constant templates").progress_chars("=> ")
}

impl Drop for Terminal {
    fn drop(&mut self) {
        let _ = self.screen.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_templates_are_right() {
        let _ = (only_message(), with_amount("bytes"), with_amount("files"));
    }
}
