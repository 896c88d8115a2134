//! Makes a target tree hold what the source holds.
//!
//! A file is written under a temporary name beside its place, synced, given the source's time, read back, and only then
//! renamed: nobody ever sees half a file under its own name. What was copied is remembered in an append-only progress
//! file, synced in batches, so that a later attempt does not read it again. Nothing at the target is deleted unless the
//! plan says so.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};

use futures::{StreamExt as _, TryStreamExt as _};
use opendal::Operator;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};
use tokio_util::sync::CancellationToken;

use super::hashing::digest_all;
use super::progress::{Copied, Progress};
use super::{FileEntry, FilesError, Hash, Manifest, Skipped, Store, digest};
use crate::crash;
use crate::journal::EffectPermit;
use crate::run::hex;

/// Temporary names end in this; whatever carries it at the target is left over from an earlier attempt.
const PART: &str = ".migrate-part";
/// Files under way at the same time: each waits for its own sync to disk.
const SIDE_BY_SIDE: usize = 16;
/// How often a file that changes while it is read is read again.
const READS: u32 = 3;

/// When two files of the same name count as different.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Differs {
    /// In size or time of change; nothing is read. The time is copied along, so a second sync finds nothing to do.
    #[default]
    SizeOrTime,
    /// In content: files of the same size are read on both sides.
    Content,
}

/// What a sync would do.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct SyncPlan {
    /// To be copied, with what the source says of them.
    pub copy: BTreeMap<String, FileEntry>,
    /// At the target only.
    pub extra: Vec<String>,
    /// Temporary files of an attempt that was killed.
    leftovers: Vec<String>,
    /// Already the same.
    pub equal: u64,
    /// Their bytes.
    pub equal_bytes: u64,
    /// At the source, and can not be copied: why.
    pub not_copied: BTreeMap<String, Skipped>,
}

impl SyncPlan {
    /// Bytes to copy.
    pub fn bytes(&self) -> u64 {
        self.copy.values().map(|file| file.size).sum()
    }

    /// The first file or folder of the source that could not be read, and why. As long as there is one, no copy is whole.
    pub fn unread(&self) -> Option<(&str, &str)> {
        self.not_copied.iter().find_map(|(path, why)| match why {
            Skipped::Unreadable(why) => Some((path.as_str(), why.as_str())),
            _ => None,
        })
    }
}

/// What a sync did.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct SyncReport {
    /// Files copied, those of earlier attempts included.
    pub copied: u64,
    /// Their bytes.
    pub copied_bytes: u64,
    /// Files deleted at the target.
    pub deleted: u64,
    /// At the source, and not copied: why.
    pub not_copied: BTreeMap<String, Skipped>,
}

/// Why a sync stopped.
#[derive(Debug, thiserror::Error)]
pub enum SyncError {
    /// A file could not be read or written.
    #[error("can not copy {path}")]
    Copy {
        /// The file, relative to the tree.
        path: String,
        /// Why not.
        #[source]
        cause: io::Error,
    },
    /// What arrived is not what was sent.
    #[error("{0} reads back differently than it was written")]
    Corrupt(String),
    /// A file or folder of the source could not be read; everything else was copied.
    #[error("{0} could not be read: {1}; everything else was copied")]
    Unread(String, String),
    /// A file changed each time it was read.
    #[error("{0} keeps changing while it is copied")]
    Changing(String),
    /// The target could not be opened.
    #[error("can not open the target")]
    Target(#[source] io::Error),
    /// The progress file could not be written.
    #[error("can not write the progress file {path}")]
    Progress {
        /// Where it is.
        path: PathBuf,
        /// Why not.
        #[source]
        cause: io::Error,
    },
    /// A tree could not be read.
    #[error(transparent)]
    Files(#[from] FilesError),
}

/// Compares two trees as far as a copy needs. Files `copied_before` that have not changed since are not read again.
pub async fn plan(
    source: (&Store, &Manifest),
    target: (&Store, &Manifest),
    differs: Differs,
    copied_before: &BTreeMap<String, FileEntry>,
    cancel: &CancellationToken,
) -> Result<SyncPlan, FilesError> {
    let mut plan = SyncPlan { not_copied: source.1.skipped.clone(), ..SyncPlan::default() };
    let mut same_size = Vec::new();
    for (path, file) in &source.1.files {
        match target.1.files.get(path) {
            // The file service trims names; it would write to another place.
            _ if path.trim() != path => {
                plan.not_copied.insert(path.clone(), Skipped::Untrimmed);
            }
            Some(other)
                if other == file
                    && (differs == Differs::SizeOrTime
                        || copied_before.get(path) == Some(file)) =>
            {
                plan.equal += 1;
                plan.equal_bytes += file.size;
            }
            Some(other) if differs == Differs::Content && other.size == file.size => {
                same_size.push(path);
            }
            _ => drop(plan.copy.insert(path.clone(), *file)),
        }
    }
    let paths = |store: &Store| same_size.iter().map(|path| store.folder().join(path)).collect();
    let here = digest_all(paths(source.0), &[Hash::Sha256], cancel, &|_| ()).await?;
    let there = digest_all(paths(target.0), &[Hash::Sha256], cancel, &|_| ()).await?;
    for (path, pair) in same_size.iter().zip(here.into_iter().zip(there)) {
        if matches!(pair, (Ok(here), Ok(there)) if here == there) {
            plan.equal += 1;
            plan.equal_bytes += source.1.files[*path].size;
        } else {
            plan.copy.insert((*path).clone(), source.1.files[*path]);
        }
    }
    for path in target.1.files.keys().filter(|path| !source.1.files.contains_key(*path)) {
        let list = if path.ends_with(PART) { &mut plan.leftovers } else { &mut plan.extra };
        list.push(path.clone());
    }
    Ok(plan)
}

/// Carries a plan out. `seen(files, of)` is told how far it is. Stops at the next whole file when cancelled.
pub async fn carry_out(
    plan: &SyncPlan,
    (source, target): (&Store, &Store),
    delete_extra: bool,
    progress_file: &Path,
    permit: &EffectPermit,
    cancel: &CancellationToken,
    seen: &(dyn Fn(u64, u64) + Sync),
) -> Result<SyncReport, SyncError> {
    let mut progress = Progress::open(progress_file)?;
    let mut report = SyncReport {
        copied: progress.earlier.len() as u64,
        copied_bytes: progress.earlier.values().map(|file| file.size).sum(),
        deleted: 0,
        not_copied: plan.not_copied.clone(),
    };
    let from = source.writer(permit).map_err(|error| SyncError::Target(error.into()))?;
    let to = target.writer(permit).map_err(|error| SyncError::Target(error.into()))?;
    let total = plan.copy.len() as u64;
    let mut under_way = futures::stream::iter(plan.copy.clone().into_iter().map(|(path, file)| {
        copy(path, file, (&from, source.folder()), (&to, target.folder()), cancel)
    }))
    .buffer_unordered(SIDE_BY_SIDE);
    let mut files = 0;
    while let Some(result) = under_way.next().await {
        match result {
            Ok(copied) => {
                if progress.earlier.insert(copied.path.clone(), copied.file).is_none() {
                    report.copied += 1;
                    report.copied_bytes += copied.file.size;
                }
                progress.append(&copied)?;
            }
            Err(CopyFailed::Vanished(path)) => {
                report.not_copied.insert(path, Skipped::Vanished);
            }
            Err(CopyFailed::Other(error)) => {
                progress.sync()?;
                return Err(error);
            }
        }
        files += 1;
        seen(files, total);
    }
    drop(under_way);
    progress.sync()?;
    // Before anything is deleted: what lies below a folder that was not read is not known to be extra.
    if let Some((path, why)) = plan.unread() {
        return Err(SyncError::Unread(path.to_owned(), why.to_owned()));
    }
    let gone = if delete_extra { plan.extra.as_slice() } else { &[] };
    for path in gone.iter().chain(&plan.leftovers) {
        let call = crash::call(|| format!("delete {path}"));
        to.delete(path).await.map_err(|error| failed(path, error.into()))?;
        call.made();
    }
    report.deleted = gone.len() as u64;
    sync_folders(target.folder(), plan.copy.keys().chain(gone)).await?;
    Ok(report)
}

/// Renames are safe once their folders are.
async fn sync_folders(root: &Path, paths: impl Iterator<Item = &String>) -> Result<(), SyncError> {
    let folders: BTreeSet<PathBuf> =
        paths.filter_map(|path| root.join(path).parent().map(Path::to_owned)).collect();
    let synced = tokio::task::spawn_blocking(move || {
        folders
            .iter()
            .filter(|folder| folder.exists())
            .try_for_each(|folder| File::open(folder)?.sync_all())
    });
    synced.await.map_err(|_| FilesError::Cancelled)?.map_err(SyncError::Target)
}

enum CopyFailed {
    Vanished(String),
    Other(SyncError),
}

impl From<SyncError> for CopyFailed {
    fn from(error: SyncError) -> Self {
        Self::Other(error)
    }
}

fn failed(path: &str, cause: io::Error) -> SyncError {
    SyncError::Copy { path: path.to_owned(), cause }
}

async fn copy(
    path: String,
    mut file: FileEntry,
    (from, source): (&Operator, &Path),
    (to, target): (&Operator, &Path),
    cancel: &CancellationToken,
) -> Result<Copied, CopyFailed> {
    let part = part_of(&path);
    for _ in 0..READS {
        if cancel.is_cancelled() {
            return Err(SyncError::from(FilesError::Cancelled).into());
        }
        let sent = match stream(&path, &part, from, to).await {
            Err(error)
                if error.kind() == io::ErrorKind::NotFound && !source.join(&path).exists() =>
            {
                return Err(CopyFailed::Vanished(path));
            }
            result => result.map_err(|error| failed(&path, error))?,
        };
        let (original, copy) = (source.join(&path), target.join(&part));
        let (now, arrived) = tokio::task::spawn_blocking(move || settle(&original, &copy, file))
            .await
            .map_err(|_| SyncError::from(FilesError::Cancelled))?
            .map_err(|error| failed(&path, error))?;
        if now != file {
            file = now;
            continue;
        }
        if arrived.as_deref() != Some(sent.as_str()) {
            return Err(SyncError::Corrupt(path).into());
        }
        let call = crash::call(|| format!("put {path} in its place"));
        to.rename(&part, &path).await.map_err(|error| failed(&path, error.into()))?;
        call.made();
        return Ok(Copied { path, file, sha256: sent });
    }
    Err(SyncError::Changing(path).into())
}

/// Streams one file to its temporary name; answers with the SHA-256 of what was read.
async fn stream(path: &str, part: &str, from: &Operator, to: &Operator) -> io::Result<String> {
    let mut chunks = from.reader(path).await?.into_bytes_stream(..).await?;
    let mut writer = to.writer(part).await?;
    let mut sha256 = Sha256::new();
    while let Some(chunk) = chunks.try_next().await? {
        sha256.update(&chunk);
        writer.write(chunk).await?;
    }
    writer.close().await?;
    Ok(hex(&sha256.finalize()))
}

/// Gives the copy the original's time and reads it back; also says what the original looks like by now.
fn settle(
    original: &Path,
    copy: &Path,
    file: FileEntry,
) -> io::Result<(FileEntry, Option<String>)> {
    File::options().write(true).open(copy)?.set_modified(file.modified.into())?;
    let arrived = digest(copy, &[Hash::Sha256])?.sha256;
    Ok((FileEntry::of(&fs::metadata(original)?)?, arrived))
}

/// The temporary name beside `path`: always the same, so that a killed copy is overwritten by the next.
fn part_of(path: &str) -> String {
    let (folder, name) = path.rsplit_once('/').map_or(("", path), |(folder, name)| (folder, name));
    let name = &hex(&Sha256::digest(name))[..16];
    let slash = if folder.is_empty() { "" } else { "/" };
    format!("{folder}{slash}.{name}{PART}")
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::files::{Exclude, copied_before};

    struct Trees {
        folder: tempfile::TempDir,
    }

    impl Trees {
        fn new() -> Self {
            let folder = tempfile::tempdir().expect("a temporary folder");
            for (path, text) in [("source/a/one", "1"), ("source/two", "22"), ("target/odd", "?")] {
                let path = folder.path().join(path);
                fs::create_dir_all(path.parent().expect("a folder")).expect("a folder");
                fs::write(path, text).expect("a file");
            }
            Self { folder }
        }

        fn store(&self, name: &str) -> Store {
            let system = json!({ "folder": name });
            Store::of(name, Some(&system), |path| self.folder.path().join(path)).expect("a store")
        }

        fn progress(&self) -> PathBuf {
            self.folder.path().join("progress.jsonl")
        }

        async fn plan(&self, differs: Differs) -> SyncPlan {
            let (source, target) = (self.store("source"), self.store("target"));
            let here = source.manifest(&Exclude::default()).await.expect("a manifest");
            let there = target.manifest(&Exclude::default()).await.expect("a manifest");
            let before = copied_before(&self.progress());
            let cancel = CancellationToken::new();
            plan((&source, &here), (&target, &there), differs, &before, &cancel)
                .await
                .expect("a plan")
        }

        async fn sync(&self, delete_extra: bool) -> Result<SyncReport, SyncError> {
            let plan = self.plan(Differs::default()).await;
            let stores = (&self.store("source"), &self.store("target"));
            let (permit, cancel) = (EffectPermit::for_test("key"), CancellationToken::new());
            let progress = self.progress();
            carry_out(&plan, stores, delete_extra, &progress, &permit, &cancel, &|_, _| ()).await
        }
    }

    #[tokio::test]
    async fn a_second_sync_finds_nothing_to_do_and_extra_files_stay() {
        let trees = Trees::new();
        let report = trees.sync(false).await.expect("a sync");
        assert_eq!((report.copied, report.copied_bytes, report.deleted), (2, 3, 0));
        let plan = trees.plan(Differs::default()).await;
        assert!(plan.copy.is_empty());
        assert_eq!((plan.equal, plan.extra.as_slice()), (2, ["odd".to_owned()].as_slice()));
    }

    #[tokio::test]
    async fn content_tells_files_apart_that_size_and_time_do_not() {
        let trees = Trees::new();
        trees.sync(false).await.expect("a sync");
        let [source, target] =
            ["source/two", "target/two"].map(|path| trees.folder.path().join(path));
        fs::write(&target, "2x").expect("a change");
        let time = fs::metadata(source).and_then(|file| file.modified()).expect("a time");
        let file = File::options().write(true).open(&target).expect("the file");
        file.set_modified(time).expect("the same time");
        assert!(trees.plan(Differs::SizeOrTime).await.copy.is_empty());
        fs::remove_file(trees.progress()).expect("no memory of the copy");
        assert_eq!(trees.plan(Differs::Content).await.copy.len(), 1);
    }

    #[tokio::test]
    async fn extra_files_and_leftovers_go_when_asked() {
        let trees = Trees::new();
        fs::write(trees.folder.path().join("target").join(part_of("gone")), "half").expect("part");
        let report = trees.sync(true).await.expect("a sync");
        assert_eq!(report.deleted, 1);
        let left = trees.store("target").manifest(&Exclude::default()).await.expect("a manifest");
        assert_eq!(left.files.keys().collect::<Vec<_>>(), ["a/one", "two"]);
    }

    #[tokio::test]
    async fn a_torn_progress_file_is_gone_on_with() {
        let trees = Trees::new();
        trees.sync(false).await.expect("a sync");
        let text = fs::read_to_string(trees.progress()).expect("progress");
        fs::write(trees.progress(), &text[..text.len() - 5]).expect("torn");
        fs::remove_dir_all(trees.folder.path().join("target")).expect("gone");
        fs::create_dir(trees.folder.path().join("target")).expect("an empty target");
        trees.sync(false).await.expect("a sync");
        assert_eq!(copied_before(&trees.progress()).len(), 2);
    }

    #[tokio::test]
    async fn a_cancelled_sync_leaves_no_file_under_its_own_name() {
        let trees = Trees::new();
        let plan = trees.plan(Differs::default()).await;
        let (permit, cancel) = (EffectPermit::for_test("key"), CancellationToken::new());
        cancel.cancel();
        let stores = (&trees.store("source"), &trees.store("target"));
        let stopped =
            carry_out(&plan, stores, false, &trees.progress(), &permit, &cancel, &|_, _| ()).await;
        assert!(matches!(stopped, Err(SyncError::Files(FilesError::Cancelled))));
        assert!(!trees.folder.path().join("target/two").exists());
    }

    #[tokio::test]
    async fn a_folder_that_can_not_be_read_fails_the_copy_and_nothing_is_deleted() {
        let trees = Trees::new();
        trees.sync(false).await.expect("a sync");
        let extra = trees.folder.path().join("target/share");
        fs::create_dir_all(&extra).expect("a folder");
        fs::write(extra.join("kept"), "k").expect("a file");
        let mut plan = trees.plan(Differs::default()).await;
        let why = Skipped::Unreadable("Input/output error".to_owned());
        plan.not_copied.insert("share".to_owned(), why);
        let stores = (&trees.store("source"), &trees.store("target"));
        let (permit, cancel) = (EffectPermit::for_test("key"), CancellationToken::new());
        let progress = trees.progress();
        let stopped = carry_out(&plan, stores, true, &progress, &permit, &cancel, &|_, _| ()).await;
        assert!(matches!(stopped, Err(SyncError::Unread(path, _)) if path == "share"));
        assert!(extra.join("kept").exists());
    }

    #[tokio::test]
    async fn names_the_service_would_change_are_reported_and_not_copied() {
        let trees = Trees::new();
        fs::write(trees.folder.path().join("source/ two"), "blank").expect("a file");
        let report = trees.sync(false).await.expect("a sync");
        assert_eq!(report.not_copied.keys().collect::<Vec<_>>(), [" two"]);
        assert_eq!(
            fs::read_to_string(trees.folder.path().join("target/two")).ok().as_deref(),
            Some("22")
        );
    }
}
