//! Tracer tokens under way: when the next one is posted, and what the last ones tell of the lag. Pure.
//!
//! One token at a time is waited for. The lag is how long the last one that arrived took, and at least for how long the one under
//! way has been seen missing. The servers measure the first, each by its own clock: where this machine's clock rules that out, the
//! longest that it can have been is taken.

use std::time::Duration;

use jiff::Timestamp;

use super::gate::Reading;
use crate::clock::since;
use crate::database::sqlserver::Arrival;

/// From one token to the next, at least.
const PACE: Duration = Duration::from_secs(5);
/// A token that nothing is told of for so long is given up: it is lost when the subscription is set up anew.
const LOST: Duration = Duration::from_mins(1);
/// Latencies are told in whole seconds, from one tick to another.
const TICK: Duration = Duration::from_secs(1);

/// See the module. All times are steady.
#[derive(Debug, Default)]
pub(super) struct Tokens {
    last: Option<Timestamp>,
    /// Why none is.
    unposted: Option<String>,
    under_way: Option<UnderWay>,
    arrived: Option<Arrived>,
}

#[derive(Debug)]
struct UnderWay {
    token: i64,
    /// Before it was posted, and after.
    asked: Timestamp,
    posted: Timestamp,
    /// For how long it was missing, as far as was seen.
    missing: Duration,
    /// What the last look told of it.
    told: Result<&'static str, String>,
}

#[derive(Debug)]
struct Arrived {
    lag: Duration,
    seen: Timestamp,
}

impl Tokens {
    /// Whether a token is to be posted. From here on none is for a while.
    pub(super) fn post(&mut self, now: Timestamp) -> bool {
        let patience = match &self.under_way {
            Some(UnderWay { told: Ok(_), .. }) => return false,
            Some(_) => LOST,
            None => PACE,
        };
        let is_due = self.last.is_none_or(|last| since(last, now) >= patience);
        if is_due {
            self.last = Some(now);
        }
        is_due
    }

    /// It was not, or nobody knows.
    pub(super) fn unposted(&mut self, why: String) {
        self.forget();
        self.unposted = Some(why);
    }

    /// It was posted between these two moments.
    pub(super) fn posted(&mut self, token: i64, (asked, posted): (Timestamp, Timestamp)) {
        let told = Ok("was posted just now");
        self.unposted = None;
        self.under_way = Some(UnderWay { token, asked, posted, missing: Duration::ZERO, told });
    }

    /// The token to ask for. Until it is told of, nothing is known of it.
    pub(super) fn ask(&mut self) -> Option<i64> {
        let under_way = self.under_way.as_mut()?;
        under_way.told = Err(format!("nothing is told of tracer token {}", under_way.token));
        Some(under_way.token)
    }

    /// What was told of it between these two moments.
    pub(super) fn told(
        &mut self,
        told: Result<Arrival, String>,
        (asked, now): (Timestamp, Timestamp),
    ) {
        let Some(it) = &mut self.under_way else { return };
        match told {
            Ok(Arrival::There { seconds }) => {
                let lag = took(seconds, it.missing, since(it.asked, now));
                self.arrived = Some(Arrived { lag, seen: now });
                self.under_way = None;
            }
            Ok(Arrival::InTheLog) => {
                it.misses(asked, "has not come to the Distributor (Log Reader Agent)");
            }
            Ok(Arrival::AtTheDistributor) => {
                it.misses(
                    asked,
                    "is at the Distributor and not at the target (Distribution Agent)",
                );
            }
            Err(why) => {
                it.told = Err(why);
                self.arrived = None;
            }
        }
    }

    /// The subscription is not in order: what was under way may be lost, and what had arrived says nothing any more.
    pub(super) fn forget(&mut self) {
        (self.under_way, self.arrived) = (None, None);
    }

    /// What is known.
    pub(super) fn reading(&self, now: Timestamp) -> Reading {
        match (&self.arrived, &self.under_way) {
            (Some(arrived), under_way) => {
                let missing = under_way.as_ref().map_or(Duration::ZERO, |it| it.missing);
                Reading::Lag { lag: arrived.lag.max(missing), age: since(arrived.seen, now) }
            }
            (None, Some(it)) => Reading::Unknown(match &it.told {
                Ok(where_it_is) => {
                    let ago = since(it.posted, now).as_secs();
                    format!("tracer token {} of {ago} s ago {where_it_is}", it.token)
                }
                Err(why) => why.clone(),
            }),
            (None, None) => {
                let why = self.unposted.as_deref().unwrap_or("no tracer token is under way");
                Reading::Unknown(why.to_owned())
            }
        }
    }
}

impl UnderWay {
    fn misses(&mut self, asked: Timestamp, where_it_is: &'static str) {
        self.missing = since(self.posted, asked);
        self.told = Ok(where_it_is);
    }
}

/// How long a token took that was seen missing for so long, and seen there after so long.
fn took(seconds: i64, missing: Duration, there: Duration) -> Duration {
    let told = u64::try_from(seconds).ok().map(Duration::from_secs);
    let fits = |told: &Duration| *told + TICK >= missing && *told <= there + TICK;
    told.filter(fits).map_or(there, |told| told.max(missing))
}

#[cfg(test)]
mod tests;
