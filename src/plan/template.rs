//! A text with `{{ … }}` in it, cut into plain text and expressions.
//!
//! Cutting is done here and not by the expression library, so that what is checked in an expression is exactly what is
//! evaluated, and so that nothing but expressions is there to evaluate: no `{% for %}` can count to a billion.

/// A part of a text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Part<'a> {
    /// Stays as it is.
    Plain(&'a str),
    /// Between `{{` and `}}`, at this byte of the text.
    Expression { at: usize, inner: &'a str },
    /// After a `{{` that nothing closes.
    Open { at: usize, inner: &'a str },
    /// Begins with `{%` or `{#`, which are not read.
    Statement { at: usize },
}

/// The parts of a text, in order. After an open expression or a statement nothing follows.
pub(super) fn parts(text: &str) -> Vec<Part<'_>> {
    let mut parts = Vec::new();
    let mut from = 0;
    while let Some(open) = next_open(text, from) {
        if open > from {
            parts.push(Part::Plain(&text[from..open]));
        }
        if !text[open..].starts_with("{{") {
            parts.push(Part::Statement { at: open });
            return parts;
        }
        let at = open + 2;
        let Some(length) = closing(&text[at..]) else {
            parts.push(Part::Open { at, inner: &text[at..] });
            return parts;
        };
        parts.push(Part::Expression { at, inner: &text[at..at + length] });
        from = at + length + 2;
    }
    if from < text.len() {
        parts.push(Part::Plain(&text[from..]));
    }
    parts
}

/// Whether a text is a template at all.
pub(crate) fn is_template(text: &str) -> bool {
    text.contains("{{") || text.contains("{%")
}

fn next_open(text: &str, from: usize) -> Option<usize> {
    let rest = &text[from..];
    let opens = |pair: &[u8]| pair[0] == b'{' && matches!(pair[1], b'{' | b'%' | b'#');
    rest.as_bytes().windows(2).position(opens).map(|at| from + at)
}

/// Where the `}}` stands that ends an expression: outside quotes, and not the end of a mapping in it.
fn closing(text: &str) -> Option<usize> {
    let bytes = text.as_bytes();
    let (mut at, mut depth) = (0, 0_usize);
    while at < bytes.len() {
        match bytes[at] {
            quote @ (b'"' | b'\'') => {
                at = after_text(bytes, at, quote);
                continue;
            }
            b'{' => depth += 1,
            b'}' if depth == 0 && bytes.get(at + 1) == Some(&b'}') => return Some(at),
            b'}' => depth = depth.saturating_sub(1),
            _ => {}
        }
        at += 1;
    }
    None
}

/// The byte behind a quoted text that opens at `open`.
pub(super) fn after_text(bytes: &[u8], open: usize, quote: u8) -> usize {
    let mut at = open + 1;
    while at < bytes.len() && bytes[at] != quote {
        at += if bytes[at] == b'\\' { 2 } else { 1 };
    }
    at + 1
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn expressions_end_where_they_end() {
        let inner = |text: &'static str| match parts(text).as_slice() {
            [Part::Expression { at: 2, inner }] => *inner,
            other => panic!("{text}: {other:?}"),
        };
        assert_eq!(inner("{{ a }}"), " a ");
        assert_eq!(inner("{{ '}}' ~ \"\\\"}}\" }}"), " '}}' ~ \"\\\"}}\" ");
        assert_eq!(inner("{{ {'a': {}}.a }}"), " {'a': {}}.a ");
    }

    #[test]
    fn plain_text_stands_between() {
        let text = "ä {{ b }}{{c}} } d";
        let expression = |at, inner| Part::Expression { at, inner };
        let expected =
            [Part::Plain("ä "), expression(5, " b "), expression(12, "c"), Part::Plain(" } d")];
        assert_eq!(parts(text), expected);
        assert_eq!(parts("{{ a"), [Part::Open { at: 2, inner: " a" }]);
        assert_eq!(parts("a{% b %}{{ c }}"), [Part::Plain("a"), Part::Statement { at: 1 }]);
    }
}
