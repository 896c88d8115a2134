//! The world outside and one process after another in it: what is at the target, the journal, and who acts when.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use jiff::{SignedDuration, Timestamp};
use serde_json::json;

use super::super::*;
use super::coverage::Coverage;
use super::model::Model;
use super::script::{Choice, Fate, Script, operator};
use crate::plan::Class;

/// Turns of one process, far more than any needs.
const TURNS: usize = 3000;
/// Processes that take a run up one after another.
const LIVES: usize = 12;

/// See the module.
pub(super) struct World {
    script: Script,
    /// What is in place at the target, by step and key.
    pub(super) made: BTreeSet<(StepId, String)>,
    pub(super) journal: Vec<Record>,
    pub(super) state: RunState,
    pub(super) model: Model,
    pub(super) coverage: Coverage,
    now: Timestamp,
    turn: usize,
    /// Of this process: messages on their way, deadlines, tasks, who waits for people, what a task does next.
    inputs: VecDeque<Input>,
    /// What it begins with.
    opening: Vec<Input>,
    due: BTreeSet<Timestamp>,
    tasks: usize,
    asking: BTreeSet<StepId>,
    next: BTreeMap<StepId, VecDeque<String>>,
    stopping: Option<Stop>,
    finished: bool,
    /// Facts that still become durable before the process dies, if it is about to.
    durable: Option<usize>,
    goal: Option<String>,
    abandoned: bool,
    /// How often each fate, probe and choice was used up.
    fates: BTreeMap<(StepId, bool), usize>,
    probes: BTreeMap<StepId, usize>,
    choices: usize,
    requests: usize,
}

impl World {
    pub(super) fn new(script: Script) -> Self {
        let now = Timestamp::UNIX_EPOCH;
        let header = script.header();
        let model = Model::new(header.plan.clone());
        let event = Event::RunStarted(Box::new(header));
        let first = Record { seq: 0, at: now, event };
        let state = RunState::begin(&first).expect("a header");
        Self {
            script,
            made: BTreeSet::new(),
            journal: vec![first],
            state,
            model,
            coverage: Coverage::default(),
            now,
            turn: 0,
            inputs: VecDeque::new(),
            opening: vec![Input::Began],
            due: BTreeSet::new(),
            tasks: 0,
            asking: BTreeSet::new(),
            next: BTreeMap::new(),
            stopping: None,
            finished: false,
            durable: None,
            goal: None,
            abandoned: false,
            fates: BTreeMap::new(),
            probes: BTreeMap::new(),
            choices: 0,
            requests: 0,
        }
    }

    /// Forward, process after process, until the run has ended or nobody takes it up any more.
    pub(super) fn forward(&mut self) {
        let crashes = self.script.crashes.clone();
        for life in 0..LIVES {
            self.process(&crashes);
            if self.state.ended.is_some() || self.abandoned {
                return;
            }
            assert!(self.state.stopped.is_some(), "it neither ended nor said why it stopped");
            if life + 1 < LIVES {
                let choice = self.between();
                self.take_up(choice);
            }
        }
    }

    /// Back, until the rollback has ended; a failed undo is tried again as often as it takes.
    pub(super) fn back(&mut self) {
        let crashes = self.script.crashes_back.clone();
        self.goal = Some("asked for".to_owned());
        for _ in 0..LIVES {
            self.take_up(None);
            self.turn = 0;
            self.process(&crashes);
            if self.state.ended == Some(Ending::RolledBack) || self.state.crossed.is_some() {
                return;
            }
        }
    }

    /// One process, and those that follow its deaths, until one comes to its end.
    fn process(&mut self, crashes: &[(usize, usize)]) {
        let from = self.turn;
        while !self.finished {
            assert!(self.turn - from < TURNS, "it never ends: {:?}", self.state.steps);
            let mut batch = std::mem::take(&mut self.opening);
            if batch.is_empty() {
                self.act_in_time();
                batch.push(self.inputs.pop_front().unwrap_or_else(|| self.wait()));
            }
            let dies = crashes.iter().find(|(turn, _)| *turn == self.turn);
            self.durable = dies.map(|(_, facts)| *facts);
            self.handle(batch);
            self.turn += 1;
            if self.durable.take().is_some() {
                if self.script.abandoned && self.goal.is_none() {
                    self.abandoned = true;
                    return;
                }
                let choice = self.between();
                self.take_up(choice);
            }
        }
    }

    /// Nothing is on its way: time passes, or people do something.
    fn wait(&mut self) -> Input {
        if let Some(at) = self.due.pop_first() {
            self.now = self.now.max(at);
            return Input::Woke;
        }
        assert!(self.script.stays, "nothing to do, and not finished: {:?}", self.state.steps);
        let choice = self.between().unwrap_or(Choice::Interrupt);
        let waits = |at: &usize| {
            let own = &self.state.steps[*at];
            own.question.is_some() && matches!(own.state, StepState::Running(_))
                || own.state == StepState::Waiting(Waiting::Hold)
        };
        let at = (0..self.state.steps.len()).find(waits).unwrap_or(0);
        self.choose(at, choice);
        self.inputs.pop_front().unwrap_or(Input::Woke)
    }

    fn between(&mut self) -> Option<Choice> {
        self.choices += 1;
        self.script.between.get(self.choices - 1).copied()
    }

    /// The process has died or ended: only journal and world remain. The next one folds and goes on; people may have
    /// left a request for it.
    fn take_up(&mut self, choice: Option<Choice>) {
        let mut state = RunState::begin(&self.journal[0]).expect("a header");
        for record in &self.journal[1..] {
            let line = serde_json::to_string(record).expect("facts are plain data");
            let read: Record = serde_json::from_str(&line).expect("what was written is read");
            state.apply(&read).expect("what was journalled folds again");
        }
        assert_eq!(state, self.state, "the fold of the journal is the live state");
        self.inputs.clear();
        self.due.clear();
        self.asking.clear();
        self.next.clear();
        self.tasks = 0;
        self.stopping = None;
        self.finished = false;
        self.now += SignedDuration::from_secs(60);
        self.record(Event::RunResumed { operator: operator("u"), tool: "0".to_owned() });
        if let Some(choice) = choice {
            for at in 0..self.state.steps.len() {
                self.choose(at, choice);
            }
        }
        // As the engine does it: what people left, and what was in doubt, in one batch.
        self.opening.extend(self.inputs.drain(..));
        self.opening.push(Input::Began);
        self.opening.extend(self.goal.clone().map(Input::RollBack));
    }

    fn act_in_time(&mut self) {
        for nth in 0..self.script.people.len() {
            let (when, at, choice) = self.script.people[nth];
            if when == self.turn && at < self.state.steps.len() {
                self.choose(at, choice);
            }
        }
    }

    /// Somebody does something about a step.
    fn choose(&mut self, at: usize, choice: Choice) {
        let step = self.state.plan().steps[at].id.clone();
        let own = &self.state.steps[at];
        let doubted: Vec<_> = own.in_doubt().map(|effect| effect.intent.clone()).collect();
        let there = |intent: &Intent| self.is_as_wanted(&step, &intent.key);
        let resolve = |as_| Request::Resolve { step: step.clone(), as_ };
        let request = match choice {
            Choice::Interrupt => {
                self.stopping = Some(Stop::Interrupted);
                self.inputs.push_front(Input::Stop(Stop::Interrupted));
                return;
            }
            Choice::Approve => Request::Approve { step: step.clone() },
            Choice::Refuse => Request::Refuse { step: step.clone() },
            Choice::Pause => Request::Pause,
            Choice::Abort => Request::Abort,
            Choice::Skip => resolve(Resolution::Skip),
            // A person who looks finds either of two; where effects differ, nothing can be said of all.
            Choice::Look if doubted.iter().all(there) => resolve(Resolution::Done),
            Choice::Look if !doubted.iter().any(there) => resolve(Resolution::NotDone),
            Choice::Nothing | Choice::Look => return,
            // Nobody asks for a repetition of what is there and must not be repeated.
            Choice::Retry => {
                let harmless = |it: &Intent| it.repeat == Repeat::Repeatable || !there(it);
                if !doubted.iter().all(harmless) {
                    return;
                }
                resolve(Resolution::Retry)
            }
        };
        self.requests += 1;
        let request = PersonRequest {
            id: self.requests.to_string(),
            by: operator(&format!("p{}", self.requests)),
            comment: String::new(),
            request,
        };
        self.inputs.push_front(Input::Person(request));
    }

    fn record(&mut self, event: Event) {
        match &mut self.durable {
            Some(0) => return,
            Some(left) => *left -= 1,
            None => {}
        }
        let record = Record { seq: self.journal.len() as u64, at: self.now, event };
        self.coverage.see(&self.state, &record.event);
        self.model.see(&record.event, self.stopping.is_some());
        if let Err(illegal) = self.state.apply(&record) {
            self.journal.iter().skip(1).for_each(|it| println!("{:?}", it.event));
            panic!("a decision that does not follow from the journal: {illegal}: {record:?}");
        }
        self.journal.push(record);
    }

    /// A batch of inputs: facts first, then commands.
    fn handle(&mut self, batch: Vec<Input>) {
        let mut commands = Vec::new();
        for input in batch {
            self.hear(&input);
            commands.extend(self.take(decide(&self.state, input, self.now)));
        }
        loop {
            let starts = commands.iter().filter(|it| starts(it)).count();
            let now = Circumstances {
                stopping: self.stopping,
                tasks: self.tasks + starts,
                asking: self.asking.len(),
                wait_for_people: self.script.stays,
            };
            let decision = schedule(&self.state, now, self.now);
            let settled = decision.facts.is_empty();
            commands.extend(self.take(decision));
            if settled || commands.contains(&Command::Finish) || self.durable == Some(0) {
                break;
            }
        }
        if self.durable.is_some() {
            return;
        }
        self.tasks += commands.iter().filter(|it| starts(it)).count();
        for command in commands {
            self.model.allows(&command, self.now);
            self.carry_out(command);
        }
    }

    /// Who is still at work, and what a probe said.
    fn hear(&mut self, input: &Input) {
        self.tasks -= usize::from(matches!(
            input,
            Input::Ended(..) | Input::Probed(..) | Input::Undone(..) | Input::NotWanted(..)
        ));
        if let Input::Ended(step, _) = input {
            self.asking.remove(step);
        }
        if let Input::Probed(effect, verdict) = input {
            self.coverage.probed(&self.state, effect, verdict);
            self.model.probed(effect, verdict);
        }
    }

    fn take(&mut self, decision: Decision) -> Vec<Command> {
        decision.facts.into_iter().for_each(|event| self.record(event));
        decision.commands
    }

    fn carry_out(&mut self, command: Command) {
        match command {
            Command::Start(at) => self.start(at),
            Command::Undo(at) => self.undo(at),
            Command::Permit(effect) => self.perform(effect),
            Command::AlreadyDone(effect, _) => self.go_on(effect.step),
            Command::Answer(step, answer) => {
                if self.asking.remove(&step) {
                    if answer.approved {
                        self.go_on(step);
                    } else {
                        self.ended(step, FailureClass::Refused);
                    }
                }
            }
            Command::Ask(..) | Command::Acknowledge(_) => {}
            Command::Deny(effect, failure) => {
                self.next.remove(&effect.step);
                self.inputs.push_back(if is_undo(&effect.key) {
                    Input::Undone(effect.step, Err(failure))
                } else {
                    Input::Ended(effect.step, Err(failure))
                });
            }
            Command::Probe(id) => {
                let asked = self.probes.entry(id.step.clone()).or_default();
                *asked += 1;
                let clueless = *asked <= self.of(&id.step).clueless;
                let verdict = match (clueless, self.is_as_wanted(&id.step, &id.key)) {
                    (true, _) => Verdict::Unknown { evidence: "neither".to_owned() },
                    (false, true) => Verdict::Done { observed: json!("found") },
                    (false, false) => Verdict::NotDone,
                };
                self.inputs.push_back(Input::Probed(id, verdict));
            }
            Command::Cancel => {
                for step in std::mem::take(&mut self.asking) {
                    let failure = StepError::cancelled("asking");
                    self.inputs.push_back(Input::Ended(step, Err(failure)));
                }
            }
            Command::WakeAt(at) | Command::WakeAfter(at) => _ = self.due.insert(at),
            Command::Finish => self.finished = true,
        }
    }

    fn of(&self, step: &StepId) -> &super::script::StepScript {
        &self.script.steps[self.state.index[step]]
    }

    /// Whether the target is as the intent of that key wants it: an undo wants the effect gone.
    fn is_as_wanted(&self, step: &StepId, key: &str) -> bool {
        let own = key.strip_prefix("undo ").unwrap_or(key);
        self.made.contains(&(step.clone(), own.to_owned())) != is_undo(key)
    }

    fn start(&mut self, at: usize) {
        let script = &self.script.steps[at];
        let planned = &self.state.plan().steps[at];
        let step = planned.id.clone();
        if !script.wanted {
            self.inputs.push_back(Input::NotWanted(step, "its `when` is false".to_owned()));
            return;
        }
        let effects = if planned.class == Class::Check { 0 } else { script.effects };
        self.next.insert(step.clone(), (0..effects).map(|nth| format!("k{nth}")).collect());
        if script.approvers > 0 {
            let (ask, approvers) = ("go?".to_owned(), script.approvers);
            let question = Question { ask, approvers, from: Vec::new(), expires: None };
            self.asking.insert(step.clone());
            self.inputs.push_back(Input::Asks(step, question));
        } else if planned.class == Class::Check {
            self.read(step);
        } else {
            self.go_on(step);
        }
    }

    fn read(&mut self, step: StepId) {
        match self.fate(&step, false) {
            Fate::Succeed => self.go_on(step),
            Fate::Refuse => self.refused(step),
            Fate::Panic | Fate::LoseReply => self.ended(step, FailureClass::Unknown),
            Fate::TimeOut => self.ended(step, FailureClass::Failed),
            _ => self.ended(step, FailureClass::Drift),
        }
    }

    /// The next effect of an attempt or an undo, or its end.
    fn go_on(&mut self, step: StepId) {
        let undoing = self.state.step(&step).is_some_and(|own| own.state == StepState::Undoing);
        let Some(key) = self.next.entry(step.clone()).or_default().pop_front() else {
            self.inputs.push_back(if undoing {
                Input::Undone(step, Ok(()))
            } else {
                Input::Ended(step, Ok(Outcome::default()))
            });
            return;
        };
        let classes = (self.of(&step).repeat, self.of(&step).undo);
        let (before, after) = (json!(null), json!("made"));
        let (key, undoes) = if undoing { (format!("undo {key}"), Some(key)) } else { (key, None) };
        let intent = Intent::new(key, step.to_string(), "make", classes, before, after);
        self.inputs.push_back(Input::Intend { step, intent, undoes });
    }

    /// As the executor does it: effects that restore, last first.
    fn undo(&mut self, at: usize) {
        let step = self.state.plan().steps[at].id.clone();
        let mut keys = VecDeque::new();
        for effect in self.state.steps[at].to_take_back().iter().rev() {
            match effect.intent.undo {
                Undo::Restores => keys.push_back(effect.intent.key.clone()),
                Undo::LeavesInPlace => {}
                Undo::Irreversible => {
                    let class = FailureClass::NeedsPerson;
                    let failure = StepError::new(class, "MIG0709", "take it back", "it stays");
                    self.inputs.push_back(Input::Undone(step, Err(failure)));
                    return;
                }
            }
        }
        self.next.insert(step.clone(), keys);
        self.go_on(step);
    }

    fn fate(&mut self, step: &StepId, undoing: bool) -> Fate {
        let script = self.of(step);
        let fates = if undoing { &script.undo_fates } else { &script.fates };
        let fates = fates.clone();
        let used = self.fates.entry((step.clone(), undoing)).or_default();
        *used += 1;
        fates.get(*used - 1).copied().unwrap_or(Fate::Succeed)
    }

    /// A permit has come; the target is asked to change.
    fn perform(&mut self, effect: EffectId) {
        let (step, undoing) = (effect.step.clone(), is_undo(&effect.key));
        self.model.performs(&effect);
        let fate = self.fate(&step, undoing);
        let changes = !matches!(fate, Fate::LoseRequest | Fate::Refuse | Fate::Fail);
        if changes {
            // An undo may find gone what was only perhaps there; that it is not repeated, the model knows.
            let twice = !undoing && self.is_as_wanted(&step, &effect.key);
            assert!(
                !twice || self.of(&step).repeat == Repeat::Repeatable,
                "{effect} changed the world twice"
            );
            let own = effect.key.strip_prefix("undo ").unwrap_or(&effect.key).to_owned();
            if undoing {
                self.made.remove(&(step.clone(), own));
            } else {
                self.made.insert((step.clone(), own));
            }
        }
        match fate {
            Fate::Succeed | Fate::FailAfterwards | Fate::Panic => {
                self.inputs.push_back(Input::Done(effect, json!("made")));
            }
            Fate::Refuse | Fate::Fail => {
                self.inputs.push_back(Input::NotDone(effect, "refused".to_owned()));
            }
            Fate::LoseReply | Fate::LoseRequest => {
                let sent = Sent { operation_url: None, request_id: Some("x".to_owned()) };
                self.inputs.push_back(Input::Sent(effect, sent));
            }
            Fate::TimeOut | Fate::SayNothing => {}
        }
        match fate {
            Fate::Succeed => self.go_on(step),
            Fate::SayNothing => {
                self.inputs.push_back(if undoing {
                    Input::Undone(step, Ok(()))
                } else {
                    Input::Ended(step, Ok(Outcome::default()))
                });
            }
            Fate::Refuse if !undoing => self.refused(step),
            Fate::LoseReply | Fate::LoseRequest | Fate::Panic => {
                self.ended(step, FailureClass::Unknown);
            }
            _ => self.ended(step, FailureClass::Failed),
        }
    }

    fn refused(&mut self, step: StepId) {
        let failure = StepError::new(FailureClass::Failed, "MIG0000", "try", "known").retryable();
        self.inputs.push_back(Input::Ended(step, Err(failure)));
    }

    fn ended(&mut self, step: StepId, class: FailureClass) {
        let failure = StepError::new(class, "MIG0000", "try", "known");
        let undoing = self.state.step(&step).is_some_and(|own| own.state == StepState::Undoing);
        self.inputs.push_back(if undoing {
            Input::Undone(step, Err(failure))
        } else {
            Input::Ended(step, Err(failure))
        });
    }
}

pub(super) fn is_undo(key: &str) -> bool {
    key.starts_with("undo ")
}

fn starts(command: &Command) -> bool {
    matches!(command, Command::Start(_) | Command::Undo(_) | Command::Probe(_))
}
