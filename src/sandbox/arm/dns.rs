//! DNS zones and record sets, public and private: record sets synchronous, with an ETag each, refusing in the recorded
//! words and without `error`. A private zone has no name servers of its own to show, spells its fields in another case,
//! and comes and goes by long-running operations whose polls answer 202 with a status body. Kept in one spelling.

use hyper::http::{Method, StatusCode};
use serde_json::{Map, Value, json};

use super::super::scenario::{Record, SUBSCRIPTION, Zone};
use super::super::store::World;
use super::operations::{self, Operation};
use super::{ArmError, Call, Handled, Outcome, guid, only_get};

const ZONE_SEGMENTS: usize = 8;

/// Which of the two services.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Service {
    Public,
    Private,
}

impl Service {
    const fn zone_type(self) -> &'static str {
        match self {
            Self::Public => "Microsoft.Network/dnszones",
            Self::Private => "Microsoft.Network/privateDnsZones",
        }
    }

    fn zone_id(self, group: &str, zone: &str) -> String {
        let kind = self.zone_type();
        format!("/subscriptions/{SUBSCRIPTION}/resourceGroups/{group}/providers/{kind}/{zone}")
    }

    /// A document as this service shows it.
    fn shown(self, doc: &Value) -> Value {
        let mut shown = doc.clone();
        let properties = doc["properties"].as_object();
        if let (Self::Private, Some(properties)) =
            (self, properties.filter(|it| it.contains_key("TTL")))
        {
            let own = properties
                .iter()
                .filter(|(key, _)| !matches!(key.as_str(), "targetResource" | "provisioningState"));
            let mut own: Map<String, Value> =
                own.map(|(key, value)| (private_field(key), value.clone())).collect();
            if let Some(soa) = own.get_mut("soaRecord").and_then(Value::as_object_mut)
                && let Some(minimum) = soa.remove("minimumTTL")
            {
                soa.insert("minimumTtl".to_owned(), minimum);
            }
            own.insert("isAutoRegistered".to_owned(), json!(false));
            shown["properties"] = Value::Object(own);
        }
        shown
    }
}

/// `ttl`, `aRecords`, `cnameRecord`.
fn private_field(key: &str) -> String {
    match key.strip_suffix("Records").or(key.strip_suffix("Record")) {
        Some(kind) => format!("{}{}", kind.to_ascii_lowercase(), &key[kind.len()..]),
        None if key == "TTL" => "ttl".to_owned(),
        None => key.to_owned(),
    }
}

/// Lower-case path segment, name in ids, and the field of its records.
const TYPES: [(&str, &str, &str); 10] = [
    ("a", "A", "ARecords"),
    ("aaaa", "AAAA", "AAAARecords"),
    ("caa", "CAA", "caaRecords"),
    ("cname", "CNAME", "CNAMERecord"),
    ("mx", "MX", "MXRecords"),
    ("ns", "NS", "NSRecords"),
    ("ptr", "PTR", "PTRRecords"),
    ("soa", "SOA", "SOARecord"),
    ("srv", "SRV", "SRVRecords"),
    ("txt", "TXT", "TXTRecords"),
];

/// The documents of a zone of the scenario.
pub(crate) fn opening(zone: &Zone) -> Vec<(String, Value)> {
    let service = if zone.private { Service::Private } else { Service::Public };
    let id = service.zone_id(&zone.group, &zone.name);
    let mut docs = zone_docs(service, &id, &zone.name, &json!({}), &guid(&id));
    for record in &zone.records {
        let kind = record.kind.to_ascii_uppercase();
        let record_id = format!("{id}/{kind}/{}", record.name);
        let set = RecordSet {
            service,
            id: &record_id,
            zone: &zone.name,
            kind: &kind,
            name: &record.name,
        };
        docs.push((
            record_id.to_ascii_lowercase(),
            set.doc(&record.properties(), &guid(&record_id)),
        ));
    }
    docs
}

/// A record set as another hand leaves it, in whichever group the zone is; `None` without such a zone.
pub(crate) fn changed_record(
    world: &World,
    zone: &str,
    record: &Record,
) -> Option<(String, Value)> {
    let types = [Service::Public, Service::Private].map(Service::zone_type);
    let mut zones = world.docs.iter().filter(|(_, doc)| types.iter().any(|it| doc["type"] == **it));
    let (_, doc) = zones.find(|(_, doc)| {
        doc["name"].as_str().is_some_and(|name| name.eq_ignore_ascii_case(zone))
    })?;
    let kind = record.kind.to_ascii_uppercase();
    let id = format!("{}/{kind}/{}", doc["id"].as_str()?, record.name);
    let private = doc["type"] == Service::Private.zone_type();
    let service = if private { Service::Private } else { Service::Public };
    let set = RecordSet { service, id: &id, zone, kind: &kind, name: &record.name };
    let etag = guid(&format!("{}:{id}", world.next_seq()));
    Some((id.to_ascii_lowercase(), set.doc(&record.properties(), &etag)))
}

fn zone_docs(
    service: Service,
    id: &str,
    name: &str,
    tags: &Value,
    etag: &str,
) -> Vec<(String, Value)> {
    let servers = ["ns1.contoso.example.", "ns2.contoso.example."];
    let zone = json!({
        "id": id, "name": name, "type": service.zone_type(), "location": "global", "tags": tags, "etag": etag,
        "properties": match service {
            Service::Public => json!({
                "maxNumberOfRecordSets": 10000, "nameServers": servers, "zoneType": "Public",
                "numberOfRecordSets": 2,
            }),
            Service::Private => json!({
                "maxNumberOfRecordSets": 25000, "numberOfRecordSets": 1, "provisioningState": "Succeeded",
                "maxNumberOfVirtualNetworkLinks": 1000, "numberOfVirtualNetworkLinks": 0,
                "maxNumberOfVirtualNetworkLinksWithRegistration": 100,
                "numberOfVirtualNetworkLinksWithRegistration": 0,
            }),
        },
    });
    let soa = json!({ "TTL": 3600, "SOARecord": {
        "host": servers[0], "email": "hostmaster.contoso.example", "serialNumber": 1, "refreshTime": 3600,
        "retryTime": 300, "expireTime": 2_419_200, "minimumTTL": 300,
    }});
    let ns =
        json!({ "TTL": 172_800, "NSRecords": servers.map(|server| json!({"nsdname": server})) });
    let mut docs = vec![(id.to_ascii_lowercase(), zone)];
    let apex = [("SOA", soa), ("NS", ns)];
    let own = if service == Service::Public { apex.len() } else { 1 };
    for (kind, properties) in apex.into_iter().take(own) {
        let set_id = format!("{id}/{kind}/@");
        let set = RecordSet { service, id: &set_id, zone: name, kind, name: "@" };
        docs.push((
            set_id.to_ascii_lowercase(),
            set.doc(&properties, &guid(&format!("{etag}{kind}"))),
        ));
    }
    docs
}

struct RecordSet<'a> {
    service: Service,
    id: &'a str,
    zone: &'a str,
    kind: &'a str,
    name: &'a str,
}

impl RecordSet<'_> {
    fn doc(&self, written: &Value, etag: &str) -> Value {
        let mut properties = written.as_object().cloned().unwrap_or_default();
        let fqdn = match self.name {
            "@" => format!("{}.", self.zone),
            name => format!("{name}.{}.", self.zone),
        };
        properties.insert("fqdn".to_owned(), json!(fqdn));
        properties.insert("provisioningState".to_owned(), json!("Succeeded"));
        properties.entry("targetResource").or_insert_with(|| json!({}));
        json!({
            "id": self.id, "name": self.name, "type": format!("{}/{}", self.service.zone_type(), self.kind), "etag": etag,
            "properties": properties,
        })
    }
}

/// `…/dnszones` or `…/privateDnsZones` of a group or of the subscription.
pub(super) fn zones(call: &Call<'_>, service: Service) -> Handled {
    only_get(call)?;
    let scope = call.id(call.segments.len() - 3);
    let zones = call.world.below(&scope).filter(|(_, doc)| doc["type"] == service.zone_type());
    Ok(Outcome::ok(&call.page(zones.map(|(key, doc)| counted(call, key, doc)).collect())))
}

fn counted(call: &Call<'_>, id: &str, zone: &Value) -> Value {
    let mut zone = zone.clone();
    zone["properties"]["numberOfRecordSets"] = json!(call.world.below(id).count());
    zone
}

/// Everything at or below one zone; `rest` is what follows its name, in lower case.
pub(super) fn answer(call: &Call<'_>, service: Service, rest: &[&str]) -> Handled {
    let handled = match rest {
        [] => zone(call, service),
        ["recordsets" | "all"] => list(call, service, None),
        [kind] => list(call, service, Some(known_type(kind)?)),
        [kind, name @ ..] => record_set(call, service, known_type(kind)?, &name.join("/")),
    };
    handled.map_err(ArmError::bare)
}

fn known_type(kind: &str) -> Result<(&'static str, &'static str), ArmError> {
    let found = TYPES.iter().find(|(lower, ..)| *lower == kind);
    found.map(|(_, name, field)| (*name, *field)).ok_or_else(|| {
        ArmError::bad_request("BadRequest", format!("The record type '{kind}' is not supported."))
            .bare()
    })
}

fn zone(call: &Call<'_>, service: Service) -> Handled {
    let name = call.segments[ZONE_SEGMENTS - 1];
    let id = service.zone_id(call.segments[3], name);
    let found = call.world.get(&id);
    match (call.request.method.clone(), found) {
        (Method::PUT, found) => {
            check(call, found, &format!("The zone {name}"))?;
            let tags = call.body()?.get("tags").cloned().unwrap_or_else(|| json!({}));
            let etag = call.fresh_guid(&id);
            let mut docs = zone_docs(service, &id, name, &tags, &etag);
            docs.truncate(if found.is_some() { 1 } else { docs.len() });
            let status = if found.is_some() { StatusCode::OK } else { StatusCode::CREATED };
            let outcome = match service {
                Service::Public => {
                    let mut outcome = Outcome::with_status(status, &docs[0].1);
                    outcome.reply = outcome.reply.with("etag", etag);
                    outcome
                }
                Service::Private => started(call, service, &id, name),
            };
            Ok(docs.into_iter().fold(outcome, |outcome, (key, doc)| outcome.put(&key, doc)))
        }
        (Method::DELETE, None) => Ok(Outcome::empty(StatusCode::NO_CONTENT)),
        (_, None) => Err(not_found(name)),
        (Method::GET, Some(doc)) => Ok(read(&counted(call, &id, doc))),
        (Method::DELETE, Some(doc)) => {
            check(call, Some(doc), &format!("The zone {name}"))?;
            let start = started(call, service, &id, name);
            let start = start.remove(&id);
            Ok(call.world.below(&id).fold(start, |outcome, (key, _)| outcome.remove(key)))
        }
        _ => Err(ArmError::method_not_allowed()),
    }
}

/// A zone's long-running operation.
fn started(call: &Call<'_>, service: Service, id: &str, name: &str) -> Outcome {
    let operation = Operation::start(call, id);
    let (statuses, results, named) = match service {
        // Their ids contain semicolons, as recorded.
        Service::Public => {
            let named = format!("{};{name};Regular", operation.id);
            ("dnsOperationStatuses", "dnsOperationResults", named)
        }
        Service::Private => {
            let named = operation.id.clone();
            ("privateDnsOperationStatuses", "privateDnsOperationResults", named)
        }
    };
    let path = |kind: &str| {
        let (types, _) = id.rsplit_once('/').unwrap_or_default();
        let (parent, _) = types.rsplit_once('/').unwrap_or_default();
        operations::link(call, &format!("{parent}/{kind}/{named}"))
    };
    let mut start = operation.put_into(Outcome::empty(StatusCode::ACCEPTED));
    start.reply =
        start.reply.with("azure-asyncoperation", path(statuses)).with("location", path(results));
    start
}

fn list(call: &Call<'_>, service: Service, kind: Option<(&str, &str)>) -> Handled {
    only_get(call)?;
    let zone = call.segments[ZONE_SEGMENTS - 1];
    let id = service.zone_id(call.segments[3], zone);
    if call.world.get(&id).is_none() {
        return Err(not_found(zone));
    }
    let suffix = call.request.query("$recordsetnamesuffix").unwrap_or("").to_ascii_lowercase();
    let sets = call.world.below(&id).map(|(_, doc)| doc).filter(|doc| {
        let name = doc["name"].as_str().unwrap_or("").to_ascii_lowercase();
        let named = |kind| doc["type"] == format!("{}/{kind}", service.zone_type());
        let of_kind = kind.is_none_or(|(kind, _)| named(kind));
        of_kind && name.ends_with(&suffix)
    });
    Ok(Outcome::ok(&call.page(sets.map(|doc| service.shown(doc)).collect())))
}

fn record_set(
    call: &Call<'_>,
    service: Service,
    (kind, field): (&str, &str),
    lower_name: &str,
) -> Handled {
    let zone = call.segments[ZONE_SEGMENTS - 1];
    let zone_id = service.zone_id(call.segments[3], zone);
    let Some(zone_doc) = call.world.get(&zone_id) else { return Err(not_found(zone)) };
    let zone = zone_doc["name"].as_str().unwrap_or(zone);
    let written = call.segments[ZONE_SEGMENTS + 1..].join("/");
    let id = format!("{zone_id}/{kind}/{written}");
    let found = call.world.get(&id);
    let what = format!("The Record set {lower_name}");
    match (call.request.method.clone(), found) {
        (Method::PUT | Method::PATCH, found) => {
            if call.request.method == Method::PATCH && found.is_none() {
                return Err(not_found(lower_name));
            }
            check(call, found, &what)?;
            let body = call.body()?;
            let mut properties = merged(call, found, &body["properties"]);
            if matches!(kind, "A" | "AAAA" | "CAA" | "MX" | "NS" | "PTR" | "SRV" | "TXT") {
                // A record set may be there before its first record.
                properties.entry(field).or_insert_with(|| json!([]));
            }
            validate(call, &zone_id, kind, field, lower_name, &properties)?;
            let etag = call.fresh_guid(&id);
            let name = found.and_then(|doc| doc["name"].as_str()).unwrap_or(&written);
            let doc = RecordSet { service, id: &id, zone, kind, name }
                .doc(&Value::Object(properties), &etag);
            let status = if found.is_some() { StatusCode::OK } else { StatusCode::CREATED };
            let mut outcome = Outcome::with_status(status, &service.shown(&doc));
            outcome.reply = outcome.reply.with("etag", etag);
            Ok(outcome.put(&id, doc))
        }
        (Method::DELETE, None) => {
            check(call, None, &what)?;
            Ok(Outcome::empty(StatusCode::NO_CONTENT))
        }
        (_, None) => Err(not_found(lower_name)),
        (Method::GET, Some(doc)) => Ok(read(&service.shown(doc))),
        (Method::DELETE, Some(doc)) => {
            check(call, Some(doc), &what)?;
            Ok(Outcome::empty(StatusCode::OK).remove(&id))
        }
        _ => Err(ArmError::method_not_allowed()),
    }
}

/// PUT replaces; PATCH replaces the properties it names, arrays as wholes.
fn merged(call: &Call<'_>, found: Option<&Value>, written: &Value) -> Map<String, Value> {
    let mut properties = Map::new();
    if call.request.method == Method::PATCH {
        properties =
            found.and_then(|doc| doc["properties"].as_object().cloned()).unwrap_or_default();
    }
    for (key, value) in written.as_object().into_iter().flatten() {
        let key = if key.eq_ignore_ascii_case("ttl") { "TTL" } else { canonical_field(key) };
        properties.insert(key.to_owned(), value.clone());
    }
    properties
}

/// Newer API versions write some fields in another case; one is kept.
fn canonical_field(key: &str) -> &str {
    TYPES
        .iter()
        .map(|(.., field)| *field)
        .find(|field| field.eq_ignore_ascii_case(key))
        .unwrap_or(key)
}

fn validate(
    call: &Call<'_>,
    zone_id: &str,
    kind: &str,
    field: &str,
    name: &str,
    properties: &Map<String, Value>,
) -> Result<(), ArmError> {
    let bad = |message: String| Err(ArmError::bad_request("BadRequest", message));
    if !properties
        .get("TTL")
        .is_some_and(|ttl| ttl.as_u64().is_some_and(|ttl| (1..=2_147_483_647).contains(&ttl)))
    {
        return bad("The TTL is missing or out of range.".to_owned());
    }
    let alias = properties.get("targetResource").is_some_and(|target| target["id"].is_string());
    if !properties.contains_key(field) && !alias {
        return bad(format!("The record set of type {kind} lacks '{field}'."));
    }
    let other = TYPES
        .iter()
        .filter(|(_, other, _)| *other != kind && (*other == "CNAME" || kind == "CNAME"));
    for (_, other, _) in other {
        if call.world.get(&format!("{zone_id}/{other}/{name}")).is_some() {
            return bad(format!(
                "The CNAME record set {name} cannot stand beside other record sets of that name ({other})."
            ));
        }
    }
    Ok(())
}

/// The header is the precondition; an `etag` in the body is not.
fn check(call: &Call<'_>, found: Option<&Value>, what: &str) -> Result<(), ArmError> {
    let failed = |message: String| {
        Err(ArmError::new(StatusCode::PRECONDITION_FAILED, "PreconditionFailed", message))
    };
    let etag = found.and_then(|doc| doc["etag"].as_str());
    if let Some(wanted) = call.request.header("if-match") {
        let matches = match (wanted.trim(), etag) {
            ("*", etag) => etag.is_some(),
            (wanted, Some(etag)) => wanted.trim_matches('"') == etag,
            (_, None) => false,
        };
        if !matches {
            return failed(format!("{what} has been modified (etag mismatch)."));
        }
    }
    if call.request.header("if-none-match").is_some_and(|value| value.trim() == "*")
        && etag.is_some()
    {
        return failed(format!("{what} exists already and hence cannot be created again."));
    }
    Ok(())
}

fn read(doc: &Value) -> Outcome {
    let mut outcome = Outcome::ok(doc);
    if let Some(etag) = doc["etag"].as_str() {
        outcome.reply = outcome.reply.with("etag", etag);
    }
    outcome
}

fn not_found(name: &str) -> ArmError {
    ArmError::new(
        StatusCode::NOT_FOUND,
        "NotFound",
        format!(
            "The resource record '{name}' does not exist in the zone, or the zone does not exist."
        ),
    )
}
