//! The sandbox's folder: what is in it, and the settings that a restart keeps.

use std::fs::{self, File, TryLockError};
use std::path::{Path, PathBuf};

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::disk;
use super::error::SandboxError;
use super::scenario::Scenario;

const SETTINGS_FILE: &str = "sandbox.json";
const LOCK_FILE: &str = "sandbox.lock";

/// The folder of the files and databases to migrate, in the sandbox's folder.
const ESTATE_FOLDER: &str = "estate";

/// What a restart keeps.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct Settings {
    /// The sandbox's time when the world began.
    pub(super) began: Timestamp,
    pub(super) ports: Ports,
    pub(super) scenario: Scenario,
}

/// Loopback ports.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ports {
    /// ARM and authority, HTTPS, 127.0.0.1.
    pub azure: u16,
    /// Managed identity, HTTP, 127.0.0.1.
    pub identity: u16,
    /// Applications, HTTP, 127.0.0.2 (source) and 127.0.0.3 (target).
    pub http: u16,
    /// DNS, UDP and TCP, 127.0.0.4 and 127.0.0.5.
    pub dns: u16,
}

/// Makes the folder and takes it: one sandbox at a time.
pub(super) fn take(dir: &Path) -> Result<File, SandboxError> {
    let mut builder = fs::DirBuilder::new();
    // The folder of a run is made on the way here.
    #[cfg(unix)]
    std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
    builder.recursive(true).create(dir).map_err(SandboxError::file("create", dir))?;
    #[cfg(unix)]
    {
        let only_owner = std::os::unix::fs::PermissionsExt::from_mode(0o700);
        fs::set_permissions(dir, only_owner).map_err(SandboxError::file("restrict", dir))?;
    }
    let lock = disk::append_to(&dir.join(LOCK_FILE))?;
    match lock.try_lock() {
        Ok(()) => Ok(lock),
        Err(TryLockError::WouldBlock) => Err(SandboxError::InUse { dir: dir.to_owned() }),
        Err(TryLockError::Error(source)) => Err(SandboxError::file("lock", dir)(source)),
    }
}

/// The settings in `dir`, if a sandbox ever started there.
pub(super) fn settings(dir: &Path) -> Result<Option<Settings>, SandboxError> {
    let path = dir.join(SETTINGS_FILE);
    let bytes = match fs::read(&path) {
        Ok(bytes) => bytes,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(SandboxError::file("read", &path)(error)),
    };
    let wrong = |error: serde_json::Error| SandboxError::file("read", &path)(error.into());
    serde_json::from_slice(&bytes).map(Some).map_err(wrong)
}

/// Keeps them; durable when this returns.
pub(super) fn keep(dir: &Path, settings: &Settings) -> Result<(), SandboxError> {
    let bytes = serde_json::to_vec_pretty(settings).expect("settings are plain JSON");
    disk::replace(&dir.join(SETTINGS_FILE), &bytes)
}

/// The estate of the sandbox in `dir`: where a sandbox run's relative paths start.
pub fn estate_in(dir: &Path) -> PathBuf {
    dir.join(ESTATE_FOLDER)
}
