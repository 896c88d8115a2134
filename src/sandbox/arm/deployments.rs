//! Deployments of a resource group: validate, what-if, create as a long-running operation, read, list, operations.
//!
//! Validation and what-if change nothing and are not in the ledger. Only the incremental mode is known.

use hyper::http::{Method, StatusCode};
use jiff::Timestamp;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use super::super::azure::hex;
use super::operations::{self, Operation};
use super::template::{Resource, Template};
use super::{ArmError, Call, Handled, Outcome, generic, groups, guid, locks, only_get};

const TYPE: &str = "Microsoft.Resources/deployments";
/// Segments of `/subscriptions/{s}/resourceGroups/{g}/providers/Microsoft.Resources/deployments/{d}`.
const NAME_SEGMENT: usize = 7;

/// `…/deployments` and everything below; `rest` in lower case.
pub(super) fn answer(call: &Call<'_>, rest: &[&str]) -> Handled {
    match (call.request.method.clone(), rest) {
        (Method::GET, []) => {
            let all = call.world.below(&call.id(NAME_SEGMENT)).map(|(_, doc)| doc);
            let all = all.filter(|doc| doc["type"] == TYPE).map(|doc| shown(call, doc)).collect();
            Ok(Outcome::ok(&call.page(all)))
        }
        (Method::POST, [_, "validate"]) => validate(call),
        (Method::POST, [_, "whatif"]) => what_if(call),
        (Method::PUT, [_]) => create(call),
        (_, [_, "operationstatuses", id]) => operations::status(call, id),
        (_, [_]) => existing(call),
        _ => Err(ArmError::method_not_allowed()),
    }
}

fn existing(call: &Call<'_>) -> Handled {
    let found = call.world.get(&call.id(NAME_SEGMENT + 1));
    match (call.request.method.clone(), found) {
        (Method::HEAD, found) => Ok(Outcome::empty(match found {
            Some(_) => StatusCode::NO_CONTENT,
            None => StatusCode::NOT_FOUND,
        })),
        (Method::GET, Some(doc)) => Ok(Outcome::ok(&shown(call, doc))),
        (Method::DELETE, Some(_)) => {
            Ok(Outcome::empty(StatusCode::NO_CONTENT).remove(&call.id(NAME_SEGMENT + 1)))
        }
        (Method::DELETE, None) => Ok(Outcome::empty(StatusCode::NO_CONTENT)),
        (Method::GET, None) => Err(not_found(call.segments[NAME_SEGMENT])),
        _ => Err(ArmError::method_not_allowed()),
    }
}

fn not_found(name: &str) -> ArmError {
    let message = format!("Deployment '{name}' could not be found.");
    ArmError::new(StatusCode::NOT_FOUND, "DeploymentNotFound", message)
}

/// What a body means in this group: resources and the deployment's properties, or why not.
struct Meaning {
    resources: Vec<Resource>,
    properties: Value,
}

fn meaning(call: &Call<'_>) -> Result<Meaning, ArmError> {
    let body = call.body()?;
    let invalid = |message: String| ArmError::bad_request("InvalidTemplate", message);
    let group = groups::find(call, call.segments[3]).unwrap_or(&Value::Null);
    let name = group["name"].as_str().unwrap_or(call.segments[3]);
    let location = group["location"].as_str().unwrap_or("");
    let properties = &body["properties"];
    let mode = properties["mode"].as_str().unwrap_or("");
    if !mode.eq_ignore_ascii_case("Incremental") {
        return Err(invalid(format!("The sandbox deploys in mode 'Incremental', not '{mode}'.")));
    }
    let deployment = call.segments[NAME_SEGMENT];
    let template = Template::new(properties, name, location, deployment).map_err(invalid)?;
    let resources = template.resources().map_err(invalid)?;
    let ids: Vec<_> = resources.iter().map(|resource| json!({ "id": resource.id })).collect();
    let properties = json!({
        "templateHash": hex(&Sha256::digest(properties["template"].to_string()))[..16],
        "parameters": template.shown_parameters(),
        "mode": "Incremental",
        "provisioningState": "Succeeded",
        "timestamp": call.now,
        "duration": "PT0S",
        "correlationId": guid(&format!("correlation {}", call.world.next_seq())),
        "providers": [], "dependencies": [],
        "outputs": template.outputs().map_err(invalid)?,
        "outputResources": ids,
    });
    Ok(Meaning { resources, properties })
}

fn validate(call: &Call<'_>) -> Handled {
    let mut properties = meaning(call)?.properties;
    let fields = properties.as_object_mut().expect("they are one");
    let validated = fields.remove("outputResources").unwrap_or_else(|| json!([]));
    fields.insert("validatedResources".to_owned(), validated);
    let id = call.id(NAME_SEGMENT + 1);
    let name = call.segments[NAME_SEGMENT];
    Ok(Outcome::ok(&json!({ "id": id, "name": name, "type": TYPE, "properties": properties })))
}

/// Answered with `Location` only, as recorded.
fn what_if(call: &Call<'_>) -> Handled {
    let resources = meaning(call)?.resources;
    let mut changes: Vec<_> = resources.iter().map(|resource| change(call, resource)).collect();
    let group = groups::id(call.segments[3]);
    for (id, doc) in generic::ids_in(call.world, &group) {
        if !resources.iter().any(|resource| resource.id.eq_ignore_ascii_case(id)) {
            changes.push(json!({ "resourceId": doc["id"], "changeType": "Ignore", "before": doc, "after": doc }));
        }
    }
    let id = guid(&format!(
        "what-if {} {}",
        call.request.path,
        hex(&Sha256::digest(&call.request.body))
    ));
    let result = json!({
        "status": "Succeeded",
        "properties": { "correlationId": guid(&id), "changes": changes },
    });
    call.asides.keep(&id, result);
    let mut outcome = Outcome::empty(StatusCode::ACCEPTED);
    let location = operations::link(call, &operations::results_path(&id));
    outcome.reply = outcome.reply.with("location", location).with("retry-after", "1");
    Ok(outcome)
}

fn change(call: &Call<'_>, resource: &Resource) -> Value {
    let after = generic::doc(&resource.id, &resource.body);
    let Some(before) = call.world.get(&resource.id) else {
        return json!({ "resourceId": resource.id, "changeType": "Create", "after": after });
    };
    let mut delta = Vec::new();
    compare("", before, &after, &mut delta);
    let kind = if delta.is_empty() { "NoChange" } else { "Modify" };
    json!({ "resourceId": resource.id, "changeType": kind, "before": before, "after": after, "delta": delta })
}

fn compare(path: &str, before: &Value, after: &Value, delta: &mut Vec<Value>) {
    if let (Value::Object(old), Value::Object(new)) = (before, after) {
        let mut names: Vec<_> = old.keys().chain(new.keys()).collect();
        names.sort();
        names.dedup();
        for name in names {
            let path = if path.is_empty() { name.clone() } else { format!("{path}.{name}") };
            compare(&path, &before[name.as_str()], &after[name.as_str()], delta);
        }
    } else if before != after {
        let kind = match (before, after) {
            (Value::Null, _) => "Create",
            (_, Value::Null) => "Delete",
            _ => "Modify",
        };
        delta.push(
            json!({ "path": path, "propertyChangeType": kind, "before": before, "after": after }),
        );
    }
}

fn create(call: &Call<'_>) -> Handled {
    let (id, name) = (call.id(NAME_SEGMENT + 1), call.segments[NAME_SEGMENT]);
    let found = call.world.get(&id);
    if found.is_some_and(|doc| call.now < ends(doc)) {
        return Err(ArmError::new(
            StatusCode::CONFLICT,
            "DeploymentActive",
            format!(
                "Unable to edit or replace deployment '{name}': previous deployment is still active."
            ),
        ));
    }
    let Meaning { resources, mut properties } = meaning(call)?;
    for resource in &resources {
        locks::check(call, &resource.id, &Method::PUT)?;
    }
    let operation = Operation::start(call, &id);
    if let Some(error) = &operation.failure {
        properties["error"] = json!({
            "code": "DeploymentFailed",
            "message": "At least one resource deployment operation failed. Please list deployment operations for details.",
            "details": [error],
        });
    }
    let doc = json!({ "id": id, "name": name, "type": TYPE, "properties": properties, "ends": operation.ends });
    let path = format!("{id}/operationStatuses/{}", operation.id);
    let status = if found.is_some() { StatusCode::OK } else { StatusCode::CREATED };
    let mut outcome = Outcome::with_status(status, &shown_at(&doc, call.now));
    outcome.reply = outcome
        .reply
        .with("azure-asyncoperation", operations::link(call, &path))
        .with("retry-after", "5");
    let outcome = operation.put_into(outcome.put(&id, doc));
    let made = if operation.failure.is_some() { Vec::new() } else { resources };
    Ok(made.into_iter().fold(outcome, |outcome, resource| {
        let doc = generic::doc(&resource.id, &resource.body);
        outcome.put(&resource.id, doc)
    }))
}

fn ends(doc: &Value) -> Timestamp {
    doc["ends"].as_str().and_then(|text| text.parse().ok()).unwrap_or(Timestamp::MIN)
}

fn shown(call: &Call<'_>, doc: &Value) -> Value {
    shown_at(doc, call.now)
}

/// The deployment as of a time: running until it ends, then what came of it.
fn shown_at(doc: &Value, now: Timestamp) -> Value {
    let mut shown = json!({ "id": doc["id"], "name": doc["name"], "type": TYPE, "properties": doc["properties"] });
    let properties = &mut shown["properties"];
    let failed = properties["error"].is_object();
    if now < ends(doc) || failed {
        properties["provisioningState"] =
            json!(if failed && now >= ends(doc) { "Failed" } else { "Running" });
        for field in ["outputs", "outputResources"] {
            properties.as_object_mut().and_then(|fields| fields.remove(field));
        }
        if now < ends(doc) {
            properties.as_object_mut().and_then(|fields| fields.remove("error"));
        }
    }
    shown
}

/// `{group}/deployments/{name}/operations`, without the provider in its path.
pub(super) fn operations_of(call: &Call<'_>) -> Handled {
    only_get(call)?;
    let name = call.segments[5];
    let id = format!("{}/providers/{TYPE}/{name}", groups::id(call.segments[3]));
    let doc = call.world.get(&id).ok_or_else(|| not_found(name))?;
    let state = &shown(call, doc)["properties"]["provisioningState"];
    let error = &doc["properties"]["error"]["details"][0];
    let made = doc["properties"]["outputResources"].as_array().into_iter().flatten();
    let list = made.map(|resource| {
        let target = resource["id"].as_str().unwrap_or("");
        let failed = state == "Failed";
        let mut operation = json!({
            "id": format!("{id}/operations/{}", guid(target)), "operationId": guid(target),
            "properties": {
                "provisioningOperation": "Create", "provisioningState": state, "timestamp": doc["properties"]["timestamp"],
                "duration": "PT1S", "statusCode": if failed { "Conflict" } else { "OK" },
                "targetResource": { "id": target, "resourceName": target.rsplit('/').next() },
            },
        });
        if failed {
            operation["properties"]["statusMessage"] = json!({ "error": error });
        }
        operation
    });
    Ok(Outcome::ok(&call.page(list.collect())))
}
