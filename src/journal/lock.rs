//! One engine per run, one run per wave: exclusive locks of the operating system.
//!
//! The lock is the file lock alone and ends with the process, however it ends. The owner written into the file is for
//! the message only; nothing is ever decided from it, and a lock is never stolen on a timer.

use std::fs::{File, OpenOptions, TryLockError};
use std::io::{self, Read, Seek, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::append::private_dir;
use crate::run::RunId;

/// How often, and how far apart, a lock is tried that nobody alive seems to hold: whoever has just taken it writes its name
/// within this time, and whoever only looked has let go.
const TRIES: u32 = 25;
const BETWEEN: Duration = Duration::from_millis(2);

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
        let pid = std::process::id();
        Self { run, host, user, pid, pid_started: started(pid), boot: boot(), since }
    }

    /// Whether this names a process that is gone: a lock file keeps the name of its last holder until the next one has
    /// written its own.
    fn is_gone(&self) -> bool {
        // Of another host, or where it can not be told, it is taken at its word.
        let here = *self.host == *rustix::system::uname().nodename().to_string_lossy();
        match (&self.boot, self.pid_started, boot()) {
            (Some(then), Some(_), Some(now)) if here => {
                *then != now || self.pid_started != started(self.pid)
            }
            _ => false,
        }
    }

    /// What is written in a lock file, if it names a process that may hold it.
    fn read(file: &mut File) -> Option<Self> {
        let mut text = String::new();
        file.rewind().and_then(|()| file.read_to_string(&mut text)).ok()?;
        serde_json::from_str::<Self>(&text).ok().filter(|owner| !owner.is_gone())
    }
}

fn boot() -> Option<String> {
    let id = std::fs::read_to_string("/proc/sys/kernel/random/boot_id").ok()?;
    Some(id.trim().to_owned())
}

/// The start of that process in clock ticks since boot.
fn started(pid: u32) -> Option<u64> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // Fields are counted after the program's name, which may itself hold spaces and brackets.
    stat.rsplit_once(')')?.1.split_whitespace().nth(19)?.parse().ok()
}

/// Who holds this lock now, for messages only: the answer may be outdated when it is read.
pub fn holder(path: &Path) -> Option<Owner> {
    let mut file = File::open(path).ok()?;
    // Shared and let go at once; it fails, and harms nothing, while an engine lives.
    match file.try_lock_shared() {
        Err(TryLockError::WouldBlock) => Owner::read(&mut file),
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
    /// Takes the lock or says at once who has it. A lock that no living process has signed is tried again for a moment.
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
        for left in (0..TRIES).rev() {
            match file.try_lock() {
                Ok(()) => break,
                Err(TryLockError::WouldBlock) => {
                    let owner = Owner::read(&mut file);
                    if owner.is_some() || left == 0 {
                        return Err(LockError::Held { path: path.to_owned(), owner });
                    }
                    std::thread::sleep(BETWEEN);
                }
                Err(TryLockError::Error(source)) => return Err(unusable(source)),
            }
        }
        let text = serde_json::to_vec(owner).expect("an owner is plain data");
        file.set_len(0)
            .and_then(|()| file.rewind())
            .and_then(|()| file.write_all(&text))
            .map_err(unusable)?;
        Ok(Self { _file: file })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn me(run: &str) -> Owner {
        let since = Timestamp::UNIX_EPOCH;
        let host = rustix::system::uname().nodename().to_string_lossy().into_owned();
        Owner::this_process(run.into(), "ada".to_owned(), host, since)
    }

    #[test]
    fn whoever_only_looks_keeps_nobody_out() {
        let dir = tempfile::tempdir().expect("a folder");
        let path = dir.path().join("lock");
        drop(Lock::take(&path, &Owner { pid: u32::MAX, ..me("earlier") }).expect("it is free"));
        let looking = File::open(&path).expect("a file");
        looking.try_lock_shared().expect("nobody holds it");
        std::thread::scope(|scope| {
            scope.spawn(|| {
                std::thread::sleep(BETWEEN);
                drop(looking);
            });
            Lock::take(&path, &me("run-1")).expect("only somebody who looks is there");
        });
    }

    #[test]
    fn the_name_of_a_holder_that_is_gone_is_never_given() {
        let dir = tempfile::tempdir().expect("a folder");
        let path = dir.path().join("lock");
        // It has taken the lock and not yet signed it: the file names the one before, who is gone.
        let held =
            Lock::take(&path, &Owner { pid: u32::MAX, ..me("earlier") }).expect("it is free");
        assert_eq!(holder(&path), None);
        let refused = Lock::take(&path, &me("run-2")).expect_err("it is held");
        assert!(matches!(refused, LockError::Held { owner: None, .. }), "{refused}");
        drop(held);
        let _held = Lock::take(&path, &me("run-3")).expect("it is free again");
        assert_eq!(holder(&path).map(|owner| owner.run), Some("run-3".into()));
    }
}
