//! Virtual machines, their disks and snapshots (Microsoft.Compute): is it there, does it run, stop it, keep it, delete it.

use azure_core::http::Method;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::{Accepted, ArmError, Azure, ResourceId, Wait};
use crate::journal::EffectPermit;

/// The version every call about machines names.
const API: &str = "2024-07-01";
/// Disks and snapshots have versions of their own.
const DISK_API: &str = "2024-03-02";

fn api_of(id: &ResourceId) -> &'static str {
    if id.segment("virtualMachines").is_some() { API } else { DISK_API }
}

/// How something of Microsoft.Compute is to stand.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ComputeState<'a> {
    /// A machine of that power. What is not known is never as wanted.
    Power(Power),
    /// A complete snapshot of this disk.
    SnapshotOf(&'a str),
    /// Not there.
    Gone,
}

/// A virtual machine.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct VirtualMachine {
    /// Full id.
    pub id: String,
    /// Its region.
    #[serde(default)]
    pub location: String,
    /// `Succeeded`, `Creating`, `Failed`, …
    pub provisioning: String,
    /// Whether it runs.
    pub power: Power,
    /// Ids of its managed disks, the system's first.
    pub disks: Vec<String>,
}

/// Whether a machine runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Power {
    /// It runs.
    Running,
    /// Stopped, and paid for.
    Stopped,
    /// Stopped, and its compute is given back.
    Deallocated,
    /// On its way, not said, or a word this program does not know.
    Unknown,
}

impl Power {
    fn of(view: &Value) -> Self {
        let statuses = view["statuses"].as_array().into_iter().flatten();
        let mut codes = statuses.filter_map(|status| status["code"].as_str());
        match codes.find_map(|code| code.strip_prefix("PowerState/")) {
            Some("running") => Self::Running,
            Some("stopped") => Self::Stopped,
            Some("deallocated") => Self::Deallocated,
            _ => Self::Unknown,
        }
    }
}

impl VirtualMachine {
    fn from_bodies(id: &ResourceId, body: &Value, view: &Value) -> Self {
        let storage = &body["properties"]["storageProfile"];
        let data = storage["dataDisks"].as_array().into_iter().flatten();
        let disks = std::iter::once(&storage["osDisk"]).chain(data);
        Self {
            id: body["id"].as_str().unwrap_or(id.as_str()).to_owned(),
            location: body["location"].as_str().unwrap_or_default().to_owned(),
            provisioning: body["properties"]["provisioningState"]
                .as_str()
                .unwrap_or_default()
                .to_owned(),
            power: Power::of(view),
            disks: disks
                .filter_map(|disk| disk["managedDisk"]["id"].as_str())
                .map(str::to_owned)
                .collect(),
        }
    }
}

impl Azure {
    /// The virtual machine; none when it does not exist.
    pub async fn virtual_machine(
        &self,
        wait: &mut Wait<'_>,
        id: &ResourceId,
    ) -> Result<Option<VirtualMachine>, ArmError> {
        let Some(body) = self.get(wait, id, API).await? else { return Ok(None) };
        // It may go between the two questions.
        let view = self.get(wait, &id.join("instanceView")?, API).await?;
        Ok(view.map(|view| VirtualMachine::from_bodies(id, &body, &view)))
    }

    /// Whether it stands as wanted.
    pub async fn compute_stands(
        &self,
        wait: &mut Wait<'_>,
        id: &ResourceId,
        wanted: ComputeState<'_>,
    ) -> Result<bool, ArmError> {
        Ok(match wanted {
            ComputeState::Power(Power::Unknown) => false,
            ComputeState::Power(power) => {
                let machine = self.virtual_machine(wait, id).await?;
                machine.is_some_and(|machine| machine.power == power)
            }
            ComputeState::SnapshotOf(disk) => {
                let body = self.get(wait, id, api_of(id)).await?;
                body.is_some_and(|body| is_complete(&body, disk))
            }
            ComputeState::Gone => self.get(wait, id, api_of(id)).await?.is_none(),
        })
    }

    /// `deallocate` or `start`.
    pub async fn set_power(
        &self,
        wait: &mut Wait<'_>,
        permit: &EffectPermit,
        id: &ResourceId,
        verb: &str,
    ) -> Result<Accepted, ArmError> {
        let arm = self.arm().await?;
        let url = arm.url(id.join(verb)?.as_str(), API);
        Accepted::of(&arm.send(wait, &arm.change(permit, Method::Post, url)).await?)
    }

    /// An incremental snapshot of a disk, in a region.
    pub async fn put_snapshot(
        &self,
        wait: &mut Wait<'_>,
        permit: &EffectPermit,
        id: &ResourceId,
        (disk, location): (&str, &str),
    ) -> Result<Accepted, ArmError> {
        let arm = self.arm().await?;
        let origin = json!({ "createOption": "Copy", "sourceResourceId": disk });
        let properties = json!({ "creationData": origin, "incremental": true });
        let body = json!({ "location": location, "properties": properties });
        let url = arm.url(id.as_str(), DISK_API);
        Accepted::of(&arm.send(wait, &arm.change(permit, Method::Put, url).json(&body)).await?)
    }

    /// Deletes a machine, a disk or a snapshot, and nothing that hangs on it.
    pub async fn delete_compute(
        &self,
        wait: &mut Wait<'_>,
        permit: &EffectPermit,
        id: &ResourceId,
    ) -> Result<Accepted, ArmError> {
        let arm = self.arm().await?;
        let url = arm.url(id.as_str(), api_of(id));
        Accepted::of(&arm.send(wait, &arm.change(permit, Method::Delete, url)).await?)
    }

    /// Waits until an accepted change has ended. Without an answer the outcome is unknown.
    pub async fn finish_compute(
        &self,
        wait: &mut Wait<'_>,
        accepted: Accepted,
        id: &ResourceId,
    ) -> Result<(), ArmError> {
        let arm = self.arm().await?;
        let resource = arm.url(id.as_str(), api_of(id));
        arm.finish(wait, accepted, Some(resource)).await.map(drop).map_err(ArmError::in_flight)
    }

    /// Waits for an operation of an earlier process. One that is not known any more has ended.
    pub async fn attach_compute(&self, wait: &mut Wait<'_>, link: &str) -> Result<(), ArmError> {
        self.arm().await?.wait_out(wait, Some(link)).await
    }
}

/// A snapshot that is whole and of that disk. One that is still copied in the background says how far it is.
fn is_complete(snapshot: &Value, disk: &str) -> bool {
    let properties = &snapshot["properties"];
    let of = properties["creationData"]["sourceResourceId"].as_str().unwrap_or_default();
    let copied = properties["completionPercent"].as_f64().is_none_or(|percent| percent >= 100.0);
    properties["provisioningState"] == "Succeeded" && of.eq_ignore_ascii_case(disk) && copied
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::super::testing::{Answer, world};
    use super::*;

    #[tokio::test]
    async fn a_machine_is_read_with_its_power_and_disks() {
        let disk = |name: &str| json!({ "managedDisk": { "id": format!("/disks/{name}") } });
        let body = json!({ "id": "/subscriptions/s/vm", "properties": { "provisioningState": "Succeeded",
            "storageProfile": { "osDisk": disk("system"), "dataDisks": [disk("data")] } } });
        let view = json!({ "statuses": [{ "code": "ProvisioningState/succeeded" }, { "code": "PowerState/running" }] });
        let (azure, _, mut wait, _) = world([Answer::json(200, &body), Answer::json(200, &view)]);
        let id = ResourceId::parse("/subscriptions/s/vm").expect("an id");
        let machine = azure.virtual_machine(&mut wait, &id).await.expect("read").expect("there");
        assert_eq!((machine.power, machine.disks.len()), (Power::Running, 2));
        assert_eq!(Power::of(&json!({})), Power::Unknown);
    }

    #[test]
    fn a_snapshot_counts_when_it_is_whole_and_of_that_disk() {
        let snapshot = |state: &str, percent: Value| {
            let origin = json!({ "sourceResourceId": "/Disks/A" });
            json!({ "properties": { "provisioningState": state, "creationData": origin, "completionPercent": percent } })
        };
        assert!(is_complete(&snapshot("Succeeded", json!(100.0)), "/disks/a"));
        assert!(is_complete(&snapshot("Succeeded", Value::Null), "/disks/a"));
        assert!(!is_complete(&snapshot("Succeeded", json!(40.0)), "/disks/a"));
        assert!(!is_complete(&snapshot("Updating", json!(100.0)), "/disks/a"));
        assert!(!is_complete(&snapshot("Succeeded", json!(100.0)), "/disks/b"));
    }
}
