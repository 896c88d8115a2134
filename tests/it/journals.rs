//! Journals of every format version there was, as programs of their time wrote them: they stay readable, look the same,
//! and `journal verify` tells what was done to them. How a new version gets its journal: `src/journal/mod.rs`.

use std::fs;
use std::path::{Path, PathBuf};

use migrate::journal::{FILE, Head, read};
use migrate::plan::PlannedStep;
use migrate::run::{Ending, Event, Header, Intent};
use serde_json::{Value, json};

use crate::lab::{Ended, Lab};

const RUN: &str = "wave-2-20261121T104655Z-d21f";

/// A copy of the journal of that format, where a run's journal is.
struct Copied(Lab);

impl Copied {
    fn of(format: u32) -> Self {
        let copied = Self(Lab::new(""));
        fs::create_dir_all(copied.dir()).expect("a folder");
        for name in [FILE, "head.json"] {
            let from = original(format).join(name);
            fs::copy(from, copied.dir().join(name)).expect("copied");
        }
        copied
    }

    fn dir(&self) -> PathBuf {
        self.0.path().join("state/runs").join(RUN)
    }

    fn bytes(&self) -> Vec<u8> {
        fs::read(self.dir().join(FILE)).expect("bytes")
    }

    fn set(&self, bytes: &[u8]) {
        fs::write(self.dir().join(FILE), bytes).expect("written");
    }

    fn verify(&self, more: &[&str]) -> Ended {
        self.0.migrate(["journal", "verify", RUN].iter().chain(more))
    }
}

fn original(format: u32) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("tests/it/journals/format-{format}"))
}

fn head(format: u32) -> Head {
    let text = fs::read(original(format).join("head.json")).expect("a head");
    serde_json::from_slice(&text).expect("a head")
}

#[test]
fn every_format_there_was_stays_readable() {
    for format in 1..=migrate::journal::FORMAT {
        let reading = read(&original(format), |_, _| {}).expect("readable");
        assert_eq!(reading.head, head(format), "format {format}");
        assert_eq!(reading.state.header.format, format);
        assert_eq!(reading.state.ended, Some(Ending::Completed), "it folds as it did");
    }
}

#[test]
fn a_journal_of_format_1_looks_as_it_did() {
    let kept = Copied::of(1);
    let status = kept.0.migrate(["status", RUN]).expect(0);
    insta::assert_snapshot!("format_1_status", status.stdout());
    let show = kept.0.migrate(["journal", "show", RUN]).expect(0);
    insta::assert_snapshot!("format_1_show", show.stdout());
}

/// What `take` leaves of a value.
fn without<T: serde::de::DeserializeOwned>(whole: &Value, field: &str) -> T {
    let mut value = whole.clone();
    value.as_object_mut().expect("an object").remove(field).expect("it was written");
    serde_json::from_value(value).unwrap_or_else(|error| panic!("without {field}: {error}"))
}

#[test]
fn a_missing_safety_field_reads_as_the_worst() {
    let worst = json!({
        "hold_before": true, "point_of_no_return": true, "in_window": true, "expires": true,
        "class": "action", "repeat": "ask", "undo": "irreversible",
    });
    let mut seen = 0;
    read(&original(1), |record, _| match &record.event {
        Event::RunStarted(header) => {
            let whole = serde_json::to_value(header).expect("JSON");
            assert!(!without::<Header>(&whole, "sandbox").sandbox, "a real run");
            assert!(!without::<Header>(&whole, "assume_yes").assume_yes, "people are asked");
            for step in whole["plan"]["steps"].as_array().expect("steps") {
                for (field, value) in worst.as_object().expect("fields") {
                    let read = without::<PlannedStep>(step, field);
                    assert_eq!(&serde_json::to_value(read).expect("JSON")[field], value, "{field}");
                    seen += 1;
                }
            }
        }
        Event::Intent { intent, .. } => {
            let whole = serde_json::to_value(intent).expect("JSON");
            for field in ["repeat", "undo"] {
                let read = without::<Intent>(&whole, field);
                assert_eq!(serde_json::to_value(read).expect("JSON")[field], worst[field]);
                seen += 1;
            }
        }
        _ => {}
    })
    .expect("readable");
    assert!(seen > 100, "{seen}");
    let not_done = json!({ "not_done": { "step": "a", "key": "k", "why": "412" } });
    let read: Event = serde_json::from_value(not_done).expect("a fact");
    assert!(matches!(read, Event::NotDone { certain: false, .. }), "it may have happened");
}

#[test]
fn a_whole_journal_verifies_against_every_form_of_its_head() {
    let kept = Copied::of(1);
    let Head { records, hash } = head(1);
    let ended = kept.verify(&[]).expect(0);
    assert!(ended.stdout().contains(&format!("{records} records whole and chained, head {hash}")));
    assert!(ended.stderr().contains("head.json"), "{}", ended.said());
    let message = kept.0.path().join("message.json");
    fs::write(&message, json!({ "wave": "wave-2", "journal": head(1) }).to_string())
        .expect("written");
    for form in [format!("{records}:{hash}"), message.display().to_string()] {
        let ended = kept.verify(&["--head", &form]).expect(0);
        assert!(ended.stderr().contains(&form), "{}", ended.said());
    }
    let lines = kept.verify(&["--json"]).expect(0).stdout();
    let last: Value = serde_json::from_str(lines.lines().last().expect("a line")).expect("JSON");
    assert_eq!(last["head"], json!({ "records": records, "hash": hash }), "{lines}");
}

#[test]
fn records_cut_off_the_end_show_against_a_head_and_only_there() {
    let kept = Copied::of(1);
    let bytes = kept.bytes();
    let start =
        bytes[..bytes.len() - 1].iter().rposition(|byte| *byte == b'\n').expect("lines") + 1;
    kept.set(&bytes[..start]);
    let Head { records, hash } = head(1);
    let place = format!("missing at the end: 1, from record {}, byte {start} on", records - 1);
    for more in [&[][..], &["--head", &format!("{records}:{hash}")]] {
        let said = kept.verify(more).expect(13).stderr();
        assert!(said.contains(&place) && said.contains("MIG0701"), "{said}");
        assert!(said.contains(&format!("migrate journal verify {RUN} --head")), "{said}");
    }
    fs::remove_file(kept.dir().join("head.json")).expect("removed");
    kept.verify(&[]).expect(0);
}

#[test]
fn a_head_of_another_run_and_no_head_at_all_are_told_apart() {
    let kept = Copied::of(1);
    let other = "ab".repeat(32);
    let said = kept.verify(&["--head", &format!("40:{other}")]).expect(13).stderr();
    let byte: usize =
        kept.bytes().split_inclusive(|byte| *byte == b'\n').take(39).map(<[u8]>::len).sum();
    assert!(said.contains(&format!("record 39, byte {byte}, is not the one")), "{said}");
    assert!(said.contains(&format!("a head of run {RUN}?")), "{said}");
    let future = kept.verify(&["--head", &format!("90:{other}")]).expect(13).stderr();
    assert!(future.contains("missing at the end: 9, from record 81"), "{future}");
    let said = kept.verify(&["--head", "/no/such/file"]).expect(2).stderr();
    assert!(said.contains("can not read the head in /no/such/file"), "{said}");
    let text = kept.0.path().join("text");
    fs::write(&text, "81").expect("written");
    kept.verify(&["--head", &text.display().to_string()]).expect(2);
}

#[test]
fn damage_is_named_by_record_and_byte_with_the_next_command() {
    let kept = Copied::of(1);
    let mut bytes = kept.bytes();
    let start: usize = bytes.split_inclusive(|byte| *byte == b'\n').take(20).map(<[u8]>::len).sum();
    bytes[start + 40] ^= 4;
    kept.set(&bytes);
    let said = kept.verify(&[]).expect(13).stderr();
    assert!(said.contains(&format!("damaged at record 20, byte {start}")), "{said}");
    assert!(said.contains(&format!("migrate journal verify {RUN}")), "{said}");
}
