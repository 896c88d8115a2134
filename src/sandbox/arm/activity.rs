//! The activity log: the ledger's control-plane writes, as late as the scenario says.

use jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};

use super::super::ledger::{Cause, Entry};
use super::{ArmError, Call, Handled, Outcome, guid, only_get};
use crate::clock::advance;

const DAYS_KEPT: i64 = 90;

/// What `$filter` asks for.
#[derive(Debug, Default, PartialEq)]
struct Filter {
    from: Option<Timestamp>,
    until: Option<Timestamp>,
    group: Option<String>,
    resource: Option<String>,
    provider: Option<String>,
    correlation: Option<String>,
}

/// `a ge 'x' and b eq 'y'`; a doubled quote in a value is one quote.
fn parse(text: &str) -> Option<Filter> {
    let mut filter = Filter::default();
    for condition in text.split(" and ") {
        let mut parts = condition.trim().splitn(3, ' ');
        let (field, operator, value) = (parts.next()?, parts.next()?, parts.next()?.trim());
        // The Azure CLI leaves the quotes and the zone of times out.
        let bare = value.strip_prefix('\'').and_then(|value| value.strip_suffix('\''));
        let value = bare.unwrap_or(value).replace("''", "'");
        let field = field.to_ascii_lowercase();
        match (field.as_str(), operator) {
            ("eventtimestamp", "ge") => filter.from = Some(time(&value)?),
            ("eventtimestamp", "le") => filter.until = Some(time(&value)?),
            ("resourcegroupname", "eq") => filter.group = Some(value.to_ascii_lowercase()),
            ("resourceid" | "resourceuri", "eq") => {
                filter.resource = Some(value.to_ascii_lowercase());
            }
            ("resourceprovider", "eq") => filter.provider = Some(value.to_ascii_lowercase()),
            ("correlationid", "eq") => filter.correlation = Some(value),
            ("eventchannels", "eq") => {}
            _ => return None,
        }
    }
    Some(filter)
}

fn time(text: &str) -> Option<Timestamp> {
    text.parse().ok().or_else(|| format!("{text}Z").parse().ok())
}

/// `…/providers/Microsoft.Insights/eventtypes/management/values`.
pub(super) fn list(call: &Call<'_>) -> Handled {
    only_get(call)?;
    let bad = |message: &str| ArmError::bad_request("BadRequest", message).bare();
    let filter = call.request.query("$filter").and_then(parse);
    let filter = filter.filter(|filter| filter.from.is_some());
    let filter = filter.ok_or_else(|| bad("The filter is missing or not supported."))?;
    let oldest = call.now.checked_sub(SignedDuration::from_hours(24 * DAYS_KEPT)).ok();
    if filter.from < oldest {
        return Err(bad("The start time cannot be more than 90 days in the past."));
    }
    let delay = std::time::Duration::from_secs(call.scenario.activity_log_delay_seconds);
    let shown = call.world.entries.iter().filter(|entry| {
        entry.is_control_plane_write()
            && advance(entry.at, delay) <= call.now
            && filter.admits(entry)
    });
    // Newest first, as the service answers.
    let events: Vec<_> = shown.rev().map(|entry| event(entry, advance(entry.at, delay))).collect();
    Ok(Outcome::ok(&call.page(events)))
}

impl Filter {
    fn admits(&self, entry: &Entry) -> bool {
        let path = entry.path.to_ascii_lowercase();
        let part = |after: &str| {
            let mut parts = path.split('/').skip_while(|part| *part != after);
            parts.nth(1).unwrap_or("").to_owned()
        };
        self.from.is_none_or(|from| entry.at >= from)
            && self.until.is_none_or(|until| entry.at <= until)
            && self.group.as_ref().is_none_or(|group| part("resourcegroups") == *group)
            && self.resource.as_ref().is_none_or(|resource| path == *resource)
            && self.provider.as_ref().is_none_or(|provider| part("providers") == *provider)
            && self.correlation.as_ref().is_none_or(|id| correlation(entry) == *id)
    }
}

fn correlation(entry: &Entry) -> String {
    guid(&format!("correlation {}", entry.seq))
}

fn event(entry: &Entry, submitted: Timestamp) -> Value {
    let status = if entry.status < 400 { "Succeeded" } else { "Failed" };
    let caller = entry.caller.as_deref().unwrap_or("");
    let operation = operation(&entry.method, &entry.path);
    let mut request = json!({ "method": entry.method });
    if let Some(id) = &entry.request_id {
        request["clientRequestId"] = json!(id);
    }
    json!({
        "eventDataId": guid(&format!("event {}", entry.seq)), "correlationId": correlation(entry),
        "eventTimestamp": entry.at, "submissionTimestamp": submitted,
        "operationName": { "value": operation, "localizedValue": operation },
        "status": { "value": status, "localizedValue": status },
        "subStatus": { "value": entry.status.to_string(), "localizedValue": entry.status.to_string() },
        "category": { "value": "Administrative", "localizedValue": "Administrative" },
        "level": if entry.status < 400 { "Informational" } else { "Error" },
        "caller": caller, "resourceId": entry.path,
        "authorization": { "action": operation, "scope": entry.path },
        "httpRequest": request,
        "claims": { "appid": caller },
    })
}

/// `Microsoft.Network/dnszones/CNAME/write` from method and path.
fn operation(method: &str, path: &str) -> String {
    let segments: Vec<&str> = path.split('/').filter(|segment| !segment.is_empty()).collect();
    let provider = segments.iter().rposition(|part| part.eq_ignore_ascii_case("providers"));
    let kind = match provider {
        Some(at) => {
            let names: Vec<_> = segments[at + 2..].iter().step_by(2).copied().collect();
            format!("{}/{}", segments[at + 1], names.join("/"))
        }
        None => "Microsoft.Resources/subscriptions/resourcegroups".to_owned(),
    };
    match method {
        "DELETE" => format!("{kind}/delete"),
        "POST" => format!("{kind}/action"),
        _ => format!("{kind}/write"),
    }
}

impl Entry {
    fn is_control_plane_write(&self) -> bool {
        let by_somebody = self.is_mutating_request() || self.cause == Cause::Drift;
        by_somebody && self.path.starts_with("/subscriptions/")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn operations_are_named_as_the_log_names_them() {
        let record =
            "/subscriptions/s/resourceGroups/g/providers/Microsoft.Network/dnszones/z/CNAME/crm";
        assert_eq!(operation("PUT", record), "Microsoft.Network/dnszones/CNAME/write");
        let lock = "/subscriptions/s/resourceGroups/g/providers/Microsoft.Authorization/locks/l";
        assert_eq!(operation("DELETE", lock), "Microsoft.Authorization/locks/delete");
        let group = operation("PUT", "/subscriptions/s/resourceGroups/g");
        assert_eq!(group, "Microsoft.Resources/subscriptions/resourcegroups/write");
    }

    #[test]
    fn a_filter_that_is_not_understood_is_refused() {
        assert_eq!(parse("eventTimestamp ge 'yesterday'"), None);
        assert_eq!(parse("level eq 'Error'"), None);
        let group = parse("eventTimestamp ge '2026-01-01T00:00:00Z' and resourceGroupName eq 'RG'");
        assert_eq!(group.and_then(|filter| filter.group), Some("rg".to_owned()));
    }
}
