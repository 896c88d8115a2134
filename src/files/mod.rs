//! Trees of files: what is in them, copying what differs, and comparing them by content.
//!
//! Reading never creates, follows or hides anything: links, special files and names that are not text are reported as
//! what they are. A file that could not be read is *not compared*, never equal. Writing takes an
//! [`crate::journal::EffectPermit`], goes to a temporary name first, and is read back before the rename.

mod hashing;
mod manifest;
mod progress;
mod store;
mod sync;
mod verify;

pub use manifest::{Digests, Exclude, FileEntry, Hash, Manifest, Skipped, digest, walk};
pub use progress::copied_before;
pub use store::Store;
pub use sync::{Differs, SyncError, SyncPlan, SyncReport, carry_out, plan};
pub use verify::{Comparison, FileVerdict, compare};

use std::path::PathBuf;

use crate::run::{FailureClass, StepError};

/// A folder or file that could not be read.
#[derive(Debug, thiserror::Error)]
pub enum FilesError {
    /// There is no folder at that place.
    #[error("there is no folder {0}")]
    NoFolder(PathBuf),
    /// The file system refused.
    #[error("can not read {path}")]
    Read {
        /// What was read.
        path: PathBuf,
        /// Why not.
        #[source]
        cause: std::io::Error,
    },
    /// The work was stopped from outside.
    #[error("stopped from outside")]
    Cancelled,
}

impl FilesError {
    /// As the failure of a step that was `attempted`; nothing has been changed by reading.
    pub fn as_step_error(&self, attempted: &str) -> StepError {
        let known = "reading changed nothing";
        match self {
            Self::Cancelled => StepError::cancelled(attempted),
            Self::NoFolder(_) | Self::Read { .. } => {
                StepError::new(FailureClass::Failed, "MIG0301", attempted, known)
                    .because(self)
                    .hint("check the path under `systems` and the rights on the folder")
            }
        }
    }
}
