//! Files that must survive a kill: written aside, synced, renamed, and their folder synced.

use std::fs::{self, File, OpenOptions};
use std::io::Write;
use std::path::Path;

use super::error::SandboxError;

/// Puts `bytes` at `path`, all or nothing, readable by the owner only.
pub(super) fn replace(path: &Path, bytes: &[u8]) -> Result<(), SandboxError> {
    let aside = path.with_extension("partial");
    let mut file =
        private().truncate(true).open(&aside).map_err(SandboxError::file("create", &aside))?;
    file.write_all(bytes)
        .and_then(|()| file.sync_all())
        .map_err(SandboxError::file("write", &aside))?;
    fs::rename(&aside, path).map_err(SandboxError::file("rename to", path))?;
    sync_folder(path)
}

/// Opens for appending, made if missing, readable by the owner only.
pub(super) fn append_to(path: &Path) -> Result<File, SandboxError> {
    let file =
        private().append(true).read(true).open(path).map_err(SandboxError::file("open", path))?;
    sync_folder(path)?;
    Ok(file)
}

/// Makes the name in its folder durable.
pub(super) fn sync_folder(path: &Path) -> Result<(), SandboxError> {
    let Some(folder) = path.parent().filter(|folder| cfg!(unix) && !folder.as_os_str().is_empty())
    else {
        return Ok(());
    };
    File::open(folder)
        .and_then(|folder| folder.sync_all())
        .map_err(SandboxError::file("sync", folder))
}

fn private() -> OpenOptions {
    let mut options = OpenOptions::new();
    options.create(true).write(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    options
}
