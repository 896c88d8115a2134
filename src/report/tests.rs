//! Hand-made journals and what people see of them.

mod fixture;

use std::time::Duration;

use serde_json::json;

use super::pauses::pauses_by;
use super::*;
use crate::journal::Head;
use crate::plan::Role;
use crate::run::{
    Ending, Event, Evidence, FailureClass, ProgressNote, Repeat, Request, Resolution, Sink as _,
    Stage, StepError, Stop, Undo, Verdict, Waiting,
};
use fixture::{Story, intent, shown};

fn roles(uses: &str, role: Role) -> bool {
    matches!(
        (uses, role),
        ("writes.pause", Role::PausesWrites)
            | ("writes.resume", Role::ResumesWrites)
            | ("dns.cutover", Role::SwitchesTraffic)
    )
}

/// As `migrate status` and the end of a run would compute it.
fn overview(story: &Story, live: bool) -> Overview {
    let head = Head { records: story.state.records, hash: "9f8e7d6c5b4a".repeat(5) };
    let now = live.then_some(story.now);
    let mut overview = Overview::of(&story.state, head, &story.taken_back, now);
    overview.writes_paused = pauses_by(&story.state, &story.taken_back, roles);
    overview
}

/// Everything up to the traffic switch, with one retry on the way.
fn until_the_switch() -> Story {
    let mut story = Story::begin();
    story.stage(Stage::Prepare);
    story.ok("announce", 1, vec![]);
    story.stage(Stage::Deploy);
    story.start("sync[crm]", 1);
    story.after(41).fact(Event::StepFailed {
        step: "sync[crm]".into(),
        failure: StepError::new(
            FailureClass::Failed,
            "MIG0301",
            "copy share/a.bin",
            "11 of 4000 files are on the target; none is half written",
        )
        .cause("connection reset by peer")
        .retryable(),
    });
    let until = story.now + Duration::from_secs(5);
    story
        .fact(Event::StepWaiting { step: "sync[crm]".into(), waiting: Waiting::Backoff { until } });
    story.after(5).start("sync[crm]", 2);
    story.effect(
        "sync[crm]",
        intent("tree", "target/share", "copy", json!(null), json!({"files": 4000})),
    );
    let equal = Evidence {
        check: "files".into(),
        verdict: "equal".into(),
        detail: "4000 files, 1.2 GB, SHA-256".into(),
        holds: true,
    };
    story.after(130).succeed("sync[crm]", vec![equal]);
    story.stage(Stage::Release);
    story.start("pause[crm]", 1);
    let (off, on) = (json!({"enabled": false}), json!({"enabled": true}));
    story.effect(
        "pause[crm]",
        intent("switch", "http://crm.contoso.example/maintenance", "put", off, on),
    );
    story.after(2).succeed("pause[crm]", vec![]);
    story
}

fn switched() -> Story {
    let mut story = until_the_switch();
    story.after(90).start("switch[crm]", 1);
    story.effect("switch[crm]", cname());
    story.after(12).succeed("switch[crm]", vec![]);
    story
}

fn cname() -> crate::run::Intent {
    intent(
        "record:CNAME/crm",
        "/subscriptions/0/resourceGroups/rg-dns/providers/Microsoft.Network/dnsZones/contoso.example/CNAME/crm",
        "replace",
        json!({"ttl": 60, "value": "crm-source.contoso.example"}),
        json!({"ttl": 60, "value": "crm-target.contoso.example"}),
    )
}

#[test]
fn a_whole_run_in_plain_lines() {
    let mut story = switched();
    story.start("go", 1);
    story.ask("go", "Retire the source?", 2);
    story.after(600).person("ann", "looks good", Request::Approve { step: "go".into() });
    story.after(60).person("bob", "", Request::Approve { step: "go".into() });
    story.succeed("go", vec![]);
    story.start("retire", 1);
    story.after(3).succeed("retire", vec![]);
    story.fact(Event::PointOfNoReturnCrossed { step: "retire".into() });
    story.fact(Event::RunEnded { ending: Ending::Completed });
    insta::assert_snapshot!("completed_plain", story.plain(Detail::Normal));
    insta::assert_snapshot!("completed_summary", shown(&summary(&overview(&story, false))));
}

#[test]
fn verbose_also_tells_what_is_about_to_happen_and_quiet_only_what_went_wrong() {
    let story = until_the_switch();
    insta::assert_snapshot!("verbose_plain", story.plain(Detail::Verbose));
    insta::assert_snapshot!("quiet_plain", story.plain(Detail::Quiet));
}

#[test]
fn drift_halts_with_both_values_and_the_way_back() {
    let mut story = until_the_switch();
    story.after(20).start("switch[crm]", 1);
    story.fact(Event::Intent { step: "switch[crm]".into(), intent: cname(), undoes: None });
    story.fact(Event::NotDone {
        step: "switch[crm]".into(),
        key: "record:CNAME/crm".into(),
        why: "412: changed by another hand".into(),
        certain: true,
    });
    story.after(1).fact(Event::StepFailed {
        step: "switch[crm]".into(),
        failure: StepError::new(
            FailureClass::Drift,
            "MIG0203",
            "replace CNAME crm in zone contoso.example",
            "it says other.contoso.example; the plan captured crm-source.contoso.example; nothing was overwritten",
        )
        .cause("PreconditionFailed: the ETag does not match")
        .hint("find out who changed it, then resume"),
    });
    story.fact(Event::StepHeld { step: "switch[crm]".into() });
    story.fact(Event::RunStopped { stop: Stop::Halted });
    insta::assert_snapshot!("drift_plain", story.tail(7));
    insta::assert_snapshot!("drift_summary", shown(&summary(&overview(&story, false))));
}

#[test]
fn a_step_stopped_from_outside_has_not_failed_and_asks_for_no_decision() {
    let mut story = until_the_switch();
    story.after(20).start("switch[crm]", 1);
    let failure = StepError::cancelled("asking the authoritative servers");
    story.fact(Event::StepFailed { step: "switch[crm]".into(), failure });
    story.fact(Event::RunStopped { stop: Stop::Interrupted });
    insta::assert_snapshot!("interrupted_plain", story.tail(2));
    let page = shown(&summary(&overview(&story, false)));
    insta::assert_snapshot!(
        "interrupted_summary",
        page.split_once("what it waits for").expect("a halt").1
    );
}

#[test]
fn an_effect_in_doubt_shows_the_evidence_and_both_answers() {
    let mut story = until_the_switch();
    story.start("hook", 1);
    let mut run =
        intent("run", "./notify-erp", "run", json!(null), json!(["./notify-erp", "--wave", "3"]));
    (run.repeat, run.undo) = (Repeat::Ask, Undo::Irreversible);
    story.fact(Event::Intent { step: "hook".into(), intent: run, undoes: None });
    story.fact(Event::RunResumed { operator: story.operator(), tool: "0.1.0".into() });
    let evidence = "the process was killed; no probe is declared for it".to_owned();
    let verdict = Verdict::Unknown { evidence: evidence.clone() };
    story.fact(Event::StayedUnknown { step: "hook".into(), key: "run".into(), verdict });
    story.fact(Event::StepInDoubt { step: "hook".into(), evidence });
    story.fact(Event::StepHeld { step: "hook".into() });
    story.fact(Event::RunStopped { stop: Stop::Halted });
    insta::assert_snapshot!("in_doubt_plain", story.tail(9));
    insta::assert_snapshot!("in_doubt_summary", shown(&summary(&overview(&story, false))));

    let resolved = Request::Resolve { step: "hook".into(), as_: Resolution::Done };
    story.person("ann", "the ERP shows it", resolved);
    insta::assert_snapshot!("resolved_plain", story.tail(1));
}

#[test]
fn a_live_run_that_waits_for_people() {
    let mut story = switched();
    story.start("go", 1);
    story.ask("go", "Retire the source?", 2);
    story.after(600).person("ann", "looks good", Request::Approve { step: "go".into() });
    story.after(60);
    insta::assert_snapshot!("live_status", shown(&status(&overview(&story, true))));
}

#[test]
fn a_run_that_was_cut_off_says_so() {
    let mut story = until_the_switch();
    story.start("switch[crm]", 1);
    story.fact(Event::Intent { step: "switch[crm]".into(), intent: cname(), undoes: None });
    let cut = overview(&story, false);
    insta::assert_snapshot!("cut_off_status", shown(&status(&cut)));
    insta::assert_snapshot!("list_of_runs", shown(&runs(&[overview(&switched(), true), cut])));
}

#[test]
fn after_a_rehearsal_the_next_run_is_a_rehearsal_too() {
    let mut story = switched();
    story.fact(Event::RollbackStarted { why: "asked by ann".into() });
    story.fact(Event::RunEnded { ending: Ending::RolledBack });
    let next = |story: &Story| overview(story, false).next[0].command.clone();
    assert!(!next(&story).contains("--sandbox"), "{}", next(&story));
    story.state.header.sandbox = true;
    assert!(next(&story).ends_with(" --sandbox"), "{}", next(&story));
}

#[test]
fn a_rollback_that_could_not_finish_lists_the_manual_work() {
    let mut story = switched();
    story.fact(Event::RollbackStarted { why: "asked by ann".into() });
    story.fact(Event::UndoStarted { step: "switch[crm]".into() });
    story.after(4).fact(Event::UndoFailed {
        step: "switch[crm]".into(),
        failure: StepError::new(
            FailureClass::Refused,
            "MIG0104",
            "put back CNAME crm in zone contoso.example",
            "it still says crm-target.contoso.example",
        )
        .cause("ScopeLocked: rg-dns is locked read-only"),
    });
    story.fact(Event::UndoStarted { step: "pause[crm]".into() });
    story.after(2).fact(Event::StepUndone { step: "pause[crm]".into() });
    story.fact(Event::RunEnded { ending: Ending::RollbackIncomplete });
    insta::assert_snapshot!("rollback_plain", story.tail(9));
    insta::assert_snapshot!("rollback_summary", shown(&summary(&overview(&story, false))));
}

#[test]
fn a_pause_lasts_until_the_traffic_is_on_the_target_or_it_was_taken_back() {
    let open = pauses_by(&until_the_switch().state, &TakenBack::default(), roles);
    assert_eq!((open.len(), open[0].until), (1, None));

    let story = switched();
    let closed = pauses_by(&story.state, &story.taken_back, roles);
    assert_eq!(closed[0].ended_by, Some("switch[crm]".into()));
    assert_eq!(closed[0].lasted(story.now), Duration::from_secs(2 + 90 + 12));

    let mut story = until_the_switch();
    story.fact(Event::UndoStarted { step: "pause[crm]".into() });
    story.after(10).fact(Event::StepUndone { step: "pause[crm]".into() });
    let back = pauses_by(&story.state, &story.taken_back, roles);
    assert_eq!(back[0].lasted(story.now), Duration::from_secs(12));
    assert_eq!(back[0].ended_by, Some("pause[crm]".into()));
}

#[test]
fn a_pause_that_is_named_lasts_until_the_step_that_names_it_has_ended() {
    let mut story = switched();
    let names = |state: &mut crate::run::RunState| {
        let hook = &mut state.header.plan.steps[4];
        (hook.uses, hook.with) = ("writes.resume".into(), json!({"pause": "pause[crm]"}));
    };
    names(&mut story.state);
    assert_eq!(pauses_by(&story.state, &story.taken_back, roles)[0].until, None);
    story.after(30).ok("hook", 5, vec![]);
    let closed = pauses_by(&story.state, &story.taken_back, roles);
    assert_eq!(closed[0].ended_by, Some("hook".into()));
    // A target that is closed before anybody uses it.
    story.state.header.plan.steps[4].with = json!({});
    story.state.header.plan.steps[2].stage = Stage::Deploy;
    assert_eq!(pauses_by(&story.state, &story.taken_back, roles), []);
}

#[test]
fn json_lines_begin_with_the_version_and_hold_one_object_each() {
    let story = switched();
    let pipe = fixture::Pipe::default();
    let mut sink = JsonLines::new(pipe.output(), "events");
    story.replay(&mut sink);
    sink.on_progress(&note(), &story.state);
    drop(sink);
    let text = pipe.text();
    let lines: Vec<serde_json::Value> =
        text.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect();
    assert_eq!(lines[0], json!({"migrate": "0.1.0", "json": 1, "of": "events"}));
    assert_eq!(lines.len(), 2 + story.records.len());
    assert_eq!(lines[2]["event"]["stage_started"]["stage"], "prepare");
    assert_eq!(lines[lines.len() - 1]["progress"]["amount"]["unit"], "files");
}

fn note() -> ProgressNote {
    ProgressNote {
        step: "sync[crm]".into(),
        text: "copying share/b.bin".into(),
        amount: Some((120, 4000, "files")),
    }
}

#[test]
fn a_heartbeat_says_why_it_waits_and_what_presses() {
    let mut story = Story::begin();
    story.stage(Stage::Deploy);
    story.start("announce", 1);
    story.start("sync[crm]", 1);
    let pipe = fixture::Pipe::default();
    let mut sink = Plain::new(pipe.output(), Detail::Normal, "migrate".to_owned());
    sink.on_progress(&note(), &story.state);
    sink.heartbeat(story.after(30).now, &story.state);
    drop(sink);
    insta::assert_snapshot!("heartbeat", pipe.text());
}

#[test]
fn a_sink_without_a_reader_stays_silent() {
    let story = switched();
    let closed =
        Output::new(fixture::Closed, Style::Plain, crate::diagnostic::redact::Redactor::default());
    story.replay(&mut Plain::new(closed, Detail::Verbose, "migrate".to_owned()));
    let closed =
        Output::new(fixture::Closed, Style::Plain, crate::diagnostic::redact::Redactor::default());
    story.replay(&mut JsonLines::new(closed, "events"));
    story.replay(&mut Terminal::new(
        Style::Plain,
        Detail::Verbose,
        crate::diagnostic::redact::Redactor::default(),
        std::path::Path::new("/runbooks"),
        "migrate".to_owned(),
        Some("ann".to_owned()),
    ));
}

#[test]
fn a_dry_run_shows_before_and_after_and_nothing_that_changes_by_itself() {
    let story = Story::begin();
    let change = |before: Option<&str>, after: &str| crate::steps::Change {
        target: "/tmp/world-7f3a/target/share".into(),
        verb: "copy".into(),
        before: before.map(str::to_owned),
        after: Some(after.to_owned()),
    };
    let reading = |holds| Evidence {
        check: "GET http://127.0.0.3:41873/health".into(),
        verdict: if holds { "200".into() } else { "503".into() },
        detail: "healthy".into(),
        holds,
    };
    let preview =
        |changes, readings| Foreseen::Preview(crate::steps::Preview { changes, readings });
    let foreseen = vec![
        preview(vec![], vec![]),
        preview(vec![change(None, "4000 files"), change(Some("a.bin 1"), "a.bin 2")], vec![]),
        preview(vec![], vec![reading(true), reading(false)]),
        Foreseen::Error(
            StepError::new(FailureClass::Refused, "MIG0104", "read CNAME crm", "nothing is known")
                .cause("AuthorizationFailed")
                .hint("migrate needs Reader on rg-dns"),
        ),
        preview(vec![], vec![]),
        preview(vec![], vec![]),
        preview(vec![], vec![]),
    ];
    let scrub = Scrub::default().replacing("/tmp/world-7f3a/", "").replacing(":41873", "");
    let plan = &story.state.header.plan;
    let page = shown(&dry_run(plan, "1a2b3c4d5e6f7a8b", &foreseen, &scrub));
    insta::assert_snapshot!("dry_run", page);
}
