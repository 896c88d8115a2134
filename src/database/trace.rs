//! Seconds out of positions, by this program's clock alone: the target has what the source had when its position was read.
//! Pure.

use std::collections::VecDeque;
use std::time::Duration;

use jiff::Timestamp;

use super::replication::Position;
use crate::clock::since;

/// Positions kept; at a look every five seconds, more than an hour of them.
const KEPT: usize = 1000;

/// Positions of the source, each with the moment before it was asked for.
#[derive(Debug)]
pub struct Trace<P> {
    seen: VecDeque<(Timestamp, P)>,
}

impl<P> Default for Trace<P> {
    fn default() -> Self {
        Self { seen: VecDeque::new() }
    }
}

/// How far a target is behind.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Distance {
    /// What is missing up to the newest position of the source, in the unit of positions.
    pub behind: u64,
    /// What the source had so long ago is there. None while no position seen here has been reached.
    pub at_most: Option<Duration>,
}

impl<P: Position> Trace<P> {
    /// The source's history ended at `position`; it was asked at `at`, which is steady time.
    pub fn saw(&mut self, at: Timestamp, position: P) {
        if self.seen.len() == KEPT {
            self.seen.pop_front();
        }
        self.seen.push_back((at, position));
    }

    /// A target that has reached `position`, at `now`.
    pub fn distance(&self, position: &P, now: Timestamp) -> Option<Distance> {
        let newest = &self.seen.back()?.1;
        let reached = self.seen.iter().rev().find(|(_, seen)| position.reaches(seen));
        Some(Distance {
            behind: position.behind(newest),
            at_most: reached.map(|(at, _)| since(*at, now)),
        })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::postgres::Lsn;
    use super::*;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).expect("a time")
    }

    fn lsn(position: u32) -> Lsn {
        format!("0/{position:X}").parse().expect("a position")
    }

    #[test]
    fn nothing_reached_is_no_number_of_seconds() {
        let mut trace = Trace::default();
        assert_eq!(trace.distance(&lsn(5), at(0)), None);
        trace.saw(at(0), lsn(10));
        let distance = trace.distance(&lsn(5), at(3)).expect("one was seen");
        assert_eq!(distance, Distance { behind: 5, at_most: None });
        let there = trace.distance(&lsn(10), at(3)).expect("one was seen");
        assert_eq!(there, Distance { behind: 0, at_most: Some(Duration::from_secs(3)) });
    }

    proptest! {
        /// A source that commits `commits` (second, position) and a target at some position: what is said is never less
        /// than the age of the oldest commit that is not there.
        #[test]
        fn it_never_says_less_than_the_truth(
            steps in proptest::collection::vec((1_i64..5, 1_u32..50), 1..30),
            looks in proptest::collection::vec(any::<bool>(), 30),
            reached in 0_u32..1500,
        ) {
            let (mut time, mut position, mut trace) = (0, 0, Trace::default());
            let mut oldest_missing = None;
            for ((wait, bytes), look) in steps.into_iter().zip(looks) {
                time += wait;
                position += bytes;
                if position > reached {
                    oldest_missing.get_or_insert(time);
                }
                if look {
                    trace.saw(at(time), lsn(position));
                }
            }
            let distance = trace.distance(&lsn(reached.min(position)), at(time));
            if let Some(Distance { at_most: Some(told), .. }) = distance {
                let truth = oldest_missing.map_or(0, |since| time - since);
                prop_assert!(told.as_secs() >= truth.unsigned_abs());
            }
        }
    }
}
