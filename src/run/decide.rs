//! What follows from one input: facts to make durable, then commands to carry out. Pure.

use jiff::Timestamp;
use serde_json::Value;

use super::recovery::{self, Recovery};
use super::{
    Answer, EffectId, Ending, Event, FailureClass, Intent, Outcome, PersonRequest, Question,
    Request, Resolution, RunState, Sent, StepError, StepId, StepState, Stop, Verdict, Waiting,
};
use crate::clock::{Now, advance};
use crate::plan::OnFailure;

/// Something that happened, on its way to the dispatcher.
#[derive(Debug)]
pub enum Input {
    /// The engine is up: settle what an earlier process left, then go on.
    Began,
    /// A running step declares a change.
    Intend {
        /// The step.
        step: StepId,
        /// The change.
        intent: Intent,
        /// Set while the step is being undone.
        undoes: Option<String>,
    },
    /// A permitted request left.
    Sent(EffectId, Sent),
    /// A permitted change is in place.
    Done(EffectId, Value),
    /// A permitted change was refused by the target.
    NotDone(EffectId, String),
    /// A running step asks people.
    Asks(StepId, Question),
    /// An attempt ended.
    Ended(StepId, Result<Outcome, StepError>),
    /// An attempt found its `when` false.
    NotWanted(StepId, String),
    /// An undo ended.
    Undone(StepId, Result<(), StepError>),
    /// An effect in doubt was probed.
    Probed(EffectId, Verdict),
    /// Somebody acted.
    Person(PersonRequest),
    /// The run is to be taken back.
    RollBack(String),
    /// A signal, or any other reason to start nothing more.
    Stop(Stop),
    /// A deadline passed: a window opened, a pause between attempts ended.
    Woke,
}

/// Something to carry out, only after the facts are durable.
#[derive(Debug, Clone, PartialEq)]
pub enum Command {
    /// Let the effect happen.
    Permit(EffectId),
    /// It has happened before.
    AlreadyDone(EffectId, Value),
    /// The fact is durable; the step may go on.
    Acknowledge(EffectId),
    /// Refuse what a step wants.
    Deny(EffectId, StepError),
    /// Ask people at the terminal, if there is one.
    Ask(StepId, Question),
    /// People have answered.
    Answer(StepId, Answer),
    /// Start an attempt.
    Start(usize),
    /// Probe an effect in doubt.
    Probe(EffectId),
    /// Take a step back.
    Undo(usize),
    /// Ask every running attempt to stop where it can be resumed.
    Cancel,
    /// Come back when the wall clock shows this.
    WakeAt(Timestamp),
    /// Come back when the steady clock shows this.
    WakeAfter(Timestamp),
    /// End the engine; the facts say how.
    Finish,
}

/// Facts, then commands.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Decision {
    /// To be journalled, in this order.
    pub facts: Vec<Event>,
    /// To be carried out after the sync.
    pub commands: Vec<Command>,
}

impl Decision {
    fn fact(mut self, event: Event) -> Self {
        self.facts.push(event);
        self
    }

    fn command(mut self, command: Command) -> Self {
        self.commands.push(command);
        self
    }
}

/// Decides on one input. [`super::schedule`] then decides what starts next.
pub fn decide(state: &RunState, input: Input, now: impl Into<Now>) -> Decision {
    let (none, now) = (Decision::default(), now.into());
    match input {
        Input::Began => settle(state),
        Input::Intend { step, intent, undoes } => intend(state, step, intent, undoes),
        Input::Sent(effect, sent) => none
            .fact(Event::Sent { step: effect.step.clone(), key: effect.key.clone(), sent })
            .command(Command::Acknowledge(effect)),
        Input::Done(effect, observed) => {
            none.fact(done(&effect, observed, false)).command(Command::Acknowledge(effect))
        }
        Input::NotDone(effect, why) => {
            none.fact(not_done(&effect, why, true)).command(Command::Acknowledge(effect))
        }
        Input::Asks(step, question) => ask(state, step, question, now),
        Input::Ended(step, result) => ended(state, step, result, now),
        Input::NotWanted(step, why) => none.fact(Event::StepSkipped { step, why }),
        Input::Undone(step, result) => undone(state, step, result),
        Input::Probed(effect, verdict) => probed(state, effect, verdict),
        Input::Person(request) => person(state, request, now),
        Input::RollBack(why) => roll_back(state, why),
        Input::Stop(_) => none.command(Command::Cancel),
        Input::Woke => none,
    }
}

fn done(effect: &EffectId, observed: Value, probed: bool) -> Event {
    Event::Done { step: effect.step.clone(), key: effect.key.clone(), observed, probed }
}

fn not_done(effect: &EffectId, why: String, certain: bool) -> Event {
    Event::NotDone { step: effect.step.clone(), key: effect.key.clone(), why, certain }
}

/// Probes every effect that an earlier process left in doubt.
fn settle(state: &RunState) -> Decision {
    let mut decision = Decision::default();
    for (own, planned) in state.steps.iter().zip(&state.plan().steps) {
        for effect in own.in_doubt() {
            decision.commands.push(Command::Probe(EffectId {
                step: planned.id.clone(),
                key: effect.intent.key.clone(),
            }));
        }
    }
    decision
}

fn intend(state: &RunState, step: StepId, intent: Intent, undoes: Option<String>) -> Decision {
    let effect = EffectId { step: step.clone(), key: intent.key.clone() };
    let known = state.step(&step).and_then(|own| match &undoes {
        Some(_) => own.undo_effects.iter().map(|(_, e)| e).find(|e| e.intent.key == intent.key),
        None => own.effects.iter().find(|e| e.intent.key == intent.key),
    });
    if let Some(observed) = known.filter(|known| known.done).and_then(|k| k.observed.clone()) {
        return Decision::default().command(Command::AlreadyDone(effect, observed));
    }
    let turned_back = state.rolling_back.is_some() && undoes.is_none();
    if state.aborted || turned_back {
        let refused = StepError::cancelled("starting a change after a stop was asked for");
        return Decision::default().command(Command::Deny(effect, refused));
    }
    Decision::default()
        .fact(Event::Intent { step, intent, undoes })
        .command(Command::Permit(effect))
}

fn ask(state: &RunState, step: StepId, question: Question, now: Now) -> Decision {
    let mut decision = Decision::default();
    let known = state.step(&step).and_then(|own| own.question.as_ref());
    if known.is_none_or(|(asked, _)| asked.ask != question.ask) {
        decision = decision.fact(Event::Asked { step: step.clone(), question: question.clone() });
    }
    if let Some(answer) = answer(state, &step, &question, now) {
        return decision.command(Command::Answer(step, answer));
    }
    if state.header.assume_yes && state.header.sandbox {
        for nth in 0..question.approvers {
            let user = question
                .from
                .get(nth as usize)
                .cloned()
                .unwrap_or_else(|| format!("sandbox-yes-{}", nth + 1));
            decision = decision.fact(Event::PersonActed(PersonRequest {
                id: format!("yes-{step}-{nth}"),
                by: super::Operator { user, host: state.header.operator.host.clone() },
                comment: "answered by --yes in a sandbox run".to_owned(),
                request: Request::Approve { step: step.clone() },
            }));
        }
        return decision;
    }
    if let Some(expires) = question.expires {
        decision = decision.command(Command::WakeAt(expires));
    }
    decision.command(Command::Ask(step, question))
}

/// The answer, once it is complete: a refusal, enough approvals, or the end of the time to answer.
pub(super) fn answer(
    state: &RunState,
    step: &StepId,
    question: &Question,
    now: Now,
) -> Option<Answer> {
    let own = state.step(step)?;
    if let Some((who, why)) = &own.refused {
        return Some(Answer {
            approved: false,
            people: vec![who.clone()],
            comments: vec![why.clone()],
        });
    }
    let (_, yes) = own.question.as_ref()?;
    let enough = usize::try_from(question.approvers).is_ok_and(|needed| yes.len() >= needed);
    if !enough && question.expires.is_none_or(|expires| now.latest() < expires) {
        return None;
    }
    let (people, mut comments): (Vec<_>, Vec<_>) = yes.iter().cloned().unzip();
    if !enough {
        comments.push("the time to answer ran out".to_owned());
    }
    Some(Answer { approved: enough, people, comments })
}

fn ended(state: &RunState, step: StepId, result: Result<Outcome, StepError>, now: Now) -> Decision {
    let Some((index, own)) = state.index.get(&step).map(|&at| (at, &state.steps[at])) else {
        return Decision::default();
    };
    let unsettled: Vec<_> = own.in_doubt().map(|effect| effect.intent.key.clone()).collect();
    if !unsettled.is_empty() {
        let failure = result.err().unwrap_or_else(|| {
            StepError::new(
                FailureClass::Unknown,
                "MIG0705",
                format!("{step}: carry out its effects"),
                "the step ended without saying what became of them",
            )
        });
        let unknown = failure.class == FailureClass::Unknown;
        let mut decision =
            Decision::default().fact(Event::StepFailed { step: step.clone(), failure });
        if !unknown {
            decision = decision.fact(Event::StepHeld { step: step.clone() });
        }
        for key in unsettled {
            decision = decision.command(Command::Probe(EffectId { step: step.clone(), key }));
        }
        return decision;
    }
    match result {
        Ok(outcome) => {
            let decision = Decision::default().fact(Event::StepSucceeded {
                step: step.clone(),
                outputs: outcome.outputs,
                evidence: outcome.evidence,
            });
            if state.plan().steps[index].point_of_no_return {
                return decision.fact(Event::PointOfNoReturnCrossed { step });
            }
            decision
        }
        Err(failure) if failure.class == FailureClass::Unknown => {
            let evidence = failure.to_string();
            Decision::default()
                .fact(Event::StepInDoubt { step: step.clone(), evidence })
                .fact(Event::StepHeld { step })
        }
        Err(failure) => failed(state, index, step, failure, now),
    }
}

fn failed(state: &RunState, index: usize, step: StepId, failure: StepError, now: Now) -> Decision {
    let (planned, own) = (&state.plan().steps[index], &state.steps[index]);
    let tries = own.attempts - own.attempts_before;
    let again = failure.retryable && tries < planned.retry.attempts;
    let stopped = failure.class == FailureClass::Cancelled;
    let decision = Decision::default().fact(Event::StepFailed { step: step.clone(), failure });
    if again {
        // A pause lasts; it does not end at a moment.
        let until = advance(now.steady, backoff(state, &step, tries, planned.retry.backoff));
        return decision
            .fact(Event::StepWaiting { step, waiting: Waiting::Backoff { until } })
            .command(Command::WakeAfter(until));
    }
    if stopped {
        return decision;
    }
    match planned.on_failure {
        OnFailure::Continue => decision,
        OnFailure::Rollback if state.crossed.is_none() && state.rolling_back.is_none() => decision
            .fact(Event::StepHeld { step: step.clone() })
            .fact(Event::RollbackStarted { why: format!("step {step} failed") })
            .command(Command::Cancel),
        OnFailure::Rollback | OnFailure::Hold => decision.fact(Event::StepHeld { step }),
    }
}

/// Doubles with each try up to 32 times the first pause, less up to a quarter by a jitter that the run id, step and try
/// determine: two hundred lanes do not come back at the same moment, and the same journal decides the same.
fn backoff(
    state: &RunState,
    step: &StepId,
    tries: u32,
    first: std::time::Duration,
) -> std::time::Duration {
    let seed = super::fingerprint(&Value::from(format!("{}{step}{tries}", state.header.run)));
    let jitter = u32::from_str_radix(&seed[..4], 16).unwrap_or(0);
    let full = first.saturating_mul(1 << tries.saturating_sub(1).min(5));
    let share = 1.0 - 0.25 * f64::from(jitter) / f64::from(0xffff);
    std::time::Duration::try_from_secs_f64(full.as_secs_f64() * share).unwrap_or(full)
}

fn probed(state: &RunState, effect: EffectId, verdict: Verdict) -> Decision {
    let Some(own) = state.step(&effect.step) else { return Decision::default() };
    let Some(recorded) = own.effect(&effect.key).filter(|recorded| !recorded.done) else {
        return Decision::default();
    };
    let action = recovery::decide(recorded.intent.repeat, verdict.answered());
    match (action, verdict) {
        (Recovery::RecordDone, Verdict::Done { observed }) => {
            Decision::default().fact(done(&effect, observed, true))
        }
        (Recovery::RunAgain, Verdict::Unknown { evidence }) => {
            let why = format!("unknown ({evidence}), and repeating it is harmless");
            Decision::default().fact(not_done(&effect, why, false))
        }
        (Recovery::RunAgain, _) => {
            Decision::default().fact(not_done(&effect, "a probe found it absent".to_owned(), true))
        }
        (_, verdict) => {
            let evidence = match &verdict {
                Verdict::Unknown { evidence } => evidence.clone(),
                Verdict::Done { .. } | Verdict::NotDone => String::new(),
            };
            let step = effect.step.clone();
            let undo = own.undo_effects.iter().any(|(_, it)| it.intent.key == effect.key);
            let unknown = Event::StayedUnknown { step: step.clone(), key: effect.key, verdict };
            let decision = Decision::default().fact(unknown);
            match own.state {
                StepState::Running(_) | StepState::Failed => {}
                StepState::Held if own.doubt.is_none() => {}
                StepState::Undoing if undo => {
                    let failure = StepError::new(
                        FailureClass::Unknown,
                        "MIG0705",
                        format!("{step}: take its effects back"),
                        "one of them may or may not be taken back",
                    );
                    return decision
                        .fact(Event::UndoFailed { step, failure: failure.cause(evidence) });
                }
                // Stands as it stood before the target was asked: left out, taken back or not, or in doubt before.
                _ => return decision,
            }
            decision
                .fact(Event::StepInDoubt { step: step.clone(), evidence })
                .fact(Event::StepHeld { step })
        }
    }
}

fn undone(state: &RunState, step: StepId, result: Result<(), StepError>) -> Decision {
    let unsettled: Vec<_> = state
        .step(&step)
        .into_iter()
        .flat_map(|own| own.in_doubt().map(|effect| effect.intent.key.clone()))
        .collect();
    match result {
        Ok(()) if unsettled.is_empty() => Decision::default().fact(Event::StepUndone { step }),
        // Settled and tried again by the schedule.
        Err(failure) if failure.class == FailureClass::Cancelled => Decision::default(),
        result => {
            let failure = result.err().unwrap_or_else(|| {
                StepError::new(
                    FailureClass::Unknown,
                    "MIG0705",
                    format!("{step}: take its effects back"),
                    "the undo ended without saying what became of them",
                )
            });
            let mut decision =
                Decision::default().fact(Event::UndoFailed { step: step.clone(), failure });
            for key in unsettled {
                decision = decision.command(Command::Probe(EffectId { step: step.clone(), key }));
            }
            decision
        }
    }
}

fn person(state: &RunState, request: PersonRequest, now: Now) -> Decision {
    if state.taken_up.contains(&request.id) {
        return Decision::default();
    }
    let known = |step: &StepId| state.index.contains_key(step);
    let decision = Decision::default().fact(Event::PersonActed(request.clone()));
    match request.request {
        Request::Approve { step } | Request::Refuse { step } if known(&step) => {
            if !may_answer(state, &step, &request.by.user) {
                return Decision::default();
            }
            // The fold knows the answer only after this fact: ask for it again right then.
            if state.step(&step).is_some_and(|own| own.question.is_some()) {
                return decision.command(Command::WakeAt(now.wall));
            }
            decision
        }
        Request::Pause => decision,
        Request::Abort => decision.command(Command::Cancel),
        Request::Resolve { step, as_ } if known(&step) => resolve(state, decision, &step, as_),
        _ => Decision::default(),
    }
}

/// A question that names people is answered by these only.
fn may_answer(state: &RunState, step: &StepId, user: &String) -> bool {
    let question = state.step(step).and_then(|own| own.question.as_ref());
    question.is_none_or(|(asked, _)| asked.from.is_empty() || asked.from.contains(user))
}

fn resolve(state: &RunState, mut decision: Decision, step: &StepId, as_: Resolution) -> Decision {
    let Some(own) = state.step(step) else { return decision };
    let stands = matches!(own.state, StepState::Held | StepState::Failed | StepState::InDoubt);
    // What became of an undo can be decided, but the step can not be left out any more.
    let undo = own.state == StepState::UndoFailed && as_ != Resolution::Skip;
    if !stands && !undo {
        return Decision::default();
    }
    for effect in own.in_doubt() {
        let id = EffectId { step: step.clone(), key: effect.intent.key.clone() };
        decision = match as_ {
            Resolution::Done => decision.fact(done(&id, effect.intent.after.clone(), false)),
            Resolution::NotDone => {
                decision.fact(not_done(&id, "decided by a person".to_owned(), true))
            }
            Resolution::Retry => {
                decision.fact(not_done(&id, "a person asked to try again".to_owned(), false))
            }
            Resolution::Skip => decision,
        };
    }
    match as_ {
        Resolution::Skip => {
            decision.fact(Event::StepSkipped { step: step.clone(), why: "by a person".to_owned() })
        }
        _ => decision,
    }
}

fn roll_back(state: &RunState, why: String) -> Decision {
    let under_way = state.rolling_back.is_some() && state.ended != Some(Ending::RollbackIncomplete);
    if under_way || state.crossed.is_some() {
        return Decision::default();
    }
    Decision::default().fact(Event::RollbackStarted { why }).command(Command::Cancel)
}
