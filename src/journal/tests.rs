//! What is written is read; what can not be written makes no permit. Damage of every kind: `under_fire`.

use std::fs;

use jiff::Timestamp;
use proptest::prelude::*;
use serde_json::json;

use super::*;
use crate::run::{Event, Header, Intent, Operator, Record, Repeat, Stage, Undo};

fn header() -> Header {
    let plan = json!({
        "format": 1, "wave": "w", "parallel": 1,
        "steps": [{
            "id": "a", "stage": "prepare", "uses": "notify", "with": {}, "after": [],
            "retry": { "attempts": 1, "backoff": 1.0 }, "class": "action",
            "repeat": "repeatable", "undo": "leaves_in_place", "source": ["w.yaml", 1]
        }]
    });
    Header {
        format: FORMAT,
        tool: "0".to_owned(),
        run: "run-1".into(),
        operator: Operator { user: "ada".to_owned(), host: "h".to_owned() },
        runbook: "w.yaml".to_owned(),
        fingerprint: "f".to_owned(),
        sandbox: false,
        assume_yes: false,
        plan: serde_json::from_value(plan).expect("a plan"),
    }
}

fn at(second: i64) -> Timestamp {
    Timestamp::from_second(1_700_000_000 + second).expect("a time")
}

fn intent() -> Event {
    let class = (Repeat::Guarded, Undo::Restores);
    let intent = Intent::new("k", "target", "replace", class, json!(null), json!({ "x": 1 }));
    Event::Intent { step: "a".into(), intent, undoes: None }
}

/// A journal of six records in a folder of its own.
fn written() -> (tempfile::TempDir, Vec<u8>) {
    let dir = tempfile::tempdir().expect("a folder");
    let run = dir.path().join("run-1");
    let first = Record { seq: 0, at: at(0), event: Event::RunStarted(Box::new(header())) };
    let mut journal = Journal::create(&run, &first).expect("created");
    let step = || "a".into();
    journal.append(at(1), Event::StageStarted { stage: Stage::Prepare });
    journal.append(at(2), Event::StepStarted { step: step(), attempt: 1 });
    journal.append(at(3), intent());
    let permits = journal.sync().expect("durable");
    assert_eq!(permits.len(), 1);
    let done = Event::Done { step: step(), key: "k".into(), observed: json!(7), probed: false };
    journal.append(at(4), done);
    let succeeded = Event::StepSucceeded { step: step(), outputs: [].into(), evidence: Vec::new() };
    journal.append(at(5), succeeded);
    journal.sync().expect("durable");
    let bytes = fs::read(run.join(FILE)).expect("bytes");
    (dir, bytes)
}

fn reading(bytes: &[u8]) -> Result<Reading, JournalError> {
    let dir = tempfile::tempdir().expect("a folder");
    fs::write(dir.path().join(FILE), bytes).expect("written");
    read(dir.path(), |_, _| {})
}

#[test]
fn it_reads_what_it_wrote() {
    let (_dir, bytes) = written();
    let reading = reading(&bytes).expect("whole");
    assert_eq!((reading.head.records, reading.length), (6, bytes.len() as u64));
    assert!(reading.torn.is_empty());
}

#[test]
fn the_file_is_for_its_owner_only() {
    use std::os::unix::fs::PermissionsExt;
    let (dir, _) = written();
    let mode = |path: &std::path::Path| fs::metadata(path).expect("there").permissions().mode();
    assert_eq!(mode(&dir.path().join("run-1")) & 0o777, 0o700);
    assert_eq!(mode(&dir.path().join("run-1").join(FILE)) & 0o777, 0o600);
}

#[test]
fn a_tail_of_zeros_is_torn_and_kept_aside_on_opening() {
    let (dir, bytes) = written();
    let run = dir.path().join("run-1");
    let mut zeros = bytes.clone();
    zeros.extend_from_slice(&[0; 4096]);
    fs::write(run.join(FILE), &zeros).expect("written");
    let (journal, _) = Journal::open(&run, at(9)).expect("repaired");
    assert_eq!(journal.head().records, 7, "the repair is a record of its own");
    assert_eq!(fs::read(run.join("journal.torn-6")).expect("kept").len(), 4096);
    let read = read(&run, |_, _| {}).expect("whole again");
    assert_eq!((&read.head, read.torn.len()), (journal.head(), 0));
}

#[test]
fn a_newer_format_is_refused_with_both_versions() {
    let newer = Header { format: FORMAT + 1, ..header() };
    let dir = tempfile::tempdir().expect("a folder");
    let first = Record { seq: 0, at: at(0), event: Event::RunStarted(Box::new(newer)) };
    Journal::create(&dir.path().join("r"), &first).expect("created");
    let error = read(&dir.path().join("r"), |_, _| {}).expect_err("newer");
    assert_eq!(error.code(), "MIG0702");
    let (now, newer) = (FORMAT, FORMAT + 1);
    let said =
        format!("has format {newer}, this program reads up to {now}: migrate 0 or newer is needed");
    assert!(error.to_string().ends_with(&said), "{error}");
}

#[test]
fn a_failed_write_makes_no_permit_and_is_final() {
    // A full device accepts the opening of the file and refuses every byte.
    let Ok(full) = fs::OpenOptions::new().append(true).open("/dev/full") else { return };
    let (dir, _) = written();
    let (mut journal, _) = Journal::open(&dir.path().join("run-1"), at(9)).expect("whole");
    journal.replace_file(full);
    journal.append(at(10), intent());
    assert_eq!(journal.sync().expect_err("no space").code(), "MIG0704");
    assert!(matches!(journal.sync(), Err(JournalError::Poisoned { .. })));
}

proptest! {
    #[test]
    fn arbitrary_bytes_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..2000)) {
        let _ = reading(&bytes);
    }
}
