//! YAML as a tree in which every value and every key knows its place.

use serde_json::{Map, Number, Value};

use crate::diagnostic::source::Mark;

/// A value and its place.
#[derive(Debug, Clone, PartialEq)]
pub struct Node {
    /// Where it stands.
    pub mark: Mark,
    /// What it is.
    pub kind: Kind,
}

/// What a node is.
#[derive(Debug, Clone, PartialEq)]
pub enum Kind {
    /// `null`, `~`, or nothing.
    Null,
    /// `true` or `false`.
    Bool(bool),
    /// A number.
    Number(Number),
    /// Text.
    Text(String),
    /// An expression whose value is known only while the run is under way; the text as written.
    Later(String),
    /// A list.
    List(Vec<Node>),
    /// A mapping in the order it was written; keys are unique.
    Map(Vec<(Key, Node)>),
}

/// A key of a mapping and its place.
#[derive(Debug, Clone, PartialEq)]
pub struct Key {
    /// The key.
    pub text: String,
    /// Where it stands.
    pub mark: Mark,
}

impl Node {
    /// Whether no value below it has to wait for the run.
    pub fn is_known(&self) -> bool {
        match &self.kind {
            Kind::Later(_) => false,
            Kind::List(items) => items.iter().all(Self::is_known),
            Kind::Map(entries) => entries.iter().all(|(_, value)| value.is_known()),
            _ => true,
        }
    }

    /// The entries of a mapping; none for anything else.
    pub fn entries(&self) -> &[(Key, Self)] {
        match &self.kind {
            Kind::Map(entries) => entries,
            _ => &[],
        }
    }

    /// The items of a list; none for anything else.
    pub fn items(&self) -> &[Self] {
        match &self.kind {
            Kind::List(items) => items,
            _ => &[],
        }
    }

    /// The value of a key.
    pub fn get(&self, key: &str) -> Option<&Self> {
        self.entries().iter().find(|(name, _)| name.text == key).map(|(_, node)| node)
    }

    /// Takes the value of a key out.
    pub fn take(&mut self, key: &str) -> Option<Self> {
        let Kind::Map(entries) = &mut self.kind else { return None };
        let at = entries.iter().position(|(name, _)| name.text == key)?;
        Some(entries.remove(at).1)
    }

    /// The text, if it is one.
    pub fn text(&self) -> Option<&str> {
        match &self.kind {
            Kind::Text(text) | Kind::Later(text) => Some(text),
            _ => None,
        }
    }

    /// The place of a key's value, or of the mapping when the key is not there.
    pub fn mark_of(&self, key: &str) -> Mark {
        self.get(key).map_or(self.mark, |node| node.mark)
    }

    /// As JSON, without places.
    pub fn to_json(&self) -> Value {
        match &self.kind {
            Kind::Null => Value::Null,
            Kind::Bool(value) => Value::Bool(*value),
            Kind::Number(value) => Value::Number(value.clone()),
            Kind::Text(text) | Kind::Later(text) => Value::String(text.clone()),
            Kind::List(items) => Value::Array(items.iter().map(Self::to_json).collect()),
            Kind::Map(entries) => Value::Object(
                entries
                    .iter()
                    .map(|(key, node)| (key.text.clone(), node.to_json()))
                    .collect::<Map<_, _>>(),
            ),
        }
    }

    /// What JSON means, all of it at one place.
    pub fn from_json(mark: Mark, value: Value) -> Self {
        let kind = match value {
            Value::Null => Kind::Null,
            Value::Bool(value) => Kind::Bool(value),
            Value::Number(value) => Kind::Number(value),
            Value::String(text) => Kind::Text(text),
            Value::Array(items) => {
                Kind::List(items.into_iter().map(|item| Self::from_json(mark, item)).collect())
            }
            Value::Object(entries) => Kind::Map(
                entries
                    .into_iter()
                    .map(|(text, value)| (Key { text, mark }, Self::from_json(mark, value)))
                    .collect(),
            ),
        };
        Self { mark, kind }
    }

    /// Whether any text in it `passes`.
    pub fn any_text(&self, passes: &impl Fn(&str) -> bool) -> bool {
        match &self.kind {
            Kind::Text(text) | Kind::Later(text) => passes(text),
            Kind::List(items) => items.iter().any(|node| node.any_text(passes)),
            Kind::Map(entries) => entries.iter().any(|(_, node)| node.any_text(passes)),
            Kind::Null | Kind::Bool(_) | Kind::Number(_) => false,
        }
    }
}

/// What a plain scalar means by the YAML 1.2 core schema, less what JSON cannot hold (`.inf`, `.nan` stay text).
pub fn resolve_plain(text: &str) -> Kind {
    match text {
        "" | "~" | "null" | "Null" | "NULL" => return Kind::Null,
        "true" | "True" | "TRUE" => return Kind::Bool(true),
        "false" | "False" | "FALSE" => return Kind::Bool(false),
        _ => {}
    }
    number(text).map_or_else(|| Kind::Text(text.to_owned()), Kind::Number)
}

fn number(text: &str) -> Option<Number> {
    let first = *text.as_bytes().first()?;
    if !(first.is_ascii_digit() || matches!(first, b'-' | b'+' | b'.')) {
        return None;
    }
    for (prefix, radix) in [("0x", 16), ("0o", 8)] {
        if let Some(digits) = text.strip_prefix(prefix) {
            let plain = digits.bytes().all(|byte| byte.is_ascii_alphanumeric());
            return plain
                .then(|| u64::from_str_radix(digits, radix).ok())
                .flatten()
                .map(Number::from);
        }
    }
    if let Ok(value) = text.parse::<i64>() {
        return Some(value.into());
    }
    if let Ok(value) = text.parse::<u64>() {
        return Some(value.into());
    }
    let numeric =
        |byte: u8| byte.is_ascii_digit() || matches!(byte, b'.' | b'e' | b'E' | b'+' | b'-');
    if !text.bytes().all(numeric) {
        return None;
    }
    text.parse::<f64>().ok().filter(|value| value.is_finite()).and_then(Number::from_f64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn plain_scalars() {
        assert_eq!(resolve_plain("~"), Kind::Null);
        assert_eq!(resolve_plain("true"), Kind::Bool(true));
        assert_eq!(resolve_plain("12"), Kind::Number(12.into()));
        assert_eq!(resolve_plain("-0x1"), Kind::Text("-0x1".into()));
        assert_eq!(resolve_plain("0x1F"), Kind::Number(31.into()));
        assert_eq!(resolve_plain("1.5e3"), Kind::Number(Number::from_f64(1500.0).expect("finite")));
        // What YAML 1.1 would have made a boolean, a number in base 60, or a date is text.
        for text in ["no", "on", "22:00", "2026-12-05", "30s", "10.0.0.5", "-", "1_000", ".inf"] {
            assert_eq!(resolve_plain(text), Kind::Text(text.into()));
        }
    }
}
