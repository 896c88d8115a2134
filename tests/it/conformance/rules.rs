//! Where the services are known to leave their own files, by recordings and documentation: the sandbox does as they do,
//! and the check knows it.
//!
//! A rule that nothing needs any more fails its test: no exception outlives its reason.

use migrate::sandbox::exchanges::Exchange;
use serde_json::{Value, json};

/// A fault that is how the service really is.
pub(crate) struct Known {
    /// Operation ids begin with it.
    pub(crate) operation: &'static str,
    /// The fault contains it.
    pub(crate) fault: &'static str,
    pub(crate) why: &'static str,
}

/// All of them.
pub(crate) const KNOWN: &[Known] = &[
    Known {
        operation: "ReplicationMigrationItems_",
        fault: "ProgressPercentage: null is not of type",
        why: "percentages are null while nothing is under way: recorded",
    },
    Known {
        operation: "Replication",
        fault: "\"0001-01-01T00:00:00\" is not a \"date-time\"",
        why: "times that never were have the year 1 and no zone: recorded",
    },
    Known {
        operation: "a poll",
        fault: "('correlationId' was unexpected)",
        why: "a what-if names its correlation id: recorded",
    },
    Known {
        operation: "Subscriptions_List",
        fault: "\"nextLink\" is a required property",
        why: "the file requires a link to a further page of the last page, too",
    },
];

/// A request that no file describes. The caller's permissions are described for groups and resources only; ARM answers for a
/// subscription, too, where operations are polled. Not held against anything: an answer that is none is a refusal there.
pub(crate) fn is_undescribed(exchange: &Exchange) -> bool {
    let path = exchange.path.to_ascii_lowercase();
    let rest = path.strip_prefix("/subscriptions/").and_then(|rest| rest.split_once('/'));
    exchange.method == "GET"
        && rest.is_some_and(|(_, rest)| rest == "providers/microsoft.authorization/permissions")
}

/// Providers that answer with `{"code","message"}` although their files say `{"error":{…}}`: recorded.
const BARE: [&str; 2] = ["/dnszones", "/privatednszones"];

/// The exchange with a bare error in the wrapper that the files declare.
pub(crate) fn wrapped(exchange: &Exchange) -> Exchange {
    let mut exchange = exchange.clone();
    if exchange.status.is_some_and(|status| status >= 400) && is_bare(&exchange) {
        exchange.answer = json!({ "error": exchange.answer });
    }
    exchange
}

/// Whether the provider's own errors have no wrapper. ARM's, which come before the provider, always have it.
fn is_bare(exchange: &Exchange) -> bool {
    let path = exchange.path.to_ascii_lowercase();
    BARE.iter().any(|part| path.contains(part))
        && !matches!(exchange.answer, Value::Null)
        && exchange.answer.get("error").is_none()
}
