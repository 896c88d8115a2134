//! Azure Migrate's replicating machines: seeding, lag, test migration, clean-up, migration, and the recorded oddities.
//!
//! Ids begin with `/Subscriptions`, flags are strings, an idle job began in 1753, a healthy item may list errors, the
//! newest recovery point may lie a little in the future, and the id of an operation is the name of a job.

mod item;
mod job;

use hyper::http::{Method, StatusCode};
use serde_json::{Value, json};

use self::item::Item;
pub(super) use self::job::{job, jobs, status};
use super::super::http::Reply;
use super::super::scenario::{Replication, SUBSCRIPTION};
use super::operations::{self, Operation};
use super::{ArmError, Call, Handled, Outcome, compute, generic, only_get};

const TYPE: &str = "Microsoft.RecoveryServices/vaults/replicationFabrics/replicationProtectionContainers/replicationMigrationItems";
/// Seconds after which a client is asked to look again.
const POLL_SECONDS: &str = "30";
/// Segments of a vault's id.
const VAULT_SEGMENTS: usize = 8;

/// The document of an item of the scenario; what changes with time is added when it is read.
pub(crate) fn opening(item: &Replication) -> (String, Value) {
    let container = format!(
        "/Subscriptions/{SUBSCRIPTION}/resourceGroups/{}/providers/Microsoft.RecoveryServices/vaults/{}/replicationFabrics/fabric-1/replicationProtectionContainers/container-1",
        item.group, item.vault
    );
    let id = format!("{container}/replicationMigrationItems/{}", item.item);
    let doc = json!({ "id": id, "name": item.item, "type": TYPE, "properties": { "machineName": item.item } });
    (id.to_ascii_lowercase(), doc)
}

/// The document of an item's vault.
pub(super) fn vault(item: &Replication) -> (String, Value) {
    let id = format!(
        "/subscriptions/{SUBSCRIPTION}/resourceGroups/{}/providers/Microsoft.RecoveryServices/vaults/{}",
        item.group, item.vault
    );
    let doc = generic::doc(
        &id,
        &json!({ "location": "westeurope", "sku": { "name": "Standard" }, "properties": {} }),
    );
    (id.to_ascii_lowercase(), doc)
}

/// All items of a vault, or of a container.
pub(super) fn list(call: &Call<'_>) -> Handled {
    only_get(call)?;
    let scope = call.id(call.segments.len() - 1);
    let items = call.world.below(&scope).map(|(_, doc)| doc).filter(|doc| doc["type"] == TYPE);
    let items = items.map(|doc| Item::of(call, doc).shown()).collect();
    Ok(Outcome::ok(&call.page(items)))
}

/// One item.
pub(super) fn get(call: &Call<'_>) -> Handled {
    only_get(call)?;
    Ok(Outcome::ok(&found(call, call.segments.len())?.shown()))
}

/// Its recovery points: the newest one, once there is one.
pub(super) fn points(call: &Call<'_>) -> Handled {
    only_get(call)?;
    let points = found(call, call.segments.len() - 1)?.points();
    Ok(Outcome::ok(&call.page(points)))
}

/// The item that the first `count` segments name.
fn found<'a>(call: &'a Call<'a>, count: usize) -> Result<Item<'a>, ArmError> {
    let id = call.id(count);
    let doc = call.world.get(&id).filter(|doc| doc["type"] == TYPE);
    Ok(Item::of(call, doc.ok_or_else(|| ArmError::not_found(&id))?))
}

/// What can be done to an item.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Action {
    TestMigrate,
    TestMigrateCleanup,
    Migrate,
}

impl Action {
    fn named(verb: &str) -> Option<Self> {
        let all = [Self::TestMigrate, Self::TestMigrateCleanup, Self::Migrate];
        all.into_iter().find(|action| action.name().eq_ignore_ascii_case(verb))
    }

    const fn name(self) -> &'static str {
        match self {
            Self::TestMigrate => "TestMigrate",
            Self::TestMigrateCleanup => "TestMigrateCleanup",
            Self::Migrate => "Migrate",
        }
    }

    /// What its body must say.
    const fn required(self) -> &'static [&'static str] {
        match self {
            Self::TestMigrate => &["instanceType", "recoveryPointId", "networkId"],
            Self::TestMigrateCleanup => &[],
            Self::Migrate => &["instanceType", "performShutdown"],
        }
    }

    fn check(self, body: &Value) -> Result<(), ArmError> {
        let details = &body["properties"]["providerSpecificDetails"];
        let said = |field: &str| details[field].as_str().is_some_and(|text| !text.is_empty());
        let missing = self.required().iter().find(|field| !said(field));
        let missing = missing.or((!body["properties"].is_object()).then_some(&"properties"));
        missing.map_or(Ok(()), |field| {
            let message =
                format!("The input '{field}' of the operation '{}' is missing.", self.name());
            Err(ArmError::bad_request("InvalidParameter", message))
        })
    }
}

/// Starts one.
pub(super) fn act(call: &Call<'_>, verb: &str) -> Handled {
    let action = Action::named(verb).filter(|_| call.request.method == Method::POST);
    let action = action.ok_or_else(ArmError::method_not_allowed)?;
    let item = found(call, call.segments.len() - 1)?;
    action.check(&call.body()?)?;
    if !item.allows(action) {
        let message = format!(
            "The operation '{}' is not allowed on '{}' in its current state; allowed are: {}.",
            action.name(),
            item.name(),
            item.allowed().join(", ")
        );
        return Err(ArmError::new(StatusCode::CONFLICT, "OperationNotAllowed", message));
    }
    let operation = Operation::start(call, &format!("{} {}", item.name(), action.name()));
    let failed = operation.failure.is_some();
    let details = json!({ "scenario": action.name(), "item": item.doc["id"], "starts": call.now });
    let mut outcome = operation.put_with(Outcome::empty(StatusCode::ACCEPTED), details);
    let id = item.doc["id"].as_str().unwrap_or_default();
    outcome = outcome.put(id, item.after(action, &operation));
    if !failed {
        outcome = match action {
            Action::TestMigrate => compute::put(outcome, &item.machine("-test")),
            Action::Migrate => compute::put(outcome, &item.machine("")),
            Action::TestMigrateCleanup => compute::remove(outcome, &item.machine("-test")),
        };
    }
    let vault = call.id(VAULT_SEGMENTS);
    let link = |kind: &str| operations::link(call, &format!("{vault}/{kind}/{}", operation.id));
    let reply = Reply::empty(StatusCode::ACCEPTED)
        .with("azure-asyncoperation", link("replicationOperationStatus"))
        .with("location", link("operationresults"))
        .with("retry-after", POLL_SECONDS);
    Ok(Outcome { reply, ..outcome })
}
