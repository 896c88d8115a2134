//! Which outputs of which steps an expression asks for, found in its text before anything runs.
//!
//! Steps are named literally (`steps.lag.seconds`, `steps['lag[crm]'].seconds`), so that a plan can be checked for every
//! reference. A computed name (`steps[name]`) is refused.

use super::template::{Part, after_text, parts};

/// One reference.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Reference {
    /// Id of the step as written.
    pub(crate) step: String,
    /// Its output; none when the step is used as a whole.
    pub(crate) output: Option<String>,
    /// Byte offset of `steps` in the text.
    pub(crate) at: usize,
}

/// `steps` is used in a way that cannot be checked; the byte offset.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Computed(pub(crate) usize);

/// The references of a template: only what stands between `{{ }}` counts.
pub(crate) fn in_template(text: &str) -> Result<Vec<Reference>, Computed> {
    let mut found = Vec::new();
    for part in parts(text) {
        let (Part::Expression { at, inner } | Part::Open { at, inner }) = part else { continue };
        for mut reference in in_expression(inner).map_err(|Computed(in_it)| Computed(in_it + at))? {
            reference.at += at;
            found.push(reference);
        }
    }
    Ok(found)
}

/// The references of a bare expression.
pub(crate) fn in_expression(text: &str) -> Result<Vec<Reference>, Computed> {
    let bytes = text.as_bytes();
    let mut found = Vec::new();
    let mut at = 0;
    while at < bytes.len() {
        match bytes[at] {
            quote @ (b'"' | b'\'') => at = after_text(bytes, at, quote),
            byte if is_word(byte) => {
                let end = word_end(bytes, at);
                let member = text[..at].trim_end().ends_with('.');
                if &text[at..end] == "steps" && !member {
                    let (step, next) = member_of(text, end).ok_or(Computed(at))?;
                    let output = member_of(text, next);
                    let next = output.as_ref().map_or(next, |&(_, next)| next);
                    found.push(Reference { step, output: output.map(|(name, _)| name), at });
                    at = next;
                } else {
                    at = end;
                }
            }
            _ => at += 1,
        }
    }
    Ok(found)
}

/// `.name` or `['name']` at an offset: the name, and the offset behind it.
fn member_of(text: &str, at: usize) -> Option<(String, usize)> {
    let rest = &text[at..];
    let skipped = at + rest.len() - rest.trim_start().len();
    let bytes = text.as_bytes();
    match bytes.get(skipped)? {
        b'.' => {
            let from = skipped + 1;
            let end = word_end(bytes, from);
            (end > from).then(|| (text[from..end].to_owned(), end))
        }
        b'[' => {
            let inner = text[skipped + 1..].trim_start();
            let quote = inner.chars().next().filter(|c| matches!(c, '"' | '\''))?;
            let (name, _) = inner[1..].split_once(quote)?;
            let behind = inner[name.len() + 2..].trim_start().strip_prefix(']')?;
            Some((name.to_owned(), text.len() - behind.len()))
        }
        _ => None,
    }
}

fn is_word(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || byte == b'_' || byte >= 0x80
}

fn word_end(bytes: &[u8], from: usize) -> usize {
    bytes[from..].iter().position(|&byte| !is_word(byte)).map_or(bytes.len(), |at| from + at)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn named(text: &str) -> Vec<(String, Option<String>)> {
        in_template(text)
            .expect("literal names")
            .into_iter()
            .map(|reference| (reference.step, reference.output))
            .collect()
    }

    #[test]
    fn finds_references() {
        let pair = |step: &str, output: &str| (step.to_owned(), Some(output.to_owned()));
        assert_eq!(named("{{ steps.lag.seconds }}"), [pair("lag", "seconds")]);
        assert_eq!(
            named("{{ steps['lag[crm]'].seconds + steps[\"a\"]['b'] }}"),
            [pair("lag[crm]", "seconds"), pair("a", "b")]
        );
        assert_eq!(named("{{ {'x': {}}.x ~ steps.a.b }} {{ '}}' ~ steps.c.d }}").len(), 2);
        assert_eq!(named("{{ steps.a }}"), [("a".to_owned(), None)]);
        assert_eq!(named("{{ 'steps.a.b' }} {{ vars.steps.x }} steps.a.b"), []);
        assert_eq!(named("{{ steps.a.b"), [pair("a", "b")]);
    }

    #[test]
    fn refuses_computed_names() {
        assert_eq!(in_expression("steps[x].y"), Err(Computed(0)));
        assert_eq!(in_template("ä {{ steps }}"), Err(Computed(6)));
    }
}
