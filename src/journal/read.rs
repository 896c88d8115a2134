//! Reading a journal: every line checked, in one pass, in constant memory.

use std::fs::File;
use std::io::{BufRead, BufReader};
use std::path::Path;

use serde::{Deserialize, Serialize};

use super::damage::JournalError;
use super::{FILE, FORMAT, record};
use crate::run::{Event, Record, RunState};

/// Where a journal ends.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Head {
    /// Whole records.
    pub records: u64,
    /// Hash of the last one.
    pub hash: String,
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
    let unreadable = |source| JournalError::Unreadable { path: path.clone(), source };
    let mut file = BufReader::with_capacity(1 << 16, File::open(&path).map_err(unreadable)?);
    let mut head = Head { records: 0, hash: record::GENESIS.to_owned() };
    let (mut line, mut length, mut state) = (Vec::new(), 0_u64, None::<RunState>);
    loop {
        line.clear();
        file.read_until(b'\n', &mut line).map_err(unreadable)?;
        let damaged = |what: String| JournalError::Damaged {
            path: path.clone(),
            seq: head.records,
            byte: length,
            what,
        };
        if line.pop_if(|last| *last == b'\n').is_none() {
            if !record::is_torn(&line, head.records) && !line.is_empty() {
                return Err(damaged("it is not followed by a newline, and not torn".to_owned()));
            }
            break;
        }
        let (read, hash) = record::decode(&line, head.records, &head.hash).map_err(damaged)?;
        let inconsistent = |source| JournalError::Inconsistent { path: path.clone(), source };
        let folded = if let Some(state) = &mut state {
            state.apply(&read).map_err(inconsistent)?;
            state
        } else {
            check_format(&read, &path)?;
            state.insert(RunState::begin(&read).map_err(inconsistent)?)
        };
        each(&read, folded);
        length += line.len() as u64 + 1;
        head = Head { records: head.records + 1, hash };
    }
    let state = state.ok_or_else(|| JournalError::Damaged {
        path: path.clone(),
        seq: 0,
        byte: 0,
        what: "there is no whole first record".to_owned(),
    })?;
    Ok(Reading { state, head, length, torn: line })
}

fn check_format(first: &Record, path: &Path) -> Result<(), JournalError> {
    match &first.event {
        Event::RunStarted(header) if header.format > FORMAT => {
            Err(JournalError::Newer { path: path.to_owned(), found: header.format, known: FORMAT })
        }
        _ => Ok(()),
    }
}
