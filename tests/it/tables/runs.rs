//! Samples and limits of load by the program itself: what an operator reads while it compares and afterwards.

use std::time::Duration;

use sqlx::ConnectOptions as _;

use crate::child::{self, Running};
use crate::lab::Lab;
use crate::postgres::cluster::{ADMIN, Cluster, PASSWORD};

/// No run of these tests lasts so long, however busy the machine.
const PATIENCE: Duration = Duration::from_mins(2);

/// A server with two databases of the same two tables.
fn twins(what: &str) -> Option<Cluster> {
    let cluster = Cluster::start(what)?;
    cluster.sql("postgres", "create database twin");
    for database in ["crm", "twin"] {
        cluster.sql(database, "create table orders (id bigint primary key, item text); insert into orders select g, 'item ' || g from generate_series(1, 20000) g;
            create table plain (item text); insert into plain values ('one'), ('two'); analyze");
    }
    Some(cluster)
}

/// Compares them, with these parameters besides.
fn runbook(cluster: &Cluster, lab: &Lab, with: &str) -> String {
    let system = |database: &str| {
        let system = format!("host=127.0.0.1 port={} dbname={database} user={ADMIN}", cluster.port);
        format!("{{ postgres: \"{system}\", password: db }}")
    };
    let step = format!(
        "    - {{ id: equal, uses: verify.tables, timeout: 5m, with: {{ source: source, target: target{with} }} }}"
    );
    lab.pair(PASSWORD, &system("crm"), &system("twin"), &step)
}

#[test]
fn a_run_of_a_sample_says_sampled_and_never_equal() {
    let Some(cluster) = twins("a run of a sample") else { return };
    let sample = ", sample_percent: 20";
    let run = |more: &[&str]| {
        let lab = Lab::new("");
        let runbook = runbook(&cluster, &lab, sample);
        lab.migrate(["run", &runbook].iter().chain(more))
    };
    let says = |said: &str, words: &[&str]| {
        for word in words {
            assert!(said.contains(word), "{word}: {said}");
        }
    };
    let sampled = [
        "rows in orders: sampled",
        "20000 rows counted, content of ",
        " compared; the others may differ",
    ];
    let seen = run(&["--dry-run"]).expect(0).stdout();
    says(&seen, &sampled);
    let ended = run(&[]).expect(0);
    says(&ended.said(), &sampled);
    says(&ended.said(), &["evidence  0 hold, 2 do not", "rows in plain: sampled"]);
    assert!(!ended.said().contains(": equal"), "{}", ended.said());
    // What differs, differs; and what else was looked at is not called equal.
    cluster.sql("twin", "delete from orders where id = 7");
    let said = run(&[]).expect(7).said();
    says(&said, &["MIG0305", "1 of 2 tables are not equal; of each only a sample was compared"]);
    says(&said, &["row id = 7 missing at the target"]);
}

/// The runbook of a wave whose only comparison is a sample is refused before anything is asked.
#[test]
fn a_sample_opens_no_switch() {
    let lab = Lab::new("");
    for wave in ["postgres-near-zero", "mariadb-near-zero"] {
        let text = std::fs::read_to_string(format!("runbooks/{wave}.yaml")).expect("a runbook");
        let whole = "with: { source: source, target: target }";
        assert_eq!(text.matches(whole).count(), 1);
        let sample = "with: { source: source, target: target, sample_percent: 99 }";
        let runbook = lab.write("sample.yaml", &text.replace(whole, sample));
        let said = lab.migrate(["validate", &runbook]).expect(3).said();
        for word in ["CAF002", "only a sample of the data is compared", "`tables-equal`"] {
            assert!(said.contains(word), "{word}: {said}");
        }
        let (before, rest) = text.split_once("    - id: tables-equal").expect("a comparison");
        let (_, after) = rest.split_once("    - id: switch").expect("a switch");
        let runbook = lab.write("none.yaml", &format!("{before}    - id: switch{after}"));
        let said = lab.migrate(["validate", &runbook]).expect(3).said();
        let words = "nothing compares the data between `pause` and `switch`";
        assert!(said.contains("CAF002") && said.contains(words), "{said}");
    }
}

#[test]
fn a_run_waits_while_others_are_at_work_and_says_so() {
    let Some(cluster) = twins("a run that waits for sessions") else { return };
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    let mut busy = Vec::new();
    for _ in 0..2 {
        let mut session = runtime.block_on(cluster.options(ADMIN).connect()).expect("a session");
        busy.push(runtime.spawn(async move {
            sqlx::query("select pg_sleep(3600)").execute(&mut session).await
        }));
    }
    let asleep = "select count(*) from pg_stat_activity where state = 'active' and query = 'select pg_sleep(3600)'";
    cluster.until("crm", asleep, "2");
    let lab = Lab::new("");
    let runbook = runbook(&cluster, &lab, ", load: { max_running: 1 }");
    let mut running = Running::start(lab.command(["run", &runbook, "--json"]), lab.path(), "run");
    let has_said = |words: &str| child::until(words, || running.stdout().contains(words));
    has_said(" sessions run, limit 1");
    let is_over = r#""step_succeeded""#;
    assert!(!running.stdout().contains(is_over), "{}", running.said());
    let ended = "select count(pg_terminate_backend(pid)) from pg_stat_activity where query = 'select pg_sleep(3600)'";
    assert_eq!(cluster.text("crm", ended), "2");
    has_said(is_over);
    let status = running.ended_within(PATIENCE).expect("it ends");
    assert_eq!(status.code(), Some(0), "{}", running.said());
}
