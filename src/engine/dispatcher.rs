//! The dispatcher: one loop that turns inputs into facts, makes them durable, and only then carries commands out.

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use tokio::sync::mpsc::{self, UnboundedReceiver, UnboundedSender};
use tokio::sync::oneshot;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use super::executor::{self, Bench};
use super::freeze::{self, LastSeen, OpenFreeze};
use super::gate::{Message, Reply, effect_of};
use super::signals::Signals;
use super::{Ended, EngineError, Goal, Settings, inbox};
use crate::clock::{Busy, since};
use crate::journal::{EffectPermit, Journal};
use crate::plan::OnFailure;
use crate::run::{
    self, Answer, Circumstances, Command, Decision, EffectId, Event, FailureClass, Input, Outputs,
    PersonRequest, ProgressNote, Record, RecordedEffect, RunState, StepError, StepId, Stop, Undo,
};
use crate::steps::Granted;

/// How often the inbox is looked at, and sinks are told that time passes. Real time.
const TICK: Duration = Duration::from_millis(250);
/// How long the engine's end waits for tasks that a second signal cut off. Real time.
const LAST_BREATH: Duration = Duration::from_millis(500);
/// Inputs that share one sync at most.
const BATCH: usize = 1024;

struct Dispatcher {
    settings: Settings,
    dir: PathBuf,
    journal: Journal,
    state: RunState,
    to: UnboundedSender<Message>,
    people: UnboundedSender<PersonRequest>,
    notes: UnboundedSender<ProgressNote>,
    tasks: JoinSet<()>,
    /// Of these, not yet reported.
    working: usize,
    /// Asks attempts and undos to stop where they can be resumed.
    cancel: CancellationToken,
    /// Ends probes: a stop or a rollback needs their answers, so only the end of the engine cuts them off.
    end: CancellationToken,
    replies: BTreeMap<EffectId, Reply>,
    asking: BTreeMap<StepId, oneshot::Sender<Answer>>,
    stopping: Option<Stop>,
    /// Every moment at which something is due, by the wall clock and by the steady one; the nearest wakes the loop.
    due: BTreeSet<Timestamp>,
    due_after: BTreeSet<Timestamp>,
    outputs: Arc<BTreeMap<StepId, Outputs>>,
    effects: Arc<BTreeMap<StepId, Vec<RecordedEffect>>>,
    freezes: Vec<OpenFreeze>,
    freeze_seen: LastSeen,
    finished: bool,
}

/// What the loop waits for.
enum News {
    Message(Box<Message>),
    Person(PersonRequest),
    Note(ProgressNote),
    Signal(Stop),
    Woke,
    Tick,
}

/// Where messages, people's answers and progress arrive.
struct Ears {
    messages: UnboundedReceiver<Message>,
    people: UnboundedReceiver<PersonRequest>,
    notes: UnboundedReceiver<ProgressNote>,
    signals: Signals,
    ticks: tokio::time::Interval,
}

/// Drives a run until it ends or can not go on by itself.
pub(super) async fn run(
    settings: Settings,
    signals: Signals,
    (dir, journal, state): (PathBuf, Journal, RunState),
    opening: Vec<Event>,
    goal: &Goal,
) -> Result<Ended, EngineError> {
    let (to, messages) = mpsc::unbounded_channel();
    let (people_to, people) = mpsc::unbounded_channel();
    let (notes_to, notes) = mpsc::unbounded_channel();
    let mut ears = Ears { messages, people, notes, signals, ticks: tokio::time::interval(TICK) };
    let mut busy = settings.world.clock.busy();
    let mut dispatcher = Dispatcher {
        settings,
        dir,
        journal,
        to,
        people: people_to,
        notes: notes_to,
        tasks: JoinSet::new(),
        working: 0,
        cancel: CancellationToken::new(),
        end: CancellationToken::new(),
        replies: BTreeMap::new(),
        asking: BTreeMap::new(),
        stopping: None,
        due: BTreeSet::new(),
        due_after: BTreeSet::new(),
        outputs: Arc::default(),
        effects: Arc::default(),
        freezes: freeze::open(&state),
        freeze_seen: LastSeen::default(),
        finished: false,
        state,
    };
    dispatcher.remember_all();
    dispatcher.open(opening, goal)?;
    while !dispatcher.finished {
        let news = dispatcher.listen(&mut ears, &mut busy).await;
        dispatcher.take_up(news, &mut ears)?;
    }
    dispatcher.cancel.cancel();
    dispatcher.end.cancel();
    // A task that never comes up for breath is left to the end of the process.
    let _ = tokio::time::timeout(LAST_BREATH, dispatcher.tasks.shutdown()).await;
    let Dispatcher { journal, state, .. } = dispatcher;
    Ok(Ended { finish: run::finish(&state), head: journal.head().clone(), state })
}

impl Dispatcher {
    /// Opening facts, what people left in the inbox, what an earlier process left in doubt, and the goal.
    fn open(&mut self, opening: Vec<Event>, goal: &Goal) -> Result<(), EngineError> {
        let mut batch = Batch::default();
        for event in opening {
            let now = self.settings.world.clock.now();
            self.record(event, now, &mut batch)?;
        }
        let waiting = inbox::waiting(&self.dir);
        for (_, request) in &waiting {
            self.decide(Input::Person(request.clone()), &mut batch)?;
        }
        self.decide(Input::Began, &mut batch)?;
        if let Goal::RollBack(why) = goal {
            self.decide(Input::RollBack(why.clone()), &mut batch)?;
        }
        self.schedule(&mut batch)?;
        self.settle(batch)?;
        for (path, _) in &waiting {
            inbox::taken(path);
        }
        Ok(())
    }

    async fn listen(&mut self, ears: &mut Ears, busy: &mut Busy) -> News {
        let clock = self.settings.world.clock.clone();
        let lent = busy.lend();
        let mut waiting = clock.waiting();
        // Asked anew at every tick: the wall clock may be set while we sleep.
        let due_in = self.due_in();
        let wake = async {
            match due_in {
                Some(span) => clock.sleep(span, &mut waiting).await,
                None => std::future::pending().await,
            }
        };
        let news = tokio::select! {
            biased;
            signal = ears.signals.next() => News::Signal(signal),
            Some(message) = ears.messages.recv() => News::Message(Box::new(message)),
            Some(request) = ears.people.recv() => News::Person(request),
            Some(note) = ears.notes.recv() => News::Note(note),
            () = wake => News::Woke,
            _ = ears.ticks.tick() => News::Tick,
        };
        drop(lent);
        news
    }

    /// Until the next thing is due.
    fn due_in(&self) -> Option<Duration> {
        let now = self.settings.world.clock.both();
        let by_wall = self.due.first().map(|&at| since(now.wall, at));
        let by_steady = self.due_after.first().map(|&at| since(now.steady, at));
        by_wall.into_iter().chain(by_steady).min()
    }

    fn take_up(&mut self, news: News, ears: &mut Ears) -> Result<(), EngineError> {
        match news {
            News::Note(note) => {
                for sink in &mut self.settings.sinks {
                    sink.on_progress(&note, &self.state);
                }
                Ok(())
            }
            News::Tick => {
                let now = self.settings.world.clock.now();
                for sink in &mut self.settings.sinks {
                    sink.on_tick(now, &self.state);
                }
                let waiting = inbox::waiting(&self.dir);
                if waiting.is_empty() {
                    return Ok(());
                }
                let inputs = waiting.iter().map(|(_, it)| Input::Person(it.clone()));
                self.handle(inputs.map(Message::plain).collect())?;
                for (path, _) in &waiting {
                    inbox::taken(path);
                }
                Ok(())
            }
            News::Signal(stop) if self.stopping.is_some() => self.stop_now(stop),
            News::Signal(stop) => {
                self.stopping = Some(stop);
                let now = self.settings.world.clock.now();
                for sink in &mut self.settings.sinks {
                    sink.on_stopping(now, stop, &self.state);
                }
                self.handle(vec![Message::plain(Input::Stop(stop))])
            }
            News::Woke => {
                let now = self.settings.world.clock.both();
                self.due.retain(|at| *at > now.wall);
                self.due_after.retain(|at| *at > now.steady);
                self.handle(vec![Message::plain(Input::Woke)])
            }
            News::Person(request) => self.handle(vec![Message::plain(Input::Person(request))]),
            News::Message(first) => {
                let mut batch = vec![*first];
                while batch.len() < BATCH
                    && let Ok(next) = ears.messages.try_recv()
                {
                    batch.push(next);
                }
                self.handle(batch)
            }
        }
    }

    /// A second signal: nothing is waited for; what is under way stays in doubt and is settled on resume.
    fn stop_now(&mut self, stop: Stop) -> Result<(), EngineError> {
        self.tasks.abort_all();
        let mut batch = Batch::default();
        let now = self.settings.world.clock.now();
        self.record(Event::RunStopped { stop }, now, &mut batch)?;
        batch.commands.push(Command::Finish);
        self.settle(batch)
    }

    /// Decides on every message, makes all facts durable with one sync, then acts.
    fn handle(&mut self, messages: Vec<Message>) -> Result<(), EngineError> {
        let mut batch = Batch::default();
        // Guards of ended tasks: time must not be skipped before what follows from their end has begun.
        let mut held = Vec::new();
        for Message { input, reply, last } in messages {
            if let Some(busy) = last {
                self.working -= 1;
                held.push(busy);
            }
            self.expect_reply(&input, reply);
            self.decide(input, &mut batch)?;
        }
        self.schedule(&mut batch)?;
        self.settle(batch)
    }

    fn expect_reply(&mut self, input: &Input, reply: Option<Reply>) {
        match (reply, input) {
            (Some(Reply::Answered(to)), Input::Asks(step, _)) => {
                self.asking.insert(step.clone(), to);
            }
            (Some(reply), input) => {
                if let Some(effect) = effect_of(input) {
                    self.replies.insert(effect, reply);
                }
            }
            (None, Input::Ended(step, _)) => {
                self.asking.remove(step);
            }
            (None, _) => {}
        }
    }

    fn decide(&mut self, input: Input, batch: &mut Batch) -> Result<(), EngineError> {
        let input = self.rehearse_failure(input);
        let now = self.settings.world.clock.both();
        let decision = run::decide(&self.state, input, now);
        self.take(decision, now.wall, batch)
    }

    /// For rehearsals: a step that has done its work is heard as one that failed after it.
    fn rehearse_failure(&mut self, input: Input) -> Input {
        let rehearsed = self.settings.world.sandbox.as_ref().and(self.settings.fail_at.as_ref());
        match input {
            Input::Ended(step, Ok(_)) if Some(&step) == rehearsed => {
                // A step whose failure is passed over ends the run here, too: it is the way back that is rehearsed.
                let planned = &self.state.plan().steps[self.state.index[&step]];
                if planned.on_failure == OnFailure::Continue {
                    self.stopping = Some(Stop::Aborted);
                }
                let known = "all that the step changes is in place";
                let failure = StepError::new(
                    FailureClass::Failed,
                    "MIG0710",
                    format!("end {step} well"),
                    known,
                )
                .cause("the rehearsal makes it fail (`--fail-at`)");
                Input::Ended(step, Err(failure))
            }
            input => input,
        }
    }

    /// Starts what may start, until a round decides no further fact.
    fn schedule(&mut self, batch: &mut Batch) -> Result<(), EngineError> {
        loop {
            let circumstances = Circumstances {
                stopping: self.stopping,
                tasks: self.working + batch.starts(),
                asking: self.asking.len(),
                wait_for_people: self.settings.wait_for_people || self.settings.prompt.is_some(),
            };
            let now = self.settings.world.clock.both();
            let decision = run::schedule(&self.state, circumstances, now);
            let settled = decision.facts.is_empty();
            self.take(decision, now.wall, batch)?;
            if settled || batch.finishes() {
                return Ok(());
            }
        }
    }

    /// Facts bear the time they were decided at: what is recorded as begun in the window was found to be in it.
    fn take(
        &mut self,
        decision: Decision,
        at: Timestamp,
        batch: &mut Batch,
    ) -> Result<(), EngineError> {
        for event in decision.facts {
            self.record(event, at, batch)?;
        }
        batch.commands.extend(decision.commands);
        Ok(())
    }

    /// Adds a fact to the batch and to the state. Nobody hears of it before the sync.
    fn record(
        &mut self,
        mut event: Event,
        at: Timestamp,
        batch: &mut Batch,
    ) -> Result<(), EngineError> {
        let redactor = self.settings.world.secrets.redactor();
        event.replace_texts(&|text| match redactor.redact(text) {
            Cow::Borrowed(_) => None,
            Cow::Owned(clean) => Some(clean),
        });
        let record = self.journal.append(at, event);
        self.state.apply(&record)?;
        batch.anchor |= matches!(
            record.event,
            Event::StageStarted { .. } | Event::RunStopped { .. } | Event::RunEnded { .. }
        );
        batch.records.push(record);
        Ok(())
    }

    /// Sync, then show, then act.
    fn settle(&mut self, batch: Batch) -> Result<(), EngineError> {
        let mut permits = self.journal.sync()?;
        if batch.anchor {
            self.journal.anchor(&self.dir)?;
        }
        for record in &batch.records {
            self.remember(&record.event);
            for sink in &mut self.settings.sinks {
                sink.on_record(record, &self.state);
            }
        }
        for command in batch.commands {
            self.carry_out(command, &mut permits);
        }
        Ok(())
    }

    fn carry_out(&mut self, command: Command, permits: &mut Vec<EffectPermit>) {
        match command {
            Command::Permit(effect) => {
                if let Some(at) = permits.iter().position(|permit| *permit.effect() == effect) {
                    self.grant(&effect, Ok(Granted::Permit(permits.swap_remove(at))));
                }
            }
            Command::AlreadyDone(effect, observed) => {
                self.grant(&effect, Ok(Granted::AlreadyDone(observed)));
            }
            Command::Deny(effect, failure) => self.grant(&effect, Err(failure)),
            Command::Acknowledge(effect) => {
                if let Some(Reply::Acknowledged(to)) = self.replies.remove(&effect) {
                    // The attempt may have been cut off meanwhile; the fact stands all the same.
                    let _ = to.send(());
                }
            }
            Command::Ask(step, question) => {
                if let Some(prompt) = &self.settings.prompt {
                    prompt.ask(&step, &question, self.journal.head(), self.people.clone());
                }
            }
            Command::Answer(step, answer) => {
                if let Some(to) = self.asking.remove(&step) {
                    let _ = to.send(answer);
                }
            }
            Command::Start(index) => self.start(index),
            Command::Undo(index) => self.undo(index),
            Command::Probe(effect) => self.probe(&effect),
            Command::Cancel => {
                self.cancel.cancel();
                self.cancel = CancellationToken::new();
                self.asking.clear();
            }
            Command::WakeAt(at) => {
                self.due.insert(at);
            }
            Command::WakeAfter(at) => {
                self.due_after.insert(at);
            }
            Command::Finish => self.finished = true,
        }
    }

    fn grant(&mut self, effect: &EffectId, granted: Result<Granted, StepError>) {
        if let Some(Reply::Granted(to)) = self.replies.remove(effect) {
            let _ = to.send(granted);
        }
    }

    fn bench(&self, index: usize) -> Bench {
        Bench {
            world: self.settings.world.clone(),
            outputs: self.outputs.clone(),
            effects: self.effects.clone(),
            first_started: self.state.steps[index]
                .first_started
                .unwrap_or_else(|| self.settings.world.clock.now()),
            cut_off: self.state.steps[index].cut_off,
            cancel: self.cancel.child_token(),
            progress: Some(self.notes.clone()),
        }
    }

    fn start(&mut self, index: usize) {
        self.working += 1;
        let recorded = self.state.steps[index].recorded();
        let freezes = (self.freezes.clone(), self.freeze_seen.clone());
        let busy = self.settings.world.clock.busy();
        let (bench, to) = (self.bench(index), self.to.clone());
        self.tasks.spawn(executor::attempt(bench, index, recorded, freezes, to, busy));
    }

    fn undo(&mut self, index: usize) {
        self.working += 1;
        let own = &self.state.steps[index];
        let (recorded, to_take_back) = (own.recorded(), own.to_take_back());
        let busy = self.settings.world.clock.busy();
        let (bench, to) = (self.bench(index), self.to.clone());
        self.tasks.spawn(executor::undo(bench, index, recorded, to_take_back, to, busy));
    }

    fn probe(&mut self, id: &EffectId) {
        let Some(&index) = self.state.index.get(&id.step) else { return };
        let own = &self.state.steps[index];
        let Some(effect) = own.effect(&id.key).cloned() else { return };
        self.working += 1;
        let recorded = own.recorded();
        let busy = self.settings.world.clock.busy();
        let bench = Bench { cancel: self.end.child_token(), ..self.bench(index) };
        let to = self.to.clone();
        self.tasks.spawn(executor::probe(bench, index, effect, recorded, to, busy));
    }

    /// Keeps the snapshots that tasks are given up to date.
    fn remember(&mut self, event: &Event) {
        match event {
            Event::StepSucceeded { step, outputs, .. } => {
                if !outputs.is_empty() {
                    executor::keep(&mut self.outputs, step, outputs.clone());
                }
                self.remember_effects(step);
                if freeze::concerns(self.state.plan(), self.state.index[step]) {
                    self.freezes = freeze::open(&self.state);
                }
            }
            Event::Done { step, .. } | Event::NotDone { step, .. } => self.remember_effects(step),
            _ => {}
        }
    }

    /// Only what restores is of use to another step; ten thousand messages would make every snapshot dear.
    fn remember_effects(&mut self, step: &StepId) {
        let Some(&index) = self.state.index.get(step) else { return };
        let effects = &self.state.steps[index].effects;
        if self.state.plan().steps[index].undo == Undo::Restores && !effects.is_empty() {
            executor::keep(&mut self.effects, step, effects.clone());
        }
    }

    fn remember_all(&mut self) {
        let plan = self.state.plan();
        let of = |pick: fn(&run::StepRecord) -> bool| {
            plan.steps.iter().zip(&self.state.steps).filter(move |(_, own)| pick(own))
        };
        let outputs = of(|own| !own.outputs.is_empty())
            .map(|(step, own)| (step.id.clone(), own.outputs.clone()))
            .collect();
        let effects = of(|own| !own.effects.is_empty())
            .filter(|(step, _)| step.undo == Undo::Restores)
            .map(|(step, own)| (step.id.clone(), own.effects.clone()))
            .collect();
        self.outputs = Arc::new(outputs);
        self.effects = Arc::new(effects);
    }
}

/// What one round has decided: facts already in the journal's batch, and commands that wait for its sync.
#[derive(Default)]
struct Batch {
    records: Vec<Record>,
    commands: Vec<Command>,
    anchor: bool,
}

impl Batch {
    /// Tasks that these commands will start.
    fn starts(&self) -> usize {
        let starts =
            |it: &&Command| matches!(it, Command::Start(_) | Command::Undo(_) | Command::Probe(_));
        self.commands.iter().filter(starts).count()
    }

    fn finishes(&self) -> bool {
        self.commands.contains(&Command::Finish)
    }
}
