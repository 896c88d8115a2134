//! How the sandbox fails to start or to go on. Each variant has a code with a page.

use std::io;
use std::path::{Path, PathBuf};

use thiserror::Error;

/// Why a sandbox could not be started or read.
#[derive(Debug, Error)]
pub enum SandboxError {
    /// A file or folder of the sandbox could not be read or written.
    #[error("{doing} {}", path.display())]
    File {
        /// What was attempted: "read", "append to".
        doing: &'static str,
        /// The file.
        path: PathBuf,
        /// The cause.
        #[source]
        source: io::Error,
    },
    /// The ledger holds something that this program did not write.
    #[error("the ledger {} is damaged at line {line}: {why}", path.display())]
    Ledger {
        /// The ledger.
        path: PathBuf,
        /// From 1.
        line: usize,
        /// What is wrong there.
        why: String,
    },
    /// Another process runs a sandbox in this folder.
    #[error("another sandbox runs in {}", dir.display())]
    InUse {
        /// The folder.
        dir: PathBuf,
    },
    /// A loopback address could not be bound.
    #[error("bind {address}")]
    Bind {
        /// Address and port.
        address: String,
        /// The cause.
        #[source]
        source: io::Error,
    },
    /// The scenario file is wrong.
    #[error("scenario {name}: {why}")]
    Scenario {
        /// The file as given.
        name: String,
        /// Everything that is wrong, with places.
        why: String,
    },
    /// The estate's databases could not be made.
    #[error("make the estate's database {}", path.display())]
    Estate {
        /// The database.
        path: PathBuf,
        /// The cause.
        #[source]
        source: sqlx::Error,
    },
    /// The certificates could not be made or read.
    #[error("certificates of the sandbox: {0}")]
    Certificates(String),
}

impl SandboxError {
    /// The code whose page `migrate explain` prints.
    pub fn code(&self) -> &'static str {
        match self {
            Self::File { .. } => "MIG0601",
            Self::Ledger { .. } => "MIG0602",
            Self::InUse { .. } => "MIG0603",
            Self::Bind { .. } => "MIG0604",
            Self::Scenario { .. } => "MIG0605",
            Self::Estate { .. } => "MIG0606",
            Self::Certificates(_) => "MIG0607",
        }
    }

    /// For `map_err` at a file operation.
    pub(super) fn file(doing: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Self {
        let path = path.to_owned();
        move |source| Self::File { doing, path, source }
    }
}
