//! How text spells a byte or a character: as it is, or escaped, or escaped twice.
//!
//! The escapes are those of URLs, JSON, Rust's `Debug`, shells, SQL, connection strings and HTML. An error body inside a
//! JSON string inside another is escaped twice; nobody has been seen to do it three times.

/// Escapes within escapes.
const DEPTH: u8 = 2;

/// What a piece of text spells.
#[derive(Clone, Copy)]
pub(super) struct Unit {
    bytes: [u8; 4],
    count: u8,
    /// How much of the text it takes.
    pub(super) length: usize,
}

impl Unit {
    pub(super) const fn plain(byte: u8) -> Self {
        Self { bytes: [byte, 0, 0, 0], count: 1, length: 1 }
    }

    fn byte(byte: u8, length: usize) -> Self {
        Self { length, ..Self::plain(byte) }
    }

    fn character(character: char, length: usize) -> Self {
        let mut bytes = [0; 4];
        let count = u8::try_from(character.encode_utf8(&mut bytes).len()).expect("at most four");
        Self { bytes, count, length }
    }

    pub(super) fn bytes(&self) -> &[u8] {
        &self.bytes[..usize::from(self.count)]
    }
}

/// Whether something other than the byte itself may be spelled from it on: an escape, or a character that is doubled
/// inside quotes.
pub(super) const fn is_special(byte: u8) -> bool {
    byte.is_ascii_punctuation()
}

/// Every way to read the beginning of a text.
pub(super) fn units(text: &[u8]) -> Vec<Unit> {
    let mut units = Vec::new();
    read(text, DEPTH, &mut units);
    units
}

fn read(text: &[u8], depth: u8, out: &mut Vec<Unit>) {
    let Some(&first) = text.first() else { return };
    out.push(Unit::plain(first));
    if depth == 0 || !is_special(first) {
        return;
    }
    let mut below = Vec::new();
    read(text, depth - 1, &mut below);
    for unit in below {
        let rest = &text[unit.length..];
        match unit.bytes() {
            b"%" => out.extend(number(rest, 2).and_then(|(value, length)| {
                Some(Unit::byte(u8::try_from(value).ok()?, unit.length + length))
            })),
            b"\\" => backslash(rest, unit.length, depth, out),
            b"&" => out.extend(
                entity(rest)
                    .map(|(character, length)| Unit::character(character, unit.length + length)),
            ),
            _ => {}
        }
        if unit.length > 1 {
            out.push(unit);
        }
    }
    // Doubled inside the quotes of SQL and ODBC; left and entered again by a shell's.
    if text.get(1) == Some(&first) {
        out.push(Unit::byte(first, 2));
    }
    for quoted in [br"'\''".as_slice(), br#"'"'"'"#] {
        if text.starts_with(quoted) {
            out.push(Unit::byte(b'\'', quoted.len()));
        }
    }
}

/// What follows a backslash that takes `taken` itself.
fn backslash(text: &[u8], taken: usize, depth: u8, out: &mut Vec<Unit>) {
    let mut below = Vec::new();
    read(text, depth - 1, &mut below);
    for unit in below {
        let (rest, length) = (&text[unit.length..], taken + unit.length);
        match unit.bytes() {
            b"n" => out.push(Unit::byte(b'\n', length)),
            b"r" => out.push(Unit::byte(b'\r', length)),
            b"t" => out.push(Unit::byte(b'\t', length)),
            b"b" => out.push(Unit::byte(8, length)),
            b"f" => out.push(Unit::byte(12, length)),
            b"x" => out.extend(number(rest, 2).and_then(|(value, digits)| {
                Some(Unit::byte(u8::try_from(value).ok()?, length + digits))
            })),
            b"u" => out.extend(
                code_point(rest)
                    .map(|(character, digits)| Unit::character(character, length + digits)),
            ),
            _ => {}
        }
        out.push(Unit { length, ..unit });
    }
}

/// Hex digits, which nobody escapes.
fn number(text: &[u8], digits: usize) -> Option<(u32, usize)> {
    let text = text.get(..digits).filter(|text| text.iter().all(u8::is_ascii_hexdigit))?;
    let value = u32::from_str_radix(std::str::from_utf8(text).ok()?, 16).ok()?;
    Some((value, digits))
}

/// The character of `00e9`, `d83d\ude00` or `{e9}`, which followed `\u`.
fn code_point(text: &[u8]) -> Option<(char, usize)> {
    if let Some(braced) = text.strip_prefix(b"{") {
        let digits = braced.iter().take(7).position(|&c| c == b'}')?;
        let (value, _) = number(braced, digits)?;
        return Some((char::from_u32(value)?, digits + 2));
    }
    let (value, length) = number(text, 4)?;
    if let Some(character) = char::from_u32(value) {
        return Some((character, length));
    }
    // The second half of a pair, behind as many backslashes as the first.
    let rest = &text[length..];
    let at = rest.iter().take(4).position(|&c| c == b'u').filter(|&at| at > 0)?;
    let (low, digits) = number(&rest[at + 1..], 4)?;
    let units = [u16::try_from(value).ok()?, u16::try_from(low).ok()?];
    let character = char::decode_utf16(units).next()?.ok()?;
    Some((character, length + at + 1 + digits))
}

/// The character of `amp;`, `#38;` or `#x26;`, which followed `&`.
fn entity(text: &[u8]) -> Option<(char, usize)> {
    let end = text.iter().take(9).position(|&c| c == b';')?;
    let name = std::str::from_utf8(&text[..end]).ok()?;
    let character = match name {
        "amp" => '&',
        "lt" => '<',
        "gt" => '>',
        "quot" => '"',
        "apos" => '\'',
        _ => {
            let number = name.strip_prefix('#')?;
            let hex = number.strip_prefix(['x', 'X']);
            let value = match hex {
                Some(digits) => u32::from_str_radix(digits, 16),
                None => number.parse(),
            };
            char::from_u32(value.ok()?)?
        }
    };
    Some((character, end + 1))
}
