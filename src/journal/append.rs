//! Appending: the only way facts become durable, and the only source of [`EffectPermit`]s.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use jiff::Timestamp;

use super::damage::JournalError;
use super::read::{Head, read};
use super::{EffectPermit, FILE, record};
use crate::crash::{self, Side};
use crate::run::{EffectId, Event, Record, RunState};

/// Bytes asked of the file system ahead of need, so that a full disk is met before an effect and not after it.
const RESERVE: u64 = 1 << 20;
/// With less than this no effect starts: its outcome, and those of its neighbours, must find room.
const LEAST: u64 = 1 << 16;

/// A journal open for appending. One process at a time holds the run's lock.
#[derive(Debug)]
pub struct Journal {
    path: PathBuf,
    file: File,
    head: Head,
    length: u64,
    /// Records on disk; the head is ahead of it by the batch.
    synced: u64,
    reserved: u64,
    batch: Vec<u8>,
    intents: Vec<EffectId>,
    poisoned: bool,
}

impl Journal {
    /// Creates the run's folder and its journal with the first fact, durable on return.
    pub fn create(run_dir: &Path, first: &Record) -> Result<Self, JournalError> {
        let path = run_dir.join(FILE);
        let unwritable = |source| JournalError::Unwritable { path: path.clone(), source };
        private_dir(run_dir).map_err(unwritable)?;
        if crash::is_due(Side::Before, 1..=1) {
            crash::die();
        }
        let mut line = Vec::new();
        let hash = record::encode(first, record::GENESIS, &mut line);
        let temporary = run_dir.join("journal.new");
        let mut file = OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(&temporary)
            .map_err(unwritable)?;
        let created = file
            .write_all(&line)
            .and_then(|()| file.sync_all())
            .and_then(|()| fs::rename(&temporary, &path))
            .and_then(|()| run_dir.ancestors().try_for_each(sync_created));
        created.map_err(unwritable)?;
        if crash::is_due(Side::After, 1..=1) {
            crash::die();
        }
        let length = line.len() as u64;
        let mut journal = Self {
            head: Head { records: 1, hash },
            length,
            synced: 1,
            reserved: 0,
            batch: Vec::with_capacity(1 << 12),
            intents: Vec::new(),
            poisoned: false,
            file,
            path,
        };
        journal.reserve();
        Ok(journal)
    }

    /// Opens the journal of a run whose lock is held. A torn tail is kept beside it, cut off and journalled.
    pub fn open(run_dir: &Path, at: Timestamp) -> Result<(Self, RunState), JournalError> {
        let path = run_dir.join(FILE);
        let unwritable = |source| JournalError::Unwritable { path: path.clone(), source };
        let file = OpenOptions::new().append(true).open(&path).map_err(unwritable)?;
        settle(&file).map_err(unwritable)?;
        let reading = read(run_dir, |_, _| {})?;
        let mut journal = Self {
            synced: reading.head.records,
            head: reading.head,
            length: reading.length,
            reserved: 0,
            batch: Vec::with_capacity(1 << 12),
            intents: Vec::new(),
            poisoned: false,
            file,
            path: path.clone(),
        };
        let mut state = reading.state;
        if let Some(event) = journal.cut(run_dir, &reading.torn).map_err(unwritable)? {
            let repaired = journal.append(at, event);
            state
                .apply(&repaired)
                .map_err(|source| JournalError::Inconsistent { path: path.clone(), source })?;
            journal.sync()?;
        }
        journal.reserve();
        Ok((journal, state))
    }

    /// Keeps a torn tail aside and cuts it off: in this order, and each durable before the next, so that a power cut in
    /// between loses nothing. A cut that an earlier process did not live to journal is told now.
    fn cut(&mut self, run_dir: &Path, torn: &[u8]) -> io::Result<Option<Event>> {
        let kept = format!("journal.torn-{}", self.head.records);
        let aside = run_dir.join(&kept);
        if !torn.is_empty() {
            keep(&aside, torn)?;
            sync_dir(run_dir)?;
            self.file.set_len(self.length)?;
            self.file.sync_all()?;
        }
        let bytes = match fs::metadata(&aside) {
            Ok(found) => found.len(),
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(error),
        };
        Ok(Some(Event::TailRepaired { bytes, kept }))
    }

    /// Adds a fact to the batch. It is not durable, and nothing may follow from it, before [`Self::sync`].
    pub fn append(&mut self, at: Timestamp, event: Event) -> Record {
        if let Event::Intent { step, intent, .. } = &event {
            self.intents.push(EffectId { step: step.clone(), key: intent.key.clone() });
        }
        let record = Record { seq: self.head.records, at, event };
        self.head.hash = record::encode(&record, &self.head.hash, &mut self.batch);
        self.head.records += 1;
        if crash::is_due(Side::After, self.head.records..=self.head.records) {
            self.die();
        }
        record
    }

    /// What a power cut leaves: the batch up to here on disk, nobody told.
    fn die(&mut self) -> ! {
        let written = self.file.write_all(&self.batch).and_then(|()| self.file.sync_data());
        tracing::debug!(?written, records = self.head.records, "dying for a rehearsal");
        crash::die()
    }

    /// Makes the batch durable with one write and one `fdatasync`. Only here are permits made: one for each intent in
    /// the batch.
    pub fn sync(&mut self) -> Result<Vec<EffectPermit>, JournalError> {
        if self.poisoned {
            return Err(JournalError::Poisoned { path: self.path.clone() });
        }
        if self.batch.is_empty() {
            return Ok(Vec::new());
        }
        if crash::is_due(Side::Before, self.synced + 1..=self.head.records) {
            crash::die();
        }
        let written = self.file.write_all(&self.batch).and_then(|()| self.file.sync_data());
        if let Err(source) = written {
            self.poisoned = true;
            self.intents.clear();
            return Err(JournalError::Unwritable { path: self.path.clone(), source });
        }
        self.length += self.batch.len() as u64;
        self.synced = self.head.records;
        self.batch.clear();
        if self.length + RESERVE / 2 > self.reserved {
            self.reserve();
        }
        if !self.intents.is_empty() && self.length + LEAST > self.reserved {
            self.poisoned = true;
            self.intents.clear();
            let source = rustix::io::Errno::NOSPC.into();
            return Err(JournalError::Unwritable { path: self.path.clone(), source });
        }
        let permit = |effect| EffectPermit::after_sync(effect, self.head.clone());
        Ok(self.intents.drain(..).map(permit).collect())
    }

    /// Where it ends, the batch included.
    pub fn head(&self) -> &Head {
        &self.head
    }

    /// Writes the head beside the journal, whole or not at all.
    pub fn anchor(&self, run_dir: &Path) -> Result<(), JournalError> {
        let path = run_dir.join("head.json");
        let temporary = run_dir.join("head.new");
        let text = serde_json::to_vec(&self.head).expect("a head is plain data");
        keep(&temporary, &text)
            .and_then(|()| fs::rename(&temporary, &path))
            .and_then(|()| sync_dir(run_dir))
            .map_err(|source| JournalError::Unwritable { path, source })
    }

    /// Puts another file under the journal, to see it fail.
    #[cfg(test)]
    pub(super) fn replace_file(&mut self, file: File) {
        self.file = file;
    }

    /// As much room as there is, up to what is wanted. Where the file system can not reserve, a full disk is met by the
    /// append itself.
    fn reserve(&mut self) {
        #[cfg(target_os = "linux")]
        for size in [RESERVE, LEAST] {
            use rustix::io::Errno;
            let flags = rustix::fs::FallocateFlags::KEEP_SIZE;
            match rustix::fs::fallocate(&self.file, flags, self.length, size) {
                Ok(()) => {
                    self.reserved = self.reserved.max(self.length + size);
                    return;
                }
                Err(Errno::NOSPC | Errno::DQUOT) => {}
                Err(_) => self.reserved = u64::MAX,
            }
        }
        #[cfg(not(target_os = "linux"))]
        {
            self.reserved = u64::MAX;
        }
    }
}

/// Makes durable what a process wrote and did not live to sync, before anything is concluded from it; and drops what the
/// kernel remembers of writes that never reached the disk, for after a failed sync it goes on showing them.
fn settle(file: &File) -> io::Result<()> {
    file.sync_data()?;
    #[cfg(target_os = "linux")]
    if let Err(error) = rustix::fs::fadvise(file, 0, None, rustix::fs::Advice::DontNeed) {
        tracing::debug!(%error, "the journal is read as the kernel remembers it");
    }
    Ok(())
}

/// Creates a folder, and those above it, for its owner only.
pub(super) fn private_dir(dir: &Path) -> io::Result<()> {
    DirBuilder::new().recursive(true).mode(0o700).create(dir)
}

fn sync_dir(dir: &Path) -> io::Result<()> {
    File::open(dir)?.sync_all()
}

/// For folders that may just have been created. One that this user may not even list was not.
fn sync_created(dir: &Path) -> io::Result<()> {
    let dir = if dir.as_os_str().is_empty() { Path::new(".") } else { dir };
    match sync_dir(dir) {
        Err(error) if error.kind() == io::ErrorKind::PermissionDenied => Ok(()),
        synced => synced,
    }
}

fn keep(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let mut file =
        OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(path)?;
    file.write_all(bytes)?;
    file.sync_all()
}
