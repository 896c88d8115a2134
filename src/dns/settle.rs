//! Waiting until every authoritative server says the same, on the run's clock.

use std::time::Duration;

use tokio_util::sync::CancellationToken;

use super::record::{Name, RecordType, RrSet};
use super::truth::{Authorities, Truth};
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
    /// Rounds of questions; 1 when all agreed at once.
    pub rounds: u32,
}

impl Authorities {
    /// Asks all servers again and again until each serves what is wanted, or the time is up, or somebody cancels.
    pub async fn settle(
        &self,
        patience: Patience<'_>,
        name: &Name,
        kind: RecordType,
        wanted: impl Fn(&RrSet) -> bool,
    ) -> Settled {
        let Patience { clock, busy, cancel, within, say } = patience;
        let started = clock.steady();
        let mut rounds = 0;
        loop {
            let truth = self.ask(name, kind).await;
            let missing = truth.missing(&wanted);
            rounds += 1;
            if missing.is_empty()
                || since(started, clock.steady()) >= within
                || cancel.is_cancelled()
            {
                return Settled { truth, missing, rounds };
            }
            say(format!(
                "waits for {} of {} servers: {}",
                missing.len(),
                truth.0.len(),
                missing[0]
            ));
            tokio::select! {
                () = clock.sleep(EVERY, busy) => {}
                () = cancel.cancelled() => {}
            }
        }
    }
}
