//! Every bad runbook under `tests/bad-runbooks/` gets its place, its cause and its remedy, and exit 3.
//!
//! The program runs in a folder of its own, which must stay empty, and under `strace`, which must see no socket.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use crate::lab::program;

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/bad-runbooks")
}

fn runbooks() -> Vec<String> {
    let mut names: Vec<String> = std::fs::read_dir(folder())
        .expect("the folder")
        .map(|entry| entry.expect("an entry").file_name().to_string_lossy().into_owned())
        .filter_map(|name| name.strip_suffix(".yaml").map(str::to_owned))
        .collect();
    names.sort();
    names
}

fn migrate(arguments: &[&str], state: &Path) -> Output {
    Command::new(program())
        .args(arguments)
        .current_dir(folder())
        .env_clear()
        .env("MIGRATE_STATE_DIR", state)
        .output()
        .expect("the program runs")
}

#[test]
fn each_gives_place_cause_and_remedy() {
    let state = tempfile::tempdir().expect("a folder");
    let names = runbooks();
    assert!(names.len() >= 40, "{} bad runbooks", names.len());
    insta::with_settings!({ snapshot_path => "snapshots/bad_runbooks", prepend_module_to_snapshot => false }, {
        for name in names {
            let output = migrate(&["validate", &format!("{name}.yaml")], state.path());
            let told = String::from_utf8(output.stderr).expect("text");
            assert_eq!(output.status.code(), Some(3), "{name}: {told}");
            assert!(output.stdout.is_empty(), "{name} says something on standard output");
            assert!(!told.contains("hunter2"), "{name} shows a secret");
            insta::assert_snapshot!(name, told);
        }
    });
    let left: Vec<_> = std::fs::read_dir(state.path()).expect("the folder").collect();
    assert!(left.is_empty(), "validate writes nothing");
}

#[test]
fn none_opens_a_socket() {
    if Command::new("strace").arg("-V").output().is_err() {
        println!("SKIPPED: no socket opened by a bad runbook: strace is not installed");
        return;
    }
    let state = tempfile::tempdir().expect("a folder");
    let trace = state.path().join("trace");
    for name in runbooks() {
        let status = Command::new("strace")
            .args(["-f", "-qq", "-e", "trace=socket,connect,execve", "-o"])
            .arg(&trace)
            .arg(program())
            .args(["run", "--sandbox", &format!("{name}.yaml")])
            .current_dir(folder())
            .env("MIGRATE_STATE_DIR", state.path().join("state"))
            .output()
            .expect("strace runs")
            .status;
        let calls = std::fs::read_to_string(&trace).expect("a trace");
        assert_eq!(status.code(), Some(3), "{name}");
        assert!(calls.contains("execve("), "{name}: nothing was traced");
        assert!(!calls.contains("socket(") && !calls.contains("connect("), "{name}: {calls}");
    }
}

#[test]
fn a_bad_runbook_neither_plans_nor_runs() {
    let state = tempfile::tempdir().expect("a folder");
    for arguments in
        [&["plan", "cycle.yaml"][..], &["run", "cycle.yaml"], &["run", "--dry-run", "cycle.yaml"]]
    {
        let output = migrate(arguments, state.path());
        assert_eq!(output.status.code(), Some(3), "{arguments:?}");
        assert!(String::from_utf8_lossy(&output.stderr).contains("a -> b -> a"), "{arguments:?}");
    }
    assert_eq!(std::fs::read_dir(state.path()).expect("the folder").count(), 0);
}
