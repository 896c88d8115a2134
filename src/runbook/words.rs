//! Plain words for what serde says, and suggestions for what was misspelt.

use serde::de::Unexpected;

/// What was found, as an author calls it.
pub fn found(found: &Unexpected<'_>) -> String {
    match found {
        Unexpected::Bool(value) => format!("`{value}`"),
        Unexpected::Unsigned(value) => format!("the number {value}"),
        Unexpected::Signed(value) => format!("the number {value}"),
        Unexpected::Float(value) => format!("the number {value}"),
        Unexpected::Str(text) if text.chars().count() > 60 => "a text".to_owned(),
        Unexpected::Str(text) => format!("the text `{text}`"),
        Unexpected::Unit | Unexpected::Option => "nothing".to_owned(),
        Unexpected::Seq => "a list".to_owned(),
        Unexpected::Map => "a mapping".to_owned(),
        other => other.to_string(),
    }
}

/// What was expected, as an author calls it.
pub fn expected(expected: &str) -> String {
    match expected {
        "a string" | "string" | "str" => "text",
        "a boolean" | "bool" => "`true` or `false`",
        "u8" | "u16" | "u32" | "u64" | "usize" => "a whole number, 0 or more",
        "i8" | "i16" | "i32" | "i64" | "isize" => "a whole number",
        "f32" | "f64" => "a number",
        "a sequence" => "a list",
        "a map" => "a mapping",
        "a nonzero u32" => "a whole number, 1 or more",
        other if other.starts_with("struct ") || other.starts_with("internally tagged") => {
            "a mapping"
        }
        other if other.starts_with("enum ") || other.contains("variant") => {
            "one of the values known here"
        }
        other => other,
    }
    .to_owned()
}

/// `did you mean …?` when something known is close, the list of all that is known otherwise.
pub fn suggest<'k>(written: &str, known: impl Iterator<Item = &'k str>) -> String {
    let known: Vec<&str> = known.collect();
    closest(written, known.iter().copied()).map_or_else(
        || match known.as_slice() {
            [] => "nothing is known here".to_owned(),
            [only] => format!("only `{only}` is known here"),
            _ if known.len() > 40 => format!("{} are known; none is close", known.len()),
            _ => format!("known here: {}", known.join(", ")),
        },
        |name| format!("did you mean `{name}`?"),
    )
}

/// The known word that is close enough to be meant.
pub fn closest<'k>(written: &str, known: impl Iterator<Item = &'k str>) -> Option<&'k str> {
    let near = written.chars().count().div_ceil(3).min(3);
    known
        .map(|name| (strsim::damerau_levenshtein(&written.to_lowercase(), name), name))
        .filter(|&(distance, name)| distance <= near && distance < name.chars().count())
        .min()
        .map(|(_, name)| name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn suggests_the_closest_or_lists_all() {
        let known = ["uses", "with", "when"];
        assert_eq!(suggest("uess", known.into_iter()), "did you mean `uses`?");
        assert_eq!(suggest("wiht", known.into_iter()), "did you mean `with`?");
        assert_eq!(suggest("elephant", known.into_iter()), "known here: uses, with, when");
    }
}
