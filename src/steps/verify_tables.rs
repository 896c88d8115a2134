//! `verify.tables`: compares two databases by schema, row counts and content. Only all-equal opens what comes after it.

use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use async_trait::async_trait;
use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::{Value, json};

use super::{Kind, Outcome, PerformCx, Preview, Step, StepCx, StepError};
use crate::database::{
    self, Comparison, Database, DatabaseError, Depth, Limits, Pace, Reached, Sample, Side,
    TableComparison, TableVerdict, Told, Wanted, Watch, mysql, postgres, sqlserver,
};
use crate::plan::{Class, KindSpec, Role, Span};
use crate::run::{Evidence, FailureClass, RecordedEffect, Repeat, Undo, Verdict};

/// Rows that are named for each table.
const NAMED: usize = 20;

/// Parameters of `verify.tables`.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct With {
    /// The system the rows came from: `{ postgres: … }`, `{ mysql: … }`, `{ sqlserver: … }` or `{ sqlite: path }` under `systems`.
    pub source: String,
    /// The system they were copied to.
    pub target: String,
    /// Tables to compare, those outside the schema `public` as `schema.table`; every table of either side when empty.
    #[serde(default)]
    pub tables: Vec<String>,
    /// Tables to leave out.
    #[serde(default)]
    pub exclude: Vec<String>,
    /// Show primary keys of differing rows; `false` shows a digest of each, for keys that are personal.
    #[serde(default = "yes")]
    pub show_keys: bool,
    /// Compare the content of a sample only, of so many percent of each table, for a rehearsal or where time is short. Every row
    /// is counted all the same. A table compared so is sampled and never equal, and the step is no proof before a traffic switch
    /// (CAF002).
    #[schemars(with = "Option<u8>", range(min = 1, max = 99))]
    pub sample_percent: Option<Percent>,
    /// How hard servers may be driven.
    #[serde(default)]
    pub load: Load,
}

/// A part of a whole that is neither nothing nor all of it.
#[derive(Debug, Clone, Copy, Deserialize)]
#[serde(try_from = "u8")]
pub struct Percent(u8);

impl TryFrom<u8> for Percent {
    type Error = &'static str;

    fn try_from(number: u8) -> Result<Self, Self::Error> {
        (1..=99)
            .contains(&number)
            .then_some(Self(number))
            .ok_or("expected 1 to 99 percent; leave it out to compare all")
    }
}

/// How hard servers may be driven.
#[derive(Debug, Clone, Copy, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Load {
    /// How long one statement should take; ranges grow and shrink towards it. Default 1s.
    pub statement: Span,
    /// How long one may take at most before its range is made smaller. Default 60s.
    pub statement_limit: Span,
    /// Rest after each statement, in percent of the time it took. Default 0.
    pub rest_percent: u16,
    /// Wait while more sessions of others than these carry out a statement on a server. Default: never.
    pub max_running: Option<u64>,
    /// Wait while a follower of a PostgreSQL server is more bytes of log behind it. Default: never.
    pub max_lag_bytes: Option<u64>,
}

impl Default for Load {
    fn default() -> Self {
        Self {
            statement: Span::seconds(1),
            statement_limit: Span::seconds(60),
            rest_percent: 0,
            max_running: None,
            max_lag_bytes: None,
        }
    }
}

impl Load {
    fn pace(&self) -> Pace {
        Pace {
            aim: self.statement.duration(),
            limit: self.statement_limit.duration(),
            rest: f64::from(self.rest_percent) / 100.0,
        }
    }

    const fn limits(&self) -> Limits {
        Limits { running: self.max_running, lag_bytes: self.max_lag_bytes }
    }
}

const fn yes() -> bool {
    true
}

const DOCS: &str = "\
Compares every row of every table, each side in one read-only snapshot, by hashes that do not depend on the order of rows. Each \
table is equal, different, missing (at the target), extra (at the target), not compared or sampled. Columns, their types, nullability and \
defaults, and the primary key are compared too; on servers also indexes and constraints.\n\n\
The step succeeds only if every table is equal. Otherwise it fails as a mismatch (exit 7) and names up to 20 rows a table by \
primary key, with the columns that differ; other values are never shown. Rows of a table without a primary key are counted as \
they are, and named by a digest. Views, functions and triggers are not compared.\n\n\
On PostgreSQL (12 and later) rows are hashed inside the servers, both at once, page by page; only sums, and of differing rows \
the key and digests, are read. Between two servers of one major version and encoding it is a chain of the server's own 64-bit \
hashes, else 60 bits of MD5 over the values as text. Both tell `-0` from `0`, `1.0` from `1.00` and `1 mon` from \
`30 days`. They are proof against accidents and not against malice. Rows hidden by row-level security are an error; tables of \
which a partition is a foreign table are not compared.\n\n\
On MariaDB and MySQL likewise, range by range of the primary key; a table without one, or with one over floating-point numbers or \
the beginnings of texts, by one statement. Between two MariaDB servers from 10.8 on the hash is the product of two 32-bit checksums of different polynomials over the row, else 60 bits of MD5. Tables \
of an engine without snapshots are not compared. A user that may read single tables only is not told of others: then not \
everything is compared.\n\n\
Where all tables of two PostgreSQL databases are compared, so are extensions (the target may have more), enums and domains, and \
sequences (the target's may be ahead, and not behind).\n\n\
From MariaDB or MySQL to PostgreSQL, or back, rows are compared by one text that a value has on both: whole numbers (also \
`boolean`), `decimal`, text, bytes, dates, times and time stamps (in UTC); 1.0 is 1.00 there, and blanks at the end of `char` do \
not count (PostgreSQL from 13). Binary floating-point numbers, `jsonb` and what only one engine has are not compared, and then neither is the table. \
Types, defaults, indexes and constraints are not compared between engines.\n\n\
From SQL Server to PostgreSQL, or back, likewise (protocol-simulated: written from Microsoft's documentation, and tried against a \
server of the tests only): also `bit`, `money`, `uniqueidentifier`, `datetime2`, `datetimeoffset` in UTC, and `datetime` to the \
millisecond that it shows; a tenth of a microsecond that is not 0 differs. The schema `dbo` is PostgreSQL's `public`. `float`, \
`real`, `xml`, `sql_variant`, `rowversion`, spatial types and values that are encrypted or masked are not compared, nor tables in \
memory, external ones, and those under a security policy. It needs version 2019 or Azure SQL, a database that allows snapshots \
(`allow_snapshot_isolation`), and a user with SELECT and VIEW DEFINITION on it. A table without an integer key is read by one \
statement. SQL Server with any other engine is refused.\n\n\
With `sample_percent` every row is counted, and so many percent of the key ranges of each table (or of the parts of a hash of the \
key) are compared by content; which ones, the id of the run decides, so that a resume compares the same. If nothing differs the \
tables are *sampled*, with the rows compared so: the step succeeds, its evidence does not hold, and it is no verification before a \
traffic switch. What differs, differs.\n\n\
`load` says how hard servers may be driven: how long a statement should take and may take, a rest after each, and limits above \
which the comparison waits between two statements and says why: `max_running`, sessions of others that carry out a statement \
(on MariaDB and MySQL `Threads_running`, on SQL Server requests of users), and on PostgreSQL `max_lag_bytes`, log that a follower has not applied. What the user is \
not told is above the limit. It waits as long as it takes, or until the `timeout` of the step.\n\n\
What was read is kept beside the journal every few seconds. A comparison that was cut off goes on from there if both servers \
prove that nothing was written to them since (PostgreSQL by its transaction ids; MariaDB by the log of InnoDB), whatever \
database it was written to, and that they were not restarted; else it begins again. MySQL and SQL Server always begin again.\n\n\
On SQLite values of different types differ (the number 1 is not the text `1`), and indexes are not compared.";

/// The kind.
pub const KIND: Kind = Kind {
    spec: KindSpec {
        name: "verify.tables",
        summary: "Compare two databases by schema, row counts and content",
        docs: DOCS,
        example: include_str!("../../examples/steps/verify.tables.yaml"),
        class: Class::Check,
        repeat: Repeat::Repeatable,
        undo: Undo::LeavesInPlace,
        roles: &[Role::VerifiesData],
        outputs: &["tables", "rows", "digest"],
        open_outputs: false,
        schema: || schemars::schema_for!(With),
        check: super::check::<With>,
        describe,
    },
    build: |with| Ok(Box::new(super::read::<With>(with)?)),
};

fn describe(with: &Value) -> Vec<String> {
    let text = |key: &str| with[key].as_str().unwrap_or("?").to_owned();
    let sample = &with["sample_percent"];
    let sample = if sample.is_null() { String::new() } else { format!(", a sample of {sample} %") };
    vec![format!("tables of {} = {}{sample}", text("source"), text("target"))]
}

impl With {
    fn attempted(&self) -> String {
        format!("compare tables of {} and {}", self.source, self.target)
    }

    async fn compare(&self, cx: &StepCx, keep: Option<&Path>) -> Result<Comparison, StepError> {
        let is_file = |name: &String| {
            let system = cx.world.plan.systems.get(name);
            !postgres::Server::is(system)
                && !mysql::Server::is(system)
                && !sqlserver::Server::is(system)
        };
        let compared = if [&self.source, &self.target].into_iter().any(is_file) {
            self.compare_files(cx).await
        } else {
            self.compare_servers(cx, keep).await
        };
        compared.map_err(|error| error.as_step_error(&self.attempted()))
    }

    const fn depth(&self) -> Depth {
        Depth { rows: NAMED, keys: self.show_keys }
    }

    async fn compare_files(&self, cx: &StepCx) -> Result<Comparison, DatabaseError> {
        if self.sample_percent.is_some() {
            let why = "files are compared whole; leave `sample_percent` out";
            return Err(DatabaseError::System(why.to_owned()));
        }
        let open = |name| Database::of(name, cx.world.plan.systems.get(name), |path| cx.path(path));
        let mut source = open(self.source.as_str()).await?;
        let mut target = open(self.target.as_str()).await?;
        let progress = cx.progress.clone();
        let seen = move |table: &str| progress.say(format!("comparing table {table}"));
        let tables = (self.tables.as_slice(), self.exclude.as_slice());
        let found =
            database::compare(&mut source, &mut target, tables, self.depth(), &cx.cancel, &seen)
                .await?;
        source.close().await?;
        target.close().await?;
        Ok(found)
    }

    async fn compare_servers(
        &self,
        cx: &StepCx,
        keep: Option<&Path>,
    ) -> Result<Comparison, DatabaseError> {
        let (mut source, mut target) =
            (self.side(cx, &self.source).await?, self.side(cx, &self.target).await?);
        let watch = Mutex::new(Rate::begin());
        let progress = cx.progress.clone();
        let reached = |reached: Reached<'_>| {
            let (text, done) = watch.lock().unwrap_or_else(PoisonError::into_inner).told(&reached);
            progress.amount(text, done, reached.of.max(done), "rows of both sides");
        };
        let seed = format!("{} {}", cx.world.run, cx.step.id);
        let sample = self.sample_percent.map(|Percent(percent)| Sample { percent, seed });
        let wanted = Wanted {
            tables: &self.tables,
            exclude: &self.exclude,
            depth: self.depth(),
            keep,
            sample: sample.as_ref(),
        };
        let found =
            database::compare_servers(&mut source, &mut target, wanted, &cx.cancel, &reached)
                .await?;
        source.close().await;
        target.close().await;
        Ok(found)
    }

    async fn side(&self, cx: &StepCx, name: &str) -> Result<Side, DatabaseError> {
        let (pace, limits) = (self.load.pace(), self.load.limits());
        let progress = cx.progress.clone();
        let told: Told = Arc::new(move |why: &str| progress.say(why));
        if postgres::Server::is(cx.world.plan.systems.get(name)) {
            let server = cx.postgres(name).await?;
            let side = Side::postgres(&server, pace).await?;
            if limits.is_none() {
                return Ok(side);
            }
            return Ok(side.watched(Watch::postgres(&server, limits, told).await?));
        }
        if sqlserver::Server::is(cx.world.plan.systems.get(name)) {
            let server = cx.sqlserver(name).await?;
            let side = Side::sqlserver(&server, pace).await?;
            if limits.is_none() {
                return Ok(side);
            }
            return Ok(side.watched(Watch::sqlserver(&server, limits, told).await?));
        }
        let server = cx.mysql(name).await?;
        let side = Side::mysql(&server, pace).await?;
        if limits.is_none() {
            return Ok(side);
        }
        Ok(side.watched(Watch::mysql(&server, limits, told).await?))
    }

    fn mismatch(&self, found: &Comparison) -> StepError {
        let not_equal: Vec<_> = found.tables.iter().filter(|table| !alike(table)).collect();
        let known = if found.tables.is_empty() {
            "neither side has a table; nothing was compared".to_owned()
        } else if not_equal.is_empty() {
            format!("no table differs, and {} beside them is not", found.beside.len())
        } else {
            let known =
                format!("{} of {} tables are not equal", not_equal.len(), found.tables.len());
            // Nobody may take the others for equal.
            let only = self.sample_percent.map(|_| "; of each only a sample was compared");
            known + only.unwrap_or_default()
        };
        let error = StepError::new(FailureClass::Mismatch, "MIG0305", self.attempted(), known)
            .hint("copy the rows named again, then `migrate resume`; nothing was changed by this");
        let error = found.beside.iter().fold(error, |error, line| error.cause(line.clone()));
        not_equal.into_iter().fold(error, |error, table| error.cause(told(table)))
    }
}

/// How fast a table is read.
struct Rate {
    table: String,
    began: Instant,
    rows: u64,
}

impl Rate {
    fn begin() -> Self {
        Self { table: String::new(), began: Instant::now(), rows: 0 }
    }

    /// What is said of it, and the rows read so far.
    fn told(&mut self, reached: &Reached<'_>) -> (String, u64) {
        if self.table != reached.table {
            *self = Self { table: reached.table.to_owned(), ..Self::begin() };
        }
        self.rows += reached.rows;
        let left = left(self.rows, reached.of, self.began.elapsed());
        let left = left.map(|(rate, left)| format!(", {rate} rows/s, {} s left", left.as_secs()));
        (format!("comparing table {}{}", self.table, left.unwrap_or_default()), self.rows)
    }
}

/// Rows a second and the time that is left, once there is something to go by.
fn left(rows: u64, of: u64, took: Duration) -> Option<(u64, Duration)> {
    let milliseconds = u64::try_from(took.as_millis()).ok().filter(|it| *it >= 500)?;
    let rate = rows.saturating_mul(1000) / milliseconds;
    (rate > 0).then(|| (rate, Duration::from_secs(of.saturating_sub(rows).div_ceil(rate))))
}

/// Nothing in which the two differ was found.
fn alike(table: &TableComparison) -> bool {
    matches!(table.verdict, TableVerdict::Equal | TableVerdict::Sampled { .. })
}

/// What a sample has shown of a table, and what it has not.
fn sampled(rows: u64, table: &TableComparison) -> String {
    format!("{} rows counted, content of {rows} compared; the others may differ", table.rows.0)
}

/// A table that is not equal, in one text.
fn told(table: &TableComparison) -> String {
    let (source, target) = table.rows;
    let how = match &table.verdict {
        TableVerdict::Equal => "equal".to_owned(),
        TableVerdict::Sampled { rows } => format!("sampled: {}", sampled(*rows, table)),
        TableVerdict::Different(lines) => format!("different: {}", lines.join("; ")),
        TableVerdict::Missing => "missing at the target".to_owned(),
        TableVerdict::Extra => "extra at the target".to_owned(),
        TableVerdict::NotCompared(why) => format!("not compared: {why}"),
    };
    format!("{} ({source} rows at the source, {target} at the target): {how}", table.table)
}

fn evidence(table: &TableComparison) -> Evidence {
    let (verdict, detail) = match &table.verdict {
        TableVerdict::Equal => {
            ("equal", format!("{} rows, hash {}", table.rows.0, &table.hash[..16]))
        }
        TableVerdict::Sampled { rows } => ("sampled", sampled(*rows, table)),
        TableVerdict::NotCompared(why) => ("not compared", why.clone()),
        TableVerdict::Missing => ("missing", format!("{} rows at the source", table.rows.0)),
        TableVerdict::Extra => ("extra", format!("{} rows at the target", table.rows.1)),
        TableVerdict::Different(lines) => (
            "different",
            format!("{} rows and {}: {}", table.rows.0, table.rows.1, lines.join("; ")),
        ),
    };
    Evidence {
        check: format!("rows in {}", table.table),
        verdict: verdict.to_owned(),
        detail,
        holds: table.verdict == TableVerdict::Equal,
    }
}

impl With {
    /// The target's file as written, when an earlier step of the runbook has yet to bring it.
    fn target_to_come<'a>(&self, cx: &'a StepCx) -> Option<&'a str> {
        let path = cx.world.plan.systems.get(&self.target)?["sqlite"].as_str()?;
        (!cx.path(path).exists()).then_some(path)
    }
}

#[async_trait]
impl Step for With {
    async fn preview(&self, cx: &StepCx) -> Result<Preview, StepError> {
        if let Some(path) = self.target_to_come(cx) {
            let reading = Evidence {
                check: format!("tables of {} and {}", self.source, self.target),
                verdict: "not compared".to_owned(),
                detail: format!("{path} is not there yet"),
                holds: false,
            };
            return Ok(Preview { changes: Vec::new(), readings: vec![reading] });
        }
        // A preview leaves nothing behind.
        let found = self.compare(cx, None).await?;
        Ok(Preview { changes: Vec::new(), readings: found.tables.iter().map(evidence).collect() })
    }

    async fn perform(&self, cx: &mut PerformCx<'_>) -> Result<Outcome, StepError> {
        let keep = cx.world.progress_dir.join(format!("{}.tables.json", cx.step.id));
        let found = self.compare(cx, Some(&keep)).await?;
        // A sample is a reading: what it can not show does not fail the step, and does not hold either.
        let passed = match self.sample_percent {
            None => found.all_equal(),
            Some(_) => found.nothing_differs(),
        };
        if !passed {
            return Err(self.mismatch(&found));
        }
        let outputs = [
            ("tables", json!(found.tables.len())),
            ("rows", json!(found.rows())),
            ("digest", json!(found.hash())),
        ];
        Ok(Outcome {
            outputs: outputs.into_iter().map(|(name, value)| (name.to_owned(), value)).collect(),
            evidence: found.tables.iter().map(evidence).collect(),
        })
    }

    async fn probe(&self, _cx: &StepCx, _effect: &RecordedEffect) -> Verdict {
        // A check declares no effect.
        Verdict::NotDone
    }

    async fn undo(
        &self,
        _cx: &mut PerformCx<'_>,
        _effect: &RecordedEffect,
    ) -> Result<(), StepError> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use sqlx::sqlite::SqliteConnectOptions;
    use sqlx::{AssertSqlSafe, ConnectOptions as _, Connection as _};

    use super::super::testing::Bench;
    use super::*;

    async fn bench(source: &str, target: &str) -> Bench {
        let systems = json!({ "a": { "sqlite": "a.db" }, "b": { "sqlite": "b.db" } });
        let bench = Bench::new("verify.tables", &json!({ "source": "a", "target": "b" }), &systems);
        for (name, sql) in [("a.db", source), ("b.db", target)] {
            let path = bench.folder.path().join(name);
            let options = SqliteConnectOptions::new().filename(path).create_if_missing(true);
            let mut connection = options.connect().await.expect("a database");
            sqlx::raw_sql(AssertSqlSafe(sql)).execute(&mut connection).await.expect("tables");
            connection.close().await.expect("written");
        }
        bench
    }

    #[tokio::test]
    async fn equal_databases_open_the_gate_with_evidence_for_each_table() {
        let sql =
            "CREATE TABLE orders (id INTEGER PRIMARY KEY); INSERT INTO orders VALUES (1), (2);";
        let outcome = bench(sql, sql).await.perform().await.expect("equal");
        assert_eq!(outcome.outputs["rows"], json!(2));
        assert_eq!(outcome.evidence[0].check, "rows in orders");
        assert!(outcome.evidence[0].holds);
    }

    #[tokio::test]
    async fn a_mismatch_names_the_rows() {
        let table = "CREATE TABLE orders (id INTEGER PRIMARY KEY, total INTEGER);";
        let source = format!("{table} INSERT INTO orders VALUES (7, 1);");
        let target = format!("{table} INSERT INTO orders VALUES (7, 2);");
        let error = bench(&source, &target).await.perform().await.expect_err("different");
        assert_eq!((error.class, error.code.as_str()), (FailureClass::Mismatch, "MIG0305"));
        assert!(
            error.causes[0].ends_with("1 row differs; row id = 7 different in total"),
            "{error}"
        );
    }

    #[tokio::test]
    async fn a_sample_does_not_hold_and_is_not_taken_of_files() {
        let table = TableComparison {
            table: "orders".to_owned(),
            rows: (9, 9),
            hash: "0".repeat(32),
            verdict: TableVerdict::Sampled { rows: 4 },
        };
        let told = evidence(&table);
        assert_eq!((told.verdict.as_str(), told.holds), ("sampled", false));
        assert_eq!(told.detail, "9 rows counted, content of 4 compared; the others may differ");
        let found = Comparison { tables: vec![table], beside: Vec::new() };
        assert!(found.nothing_differs() && !found.all_equal());
        let systems = json!({ "a": { "sqlite": "a.db" }, "b": { "sqlite": "b.db" } });
        let with = json!({ "source": "a", "target": "b", "sample_percent": 5 });
        let error = Bench::new("verify.tables", &with, &systems).perform().await;
        assert!(error.expect_err("files").to_string().contains("files are compared whole"));
        for percent in [0, 100] {
            let with = json!({ "source": "a", "target": "b", "sample_percent": percent });
            assert!(serde_json::from_value::<With>(with).is_err(), "{percent}");
        }
    }

    #[test]
    fn rate_and_time_left_are_told_once_there_is_something_to_go_by() {
        let seconds = Duration::from_secs;
        assert_eq!(left(1000, 4000, seconds(2)), Some((500, seconds(6))));
        assert_eq!(left(5000, 4000, seconds(2)), Some((2500, seconds(0))));
        assert_eq!(left(1000, 4000, Duration::from_millis(20)), None);
        assert_eq!(left(0, 4000, seconds(2)), None);
    }

    #[tokio::test]
    async fn a_missing_database_is_an_error_and_not_a_mismatch() {
        let systems = json!({ "a": { "sqlite": "a.db" }, "b": { "sqlite": "b.db" } });
        let bench = Bench::new("verify.tables", &json!({ "source": "a", "target": "b" }), &systems);
        let error = bench.perform().await.expect_err("no file");
        assert_eq!((error.class, error.code.as_str()), (FailureClass::Failed, "MIG0306"));
    }
}
