//! Record sets of an Azure DNS zone, public or private: read, written over exactly what was read, told apart.
//!
//! Changes go through [`crate::azure::Azure::put_record_set`], which never writes without a precondition. Nothing is ever
//! deleted to be created again.

use std::collections::BTreeSet;

use super::record::RecordType;
use super::set::Content;
use super::update::Slot;
use crate::azure::{self, ArmError, Azure, RecordSet, ResourceId, Wait};
use crate::journal::EffectPermit;

/// A zone.
#[derive(Debug, Clone)]
pub struct AzureZone {
    /// Its resource.
    pub id: ResourceId,
    /// `contoso.example`.
    pub name: String,
    /// It is answered for inside its virtual networks only.
    pub private: bool,
}

impl AzureZone {
    /// A record set's name as the service writes it: relative to the zone, `@` for the zone itself.
    fn relative(&self, slot: &Slot) -> String {
        let (whole, zone) = (slot.name.to_string(), self.name.trim_end_matches('.'));
        let ahead = whole.len().saturating_sub(zone.len() + 1);
        if ahead == 0 { "@".to_owned() } else { whole[..ahead].to_owned() }
    }

    /// `CNAME/crm`: the end of its id, and of the key of its intent.
    pub(super) fn path(&self, slot: &Slot) -> String {
        format!("{}/{}", slot.kind, self.relative(slot))
    }

    /// What the service holds now.
    pub(super) async fn read(
        &self,
        azure: &Azure,
        wait: &mut Wait<'_>,
        slot: &Slot,
    ) -> Result<Option<RecordSet>, ArmError> {
        azure.record_set(wait, &self.id, service_type(slot.kind), &self.relative(slot)).await
    }

    /// A record set that is not there yet.
    pub(super) fn fresh(
        &self,
        slot: &Slot,
        ttl: u32,
        content: &Content,
    ) -> Result<RecordSet, ArmError> {
        let (name, kind) = (self.relative(slot), service_type(slot.kind));
        match content {
            Content::Values(values) => RecordSet::new(&name, kind, ttl, values),
            Content::Alias(id) => Ok(RecordSet::new_alias(&name, kind, ttl, id)),
        }
    }

    /// Writes `wanted` over exactly `now`, and says what the service then holds.
    pub(super) async fn change(
        &self,
        azure: &Azure,
        wait: &mut Wait<'_>,
        permit: &EffectPermit,
        (now, wanted): (Option<&RecordSet>, Option<&RecordSet>),
    ) -> Result<Option<RecordSet>, ArmError> {
        match (now, wanted) {
            (_, Some(wanted)) => {
                azure.put_record_set(wait, permit, &self.id, now, wanted).await.map(Some)
            }
            (Some(now), None) => {
                azure.delete_record_set(wait, permit, &self.id, now).await.map(|()| None)
            }
            (None, None) => Ok(None),
        }
    }

    /// The slot of a record set of this zone; none for a type that is never moved.
    pub(super) fn slot(&self, set: &RecordSet) -> Option<Slot> {
        let kind =
            RecordType::ALL.into_iter().find(|kind| service_type(*kind) == set.record_type)?;
        slot(&self.name, &set.name, kind).ok()
    }
}

/// The slot of a record written relative to its zone.
pub fn slot(zone: &str, record: &str, kind: RecordType) -> Result<Slot, String> {
    let whole = if record == "@" { zone.to_owned() } else { format!("{record}.{zone}") };
    let name = super::record::name(&whole)
        .map_err(|error| format!("`{whole}` is not a domain name: {error}"))?;
    Ok(Slot { name, kind })
}

/// The type as the service names it.
const fn service_type(kind: RecordType) -> azure::RecordType {
    match kind {
        RecordType::A => azure::RecordType::A,
        RecordType::Aaaa => azure::RecordType::Aaaa,
        RecordType::Cname => azure::RecordType::Cname,
        RecordType::Txt => azure::RecordType::Txt,
        RecordType::Mx => azure::RecordType::Mx,
        RecordType::Srv => azure::RecordType::Srv,
    }
}

/// Whether both are the same for whoever asks and for whoever restores; versions do not count, nor does the case of names
/// and ids, nor which records an alias has at the moment.
pub(super) fn same(one: &RecordSet, other: &RecordSet) -> bool {
    let metadata = |set: &RecordSet| set.properties.get("metadata").cloned();
    let folded = |set: &RecordSet| -> BTreeSet<String> {
        if let Some(id) = set.alias() {
            return [id.to_ascii_lowercase()].into();
        }
        let fold = set.record_type != azure::RecordType::Txt;
        set.values()
            .iter()
            .map(|value| {
                let value = value.trim_end_matches('.');
                if fold { value.to_ascii_lowercase() } else { value.to_owned() }
            })
            .collect()
    };
    one.record_type == other.record_type
        && one.name.eq_ignore_ascii_case(&other.name)
        && one.ttl() == other.ttl()
        && one.alias().is_some() == other.alias().is_some()
        && folded(one) == folded(other)
        && metadata(one) == metadata(other)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_is_named_relative_to_its_zone() {
        let id = ResourceId::parse("/subscriptions/s/resourceGroups/g/providers/p/dnsZones/z");
        let zone = AzureZone {
            id: id.expect("an id"),
            name: "contoso.example".to_owned(),
            private: false,
        };
        for (record, path) in [("crm", "A/crm"), ("@", "A/@"), ("a.b", "A/a.b"), ("*", "A/*")] {
            let slot = slot("contoso.example", record, RecordType::A).expect("a name");
            assert_eq!(zone.path(&slot), path);
        }
    }
}
