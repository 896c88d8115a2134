//! The world between requests: a snapshot that readers share, and one writer that makes a change durable before it shows.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError, RwLock};

use jiff::Timestamp;
use serde_json::Value;

use super::error::SandboxError;
use super::ledger::{self, Changes, Entry, Ledger};

/// What Azure holds, and how it came to that. Cloning shares the documents.
#[derive(Debug, Clone, Default)]
pub(crate) struct World {
    /// By lower-case resource id; keys without a slash are the sandbox's own.
    pub(crate) docs: BTreeMap<String, Arc<Value>>,
    /// Every entry of the ledger, oldest first.
    pub(crate) entries: Vec<Arc<Entry>>,
}

impl World {
    /// The document with that id, in any case.
    pub(crate) fn get(&self, id: &str) -> Option<&Value> {
        self.docs.get(&id.to_ascii_lowercase()).map(Arc::as_ref)
    }

    /// Everything strictly below `id`, in order of ids.
    pub(crate) fn below<'a>(
        &'a self,
        id: &str,
    ) -> impl Iterator<Item = (&'a str, &'a Value)> + use<'a> {
        let prefix = format!("{}/", id.to_ascii_lowercase());
        self.docs
            .range(prefix.clone()..)
            .take_while(move |(key, _)| key.starts_with(&prefix))
            .map(|(key, doc)| (key.as_str(), doc.as_ref()))
    }

    /// The number the next entry will have.
    pub(crate) fn next_seq(&self) -> u64 {
        self.entries.len() as u64
    }

    fn apply(&mut self, entry: Entry) {
        for (key, change) in &entry.changes {
            match change {
                Some(doc) => self.docs.insert(key.clone(), Arc::new(doc.clone())),
                None => self.docs.remove(key),
            };
        }
        self.entries.push(Arc::new(entry));
    }

    /// Whether these changes would make a difference.
    pub(crate) fn differs(&self, changes: &Changes) -> bool {
        changes.iter().any(|(key, change)| self.docs.get(key).map(Arc::as_ref) != change.as_ref())
    }
}

impl FromIterator<Entry> for World {
    fn from_iter<I: IntoIterator<Item = Entry>>(entries: I) -> Self {
        let mut world = Self::default();
        for entry in entries {
            world.apply(entry);
        }
        world
    }
}

/// See the module.
#[derive(Debug)]
pub(crate) struct Store {
    shown: RwLock<Arc<World>>,
    writer: Mutex<Ledger>,
    /// An append failed: nobody knows what a restart will find on the disk, so nothing is shown any more.
    lost: AtomicBool,
}

impl Store {
    /// Folds the ledger in `dir`.
    pub(super) fn open(dir: &Path) -> Result<Self, SandboxError> {
        let (ledger, entries) = Ledger::open(dir)?;
        let world = World::from_iter(entries);
        let (shown, writer) = (RwLock::new(Arc::new(world)), Mutex::new(ledger));
        Ok(Self { shown, writer, lost: AtomicBool::new(false) })
    }

    /// The world in `dir`, read only.
    pub(super) fn fold(dir: &Path) -> Result<World, SandboxError> {
        Ok(World::from_iter(ledger::read(dir)?))
    }

    /// The world as of now; never waits for the disk.
    pub(crate) fn world(&self) -> Arc<World> {
        Arc::clone(&self.shown.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// Lets `decide` look at the world and make entries of it, one decision at a time; they are durable, then shown,
    /// before this returns. Blocks on the disk.
    pub(crate) fn commit<T>(
        &self,
        decide: impl FnOnce(&World) -> (T, Option<Entry>),
    ) -> Result<T, SandboxError> {
        let mut ledger = self.writer.lock().unwrap_or_else(PoisonError::into_inner);
        let before = self.world();
        let (answer, entry) = decide(&before);
        if let Some(entry) = entry {
            ledger.append(&entry).inspect_err(|_| self.lost.store(true, Ordering::Release))?;
            let mut after = World::clone(&before);
            after.apply(entry);
            *self.shown.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(after);
        }
        Ok(answer)
    }

    /// Whether an append failed since this process began.
    pub(crate) fn is_lost(&self) -> bool {
        self.lost.load(Ordering::Acquire)
    }

    /// The time of the newest entry.
    pub(crate) fn last_time(&self) -> Option<Timestamp> {
        self.world().entries.last().map(|entry| entry.at)
    }
}
