//! Azure DNS: zones and record sets, public (2018-05-01) and private (2024-06-01). The id of a zone says which it is.
//!
//! A record set is never written without a precondition: `If-Match` with the `ETag` that was read, or `If-None-Match: *`
//! when it must not exist. The body's `etag` is no precondition, so it is not sent.

mod record;

use azure_core::http::Method;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

pub use record::{RecordSet, RecordType};

use super::arm::{Call, Reply, found};
use super::{ArmError, Azure, ResourceId, Wait};
use crate::journal::EffectPermit;
use record::Spelling;

/// The version of the API that a zone is spoken to in, and its spelling.
fn service(zone: &ResourceId) -> (&'static str, Spelling) {
    match zone.segment("privateDnsZones") {
        Some(_) => ("2024-06-01", Spelling::Private),
        None => ("2018-05-01", Spelling::Public),
    }
}

/// A zone.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Zone {
    /// `contoso.example`.
    pub name: String,
    /// The authoritative servers, as the zone lists them.
    pub name_servers: Vec<String>,
}

fn read(reply: &Reply) -> Result<RecordSet, ArmError> {
    let body = reply.value()?;
    let mut record_set = RecordSet::from_body(&body).ok_or_else(|| ArmError::Unreadable {
        what: "a record set".to_owned(),
        cause: "name, type or properties are missing".to_owned(),
    })?;
    if record_set.etag.is_none() {
        record_set.etag = reply.header("etag").map(str::to_owned);
    }
    Ok(record_set)
}

impl Azure {
    /// The id of a public zone in a resource group (or in the runbook's default one).
    pub fn zone_id(&self, group: Option<&str>, zone: &str) -> Result<ResourceId, ArmError> {
        self.scope(self.resource_group(group)?)?
            .join(&format!("providers/Microsoft.Network/dnsZones/{zone}"))
    }

    /// The same of a private zone, which is answered for inside its virtual networks only.
    pub fn private_zone_id(&self, group: Option<&str>, zone: &str) -> Result<ResourceId, ArmError> {
        self.scope(self.resource_group(group)?)?
            .join(&format!("providers/Microsoft.Network/privateDnsZones/{zone}"))
    }

    /// The zone; none when it does not exist.
    pub async fn zone(
        &self,
        wait: &mut Wait<'_>,
        zone: &ResourceId,
    ) -> Result<Option<Zone>, ArmError> {
        let Some(body) = self.get(wait, zone, service(zone).0).await? else { return Ok(None) };
        let servers = body.pointer("/properties/nameServers").and_then(Value::as_array);
        let name = body.get("name").and_then(Value::as_str).unwrap_or_default().to_owned();
        let name_servers =
            servers.into_iter().flatten().filter_map(Value::as_str).map(str::to_owned).collect();
        Ok(Some(Zone { name, name_servers }))
    }

    /// A record set; none when it does not exist.
    pub async fn record_set(
        &self,
        wait: &mut Wait<'_>,
        zone: &ResourceId,
        record_type: RecordType,
        name: &str,
    ) -> Result<Option<RecordSet>, ArmError> {
        let arm = self.arm().await?;
        let id = zone.join(&format!("{record_type}/{name}"))?;
        let call = Call::read(Method::Get, arm.url(id.as_str(), service(zone).0));
        found(arm.send(wait, &call).await)?.map(|reply| read(&reply)).transpose()
    }

    /// Every record set of a zone, of every type.
    pub async fn record_sets(
        &self,
        wait: &mut Wait<'_>,
        zone: &ResourceId,
    ) -> Result<Vec<RecordSet>, ArmError> {
        let arm = self.arm().await?;
        let (api, spelling) = service(zone);
        let list = match spelling {
            Spelling::Public => zone.join("recordsets")?,
            Spelling::Private => zone.join("ALL")?,
        };
        let items = arm.list(wait, arm.url(list.as_str(), api)).await?;
        // Types that are newer than this program are left out: it could not name them either.
        Ok(items.iter().filter_map(RecordSet::from_body).collect())
    }

    /// Writes a record set over exactly `before` (or over nothing). Answers with what the service then holds.
    /// [`ArmError::Drift`] when somebody else changed it meanwhile, with both values.
    pub async fn put_record_set(
        &self,
        wait: &mut Wait<'_>,
        permit: &EffectPermit,
        zone: &ResourceId,
        before: Option<&RecordSet>,
        wanted: &RecordSet,
    ) -> Result<RecordSet, ArmError> {
        let arm = self.arm().await?;
        let id = zone.join(&format!("{}/{}", wanted.record_type, wanted.name))?;
        let (api, spelling) = service(zone);
        let call = arm.change(permit, Method::Put, arm.url(id.as_str(), api));
        let call = call.json(&wanted.body(spelling));
        let call = guarded(call, before)?;
        match arm.send(wait, &call).await {
            Ok(reply) => read(&reply),
            Err(error) => Err(self.drift(wait, error, zone, before, wanted).await),
        }
    }

    /// Deletes exactly the record set that was read. [`ArmError::Drift`] when somebody else changed it meanwhile.
    pub async fn delete_record_set(
        &self,
        wait: &mut Wait<'_>,
        permit: &EffectPermit,
        zone: &ResourceId,
        before: &RecordSet,
    ) -> Result<(), ArmError> {
        let arm = self.arm().await?;
        let id = zone.join(&format!("{}/{}", before.record_type, before.name))?;
        let call = guarded(
            arm.change(permit, Method::Delete, arm.url(id.as_str(), service(zone).0)),
            Some(before),
        )?;
        match arm.send(wait, &call).await {
            Ok(_) => Ok(()),
            Err(error) => Err(self.drift(wait, error, zone, Some(before), before).await),
        }
    }

    /// A 412 becomes drift with what was expected and what is there.
    async fn drift(
        &self,
        wait: &mut Wait<'_>,
        error: ArmError,
        zone: &ResourceId,
        before: Option<&RecordSet>,
        wanted: &RecordSet,
    ) -> ArmError {
        if error.status() != Some(412) {
            return error;
        }
        let shown = |set: &RecordSet| Box::new(json!({ "ttl": set.ttl(), "values": set.values() }));
        match self.record_set(wait, zone, wanted.record_type, &wanted.name).await {
            Ok(found) => ArmError::Drift {
                target: format!(
                    "{} {} in {}",
                    wanted.record_type,
                    wanted.name,
                    zone.segment("dnsZones")
                        .or(zone.segment("privateDnsZones"))
                        .unwrap_or_default()
                ),
                expected: before.map(shown),
                found: found.as_ref().map(shown),
            },
            // The refusal itself is certain; what is there now could not be read.
            Err(_) => error,
        }
    }
}

fn guarded(call: Call, before: Option<&RecordSet>) -> Result<Call, ArmError> {
    match before {
        None => Ok(call.header("if-none-match", "*")),
        Some(before) => match &before.etag {
            Some(etag) => Ok(call.header("if-match", etag)),
            None => Err(ArmError::Settings(format!(
                "the record set {} {} was not read from the service, so it can not be replaced safely",
                before.record_type, before.name
            ))),
        },
    }
}
