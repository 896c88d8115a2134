//! Azure Migrate's replicating machines: read only, with a lag that follows the scenario, and the recorded oddities.
//!
//! Ids begin with `/Subscriptions`, flags are strings, an idle job began in 1753, a healthy item may list errors, and the
//! newest recovery point may lie a little in the future.

use jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};

use super::super::scenario::{Replication, SUBSCRIPTION};
use super::{ArmError, Call, Handled, Outcome, generic, guid, only_get};

const TYPE: &str = "Microsoft.RecoveryServices/vaults/replicationFabrics/replicationProtectionContainers/replicationMigrationItems";

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
    let items = items.map(|doc| as_of_now(call, doc)).collect();
    Ok(Outcome::ok(&call.page(items)))
}

/// One item.
pub(super) fn get(call: &Call<'_>) -> Handled {
    only_get(call)?;
    let doc = call.world.get(&call.request.path);
    let doc = doc.ok_or_else(|| ArmError::not_found(&call.request.path))?;
    Ok(Outcome::ok(&as_of_now(call, doc)))
}

fn as_of_now(call: &Call<'_>, doc: &Value) -> Value {
    let name = doc["name"].as_str().unwrap_or("");
    let scripted = call.scenario.replication.iter().find(|item| item.item == name);
    let elapsed = call.now.duration_since(call.began).as_secs_f64();
    let lag = scripted.map_or(0.0, |item| item.lag_seconds(elapsed));
    let mut doc = doc.clone();
    doc["properties"] = properties(name, call.now, lag);
    doc
}

fn properties(name: &str, now: Timestamp, lag_seconds: f64) -> Value {
    let lag = SignedDuration::try_from_secs_f64(lag_seconds).unwrap_or(SignedDuration::ZERO);
    let received = now.checked_sub(lag).unwrap_or(now);
    // The recovery point of an item that has caught up lies ahead of the reader's clock.
    let ahead = if lag.is_zero() { SignedDuration::from_secs(2) } else { SignedDuration::ZERO };
    let received = received.checked_add(ahead).unwrap_or(received);
    json!({
        "machineName": name,
        "policyId": "", "policyFriendlyName": "", "recoveryServicesProviderId": "",
        "migrationState": "Replicating", "migrationStateDescription": "Ready to migrate",
        "replicationStatus": "Delta sync",
        "testMigrateState": "None", "testMigrateStateDescription": "None",
        "health": "Normal",
        "healthErrors": [{
            "errorCode": "110084", "errorLevel": "Warning", "errorCategory": "TestFailover",
            "summaryMessage": "No successful test migration in the last 180 days.",
            "creationTimeUtc": "0001-01-01T00:00:00",
        }],
        "allowedOperations": ["DisableMigration", "TestMigrate", "Migrate", "PauseReplication"],
        "currentJob": { "jobName": "None", "startTime": "1753-01-01T01:01:01Z" },
        "eventCorrelationId": guid(name),
        "providerSpecificDetails": {
            "instanceType": "VMwareCbt", "vmwareMachineId": guid(&format!("machine {name}")), "osType": "linuxguest",
            "firmwareType": "BIOS", "targetVmName": name, "performAutoResync": "true", "resyncRequired": "false",
            "resyncState": "None", "lastRecoveryPointReceived": received.to_string(),
            "lastRecoveryPointId": guid(&format!("{name} {received}")),
            "initialSeedingProgressPercentage": null, "migrationProgressPercentage": null,
            "resyncProgressPercentage": null, "resumeProgressPercentage": null, "deltaSyncProgressPercentage": null,
            "initialSeedingRetryCount": 0, "resyncRetryCount": 0, "resumeRetryCount": 0, "deltaSyncRetryCount": 0,
            "gatewayOperationDetails": {
                "state": "Succeeded", "progressPercentage": 100, "timeElapsed": 0, "timeRemaining": 0,
                "uploadSpeed": 0,
            },
        },
    })
}
