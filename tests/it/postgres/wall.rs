//! The wall of a pause against whoever finds a way through it: roles that write by a column, a view or a function, hands that open
//! what was closed, jobs and subscriptions, sequences in odd states; and a tool with no more rights than it needs.

use super::cluster::{Cluster, PASSWORD};
use super::replicas::Replicas;
use crate::lab::{Ended, Lab};

/// What the tool needs at a source: not a superuser.
const OPERATOR: &str = "
create role operator login createrole password 'loopback-only-Xy7';
grant pg_read_all_stats, pg_signal_backend to operator;
alter database crm owner to operator";

/// Pauses the source as `operator`, with these parameters besides.
fn pause(with: &str) -> String {
    format!(
        "    - {{ id: pause, uses: writes.pause, timeout: 60s, with: {{ system: source{with} }} }}"
    )
}

/// A runbook whose steps are carried out at the source by `operator`, whose rights are few.
fn as_operator(replicas: &Replicas, lab: &Lab, steps: &str) -> String {
    let runbook = replicas.runbook(lab, steps);
    let text = std::fs::read_to_string(&runbook).expect("a runbook");
    let text = text.replacen("user=migrate", "user=operator", 1);
    std::fs::write(&runbook, text).expect("a runbook");
    runbook
}

fn one(what: &str, sql: &str) -> Option<Replicas> {
    let replicas = Replicas::logical(what, 10)?;
    replicas.source.sql("crm", OPERATOR);
    // The harness looks on as a superuser, from another database.
    replicas.source.sql("crm", sql);
    replicas.source.text("postgres", "1");
    Some(replicas)
}

fn says(ended: &Ended, words: &[&str]) {
    for word in words {
        assert!(ended.said().contains(word), "{word}: {}", ended.said());
    }
}

fn logins(cluster: &Cluster) -> String {
    let logins = "select string_agg(rolname, ' ' order by rolname) from pg_roles where rolcanlogin and rolname !~ '^pg_'";
    cluster.text("postgres", logins)
}

const SETTING: &str =
    "select coalesce((select string_agg(setconfig::text, '') from pg_db_role_setting), 'none')";

#[test]
fn whoever_can_change_something_is_closed_and_who_can_not_is_not() {
    let sql = "
        create table hidden (id int primary key, note text);
        create view notes as select id, note from hidden;
        create sequence tickets;
        create function add_note() returns void language sql security definer as 'insert into hidden values (1)';
        revoke execute on function add_note() from public;
        create schema playground;
        create role by_column login; grant update (note) on hidden to by_column;
        create role by_view login; grant insert on notes to by_view;
        create role by_function login; grant execute on function add_note() to by_function;
        create role by_sequence login; grant usage on sequence tickets to by_sequence;
        create role by_schema login; grant create on schema playground to by_schema;
        create role crew; grant delete on hidden to crew; create role by_group login noinherit; grant crew to by_group;
        create role reader login; grant select on hidden, notes to reader;
        create role stranger login";
    let Some(replicas) = one("who may write", sql) else { return };
    let lab = Lab::new("");
    let runbook = as_operator(&replicas, &lab, &pause(""));
    let shown = lab.migrate(["run", &runbook, "--dry-run"]).expect(0).stdout();
    for writer in
        ["app", "by_column", "by_view", "by_function", "by_sequence", "by_schema", "by_group"]
    {
        assert!(shown.contains(&format!("role {writer} at")), "{writer}: {shown}");
    }
    lab.migrate(["run", &runbook]).expect(0);
    assert_eq!(logins(&replicas.source), "admin migrate operator reader stranger");
    lab.migrate(["rollback", &lab.run_id(), "--yes"]).expect(8);
    assert_eq!(replicas.source.text("postgres", SETTING), "none");
    assert!(logins(&replicas.source).contains("by_schema by_sequence"));
}

#[test]
fn a_role_that_is_not_there_or_not_to_be_closed_stops_the_pause_before_it_begins() {
    let Some(replicas) =
        one("roles that are named", "create role chief login superuser; create role grp")
    else {
        return;
    };
    for (with, names) in [
        (", roles: [ap]", "ap"),
        (", roles: [app, operator]", "operator"),
        (", roles: [chief]", "chief"),
    ] {
        let lab = Lab::new("");
        let ended = lab.migrate(["run", &as_operator(&replicas, &lab, &pause(with))]).expect(4);
        says(&ended, &["MIG0524", names, "nothing was changed"]);
    }
    assert_eq!(logins(&replicas.source), "admin app chief migrate operator");
    // Nobody's login is opened that was closed before.
    let lab = Lab::new("");
    let both = format!(
        "{}\n    - {{ id: open, uses: writes.resume, timeout: 60s, with: {{ system: source, pause: pause }} }}",
        pause(", roles: [app, grp]")
    );
    lab.migrate(["run", &as_operator(&replicas, &lab, &both)]).expect(0);
    assert_eq!(logins(&replicas.source), "admin app chief migrate operator");
}

#[test]
fn a_gap_that_another_hand_makes_is_seen_in_every_attempt() {
    let Some(replicas) = one("gaps in a wall", "") else { return };
    let source = &replicas.source;
    source.sql("crm", "begin; insert into orders (id, item) values (7, 'two-phase') on conflict do nothing; prepare transaction 'tx-7'");
    source.text("postgres", "1");
    let lab = Lab::new("");
    let runbook = as_operator(&replicas, &lab, &pause(", until: target, drain_within: 1s"));
    says(&lab.migrate(["run", &runbook]).expect(1), &["MIG0522", "prepared transaction tx-7"]);
    source.sql("postgres", "alter role app login");
    says(&lab.migrate(["resume"]).expect(11), &["MIG0523", "app may log in"]);
    source.sql("postgres", "alter role app nologin");
    // What came between the look and the wall is not passed over either.
    source.sql("crm", "create table late (id int primary key)");
    replicas.target.sql("crm", "create table late (id int primary key)");
    source.sql("crm", "rollback prepared 'tx-7'");
    source.sql("crm", "drop publication mig; create publication mig for table orders, customers");
    source.text("postgres", "1");
    says(&lab.migrate(["resume"]).expect(4), &["MIG0524", "public.late"]);
    // Another hand sets the default: it stays, and the logins come back all the same.
    source.sql("postgres", "alter database crm set default_transaction_read_only = off");
    says(&lab.migrate(["rollback", &lab.run_id(), "--yes"]).expect(9), &["MIG0523"]);
    assert_eq!(logins(source), "admin app migrate operator");
}

#[test]
fn what_writes_without_a_client_and_whom_the_pause_would_hit_besides_is_named() {
    let Some(replicas) = one(
        "bystanders of a pause",
        "select pg_create_logical_replication_slot('elsewhere', 'pgoutput')",
    ) else {
        return;
    };
    let source = &replicas.source;
    source.sql("postgres", "create database billing");
    source.sql("crm", "create subscription upstream connection 'dbname=nowhere host=127.0.0.1 port=1' publication none with (connect = false); alter subscription upstream enable");
    source.text("billing", "1");
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    let (chief, app) = runtime.block_on(async {
        use sqlx::ConnectOptions as _;
        let chief = source.options("migrate").application_name("psql").connect().await;
        let app = source.options("app").database("billing").connect().await;
        (chief.expect("a session"), app.expect("a session"))
    });
    let lab = Lab::new("");
    let runbook = as_operator(&replicas, &lab, &pause(", until: target"));
    let refused = lab.migrate(["run", &runbook]).expect(4);
    says(
        &refused,
        &["elsewhere", "upstream", "migrate, 1 sessions", "app in billing", "nothing was changed"],
    );
    source.sql("crm", "alter subscription upstream disable; alter subscription upstream set (slot_name = none); drop subscription upstream");
    source.sql("crm", "select pg_drop_replication_slot('elsewhere')");
    source.text("postgres", "1");
    let accepted = pause(", until: target, accept: [superusers, other-databases]");
    let lab = Lab::new("");
    lab.migrate(["run", &as_operator(&replicas, &lab, &accepted)]).expect(0);
    drop((chief, app));
}

#[test]
fn sequences_in_any_state_are_carried_over_by_a_tool_of_few_rights() {
    let sql = "
        create sequence quiet; create sequence used; create sequence reset; create sequence restarted;
        create sequence small as smallint; create sequence down increment -3;
        create sequence spent maxvalue 5; grant select on all sequences in schema public to operator;
        select nextval('used'), nextval('down'), nextval('down'), setval('reset', 5000, false), setval('small', 32000), setval('spent', 5);
        alter sequence restarted restart 7000";
    let Some(replicas) = one("sequences in odd states", sql) else { return };
    let target = &replicas.target;
    let same = "create sequence quiet; create sequence used; create sequence reset; create sequence restarted;
        create sequence small as smallint; create sequence down increment -3; create sequence spent maxvalue 5; create sequence hidden";
    target.sql("crm", same);
    let open = "    - { id: open, uses: writes.resume, timeout: 60s, with: { system: target, sequences_from: source, sequence_margin: 100 } }";
    let all = "select string_agg(concat_ws(' ', sequencename, last_value), ', ' order by sequencename) from pg_sequences";
    let before = target.text("crm", all);
    let lab = Lab::new("");
    lab.migrate(["run", &as_operator(&replicas, &lab, open)]).expect(0);
    for (sequence, next) in [
        ("quiet", "1"),
        ("used", "102"),
        ("reset", "5100"),
        ("restarted", "7100"),
        ("small", "32101"),
        ("down", "-307"),
    ] {
        assert_eq!(
            target.text("crm", &format!("select nextval('{sequence}')")),
            next,
            "{sequence}"
        );
    }
    assert!(
        target.try_sql("crm", "select nextval('spent')").is_err(),
        "it had run out at the source"
    );
    // A number that was given out since stays given out; nothing else does.
    lab.migrate(["rollback", &lab.run_id(), "--yes"]).expect(8);
    assert_ne!(target.text("crm", all), before);
    replicas.source.sql("crm", "create sequence hidden");
    replicas.source.text("postgres", "1");
    let lab = Lab::new("");
    let refused = lab.migrate(["run", &as_operator(&replicas, &lab, open)]).expect(4);
    says(&refused, &["permission denied for sequence hidden"]);
    assert!(!refused.said().contains(PASSWORD));
}
