//! What every listener shares: the store, the scenario, the clock, and the one way in which a request is carried out.
//!
//! Faults and drift live here, around the pure providers: a fault may answer in a provider's place, or swallow the
//! answer after the change is durable.

use std::sync::Arc;

use hyper::http::StatusCode;
use jiff::Timestamp;

use super::azure::entry;
use super::error::SandboxError;
use super::faults::{self, Faults};
use super::http::{Answer, Reply, Request};
use super::ledger::{Cause, Changes, Entry};
use super::scenario::{FaultKind, Scenario};
use super::store::{Store, World};
use crate::clock::Clock;

/// Whether a request belongs into the ledger.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Reads,
    Changes,
}

/// What a provider is given to decide on.
#[derive(Clone, Copy)]
pub(crate) struct Carried<'a> {
    pub(crate) core: &'a Core,
    pub(crate) world: &'a World,
    pub(crate) now: Timestamp,
    /// The long-running operation that starts here is to fail.
    pub(crate) fails: bool,
}

/// See the module.
#[derive(Debug)]
pub(crate) struct Core {
    pub(crate) store: Store,
    pub(crate) clock: Clock,
    scenario: Scenario,
    began: Timestamp,
    faults: Faults,
}

impl Core {
    /// Opens the world in the store; a new one gets the scenario's resources as its first entry.
    pub(super) fn open(
        store: Store,
        scenario: Scenario,
        began: Timestamp,
        clock: Clock,
    ) -> Result<Self, SandboxError> {
        let now = clock.now();
        store.commit(|world| {
            let first = world.entries.is_empty();
            ((), first.then(|| opening(&scenario, now)))
        })?;
        let faults = Faults::after(&scenario, &store.world());
        Ok(Self { store, clock, scenario, began, faults })
    }

    pub(crate) fn scenario(&self) -> &Scenario {
        &self.scenario
    }

    /// The sandbox's time when the world began.
    pub(crate) fn began(&self) -> Timestamp {
        self.began
    }

    /// Time as the world sees it: never before its last change, even if the clock of this process starts earlier.
    pub(crate) fn now(&self) -> Timestamp {
        let now = self.clock.now();
        self.store.last_time().map_or(now, |last| now.max(last))
    }

    /// Carries a request out: decided on one world, durable, then answered. `path` is its name in the ledger.
    pub(super) async fn answer(
        self: &Arc<Self>,
        kind: Kind,
        path: String,
        request: Request,
        provider: impl FnOnce(Carried<'_>, &Request) -> (Reply, Changes) + Send + 'static,
    ) -> Answer {
        let core = Arc::clone(self);
        // The disk is waited for on a thread of its own.
        let done =
            tokio::task::spawn_blocking(move || core.carry_out(kind, &path, &request, provider));
        match done.await {
            Ok(Ok(answer)) => answer,
            Ok(Err(error)) => unavailable(&error.to_string()),
            Err(panic) => unavailable(&panic.to_string()),
        }
    }

    fn carry_out(
        &self,
        kind: Kind,
        path: &str,
        request: &Request,
        provider: impl FnOnce(Carried<'_>, &Request) -> (Reply, Changes),
    ) -> Result<Answer, SandboxError> {
        if self.store.is_lost() {
            let why = "the ledger could not be written; start the sandbox again";
            return Ok(unavailable(why));
        }
        let now = self.now();
        let elapsed = now.duration_since(self.began).as_secs_f64();
        if let Some(reply) = faults::outage(&self.scenario, &self.store.world(), path, elapsed) {
            return Ok(Answer::Reply(reply));
        }
        let (number, met) = self.faults.count(&self.scenario, &self.store.world(), request, path);
        let mut drifted = !self.scenario.drift.is_empty();
        while drifted {
            drifted = self.store.commit(|world| {
                let entry = faults::drift(&self.scenario, world, number, elapsed, now);
                (entry.is_some(), entry)
            })?;
        }
        if kind == Kind::Reads && met.is_none() {
            let world = &self.store.world();
            let (reply, _) = provider(Carried { core: self, world, now, fails: false }, request);
            return Ok(Answer::Reply(reply));
        }
        let fails = met.as_ref().is_some_and(|met| *met.kind == FaultKind::OperationFails);
        self.store.commit(|world| {
            let instead = met.as_ref().and_then(|met| met.reply(path));
            let (reply, mut changes) = match instead {
                Some(reply) => (reply, Changes::new()),
                None => provider(Carried { core: self, world, now, fails }, request),
            };
            let mut entry = entry(request, world.next_seq(), now, path.to_owned());
            entry.status = reply.status.as_u16();
            entry.changed = world.differs(&changes);
            let mut answer = Answer::Reply(reply);
            if let Some(met) = &met {
                met.record(&mut changes);
                entry.fault = Some(met.name());
                if *met.kind == FaultKind::ReplyLost {
                    answer = Answer::HangUp;
                }
            }
            entry.changes = changes;
            (answer, Some(entry))
        })
    }
}

/// The disk is full or gone: whether anything was changed shows after a restart, and nothing is answered before.
fn unavailable(why: &str) -> Answer {
    let body = serde_json::json!({ "error": { "code": "ServiceUnavailable", "message": why } });
    Answer::Reply(Reply::json(StatusCode::SERVICE_UNAVAILABLE, &body))
}

fn opening(scenario: &Scenario, at: Timestamp) -> Entry {
    Entry {
        seq: 0,
        at,
        cause: Cause::Opening,
        method: "PUT".to_owned(),
        path: "/".to_owned(),
        body: String::new(),
        request_id: None,
        if_match: None,
        if_none_match: None,
        caller: None,
        status: 201,
        fault: None,
        changed: true,
        changes: super::arm::opening(scenario),
    }
}
