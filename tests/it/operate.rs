//! The operational subcommands as a person or a script uses them: what they say, on which stream, and how they end.

use crate::lab::{Lab, SMALL};

const ASK: &str = "tests/it/runbooks/ask.yaml";

/// A run that waits for an answer, with no process alive.
fn waiting() -> Lab {
    let lab = Lab::new(SMALL);
    let scenario = lab.path().join("scenario.yaml").display().to_string();
    lab.migrate(["run", ASK, "--sandbox", "--scenario", &scenario]).expect(5);
    lab
}

#[test]
fn status_says_what_to_type_and_a_run_is_found_by_its_wave_a_prefix_or_nothing() {
    let lab = waiting();
    let run = lab.run_id();
    for arguments in [vec!["status"], vec!["status", "ask"], vec!["status", &run[..8]]] {
        let said = lab.migrate(&arguments).expect(0).stdout();
        assert!(said.contains(&format!("migrate approve {run} go")), "{said}");
        assert!(said.contains("none in this plan; rollback is possible"), "{said}");
    }
    let list = lab.migrate(["status", "--all"]).expect(0).stdout();
    assert!(list.starts_with(&run) && list.contains("waits for a person"), "{list}");
    lab.migrate(["status", "wave-9"]).expect(2);
}

#[test]
fn an_answer_is_checked_before_it_is_handed_over() {
    let lab = waiting();
    let typo = lab.migrate(["approve", "goo"]).expect(2);
    assert!(typo.stderr().contains("did you mean `go`?"), "{}", typo.said());
    let silent = lab.migrate(["approve", "tell"]).expect(4);
    assert!(silent.stderr().contains("asks nothing now: it is pending"), "{}", silent.said());
    let known = lab.migrate(["resolve", "go", "--done"]).expect(4);
    assert!(known.stderr().contains("needs no decision"), "{}", known.said());
    lab.migrate(["resolve", "go"]).expect(2);
    lab.migrate(["pause"]).expect(4);
    lab.migrate(["abort"]).expect(4);
}

#[test]
fn an_answer_without_an_engine_waits_for_resume_and_is_shown_with_its_author() {
    let lab = waiting();
    let kept = lab.migrate(["approve", "go", "--comment", "lag is zero"]).expect(0);
    assert!(kept.stderr().contains(&format!("migrate resume {}", lab.run_id())), "{}", kept.said());
    let summary = lab.migrate(["resume"]).expect(0).stdout();
    assert!(summary.contains("lag is zero") && summary.contains("completed"), "{summary}");
    lab.migrate(["resume"]).expect(2);
    lab.migrate(["approve", "ask", "go"]).expect(4);
}

#[test]
fn data_is_on_standard_output_and_json_begins_with_its_version() {
    let lab = waiting();
    let status = lab.migrate(["status", "--json"]).expect(0);
    let lines: Vec<serde_json::Value> =
        status.stdout().lines().map(|line| serde_json::from_str(line).expect("JSON")).collect();
    assert_eq!(lines[0]["json"], 1);
    assert_eq!(lines[1]["overview"]["standing"]["stopped"], "waits_for_person");
    assert_eq!(status.stderr(), "");
    let events = lab.migrate(["journal", "show", "--json"]).expect(0).stdout();
    assert_eq!(events.lines().count(), 1 + lab.records());
}

#[test]
fn records_cut_off_the_end_show_only_against_a_head_kept_elsewhere() {
    let lab = waiting();
    lab.migrate(["journal", "verify"]).expect(0);
    let journal = lab.run_dir().join("journal.jsonl");
    let head = lab.path().join("head.json");
    std::fs::copy(lab.run_dir().join("head.json"), &head).expect("a head");
    let text = std::fs::read_to_string(&journal).expect("a journal");
    let kept: Vec<_> = text.split_inclusive('\n').collect();
    std::fs::write(&journal, kept[..kept.len() - 1].concat()).expect("it is cut");
    std::fs::remove_file(lab.run_dir().join("head.json")).expect("it goes");
    lab.migrate(["journal", "verify"]).expect(0);
    let found =
        lab.migrate(["journal", "verify", "--head", &head.display().to_string()]).expect(13);
    assert!(found.stderr().contains("whole records missing at the end: 1"), "{}", found.said());
}

#[test]
fn yes_outside_a_sandbox_is_a_usage_error_and_rollback_asks_first() {
    let lab = waiting();
    lab.migrate(["run", ASK, "--yes"]).expect(2);
    lab.migrate(["run", ASK, "--detailed-exitcode"]).expect(2);
    let asked = lab.migrate(["rollback"]).expect(5);
    assert!(
        asked.stderr().contains("rollback ask-") && asked.stderr().contains("--yes"),
        "{}",
        asked.said()
    );
    lab.migrate(["rollback", "--yes"]).expect(8);
}

#[test]
fn an_edited_runbook_is_refused_until_the_change_is_accepted() {
    let lab = Lab::new(SMALL);
    let runbook = lab.path().join("ask.yaml");
    let text = std::fs::read_to_string(ASK).expect("a runbook");
    std::fs::write(&runbook, &text).expect("a copy");
    let runbook_name = runbook.display().to_string();
    lab.migrate(["run", &runbook_name, "--sandbox"]).expect(5);
    std::fs::write(&runbook, text.replace("message: gone", "message: done")).expect("an edit");
    lab.migrate(["approve", "go"]).expect(0);
    let refused = lab.migrate(["resume"]).expect(11);
    assert!(refused.stderr().contains("~ tell:"), "{}", refused.said());
    lab.migrate(["resume", "--accept-changes"]).expect(0);
}

#[test]
fn what_a_run_keeps_is_for_its_owner_only() {
    use std::os::unix::fs::PermissionsExt as _;
    let lab = waiting();
    let mode =
        |path: &std::path::Path| path.metadata().expect("it is there").permissions().mode() & 0o777;
    let run = lab.run_dir();
    let folders = [run.parent().expect("runs"), &run, &run.join("sandbox")];
    assert_eq!(folders.map(|it| format!("{:o}", mode(it))), ["700", "700", "700"]);
    assert_eq!(format!("{:o}", mode(&run.join("journal.jsonl"))), "600");
}

#[test]
fn what_is_to_be_done_by_hand_names_no_step_that_changed_nothing() {
    let lab = Lab::new(SMALL);
    let runbook = lab.write(
        "final.yaml",
        "
migrate: 1
wave: final
stages:
  prepare:
    - id: burn
      uses: exec
      timeout: 1m
      with: { argv: [\"true\"], repeat: repeatable }
    - id: look
      uses: exec
      timeout: 1m
      with: { argv: [no-such-program-anywhere], repeat: repeatable }
",
    );
    lab.run(&runbook, &[]).expect(1);
    let said = lab.migrate(["rollback", "--yes"]).expect(9).stdout();
    let by_hand = said.split("to be done by hand").nth(1).expect("a list");
    assert!(by_hand.contains("\n  burn  "), "{said}");
    assert!(!by_hand.contains("\n  look  "), "{said}");
}
