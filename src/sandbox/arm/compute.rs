//! Virtual machines, disks and snapshots: made by a migration, looked at, stopped, started, kept and deleted. Every change
//! is a long-running operation of the location.

use hyper::http::{Method, StatusCode};
use serde_json::{Value, json};

use super::super::http::Reply;
use super::super::scenario::SUBSCRIPTION;
use super::super::store::World;
use super::operations::{self, Operation};
use super::{ArmError, Call, Handled, Outcome, generic, guid, only_get};

/// Puts a machine and its disk.
pub(super) fn put(outcome: Outcome, id: &str) -> Outcome {
    let name = id.rsplit('/').next().unwrap_or_default();
    let disk = disk_of(id);
    let body = json!({
        "location": "westeurope",
        "properties": {
            "vmId": guid(&format!("machine {name}")), "hardwareProfile": { "vmSize": "Standard_D2s_v5" },
            "storageProfile": {
                "osDisk": {
                    "name": format!("{name}-disk"), "osType": "Linux", "createOption": "Attach",
                    "managedDisk": { "id": disk },
                },
                "dataDisks": [],
            },
        },
    });
    let size = json!({ "location": "westeurope", "properties": { "diskSizeGB": 64, "diskState": "Attached" } });
    outcome.put(id, generic::doc(id, &body)).put(&disk, generic::doc(&disk, &size))
}

/// Removes a machine and its disk.
pub(super) fn remove(outcome: Outcome, id: &str) -> Outcome {
    outcome.remove(id).remove(&disk_of(id))
}

fn disk_of(machine: &str) -> String {
    format!("{}-disk", machine.replacen("/virtualMachines/", "/disks/", 1))
}

/// Whether a machine of that name is there and runs.
pub(in super::super) fn machine_runs(world: &World, name: &str) -> bool {
    let end = format!("/virtualmachines/{}", name.to_ascii_lowercase());
    let mut machines = world.docs.iter().filter(|(id, _)| id.ends_with(&end));
    machines.any(|(_, doc)| power_of(doc) == "running")
}

fn power_of(machine: &Value) -> &str {
    machine["power"].as_str().unwrap_or("running")
}

/// `instanceView`: whether it runs.
pub(super) fn view(call: &Call<'_>) -> Handled {
    only_get(call)?;
    let id = call.id(call.segments.len() - 1);
    let machine = call.world.get(&id).ok_or_else(|| ArmError::not_found(&id))?;
    let power = power_of(machine);
    let status =
        |code: &str, words: &str| json!({ "code": code, "level": "Info", "displayStatus": words });
    let statuses: Value = json!([
        status("ProvisioningState/succeeded", "Provisioning succeeded"),
        status(&format!("PowerState/{power}"), &format!("VM {power}")),
    ]);
    Ok(Outcome::ok(&json!({ "statuses": statuses })))
}

/// `deallocate` and `start`.
pub(super) fn power(call: &Call<'_>, verb: &str) -> Handled {
    if call.request.method != Method::POST {
        return Err(ArmError::method_not_allowed());
    }
    let id = call.id(call.segments.len() - 1);
    let mut machine = call.world.get(&id).cloned().ok_or_else(|| ArmError::not_found(&id))?;
    machine["power"] = json!(if verb == "start" { "running" } else { "deallocated" });
    Ok(accepted(call, &format!("{verb} {id}"), |outcome| outcome.put(&id, machine)))
}

/// A machine, disk or snapshot.
pub(super) fn answer(call: &Call<'_>, kind: &str) -> Handled {
    let id = call.id(call.segments.len());
    match (call.request.method.clone(), kind, call.world.get(&id)) {
        (Method::DELETE, _, None) => Ok(Outcome::empty(StatusCode::NO_CONTENT)),
        (Method::DELETE, "disks", Some(_)) if is_attached(call.world, &id) => Err(ArmError::new(
            StatusCode::CONFLICT,
            "OperationNotAllowed",
            format!("Disk '{id}' is attached to a virtual machine and can not be deleted."),
        )),
        (Method::DELETE, _, Some(_)) => {
            Ok(accepted(call, &format!("delete {id}"), |outcome| outcome.remove(&id)))
        }
        (Method::PUT, "snapshots", _) => {
            let mut body = call.body()?;
            let of =
                body["properties"]["creationData"]["sourceResourceId"].as_str().unwrap_or_default();
            if call.world.get(of).is_none() {
                return Err(ArmError::not_found(of));
            }
            body["properties"]["completionPercent"] = json!(100.0);
            let doc = generic::doc(&id, &body);
            Ok(accepted(call, &format!("snapshot {id}"), |outcome| outcome.put(&id, doc)))
        }
        _ => generic::answer(call),
    }
}

fn is_attached(world: &World, disk: &str) -> bool {
    let of = |doc: &Value| {
        let id = doc["properties"]["storageProfile"]["osDisk"]["managedDisk"]["id"].as_str();
        id.is_some_and(|id| id.eq_ignore_ascii_case(disk))
    };
    world.docs.values().any(|doc| of(doc))
}

/// 202 with the location's operation; an operation that is to fail changes nothing.
fn accepted(call: &Call<'_>, of: &str, change: impl FnOnce(Outcome) -> Outcome) -> Outcome {
    let operation = Operation::start(call, of);
    let outcome = operation.put_into(Outcome::empty(StatusCode::ACCEPTED));
    let outcome = if operation.failure.is_some() { outcome } else { change(outcome) };
    let path = format!(
        "/subscriptions/{SUBSCRIPTION}/providers/Microsoft.Compute/locations/westeurope/operations/{}",
        operation.id
    );
    let link = operations::link(call, &path);
    let reply = Reply::empty(StatusCode::ACCEPTED)
        .with("location", format!("{link}&monitor=true"))
        .with("azure-asyncoperation", link)
        .with("retry-after", "10");
    Outcome { reply, ..outcome }
}
