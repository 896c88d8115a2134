//! `migrate rehearse --crash-matrix` over the waves: killed before and after every journal record and every outside call,
//! resumed, the same world as an uninterrupted run, and no effect twice by the sandbox's own ledger. And over runbooks that
//! break their promises: the matrix can fail, and says where.

use std::time::Duration;

use rustix::process::Signal;
use serde_json::Value;

use crate::child::{Running, until};
use crate::lab::{Lab, SMALL, is_soak};

/// The short form tries every so many-th point of each series.
const SAMPLE: &str = "24";

/// The certificate of a rehearsal that ended with `code`.
fn certificate(runbook: &str, more: &[&str], code: i32) -> Value {
    let lab = Lab::new(SMALL);
    let scenario = lab.path().join("scenario.yaml").display().to_string();
    let base = ["rehearse", runbook, "--crash-matrix", "--json", "--scenario", &scenario];
    let ended = lab.migrate(base.iter().chain(more)).expect(code);
    let last = ended.stdout().lines().last().map(serde_json::from_str::<Value>);
    let mut last = last.expect("a line").expect("JSON");
    last["certificate"].take()
}

fn tried(certificate: &Value) -> &[Value] {
    certificate["matrices"][0]["tried"].as_array().expect("trials")
}

/// Trials of the certificate with that verdict.
fn with_verdict<'c>(certificate: &'c Value, verdict: &str) -> Vec<&'c Value> {
    let has = |tried: &&Value| tried["verdict"] == verdict || !tried["verdict"][verdict].is_null();
    tried(certificate).iter().filter(has).collect()
}

fn survives(runbook: &str) {
    let sample: &[&str] = if is_soak() { &[] } else { &["--sample", SAMPLE] };
    let certificate = certificate(runbook, sample, 0);
    let (tried, same) = (tried(&certificate).len(), with_verdict(&certificate, "same").len());
    assert!(same * 2 > tried, "{same} of {tried} points were reached");
    println!(
        "{runbook}: {tried} of {} points, {same} killed there and the same, 0 deviations",
        certificate["matrices"][0]["points"],
    );
}

#[test]
fn wave_1_survives_a_kill_anywhere() {
    survives("runbooks/wave-1.yaml");
}

#[test]
fn wave_2_survives_a_kill_anywhere() {
    survives("runbooks/wave-2.yaml");
}

#[test]
fn kinds_whose_change_takes_many_requests_survive_a_kill_anywhere() {
    // Operations that go on at the provider, weights in steps, locks and gates at three services.
    for kind in ["vm.test_migrate", "vm.migrate", "traffic.shift", "decommission", "freeze.end"] {
        survives(&format!("examples/steps/{kind}.yaml"));
    }
}

#[test]
fn a_command_that_lies_about_its_repeats_is_found_and_the_point_is_tried_again_alone() {
    const LIES: &str = "tests/it/runbooks/lies.yaml";
    let whole = certificate(LIES, &[], 1);
    assert!(!with_verdict(&whole, "same").is_empty(), "what is killed before it is well");
    let deviated = with_verdict(&whole, "deviated");
    let found = deviated.first().expect("it ran, and runs again");
    let world = &found["verdict"]["deviated"][0]["world"];
    assert_eq!(world["at"], "files / target/crm/log", "{found}");
    let point = found["point"].as_str().expect("a point");
    let alone = certificate(LIES, &["--point", point], 1);
    assert_eq!(alone["matrices"][0]["choice"], "named");
    assert_eq!((tried(&alone).len(), &tried(&alone)[0]["point"]), (1, &found["point"]));
}

#[test]
fn a_command_that_promises_nothing_stops_for_a_person_and_is_counted_apart() {
    let certificate = certificate("tests/it/runbooks/silent.yaml", &[], 0);
    let stopped = with_verdict(&certificate, "stopped_for_person");
    let doubts = &stopped.first().expect("nobody saw its end")["verdict"]["stopped_for_person"];
    assert_eq!(doubts[0]["step"], "silent", "{doubts}");
    assert!(!doubts[0]["evidence"].as_str().expect("evidence").is_empty());
}

#[test]
fn a_certificate_for_a_ticket_is_markdown_or_json_by_its_name() {
    let lab = Lab::new(SMALL);
    let scenario = lab.path().join("scenario.yaml").display().to_string();
    let rehearse = |name: &str, code: i32| {
        let file = lab.path().join(name).display().to_string();
        let rest = ["--scenario", &scenario, "--crash-matrix", "--sample", "9"];
        let base = ["rehearse", "tests/it/runbooks/silent.yaml", "--certificate", &file];
        lab.migrate(base.iter().chain(&rest)).expect(code);
        lab.text(name).unwrap_or_default()
    };
    let markdown = rehearse("ticket.md", 0);
    assert!(markdown.starts_with("# Rehearsal of silent\n"), "{markdown}");
    assert!(markdown.contains("**sampled: every 9th point of each series; "), "{markdown}");
    let json: Value = serde_json::from_str(&rehearse("ticket.json", 0)).expect("JSON");
    assert_eq!(json["matrices"][0]["choice"]["sample"], 9);
    assert_eq!(rehearse("ticket.txt", 2), "");
}

#[test]
fn ctrl_c_ends_it_with_what_was_tried_and_leaves_nothing_behind() {
    let lab = Lab::new(SMALL);
    let temporary = lab.path().join("tmp");
    std::fs::create_dir(&temporary).expect("a folder");
    let scenario = lab.path().join("scenario.yaml").display().to_string();
    let base = ["rehearse", "tests/it/runbooks/silent.yaml", "--crash-matrix", "--jobs", "1"];
    let mut command = lab.command(base.iter().copied().chain(["--scenario", &scenario]));
    command.env("TMPDIR", &temporary);
    let mut process = Running::start(command, lab.path(), "rehearse");
    let folders = || {
        let rehearsals = std::fs::read_dir(&temporary).into_iter().flatten().flatten();
        rehearsals.flat_map(|it| std::fs::read_dir(it.path()).into_iter().flatten().flatten())
    };
    let is_trial = |name: &str| name.starts_with("before-") || name.starts_with("after-");
    until("a trial", || folders().any(|it| is_trial(&it.file_name().to_string_lossy())));
    process.signal(Signal::INT);
    let status = process.ended_within(Duration::from_mins(2)).expect("it ends");
    assert_eq!(status.code(), Some(130), "{}", process.said());
    assert!(process.stdout().contains("incomplete: interrupted after "), "{}", process.said());
    assert!(!process.stdout().contains("deviated"), "a trial was disturbed: {}", process.said());
    assert_eq!(std::fs::read_dir(&temporary).expect("a folder").count(), 0, "it cleans up");
}

#[test]
fn a_point_outside_a_sandbox_and_an_invalid_runbook_are_refused() {
    let lab = Lab::new(SMALL);
    let refused = |arguments: &[&str], code: i32| drop(lab.migrate(arguments).expect(code));
    refused(&["run", "runbooks/wave-1.yaml", "--die-at", "after-record:3"], 2);
    refused(&["rehearse", "tests/bad-runbooks/unknown-kind.yaml"], 3);
    refused(&["rehearse", "runbooks/wave-1.yaml", "--sample", "2"], 2);
    refused(&["rehearse", "runbooks/wave-1.yaml", "--point", "after-record:3"], 2);
    assert!(lab.run_dirs().is_empty(), "nothing was begun");
}
