//! A record set as data: typed where a migration acts on it, as it came everywhere else.
//!
//! Values are read and written in zone-file form (`10 mail.contoso.example`). Properties this program does not know stay
//! as they came, so that a captured record set restores exactly.

use std::fmt;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use crate::azure::ArmError;

/// Type of a record set.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema,
)]
#[serde(rename_all = "UPPERCASE")]
#[expect(missing_docs, reason = "the names are those of DNS")]
pub enum RecordType {
    A,
    Aaaa,
    Caa,
    Cname,
    Mx,
    Ns,
    Ptr,
    Soa,
    Srv,
    Txt,
}

impl RecordType {
    const ALL: [Self; 10] = [
        Self::A,
        Self::Aaaa,
        Self::Caa,
        Self::Cname,
        Self::Mx,
        Self::Ns,
        Self::Ptr,
        Self::Soa,
        Self::Srv,
        Self::Txt,
    ];

    /// As DNS and the ARM path write it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::A => "A",
            Self::Aaaa => "AAAA",
            Self::Caa => "CAA",
            Self::Cname => "CNAME",
            Self::Mx => "MX",
            Self::Ns => "NS",
            Self::Ptr => "PTR",
            Self::Soa => "SOA",
            Self::Srv => "SRV",
            Self::Txt => "TXT",
        }
    }

    /// The property that holds the records, and the fields of one record in the order of a zone file.
    const fn shape(self) -> (&'static str, &'static [&'static str]) {
        match self {
            Self::A => ("ARecords", &["ipv4Address"]),
            Self::Aaaa => ("AAAARecords", &["ipv6Address"]),
            Self::Caa => ("caaRecords", &["flags", "tag", "value"]),
            Self::Cname => ("CNAMERecord", &["cname"]),
            Self::Mx => ("MXRecords", &["preference", "exchange"]),
            Self::Ns => ("NSRecords", &["nsdname"]),
            Self::Ptr => ("PTRRecords", &["ptrdname"]),
            Self::Soa => (
                "SOARecord",
                &[
                    "host",
                    "email",
                    "serialNumber",
                    "refreshTime",
                    "retryTime",
                    "expireTime",
                    "minimumTTL",
                ],
            ),
            Self::Srv => ("SRVRecords", &["priority", "weight", "port", "target"]),
            Self::Txt => ("TXTRecords", &["value"]),
        }
    }
}

impl fmt::Display for RecordType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

/// A record set as the service holds it or shall hold it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct RecordSet {
    /// Relative to the zone: `crm`, or `@`.
    pub name: String,
    /// Its type.
    pub record_type: RecordType,
    /// Version; none in a record set that was not read from the service.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub etag: Option<String>,
    /// `TTL`, records, metadata and whatever else the service knows, without its read-only properties.
    pub properties: Map<String, Value>,
}

/// Bytes of one string of a TXT record.
const STRING: usize = 255;

/// Set by the service; it refuses or ignores them in a PUT.
const READ_ONLY: [&str; 3] = ["fqdn", "provisioningState", "isAutoRegistered"];

/// How the two services of Azure DNS spell a property.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Spelling {
    /// `TTL`, `ARecords`, `CNAMERecord`.
    Public,
    /// `ttl`, `aRecords`, `cnameRecord`.
    Private,
}

impl Spelling {
    /// A property as public zones spell it, out of either spelling.
    fn canonical(key: &str) -> String {
        let known = RecordType::ALL.map(|kind| kind.shape().0);
        let known = std::iter::once("TTL").chain(known);
        let own = known.into_iter().find(|known| known.eq_ignore_ascii_case(key));
        own.unwrap_or(key).to_owned()
    }

    /// A property as this service spells it.
    fn spelled(self, key: &str) -> String {
        match (self, key.strip_suffix("Records").or(key.strip_suffix("Record"))) {
            (Self::Private, None) if key == "TTL" => "ttl".to_owned(),
            (Self::Private, Some(kind)) => {
                format!("{}{}", kind.to_ascii_lowercase(), &key[kind.len()..])
            }
            _ => key.to_owned(),
        }
    }
}

impl RecordSet {
    /// A record set that was not there before. Values are in zone-file form: `10 mail.contoso.example` for MX.
    pub fn new(
        name: &str,
        record_type: RecordType,
        ttl: u32,
        values: &[String],
    ) -> Result<Self, ArmError> {
        let mut properties = Map::new();
        properties.insert("TTL".to_owned(), json!(ttl));
        Self { name: name.to_owned(), record_type, etag: None, properties }.with_values(values)
    }

    /// Seconds; none where the service named none (an alias to a Traffic Manager profile has none).
    pub fn ttl(&self) -> Option<u32> {
        self.properties.get("TTL").and_then(Value::as_u64).and_then(|ttl| u32::try_from(ttl).ok())
    }

    /// Another TTL, everything else unchanged.
    #[must_use]
    pub fn with_ttl(mut self, seconds: u32) -> Self {
        self.properties.insert("TTL".to_owned(), json!(seconds));
        self
    }

    /// Other records, everything else (metadata, TTL) unchanged. An alias (`targetResource`) is replaced by them.
    pub fn with_values(mut self, values: &[String]) -> Result<Self, ArmError> {
        let (property, fields) = self.record_type.shape();
        let mut records = values
            .iter()
            .map(|value| record(self.record_type, fields, value))
            .collect::<Result<Vec<_>, _>>()?;
        let single = matches!(self.record_type, RecordType::Cname | RecordType::Soa);
        let value = match (single, records.len()) {
            (true, 1) => records.remove(0),
            (false, 1..) => Value::Array(records),
            (true, count) => {
                return Err(ArmError::Settings(format!(
                    "a {} record set has one value, not {count}",
                    self.record_type
                )));
            }
            (false, _) => {
                return Err(ArmError::Settings("a record set needs at least one value".to_owned()));
            }
        };
        self.properties.insert(property.to_owned(), value);
        self.properties.remove("targetResource");
        Ok(self)
    }

    /// No records of its own, but those of an Azure resource, everything else (metadata, TTL) unchanged.
    #[must_use]
    pub fn with_alias(mut self, id: &str) -> Self {
        self.properties.remove(self.record_type.shape().0);
        self.properties.insert("targetResource".to_owned(), json!({ "id": id }));
        self
    }

    /// The id of the resource whose records it has.
    pub fn alias(&self) -> Option<&str> {
        self.properties.get("targetResource")?.get("id")?.as_str()
    }

    /// A record set that was not there before and has the records of an Azure resource.
    pub fn new_alias(name: &str, record_type: RecordType, ttl: u32, id: &str) -> Self {
        let mut properties = Map::new();
        properties.insert("TTL".to_owned(), json!(ttl));
        Self { name: name.to_owned(), record_type, etag: None, properties }.with_alias(id)
    }

    /// The records in zone-file form, in the service's order. An alias shows as its target's id.
    pub fn values(&self) -> Vec<String> {
        let (property, fields) = self.record_type.shape();
        let records = match self.properties.get(property) {
            Some(Value::Array(records)) => records.iter().collect(),
            Some(record @ Value::Object(_)) => vec![record],
            _ => Vec::new(),
        };
        let alias = self.alias().map(|id| format!("alias of {id}"));
        records
            .into_iter()
            .map(|record| {
                fields.iter().map(|field| text(member(record, field))).collect::<Vec<_>>().join(" ")
            })
            .chain(alias)
            .collect()
    }

    /// Whether both hold the same state; versions are not compared.
    pub fn same_state(&self, other: &Self) -> bool {
        self.record_type == other.record_type
            && self.name.eq_ignore_ascii_case(&other.name)
            && self.properties == other.properties
    }

    /// What a PUT sends. An alias has no records of its own; the service shows the ones it resolves to.
    pub(super) fn body(&self, spelling: Spelling) -> Value {
        let alias = self.properties.contains_key("targetResource");
        let own = self.properties.iter();
        let sent = own.filter(|(key, _)| !alias || *key != self.record_type.shape().0);
        let properties: Map<String, Value> =
            sent.map(|(key, value)| (spelling.spelled(key), value.clone())).collect();
        json!({ "properties": properties })
    }

    /// Reads the service's JSON.
    pub(super) fn from_body(body: &Value) -> Option<Self> {
        // `Microsoft.Network/dnszones/CNAME`, in any casing.
        let kind = body.get("type")?.as_str()?.rsplit('/').next()?.to_ascii_uppercase();
        let properties = body.get("properties")?.as_object()?.iter();
        let mut properties: Map<String, Value> =
            properties.map(|(key, value)| (Spelling::canonical(key), value.clone())).collect();
        properties.retain(|key, value| match (key.as_str(), value) {
            (_, Value::Null) => false,
            // `{}`, or a target without an id, is how the service says "no alias".
            ("targetResource", value) => value.get("id").is_some_and(Value::is_string),
            (_, Value::Object(map)) if map.is_empty() => false,
            (key, _) => !READ_ONLY.contains(&key),
        });
        Some(Self {
            name: body.get("name")?.as_str()?.to_owned(),
            record_type: serde_json::from_value(Value::String(kind)).ok()?,
            etag: body.get("etag").and_then(Value::as_str).map(str::to_owned),
            properties,
        })
    }
}

/// A field of a record: the two services write `minimumTTL` and `minimumTtl`.
fn member<'a>(record: &'a Value, name: &str) -> Option<&'a Value> {
    let mut members = record.as_object()?.iter();
    members.find(|(key, _)| key.eq_ignore_ascii_case(name)).map(|(_, value)| value)
}

fn text(value: Option<&Value>) -> String {
    match value {
        Some(Value::String(text)) => text.clone(),
        Some(Value::Array(parts)) => parts.iter().filter_map(Value::as_str).collect(),
        Some(other) => other.to_string(),
        None => String::new(),
    }
}

/// A TXT record is a list of strings of at most 255 bytes.
fn strings(mut text: &str) -> Vec<&str> {
    let mut parts = Vec::new();
    while text.len() > STRING {
        let end = (0..=STRING).rev().find(|&end| text.is_char_boundary(end)).unwrap_or(STRING);
        let (part, rest) = text.split_at(end);
        parts.push(part);
        text = rest;
    }
    parts.push(text);
    parts
}

/// One record out of its zone-file form.
fn record(record_type: RecordType, fields: &[&str], written: &str) -> Result<Value, ArmError> {
    if record_type == RecordType::Txt {
        return Ok(json!({ "value": strings(written) }));
    }
    let words: Vec<&str> = written.splitn(fields.len(), ' ').map(str::trim).collect();
    if words.len() != fields.len() || words.iter().any(|word| word.is_empty()) {
        return Err(ArmError::Settings(format!(
            "`{written}` is no {record_type} record: it needs {}",
            fields.join(" ")
        )));
    }
    let numeric = |field: &str| {
        matches!(field, "flags" | "preference" | "priority" | "weight" | "port")
            || field.ends_with("Time")
            || matches!(field, "serialNumber" | "minimumTTL")
    };
    let mut record = Map::new();
    for (field, word) in fields.iter().zip(words) {
        let value = if numeric(field) {
            json!(word.parse::<u64>().map_err(|_| {
                ArmError::Settings(format!("`{word}` in `{written}` is no number"))
            })?)
        } else {
            json!(word)
        };
        record.insert((*field).to_owned(), value);
    }
    Ok(Value::Object(record))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn set(record_type: RecordType, values: &[&str]) -> Result<RecordSet, ArmError> {
        let values: Vec<String> = values.iter().map(|value| (*value).to_owned()).collect();
        RecordSet::new("crm", record_type, 60, &values)
    }

    #[test]
    fn values_of_every_type_go_there_and_back() {
        let cases: [(RecordType, &[&str]); 10] = [
            (RecordType::A, &["10.0.0.1", "10.0.0.2"]),
            (RecordType::Aaaa, &["2001:db8::1"]),
            (RecordType::Caa, &["0 issue letsencrypt.org"]),
            (RecordType::Cname, &["crm.azurewebsites.net"]),
            (RecordType::Mx, &["10 mail.contoso.example", "20 backup.contoso.example"]),
            (RecordType::Ns, &["ns1.contoso.example"]),
            (RecordType::Ptr, &["crm.contoso.example"]),
            (
                RecordType::Soa,
                &["ns1.contoso.example admin.contoso.example 1 3600 300 2419200 300"],
            ),
            (RecordType::Srv, &["0 5 5060 sip.contoso.example"]),
            (RecordType::Txt, &["v=spf1 include:x -all", "second"]),
        ];
        for (record_type, values) in cases {
            let set = set(record_type, values).expect("valid values");
            assert_eq!(set.values(), values, "{record_type}");
            assert_eq!(set.ttl(), Some(60));
        }
    }

    #[test]
    fn what_is_no_record_is_refused() {
        let cases: [(RecordType, &[&str]); 5] = [
            (RecordType::Cname, &["a.example", "b.example"]),
            (RecordType::Cname, &[""]),
            (RecordType::A, &[]),
            (RecordType::Mx, &["mail.contoso.example"]),
            (RecordType::Mx, &["ten mail.contoso.example"]),
        ];
        for (record_type, values) in cases {
            assert!(set(record_type, values).is_err(), "{record_type} {values:?}");
        }
    }

    #[test]
    fn an_alias_shows_its_target_and_is_written_back_without_resolved_records() {
        let id =
            "/subscriptions/s/resourceGroups/rg/providers/Microsoft.Network/publicIPAddresses/ip";
        let body = json!({ "name": "crm", "type": "Microsoft.Network/dnszones/A", "etag": "e",
            "properties": { "TTL": 60, "targetResource": { "id": id }, "ARecords": [{ "ipv4Address": "10.0.0.1" }] } });
        let alias = RecordSet::from_body(&body).expect("a record set");
        assert_eq!(alias.values(), ["10.0.0.1".to_owned(), format!("alias of {id}")]);
        assert_eq!(
            alias.body(Spelling::Public),
            json!({ "properties": { "TTL": 60, "targetResource": { "id": id } } })
        );
        let plain = alias.with_values(&["10.0.0.2".to_owned()]).expect("a value");
        assert_eq!(plain.values(), ["10.0.0.2"]);
    }

    #[test]
    fn both_services_are_read_alike_and_written_each_in_its_own_spelling() {
        let body = json!({ "name": "recordcname", "type": "Microsoft.Network/privateDnsZones/CNAME",
            "properties": { "metadata": { "key1": "value1" }, "ttl": 3600, "isAutoRegistered": false,
                "fqdn": "recordcname.privatezone1.com.", "cnameRecord": { "cname": "contoso.com" } } });
        let set = RecordSet::from_body(&body).expect("a record set");
        assert_eq!((set.ttl(), set.values()), (Some(3600), vec!["contoso.com".to_owned()]));
        let body_with = |records: Value| {
            let mut properties = json!({ "metadata": { "key1": "value1" } });
            let map = properties.as_object_mut().expect("an object");
            map.extend(records.as_object().expect("an object").clone());
            json!({ "properties": properties })
        };
        let cname = json!({ "cname": "contoso.com" });
        assert_eq!(
            set.body(Spelling::Private),
            body_with(json!({ "ttl": 3600, "cnameRecord": cname.clone() }))
        );
        assert_eq!(
            set.body(Spelling::Public),
            body_with(json!({ "TTL": 3600, "CNAMERecord": cname }))
        );
    }

    proptest! {
        #[test]
        fn a_text_of_any_length_comes_back_whole_in_short_strings(text in ".{1,900}") {
            let set = RecordSet::new("crm", RecordType::Txt, 60, std::slice::from_ref(&text)).expect("a text");
            prop_assert_eq!(set.values(), std::slice::from_ref(&text));
            for string in strings(&text) {
                prop_assert!(string.len() <= STRING);
            }
        }
    }
}
