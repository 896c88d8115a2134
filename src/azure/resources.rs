//! Resource groups, and any resource by its id.

use std::fmt;

use azure_core::http::Method;
use azure_mgmt_resources::package_resources_2021_04 as generated;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::arm::{Call, found};
use super::{ArmError, Azure, Wait};

/// An ARM id: `/subscriptions/…/resourceGroups/…/providers/…`. Compares without regard to case, keeps the casing.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct ResourceId(String);

impl ResourceId {
    /// Reads an id. It starts with `/`, has no empty or dotted segment, and nothing a URL would read as a query.
    pub fn parse(text: &str) -> Result<Self, ArmError> {
        let text = text.trim_end_matches('/');
        let segments = text.strip_prefix('/').unwrap_or_default().split('/');
        let clean = segments.into_iter().all(|segment| {
            !matches!(segment, "" | "." | "..") && !segment.contains(['?', '#', '%', '\\'])
        }) && !text.chars().any(char::is_control);
        if clean {
            return Ok(Self(text.to_owned()));
        }
        Err(ArmError::Settings(format!("`{text}` is no ARM id")))
    }

    /// The id as written.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The id of something below this one.
    pub fn join(&self, rest: &str) -> Result<Self, ArmError> {
        Self::parse(&format!("{}/{rest}", self.0))
    }

    /// The segment after `key`, compared without regard to case: `segment("resourceGroups")`.
    pub fn segment(&self, key: &str) -> Option<&str> {
        let mut segments = self.0.split('/');
        segments.by_ref().find(|segment| segment.eq_ignore_ascii_case(key))?;
        segments.next()
    }
}

impl ResourceId {
    /// The action of that verb on it, as roles name it: `Microsoft.Network/dnsZones/CNAME/write`. None for what belongs to
    /// no provider.
    pub fn action(&self, verb: &str) -> Option<String> {
        let segments: Vec<_> = self.0.trim_start_matches('/').split('/').collect();
        let at = segments.iter().rposition(|it| it.eq_ignore_ascii_case("providers"))?;
        let types: Vec<_> = segments.get(at + 2..)?.iter().step_by(2).copied().collect();
        Some(format!("{}/{}/{verb}", segments.get(at + 1)?, types.join("/")))
    }
}

impl PartialEq for ResourceId {
    fn eq(&self, other: &Self) -> bool {
        self.0.eq_ignore_ascii_case(&other.0)
    }
}

impl Eq for ResourceId {}

impl fmt::Display for ResourceId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

impl TryFrom<String> for ResourceId {
    type Error = ArmError;
    fn try_from(text: String) -> Result<Self, ArmError> {
        Self::parse(&text)
    }
}

impl From<ResourceId> for String {
    fn from(id: ResourceId) -> Self {
        id.0
    }
}

/// A resource group.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct ResourceGroup {
    /// Full id.
    pub id: String,
    /// Name, in its own casing.
    pub name: String,
    /// Azure region.
    pub location: String,
}

impl Azure {
    /// The id behind what an author wrote: an ARM id as it is, `subscription`, or the name of a resource group.
    pub fn scope(&self, written: &str) -> Result<ResourceId, ArmError> {
        if written.starts_with('/') {
            return ResourceId::parse(written);
        }
        let subscription = format!("/subscriptions/{}", self.subscription()?);
        if written == "subscription" {
            return ResourceId::parse(&subscription);
        }
        ResourceId::parse(&format!("{subscription}/resourceGroups/{written}"))
    }

    /// The id behind what an author wrote: an ARM id as it is, or `Microsoft.Web/sites/crm` in the runbook's default
    /// resource group.
    pub fn within_group(&self, written: &str) -> Result<ResourceId, ArmError> {
        if written.starts_with('/') {
            return ResourceId::parse(written);
        }
        self.scope(self.resource_group(None)?)?.join(&format!("providers/{written}"))
    }

    /// The id behind what an author wrote: an ARM id as it is, or the name of a resource of that type
    /// (`Microsoft.Compute/virtualMachines`) in the runbook's default resource group.
    pub fn named(&self, of_type: &str, written: &str) -> Result<ResourceId, ArmError> {
        if written.starts_with('/') {
            return ResourceId::parse(written);
        }
        self.within_group(&format!("{of_type}/{written}"))
    }

    /// The resource as JSON; none when it does not exist.
    pub async fn get(
        &self,
        wait: &mut Wait<'_>,
        id: &ResourceId,
        api_version: &str,
    ) -> Result<Option<Value>, ArmError> {
        let arm = self.arm().await?;
        let call = Call::read(Method::Get, arm.url(id.as_str(), api_version));
        found(arm.send(wait, &call).await)?.map(|reply| reply.value()).transpose()
    }

    /// Whether the resource exists, by HEAD; not every type answers it.
    pub async fn exists(
        &self,
        wait: &mut Wait<'_>,
        id: &ResourceId,
        api_version: &str,
    ) -> Result<bool, ArmError> {
        let arm = self.arm().await?;
        let call = Call::read(Method::Head, arm.url(id.as_str(), api_version));
        Ok(found(arm.send(wait, &call).await)?.is_some())
    }

    /// A resource group of the runbook's subscription; none when it does not exist.
    pub async fn group(
        &self,
        wait: &mut Wait<'_>,
        name: &str,
    ) -> Result<Option<ResourceGroup>, ArmError> {
        let subscription = self.subscription()?.to_owned();
        let reply = self
            .arm()
            .await?
            .generated(wait, None, |to| {
                generated::Client::new(to.endpoint, to.credential, to.scopes, to.options)
                    .resource_groups_client()
                    .get(name, subscription)
                    .send()
            })
            .await;
        found(reply)?.map(|reply| reply.read()).transpose()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_compare_without_regard_to_case() {
        let id = |text| ResourceId::parse(text).expect("an id");
        assert_eq!(
            id("/subscriptions/a/resourceGroups/RG"),
            id("/Subscriptions/a/resourcegroups/rg/")
        );
        assert_eq!(id("/subscriptions/a/resourcegroups/RG").segment("resourceGroups"), Some("RG"));
    }

    #[test]
    fn an_action_is_named_by_the_types_of_an_id() {
        let group = "/subscriptions/s/resourceGroups/rg";
        let id = |rest: &str| ResourceId::parse(&format!("{group}{rest}")).expect("an id");
        let record = id("/providers/Microsoft.Network/dnsZones/a.example/CNAME/www");
        assert_eq!(
            record.action("write").as_deref(),
            Some("Microsoft.Network/dnsZones/CNAME/write")
        );
        assert_eq!(id("").action("write"), None);
    }

    #[test]
    fn an_id_can_not_lead_elsewhere() {
        for bad in
            ["", "/", "rg", "/a/../b", "/a//b", "/a?x=1", "/a#b", "/a%2e%2e/b", "/a\\b", "/a\nb"]
        {
            assert!(ResourceId::parse(bad).is_err(), "{bad:?}");
        }
    }
}
