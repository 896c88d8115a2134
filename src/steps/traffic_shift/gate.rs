//! The health gate between two steps of traffic: everything good, held for a time, from looks without a gap. Pure.
//!
//! It shuts on so many bad looks in a row (failure), on so many that could not be compared (inconclusive), and when its
//! time is up without the hold (inconclusive). It never opens on something unknown.

use std::time::Duration;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::clock::since;
use crate::dns::Health;

/// Why a gate shuts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Shut {
    /// Something is bad.
    Failure,
    /// It can not be told.
    Inconclusive,
}

/// When it opens and shuts.
#[derive(Debug, Clone, Copy)]
pub(super) struct Limits {
    /// How long everything must be good.
    pub(super) hold: Duration,
    /// How long it may take to get there.
    pub(super) within: Duration,
    /// Nobody knows what happened between two looks further apart.
    pub(super) gap: Duration,
    pub(super) failures_in_a_row: u32,
    pub(super) missing_in_a_row: u32,
}

/// Where it stands after a look.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Stand {
    /// Held long enough.
    Open,
    /// Good, for so long.
    Holding(Duration),
    /// Not good just now.
    Lapsed,
    /// Over: how, which signal if one did it, and in words.
    Shut(Shut, Option<usize>, String),
}

/// Looks in a row at one signal that were not good.
#[derive(Debug, Clone, Copy)]
struct Row {
    /// So long from the beginning it may be unknown without being counted.
    blind: Duration,
    bad: u32,
    unknown: u32,
}

/// One gate, from its first look to its end.
#[derive(Debug)]
pub(super) struct Gate {
    limits: Limits,
    began: Timestamp,
    last: Timestamp,
    held_since: Option<Timestamp>,
    rows: Vec<Row>,
}

impl Gate {
    /// A gate over signals, given as how long each may be unknown at first without being counted.
    pub(super) fn new(limits: Limits, signals: &[Duration], now: Timestamp) -> Self {
        let rows = signals.iter().map(|&blind| Row { blind, bad: 0, unknown: 0 }).collect();
        Self { limits, began: now, last: now, held_since: None, rows }
    }

    /// Takes one look at every signal, made at `now` by the steady clock.
    pub(super) fn take(&mut self, now: Timestamp, look: &[Health]) -> Stand {
        let age = since(self.began, now);
        for (row, health) in self.rows.iter_mut().zip(look) {
            (row.bad, row.unknown) = match health {
                Health::Bad => (row.bad + 1, 0),
                Health::Unknown if age >= row.blind => (0, row.unknown + 1),
                Health::Good | Health::Unknown => (0, 0),
            };
        }
        let gap = since(self.last, now) > self.limits.gap;
        self.last = now;
        if let Some(shut) = self.shut() {
            return shut;
        }
        let good = !look.is_empty() && look.iter().all(|health| *health == Health::Good);
        let stand = if good {
            let from = self.held_since.filter(|_| !gap).unwrap_or(now);
            self.held_since = Some(from);
            let held = since(from, now);
            if held >= self.limits.hold {
                return Stand::Open;
            }
            Stand::Holding(held)
        } else {
            self.held_since = None;
            Stand::Lapsed
        };
        if since(self.began, now) >= self.limits.within {
            let why = format!(
                "not held for {} s within {} s",
                self.limits.hold.as_secs(),
                self.limits.within.as_secs()
            );
            return Stand::Shut(Shut::Inconclusive, None, why);
        }
        stand
    }

    fn shut(&self) -> Option<Stand> {
        let Limits { failures_in_a_row, missing_in_a_row, .. } = self.limits;
        let failed = self.rows.iter().position(|row| row.bad >= failures_in_a_row);
        if let Some(at) = failed {
            let why = format!("failed {} times in a row", self.rows[at].bad);
            return Some(Stand::Shut(Shut::Failure, Some(at), why));
        }
        let at = self.rows.iter().position(|row| row.unknown >= missing_in_a_row)?;
        let why = format!("could not be compared {} times in a row", self.rows[at].unknown);
        Some(Stand::Shut(Shut::Inconclusive, Some(at), why))
    }
}

#[cfg(test)]
mod tests {
    use Health::{Bad, Good, Unknown};

    use super::*;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).expect("a time")
    }

    fn gate(hold: u64, within: u64) -> Gate {
        let limits = Limits {
            hold: Duration::from_secs(hold),
            within: Duration::from_secs(within),
            gap: Duration::from_secs(30),
            failures_in_a_row: 2,
            missing_in_a_row: 3,
        };
        Gate::new(limits, &[Duration::ZERO; 2], at(0))
    }

    #[test]
    fn it_opens_after_the_whole_hold_without_a_lapse() {
        let mut gate = gate(20, 300);
        assert_eq!(gate.take(at(0), &[Good, Good]), Stand::Holding(Duration::ZERO));
        assert_eq!(gate.take(at(10), &[Good, Bad]), Stand::Lapsed);
        assert_eq!(gate.take(at(20), &[Good, Good]), Stand::Holding(Duration::ZERO));
        assert_eq!(gate.take(at(30), &[Good, Good]), Stand::Holding(Duration::from_secs(10)));
        assert_eq!(gate.take(at(40), &[Good, Good]), Stand::Open);
    }

    #[test]
    fn bad_in_a_row_is_failure_and_unknown_in_a_row_is_inconclusive() {
        let mut failing = gate(20, 300);
        failing.take(at(0), &[Good, Bad]);
        let shut = failing.take(at(10), &[Good, Bad]);
        assert!(matches!(shut, Stand::Shut(Shut::Failure, Some(1), _)), "{shut:?}");
        let mut blind = gate(20, 300);
        blind.take(at(0), &[Unknown, Good]);
        // A bad look between two unknown ones begins the row anew, and is no second failure.
        blind.take(at(5), &[Bad, Good]);
        blind.take(at(10), &[Unknown, Good]);
        assert_eq!(blind.take(at(20), &[Unknown, Good]), Stand::Lapsed);
        let shut = blind.take(at(30), &[Unknown, Good]);
        assert!(matches!(shut, Stand::Shut(Shut::Inconclusive, Some(0), _)), "{shut:?}");
    }

    #[test]
    fn time_that_is_up_and_nothing_to_look_at_never_open_it() {
        let mut slow = gate(20, 25);
        slow.take(at(10), &[Unknown, Good]);
        assert_eq!(slow.take(at(15), &[Good, Good]), Stand::Holding(Duration::ZERO));
        let shut = slow.take(at(26), &[Good, Good]);
        assert!(matches!(shut, Stand::Shut(Shut::Inconclusive, None, _)), "{shut:?}");
        assert_eq!(gate(0, 300).take(at(0), &[]), Stand::Lapsed);
    }

    #[test]
    fn what_has_nothing_to_show_at_first_is_counted_from_when_it_must() {
        let limits = gate(20, 300).limits;
        let mut gate = Gate::new(limits, &[Duration::ZERO, Duration::from_mins(1)], at(0));
        for second in [0, 20, 40, 59] {
            assert_eq!(gate.take(at(second), &[Good, Unknown]), Stand::Lapsed, "{second}");
        }
        gate.take(at(70), &[Good, Unknown]);
        assert_eq!(gate.take(at(80), &[Good, Unknown]), Stand::Lapsed);
        let shut = gate.take(at(90), &[Good, Unknown]);
        assert!(matches!(shut, Stand::Shut(Shut::Inconclusive, Some(1), _)), "{shut:?}");
    }

    #[test]
    fn a_gap_begins_the_hold_anew() {
        let mut gate = gate(20, 300);
        gate.take(at(0), &[Good, Good]);
        assert_eq!(gate.take(at(31), &[Good, Good]), Stand::Holding(Duration::ZERO));
    }
}
