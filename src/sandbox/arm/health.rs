//! Resource health and events of service health, as the scenario scripts them.

use jiff::Timestamp;
use serde_json::{Value, json};

use super::super::scenario::{SUBSCRIPTION, ServiceEvent};
use super::{ArmError, Call, Handled, Outcome, generic, only_get};
use crate::clock::advance;

/// Everything of the provider; `rest` is what follows its name, in lower case.
pub(super) fn answer(call: &Call<'_>, rest: &[&str]) -> Handled {
    only_get(call)?;
    let scope = call.id(call.segments.len() - rest.len() - 2);
    match rest {
        ["availabilitystatuses", "current"] => current(call, &scope),
        ["availabilitystatuses"] => {
            let resources = generic::ids_in(call.world, &scope);
            let statuses = resources.filter_map(|(_, doc)| status(call, doc["id"].as_str()?));
            Ok(Outcome::ok(&call.page(statuses.collect())))
        }
        ["events"] => {
            let events = call.scenario.service_events.iter().filter_map(|it| event(call, it));
            Ok(Outcome::ok(&call.page(events.collect())))
        }
        _ => Err(ArmError::not_found(&call.request.path)),
    }
}

fn current(call: &Call<'_>, resource: &str) -> Handled {
    let found = status(call, resource).ok_or_else(|| ArmError::not_found(resource))?;
    Ok(Outcome::ok(&found))
}

fn elapsed(call: &Call<'_>) -> u64 {
    u64::try_from(call.now.duration_since(call.began).as_secs()).unwrap_or_default()
}

fn after(call: &Call<'_>, seconds: u64) -> Timestamp {
    advance(call.began, std::time::Duration::from_secs(seconds))
}

/// The status of a resource that is there or scripted; of one that is not scripted nothing bad was heard.
fn status(call: &Call<'_>, resource: &str) -> Option<Value> {
    let lower = resource.to_ascii_lowercase();
    let id = |group: &str, path: &str| {
        format!("/subscriptions/{SUBSCRIPTION}/resourceGroups/{group}/providers/{path}")
            .to_ascii_lowercase()
    };
    let scripted = call.scenario.health.iter().find(|it| id(&it.group, &it.resource) == lower);
    let known = call.world.get(resource);
    if scripted.is_none() && known.is_none() {
        return None;
    }
    let state = scripted.and_then(|it| it.state(elapsed(call)));
    let (since, state) = state.map_or((0, "Available"), |(since, state)| (*since, state.as_str()));
    let summary = match state {
        "Available" => "There aren't any known Azure platform problems affecting this resource.",
        "Unknown" => "We are currently unable to determine the health of this resource.",
        _ => "We're sorry, your resource isn't available, as the scenario says.",
    };
    let mut properties = json!({
        "availabilityState": state, "title": state, "summary": summary,
        "occuredTime": after(call, since).to_string(), "reasonChronicity": "Persistent",
        "reportedTime": call.now.to_string(),
    });
    if state == "Unavailable" {
        properties["reasonType"] = json!("Unplanned");
    }
    Some(json!({
        "id": format!("{resource}/providers/Microsoft.ResourceHealth/availabilityStatuses/current"),
        "name": "current", "type": "Microsoft.ResourceHealth/AvailabilityStatuses",
        "location": known.map_or("westeurope", |doc| doc["location"].as_str().unwrap_or("westeurope")),
        "properties": properties,
    }))
}

/// An event once it has begun.
fn event(call: &Call<'_>, event: &ServiceEvent) -> Option<Value> {
    let lasted = elapsed(call).checked_sub(event.after_seconds)?;
    let over = event.for_seconds.is_some_and(|lasts| lasted >= lasts);
    let status = if over { "Resolved" } else { "Active" };
    let mut properties = json!({
        "eventType": event.kind, "eventSource": "ServiceHealth", "status": status, "title": event.title,
        "summary": event.title, "header": event.title, "level": "Warning", "eventLevel": "Warning",
        "impactStartTime": after(call, event.after_seconds).to_string(),
        "impact": [{ "impactedService": event.service, "impactedRegions": [{
            "impactedRegion": event.region, "status": status, "impactedSubscriptions": [SUBSCRIPTION],
            "impactedTenants": [], "lastUpdateTime": call.now.to_string(),
        }]}],
        "priority": 1, "lastUpdateTime": call.now.to_string(),
    });
    if let (true, Some(lasts)) = (over, event.for_seconds) {
        properties["impactMitigationTime"] =
            json!(after(call, event.after_seconds + lasts).to_string());
    }
    Some(json!({
        "id": format!("/subscriptions/{SUBSCRIPTION}/providers/Microsoft.ResourceHealth/events/{}", event.id),
        "name": event.id, "type": "/providers/Microsoft.ResourceHealth/events", "properties": properties,
    }))
}
