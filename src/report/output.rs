//! One stream to people or to a pipe. Redacts, and falls silent when nobody reads any more: a closed pipe must not end
//! a cutover.

use std::io::Write;
use std::path::Path;

use super::line::{Line, Style, page};
use crate::diagnostic::redact::{RedactingWriter, Redactor};

/// Standard output or error, or whatever a test reads from.
#[derive(Debug)]
pub struct Output {
    /// None once writing has failed.
    stream: Option<RedactingWriter<Box<dyn Stream>>>,
    style: Style,
    /// Paths below it are shown as the runbook writes them: relative to it.
    base: Option<String>,
}

trait Stream: Write + Send + std::fmt::Debug {}
impl<W: Write + Send + std::fmt::Debug> Stream for W {}

impl Output {
    /// Into any writer.
    pub fn new(
        writer: impl Write + Send + std::fmt::Debug + 'static,
        style: Style,
        redactor: Redactor,
    ) -> Self {
        Self { stream: Some(RedactingWriter::new(Box::new(writer), redactor)), style, base: None }
    }

    /// Standard output, for what was asked for.
    pub fn stdout(redactor: Redactor) -> Self {
        let stdout = std::io::stdout();
        Self::new(std::io::stdout(), Style::of(&stdout), redactor)
    }

    /// Standard error, for narration.
    pub fn stderr(redactor: Redactor) -> Self {
        let stderr = std::io::stderr();
        Self::new(std::io::stderr(), Style::of(&stderr), redactor)
    }

    /// Shows paths below `base` relative to it.
    #[must_use]
    pub fn relative_to(mut self, base: &Path) -> Self {
        self.base = Some(format!("{}/", base.display()));
        self
    }

    /// One line.
    pub fn line(&mut self, line: &Line) {
        self.page(std::slice::from_ref(line));
    }

    /// Lines.
    pub fn page(&mut self, lines: &[Line]) {
        self.text(&page(lines, self.style));
    }

    /// Text that is already laid out, with its newlines.
    pub fn text(&mut self, text: &str) {
        let text = match &self.base {
            Some(base) => text.replace(base, ""),
            None => text.to_owned(),
        };
        if let Some(stream) = &mut self.stream
            && stream.write_all(text.as_bytes()).and_then(|()| stream.flush()).is_err()
        {
            self.stream = None;
        }
    }

    /// Whether anybody still reads.
    pub const fn is_open(&self) -> bool {
        self.stream.is_some()
    }
}

#[cfg(test)]
mod tests {
    use std::io;

    use super::*;

    #[derive(Debug)]
    struct Closed;

    impl Write for Closed {
        fn write(&mut self, _: &[u8]) -> io::Result<usize> {
            Err(io::ErrorKind::BrokenPipe.into())
        }
        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn a_closed_pipe_silences_the_stream() {
        let mut output = Output::new(Closed, Style::Plain, Redactor::default());
        output.line(&Line::new().text("first"));
        assert!(!output.is_open());
        output.line(&Line::new().text("second"));
    }
}
