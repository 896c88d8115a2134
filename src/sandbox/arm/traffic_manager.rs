//! Traffic Manager: profiles and their endpoints. Synchronous, without an `ETag`; whoever writes last has written.
//!
//! An endpoint's health is not kept: it follows from whether its target is up, and is not known for a moment after it was
//! enabled.

use hyper::http::{Method, StatusCode};
use jiff::SignedDuration;
use serde_json::{Map, Value, json};

use super::super::ledger::Cause;
use super::super::scenario::{SUBSCRIPTION, TrafficManager};
use super::{ArmError, Call, Handled, Outcome, generic, only_get, weights};

const TYPE: &str = "Microsoft.Network/trafficManagerProfiles";
/// Lower-case path segment and name in ids.
const ENDPOINTS: [(&str, &str); 3] = [
    ("externalendpoints", "externalEndpoints"),
    ("azureendpoints", "azureEndpoints"),
    ("nestedendpoints", "nestedEndpoints"),
];
/// How long an endpoint's health is not known after it was enabled.
const CHECKING: SignedDuration = SignedDuration::from_secs(10);

fn id(group: &str, profile: &str) -> String {
    format!("/subscriptions/{SUBSCRIPTION}/resourceGroups/{group}/providers/{TYPE}/{profile}")
}

/// The documents of a profile of the scenario.
pub(super) fn opening(manager: &TrafficManager) -> Vec<(String, Value)> {
    let id = id(&manager.group, &manager.profile);
    let written = json!({
        "trafficRoutingMethod": "Weighted",
        "dnsConfig": { "relativeName": manager.profile, "ttl": manager.ttl },
        "monitorConfig": { "protocol": "HTTP", "port": 80, "path": "/health" },
    });
    let mut docs = vec![profile_doc(&id, &json!({}), weights::merged(None, &written))];
    docs.extend(manager.endpoints.iter().map(|share| {
        let status = if share.enabled { "Enabled" } else { "Disabled" };
        let written =
            json!({ "target": share.target, "weight": share.weight, "endpointStatus": status });
        endpoint_doc(&id, "externalEndpoints", &share.name, weights::merged(None, &written))
    }));
    docs.into_iter()
        .map(|doc| (doc["id"].as_str().unwrap_or("").to_ascii_lowercase(), doc))
        .collect()
}

fn profile_doc(id: &str, tags: &Value, mut properties: Map<String, Value>) -> Value {
    properties.remove("endpoints");
    for (key, value) in [
        ("profileStatus", json!("Enabled")),
        ("trafficRoutingMethod", json!("Performance")),
        ("dnsConfig", json!({})),
        ("monitorConfig", json!({})),
    ] {
        properties.entry(key).or_insert(value);
    }
    let dns = &mut properties["dnsConfig"];
    dns["fqdn"] =
        json!(format!("{}.trafficmanager.net", dns["relativeName"].as_str().unwrap_or_default()));
    let monitor = &mut properties["monitorConfig"];
    for (key, value) in
        [("intervalInSeconds", 30), ("timeoutInSeconds", 10), ("toleratedNumberOfFailures", 3)]
    {
        if monitor[key].is_null() {
            monitor[key] = json!(value);
        }
    }
    let name = id.rsplit('/').next();
    json!({ "id": id, "name": name, "type": TYPE, "location": "global", "tags": tags, "properties": properties })
}

fn endpoint_doc(
    profile: &str,
    kind: &str,
    name: &str,
    mut properties: Map<String, Value>,
) -> Value {
    properties.remove("endpointMonitorStatus");
    for (key, value) in
        [("endpointStatus", json!("Enabled")), ("weight", json!(1)), ("priority", json!(1))]
    {
        properties.entry(key).or_insert(value);
    }
    json!({
        "id": format!("{profile}/{kind}/{name}"), "name": name, "type": format!("{TYPE}/{kind}"),
        "properties": properties,
    })
}

/// `…/trafficManagerProfiles` of a group or of the subscription.
pub(super) fn list(call: &Call<'_>) -> Handled {
    only_get(call)?;
    let scope = call.id(call.segments.len() - 3);
    let profiles = call.world.below(&scope).filter(|(_, doc)| doc["type"] == TYPE);
    Ok(Outcome::ok(&call.page(profiles.map(|(key, doc)| shown(call, key, doc)).collect())))
}

/// A profile and what is below it; `rest` follows its name, in lower case.
pub(super) fn answer(call: &Call<'_>, rest: &[&str]) -> Handled {
    let id = id(call.segments[3], call.segments[7]);
    match rest {
        [] => profile(call, &id),
        [kind, _] => {
            let known = ENDPOINTS.iter().find(|(lower, _)| lower == kind);
            let (_, kind) = known.ok_or_else(|| ArmError::not_found(&call.request.path))?;
            if call.world.get(&id).is_none() {
                return Err(ArmError::not_found(&id));
            }
            endpoint(call, &id, kind)
        }
        _ => Err(ArmError::not_found(&call.request.path)),
    }
}

fn profile(call: &Call<'_>, id: &str) -> Handled {
    let found = call.world.get(id);
    match (call.request.method.clone(), found) {
        (Method::DELETE, None) => Ok(Outcome::empty(StatusCode::NO_CONTENT)),
        (Method::DELETE, Some(_)) => {
            let start = Outcome::ok(&json!({})).remove(id);
            Ok(call.world.below(id).fold(start, |outcome, (key, _)| outcome.remove(key)))
        }
        (Method::GET, Some(doc)) => Ok(Outcome::ok(&shown(call, id, doc))),
        (Method::PUT, _) | (Method::PATCH, Some(_)) => written(call, id, found),
        (Method::GET | Method::PATCH, None) => Err(ArmError::not_found(id)),
        _ => Err(ArmError::method_not_allowed()),
    }
}

/// PUT replaces the profile, its endpoints included when it names any; PATCH replaces what it names.
fn written(call: &Call<'_>, id: &str, found: Option<&Value>) -> Handled {
    let body = call.body()?;
    let parts = ["/properties", "/properties/dnsConfig", "/properties/monitorConfig"];
    generic::must_be_objects(&body, &parts)?;
    let kept = found.filter(|_| call.request.method == Method::PATCH);
    let properties = weights::merged(kept, &body["properties"]);
    let tags = [&body["tags"], &found.unwrap_or(&Value::Null)["tags"]];
    let tags = tags.into_iter().find(|tags| tags.is_object()).cloned().unwrap_or_else(|| json!({}));
    let mut docs = Vec::new();
    for endpoint in body["properties"]["endpoints"].as_array().into_iter().flatten() {
        let kind =
            endpoint["type"].as_str().unwrap_or_default().rsplit('/').next().unwrap_or_default();
        let known = ENDPOINTS.iter().find(|(lower, _)| lower.eq_ignore_ascii_case(kind));
        let (Some((_, kind)), Some(name)) = (known, endpoint["name"].as_str()) else {
            return Err(ArmError::bad_request("BadRequest", "An endpoint lacks its name or type."));
        };
        docs.push(valid(endpoint_doc(
            id,
            kind,
            name,
            weights::merged(None, &endpoint["properties"]),
        ))?);
    }
    let doc = profile_doc(id, &tags, properties);
    let status = if found.is_some() { StatusCode::OK } else { StatusCode::CREATED };
    let mut shown = shown(call, id, &doc);
    let mut outcome = Outcome::empty(status).put(id, doc);
    if body["properties"]["endpoints"].is_array() {
        let mut list = Vec::new();
        outcome = call.world.below(id).fold(outcome, |outcome, (key, _)| outcome.remove(key));
        for doc in docs {
            list.push(with_health(call, &doc));
            let key = doc["id"].as_str().unwrap_or_default().to_owned();
            outcome = outcome.put(&key, doc);
        }
        shown["properties"]["endpoints"] = json!(list);
    }
    outcome.reply = Outcome::with_status(status, &shown).reply;
    Ok(outcome)
}

fn endpoint(call: &Call<'_>, profile: &str, kind: &str) -> Handled {
    let name = call.segments[9];
    let id = format!("{profile}/{kind}/{name}");
    let found = call.world.get(&id);
    let name = found.and_then(|doc| doc["name"].as_str()).unwrap_or(name);
    match (call.request.method.clone(), found) {
        (Method::DELETE, None) => Ok(Outcome::empty(StatusCode::NO_CONTENT)),
        (Method::DELETE, Some(_)) => Ok(Outcome::ok(&json!({})).remove(&id)),
        (Method::GET, Some(doc)) => Ok(Outcome::ok(&with_health(call, doc))),
        (Method::GET | Method::PATCH, None) => Err(ArmError::not_found(&id)),
        (Method::PUT | Method::PATCH, _) => {
            let kept = found.filter(|_| call.request.method == Method::PATCH);
            let properties = weights::merged(kept, &call.body()?["properties"]);
            let doc = valid(endpoint_doc(profile, kind, name, properties))?;
            let status = if found.is_some() { StatusCode::OK } else { StatusCode::CREATED };
            Ok(Outcome::with_status(status, &with_health(call, &doc)).put(&id, doc))
        }
        _ => Err(ArmError::method_not_allowed()),
    }
}

fn valid(doc: Value) -> Result<Value, ArmError> {
    let properties = doc["properties"].as_object().expect("made with properties");
    weights::in_range(properties, "weight", 1000)?;
    weights::in_range(properties, "priority", 1000)?;
    if properties["target"].is_null() && properties.get("targetResourceId").is_none() {
        let message = "The endpoint lacks 'target' and 'targetResourceId'.";
        return Err(ArmError::bad_request("BadRequest", message));
    }
    Ok(doc)
}

/// A profile as it is read: with its endpoints, and what its monitoring says.
fn shown(call: &Call<'_>, id: &str, doc: &Value) -> Value {
    let endpoints: Vec<_> =
        call.world.below(id).map(|(_, endpoint)| with_health(call, endpoint)).collect();
    let any = |status: &str| {
        endpoints.iter().any(|it| it["properties"]["endpointMonitorStatus"] == status)
    };
    let status = if doc["properties"]["profileStatus"] != "Enabled" {
        "Disabled"
    } else if any("Degraded") {
        "Degraded"
    } else if any("CheckingEndpoint") {
        "CheckingEndpoints"
    } else if any("Online") {
        "Online"
    } else {
        "Inactive"
    };
    let mut doc = doc.clone();
    doc["properties"]["monitorConfig"]["profileMonitorStatus"] = json!(status);
    doc["properties"]["endpoints"] = json!(endpoints);
    doc
}

fn with_health(call: &Call<'_>, endpoint: &Value) -> Value {
    let properties = &endpoint["properties"];
    let target = properties["target"].as_str().unwrap_or_default();
    let status = if properties["endpointStatus"] != "Enabled" {
        "Disabled"
    } else if is_new(call, endpoint) {
        "CheckingEndpoint"
    } else if weights::is_down(call, target) {
        "Degraded"
    } else {
        "Online"
    };
    let mut endpoint = endpoint.clone();
    endpoint["properties"]["endpointMonitorStatus"] = json!(status);
    endpoint
}

/// Whether a client has changed it just now. The world's opening is long ago.
fn is_new(call: &Call<'_>, endpoint: &Value) -> bool {
    let key = endpoint["id"].as_str().unwrap_or_default().to_ascii_lowercase();
    if call.world.get(&key) != Some(endpoint) {
        return true;
    }
    let mut entries = call.world.entries.iter().rev();
    let last = entries.find(|entry| entry.changes.contains_key(&key));
    last.is_some_and(|entry| {
        entry.cause == Cause::Request && call.now.duration_since(entry.at) < CHECKING
    })
}
