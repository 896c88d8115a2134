//! Orders in an application's database, which is opened anew each time: a copy may take the file's place in between.

use std::path::Path;
use std::time::Duration;

use hyper::http::StatusCode;
use serde_json::{Value, json};
use sqlx::sqlite::{SqliteConnectOptions, SqliteJournalMode};
use sqlx::{ConnectOptions, Connection, SqliteConnection};

use super::super::http::Reply;

/// The channel of orders that came over HTTP.
pub(crate) const CHANNEL: &str = "web";
/// Real time that another holder of the database may take.
const BUSY_MAX: Duration = Duration::from_secs(5);

/// An application's orders that came over HTTP.
#[derive(Debug, Default)]
pub(super) struct Stats {
    pub(super) accepted: i64,
    pub(super) last_id: i64,
}

/// The database, which must exist.
pub(crate) async fn open(database: &Path) -> Result<SqliteConnection, sqlx::Error> {
    SqliteConnectOptions::new()
        .filename(database)
        .journal_mode(SqliteJournalMode::Delete)
        .busy_timeout(BUSY_MAX)
        .connect()
        .await
}

/// Takes an order: 201, or 200 when it has that id already. Durable when this returns.
pub(super) async fn accept(database: &Path, body: &[u8]) -> Reply {
    let order: Option<Value> = serde_json::from_slice(body).ok();
    let Some(id) = order.and_then(|order| order["id"].as_i64()) else {
        return Reply::json(
            StatusCode::BAD_REQUEST,
            &json!({ "error": "an order has an integer id" }),
        );
    };
    match insert(database, id).await {
        Ok(true) => Reply::json(StatusCode::CREATED, &json!({ "id": id })),
        Ok(false) => Reply::json(StatusCode::OK, &json!({ "id": id, "repeated": true })),
        // No database here yet, or one that cannot be written.
        Err(_) => Reply::json(StatusCode::SERVICE_UNAVAILABLE, &json!({ "error": "no database" })),
    }
}

/// Everything but the id follows from the id, so that orders are the same in every repetition of a rehearsal.
async fn insert(database: &Path, id: i64) -> Result<bool, sqlx::Error> {
    let mut database = open(database).await?;
    let done = sqlx::query(
        "INSERT OR IGNORE INTO orders (id, customer_id, placed_on, total_cents, channel)
         SELECT ?1, 1 + ?1 % (SELECT max(id) FROM customers), date('2026-12-05'), ?1 * 100 % 99999, ?2",
    )
    .bind(id)
    .bind(CHANNEL)
    .execute(&mut database)
    .await?;
    database.close().await?;
    Ok(done.rows_affected() > 0)
}

/// What the database holds.
pub(super) async fn stats(database: &Path) -> Result<Stats, sqlx::Error> {
    let mut database = open(database).await?;
    let (accepted, last_id) =
        sqlx::query_as("SELECT count(*), coalesce(max(id), 0) FROM orders WHERE channel = ?1")
            .bind(CHANNEL)
            .fetch_one(&mut database)
            .await?;
    database.close().await?;
    Ok(Stats { accepted, last_id })
}
