//! Front Door Standard and Premium (Microsoft.Cdn, 2024-09-01): origins of an origin group, changed by long-running operations.
//!
//! `provisioningState` and `deploymentStatus` are two things: the roll-out to the edge may go on after provisioning, and
//! the service often leaves it at `NotStarted` although it has happened. Only a failure of either is taken at its word.

use std::collections::BTreeSet;
use std::time::Duration;

use serde_json::Value;

use super::{Balanced, Balancer, Member, Serving, name_of, unreadable};
use crate::azure::ArmError;

/// The origins of a group.
pub(super) fn read(balancer: &Balancer, origins: &[Value]) -> Result<Balanced, ArmError> {
    let members = origins.iter().map(|origin| {
        let (id, name) = name_of(origin)?;
        let (weight, serving) = (balancer.weight_of(origin), serving(origin));
        Some(Member { id, name, weight, serving })
    });
    let members = members.collect::<Option<_>>();
    let members = members.ok_or_else(|| unreadable(balancer.id(), "an origin has no id"))?;
    let priorities: BTreeSet<_> =
        origins.iter().map(|origin| origin["properties"]["priority"].as_u64()).collect();
    let not_weighted = (priorities.len() > 1)
        .then(|| "its origins differ in priority, so weights do not decide".to_owned());
    Ok(Balanced { members, not_weighted, answers_last: Duration::ZERO })
}

fn serving(origin: &Value) -> Serving {
    let text = |key: &str| origin["properties"][key].as_str().unwrap_or_default();
    let (provisioning, roll_out) = (text("provisioningState"), text("deploymentStatus"));
    let said = format!("provisioningState {provisioning}, deploymentStatus {roll_out}");
    match (provisioning, roll_out) {
        _ if text("enabledState") == "Disabled" => Serving::No("enabledState Disabled".to_owned()),
        ("Failed", _) | (_, "Failed") => Serving::No(said),
        ("Succeeded", "InProgress") => Serving::Unknown(said),
        ("Succeeded", _) => Serving::Yes(said),
        _ => Serving::Unknown(said),
    }
}
