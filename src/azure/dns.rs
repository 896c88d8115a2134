//! Azure DNS: zones and record sets (2018-05-01).
//!
//! A record set is never written without a precondition: `If-Match` with the `ETag` that was read, or `If-None-Match: *`
//! when it must not exist. The body's `etag` is no precondition, so it is not sent. Properties this program does not know
//! are kept as they came, so that a captured record set restores exactly.

use std::fmt;

use azure_core::http::Method;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use super::arm::{Call, Reply, found};
use super::{ArmError, Azure, ResourceId, Wait};
use crate::journal::EffectPermit;

const API: &str = "2018-05-01";

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

/// A zone.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Zone {
    /// `contoso.example`.
    pub name: String,
    /// The authoritative servers, as the zone lists them.
    pub name_servers: Vec<String>,
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

/// Set by the service; it refuses or ignores them in a PUT.
const READ_ONLY: [&str; 2] = ["fqdn", "provisioningState"];

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

    /// The records in zone-file form, in the service's order. An alias shows as its target's id.
    pub fn values(&self) -> Vec<String> {
        let (property, fields) = self.record_type.shape();
        let records = match self.properties.get(property) {
            Some(Value::Array(records)) => records.iter().collect(),
            Some(record @ Value::Object(_)) => vec![record],
            _ => Vec::new(),
        };
        let alias = self.properties.get("targetResource").and_then(|target| target.get("id"));
        let alias = alias.and_then(Value::as_str).map(|id| format!("alias of {id}"));
        records
            .into_iter()
            .map(|record| {
                fields.iter().map(|field| text(record.get(*field))).collect::<Vec<_>>().join(" ")
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

    /// Reads the service's JSON.
    fn from_body(body: &Value) -> Option<Self> {
        // `Microsoft.Network/dnszones/CNAME`, in any casing.
        let kind = body.get("type")?.as_str()?.rsplit('/').next()?.to_ascii_uppercase();
        let mut properties = body.get("properties")?.as_object()?.clone();
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

fn text(value: Option<&Value>) -> String {
    match value {
        Some(Value::String(text)) => text.clone(),
        Some(Value::Array(parts)) => parts.iter().filter_map(Value::as_str).collect(),
        Some(other) => other.to_string(),
        None => String::new(),
    }
}

/// One record out of its zone-file form.
fn record(record_type: RecordType, fields: &[&str], written: &str) -> Result<Value, ArmError> {
    if record_type == RecordType::Txt {
        // A TXT record is a list of strings of at most 255 bytes.
        let chars: Vec<char> = written.chars().collect();
        let parts: Vec<String> = chars.chunks(63).map(|part| part.iter().collect()).collect();
        return Ok(json!({ "value": parts }));
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

    /// The zone; none when it does not exist.
    pub async fn zone(
        &self,
        wait: &mut Wait<'_>,
        zone: &ResourceId,
    ) -> Result<Option<Zone>, ArmError> {
        let Some(body) = self.get(wait, zone, API).await? else { return Ok(None) };
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
        let call = Call::read(Method::Get, arm.url(id.as_str(), API));
        found(arm.send(wait, &call).await)?.map(|reply| read(&reply)).transpose()
    }

    /// Every record set of a zone, of every type.
    pub async fn record_sets(
        &self,
        wait: &mut Wait<'_>,
        zone: &ResourceId,
    ) -> Result<Vec<RecordSet>, ArmError> {
        let arm = self.arm().await?;
        let list = zone.join("recordsets")?;
        let items = arm.list(wait, arm.url(list.as_str(), API)).await?;
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
        let call = arm
            .change(permit, Method::Put, arm.url(id.as_str(), API))
            .json(&json!({ "properties": wanted.properties }));
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
        let call =
            guarded(arm.change(permit, Method::Delete, arm.url(id.as_str(), API)), Some(before))?;
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
                    zone.segment("dnsZones").unwrap_or_default()
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
