//! One engine per run, one run per wave: exclusive locks of the operating system.
//!
//! The lock is the file lock alone and ends with the process, however it ends. The owner written into the file is for
//! the message only; nothing is ever decided from it, and a lock is never stolen on a timer.

use std::fs::{File, OpenOptions, TryLockError};
use std::io::{self, Read, Seek, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::append::private_dir;
use crate::run::RunId;

/// Who holds a lock.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Owner {
    /// The run it is held for.
    pub run: RunId,
    /// Host name.
    pub host: String,
    /// Login name.
    pub user: String,
    /// Process id.
    pub pid: u32,
    /// The process's start time in clock ticks since boot; tells a reused pid.
    pub pid_started: Option<u64>,
    /// The kernel's boot id.
    pub boot: Option<String>,
    /// Since when.
    pub since: Timestamp,
}

impl Owner {
    /// This process.
    pub fn this_process(run: RunId, user: String, host: String, since: Timestamp) -> Self {
        let boot = std::fs::read_to_string("/proc/sys/kernel/random/boot_id").ok();
        let pid_started = std::fs::read_to_string("/proc/self/stat").ok().and_then(|stat| {
            // Fields are counted after the program's name, which may itself hold spaces and brackets.
            stat.rsplit_once(')')?.1.split_whitespace().nth(19)?.parse().ok()
        });
        Self {
            run,
            host,
            user,
            pid: std::process::id(),
            pid_started,
            boot: boot.map(|id| id.trim().to_owned()),
            since,
        }
    }
}

/// Who holds this lock now, for messages only: the answer may be outdated when it is read.
pub fn holder(path: &Path) -> Option<Owner> {
    let file = File::open(path).ok()?;
    // Shared and let go at once; it fails, and harms nothing, while an engine lives.
    match file.try_lock_shared() {
        Err(TryLockError::WouldBlock) => serde_json::from_reader(&file).ok(),
        _ => None,
    }
}

/// A held lock; let go when dropped.
#[derive(Debug)]
pub struct Lock {
    _file: File,
}

/// The lock was not taken.
#[derive(Debug, thiserror::Error)]
pub enum LockError {
    /// Somebody else has it.
    #[error("{}", held(path, owner.as_ref()))]
    Held {
        /// The lock file.
        path: PathBuf,
        /// Who, if the file could be read.
        owner: Option<Owner>,
    },
    /// The lock file can not be used.
    #[error("can not lock {path}")]
    Unusable {
        /// The lock file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
}

fn held(path: &Path, owner: Option<&Owner>) -> String {
    match owner {
        Some(owner) => format!(
            "run {} is under way: held by {}@{}, process {}, since {:.0}",
            owner.run, owner.user, owner.host, owner.pid, owner.since
        ),
        None => format!("{} is held by another process", path.display()),
    }
}

impl Lock {
    /// Takes the lock or says at once who has it.
    pub fn take(path: &Path, owner: &Owner) -> Result<Self, LockError> {
        let unusable = |source| LockError::Unusable { path: path.to_owned(), source };
        if let Some(dir) = path.parent() {
            private_dir(dir).map_err(unusable)?;
        }
        let mut file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .mode(0o600)
            .open(path)
            .map_err(unusable)?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                let mut text = String::new();
                let owner = file.read_to_string(&mut text).ok();
                let owner = owner.and_then(|_| serde_json::from_str(&text).ok());
                return Err(LockError::Held { path: path.to_owned(), owner });
            }
            Err(TryLockError::Error(source)) => return Err(unusable(source)),
        }
        let text = serde_json::to_vec(owner).expect("an owner is plain data");
        file.set_len(0)
            .and_then(|()| file.rewind())
            .and_then(|()| file.write_all(&text))
            .map_err(unusable)?;
        Ok(Self { _file: file })
    }
}
