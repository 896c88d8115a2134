//! A journal of exactly 64 KiB: the records of a real run, then one of every other fact there is, written by the real
//! appending code.

use std::collections::BTreeSet;
use std::fs;
use std::ops::Range;

use jiff::Timestamp;
use serde_json::json;

use super::super::{FILE, Head, Journal, read};
use crate::run::{
    Ending, Event, FailureClass, Intent, Operator, PersonRequest, Record, Repeat, Request,
    Resolution, RunState, Sent, StepError, StepId, Stop, Undo, Verdict, Waiting,
};

/// Bytes of the journal: 524,288 bits.
pub(super) const LENGTH: usize = 1 << 16;

/// A run of wave 2 that was killed, had its tail repaired and was taken up again.
const REAL: &[u8] = include_bytes!("../../../tests/it/journals/format-1/journal.jsonl");

/// The journal.
pub(super) struct Long {
    pub(super) bytes: Vec<u8>,
    /// The bytes of each record, its newline included.
    pub(super) records: Vec<Range<usize>>,
    pub(super) head: Head,
}

impl Long {
    pub(super) fn written() -> Self {
        let dir = tempfile::tempdir().expect("a folder");
        let real = dir.path().join("real");
        fs::create_dir(&real).expect("a folder");
        fs::write(real.join(FILE), REAL).expect("written");
        let mut facts = Vec::new();
        let whole = read(&real, |record, _| facts.push((record.at, record.event.clone())));
        let last = whole.expect("a whole journal").state;
        facts.pop_if(|(_, event)| matches!(event, Event::RunEnded { .. })).expect("it ended");

        let write = |name: &str, padding: usize| {
            let run = dir.path().join(name);
            let rest = rest(&last, padding).into_iter().map(|event| (last.last, event));
            let (head, state) = write(&run, facts.iter().cloned().chain(rest));
            (fs::read(run.join(FILE)).expect("bytes"), head, state)
        };
        let short = write("short", 0).0.len();
        let (bytes, head, _) = write("run", LENGTH - short);
        assert_eq!(bytes.len(), LENGTH);
        let mut start = 0;
        let records = bytes
            .split_inclusive(|byte| *byte == b'\n')
            .map(|line| {
                start += line.len();
                start - line.len()..start
            })
            .collect();
        Self { bytes, records, head }
    }

    /// The record that holds this byte.
    pub(super) fn record_of(&self, byte: usize) -> usize {
        self.records.partition_point(|record| record.end <= byte)
    }
}

fn write(
    run: &std::path::Path,
    mut facts: impl Iterator<Item = (Timestamp, Event)>,
) -> (Head, RunState) {
    let (at, event) = facts.next().expect("a first fact");
    let first = Record { seq: 0, at, event };
    let mut state = RunState::begin(&first).expect("a run");
    let mut journal = Journal::create(run, &first).expect("created");
    for (at, event) in facts {
        let record = journal.append(at, event);
        state.apply(&record).expect("it follows");
    }
    journal.sync().expect("durable");
    (journal.head().clone(), state)
}

/// Every kind of fact that an ordinary run does not leave, in an order that the fold takes.
fn rest(state: &RunState, padding: usize) -> Vec<Event> {
    let step: StepId = state.plan().steps[0].id.clone();
    let other: StepId = state.plan().steps[1].id.clone();
    let by = Operator { user: "grace".to_owned(), host: "ops-2".to_owned() };
    let person = |id: &str, comment: String, request| {
        let request = PersonRequest { id: id.to_owned(), by: by.clone(), comment, request };
        Event::PersonActed(request)
    };
    let intent = |key: &str| {
        let class = (Repeat::Guarded, Undo::Restores);
        Intent::new(key, "zone/CNAME/shop", "replace", class, json!({"ttl": 60}), json!({"x": [1]}))
    };
    let failure = || {
        StepError::new(FailureClass::Unknown, "MIG0303", "replace the \"record\"", "no reply")
            .cause("a tab\t, an é and a \u{1f680}")
            .hint("migrate resume")
    };
    let sent = Sent { operation_url: Some("https://localhost/op/7".to_owned()), request_id: None };
    let key = || "k".to_owned();
    let plan = Box::new(state.plan().clone());
    vec![
        Event::ReadingExpired { step: step.clone() },
        Event::StepWaiting { step: step.clone(), waiting: Waiting::Hold },
        person("1", "go".to_owned(), Request::Approve { step: step.clone() }),
        Event::StepStarted { step: step.clone(), attempt: 2 },
        Event::Intent { step: step.clone(), intent: intent("k"), undoes: None },
        Event::Sent { step: step.clone(), key: key(), sent },
        Event::StayedUnknown {
            step: step.clone(),
            key: key(),
            verdict: Verdict::Unknown { evidence: "\\ \" \u{7f}".to_owned() },
        },
        Event::StepInDoubt { step: step.clone(), evidence: "no reply".to_owned() },
        Event::StepHeld { step: step.clone() },
        Event::RunStopped { stop: Stop::Halted },
        person(
            "2",
            "x".repeat(padding),
            Request::Resolve { step: step.clone(), as_: Resolution::NotDone },
        ),
        Event::NotDone { step: step.clone(), key: key(), why: "412".to_owned(), certain: true },
        Event::StepStarted { step: step.clone(), attempt: 3 },
        Event::StepFailed { step: step.clone(), failure: failure() },
        Event::StepSkipped { step: step.clone(), why: "`when: false` is false".to_owned() },
        Event::PlanChanged { plan, fingerprint: state.header.fingerprint.clone() },
        Event::PointOfNoReturnCrossed { step: other.clone() },
        Event::RollbackStarted { why: "it was asked for".to_owned() },
        Event::UndoStarted { step: step.clone() },
        Event::Intent { step: step.clone(), intent: intent("u"), undoes: Some(key()) },
        Event::StepUndone { step },
        Event::UndoStarted { step: other.clone() },
        Event::UndoFailed { step: other, failure: failure() },
        Event::RunEnded { ending: Ending::RollbackIncomplete },
    ]
}

/// Every kind of fact by its name in the file, as the reader itself lists them.
fn kinds() -> BTreeSet<String> {
    let error = serde_json::from_str::<Event>(r#"{"?":{}}"#).expect_err("there is no such fact");
    let text = error.to_string();
    text.split('`').skip(3).step_by(2).map(str::to_owned).collect()
}

#[test]
fn it_holds_every_kind_of_fact() {
    let long = Long::written();
    let mut found = BTreeSet::new();
    for record in &long.records {
        let line: serde_json::Value =
            serde_json::from_slice(&long.bytes[record.clone()]).expect("JSON");
        found.extend(line["event"].as_object().expect("a fact").keys().cloned());
    }
    assert_eq!(found, kinds());
    assert!(found.len() > 25, "{found:?}");
}
