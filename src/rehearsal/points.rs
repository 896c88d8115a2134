//! Which points a crash matrix tries: pure.

use std::num::NonZeroUsize;

use crate::crash::{Boundary, KillPoint, Side};

/// Both sides of every record and every call, or of each series every `sample`-th, in order. Series begin at different
/// places, so that a sample holds neighbours of different kinds.
pub fn points(records: usize, calls: usize, sample: Option<NonZeroUsize>) -> Vec<KillPoint> {
    let every = sample.map_or(1, NonZeroUsize::get);
    let series = [
        (Boundary::Record, Side::Before, records),
        (Boundary::Record, Side::After, records),
        (Boundary::Call, Side::Before, calls),
        (Boundary::Call, Side::After, calls),
    ];
    let mut points: Vec<_> = series
        .into_iter()
        .enumerate()
        .flat_map(|(at, (boundary, side, count))| {
            let numbers = (1..=count as u64).skip(at % every).step_by(every);
            numbers.map(move |number| KillPoint { boundary, number, side })
        })
        .collect();
    points.sort();
    points
}
