//! `kill -9` after every single journal record of a wave, then `resume`: the same world as an uninterrupted run, and no
//! effect twice by the sandbox's own ledger.

use std::collections::BTreeMap;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use migrate::sandbox::WorldSnapshot;

use crate::lab::{Lab, SMALL};

/// Points tried side by side; each is a process that mostly waits for the disk.
const SIDE_BY_SIDE: usize = 3;

fn matrix(runbook: &str) {
    let whole = Lab::new(SMALL);
    whole.run(runbook, &[]).expect(0);
    let (records, world, changes) = (whole.records(), whole.world(), whole.changes());
    assert!(records > 50, "{records} records");
    assert!(!changes.is_empty());

    let (next, wrong) = (AtomicUsize::new(1), Mutex::new(Vec::new()));
    std::thread::scope(|scope| {
        for _ in 0..SIDE_BY_SIDE {
            scope.spawn(|| {
                loop {
                    let point = next.fetch_add(1, Ordering::Relaxed);
                    if point >= records {
                        return;
                    }
                    if let Err(why) = survives(runbook, point, &world, &changes) {
                        wrong.lock().expect("no panic").push(format!("record {point}: {why}"));
                    }
                }
            });
        }
    });
    let wrong = wrong.into_inner().expect("no panic");
    assert!(wrong.is_empty(), "{} of {records} points:\n{}", wrong.len(), wrong.join("\n"));
    println!("{runbook}: killed after each of {} records, 0 deviations", records - 1);
}

fn survives(
    runbook: &str,
    point: usize,
    world: &WorldSnapshot,
    changes: &BTreeMap<String, usize>,
) -> Result<(), String> {
    let lab = Lab::new(SMALL);
    let killed = lab.run(runbook, &["--die-after", &point.to_string()]);
    // Lanes run side by side, so an order of records can be shorter than the whole run's by a wait or two.
    if killed.code() == Some(0) {
        return same(&lab, world, changes);
    }
    if killed.code().is_some() {
        return Err(format!("it was not killed: {}", killed.said()));
    }
    let resumed = lab.migrate(["resume"]);
    if resumed.code() != Some(0) {
        return Err(resumed.said());
    }
    same(&lab, world, changes)
}

pub(crate) fn same(
    lab: &Lab,
    world: &WorldSnapshot,
    changes: &BTreeMap<String, usize>,
) -> Result<(), String> {
    let now = lab.world();
    for (app, orders) in &now.orders {
        if !orders.lost.is_empty() {
            return Err(format!("{app} lost orders {:?}", orders.lost));
        }
    }
    if now != *world {
        let [expected, found] =
            [world, &now].map(|it| serde_json::to_string_pretty(it).expect("JSON"));
        return Err(format!("another world:\n{}", difference(&expected, &found)));
    }
    let made = lab.changes();
    if made != *changes {
        return Err(format!("other changes:\n{changes:#?}\n{made:#?}"));
    }
    Ok(())
}

/// Lines of either text that the other does not have.
fn difference(expected: &str, found: &str) -> String {
    let missing =
        expected.lines().filter(|line| !found.contains(*line)).map(|it| format!("- {it}"));
    let extra = found.lines().filter(|line| !expected.contains(*line)).map(|it| format!("+ {it}"));
    missing.chain(extra).collect::<Vec<_>>().join("\n")
}

#[test]
fn wave_1_survives_a_kill_after_every_record() {
    matrix("runbooks/wave-1.yaml");
}

#[test]
fn wave_2_survives_a_kill_after_every_record() {
    matrix("runbooks/wave-2.yaml");
}
