//! What the sandbox's service principal may do.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// A built-in role that it has.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Role {
    /// `Owner`, `Contributor`, `Reader`, `User Access Administrator`, `DNS Zone Contributor`, `Traffic Manager Contributor`.
    pub role: String,
    /// The resource group that it has it in; without one, the subscription.
    #[serde(default)]
    pub group: Option<String>,
}

/// What is denied to everybody, whatever their roles.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Deny {
    /// Its name.
    pub name: String,
    /// The resource group; without one, the subscription.
    #[serde(default)]
    pub group: Option<String>,
    /// Patterns: `*/delete`.
    pub actions: Vec<String>,
}

/// The role of the default world.
pub(super) fn owner() -> Role {
    Role { role: "Owner".to_owned(), group: None }
}
