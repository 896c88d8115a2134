//! Whatever replicates beside Azure Migrate: protected items, migration tasks, migrations and links, read only, with a lag
//! that follows the scenario and in the shape that each service has.

use jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};

use super::super::scenario::{Replica, lag_on};
use super::{ArmError, Call, Handled, Outcome, guid, only_get};

/// How a replica stands.
struct Stand {
    lag: f64,
    /// Percent of the first copy; none once it is complete.
    seeding: Option<f64>,
    failed: bool,
    now: Timestamp,
}

/// The answer about a replica of the scenario; none where the path is of another thing.
pub(super) fn answer(call: &Call<'_>) -> Option<Handled> {
    let is_asked = |replica: &&Replica| replica.id.eq_ignore_ascii_case(&call.request.path);
    let replica = call.scenario.replicas.iter().find(is_asked)?;
    Some(only_get(call).and_then(|()| {
        let kind = kind_of(&replica.id);
        let stand = Stand::of(call, replica);
        let older = call.request.query("api-version") == Some("2021-11-01");
        let properties = match kind.to_ascii_lowercase().rsplit('/').next() {
            Some("replicationprotecteditems") => protected_item(&stand),
            Some("tasks") => task(&stand, call.request.query("$expand") == Some("output")),
            Some("migrations") => migration(&stand),
            Some("distributedavailabilitygroups") if older => {
                json!({ "linkState": "Catchup", "replicationMode": "Async", "lastHardenedLsn": "39000000030400001" })
            }
            Some("distributedavailabilitygroups") => link(&stand),
            _ => return Err(ArmError::not_found(&call.request.path)),
        };
        let name = replica.id.rsplit('/').next();
        let mut body =
            json!({ "id": replica.id, "name": name, "type": kind, "properties": properties });
        if kind.to_ascii_lowercase().ends_with("/migrations") {
            body["location"] = json!("westeurope");
        }
        Ok(Outcome::ok(&body))
    }))
}

fn kind_of(id: &str) -> String {
    let below = id.rsplit_once("/providers/").map_or("", |(_, below)| below);
    let mut names = below.split('/');
    let namespace = names.next().unwrap_or_default().to_owned();
    names.step_by(2).fold(namespace, |kind, name| format!("{kind}/{name}"))
}

impl Stand {
    fn of(call: &Call<'_>, replica: &Replica) -> Self {
        let elapsed = call.now.duration_since(call.began).as_secs_f64();
        #[expect(clippy::cast_precision_loss, reason = "seconds of a rehearsal")]
        let seconds = |whole: u64| whole as f64;
        let seeding = seconds(replica.seeding_seconds);
        Self {
            lag: lag_on(&replica.lag, elapsed),
            seeding: (elapsed < seeding).then(|| 100.0 * elapsed.max(0.0) / seeding),
            failed: replica.fails_after_seconds.is_some_and(|after| elapsed >= seconds(after)),
            now: call.now,
        }
    }

    fn whole_lag(&self) -> i64 {
        #[expect(
            clippy::cast_possible_truncation,
            reason = "whole seconds, as the services say them"
        )]
        let seconds = self.lag.ceil() as i64;
        seconds
    }

    fn percent(&self) -> i64 {
        #[expect(
            clippy::cast_possible_truncation,
            reason = "a percentage, as the services round it"
        )]
        let percent = self.seeding.unwrap_or(100.0) as i64;
        percent
    }

    fn ago(&self, seconds: i64) -> Timestamp {
        self.now.checked_sub(SignedDuration::from_secs(seconds)).unwrap_or(self.now)
    }

    /// Counters of a database that is copied and kept up with. Ten changes come in each second.
    fn counters(&self) -> Value {
        let loaded = self.percent() / 10;
        json!({
            "startedOn": self.ago(3600),
            "fullLoadCompletedTables": loaded, "fullLoadQueuedTables": 10 - loaded, "fullLoadLoadingTables": 0,
            "fullLoadErroredTables": 0, "cdcInsertCounter": 40, "cdcUpdateCounter": 2, "cdcDeleteCounter": 0,
            "incomingChanges": 420 + 10 * self.whole_lag(), "appliedChanges": 420, "latency": self.whole_lag(),
        })
    }
}

fn protected_item(stand: &Stand) -> Value {
    let state = if stand.failed { "ProtectionError" } else { "Protected" };
    let calculated = stand.ago(15);
    let mut item = json!({
        "friendlyName": "server", "protectionState": state, "protectionStateDescription": state,
        "activeLocation": "Primary", "replicationHealth": if stand.failed { "Critical" } else { "Normal" },
        "failoverHealth": "Normal", "healthErrors": [], "allowedOperations": ["TestFailover", "UnplannedFailover"],
        "testFailoverState": "None", "testFailoverStateDescription": "None",
        "currentScenario": { "scenarioName": "None", "jobId": "None", "startTime": "1753-01-01T01:01:01Z" },
        "providerSpecificDetails": {
            "instanceType": "A2A", "vmProtectionState": state,
            "lastRpoCalculatedTime": if stand.seeding.is_some() { json!("0001-01-01T00:00:00") } else { json!(calculated) },
            "lastHeartbeat": calculated,
        },
    });
    let details = &mut item["providerSpecificDetails"];
    if stand.seeding.is_some() {
        details["monitoringPercentageCompletion"] = json!(stand.percent());
    } else {
        details["rpoInSeconds"] = json!(stand.whole_lag());
    }
    item
}

fn task(stand: &Stand, with_output: bool) -> Value {
    let state = if stand.failed { "Failed" } else { "Running" };
    let mut properties = json!({ "taskType": "Migrate.PostgreSql.AzureDbForPostgreSql.SyncV2", "state": state, "errors": [], "commands": [] });
    if stand.failed {
        properties["errors"] =
            json!([{ "code": "SyncMigrationFailed", "message": "The change stream has ended." }]);
    }
    if with_output {
        let mut database = stand.counters();
        database["id"] = json!("db|crm");
        database["resultType"] = json!("DatabaseLevelOutput");
        database["databaseName"] = json!("crm");
        database["initializationCompleted"] = json!(stand.seeding.is_none());
        database["migrationState"] =
            json!(if stand.seeding.is_some() { "RUNNING" } else { "READY_TO_COMPLETE" });
        let whole = json!({ "id": "migration", "resultType": "MigrationLevelOutput", "startedOn": stand.ago(3600) });
        properties["output"] = json!([whole, database]);
    }
    properties
}

fn migration(stand: &Stand) -> Value {
    let (state, sub) = match (stand.failed, stand.seeding.is_some()) {
        (true, _) => ("Failed", "Completed"),
        (false, true) => ("InProgress", "MigratingData"),
        (false, false) => ("WaitingForUserAction", "WaitingForCutoverTrigger"),
    };
    let mut database = stand.counters();
    database["databaseName"] = json!("crm");
    database["migrationState"] = json!(match (stand.failed, stand.seeding.is_some()) {
        (true, _) => "Failed",
        (false, true) => "InProgress",
        (false, false) => "WaitingForCutoverTrigger",
    });
    json!({
        "migrationId": guid("migration"), "migrationMode": "Online", "migrationOption": "ValidateAndMigrate",
        "dbsToMigrate": ["crm"], "triggerCutover": "False", "startDataMigration": "True",
        "currentStatus": {
            "state": state, "error": if stand.failed { "crm: the replication slot is lost" } else { "" },
            "currentSubStateDetails": { "currentSubState": sub, "dbDetails": { "crm": database } },
        },
    })
}

fn link(stand: &Stand) -> Value {
    let lag = stand.whole_lag();
    json!({
        "distributedAvailabilityGroupName": "dag", "distributedAvailabilityGroupId": guid("dag"), "replicationMode": "Async",
        "partnerLinkRole": "Primary", "instanceLinkRole": "Secondary", "failoverMode": "None", "seedingMode": "Automatic",
        "databases": [{
            "databaseName": "crm", "connectedState": if stand.failed { "DISCONNECTED" } else { "CONNECTED" },
            "synchronizationHealth": if stand.failed { "NOT_HEALTHY" } else { "HEALTHY" },
            "replicaState": if stand.seeding.is_some() { "Seeding" } else { "Online" },
            "seedingProgress": format!("{}%", stand.percent()), "lastHardenedLsn": "71000009408100001",
            "lastHardenedTime": stand.ago(lag), "mostRecentLinkError": if stand.failed { "The certificate has expired." } else { "" },
            "instanceSendReplicationLagSeconds": lag - lag / 2, "instanceRedoReplicationLagSeconds": lag / 2,
        }],
    })
}
