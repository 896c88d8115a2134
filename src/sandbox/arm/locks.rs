//! Management locks: kept at a scope, inherited by everything below it, and really in the way.
//!
//! `ReadOnly` refuses every change, POST actions included; `CanNotDelete` refuses deletions. Locks themselves can always
//! be changed, else none could be taken away. One that is taken away still refuses for a moment, as ARM learns of it late.

use hyper::http::{Method, StatusCode};
use jiff::Timestamp;
use serde_json::{Value, json};

use super::super::scenario::{Lock, SUBSCRIPTION};
use super::super::store::World;
use super::{ArmError, Call, Handled, Outcome, groups, guid, only_get};
use crate::clock::advance;

const TYPE: &str = "Microsoft.Authorization/locks";
const PATH: &str = "/providers/microsoft.authorization/locks/";
const NOTES_MAX: usize = 512;
/// Keys of locks that were taken away.
const LIFTED: &str = "lifted-";

/// The document of a lock of the scenario.
pub(super) fn opening(lock: &Lock) -> (String, Value) {
    let scope = lock
        .group
        .as_ref()
        .map_or_else(|| format!("/subscriptions/{SUBSCRIPTION}"), |group| groups::id(group));
    let doc = doc(&scope, &lock.name, &json!({ "level": lock.level }));
    (doc["id"].as_str().unwrap_or("").to_ascii_lowercase(), doc)
}

fn doc(scope: &str, name: &str, properties: &Value) -> Value {
    let id = format!("{scope}/providers/{TYPE}/{name}");
    json!({ "id": id, "name": name, "type": TYPE, "properties": properties })
}

/// Locks with their lower-case scopes.
fn all(world: &World) -> impl Iterator<Item = (&str, &Value)> {
    let docs = world.docs.iter().filter(|(_, doc)| doc["type"] == TYPE);
    docs.filter_map(|(key, doc)| Some((key.rsplit_once(PATH)?.0, doc.as_ref())))
}

/// Locks that were taken away so shortly before `now` that they still refuse.
fn lifted(world: &World, now: Timestamp) -> impl Iterator<Item = (&str, &Value)> {
    let range = world.docs.range(LIFTED.to_owned()..);
    let docs = range.take_while(|(key, _)| key.starts_with(LIFTED)).map(|(_, doc)| doc.as_ref());
    docs.filter(move |doc| {
        let until = doc["until"].as_str().and_then(|text| text.parse::<Timestamp>().ok());
        until.is_some_and(|until| now < until)
    })
    .filter_map(|doc| Some((doc["id"].as_str()?.rsplit_once(PATH)?.0, &doc["lock"])))
}

fn is_within(id: &str, scope: &str) -> bool {
    id.strip_prefix(scope).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}

/// Refuses a change of `id` that a lock forbids.
pub(super) fn check(call: &Call<'_>, id: &str, method: &Method) -> Result<(), ArmError> {
    let id = id.to_ascii_lowercase();
    let deletes = *method == Method::DELETE;
    let forbids = |(scope, lock): &(&str, &Value)| {
        let read_only = lock["properties"]["level"] == "ReadOnly";
        // Deleting a container deletes what is locked in it.
        let touched = is_within(&id, scope) || (deletes && is_within(scope, &id));
        touched && (read_only || deletes)
    };
    let scopes: Vec<_> = all(call.world)
        .chain(lifted(call.world, call.now))
        .filter(forbids)
        .map(|(scope, _)| format!("'{scope}'"))
        .collect();
    if scopes.is_empty() {
        return Ok(());
    }
    let operation = if deletes { "delete" } else { "write" };
    Err(ArmError::new(
        StatusCode::CONFLICT,
        "ScopeLocked",
        format!(
            "The scope '{id}' cannot perform {operation} operation because following scope(s) are locked: {}. Please remove the lock and try again.",
            scopes.join(",")
        ),
    ))
}

/// `{scope}/providers/Microsoft.Authorization/locks`: those at the scope and below it; with `atScope()` those at the
/// scope and above it.
pub(super) fn list(call: &Call<'_>) -> Handled {
    only_get(call)?;
    let scope = call.id(call.segments.len() - 3).to_ascii_lowercase();
    let above = call.request.query("$filter").is_some_and(|filter| filter.contains("atScope"));
    let wanted = |at: &str| if above { is_within(&scope, at) } else { is_within(at, &scope) };
    let locks = all(call.world).filter(|(at, _)| wanted(at)).map(|(_, lock)| lock.clone());
    Ok(Outcome::ok(&call.page(locks.collect())))
}

/// One lock.
pub(super) fn answer(call: &Call<'_>) -> Handled {
    let count = call.segments.len();
    let (scope, name) = (call.id(count - 4), call.segments[count - 1]);
    let id = call.id(count);
    let found = call.world.get(&id);
    match (call.request.method.clone(), found) {
        (Method::PUT, found) => {
            let body = call.body()?;
            let properties = &body["properties"];
            let level = properties["level"].as_str().unwrap_or("");
            let notes = properties["notes"].as_str().unwrap_or("");
            if !["ReadOnly", "CanNotDelete"].contains(&level) || notes.chars().count() > NOTES_MAX {
                return Err(ArmError::bad_request(
                    "InvalidLockProperties",
                    format!("The lock level '{level}' or its notes are not valid."),
                ));
            }
            let doc = doc(&scope, name, properties);
            let status = if found.is_some() { StatusCode::OK } else { StatusCode::CREATED };
            Ok(Outcome::with_status(status, &doc).put(&id, doc))
        }
        (Method::DELETE, None) => Ok(Outcome::empty(StatusCode::NO_CONTENT)),
        (Method::DELETE, Some(lock)) => {
            let lasts = std::time::Duration::from_secs(call.scenario.unlock_seconds);
            let until = advance(call.now, lasts);
            let lifted = json!({ "id": id.to_ascii_lowercase(), "lock": lock, "until": until });
            let key = format!("{LIFTED}{}", guid(&id.to_ascii_lowercase()));
            Ok(Outcome::empty(StatusCode::OK).remove(&id).put(&key, lifted))
        }
        (Method::GET, Some(lock)) => Ok(Outcome::ok(lock)),
        (Method::GET, None) => Err(ArmError::new(
            StatusCode::NOT_FOUND,
            "LockNotFound",
            format!("The lock '{name}' could not be found."),
        )),
        _ => Err(ArmError::method_not_allowed()),
    }
}
