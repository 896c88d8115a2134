//! What shares traffic in the opening world, and how a scenario lets a target break under its share.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// A Traffic Manager profile that routes by weight.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct TrafficManager {
    /// Its resource group.
    pub group: String,
    /// Its name.
    pub profile: String,
    /// Seconds.
    #[serde(default = "half_a_minute")]
    pub ttl: u32,
    /// Its external endpoints.
    pub endpoints: Vec<Share>,
}

/// An origin group of a Front Door profile.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct FrontDoor {
    /// Resource group of the profile.
    pub group: String,
    /// The profile.
    pub profile: String,
    /// The origin group.
    pub origin_group: String,
    /// Its origins.
    pub origins: Vec<Share>,
}

/// An endpoint or an origin.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Share {
    /// Its name.
    pub name: String,
    /// Where traffic goes: `crm-target.contoso.example` is the application crm at the target.
    pub target: String,
    /// 1 to 1000.
    pub weight: u16,
    /// Whether it gets any.
    #[serde(default = "yes")]
    pub enabled: bool,
}

/// More traffic than a target bears.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Overload {
    /// `profile/endpoint` of a Traffic Manager, `group/origin` of a Front Door.
    pub of: String,
    /// Percent of the traffic that it still bears.
    pub above_percent: u32,
}

const fn half_a_minute() -> u32 {
    30
}

const fn yes() -> bool {
    true
}

fn share(name: &str, weight: u16, enabled: bool) -> Share {
    Share { name: name.to_owned(), target: format!("crm-{name}.contoso.example"), weight, enabled }
}

/// The profile of the default world: everything goes to the source.
pub(super) fn default_manager() -> TrafficManager {
    TrafficManager {
        group: "rg-crm".to_owned(),
        profile: "crm".to_owned(),
        ttl: half_a_minute(),
        endpoints: vec![share("source", 1000, true), share("target", 1, false)],
    }
}

/// The Front Door of the default world, likewise.
pub(super) fn default_door() -> FrontDoor {
    FrontDoor {
        group: "rg-crm".to_owned(),
        profile: "fd-crm".to_owned(),
        origin_group: "web".to_owned(),
        origins: vec![share("source", 1000, true), share("target", 1, false)],
    }
}
