//! Replication that is turned around: what the target accepts is at the source when a run is taken back, also if that is cut off in the
//! middle, and both ways never run at once.

use std::time::Duration;

use super::cluster::PASSWORD;
use super::cutover::catalogue;
use super::replicas::Replicas;
use crate::child::Running;
use crate::lab::Lab;

const READY: &str = "    - id: ready
      uses: writes.resume
      timeout: 60s
      with: { system: target, sequences_from: source, reverse: { to: source } }";
const STEPS: &str = "    - id: pause
      uses: writes.pause
      timeout: 60s
      with: { system: source, until: target, accept: [superusers] }
";

fn state(replicas: &Replicas) -> [String; 4] {
    let Replicas { source, target } = replicas;
    [catalogue(source), catalogue(target), Replicas::ways(source), Replicas::ways(target)]
}

#[test]
fn rows_and_numbers_of_the_target_come_back_also_if_the_rollback_is_killed() {
    let Some(replicas) = Replicas::logical("replication that is turned around", 1000) else {
        return;
    };
    let (source, target) = (&replicas.source, &replicas.target);
    target.sql("crm", "alter role app nologin");
    let before = state(&replicas);
    let lab = Lab::new("");
    let runbook = replicas.runbook(&lab, &format!("{STEPS}{READY}"));
    let said = lab.migrate(["run", &runbook]).expect(0).said();
    assert!(said.contains("replication back to source: flows"), "{said}");
    target.sql(
        "crm",
        "insert into customers (name) values ('new'); update orders set item = 'changed' where id = 1; delete from orders where id = 2",
    );
    let end = ["rollback", &lab.run_id(), "--yes"];
    let mut running = Running::start(lab.command(end), lab.path(), "rollback");
    let turning = |journal: String| journal.contains(r#""key":"undo:reverse""#);
    while !lab.journal().is_some_and(turning) && running.ended_within(Duration::ZERO).is_none() {
        std::thread::yield_now();
    }
    running.kill();
    assert_eq!(running.ended_within(Duration::from_mins(1)).expect("it is gone").code(), None);
    lab.migrate(end).expect(8);
    assert_eq!(state(&replicas), before);
    assert_eq!(Replicas::content(source), Replicas::content(target));
    assert_eq!(source.text("crm", "select item from orders where id = 1"), "changed");
    // The number that the target gave out is not given out again.
    let given = target.text("crm", "select max(id) from customers");
    assert_eq!(source.text("crm", "select last_value from customers_id_seq"), given);
    // The way forward goes on beyond what came back.
    source.sql("crm", "insert into orders (id, item) values (3000000, 'again')");
    target.until("crm", "select count(*) from orders where id = 3000000", "1");
    let errors = "select sum(apply_error_count + sync_error_count) from pg_stat_subscription_stats";
    assert_eq!(target.text("crm", errors), "0");
}

#[test]
fn a_source_that_is_not_paused_is_not_turned_around() {
    let Some(replicas) = Replicas::logical("replication that can not be turned around", 10) else {
        return;
    };
    let before = state(&replicas);
    let lab = Lab::new("");
    let runbook = replicas.runbook(&lab, &READY.replace("sequences_from: source, ", ""));
    let said = lab.migrate(["run", &runbook]).expect(4).said();
    assert!(said.contains("MIG0524") && said.contains("it is not paused"), "{said}");
    assert_eq!(state(&replicas), before);
}

#[test]
fn a_link_that_leads_nowhere_is_taken_back_and_its_password_stands_in_no_log() {
    let Some(replicas) = Replicas::logical("a link that leads nowhere", 10) else { return };
    replicas.target.sql("crm", "alter role app nologin");
    let before = state(&replicas);
    let lab = Lab::new("");
    let ready = READY.replace("{ to: source }", "{ to: source, by: nowhere }");
    let runbook = replicas.runbook(&lab, &format!("{STEPS}{ready}"));
    let closed = std::net::TcpListener::bind("127.0.0.1:0").and_then(|it| it.local_addr());
    let nowhere = format!(
        "systems: {{ nowhere: {{ postgres: \"host=127.0.0.1 port={} dbname=crm user=migrate\", password: db }}, ",
        closed.expect("a port").port()
    );
    let text = std::fs::read_to_string(&runbook).expect("a runbook");
    std::fs::write(&runbook, text.replace("systems: { ", &nowhere)).expect("a runbook");
    let ended = lab.migrate(["run", &runbook]);
    assert!(ended.said().contains("could not connect to the publisher"), "{}", ended.said());
    let logged = replicas.source.log();
    assert!(logged.contains("could not connect to the publisher"), "{logged}");
    assert!(!logged.contains(PASSWORD) && !ended.said().contains(PASSWORD));
    lab.migrate(["rollback", &lab.run_id(), "--yes"]).expect(8);
    assert_eq!(state(&replicas), before);
}
