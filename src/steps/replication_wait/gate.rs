//! When lag opens the gate: at or under the limit, for a time, from fresh readings without a gap. Pure.

use std::time::Duration;

use jiff::Timestamp;

use crate::clock::since;

/// One look at one thing that is replicated.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Reading {
    /// So far behind, as of so long ago.
    Lag {
        /// How far the target trails the source.
        lag: Duration,
        /// Age of the number itself.
        age: Duration,
    },
    /// Nothing is known, and why. Never as good as zero.
    Unknown(String),
}

/// The limits, and since when they hold.
#[derive(Debug, Clone)]
pub(super) struct Gate {
    pub(super) max_lag: Duration,
    pub(super) hold_for: Duration,
    pub(super) stale_after: Duration,
    held_since: Option<Timestamp>,
    last_look: Option<Timestamp>,
}

/// Where the gate stands after a look.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Stand {
    /// Held long enough.
    Open {
        /// How long.
        held: Duration,
    },
    /// At or under the limit, but not yet long enough.
    Holding {
        /// How long so far.
        held: Duration,
    },
    /// Over the limit.
    Above(Duration),
    /// Not ready, because it can not be told.
    Unknown(String),
}

impl Gate {
    pub(super) fn new(max_lag: Duration, hold_for: Duration, stale_after: Duration) -> Self {
        Self { max_lag, hold_for, stale_after, held_since: None, last_look: None }
    }

    /// Takes the readings of one look, made at `now`: all of them must be good. An empty look tells nothing.
    pub(super) fn take(&mut self, now: Timestamp, look: &[Reading]) -> Stand {
        // Nobody knows what happened in a gap longer than a reading lives.
        let gap = self.last_look.is_some_and(|last| since(last, now) > self.stale_after);
        self.last_look = Some(now);
        let worst = match self.worst(look) {
            Ok(worst) => worst,
            Err(why) => {
                self.held_since = None;
                return Stand::Unknown(why);
            }
        };
        if worst > self.max_lag {
            self.held_since = None;
            return Stand::Above(worst);
        }
        let from = self.held_since.filter(|_| !gap).unwrap_or(now);
        self.held_since = Some(from);
        let held = since(from, now);
        if held >= self.hold_for { Stand::Open { held } } else { Stand::Holding { held } }
    }

    fn worst(&self, look: &[Reading]) -> Result<Duration, String> {
        let mut worst = None;
        for reading in look {
            match reading {
                Reading::Unknown(why) => return Err(why.clone()),
                Reading::Lag { age, .. } if *age > self.stale_after => {
                    return Err(format!("the reading is {} s old", age.as_secs()));
                }
                Reading::Lag { lag, .. } => worst = worst.max(Some(*lag)),
            }
        }
        worst.ok_or_else(|| "there is nothing to read".to_owned())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn s(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).expect("a time")
    }

    fn lag(seconds: u64) -> Reading {
        Reading::Lag { lag: s(seconds), age: s(0) }
    }

    #[test]
    fn it_opens_only_after_the_whole_hold_without_a_lapse() {
        let mut gate = Gate::new(s(0), s(10), s(60));
        assert_eq!(gate.take(at(0), &[lag(5)]), Stand::Above(s(5)));
        assert_eq!(gate.take(at(5), &[lag(0)]), Stand::Holding { held: s(0) });
        assert_eq!(gate.take(at(10), &[lag(0), lag(1)]), Stand::Above(s(1)));
        assert_eq!(gate.take(at(15), &[lag(0), lag(0)]), Stand::Holding { held: s(0) });
        assert_eq!(gate.take(at(20), &[lag(0)]), Stand::Holding { held: s(5) });
        assert_eq!(gate.take(at(25), &[lag(0)]), Stand::Open { held: s(10) });
    }

    #[test]
    fn unknown_stale_and_empty_are_never_ready_and_end_the_hold() {
        for lapse in [
            vec![Reading::Unknown("null".to_owned())],
            vec![lag(0), Reading::Lag { lag: s(0), age: s(61) }],
            vec![],
        ] {
            let mut gate = Gate::new(s(0), s(10), s(60));
            gate.take(at(0), &[lag(0)]);
            assert!(matches!(gate.take(at(10), &lapse), Stand::Unknown(_)));
            assert_eq!(gate.take(at(11), &[lag(0)]), Stand::Holding { held: s(0) });
        }
    }

    #[test]
    fn a_gap_begins_the_hold_anew() {
        let mut gate = Gate::new(s(0), s(30), s(60));
        gate.take(at(0), &[lag(0)]);
        assert_eq!(gate.take(at(61), &[lag(0)]), Stand::Holding { held: s(0) });
    }
}
