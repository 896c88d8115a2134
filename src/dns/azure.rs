//! A record set of a public Azure DNS zone: read, written over exactly what was read, and proved at every server.
//!
//! Changes go through [`crate::azure::Azure::put_record_set`], which never writes without a precondition. Nothing is ever
//! deleted to be created again.

use std::collections::BTreeSet;

use serde_json::Value;

use super::record::{Name, Rdata, RecordType, RrSet, name};
use crate::azure::{self, ArmError, Azure, RecordSet, ResourceId, Wait};
use crate::run::Verdict;

/// One name and type in one zone.
#[derive(Debug, Clone)]
pub struct Record {
    /// The zone.
    pub zone: ResourceId,
    /// Relative to the zone: `crm`, or `@`.
    pub name: String,
    /// Its type.
    pub kind: RecordType,
    /// The whole name.
    pub full_name: Name,
}

impl Record {
    /// The record `name` of a zone in a resource group, or in the runbook's default one.
    pub fn new(
        azure: &Azure,
        group: Option<&str>,
        zone: &str,
        record: &str,
        kind: RecordType,
    ) -> Result<Self, ArmError> {
        let full = if record == "@" { zone.to_owned() } else { format!("{record}.{zone}") };
        let full_name = name(&full)
            .map_err(|error| ArmError::Settings(format!("`{full}` is not a name: {error}")))?;
        let zone = azure.zone_id(group, zone)?;
        Ok(Self { zone, name: record.to_owned(), kind, full_name })
    }

    /// `CNAME crm.contoso.example`, for people.
    pub fn shown(&self) -> String {
        format!("{} {}", self.kind, self.full_name)
    }

    /// The full id, for intents.
    pub fn id(&self) -> String {
        format!("{}/{}/{}", self.zone, self.kind, self.name)
    }

    /// What the service holds now.
    pub async fn read(
        &self,
        azure: &Azure,
        wait: &mut Wait<'_>,
    ) -> Result<Option<RecordSet>, ArmError> {
        azure.record_set(wait, &self.zone, service_type(self.kind), &self.name).await
    }

    /// Is a recorded change from `before` to `after` in place? `Null` stands for no record set.
    pub async fn probe(
        &self,
        azure: &Azure,
        wait: &mut Wait<'_>,
        before: &Value,
        after: &Value,
    ) -> Verdict {
        let unknown = |evidence: String| Verdict::Unknown { evidence };
        let now = match self.read(azure, wait).await {
            Ok(now) => now,
            Err(error) => return unknown(format!("{} could not be read: {error}", self.shown())),
        };
        let (Ok(before), Ok(after)) = (recorded(before), recorded(after)) else {
            return unknown("the recorded state can not be read".to_owned());
        };
        if same(now.as_ref(), after.as_ref()) {
            let observed = serde_json::to_value(now).unwrap_or_default();
            return Verdict::Done { observed };
        }
        if same(now.as_ref(), before.as_ref()) {
            return Verdict::NotDone;
        }
        unknown(format!(
            "{} is {}; before it was {}, wanted is {}",
            self.shown(),
            shown(now.as_ref()),
            shown(before.as_ref()),
            shown(after.as_ref())
        ))
    }
}

/// The type as the service names it.
pub const fn service_type(kind: RecordType) -> azure::RecordType {
    match kind {
        RecordType::A => azure::RecordType::A,
        RecordType::Aaaa => azure::RecordType::Aaaa,
        RecordType::Cname => azure::RecordType::Cname,
        RecordType::Txt => azure::RecordType::Txt,
        RecordType::Mx => azure::RecordType::Mx,
    }
}

/// A record set out of an intent; `Null` is none.
pub fn recorded(value: &Value) -> Result<Option<RecordSet>, serde_json::Error> {
    serde::Deserialize::deserialize(value)
}

/// The values of a record set as DNS serves them. `Err` for an alias, whose answers the service makes up.
pub fn values(set: &RecordSet, kind: RecordType) -> Result<BTreeSet<Rdata>, String> {
    set.values().iter().map(|value| kind.parse(value)).collect()
}

/// Whether both are the same for whoever asks and for whoever restores; versions do not count, nor does the case of names.
pub fn same(one: Option<&RecordSet>, other: Option<&RecordSet>) -> bool {
    let (Some(one), Some(other)) = (one, other) else { return one.is_none() && other.is_none() };
    let kept = |set: &RecordSet, key: &str| set.properties.get(key).cloned();
    let folded = |set: &RecordSet| -> BTreeSet<String> {
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
        && folded(one) == folded(other)
        && ["metadata", "targetResource"].iter().all(|key| kept(one, key) == kept(other, key))
}

/// A record set for people: `crm-source.contoso.example (TTL 3600 s)`.
pub fn shown(set: Option<&RecordSet>) -> String {
    match set {
        None => "no record".to_owned(),
        Some(set) => match set.ttl() {
            Some(ttl) => format!("{} (TTL {ttl} s)", set.values().join(", ")),
            None => set.values().join(", "),
        },
    }
}

/// Whether a server's answer is exactly this record set. An alias is compared by nothing: its answer is the service's.
pub fn served(answer: &RrSet, wanted: Option<&RecordSet>, kind: RecordType) -> bool {
    match wanted {
        None => answer.values.is_empty(),
        Some(set) => match values(set, kind) {
            Ok(values) => answer.values == values && set.ttl().is_none_or(|ttl| ttl == answer.ttl),
            Err(_) => !answer.values.is_empty(),
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn set(ttl: u32, value: &str) -> RecordSet {
        RecordSet::new("crm", azure::RecordType::Cname, ttl, &[value.to_owned()]).expect("valid")
    }

    #[test]
    fn versions_case_and_the_last_dot_do_not_count_but_ttl_and_metadata_do() {
        let one = set(60, "CRM.contoso.example.");
        let mut other = set(60, "crm.contoso.example");
        other.etag = Some("b".to_owned());
        assert!(same(Some(&one), Some(&other)));
        assert!(!same(Some(&one), Some(&set(61, "crm.contoso.example"))));
        assert!(!same(Some(&one), None));
        other.properties.insert("metadata".to_owned(), serde_json::json!({ "owner": "crm" }));
        assert!(!same(Some(&one), Some(&other)));
    }

    #[test]
    fn an_answer_is_the_record_set_in_value_and_ttl() {
        let answer = |ttl, text: &str| RrSet {
            ttl,
            values: [RecordType::Cname.parse(text).expect("a name")].into(),
        };
        let wanted = set(60, "crm-target.contoso.example");
        let kind = RecordType::Cname;
        assert!(served(&answer(60, "CRM-target.contoso.example"), Some(&wanted), kind));
        assert!(!served(&answer(3600, "crm-target.contoso.example"), Some(&wanted), kind));
        assert!(!served(&answer(60, "crm-source.contoso.example"), Some(&wanted), kind));
        assert!(!served(&RrSet::default(), Some(&wanted), kind));
        assert!(served(&RrSet::default(), None, kind));
    }
}
