//! A pause that holds, and a target that has everything: cutovers under a client that writes throughout and logs what was
//! acknowledged.

use std::process::Stdio;

use sqlx::ConnectOptions as _;

use super::client::{self, ids};
use super::cluster::{ADMIN, Cluster};
use super::replicas::Replicas;
use crate::cutover_kills::Pair;
use crate::lab::{Lab, cases, is_soak};
use crate::writing::{self, Client, FIRST};

/// What refuses writes, what comes before and what has to be done meanwhile.
pub(crate) const STEPS: &str = "    - id: lag
      uses: replication.wait
      timeout: 60s
      with: { source: source, target: target, max_lag: 0s, poll: 200ms, hold_for: 1s }
    - id: pause
      uses: writes.pause
      timeout: 60s
      with: { system: source, until: target, accept: [superusers] }
    - id: ready
      uses: writes.resume
      timeout: 60s
      with: { system: target, sequences_from: source }
    - id: equal
      uses: verify.tables
      timeout: 60s
      with: { source: source, target: target }
    - id: open
      uses: writes.resume
      timeout: 60s
      with: { system: target, pause: pause, roles: [app] }";

/// Everything that a pause may change: logins, defaults, the table of marks.
pub(crate) fn catalogue(cluster: &Cluster) -> String {
    cluster.text(
        "crm",
        "select (select string_agg(rolname || ' ' || rolcanlogin, ', ' order by rolname) from pg_roles where rolname !~ '^pg_')
            || coalesce((select string_agg(setconfig::text, ', ' order by setdatabase, setrole) from pg_db_role_setting), '')
            || coalesce(to_regnamespace('migrate')::text, ' no marks')",
    )
}

/// A pair with so many orders, whose target nobody may write to yet.
pub(crate) fn closed(what: &str, rows: u64) -> Option<Replicas> {
    let replicas = Replicas::logical(what, rows)?;
    replicas.target.sql("crm", "alter role app nologin");
    Some(replicas)
}

/// Waits until what the client writes arrives.
pub(crate) fn until_followed(replicas: &Replicas) {
    let arrived = format!("select count(*) > 20 from orders where id >= {FIRST}");
    replicas.target.until("crm", &arrived, "true");
}

/// Waits until the client writes at the target.
pub(crate) fn until_over(replicas: &Replicas) {
    let sessions =
        "select count(*) > 0 from pg_stat_activity where usename = 'app' and query like 'insert%'";
    replicas.target.until("crm", sessions, "true");
    let count = ids(&replicas.target).len();
    let more = format!("select count(*) > {} from orders where id >= {FIRST}", count + 5);
    replicas.target.until("crm", &more, "true");
}

impl Pair for Replicas {
    const ENGINE: &str = "PostgreSQL";

    fn closed(what: &str) -> Option<Self> {
        closed(what, 1000)
    }

    fn cutover(&self, lab: &Lab) -> String {
        self.runbook(lab, STEPS)
    }

    fn client(&self) -> Client {
        let client = client::start(self);
        until_followed(self);
        client
    }

    fn until_over(&self) {
        until_over(self);
    }

    fn ids(&self) -> [Vec<i64>; 2] {
        [ids(&self.source), ids(&self.target)]
    }

    fn catalogue(&self) -> String {
        catalogue(&self.source)
    }
}

#[test]
fn no_acknowledged_write_is_lost_and_none_is_accepted_after_the_pause() {
    let (count, rows) = (cases(2, 200), if is_soak() { 300_000 } else { 1_000 });
    let mut cutovers = Vec::new();
    for _ in 0..count {
        let Some(replicas) = closed("cutovers under a writing client", rows) else { return };
        let before = catalogue(&replicas.source);
        let lab = Lab::new("");
        let runbook = replicas.runbook(&lab, STEPS);
        let client = client::start(&replicas);
        until_followed(&replicas);
        lab.migrate(["run", &runbook]).expect(0);
        until_over(&replicas);
        let number = |cluster: &Cluster, query| -> i64 {
            cluster.text("crm", query).parse().expect("a number")
        };
        let next = number(&replicas.target, "select nextval('customers_id_seq')");
        let last = number(&replicas.source, "select last_value from customers_id_seq");
        assert!(next > last + 999, "{next} after {last}");
        let written = client.stop();
        written.judge(&ids(&replicas.source), &ids(&replicas.target));
        cutovers.push(written);
        let runtime = tokio::runtime::Runtime::new().expect("a runtime");
        let inside = runtime.block_on(replicas.target.options("app").connect()).expect("let in");
        lab.migrate(["rollback", &lab.run_id(), "--yes"]).expect(8);
        assert_eq!(catalogue(&replicas.source), before);
        // Nobody is left inside who could write on.
        let sessions = "select count(*) from pg_stat_activity where usename = 'app'";
        replicas.target.until("crm", sessions, "0");
        drop(inside);
        assert_eq!(
            replicas.target.text("crm", "select rolcanlogin from pg_roles where rolname = 'app'"),
            "false"
        );
    }
    writing::tell("PostgreSQL", rows, &cutovers);
}

#[test]
fn what_stands_in_the_way_is_found_before_anything_is_changed() {
    let Some(replicas) = closed("preflight of a pause", 1000) else { return };
    let (source, target) = (&replicas.source, &replicas.target);
    let pause = |with: &str| {
        format!(
            "    - {{ id: pause, uses: writes.pause, timeout: 20s, with: {{ system: source, {with} }} }}"
        )
    };
    let refused = |with: &str, says: &[&str]| {
        let before = (catalogue(source), catalogue(target));
        let lab = Lab::new("");
        let runbook = replicas.runbook(&lab, &pause(with));
        let ended = lab.migrate(["run", &runbook]).expect(4);
        let dry = Lab::new("");
        let shown =
            dry.migrate(["run", &replicas.runbook(&dry, &pause(with)), "--dry-run"]).stdout();
        for says in says {
            assert!(ended.said().contains(says), "{says}: {}", ended.said());
            assert!(shown.contains(says), "{says}: {shown}");
        }
        assert_eq!((catalogue(source), catalogue(target)), before, "{says:?}");
    };
    source.sql("crm", "create unlogged table cache (id int primary key); create table plain (n int); select lo_create(0)");
    target.sql("crm", "create table plain (n int)");
    target.sql("crm", "alter subscription migsub refresh publication");
    replicas.complete();
    refused("until: target", &["public.cache", "public.plain", "large objects"]);
    refused(
        "until: target, accept: [large-objects, unlogged-tables]",
        &["tables without a replica identity"],
    );
    target.sql("crm", "alter subscription migsub disable");
    refused(
        "until: target, accept: [large-objects, unlogged-tables, no-replica-identity]",
        &["the subscription is disabled"],
    );
    source.sql("crm", "create role operator login password 'loopback-only-Xy7'");
    let lab = Lab::new("");
    let runbook = replicas.runbook(&lab, &pause("roles: [app]"));
    let text = std::fs::read_to_string(&runbook)
        .expect("a runbook")
        .replace("user=migrate", "user=operator");
    std::fs::write(&runbook, text).expect("a runbook");
    let ended = lab.migrate(["run", &runbook]).expect(4);
    for says in [
        "pg_signal_backend",
        "pg_read_all_stats",
        "may not close: app",
        "does not own the database",
    ] {
        assert!(ended.said().contains(says), "{says}: {}", ended.said());
    }
}

#[test]
fn prepared_transactions_are_waited_for_and_settings_come_back_exactly() {
    let Some(replicas) = closed("a pause over a prepared transaction", 1000) else { return };
    let source = &replicas.source;
    source.sql(
        "crm",
        "alter database crm set default_transaction_read_only = off; create role reader login",
    );
    source.sql("crm", "begin; insert into orders (id, item) values (7000000, 'two-phase'); prepare transaction 'tx-7'");
    let before = catalogue(source);
    let lab = Lab::new("");
    let step = "    - { id: pause, uses: writes.pause, timeout: 60s, with: { system: source, until: target, drain_within: 1s, accept: [superusers] } }";
    let runbook = replicas.runbook(&lab, step);
    let ended = lab.migrate(["run", &runbook]).expect(1);
    assert!(
        ended.said().contains("MIG0522") && ended.said().contains("prepared transaction tx-7"),
        "{}",
        ended.said()
    );
    source.sql("crm", "commit prepared 'tx-7'");
    lab.migrate(["resume"]).expect(0);
    assert_eq!(replicas.target.text("crm", "select count(*) from orders where id = 7000000"), "1");
    let logins = source.text(
        "crm",
        "select string_agg(rolname, ' ' order by rolname) from pg_roles where rolcanlogin",
    );
    assert_eq!(logins, "admin migrate reader", "whoever can not write may go on reading");
    // Another hand opens the login again: that stays, and the rest comes back.
    source.sql("crm", "alter role app login");
    lab.migrate(["rollback", &lab.run_id(), "--yes"]).expect(8);
    assert_eq!(catalogue(source), before);
}

#[test]
fn a_promoted_standby_is_opened_although_its_catalogue_says_closed() {
    let Some(replicas) = Replicas::physical("a pause of a primary with a standby") else { return };
    let lab = Lab::new("");
    let pause = "    - { id: pause, uses: writes.pause, timeout: 60s, with: { system: source, until: target, accept: [superusers] } }";
    lab.migrate(["run", &replicas.runbook(&lab, pause)]).expect(0);
    let other = Lab::new("");
    let open = "    - { id: open, uses: writes.resume, timeout: 60s, with: { system: target, roles: [app] } }";
    let runbook = replicas.runbook(&other, open);
    let ended = other.migrate(["run", &runbook]).expect(4);
    assert!(ended.said().contains("is a standby"), "{}", ended.said());
    replicas.target.sql("postgres", "select pg_promote(true, 30)");
    let closed = "select string_agg(setconfig::text, '') from pg_db_role_setting";
    assert_eq!(replicas.target.text("crm", closed), "{default_transaction_read_only=on}");
    other.migrate(["resume"]).expect(0);
    assert_eq!(replicas.target.text("crm", "select count(*) from pg_db_role_setting"), "0");
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    let written = runtime.block_on(async {
        let mut session = replicas.target.options("app").connect().await?;
        sqlx::query("insert into public.orders (id, item) values (1, 'new')")
            .execute(&mut session)
            .await
    });
    written.expect("it takes writes");
}

#[test]
fn killed_in_the_middle_an_opening_is_finished_and_no_opening_is_taken_for_a_pause() {
    let Some(replicas) = closed("kill -9 in an opening", 10) else { return };
    let target = &replicas.target;
    target.sql("crm", "alter database crm set default_transaction_read_only = on");
    let before = catalogue(target);
    let lab = Lab::new("");
    let steps = "    - { id: ready, uses: writes.resume, timeout: 60s, with: { system: target, roles: [app] } }
    - { id: open, uses: writes.resume, timeout: 60s, with: { system: target } }";
    let runbook = replicas.runbook(&lab, steps);
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    // Another hand has the role under change: the setting is taken away, and the login has to wait.
    let mut holds = runtime.block_on(async {
        let writing = [("default_transaction_read_only", "off")];
        let mut holds = target.options(ADMIN).options(writing).connect().await.expect("a session");
        let begun = "begin; alter role app connection limit 100";
        sqlx::raw_sql(begun).execute(&mut holds).await.expect("begun");
        holds
    });
    let mut run = lab.command(["run", &runbook]);
    let mut child = run.stdout(Stdio::null()).stderr(Stdio::null()).spawn().expect("it starts");
    let waits = "select count(*) from pg_stat_activity where wait_event_type = 'Lock' and query like 'alter role%'";
    target.until("postgres", waits, "1");
    assert_eq!(target.text("postgres", "select count(*) from pg_db_role_setting"), "0");
    child.kill().expect("it is ours");
    child.wait().expect("it is ours");
    runtime.block_on(sqlx::raw_sql("rollback").execute(&mut holds)).expect("let go");
    lab.migrate(["resume"]).expect(0);
    assert_eq!(target.text("postgres", "select count(*) from pg_db_role_setting"), "0");
    runtime.block_on(target.options("app").connect()).expect("let in");
    lab.migrate(["rollback", &lab.run_id(), "--yes"]).expect(8);
    assert_eq!(catalogue(target), before);
}
