//! A record set as whoever keeps its zone holds it, for code that does not care who that is.

use std::collections::BTreeSet;

use super::azure;
use super::record::{Rdata, RecordType, RrSet};
use super::update::Held;
use crate::azure::{ArmError, RecordSet};

/// What a record set shall hold.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Content {
    /// Values as a person writes them.
    Values(Vec<String>),
    /// The records of an Azure resource, by its id; Azure DNS keeps them up to date.
    Alias(String),
}

impl std::fmt::Display for Content {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Values(values) => f.write_str(&values.join(", ")),
            Self::Alias(id) => write!(f, "the records of {id}"),
        }
    }
}

/// See the module.
#[derive(Debug, Clone)]
pub enum Set {
    /// With metadata and whatever else Azure DNS knows of it.
    Azure(RecordSet),
    /// With the wire form of every record.
    Exact(Held),
}

impl Set {
    /// Seconds; none for an alias, whose TTL is its target's.
    pub fn ttl(&self) -> Option<u32> {
        match self {
            Self::Azure(set) => set.ttl(),
            Self::Exact(held) => Some(held.ttl),
        }
    }

    /// The values as DNS serves them. `Err` for an alias, whose answers the service makes up.
    pub fn values(&self, kind: RecordType) -> Result<BTreeSet<Rdata>, String> {
        match self {
            Self::Azure(set) => set.values().iter().map(|value| kind.parse(value)).collect(),
            Self::Exact(held) => Ok(held.values()),
        }
    }

    /// The values as a person writes them.
    pub fn written(&self) -> Vec<String> {
        match self {
            Self::Azure(set) => set.values(),
            Self::Exact(held) => held.values().iter().map(Rdata::written).collect(),
        }
    }

    /// Another TTL, everything else unchanged.
    #[must_use]
    pub fn with_ttl(self, seconds: u32) -> Self {
        match self {
            Self::Azure(set) => Self::Azure(RecordSet { etag: None, ..set.with_ttl(seconds) }),
            Self::Exact(held) => Self::Exact(held.with_ttl(seconds)),
        }
    }

    /// Something else in it, everything else unchanged.
    pub fn with(self, kind: RecordType, content: &Content) -> Result<Self, ArmError> {
        match self {
            Self::Azure(set) => {
                let set = match content {
                    Content::Values(values) => set.with_values(values)?,
                    Content::Alias(id) => set.with_alias(id),
                };
                Ok(Self::Azure(RecordSet { etag: None, ..set }))
            }
            Self::Exact(held) => exact(kind, held.ttl, content),
        }
    }

    /// The id of the Azure resource whose records it has.
    pub fn alias(&self) -> Option<&str> {
        match self {
            Self::Azure(set) => set.alias(),
            Self::Exact(_) => None,
        }
    }

    /// Whether both are the same for whoever asks and for whoever restores.
    pub fn same(one: Option<&Self>, other: Option<&Self>) -> bool {
        match (one, other) {
            (None, None) => true,
            (Some(Self::Azure(one)), Some(Self::Azure(other))) => azure::same(one, other),
            (Some(Self::Exact(one)), Some(Self::Exact(other))) => one == other,
            _ => false,
        }
    }

    /// For people: `crm-source.contoso.example (TTL 3600 s)`.
    pub fn shown(set: Option<&Self>) -> String {
        match set {
            None => "no record".to_owned(),
            Some(Self::Exact(held)) => held.to_string(),
            Some(Self::Azure(set)) => match set.ttl() {
                Some(ttl) => format!("{} (TTL {ttl} s)", set.values().join(", ")),
                None => set.values().join(", "),
            },
        }
    }

    /// Whether a server's answer is exactly this record set. An alias is compared by nothing: its answer is the service's.
    pub fn served(answer: &RrSet, wanted: Option<&Self>, kind: RecordType) -> bool {
        match wanted {
            // Where an alias is, it answers for every type.
            None => answer.values.iter().all(|value| value.rtype() != kind.rtype()),
            Some(set) => match set.values(kind) {
                Ok(values) => {
                    answer.values == values && set.ttl().is_none_or(|ttl| ttl == answer.ttl)
                }
                Err(_) => !answer.values.is_empty(),
            },
        }
    }
}

impl Set {
    /// Whether a resolver's answer is this record set, for no longer than its TTL.
    pub fn cached(answer: &RrSet, wanted: Option<&Self>, kind: RecordType) -> bool {
        let ttl = wanted.and_then(Self::ttl);
        let fresh = ttl.is_none_or(|ttl| answer.ttl <= ttl);
        let as_served = RrSet { ttl: ttl.unwrap_or(answer.ttl), ..answer.clone() };
        fresh && Self::served(&as_served, wanted, kind)
    }
}

/// A new record set at a primary.
pub(super) fn exact(kind: RecordType, ttl: u32, content: &Content) -> Result<Set, ArmError> {
    let Content::Values(values) = content else {
        return Err(ArmError::Settings("only Azure DNS has aliases of its resources".to_owned()));
    };
    match Held::written(kind, ttl, values) {
        Ok(Some(held)) => Ok(Set::Exact(held)),
        Ok(None) => Err(ArmError::Settings("a record set needs at least one value".to_owned())),
        Err(why) => Err(ArmError::Settings(why)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn set(ttl: u32, value: &str) -> Set {
        let set = RecordSet::new("crm", crate::azure::RecordType::Cname, ttl, &[value.to_owned()]);
        Set::Azure(set.expect("valid"))
    }

    #[test]
    fn versions_case_and_the_last_dot_do_not_count_but_ttl_and_metadata_do() {
        let one = set(60, "CRM.contoso.example.");
        let Set::Azure(mut other) = set(60, "crm.contoso.example") else { unreachable!() };
        other.etag = Some("b".to_owned());
        assert!(Set::same(Some(&one), Some(&Set::Azure(other.clone()))));
        assert!(!Set::same(Some(&one), Some(&set(61, "crm.contoso.example"))));
        assert!(!Set::same(Some(&one), None));
        other.properties.insert("metadata".to_owned(), serde_json::json!({ "owner": "crm" }));
        assert!(!Set::same(Some(&one), Some(&Set::Azure(other))));
    }

    #[test]
    fn an_answer_is_the_record_set_in_value_and_ttl() {
        let kind = RecordType::Cname;
        let answer =
            |ttl, text: &str| RrSet { ttl, values: [kind.parse(text).expect("a name")].into() };
        for wanted in [
            set(60, "crm-target.contoso.example"),
            exact(kind, 60, &Content::Values(vec!["crm-target.contoso.example".to_owned()]))
                .expect("valid"),
        ] {
            let served = |answer: &RrSet| Set::served(answer, Some(&wanted), kind);
            assert!(served(&answer(60, "CRM-target.contoso.example")));
            assert!(!served(&answer(3600, "crm-target.contoso.example")));
            assert!(!served(&answer(60, "crm-source.contoso.example")));
            assert!(!served(&RrSet::default()));
            let cached =
                |ttl| Set::cached(&answer(ttl, "crm-target.contoso.example"), Some(&wanted), kind);
            assert!(cached(60) && cached(1) && !cached(61));
        }
        assert!(Set::served(&RrSet::default(), None, kind));
        let alias = answer(60, "crm-target.contoso.example");
        assert!(!Set::served(&alias, None, kind), "the alias is still there");
        assert!(Set::served(&alias, None, RecordType::A), "where an alias is, there is no address");
    }
}
