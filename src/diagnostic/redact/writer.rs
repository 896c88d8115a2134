//! A writer that lets no known secret through, however the bytes are cut into writes.

use std::io::{self, Write};

use super::Redactor;

/// Holds back the unfinished line, so that a secret split over writes is still seen whole. `flush` does not push an
/// unfinished line out; dropping the writer does.
#[derive(Debug)]
pub struct RedactingWriter<W: Write> {
    inner: W,
    redactor: Redactor,
    line: Vec<u8>,
}

impl<W: Write> RedactingWriter<W> {
    /// Writes to `inner` what the redactor leaves.
    pub fn new(inner: W, redactor: Redactor) -> Self {
        Self { inner, redactor, line: Vec::new() }
    }

    fn pass(&mut self, length: usize) -> io::Result<()> {
        let result = self.inner.write_all(&self.redactor.redact_bytes(&self.line[..length]));
        // Also after an error: the bytes count as written, or the next call would write them twice.
        self.line.drain(..length);
        result
    }
}

impl<W: Write> Write for RedactingWriter<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.line.extend_from_slice(bytes);
        if let Some(newline) = self.line.iter().rposition(|&byte| byte == b'\n') {
            self.pass(newline + 1)?;
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.inner.flush()
    }
}

impl<W: Write> Drop for RedactingWriter<W> {
    fn drop(&mut self) {
        // Nobody is left to tell about a writer that fails now.
        let _ = self.pass(self.line.len()).and_then(|()| self.inner.flush());
    }
}
