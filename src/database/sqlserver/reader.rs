//! A session that only asks, but for the procedures it is told to call, and how long it waits for an answer.
//!
//! The engine has no limit for a statement of its own: this side gives up and says so. What it gave up on the server ends in
//! answer to an attention; the session, and a snapshot in it, go on only where that is certain.

use std::time::Duration;

use tiberius::error::Error;
use tiberius::{Client, ColumnData};
use tokio::net::TcpStream;
use tokio_util::compat::Compat;

use super::super::{DatabaseError, Named, Row};
use super::error::of_server;

/// A connection that is logged in; it is too large to be handed around.
pub(super) type Wire = Box<Client<Compat<TcpStream>>>;

/// How long one question may take, where nothing else is said.
const QUESTION_LIMIT: Duration = Duration::from_secs(30);
/// How long the server may take to end what was given up.
const SILENCE: Duration = Duration::from_secs(5);

/// Settings that change what statements mean and how values are written out, and how long is waited for a lock.
const PINNED: &str = "set ansi_nulls, ansi_padding, ansi_warnings, arithabort, concat_null_yields_null, quoted_identifier on; \
     set numeric_roundabort, implicit_transactions off; set xact_abort, nocount on; set language us_english; \
     set dateformat ymd; set textsize 2147483647; set rowcount 0; set lock_timeout 10000; set deadlock_priority low; \
     set transaction isolation level read committed";

/// From here on every statement sees the same. Giving up a statement would end the transaction, were it to end at errors.
const SNAPSHOT: &str =
    "set xact_abort off; set transaction isolation level snapshot; begin transaction";

/// An open session that only asks; dropping it cuts the connection.
#[derive(Debug)]
pub struct Reader {
    at: String,
    client: Wire,
    limit: Duration,
    has_snapshot: bool,
}

impl Reader {
    /// With settings of its own.
    pub(super) async fn begin(at: String, client: Wire) -> Result<Self, DatabaseError> {
        let mut reader = Self { at, client, limit: QUESTION_LIMIT, has_snapshot: false };
        reader.must(PINNED).await?;
        Ok(reader)
    }

    /// The rows that a query answers with, every column of which is a text, by the names of its columns. Asked within a
    /// transaction that is rolled back.
    pub async fn named(&mut self, query: &str) -> Result<Vec<Named>, DatabaseError> {
        let rows = self.must(&format!("begin transaction; {query}; rollback transaction")).await?;
        let named = |row: &tiberius::Row| Ok(names(row).zip(texts(row)?).collect());
        rows.iter()
            .map(named)
            .collect::<Result<_, _>>()
            .map_err(|error| of_server(&self.at, &error))
    }

    /// The rows that procedures of the server answer with, whose columns are what they are: numbers and texts are read. Outside of
    /// a transaction: such a procedure asks a further server, and would take the transaction there.
    pub(super) async fn called(&mut self, calls: &str) -> Result<Vec<Named>, DatabaseError> {
        let rows = self.must(calls).await?;
        Ok(rows
            .iter()
            .map(|row| names(row).zip(row.cells().map(|it| shown(it.1))).collect())
            .collect())
    }

    /// From here on every statement sees the same, in a transaction that is rolled back when the session is closed. The database
    /// must allow snapshots.
    pub async fn snapshot(&mut self) -> Result<(), DatabaseError> {
        self.must(SNAPSHOT).await?;
        self.has_snapshot = true;
        Ok(())
    }

    /// From here on a statement that takes longer is given up.
    pub const fn limit(&mut self, limit: Duration) {
        self.limit = limit;
    }

    /// The rows that a query answers with, every column of which is a text; none where it took longer than it may, and a
    /// snapshot that was there still is.
    pub async fn rows(&mut self, query: &str) -> Result<Option<Vec<Row>>, DatabaseError> {
        let Some(rows) = self.results(query).await? else {
            self.go_on().await?;
            return Ok(None);
        };
        let rows = rows.iter().map(texts).collect::<Result<_, _>>();
        rows.map(Some).map_err(|error| of_server(&self.at, &error))
    }

    /// A statement took too long that can not be asked for less.
    pub fn slow(&self) -> DatabaseError {
        self.silent(format!("a statement took longer than {} s", self.limit.as_secs()))
    }

    /// An answer of another form than asked for.
    pub fn odd(&self, why: &str) -> DatabaseError {
        self.silent(format!("an answer that can not be read: {why}"))
    }

    /// Ends the session in order; dropping it cuts the connection.
    pub async fn close(mut self) {
        // Nobody depends on the farewell.
        let farewell = async {
            if self.has_snapshot {
                self.results("rollback transaction").await.ok();
            }
            Box::pin(self.client.close()).await.ok();
        };
        let _ = tokio::time::timeout(SILENCE, farewell).await;
    }

    /// Ends what was given up. Were its transaction gone, every later statement would see something else.
    async fn go_on(&mut self) -> Result<(), DatabaseError> {
        match tokio::time::timeout(SILENCE, self.client.cancel_query()).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => return Err(of_server(&self.at, &error)),
            Err(_) => return Err(self.slow()),
        }
        if !self.has_snapshot {
            return Ok(());
        }
        let open =
            self.must("select convert(nvarchar(10), @@trancount) as open_transactions").await?;
        let open =
            open.first().map(texts).transpose().map_err(|error| of_server(&self.at, &error))?;
        if open.is_some_and(|row| row == [Some("1".to_owned())]) {
            return Ok(());
        }
        Err(self.silent("a statement took too long, and its snapshot went with it".to_owned()))
    }

    async fn must(&mut self, batch: &str) -> Result<Vec<tiberius::Row>, DatabaseError> {
        self.results(batch).await?.ok_or_else(|| self.slow())
    }

    /// The rows of all results of a batch; none where it took longer than it may.
    async fn results(&mut self, batch: &str) -> Result<Option<Vec<tiberius::Row>>, DatabaseError> {
        let asked = async { self.client.simple_query(batch).await?.into_results().await };
        match tokio::time::timeout(self.limit, asked).await {
            Ok(Ok(results)) => Ok(Some(results.into_iter().flatten().collect())),
            Ok(Err(error)) => Err(of_server(&self.at, &error)),
            Err(_) => Ok(None),
        }
    }

    fn silent(&self, cause: String) -> DatabaseError {
        DatabaseError::Silent { at: self.at.clone(), cause }
    }
}

/// The names of the columns of a row.
fn names(row: &tiberius::Row) -> impl Iterator<Item = String> {
    row.columns().iter().map(|column| column.name().to_lowercase())
}

/// A number or a text, as a text. Nobody asks for what is something else.
fn shown(value: &ColumnData<'static>) -> Option<String> {
    match value {
        ColumnData::U8(number) => number.map(|it| it.to_string()),
        ColumnData::I16(number) => number.map(|it| it.to_string()),
        ColumnData::I32(number) => number.map(|it| it.to_string()),
        ColumnData::I64(number) => number.map(|it| it.to_string()),
        ColumnData::String(text) => text.as_deref().map(str::to_owned),
        _ => None,
    }
}

/// The columns of a row, each of which is a text.
fn texts(row: &tiberius::Row) -> Result<Row, Error> {
    let text = |at| Ok(row.try_get::<&str, _>(at)?.map(str::to_owned));
    (0..row.len()).map(text).collect()
}
