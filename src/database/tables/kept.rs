//! What a comparison has read so far, kept beside the journal, so that one that was cut off goes on where it was.
//!
//! Another process sees another snapshot. What was read in the first one holds in the second only if nothing was written to either
//! server in between, and only a server can know that: it gives a mark of its snapshot, and the same mark means the same rows. A
//! server without such a mark, or with another one, is read from the beginning.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

use super::super::compare::{TableComparison, TableVerdict};
use super::sums::Sums;

/// How long what was read may go unkept.
const EVERY: Duration = Duration::from_secs(3);

/// A table that is equal, or as far as a sample of it tells.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct EqualTable {
    rows: u64,
    hash: String,
    /// Rows of the sample.
    #[serde(default)]
    sampled: Option<u64>,
}

impl EqualTable {
    /// None where something differs, or was not compared.
    pub(super) fn of(compared: &TableComparison) -> Option<Self> {
        let sampled = match compared.verdict {
            TableVerdict::Equal => None,
            TableVerdict::Sampled { rows } => Some(rows),
            _ => return None,
        };
        Some(Self { rows: compared.rows.0, hash: compared.hash.clone(), sampled })
    }

    /// What came out for it.
    pub(super) fn told(self, table: String) -> TableComparison {
        let sampled = |rows| TableVerdict::Sampled { rows };
        let verdict = self.sampled.map_or(TableVerdict::Equal, sampled);
        TableComparison { table, rows: (self.rows, self.rows), hash: self.hash, verdict }
    }
}

/// How far one side of a table has been read.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(in crate::database) struct Partial {
    /// Partition.
    pub(in crate::database) relation: usize,
    /// The page, or the key, that is next.
    pub(in crate::database) next: Option<i64>,
    /// The key of the last row that was read, where keys are no integers.
    #[serde(default)]
    pub(in crate::database) after: Vec<String>,
    /// What was read before it.
    pub(in crate::database) sums: Sums,
}

#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
struct UnderWay {
    table: String,
    /// How it is read: sums of another way of reading are of no use.
    view: String,
    sides: [Partial; 2],
}

/// The file.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
struct State {
    /// Of source and target.
    marks: [String; 2],
    equal: BTreeMap<String, EqualTable>,
    under_way: UnderWay,
}

/// See the module. Without a file nothing is kept.
#[derive(Debug, Default)]
pub(super) struct Kept {
    file: Option<PathBuf>,
    state: Mutex<(State, Option<Instant>)>,
}

impl Kept {
    /// What `file` holds for these marks; nothing where one of the servers has none.
    pub(super) fn open(file: Option<&Path>, marks: [Option<String>; 2]) -> Self {
        let (Some(file), [Some(source), Some(target)]) = (file, marks) else {
            return Self::default();
        };
        let marks = [source, target];
        // A file that can not be read is one that is not there: all is read again.
        let found = fs::read_to_string(file).ok().and_then(|text| serde_json::from_str(&text).ok());
        let state = found.filter(|state: &State| state.marks == marks);
        let state = state.unwrap_or_else(|| State { marks, ..State::default() });
        Self { file: Some(file.to_owned()), state: Mutex::new((state, None)) }
    }

    /// A table that was equal before.
    pub(super) fn equal(&self, table: &str) -> Option<EqualTable> {
        self.with(|state| state.equal.get(table).cloned())
    }

    /// How far the sides of a table had been read in this way.
    pub(super) fn under_way(&self, table: &str, view: &str) -> [Partial; 2] {
        self.with(|state| {
            if state.under_way.table != table || state.under_way.view != view {
                state.under_way = UnderWay {
                    table: table.to_owned(),
                    view: view.to_owned(),
                    sides: Default::default(),
                };
            }
            state.under_way.sides.clone()
        })
    }

    /// A side has been read so far.
    pub(super) fn reached(&self, side: usize, partial: &Partial) {
        if self.file.is_some() {
            self.with(|state| state.under_way.sides[side].clone_from(partial));
            self.write(false);
        }
    }

    /// A table is equal.
    pub(super) fn is_equal(&self, table: &str, found: EqualTable) {
        self.with(|state| {
            state.under_way = UnderWay::default();
            state.equal.insert(table.to_owned(), found);
        });
        self.write(true);
    }

    /// Nothing is left to go on with.
    pub(super) fn end(&self) {
        if let Some(file) = &self.file {
            // It would be of no use, and of no harm: its marks are looked at.
            let _ = fs::remove_file(file);
        }
    }

    fn with<T>(&self, work: impl FnOnce(&mut State) -> T) -> T {
        work(&mut self.state.lock().unwrap_or_else(PoisonError::into_inner).0)
    }

    /// Writes what is held, unless that was done a moment ago. What can not be kept is read again, and no reason to fail.
    pub(super) fn write(&self, now: bool) {
        let Some(file) = &self.file else { return };
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        if !now && state.1.is_some_and(|last| last.elapsed() < EVERY) {
            return;
        }
        state.1 = Some(Instant::now());
        if let Err(error) = replace(file, &state.0) {
            tracing::warn!(file = %file.display(), %error, "progress is not kept");
        }
    }
}

/// Puts a file in place only whole.
fn replace(file: &Path, state: &State) -> io::Result<()> {
    let text = serde_json::to_vec(state)?;
    if let Some(dir) = file.parent() {
        fs::create_dir_all(dir)?;
    }
    let fresh = file.with_extension("fresh");
    fs::write(&fresh, text)?;
    fs::rename(fresh, file)
}

#[cfg(test)]
mod tests {
    use super::super::sums::Sum;
    use super::*;

    fn marks(source: &str) -> [Option<String>; 2] {
        [Some(source.to_owned()), Some("b".to_owned())]
    }

    #[test]
    fn what_was_read_holds_for_the_same_marks_only() {
        let dir = tempfile::tempdir().expect("a folder");
        let file = dir.path().join("progress/t.json");
        let partial = Partial {
            relation: 1,
            next: Some(-7),
            after: vec!["E9".to_owned()],
            sums: Sums::from([(-3, Sum { rows: 2, hash: i128::MIN })]),
        };
        let first = Kept::open(Some(&file), marks("a"));
        assert_eq!(first.under_way("t", "view"), <[Partial; 2]>::default());
        first.is_equal("s", EqualTable { rows: 3, ..EqualTable::default() });
        let _ = first.under_way("t", "view");
        first.state.lock().expect("no panic").1 = None;
        first.reached(1, &partial);
        let second = Kept::open(Some(&file), marks("a"));
        assert_eq!(second.equal("s").map(|it| it.rows), Some(3));
        assert_eq!(second.under_way("t", "view")[1], partial);
        assert_eq!(second.under_way("t", "another view")[1], Partial::default());
        for marks in [marks("c"), [None, Some("b".to_owned())]] {
            let other = Kept::open(Some(&file), marks);
            assert_eq!(
                (other.equal("s"), &other.under_way("t", "view")[1]),
                (None, &Partial::default())
            );
        }
        second.end();
        assert!(!file.exists());
        Kept::default().is_equal("s", EqualTable::default());
    }

    #[test]
    fn a_damaged_file_is_none() {
        let dir = tempfile::tempdir().expect("a folder");
        let file = dir.path().join("t.json");
        fs::write(&file, "{\"marks\":[\"a\",").expect("written");
        assert_eq!(Kept::open(Some(&file), marks("a")).equal("s"), None);
    }
}
