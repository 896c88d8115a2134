//! Traffic Manager profiles (2022-04-01): the endpoints come along with the profile, and so does their health.

use std::time::Duration;

use serde_json::Value;

use super::{Balanced, Balancer, Member, Serving, name_of, unreadable};
use crate::azure::ArmError;

/// TTL of a profile that names none.
const TTL_SECONDS: u64 = 60;

/// A profile's body.
pub(super) fn read(balancer: &Balancer, body: &Value) -> Result<Balanced, ArmError> {
    let properties = &body["properties"];
    let endpoints = properties["endpoints"].as_array().map(Vec::as_slice).unwrap_or_default();
    let members = endpoints.iter().map(|endpoint| {
        let (id, name) = name_of(endpoint)?;
        let (weight, serving) = (balancer.weight_of(endpoint), serving(endpoint));
        Some(Member { id, name, weight, serving })
    });
    let members = members.collect::<Option<_>>();
    let members = members.ok_or_else(|| unreadable(balancer.id(), "an endpoint has no id"))?;
    let text = |key: &str| properties[key].as_str().unwrap_or("unknown");
    let method = text("trafficRoutingMethod");
    let not_weighted = if !method.eq_ignore_ascii_case("Weighted") {
        Some(format!("it routes by {method}, not by weight"))
    } else if !text("profileStatus").eq_ignore_ascii_case("Enabled") {
        Some(format!("the profile is {}", text("profileStatus")))
    } else {
        None
    };
    // No TTL of DNS is larger (RFC 2181, section 8); what is may overflow whoever adds to it.
    let ttl = properties["dnsConfig"]["ttl"].as_u64().unwrap_or(TTL_SECONDS).min(i32::MAX as u64);
    Ok(Balanced { members, not_weighted, answers_last: Duration::from_secs(ttl) })
}

/// What its own monitoring says. An endpoint that is not monitored is always in the answers.
fn serving(endpoint: &Value) -> Serving {
    let status = endpoint["properties"]["endpointMonitorStatus"].as_str().unwrap_or_default();
    let said = format!("endpointMonitorStatus {status}");
    match status {
        "Online" | "Unmonitored" => Serving::Yes(said),
        "Degraded" | "Disabled" | "Inactive" | "Stopped" => Serving::No(said),
        _ => Serving::Unknown(said),
    }
}
