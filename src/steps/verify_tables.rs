//! `verify.tables`: compares two databases by schema, row counts and content. Only all-equal opens what comes after it.

use async_trait::async_trait;
use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::{Value, json};

use super::{Kind, Outcome, PerformCx, Preview, Step, StepCx, StepError};
use crate::database::{
    self, Comparison, Database, DatabaseError, Depth, TableComparison, TableVerdict,
};
use crate::plan::{Class, KindSpec, Role};
use crate::run::{Evidence, FailureClass, RecordedEffect, Repeat, Undo, Verdict};

/// Rows that are named for each table.
const NAMED: usize = 20;

/// Parameters of `verify.tables`.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct With {
    /// The system the rows came from: `{ sqlite: path }` under `systems`.
    pub source: String,
    /// The system they were copied to.
    pub target: String,
    /// Tables to compare; every table of either side when empty.
    #[serde(default)]
    pub tables: Vec<String>,
    /// Tables to leave out.
    #[serde(default)]
    pub exclude: Vec<String>,
    /// Show primary keys of differing rows; `false` shows a digest of each, for keys that are personal.
    #[serde(default = "yes")]
    pub show_keys: bool,
}

const fn yes() -> bool {
    true
}

/// The kind.
pub const KIND: Kind = Kind {
    spec: KindSpec {
        name: "verify.tables",
        summary: "Compare two databases by schema, row counts and content",
        docs: "Reads every row of every table on both sides, each side in one read-only snapshot, into hashes that do not depend on the \
               order of rows. Each table is equal, different, missing (at the target), extra (at the target) or not compared. Columns, \
               their declared types and the primary key are compared too.\n\n\
               The step succeeds only if every table is equal. Otherwise it fails as a mismatch (exit 7) and names up to 20 rows a table \
               by primary key, with the columns that differ; values are never shown. Values of different types differ: the number 1 is not \
               the text `1`. Indexes, views and triggers are not compared.",
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
    vec![format!("tables of {} = {}", text("source"), text("target"))]
}

impl With {
    fn attempted(&self) -> String {
        format!("compare tables of {} and {}", self.source, self.target)
    }

    async fn compare(&self, cx: &StepCx) -> Result<Comparison, StepError> {
        let systems = &cx.world.plan.systems;
        let open = |name| Database::of(name, systems.get(name), |path| cx.path(path));
        let compared: Result<_, DatabaseError> = async {
            let mut source = open(self.source.as_str()).await?;
            let mut target = open(self.target.as_str()).await?;
            let depth = Depth { rows: NAMED, keys: self.show_keys };
            let progress = cx.progress.clone();
            let seen = move |table: &str| progress.say(format!("comparing table {table}"));
            let tables = (self.tables.as_slice(), self.exclude.as_slice());
            let found =
                database::compare(&mut source, &mut target, tables, depth, &cx.cancel, &seen).await?;
            source.close().await?;
            target.close().await?;
            Ok(found)
        }
        .await;
        compared.map_err(|error| error.as_step_error(&self.attempted()))
    }

    fn mismatch(&self, found: &Comparison) -> StepError {
        let not_equal: Vec<_> =
            found.tables.iter().filter(|table| table.verdict != TableVerdict::Equal).collect();
        let known = if found.tables.is_empty() {
            "neither side has a table; nothing was compared".to_owned()
        } else {
            format!("{} of {} tables are not equal", not_equal.len(), found.tables.len())
        };
        let error = StepError::new(FailureClass::Mismatch, "MIG0305", self.attempted(), known)
            .hint("copy the rows named again, then `migrate resume`; nothing was changed by this");
        not_equal.into_iter().fold(error, |error, table| error.cause(told(table)))
    }
}

/// A table that is not equal, in one text.
fn told(table: &TableComparison) -> String {
    let (source, target) = table.rows;
    let how = match &table.verdict {
        TableVerdict::Equal => "equal".to_owned(),
        TableVerdict::Different(lines) => format!("different: {}", lines.join("; ")),
        TableVerdict::Missing => "missing at the target".to_owned(),
        TableVerdict::Extra => "extra at the target".to_owned(),
        TableVerdict::NotCompared(why) => format!("not compared: {why}"),
    };
    format!("{} ({source} rows at the source, {target} at the target): {how}", table.table)
}

fn evidence(table: &TableComparison) -> Evidence {
    let (verdict, detail) = match &table.verdict {
        TableVerdict::Equal => ("equal", format!("{} rows, hash {}", table.rows.0, &table.hash[..16])),
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
        let found = self.compare(cx).await?;
        Ok(Preview { changes: Vec::new(), readings: found.tables.iter().map(evidence).collect() })
    }

    async fn perform(&self, cx: &mut PerformCx<'_>) -> Result<Outcome, StepError> {
        let found = self.compare(cx).await?;
        if !found.all_equal() {
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

    async fn undo(&self, _cx: &mut PerformCx<'_>, _effect: &RecordedEffect) -> Result<(), StepError> {
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
        let sql = "CREATE TABLE orders (id INTEGER PRIMARY KEY); INSERT INTO orders VALUES (1), (2);";
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
        assert!(error.causes[0].ends_with("1 row differs; row id = 7 different in total"), "{error}");
    }

    #[tokio::test]
    async fn a_missing_database_is_an_error_and_not_a_mismatch() {
        let systems = json!({ "a": { "sqlite": "a.db" }, "b": { "sqlite": "b.db" } });
        let bench = Bench::new("verify.tables", &json!({ "source": "a", "target": "b" }), &systems);
        let error = bench.perform().await.expect_err("no file");
        assert_eq!((error.class, error.code.as_str()), (FailureClass::Failed, "MIG0306"));
    }
}
