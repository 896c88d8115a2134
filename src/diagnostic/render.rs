//! The one renderer of diagnostics: code, message, place, the line at fault, what to do.
//!
//! A line that may hold a secret is never shown, see [`super::mask`].

use std::collections::{HashMap, HashSet};
use std::fmt::Write as _;

use super::source::Sources;
use super::{Diagnostic, Place, Severity, mask};

/// Longest line that is shown; a longer one is cut around the place.
const MAX_WIDTH: usize = 120;

/// Turns diagnostics into text.
#[derive(Debug)]
pub struct Renderer<'s> {
    sources: &'s Sources,
    colour: bool,
    /// Lines not to be shown, by file; found when a file is first spoken of.
    hidden: HashMap<String, HashSet<u32>>,
}

/// What a piece of text is, for its colour.
#[derive(Clone, Copy)]
enum Tone {
    Error,
    Warning,
    Frame,
    Strong,
}

impl<'s> Renderer<'s> {
    /// Over the files the diagnostics speak of.
    pub fn new(sources: &'s Sources, colour: bool) -> Self {
        Self { sources, colour, hidden: HashMap::new() }
    }

    /// All of them, one below the other, with a blank line between.
    pub fn all(&mut self, found: &[Diagnostic]) -> String {
        found.iter().map(|it| self.one(it)).collect::<Vec<_>>().join("\n")
    }

    /// One of them; ends with a newline.
    pub fn one(&mut self, found: &Diagnostic) -> String {
        let (word, tone) = match found.severity {
            Severity::Error => ("error", Tone::Error),
            Severity::Warning => ("warning", Tone::Warning),
        };
        let head = self.paint(tone, &format!("{word}[{}]", found.code));
        let message = self.paint(Tone::Strong, &format!(": {}", found.message));
        let mut text = format!("{head}{message}\n");
        let width = found.place.as_ref().map_or(1, |place| place.line.to_string().len());
        if let Some(place) = &found.place {
            let arrow = self.paint(Tone::Frame, &format!("{:width$}-->", ""));
            let Place { file, line, column, .. } = place;
            let _ = writeln!(text, "{arrow} {file}:{line}:{column}");
            self.snippet(&mut text, place, width, tone);
        }
        let sign = self.paint(Tone::Frame, &format!("{:width$} =", ""));
        for (Place { file, line, column, .. }, what) in &found.related {
            let _ = writeln!(text, "{sign} note: {what}: {file}:{line}:{column}");
        }
        if let Some(hint) = &found.hint {
            let _ = writeln!(text, "{sign} help: {hint}");
        }
        text
    }

    fn snippet(&mut self, text: &mut String, place: &Place, width: usize, tone: Tone) {
        let Some(source) = self.sources.text_of(&place.file) else { return };
        let hidden = self
            .hidden
            .entry(place.file.clone())
            .or_insert_with(|| mask::hidden_lines(source))
            .contains(&place.line);
        let Some(line) = self.sources.line_of(&place.file, place.line) else { return };
        let bar = self.paint(Tone::Frame, &format!("{:width$} |", ""));
        let number = self.paint(Tone::Frame, &format!("{:width$} |", place.line));
        if hidden {
            let _ = writeln!(text, "{bar}\n{number} (not shown: this line may hold a secret)");
            return;
        }
        let (shown, column, length) = cut(line, place);
        let carets = self.paint(tone, &"^".repeat(length));
        let _ = writeln!(text, "{bar}\n{number} {shown}\n{bar} {:column$}{carets}", "");
    }

    fn paint(&self, tone: Tone, text: &str) -> String {
        if !self.colour {
            return text.to_owned();
        }
        let code = match tone {
            Tone::Error => "1;31",
            Tone::Warning => "1;33",
            Tone::Frame => "1;34",
            Tone::Strong => "1",
        };
        format!("\x1b[{code}m{text}\x1b[0m")
    }
}

/// The part of a line to show, the column in it from 0, and how many carets. Tabs and control characters become spaces,
/// so that the carets stand where they should and nothing reaches the terminal that it would obey.
fn cut(line: &str, place: &Place) -> (String, usize, usize) {
    let clean: Vec<char> = line.chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
    let column = (place.column as usize).saturating_sub(1).min(clean.len());
    let length = (place.length as usize).clamp(1, clean.len().saturating_sub(column).max(1));
    if clean.len() <= MAX_WIDTH {
        return (clean.into_iter().collect(), column, length);
    }
    let from = column.saturating_sub(MAX_WIDTH / 2);
    let to = (from + MAX_WIDTH).min(clean.len());
    let mut shown: String = clean[from..to].iter().collect();
    let lead = if from > 0 { "…" } else { "" };
    shown.insert_str(0, lead);
    if to < clean.len() {
        shown.push('…');
    }
    (shown, column - from + lead.chars().count(), length.min(to - column).max(1))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn place(line: u32, column: u32, length: u32) -> Place {
        Place { file: "w.yaml".to_owned(), line, column, length }
    }

    fn sources(text: &str) -> Sources {
        let mut sources = Sources::default();
        sources.add("w.yaml", text);
        sources
    }

    #[test]
    fn a_diagnostic_reads_like_cargo() {
        let sources = sources("a: 1\n  uess: notify\n");
        let found = Diagnostic::error("RB004", "unknown key `uess`")
            .at(place(2, 3, 4))
            .hint("did you mean `uses`?");
        insta::assert_snapshot!(Renderer::new(&sources, false).one(&found), @r"
        error[RB004]: unknown key `uess`
         --> w.yaml:2:3
          |
        2 |   uess: notify
          |   ^^^^
          = help: did you mean `uses`?
        ");
    }

    #[test]
    fn a_line_with_a_secret_is_not_shown() {
        let sources = sources("secrets:\n  crm: hunter2\n");
        let found = Diagnostic::error("RB005", "expected a mapping").at(place(2, 8, 7));
        let text = Renderer::new(&sources, true).one(&found);
        assert!(!text.contains("hunter2"), "{text}");
        assert!(text.contains("may hold a secret"));
    }

    #[test]
    fn a_long_line_is_cut_around_the_place() {
        let long = format!("{}x{}", "a".repeat(500), "b".repeat(500));
        let sources = sources(&long);
        let found = Diagnostic::error("RB005", "here").at(place(1, 501, 1));
        let text = Renderer::new(&sources, false).one(&found);
        let lines: Vec<&str> = text.lines().collect();
        let caret = lines[4].chars().position(|c| c == '^').expect("a caret");
        assert_eq!(lines[3].chars().nth(caret), Some('x'));
    }
}
