//! Writes a journal of many records through the library: one step that fails and is tried again, over and over.
//!
//! ```text
//! cargo run --release --example long_journal -- STATE_DIR RECORDS
//! ```

use std::path::PathBuf;

use jiff::{SignedDuration, Timestamp};
use migrate::journal::{FORMAT, Journal};
use migrate::run::{Event, FailureClass, Header, Operator, Record, StepError, StepId};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut arguments = std::env::args().skip(1);
    let state_dir = PathBuf::from(arguments.next().ok_or("give a folder")?);
    let records: u64 = arguments.next().ok_or("give a number of records")?.parse()?;

    let plan = serde_json::json!({
        "format": 1, "wave": "long", "parallel": 1,
        "steps": [{
            "id": "again", "stage": "prepare", "uses": "notify",
            "with": { "to": ["team"], "message": "again" }, "after": [],
            "retry": { "attempts": 1, "backoff": 1.0 }, "class": "action",
            "repeat": "repeatable", "undo": "leaves_in_place", "source": ["long.yaml", 1]
        }]
    });
    let header = Header {
        format: FORMAT,
        tool: env!("CARGO_PKG_VERSION").to_owned(),
        run: "long".into(),
        operator: Operator { user: "example".to_owned(), host: "localhost".to_owned() },
        runbook: "long.yaml".to_owned(),
        fingerprint: "0".repeat(64),
        sandbox: false,
        assume_yes: false,
        plan: serde_json::from_value(plan)?,
    };
    let mut at: Timestamp = "2026-12-05T22:00:00Z".parse()?;
    let first = Record { seq: 0, at, event: Event::RunStarted(Box::new(header)) };
    let run_dir = state_dir.join("runs").join("long");
    let mut journal = Journal::create(&run_dir, &first)?;
    let step = StepId::from("again");
    for seq in 1..records {
        at += SignedDuration::from_millis(137);
        journal.append(
            at,
            if seq % 2 == 1 {
                Event::StepStarted { step: step.clone(), attempt: u32::try_from(seq / 2 + 1)? }
            } else {
                let failure = StepError::new(FailureClass::Failed, "MIG0501", "post", "refused");
                Event::StepFailed { step: step.clone(), failure }
            },
        );
        if seq % 1000 == 0 {
            journal.sync()?;
        }
    }
    journal.sync()?;
    Ok(())
}
