//! Rows as canonical text, and sums over rows that do not depend on their order.
//!
//! A row's key decides its bucket, so two tables that differ are told apart bucket by bucket, and only the rows of
//! differing buckets have to be held side by side.

use std::hash::{DefaultHasher, Hash as _, Hasher as _};

use sha2::{Digest as _, Sha256};

use crate::run::hex;

/// Buckets of one table.
pub(super) const BUCKETS: usize = 1024;

/// One value, told apart by type: the number 1, the text `1` and nothing are three values.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Cell {
    /// NULL.
    Null,
    /// A number, in its shortest form that reads back the same.
    Number(String),
    /// Text.
    Text(String),
    /// Bytes, and text that is not Unicode.
    Bytes(Vec<u8>),
}

impl Cell {
    fn write(&self, to: &mut Vec<u8>) {
        let (tag, bytes): (u8, &[u8]) = match self {
            Self::Null => (b'n', &[]),
            Self::Number(text) => (b'd', text.as_bytes()),
            Self::Text(text) => (b't', text.as_bytes()),
            Self::Bytes(bytes) => (b'b', bytes),
        };
        to.push(tag);
        to.extend_from_slice(&(bytes.len() as u64).to_be_bytes());
        to.extend_from_slice(bytes);
    }
}

impl std::fmt::Display for Cell {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Null => f.write_str("NULL"),
            Self::Number(text) => f.write_str(text),
            Self::Text(text) => write!(f, "'{text}'"),
            Self::Bytes(bytes) => write!(f, "x'{}'", hex(bytes)),
        }
    }
}

/// Canonical bytes of some cells.
pub(super) fn canonical<'a>(cells: impl Iterator<Item = &'a Cell>) -> Vec<u8> {
    let mut bytes = Vec::new();
    for cell in cells {
        cell.write(&mut bytes);
    }
    bytes
}

/// SHA-256 of canonical bytes.
pub(super) type RowDigest = [u8; 32];

pub(super) fn digest(canonical: &[u8]) -> RowDigest {
    Sha256::digest(canonical).into()
}

/// The bucket of a key. The same in one process for both sides, and nowhere stored.
pub(super) fn bucket(key: &[u8]) -> usize {
    let mut hasher = DefaultHasher::new();
    key.hash(&mut hasher);
    usize::try_from(hasher.finish() % BUCKETS as u64).expect("less than the number of buckets")
}

/// Order-free sums over a table's rows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct TableSum {
    /// Rows.
    pub(super) rows: u64,
    buckets: Vec<[u64; 4]>,
}

impl TableSum {
    pub(super) fn new() -> Self {
        Self { rows: 0, buckets: vec![[0; 4]; BUCKETS] }
    }

    /// Adds a row. Sums, unlike exclusive or, also tell two equal rows from none.
    pub(super) fn add(&mut self, bucket: usize, row: &RowDigest) {
        self.rows += 1;
        add(&mut self.buckets[bucket], words(row));
    }

    /// One hash for the table.
    pub(super) fn hash(&self) -> String {
        let mut total = [0; 4];
        for bucket in &self.buckets {
            add(&mut total, *bucket);
        }
        let mut hasher = Sha256::new();
        hasher.update(self.rows.to_be_bytes());
        for word in total {
            hasher.update(word.to_be_bytes());
        }
        hex(&hasher.finalize())
    }

    /// Buckets that are not the same on both sides.
    pub(super) fn differing(&self, other: &Self) -> Vec<usize> {
        let both = self.buckets.iter().zip(&other.buckets);
        both.enumerate().filter(|(_, (here, there))| here != there).map(|(at, _)| at).collect()
    }
}

fn words(row: &RowDigest) -> [u64; 4] {
    let mut words = [0; 4];
    for (word, bytes) in words.iter_mut().zip(row.chunks_exact(8)) {
        *word = u64::from_le_bytes(bytes.try_into().expect("chunks of eight"));
    }
    words
}

/// 256-bit addition, wrapping.
fn add(sum: &mut [u64; 4], row: [u64; 4]) {
    let mut carry = false;
    for (word, other) in sum.iter_mut().zip(row) {
        let (partial, over) = word.overflowing_add(other);
        let (total, again) = partial.overflowing_add(u64::from(carry));
        *word = total;
        carry = over || again;
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn sum(rows: &[Vec<u8>]) -> TableSum {
        let mut sum = TableSum::new();
        for row in rows {
            sum.add(bucket(row), &digest(row));
        }
        sum
    }

    proptest! {
        #[test]
        fn order_does_not_matter_and_every_row_does(
            mut rows in proptest::collection::vec(proptest::collection::vec(any::<u8>(), 0..4), 1..20),
            by in any::<prop::sample::Index>(),
        ) {
            let before = sum(&rows);
            let middle = by.index(rows.len());
            rows.rotate_left(middle);
            prop_assert_eq!(&before, &sum(&rows));
            let gone = rows.remove(middle);
            prop_assert_eq!(before.differing(&sum(&rows)), [bucket(&gone)]);
            prop_assert_ne!(before.hash(), sum(&rows).hash());
        }
    }

    #[test]
    fn values_of_different_types_differ() {
        let cells = [
            Cell::Null,
            Cell::Number("1".to_owned()),
            Cell::Text("1".to_owned()),
            Cell::Bytes(b"1".to_vec()),
            Cell::Text(String::new()),
        ];
        let digests: std::collections::BTreeSet<_> =
            cells.iter().map(|cell| digest(&canonical([cell].into_iter()))).collect();
        assert_eq!(digests.len(), cells.len());
    }

    #[test]
    fn a_border_between_columns_is_part_of_the_row() {
        let text = |text: &str| Cell::Text(text.to_owned());
        let [left, right] = [[text("ab"), text("c")], [text("a"), text("bc")]];
        assert_ne!(canonical(left.iter()), canonical(right.iter()));
    }
}
