//! A tree of files at the beginning of a freeze: path, size and time of change of every file, kept beside the journal.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use jiff::Timestamp;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::Exception;
use super::list::{self, Since};
use crate::files::{Exclude, Manifest, Skipped, Store};

/// Files that must not change.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct FilesWatch {
    /// The folder, relative to the runbook.
    pub folder: String,
    /// Paths below it that may change, each with everything below it.
    #[serde(default)]
    pub exclude: Vec<String>,
}

/// What the tree was, by fingerprint; the list itself is in a file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Baseline {
    folder: PathBuf,
    exclude: Vec<String>,
    kept: String,
    sha256: String,
    /// Files in the tree.
    pub files: usize,
}

impl Baseline {
    /// Reads the tree; answers with the baseline and the text that [`Self::keep`] is to write.
    pub async fn read(
        folder: PathBuf,
        exclude: &[String],
        kept: String,
    ) -> Result<(Self, String), String> {
        let text = listing(&folder, exclude).await?;
        let baseline = Self {
            folder,
            exclude: exclude.to_vec(),
            kept,
            sha256: list::fingerprint(&text),
            files: text.lines().count(),
        };
        Ok((baseline, text))
    }

    /// Writes the list beside the journal.
    pub fn keep(&self, to: &Path, text: &str) -> std::io::Result<()> {
        list::keep(to, &self.kept, text)
    }

    /// What differs from the baseline and was not agreed. `Err` when the tree can not be read.
    pub(super) async fn violations(
        &self,
        kept: &Path,
        exceptions: &[Exception],
        now: Timestamp,
    ) -> Result<Vec<String>, String> {
        let text = listing(&self.folder, &self.exclude).await?;
        let folder = self.folder.display();
        Ok(match list::since(kept, &self.kept, &self.sha256, &text) {
            Since::Same => Vec::new(),
            Since::Lost => vec![format!("{folder} changed; the list of what was there is lost")],
            Since::Changed(paths) => {
                let agreed =
                    |path: &String| exceptions.iter().any(|it| it.covers("files", path, now));
                let paths = paths.into_iter().filter(|path| !agreed(path));
                let named = list::named(paths, "files");
                named.into_iter().map(|path| format!("{path} in {folder} changed")).collect()
            }
        })
    }
}

/// One line a file, sorted by path: `size time path`.
async fn listing(folder: &Path, exclude: &[String]) -> Result<String, String> {
    let system = serde_json::json!({ "folder": folder });
    let store = Store::of("freeze", Some(&system), |path| path.into())?;
    let Manifest { files, skipped } =
        store.manifest(&Exclude::new(exclude)).await.map_err(|error| error.to_string())?;
    // What was not read can not be told from what has changed, now or at any later look.
    if let Some((path, why)) = skipped.iter().find(|(_, why)| matches!(why, Skipped::Unreadable(_)))
    {
        return Err(format!("{path} in {} is {why}", folder.display()));
    }
    let mut text = String::new();
    for (path, entry) in &files {
        let _ = writeln!(text, "{} {} {path:?}", entry.size, entry.modified);
    }
    for path in skipped.keys() {
        let _ = writeln!(text, "- - {path:?}");
    }
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn changes_are_named_and_agreed_ones_are_not() {
        let (tree, kept) =
            (tempfile::tempdir().expect("a folder"), tempfile::tempdir().expect("a folder"));
        for name in ["a.txt", "b.txt", "cache"] {
            std::fs::write(tree.path().join(name), name).expect("written");
        }
        let exclude = ["cache".to_owned()];
        let root = tree.path().to_owned();
        let (baseline, text) =
            Baseline::read(root, &exclude, "freeze-1.list".to_owned()).await.expect("read");
        assert_eq!(baseline.files, 2);
        baseline.keep(kept.path(), &text).expect("kept");
        let now = Timestamp::UNIX_EPOCH;
        let seen = async |exceptions: &[Exception]| {
            baseline.violations(kept.path(), exceptions, now).await.expect("readable")
        };
        std::fs::write(tree.path().join("cache"), "other").expect("written");
        assert_eq!(seen(&[]).await, Vec::<String>::new());
        std::fs::write(tree.path().join("b.txt"), "longer").expect("written");
        std::fs::write(tree.path().join("new.txt"), "").expect("written");
        let named = seen(&[]).await;
        assert_eq!(named.len(), 2, "{named:?}");
        assert!(named[0].starts_with("b.txt in "), "{named:?}");
        let agreed = |resource: &str| Exception {
            operation: "files".to_owned(),
            resource: resource.to_owned(),
            approver: "ops".to_owned(),
            until: Timestamp::MAX,
        };
        assert_eq!(seen(&[agreed("b.txt"), agreed("new.txt")]).await, Vec::<String>::new());
        std::fs::remove_dir_all(tree.path()).expect("gone");
        assert!(baseline.violations(kept.path(), &[], now).await.is_err());
    }
}
