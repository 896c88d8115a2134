//! What the scenario makes go wrong: which fault a request meets, and what another hand has changed by then.
//!
//! Each happens once in the life of a world. That it happened is a change in the ledger like any other, so it does not
//! happen again after a restart.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use hyper::http::StatusCode;
use serde_json::json;

use super::arm::{self, ArmError};
use super::http::{Reply, Request};
use super::ledger::{Cause, Changes, Entry};
use super::scenario::{Drift, Fault, FaultKind, Scenario};
use super::store::World;

/// How many requests met each fault's condition, and how many there were.
#[derive(Debug)]
pub(super) struct Faults {
    seen: Mutex<Seen>,
}

#[derive(Debug)]
struct Seen {
    matching: Vec<u64>,
    requests: u64,
}

/// A fault that a request meets.
pub(super) struct Met<'a> {
    pub(super) kind: &'a FaultKind,
    key: String,
}

impl Faults {
    /// Counts what the ledger holds; reads are counted by this process only.
    pub(super) fn after(scenario: &Scenario, world: &World) -> Self {
        let requests: Vec<_> =
            world.entries.iter().filter(|entry| entry.cause == Cause::Request).collect();
        let count = |fault: &Fault| {
            let met = requests.iter().filter(|entry| meets(fault, &entry.method, &entry.path));
            met.count() as u64
        };
        let matching = scenario.faults.iter().map(count).collect();
        Self { seen: Mutex::new(Seen { matching, requests: requests.len() as u64 }) }
    }

    /// Counts a request, and says which number it has and the fault that it meets.
    pub(super) fn count<'a>(
        &self,
        scenario: &'a Scenario,
        world: &World,
        request: &Request,
        path: &str,
    ) -> (u64, Option<Met<'a>>) {
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        seen.requests += 1;
        let mut met = None;
        for (index, fault) in scenario.faults.iter().enumerate() {
            if !meets(fault, request.method.as_str(), path) {
                continue;
            }
            seen.matching[index] += 1;
            let key = format!("fault-{index}");
            let due = seen.matching[index] >= fault.nth && !world.docs.contains_key(&key);
            if due && met.is_none() {
                met = Some(Met { kind: &fault.fault, key });
            }
        }
        (seen.requests, met)
    }
}

fn meets(fault: &Fault, method: &str, path: &str) -> bool {
    fault.method.as_ref().is_none_or(|wanted| wanted.eq_ignore_ascii_case(method))
        && path.to_ascii_lowercase().contains(&fault.path.to_ascii_lowercase())
}

/// Whether something is down so long after the world's start, or under so much traffic.
pub(super) fn is_down(
    scenario: &Scenario,
    world: &World,
    path: &str,
    elapsed_seconds: f64,
) -> bool {
    let elapsed = Duration::try_from_secs_f64(elapsed_seconds).unwrap_or_default().as_secs();
    scenario.outages.iter().any(|outage| {
        let lasts = outage.for_seconds.unwrap_or(u64::MAX);
        let now = elapsed.checked_sub(outage.after_seconds).is_some_and(|since| since < lasts);
        let here = path.to_ascii_lowercase().contains(&outage.path.to_ascii_lowercase());
        now && here && outage.overloaded.as_ref().is_none_or(|it| arm::is_overloaded(world, it))
    })
}

/// The answer of something that is down.
pub(super) fn outage(
    scenario: &Scenario,
    world: &World,
    path: &str,
    elapsed_seconds: f64,
) -> Option<Reply> {
    let down = is_down(scenario, world, path, elapsed_seconds);
    let unavailable = "The service is unavailable, as the scenario says.";
    down.then(|| {
        ArmError::new(StatusCode::SERVICE_UNAVAILABLE, "ServiceUnavailable", unavailable).reply()
    })
}

impl Met<'_> {
    /// The answer in a provider's place; `None` when the provider is to act and only its answer is lost.
    pub(super) fn reply(&self, path: &str) -> Option<Reply> {
        let error = match self.kind {
            FaultKind::Throttled { retry_after } => ArmError::new(
                StatusCode::TOO_MANY_REQUESTS,
                "TooManyRequests",
                "The request is being throttled as the limit has been reached.",
            )
            .retry_after(*retry_after),
            FaultKind::Conflict => ArmError::new(
                StatusCode::CONFLICT,
                "Conflict",
                "Another operation on this or a dependent resource is in progress.",
            ),
            FaultKind::PreconditionFailed => ArmError::new(
                StatusCode::PRECONDITION_FAILED,
                "PreconditionFailed",
                "The resource has been modified (etag mismatch).",
            ),
            FaultKind::ServerError => ArmError::new(
                StatusCode::INTERNAL_SERVER_ERROR,
                "InternalServerError",
                "The server has encountered an internal error.",
            ),
            FaultKind::OperationFails | FaultKind::ReplyLost => return None,
        };
        let bare = path.to_ascii_lowercase().contains("/dnszones/");
        Some(if bare { error.bare().reply() } else { error.reply() })
    }

    /// The fault's name, for the ledger.
    pub(super) fn name(&self) -> String {
        self.kind.name().to_owned()
    }

    /// Records in `changes` that it happened.
    pub(super) fn record(&self, changes: &mut Changes) {
        changes.insert(self.key.clone(), Some(json!(true)));
    }
}

/// The next change by another hand that is due, as an entry of the ledger.
pub(super) fn drift(
    scenario: &Scenario,
    world: &World,
    request: u64,
    elapsed_seconds: f64,
    at: jiff::Timestamp,
) -> Option<Entry> {
    let due = |drift: &Drift| {
        let by_count = drift.before_request.is_some_and(|number| request >= number);
        #[expect(clippy::cast_precision_loss, reason = "seconds of a rehearsal")]
        let by_time = drift.after_seconds.is_some_and(|after| elapsed_seconds >= after as f64);
        by_count || by_time
    };
    let mut open = scenario.drift.iter().enumerate();
    let (key, drift) = open.find_map(|(index, drift)| {
        let key = format!("drift-{index}");
        (due(drift) && !world.docs.contains_key(&key)).then_some((key, drift))
    })?;
    let record = arm::changed_record(world, &drift.zone, &drift.record);
    let path = record
        .as_ref()
        .map_or_else(|| "/".to_owned(), |(_, doc)| doc["id"].as_str().unwrap_or("/").to_owned());
    let mut changes: Changes = record.into_iter().map(|(id, doc)| (id, Some(doc))).collect();
    let differs = world.differs(&changes);
    changes.insert(key, Some(json!(true)));
    Some(Entry {
        seq: world.next_seq(),
        at,
        cause: Cause::Drift,
        method: "PUT".to_owned(),
        path,
        body: String::new(),
        request_id: None,
        if_match: None,
        if_none_match: None,
        caller: Some("somebody-else@contoso.example".to_owned()),
        status: 200,
        fault: None,
        changed: differs,
        changes,
    })
}
