//! Whole waves in a sandbox, as an operator meets them: the main job, and every way it can stop.

use std::fs;

use migrate::sandbox::ledger;

use crate::lab::{Lab, SMALL, stable};

const WAVE_1: &str = "runbooks/wave-1.yaml";

#[test]
fn the_main_job_completes_and_moves_what_it_says() {
    let lab = Lab::new(SMALL);
    let ended = lab.run(WAVE_1, &[]).expect(0);
    let world = lab.world();
    for app in ["crm", "shop"] {
        let record = &world.record_sets[&format!("contoso.example/cname/{app}")];
        assert!(record.to_string().contains(&format!("{app}-target")), "{record}");
        let orders = &world.orders[app];
        assert!(orders.missing_at_target.is_empty() && orders.acknowledged > 0, "{orders:?}");
    }
    let said = ended.said();
    for step in ["announce", "switch[crm]", "switch[shop]", "stabilize", "done"] {
        assert!(said.contains(step), "{step} is not shown:\n{said}");
    }
}

#[test]
fn the_planned_downtime_wave_completes() {
    let lab = Lab::new(SMALL);
    lab.run("runbooks/wave-2.yaml", &[]).expect(0);
    assert!(lab.world().orders["shop"].missing_at_target.is_empty());
}

#[test]
fn a_dry_run_changes_nothing_and_says_the_same_twice() {
    let lab = Lab::new(SMALL);
    let dir = lab.path().join("world");
    let dir_text = dir.display().to_string();
    let first = lab.dry_run(WAVE_1, &dir_text).expect(0);
    let second = lab.dry_run(WAVE_1, &dir_text).expect(0);
    assert_eq!(first.0.stdout, second.0.stdout);
    assert!(first.stdout().contains("crm-target.contoso.example"), "{}", first.said());
    let mutating = ledger::read(&dir)
        .expect("a ledger")
        .into_iter()
        .filter(|entry| entry.is_mutating_request() && !entry.path.ends_with("/orders"))
        // The two checks that Azure itself offers as POST: it validates and predicts, and changes nothing.
        .filter(|entry| !(entry.path.ends_with("/validate") || entry.path.ends_with("/whatIf")))
        .map(|entry| format!("{} {}", entry.method, entry.path))
        .collect::<Vec<_>>();
    assert_eq!(mutating, Vec::<String>::new());
    assert!(!lab.path().join("state").exists(), "a dry run leaves no state folder");
}

/// Every changing request of the wave, as faults would name it.
fn mutating_calls() -> Vec<(String, String, usize)> {
    let lab = Lab::new(SMALL);
    lab.run(WAVE_1, &[]).expect(0);
    let mut seen: Vec<(String, String, usize)> = Vec::new();
    for entry in ledger::read(&lab.sandbox_dir()).expect("a ledger") {
        if entry.is_mutating_request() && entry.changed && !entry.path.ends_with("/orders") {
            // Names that hold the run's id differ from run to run: the part before it tells the call.
            let path = stable(&entry.path).split(&lab.run_id()).next().expect("a part").to_owned();
            let nth = 1 + seen.iter().filter(|it| it.0 == entry.method && it.1 == path).count();
            seen.push((entry.method, path, nth));
        }
    }
    seen
}

#[test]
fn a_reply_lost_after_the_change_is_found_done_and_not_repeated() {
    let calls = mutating_calls();
    assert!(calls.len() >= 10, "{calls:?}");
    let reference = Lab::new(SMALL);
    reference.run(WAVE_1, &[]).expect(0);
    let (world, changes) = (reference.world(), reference.changes());
    for (method, path, nth) in calls {
        let fault = format!(
            "{SMALL}faults: [{{ method: {method}, path: \"{path}\", nth: {nth}, fault: reply_lost }}]\n"
        );
        let lab = Lab::new(&fault);
        let mut ended = lab.run(WAVE_1, &[]);
        for _ in 0..3 {
            if ended.code() == Some(0) {
                break;
            }
            ended = lab.migrate(["resume"]);
        }
        assert_eq!(ended.code(), Some(0), "{method} {path}: {}", ended.said());
        let fired = ledger::read(&lab.sandbox_dir()).expect("a ledger");
        assert!(fired.iter().any(|entry| entry.fault.is_some()), "{method} {path} was not hit");
        assert_eq!(lab.changes(), changes, "{method} {path}");
        assert_eq!(lab.world(), world, "{method} {path}");
    }
}

#[test]
fn a_record_changed_by_another_hand_is_drift_and_stays() {
    let drift = "
drift: [{ after_seconds: 1, zone: contoso.example, record: { name: crm, type: CNAME, ttl: 300, values: [elsewhere.contoso.example] } }]
";
    let lab = Lab::new(&format!("{SMALL}{drift}"));
    let ended = lab.run("tests/it/runbooks/switch.yaml", &[]).expect(11);
    let said = ended.said();
    assert!(said.contains("elsewhere.contoso.example"), "{said}");
    assert!(said.contains("crm-source.contoso.example"), "{said}");
    let record = &lab.world().record_sets["contoso.example/cname/crm"];
    assert!(record.to_string().contains("elsewhere"), "nothing is overwritten: {record}");
}

#[test]
fn a_second_run_of_a_wave_is_told_who_holds_it() {
    let lab = Lab::new(SMALL);
    let scenario = lab.path().join("scenario.yaml").display().to_string();
    let asks =
        ["run", "tests/it/runbooks/ask.yaml", "--sandbox", "--wait", "--scenario", &scenario];
    let mut first = lab.command(asks).stderr(std::process::Stdio::null()).spawn().expect("starts");
    let run = wait_for_question(&lab);
    let second = lab.migrate(asks).expect(10);
    assert!(second.said().contains(&run), "{}", second.said());
    assert!(second.said().contains(&first.id().to_string()), "{}", second.said());
    first.kill().expect("it is ours");
    first.wait().expect("it ends");
}

/// The run's id, once its journal says that people were asked.
fn wait_for_question(lab: &Lab) -> String {
    loop {
        let asked = fs::read_dir(lab.path().join("state/runs"))
            .into_iter()
            .flatten()
            .filter_map(|entry| Some(entry.ok()?.path()))
            .find(|run| {
                let journal = fs::read_to_string(run.join("journal.jsonl")).unwrap_or_default();
                journal.contains("\"asked\"")
            });
        if let Some(run) = asked {
            return run.file_name().expect("a name").to_string_lossy().into_owned();
        }
        std::thread::yield_now();
    }
}

#[test]
fn without_a_terminal_a_question_is_exit_5_and_an_approval_from_elsewhere_goes_on() {
    let lab = Lab::new(SMALL);
    let scenario = lab.path().join("scenario.yaml").display().to_string();
    let asks = ["run", "tests/it/runbooks/ask.yaml", "--sandbox", "--scenario", &scenario];
    let ended = lab.migrate(asks).expect(5);
    assert!(ended.said().contains("migrate approve"), "{}", ended.said());
    lab.migrate(["approve", &lab.run_id(), "go", "--comment", "bridge agreed"]).expect(0);
    lab.migrate(["resume"]).expect(0);
}

#[test]
fn a_refused_approval_is_exit_4_and_names_who_refused() {
    let lab = Lab::new(SMALL);
    let scenario = lab.path().join("scenario.yaml").display().to_string();
    lab.migrate(["run", "tests/it/runbooks/ask.yaml", "--sandbox", "--scenario", &scenario])
        .expect(5);
    lab.migrate(["approve", &lab.run_id(), "go", "--refuse", "--comment", "database alarm"])
        .expect(0);
    let ended = lab.migrate(["resume"]).expect(4);
    assert!(ended.said().contains("database alarm"), "{}", ended.said());
    assert!(ended.said().contains("migrate rollback"), "{}", ended.said());
}

#[test]
fn a_closed_window_is_exit_4() {
    let lab = Lab::new(&format!("{SMALL}start: 2026-12-06T06:30:00Z\n"));
    let ended = lab.run("tests/it/runbooks/switch.yaml", &[]).expect(4);
    assert!(ended.said().contains("MIG0703"), "{}", ended.said());
    assert!(ended.said().contains("migrate "), "{}", ended.said());
}

#[test]
fn a_lag_that_never_falls_is_refused_when_its_time_is_up() {
    let lag = "
replication: [{ group: rg-crm, vault: vault-crm, item: crm-db, lag: [[0, 900], [600, 120]] }]
";
    let lab = Lab::new(&format!("{SMALL}{lag}"));
    let ended = lab.run("tests/it/runbooks/lag.yaml", &[]).expect(4);
    assert!(
        ended.said().contains("lag of crm-db 120.0 s"),
        "the last reading is shown: {}",
        ended.said()
    );
}

#[test]
fn a_freeze_violated_in_the_middle_stops_before_the_next_step() {
    let lab = Lab::new(SMALL);
    let ended = lab.run("tests/it/runbooks/frozen.yaml", &[]).expect(4);
    let said = ended.said();
    assert!(said.contains("MIG0707"), "{said}");
    assert!(said.contains("intruder.txt"), "it says what changed: {said}");
}

#[test]
fn an_exec_killed_in_the_middle_without_a_probe_is_unknown_until_a_person_decides() {
    let lab = Lab::new(SMALL);
    // The command ends the process that waits for it, and nobody ever sees how the command itself ended.
    let killed = lab.run("tests/it/runbooks/blind.yaml", &[]);
    assert_eq!(killed.code(), None, "{}", killed.said());
    let ended = lab.migrate(["resume"]).expect(6);
    assert!(ended.said().contains("migrate resolve"), "{}", ended.said());
    lab.migrate(["resolve", &lab.run_id(), "blind", "--done"]).expect(0);
    lab.migrate(["resume"]).expect(0);
}
