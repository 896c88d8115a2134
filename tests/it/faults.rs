//! `migrate rehearse --faults SEED`: whatever fails on the way to a provider, the wave comes to the same world; the same seed
//! tells the same story; and what a fault does break is found.

use serde_json::Value;

use crate::lab::{Lab, SMALL, cases};

/// Of the short form; of the long form every trial follows from it, too.
const SEED: &str = "7";

/// A message whose failure is passed over: then it is never delivered.
const CARELESS: &str = "
migrate: 1
wave: careless
stages:
  prepare:
    - id: tell
      uses: http.request
      on_failure: continue
      with: { method: POST, url: \"http://hooks.contoso.example/told\", body: { text: hello }, repeat: idempotency-key }
      undo: leaves-in-place
";

/// The matrix of a rehearsal that ended with `code`.
fn matrix(lab: &Lab, runbook: &str, more: &[&str], code: i32) -> Value {
    let scenario = lab.path().join("scenario.yaml").display().to_string();
    let base = ["rehearse", runbook, "--json", "--scenario", &scenario, "--faults", SEED];
    let ended = lab.migrate(base.iter().chain(more)).expect(code);
    let last = ended.stdout().lines().last().map(serde_json::from_str::<Value>);
    let mut last = last.expect("a line").expect("JSON");
    last["certificate"]["matrices"][0].take()
}

/// What a seed decides: everything but how long it took.
fn story(matrix: &Value) -> Vec<Value> {
    let mut tried = matrix["tried"].as_array().expect("trials").clone();
    for trial in &mut tried {
        trial.as_object_mut().expect("a trial").remove("real_seconds");
    }
    tried
}

#[test]
fn wave_1_comes_to_the_same_world_and_the_same_seed_tells_the_same_story() {
    let lab = Lab::new(SMALL);
    let trials = cases(6, 500).to_string();
    let told = matrix(&lab, "runbooks/wave-1.yaml", &["--trials", &trials], 0);
    let first = story(&told);
    let reached = first.iter().filter(|trial| trial["verdict"] == "same").count();
    assert!(reached * 2 > first.len(), "{reached} of {trials} met a fault");
    let stopped = first.iter().filter(|trial| trial["transcript"].to_string().contains("resumed"));
    println!(
        "wave-1: {trials} trials, {reached} met a fault, {} stopped and were resumed, 0 deviations",
        stopped.count(),
    );
    let again = matrix(&lab, "runbooks/wave-1.yaml", &["--trials", "6"], 0);
    assert_eq!(story(&again), first[..6]);
    let alone = matrix(&lab, "runbooks/wave-1.yaml", &["--point", "faults:7/2"], 0);
    assert_eq!(story(&alone), first[1..2]);
    // A deployment that is accepted and fails is asked for again by `resume`.
    let failed = matrix(&lab, "runbooks/wave-1.yaml", &["--point", "faults:7/11"], 0);
    assert!(failed["tried"][0]["at"].to_string().contains("operation fails"), "{failed}");
}

#[test]
fn what_a_fault_breaks_is_found_and_its_trial_is_named() {
    let lab = Lab::new(SMALL);
    let runbook = lab.write("careless.yaml", CARELESS);
    let matrix = matrix(&lab, &runbook, &["--trials", "8"], 1);
    let story = story(&matrix);
    let deviated = story.iter().find(|trial| !trial["verdict"]["deviated"].is_null());
    let deviated = deviated.expect("a message that is never delivered");
    assert!(deviated["verdict"].to_string().contains("POST hooks"), "{deviated}");
}

#[test]
fn a_point_of_a_matrix_that_was_not_asked_for_is_refused() {
    let lab = Lab::new(SMALL);
    let refused = |more: &[&str]| {
        let base = ["rehearse", "runbooks/wave-1.yaml"];
        lab.migrate(base.iter().chain(more)).expect(2).said()
    };
    let other = refused(&["--faults", "7", "--point", "after-call:3"]);
    assert!(other.contains("after-call:3 is a point of --crash-matrix"), "{other}");
    let seed = refused(&["--faults", "7", "--point", "faults:8/1"]);
    assert!(seed.contains("faults:8/1 is a point of --faults"), "{seed}");
    let step = refused(&["--rollback-matrix", "--point", "fail-at:switch[crn]"]);
    assert!(step.contains("no such step"), "{step}");
}
