//! Long-running operations: started with an answer that points here, over when the clock says so.
//!
//! A failed one answers 200 with `"status": "Failed"`, as the real ones do.

use hyper::http::StatusCode;
use jiff::Timestamp;
use serde_json::{Value, json};

use super::super::http::Reply;
use super::super::scenario::SUBSCRIPTION;
use super::{ArmError, Call, Handled, Outcome, only_get};
use crate::clock::{advance, since};

/// Seconds after which a client is asked to look again.
const POLL_SECONDS: &str = "5";

/// An operation that starts now: its id, and its document for the ledger.
pub(super) struct Operation {
    pub(super) id: String,
    pub(super) ends: Timestamp,
    pub(super) failure: Option<Value>,
}

impl Operation {
    /// One that takes as long as the scenario says; it fails when a fault says so.
    pub(super) fn start(call: &Call<'_>, of: &str) -> Self {
        let lasts = std::time::Duration::from_secs(call.scenario.operation_seconds);
        let failure = call.fails.then(|| {
            json!({ "code": "InternalExecutionError", "message": "The operation failed, as the scenario says." })
        });
        Self { id: call.fresh_guid(of), ends: advance(call.now, lasts), failure }
    }

    pub(super) fn put_into(&self, outcome: Outcome) -> Outcome {
        self.put_with(outcome, json!({}))
    }

    /// The same, and what its provider keeps with it.
    pub(super) fn put_with(&self, outcome: Outcome, mut doc: Value) -> Outcome {
        doc["ends"] = json!(self.ends);
        doc["error"] = json!(self.failure);
        outcome.put(&key(&self.id), doc)
    }
}

fn key(id: &str) -> String {
    format!("operation-{id}")
}

/// The link that asks again, with the version of this call.
pub(super) fn link(call: &Call<'_>, path: &str) -> String {
    let version = call.request.query("api-version").unwrap_or("2021-04-01");
    format!("{}{path}?api-version={version}", call.base)
}

/// The path under a subscription where results without a provider are.
pub(super) fn results_path(id: &str) -> String {
    format!("/subscriptions/{SUBSCRIPTION}/operationresults/{id}")
}

/// How an operation stands.
pub(super) struct State {
    pub(super) running: bool,
    pub(super) ends: Timestamp,
    /// How much of its time has passed.
    pub(super) percent: u8,
    pub(super) error: Value,
}

/// What is kept of an operation.
pub(super) fn document<'a>(call: &Call<'a>, id: &str) -> Option<&'a Value> {
    call.setting.world.get(&key(id))
}

/// How it stands; none when there is no such operation.
pub(super) fn state(call: &Call<'_>, id: &str) -> Option<State> {
    // DNS writes ids as `a;b;zone;Regular`.
    let id = id.split(';').next().unwrap_or(id);
    let doc = document(call, id)?;
    let ends: Timestamp = doc["ends"].as_str()?.parse().ok()?;
    let left = since(call.now, ends).as_secs();
    let passed = call.scenario.operation_seconds.saturating_sub(left) * 100;
    let percent = passed / call.scenario.operation_seconds.max(1);
    let percent = u8::try_from(percent).unwrap_or(100).min(100);
    Some(State { running: call.now < ends, ends, percent, error: doc["error"].clone() })
}

/// `Azure-AsyncOperation`: 200 with a status, whatever it is.
pub(super) fn status(call: &Call<'_>, id: &str) -> Handled {
    only_get(call)?;
    let state = state(call, id).ok_or_else(|| ArmError::not_found(&call.request.path))?;
    let status = match (state.running, state.error.is_object()) {
        (true, _) => "Running",
        (false, true) => "Failed",
        (false, false) => "Succeeded",
    };
    let mut body = json!({ "status": status });
    if status == "Failed" {
        body["error"] = state.error;
    }
    let mut outcome = Outcome::ok(&body);
    if state.running {
        outcome.reply = outcome.reply.with("retry-after", POLL_SECONDS);
    }
    Ok(outcome)
}

/// Private DNS answers its status with 202 while it runs.
pub(super) fn private_dns_status(call: &Call<'_>, id: &str) -> Handled {
    let mut outcome = status(call, id)?;
    if state(call, id).is_some_and(|state| state.running) {
        let body = json!({ "status": "InProgress" });
        outcome.reply = Reply::json(StatusCode::ACCEPTED, &body).with("retry-after", POLL_SECONDS);
    }
    Ok(outcome)
}

/// `Location`: 202 while it runs, then the result.
pub(super) fn result(call: &Call<'_>, id: &str) -> Handled {
    only_get(call)?;
    if let Some(result) = call.asides.get(id) {
        return Ok(Outcome::ok(&result));
    }
    let state = state(call, id).ok_or_else(|| ArmError::not_found(&call.request.path))?;
    if state.running {
        let reply = Reply::empty(StatusCode::ACCEPTED)
            .with("location", link(call, &call.request.path))
            .with("retry-after", POLL_SECONDS);
        return Ok(Outcome { reply, ..Outcome::empty(StatusCode::ACCEPTED) });
    }
    Ok(Outcome::empty(StatusCode::OK))
}
