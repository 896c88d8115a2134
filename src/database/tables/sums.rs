//! Sums over rows that do not depend on their order, one for each part of a table: pure.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::RangeInclusive;

use serde::{Deserialize, Serialize};

/// Parts of a table, and cells of a part.
pub(in crate::database) const PARTS: i64 = 1024;
/// Below so many rows a range is not worth a question.
const ROWS_IN_A_RANGE: u64 = 65_536;

/// Into what parts a table is divided, on both sides alike.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::database) enum Split {
    /// Ranges of the key's first column, an integer: part `p` holds the keys `k` with `k >> shift` = `p`. A differing range is
    /// found again by its index.
    Ranges {
        /// That column.
        column: String,
        /// Bits that do not matter.
        shift: u32,
    },
    /// The hash of what names a row. A differing part is found again by reading the table.
    Hashed,
}

impl Split {
    /// Ranges that cover the keys of both sides, given the least and the greatest of each where there are any; the fewer the
    /// fewer rows there are, as each may be a question of its own. And which ranges there are.
    pub(super) fn ranges(
        column: &str,
        ends: [Option<(i64, i64)>; 2],
        rows: u64,
    ) -> (Self, RangeInclusive<i64>) {
        let parts = i128::from(rows / ROWS_IN_A_RANGE).clamp(1, i128::from(PARTS));
        let found = || ends.iter().flatten();
        let low = found().map(|end| end.0).min().unwrap_or_default();
        let high = found().map(|end| end.1).max().unwrap_or_default();
        let fits = |shift: &u32| i128::from(high >> shift) - i128::from(low >> shift) < parts;
        let shift = (0..64).find(fits).unwrap_or(63);
        (Self::Ranges { column: column.to_owned(), shift }, low >> shift..=high >> shift)
    }

    /// The least and the greatest key of a range.
    pub(in crate::database) const fn ends(part: i64, shift: u32) -> (i64, i64) {
        let low = part << shift;
        (low, low | !(-1_i64 << shift))
    }
}

/// How the hashes of rows are put together, whatever their order.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::database) enum Fold {
    /// Tells two equal rows from none, too.
    Sum,
    /// Of rows no two of which are equal.
    ExclusiveOr,
}

/// Rows, and their hashes put together.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "(u64, String)", into = "(u64, String)")]
pub(in crate::database) struct Sum {
    /// Rows.
    pub(in crate::database) rows: u64,
    /// Of their hashes.
    pub(in crate::database) hash: i128,
}

impl Sum {
    /// Adds what another range of the same part holds.
    pub(in crate::database) fn add(&mut self, other: Self) {
        self.fold(Fold::Sum, other);
    }

    /// The same, where hashes are put together so.
    pub(in crate::database) fn fold(&mut self, fold: Fold, other: Self) {
        self.rows += other.rows;
        self.hash = match fold {
            Fold::Sum => self.hash.wrapping_add(other.hash),
            Fold::ExclusiveOr => self.hash ^ other.hash,
        };
    }
}

impl Split {
    /// Whether a part is found by an index.
    pub(in crate::database) const fn is_ranges(&self) -> bool {
        matches!(self, Self::Ranges { .. })
    }
}

impl From<Sum> for (u64, String) {
    fn from(sum: Sum) -> Self {
        (sum.rows, sum.hash.to_string())
    }
}

impl TryFrom<(u64, String)> for Sum {
    type Error = std::num::ParseIntError;

    fn try_from((rows, hash): (u64, String)) -> Result<Self, Self::Error> {
        Ok(Self { rows, hash: hash.parse()? })
    }
}

/// Sums by part.
pub(in crate::database) type Sums = BTreeMap<i64, Sum>;

/// All parts together.
pub(super) fn total(sums: &Sums) -> Sum {
    let mut total = Sum::default();
    for sum in sums.values() {
        total.add(*sum);
    }
    total
}

/// Parts that are not the same on both sides.
pub(super) fn differing(source: &Sums, target: &Sums) -> Vec<i64> {
    let parts: BTreeSet<i64> = source.keys().chain(target.keys()).copied().collect();
    parts.into_iter().filter(|part| source.get(part) != target.get(part)).collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn ranges_are_few_and_as_fine_as_can_be(a: i64, b: i64, c: i64, d: i64, rows: u32) {
            let ends = [Some((a.min(b), a.max(b))), Some((c.min(d), c.max(d)))];
            let (low, high) = (a.min(b).min(c.min(d)), a.max(b).max(c.max(d)));
            let (Split::Ranges { shift, .. }, ranges) = Split::ranges("id", ends, rows.into()) else { unreachable!() };
            prop_assert_eq!(ranges, low >> shift..=high >> shift);
            let parts = |shift: u32| i128::from(high >> shift) - i128::from(low >> shift) + 1;
            let wanted = i128::from(u64::from(rows) / ROWS_IN_A_RANGE).clamp(1, 1024);
            // Below and above zero are two ranges at least.
            prop_assert!(parts(shift) <= wanted || shift == 63);
            prop_assert!(shift == 0 || parts(shift - 1) > wanted);
        }

        #[test]
        fn every_key_is_in_its_range_alone(key: i64, shift in 0_u32..64) {
            let (low, high) = Split::ends(key >> shift, shift);
            prop_assert!((low..=high).contains(&key));
            prop_assert!(low == i64::MIN || (low - 1) >> shift != key >> shift);
            prop_assert!(high == i64::MAX || (high + 1) >> shift != key >> shift);
        }
    }

    #[test]
    fn an_empty_table_has_ranges_too() {
        assert_eq!(
            Split::ranges("id", [None, None], 0),
            (Split::Ranges { column: "id".to_owned(), shift: 0 }, 0..=0)
        );
    }

    #[test]
    fn ranges_of_a_part_are_put_together_as_their_rows_were() {
        let one = |hash| Sum { rows: 1, hash };
        let both = |fold| {
            let mut sum = one(6);
            sum.fold(fold, one(3));
            sum
        };
        assert_eq!(both(Fold::Sum), Sum { rows: 2, hash: 9 });
        assert_eq!(both(Fold::ExclusiveOr), Sum { rows: 2, hash: 5 });
    }

    #[test]
    fn a_part_of_one_side_differs() {
        let sums = |parts: &[(i64, i128)]| -> Sums {
            parts.iter().map(|&(part, hash)| (part, Sum { rows: 1, hash })).collect()
        };
        assert_eq!(differing(&sums(&[(1, 5), (2, 7)]), &sums(&[(2, 7), (3, 9)])), [1, 3]);
        assert_eq!(total(&sums(&[(1, 5), (2, -7)])), Sum { rows: 2, hash: -2 });
    }
}
