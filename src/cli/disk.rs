//! Runbooks, fragments and inventories on disk.

use std::fs::File;
use std::io::{ErrorKind, Read as _};

use crate::runbook::{Files, MAX_BYTES, Unreadable};

/// Files by their path.
#[derive(Debug, Clone, Copy)]
pub struct Disk;

impl Files for Disk {
    fn read(&self, path: &str) -> Result<String, Unreadable> {
        let other = |error: std::io::Error| match error.kind() {
            ErrorKind::NotFound => Unreadable::NotFound,
            ErrorKind::InvalidData => Unreadable::NotText,
            _ => Unreadable::Other(error.to_string()),
        };
        let file = File::open(path).map_err(other)?;
        let bytes = file.metadata().map_err(other)?.len();
        if bytes > MAX_BYTES {
            return Err(Unreadable::TooLarge(bytes));
        }
        // A pipe or a device has no size to look at; the limit holds while it is read, too.
        let mut content = Vec::new();
        file.take(MAX_BYTES + 1).read_to_end(&mut content).map_err(other)?;
        if content.len() as u64 > MAX_BYTES {
            return Err(Unreadable::TooLarge(content.len() as u64));
        }
        String::from_utf8(content).map_err(|_| Unreadable::NotText)
    }
}
