//! A stop that comes while a step is taken back.

use serde_json::json;

use super::super::*;
use super::script::{Script, StepScript, operator};
use crate::plan::OnFailure;

/// One step that asks, then makes one change that can be taken back.
fn asks_and_changes() -> Script {
    let step = StepScript {
        edges: 0,
        check: false,
        expires: false,
        repeat: Repeat::Guarded,
        undo: Undo::Restores,
        on_failure: OnFailure::Hold,
        hold_before: false,
        no_return: false,
        in_window: false,
        wanted: true,
        approvers: 1,
        effects: 1,
        fates: Vec::new(),
        undo_fates: Vec::new(),
        clueless: 0,
    };
    Script {
        steps: vec![step],
        crashes: Vec::new(),
        crashes_back: Vec::new(),
        people: Vec::new(),
        between: Vec::new(),
        abandoned: false,
        stays: false,
        assume_yes: false,
        window: None,
        parallel: 1,
    }
}

struct Story {
    state: RunState,
}

impl Story {
    fn begin() -> Self {
        let event = Event::RunStarted(Box::new(asks_and_changes().header()));
        let first = Record { seq: 0, at: now(), event };
        Self { state: RunState::begin(&first).expect("a header") }
    }

    fn facts(&mut self, facts: impl IntoIterator<Item = Event>) {
        for event in facts {
            let record = Record { seq: self.state.records, at: now(), event };
            self.state.apply(&record).expect("it follows from what was before");
        }
    }

    fn hears(&mut self, input: Input) -> Vec<Command> {
        let decision = decide(&self.state, input, now());
        self.facts(decision.facts);
        decision.commands
    }

    fn schedule(&self, stopping: Option<Stop>, tasks: usize) -> Decision {
        let circumstances = Circumstances { stopping, tasks, ..Circumstances::default() };
        schedule(&self.state, circumstances, now())
    }

    /// The step has asked, and a person has said yes.
    fn answered() -> Self {
        let mut story = Self::begin();
        let (ask, from) = ("go?".to_owned(), Vec::new());
        let question = Question { ask, approvers: 1, from, expires: None };
        story.facts([
            Event::StepStarted { step: s0(), attempt: 1 },
            Event::Asked { step: s0(), question },
            Event::PersonActed(request(Request::Approve { step: s0() })),
        ]);
        story
    }

    /// It has then made its change, and is being taken back.
    fn undoing() -> Self {
        let mut story = Self::answered();
        let classes = (Repeat::Guarded, Undo::Restores);
        let intent = Intent::new("k0", "s0", "make", classes, json!(null), json!("made"));
        let (key, observed) = (intent.key.clone(), json!("made"));
        story.facts([
            Event::Intent { step: s0(), intent, undoes: None },
            Event::Done { step: s0(), key, observed, probed: false },
        ]);
        story.hears(Input::Ended(s0(), Ok(Outcome::default())));
        story.hears(Input::RollBack("asked for".to_owned()));
        let decision = story.schedule(None, 0);
        assert_eq!(decision.commands, [Command::Undo(0)]);
        story.facts(decision.facts);
        story
    }
}

fn s0() -> StepId {
    "s0".into()
}

fn now() -> jiff::Timestamp {
    jiff::Timestamp::UNIX_EPOCH
}

fn request(request: Request) -> PersonRequest {
    let id = format!("{request:?}");
    PersonRequest { id, by: operator("p"), comment: String::new(), request }
}

#[test]
fn an_attempt_that_asked_hears_the_answer() {
    let answer =
        Answer { approved: true, people: vec!["p".to_owned()], comments: vec![String::new()] };
    let decision = Story::answered().schedule(None, 1);
    assert_eq!(decision.commands, [Command::Answer(s0(), answer)]);
}

#[test]
fn a_stop_while_a_step_that_once_asked_is_taken_back_ends_the_process_and_the_next_goes_on() {
    for stop in [Stop::Aborted, Stop::Paused, Stop::Interrupted, Stop::Terminated] {
        let mut story = Story::undoing();
        let (input, signal) = match stop {
            Stop::Aborted => (Input::Person(request(Request::Abort)), None),
            Stop::Paused => (Input::Person(request(Request::Pause)), None),
            signal => (Input::Stop(signal), Some(signal)),
        };
        story.hears(input);
        assert_eq!(story.schedule(signal, 1), Decision::default(), "{stop:?}: its undo is at work");
        story.hears(Input::Undone(s0(), Err(StepError::cancelled("taking it back"))));
        let decision = story.schedule(signal, 0);
        assert_eq!(decision.facts, [Event::RunStopped { stop }]);
        assert_eq!(decision.commands, [Command::Finish]);
        story.facts(decision.facts);
        story.facts([Event::RunResumed { operator: operator("u"), tool: "0".to_owned() }]);
        let decision = story.schedule(None, 0);
        assert_eq!(decision.facts, [Event::UndoStarted { step: s0() }]);
        assert_eq!(decision.commands, [Command::Undo(0)]);
    }
}
