//! Every stop answers: what was attempted, what is known about the target, and which command is safe to type next.

use serde::Serialize;

use super::overview::Standing;
use super::phrase;
use crate::plan::{OnFailure, PlannedStep};
use crate::run::{
    Ending, RecordedEffect, RunId, RunState, StepId, StepRecord, StepState, Stop, Undo, Waiting,
};

/// A command and what it is for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Advice {
    /// To be typed as it stands.
    pub command: String,
    /// When to type it.
    pub why: String,
}

impl Advice {
    fn new(command: impl Into<String>, why: impl Into<String>) -> Self {
        Self { command: command.into(), why: why.into() }
    }

    pub(super) fn start_with(&mut self, program: &str) {
        if let Some(arguments) = self.command.strip_prefix("migrate ") {
            self.command = format!("{program} {arguments}");
        }
    }
}

/// A step that keeps the run from going on.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Halt {
    /// The step.
    pub step: StepId,
    /// Its kind.
    pub uses: String,
    /// Where it was written: `wave-3.yaml:31`.
    pub place: String,
    /// Its state in one word.
    pub state: &'static str,
    /// Attempts begun.
    pub attempts: u32,
    /// Code of the failure; `migrate explain` has its page.
    pub code: Option<String>,
    /// What was attempted.
    pub attempted: String,
    /// What is known about the target now.
    pub known: Vec<String>,
    /// Cause chain, outermost first.
    pub causes: Vec<String>,
    /// What the step itself advises.
    pub hint: Option<String>,
    /// What may be typed about this step.
    pub options: Vec<Advice>,
}

/// Every step that keeps the run from going on, in the order of the plan.
pub(super) fn halts(state: &RunState, standing: Standing) -> Vec<Halt> {
    let over = matches!(standing, Standing::Ended(Ending::Completed | Ending::RolledBack));
    let plan = &state.header.plan;
    plan.steps
        .iter()
        .zip(&state.steps)
        .filter(|(planned, step)| !over && keeps_back(planned, step, standing))
        .map(|(planned, step)| halt(&state.header.run, planned, step))
        .collect()
}

fn keeps_back(planned: &PlannedStep, step: &StepRecord, standing: Standing) -> bool {
    let taken_back = standing == Standing::Ended(Ending::RollbackIncomplete);
    if taken_back && step.effects.is_empty() && step.doubt.is_none() {
        // Whatever it waited for or failed at: it leaves nobody anything to do by hand.
        return step.state == StepState::UndoFailed;
    }
    match &step.state {
        StepState::Failed => planned.on_failure != OnFailure::Continue,
        StepState::InDoubt
        | StepState::Held
        | StepState::UndoFailed
        | StepState::Waiting(Waiting::Hold) => true,
        StepState::Waiting(_) => standing != Standing::Live,
        StepState::Running(_) | StepState::Undoing => {
            standing != Standing::Live || step.question.is_some()
        }
        StepState::Pending | StepState::Succeeded | StepState::Skipped | StepState::Undone => false,
    }
}

fn halt(run: &RunId, planned: &PlannedStep, step: &StepRecord) -> Halt {
    let failure = step.failure.as_ref();
    let mut known: Vec<String> = failure.iter().map(|failure| failure.known.clone()).collect();
    known.extend(step.doubt.clone());
    known.extend(step.refused.iter().map(|(by, comment)| {
        if comment.is_empty() {
            format!("{by} said no")
        } else {
            format!("{by} said no: {comment}")
        }
    }));
    let own = step.effects.iter().map(|effect| effect_known(effect, "in place"));
    let back = step.undo_effects.iter().map(|(_, effect)| effect_known(effect, "taken back"));
    known.extend(own.chain(back));
    if known.is_empty() {
        known.push("this step has changed nothing".to_owned());
    }
    Halt {
        step: planned.id.clone(),
        uses: planned.uses.clone(),
        place: format!("{}:{}", planned.source.0, planned.source.1),
        state: phrase::standing(step),
        attempts: step.attempts,
        code: failure.filter(|_| !phrase::was_stopped(step)).map(|failure| failure.code.clone()),
        attempted: attempted(planned, step),
        known,
        causes: failure.map(|failure| failure.causes.clone()).unwrap_or_default(),
        hint: failure.and_then(|failure| failure.hint.clone()),
        options: options(run, &planned.id, step),
    }
}

fn attempted(planned: &PlannedStep, step: &StepRecord) -> String {
    let in_doubt = step.in_doubt().next();
    match (&step.state, &step.question, &step.failure, in_doubt) {
        (StepState::Waiting(waiting), ..) => match waiting {
            Waiting::Window { opens } => {
                format!(
                    "{} waits for the window, which opens {}",
                    planned.uses,
                    phrase::moment(*opens)
                )
            }
            Waiting::Hold => {
                format!("{} is held back by the runbook until it is released", planned.uses)
            }
            Waiting::Backoff { .. } => format!("{} waits for its next attempt", planned.uses),
        },
        (StepState::Running(_), Some((question, yes)), ..) => {
            format!("asked: {} ({} of {} said yes)", question.ask, yes.len(), question.approvers)
        }
        (_, _, Some(failure), _) => failure.attempted.clone(),
        (.., Some(effect)) => phrase::intent(&effect.intent),
        _ => planned.uses.clone(),
    }
}

fn effect_known(effect: &RecordedEffect, done: &str) -> String {
    let what = phrase::intent(&effect.intent);
    if effect.done {
        return format!("{done}: {what}");
    }
    match effect.sent.as_ref().and_then(|sent| sent.request_id.as_deref()) {
        Some(id) => format!("in doubt: {what} (request {id} left)"),
        None => format!("in doubt: {what}"),
    }
}

/// What a person may decide about this step.
fn options(run: &RunId, id: &StepId, step: &StepRecord) -> Vec<Advice> {
    let id = phrase::typed(id.as_str());
    let resolve =
        |flag: &str, why: &str| Advice::new(format!("migrate resolve {run} {id} {flag}"), why);
    let unknown = step.doubt.is_some() || step.in_doubt().next().is_some();
    match &step.state {
        StepState::Running(_) if step.question.is_some() => vec![
            Advice::new(format!("migrate approve {run} {id}"), "yes"),
            Advice::new(format!("migrate approve {run} {id} --refuse"), "no"),
        ],
        StepState::Waiting(Waiting::Hold) => {
            vec![Advice::new(format!("migrate approve {run} {id}"), "releases the hold")]
        }
        StepState::Failed if phrase::was_stopped(step) => Vec::new(),
        StepState::InDoubt | StepState::Held if unknown => vec![
            resolve("--done", "you looked, and the change is in place"),
            resolve("--not-done", "you looked, and nothing was changed; the step runs again"),
        ],
        StepState::InDoubt | StepState::Held | StepState::Failed => vec![
            resolve("--retry", "the cause is gone: try again"),
            resolve("--skip", "leave the step out; what follows it goes on"),
        ],
        _ => Vec::new(),
    }
}

/// What to type next, the safest first.
pub(super) fn next(state: &RunState, standing: Standing, halts: &[Halt]) -> Vec<Advice> {
    let run = &state.header.run;
    let resume = |why: &str| Advice::new(format!("migrate resume {run}"), why);
    match standing {
        Standing::Ended(Ending::Completed) => {
            vec![Advice::new(
                format!("migrate journal verify {run}"),
                "proves the record of this run",
            )]
        }
        Standing::Ended(Ending::RolledBack) => vec![Advice::new(
            // Never the real world, where the run was a rehearsal.
            format!(
                "migrate run {}{}",
                phrase::typed(&state.header.runbook),
                if state.header.sandbox { " --sandbox" } else { "" }
            ),
            "a new run, once the cause is gone",
        )],
        Standing::Ended(Ending::RollbackIncomplete) => vec![Advice::new(
            format!("migrate rollback {run}"),
            "again, once the cause is gone; or do by hand what is listed above",
        )],
        Standing::Live => {
            let mut advice = first_options(halts);
            advice.push(Advice::new(format!("migrate pause {run}"), "starts no further step"));
            advice
        }
        Standing::CutOff => {
            vec![resume("asks the target about everything in doubt, then goes on")]
        }
        Standing::Stopped(Stop::Interrupted | Stop::Terminated | Stop::Paused | Stop::Aborted) => {
            vec![resume("goes on where it stopped; every gate is evaluated again")]
        }
        Standing::Stopped(Stop::WaitsForPerson | Stop::Halted) => {
            let mut advice = first_options(halts);
            let why = if advice.is_empty() {
                "tries again what failed, once the cause is gone; every gate is evaluated again"
            } else {
                "then goes on; every gate is evaluated again"
            };
            advice.push(resume(why));
            advice
        }
    }
}

/// What only a person can settle comes first; a mere failure is tried again by `resume` itself.
fn first_options(halts: &[Halt]) -> Vec<Advice> {
    halts
        .iter()
        .filter(|halt| {
            matches!(halt.state, "running" | "on hold")
                || halt.options.iter().any(|option| option.command.ends_with("--done"))
        })
        .flat_map(|halt| halt.options.iter().cloned())
        .collect()
}

/// How to take the run back, while that is possible.
pub(super) fn undo(state: &RunState, standing: Standing) -> Option<Advice> {
    let restores = |effect: &RecordedEffect| effect.intent.undo == Undo::Restores;
    let something = state.steps.iter().flat_map(|step| &step.effects).any(restores);
    let why = match standing {
        _ if state.crossed.is_some() => return None,
        Standing::Ended(Ending::RolledBack) => return None,
        _ if something => "takes back every effect that restores, the last one first",
        Standing::Ended(_) => return None,
        _ => "ends the run; nothing would have to be taken back",
    };
    Some(Advice::new(format!("migrate rollback {}", state.header.run), why))
}
