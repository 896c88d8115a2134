//! The texts by which one secret can be recognised: the whole, and the parts of it that others quote by themselves.
//!
//! A server trims a header, a library normalises a URL, a sink sees one line of a key file, a driver quotes the password
//! of a connection string. Each part is known like the secret itself.

use std::collections::BTreeSet;

use serde_json::Value;
use url::Url;

use super::SHORTEST;
use crate::diagnostic::mask::is_secret_name;

/// Parts that are no password by name must be at least this long, or ordinary words would go.
const PART: usize = 2 * SHORTEST;
/// Keys of connection strings and signed URLs, beside the names of secrets.
const KEYS: [&str; 4] = ["pwd", "sig", "accountkey", "sharedaccesskey"];

/// Every text that gives `secret` away; the whole is among them.
pub(super) fn parts(secret: &str) -> BTreeSet<String> {
    let mut parts = BTreeSet::from([secret.to_owned()]);
    let mut add = |text: &str, shortest: usize| {
        if text.chars().count() >= shortest {
            parts.insert(text.to_owned());
        }
    };
    add(secret.trim(), SHORTEST);
    // As parsers of URLs drop them.
    add(&secret.replace(['\t', '\r', '\n'], ""), PART);
    for line in secret.lines() {
        add(line.trim(), PART);
    }
    if let Ok(url) = Url::parse(secret.trim())
        && url.has_host()
    {
        parts_of_url(&url, &mut add);
    }
    for (key, value) in pairs(secret) {
        if is_secret_key(key) {
            let value = value.trim_matches(['\'', '"', '{', '}']);
            add(value, SHORTEST);
            add(&decoded(value), SHORTEST);
        }
    }
    if let Ok(json) = serde_json::from_str::<Value>(secret) {
        parts_of_json(&json, &mut add);
    }
    parts
}

fn is_secret_key(key: &str) -> bool {
    is_secret_name(key) || KEYS.contains(&key.to_ascii_lowercase().as_str())
}

/// `key=value` pairs of connection strings, of queries and of libpq's form.
fn pairs(text: &str) -> impl Iterator<Item = (&str, &str)> {
    let pieces = text.split([';', '&', '?', ' ', '\n']);
    pieces.filter_map(|piece| piece.split_once('=')).map(|(key, value)| (key.trim(), value.trim()))
}

fn decoded(text: &str) -> String {
    let pair = format!("k={}", text.replace('+', "%2B").replace('&', "%26"));
    url::form_urlencoded::parse(pair.as_bytes())
        .next()
        .map(|(_, v)| v.into_owned())
        .unwrap_or_default()
}

/// As a library writes it, and what it writes of it alone: the request's target, the password, long values.
fn parts_of_url(url: &Url, add: &mut impl FnMut(&str, usize)) {
    add(url.as_str(), PART);
    add(url.path(), PART);
    if let Some(query) = url.query() {
        add(query, PART);
        add(&format!("{}?{query}", url.path()), PART);
    }
    if let Some(password) = url.password() {
        add(password, SHORTEST);
        add(&decoded(password), SHORTEST);
    }
    for (_, value) in url.query_pairs() {
        add(&value, PART);
    }
}

fn parts_of_json(json: &Value, add: &mut impl FnMut(&str, usize)) {
    match json {
        Value::Object(fields) => {
            for (name, value) in fields {
                match value {
                    Value::String(text) if is_secret_key(name) => add(text, SHORTEST),
                    other => parts_of_json(other, add),
                }
            }
        }
        Value::Array(items) => items.iter().for_each(|item| parts_of_json(item, add)),
        _ => {}
    }
}
