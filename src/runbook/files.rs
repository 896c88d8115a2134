//! Where the text of a runbook comes from. This module reads no disk: whoever loads a runbook hands the files in.

use std::collections::BTreeMap;
use std::path::{Component, Path, PathBuf};

/// Something that has files.
pub trait Files {
    /// The text of a file. Must refuse one larger than [`super::MAX_BYTES`] before reading it.
    fn read(&self, path: &str) -> Result<String, Unreadable>;
}

/// Why a file cannot be read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Unreadable {
    /// There is none.
    #[error("there is no such file")]
    NotFound,
    /// Its size in bytes is over the limit.
    #[error("it has {0} bytes; the limit is {limit}", limit = super::MAX_BYTES)]
    TooLarge(u64),
    /// It is not UTF-8.
    #[error("it is not UTF-8 text")]
    NotText,
    /// Anything else, in the system's words.
    #[error("{0}")]
    Other(String),
}

/// Files by name: for examples, tests and editors.
impl Files for BTreeMap<String, String> {
    fn read(&self, path: &str) -> Result<String, Unreadable> {
        let text = self.get(path).ok_or(Unreadable::NotFound)?;
        match u64::try_from(text.len()) {
            Ok(bytes) if bytes <= super::MAX_BYTES => Ok(text.clone()),
            _ => Err(Unreadable::TooLarge(text.len().try_into().unwrap_or(u64::MAX))),
        }
    }
}

/// The path of a file that `from` names, relative to where `from` stands, without `.` and inner `..` in it.
pub fn beside(from: &str, written: &str) -> String {
    let joined = Path::new(from).parent().unwrap_or(Path::new("")).join(written);
    let mut path = PathBuf::new();
    for part in joined.components() {
        match part {
            Component::CurDir => {}
            Component::ParentDir
                if matches!(path.components().next_back(), Some(Component::Normal(_))) =>
            {
                path.pop();
            }
            part => path.push(part),
        }
    }
    path.to_string_lossy().into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_beside_the_file_that_names_them() {
        assert_eq!(beside("wave.yaml", "./fragments/a.yaml"), "fragments/a.yaml");
        assert_eq!(beside("runbooks/wave.yaml", "../x/a.yaml"), "x/a.yaml");
        assert_eq!(beside("wave.yaml", "../a.yaml"), "../a.yaml");
        assert_eq!(beside("/r/wave.yaml", "/abs/a.yaml"), "/abs/a.yaml");
    }
}
