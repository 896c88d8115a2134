//! Machines under Azure Migrate: what refuses, what a failed job leaves, how it is taken up again, and the wave of forty.

use std::collections::BTreeMap;
use std::fs;

use migrate::run::{Event, StepId, StepState};
use migrate::sandbox::ledger::{self, Entry};
use migrate::{journal, sandbox};

use crate::lab::Lab;

const TEST: &str = "examples/steps/vm.test_migrate.yaml";
const MOVE: &str = "examples/steps/vm.migrate.yaml";
const TINY: &str = "
estate: { workloads: [], files: 0, orders: 0 }
writer: { orders: 0 }
";

/// A world whose crm-web has this beside its name.
fn world(replication: &str, faults: &str) -> Lab {
    Lab::new(&format!(
        "{TINY}replication: [{{ group: rg-crm, vault: vault-crm, item: crm-web{replication} }}]\nfaults: [{faults}]\n"
    ))
}

/// Changing requests to Azure that changed something.
fn changes(lab: &Lab) -> Vec<Entry> {
    let entries = ledger::read(&lab.sandbox_dir()).expect("a ledger").into_iter();
    entries.filter(|entry| entry.is_mutating_request() && entry.changed).collect()
}

/// Names of virtual machines.
fn machines(world: &sandbox::WorldSnapshot) -> Vec<String> {
    let ids = world.resources.keys().filter_map(|id| id.split_once("/virtualmachines/"));
    // The old server of the default world is what is left behind, not what is made.
    ids.map(|(_, name)| name.to_owned()).filter(|name| name != "crm-old").collect()
}

#[test]
fn what_is_not_ready_or_can_not_be_read_is_refused_and_nothing_is_sent() {
    let cases = [
        (", lag: [[0, -18000]]", "recovery point: not compared"),
        (", lag: [[0, 7200]]", "recovery point: too old"),
        (", seeding_seconds: 3600", "recovery point: not compared (none has arrived)"),
        (", seeding_seconds: 3600", "TestMigrate: not allowed (InitialSeedingInProgress"),
        (
            ", unhealthy: { health: Critical, code: \"78012\", message: the appliance is gone }",
            "replication health: critical (110084: No successful test migration in the last 180 days.; 78012: the appliance is gone)",
        ),
        (
            ", unhealthy: { health: Warning, code: \"1\", message: slow }",
            "replication health: warning",
        ),
    ];
    for (oddity, why) in cases {
        let lab = world(oddity, "");
        let ended = lab.run(TEST, &[]).expect(4);
        assert!(
            ended.said().contains("MIG0441") && ended.said().contains(why),
            "{why}: {}",
            ended.said()
        );
        assert_eq!(changes(&lab).len(), 0, "{why}");
    }
    let untested = fs::read_to_string(MOVE)
        .expect("an example")
        .replace("uses: vm.test_migrate", "uses: vm.test_migrate\n      when: \"false\"");
    let lab = world("", "");
    let runbook = lab.write("untested.yaml", &untested);
    let ended = lab.run(&runbook, &[]).expect(4);
    assert!(ended.said().contains("test migration: not made"), "{}", ended.said());
    assert_eq!(changes(&lab).len(), 0);
}

#[test]
fn a_failed_test_is_cleaned_up_and_made_anew() {
    let lab = world("", "{ path: /testMigrate, method: POST, fault: operation_fails }");
    let ended = lab.run(TEST, &[]).expect(1);
    for part in ["MIG0442", "InternalExecutionError", "what the test left was deleted"] {
        assert!(ended.said().contains(part), "{part}: {}", ended.said());
    }
    assert_eq!(machines(&lab.world()), [] as [&str; 0]);
    lab.migrate(["resume"]).expect(0);
    let paths: Vec<_> = changes(&lab).into_iter().map(|entry| entry.path).collect();
    let verbs: Vec<_> = paths.iter().filter_map(|path| path.rsplit('/').next()).collect();
    assert_eq!(verbs, ["testMigrate", "testMigrateCleanup", "testMigrate", "testMigrateCleanup"]);
    assert_eq!(machines(&lab.world()), [] as [&str; 0]);
}

#[test]
fn a_failed_clean_up_leaves_a_machine_that_is_named_and_taken_away_next_time() {
    let lab = world("", "{ path: /testMigrateCleanup, method: POST, fault: operation_fails }");
    let ended = lab.run(TEST, &[]).expect(1);
    assert!(ended.said().contains("the test machine is still there"), "{}", ended.said());
    assert_eq!(machines(&lab.world()), ["crm-web-test"]);
    let other = world("", "{ path: /testMigrateCleanup, method: POST, fault: operation_fails }");
    other.run(TEST, &[]).expect(1);
    other.migrate(["rollback", &other.run_id(), "--yes"]).expect(8);
    assert_eq!(machines(&other.world()), [] as [&str; 0], "a rollback deletes it as well");
    lab.migrate(["resume"]).expect(0);
    assert_eq!(machines(&lab.world()), [] as [&str; 0]);
}

#[test]
fn a_failed_migration_says_what_became_of_the_source_and_is_tried_anew() {
    let lab = world("", "{ path: /migrate, method: POST, fault: operation_fails }");
    let ended = lab.run(MOVE, &[]).expect(1);
    for part in [
        "MIG0442",
        "crm-web is MigrationFailed and not migrated",
        "the source was shut down",
        "StartVmOnSecondary: Failed",
    ] {
        assert!(ended.said().contains(part), "{part}: {}", ended.said());
    }
    assert_eq!(machines(&lab.world()), [] as [&str; 0]);
    lab.migrate(["resume"]).expect(0);
    assert_eq!(machines(&lab.world()), ["crm-web"]);
}

#[test]
fn a_rollback_can_not_start_the_source_and_says_what_to_do() {
    let lab = world("", "");
    lab.run(MOVE, &[]).expect(0);
    let back = lab.migrate(["rollback", &lab.run_id(), "--yes"]).expect(9);
    assert!(
        back.said().contains("start crm-web at the source, then stop crm-web in Azure"),
        "{}",
        back.said()
    );
    assert_eq!(machines(&lab.world()), ["crm-web"]);
}

/// State of each step of the only run.
fn states(lab: &Lab) -> BTreeMap<StepId, StepState> {
    let state = journal::read(&lab.run_dir(), |_, _| {}).expect("a journal").state;
    let ids = state.plan().steps.iter().map(|step| step.id.clone());
    ids.zip(state.steps.iter().map(|step| step.state.clone())).collect()
}

const WAVE: &str = "runbooks/wave-vm.yaml";

#[test]
fn of_forty_servers_two_fail_and_are_held_and_the_others_finish() {
    let lab = Lab::new(&fs::read_to_string("runbooks/wave-vm.scenario.yaml").expect("a scenario"));
    let ended = lab.run(WAVE, &[]).expect(1);
    let names = machines(&lab.world());
    assert_eq!(names.len(), 38, "{names:?}");
    assert!(!names.iter().any(|name| name.ends_with("-test")), "{names:?}");
    let after = states(&lab);
    let held: Vec<_> =
        after.iter().filter(|(_, it)| **it == StepState::Held).map(|(id, _)| id.as_str()).collect();
    assert_eq!(held, ["move[sql-03]", "move[web-07]"]);
    let watched = after
        .iter()
        .filter(|(id, it)| id.as_str().starts_with("watch[") && **it == StepState::Succeeded);
    assert_eq!(watched.count(), 38);
    let said = ended.said();
    for part in [
        "move[web-07]",
        "test migration: not succeeded",
        "move[sql-03]",
        "the appliance has lost",
        "38 of 40 finished; 2 held: web-07, sql-03",
    ] {
        assert!(said.to_lowercase().contains(&part.to_lowercase()), "{part}: {said}");
    }
    let (rows, page) = (ended.stderr().lines().count(), ended.stdout().lines().count());
    println!("40 lanes, 205 steps: {rows} rows while it ran, a page of {page} lines at its end");
    assert!(rows < 120 && page < 80, "{rows} rows and a page of {page} lines:\n{said}");
    let entries = ledger::read(&lab.sandbox_dir()).expect("a ledger");
    let throttled = entries.iter().filter(|entry| entry.fault.as_deref() == Some("throttled"));
    assert!(throttled.count() >= 2, "throttled as the scenario says");
    let opens: jiff::Timestamp = "2026-12-05T21:00:00Z".parse().expect("a time");
    let moves = entries.iter().filter(|entry| entry.path.ends_with("/migrate"));
    assert!(
        moves.clone().all(|entry| entry.at >= opens),
        "nothing is migrated before the window opens"
    );
    assert_eq!(moves.filter(|entry| entry.changed).count(), 38, "each once");
}

#[test]
fn a_server_that_was_held_is_tested_again_and_follows() {
    let scenario = "
estate: { workloads: [], files: 0, orders: 0 }
writer: { orders: 0 }
replication:
  - { group: rg-crm, vault: vault-crm, item: crm-web }
  - { group: rg-crm, vault: vault-crm, item: crm-db }
faults: [{ path: /crm-web/testMigrate, method: POST, fault: operation_fails }]
";
    let lab = Lab::new(scenario);
    let runbook = lab.write("two.yaml", include_str!("runbooks/two-servers.yaml"));
    lab.run(&runbook, &[]).expect(1);
    assert_eq!(machines(&lab.world()), ["crm-db"]);
    lab.migrate(["resolve", "test[crm-web]", "--retry", "--comment", "the disk was repaired"])
        .expect(0);
    lab.migrate(["resume"]).expect(0);
    assert_eq!(machines(&lab.world()), ["crm-db", "crm-web"]);
    let mut order = Vec::new();
    journal::read(&lab.run_dir(), |record, _| {
        if let Event::StepSucceeded { step, .. } = &record.event {
            order.push(step.to_string());
        }
    })
    .expect("a journal");
    let at = |id: &str| order.iter().rposition(|it| it == id);
    assert!(at("test[crm-web]") < at("move[crm-web]"), "{order:?}");
}
