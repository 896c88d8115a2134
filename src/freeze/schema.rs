//! The schema of a database at the beginning of a freeze: a table, index, view or trigger that is made, changed or dropped
//! afterwards would not be at the target, or break the replication to it. Rows may change as they like.

use std::path::{Path, PathBuf};

use jiff::Timestamp;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::Exception;
use super::list::{self, Since};
use crate::database::Database;

/// A schema that must not change.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct SchemaWatch {
    /// The system, as `systems` names it; today a SQLite file.
    pub system: String,
}

/// What the schema was, by fingerprint; the list of its objects is in a file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Schema {
    system: String,
    database: PathBuf,
    kept: String,
    sha256: String,
    /// Tables, indexes, views and triggers.
    pub objects: usize,
}

impl Schema {
    /// Reads it; answers with the baseline and the text that [`Self::keep`] is to write.
    pub async fn read(
        system: &str,
        database: PathBuf,
        kept: String,
    ) -> Result<(Self, String), String> {
        let text = listing(&database).await?;
        let (sha256, objects) = (list::fingerprint(&text), text.lines().count());
        Ok((Self { system: system.to_owned(), database, kept, sha256, objects }, text))
    }

    /// Writes the list beside the journal.
    pub fn keep(&self, to: &Path, text: &str) -> std::io::Result<()> {
        list::keep(to, &self.kept, text)
    }

    /// What differs and was not agreed. `Err` when the schema can not be read.
    pub(super) async fn violations(
        &self,
        kept: &Path,
        exceptions: &[Exception],
        now: Timestamp,
    ) -> Result<Vec<String>, String> {
        let text = listing(&self.database).await?;
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
async fn listing(database: &Path) -> Result<String, String> {
    let read = async {
        let mut database = Database::open(database).await?;
        let objects = database.schema().await?;
        database.close().await?;
        Ok::<_, crate::database::DatabaseError>(objects)
    };
    let objects = read.await.map_err(|error| error.to_string())?;
    let lines = objects.into_iter().map(|object| {
        let statement = list::fingerprint(&object.statement);
        format!("{} {statement} {:?}\n", object.kind, object.name)
    });
    Ok(lines.collect())
}
