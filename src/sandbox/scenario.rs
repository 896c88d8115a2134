//! What a sandbox's world is at first and what happens in it: sizes, resources, lag, a writing client, drift, faults.
//!
//! A scenario is data. Everything in it is reproducible: the same scenario and the same requests give the same world.

mod health;
mod metrics;
mod rights;
mod traffic;

use std::collections::BTreeMap;
use std::path::Path;

use jiff::Timestamp;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

pub use health::{Health, ServiceEvent};
pub use metrics::Metric;
pub use rights::{Deny, Role};
pub use traffic::{FrontDoor, Overload, Share, TrafficManager};

use super::error::SandboxError;

/// The subscription that every sandbox has.
pub const SUBSCRIPTION: &str = "00000000-0000-0000-0000-00000000c0de";
/// The tenant that every sandbox has.
pub const TENANT: &str = "00000000-0000-0000-0000-000000007e4a";

/// Values that aliases may stand for in all: a short file of aliases within aliases can stand for any number.
const REPLAYED: usize = 10_000;

/// A scenario file.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Scenario {
    /// When the world starts, in skipping time.
    #[schemars(with = "String")]
    pub start: Timestamp,
    /// Sizes of the files and databases to migrate.
    pub estate: Estate,
    /// Resource groups.
    pub groups: Vec<Group>,
    /// DNS zones and their record sets.
    pub zones: Vec<Zone>,
    /// Traffic Manager profiles.
    pub traffic_managers: Vec<TrafficManager>,
    /// Origin groups of Front Door profiles.
    pub front_doors: Vec<FrontDoor>,
    /// Metrics of Azure Monitor.
    pub metrics: Vec<Metric>,
    /// What Azure says of the health of resources; of those not named here it has heard nothing bad.
    pub health: Vec<Health>,
    /// Events of service health.
    pub service_events: Vec<ServiceEvent>,
    /// Roles of the service principal.
    pub roles: Vec<Role>,
    /// Deny assignments.
    pub denies: Vec<Deny>,
    /// Management locks that exist already.
    pub locks: Vec<Lock>,
    /// Any other resources, whole, with `id`, `type` and `properties`.
    pub resources: Vec<Value>,
    /// Secrets of Key Vaults: `vault/name` -> value. They are not worth keeping.
    pub secrets: BTreeMap<String, String>,
    /// Azure Migrate's replicating machines.
    pub replication: Vec<Replication>,
    /// Anything else that replicates.
    pub replicas: Vec<Replica>,
    /// The client that keeps sending orders to each application.
    pub writer: Writer,
    /// Changes by another hand.
    pub drift: Vec<Drift>,
    /// What goes wrong, once each.
    pub faults: Vec<Fault>,
    /// What is down for a time.
    pub outages: Vec<Outage>,
    /// Seconds between a change and its appearance in the activity log.
    pub activity_log_delay_seconds: u64,
    /// Seconds that a long-running operation takes.
    pub operation_seconds: u64,
    /// Seconds for which a lock that was taken away still refuses.
    pub unlock_seconds: u64,
    /// Keep every request to ARM with its answer in `exchanges.jsonl`, to be held against a specification.
    pub exchanges: bool,
}

/// Sizes of the estate.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Estate {
    /// Everything follows from it.
    pub seed: u64,
    /// One folder and one database each.
    pub workloads: Vec<String>,
    /// Files in each workload's share.
    pub files: u32,
    /// Orders in each workload's database; there are a quarter as many customers and three times as many order lines.
    pub orders: u32,
}

impl Default for Estate {
    fn default() -> Self {
        Self {
            seed: 42,
            workloads: vec!["crm".to_owned(), "shop".to_owned()],
            files: 1200,
            orders: 1000,
        }
    }
}

/// A resource group.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Group {
    /// Its name.
    pub name: String,
    /// Its region.
    #[serde(default = "westeurope")]
    pub location: String,
}

/// A DNS zone.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Zone {
    /// Its resource group.
    pub group: String,
    /// Its name.
    pub name: String,
    /// A private zone. The sandbox's name server answers for it, too: whoever asks stands inside its networks.
    #[serde(default)]
    pub private: bool,
    /// Record sets other than the apex's SOA and NS.
    pub records: Vec<Record>,
}

/// A record set.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Record {
    /// Relative to the zone.
    pub name: String,
    /// `A`, `AAAA`, `CNAME` or `TXT`.
    #[serde(rename = "type")]
    pub kind: String,
    /// Seconds.
    pub ttl: u32,
    /// The records' values.
    pub values: Vec<String>,
}

impl Record {
    /// ARM's properties of it.
    pub(crate) fn properties(&self) -> Value {
        let list = |field: &str, key: &str| {
            let records: Vec<_> = self.values.iter().map(|value| json!({ key: value })).collect();
            json!({ "TTL": self.ttl, field: records })
        };
        match self.kind.to_ascii_uppercase().as_str() {
            "A" => list("ARecords", "ipv4Address"),
            "AAAA" => list("AAAARecords", "ipv6Address"),
            "TXT" => {
                let texts: Vec<_> =
                    self.values.iter().map(|text| json!({"value": [text]})).collect();
                json!({ "TTL": self.ttl, "TXTRecords": texts })
            }
            _ => json!({ "TTL": self.ttl, "CNAMERecord": { "cname": self.values.first() } }),
        }
    }
}

/// A management lock.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Lock {
    /// Its name.
    pub name: String,
    /// The resource group that it locks; without one, the subscription.
    #[serde(default)]
    pub group: Option<String>,
    /// `ReadOnly` or `CanNotDelete`.
    pub level: String,
}

/// A machine under replication by Azure Migrate.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Replication {
    /// Resource group of the vault.
    pub group: String,
    /// The vault.
    pub vault: String,
    /// The item.
    pub item: String,
    /// Points of (seconds since the world's start, seconds of lag), joined by straight lines; the last one lasts. A lag
    /// below zero is a recovery point in the future.
    #[serde(default)]
    pub lag: Vec<(f64, f64)>,
    /// Seconds after the world's start until its first copy is complete; there is no recovery point before.
    #[serde(default)]
    pub seeding_seconds: u64,
    /// What is wrong with it, and from when on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub unhealthy: Option<Unhealthy>,
    /// Resource group that its virtual machines are made in; that of the vault when left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub target_group: Option<String>,
}

/// Bad health of a replication.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Unhealthy {
    /// Seconds after the world's start.
    #[serde(default)]
    pub after_seconds: u64,
    /// `Warning` or `Critical`.
    pub health: String,
    /// Code of its health error.
    pub code: String,
    /// The error in words.
    pub message: String,
}

/// A Site Recovery protected item, a task of the Database Migration Service, a migration of a PostgreSQL flexible server or
/// a link of a SQL managed instance.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Replica {
    /// ARM id; its type says what it is.
    pub id: String,
    /// Points of (seconds since the world's start, seconds of lag), joined by straight lines; the last one lasts.
    #[serde(default)]
    pub lag: Vec<(f64, f64)>,
    /// Seconds after the world's start until its first copy is complete.
    #[serde(default)]
    pub seeding_seconds: u64,
    /// Seconds after the world's start when it fails, if it does.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fails_after_seconds: Option<u64>,
}

/// The lag in seconds on a curve, so long after the world's start.
pub(crate) fn lag_on(curve: &[(f64, f64)], since_start: f64) -> f64 {
    let Some(&(first_at, first)) = curve.first() else { return 0.0 };
    let mut earlier = (first_at, first);
    for &(at, lag) in curve {
        if since_start < at {
            let share = (since_start - earlier.0) / (at - earlier.0).max(f64::EPSILON);
            return earlier.1 + share.max(0.0) * (lag - earlier.1);
        }
        earlier = (at, lag);
    }
    earlier.1
}

/// The client that keeps writing.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Writer {
    /// Orders it sends to each application, one after another; none with 0.
    pub orders: u32,
    /// Milliseconds of real time between two orders.
    pub pause_ms: u64,
}

impl Default for Writer {
    fn default() -> Self {
        Self { orders: 300, pause_ms: 10 }
    }
}

/// A change by another hand, made once.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Drift {
    /// Just before the n-th request to ARM, counted from 1 over all of the world's life that the ledger holds and the
    /// reads of this process.
    #[serde(default)]
    pub before_request: Option<u64>,
    /// Or at the first request so many seconds after the world's start.
    #[serde(default)]
    pub after_seconds: Option<u64>,
    /// The zone in which the record changes.
    pub zone: String,
    /// What it is from then on.
    pub record: Record,
}

/// Something that goes wrong, once.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Fault {
    /// HTTP method; any when left out.
    #[serde(default)]
    pub method: Option<String>,
    /// The path contains this, compared without case. Paths are ARM's, `crm@target/health` for an application, and
    /// `hooks.contoso.example/teams` for a webhook.
    pub path: String,
    /// The n-th request that matches, from 1.
    #[serde(default = "one")]
    pub nth: u64,
    /// What happens.
    pub fault: FaultKind,
}

/// A time in which something answers 503 to everything and does nothing.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Outage {
    /// As in a fault: `crm@target/` is the application at the target.
    pub path: String,
    /// Seconds after the world's start.
    #[serde(default)]
    pub after_seconds: u64,
    /// Seconds that it lasts; without it, for good.
    #[serde(default)]
    pub for_seconds: Option<u64>,
    /// Only while so much of the traffic comes here.
    #[serde(default)]
    pub overloaded: Option<Overload>,
}

/// What goes wrong.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum FaultKind {
    /// 429 with `Retry-After`.
    Throttled {
        /// Seconds.
        retry_after: u32,
    },
    /// 409 `Conflict`.
    Conflict,
    /// 412 `PreconditionFailed`.
    PreconditionFailed,
    /// 500 `InternalServerError`, nothing changed.
    ServerError,
    /// The long-running operation that the request starts fails, in an answer with status 200.
    OperationFails,
    /// The change is made and durable, then the connection is closed without an answer.
    ReplyLost,
}

impl FaultKind {
    /// As a scenario and the ledger write it.
    pub const fn name(&self) -> &'static str {
        match self {
            Self::Throttled { .. } => "throttled",
            Self::Conflict => "conflict",
            Self::PreconditionFailed => "precondition_failed",
            Self::ServerError => "server_error",
            Self::OperationFails => "operation_fails",
            Self::ReplyLost => "reply_lost",
        }
    }
}

fn westeurope() -> String {
    "westeurope".to_owned()
}

fn one() -> u64 {
    1
}

/// A server that is not needed any more, and its disk.
fn old_server() -> Vec<Value> {
    let compute = format!(
        "/subscriptions/{SUBSCRIPTION}/resourceGroups/rg-crm-source/providers/Microsoft.Compute"
    );
    let disk = format!("{compute}/disks/crm-old-disk");
    let storage =
        json!({ "osDisk": { "osType": "Linux", "managedDisk": { "id": disk } }, "dataDisks": [] });
    let machine = json!({
        "id": format!("{compute}/virtualMachines/crm-old"), "location": "westeurope",
        "properties": { "hardwareProfile": { "vmSize": "Standard_D2s_v3" }, "storageProfile": storage },
    });
    let disk = json!({ "id": disk, "location": "westeurope", "properties": { "diskSizeGB": 64 } });
    vec![machine, disk]
}

impl Default for Scenario {
    fn default() -> Self {
        let record = |name: &str, kind: &str, ttl, value: &str| Record {
            name: name.to_owned(),
            kind: kind.to_owned(),
            ttl,
            values: vec![value.to_owned()],
        };
        let group = |name: &str| Group { name: name.to_owned(), location: westeurope() };
        let item = |item: &str, lag| Replication {
            group: "rg-crm".to_owned(),
            vault: "vault-crm".to_owned(),
            item: item.to_owned(),
            lag,
            ..Replication::default()
        };
        Self {
            start: "2026-12-05T20:00:00Z".parse().expect("a constant timestamp"),
            estate: Estate::default(),
            groups: vec![group("rg-crm-source"), group("rg-crm"), group("rg-dns")],
            zones: vec![Zone {
                group: "rg-dns".to_owned(),
                name: "contoso.example".to_owned(),
                private: false,
                records: vec![
                    record("ns1", "A", 172_800, "127.0.0.4"),
                    record("ns2", "A", 172_800, "127.0.0.5"),
                    record("crm", "CNAME", 3600, "crm-source.contoso.example"),
                    record("shop", "CNAME", 3600, "shop-source.contoso.example"),
                    record("crm-source", "A", 3600, "127.0.0.2"),
                    record("shop-source", "A", 3600, "127.0.0.2"),
                    record("crm-target", "A", 3600, "127.0.0.3"),
                    record("shop-target", "A", 3600, "127.0.0.3"),
                    record("hooks", "A", 3600, "127.0.0.2"),
                ],
            }],
            traffic_managers: vec![traffic::default_manager()],
            front_doors: vec![traffic::default_door()],
            metrics: metrics::default_metrics(),
            health: Vec::new(),
            service_events: Vec::new(),
            roles: vec![rights::owner()],
            denies: Vec::new(),
            locks: Vec::new(),
            resources: old_server(),
            replication: vec![
                item("crm-db", vec![(0.0, 900.0), (1200.0, 40.0), (2400.0, 0.0)]),
                item("crm-web", vec![(0.0, 300.0), (600.0, 0.0)]),
                item("shop-db", vec![(0.0, 1200.0), (1800.0, 0.0)]),
            ],
            replicas: Vec::new(),
            secrets: BTreeMap::new(),
            writer: Writer::default(),
            drift: Vec::new(),
            faults: Vec::new(),
            outages: Vec::new(),
            activity_log_delay_seconds: 0,
            operation_seconds: 30,
            unlock_seconds: 5,
            exchanges: false,
        }
    }
}

impl Scenario {
    /// Reads a scenario file: YAML, unknown keys refused, anything left out as in the default world.
    pub fn read(path: &Path) -> Result<Self, SandboxError> {
        let text = std::fs::read_to_string(path).map_err(SandboxError::file("read", path))?;
        Self::parse(&path.display().to_string(), &text)
    }

    /// The same from text; `name` is for messages.
    pub fn parse(name: &str, text: &str) -> Result<Self, SandboxError> {
        let mut options = serde_saphyr::Options::default();
        options.alias_limits.max_total_replayed_events = REPLAYED;
        serde_saphyr::from_str_with_options(text, options).map_err(|error| SandboxError::Scenario {
            name: name.to_owned(),
            why: error.to_string(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lag_follows_its_points_and_stays_at_the_last() {
        let curve = [(10.0, 100.0), (20.0, 0.0)];
        let lags = [0.0, 10.0, 15.0, 20.0, 1e6].map(|at| lag_on(&curve, at).to_string());
        assert_eq!(lags, ["100", "100", "50", "0", "0"]);
    }

    #[test]
    fn a_file_changes_what_it_names_and_nothing_else() {
        let text = "writer: { orders: 3 }\nfaults:\n  - { path: /dnszones/, method: PUT, fault: reply_lost }\n";
        let scenario = Scenario::parse("s.yaml", text).expect("it is valid");
        assert_eq!(scenario.writer, Writer { orders: 3, pause_ms: 10 });
        assert_eq!(scenario.faults[0].fault, FaultKind::ReplyLost);
        assert_eq!(scenario.zones, Scenario::default().zones);
    }

    #[test]
    fn an_unknown_key_is_refused_by_name() {
        let error = Scenario::parse("s.yaml", "wrtier: {}").expect_err("a typo");
        assert!(error.to_string().contains("wrtier"), "{error}");
    }
}
