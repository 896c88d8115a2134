//! The schema of a database at the beginning of a freeze: a table, index, view or trigger that is made, changed or dropped
//! afterwards would not be at the target, or break the replication to it. Rows may change as they like.

use std::path::{Path, PathBuf};

use jiff::Timestamp;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::Exception;
use super::list::{self, Since};
use crate::database::postgres::{self, Server};
use crate::database::{Database, DatabaseError, SchemaObject};

/// A schema that must not change.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct SchemaWatch {
    /// The system, as `systems` names it: a SQLite file or a PostgreSQL database.
    pub system: String,
}

/// What the schema was, by fingerprint; the list of its objects is in a file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Schema {
    /// The system.
    pub(super) system: String,
    /// The file; none of a server, which the system names.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    database: Option<PathBuf>,
    kept: String,
    sha256: String,
    /// Tables, indexes, views and triggers.
    pub objects: usize,
}

/// Where a schema is read.
#[derive(Debug)]
pub enum Place {
    /// A SQLite file.
    File(PathBuf),
    /// A server.
    Server(Box<Server>),
}

impl Schema {
    /// Reads it; answers with the baseline and the text that [`Self::keep`] is to write.
    pub async fn read(system: &str, place: Place, kept: String) -> Result<(Self, String), String> {
        let text = listing(&place).await?;
        let (sha256, objects) = (list::fingerprint(&text), text.lines().count());
        let database = match place {
            Place::File(path) => Some(path),
            Place::Server(_) => None,
        };
        Ok((Self { system: system.to_owned(), database, kept, sha256, objects }, text))
    }

    /// The file it was read from; none of a server.
    pub(super) fn file(&self) -> Option<Place> {
        self.database.clone().map(Place::File)
    }

    /// Writes the list beside the journal.
    pub fn keep(&self, to: &Path, text: &str) -> std::io::Result<()> {
        list::keep(to, &self.kept, text)
    }

    /// What differs and was not agreed. `Err` when the schema can not be read.
    pub(super) async fn violations(
        &self,
        place: &Place,
        kept: &Path,
        exceptions: &[Exception],
        now: Timestamp,
    ) -> Result<Vec<String>, String> {
        let text = listing(place).await?;
        let system = &self.system;
        Ok(match list::since(kept, &self.kept, &self.sha256, &text) {
            Since::Same => Vec::new(),
            Since::Lost => {
                vec![format!("the schema of {system} changed; the list of what was there is lost")]
            }
            Since::Changed(objects) => {
                let agreed =
                    |name: &String| exceptions.iter().any(|it| it.covers("schema", name, now));
                let foreign = objects.into_iter().filter(|name| !agreed(name));
                list::named(foreign, "objects")
                    .into_iter()
                    .map(|it| format!("{it} in the schema of {system} changed"))
                    .collect()
            }
        })
    }
}

/// One line an object, sorted by kind and name: `kind fingerprint name`.
async fn listing(place: &Place) -> Result<String, String> {
    let objects = objects(place).await.map_err(|error| error.to_string())?;
    let lines = objects.into_iter().map(|object| {
        let statement = list::fingerprint(&object.statement);
        format!("{} {statement} {:?}\n", object.kind, object.name)
    });
    Ok(lines.collect())
}

async fn objects(place: &Place) -> Result<Vec<SchemaObject>, DatabaseError> {
    match place {
        Place::File(path) => {
            let mut database = Database::open(path).await?;
            let objects = database.schema().await?;
            database.close().await?;
            Ok(objects)
        }
        Place::Server(server) => {
            let mut reader = server.reader().await?;
            let objects = postgres::schema(&mut reader).await?;
            reader.close().await;
            Ok(objects)
        }
    }
}
