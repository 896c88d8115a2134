//! Error bodies as ARM and the resource providers really send them.
//!
//! `{"error":{…}}` is the documented form; DNS, private DNS and the activity log leave the wrapper out, some providers
//! send nothing at all. Whatever comes, the operator sees a code and a message.

use std::time::Duration;

use azure_core::http::headers::{HeaderName, Headers};
use serde_json::Value;

use super::ServiceError;

/// Nested details are followed this deep; a hostile body can not make us recurse further.
const DEPTH: usize = 6;
/// Characters kept of a message that is no JSON.
const TEXT: usize = 300;

/// The error in a reply of the given status.
pub(super) fn service_error(status: u16, headers: &Headers, body: &[u8]) -> ServiceError {
    let mut error = match serde_json::from_slice::<Value>(body) {
        Ok(value) => from_value(status, &value),
        Err(_) => plain(status, &text(body)),
    };
    error.request_id = ["x-ms-request-id", "x-ms-correlation-request-id"]
        .into_iter()
        .find_map(|name| header(headers, name).map(str::to_owned));
    error.retry_after = retry_after(headers);
    error
}

/// The error in a JSON body, with or without the wrapper.
pub(super) fn from_value(status: u16, body: &Value) -> ServiceError {
    let inner = match body.get("error") {
        Some(error @ Value::Object(_)) => error,
        _ => body,
    };
    let words = |key: &str| inner.get(key).and_then(Value::as_str).filter(|text| !text.is_empty());
    let mut error = plain(status, words("message").unwrap_or("the service gave no message"));
    if let Some(code) = words("code") {
        code.clone_into(&mut error.code);
    }
    collect_details(inner, DEPTH, &mut error.details);
    error
}

fn collect_details(error: &Value, depth: usize, into: &mut Vec<String>) {
    let details = error.get("details").and_then(Value::as_array);
    for detail in details.into_iter().flatten().take_while(|_| depth > 0) {
        let word = |key: &str| detail.get(key).and_then(Value::as_str).unwrap_or_default();
        into.push(format!("{}: {}", word("code"), word("message")));
        collect_details(detail, depth - 1, into);
    }
}

fn plain(status: u16, message: &str) -> ServiceError {
    ServiceError {
        status,
        code: format!("HTTP{status}"),
        message: message.to_owned(),
        request_id: None,
        details: Vec::new(),
        retry_after: None,
    }
}

fn text(body: &[u8]) -> String {
    let text: String = String::from_utf8_lossy(body)
        .chars()
        .take(TEXT)
        .map(|c| if c.is_control() { ' ' } else { c })
        .collect();
    if text.trim().is_empty() { "the service sent an empty body".to_owned() } else { text }
}

/// A header by its lower-case name.
pub(super) fn header<'a>(headers: &'a Headers, name: &'static str) -> Option<&'a str> {
    headers.get_optional_str(&HeaderName::from_static(name))
}

/// `Retry-After` in seconds, or the millisecond headers of Azure. Dates are not used by ARM.
pub(super) fn retry_after(headers: &Headers) -> Option<Duration> {
    let number = |name| header(headers, name).and_then(|text| text.trim().parse::<u64>().ok());
    number("x-ms-retry-after-ms")
        .or_else(|| number("retry-after-ms"))
        .map(Duration::from_millis)
        .or_else(|| number("retry-after").map(Duration::from_secs))
}
