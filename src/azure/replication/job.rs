//! What changes a replicating machine: test migration, its clean-up, migration; and the jobs these become.
//!
//! Each is a long-running operation whose id is also the name of a Site Recovery job. The job is what tells most: which
//! task is under way, and why one failed; the failure arrives in an answer with status 200. A job that can not be found is
//! followed by its operation URL instead.

use std::collections::BTreeSet;
use std::time::Duration;

use azure_core::http::Method;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::super::{Accepted, ArmError, Azure, ResourceId, Wait};
use super::{API, MigrationItemId, date};
use crate::journal::EffectPermit;

/// Pause between two looks at a job; the service's own answers say 30 s.
const PAUSE: Duration = Duration::from_secs(30);

/// What a test machine is made of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TestMachine {
    /// Id of the recovery point.
    pub recovery_point: String,
    /// Id of the virtual network it is put into.
    pub network: String,
}

/// A Site Recovery job.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Job {
    /// Its name, which is the id of its operation.
    pub name: String,
    /// How it ended; none while it runs.
    pub end: Option<JobEnd>,
    /// The service's word for its state.
    pub state: String,
    /// Tasks in order, with the service's word for the state of each.
    pub tasks: Vec<(String, String)>,
    /// `code: message` of each error, the tasks' included.
    pub errors: Vec<String>,
}

/// How a job ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum JobEnd {
    /// Well.
    Succeeded,
    /// Well, and the service has something to say.
    WithInformation,
    /// In part.
    Partially,
    /// Not well.
    Failed,
    /// Somebody cancelled it.
    Cancelled,
}

impl JobEnd {
    /// None for a job that is still under way; a word nobody knows is no end.
    fn of(state: &str) -> Option<Self> {
        match state.to_ascii_lowercase().as_str() {
            "succeeded" | "completed" => Some(Self::Succeeded),
            "completedwithinformation" => Some(Self::WithInformation),
            "partiallysucceeded" => Some(Self::Partially),
            "failed" => Some(Self::Failed),
            "cancelled" | "canceled" => Some(Self::Cancelled),
            _ => None,
        }
    }
}

impl Job {
    fn from_body(name: &str, body: &Value) -> Self {
        let at = |pointer: &str| body.pointer(pointer).unwrap_or(&Value::Null);
        let list = |value: &Value| value.as_array().cloned().unwrap_or_default();
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        let tasks = list(at("/properties/tasks"));
        let mut errors: Vec<Value> = list(at("/properties/errors"));
        errors.extend(tasks.iter().flat_map(|task| list(&task["errors"])));
        let mut errors: Vec<String> = errors.iter().map(job_error).collect();
        let mut told = BTreeSet::new();
        errors.retain(|error| told.insert(error.clone()));
        let named = |task: &Value| {
            let friendly = text(&task["friendlyName"]);
            if friendly.is_empty() { text(&task["name"]) } else { friendly }
        };
        let state = text(at("/properties/state"));
        Self {
            name: name.to_owned(),
            end: JobEnd::of(&state),
            state,
            tasks: tasks.iter().map(|task| (named(task), text(&task["state"]))).collect(),
            errors,
        }
    }

    /// A job of which only the operation is known.
    fn from_operation(name: &str, ended: Result<(), ArmError>) -> Result<Self, ArmError> {
        let (end, state, errors) = match ended {
            Ok(()) => (JobEnd::Succeeded, "Succeeded".to_owned(), Vec::new()),
            Err(ArmError::OperationFailed { state, service }) => {
                (JobEnd::Failed, state, vec![service.to_string()])
            }
            Err(error) => return Err(error.in_flight()),
        };
        Ok(Self { name: name.to_owned(), end: Some(end), state, tasks: Vec::new(), errors })
    }

    /// What it does now, for people: `ShutdownVmOnPrimary, task 2 of 8`.
    pub fn doing(&self) -> String {
        let total = self.tasks.len();
        let under_way = self.tasks.iter().position(|(_, state)| JobEnd::of(state).is_none());
        under_way.map_or_else(
            || format!("job {}", self.state),
            |at| format!("{}, task {} of {total}", self.tasks[at].0, at + 1),
        )
    }

    /// Tasks that began and did not end well, with the service's word for each.
    pub fn broken_tasks(&self) -> impl Iterator<Item = (&str, &str)> {
        let broken = |state: &str| {
            !state.eq_ignore_ascii_case("NotStarted")
                && JobEnd::of(state) != Some(JobEnd::Succeeded)
        };
        let tasks = self.tasks.iter().map(|(name, state)| (name.as_str(), state.as_str()));
        tasks.filter(move |(_, state)| broken(state))
    }

    /// Names of the tasks that ended well.
    pub fn finished_tasks(&self) -> impl Iterator<Item = &str> {
        let good = |state: &str| {
            matches!(JobEnd::of(state), Some(JobEnd::Succeeded | JobEnd::WithInformation))
        };
        self.tasks.iter().filter(move |(_, state)| good(state)).map(|(name, _)| name.as_str())
    }
}

fn job_error(error: &Value) -> String {
    let first = |pointers: [&str; 2]| {
        let texts = pointers.iter().filter_map(|pointer| error.pointer(pointer)?.as_str());
        texts.into_iter().find(|text| !text.is_empty()).map(str::to_owned)
    };
    let code = first(["/serviceErrorDetails/code", "/providerErrorDetails/errorCode"]);
    let message = first(["/serviceErrorDetails/message", "/providerErrorDetails/errorMessage"]);
    let (code, message) = (code.as_deref(), message.as_deref());
    format!("{}: {}", code.unwrap_or("no code"), message.unwrap_or("no message"))
}

impl Accepted {
    /// The job that this operation became: the last part of its URL's path.
    pub fn job(&self) -> Option<String> {
        self.operation_url.as_deref().and_then(job_of)
    }
}

fn job_of(operation_url: &str) -> Option<String> {
    let path = operation_url.split(['?', '#']).next()?;
    path.trim_end_matches('/').rsplit_once('/').map(|(_, job)| job.to_owned())
}

impl Azure {
    /// Makes a test machine out of a recovery point. The source goes on as it is.
    pub async fn test_migrate(
        &self,
        wait: &mut Wait<'_>,
        permit: &EffectPermit,
        id: &MigrationItemId,
        test: &TestMachine,
    ) -> Result<Accepted, ArmError> {
        let details = json!({
            "instanceType": "VMwareCbt", "recoveryPointId": test.recovery_point, "networkId": test.network,
        });
        let body = json!({ "properties": { "providerSpecificDetails": details } });
        self.act(wait, permit, (id, "testMigrate"), &body).await
    }

    /// Deletes the test machine.
    pub async fn clean_up_test(
        &self,
        wait: &mut Wait<'_>,
        permit: &EffectPermit,
        id: &MigrationItemId,
        comments: &str,
    ) -> Result<Accepted, ArmError> {
        let body = json!({ "properties": { "comments": comments } });
        self.act(wait, permit, (id, "testMigrateCleanup"), &body).await
    }

    /// Migrates the machine: with `shut_down` the source is stopped first and its last changes are taken over.
    pub async fn migrate_machine(
        &self,
        wait: &mut Wait<'_>,
        permit: &EffectPermit,
        id: &MigrationItemId,
        shut_down: bool,
    ) -> Result<Accepted, ArmError> {
        // The service takes booleans as strings.
        let details =
            json!({ "instanceType": "VMwareCbt", "performShutdown": shut_down.to_string() });
        let body = json!({ "properties": { "providerSpecificDetails": details } });
        self.act(wait, permit, (id, "migrate"), &body).await
    }

    async fn act(
        &self,
        wait: &mut Wait<'_>,
        permit: &EffectPermit,
        (id, verb): (&MigrationItemId, &str),
        body: &Value,
    ) -> Result<Accepted, ArmError> {
        let arm = self.arm().await?;
        let path = self.replication_item_id(id)?.join(verb)?;
        let call = arm.change(permit, Method::Post, arm.url(path.as_str(), API)).json(body);
        Accepted::of(&arm.send(wait, &call).await?)
    }

    /// Id of the newest recovery point of an item; none when it has none.
    pub async fn newest_recovery_point(
        &self,
        wait: &mut Wait<'_>,
        id: &MigrationItemId,
    ) -> Result<Option<String>, ArmError> {
        let arm = self.arm().await?;
        let path = self.replication_item_id(id)?.join("migrationRecoveryPoints")?;
        let points = arm.list(wait, arm.url(path.as_str(), API)).await?;
        let at = |point: &Value| date(&point["properties"]["recoveryPointTime"]);
        let newest = points.iter().max_by_key(|point| at(point));
        Ok(newest.and_then(|point| point["id"].as_str()).map(str::to_owned))
    }

    /// A job of a vault; none when the vault has none of that name.
    pub async fn replication_job(
        &self,
        wait: &mut Wait<'_>,
        vault: &ResourceId,
        name: &str,
    ) -> Result<Option<Job>, ArmError> {
        let id = vault.join(&format!("replicationJobs/{name}"))?;
        let body = self.get(wait, &id, API).await?;
        Ok(body.map(|body| Job::from_body(name, &body)))
    }

    /// Waits until a job has ended, well or not, and says meanwhile what it does. Without an answer the outcome is
    /// unknown ([`ArmError::ReplyLost`]).
    pub async fn follow_job(
        &self,
        wait: &mut Wait<'_>,
        vault: &ResourceId,
        name: &str,
        operation_url: Option<&str>,
    ) -> Result<Job, ArmError> {
        let arm = self.arm().await?;
        loop {
            let job = self.replication_job(wait, vault, name).await.map_err(ArmError::in_flight)?;
            match (job, operation_url) {
                (Some(job), _) if job.end.is_some() => return Ok(job),
                (Some(job), _) => {
                    let pause = arm.sleep(wait, PAUSE, &job.doing()).await;
                    pause.map_err(ArmError::in_flight)?;
                }
                (None, Some(link)) => {
                    let ended = arm.attach(wait, link).await.map(drop);
                    return Job::from_operation(name, ended);
                }
                (None, None) => {
                    let cause = format!("the vault has no job {name}");
                    return Err(ArmError::ReplyLost { request_id: name.to_owned(), cause });
                }
            }
        }
    }

    /// The job behind a stored operation URL, followed to its end.
    pub async fn follow_operation(
        &self,
        wait: &mut Wait<'_>,
        vault: &ResourceId,
        operation_url: &str,
    ) -> Result<Job, ArmError> {
        let name = job_of(operation_url).unwrap_or_default();
        self.follow_job(wait, vault, &name, Some(operation_url)).await
    }
}

#[cfg(test)]
mod tests {
    use super::super::super::testing::{Answer, world};
    use super::*;

    const OPERATION: &str = "https://management.azure.com/Subscriptions/s/vaults/v/replicationOperationStatus/a93f?api-version=2024-04-01";

    fn vault() -> ResourceId {
        ResourceId::parse("/subscriptions/s/vaults/v").expect("an id")
    }

    fn job(state: &str, tasks: &Value, errors: &Value) -> Answer {
        let properties = json!({ "state": state, "tasks": tasks, "errors": errors });
        Answer::json(200, &json!({ "name": "a93f", "properties": properties }))
    }

    #[tokio::test]
    async fn the_operation_id_is_the_job_and_a_failure_comes_with_status_200() {
        let error =
            json!({ "serviceErrorDetails": { "code": "28031", "message": "No address is free." } });
        let tasks = json!([
            { "name": "ShutdownVmOnPrimary", "state": "Succeeded", "startTime": "0001-01-01T00:00:00" },
            { "name": "StartVmOnSecondary", "state": "Failed", "errors": [error] },
        ]);
        let running = json!([{ "name": "ShutdownVmOnPrimary", "state": "InProgress" }]);
        let (azure, script, mut wait, _) = world([
            job("InProgress", &running, &json!([])),
            job("Failed", &tasks, &json!([error])),
        ]);
        let ended = azure.follow_operation(&mut wait, &vault(), OPERATION).await.expect("an end");
        assert_eq!(ended.end, Some(JobEnd::Failed));
        assert_eq!(
            ended.errors,
            ["28031: No address is free."],
            "once, though job and task say it"
        );
        assert_eq!(ended.finished_tasks().collect::<Vec<_>>(), ["ShutdownVmOnPrimary"]);
        assert!(
            script.lines()[0].starts_with("GET /subscriptions/s/vaults/v/replicationJobs/a93f?")
        );
    }

    #[tokio::test]
    async fn without_a_job_the_operation_tells() {
        let none = || Answer::json(404, &Value::Null);
        let failed = json!({ "status": "Failed", "error": { "code": "150097", "message": "no" } });
        let (azure, _, mut wait, _) = world([none(), Answer::json(200, &failed)]);
        let ended = azure.follow_operation(&mut wait, &vault(), OPERATION).await.expect("an end");
        assert_eq!(ended.end, Some(JobEnd::Failed));
        assert!(ended.errors[0].contains("150097"), "{:?}", ended.errors);
        let (azure, _, mut wait, _) = world([none(), Answer::json(404, &Value::Null)]);
        let lost = azure.follow_operation(&mut wait, &vault(), OPERATION).await.expect_err("gone");
        assert!(lost.outcome_unknown());
    }

    #[test]
    fn a_state_that_nobody_knows_is_no_end() {
        assert_eq!(JobEnd::of("Suspended"), None);
        assert_eq!(JobEnd::of(""), None);
        assert_eq!(JobEnd::of("CompletedWithInformation"), Some(JobEnd::WithInformation));
        assert_eq!(job_of(OPERATION).as_deref(), Some("a93f"));
    }
}
