//! One machine under replication, as of now: what it went through last and the scenario's curves decide what it says.

use jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};

use super::super::super::scenario::{Replication, SUBSCRIPTION, Unhealthy, lag_on};
use super::super::operations::{self, Operation, State};
use super::super::{Call, guid};
use super::{Action, TYPE};

/// See the module.
pub(super) struct Item<'a> {
    pub(super) doc: &'a Value,
    scripted: Option<&'a Replication>,
    now: Timestamp,
    elapsed: f64,
    last: Option<Last>,
}

/// The last thing done to it.
struct Last {
    action: Action,
    job: String,
    starts: Value,
    state: State,
}

impl<'a> Item<'a> {
    pub(super) fn of(call: &'a Call<'_>, doc: &'a Value) -> Self {
        let name = doc["name"].as_str().unwrap_or_default();
        let last = doc["current"].as_str().and_then(|job| {
            let operation = operations::document(call, job)?;
            Some(Last {
                action: Action::named(operation["scenario"].as_str()?)?,
                job: job.to_owned(),
                starts: operation["starts"].clone(),
                state: operations::state(call, job)?,
            })
        });
        Self {
            doc,
            scripted: call.scenario.replication.iter().find(|item| item.item == name),
            now: call.now,
            elapsed: call.now.duration_since(call.began).as_secs_f64(),
            last,
        }
    }

    pub(super) fn name(&self) -> &str {
        self.doc["name"].as_str().unwrap_or_default()
    }

    fn seeding(&self) -> Option<f64> {
        #[expect(clippy::cast_precision_loss, reason = "seconds of a rehearsal")]
        let seconds = self.scripted.map_or(0.0, |item| item.seeding_seconds as f64);
        (self.elapsed < seconds).then(|| 100.0 * self.elapsed.max(0.0) / seconds)
    }

    fn unhealthy(&self) -> Option<&'a Unhealthy> {
        let unhealthy = self.scripted?.unhealthy.as_ref()?;
        #[expect(clippy::cast_precision_loss, reason = "seconds of a rehearsal")]
        let since = unhealthy.after_seconds as f64;
        (self.elapsed >= since).then_some(unhealthy)
    }

    /// Migration state, its words, state of the test, allowed operations.
    fn states(&self) -> (&'static str, &'static str, &'static str, &'static [&'static str]) {
        const IDLE: &[&str] = &["DisableMigration", "TestMigrate", "Migrate", "PauseReplication"];
        const TESTED: &[&str] = &["DisableMigration", "TestMigrateCleanup", "PauseReplication"];
        const READY: &str = "Ready to migrate";
        if self.seeding().is_some() {
            let stop: &[&str] = &["DisableMigration"];
            return ("InitialSeedingInProgress", "Initial seeding in progress", "None", stop);
        }
        let Some(last) = &self.last else { return ("Replicating", READY, "None", IDLE) };
        match (last.action, last.state.running, last.state.error.is_object()) {
            (Action::TestMigrate, true, _) => {
                ("Replicating", READY, "TestMigrationInProgress", &[])
            }
            // A clean-up that failed has left the test where it was.
            (Action::TestMigrate, _, false) | (Action::TestMigrateCleanup, _, true) => {
                ("Replicating", READY, "TestMigrationSucceeded", TESTED)
            }
            (Action::TestMigrate, _, true) => ("Replicating", READY, "TestMigrationFailed", TESTED),
            (Action::TestMigrateCleanup, true, _) => {
                ("Replicating", READY, "TestMigrationCleanupInProgress", &[])
            }
            (Action::TestMigrateCleanup, _, false) => ("Replicating", READY, "None", IDLE),
            (Action::Migrate, true, _) => {
                ("MigrationInProgress", "Migration in progress", "None", &[])
            }
            (Action::Migrate, _, false) => {
                ("MigrationSucceeded", "Migrated", "None", &["DisableMigration"])
            }
            (Action::Migrate, _, true) => ("MigrationFailed", "Migration failed", "None", IDLE),
        }
    }

    pub(super) fn allowed(&self) -> &'static [&'static str] {
        self.states().3
    }

    pub(super) fn allows(&self, action: Action) -> bool {
        self.allowed().contains(&action.name())
    }

    /// The stored document once that was started.
    pub(super) fn after(&self, action: Action, operation: &Operation) -> Value {
        let mut doc = self.doc.clone();
        doc["current"] = json!(operation.id);
        // What two right runs have in common stands in the properties.
        doc["properties"]["last"] = json!([action.name(), operation.failure.is_none()]);
        let tried = json!({ "at": operation.ends, "well": operation.failure.is_none() });
        match action {
            Action::TestMigrate => doc["tested"] = tried,
            Action::Migrate => doc["migrated"] = tried,
            Action::TestMigrateCleanup => {}
        }
        doc
    }

    /// The id of the virtual machine it becomes, with something after its name.
    pub(super) fn machine(&self, suffix: &str) -> String {
        format!(
            "{}/providers/Microsoft.Compute/virtualMachines/{}{suffix}",
            self.target_group(),
            self.name()
        )
    }

    fn target_group(&self) -> String {
        let own =
            self.scripted.map_or("", |item| item.target_group.as_deref().unwrap_or(&item.group));
        format!("/subscriptions/{SUBSCRIPTION}/resourceGroups/{own}")
    }

    /// The newest recovery point.
    fn received(&self) -> Option<Timestamp> {
        if self.seeding().is_some() {
            return None;
        }
        let seconds = self.scripted.map_or(0.0, |item| lag_on(&item.lag, self.elapsed));
        let lag = SignedDuration::try_from_secs_f64(seconds).unwrap_or(SignedDuration::ZERO);
        let received = self.now.checked_sub(lag).unwrap_or(self.now);
        // The recovery point of an item that has caught up lies ahead of the reader's clock.
        let ahead = if lag.is_zero() { SignedDuration::from_secs(2) } else { SignedDuration::ZERO };
        Some(received.checked_add(ahead).unwrap_or(received))
    }

    fn point_id(&self, received: Timestamp) -> String {
        let id = self.doc["id"].as_str().unwrap_or_default();
        format!("{id}/migrationRecoveryPoints/{}", guid(&format!("{} {received}", self.name())))
    }

    pub(super) fn points(&self) -> Vec<Value> {
        let point = |received: Timestamp| {
            let id = self.point_id(received);
            json!({
                "name": id.rsplit('/').next(), "id": id, "type": format!("{TYPE}/migrationRecoveryPoints"),
                "properties": { "recoveryPointTime": received, "recoveryPointType": "CrashConsistent" },
            })
        };
        self.received().map(point).into_iter().collect()
    }

    /// When and how something was tried last, once it has ended.
    fn tried(&self, what: &str) -> Option<(Timestamp, &'static str)> {
        let tried = &self.doc[what];
        let at = tried["at"].as_str()?.parse::<Timestamp>().ok().filter(|at| *at <= self.now)?;
        Some((at, if tried["well"] == true { "Succeeded" } else { "Failed" }))
    }

    fn health(&self, tested: bool) -> (&'a str, Vec<Value>) {
        let mut errors = Vec::new();
        let error = |code: &str, level: &str, category: &str, message: &str| {
            json!({
                "errorCode": code, "errorLevel": level, "errorCategory": category, "summaryMessage": message,
                "creationTimeUtc": "0001-01-01T00:00:00",
            })
        };
        if !tested {
            let message = "No successful test migration in the last 180 days.";
            errors.push(error("110084", "Warning", "TestFailover", message));
        }
        let health = self.unhealthy().map_or("Normal", |it| {
            errors.push(error(&it.code, "Error", "Replication", &it.message));
            it.health.as_str()
        });
        (health, errors)
    }

    fn current_job(&self) -> Value {
        let vault = self.doc["id"].as_str().unwrap_or_default();
        let vault = vault.split("/replicationFabrics/").next().unwrap_or_default();
        let named = |name: &str, job: &str, starts: &Value| json!({ "jobName": name, "jobId": format!("{vault}/replicationJobs/{job}"), "startTime": starts });
        match &self.last {
            Some(last) if last.state.running => named(last.action.name(), &last.job, &last.starts),
            _ => named("None", "None", &json!("1753-01-01T01:01:01Z")),
        }
    }

    /// As the service shows it.
    pub(super) fn shown(&self) -> Value {
        let (state, words, test, allowed) = self.states();
        let tested = self.tried("tested");
        let (health, errors) = self.health(tested.is_some_and(|(_, how)| how == "Succeeded"));
        let seeding = self.seeding().is_some();
        let mut properties = json!({
            "machineName": self.name(), "policyId": "", "policyFriendlyName": "", "recoveryServicesProviderId": "",
            "migrationState": state, "migrationStateDescription": words,
            "replicationStatus": if seeding { "Initial replication" } else { "Delta sync" },
            "testMigrateState": test, "testMigrateStateDescription": test,
            "health": health, "healthErrors": errors, "allowedOperations": allowed,
            "currentJob": self.current_job(), "criticalJobHistory": [],
            "eventCorrelationId": guid(self.name()), "providerSpecificDetails": self.details(),
        });
        for (what, tried) in [("TestMigration", tested), ("Migration", self.tried("migrated"))] {
            if let Some((at, how)) = tried {
                properties[format!("last{what}Time")] = json!(at);
                properties[format!("last{what}Status")] = json!(how);
            }
        }
        json!({ "id": self.doc["id"], "name": self.name(), "type": TYPE, "properties": properties })
    }

    fn details(&self) -> Value {
        let (name, received) = (self.name(), self.received());
        let migrating = self.last.as_ref();
        let migrating =
            migrating.filter(|last| last.action == Action::Migrate && last.state.running);
        #[expect(
            clippy::cast_possible_truncation,
            reason = "a percentage, as the service rounds it"
        )]
        let seeding = self.seeding().map(|percent| percent as i64);
        let mut details = json!({
            "instanceType": "VMwareCbt", "vmwareMachineId": guid(&format!("machine {name}")), "osType": "linuxguest",
            "firmwareType": "BIOS", "targetVmName": name, "targetResourceGroupId": self.target_group(),
            "performAutoResync": "true", "resyncRequired": "false", "resyncState": "None",
            "lastRecoveryPointReceived": received.map_or(json!("0001-01-01T00:00:00"), |at| json!(at)),
            "initialSeedingProgressPercentage": seeding,
            "migrationProgressPercentage": migrating.map(|last| last.state.percent),
            "gatewayOperationDetails": {
                "state": "Succeeded", "progressPercentage": 100, "timeElapsed": 0, "timeRemaining": 0,
                "uploadSpeed": 0,
            },
        });
        if let Some(at) = received {
            details["lastRecoveryPointId"] = json!(self.point_id(at));
        }
        for idle in ["resync", "resume", "deltaSync"] {
            details[format!("{idle}ProgressPercentage")] = Value::Null;
        }
        for calm in ["initialSeeding", "resync", "resume", "deltaSync"] {
            details[format!("{calm}RetryCount")] = json!(0);
        }
        details
    }
}
