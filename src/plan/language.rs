//! The expression language itself: minijinja's, less everything by which a short text makes a long value.
//!
//! Promises: evaluating an expression takes time and memory in proportion to the text times what is in sight, and what is
//! in sight is bounded ([`IN_SIGHT`]). There are no statements, hence no loops; instructions are counted; a text
//! can not be multiplied, and `replace` and `join` may write [`GROWTH`] bytes in one evaluation.

use std::sync::LazyLock;

use minijinja::value::Value as Jinja;
use minijinja::{Environment, Error, ErrorKind, State, UndefinedBehavior};

use super::template::after_text;

/// Instructions of one expression; a lookup, a call and an operator each are about one.
const FUEL: u64 = 200;
/// Words and signs of one expression: the library's compiler goes as deep as an expression is long.
const WORDS: usize = 400;
/// Bytes that `replace` and `join` may write in one expression.
const GROWTH: usize = 256 * 1024;
/// Most bytes, as JSON, of what an expression sees under one name, and of its own value.
pub(super) const IN_SIGHT: usize = 64 * 1024;

/// Filters that write as much as they are told to.
const UNBOUNDED: [&str; 5] = ["batch", "format", "indent", "pprint", "slice"];

pub(super) static LANGUAGE: LazyLock<Environment<'static>> = LazyLock::new(|| {
    let mut language = Environment::new();
    language.set_undefined_behavior(UndefinedBehavior::Strict);
    // Places of errors, also in release builds.
    language.set_debug(true);
    language.set_fuel(Some(FUEL));
    for name in UNBOUNDED {
        language.remove_filter(name);
    }
    for name in ["debug", "namespace", "range"] {
        language.remove_global(name);
    }
    language.add_filter("replace", replace);
    language.add_filter("join", join);
    language.add_filter("times", times);
    language
});

/// Where a `*` stands outside of quotes, `**` not counted: it repeats texts and lists as often as it is told to.
pub(super) fn repetition(expression: &str) -> Option<usize> {
    let bytes = expression.as_bytes();
    let mut at = 0;
    while at < bytes.len() {
        match bytes[at] {
            quote @ (b'"' | b'\'') => {
                at = after_text(bytes, at, quote);
                continue;
            }
            b'*' if bytes.get(at + 1) == Some(&b'*') => at += 1,
            b'*' => return Some(at),
            _ => {}
        }
        at += 1;
    }
    None
}

/// Whether an expression has more words, texts and signs than are read.
pub(super) fn is_too_long(expression: &str) -> bool {
    let bytes = expression.as_bytes();
    let is_word = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_' || byte >= 0x80;
    let (mut at, mut words) = (0, 0);
    while at < bytes.len() {
        match bytes[at] {
            quote @ (b'"' | b'\'') => at = after_text(bytes, at, quote),
            byte if is_word(byte) => {
                at += bytes[at..].iter().take_while(|byte| is_word(**byte)).count();
            }
            byte if byte.is_ascii_whitespace() => {
                at += 1;
                continue;
            }
            _ => at += 1,
        }
        words += 1;
    }
    words > WORDS
}

/// What was written in one evaluation so far.
fn spend(state: &mut State<'_, '_>, bytes: usize) -> Result<(), Error> {
    const SPENT: &str = "written";
    let before = state.get_temp(SPENT).and_then(|spent| spent.as_usize()).unwrap_or(0);
    let spent = before.saturating_add(bytes);
    state.set_temp(SPENT, Jinja::from(spent));
    if spent <= GROWTH {
        return Ok(());
    }
    let why = format!("it would write more than {GROWTH} bytes");
    Err(Error::new(ErrorKind::InvalidOperation, why))
}

fn replace(state: &mut State<'_, '_>, text: &str, from: &str, to: &str) -> Result<String, Error> {
    let grown = text.matches(from).count().saturating_mul(to.len());
    spend(state, text.len().saturating_add(grown))?;
    Ok(text.replace(from, to))
}

fn join(state: &mut State<'_, '_>, list: &Jinja, between: Option<&str>) -> Result<String, Error> {
    let between = between.unwrap_or_default();
    let mut joined = String::new();
    for (nth, item) in list.try_iter()?.enumerate() {
        let item = item.to_string();
        spend(state, item.len() + between.len())?;
        if nth > 0 {
            joined.push_str(between);
        }
        joined.push_str(&item);
    }
    Ok(joined)
}

/// The product of two numbers.
fn times(a: &Jinja, b: &Jinja) -> Result<Jinja, Error> {
    let refused = |why: &str| Error::new(ErrorKind::InvalidOperation, why.to_owned());
    if let (Ok(a), Ok(b)) = (i64::try_from(a.clone()), i64::try_from(b.clone())) {
        return a
            .checked_mul(b)
            .map(Jinja::from)
            .ok_or_else(|| refused("the product is too large"));
    }
    match (f64::try_from(a.clone()), f64::try_from(b.clone())) {
        (Ok(a), Ok(b)) => Ok(Jinja::from(a * b)),
        _ => Err(refused("only numbers have a product")),
    }
}
