//! Where a tree lives: a system of the runbook, as something to read from and to write to.
//!
//! Reading opens nothing that could create: OpenDAL's fs service makes its root folder when it is built, so an operator
//! is made only with a permit in hand.

use std::path::{Path, PathBuf};

use opendal::Operator;
use opendal::services::Fs;
use serde_json::Value;

use super::{Exclude, FilesError, Manifest, manifest};
use crate::journal::EffectPermit;

/// A system that holds files.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Store {
    name: String,
    place: Place,
}

/// One variant a service.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Place {
    Folder(PathBuf),
}

impl Store {
    /// The system `name` of the runbook as a store; `resolve` makes its path absolute. `Err` says what is wrong with it.
    pub fn of(
        name: &str,
        system: Option<&Value>,
        resolve: impl Fn(&str) -> PathBuf,
    ) -> Result<Self, String> {
        let system = system.ok_or_else(|| format!("there is no system `{name}`"))?;
        let place = match system.get("folder").and_then(Value::as_str) {
            Some(folder) => Place::Folder(resolve(folder)),
            None => return Err(format!("system `{name}` holds no files; expected `folder: path`")),
        };
        Ok(Self { name: name.to_owned(), place })
    }

    /// The system's name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The folder, for stores that are one.
    pub fn folder(&self) -> &Path {
        match &self.place {
            Place::Folder(folder) => folder,
        }
    }

    /// Reads the tree, on a blocking thread.
    pub async fn manifest(&self, exclude: &Exclude) -> Result<Manifest, FilesError> {
        let (folder, exclude) = (self.folder().to_owned(), exclude.clone());
        tokio::task::spawn_blocking(move || manifest::walk(&folder, &exclude))
            .await
            .map_err(|_| FilesError::Cancelled)?
    }

    /// The operator to change the tree with. Creates the root if it is missing, hence the permit.
    pub(super) fn writer(&self, _permit: &EffectPermit) -> opendal::Result<Operator> {
        match &self.place {
            Place::Folder(folder) => {
                Operator::new(Fs::default().root(folder.to_str().ok_or_else(|| {
                    let why = "the folder's path is not Unicode text";
                    opendal::Error::new(opendal::ErrorKind::ConfigInvalid, why)
                })?))
            }
        }
    }
}
