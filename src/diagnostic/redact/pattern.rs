//! One secret in every shape it may take in text.
//!
//! A shape is a sequence of bytes: the secret itself, its hex, its base64 at each of the three places in a group. Each is
//! matched through [`spelling`](super::spelling), so any mixture of escapes is found: libraries disagree on which
//! characters they escape. Hex and base64 may be wrapped into lines. Nothing here ever prints a value.

use std::fmt;
use std::ops::Range;

use base64::engine::general_purpose::{STANDARD_NO_PAD, URL_SAFE_NO_PAD};

use super::spelling::{Unit, is_special, units};
use crate::run::hex;

/// A sequence of bytes that gives a secret away.
pub(super) struct Shape {
    bytes: Vec<u8>,
    kind: Kind,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Plain,
    /// Lower case; compared without regard to case.
    Hex,
    Base64 {
        /// The character before also holds bits of the secret.
        mixed_before: bool,
        /// The character after also holds bits of the secret.
        mixed_after: bool,
    },
}

impl fmt::Debug for Shape {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Shape([secret])")
    }
}

/// The shapes of one text.
pub(super) fn shapes(secret: &str) -> impl Iterator<Item = Shape> + use<'_> {
    let bytes = secret.as_bytes();
    let plain = Shape { bytes: bytes.to_vec(), kind: Kind::Plain };
    let hex = Shape { bytes: hex(bytes).into_bytes(), kind: Kind::Hex };
    let base64 = (0..3).flat_map(move |offset| {
        let standard = base64(bytes, offset, &STANDARD_NO_PAD);
        let url_safe = base64(bytes, offset, &URL_SAFE_NO_PAD);
        let differs = standard.bytes != url_safe.bytes;
        std::iter::once(standard).chain(differs.then_some(url_safe))
    });
    [plain, hex].into_iter().chain(base64)
}

/// The characters of a base64 text that depend on the secret alone, whatever stands around it. `offset` bytes stand
/// before the secret in its group of three.
fn base64(secret: &[u8], offset: usize, engine: &impl base64::Engine) -> Shape {
    let mut padded = vec![0; offset];
    padded.extend_from_slice(secret);
    let text = engine.encode(&padded).into_bytes();
    // 8 bits a byte, 6 a character: the first `offset` bytes reach into this many characters.
    let before = (offset * 8).div_ceil(6);
    let whole = padded.len() * 8 / 6;
    let kind =
        Kind::Base64 { mixed_before: offset > 0, mixed_after: !padded.len().is_multiple_of(3) };
    Shape { bytes: text[before..whole].to_vec(), kind }
}

impl Shape {
    pub(super) fn is_plain(&self, secret: &str) -> bool {
        self.kind == Kind::Plain && self.bytes == secret.as_bytes()
    }

    pub(super) fn len(&self) -> usize {
        self.bytes.len()
    }

    /// Every pair of bytes with which it may begin where neither is escaped.
    pub(super) fn beginnings(&self) -> impl Iterator<Item = [u8; 2]> + use<> {
        let ways = |byte: u8| match self.kind {
            Kind::Hex => vec![byte.to_ascii_lowercase(), byte.to_ascii_uppercase()],
            Kind::Plain if byte == b' ' => vec![b' ', b'+'],
            _ => vec![byte],
        };
        let seconds = ways(self.bytes[1]);
        ways(self.bytes[0])
            .into_iter()
            .flat_map(move |first| seconds.clone().into_iter().map(move |second| [first, second]))
    }

    /// The part of `text` to replace if this shape begins at `at` with `first`.
    pub(super) fn found(&self, text: &[u8], at: usize, first: &Unit) -> Option<Range<usize>> {
        let index = self.takes(0, first)?;
        let end = self.end(text, index, at + first.length)?;
        let is_base64 = |at: usize| {
            text.get(at).is_some_and(|c| c.is_ascii_alphanumeric() || b"+/-_".contains(c))
        };
        Some(match self.kind {
            Kind::Base64 { mixed_before, mixed_after } => {
                let start = at - usize::from(mixed_before && at > 0 && is_base64(at - 1));
                start..end + usize::from(mixed_after && is_base64(end))
            }
            _ => at..end,
        })
    }

    /// The index behind `unit` if that is what stands at `index`.
    fn takes(&self, index: usize, unit: &Unit) -> Option<usize> {
        let (wanted, unit) = (&self.bytes[index..], unit.bytes());
        let same = match self.kind {
            Kind::Hex => {
                wanted.first().zip(unit.first()).is_some_and(|(a, b)| a.eq_ignore_ascii_case(b))
            }
            Kind::Plain => {
                wanted.starts_with(unit) || (unit == b"+" && wanted.first() == Some(&b' '))
            }
            Kind::Base64 { .. } => wanted.starts_with(unit),
        };
        same.then_some(index + unit.len())
    }

    /// Where it ends if `text` spells, from `at` on, what stands at `index` and after it.
    fn end(&self, text: &[u8], mut index: usize, mut at: usize) -> Option<usize> {
        // Most text is plain: one place to look at, and nothing to keep.
        while index < self.bytes.len() {
            let byte = *text.get(at)?;
            if is_special(byte) || (self.kind != Kind::Plain && byte.is_ascii_whitespace()) {
                return self.end_of_any(text, index, at);
            }
            index = self.takes(index, &Unit::plain(byte))?;
            at += 1;
        }
        Some(at)
    }

    /// The same where something may be escaped: `%25` spells either `%` or `%25`, and only what follows tells which.
    fn end_of_any(&self, text: &[u8], index: usize, at: usize) -> Option<usize> {
        let mut open = vec![(index, at)];
        let mut best = None;
        let mut next = Vec::new();
        while !open.is_empty() {
            for &(index, at) in &open {
                if index == self.bytes.len() {
                    best = best.max(Some(at));
                    continue;
                }
                for unit in units(&text[at..]) {
                    if let Some(index) = self.takes(index, &unit) {
                        next.push((index, at + unit.length));
                    }
                    // Encoders wrap hex and base64 into lines, and some indent them.
                    let is_break = matches!(unit.bytes(), [b'\n' | b'\r' | b' ' | b'\t']);
                    if self.kind != Kind::Plain && is_break {
                        next.push((index, at + unit.length));
                    }
                }
            }
            next.sort_unstable();
            next.dedup();
            open.clear();
            std::mem::swap(&mut open, &mut next);
        }
        best
    }
}
