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

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::sandbox::Orders;

    fn outcome(code: i32) -> Outcome {
        let mut left = Left::default();
        left.changes.insert("PUT /switch".to_owned(), 1);
        left.world.maintenance.insert("source-crm".to_owned(), true);
        left.world.orders.insert("crm".to_owned(), Orders { acknowledged: 3, ..Orders::default() });
        Outcome { ended: How::Exit(code), said: "so it ended".to_owned(), left }
    }

    fn doubt(promised: bool) -> Doubt {
        Doubt { step: "load".to_owned(), promised, evidence: "nobody saw its end".to_owned() }
    }

    /// The only deviation of a killed trial in which `spoil` went wrong.
    fn deviation(spoil: impl FnOnce(&mut Outcome)) -> Deviation {
        let mut tried = outcome(0);
        spoil(&mut tried);
        match judge(&outcome(0), Some(&[]), &tried) {
            Verdict::Deviated(found) => {
                assert_eq!(found.len(), 1, "{found:?}");
                found[0].clone()
            }
            other => panic!("not noticed: {other:?}"),
        }
    }

    #[test]
    fn what_ends_as_the_whole_run_is_the_same_or_was_not_reached() {
        assert_eq!(judge(&outcome(0), Some(&[]), &outcome(0)), Verdict::Same);
        assert_eq!(judge(&outcome(0), None, &outcome(0)), Verdict::NotReached);
    }

    #[test]
    fn how_many_orders_came_meanwhile_is_a_matter_of_speed() {
        let mut slower = outcome(0);
        slower.left.world.orders.insert("crm".to_owned(), Orders::default());
        assert_eq!(judge(&outcome(0), Some(&[]), &slower), Verdict::Same);
    }

    #[test]
    fn another_ending_is_found_with_what_was_said() {
        let found = deviation(|tried| tried.ended = How::Exit(1));
        let said = "so it ended".to_owned();
        let (expected, now) = (How::Exit(0), How::Exit(1));
        assert_eq!(found, Deviation::Ending { expected, found: now, said });
    }

    #[test]
    fn another_world_is_found_at_its_place() {
        let found = deviation(|tried| {
            tried.left.world.maintenance.insert("source-crm".to_owned(), false);
        });
        let at = "maintenance / source-crm".to_owned();
        let (expected, now) = (Some(json!(true)), Some(json!(false)));
        assert_eq!(found, Deviation::World(Difference { at, expected, found: now }));
    }

    #[test]
    fn a_change_made_twice_or_never_is_found_with_its_counts() {
        for count in [0, 2] {
            let found = deviation(|tried| {
                tried.left.changes.insert("PUT /switch".to_owned(), count);
            });
            let change = "PUT /switch".to_owned();
            assert_eq!(found, Deviation::Changes { change, expected: 1, found: count });
        }
    }

    #[test]
    fn a_change_without_an_intent_is_found_also_at_the_death_alone() {
        let change = "PUT /switch".to_owned();
        let at_death = judge(&outcome(0), Some(std::slice::from_ref(&change)), &outcome(0));
        assert_eq!(at_death, Verdict::Deviated(vec![Deviation::Unannounced(change.clone())]));
        let found = deviation(|tried| tried.left.unannounced.push(change.clone()));
        assert_eq!(found, Deviation::Unannounced(change));
    }

    #[test]
    fn a_lost_order_is_found() {
        let mut tried = outcome(0);
        let lost = Orders { lost: vec![2], ..Orders::default() };
        tried.left.world.orders.insert("crm".to_owned(), lost);
        let Verdict::Deviated(found) = judge(&outcome(0), Some(&[]), &tried) else {
            panic!("not noticed")
        };
        let (application, orders) = ("crm".to_owned(), vec![2]);
        assert!(found.contains(&Deviation::LostOrders { application, orders }), "{found:?}");
    }

    #[test]
    fn to_stop_for_a_person_is_well_only_where_no_more_was_promised() {
        let mut tried = outcome(6);
        tried.left.changes.clear();
        tried.left.doubts = vec![doubt(true)];
        let stopped = judge(&outcome(0), Some(&[]), &tried);
        assert_eq!(stopped, Verdict::StoppedForPerson(vec![doubt(true)]));
        tried.left.doubts.push(doubt(false));
        assert!(matches!(judge(&outcome(0), Some(&[]), &tried), Verdict::Deviated(_)));
        tried.left.doubts.clear();
        assert!(matches!(judge(&outcome(0), Some(&[]), &tried), Verdict::Deviated(_)));
    }

    #[test]
    fn who_stops_for_a_person_must_still_have_changed_nothing_twice() {
        let mut tried = outcome(6);
        tried.left.doubts = vec![doubt(true)];
        tried.left.changes.insert("PUT /switch".to_owned(), 2);
        assert!(matches!(judge(&outcome(0), Some(&[]), &tried), Verdict::Deviated(_)));
    }
}
