//! The journal reader: any bytes as a journal file, and any lines as facts under a seal that holds.
//!
//! Bytes alone hardly ever pass the hash chain, so the lines of an input are also sealed here, as the format page in
//! `src/journal/mod.rs` says, and read as a journal: a hand-made journal must be refused or folded, never crash.

use std::cell::OnceCell;
use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs;
use std::path::Path;

use jiff::Timestamp;
use migrate::journal::{FILE, read};
use migrate::plan::expression::Scope;
use migrate::report::{Overview, Style, page, status, summary};
use migrate::run::{
    Circumstances, Input, Outputs, RunState, StepId, decide, finish, hex, schedule,
};
use sha2::{Digest as _, Sha256};

thread_local! {
    static FOLDER: OnceCell<tempfile::TempDir> = const { OnceCell::new() };
}

/// Reads, folds, verifies, and asks what would be done next.
pub(crate) fn any(input: &[u8]) {
    FOLDER.with(|folder| {
        let dir = folder.get_or_init(|| tempfile::tempdir().expect("a folder")).path();
        look(dir, input);
        if let Ok(text) = std::str::from_utf8(input) {
            look(dir, sealed(text).as_bytes());
        }
    });
}

fn look(dir: &Path, journal: &[u8]) {
    fs::write(dir.join(FILE), journal).expect("a temporary folder takes a file");
    let Ok(reading) = read(dir, |_, _| {}) else { return };
    go_on(&reading.state);
    let overview = Overview::read(dir, None).expect("it was read before");
    for lines in [status(&overview), summary(&overview)] {
        page(&lines, Style::Plain);
    }
}

/// What `resume` would begin with.
fn go_on(state: &RunState) {
    let outputs = state.steps.iter().map(|own| own.outputs.clone());
    let outputs: BTreeMap<StepId, Outputs> =
        state.plan().steps.iter().map(|planned| planned.id.clone()).zip(outputs).collect();
    for planned in state.plan().steps.iter().take(4) {
        let scope = Scope::new(state.plan(), planned, &outputs);
        drop(scope.render(&planned.with));
        drop(planned.when.as_deref().map(|when| scope.holds(when)));
    }
    let at = state.last;
    decide(state, Input::Began, at);
    decide(state, Input::RollBack("asked for".to_owned()), at);
    schedule(state, Circumstances::default(), at);
    finish(state);
}

/// Each line as a fact of one journal.
fn sealed(text: &str) -> String {
    let mut journal = String::new();
    let mut prev = "0".repeat(64);
    for (seq, event) in (0_u32..).zip(text.lines()) {
        let at = Timestamp::UNIX_EPOCH + jiff::SignedDuration::from_secs(i64::from(seq));
        let chained = format!(r#"{{"seq":{seq},"at":"{at}","event":{event},"prev":"{prev}""#);
        prev = hex(&Sha256::new().chain_update(&prev).chain_update(&chained).finalize());
        let _ = writeln!(journal, r#"{chained},"hash":"{prev}"}}"#);
    }
    journal
}
