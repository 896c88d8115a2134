//! What is in a tree: paths, sizes, times, and digests streamed on blocking threads.
//!
//! Paths are relative to the tree's root and joined with `/`, in byte order. Empty folders are not part of a manifest.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{self, Read};
use std::path::Path;

use jiff::Timestamp;
use md5::{Digest, Md5};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use sha2::Sha256;

use super::FilesError;
use crate::run::hex;

/// Bytes read at once while hashing.
const CHUNK_BYTES: usize = 128 * 1024;

/// A digest to compare by.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Hash {
    /// MD5, as object stores keep it; finds accidents, not forgeries.
    Md5,
    /// SHA-256.
    Sha256,
}

/// Digests of one file, in lower-case hex; only those that were asked for.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Digests {
    /// MD5.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub md5: Option<String>,
    /// SHA-256.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sha256: Option<String>,
}

/// A regular file as its folder describes it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct FileEntry {
    /// In bytes.
    pub size: u64,
    /// When its content last changed.
    pub modified: Timestamp,
}

/// Something in a tree that is not taken for a file, and why.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Skipped {
    /// A symbolic link, with what it points to. Never followed.
    Link(String),
    /// A socket, pipe or device.
    Special,
    /// Its name is not Unicode text; the path shown is an approximation.
    Name,
    /// Its name begins or ends with white space, which file services cut off.
    Untrimmed,
    /// It was there and went away.
    Vanished,
    /// It could not be read this time: what is in it is not known.
    Unreadable(String),
}

impl std::fmt::Display for Skipped {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Link(to) => write!(f, "a symbolic link to {to}, not followed"),
            Self::Special => f.write_str("neither a file nor a folder"),
            Self::Name => f.write_str("a name that is not Unicode text"),
            Self::Untrimmed => f.write_str("a name that begins or ends with white space"),
            Self::Vanished => f.write_str("it went away while the tree was copied"),
            Self::Unreadable(why) => write!(f, "not readable: {why}"),
        }
    }
}

/// Relative paths that are left out, each with everything below it.
#[derive(Debug, Clone, Default)]
pub struct Exclude(Vec<String>);

impl Exclude {
    /// Leaves these out; slashes at either end mean nothing.
    pub fn new(paths: &[String]) -> Self {
        Self(paths.iter().map(|path| path.trim_matches('/').to_owned()).collect())
    }

    fn covers(&self, path: &str) -> bool {
        self.0.iter().any(|left_out| {
            path.strip_prefix(left_out.as_str())
                .is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
        })
    }
}

/// What is in a tree.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Manifest {
    /// Regular files by relative path.
    pub files: BTreeMap<String, FileEntry>,
    /// Whatever else was found, by relative path.
    pub skipped: BTreeMap<String, Skipped>,
}

impl Manifest {
    /// Bytes of all files.
    pub fn bytes(&self) -> u64 {
        self.files.values().map(|file| file.size).sum()
    }
}

/// Reads the tree under `root`. Blocking; a folder below the root that can not be read is part of the answer.
pub fn walk(root: &Path, exclude: &Exclude) -> Result<Manifest, FilesError> {
    let mut manifest = Manifest::default();
    let unreadable = |cause: io::Error| match cause.kind() {
        io::ErrorKind::NotFound => FilesError::NoFolder(root.to_owned()),
        _ => FilesError::Read { path: root.to_owned(), cause },
    };
    let mut open = vec![(String::new(), fs::read_dir(root).map_err(unreadable)?)];
    while let Some((prefix, entries)) = open.pop() {
        for entry in entries {
            let entry = match entry {
                Ok(entry) => entry,
                Err(cause) => {
                    let why = Skipped::Unreadable(cause.to_string());
                    manifest.skipped.insert(format!("{prefix}?"), why);
                    continue;
                }
            };
            let Ok(name) = entry.file_name().into_string() else {
                let shown = format!("{prefix}{}", entry.file_name().to_string_lossy());
                manifest.skipped.insert(shown, Skipped::Name);
                continue;
            };
            let path = format!("{prefix}{name}");
            if exclude.covers(&path) {
                continue;
            }
            match look_at(&entry) {
                Ok(Found::File(file)) => drop(manifest.files.insert(path, file)),
                Ok(Found::Folder(below)) => open.push((format!("{path}/"), below)),
                Ok(Found::Other(why)) => drop(manifest.skipped.insert(path, why)),
                Err(cause) => {
                    manifest.skipped.insert(path, Skipped::Unreadable(cause.to_string()));
                }
            }
        }
    }
    Ok(manifest)
}

enum Found {
    File(FileEntry),
    Folder(fs::ReadDir),
    Other(Skipped),
}

fn look_at(entry: &fs::DirEntry) -> io::Result<Found> {
    let kind = entry.file_type()?;
    Ok(if kind.is_symlink() {
        Found::Other(Skipped::Link(fs::read_link(entry.path())?.display().to_string()))
    } else if kind.is_dir() {
        Found::Folder(fs::read_dir(entry.path())?)
    } else if kind.is_file() {
        Found::File(FileEntry::of(&entry.metadata()?)?)
    } else {
        Found::Other(Skipped::Special)
    })
}

impl FileEntry {
    /// Size and time out of a file's metadata.
    pub fn of(metadata: &fs::Metadata) -> io::Result<Self> {
        let modified = Timestamp::try_from(metadata.modified()?).map_err(io::Error::other)?;
        Ok(Self { size: metadata.len(), modified })
    }
}

/// Streams one file through the digests asked for. Blocking.
pub fn digest(path: &Path, hashes: &[Hash]) -> io::Result<Digests> {
    let mut file = File::open(path)?;
    let mut md5 = hashes.contains(&Hash::Md5).then(Md5::new);
    let mut sha256 = hashes.contains(&Hash::Sha256).then(Sha256::new);
    let mut chunk = vec![0; CHUNK_BYTES];
    loop {
        let read = match file.read(&mut chunk) {
            Ok(0) => break,
            Ok(read) => read,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) => return Err(error),
        };
        if let Some(md5) = &mut md5 {
            md5.update(&chunk[..read]);
        }
        if let Some(sha256) = &mut sha256 {
            sha256.update(&chunk[..read]);
        }
    }
    Ok(Digests {
        md5: md5.map(|digest| hex(&digest.finalize())),
        sha256: sha256.map(|digest| hex(&digest.finalize())),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn links_are_named_and_not_followed() {
        let tree = tempfile::tempdir().expect("a temporary folder");
        fs::create_dir(tree.path().join("a")).expect("a folder");
        fs::write(tree.path().join("a/one"), "1").expect("a file");
        std::os::unix::fs::symlink("a", tree.path().join("link")).expect("a link");
        let manifest = walk(tree.path(), &Exclude::default()).expect("a manifest");
        assert_eq!(manifest.files.keys().collect::<Vec<_>>(), ["a/one"]);
        assert_eq!(manifest.skipped["link"], Skipped::Link("a".to_owned()));
    }

    #[test]
    fn names_that_are_not_text_are_reported() {
        use std::os::unix::ffi::OsStrExt as _;
        let tree = tempfile::tempdir().expect("a temporary folder");
        let name = std::ffi::OsStr::from_bytes(b"caf\xe9");
        fs::write(tree.path().join(name), "1").expect("a file");
        let manifest = walk(tree.path(), &Exclude::default()).expect("a manifest");
        assert!(manifest.files.is_empty());
        assert_eq!(manifest.skipped.values().collect::<Vec<_>>(), [&Skipped::Name]);
    }

    #[test]
    fn exclusion_is_by_whole_names() {
        let exclude = Exclude::new(&["logs/".to_owned()]);
        assert!(exclude.covers("logs") && exclude.covers("logs/today"));
        assert!(!exclude.covers("logs.txt"));
    }

    #[test]
    fn digests_are_those_of_the_standards() {
        let file = tempfile::NamedTempFile::new().expect("a file");
        fs::write(file.path(), "abc").expect("content");
        let digests = digest(file.path(), &[Hash::Md5, Hash::Sha256]).expect("digests");
        assert_eq!(digests.md5.as_deref(), Some("900150983cd24fb0d6963f7d28e17f72"));
        let sha256 = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
        assert_eq!(digests.sha256.as_deref(), Some(sha256));
    }

    #[test]
    fn a_missing_folder_is_an_answer_of_its_own() {
        let tree = tempfile::tempdir().expect("a temporary folder");
        let missing = walk(&tree.path().join("none"), &Exclude::default());
        assert!(matches!(missing, Err(FilesError::NoFolder(_))));
    }
}
