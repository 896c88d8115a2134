//! The judgement of one trial against the whole run: pure, and the only place where a verdict is made.

use std::collections::BTreeSet;

use serde::Serialize;

use super::left::{Difference, Doubt, Left, differences};
use super::trial::How;

/// What became of a trial.
#[derive(Debug, Clone, PartialEq)]
pub struct Outcome {
    /// How its last process ended.
    pub ended: How,
    /// What that process said.
    pub said: String,
    /// What is left.
    pub left: Left,
}

/// What a trial says about the runbook.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    /// As if nothing had happened.
    Same,
    /// The process ended before it came to the point; as the whole run, too.
    NotReached,
    /// It stopped with exit 6 where its steps promise nothing better, and shows what is known.
    StoppedForPerson(Vec<Doubt>),
    /// Not as the whole run.
    Deviated(Vec<Deviation>),
}

/// One way in which a trial differs from the whole run.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Deviation {
    /// Another ending.
    Ending {
        /// The whole run's.
        expected: How,
        /// This one's.
        found: How,
        /// The last that was said.
        said: String,
    },
    /// Another world.
    World(Difference),
    /// Something was changed another number of times.
    Changes {
        /// Method and path.
        change: String,
        /// By the whole run.
        expected: usize,
        /// By this one.
        found: usize,
    },
    /// Orders that were acknowledged are nowhere.
    LostOrders {
        /// Whose.
        application: String,
        /// Which.
        orders: Vec<i64>,
    },
    /// The target was changed without an intent in the journal.
    Unannounced(String),
}

/// The exit code that says "unknown; a person decides".
const UNKNOWN: How = How::Exit(6);

/// Compares. `at_death` are the changes that were unannounced when the process was killed, if it was.
pub fn judge(whole: &Outcome, at_death: Option<&[String]>, tried: &Outcome) -> Verdict {
    let unannounced: BTreeSet<_> =
        at_death.into_iter().flatten().chain(&tried.left.unannounced).collect();
    let mut found: Vec<_> = unannounced.into_iter().cloned().map(Deviation::Unannounced).collect();
    for (application, orders) in &tried.left.world.orders {
        if !orders.lost.is_empty() {
            let application = application.clone();
            found.push(Deviation::LostOrders { application, orders: orders.lost.clone() });
        }
    }
    let doubts = &tried.left.doubts;
    let stopped = tried.ended == UNKNOWN
        && tried.ended != whole.ended
        && !doubts.is_empty()
        && doubts.iter().all(|doubt| doubt.promised);
    found.extend(counts(&whole.left, &tried.left, stopped));
    if !stopped {
        if tried.ended != whole.ended {
            found.push(Deviation::Ending {
                expected: whole.ended,
                found: tried.ended,
                said: tried.said.clone(),
            });
        }
        let worlds = differences(&whole.left.world, &tried.left.world);
        found.extend(worlds.into_iter().map(Deviation::World));
    }
    match (found.is_empty(), stopped, at_death) {
        (false, ..) => Verdict::Deviated(found),
        (true, true, _) => Verdict::StoppedForPerson(doubts.clone()),
        (true, false, Some(_)) => Verdict::Same,
        (true, false, None) => Verdict::NotReached,
    }
}

/// Counts that differ; of a run that stopped on its way, those that are too high.
fn counts(whole: &Left, tried: &Left, stopped: bool) -> Vec<Deviation> {
    let mut changes: Vec<_> = whole.changes.keys().chain(tried.changes.keys()).collect();
    changes.sort();
    changes.dedup();
    let count = |left: &Left, change: &String| left.changes.get(change).copied().unwrap_or(0);
    changes
        .into_iter()
        .map(|change| (change, count(whole, change), count(tried, change)))
        .filter(|(_, expected, found)| if stopped { found > expected } else { found != expected })
        .map(|(change, expected, found)| Deviation::Changes {
            change: change.clone(),
            expected,
            found,
        })
        .collect()
}
