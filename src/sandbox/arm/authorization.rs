//! Who may do what: role assignments with a handful of built-in roles, the caller's effective permissions that follow from
//! them, and deny assignments, which the permissions do not show.

use hyper::http::{Method, StatusCode};
use serde_json::{Value, json};

use super::super::azure::object_id;
use super::super::scenario::{Deny, Role, SUBSCRIPTION};
use super::{ArmError, Call, Handled, Outcome, groups, guid, only_get};

const ASSIGNMENT: &str = "Microsoft.Authorization/roleAssignments";
const DEFINITION: &str = "Microsoft.Authorization/roleDefinitions";
const PATH: &str = "/providers/microsoft.authorization/roleassignments/";

/// Built-in roles: id, name, actions, actions left out again.
const ROLES: [(&str, &str, &[&str], &[&str]); 6] = [
    ("8e3af657-a8ff-443c-a75c-2fe8c4bcb635", "Owner", &["*"], &[]),
    (
        "b24988ac-6180-42a0-ab88-20f7382dd24c",
        "Contributor",
        &["*"],
        &[
            "Microsoft.Authorization/*/Delete",
            "Microsoft.Authorization/*/Write",
            "Microsoft.Authorization/elevateAccess/Action",
        ],
    ),
    ("acdd72a7-3385-48ef-bd42-f606fba81ae7", "Reader", &["*/read"], &[]),
    (
        "18d7d88d-d35e-4fb5-a5c3-7773c20a72d9",
        "User Access Administrator",
        &["*/read", "Microsoft.Authorization/*", "Microsoft.Support/*"],
        &[],
    ),
    (
        "befefa01-2a29-4197-83a8-272ff33ce314",
        "DNS Zone Contributor",
        &[
            "Microsoft.Authorization/*/read",
            "Microsoft.Network/dnsZones/*",
            "Microsoft.Resources/deployments/*",
        ],
        &[],
    ),
    (
        "a4b10055-b0c7-44c2-b00f-c7b5b3550cf7",
        "Traffic Manager Contributor",
        &[
            "Microsoft.Authorization/*/read",
            "Microsoft.Network/trafficManagerProfiles/*",
            "Microsoft.Resources/deployments/*",
        ],
        &[],
    ),
];

fn definition(id: &str) -> Option<Value> {
    let (id, name, actions, not_actions) = ROLES.iter().find(|role| role.0 == id)?;
    Some(json!({
        "id": definition_id(id), "name": id, "type": DEFINITION,
        "properties": {
            "roleName": name, "type": "BuiltInRole", "assignableScopes": ["/"],
            "permissions": [permission(actions, not_actions)],
        },
    }))
}

fn definition_id(id: &str) -> String {
    format!("/subscriptions/{SUBSCRIPTION}/providers/{DEFINITION}/{id}")
}

fn permission(actions: &[&str], not_actions: &[&str]) -> Value {
    json!({ "actions": actions, "notActions": not_actions, "dataActions": [], "notDataActions": [] })
}

fn scope_of(group: Option<&String>) -> String {
    group.map_or_else(|| format!("/subscriptions/{SUBSCRIPTION}"), |group| groups::id(group))
}

/// The document of a role of the scenario's service principal; one that is not built in grants nothing.
pub(super) fn opening(role: &Role) -> (String, Value) {
    let scope = scope_of(role.group.as_ref());
    let known = ROLES.iter().find(|(_, name, ..)| name.eq_ignore_ascii_case(&role.role));
    let definition = known.map_or(role.role.as_str(), |(id, ..)| *id);
    let name = guid(&format!("{scope} {definition}"));
    let id = format!("{scope}/providers/{ASSIGNMENT}/{name}");
    let written = json!({
        "roleDefinitionId": definition_id(definition), "principalId": object_id(super::super::azure::CLIENT),
        "principalType": "ServicePrincipal",
    });
    (id.to_ascii_lowercase(), assignment(&id, &scope, &written))
}

fn assignment(id: &str, scope: &str, written: &Value) -> Value {
    let mut properties = written.clone();
    properties["scope"] = json!(scope);
    json!({ "id": id, "name": id.rsplit('/').next(), "type": ASSIGNMENT, "properties": properties })
}

/// Whether `inner` is `outer` or lies below it; both in lower case.
fn is_within(inner: &str, outer: &str) -> bool {
    inner.strip_prefix(outer).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}

/// Assignments with their lower-case scopes.
fn assignments<'a>(call: &Call<'a>) -> impl Iterator<Item = (&'a str, &'a Value)> {
    let docs = call.setting.world.docs.iter().filter(|(_, doc)| doc["type"] == ASSIGNMENT);
    docs.filter_map(|(key, doc)| Some((key.rsplit_once(PATH)?.0, doc.as_ref())))
}

/// Everything of the provider but locks; `rest` is what follows its name, in lower case.
pub(super) fn answer(call: &Call<'_>, rest: &[&str]) -> Handled {
    match rest {
        ["permissions"] => permissions(call),
        ["denyassignments"] => denials(call),
        ["roleassignments"] => list(call),
        ["roleassignments", _] => one(call),
        ["roledefinitions"] => definitions(call, None),
        ["roledefinitions", id] => definitions(call, Some(id)),
        _ => Err(ArmError::not_found(&call.request.path)),
    }
}

/// `{scope}/providers/Microsoft.Authorization/permissions`: of the caller, from roles at the scope and above.
fn permissions(call: &Call<'_>) -> Handled {
    only_get(call)?;
    let scope = call.id(call.segments.len() - 3).to_ascii_lowercase();
    let caller = super::super::azure::caller_object(call.request);
    let held = assignments(call).filter(|(at, doc)| {
        is_within(&scope, at) && doc["properties"]["principalId"].as_str() == caller.as_deref()
    });
    let permissions = held.filter_map(|(_, doc)| {
        let role = doc["properties"]["roleDefinitionId"].as_str()?.rsplit('/').next()?;
        Some(definition(role)?["properties"]["permissions"][0].clone())
    });
    Ok(Outcome::ok(&call.page(permissions.collect())))
}

/// `{scope}/providers/Microsoft.Authorization/roleAssignments`.
fn list(call: &Call<'_>) -> Handled {
    only_get(call)?;
    let scope = call.id(call.segments.len() - 3).to_ascii_lowercase();
    let filter = call.request.query("$filter").unwrap_or("").to_ascii_lowercase();
    let principal = filter
        .split('\'')
        .nth(1)
        .filter(|_| filter.contains("principalid eq") || filter.contains("assignedto("));
    let above = filter.contains("atscope()");
    let found = assignments(call).filter(|(at, doc)| {
        let here = is_within(&scope, at) || (!above && is_within(at, &scope));
        let own = doc["properties"]["principalId"].as_str().map(str::to_ascii_lowercase);
        here && principal.is_none_or(|wanted| own.as_deref() == Some(wanted))
    });
    Ok(Outcome::ok(&call.page(found.map(|(_, doc)| doc.clone()).collect())))
}

fn one(call: &Call<'_>) -> Handled {
    let count = call.segments.len();
    let (id, scope) = (call.id(count), call.id(count - 4));
    let found = call.world.get(&id);
    if call.request.mutates() {
        super::locks::check(call, &id, &call.request.method)?;
    }
    match (call.request.method.clone(), found) {
        (Method::PUT, found) => {
            let body = call.body()?;
            let role = body["properties"]["roleDefinitionId"].as_str().unwrap_or_default();
            if definition(role.rsplit('/').next().unwrap_or_default()).is_none() {
                let message =
                    format!("The specified role definition with ID '{role}' does not exist.");
                return Err(ArmError::bad_request("RoleDefinitionDoesNotExist", message));
            }
            let doc = assignment(&id, &scope, &body["properties"]);
            let status = if found.is_some() { StatusCode::OK } else { StatusCode::CREATED };
            Ok(Outcome::with_status(status, &doc).put(&id, doc))
        }
        (Method::GET, Some(doc)) => Ok(Outcome::ok(doc)),
        (Method::GET, None) => Err(ArmError::new(
            StatusCode::NOT_FOUND,
            "RoleAssignmentNotFound",
            format!("The role assignment '{}' is not found.", call.segments[count - 1]),
        )),
        (Method::DELETE, Some(doc)) => Ok(Outcome::ok(doc).remove(&id)),
        (Method::DELETE, None) => Ok(Outcome::empty(StatusCode::NO_CONTENT)),
        _ => Err(ArmError::method_not_allowed()),
    }
}

/// Role definitions: all, by name, or one.
fn definitions(call: &Call<'_>, id: Option<&str>) -> Handled {
    only_get(call)?;
    if let Some(id) = id {
        let message = format!("The specified role definition with ID '{id}' does not exist.");
        let none = ArmError::new(StatusCode::NOT_FOUND, "RoleDefinitionDoesNotExist", message);
        return definition(id).map(|doc| Outcome::ok(&doc)).ok_or(none);
    }
    let filter = call.request.query("$filter").unwrap_or("");
    let name =
        filter.split('\'').nth(1).filter(|_| filter.to_ascii_lowercase().contains("rolename eq"));
    let roles =
        ROLES.iter().filter(|role| name.is_none_or(|name| role.1.eq_ignore_ascii_case(name)));
    Ok(Outcome::ok(&call.page(roles.filter_map(|role| definition(role.0)).collect())))
}

/// `{scope}/providers/Microsoft.Authorization/denyAssignments`, as the scenario has them.
fn denials(call: &Call<'_>) -> Handled {
    only_get(call)?;
    let scope = call.id(call.segments.len() - 3).to_ascii_lowercase();
    let above = call.request.query("$filter").is_some_and(|filter| filter.contains("atScope"));
    let at = |deny: &&Deny| {
        let at = scope_of(deny.group.as_ref()).to_ascii_lowercase();
        is_within(&scope, &at) || (!above && is_within(&at, &scope))
    };
    Ok(Outcome::ok(&call.page(call.scenario.denies.iter().filter(at).map(denial).collect())))
}

fn denial(deny: &Deny) -> Value {
    let scope = scope_of(deny.group.as_ref());
    let name = guid(&format!("{scope} {}", deny.name));
    let actions: Vec<&str> = deny.actions.iter().map(String::as_str).collect();
    json!({
        "id": format!("{scope}/providers/Microsoft.Authorization/denyAssignments/{name}"),
        "type": "Microsoft.Authorization/denyAssignments", "name": name,
        "properties": {
            "denyAssignmentName": deny.name, "description": "", "scope": scope,
            "permissions": [permission(&actions, &[])], "doNotApplyToChildScopes": false,
            "principals": [{ "id": "00000000-0000-0000-0000-000000000000", "type": "SystemDefined" }],
            "excludePrincipals": [], "isSystemProtected": true,
        },
    })
}
