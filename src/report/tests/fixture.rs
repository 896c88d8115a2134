//! A small wave and a way to tell its story fact by fact, through the real fold.

use std::io::{self, Write};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use jiff::Timestamp;
use serde_json::{Value, json};

use crate::diagnostic::redact::Redactor;
use crate::plan::Plan;
use crate::report::{Detail, Line, Output, Plain, Style, TakenBack, page};
use crate::run::{
    Event, Evidence, Header, Intent, Operator, PersonRequest, Question, Record, Repeat, Request,
    RunState, Sink, Stage, StepId, Undo,
};

/// Every record so far, the state after each, and the time.
pub(super) struct Story {
    pub(super) records: Vec<Record>,
    states: Vec<RunState>,
    pub(super) state: RunState,
    pub(super) taken_back: TakenBack,
    pub(super) now: Timestamp,
}

impl Story {
    pub(super) fn begin() -> Self {
        let now: Timestamp = "2026-12-05T21:02:11Z".parse().expect("a time");
        let header = Header {
            format: 1,
            tool: "0.1.0".into(),
            run: "wave-3-20261205T210211Z-1f3a".into(),
            operator: ann(),
            runbook: "/runbooks/wave-3.yaml".into(),
            fingerprint: "1a2b3c4d5e6f7a8b".into(),
            sandbox: false,
            assume_yes: false,
            plan: plan(),
        };
        let first = Record { seq: 0, at: now, event: Event::RunStarted(Box::new(header)) };
        let state = RunState::begin(&first).expect("a header");
        let states = vec![state.clone()];
        Self { records: vec![first], states, state, taken_back: TakenBack::default(), now }
    }

    pub(super) fn operator(&self) -> Operator {
        self.state.header.operator.clone()
    }

    pub(super) fn after(&mut self, seconds: u64) -> &mut Self {
        self.now += Duration::from_secs(seconds);
        self
    }

    pub(super) fn fact(&mut self, event: Event) {
        let record = Record { seq: self.records.len() as u64, at: self.now, event };
        self.state.apply(&record).expect("a legal story");
        self.taken_back.see(&record);
        self.records.push(record);
        self.states.push(self.state.clone());
    }

    pub(super) fn stage(&mut self, stage: Stage) {
        self.fact(Event::StageStarted { stage });
    }

    pub(super) fn start(&mut self, step: &str, attempt: u32) {
        self.fact(Event::StepStarted { step: step.into(), attempt });
    }

    pub(super) fn succeed(&mut self, step: &str, evidence: Vec<Evidence>) {
        self.fact(Event::StepSucceeded { step: step.into(), outputs: [].into(), evidence });
    }

    pub(super) fn ok(&mut self, step: &str, seconds: u64, evidence: Vec<Evidence>) {
        self.start(step, 1);
        self.after(seconds).succeed(step, evidence);
    }

    pub(super) fn effect(&mut self, step: &str, intent: Intent) {
        let (step, key, observed) = (StepId::from(step), intent.key.clone(), intent.after.clone());
        self.fact(Event::Intent { step: step.clone(), intent, undoes: None });
        self.fact(Event::Done { step, key, observed, probed: false });
    }

    pub(super) fn ask(&mut self, step: &str, ask: &str, approvers: u32) {
        let from = vec!["ann".to_owned(), "bob".to_owned(), "eve".to_owned()];
        let question = Question { ask: ask.into(), approvers, from, expires: None };
        self.fact(Event::Asked { step: step.into(), question });
    }

    pub(super) fn person(&mut self, user: &str, comment: &str, request: Request) {
        let by = Operator { user: user.into(), host: "laptop".into() };
        let id = format!("request-{}", self.records.len());
        self.fact(Event::PersonActed(PersonRequest { id, by, comment: comment.into(), request }));
    }

    /// Shows every record to a sink, each with the state after it.
    pub(super) fn replay(&self, sink: &mut dyn Sink) {
        for (record, state) in self.records.iter().zip(&self.states) {
            sink.on_record(record, state);
        }
        sink.on_tick(self.now, &self.state);
    }

    pub(super) fn plain(&self, detail: Detail) -> String {
        let pipe = Pipe::default();
        self.replay(&mut Plain::new(
            pipe.output(),
            detail,
            "migrate --state-dir /srv/waves".to_owned(),
        ));
        pipe.text()
    }

    /// The last lines of the plain narration.
    pub(super) fn tail(&self, lines: usize) -> String {
        let all = self.plain(Detail::Normal);
        let all: Vec<_> = all.lines().collect();
        all[all.len().saturating_sub(lines)..].join("\n")
    }
}

fn ann() -> Operator {
    Operator { user: "ann".into(), host: "bastion".into() }
}

fn plan() -> Plan {
    let step = |id: &str, stage: &str, uses: &str, after: &[usize]| {
        let workload = id.contains('[').then_some("crm");
        json!({
            "id": id, "stage": stage, "workload": workload, "uses": uses, "with": {}, "after": after,
            "retry": { "attempts": 3, "backoff": 5.0 }, "class": "action", "repeat": "guarded",
            "undo": if id == "retire" { "irreversible" } else { "restores" },
            "point_of_no_return": id == "retire",
            "source": ["wave-3.yaml", 10 + after.len()],
        })
    };
    let plan = json!({
        "format": 1, "wave": "wave-3", "summary": "Move the CRM to West Europe", "change": "CHG0031337",
        "parallel": 16,
        "window": { "opens": "2026-12-05T21:00:00Z", "closes": "2026-12-06T03:00:00Z", "rollback_reserve": 2700.0 },
        "allowed": { "CAF008": "the pilot wave has no stabilization" },
        "steps": [
            step("announce", "prepare", "notify", &[]),
            step("sync[crm]", "deploy", "files.sync", &[0]),
            step("pause[crm]", "release", "writes.pause", &[0, 1]),
            step("switch[crm]", "release", "dns.cutover", &[0, 1, 2]),
            step("hook", "release", "exec", &[0, 1, 2]),
            step("go", "release", "approval", &[3]),
            step("retire", "release", "decommission", &[5]),
        ],
    });
    serde_json::from_value(plan).expect("a plan")
}

pub(super) fn intent(key: &str, target: &str, verb: &str, before: Value, after: Value) -> Intent {
    Intent::new(key, target, verb, (Repeat::Guarded, Undo::Restores), before, after)
}

pub(super) fn shown(lines: &[Line]) -> String {
    page(lines, Style::Plain)
}

/// A stream whose text can be read back.
#[derive(Debug, Clone, Default)]
pub(super) struct Pipe(Arc<Mutex<Vec<u8>>>);

impl Pipe {
    pub(super) fn output(&self) -> Output {
        Output::new(self.clone(), Style::Plain, Redactor::default())
    }

    pub(super) fn text(&self) -> String {
        let bytes = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        String::from_utf8_lossy(&bytes).into_owned()
    }
}

impl Write for Pipe {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).write(bytes)
    }
    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// A pipe whose reader has gone.
#[derive(Debug)]
pub(super) struct Closed;

impl Write for Closed {
    fn write(&mut self, _: &[u8]) -> io::Result<usize> {
        Err(io::ErrorKind::BrokenPipe.into())
    }
    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
