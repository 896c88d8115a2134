//! Azure Migrate replication items (Site Recovery, 2024-04-01): how far a replica trails its source.
//!
//! What the service really sends is looser than its specification: percentages are null when idle, booleans are
//! strings, idle dates read 0001 or 1753 and may lack their zone, `health: Normal` comes with errors, and the last
//! recovery point can lie hours in the future. Nothing here fails on those; what can not be read is `None`, never zero.

mod job;

use std::time::Duration;

use jiff::Timestamp;
use jiff::civil::DateTime;
use jiff::tz::TimeZone;
use serde::{Deserialize, Serialize};
use serde_json::Value;

pub use job::{Job, JobEnd, TestMachine};

use super::{ArmError, Azure, ResourceId, Wait};
use crate::clock::age;

const API: &str = "2024-04-01";

/// Where an item is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct MigrationItemId {
    /// Resource group of the vault; none means the runbook's default one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub resource_group: Option<String>,
    /// Recovery Services vault.
    pub vault: String,
    /// Fabric.
    pub fabric: String,
    /// Protection container.
    pub container: String,
    /// Item.
    pub item: String,
}

/// Health as the service sums it up.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Health {
    /// Nothing to report.
    Normal,
    /// Not said, or a word this program does not know.
    Unknown,
    /// Replication goes on.
    Warning,
    /// Replication is in danger.
    Critical,
}

/// One machine's replication.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ReplicationItem {
    /// Full id.
    pub id: String,
    /// Item name.
    pub name: String,
    /// Machine name.
    pub machine: String,
    /// `Replicating`, `InitialSeedingInProgress`, `MigrationSucceeded`, …
    pub state: String,
    /// The service's words for the state.
    pub state_description: String,
    /// `None`, `TestMigrationSucceeded`, …
    pub test_state: String,
    /// When the last test migration was; none when there was none.
    pub last_test: Option<Timestamp>,
    /// How it went, in the service's word.
    pub last_test_status: String,
    /// When the last migration was tried.
    pub last_migration: Option<Timestamp>,
    /// The virtual machine that a migration makes, where the item says it.
    pub target_machine: Option<ResourceId>,
    /// See [`Health`].
    pub health: Health,
    /// `code: message` of each error; can be non-empty while health is normal.
    pub health_errors: Vec<String>,
    /// `Migrate`, `TestMigrate`, `PauseReplication`, …
    pub allowed_operations: Vec<String>,
    /// The newest state of the source that has arrived.
    pub last_recovery_point: Option<Timestamp>,
    /// Percent of the first copy; none when it is not running.
    pub initial_seeding_percent: Option<f64>,
    /// Percent of the current delta.
    pub delta_sync_percent: Option<f64>,
    /// Percent of a resynchronization.
    pub resync_percent: Option<f64>,
    /// The source must be read again in full.
    pub resync_required: Option<bool>,
    /// Job under way, in the service's word.
    pub current_job: Option<String>,
    /// Its id.
    pub current_job_id: Option<String>,
}

impl ReplicationItem {
    /// How far the target trails the source. A recovery point a moment in the future (clock skew of the appliance) is no
    /// lag; one that is further off tells nothing. None while there is no recovery point.
    pub fn lag(&self, now: Timestamp) -> Option<Duration> {
        self.last_recovery_point.and_then(|point| age(point, now))
    }

    /// Whether the service lets that operation be started now.
    pub fn allows(&self, operation: &str) -> bool {
        self.allowed_operations.iter().any(|allowed| allowed.eq_ignore_ascii_case(operation))
    }

    pub(super) fn from_body(body: &Value) -> Self {
        let at = |pointer: &str| body.pointer(pointer).unwrap_or(&Value::Null);
        let text = |pointer: &str| at(pointer).as_str().unwrap_or_default().to_owned();
        let details = |key: &str| at(&format!("/properties/providerSpecificDetails/{key}")).clone();
        let list = |pointer: &str| at(pointer).as_array().cloned().unwrap_or_default();
        Self {
            id: text("/id"),
            name: text("/name"),
            machine: text("/properties/machineName"),
            state: text("/properties/migrationState"),
            state_description: text("/properties/migrationStateDescription"),
            test_state: text("/properties/testMigrateState"),
            last_test: date(at("/properties/lastTestMigrationTime")),
            last_test_status: text("/properties/lastTestMigrationStatus"),
            last_migration: date(at("/properties/lastMigrationTime")),
            target_machine: target_machine(at("/properties/providerSpecificDetails")),
            health: health(&text("/properties/health")),
            health_errors: list("/properties/healthErrors").iter().map(health_error).collect(),
            allowed_operations: list("/properties/allowedOperations")
                .iter()
                .filter_map(Value::as_str)
                .map(str::to_owned)
                .collect(),
            last_recovery_point: date(&details("lastRecoveryPointReceived")),
            initial_seeding_percent: number(&details("initialSeedingProgressPercentage")),
            delta_sync_percent: number(&details("deltaSyncProgressPercentage")),
            resync_percent: number(&details("resyncProgressPercentage")),
            resync_required: boolean(&details("resyncRequired")),
            current_job: Some(text("/properties/currentJob/jobName"))
                .filter(|job| !job.is_empty() && !job.eq_ignore_ascii_case("none")),
            current_job_id: text("/properties/currentJob/jobId")
                .rsplit_once('/')
                .map(|(_, job)| job.to_owned())
                .filter(|job| !job.is_empty() && !job.eq_ignore_ascii_case("none")),
        }
    }
}

/// Where the machine will be, out of the item's settings.
fn target_machine(details: &Value) -> Option<ResourceId> {
    let group = ResourceId::parse(details.get("targetResourceGroupId")?.as_str()?).ok()?;
    let name = details.get("targetVmName")?.as_str().filter(|name| !name.is_empty())?;
    group.join(&format!("providers/Microsoft.Compute/virtualMachines/{name}")).ok()
}

fn health(word: &str) -> Health {
    match word.to_ascii_lowercase().as_str() {
        "normal" => Health::Normal,
        "warning" => Health::Warning,
        "critical" => Health::Critical,
        _ => Health::Unknown,
    }
}

fn health_error(error: &Value) -> String {
    let word = |key: &str| error.get(key).and_then(Value::as_str).filter(|text| !text.is_empty());
    let message = word("errorMessage").or(word("summaryMessage")).unwrap_or("no message");
    format!("{}: {message}", word("errorCode").unwrap_or("no code"))
}

/// A number, or a number in a string; never a guess.
pub(super) fn number(value: &Value) -> Option<f64> {
    let number = match value {
        Value::Number(number) => number.as_f64()?,
        Value::String(text) => text.trim().parse().ok()?,
        _ => return None,
    };
    number.is_finite().then_some(number)
}

/// `true`, or `"true"`.
fn boolean(value: &Value) -> Option<bool> {
    match value {
        Value::Bool(flag) => Some(*flag),
        Value::String(text) if text.eq_ignore_ascii_case("true") => Some(true),
        Value::String(text) if text.eq_ignore_ascii_case("false") => Some(false),
        _ => None,
    }
}

/// The earliest year that is a date and not a way to say "never" (.NET's 0001, SQL Server's 1753, the epoch).
const FIRST_REAL_YEAR: i16 = 2000;

/// A date with zone, or without one (then UTC); "never" is none.
pub(super) fn date(value: &Value) -> Option<Timestamp> {
    let text = value.as_str()?.trim();
    let at = text.parse::<Timestamp>().ok().or_else(|| {
        let local: DateTime = text.parse().ok()?;
        Some(local.to_zoned(TimeZone::UTC).ok()?.timestamp())
    })?;
    (at.to_zoned(TimeZone::UTC).year() >= FIRST_REAL_YEAR).then_some(at)
}

impl Azure {
    /// The vault's id.
    pub fn vault_id(&self, group: Option<&str>, vault: &str) -> Result<ResourceId, ArmError> {
        self.scope(self.resource_group(group)?)?
            .join(&format!("providers/Microsoft.RecoveryServices/vaults/{vault}"))
    }

    /// One item; none when it does not exist.
    pub async fn replication_item(
        &self,
        wait: &mut Wait<'_>,
        id: &MigrationItemId,
    ) -> Result<Option<ReplicationItem>, ArmError> {
        let path = self.replication_item_id(id)?;
        Ok(self.get(wait, &path, API).await?.as_ref().map(ReplicationItem::from_body))
    }

    /// Full id of an item.
    pub fn replication_item_id(&self, id: &MigrationItemId) -> Result<ResourceId, ArmError> {
        self.vault_id(id.resource_group.as_deref(), &id.vault)?.join(&format!(
            "replicationFabrics/{}/replicationProtectionContainers/{}/replicationMigrationItems/{}",
            id.fabric, id.container, id.item
        ))
    }

    /// Every item of a vault.
    pub async fn replication_items(
        &self,
        wait: &mut Wait<'_>,
        vault: &ResourceId,
    ) -> Result<Vec<ReplicationItem>, ArmError> {
        let arm = self.arm().await?;
        let path = vault.join("replicationMigrationItems")?;
        let items = arm.list(wait, arm.url(path.as_str(), API)).await?;
        Ok(items.iter().map(ReplicationItem::from_body).collect())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    fn item(details: &Value) -> ReplicationItem {
        ReplicationItem::from_body(&json!({ "properties": { "providerSpecificDetails": details } }))
    }

    #[test]
    fn an_idle_item_as_recorded_is_read_without_inventing_anything() {
        let read = ReplicationItem::from_body(&json!({
            "id": "/Subscriptions/s/x", "name": "crm-db",
            "properties": {
                "machineName": "crm-db", "migrationState": "Replicating", "health": "Normal",
                "migrationStateDescription": "Ready to migrate", "testMigrateState": "None",
                "healthErrors": [{ "errorCode": "110084", "errorMessage": "no successful test migration" }],
                "allowedOperations": ["DisableMigration", "Migrate"],
                "currentJob": { "jobName": "None", "startTime": "1753-01-01T00:00:00Z" },
                "lastMigrationTime": "0001-01-01T00:00:00",
                "providerSpecificDetails": {
                    "instanceType": "VMwareCbt", "resyncRequired": "false", "performAutoResync": "true",
                    "lastRecoveryPointReceived": "2026-11-21T08:00:00.1234567Z",
                    "initialSeedingProgressPercentage": null, "deltaSyncProgressPercentage": "42",
                },
            },
        }));
        assert_eq!((read.health, read.health_errors.len()), (Health::Normal, 1));
        assert_eq!((read.initial_seeding_percent, read.delta_sync_percent), (None, Some(42.0)));
        assert_eq!((read.resync_required, read.current_job.as_deref()), (Some(false), None));
        assert!(read.allows("migrate") && !read.allows("TestMigrate"));
        let now: Timestamp = "2026-11-21T08:00:05Z".parse().expect("a time");
        assert_eq!(read.lag(now).expect("a lag").as_secs(), 4);
    }

    #[test]
    fn never_is_no_date_and_the_future_is_no_lag() {
        for never in
            ["0001-01-01T00:00:00", "0001-01-01T00:00:00Z", "1753-01-01T00:00:00", "", "soon"]
        {
            assert_eq!(
                item(&json!({ "lastRecoveryPointReceived": never })).last_recovery_point,
                None
            );
        }
        let zoneless = item(&json!({ "lastRecoveryPointReceived": "2026-11-21T13:00:00" }));
        let now: Timestamp = "2026-11-21T08:00:00Z".parse().expect("a time");
        assert_eq!(zoneless.lag(now), None, "five hours ahead, nobody knows how old it is");
        let skewed = item(&json!({ "lastRecoveryPointReceived": "2026-11-21T08:00:05Z" }));
        assert_eq!(skewed.lag(now), Some(Duration::ZERO));
        assert_eq!(item(&Value::Null).lag(now), None, "no reading is no lag of zero");
    }

    fn any_json() -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![
            Just(Value::Null),
            any::<bool>().prop_map(Value::from),
            any::<f64>().prop_map(Value::from),
            "[ -~]{0,12}".prop_map(Value::from),
            "[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}Z?".prop_map(Value::from),
        ];
        let keys = prop_oneof![
            Just("properties".to_owned()),
            Just("providerSpecificDetails".to_owned()),
            Just("lastRecoveryPointReceived".to_owned()),
            Just("healthErrors".to_owned()),
            Just("resyncRequired".to_owned()),
            "[a-z]{1,4}",
        ];
        leaf.prop_recursive(4, 64, 6, move |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
                prop::collection::vec((keys.clone(), inner), 0..6)
                    .prop_map(|pairs| Value::Object(pairs.into_iter().collect())),
            ]
        })
    }

    proptest! {
        #[test]
        fn whatever_comes_is_read_and_a_lag_is_never_negative(body in any_json(), now in 0_i64..4_000_000_000) {
            let read = ReplicationItem::from_body(&body);
            let now = Timestamp::from_second(now).expect("a time");
            if let (Some(lag), Some(point)) = (read.lag(now), read.last_recovery_point) {
                prop_assert!(point <= now || lag.is_zero());
            }
        }
    }
}
