//! Any other resource, by id, and the lists of all of them.

use hyper::http::{Method, StatusCode};
use serde_json::{Value, json};

use super::super::store::World;
use super::{ArmError, Call, Handled, Outcome, only_get};

/// Resources of their own: not a group, a lock, a deployment, nor a part of another resource.
pub(super) fn is_resource(doc: &Value) -> bool {
    let kind = doc["type"].as_str().unwrap_or("").to_ascii_lowercase();
    kind.matches('/').count() == 1
        && !kind.starts_with("microsoft.resources/")
        && !kind.starts_with("microsoft.authorization/")
}

/// `…/resources` of the subscription or of a group.
pub(super) fn list(call: &Call<'_>) -> Handled {
    only_get(call)?;
    let scope = call.id(call.segments.len() - 1);
    let filter = call.request.query("$filter").unwrap_or("");
    let asked = |field: &str| {
        let mut conditions = filter.split(" and ").filter_map(|it| it.trim().split_once(" eq "));
        let (_, value) = conditions.find(|(name, _)| name.eq_ignore_ascii_case(field))?;
        Some(value.trim_matches('\'').to_ascii_lowercase())
    };
    let (wanted, group) = (asked("resourceType"), asked("resourceGroup"));
    let docs = call.world.below(&scope).filter(|(id, doc)| {
        let kind = doc["type"].as_str().unwrap_or("").to_ascii_lowercase();
        is_resource(doc)
            && wanted.as_ref().is_none_or(|wanted| kind == *wanted)
            && group.as_ref().is_none_or(|group| id.split('/').nth(4) == Some(group))
    });
    Ok(Outcome::ok(&call.page(docs.map(|(_, doc)| summary(doc)).collect())))
}

/// Lists leave the properties out, and versions.
fn summary(doc: &Value) -> Value {
    let mut summary = doc.clone();
    if let Some(fields) = summary.as_object_mut() {
        fields.retain(|name, _| !matches!(name.as_str(), "properties" | "etag"));
    }
    summary
}

/// One resource.
pub(super) fn answer(call: &Call<'_>) -> Handled {
    let id = call.id(call.segments.len());
    let found = call.world.get(&id);
    match (call.request.method.clone(), found) {
        (Method::GET, Some(doc)) => Ok(Outcome::ok(doc)),
        (Method::HEAD, None) => Ok(Outcome::empty(StatusCode::NOT_FOUND)),
        (Method::HEAD, Some(_)) | (Method::DELETE, None) => {
            Ok(Outcome::empty(StatusCode::NO_CONTENT))
        }
        (Method::DELETE, Some(_)) => {
            let start = Outcome::empty(StatusCode::OK).remove(&id);
            Ok(call.world.below(&id).fold(start, |outcome, (key, _)| outcome.remove(key)))
        }
        (Method::PUT, found) => {
            let written = call.body()?;
            must_be_objects(&written, &["/properties"])?;
            let doc = doc(&id, &written);
            let status = if found.is_some() { StatusCode::OK } else { StatusCode::CREATED };
            Ok(Outcome::with_status(status, &doc).put(&id, doc))
        }
        _ => Err(ArmError::not_found(&id)),
    }
}

/// What is written into must be an object, or not there.
pub(super) fn must_be_objects(written: &Value, places: &[&str]) -> Result<(), ArmError> {
    let odd = |at: &&&str| {
        written.pointer(at).is_some_and(|value| !value.is_object() && !value.is_null())
    };
    match places.iter().find(odd) {
        Some(at) => Err(ArmError::bad_request(
            "InvalidRequestContent",
            format!("The request content was invalid: `{at}` is not an object."),
        )),
        None => Ok(()),
    }
}

/// The document of a resource that somebody wrote.
pub(super) fn doc(id: &str, written: &Value) -> Value {
    let segments: Vec<&str> = id.split('/').filter(|segment| !segment.is_empty()).collect();
    let provider = segments.iter().rposition(|part| part.eq_ignore_ascii_case("providers"));
    let kinds = provider.map(|at| {
        let names: Vec<_> = segments[at + 2..].iter().step_by(2).copied().collect();
        format!("{}/{}", segments[at + 1], names.join("/"))
    });
    let mut doc = json!({ "id": id, "name": segments.last(), "type": kinds });
    for field in ["location", "tags", "sku", "kind", "identity", "zones", "properties"] {
        if let Some(value) = written.get(field) {
            doc[field] = value.clone();
        }
    }
    doc["properties"]["provisioningState"] = json!("Succeeded");
    doc
}

/// Ids, in lower case, of the resources in a group.
pub(super) fn ids_in<'a>(
    world: &'a World,
    group: &str,
) -> impl Iterator<Item = (&'a str, &'a Value)> {
    world.below(group).filter(|(_, doc)| is_resource(doc))
}
