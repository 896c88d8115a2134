//! Which parts of a table a sample compares by content: pure.
//!
//! Every row is counted, part by part, and rows of the parts that were drawn are hashed. What is drawn depends on the seed, the
//! table and the number of the part alone, so both sides draw alike, and so does a comparison that goes on after it was cut off.
//! A table compared so is never equal: what was not drawn may differ.

use std::ops::RangeInclusive;

use sha2::{Digest as _, Sha256};

use super::sums::Sums;

/// Ranges are divided further by so much, as they are drawn whole.
pub(super) const FINER: u64 = 8;

/// How much is drawn, and by what.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sample {
    /// Of the parts of each table, rounded up: one part at least.
    pub percent: u8,
    /// The same seed draws the same parts.
    pub seed: String,
}

impl Sample {
    /// The parts that are drawn, in their order.
    pub(super) fn draw(&self, table: &str, parts: RangeInclusive<i64>) -> Vec<i64> {
        let lot = |part: i64| -> [u8; 32] {
            Sha256::digest(format!("{}\0{table}\0{part}", self.seed)).into()
        };
        let mut drawn: Vec<i64> = parts.collect();
        let wanted = (drawn.len() * usize::from(self.percent)).div_ceil(100).max(1);
        drawn.sort_by_cached_key(|&part| lot(part));
        drawn.truncate(wanted);
        drawn.sort_unstable();
        drawn
    }

    /// What a comparison must have been made with, to be gone on with.
    pub(super) fn mark(&self) -> String {
        format!(" sample {} {}", self.percent, self.seed)
    }
}

/// Leaves only counts of what was not drawn, whatever a side has computed. How many rows were drawn.
pub(super) fn only(drawn: &[i64], sums: &mut Sums) -> u64 {
    let mut rows = 0;
    for (part, sum) in sums {
        if drawn.binary_search(part).is_ok() {
            rows += sum.rows;
        } else {
            sum.hash = 0;
        }
    }
    rows
}

#[cfg(test)]
mod tests {
    use super::super::sums::Sum;
    use super::*;

    fn sample(percent: u8, seed: &str) -> Sample {
        Sample { percent, seed: seed.to_owned() }
    }

    #[test]
    fn the_same_seed_draws_the_same_and_one_part_at_least() {
        let drawn = sample(5, "run").draw("orders", -24..=999);
        assert_eq!(drawn.len(), 52);
        assert!(drawn.windows(2).all(|pair| pair[0] < pair[1]), "{drawn:?}");
        assert_eq!(drawn, sample(5, "run").draw("orders", -24..=999));
        assert_ne!(drawn, sample(5, "another run").draw("orders", -24..=999));
        assert_ne!(drawn, sample(5, "run").draw("order_lines", -24..=999));
        assert_eq!(sample(1, "run").draw("orders", 7..=7), [7]);
    }

    #[test]
    fn what_was_not_drawn_is_counted_only() {
        let sum = |rows, hash| Sum { rows, hash };
        let mut sums = Sums::from([(-1, sum(5, 7)), (2, sum(3, 9))]);
        assert_eq!(only(&[2], &mut sums), 3);
        assert_eq!(sums, Sums::from([(-1, sum(5, 0)), (2, sum(3, 9))]));
    }
}
