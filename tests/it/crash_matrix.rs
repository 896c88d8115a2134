//! `migrate rehearse --crash-matrix` over the waves: killed before and after every journal record and every outside call,
//! resumed, the same world as an uninterrupted run, and no effect twice by the sandbox's own ledger.

use serde_json::Value;

use crate::lab::{Lab, SMALL};

/// The short form tries every so many-th point of each series.
const SAMPLE: &str = "16";

/// The certificate of a rehearsal that ended with `code`.
fn certificate(runbook: &str, scenario: &str, more: &[&str], code: i32) -> Value {
    let lab = Lab::new(scenario);
    let scenario = lab.path().join("scenario.yaml").display().to_string();
    let base = ["rehearse", runbook, "--json", "--scenario", &scenario];
    let ended = lab.migrate(base.iter().chain(more)).expect(code);
    let last = ended.stdout().lines().last().map(serde_json::from_str::<Value>);
    let mut last = last.expect("a line").expect("JSON");
    last["certificate"].take()
}

fn survives(runbook: &str) {
    let whole_form = std::env::var_os("MIGRATE_SOAK").is_some();
    let sample: &[&str] = if whole_form { &[] } else { &["--sample", SAMPLE] };
    let certificate = certificate(runbook, SMALL, &[&["--crash-matrix"], sample].concat(), 0);
    let matrix = &certificate["matrices"][0];
    let tried = matrix["tried"].as_array().expect("trials");
    let same = tried.iter().filter(|tried| tried["verdict"] == "same").count();
    assert!(same * 2 > tried.len(), "{same} of {} points were reached", tried.len());
    println!(
        "{runbook}: {} of {} points, {same} killed there and the same, 0 deviations",
        tried.len(),
        matrix["points"],
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
