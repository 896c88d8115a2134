//! The fold: what all facts so far add up to. `fold(all) == fold(prefix) then fold(rest)` at every cut.

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;

use super::frontier::Frontier;
use super::transition::{self, Move, Phase};
use super::{
    Ending, Event, Evidence, FailureClass, Header, Outputs, PersonRequest, Question, Record,
    RecordedEffect, Request, Resolution, Stage, StepError, StepId, Stop, Waiting,
};
use crate::plan::Plan;

/// Where a step stands. The one transition table is in [`super::transition`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum StepState {
    /// Its predecessors have not ended, or nobody has started it yet.
    Pending,
    /// It could start but for this.
    Waiting(Waiting),
    /// This attempt is under way (or was, when the process died).
    Running(u32),
    /// Ended well.
    Succeeded,
    /// Left out.
    Skipped,
    /// The last attempt ended badly; another may follow.
    Failed,
    /// An effect's outcome is unknown.
    InDoubt,
    /// Waits for an operator.
    Held,
    /// Being taken back.
    Undoing,
    /// Taken back.
    Undone,
    /// Could not be taken back.
    UndoFailed,
}

/// Everything known about one step.
#[derive(Debug, Clone, PartialEq)]
pub struct StepRecord {
    /// See [`StepState`].
    pub state: StepState,
    /// Attempts begun.
    pub attempts: u32,
    /// Attempts begun before the last resume or decision of a person; retries count from here.
    pub attempts_before: u32,
    /// When the first attempt began.
    pub first_started: Option<Timestamp>,
    /// The attempt before the last one never said how it ended: its process died inside it.
    pub cut_off: bool,
    /// When the last attempt began.
    pub last_started: Option<Timestamp>,
    /// When the last attempt ended.
    pub ended: Option<Timestamp>,
    /// How often the run had been resumed when it ended.
    pub ended_in: u32,
    /// Its effects in the order of their first intent; those not done are in doubt.
    pub effects: Vec<RecordedEffect>,
    /// Effects of its undo, each with the key of the effect it takes back.
    pub undo_effects: Vec<(String, RecordedEffect)>,
    /// Outputs.
    pub outputs: Outputs,
    /// Evidence.
    pub evidence: Vec<Evidence>,
    /// The last failure.
    pub failure: Option<StepError>,
    /// What was found when an effect stayed unknown.
    pub doubt: Option<String>,
    /// An open question to people, and who has said yes so far with their comments.
    pub question: Option<(Question, Vec<(String, String)>)>,
    /// Somebody said no: who, and why.
    pub refused: Option<(String, String)>,
    /// A planned hold was released, by whom.
    pub released: Option<String>,
    /// An undo that failed may be tried again.
    pub undo_again: bool,
    /// Undos begun since the last resume.
    undo_tries: u32,
    /// Effects that may or may not have happened and can be repeated, as they were first intended: whoever repeats them
    /// or takes them back needs the previous state of then.
    former: BTreeMap<String, RecordedEffect>,
}

/// Undos that one process tries of a step whose last one ended in a doubt that is settled.
const UNDO_TRIES: u32 = 3;

impl StepRecord {
    fn new() -> Self {
        Self {
            state: StepState::Pending,
            attempts: 0,
            attempts_before: 0,
            first_started: None,
            cut_off: false,
            last_started: None,
            ended: None,
            ended_in: 0,
            effects: Vec::new(),
            undo_effects: Vec::new(),
            outputs: Outputs::new(),
            evidence: Vec::new(),
            failure: None,
            doubt: None,
            question: None,
            refused: None,
            released: None,
            undo_again: false,
            undo_tries: 0,
            former: BTreeMap::new(),
        }
    }

    /// Effects whose outcome is not recorded: those of the undo while it runs, else those of the step.
    pub fn in_doubt(&self) -> impl Iterator<Item = &RecordedEffect> {
        self.effects
            .iter()
            .chain(self.undo_effects.iter().map(|(_, effect)| effect))
            .filter(|effect| !effect.done)
    }

    /// Whether nobody knows what became of one of its undo's effects.
    pub fn undo_in_doubt(&self) -> bool {
        self.undo_effects.iter().any(|(_, effect)| !effect.done)
    }

    /// The effect of that key: of the undo if it has one, else of the step.
    pub fn effect(&self, key: &str) -> Option<&RecordedEffect> {
        self.undo_effects
            .iter()
            .map(|(_, effect)| effect)
            .chain(&self.effects)
            .find(|effect| effect.intent.key == key)
    }

    fn effect_mut(&mut self, key: &str) -> Option<&mut RecordedEffect> {
        self.undo_effects
            .iter_mut()
            .map(|(_, effect)| effect)
            .chain(&mut self.effects)
            .find(|effect| effect.intent.key == key)
    }

    /// Effects that may be in place: nobody could tell, repeating them would have been harmless, and none was begun anew.
    fn perhaps(&self) -> impl Iterator<Item = &RecordedEffect> {
        let anew = |key: &String| self.effects.iter().any(|effect| effect.intent.key == *key);
        self.former.iter().filter(move |(key, _)| !anew(key)).map(|(_, effect)| effect)
    }

    /// What an attempt or an undo is told of the attempts before it: effects in the order of their first intents, then
    /// those that may be in place. The latter are not marked as done.
    pub fn recorded(&self) -> Vec<RecordedEffect> {
        self.effects.iter().chain(self.perhaps()).cloned().collect()
    }

    /// What an undo has to look at: effects that are in place, and those that may be.
    pub fn to_take_back(&self) -> Vec<RecordedEffect> {
        self.effects.iter().filter(|effect| effect.done).chain(self.perhaps()).cloned().collect()
    }

    /// Whether something of it is in place, or may be, that an undo would have to look at.
    pub fn has_effects(&self) -> bool {
        !self.to_take_back().is_empty()
    }
}

/// The whole run.
#[derive(Debug, Clone, PartialEq)]
pub struct RunState {
    /// The first fact; plan and fingerprint are replaced when an edited runbook was accepted.
    pub header: Header,
    /// When the run began.
    pub started: Timestamp,
    /// When the last fact was recorded.
    pub last: Timestamp,
    /// The latest time recorded since the run was last taken up; the wall clock may have been set back since.
    pub latest: Timestamp,
    /// Facts so far.
    pub records: u64,
    /// Processes that took the run up after the first.
    pub resumes: u32,
    /// The stage under way.
    pub stage: Option<Stage>,
    /// By index in the plan.
    pub steps: Vec<StepRecord>,
    /// Index of a step id.
    pub index: BTreeMap<StepId, usize>,
    /// What could start.
    pub frontier: Frontier,
    /// The point of no return was crossed by this step.
    pub crossed: Option<StepId>,
    /// A rollback is under way, and why.
    pub rolling_back: Option<String>,
    /// `migrate pause` was taken up and the run was not resumed since.
    pub paused: bool,
    /// `migrate abort` was taken up and the run was not resumed since.
    pub aborted: bool,
    /// Why the engine stopped last, if it has.
    pub stopped: Option<Stop>,
    /// The run is over.
    pub ended: Option<Ending>,
    /// Ids of person requests already taken up.
    pub taken_up: BTreeSet<String>,
}

/// A fact that can not follow the ones before it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum IllegalFact {
    /// The first fact must be `run_started`.
    #[error("the first record is not `run_started`")]
    NoHeader,
    /// A second header.
    #[error("record {seq}: a second `run_started`")]
    SecondHeader {
        /// The record.
        seq: u64,
    },
    /// Its plan does not hang together.
    #[error("record {seq}: in its plan, step `{step}` {what}")]
    BrokenPlan {
        /// The record.
        seq: u64,
        /// The step.
        step: StepId,
        /// What is wrong with it.
        what: String,
    },
    /// It names a step that the plan does not have.
    #[error("record {seq}: the plan has no step `{step}`")]
    NoSuchStep {
        /// The record.
        seq: u64,
        /// The step.
        step: StepId,
    },
    /// Not a row of the table.
    #[error("record {seq}: step `{step}` can not go from {from:?} by {fact:?}")]
    Transition {
        /// The record.
        seq: u64,
        /// The step.
        step: StepId,
        /// Where it stands.
        from: Phase,
        /// The fact.
        fact: Move,
    },
    /// It speaks of an effect without an intent.
    #[error("record {seq}: step `{step}` has no intent `{key}`")]
    NoIntent {
        /// The record.
        seq: u64,
        /// The step.
        step: StepId,
        /// The intent's key.
        key: String,
    },
}

impl RunState {
    /// From the first record.
    pub fn begin(record: &Record) -> Result<Self, IllegalFact> {
        let Event::RunStarted(header) = &record.event else {
            return Err(IllegalFact::NoHeader);
        };
        let steps = vec![StepRecord::new(); header.plan.steps.len()];
        Ok(Self {
            index: index(&header.plan, record.seq)?,
            frontier: Frontier::over(&header.plan, &steps),
            header: Header::clone(header),
            started: record.at,
            last: record.at,
            latest: record.at,
            records: 1,
            resumes: 0,
            stage: None,
            steps,
            crossed: None,
            rolling_back: None,
            paused: false,
            aborted: false,
            stopped: None,
            ended: None,
            taken_up: BTreeSet::new(),
        })
    }

    /// The plan.
    pub fn plan(&self) -> &Plan {
        &self.header.plan
    }

    /// The step of that id.
    pub fn step(&self, id: &StepId) -> Option<&StepRecord> {
        self.index.get(id).map(|&at| &self.steps[at])
    }

    /// Folds one more record in.
    pub fn apply(&mut self, record: &Record) -> Result<(), IllegalFact> {
        if let Some((step, fact, to)) = transition::of(&record.event) {
            self.move_step(record, step, fact, to)?;
        }
        self.apply_details(record)?;
        self.records += 1;
        self.last = record.at;
        self.latest = match record.event {
            Event::RunResumed { .. } => record.at,
            _ => self.latest.max(record.at),
        };
        Ok(())
    }

    fn at(&self, record: &Record, step: &StepId) -> Result<usize, IllegalFact> {
        self.index
            .get(step)
            .copied()
            .ok_or_else(|| IllegalFact::NoSuchStep { seq: record.seq, step: step.clone() })
    }

    fn move_step(
        &mut self,
        record: &Record,
        step: &StepId,
        fact: Move,
        to: StepState,
    ) -> Result<(), IllegalFact> {
        let at = self.at(record, step)?;
        let from = self.steps[at].state.phase();
        if transition::next(from, fact) != Some(to.phase()) {
            return Err(IllegalFact::Transition {
                seq: record.seq,
                step: step.clone(),
                from,
                fact,
            });
        }
        self.frontier.moved(at, &to, self.header.plan.steps[at].on_failure);
        let own = &mut self.steps[at];
        match fact {
            Move::Started => {
                own.attempts += 1;
                own.cut_off = from == Phase::Running;
                own.first_started.get_or_insert(record.at);
                own.last_started = Some(record.at);
                own.doubt = None;
            }
            Move::UndoStarted => {
                own.undo_again = false;
                own.undo_tries += 1;
            }
            Move::Succeeded | Move::Failed | Move::Skipped | Move::InDoubt => {
                own.ended = Some(record.at);
                own.ended_in = self.resumes;
            }
            _ => {}
        }
        own.state = to;
        Ok(())
    }

    fn apply_details(&mut self, record: &Record) -> Result<(), IllegalFact> {
        match &record.event {
            Event::RunStarted(_) => return Err(IllegalFact::SecondHeader { seq: record.seq }),
            Event::RunResumed { .. } => self.resumed(),
            Event::PlanChanged { plan, fingerprint } => {
                let index = index(plan, record.seq)?;
                self.replan(plan, fingerprint, index);
            }
            Event::StageStarted { stage } => self.stage = Some(*stage),
            Event::Intent { step, intent, undoes } => {
                let at = self.at(record, step)?;
                intend(&mut self.steps[at], intent, undoes.as_deref());
            }
            Event::Sent { step, key, sent } => {
                self.effect(record, step, key)?.sent = Some(sent.clone());
            }
            Event::Done { step, key, observed, .. } => {
                let effect = self.effect(record, step, key)?;
                effect.done = true;
                effect.observed = Some(observed.clone());
                let at = self.at(record, step)?;
                self.steps[at].former.remove(key);
                self.settled(record, step)?;
            }
            Event::NotDone { step, key, certain, .. } => {
                let perhaps = self.effect(record, step, key)?.clone();
                let at = self.at(record, step)?;
                let own = &mut self.steps[at];
                if !*certain && own.effects.iter().any(|effect| effect.intent.key == *key) {
                    own.former.entry(key.clone()).or_insert(perhaps);
                }
                own.effects.retain(|effect| effect.done || effect.intent.key != *key);
                own.undo_effects.retain(|(_, effect)| effect.done || effect.intent.key != *key);
                self.settled(record, step)?;
            }
            Event::Asked { step, question } => {
                let at = self.at(record, step)?;
                self.steps[at].question = Some((question.clone(), Vec::new()));
            }
            Event::PersonActed(request) => self.person(record, request)?,
            Event::StepSucceeded { step, outputs, evidence } => {
                let at = self.at(record, step)?;
                self.steps[at].outputs = outputs.clone();
                self.steps[at].evidence.clone_from(evidence);
                self.steps[at].failure = None;
            }
            Event::ReadingExpired { step } => {
                let at = self.at(record, step)?;
                self.frontier.reopen(at);
            }
            Event::StepFailed { step, failure } | Event::UndoFailed { step, failure } => {
                let at = self.at(record, step)?;
                self.steps[at].failure = Some(failure.clone());
            }
            Event::StepInDoubt { step, evidence } => {
                let at = self.at(record, step)?;
                self.steps[at].doubt = Some(evidence.clone());
            }
            Event::PointOfNoReturnCrossed { step } => self.crossed = Some(step.clone()),
            Event::RollbackStarted { why } => {
                self.rolling_back = Some(why.clone());
                self.ended = None;
            }
            Event::RunStopped { stop } => self.stopped = Some(*stop),
            Event::RunEnded { ending } => self.ended = Some(*ending),
            Event::StayedUnknown { .. }
            | Event::TailRepaired { .. }
            | Event::StepWaiting { .. }
            | Event::StepStarted { .. }
            | Event::StepSkipped { .. }
            | Event::StepHeld { .. }
            | Event::UndoStarted { .. }
            | Event::StepUndone { .. } => {}
        }
        Ok(())
    }

    fn effect(
        &mut self,
        record: &Record,
        step: &StepId,
        key: &str,
    ) -> Result<&mut RecordedEffect, IllegalFact> {
        let at = self.at(record, step)?;
        self.steps[at].effect_mut(key).ok_or_else(|| IllegalFact::NoIntent {
            seq: record.seq,
            step: step.clone(),
            key: key.to_owned(),
        })
    }

    /// An effect's outcome became known. An undo that ended in the doubt is tried again. A step that was stopped by the doubt alone may go on; three times at most
    /// without its author's or a person's word, so that a target that loses every reply does not spin.
    fn settled(&mut self, record: &Record, step: &StepId) -> Result<(), IllegalFact> {
        let at = self.at(record, step)?;
        let own = &self.steps[at];
        let idle = matches!(own.state, StepState::Failed | StepState::Held | StepState::InDoubt)
            || (matches!(own.state, StepState::Running(_)) && !self.frontier.running.contains(&at));
        let by_doubt = own.state != StepState::Failed
            || own.failure.as_ref().is_none_or(|last| last.class == FailureClass::Unknown);
        let by_doubt =
            by_doubt && (own.state != StepState::Held || own.attempts == own.attempts_before);
        let clear = own.in_doubt().next().is_none();
        if own.state == StepState::UndoFailed && clear && own.undo_tries < UNDO_TRIES {
            self.steps[at].undo_again = true;
            return Ok(());
        }
        let tries = own.attempts - own.attempts_before;
        let bound = self.header.plan.steps[at].retry.attempts.max(3);
        if idle && by_doubt && tries < bound && self.rolling_back.is_none() && clear {
            self.frontier.again(at);
        }
        Ok(())
    }

    /// A new process: what failed may be tried again; what was cut off or is in doubt is settled first.
    fn resumed(&mut self) {
        self.resumes += 1;
        self.paused = false;
        self.aborted = false;
        self.stopped = None;
        self.frontier.running.clear();
        for at in 0..self.steps.len() {
            let own = &mut self.steps[at];
            own.attempts_before = own.attempts;
            own.refused = None;
            own.undo_tries = 0;
            own.undo_again = own.state == StepState::UndoFailed;
            let again = match own.state {
                StepState::Failed => {
                    self.header.plan.steps[at].on_failure != crate::plan::OnFailure::Continue
                }
                StepState::Held | StepState::Running(_) | StepState::InDoubt => {
                    own.in_doubt().next().is_none()
                }
                _ => false,
            };
            if again && self.rolling_back.is_none() {
                self.frontier.again(at);
            }
        }
    }

    fn replan(&mut self, plan: &Plan, fingerprint: &str, index: BTreeMap<StepId, usize>) {
        let mut old: BTreeMap<&StepId, StepRecord> =
            self.header.plan.steps.iter().map(|step| &step.id).zip(self.steps.drain(..)).collect();
        self.steps = plan
            .steps
            .iter()
            .map(|step| old.remove(&step.id).unwrap_or_else(StepRecord::new))
            .collect();
        self.header.plan = plan.clone();
        fingerprint.clone_into(&mut self.header.fingerprint);
        self.index = index;
        self.frontier = Frontier::over(plan, &self.steps);
    }

    fn person(&mut self, record: &Record, request: &PersonRequest) -> Result<(), IllegalFact> {
        self.taken_up.insert(request.id.clone());
        let by = request.by.user.clone();
        match &request.request {
            Request::Approve { step } => {
                let at = self.at(record, step)?;
                let own = &mut self.steps[at];
                if own.state == StepState::Waiting(Waiting::Hold) {
                    own.released = Some(by);
                    self.frontier.again(at);
                } else if let Some((_, yes)) = &mut own.question
                    && yes.iter().all(|(who, _)| *who != by)
                {
                    yes.push((by, request.comment.clone()));
                }
            }
            Request::Refuse { step } => {
                let at = self.at(record, step)?;
                self.steps[at].refused = Some((by, request.comment.clone()));
            }
            Request::Pause => self.paused = true,
            Request::Abort => self.aborted = true,
            Request::Resolve { step, as_ } => {
                let at = self.at(record, step)?;
                self.steps[at].attempts_before = self.steps[at].attempts;
                let passed_over = self.steps[at].state == StepState::Failed
                    && self.header.plan.steps[at].on_failure == crate::plan::OnFailure::Continue;
                match as_ {
                    Resolution::Skip => {}
                    // The run had gone on without it; what comes after it waits for the new try.
                    _ if passed_over => self.frontier.reopen(at),
                    _ => self.frontier.again(at),
                }
            }
        }
        Ok(())
    }
}

/// Position of each id, in a plan that hangs together: no id twice, nothing after a step that is not there.
fn index(plan: &Plan, seq: u64) -> Result<BTreeMap<StepId, usize>, IllegalFact> {
    let mut index = BTreeMap::new();
    for (at, step) in plan.steps.iter().enumerate() {
        let broken = |what: &str| {
            Err(IllegalFact::BrokenPlan { seq, step: step.id.clone(), what: what.to_owned() })
        };
        if step.after.iter().any(|&before| before >= plan.steps.len()) {
            return broken("comes after a step that is not there");
        }
        if index.insert(step.id.clone(), at).is_some() {
            return broken("stands twice");
        }
    }
    Ok(index)
}

fn intend(own: &mut StepRecord, intent: &super::Intent, undoes: Option<&str>) {
    let mut fresh =
        RecordedEffect { intent: intent.clone(), sent: None, observed: None, done: false };
    if let (Some(former), None) = (own.former.get(&intent.key), undoes) {
        fresh.intent.before = former.intent.before.clone();
    }
    match undoes {
        Some(undone) => {
            own.undo_effects.retain(|(_, effect)| effect.intent.key != intent.key);
            own.undo_effects.push((undone.to_owned(), fresh));
        }
        None => match own.effects.iter_mut().find(|effect| effect.intent.key == intent.key) {
            Some(effect) => *effect = fresh,
            None => own.effects.push(fresh),
        },
    }
}
