//! Two databases compared table by table, down to the rows that differ.
//!
//! Each table is read once on both sides into order-free sums. Only where those differ it is read a second time, and only
//! the rows of differing buckets are held, so that a large table with few differences stays small in memory.

use std::collections::{BTreeMap, BTreeSet};

use tokio_util::sync::CancellationToken;

use super::sum::{Cell, RowDigest, TableSum, bucket, canonical, digest};
use super::{Column, Database, DatabaseError};
use crate::run::hex;

/// Differing buckets that are read again; beyond them the number of differing rows is a lower bound.
const BUCKETS_READ: usize = 64;

/// How much is told about a difference.
#[derive(Debug, Clone, Copy)]
pub struct Depth {
    /// Rows named for each table.
    pub rows: usize,
    /// Show keys as they are; otherwise a digest of each, for keys that are personal.
    pub keys: bool,
}

/// What came out for one table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum TableVerdict {
    /// The same columns, the same number of rows, the same content.
    Equal,
    /// The same columns and the same number of rows; the content of so many of them was compared, and is the same.
    Sampled {
        /// Rows that were compared by content.
        rows: u64,
    },
    /// In what they differ, one line each.
    Different(Vec<String>),
    /// At the source only.
    Missing,
    /// At the target only.
    Extra,
    /// It could not be compared: why.
    NotCompared(String),
}

/// One table on both sides.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TableComparison {
    /// Its name.
    pub table: String,
    /// Rows at source and target.
    pub rows: (u64, u64),
    /// The order-free hash of the source's rows.
    pub hash: String,
    /// See [`TableVerdict`].
    pub verdict: TableVerdict,
}

/// All tables.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Comparison {
    /// By name.
    pub tables: Vec<TableComparison>,
    /// In what the databases differ beside their tables, one line each.
    pub beside: Vec<String>,
}

impl Comparison {
    /// At least one table was compared, every one is equal, and so is what is beside them; nothing else opens a gate.
    pub fn all_equal(&self) -> bool {
        !self.tables.is_empty()
            && self.beside.is_empty()
            && self.tables.iter().all(|table| table.verdict == TableVerdict::Equal)
    }

    /// The same, where of a table a sample was compared. It opens no gate.
    pub fn nothing_differs(&self) -> bool {
        let alike = |it: &TableComparison| {
            matches!(it.verdict, TableVerdict::Equal | TableVerdict::Sampled { .. })
        };
        !self.tables.is_empty() && self.beside.is_empty() && self.tables.iter().all(alike)
    }

    /// Rows at the source.
    pub fn rows(&self) -> u64 {
        self.tables.iter().map(|table| table.rows.0).sum()
    }

    /// One digest over names and hashes of all tables.
    pub fn hash(&self) -> String {
        let lines = self.tables.iter().map(|table| format!("{}\0{}\n", table.table, table.hash));
        crate::run::fingerprint(&lines.collect::<String>().into())
    }
}

/// Compares `tables`, or all that either side has. `seen(table)` is told which one comes next.
pub async fn compare(
    source: &mut Database,
    target: &mut Database,
    (tables, exclude): (&[String], &[String]),
    depth: Depth,
    cancel: &CancellationToken,
    seen: &(dyn Fn(&str) + Sync),
) -> Result<Comparison, DatabaseError> {
    let mut names: BTreeSet<String> = tables.iter().cloned().collect();
    if names.is_empty() {
        names.extend(source.tables().await?);
        names.extend(target.tables().await?);
    }
    let mut comparison = Comparison::default();
    for table in names.into_iter().filter(|table| !exclude.contains(table)) {
        seen(&table);
        let sides = (source.columns(&table).await?, target.columns(&table).await?);
        comparison.tables.push(one(source, target, table, sides, depth, cancel).await?);
    }
    Ok(comparison)
}

async fn one(
    source: &mut Database,
    target: &mut Database,
    table: String,
    (here, there): (Vec<Column>, Vec<Column>),
    depth: Depth,
    cancel: &CancellationToken,
) -> Result<TableComparison, DatabaseError> {
    let (mut left, mut right) = (TableSum::new(), TableSum::new());
    for (side, columns, sum) in
        [(&mut *source, &here, &mut left), (&mut *target, &there, &mut right)]
    {
        let key = key_of(columns);
        let mut add = |row: Vec<Cell>| {
            let place = bucket(&canonical(key.iter().map(|&at| &row[at])));
            sum.add(place, &digest(&canonical(row.iter())));
        };
        if !columns.is_empty() {
            side.rows(&table, columns, cancel, &mut add).await?;
        }
    }
    let names = |columns: &[Column]| -> Vec<String> {
        columns.iter().map(|column| column.name.clone()).collect()
    };
    let verdict = match (here.is_empty(), there.is_empty()) {
        (true, true) => TableVerdict::NotCompared("neither side has this table".to_owned()),
        (false, true) => TableVerdict::Missing,
        (true, false) => TableVerdict::Extra,
        (false, false) => {
            let mut lines = schema(&here, &there);
            if names(&here) != names(&there) || key_of(&here) != key_of(&there) {
                lines.push("rows not compared: the columns do not match".to_owned());
            } else if left != right {
                let differing = left.differing(&right);
                let found = rows(source, target, &table, &here, &differing, depth, cancel);
                lines.extend(found.await?);
            }
            if lines.is_empty() { TableVerdict::Equal } else { TableVerdict::Different(lines) }
        }
    };
    Ok(TableComparison { table, rows: (left.rows, right.rows), hash: left.hash(), verdict })
}

/// Places of the columns that name a row: the primary key in its order, or every column where there is none.
fn key_of(columns: &[Column]) -> Vec<usize> {
    let mut key: Vec<usize> = (0..columns.len()).filter(|&at| columns[at].key > 0).collect();
    key.sort_by_key(|&at| columns[at].key);
    if key.is_empty() { (0..columns.len()).collect() } else { key }
}

fn schema(here: &[Column], there: &[Column]) -> Vec<String> {
    let text = |column: &Column| {
        let null = if column.not_null { " NOT NULL" } else { "" };
        let key = if column.key > 0 { " PRIMARY KEY" } else { "" };
        format!("{}{null}{key}", column.declared)
    };
    let find = |columns: &[Column], name: &str| {
        columns.iter().find(|column| column.name == name).map(text)
    };
    let names: BTreeSet<&String> = here.iter().chain(there).map(|column| &column.name).collect();
    let mut lines: Vec<String> = names
        .into_iter()
        .filter_map(|name| match (find(here, name), find(there, name)) {
            (source, target) if source == target => None,
            (Some(source), Some(target)) => {
                Some(format!("column {name}: {source} at the source, {target} at the target"))
            }
            (Some(_), None) => Some(format!("column {name}: missing at the target")),
            (None, _) => Some(format!("column {name}: extra at the target")),
        })
        .collect();
    let order = |columns: &[Column]| columns.iter().map(|column| column.name.clone()).collect();
    let (source, target): (Vec<String>, Vec<String>) = (order(here), order(there));
    if lines.is_empty() && source != target {
        lines.push("columns: in another order at the target".to_owned());
    }
    lines
}

/// A row of a differing bucket: short digests of its cells, in the order of the columns.
type Cells = Vec<u64>;

/// Rows on both sides by key; more than one a side only where nothing but the whole row names it.
type Held = BTreeMap<Vec<Cell>, [Vec<(RowDigest, Cells)>; 2]>;

/// The rows that differ, one line each.
async fn rows(
    source: &mut Database,
    target: &mut Database,
    table: &str,
    columns: &[Column],
    differing: &[usize],
    depth: Depth,
    cancel: &CancellationToken,
) -> Result<Vec<String>, DatabaseError> {
    let key = key_of(columns);
    let read: BTreeSet<usize> = differing.iter().copied().take(BUCKETS_READ).collect();
    let mut held = Held::new();
    for (side, database) in [source, target].into_iter().enumerate() {
        let mut keep = |row: Vec<Cell>| {
            let name: Vec<Cell> = key.iter().map(|&at| row[at].clone()).collect();
            if read.contains(&bucket(&canonical(name.iter()))) {
                let short = |cell| {
                    let digest = digest(&canonical([cell].into_iter()));
                    u64::from_be_bytes(digest[..8].try_into().expect("eight of 32 bytes"))
                };
                let row = (digest(&canonical(row.iter())), row.iter().map(short).collect());
                held.entry(name).or_default()[side].push(row);
            }
        };
        database.rows(table, columns, cancel, &mut keep).await?;
    }
    let mut lines = Vec::new();
    let mut found = 0_u64;
    for (name, [here, there]) in held {
        let Some(how) = difference(columns, here, there) else { continue };
        found += 1;
        if lines.len() < depth.rows {
            lines.push(format!("{} {how}", named(columns, &key, &name, depth.keys)));
        }
    }
    let least = if differing.len() > BUCKETS_READ { "at least " } else { "" };
    let rows = if found == 1 { "row differs" } else { "rows differ" };
    lines.insert(0, format!("{least}{found} {rows}"));
    Ok(lines)
}

fn difference(
    columns: &[Column],
    mut here: Vec<(RowDigest, Cells)>,
    mut there: Vec<(RowDigest, Cells)>,
) -> Option<String> {
    here.sort();
    there.sort();
    if here == there {
        return None;
    }
    Some(match (here.as_slice(), there.as_slice()) {
        ([(_, source)], [(_, target)]) => {
            let cells = columns.iter().zip(source.iter().zip(target));
            let names: Vec<&str> = cells
                .filter(|(_, (source, target))| source != target)
                .map(|(column, _)| column.name.as_str())
                .collect();
            format!("different in {}", names.join(", "))
        }
        (_, []) => "missing at the target".to_owned(),
        ([], _) => "extra at the target".to_owned(),
        (source, target) => {
            format!("{} times at the source, {} at the target", source.len(), target.len())
        }
    })
}

fn named(columns: &[Column], key: &[usize], name: &[Cell], keys: bool) -> String {
    if !keys {
        return format!("row #{}", &hex(&digest(&canonical(name.iter())))[..12]);
    }
    let parts = key.iter().zip(name).map(|(&at, cell)| format!("{} = {cell}", columns[at].name));
    format!("row {}", parts.collect::<Vec<_>>().join(", "))
}

#[cfg(test)]
mod tests {
    use std::path::{Path, PathBuf};

    use sqlx::sqlite::SqliteConnectOptions;
    use sqlx::{AssertSqlSafe, ConnectOptions as _, Connection as _};

    use super::*;

    async fn make(path: &Path, sql: &str) {
        let options = SqliteConnectOptions::new().filename(path).create_if_missing(true);
        let mut connection = options.connect().await.expect("a database");
        sqlx::raw_sql(AssertSqlSafe(sql)).execute(&mut connection).await.expect("tables");
        connection.close().await.expect("written");
    }

    async fn compared(source: &str, target: &str, depth: Depth) -> Comparison {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let [left, right]: [PathBuf; 2] =
            ["source.db", "target.db"].map(|name| folder.path().join(name));
        make(&left, source).await;
        make(&right, target).await;
        let mut here = Database::open(&left).await.expect("the source");
        let mut there = Database::open(&right).await.expect("the target");
        let cancel = CancellationToken::new();
        compare(&mut here, &mut there, (&[], &[]), depth, &cancel, &|_| ()).await.expect("compared")
    }

    const ALL: Depth = Depth { rows: 20, keys: true };
    const TABLE: &str = "CREATE TABLE t (id INTEGER PRIMARY KEY, name TEXT, total REAL);";

    fn rows_up_to(end: u32) -> String {
        format!(
            "WITH RECURSIVE n (id) AS (VALUES (1) UNION ALL SELECT id + 1 FROM n WHERE id < {end}) \
             INSERT INTO t SELECT id, 'a', 1 FROM n;"
        )
    }

    async fn lines(source: &str, target: &str, depth: Depth) -> Vec<String> {
        let (source, target) = (format!("{TABLE}{source}"), format!("{TABLE}{target}"));
        match &compared(&source, &target, depth).await.tables[0].verdict {
            TableVerdict::Different(lines) => lines.clone(),
            other => panic!("{other:?}"),
        }
    }

    #[tokio::test]
    async fn order_of_rows_does_not_matter() {
        let source = format!("{TABLE} INSERT INTO t VALUES (1, 'a', 1.5), (2, NULL, 2);");
        let target = format!("{TABLE} INSERT INTO t VALUES (2, NULL, 2), (1, 'a', 1.5);");
        let comparison = compared(&source, &target, ALL).await;
        assert!(comparison.all_equal());
        assert_eq!((comparison.rows(), comparison.tables[0].rows), (2, (2, 2)));
    }

    #[tokio::test]
    async fn differing_rows_are_found_by_key_and_column() {
        let found = lines(
            "INSERT INTO t VALUES (1, 'a', 1), (2, 'b', 2), (3, 'c', 3);",
            "INSERT INTO t VALUES (1, 'a', 1), (2, 'x', 9), (4, 'd', 4);",
            ALL,
        );
        assert_eq!(
            found.await,
            [
                "3 rows differ",
                "row id = 2 different in name, total",
                "row id = 3 missing at the target",
                "row id = 4 extra at the target",
            ]
        );
    }

    #[tokio::test]
    async fn a_text_one_is_no_number_one() {
        let source = "CREATE TABLE t (id INTEGER PRIMARY KEY, v); INSERT INTO t VALUES (1, 1);";
        let target = "CREATE TABLE t (id INTEGER PRIMARY KEY, v); INSERT INTO t VALUES (1, '1');";
        assert!(!compared(source, target, ALL).await.all_equal());
    }

    #[tokio::test]
    async fn rows_named_are_limited_and_keys_can_be_hidden() {
        let source = rows_up_to(50);
        let found = lines(&source, "", Depth { rows: 3, keys: false }).await;
        assert_eq!((found[0].as_str(), found.len()), ("50 rows differ", 4));
        assert!(found[1].starts_with("row #") && found[1].ends_with(" missing at the target"));
    }

    #[tokio::test]
    async fn many_differences_are_a_lower_bound() {
        let source = rows_up_to(4000);
        let found = lines(&source, "", ALL).await;
        assert!(found[0].starts_with("at least "), "{}", found[0]);
    }

    #[tokio::test]
    async fn without_a_key_the_row_is_its_own_name() {
        let table = "CREATE TABLE log (line TEXT);";
        let source = format!("{table} INSERT INTO log VALUES ('a'), ('a'), ('b');");
        let target = format!("{table} INSERT INTO log VALUES ('a'), ('b'), ('b');");
        let comparison = compared(&source, &target, ALL).await;
        let TableVerdict::Different(lines) = &comparison.tables[0].verdict else { panic!("equal") };
        assert_eq!(lines[1], "row line = 'a' 2 times at the source, 1 at the target");
    }

    #[tokio::test]
    async fn schemas_are_compared() {
        let source = "CREATE TABLE t (id INTEGER PRIMARY KEY, v TEXT NOT NULL);";
        let target = "CREATE TABLE t (id INTEGER PRIMARY KEY, v BLOB, w);";
        let comparison = compared(source, target, ALL).await;
        let TableVerdict::Different(lines) = &comparison.tables[0].verdict else { panic!("equal") };
        assert_eq!(
            *lines,
            [
                "column v: TEXT NOT NULL at the source, BLOB at the target",
                "column w: extra at the target",
                "rows not compared: the columns do not match",
            ]
        );
    }

    #[tokio::test]
    async fn tables_of_one_side_are_missing_or_extra_and_nothing_is_not_equal() {
        let comparison = compared("CREATE TABLE a (x);", "CREATE TABLE b (x);", ALL).await;
        let verdicts: Vec<_> = comparison.tables.iter().map(|table| &table.verdict).collect();
        assert_eq!(verdicts, [&TableVerdict::Missing, &TableVerdict::Extra]);
        assert!(!compared("", "", ALL).await.all_equal());
    }

    #[tokio::test]
    async fn opening_makes_no_file() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let path = folder.path().join("none.db");
        let error = Database::open(&path).await.expect_err("no file");
        assert!(matches!(error, DatabaseError::Open { .. }));
        assert!(!path.exists());
    }
}
