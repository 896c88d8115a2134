//! Two trees compared by content, file by file.
//!
//! Five verdicts: equal, different, missing, extra, not compared. Sizes settle what they can; everything else is read in
//! full on both sides. What could not be read, and what is no regular file on either side, is *not compared*.

use std::collections::BTreeMap;

use tokio_util::sync::CancellationToken;

use super::hashing::digest_all;
use super::{Digests, Exclude, FilesError, Hash, Manifest, Store};

/// What came out for one file that is not equal.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum FileVerdict {
    /// On both sides, and not the same: in what.
    Different(String),
    /// At the source only.
    Missing,
    /// At the target only.
    Extra,
    /// It could not be compared: why.
    NotCompared(String),
}

impl std::fmt::Display for FileVerdict {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Different(how) => write!(f, "different: {how}"),
            Self::Missing => f.write_str("missing at the target"),
            Self::Extra => f.write_str("extra at the target"),
            Self::NotCompared(why) => write!(f, "not compared: {why}"),
        }
    }
}

/// What came out for two trees.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Comparison {
    /// Files equal in size and in every digest asked for.
    pub equal: u64,
    /// Their bytes.
    pub equal_bytes: u64,
    /// Files and bytes at the source.
    pub source: (u64, u64),
    /// Files and bytes at the target.
    pub target: (u64, u64),
    /// Everything else, by path.
    pub rest: BTreeMap<String, FileVerdict>,
    /// Digest over paths and digests of the equal files: the same for the same tree, whenever it is compared.
    pub tree: String,
}

impl Comparison {
    /// Everything was compared and is equal; nothing else opens a gate.
    pub fn all_equal(&self) -> bool {
        self.rest.is_empty()
    }

    /// How many of each verdict: different, missing, extra, not compared.
    pub fn counts(&self) -> [usize; 4] {
        self.rest.values().fold([0; 4], |mut counts, verdict| {
            counts[match verdict {
                FileVerdict::Different(_) => 0,
                FileVerdict::Missing => 1,
                FileVerdict::Extra => 2,
                FileVerdict::NotCompared(_) => 3,
            }] += 1;
            counts
        })
    }
}

/// Compares two trees. `seen(files, of)` is told how far it is.
pub async fn compare(
    source: &Store,
    target: &Store,
    (exclude, hashes, times): (&Exclude, &[Hash], bool),
    cancel: &CancellationToken,
    seen: &(dyn Fn(u64, u64) + Sync),
) -> Result<Comparison, FilesError> {
    let at_source = source.manifest(exclude).await?;
    let at_target = target.manifest(exclude).await?;
    let mut comparison = outline(&at_source, &at_target, times);
    let undecided: Vec<&String> =
        at_source.files.keys().filter(|path| !comparison.rest.contains_key(*path)).collect();
    let paths = |store: &Store| undecided.iter().map(|path| store.folder().join(path)).collect();
    let total = 2 * undecided.len() as u64;
    let half = undecided.len() as u64;
    let left = digest_all(paths(source), hashes, cancel, &|files| seen(files, total)).await?;
    let right =
        digest_all(paths(target), hashes, cancel, &|files| seen(half + files, total)).await?;
    let mut tree = String::new();
    for (path, pair) in undecided.into_iter().zip(left.into_iter().zip(right)) {
        match judge(pair) {
            Ok(digests) => {
                comparison.equal += 1;
                comparison.equal_bytes += at_source.files[path].size;
                tree.extend([path.as_str(), "\0", &digest_text(&digests), "\n"]);
            }
            Err(verdict) => drop(comparison.rest.insert(path.clone(), verdict)),
        }
    }
    comparison.tree = crate::run::fingerprint(&tree.into());
    Ok(comparison)
}

/// What names, sizes and times tell, before any file is read.
fn outline(source: &Manifest, target: &Manifest, times: bool) -> Comparison {
    let mut rest = BTreeMap::new();
    for (path, file) in &source.files {
        let verdict = match target.files.get(path) {
            None if target.skipped.contains_key(path) => continue,
            None => FileVerdict::Missing,
            Some(other) if other.size != file.size => FileVerdict::Different(format!(
                "{} bytes at the source, {} at the target",
                file.size, other.size
            )),
            Some(other) if times && other.modified != file.modified => {
                FileVerdict::Different(format!(
                    "changed {} at the source, {} at the target",
                    file.modified, other.modified
                ))
            }
            Some(_) => continue,
        };
        rest.insert(path.clone(), verdict);
    }
    for path in target.files.keys().filter(|path| !source.files.contains_key(*path)) {
        rest.insert(path.clone(), FileVerdict::Extra);
    }
    for (side, skipped) in [("source", &source.skipped), ("target", &target.skipped)] {
        for (path, why) in skipped {
            let why = format!("at the {side} {why}");
            rest.insert(path.clone(), FileVerdict::NotCompared(why));
        }
    }
    Comparison {
        source: (source.files.len() as u64, source.bytes()),
        target: (target.files.len() as u64, target.bytes()),
        rest,
        ..Comparison::default()
    }
}

type Read = std::io::Result<Digests>;

fn judge(pair: (Read, Read)) -> Result<Digests, FileVerdict> {
    match pair {
        (Ok(source), Ok(target)) if source == target => Ok(source),
        (Ok(source), Ok(target)) => Err(FileVerdict::Different(format!(
            "{} at the source, {} at the target",
            digest_text(&source),
            digest_text(&target)
        ))),
        (Err(error), _) => {
            Err(FileVerdict::NotCompared(format!("not readable at the source: {error}")))
        }
        (_, Err(error)) => {
            Err(FileVerdict::NotCompared(format!("not readable at the target: {error}")))
        }
    }
}

fn digest_text(digests: &Digests) -> String {
    let md5 = digests.md5.as_ref().map(|text| format!("md5 {text}"));
    let sha256 = digests.sha256.as_ref().map(|text| format!("sha256 {text}"));
    [sha256, md5].into_iter().flatten().collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::PermissionsExt as _;

    use serde_json::json;

    use super::*;

    fn store(folder: &tempfile::TempDir, name: &str) -> Store {
        let system = json!({ "folder": name });
        Store::of(name, Some(&system), |path| folder.path().join(path)).expect("a store")
    }

    async fn compared(folder: &tempfile::TempDir) -> Comparison {
        let (source, target) = (store(folder, "source"), store(folder, "target"));
        let how = (&Exclude::default(), [Hash::Md5, Hash::Sha256].as_slice(), false);
        compare(&source, &target, how, &CancellationToken::new(), &|_, _| ())
            .await
            .expect("a comparison")
    }

    fn trees(files: &[(&str, &str)]) -> tempfile::TempDir {
        let folder = tempfile::tempdir().expect("a temporary folder");
        for side in ["source", "target"] {
            fs::create_dir(folder.path().join(side)).expect("a folder");
        }
        for (path, text) in files {
            fs::write(folder.path().join(path), text).expect("a file");
        }
        folder
    }

    #[tokio::test]
    async fn every_verdict_is_told() {
        let folder = trees(&[
            ("source/same", "1"),
            ("target/same", "1"),
            ("source/content", "12"),
            ("target/content", "21"),
            ("source/size", "1"),
            ("target/size", "12"),
            ("source/missing", "1"),
            ("target/extra", "1"),
        ]);
        std::os::unix::fs::symlink("same", folder.path().join("source/link")).expect("a link");
        let comparison = compared(&folder).await;
        assert_eq!((comparison.equal, comparison.counts()), (1, [2, 1, 1, 1]));
        assert!(!comparison.all_equal());
        assert!(matches!(comparison.rest["link"], FileVerdict::NotCompared(_)));
    }

    #[tokio::test]
    async fn what_can_not_be_read_is_not_equal() {
        let folder = trees(&[("source/a", "1"), ("target/a", "1")]);
        let file = folder.path().join("target/a");
        fs::set_permissions(&file, fs::Permissions::from_mode(0o000)).expect("no rights");
        if fs::read(&file).is_ok() {
            // Root reads everything; a folder in place of the file is the next best.
            fs::remove_file(&file).expect("gone");
            std::os::unix::fs::symlink("/dev/null", &file).expect("a link");
        }
        let comparison = compared(&folder).await;
        assert_eq!((comparison.equal, comparison.counts()), (0, [0, 0, 0, 1]));
    }

    #[tokio::test]
    async fn the_tree_has_one_digest() {
        let one = compared(&trees(&[("source/a", "1"), ("target/a", "1")])).await;
        let two = compared(&trees(&[("source/a", "1"), ("target/a", "1")])).await;
        let other = compared(&trees(&[("source/a", "2"), ("target/a", "2")])).await;
        assert!(one.all_equal() && one.tree == two.tree && one.tree != other.tree);
    }

    /// Four thousand reads in a debug build; the number it prints is for people, nothing is asserted about time.
    #[tokio::test]
    async fn two_thousand_small_files_compare() {
        let folder = trees(&[]);
        for at in 0..2000 {
            for side in ["source", "target"] {
                fs::write(folder.path().join(format!("{side}/{at}")), vec![b'x'; 4096])
                    .expect("a file");
            }
        }
        assert_eq!(compared(&folder).await.equal, 2000);
    }
}
