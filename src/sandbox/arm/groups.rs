//! Resource groups.

use hyper::http::{Method, StatusCode};
use serde_json::{Value, json};

use super::super::scenario::{Group, SUBSCRIPTION};
use super::operations::{self, Operation};
use super::{ArmError, Call, Handled, Outcome, only_get};

const TYPE: &str = "Microsoft.Resources/resourceGroups";

pub(super) fn id(name: &str) -> String {
    format!("/subscriptions/{SUBSCRIPTION}/resourceGroups/{name}")
}

/// The document of a group of the scenario.
pub(crate) fn opening(group: &Group) -> (String, Value) {
    (id(&group.name).to_ascii_lowercase(), doc(&group.name, &group.location, &json!({})))
}

fn doc(name: &str, location: &str, tags: &Value) -> Value {
    json!({
        "id": id(name), "name": name, "type": TYPE, "location": location, "tags": tags,
        "properties": { "provisioningState": "Succeeded" },
    })
}

pub(super) fn find<'a>(call: &'a Call<'_>, name: &str) -> Option<&'a Value> {
    call.world.get(&id(name))
}

/// `/resourcegroups` and `/resourcegroups/{name}`.
pub(super) fn answer(call: &Call<'_>) -> Handled {
    let Some(name) = call.segments.get(3) else {
        only_get(call)?;
        let groups = call.world.below(&format!("/subscriptions/{SUBSCRIPTION}/resourceGroups"));
        let groups = groups.filter(|(_, doc)| doc["type"] == TYPE).map(|(_, doc)| doc.clone());
        return Ok(Outcome::ok(&call.page(groups.collect())));
    };
    let found = find(call, name);
    match (call.request.method.clone(), found) {
        (Method::PUT, found) => put(call, name, found),
        (Method::HEAD, Some(_)) => Ok(Outcome::empty(StatusCode::NO_CONTENT)),
        (Method::HEAD, None) => Ok(Outcome::empty(StatusCode::NOT_FOUND)),
        (_, None) => Err(ArmError::group_not_found(name)),
        (Method::GET, Some(doc)) => Ok(Outcome::ok(doc)),
        (Method::DELETE, Some(_)) => {
            let operation = Operation::start(call, &id(name));
            let location = operations::link(call, &operations::results_path(&operation.id));
            let mut start = operation.put_into(Outcome::empty(StatusCode::ACCEPTED));
            start.reply = start.reply.with("location", location).with("retry-after", "15");
            let start = start.remove(&id(name));
            Ok(call.world.below(&id(name)).fold(start, |outcome, (key, _)| outcome.remove(key)))
        }
        _ => Err(ArmError::method_not_allowed()),
    }
}

fn put(call: &Call<'_>, name: &str, found: Option<&Value>) -> Handled {
    let body = call.body()?;
    let Some(location) = body["location"].as_str() else {
        return Err(ArmError::bad_request(
            "LocationRequired",
            "The location property is required for this definition.",
        ));
    };
    let tags = body.get("tags").cloned().unwrap_or_else(|| json!({}));
    let doc = doc(found.and_then(|doc| doc["name"].as_str()).unwrap_or(name), location, &tags);
    let status = if found.is_some() { StatusCode::OK } else { StatusCode::CREATED };
    Ok(Outcome::with_status(status, &doc).put(&id(name), doc))
}
