//! The pure core against a small world: random plans, outcomes and crashes; the promises asserted at every step.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use proptest::prelude::*;
use serde_json::json;

use super::*;
use crate::plan::{Class, OnFailure, Plan, PlannedStep, Retry};

/// What an attempt does after its effect was permitted.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Fate {
    /// Changes the world, reports, succeeds.
    Succeed,
    /// Changes the world; the reply is lost.
    LoseReply,
    /// The target refuses before anything changes; worth another try.
    RefuseOnce,
    /// Fails without a change, for good.
    Fail,
}

#[derive(Debug, Clone)]
struct Script {
    /// Predecessors of step n among the n steps before it, as bits.
    edges: Vec<u8>,
    fates: Vec<Vec<Fate>>,
    /// Which steps only read, as bits; their readings expire.
    checks: u8,
    /// Messages after which the process dies.
    crashes: Vec<usize>,
}

fn fate() -> impl Strategy<Value = Fate> {
    prop_oneof![
        4 => Just(Fate::Succeed),
        2 => Just(Fate::LoseReply),
        1 => Just(Fate::RefuseOnce),
        1 => Just(Fate::Fail),
    ]
}

fn script() -> impl Strategy<Value = Script> {
    (1_usize..7).prop_flat_map(|steps| {
        (
            proptest::collection::vec(any::<u8>(), steps),
            proptest::collection::vec(proptest::collection::vec(fate(), 1..4), steps),
            any::<u8>(),
            proptest::collection::vec(0_usize..60, 0..5),
        )
            .prop_map(|(edges, fates, checks, crashes)| Script {
                edges,
                fates,
                checks,
                crashes,
            })
    })
}

fn step(at: usize, edges: u8, is_check: bool) -> PlannedStep {
    PlannedStep {
        id: StepId::new(format!("s{at}")),
        stage: Stage::ALL[at.min(3)],
        workload: None,
        uses: "exec".to_owned(),
        with: json!({}),
        after: (0..at).filter(|before| edges & (1 << before) != 0).collect(),
        when: None,
        timeout: None,
        retry: Retry { attempts: 2, backoff: Duration::from_secs(1) },
        on_failure: OnFailure::Hold,
        hold_before: false,
        point_of_no_return: false,
        in_window: false,
        expires: is_check,
        class: if is_check { Class::Check } else { Class::Action },
        repeat: Repeat::Guarded,
        undo: Undo::Restores,
        vars: std::collections::BTreeMap::new(),
        source: ("w.yaml".to_owned(), 1),
    }
}

fn header(script: &Script) -> Header {
    Header {
        format: 1,
        tool: "0".to_owned(),
        run: "r".into(),
        operator: Operator { user: "u".to_owned(), host: "h".to_owned() },
        runbook: "w.yaml".to_owned(),
        fingerprint: "f".to_owned(),
        sandbox: true,
        assume_yes: true,
        plan: Plan {
            format: 1,
            wave: "w".into(),
            summary: String::new(),
            change: None,
            window: None,
            parallel: 3,
            azure: None,
            secrets: BTreeMap::new(),
            systems: BTreeMap::new(),
            workloads: BTreeMap::new(),
            vars: BTreeMap::new(),
            steps: steps(script),
            allowed: BTreeMap::new(),
        },
    }
}

fn steps(script: &Script) -> Vec<PlannedStep> {
    let is_check = |at: usize| script.checks & (1 << at) != 0;
    script.edges.iter().enumerate().map(|(at, edges)| step(at, *edges, is_check(at))).collect()
}

/// The world outside: how often each effect was made and taken back, and the journal, which survives crashes.
struct World {
    script: Script,
    made: BTreeMap<StepId, i32>,
    journal: Vec<Record>,
    now: Timestamp,
    state: RunState,
    inputs: VecDeque<Input>,
    goal: Option<String>,
    /// Checks that this process has read.
    fresh: BTreeSet<usize>,
    tasks: usize,
    finished: bool,
}

impl World {
    fn new(script: Script) -> Self {
        let now = Timestamp::UNIX_EPOCH;
        let first = Record { seq: 0, at: now, event: Event::RunStarted(Box::new(header(&script))) };
        let state = RunState::begin(&first).expect("a header");
        let inputs = VecDeque::from([Input::Began]);
        let (made, journal) = (BTreeMap::new(), vec![first]);
        Self {
            script,
            made,
            journal,
            now,
            state,
            inputs,
            goal: None,
            fresh: BTreeSet::new(),
            tasks: 0,
            finished: false,
        }
    }

    fn record(&mut self, event: Event) {
        let record = Record { seq: self.journal.len() as u64, at: self.now, event };
        self.check(&record.event);
        self.state.apply(&record).expect("a decision follows from the journal");
        self.journal.push(record);
    }

    /// What must hold whenever a fact is recorded.
    fn check(&self, event: &Event) {
        if let Event::StepStarted { step, .. } = event {
            let at = self.state.index[step];
            for &before in &self.state.plan().steps[at].after {
                let own = &self.state.steps[before].state;
                assert!(
                    matches!(own, StepState::Succeeded | StepState::Skipped),
                    "{step} starts while s{before} is {own:?}"
                );
                let guards = self.state.plan().steps[before].class == Class::Check;
                let begins = self.state.steps[at].effects.is_empty();
                assert!(
                    !guards || !begins || self.fresh.contains(&before),
                    "{step} starts on a reading of s{before} by an earlier process"
                );
            }
        }
    }

    /// One input: facts first, then commands; messages of a process that dies in between are lost.
    fn turn(&mut self, input: Input) {
        let ends = matches!(input, Input::Ended(..) | Input::Probed(..) | Input::Undone(..));
        self.tasks -= usize::from(ends);
        let opening = matches!(input, Input::Began);
        let mut commands = self.take(decide(&self.state, input, self.now));
        if let Some(why) = self.goal.clone().filter(|_| opening) {
            commands.extend(self.take(decide(&self.state, Input::RollBack(why), self.now)));
        }
        loop {
            let starts = commands.iter().filter(|it| starts(it)).count();
            let now = Circumstances { tasks: self.tasks + starts, ..Circumstances::default() };
            let decision = schedule(&self.state, now, self.now);
            let settled = decision.facts.is_empty();
            commands.extend(self.take(decision));
            if settled || commands.contains(&Command::Finish) {
                break;
            }
        }
        self.tasks += commands.iter().filter(|it| starts(it)).count();
        for command in commands {
            self.carry_out(command);
        }
    }

    fn take(&mut self, decision: Decision) -> Vec<Command> {
        decision.facts.into_iter().for_each(|event| self.record(event));
        decision.commands
    }

    fn carry_out(&mut self, command: Command) {
        match command {
            Command::Start(at) => {
                let planned = &self.state.plan().steps[at];
                let step = planned.id.clone();
                if planned.class == Class::Check {
                    self.fresh.insert(at);
                    self.inputs.push_back(Input::Ended(step, Ok(Outcome::default())));
                    return;
                }
                let intent = effect(&step);
                self.inputs.push_back(Input::Intend { step, intent, undoes: None });
            }
            Command::AlreadyDone(effect, _) if self.state.rolling_back.is_some() => {
                self.inputs.push_back(Input::Undone(effect.step, Ok(())));
            }
            Command::AlreadyDone(effect, _) => {
                self.inputs.push_back(Input::Ended(effect.step, Ok(Outcome::default())));
            }
            Command::Permit(effect) if self.state.rolling_back.is_some() => {
                *self.made.entry(effect.step.clone()).or_default() -= 1;
                self.inputs.push_back(Input::Done(effect.clone(), json!("back")));
                self.inputs.push_back(Input::Undone(effect.step, Ok(())));
            }
            Command::Permit(effect) => self.perform(effect),
            Command::Undo(at) => {
                let step = self.state.plan().steps[at].id.clone();
                let intent = effect(&step);
                let undoes = Some("k".to_owned());
                self.inputs.push_back(Input::Intend { step, intent, undoes });
            }
            Command::Probe(id) => {
                let undoing = !self.state.step(&id.step).expect("known").undo_effects.is_empty();
                let wanted = i32::from(!undoing);
                let made = self.made.get(&id.step).copied().unwrap_or(0);
                assert!((0..=1).contains(&made), "{} was made {made} times", id.step);
                let verdict = if made == wanted {
                    Verdict::Done { observed: json!("made") }
                } else {
                    Verdict::NotDone
                };
                self.inputs.push_back(Input::Probed(id, verdict));
            }
            Command::WakeAt(at) | Command::WakeAfter(at) => {
                self.now = self.now.max(at);
                self.inputs.push_back(Input::Woke);
            }
            Command::Finish => self.finished = true,
            Command::Deny(effect, failure) => {
                self.inputs.push_back(Input::Ended(effect.step, Err(failure)));
            }
            Command::Acknowledge(_) | Command::Ask(..) | Command::Answer(..) | Command::Cancel => {}
        }
    }

    fn perform(&mut self, effect: EffectId) {
        let at = self.state.index[&effect.step];
        let tries = self.state.steps[at].attempts as usize;
        let fates = &self.script.fates[at];
        let fate = fates[(tries - 1).min(fates.len() - 1)];
        let step = effect.step.clone();
        if matches!(fate, Fate::Succeed | Fate::LoseReply) {
            let made = self.made.entry(step.clone()).or_default();
            *made += 1;
            assert_eq!(*made, 1, "{step} changed the world twice");
        }
        let fails = |class| StepError::new(class, "MIG0000", "try", "known");
        match fate {
            Fate::Succeed => {
                self.inputs.push_back(Input::Done(effect, json!("made")));
                self.inputs.push_back(Input::Ended(step, Ok(Outcome::default())));
            }
            Fate::LoseReply => {
                self.inputs.push_back(Input::Ended(step, Err(fails(FailureClass::Unknown))));
            }
            Fate::RefuseOnce => {
                self.inputs.push_back(Input::NotDone(effect, "refused".to_owned()));
                let failure = fails(FailureClass::Failed).retryable();
                self.inputs.push_back(Input::Ended(step, Err(failure)));
            }
            Fate::Fail => {
                self.inputs.push_back(Input::NotDone(effect, "refused".to_owned()));
                self.inputs.push_back(Input::Ended(step, Err(fails(FailureClass::Failed))));
            }
        }
    }

    /// The process dies: only journal and world remain. The next one folds and goes on.
    fn crash(&mut self) {
        let mut state = RunState::begin(&self.journal[0]).expect("a header");
        for record in &self.journal[1..] {
            state.apply(record).expect("what was journalled folds again");
        }
        assert_eq!(state, self.state, "the fold of the journal is the live state");
        self.inputs.clear();
        self.fresh.clear();
        self.tasks = 0;
        self.finished = false;
        self.now += SignedDuration::from_secs(60);
        let operator = Operator { user: "u".to_owned(), host: "h".to_owned() };
        self.record(Event::RunResumed { operator, tool: "0".to_owned() });
        self.inputs.push_back(Input::Began);
    }

    fn run(&mut self, crashes: &[usize]) {
        for turn in 0..2000 {
            if crashes.contains(&turn) {
                self.crash();
            }
            match self.inputs.pop_front() {
                Some(input) => self.turn(input),
                None if self.finished => return,
                None => panic!("nothing to do, and not finished: {:?}", self.state.steps),
            }
        }
        panic!("it never ends");
    }
}

fn starts(command: &Command) -> bool {
    matches!(command, Command::Start(_) | Command::Undo(_) | Command::Probe(_))
}

fn effect(step: &StepId) -> Intent {
    let classes = (Repeat::Guarded, Undo::Restores);
    Intent::new("k", step.to_string(), "make", classes, json!(null), json!("made"))
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1500))]

    #[test]
    fn no_interruption_does_a_thing_twice_or_loses_one(script in script()) {
        let crashes = script.crashes.clone();
        let mut world = World::new(script);
        world.run(&crashes);
        for (at, own) in world.state.steps.iter().enumerate() {
            let made = world.made.get(&world.state.plan().steps[at].id).copied().unwrap_or(0);
            let done = own.effects.iter().any(|effect| effect.done);
            prop_assert_eq!(made == 1, done, "step {} at the target and in the journal", at);
            prop_assert_eq!(own.in_doubt().count(), 0);
        }
        let all = world.state.steps.iter().all(|own| own.state == StepState::Succeeded);
        prop_assert_eq!(finish(&world.state) == Finish::Completed, all);
    }

    #[test]
    fn a_rollback_leaves_the_world_as_it_was(script in script()) {
        let crashes = script.crashes.clone();
        let mut world = World::new(script);
        world.run(&crashes);
        world.goal = Some("asked for".to_owned());
        world.crash();
        world.run(&crashes);
        prop_assert_eq!(finish(&world.state), Finish::RolledBack);
        for (step, made) in &world.made {
            prop_assert_eq!(*made, 0, "{} is still there", step);
        }
    }
}
