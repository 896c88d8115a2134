//! What Azure says of its own health, as a scenario scripts it.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// The health of one resource over time.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Health {
    /// What follows `/providers/` in its id: `Microsoft.Network/trafficManagerProfiles/crm`.
    pub resource: String,
    /// Its resource group.
    #[serde(default = "rg_crm")]
    pub group: String,
    /// Seconds after the world's start, and the state from then on: `Available`, `Degraded`, `Unavailable`, `Unknown`.
    pub states: Vec<(u64, String)>,
}

impl Health {
    /// Since when the state is what it is, and which; none before the first.
    pub(crate) fn state(&self, since_start: u64) -> Option<&(u64, String)> {
        self.states.iter().rev().find(|(at, _)| *at <= since_start)
    }
}

/// An event of service health.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ServiceEvent {
    /// Tracking id.
    pub id: String,
    /// `ServiceIssue`, `PlannedMaintenance`, `HealthAdvisory`, …
    #[serde(rename = "type")]
    pub kind: String,
    /// Its title.
    pub title: String,
    /// `Azure DNS`.
    pub service: String,
    /// `West Europe`.
    pub region: String,
    /// Seconds after the world's start at which it begins.
    #[serde(default)]
    pub after_seconds: u64,
    /// Seconds that it lasts; without it, for good.
    #[serde(default)]
    pub for_seconds: Option<u64>,
}

fn rg_crm() -> String {
    "rg-crm".to_owned()
}
