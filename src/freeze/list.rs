//! A list of what was there at the beginning of a freeze: its fingerprint is in the journal, its lines are in a file beside it.
//!
//! The fingerprint alone decides whether anything changed; the lines only name it. Each line is two words and a quoted name.

use std::collections::BTreeSet;
use std::io;
use std::path::Path;

use sha2::{Digest as _, Sha256};

use crate::run::hex;

/// Names told one by one; more are counted.
const NAMED: usize = 5;

/// What became of a list.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Since {
    /// Nothing.
    Same,
    /// These names have another line, or a line in one of the two only.
    Changed(BTreeSet<String>),
    /// Something, and what it was before is lost.
    Lost,
}

/// SHA-256 of the lines.
pub(super) fn fingerprint(text: &str) -> String {
    hex(&Sha256::digest(text))
}

/// Writes the lines beside the journal.
pub(super) fn keep(to: &Path, name: &str, text: &str) -> io::Result<()> {
    std::fs::create_dir_all(to)?;
    let file = to.join(name);
    let fresh = file.with_extension("new");
    std::fs::write(&fresh, text)?;
    std::fs::rename(fresh, file)
}

/// Compares `now` with the list of that name and fingerprint.
pub(super) fn since(kept: &Path, name: &str, then: &str, now: &str) -> Since {
    if fingerprint(now) == then {
        return Since::Same;
    }
    let before = std::fs::read_to_string(kept.join(name)).unwrap_or_default();
    if fingerprint(&before) == then { Since::Changed(differing(&before, now)) } else { Since::Lost }
}

/// The first few of these names, and how many more there are.
pub(super) fn named(names: impl IntoIterator<Item = String>, what: &str) -> Vec<String> {
    let mut names: Vec<_> = names.into_iter().collect();
    let more = names.len().saturating_sub(NAMED);
    names.truncate(NAMED);
    if more > 0 {
        names.push(format!("{more} more {what}"));
    }
    names
}

/// Names whose lines are in one list only.
fn differing(before: &str, after: &str) -> BTreeSet<String> {
    let (before, after): (BTreeSet<_>, BTreeSet<_>) =
        (before.lines().collect(), after.lines().collect());
    before
        .symmetric_difference(&after)
        .filter_map(|line| line.splitn(3, ' ').nth(2))
        .map(|name| name.trim_matches('"').to_owned())
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const BEFORE: &str = "1 a \"one\"\n2 b \"two\"\n";

    #[test]
    fn a_change_is_named_while_the_list_is_there_and_noticed_when_it_is_not() {
        let folder = tempfile::tempdir().expect("a folder");
        keep(folder.path(), "list", BEFORE).expect("kept");
        let then = fingerprint(BEFORE);
        let seen = |now: &str| since(folder.path(), "list", &then, now);
        assert_eq!(seen(BEFORE), Since::Same);
        let names = ["two".to_owned(), "three".to_owned()].into();
        assert_eq!(seen("1 a \"one\"\n9 b \"two\"\n3 c \"three\"\n"), Since::Changed(names));
        std::fs::write(folder.path().join("list"), "something else").expect("written");
        assert_eq!(seen(BEFORE), Since::Same);
        assert_eq!(seen(""), Since::Lost);
    }

    #[test]
    fn many_names_are_counted() {
        let names = (0..7).map(|it| it.to_string());
        assert_eq!(named(names, "tables"), ["0", "1", "2", "3", "4", "2 more tables"]);
    }
}
