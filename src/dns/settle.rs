//! Waiting until every server says the same, on the run's clock.

use std::collections::BTreeMap;
use std::time::Duration;

use jiff::Timestamp;
use tokio_util::sync::CancellationToken;

use super::record::{Name, RecordType, RrSet};
use super::truth::{Panel, Server, Truth};
use crate::clock::{Busy, Clock, since};

/// Time between two rounds of questions.
const EVERY: Duration = Duration::from_secs(2);

/// How long to wait, on whose time, and who is told.
pub struct Patience<'a> {
    /// Time.
    pub clock: &'a Clock,
    /// The attempt's guard, lent while it sleeps.
    pub busy: &'a mut Busy,
    /// Ends the waiting.
    pub cancel: &'a CancellationToken,
    /// Longest wait.
    pub within: Duration,
    /// Is told what is missing.
    pub say: &'a (dyn Fn(String) + Send + Sync),
}

impl std::fmt::Debug for Patience<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Patience").field("within", &self.within).finish_non_exhaustive()
    }
}

/// What every server said when they agreed, or when time was up.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settled {
    /// The last answers.
    pub truth: Truth,
    /// Who does not serve what is wanted, and what they say instead; empty when all agree.
    pub missing: Vec<String>,
    /// When the last questions had been answered. Where all agree: from when on nobody hands out anything else.
    pub at: Timestamp,
    /// The longest TTL with which anything else was seen meanwhile.
    pub worst: Duration,
}

impl Panel {
    /// Asks all servers again and again until each serves what is wanted, or the time is up, or somebody cancels. Where
    /// all agree they are asked once more: several machines may stand behind one address.
    pub async fn settle(
        &self,
        patience: Patience<'_>,
        name: &Name,
        kind: RecordType,
        wanted: impl Fn(&Server, &RrSet) -> bool,
    ) -> Settled {
        let Patience { clock, busy, cancel, within, say } = patience;
        let started = clock.steady();
        let (mut worst, mut confirmed) = (Duration::ZERO, false);
        let mut caches = Caches::default();
        loop {
            let truth = self.ask(name, kind).await;
            let oldest = truth.worst(&wanted);
            worst = worst.max(oldest.unwrap_or_default());
            let mut missing = caches.told(truth.missing(&wanted));
            if self.servers.is_empty() {
                missing.push("no server is known that could be asked".to_owned());
            }
            let agreed = missing.is_empty();
            if agreed && !confirmed && cancel.is_cancelled() {
                missing.push("all agreed, and were not asked once more".to_owned());
            }
            if (agreed && confirmed)
                || (!agreed && since(started, clock.steady()) >= within)
                || cancel.is_cancelled()
            {
                return Settled { truth, missing, at: clock.now(), worst };
            }
            confirmed = agreed;
            if agreed {
                continue;
            }
            say(waiting(&truth, &missing, oldest));
            tokio::select! {
                () = clock.sleep(EVERY, busy) => {}
                () = cancel.cancelled() => {}
            }
        }
    }
}

/// Who is waited for, how the answers are spread, and how long an old one may live.
fn waiting(truth: &Truth, missing: &[String], oldest: Option<Duration>) -> String {
    let (first, all) = (missing.first().map_or("", String::as_str), truth.0.len());
    let lives = oldest.map_or_else(String::new, |oldest| {
        format!("; an old answer lives for {} s at most", oldest.as_secs())
    });
    format!("waits for {} of {all} servers: {first}; {}{lives}", missing.len(), truth.shares())
}

/// What resolvers held in the round before.
#[derive(Default)]
struct Caches(BTreeMap<Server, RrSet>);

impl Caches {
    /// Each in words. An old answer whose TTL does not run down is not on its way out, and that is said.
    fn told(&mut self, missing: Vec<&super::truth::ServerAnswer>) -> Vec<String> {
        let mut told = Vec::new();
        for answer in missing {
            let Some(set) = answer.said.held().filter(|_| answer.server.recursive) else {
                told.push(answer.to_string());
                continue;
            };
            let before = self.0.insert(answer.server.clone(), set.clone());
            let stuck =
                before.is_some_and(|before| before.values == set.values && before.ttl <= set.ttl);
            let more = if stuck { ", and its TTL does not run down" } else { "" };
            told.push(format!("{answer}{more}"));
        }
        told
    }
}
