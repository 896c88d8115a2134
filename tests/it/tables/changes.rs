//! Comparing through the library, as the step does it, and judging what was found by the oracle.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};

use migrate::database::postgres::Server;
use migrate::database::{
    Comparison, DatabaseError, Depth, Pace, Reached, Side, TableVerdict, Wanted, compare_servers,
    mysql,
};
use migrate::diagnostic::redact::Secrets;
use migrate::plan::SecretRef;
use migrate::run::RunId;
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;

use super::oracle::{Table, Type};
use crate::mariadb::Maria;

/// The secret `db`, read from a file of that folder.
fn secrets(dir: &Path, password: &str) -> Secrets {
    std::fs::write(dir.join("db"), password).expect("a file");
    let references = BTreeMap::from([("db".to_owned(), SecretRef::File("db".to_owned()))]);
    Secrets::new(references).relative_to(dir)
}

/// The system `db` of a runbook.
fn systems(kind: &str, endpoint: &str) -> BTreeMap<String, Value> {
    BTreeMap::from([("db".to_owned(), json!({ kind: endpoint, "password": "db" }))])
}

/// The server behind such a system, its password `password`.
pub(super) async fn postgres(endpoint: &str, password: &str) -> Server {
    let dir = tempfile::tempdir().expect("a folder");
    let (systems, secrets) = (systems("postgres", endpoint), secrets(dir.path(), password));
    Server::of("db", &systems, &secrets, dir.path(), &RunId::new("run")).await.expect("a server")
}

/// The same of MariaDB.
pub(super) async fn mariadb(endpoint: &str, password: &str) -> mysql::Server {
    let dir = tempfile::tempdir().expect("a folder");
    let (systems, secrets) = (systems("mysql", endpoint), secrets(dir.path(), password));
    mysql::Server::of("db", &systems, &secrets, dir.path()).await.expect("a server")
}

/// Compares, every key shown.
pub(super) async fn compare(
    source: Side,
    target: Side,
    tables: &[&str],
) -> Result<Comparison, DatabaseError> {
    compare_until(source, target, tables, None, u64::MAX).await.0
}

/// The same, from sides that are still to be opened.
pub(super) fn found(
    source: impl Future<Output = Result<Side, DatabaseError>>,
    target: impl Future<Output = Result<Side, DatabaseError>>,
    tables: &[&str],
) -> Result<Comparison, DatabaseError> {
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    runtime.block_on(async { compare(source.await?, target.await?, tables).await })
}

/// The same, with what has been read kept, and cut off after so many rows. How many it read, too.
pub(super) async fn compare_until(
    mut source: Side,
    mut target: Side,
    tables: &[&str],
    keep: Option<&Path>,
    rows: u64,
) -> (Result<Comparison, DatabaseError>, u64) {
    let tables: Vec<String> = tables.iter().map(|table| (*table).to_owned()).collect();
    let depth = Depth { rows: 1000, keys: true };
    let wanted = Wanted { tables: &tables, exclude: &[], depth, keep, sample: None };
    let cancel = CancellationToken::new();
    let read = AtomicU64::new(0);
    let reached = |reached: Reached<'_>| {
        if read.fetch_add(reached.rows, Ordering::Relaxed) + reached.rows >= rows {
            cancel.cancel();
        }
    };
    let compared = compare_servers(&mut source, &mut target, wanted, &cancel, &reached).await;
    source.close().await;
    target.close().await;
    (compared, read.into_inner())
}

/// Every pair of so many values.
pub(super) fn pairs(values: usize) -> Vec<(usize, usize)> {
    (0..values).flat_map(|one| (0..values).map(move |other| (one, other))).collect()
}

/// Rows `(v, k, w)`: the `k`-th pair of values of a type, the other way round at the target.
pub(super) fn rows_of_pairs(of: &Type, pairs: &[(usize, usize)], target: bool) -> String {
    let rows = pairs.iter().enumerate().map(|(k, &(one, other))| {
        let (v, w) = if target { (other, one) } else { (one, other) };
        format!("({}, {k}, {})", of.values[v], of.values[w])
    });
    rows.collect::<Vec<_>>().join(", ")
}

/// Of such rows those are told whose two values are not the same one, and no others.
#[track_caller]
pub(super) fn judge_pairs(case: &str, pairs: &[(usize, usize)], found: &Comparison) {
    assert_eq!(lines(found).into_iter().skip(1).collect::<Vec<_>>(), unlike(pairs), "{case}");
}

fn unlike(pairs: &[(usize, usize)]) -> Vec<String> {
    let unlike = pairs.iter().enumerate().filter(|(_, (one, other))| one != other);
    let mut lines: Vec<String> = unlike.map(|(k, _)| k.to_string()).collect();
    // In the order of their keys as texts.
    lines.sort();
    lines.iter().map(|k| format!("row k = {k} different in v, w")).collect()
}

/// A comparison of two databases of 80,000 rows each, on servers that are at rest, is cut off and goes on; not after `write`,
/// which changes one of them.
pub(super) fn goes_on_unless_written(
    sides: impl AsyncFn() -> Result<(Side, Side), DatabaseError>,
    write: impl FnOnce(),
) {
    let dir = tempfile::tempdir().expect("a folder");
    let keep = dir.path().join("progress/step.tables.json");
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    let until = |rows: u64| {
        runtime.block_on(async {
            let (source, target) = sides().await.expect("open");
            compare_until(source, target, &[], Some(&keep), rows).await
        })
    };
    // Within the third table.
    let cut = || {
        let (compared, read) = until(90_000);
        assert!(matches!(compared, Err(DatabaseError::Cancelled)), "{compared:?}");
        assert!((90_000..160_000).contains(&read), "{read}");
    };
    cut();
    let (compared, read) = until(u64::MAX);
    let compared = compared.expect("compared");
    assert!(compared.all_equal() && compared.rows() == 80_000, "{compared:?}");
    assert!(!keep.exists());
    // What had been read is told once more as progress of the table it is of.
    assert!(read <= 80_000, "everything is read again: {read}");
    // All is read again, and the change is found.
    cut();
    write();
    let (compared, read) = until(u64::MAX);
    assert_eq!(read, 160_000);
    assert!(!compared.expect("compared").all_equal());
}

/// Fills a server and waits until it is at rest: what it does by itself after that, statistics and purging what nobody sees any
/// more, is a write like any other.
pub(super) fn filled(server: &Maria, databases: &[&str], statements: &str) {
    server.sql("crm", "set global innodb_stats_auto_recalc = off");
    for database in databases {
        server.sql(database, statements);
    }
    let unpurged = "select variable_value from information_schema.global_status where variable_name = 'Innodb_history_list_length'";
    server.until("crm", unpurged, "0");
}

/// So slow that no statement keeps to it: ranges shrink to the least and grow no more.
pub(super) const CRAWL: Pace = Pace { aim: std::time::Duration::from_nanos(1), ..PACE };

pub(super) const PACE: Pace = Pace {
    aim: std::time::Duration::from_millis(200),
    limit: std::time::Duration::from_secs(30),
    rest: 0.0,
};

/// The lines told of the only table; none where it is equal.
#[track_caller]
pub(super) fn lines(comparison: &Comparison) -> Vec<String> {
    match &comparison.tables[..] {
        [one] => match &one.verdict {
            TableVerdict::Equal => Vec::new(),
            TableVerdict::Different(lines) => lines.clone(),
            other => panic!("{other:?}"),
        },
        other => panic!("{other:?}"),
    }
}

/// What was found is what the oracle says, no more and no less.
#[track_caller]
pub(super) fn judge(case: &str, table: &Table, found: &Comparison) {
    let (count, expected) = table.expected();
    assert_eq!(
        found.tables[0].rows,
        (table.source.len() as u64, table.target.len() as u64),
        "{case}"
    );
    let lines = lines(found);
    let Some((first, named)) = lines.split_first() else {
        assert_eq!(count, 0, "{case}: nothing found of {expected:?}");
        return;
    };
    let counted =
        if count == 1 { "1 row differs".to_owned() } else { format!("{count} rows differ") };
    assert_eq!(*first, counted, "{case}: {named:?}, and not {expected:?}");
    assert_eq!(named.len(), count, "{case}");
    if table.key.is_some() {
        assert_eq!(
            named.iter().cloned().collect::<std::collections::BTreeSet<_>>(),
            expected,
            "{case}"
        );
    }
}
