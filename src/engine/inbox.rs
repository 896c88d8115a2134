//! Requests of people: one file each, written whole or not at all, taken up by the engine or by the next resume.

use std::fs;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use crate::run::PersonRequest;

/// Name of the folder in a run's folder.
const DIR: &str = "inbox";

/// Puts a request into the inbox; durable on return. The file goes away when the engine has journalled it.
pub fn submit(run_dir: &Path, request: &PersonRequest) -> io::Result<PathBuf> {
    let dir = run_dir.join(DIR);
    fs::create_dir_all(&dir)?;
    let path = dir.join(format!("{}.json", request.id));
    let temporary = dir.join(format!("{}.new", request.id));
    let mut file = fs::File::create(&temporary)?;
    file.write_all(&serde_json::to_vec(request)?)?;
    file.sync_all()?;
    fs::rename(&temporary, &path)?;
    fs::File::open(&dir)?.sync_all()?;
    Ok(path)
}

/// Requests that wait, by file name. What can not be read is put aside, so that it is not read again and again.
pub(super) fn waiting(run_dir: &Path) -> Vec<(PathBuf, PersonRequest)> {
    let Ok(entries) = fs::read_dir(run_dir.join(DIR)) else { return Vec::new() };
    let mut paths: Vec<_> = entries
        .filter_map(|entry| Some(entry.ok()?.path()))
        .filter(|path| path.extension().is_some_and(|it| it == "json"))
        .collect();
    paths.sort();
    let mut requests = Vec::new();
    for path in paths {
        match fs::read(&path).ok().and_then(|text| serde_json::from_slice(&text).ok()) {
            Some(request) => requests.push((path, request)),
            None => put_aside(&path),
        }
    }
    requests
}

fn put_aside(path: &Path) {
    if let Err(error) = fs::rename(path, path.with_extension("unreadable")) {
        tracing::warn!(%error, file = %path.display(), "can not put an unreadable request aside");
    }
}

/// Removes a request whose fact is durable.
pub(super) fn taken(path: &Path) {
    // Left behind it is recognised by its id and not taken up twice.
    if let Err(error) = fs::remove_file(path) {
        tracing::warn!(%error, file = %path.display(), "can not remove a request that was taken up");
    }
}
