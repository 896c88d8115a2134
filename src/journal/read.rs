//! Reading a journal: every line checked, in one pass, in constant memory.

use std::fmt;
use std::fs::File;
use std::io::{BufRead, BufReader};
use std::path::Path;

use serde::{Deserialize, Serialize};

use super::damage::JournalError;
use super::{FILE, FORMAT, record};
use crate::run::{Record, RunState};

/// Where a journal ends.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Head {
    /// Whole records.
    pub records: u64,
    /// Hash of the last one.
    pub hash: String,
}

impl fmt::Display for Head {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let plural = if self.records == 1 { "" } else { "s" };
        write!(f, "journal {} record{plural}, head {}", self.records, self.hash)
    }
}

/// What a pass over a journal found.
#[derive(Debug)]
pub struct Reading {
    /// The run.
    pub state: RunState,
    /// Where the whole records end.
    pub head: Head,
    /// Bytes of whole records.
    pub length: u64,
    /// What a torn write left after them.
    pub torn: Vec<u8>,
}

/// Reads `run_dir`'s journal, hands every record to `each` with the state that contains it, and changes nothing.
pub fn read(
    run_dir: &Path,
    mut each: impl FnMut(&Record, &RunState),
) -> Result<Reading, JournalError> {
    let path = run_dir.join(FILE);
    let mut pass = Pass::new(&path);
    let mut file = open(&path)?;
    while pass.take(&mut file, &mut each)? {}
    pass.end()
}

/// How a journal compares with a head that was kept of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Kept {
    /// The record that was the last one then stands at its place still.
    Holds,
    /// The journal ends before it.
    Cut {
        /// Records that are missing at least.
        missing: u64,
        /// Where it ends.
        byte: u64,
    },
    /// Another record stands at its place.
    Differs {
        /// Where its line starts.
        byte: u64,
    },
}

/// Compares `run_dir`'s journal with a head that was kept of it.
pub fn compare(run_dir: &Path, kept: &Head) -> Result<Kept, JournalError> {
    let path = run_dir.join(FILE);
    let mut pass = Pass::new(&path);
    let mut file = open(&path)?;
    let mut start = 0;
    while pass.head.records < kept.records {
        let end = pass.length;
        if !pass.take(&mut file, &mut |_, _| {})? {
            return Ok(Kept::Cut { missing: kept.records - pass.head.records, byte: end });
        }
        start = end;
    }
    Ok(if pass.head.hash == kept.hash { Kept::Holds } else { Kept::Differs { byte: start } })
}

fn open(path: &Path) -> Result<BufReader<File>, JournalError> {
    let file = File::open(path)
        .map_err(|source| JournalError::Unreadable { path: path.to_owned(), source })?;
    Ok(BufReader::with_capacity(1 << 16, file))
}

/// A pass over a journal. Up to where it stands every record is whole, chained and follows from those before it.
#[derive(Debug)]
pub(super) struct Pass<'a> {
    path: &'a Path,
    pub(super) head: Head,
    length: u64,
    state: Option<RunState>,
    /// The line that is read; at the end, what stands after the last newline.
    pub(super) line: Vec<u8>,
}

impl<'a> Pass<'a> {
    pub(super) fn new(path: &'a Path) -> Self {
        let head = Head { records: 0, hash: record::GENESIS.to_owned() };
        Self { path, head, length: 0, state: None, line: Vec::new() }
    }

    /// Takes one record from `file`, which stands where this pass stands; false at the end. An error leaves the pass
    /// before the record that it names.
    pub(super) fn take(
        &mut self,
        file: &mut impl BufRead,
        each: &mut impl FnMut(&Record, &RunState),
    ) -> Result<bool, JournalError> {
        self.line.clear();
        file.read_until(b'\n', &mut self.line)
            .map_err(|source| JournalError::Unreadable { path: self.path.to_owned(), source })?;
        let Head { records, hash: prev } = &self.head;
        if self.line.pop_if(|last| *last == b'\n').is_none() {
            if self.line.is_empty() || record::is_torn(&self.line, *records, prev) {
                return Ok(false);
            }
            return Err(self.damaged("it is not followed by a newline, and not torn".to_owned()));
        }
        let hash = record::unseal(&self.line, prev).map_err(|what| self.damaged(what))?;
        if self.state.is_none() {
            self.check_format()?;
        }
        let read =
            record::decode(&self.line, *records, prev, &hash).map_err(|what| self.damaged(what))?;
        let inconsistent =
            |source| JournalError::Inconsistent { path: self.path.to_owned(), source };
        let folded = if let Some(state) = &mut self.state {
            state.apply(&read).map_err(inconsistent)?;
            state
        } else {
            self.state.insert(RunState::begin(&read).map_err(inconsistent)?)
        };
        each(&read, folded);
        self.length += self.line.len() as u64 + 1;
        self.head = Head { records: self.head.records + 1, hash };
        Ok(true)
    }

    /// What it found, after [`Self::take`] has come to the end.
    pub(super) fn end(self) -> Result<Reading, JournalError> {
        let Some(state) = self.state else {
            return Err(self.damaged("there is no whole first record".to_owned()));
        };
        Ok(Reading { state, head: self.head, length: self.length, torn: self.line })
    }

    fn damaged(&self, what: String) -> JournalError {
        JournalError::Damaged {
            path: self.path.to_owned(),
            seq: self.head.records,
            byte: self.length,
            what,
        }
    }

    /// A newer header need not be readable here beyond its version.
    fn check_format(&self) -> Result<(), JournalError> {
        #[derive(Deserialize)]
        struct First {
            event: Opening,
        }
        #[derive(Deserialize)]
        struct Opening {
            run_started: Version,
        }
        #[derive(Deserialize)]
        struct Version {
            format: u32,
            tool: String,
        }
        match serde_json::from_slice(&self.line) {
            Ok(First { event: Opening { run_started: Version { format, tool } } })
                if format > FORMAT =>
            {
                let path = self.path.to_owned();
                Err(JournalError::Newer { path, found: format, known: FORMAT, tool })
            }
            _ => Ok(()),
        }
    }
}
