//! SQLite files, read-only. One connection reads one snapshot; nothing is created, not even the file.

use std::path::{Path, PathBuf};

use futures::TryStreamExt as _;
use serde_json::Value;
use sqlx::sqlite::{SqliteConnectOptions, SqliteRow, SqliteValueRef};
use sqlx::{
    AssertSqlSafe, ConnectOptions as _, Connection as _, Decode, Row as _, Sqlite,
    SqliteConnection, TypeInfo as _, ValueRef as _,
};
use tokio_util::sync::CancellationToken;

use super::sum::Cell;
use super::{Column, DatabaseError};

/// A table, an index, a view or a trigger.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SchemaObject {
    /// `table`.
    pub kind: String,
    /// Its name.
    pub name: String,
    /// The statement that made it, as SQLite keeps it.
    pub statement: String,
}

/// An open SQLite file.
#[derive(Debug)]
pub struct Database {
    path: PathBuf,
    connection: SqliteConnection,
}

impl Database {
    /// Opens the system `name` of the runbook; `resolve` makes its path absolute.
    pub async fn of(
        name: &str,
        system: Option<&Value>,
        resolve: impl Fn(&str) -> PathBuf,
    ) -> Result<Self, DatabaseError> {
        let system =
            system.ok_or_else(|| DatabaseError::System(format!("there is no system `{name}`")))?;
        match system.get("sqlite").and_then(Value::as_str) {
            Some(path) => Self::open(&resolve(path)).await,
            None => Err(DatabaseError::System(format!(
                "system `{name}` holds no tables; expected `sqlite: path`"
            ))),
        }
    }

    /// Opens a file and begins the snapshot.
    pub async fn open(path: &Path) -> Result<Self, DatabaseError> {
        let failed = |cause| DatabaseError::Open { path: path.to_owned(), cause };
        let options =
            SqliteConnectOptions::new().filename(path).read_only(true).create_if_missing(false);
        let mut connection = options.disable_statement_logging().connect().await.map_err(failed)?;
        sqlx::query("BEGIN").execute(&mut connection).await.map_err(failed)?;
        Ok(Self { path: path.to_owned(), connection })
    }

    /// Ends the snapshot and closes the file; dropping does the same later.
    pub async fn close(self) -> Result<(), DatabaseError> {
        let Self { path, connection } = self;
        connection.close().await.map_err(|cause| DatabaseError::Read { path, cause })
    }

    /// Names of all tables but SQLite's own, in order.
    pub async fn tables(&mut self) -> Result<Vec<String>, DatabaseError> {
        let tables = sqlx::query_scalar(
            "SELECT name FROM sqlite_schema \
             WHERE type = 'table' AND name NOT LIKE 'sqlite\\_%' ESCAPE '\\' ORDER BY name",
        );
        let found = tables.fetch_all(&mut self.connection).await;
        found.map_err(|cause| self.failed(cause))
    }

    /// Every table, index, view and trigger but SQLite's own, by kind and name.
    pub async fn schema(&mut self) -> Result<Vec<SchemaObject>, DatabaseError> {
        let objects = sqlx::query_as::<_, (String, String, Option<String>)>(
            "SELECT type, name, sql FROM sqlite_schema \
             WHERE name NOT LIKE 'sqlite\\_%' ESCAPE '\\' ORDER BY type, name",
        );
        let found = objects.fetch_all(&mut self.connection).await;
        let found = found.map_err(|cause| self.failed(cause))?;
        let object = |(kind, name, sql): (_, _, Option<String>)| SchemaObject {
            kind,
            name,
            statement: sql.unwrap_or_default(),
        };
        Ok(found.into_iter().map(object).collect())
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Columns of a table in their order; none where there is no such table.
    pub async fn columns(&mut self, table: &str) -> Result<Vec<Column>, DatabaseError> {
        let columns = sqlx::query_as::<_, (String, String, bool, u32)>(
            "SELECT name, upper(type), \"notnull\", pk FROM pragma_table_info(?) ORDER BY cid",
        );
        let found = columns.bind(table).fetch_all(&mut self.connection).await;
        let found = found.map_err(|cause| self.failed(cause))?;
        Ok(found
            .into_iter()
            .map(|(name, declared, not_null, key)| Column { name, declared, not_null, key })
            .collect())
    }

    /// Hands every row of a table to `each`, in no order that anybody may rely on.
    pub(super) async fn rows(
        &mut self,
        table: &str,
        columns: &[Column],
        cancel: &CancellationToken,
        each: &mut (dyn FnMut(Vec<Cell>) + Send),
    ) -> Result<(), DatabaseError> {
        let path = &self.path;
        let failed = |cause| DatabaseError::Read { path: path.clone(), cause };
        let names: Vec<String> = columns.iter().map(|column| quoted(&column.name)).collect();
        let query = format!("SELECT {} FROM {}", names.join(", "), quoted(table));
        // Safe: names come from the schema and are quoted.
        let mut rows = sqlx::query(AssertSqlSafe(query)).fetch(&mut self.connection);
        while let Some(row) = rows.try_next().await.map_err(failed)? {
            if cancel.is_cancelled() {
                return Err(DatabaseError::Cancelled);
            }
            let cells = (0..columns.len()).map(|at| cell(&row, at));
            each(cells.collect::<Result<_, _>>().map_err(failed)?);
        }
        Ok(())
    }

    fn failed(&self, cause: sqlx::Error) -> DatabaseError {
        DatabaseError::Read { path: self.path.clone(), cause }
    }
}

fn quoted(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}

fn cell(row: &SqliteRow, at: usize) -> Result<Cell, sqlx::Error> {
    let value = row.try_get_raw(at)?;
    if value.is_null() {
        return Ok(Cell::Null);
    }
    // The value's own type, which in SQLite need not be the column's.
    Ok(match value.type_info().name() {
        "INTEGER" => Cell::Number(decode::<i64>(value)?.to_string()),
        "REAL" => Cell::Number(format!("{:?}", decode::<f64>(value)?)),
        "TEXT" => match decode::<&str>(value) {
            Ok(text) => Cell::Text(text.to_owned()),
            Err(_) => Cell::Bytes(decode(row.try_get_raw(at)?)?),
        },
        _ => Cell::Bytes(decode(value)?),
    })
}

fn decode<'r, T: Decode<'r, Sqlite>>(value: SqliteValueRef<'r>) -> Result<T, sqlx::Error> {
    T::decode(value).map_err(sqlx::Error::Decode)
}
