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

#[cfg(test)]
mod tests {
    use super::*;

    fn written(records: usize, calls: usize, sample: usize) -> Vec<String> {
        let points = points(records, calls, NonZeroUsize::new(sample));
        points.iter().map(KillPoint::to_string).collect()
    }

    #[test]
    fn both_sides_of_everything_in_order() {
        let wanted = [
            "before-record:1",
            "after-record:1",
            "before-record:2",
            "after-record:2",
            "before-call:1",
            "after-call:1",
        ];
        assert_eq!(written(2, 1, 1), wanted);
    }

    #[test]
    fn a_sample_takes_every_nth_of_each_series_and_begins_each_elsewhere() {
        let wanted = [
            "before-record:1",
            "after-record:2",
            "before-record:4",
            "after-record:5",
            "after-call:1",
            "before-call:3",
            "after-call:4",
        ];
        assert_eq!(written(6, 4, 3), wanted);
    }

    #[test]
    fn where_nothing_happens_there_is_nothing_to_try() {
        assert_eq!(points(0, 0, None), []);
    }
}
