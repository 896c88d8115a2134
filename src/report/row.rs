//! A row of the narration, and how it is laid out: time, stage, step, word, text. On a terminal long text goes on below
//! its own column; commands stand on lines of their own and are never broken, so that they can be copied.

use jiff::Timestamp;

use super::line::{Line, Paint};
use super::narrate::Detail;
use super::phrase;
use crate::run::{RunState, StepId};

/// Columns that text must at least have before it is broken into them.
const NARROW: usize = 32;

/// One row: what about which step, lines below it, commands to type.
#[derive(Debug)]
pub(super) struct Row {
    step: Option<StepId>,
    word: &'static str,
    paint: Paint,
    text: String,
    below: Vec<String>,
    commands: Vec<(&'static str, String)>,
    from: Detail,
}

impl Row {
    pub(super) fn new(
        step: Option<&StepId>,
        word: &'static str,
        paint: Paint,
        text: impl Into<String>,
    ) -> Self {
        Self {
            step: step.cloned(),
            word,
            paint,
            text: text.into(),
            below: Vec::new(),
            commands: Vec::new(),
            from: if matches!(paint, Paint::Bad | Paint::Warn) {
                Detail::Quiet
            } else {
                Detail::Normal
            },
        }
    }

    pub(super) fn below(mut self, below: impl IntoIterator<Item = String>) -> Self {
        self.below.extend(below);
        self
    }

    /// What may be typed now, `migrate` in front.
    pub(super) fn command(mut self, why: &'static str, command: String) -> Self {
        self.commands.push((why, command));
        self
    }

    pub(super) const fn only_from(mut self, detail: Detail) -> Self {
        self.from = detail;
        self
    }

    pub(super) fn is_told_at(&self, detail: Detail) -> bool {
        self.from <= detail
    }
}

/// How rows of one run are laid out.
#[derive(Debug, Clone)]
pub(super) struct Layout {
    /// What stands for `migrate` in commands, so that they find the same state folder.
    pub(super) program: String,
    /// Whether the day is shown.
    pub(super) with_date: bool,
    /// Columns of the screen; none: lines are as long as they are.
    pub(super) width: Option<usize>,
}

impl Layout {
    /// The row as lines, the first with its time.
    pub(super) fn lines(&self, at: Timestamp, row: &Row, state: &RunState) -> Vec<Line> {
        let id = row.step.as_ref().map_or("-", |step| step.as_str());
        let within = row
            .step
            .as_ref()
            .and_then(|step| state.index.get(step))
            .map(|&index| state.header.plan.steps[index].stage)
            .or(state.stage)
            .map_or("-", |stage| stage.as_str());
        let time = if self.with_date { phrase::moment(at) } else { phrase::clock(at) };
        let words = time.len() + 2 + 9 + longest_id(state) + 2;
        let indent = words + 12;
        let mut text = self.broken(&row.text, indent).into_iter();
        let first = Line::new()
            .paint(Paint::Dim, &time)
            .to(time.len() + 2)
            .paint(Paint::Dim, within)
            .to(time.len() + 2 + 9)
            .paint(Paint::Strong, id)
            .to(words)
            .paint(row.paint, row.word)
            .to(indent)
            .text(text.next().unwrap_or_default());
        let below = row.below.iter().flat_map(|below| self.broken(below, indent));
        let rest = text.chain(below).map(|text| Line::new().to(indent).text(text));
        let labels = row.commands.iter().map(|(why, _)| why.len()).max().unwrap_or(0);
        let commands = row.commands.iter().map(|(why, command)| {
            let column = time.len() + 2;
            let why = Line::new().to(column).paint(Paint::Dim, format!("{why}:"));
            why.to(column + labels + 3).text(command.replacen("migrate", &self.program, 1))
        });
        std::iter::once(first).chain(rest).chain(commands).collect()
    }

    /// A row that is no fact: why something waits.
    pub(super) fn heartbeat(
        &self,
        at: Timestamp,
        step: Option<&StepId>,
        text: String,
        state: &RunState,
    ) -> Vec<Line> {
        self.lines(at, &Row::new(step, "…", Paint::Dim, text), state)
    }

    /// Broken between words where it would run over the edge.
    fn broken(&self, text: &str, indent: usize) -> Vec<String> {
        match self.width.and_then(|width| width.checked_sub(indent)) {
            Some(room) if room >= NARROW => broken(text, room),
            _ => vec![text.to_owned()],
        }
    }
}

/// As wide as the run's longest step id, within reason.
fn longest_id(state: &RunState) -> usize {
    let ids = state.header.plan.steps.iter().map(|step| step.id.as_str().chars().count());
    ids.max().unwrap_or(0).clamp(8, 28)
}

fn broken(text: &str, room: usize) -> Vec<String> {
    let mut lines = vec![String::new()];
    for word in text.split(' ') {
        let line = lines.last_mut().expect("never empty");
        let width = line.chars().count();
        if width > 0 && width + 1 + word.chars().count() > room {
            lines.push(word.to_owned());
        } else {
            if width > 0 {
                line.push(' ');
            }
            line.push_str(word);
        }
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_is_broken_between_words_and_a_long_word_stays_whole() {
        assert_eq!(broken("one two three", 7), ["one two", "three"]);
        assert_eq!(broken("a /very/long/path b", 6), ["a", "/very/long/path", "b"]);
        assert_eq!(broken("", 6), [""]);
    }
}
