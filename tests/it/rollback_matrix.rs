//! `migrate rehearse --rollback-matrix`: failed at every step and rolled back, wave 1 is as it was; an undo that lies is found.

use serde_json::Value;

use crate::lab::{Lab, SMALL, is_soak};

/// The short form tries every so many-th step.
const SAMPLE: &str = "8";

/// A command whose `undo` ends well and undoes nothing, behind a switch whose undo is true.
const LIAR: &str = "
migrate: 1
wave: liar
systems: { target: { http: \"http://crm-target.contoso.example\" } }
stages:
  prepare:
    - id: close
      uses: writes.pause
      with: { system: target }
    - id: scribble
      uses: exec
      with: { argv: [touch, left-behind], folder: target/crm, undo: [\"true\"], repeat: repeatable }
";

/// Two steps, and the second one is final.
const FINAL: &str = "
migrate: 1
wave: final
systems: { target: { http: \"http://crm-target.contoso.example\" } }
stages:
  release:
    - id: close
      uses: writes.pause
      timeout: 10m
      with: { system: target }
    - id: go
      uses: approval
      with: { ask: Really? }
    - id: drop-source
      uses: exec
      timeout: 10m
      with: { argv: [\"true\"], repeat: repeatable }
      point_of_no_return: true
    - id: tell
      uses: notify
      timeout: 1m
      with: { to: [team], message: gone }
";

/// The matrix of a rehearsal that ended with `code`.
fn matrix(lab: &Lab, runbook: &str, more: &[&str], code: i32) -> Value {
    let scenario = lab.path().join("scenario.yaml").display().to_string();
    let base = ["rehearse", runbook, "--json", "--scenario", &scenario, "--rollback-matrix"];
    let ended = lab.migrate(base.iter().chain(more)).expect(code);
    let last = ended.stdout().lines().last().map(serde_json::from_str::<Value>);
    let mut last = last.expect("a line").expect("JSON");
    last["certificate"]["matrices"][0].take()
}

fn steps(matrix: &Value) -> Vec<(&str, &Value)> {
    let tried = matrix["tried"].as_array().expect("trials").iter();
    tried.map(|it| (it["at"].as_str().expect("a step"), &it["verdict"])).collect()
}

#[test]
fn wave_1_is_as_before_when_it_fails_anywhere_and_is_rolled_back() {
    let lab = Lab::new(SMALL);
    let sample: &[&str] = if is_soak() { &[] } else { &["--sample", SAMPLE] };
    let matrix = matrix(&lab, "runbooks/wave-1.yaml", sample, 0);
    let steps = steps(&matrix);
    assert!(!steps.is_empty());
    for (step, verdict) in &steps {
        assert_eq!(*verdict, "same", "{step}");
    }
    let notes = matrix["notes"].to_string();
    assert!(notes.contains("the rollback reserve of 45m00s is enough"), "{notes}");
    println!("wave-1: {} of {} steps, 0 deviations: {notes}", steps.len(), matrix["points"]);
}

#[test]
fn kinds_whose_change_takes_many_requests_are_as_before() {
    for kind in ["vm.test_migrate", "traffic.shift", "freeze.begin", "freeze.end"] {
        let lab = Lab::new(SMALL);
        let matrix = matrix(&lab, &format!("examples/steps/{kind}.yaml"), &[], 0);
        let steps = steps(&matrix);
        assert!(steps.iter().all(|(_, verdict)| **verdict == "same"), "{kind}: {steps:?}");
        println!("{kind}: {} steps, 0 deviations", steps.len());
    }
}

#[test]
fn an_undo_that_lies_is_found() {
    let lab = Lab::new(SMALL);
    let runbook = lab.write("liar.yaml", LIAR);
    let markdown = lab.path().join("certificate.md").display().to_string();
    let matrix = matrix(&lab, &runbook, &["--certificate", &markdown], 1);
    let [(first, same), (second, deviated)] = steps(&matrix)[..] else { panic!("{matrix}") };
    assert_eq!((first, same), ("close", &Value::from("same")));
    assert_eq!(second, "scribble");
    assert!(deviated.to_string().contains("left-behind"), "{deviated}");
    let text = lab.text("certificate.md").expect("a certificate");
    let named = text.lines().any(|line| line.contains("left-behind"));
    assert!(named && text.contains("scribble"), "{text}");
}

#[test]
fn nothing_from_a_point_of_no_return_on_is_tried_and_that_is_said() {
    let lab = Lab::new(SMALL);
    let runbook = lab.write("final.yaml", FINAL);
    let matrix = matrix(&lab, &runbook, &[], 0);
    let names: Vec<_> = steps(&matrix).into_iter().map(|(step, _)| step).collect();
    assert_eq!(names, ["close", "go"]);
    let notes = matrix["notes"].to_string();
    assert!(notes.contains("drop-source is a point of no return"), "{notes}");
}

#[test]
fn a_step_is_made_to_fail_in_a_sandbox_only() {
    let lab = Lab::new(SMALL);
    let runbook = lab.write("final.yaml", FINAL);
    for more in [&[][..], &["--sandbox", "--dry-run"]] {
        let base = ["run", &runbook, "--fail-at", "close"];
        let refused = lab.migrate(base.iter().chain(more)).expect(2);
        assert!(refused.said().contains("no sandbox run"), "{}", refused.said());
    }
    assert!(lab.run_dirs().is_empty(), "a refused run leaves nothing");
    let failed = lab.run(&runbook, &["--fail-at", "close"]).expect(1);
    assert!(failed.said().contains("MIG0710"), "{}", failed.said());
    lab.migrate(["resume"]).expect(0);
    let unknown = lab.run(&runbook, &["--fail-at", "clsoe"]).expect(2);
    assert!(unknown.said().contains("there is no such step"), "{}", unknown.said());
}
