//! Text as painted pieces, so that width is counted before colour is added and nothing foreign reaches the terminal raw.
//!
//! Names, error bodies and comments come from outside: control characters in them are shown escaped, never sent.

use std::fmt::Write as _;

/// What a piece of text means; the terminal's colours are chosen here and nowhere else.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Paint {
    /// As it is.
    Plain,
    /// Names and headings.
    Strong,
    /// What the eye may skip.
    Dim,
    /// Ended well.
    Good,
    /// Waits for somebody, or differs from what was expected.
    Warn,
    /// Failed, refused, unknown.
    Bad,
}

/// Whether colours are used.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Style {
    /// No escape sequences at all.
    Plain,
    /// ANSI colours.
    Colour,
}

impl Style {
    /// Colour on a terminal, unless `NO_COLOR` is set to something.
    pub fn of(stream: &impl std::io::IsTerminal) -> Self {
        let refused = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
        if stream.is_terminal() && !refused { Self::Colour } else { Self::Plain }
    }

    const fn escape(self, paint: Paint) -> Option<&'static str> {
        match (self, paint) {
            (Self::Plain, _) | (_, Paint::Plain) => None,
            (Self::Colour, Paint::Strong) => Some("\x1b[1m"),
            (Self::Colour, Paint::Dim) => Some("\x1b[2m"),
            (Self::Colour, Paint::Good) => Some("\x1b[32m"),
            (Self::Colour, Paint::Warn) => Some("\x1b[33m"),
            (Self::Colour, Paint::Bad) => Some("\x1b[31m"),
        }
    }
}

/// One line on its way to the screen.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Line(Vec<(Paint, String)>);

impl Line {
    /// An empty line.
    pub const fn new() -> Self {
        Self(Vec::new())
    }

    /// Adds text as it is.
    #[must_use]
    pub fn text(self, text: impl AsRef<str>) -> Self {
        self.paint(Paint::Plain, text)
    }

    /// Adds painted text.
    #[must_use]
    pub fn paint(mut self, paint: Paint, text: impl AsRef<str>) -> Self {
        self.0.push((paint, printable(text.as_ref())));
        self
    }

    /// Fills up with spaces to `column`; text that is already longer is set off by two spaces.
    #[must_use]
    pub fn to(self, column: usize) -> Self {
        let width = self.width();
        let gap = if width == 0 || width + 2 <= column { column - width } else { 2 };
        self.text(" ".repeat(gap))
    }

    /// Characters so far.
    pub fn width(&self) -> usize {
        self.0.iter().map(|(_, text)| text.chars().count()).sum()
    }

    /// The line as bytes for a stream of this style, without a newline.
    pub fn render(&self, style: Style) -> String {
        let mut out = String::new();
        for (paint, text) in &self.0 {
            match style.escape(*paint) {
                Some(escape) => {
                    let _ = write!(out, "{escape}{text}\x1b[0m");
                }
                None => out.push_str(text),
            }
        }
        if style == Style::Plain {
            out.truncate(out.trim_end().len());
        }
        out
    }
}

/// Lines one below the other, each with its newline.
pub fn page(lines: &[Line], style: Style) -> String {
    lines.iter().fold(String::new(), |mut out, line| {
        out.push_str(&line.render(style));
        out.push('\n');
        out
    })
}

/// Control characters, and those that turn the writing direction, spelled out.
fn printable(text: &str) -> String {
    let foreign =
        |c: char| c.is_control() || matches!(c, '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}');
    if !text.contains(foreign) {
        return text.to_owned();
    }
    text.chars().fold(String::with_capacity(text.len()), |mut out, c| {
        match c {
            '\n' | '\t' => out.push(' '),
            c if foreign(c) => out.extend(c.escape_unicode()),
            c => out.push(c),
        }
        out
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn width_is_counted_before_colour() {
        let line = Line::new().paint(Paint::Bad, "failed").to(10).text("x");
        assert_eq!(line.render(Style::Plain), "failed    x");
        assert_eq!(line.render(Style::Colour), "\x1b[31mfailed\x1b[0m    x");
    }

    #[test]
    fn too_long_a_cell_still_ends_before_the_next() {
        assert_eq!(Line::new().text("abcdef").to(4).text("x").render(Style::Plain), "abcdef  x");
    }

    #[test]
    fn foreign_text_can_not_drive_the_terminal() {
        let line = Line::new().text("a\x1b]0;title\x07\nb\u{202e}c");
        assert_eq!(line.render(Style::Plain), "a\\u{1b}]0;title\\u{7} b\\u{202e}c");
    }
}
