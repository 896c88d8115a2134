//! One secret in every shape it may take in text.
//!
//! Escapes are matched byte by byte, so any mixture of them is found: libraries disagree on which characters they
//! percent-encode or escape. Base64 and hex are compared as the fixed texts they give. Nothing here ever prints a value.

use std::fmt;
use std::ops::Range;

use base64::engine::general_purpose::{STANDARD_NO_PAD, URL_SAFE_NO_PAD};

use crate::run::hex;

/// A secret and the texts it becomes when it is encoded as a whole.
pub(super) struct Pattern {
    bytes: Vec<u8>,
    /// Lower case; compared without regard to case.
    hex: Vec<u8>,
    base64: Vec<Base64Core>,
}

impl fmt::Debug for Pattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Pattern([secret])")
    }
}

/// The characters of a base64 text that depend on the secret alone, whatever stands around it.
struct Base64Core {
    text: Vec<u8>,
    /// The character before also holds bits of the secret.
    mixed_before: bool,
    /// The character after also holds bits of the secret.
    mixed_after: bool,
}

impl Pattern {
    pub(super) fn new(secret: &str) -> Self {
        let bytes = secret.as_bytes().to_vec();
        let base64 = (0..3)
            .flat_map(|offset| {
                [STANDARD_NO_PAD, URL_SAFE_NO_PAD]
                    .map(|engine| Base64Core::new(&bytes, offset, &engine))
            })
            .collect();
        Self { hex: hex(&bytes).into_bytes(), base64, bytes }
    }

    pub(super) fn is_for(&self, secret: &str) -> bool {
        self.bytes == secret.as_bytes()
    }

    /// The part of `text` to replace if the secret begins at `at`; nothing before `from` may be touched.
    pub(super) fn found(&self, text: &[u8], from: usize, at: usize) -> Option<Range<usize>> {
        let rest = &text[at..];
        let hex_here =
            rest.get(..self.hex.len()).is_some_and(|head| head.eq_ignore_ascii_case(&self.hex));
        let by_hex = hex_here.then(|| at..at + self.hex.len());
        let by_base64 = self
            .base64
            .iter()
            .filter(|core| rest.starts_with(&core.text))
            .map(|core| core.widened(text, from, at))
            .max_by_key(|hit| hit.end);
        let by_escapes = end_of_escaped(&self.bytes, text, at).map(|end| at..end);
        [by_hex, by_base64, by_escapes].into_iter().flatten().max_by_key(|hit| hit.end)
    }
}

impl Base64Core {
    /// `offset` bytes stand before the secret in its group of three.
    fn new(secret: &[u8], offset: usize, engine: &impl base64::Engine) -> Self {
        let mut padded = vec![0; offset];
        padded.extend_from_slice(secret);
        let text = engine.encode(&padded).into_bytes();
        // 8 bits a byte, 6 a character: the first `offset` bytes reach into this many characters.
        let before = (offset * 8).div_ceil(6);
        let whole = padded.len() * 8 / 6;
        Self {
            text: text[before..whole].to_vec(),
            mixed_before: offset > 0,
            mixed_after: !padded.len().is_multiple_of(3),
        }
    }

    fn widened(&self, text: &[u8], from: usize, at: usize) -> Range<usize> {
        let is_base64 = |index: usize| {
            text.get(index).is_some_and(|c| c.is_ascii_alphanumeric() || b"+/-_".contains(c))
        };
        let end = at + self.text.len();
        let start = if self.mixed_before && at > from && is_base64(at - 1) { at - 1 } else { at };
        start..if self.mixed_after && is_base64(end) { end + 1 } else { end }
    }
}

/// Where the secret ends if `text` spells it from `at` on, each byte plain or escaped.
fn end_of_escaped(secret: &[u8], text: &[u8], at: usize) -> Option<usize> {
    // A set of positions instead of one: `%25` spells either `%` or `%25`, and only what follows tells which.
    let mut ends = vec![at];
    let mut index = 0;
    let mut best = None;
    while index < secret.len() {
        let mut next = Vec::new();
        for &end in &ends {
            spellings(secret[index], &text[end..], |length| next.push(end + length));
        }
        // A character outside ASCII may also be spelled by its code point, as JSON and `Debug` do.
        if let Some(character) = character_at(secret, index) {
            let length = character.len_utf8();
            for &end in &ends {
                if let Some(spelled) = code_point(character, &text[end..]) {
                    let rest = end_of_escaped(&secret[index + length..], text, end + spelled);
                    best = best.max(rest);
                }
            }
        }
        next.sort_unstable();
        next.dedup();
        if next.is_empty() {
            return best;
        }
        ends = next;
        index += 1;
    }
    best.max(ends.last().copied())
}

/// Calls `found` with the length of each way in which `text` begins with this byte.
fn spellings(byte: u8, text: &[u8], mut found: impl FnMut(usize)) {
    let Some(&first) = text.first() else { return };
    if first == byte || (byte == b' ' && first == b'+') {
        found(1);
    }
    // Doubled quotes and braces of SQL and ODBC.
    if byte.is_ascii_punctuation() && text.starts_with(&[byte, byte]) {
        found(2);
    }
    if first == b'%' && text.get(1..3).is_some_and(|digits| is_hex_of(digits, u32::from(byte))) {
        found(3);
    }
    if first == b'\\' {
        let short = match byte {
            b'\n' => b'n',
            b'\r' => b'r',
            b'\t' => b't',
            8 => b'b',
            12 => b'f',
            other => other,
        };
        if text.get(1) == Some(&short) {
            found(2);
        }
    }
    if byte.is_ascii() {
        if let Some(length) = code_point(char::from(byte), text) {
            found(length);
        }
        if let Some(entity) =
            entities(byte).iter().find(|entity| text.starts_with(entity.as_bytes()))
        {
            found(entity.len());
        }
    }
}

/// The secret's character outside ASCII that begins at `index`.
fn character_at(secret: &[u8], index: usize) -> Option<char> {
    let tail = secret.get(index..).filter(|tail| !tail[0].is_ascii())?;
    let length = (1..=4.min(tail.len())).find(|&n| std::str::from_utf8(&tail[..n]).is_ok())?;
    std::str::from_utf8(&tail[..length]).ok()?.chars().next()
}

/// Length of `\u00e9`, `\ud83d\ude00` or `\u{e9}` when it spells this character.
fn code_point(character: char, text: &[u8]) -> Option<usize> {
    let tail = text.strip_prefix(b"\\u")?;
    if let Some(braced) = tail.strip_prefix(b"{") {
        let digits = braced.iter().position(|&c| c == b'}')?;
        return is_hex_of(&braced[..digits], u32::from(character)).then_some(digits + 4);
    }
    let mut units = [0; 2];
    let mut length = 0;
    for unit in character.encode_utf16(&mut units) {
        let spelled = text.get(length..length + 6)?;
        if !spelled.starts_with(b"\\u") || !is_hex_of(&spelled[2..], u32::from(*unit)) {
            return None;
        }
        length += 6;
    }
    Some(length)
}

fn is_hex_of(digits: &[u8], value: u32) -> bool {
    std::str::from_utf8(digits)
        .ok()
        .filter(|digits| digits.bytes().all(|digit| digit.is_ascii_hexdigit()))
        .and_then(|digits| u32::from_str_radix(digits, 16).ok())
        == Some(value)
}

const fn entities(byte: u8) -> &'static [&'static str] {
    match byte {
        b'&' => &["&amp;", "&#38;", "&#x26;"],
        b'<' => &["&lt;", "&#60;", "&#x3C;", "&#x3c;"],
        b'>' => &["&gt;", "&#62;", "&#x3E;", "&#x3e;"],
        b'"' => &["&quot;", "&#34;", "&#x22;"],
        b'\'' => &["&apos;", "&#39;", "&#x27;"],
        _ => &[],
    }
}
