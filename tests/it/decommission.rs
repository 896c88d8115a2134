//! Retiring machines: what a dry run shows, what has to be signed off, and that nothing goes without its snapshot.

use std::fs;

use migrate::sandbox::ledger;

use crate::lab::Lab;

const TINY: &str = "
estate: { workloads: [], files: 0, orders: 0 }
writer: { orders: 0 }
";

fn runbook(lab: &Lab, approval: &str) -> String {
    let example = fs::read_to_string("examples/steps/decommission.yaml").expect("an example");
    let text = example
        .replace("until: snapshot", &format!("until: deleted\n        approval: {approval}"));
    lab.write("retire.yaml", &text)
}

/// Kinds and names of what is left of Microsoft.Compute.
fn left(lab: &Lab) -> Vec<String> {
    let world = lab.world();
    let ids = world.resources.keys().filter_map(|id| id.split_once("/microsoft.compute/"));
    ids.map(|(_, rest)| rest.to_owned()).collect()
}

const EVERYTHING: [&str; 2] = ["disks/crm-old-disk", "virtualmachines/crm-old"];

/// Names of the requests that changed something.
fn changes(lab: &Lab) -> Vec<String> {
    let entries = ledger::read(&lab.sandbox_dir()).expect("a ledger").into_iter();
    let ours = entries.filter(|entry| entry.is_mutating_request() && entry.changed);
    ours.map(|entry| {
        format!("{} {}", entry.method, entry.path.rsplit('/').next().unwrap_or_default())
    })
    .collect()
}

#[test]
fn a_dry_run_shows_everything_that_would_go_and_touches_nothing() {
    let lab = Lab::new(TINY);
    let dir = lab.path().join("world").display().to_string();
    let said = lab.dry_run(&runbook(&lab, "sign-off"), &dir).expect(0).said();
    for part in [
        "deallocate",
        "snapshots/crm-old-disk-retired",
        "delete",
        "virtualMachines/crm-old",
        "disks/crm-old-disk",
    ] {
        assert!(said.contains(part), "{part}: {said}");
    }
}

#[test]
fn signed_off_it_is_stopped_kept_and_deleted_in_that_order() {
    let lab = Lab::new(TINY);
    lab.run(&runbook(&lab, "sign-off"), &[]).expect(0);
    assert_eq!(left(&lab), ["snapshots/crm-old-disk-retired"]);
    assert_eq!(
        changes(&lab),
        ["POST deallocate", "PUT crm-old-disk-retired", "DELETE crm-old", "DELETE crm-old-disk"]
    );
    let back = lab.migrate(["rollback", &lab.run_id(), "--yes"]).expect(9).said();
    assert!(back.contains("make crm-old anew from crm-old-disk-retired"), "{back}");
}

#[test]
fn without_a_yes_in_this_run_nothing_is_done() {
    for approval in ["retire", "somebody"] {
        let lab = Lab::new(TINY);
        let said = lab.run(&runbook(&lab, approval), &[]).expect(4).said();
        assert!(said.contains("MIG0461"), "{approval}: {said}");
        assert_eq!(changes(&lab), [] as [&str; 0], "{approval}");
    }
}

#[test]
fn without_its_snapshot_nothing_is_deleted() {
    let lab = Lab::new(&format!(
        "{TINY}faults: [{{ path: /snapshots/, method: PUT, fault: operation_fails }}]\n"
    ));
    lab.run(&runbook(&lab, "sign-off"), &[]).expect(1);
    assert_eq!(left(&lab), EVERYTHING);
    lab.migrate(["resume"]).expect(0);
    assert_eq!(left(&lab), ["snapshots/crm-old-disk-retired"]);
}

#[test]
fn a_lost_reply_deletes_once_and_the_disks_follow() {
    let lab = Lab::new(&format!(
        "{TINY}faults: [{{ path: /virtualMachines/crm-old, method: DELETE, fault: reply_lost }}]\n"
    ));
    let mut ended = lab.run(&runbook(&lab, "sign-off"), &[]);
    if ended.code() != Some(0) {
        ended = lab.migrate(["resume"]);
    }
    ended.expect(0);
    assert_eq!(left(&lab), ["snapshots/crm-old-disk-retired"]);
    let deleted = changes(&lab).into_iter().filter(|it| it == "DELETE crm-old").count();
    assert_eq!(deleted, 1);
}
