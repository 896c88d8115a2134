//! Front Door Standard and Premium: origin groups and their origins. Changes are long-running operations, without an `ETag`;
//! a lower-case `origingroups` in ids, `deploymentStatus: NotStarted` for good, as the service has it.

use hyper::http::{Method, StatusCode};
use jiff::Timestamp;
use serde_json::{Map, Value, json};

use super::super::scenario::{FrontDoor, SUBSCRIPTION};
use super::operations::{self, Operation};
use super::{ArmError, Call, Handled, Outcome, generic, only_get, weights};

const GROUP: &str = "Microsoft.Cdn/profiles/origingroups";
const ORIGIN: &str = "Microsoft.Cdn/profiles/origingroups/origins";

fn profile_id(group: &str, profile: &str) -> String {
    format!(
        "/subscriptions/{SUBSCRIPTION}/resourcegroups/{group}/providers/Microsoft.Cdn/profiles/{profile}"
    )
}

/// The documents of a Front Door of the scenario.
pub(super) fn opening(door: &FrontDoor) -> Vec<(String, Value)> {
    let profile = profile_id(&door.group, &door.profile);
    let group = format!("{profile}/origingroups/{}", door.origin_group);
    let sku = json!({ "location": "Global", "sku": { "name": "Standard_AzureFrontDoor" }, "properties": {} });
    let balancing = json!({ "loadBalancingSettings": {
        "sampleSize": 4, "successfulSamplesRequired": 3, "additionalLatencyInMilliseconds": 50,
    }});
    let mut docs = vec![
        (profile.to_ascii_lowercase(), generic::doc(&profile, &sku)),
        (group.to_ascii_lowercase(), doc(&group, GROUP, weights::merged(None, &balancing))),
    ];
    docs.extend(door.origins.iter().map(|share| {
        let id = format!("{group}/origins/{}", share.name);
        let state = if share.enabled { "Enabled" } else { "Disabled" };
        let written = json!({
            "hostName": share.target, "httpPort": 80, "httpsPort": 443, "originHostHeader": share.target,
            "priority": 1, "weight": share.weight, "enabledState": state,
            "enforceCertificateNameCheck": true,
        });
        (id.to_ascii_lowercase(), doc(&id, ORIGIN, weights::merged(None, &written)))
    }));
    docs
}

fn doc(id: &str, kind: &str, mut properties: Map<String, Value>) -> Value {
    properties.insert("provisioningState".to_owned(), json!("Succeeded"));
    properties.insert("deploymentStatus".to_owned(), json!("NotStarted"));
    json!({ "id": id, "name": id.rsplit('/').next(), "type": kind, "properties": properties })
}

/// Everything from `originGroups` on; `rest` is what follows, in lower case.
pub(super) fn answer(call: &Call<'_>, rest: &[&str]) -> Handled {
    let profile = profile_id(call.segments[3], call.segments[7]);
    let groups = format!("{profile}/origingroups");
    let group = call.segments.get(9).map(|name| format!("{groups}/{name}"));
    let known = group.as_ref().is_none_or(|group| call.world.get(group).is_some());
    match (rest, group) {
        ([], _) => list(call, &profile, GROUP),
        (_, Some(group)) if !known => Err(ArmError::not_found(&group)),
        ([_], Some(group)) => {
            only_get(call)?;
            let found = call.world.get(&group).ok_or_else(|| ArmError::not_found(&group))?;
            Ok(Outcome::ok(found))
        }
        ([_, "origins"], Some(group)) => list(call, &group, ORIGIN),
        ([_, "origins", _], Some(group)) => origin(call, &group),
        _ => Err(ArmError::not_found(&call.request.path)),
    }
}

fn list(call: &Call<'_>, parent: &str, kind: &str) -> Handled {
    only_get(call)?;
    let docs = call.world.below(parent).filter(|(_, doc)| doc["type"] == kind);
    Ok(Outcome::ok(&call.page(docs.map(|(_, doc)| shown(call, doc)).collect())))
}

/// As it is read: `Updating` while its last change is under way.
fn shown(call: &Call<'_>, doc: &Value) -> Value {
    let mut doc = doc.clone();
    let ends = doc.as_object_mut().and_then(|fields| fields.remove("ends"));
    let ends: Option<Timestamp> = ends.and_then(|ends| ends.as_str()?.parse().ok());
    if ends.is_some_and(|ends| call.now < ends) {
        doc["properties"]["provisioningState"] = json!("Updating");
    }
    doc
}

fn origin(call: &Call<'_>, group: &str) -> Handled {
    let id = format!("{group}/origins/{}", call.segments[11]);
    let found = call.world.get(&id);
    match (call.request.method.clone(), found) {
        (Method::GET, Some(doc)) => Ok(Outcome::ok(&shown(call, doc))),
        (Method::DELETE, None) => Ok(Outcome::empty(StatusCode::NO_CONTENT)),
        (Method::GET | Method::PATCH, None) => Err(ArmError::not_found(&id)),
        (Method::DELETE, Some(_)) => {
            let operation = Operation::start(call, &id);
            let start = Outcome::empty(StatusCode::ACCEPTED);
            Ok(if call.fails {
                started(call, &operation, start)
            } else {
                started(call, &operation, start).remove(&id)
            })
        }
        (Method::PUT | Method::PATCH, _) => {
            let kept = found.filter(|_| call.request.method == Method::PATCH);
            let properties = weights::merged(kept, &call.body()?["properties"]);
            weights::in_range(&properties, "weight", 1000)?;
            weights::in_range(&properties, "priority", 5)?;
            if properties.get("hostName").is_none() {
                return Err(ArmError::bad_request(
                    "BadRequest",
                    "The property 'hostName' is required.",
                ));
            }
            let operation = Operation::start(call, &id);
            let mut doc = doc(&id, ORIGIN, properties);
            doc["ends"] = json!(operation.ends);
            let start = Outcome::with_status(StatusCode::ACCEPTED, &shown(call, &doc));
            let start = started(call, &operation, start);
            Ok(if call.fails { start } else { start.put(&id, doc) })
        }
        _ => Err(ArmError::method_not_allowed()),
    }
}

fn started(call: &Call<'_>, operation: &Operation, outcome: Outcome) -> Outcome {
    let parent = profile_id(call.segments[3], "");
    let parent = parent.trim_end_matches("/profiles/");
    let path = format!("{parent}/operationresults/{}", operation.id);
    let mut outcome = operation.put_into(outcome);
    outcome.reply = outcome.reply.with("azure-asyncoperation", operations::link(call, &path));
    outcome
}
