//! How far a target trails its source, by the resource that replicates: read from what each service shows of it.
//!
//! | type | version | lag is |
//! |---|---|---|
//! | Azure Migrate `replicationMigrationItems` | 2024-04-01 | age of the last recovery point |
//! | Site Recovery `replicationProtectedItems` | 2024-04-01 | `rpoInSeconds`, as of `lastRpoCalculatedTime` |
//! | Database Migration Service `services/projects/tasks` | 2021-06-30 | `latency` of each database that is ready to complete |
//! | PostgreSQL flexible server `migrations` | 2024-08-01 | `latency` of each database that waits for its cutover |
//! | SQL Managed Instance `distributedAvailabilityGroups` | 2023-08-01-preview | send plus redo lag of each database |
//!
//! Whatever is missing, in an unknown state or not applied yet is no lag of zero. What has failed or ended says so: waiting
//! does not help there.

use std::time::Duration;

use azure_core::http::Method;
use jiff::Timestamp;
use serde_json::Value;

use super::arm::{Call, found};
use super::replication::{ReplicationItem, date, number};
use super::{ArmError, Azure, Health, ResourceId, Wait};
use crate::clock::age;

/// One look at one resource.
#[derive(Debug, Clone, PartialEq)]
pub enum Trail {
    /// The target trails by so much, and the number is so old.
    Behind {
        /// How far.
        lag: Duration,
        /// Age of the number itself.
        age: Duration,
    },
    /// It is not known, or not there yet, and why.
    Unknown(String),
    /// Replication has failed or ended; waiting does not help.
    Over(String),
}

/// What replicates.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    MigrationItem,
    ProtectedItem,
    MigrationTask,
    PostgresMigration,
    InstanceLink,
}

/// Type in lower case, kind, version, what has to be expanded.
const KINDS: [(&str, Kind, &str, Option<&str>); 5] = [
    (
        "microsoft.recoveryservices/vaults/replicationfabrics/replicationprotectioncontainers/replicationmigrationitems",
        Kind::MigrationItem,
        "2024-04-01",
        None,
    ),
    (
        "microsoft.recoveryservices/vaults/replicationfabrics/replicationprotectioncontainers/replicationprotecteditems",
        Kind::ProtectedItem,
        "2024-04-01",
        None,
    ),
    (
        "microsoft.datamigration/services/projects/tasks",
        Kind::MigrationTask,
        "2021-06-30",
        Some("output"),
    ),
    (
        "microsoft.dbforpostgresql/flexibleservers/migrations",
        Kind::PostgresMigration,
        "2024-08-01",
        None,
    ),
    (
        "microsoft.sql/managedinstances/distributedavailabilitygroups",
        Kind::InstanceLink,
        // The stable 2021-11-01 has another shape, without any lag.
        "2023-08-01-preview",
        None,
    ),
];

/// `Microsoft.A/b/d` out of `…/providers/Microsoft.A/b/c/d/e`, in lower case.
fn type_of(id: &ResourceId) -> String {
    let lower = id.as_str().to_ascii_lowercase();
    let below = lower.rsplit_once("/providers/").map_or("", |(_, below)| below);
    let mut names = below.split('/');
    let namespace = names.next().unwrap_or_default().to_owned();
    names.step_by(2).fold(namespace, |kind, name| format!("{kind}/{name}"))
}

fn kind_of(id: &ResourceId) -> Option<(Kind, &'static str, Option<&'static str>)> {
    let wanted = type_of(id);
    KINDS.iter().find(|it| it.0 == wanted).map(|it| (it.1, it.2, it.3))
}

impl Trail {
    /// Whether resources of this type tell how far they trail.
    pub fn is_told_by(id: &ResourceId) -> bool {
        kind_of(id).is_some()
    }

    /// Reads the answer about a resource, asked for at `now`.
    pub fn read(id: &ResourceId, body: &Value, now: Timestamp) -> Self {
        match kind_of(id).map(|it| it.0) {
            Some(Kind::MigrationItem) => ReplicationItem::from_body(body).trail(now),
            Some(Kind::ProtectedItem) => protected_item(body, now),
            Some(Kind::MigrationTask) => task(&body["properties"]),
            Some(Kind::PostgresMigration) => postgres(&body["properties"]),
            Some(Kind::InstanceLink) => instance_link(&body["properties"]),
            None => Self::Unknown("nothing is known of replication by this type".to_owned()),
        }
    }

    fn unknown(why: impl Into<String>) -> Self {
        Self::Unknown(why.into())
    }

    /// The worst of several, each with a name; an empty list tells nothing.
    fn worst(all: impl IntoIterator<Item = (String, Self)>, of: &str) -> Self {
        let mut worst = Self::Unknown(format!("it names no {of}"));
        let mut any = false;
        for (name, trail) in all {
            let named = match trail {
                Self::Unknown(why) => Self::Unknown(format!("{name}: {why}")),
                Self::Over(why) => Self::Over(format!("{name}: {why}")),
                behind @ Self::Behind { .. } => behind,
            };
            worst = if any { worst.or_worse(named) } else { named };
            any = true;
        }
        worst
    }

    fn or_worse(self, other: Self) -> Self {
        match (self, other) {
            (over @ Self::Over(_), _) | (_, over @ Self::Over(_)) => over,
            (unknown @ Self::Unknown(_), _) | (_, unknown @ Self::Unknown(_)) => unknown,
            (Self::Behind { lag: a, age: b }, Self::Behind { lag: c, age: d }) => {
                Self::Behind { lag: a.max(c), age: b.max(d) }
            }
        }
    }
}

fn text<'v>(value: &'v Value, key: &str) -> &'v str {
    value[key].as_str().unwrap_or_default()
}

/// Seconds, if they are some.
fn seconds(value: &Value) -> Option<Duration> {
    Duration::try_from_secs_f64(number(value)?.max(0.0)).ok()
}

impl ReplicationItem {
    /// How far the target trails. An item that is not replicating, in critical health or in need of a resynchronization
    /// tells nothing.
    pub fn trail(&self, now: Timestamp) -> Trail {
        if self.state != "Replicating" {
            return Trail::unknown(match self.initial_seeding_percent {
                Some(percent) => format!("it is {}, {percent:.0} %", self.state),
                None => format!("it is {}", self.state),
            });
        }
        if self.health == Health::Critical {
            return Trail::Unknown(format!(
                "health is critical: {}",
                self.health_errors.join("; ")
            ));
        }
        if self.resync_required == Some(true) {
            return Trail::unknown("it must be resynchronized");
        }
        match self.lag(now) {
            Some(lag) => Trail::Behind { lag, age: Duration::ZERO },
            None if self.last_recovery_point.is_some() => {
                Trail::unknown("its recovery point is in the future; one of two clocks is wrong")
            }
            None => Trail::unknown("no recovery point has arrived"),
        }
    }
}

fn protected_item(body: &Value, now: Timestamp) -> Trail {
    let properties = &body["properties"];
    let state = text(properties, "protectionState");
    if state != "Protected" {
        let words = text(properties, "protectionStateDescription");
        return Trail::Unknown(
            format!("it is not protected: {state} {words}").trim_end().to_owned(),
        );
    }
    if text(properties, "replicationHealth").eq_ignore_ascii_case("critical") {
        return Trail::unknown("replication health is critical");
    }
    let details = &properties["providerSpecificDetails"];
    let first = ["monitoringPercentageCompletion", "initialReplicationProgressPercentage"];
    if let Some(percent) =
        first.iter().find_map(|key| number(&details[*key])).filter(|it| *it < 100.0)
    {
        return Trail::Unknown(format!("its first copy is at {percent:.0} %"));
    }
    let lag = ["rpoInSeconds", "lastRpoInSeconds"].iter().find_map(|key| seconds(&details[*key]));
    let (Some(lag), Some(at)) = (lag, date(&details["lastRpoCalculatedTime"])) else {
        return Trail::unknown("it does not say its recovery point objective, or as of when");
    };
    match age(at, now) {
        Some(age) => Trail::Behind { lag, age },
        None => Trail::unknown("its reading is from the future; one of two clocks is wrong"),
    }
}

/// What a database says that is copied and then kept up with: latency, and whether all that came in was applied.
fn database(database: &Value) -> Trail {
    let (incoming, applied) =
        (number(&database["incomingChanges"]), number(&database["appliedChanges"]));
    let (Some(incoming), Some(applied)) = (incoming, applied) else {
        return Trail::unknown("it does not say which changes came in and which were applied");
    };
    let Some(latency) = seconds(&database["latency"]) else {
        return Trail::unknown("it does not say its latency");
    };
    if incoming > applied {
        return Trail::Unknown(format!("{:.0} changes are not applied yet", incoming - applied));
    }
    Trail::Behind { lag: latency, age: Duration::ZERO }
}

fn load(database: &Value, state: &str) -> Trail {
    let count = |key: &str| number(&database[key]).unwrap_or(0.0);
    let done = count("fullLoadCompletedTables");
    let all = done + count("fullLoadLoadingTables") + count("fullLoadQueuedTables");
    Trail::Unknown(format!("{state}, {done:.0} of {all:.0} tables loaded"))
}

/// Online migrations of the Database Migration Service: one output per database among others.
fn task(properties: &Value) -> Trail {
    let state = text(properties, "state");
    match state {
        "Running" => {}
        "Canceled" | "Succeeded" | "Failed" | "FailedInputValidation" | "Faulted" => {
            let errors = properties["errors"].as_array().into_iter().flatten();
            let errors: Vec<_> = errors.filter_map(|error| error["message"].as_str()).collect();
            return Trail::Over(
                format!("the task is {state}: {}", errors.join("; "))
                    .trim_end_matches([' ', ':'])
                    .to_owned(),
            );
        }
        _ => return Trail::Unknown(format!("the task is {state}")),
    }
    let outputs = properties["output"].as_array().into_iter().flatten();
    let databases =
        outputs.filter(|it| it["databaseName"].is_string() && it["migrationState"].is_string());
    let of = |it: &Value| {
        let state = text(it, "migrationState");
        let trail = match state {
            "READY_TO_COMPLETE" => database(it),
            "FAILED" | "CANCELLED" | "CANCELLING" | "COMPLETE" | "COMPLETING"
            | "VALIDATION_FAILED" => Trail::Over(state.to_owned()),
            // An incremental load that has begun is ready only when the service says so.
            _ => load(it, state),
        };
        (text(it, "databaseName").to_owned(), trail)
    };
    Trail::worst(databases.map(of), "database")
}

fn postgres(properties: &Value) -> Trail {
    let status = &properties["currentStatus"];
    let state = text(status, "state");
    let details = &status["currentSubStateDetails"];
    let sub = text(details, "currentSubState");
    match state {
        "InProgress" | "WaitingForUserAction" => {}
        "Canceled" | "Failed" | "Succeeded" | "ValidationFailed" | "CleaningUp" => {
            let over = format!("the migration is {state}: {}", text(status, "error"));
            return Trail::Over(over.trim_end_matches([' ', ':']).to_owned());
        }
        // A word that this program does not know is no end.
        other => return Trail::Unknown(format!("the migration is in state `{other}`")),
    }
    if text(properties, "migrationMode").eq_ignore_ascii_case("Offline") {
        return Trail::unknown("an offline migration never waits for a cutover; it has no lag");
    }
    if !matches!(sub, "MigratingData" | "WaitingForCutoverTrigger") {
        return Trail::Unknown(format!("the migration is at {sub}"));
    }
    let of = |(name, it): (&String, &Value)| {
        let state = text(it, "migrationState");
        let trail = match state {
            "WaitingForCutoverTrigger" => database(it),
            "Failed" | "Canceled" | "Canceling" | "Succeeded" => {
                Trail::Over(format!("{state} {}", text(it, "message")).trim_end().to_owned())
            }
            _ => load(it, state),
        };
        (name.clone(), trail)
    };
    Trail::worst(details["dbDetails"].as_object().into_iter().flatten().map(of), "database")
}

fn instance_link(properties: &Value) -> Trail {
    let Some(databases) = properties["databases"].as_array() else {
        let older = properties["linkState"].as_str();
        return Trail::Unknown(older.map_or_else(
            || "it names no database".to_owned(),
            |state| format!("the service answered in its older form ({state}), which has no lag"),
        ));
    };
    let of = |it: &Value| {
        let wrong = [("connectedState", "CONNECTED"), ("synchronizationHealth", "HEALTHY")]
            .into_iter()
            .find(|(key, good)| !text(it, key).eq_ignore_ascii_case(good));
        let lag = seconds(&it["instanceSendReplicationLagSeconds"])
            .zip(seconds(&it["instanceRedoReplicationLagSeconds"]));
        let trail = match (wrong, text(it, "replicaState"), lag) {
            (Some((key, _)), ..) => {
                let error = text(it, "mostRecentLinkError");
                Trail::Unknown(format!("{key} is {} {error}", text(it, key)).trim_end().to_owned())
            }
            (None, "Seeding", _) => {
                Trail::Unknown(format!("seeding is at {}", text(it, "seedingProgress")))
            }
            (None, _, Some((send, redo))) => {
                Trail::Behind { lag: send.saturating_add(redo), age: Duration::ZERO }
            }
            (None, _, None) => Trail::unknown("it does not say its send and redo lag"),
        };
        (text(it, "databaseName").to_owned(), trail)
    };
    Trail::worst(databases.iter().map(of), "database")
}

impl Azure {
    /// How far the target of a replicating resource trails; none when the resource does not exist. A type that does not
    /// tell is refused.
    pub async fn trail(
        &self,
        wait: &mut Wait<'_>,
        id: &ResourceId,
        now: Timestamp,
    ) -> Result<Option<Trail>, ArmError> {
        let Some((_, version, expand)) = kind_of(id) else {
            return Err(ArmError::Settings(format!(
                "`{id}` is of no type that tells how far it trails"
            )));
        };
        let arm = self.arm().await?;
        let mut url = arm.url(id.as_str(), version);
        if let Some(expand) = expand {
            url.query_pairs_mut().append_pair("$expand", expand);
        }
        let reply = found(arm.send(wait, &Call::read(Method::Get, url)).await)?;
        let body = reply.map(|reply| reply.value()).transpose()?;
        Ok(body.map(|body| Trail::read(id, &body, now)))
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn read(kind: &str, properties: &Value) -> Trail {
        let id = format!("/subscriptions/s/resourceGroups/rg/providers/{kind}");
        let id = ResourceId::parse(&id).expect("an id");
        let now = "2026-12-05T21:00:00Z".parse().expect("a time");
        Trail::read(&id, &json!({ "properties": properties }), now)
    }

    fn behind(lag: u64, age: u64) -> Trail {
        Trail::Behind { lag: Duration::from_secs(lag), age: Duration::from_secs(age) }
    }

    const ITEM: &str = "Microsoft.RecoveryServices/vaults/v/replicationFabrics/f/replicationProtectionContainers/c/replicationProtectedItems/i";
    const TASK: &str = "Microsoft.DataMigration/services/s/projects/p/tasks/t";
    const MIGRATION: &str = "Microsoft.DBforPostgreSQL/flexibleServers/s/migrations/m";
    const LINK: &str = "Microsoft.Sql/managedInstances/m/distributedAvailabilityGroups/d";

    #[test]
    fn a_protected_item_is_as_far_behind_as_its_last_calculation_says() {
        let item = |details: Value| json!({ "protectionState": "Protected", "replicationHealth": "Normal", "providerSpecificDetails": details });
        let at = |at: &str| json!({ "rpoInSeconds": 12, "lastRpoCalculatedTime": at });
        assert_eq!(read(ITEM, &item(at("2026-12-05T20:59:00Z"))), behind(12, 60));
        for never in ["0001-01-01T00:00:00", "2026-12-06T02:00:00Z"] {
            assert!(matches!(read(ITEM, &item(at(never))), Trail::Unknown(_)), "{never}");
        }
        assert!(matches!(read(ITEM, &item(json!({ "rpoInSeconds": 0 }))), Trail::Unknown(_)));
        assert!(matches!(
            read(ITEM, &json!({ "protectionState": "UnprotectedStatesBegin" })),
            Trail::Unknown(_)
        ));
    }

    #[test]
    fn a_database_is_behind_until_everything_that_came_in_is_applied() {
        let task = |database: Value| json!({ "state": "Running", "output": [{ "resultType": "MigrationLevelOutput" }, database] });
        let ready = |incoming: i64, latency: Value| json!({ "databaseName": "crm", "migrationState": "READY_TO_COMPLETE", "incomingChanges": incoming, "appliedChanges": 7, "latency": latency });
        assert_eq!(read(TASK, &task(ready(7, json!(3)))), behind(3, 0));
        assert_eq!(
            read(TASK, &task(ready(9, json!(0)))),
            Trail::Unknown("crm: 2 changes are not applied yet".to_owned())
        );
        assert!(matches!(read(TASK, &task(ready(7, Value::Null))), Trail::Unknown(_)));
        assert!(matches!(
            read(TASK, &json!({ "state": "Running", "output": [] })),
            Trail::Unknown(_)
        ));
        assert!(matches!(read(TASK, &json!({ "state": "Faulted" })), Trail::Over(_)));
        let migration = |state: &str, database: Value| {
            let details = json!({ "currentSubState": "WaitingForCutoverTrigger", "dbDetails": { "crm": database } });
            json!({ "currentStatus": { "state": state, "currentSubStateDetails": details } })
        };
        let waits = json!({ "migrationState": "WaitingForCutoverTrigger", "incomingChanges": 4, "appliedChanges": 4, "latency": 2 });
        assert_eq!(
            read(MIGRATION, &migration("WaitingForUserAction", waits.clone())),
            behind(2, 0)
        );
        assert!(matches!(read(MIGRATION, &migration("Failed", waits)), Trail::Over(_)));
    }

    #[test]
    fn a_link_adds_what_is_not_sent_and_what_is_not_redone() {
        let link = |changes: &Value| {
            let mut database = json!({ "databaseName": "crm", "connectedState": "CONNECTED", "synchronizationHealth": "HEALTHY",
                "replicaState": "Online", "instanceSendReplicationLagSeconds": 1, "instanceRedoReplicationLagSeconds": 2 });
            for (key, value) in changes.as_object().expect("an object") {
                database[key] = value.clone();
            }
            read(LINK, &json!({ "databases": [database] }))
        };
        assert_eq!(link(&json!({})), behind(3, 0));
        for odd in [
            json!({ "connectedState": "DISCONNECTED" }),
            json!({ "synchronizationHealth": "PARTIALLY_HEALTHY" }),
            json!({ "replicaState": "Seeding" }),
            json!({ "instanceRedoReplicationLagSeconds": null }),
        ] {
            assert!(matches!(link(&odd), Trail::Unknown(_)), "{odd}");
        }
        assert!(
            matches!(read(LINK, &json!({ "linkState": "Catchup" })), Trail::Unknown(_)),
            "the older form"
        );
    }
}
