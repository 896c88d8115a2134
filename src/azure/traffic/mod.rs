//! What shares traffic by weights: Traffic Manager endpoints and Front Door origins behind one face.
//!
//! Neither has an `ETag`. A weight is therefore read again right before it is written and compared with what the caller
//! saw ([`ArmError::Drift`] when it differs); a change by another hand in the moment between the two requests is not seen.
//! Only weight and enabled state are ever written, by PATCH: whatever else somebody edits meanwhile stays theirs.

mod front_door;
mod manager;

use std::fmt;
use std::time::Duration;

use azure_core::http::Method;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::arm::{Call, found};
use super::{Accepted, ArmError, Azure, ResourceId, Wait};
use crate::journal::EffectPermit;

/// What shares traffic among its members.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Balancer {
    /// A Traffic Manager profile; members are its endpoints.
    TrafficManager(ResourceId),
    /// An origin group of a Front Door profile (Standard or Premium); members are its origins.
    FrontDoor(ResourceId),
}

/// What decides how much of the traffic a member gets.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Weight {
    /// 1 to 1000; its share is this over the sum of all enabled ones.
    pub weight: u16,
    /// A disabled member gets nothing.
    pub enabled: bool,
}

impl Weight {
    /// The weights that the services know.
    pub const RANGE: std::ops::RangeInclusive<u16> = 1..=1000;
}

impl fmt::Display for Weight {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "weight {}{}", self.weight, if self.enabled { "" } else { ", disabled" })
    }
}

/// Whether the balancer itself sends traffic to a member, as far as it says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Serving {
    /// It does.
    Yes(String),
    /// It does not, whatever the weight.
    No(String),
    /// It has not made up its mind, or does not say.
    Unknown(String),
}

/// An endpoint or an origin.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Member {
    /// Its id, as the service writes it.
    pub id: ResourceId,
    /// Its name.
    pub name: String,
    /// None where the service holds no weight: it could not be restored.
    pub weight: Option<Weight>,
    /// See [`Serving`].
    pub serving: Serving,
}

/// A balancer as it was read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Balanced {
    /// Every member, in the service's order.
    pub members: Vec<Member>,
    /// Why weights do not decide here, if they do not: another routing method, different priorities.
    pub not_weighted: Option<String>,
    /// How long clients may go by an answer given before a change: the TTL of Traffic Manager's DNS answers.
    pub answers_last: Duration,
}

impl Balanced {
    /// The member of that name, in any case.
    pub fn member(&self, name: &str) -> Option<&Member> {
        self.members.iter().find(|member| member.name.eq_ignore_ascii_case(name))
    }
}

impl Balancer {
    /// Its id.
    pub fn id(&self) -> &ResourceId {
        match self {
            Self::TrafficManager(id) | Self::FrontDoor(id) => id,
        }
    }

    /// Its name.
    pub fn name(&self) -> &str {
        self.id().as_str().rsplit('/').next().unwrap_or_default()
    }

    fn api(&self) -> &'static str {
        match self {
            Self::TrafficManager(_) => "2022-04-01",
            Self::FrontDoor(_) => "2024-09-01",
        }
    }

    /// The property that says whether a member is enabled.
    fn state(&self) -> &'static str {
        match self {
            Self::TrafficManager(_) => "endpointStatus",
            Self::FrontDoor(_) => "enabledState",
        }
    }

    fn weight_of(&self, body: &Value) -> Option<Weight> {
        let properties = body.get("properties")?;
        let weight = properties.get("weight")?.as_u64()?;
        let state = properties.get(self.state()).and_then(Value::as_str);
        // Left out means enabled, for both services.
        let enabled = state.is_none_or(|state| state.eq_ignore_ascii_case("Enabled"));
        Some(Weight { weight: u16::try_from(weight).ok()?, enabled })
    }
}

fn name_of(body: &Value) -> Option<(ResourceId, String)> {
    let id = ResourceId::parse(body.get("id")?.as_str()?).ok()?;
    Some((id, body.get("name")?.as_str()?.to_owned()))
}

fn unreadable(what: &ResourceId, cause: &str) -> ArmError {
    ArmError::Unreadable { what: what.to_string(), cause: cause.to_owned() }
}

impl Azure {
    /// The id of a Traffic Manager profile in a resource group (or in the runbook's default one).
    pub fn traffic_manager(
        &self,
        group: Option<&str>,
        profile: &str,
    ) -> Result<Balancer, ArmError> {
        self.scope(self.resource_group(group)?)?
            .join(&format!("providers/Microsoft.Network/trafficManagerProfiles/{profile}"))
            .map(Balancer::TrafficManager)
    }

    /// The id of an origin group of a Front Door profile, likewise.
    pub fn front_door(
        &self,
        group: Option<&str>,
        profile: &str,
        origin_group: &str,
    ) -> Result<Balancer, ArmError> {
        self.scope(self.resource_group(group)?)?
            .join(&format!(
                "providers/Microsoft.Cdn/profiles/{profile}/originGroups/{origin_group}"
            ))
            .map(Balancer::FrontDoor)
    }

    /// The balancer with its members; none when it does not exist.
    pub async fn balanced(
        &self,
        wait: &mut Wait<'_>,
        balancer: &Balancer,
    ) -> Result<Option<Balanced>, ArmError> {
        match balancer {
            Balancer::TrafficManager(id) => {
                let body = self.get(wait, id, balancer.api()).await?;
                body.map(|body| manager::read(balancer, &body)).transpose()
            }
            Balancer::FrontDoor(id) => {
                let arm = self.arm().await?;
                let origins = arm.url(id.join("origins")?.as_str(), balancer.api());
                let origins = found(arm.list(wait, origins).await)?;
                origins.map(|origins| front_door::read(balancer, &origins)).transpose()
            }
        }
    }

    /// Gives a member another weight, unless it is no longer as the caller saw it ([`ArmError::Drift`]). Front Door only
    /// begins to; [`Self::weighed`] waits for its end.
    pub async fn weigh(
        &self,
        wait: &mut Wait<'_>,
        permit: &EffectPermit,
        balancer: &Balancer,
        member: &ResourceId,
        (before, wanted): (Weight, Weight),
    ) -> Result<Accepted, ArmError> {
        let now = self.weight(wait, balancer, member).await?;
        if now != Some(before) {
            return Err(ArmError::Drift {
                target: member.to_string(),
                expected: Some(Box::new(json!(before))),
                found: now.map(|now| Box::new(json!(now))),
            });
        }
        let arm = self.arm().await?;
        let state = if wanted.enabled { "Enabled" } else { "Disabled" };
        let body = json!({ "properties": { "weight": wanted.weight, balancer.state(): state } });
        let url = arm.url(member.as_str(), balancer.api());
        let call = arm.change(permit, Method::Patch, url).json(&body);
        Accepted::of(&arm.send(wait, &call).await?)
    }

    /// The weight that the service holds once the change under way, if any, has ended.
    pub async fn weighed(
        &self,
        wait: &mut Wait<'_>,
        balancer: &Balancer,
        member: &ResourceId,
        operation_url: Option<&str>,
    ) -> Result<Weight, ArmError> {
        let arm = self.arm().await?;
        arm.wait_out(wait, operation_url).await?;
        let url = arm.url(member.as_str(), balancer.api());
        let read = Call::read(Method::Get, url.clone());
        let reply = arm.send(wait, &read).await.map_err(ArmError::in_flight)?;
        // Without an operation URL the member itself says whether its change is still under way.
        let ended = arm.finish(wait, Accepted::of(&reply)?, Some(url)).await;
        let body = ended.map_err(ArmError::in_flight)?.body;
        balancer.weight_of(&body).ok_or_else(|| unreadable(member, "it has no weight"))
    }

    async fn weight(
        &self,
        wait: &mut Wait<'_>,
        balancer: &Balancer,
        member: &ResourceId,
    ) -> Result<Option<Weight>, ArmError> {
        let body = self.get(wait, member, balancer.api()).await?;
        Ok(body.and_then(|body| balancer.weight_of(&body)))
    }
}

#[cfg(test)]
mod tests;
