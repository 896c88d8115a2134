//! The jobs of a vault, and the same things as operations: one id for both.

use serde_json::{Value, json};

use super::super::operations::{self, State};
use super::super::{ArmError, Call, Handled, Outcome, only_get};
use super::{Action, POLL_SECONDS, VAULT_SEGMENTS};

/// Tasks of a job in order, as recorded for a migration.
const fn tasks(action: Action) -> &'static [&'static str] {
    match action {
        Action::TestMigrate => {
            &["PrepareForTestMigrationTask", "CreateTestVmTask", "StartTestVmTask"]
        }
        Action::TestMigrateCleanup => &["DeleteTestVmTask"],
        Action::Migrate => &[
            "PlannedFailoverPreflightChecksTask",
            "ShutdownVmOnPrimary",
            "PrepareForFailoverTask",
            "PrepareProtectedEntitiesTask",
            "StartVmOnSecondary",
            "PostMigrationScriptTask",
        ],
    }
}

/// `replicationOperationStatus/{id}`: 200 with a status, whatever it is.
pub(in super::super) fn status(call: &Call<'_>, id: &str) -> Handled {
    only_get(call)?;
    let state =
        operations::state(call, id).ok_or_else(|| ArmError::not_found(&call.request.path))?;
    let starts = operations::document(call, id).map(|doc| doc["starts"].clone());
    let status = match (state.running, state.error.is_object()) {
        (true, _) => "InProgress",
        (false, true) => "Failed",
        (false, false) => "Succeeded",
    };
    let ends = if state.running { Value::Null } else { json!(state.ends) };
    let error = if state.running { Value::Null } else { state.error };
    let mut outcome = Outcome::ok(&json!({
        "id": call.request.path, "name": id, "status": status, "error": error, "startTime": starts,
        "endTime": ends, "percentComplete": null,
    }));
    if state.running {
        outcome.reply = outcome.reply.with("retry-after", POLL_SECONDS);
    }
    Ok(outcome)
}

/// One job.
pub(in super::super) fn job(call: &Call<'_>, id: &str) -> Handled {
    only_get(call)?;
    shown(call, id)
        .map(|job| Outcome::ok(&job))
        .ok_or_else(|| ArmError::not_found(&call.request.path))
}

/// Every job of the vault.
pub(in super::super) fn jobs(call: &Call<'_>) -> Handled {
    only_get(call)?;
    let ids = call.world.docs.keys().filter_map(|key| key.strip_prefix("operation-"));
    let jobs = ids.filter_map(|id| shown(call, id)).collect();
    Ok(Outcome::ok(&call.page(jobs)))
}

fn shown(call: &Call<'_>, id: &str) -> Option<Value> {
    let vault = call.id(VAULT_SEGMENTS);
    let operation = operations::document(call, id)?;
    let item = operation["item"].as_str()?;
    if !item.to_ascii_lowercase().starts_with(&format!("{}/", vault.to_ascii_lowercase())) {
        return None;
    }
    let action = Action::named(operation["scenario"].as_str()?)?;
    let state = operations::state(call, id)?;
    let failed = !state.running && state.error.is_object();
    let word = if state.running {
        "InProgress"
    } else if failed {
        "Failed"
    } else {
        "Succeeded"
    };
    let errors: Vec<Value> = failed.then(|| error(&state)).into_iter().collect();
    let name = item.rsplit('/').next().unwrap_or_default();
    Some(json!({
        "id": format!("{vault}/replicationJobs/{id}"), "name": id, "type": "Microsoft.RecoveryServices/vaults/replicationJobs",
        "properties": {
            "activityId": format!("{id} ActivityId: {id}"), "scenarioName": action.name(), "friendlyName": action.name(),
            "state": word, "stateDescription": word, "tasks": tasks_now(action, &state, failed), "errors": errors,
            "startTime": operation["starts"],
            "endTime": if state.running { json!("0001-01-01T00:00:00") } else { json!(state.ends) },
            "allowedActions": [], "targetObjectId": item, "targetObjectName": name, "targetInstanceType": "ProtectionEntity",
            "customDetails": { "instanceType": "AsrJobDetails" },
        },
    }))
}

fn error(state: &State) -> Value {
    json!({
        "serviceErrorDetails": {
            "code": state.error["code"], "message": state.error["message"], "possibleCauses": "", "recommendedAction": "",
        },
        "errorLevel": "Error", "creationTime": state.ends, "taskId": "",
    })
}

/// They share the job's time evenly; a job that fails does so at the task that starts the machine.
fn tasks_now(action: Action, state: &State, failed: bool) -> Vec<Value> {
    let tasks = tasks(action);
    let at = match failed {
        true => tasks.iter().position(|task| task.starts_with("Start")).unwrap_or(0),
        false if state.running => tasks.len() * usize::from(state.percent) / 100,
        false => tasks.len(),
    };
    let task = |(index, name): (usize, &&str)| {
        let word = match index.cmp(&at) {
            std::cmp::Ordering::Less => "Succeeded",
            std::cmp::Ordering::Equal if failed => "Failed",
            std::cmp::Ordering::Equal => "InProgress",
            std::cmp::Ordering::Greater => "NotStarted",
        };
        json!({
            "taskId": name, "name": name, "friendlyName": name, "state": word, "stateDescription": word,
            "startTime": "0001-01-01T00:00:00", "endTime": "0001-01-01T00:00:00", "allowedActions": [],
            "taskType": "TaskDetails", "errors": [],
        })
    };
    tasks.iter().enumerate().map(task).collect()
}
