//! What a bulk copy has done so far: one JSON line a file, append-only, synced in batches.
//!
//! It lets a later attempt count, and skip, what an earlier one copied. Losing it costs time, never correctness.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{self, Read as _, Seek as _, Write as _};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::{FileEntry, SyncError};

/// Lines written before they are synced.
const BATCH: usize = 64;

/// A line of the progress file: this file was copied and read back.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct Copied {
    pub(super) path: String,
    #[serde(flatten)]
    pub(super) file: FileEntry,
    pub(super) sha256: String,
}

/// What earlier attempts copied, by path, from their progress file; empty without one.
pub fn copied_before(progress_file: &Path) -> BTreeMap<String, FileEntry> {
    // A line torn by a crash is not JSON and says nothing; nor does a file that can not be read.
    let text = fs::read_to_string(progress_file).unwrap_or_default();
    text.lines()
        .filter_map(|line| serde_json::from_str::<Copied>(line).ok())
        .map(|line| (line.path, line.file))
        .collect()
}

/// The progress file: one JSON line a copied file.
pub(super) struct Progress {
    path: PathBuf,
    file: File,
    unsynced: usize,
    pub(super) earlier: BTreeMap<String, FileEntry>,
}

impl Progress {
    pub(super) fn open(path: &Path) -> Result<Self, SyncError> {
        let failed = |cause| SyncError::Progress { path: path.to_owned(), cause };
        if let Some(folder) = path.parent() {
            fs::create_dir_all(folder).map_err(failed)?;
        }
        let mut file =
            File::options().create(true).read(true).append(true).open(path).map_err(failed)?;
        // After a torn line the next one starts on its own.
        if ends_torn(&mut file).map_err(failed)? {
            file.write_all(b"\n").map_err(failed)?;
        }
        let earlier = copied_before(path);
        Ok(Self { path: path.to_owned(), file, unsynced: 0, earlier })
    }

    pub(super) fn append(&mut self, copied: &Copied) -> Result<(), SyncError> {
        let line = serde_json::to_string(copied).expect("text, numbers and a time are JSON");
        self.file
            .write_all(format!("{line}\n").as_bytes())
            .map_err(|cause| SyncError::Progress { path: self.path.clone(), cause })?;
        self.unsynced += 1;
        if self.unsynced < BATCH { Ok(()) } else { self.sync() }
    }

    pub(super) fn sync(&mut self) -> Result<(), SyncError> {
        self.unsynced = 0;
        self.file
            .sync_data()
            .map_err(|cause| SyncError::Progress { path: self.path.clone(), cause })
    }
}

fn ends_torn(file: &mut File) -> io::Result<bool> {
    if file.metadata()?.len() == 0 {
        return Ok(false);
    }
    let mut last = [0];
    file.seek(io::SeekFrom::End(-1))?;
    file.read_exact(&mut last)?;
    Ok(last != *b"\n")
}
