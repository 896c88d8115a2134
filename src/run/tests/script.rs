//! What happens to a run: its plan, how every attempt goes, when the process dies, what people do.

use std::time::Duration;

use proptest::collection::vec;
use proptest::prelude::*;
use serde_json::json;

use super::super::*;
use crate::plan::{Class, OnFailure, Plan, PlannedStep, Retry, Window};

/// What an attempt does once its effect was permitted.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Fate {
    /// Changes the world, reports, goes on.
    Succeed,
    /// Changes the world; the reply is lost.
    LoseReply,
    /// The request is lost on its way.
    LoseRequest,
    /// The target refuses before anything changes; worth another try.
    Refuse,
    /// Fails without a change, for good.
    Fail,
    /// Changes the world, reports, then fails.
    FailAfterwards,
    /// Changes the world, then its time is up before it has said so.
    TimeOut,
    /// Changes the world, and ends well without a word about it.
    SayNothing,
    /// Changes the world, reports, then panics.
    Panic,
}

/// What a person decides about a step that waits for one.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Choice {
    Approve,
    Refuse,
    /// Looks at the target and says what is there.
    Look,
    Retry,
    Skip,
    Pause,
    Abort,
    /// Sends a signal.
    Interrupt,
    Nothing,
}

#[derive(Debug, Clone)]
#[expect(clippy::struct_excessive_bools, reason = "keys of a step, each of its own")]
pub(super) struct StepScript {
    /// Predecessors among the steps before it, as bits.
    pub(super) edges: u8,
    /// Only reads; a reading may expire.
    pub(super) check: bool,
    pub(super) expires: bool,
    pub(super) repeat: Repeat,
    pub(super) undo: Undo,
    pub(super) on_failure: OnFailure,
    pub(super) hold_before: bool,
    pub(super) no_return: bool,
    pub(super) in_window: bool,
    /// Its `when`.
    pub(super) wanted: bool,
    /// How many people it asks; none when zero.
    pub(super) approvers: u32,
    pub(super) effects: usize,
    /// One for each permit or reading; then it succeeds.
    pub(super) fates: Vec<Fate>,
    /// The same for its undo.
    pub(super) undo_fates: Vec<Fate>,
    /// Probes that can not tell, before those that can.
    pub(super) clueless: usize,
}

#[derive(Debug, Clone)]
pub(super) struct Script {
    pub(super) steps: Vec<StepScript>,
    /// Turns in which the process dies, each with how many of its facts are durable by then.
    pub(super) crashes: Vec<(usize, usize)>,
    /// The same while the run is taken back.
    pub(super) crashes_back: Vec<(usize, usize)>,
    /// Choices at turns, about the step of that number.
    pub(super) people: Vec<(usize, usize, Choice)>,
    /// Choices whenever the run has stopped, in turn.
    pub(super) between: Vec<Choice>,
    /// After its first death the run is not taken up to go on, but to be taken back.
    pub(super) abandoned: bool,
    /// The engine stays when only people can go on.
    pub(super) stays: bool,
    /// `--yes` in a sandbox.
    pub(super) assume_yes: bool,
    /// Seconds until the window opens, and that it is open.
    pub(super) window: Option<(i64, i64)>,
    pub(super) parallel: u32,
}

fn fate() -> impl Strategy<Value = Fate> {
    prop_oneof![
        6 => Just(Fate::Succeed),
        2 => Just(Fate::LoseReply),
        1 => Just(Fate::LoseRequest),
        1 => Just(Fate::Refuse),
        1 => Just(Fate::Fail),
        1 => Just(Fate::FailAfterwards),
        1 => Just(Fate::TimeOut),
        1 => Just(Fate::SayNothing),
        1 => Just(Fate::Panic),
    ]
}

fn choice() -> impl Strategy<Value = Choice> {
    prop_oneof![
        4 => Just(Choice::Approve),
        4 => Just(Choice::Look),
        2 => Just(Choice::Retry),
        1 => Just(Choice::Refuse),
        1 => Just(Choice::Skip),
        1 => Just(Choice::Pause),
        1 => Just(Choice::Abort),
        1 => Just(Choice::Interrupt),
        2 => Just(Choice::Nothing),
    ]
}

fn rarely() -> impl Strategy<Value = bool> {
    prop_oneof![7 => Just(false), 1 => Just(true)]
}

fn step() -> impl Strategy<Value = StepScript> {
    let repeat = prop_oneof![
        3 => Just(Repeat::Guarded),
        1 => Just(Repeat::Repeatable),
        1 => Just(Repeat::Ask),
    ];
    let undo = prop_oneof![
        5 => Just(Undo::Restores),
        1 => Just(Undo::LeavesInPlace),
        1 => Just(Undo::Irreversible),
    ];
    let on_failure = prop_oneof![
        4 => Just(OnFailure::Hold),
        1 => Just(OnFailure::Rollback),
        1 => Just(OnFailure::Continue),
    ];
    let flags = (any::<bool>(), any::<bool>(), rarely(), rarely(), any::<bool>(), rarely());
    let asked = prop_oneof![6 => Just(0_u32), 1 => 1_u32..3];
    let clueless = prop_oneof![3 => Just(0_usize), 1 => 1_usize..4];
    let fates = (vec(fate(), 0..5), vec(fate(), 0..3), clueless);
    (any::<u8>(), flags, repeat, undo, on_failure, asked, 1_usize..3, fates).prop_map(
        |(edges, flags, repeat, undo, on_failure, approvers, effects, fates)| {
            let (check, expires, hold_before, no_return, in_window, unwanted) = flags;
            StepScript {
                edges,
                check,
                expires,
                repeat,
                undo,
                on_failure,
                hold_before,
                no_return,
                in_window,
                wanted: !unwanted,
                approvers,
                effects,
                fates: fates.0,
                undo_fates: fates.1,
                clueless: fates.2,
            }
        },
    )
}

/// Any script.
pub(super) fn script() -> impl Strategy<Value = Script> {
    let window = prop_oneof![3 => Just(None), 1 => (0_i64..200, 30_i64..400).prop_map(Some)];
    let crashes = || vec((0_usize..50, 0_usize..4), 0..8);
    let people = vec((0_usize..60, 0_usize..7, choice()), 0..6);
    let between = vec(choice(), 0..8);
    let steps = vec(step(), 1..7);
    let flags = (any::<bool>(), rarely(), rarely());
    (steps, crashes(), crashes(), people, between, flags, window, 1_u32..4).prop_map(
        |(steps, crashes, crashes_back, people, between, flags, window, parallel)| {
            let (stays, assume_yes, abandoned) = flags;
            Script {
                steps,
                crashes,
                crashes_back,
                people,
                between,
                abandoned,
                stays,
                assume_yes,
                window,
                parallel,
            }
        },
    )
}

impl Script {
    pub(super) fn header(&self) -> Header {
        let steps = self.steps.iter().enumerate();
        let epoch = jiff::Timestamp::UNIX_EPOCH;
        let after = |seconds| epoch + jiff::SignedDuration::from_secs(seconds);
        let plan: Plan = serde_json::from_value(json!({
            "format": 1, "wave": "w", "parallel": self.parallel, "steps": [],
        }))
        .expect("a plan");
        Header {
            format: 1,
            tool: "0".to_owned(),
            run: "r".into(),
            operator: operator("u"),
            runbook: "w.yaml".to_owned(),
            fingerprint: "f".to_owned(),
            sandbox: true,
            assume_yes: self.assume_yes,
            plan: Plan {
                steps: steps.map(|(at, step)| step.planned(at)).collect(),
                window: self.window.map(|(opens, lasts)| Window {
                    opens: after(opens),
                    closes: after(opens + lasts),
                    rollback_reserve: Duration::from_secs(10),
                }),
                ..plan
            },
        }
    }
}

pub(super) fn operator(user: &str) -> Operator {
    Operator { user: user.to_owned(), host: "h".to_owned() }
}

impl StepScript {
    fn planned(&self, at: usize) -> PlannedStep {
        PlannedStep {
            id: StepId::new(format!("s{at}")),
            stage: Stage::ALL[at.min(3)],
            workload: None,
            uses: "exec".to_owned(),
            with: json!({}),
            after: (0..at).filter(|before| self.edges & (1 << before) != 0).collect(),
            when: None,
            timeout: None,
            retry: Retry { attempts: 2, backoff: Duration::from_secs(1) },
            on_failure: self.on_failure,
            hold_before: self.hold_before,
            point_of_no_return: self.no_return && !self.check,
            in_window: self.in_window && !self.check,
            expires: self.check && self.expires,
            class: if self.check { Class::Check } else { Class::Action },
            repeat: self.repeat,
            undo: self.undo,
            vars: std::collections::BTreeMap::new(),
            source: ("w.yaml".to_owned(), 1),
        }
    }
}
