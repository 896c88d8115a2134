//! The files and databases to migrate: real ones, several thousand of each, the same for the same seed.
//!
//! They are made aside and renamed into place, so an estate is whole or absent.

use std::fs;
use std::path::Path;
use std::time::{Duration, SystemTime};

use sqlx::sqlite::{SqliteConnectOptions, SqliteJournalMode, SqliteSynchronous};
use sqlx::{ConnectOptions, Connection};

use super::disk;
use super::error::SandboxError;
use super::random::Random;
use super::scenario::Estate;

/// Files of a share changed last at minutes after this: 2026-01-01T00:00:00Z.
const FIRST_CHANGE: Duration = Duration::from_hours(490_896);
/// One file of each share is that long; it does not fit a copy buffer.
const LARGE_FILE_BYTES: usize = 3 << 20;
/// Folders of a share; the names have what names in the field have.
const FOLDERS: [&str; 6] =
    ["invoices/2025", "invoices/2026/q1", "contracts", "Team Files", "archive/Übersicht", "logs"];
/// Orders of the estate have larger ids than any that the writing client sends.
pub(super) const FIRST_ORDER: i64 = 1_000_000;

const SCHEMA: &str = "
CREATE TABLE customers (
    id INTEGER PRIMARY KEY, name TEXT NOT NULL, email TEXT NOT NULL, since TEXT NOT NULL, credit REAL, photo BLOB);
CREATE TABLE orders (
    id INTEGER PRIMARY KEY, customer_id INTEGER NOT NULL REFERENCES customers (id), placed_on TEXT NOT NULL,
    total_cents INTEGER NOT NULL, channel TEXT NOT NULL);
CREATE TABLE order_lines (
    order_id INTEGER NOT NULL REFERENCES orders (id), line INTEGER NOT NULL, sku TEXT NOT NULL,
    quantity INTEGER NOT NULL, price_cents INTEGER NOT NULL, PRIMARY KEY (order_id, line)) WITHOUT ROWID;
CREATE INDEX orders_by_customer ON orders (customer_id);";

const CUSTOMERS: &str = "
WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < ?1)
INSERT INTO customers SELECT i, 'Customer ' || i, 'c' || i || '@example.net',
    date('2015-01-01', '+' || ((i * 7919 + ?2) % 4000) || ' days'),
    CASE WHEN i % 7 = 0 THEN NULL ELSE ((i * 104729 + ?2) % 1000000) / 100.0 END,
    CASE WHEN i % 10 = 0 THEN zeroblob(i % 64) END
FROM n";

const ORDERS: &str = "
WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < ?1)
INSERT INTO orders SELECT ?4 + i, 1 + (i * 31 + ?2) % ?3,
    date('2024-01-01', '+' || ((i * 13 + ?2) % 700) || ' days'), (i * 7907 + ?2) % 250000, 'counter'
FROM n";

const ORDER_LINES: &str = "
INSERT INTO order_lines SELECT id, line, 'SKU-' || ((id * 17 + line * 3 + ?1) % 900), 1 + (id + line) % 5, total_cents / 3
FROM orders, (SELECT 1 AS line UNION ALL SELECT 2 UNION ALL SELECT 3)";

/// Makes `source/<workload>/share/**`, `source/<workload>/app.db` and an empty `target/<workload>` for every workload.
/// Does nothing where `dir` exists.
pub async fn create(dir: &Path, estate: &Estate) -> Result<(), SandboxError> {
    if dir.exists() {
        return Ok(());
    }
    let aside = dir.with_extension("partial");
    if aside.exists() {
        fs::remove_dir_all(&aside).map_err(SandboxError::file("remove", &aside))?;
    }
    fs::create_dir_all(&aside).map_err(SandboxError::file("create", &aside))?;
    for (number, workload) in (0..).zip(&estate.workloads) {
        let seed = estate.seed.wrapping_add(number);
        let target = aside.join("target").join(workload);
        fs::create_dir_all(&target).map_err(SandboxError::file("create", &target))?;
        let source = aside.join("source").join(workload);
        share(&source.join("share"), seed, estate.files)?;
        let database = source.join("app.db");
        fill(&database, seed, estate.orders)
            .await
            .map_err(|source| SandboxError::Estate { path: database.clone(), source })?;
    }
    fs::rename(&aside, dir).map_err(SandboxError::file("rename to", dir))?;
    disk::sync_folder(dir)
}

fn share(dir: &Path, seed: u64, files: u32) -> Result<(), SandboxError> {
    for folder in FOLDERS {
        let folder = dir.join(folder);
        fs::create_dir_all(&folder).map_err(SandboxError::file("create", &folder))?;
    }
    let mut random = Random::from(seed);
    for number in 0..files {
        let folder = FOLDERS[random.below(FOLDERS.len())];
        let path = dir.join(folder).join(format!("document {number:05}.txt"));
        let length = match number {
            0 => 0,
            1 => LARGE_FILE_BYTES,
            _ => 64 + random.below(6000),
        };
        let changed = FIRST_CHANGE + Duration::from_mins(u64::from(number));
        fs::write(&path, text(&mut random, length))
            .and_then(|()| fs::File::options().append(true).open(&path))
            .and_then(|file| file.set_modified(SystemTime::UNIX_EPOCH + changed))
            .map_err(SandboxError::file("write", &path))?;
    }
    Ok(())
}

async fn fill(path: &Path, seed: u64, orders: u32) -> Result<(), sqlx::Error> {
    let customers = (orders / 4).max(1);
    // A half-made database is made again, so nothing is synced while it grows.
    let mut database = SqliteConnectOptions::new()
        .filename(path)
        .create_if_missing(true)
        .journal_mode(SqliteJournalMode::Delete)
        .synchronous(SqliteSynchronous::Off)
        .connect()
        .await?;
    let seed = i64::from(u32::try_from(seed % 1_000_003).expect("below u32"));
    let mut making = database.begin().await?;
    sqlx::raw_sql(SCHEMA).execute(&mut *making).await?;
    sqlx::query(CUSTOMERS).bind(customers).bind(seed).execute(&mut *making).await?;
    sqlx::query(ORDERS)
        .bind(orders)
        .bind(seed)
        .bind(customers)
        .bind(FIRST_ORDER)
        .execute(&mut *making)
        .await?;
    sqlx::query(ORDER_LINES).bind(seed).execute(&mut *making).await?;
    making.commit().await?;
    database.close().await
}

/// Printable text with line ends.
fn text(random: &mut Random, length: usize) -> Vec<u8> {
    let mut text = Vec::with_capacity(length + 8);
    while text.len() < length {
        let letters = random.next().to_le_bytes().map(|byte| b'a' + byte % 26);
        text.extend_from_slice(&letters);
        if text.len() % 80 == 72 {
            text.push(b'\n');
        }
    }
    text.truncate(length);
    text
}
