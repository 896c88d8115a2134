//! The engine over real steps, real files and a real journal, in skipping time.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use jiff::Timestamp;
use serde_json::{Value, json};
use tempfile::TempDir;

use super::*;
use crate::azure::Azure;
use crate::clock::Clock;
use crate::diagnostic::redact::Secrets;
use crate::dns::Network;
use crate::journal;
use crate::plan::{OnFailure, PlannedStep, Retry, Window};
use crate::run::{Event, Operator, Request, Resolution, Stage};
use crate::steps;

const START: &str = "2026-12-05T20:00:00Z";

fn time(text: &str) -> Timestamp {
    text.parse().expect("a time")
}

fn step(id: &str, uses: &str, with: Value, after: &[usize]) -> PlannedStep {
    let kind = steps::kind(uses).expect("a kind");
    PlannedStep {
        id: id.into(),
        stage: Stage::Prepare,
        workload: None,
        uses: uses.to_owned(),
        with,
        after: after.to_vec(),
        when: None,
        timeout: None,
        retry: Retry { attempts: 1, backoff: Duration::from_secs(5) },
        on_failure: OnFailure::Hold,
        hold_before: false,
        point_of_no_return: false,
        vars: std::collections::BTreeMap::new(),
        in_window: false,
        expires: false,
        class: kind.spec.class,
        repeat: kind.spec.repeat,
        undo: kind.spec.undo,
        source: ("wave.yaml".to_owned(), 1),
    }
}

fn tell(id: &str, after: &[usize]) -> PlannedStep {
    step(id, "notify", json!({ "to": ["team"], "message": id }), after)
}

fn ask(id: &str, after: &[usize]) -> PlannedStep {
    step(id, "approval", json!({ "ask": "Go?" }), after)
}

fn plan(steps: Vec<PlannedStep>) -> Plan {
    Plan {
        format: 1,
        wave: "wave-1".into(),
        summary: String::new(),
        change: None,
        window: None,
        parallel: 8,
        azure: None,
        secrets: BTreeMap::new(),
        systems: BTreeMap::new(),
        workloads: BTreeMap::new(),
        vars: BTreeMap::new(),
        steps,
        allowed: BTreeMap::new(),
    }
}

struct Lab {
    dir: TempDir,
    plan: Plan,
    clock: Clock,
}

impl Lab {
    fn new(steps: Vec<PlannedStep>) -> Self {
        let dir = tempfile::tempdir().expect("a folder");
        Self { dir, plan: plan(steps), clock: Clock::skipping_from(time(START)) }
    }

    fn run_dir(&self) -> PathBuf {
        run_dir(self.dir.path(), &"run-1".into())
    }

    fn operator() -> Operator {
        Operator { user: "ada".to_owned(), host: "jump-1".to_owned() }
    }

    fn settings(&self) -> Settings {
        let world = World {
            run: "run-1".into(),
            plan: self.plan.clone(),
            clock: self.clock.clone(),
            network: Network::default(),
            azure: Azure::disconnected(),
            secrets: Arc::new(Secrets::default()),
            base: self.dir.path().to_owned(),
            runbook_dir: self.dir.path().to_owned(),
            progress_dir: self.run_dir().join("progress"),
            sandbox: None,
        };
        Settings {
            world: Arc::new(world),
            state_dir: self.dir.path().to_owned(),
            operator: Self::operator(),
            sinks: Vec::new(),
            prompt: None,
            wait_for_people: false,
            fail_at: None,
        }
    }

    fn header(&self) -> Header {
        Header {
            format: journal::FORMAT,
            tool: "0.0.0".to_owned(),
            run: "run-1".into(),
            operator: Self::operator(),
            runbook: "wave.yaml".to_owned(),
            fingerprint: "f".to_owned(),
            sandbox: true,
            assume_yes: false,
            plan: self.plan.clone(),
        }
    }

    fn claim(&self) -> Claim {
        self.claim_as("run-1").expect("it is free")
    }

    fn claim_as(&self, run: &str) -> Result<Claim, LockError> {
        let (dir, wave) = (self.dir.path(), &self.plan.wave);
        Claim::take(dir, wave, &run.into(), &Self::operator(), self.clock.now())
    }

    async fn start(&self) -> Ended {
        start(&self.claim(), self.settings(), self.header()).await.expect("the engine runs")
    }

    async fn resume(&self) -> Ended {
        resume(&self.claim(), self.settings(), &Goal::Forward, None).await.expect("it resumes")
    }

    fn says(&self, id: &str, by: &str, request: Request) {
        let by = Operator { user: by.to_owned(), host: "desk".to_owned() };
        let comment = "seen".to_owned();
        let request = PersonRequest { id: id.to_owned(), by, comment, request };
        inbox::submit(&self.run_dir(), &request).expect("the inbox takes it");
    }
}

fn events(run_dir: &Path) -> Vec<Event> {
    let mut events = Vec::new();
    journal::read(run_dir, |record, _| events.push(record.event.clone())).expect("a journal");
    events
}

fn count(events: &[Event], wanted: impl Fn(&Event) -> bool) -> usize {
    events.iter().filter(|event| wanted(event)).count()
}

#[tokio::test]
async fn steps_run_in_order_and_the_journal_tells_it() {
    let lab = Lab::new(vec![tell("a", &[]), tell("b", &[0]), tell("c", &[1])]);
    let ended = lab.start().await;
    assert_eq!(ended.finish, Finish::Completed);
    let reading = journal::read(&lab.run_dir(), |_, _| {}).expect("a journal");
    assert_eq!(reading.state, ended.state, "what was folded live is what the journal says");
    assert_eq!(reading.head, ended.head);
}

#[tokio::test]
async fn killed_after_any_record_it_resumes_to_the_same_end_without_repeating_an_effect() {
    let lab = Lab::new(vec![tell("a", &[]), tell("b", &[0]), tell("c", &[0]), tell("d", &[1, 2])]);
    lab.start().await;
    let whole = std::fs::read(lab.run_dir().join(journal::FILE)).expect("a journal");
    let ends: Vec<_> =
        whole.iter().enumerate().filter(|(_, b)| **b == b'\n').map(|(at, _)| at + 1).collect();
    assert!(ends.len() > 15, "{} records", ends.len());
    for &end in &ends {
        // A torn half record after the cut, as a power loss leaves it.
        for tail in [0, 10] {
            let cut = &whole[..(end + tail).min(whole.len())];
            std::fs::write(lab.run_dir().join(journal::FILE), cut).expect("a cut journal");
            let ended = lab.resume().await;
            assert_eq!(ended.finish, Finish::Completed, "cut at {end}+{tail}");
            let events = events(&lab.run_dir());
            for id in ["a", "b", "c", "d"] {
                let done = |event: &Event| matches!(event, Event::Done { step, .. } if step.as_str() == id);
                assert_eq!(count(&events, done), 1, "{id} after a cut at {end}+{tail}");
            }
        }
    }
}

#[tokio::test]
async fn without_a_terminal_it_waits_for_people_and_goes_on_when_they_have_answered() {
    let lab = Lab::new(vec![ask("go", &[]), tell("after", &[0])]);
    assert_eq!(lab.start().await.finish, Finish::WaitsForPerson);
    lab.says("1", "grace", Request::Approve { step: "go".into() });
    let ended = lab.resume().await;
    assert_eq!(ended.finish, Finish::Completed);
    assert_eq!(ended.state.steps[0].outputs["approved_by"], json!(["grace"]));
}

#[tokio::test]
async fn a_no_is_a_no() {
    let lab = Lab::new(vec![ask("go", &[]), tell("after", &[0])]);
    lab.start().await;
    lab.says("1", "grace", Request::Refuse { step: "go".into() });
    let ended = lab.resume().await;
    assert_eq!(ended.finish, Finish::Refused);
    assert_eq!(ended.state.steps[1].attempts, 0);
}

#[tokio::test]
async fn a_hold_is_released_by_a_person() {
    let mut held = tell("b", &[0]);
    held.hold_before = true;
    let lab = Lab::new(vec![tell("a", &[]), held]);
    let ended = lab.start().await;
    assert_eq!((ended.finish, ended.state.steps[1].attempts), (Finish::WaitsForPerson, 0));
    lab.says("1", "grace", Request::Approve { step: "b".into() });
    assert_eq!(lab.resume().await.finish, Finish::Completed);
}

fn windowed(opens: &str, closes: &str) -> Lab {
    let mut action = tell("move", &[]);
    action.in_window = true;
    let mut lab = Lab::new(vec![action]);
    let rollback_reserve = Duration::from_mins(45);
    lab.plan.window = Some(Window { opens: time(opens), closes: time(closes), rollback_reserve });
    lab
}

#[tokio::test]
async fn it_waits_for_the_window_to_open() {
    let lab = windowed("2026-12-05T22:00:00Z", "2026-12-06T04:00:00Z");
    let ended = lab.start().await;
    assert_eq!(ended.finish, Finish::Completed);
    let began = ended.state.steps[0].first_started.expect("it began");
    assert!(began >= time("2026-12-05T22:00:00Z"), "{began}");
}

#[tokio::test]
async fn what_is_left_of_the_window_is_kept_for_going_back() {
    let lab = windowed("2026-12-05T18:00:00Z", "2026-12-05T20:30:00Z");
    let ended = lab.start().await;
    assert_eq!(ended.finish, Finish::Refused);
    let failure = ended.state.steps[0].failure.as_ref().expect("a failure");
    assert_eq!(failure.code, "MIG0703");
    assert_eq!(count(&events(&lab.run_dir()), |e| matches!(e, Event::Intent { .. })), 0);
}

#[test]
fn a_second_run_of_the_wave_is_refused_and_told_by_whom() {
    let lab = Lab::new(vec![tell("a", &[])]);
    let _held = lab.claim_as("run-0").expect("nobody else");
    let refused = lab.claim_as("run-1").expect_err("it is held");
    let text = refused.to_string();
    assert!(text.contains("run-0") && text.contains("ada@jump-1"), "{text}");
}

#[tokio::test]
async fn a_paused_run_starts_nothing_more_until_it_is_resumed() {
    let lab = Lab::new(vec![ask("go", &[]), tell("after", &[0])]);
    lab.start().await;
    lab.says("1", "grace", Request::Approve { step: "go".into() });
    lab.says("2", "grace", Request::Pause);
    let ended = lab.resume().await;
    assert_eq!(ended.state.stopped, Some(crate::run::Stop::Paused));
    assert_eq!(ended.state.steps[1].attempts, 0);
    assert_eq!(lab.resume().await.finish, Finish::Completed);
}

fn check_that_fails(id: &str, after: &[usize]) -> PlannedStep {
    let with = json!({ "source": { "folder": "nowhere" }, "target": { "folder": "nowhere-else" } });
    step(id, "verify.files", with, after)
}

#[tokio::test]
async fn a_failed_step_holds_its_followers_and_a_person_may_leave_it_out() {
    let lab = Lab::new(vec![check_that_fails("verify", &[]), tell("after", &[0])]);
    let ended = lab.start().await;
    assert_ne!(ended.finish, Finish::Completed);
    assert_eq!(ended.state.steps[1].attempts, 0);
    lab.says("1", "grace", Request::Resolve { step: "verify".into(), as_: Resolution::Skip });
    assert_eq!(lab.resume().await.finish, Finish::Completed);
}

#[tokio::test]
async fn a_failure_that_is_to_be_passed_over_is() {
    let mut failing = check_that_fails("verify", &[]);
    failing.on_failure = OnFailure::Continue;
    let lab = Lab::new(vec![failing, tell("after", &[0])]);
    assert_eq!(lab.start().await.finish, Finish::Completed);
}

#[tokio::test]
async fn two_hundred_lanes_wait_side_by_side() {
    let mut steps = Vec::new();
    for lane in 0..200 {
        let mut waits = tell(&format!("w{lane}"), &[]);
        waits.in_window = true;
        steps.push(waits);
    }
    let mut lab = Lab::new(steps);
    lab.plan.parallel = 50;
    lab.plan.window = Some(Window {
        opens: time("2026-12-05T22:00:00Z"),
        closes: time("2026-12-06T04:00:00Z"),
        rollback_reserve: Duration::ZERO,
    });
    let ended = lab.start().await;
    assert_eq!(ended.finish, Finish::Completed);
}

#[tokio::test]
async fn a_rollback_takes_nothing_back_twice_and_is_final() {
    let lab = Lab::new(vec![tell("a", &[]), check_that_fails("verify", &[0])]);
    lab.start().await;
    let back = Goal::RollBack("asked for".to_owned());
    let ended = resume(&lab.claim(), lab.settings(), &back, None).await.expect("it goes back");
    assert_eq!(ended.finish, Finish::RolledBack);
    let again = resume(&lab.claim(), lab.settings(), &back, None).await.expect("nothing to do");
    assert_eq!(again.finish, Finish::RolledBack);
}

#[tokio::test]
async fn a_gate_is_evaluated_again_by_whoever_takes_the_run_up() {
    let wait = json!({ "command": ["echo", "0"], "max_lag": "0s", "hold_for": "1s" });
    let mut lag = step("lag", "replication.wait", wait, &[]);
    lag.expires = true;
    let lab = Lab::new(vec![lag, ask("go", &[0]), tell("move", &[1]), tell("later", &[2])]);
    assert_eq!(lab.start().await.finish, Finish::WaitsForPerson);
    lab.says("1", "grace", Request::Approve { step: "go".into() });
    let ended = lab.resume().await;
    assert_eq!(ended.finish, Finish::Completed);
    assert_eq!(ended.state.steps[0].attempts, 2, "the lag of an earlier process opens nothing");
    let moved = ended.state.steps[2].first_started.expect("it began");
    assert!(ended.state.steps[0].last_started.expect("it was read") < moved);
    assert_eq!(ended.state.steps[1].outputs["approved_by"], json!(["grace"]), "approvals stand");
}

#[tokio::test]
async fn a_question_expires_although_something_else_was_due_earlier() {
    let mut retried = check_that_fails("retried", &[]);
    retried.retry.attempts = 3;
    let expiring = step("go", "approval", json!({ "ask": "Go?", "expires": "2s" }), &[]);
    let mut opens_soon = tell("soon", &[]);
    opens_soon.in_window = true;
    let mut lab = Lab::new(vec![expiring, opens_soon, retried]);
    lab.plan.window = Some(Window {
        opens: time("2026-12-05T20:00:01Z"),
        closes: time("2026-12-06T04:00:00Z"),
        rollback_reserve: Duration::ZERO,
    });
    let settings = Settings { wait_for_people: true, ..lab.settings() };
    let ended = start(&lab.claim(), settings, lab.header()).await.expect("the engine runs");
    assert_eq!(
        ended.state.steps[0].failure.as_ref().map(|it| it.class),
        Some(crate::run::FailureClass::Refused)
    );
}
