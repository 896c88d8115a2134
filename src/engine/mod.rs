//! The engine: carries a plan out, one durable fact at a time.
//!
//! ```text
//! executor, signals, timers, inbox -> Input -> decide -> facts    -> append + sync -> sinks
//!                                                     -> commands -> carried out only after that
//! ```
//!
//! The dispatcher alone owns the journal and the order of facts. Attempts run as tasks and talk to it by messages; what
//! becomes ready together shares one sync. In memory the state may be ahead of the disk by the batch that is being
//! synced; nothing is shown, permitted or started from it before the sync has returned.
//!
//! Resume is not a mode: read, fold, settle what is in doubt, then the same decisions.

mod dispatcher;
mod dry_run;
mod executor;
mod freeze;
mod gate;
pub mod inbox;
mod signals;
#[cfg(test)]
mod tests;

use std::path::{Path, PathBuf};
use std::sync::Arc;

use jiff::Timestamp;
use tokio::sync::mpsc::UnboundedSender;

pub use dry_run::{DryStep, Shown, dry_run};

pub(crate) use signals::Signals;

use crate::journal::{Head, Journal, JournalError, Lock, LockError, Owner};
use crate::plan::Plan;
use crate::run::{
    Event, Finish, Header, IllegalFact, Operator, PersonRequest, Question, Record, RunId, RunState,
    Sink, StepId, StepState, WaveName, finish,
};
use crate::steps::World;

/// Asks people at the terminal. Answers come back through the channel, at any time or never.
pub trait Prompt: Send + Sync {
    /// Shows the question and where the journal ends as it is asked; must return at once.
    fn ask(
        &self,
        step: &StepId,
        question: &Question,
        head: &Head,
        answers: UnboundedSender<PersonRequest>,
    );
}

/// What an engine needs besides the plan.
pub struct Settings {
    /// Everything a step may touch; holds the plan.
    pub world: Arc<World>,
    /// Folder with `runs/` and `waves/`.
    pub state_dir: PathBuf,
    /// Who starts or resumes.
    pub operator: Operator,
    /// Consumers of the stream of facts.
    pub sinks: Vec<Box<dyn Sink>>,
    /// The terminal, if there is one.
    pub prompt: Option<Arc<dyn Prompt>>,
    /// Stay although only people can go on, and wait for the inbox.
    pub wait_for_people: bool,
    /// For rehearsals: this step fails although it has done its work. Heeded in a sandbox run only.
    pub fail_at: Option<StepId>,
}

/// How it ended.
#[derive(Debug)]
pub struct Ended {
    /// In one word.
    pub finish: Finish,
    /// Everything known.
    pub state: RunState,
    /// Where the journal ends.
    pub head: Head,
}

/// The engine could not begin, or lost its journal.
#[derive(Debug, thiserror::Error)]
pub enum EngineError {
    /// The journal can not be read or written.
    #[error(transparent)]
    Journal(#[from] JournalError),
    /// A decision broke the rules of the fold; a defect, caught before it was made durable.
    #[error("a decision does not follow from the journal")]
    Illegal(#[from] IllegalFact),
    /// Steps that have begun are not the same in the edited runbook.
    #[error("the edited runbook changes steps that have begun: {0}")]
    Rewrites(String),
    /// The operating system refused to hand signals over.
    #[error("can not listen for signals")]
    Signals(#[source] std::io::Error),
}

/// What a resumed run is to do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Goal {
    /// Go on.
    Forward,
    /// Go back, and why.
    RollBack(String),
}

/// The folder of a run.
pub fn run_dir(state_dir: &Path, run: &RunId) -> PathBuf {
    state_dir.join("runs").join(run.as_str())
}

/// A run and its wave, held by this process until this is dropped. Taken before anything is prepared for the run, so that
/// whoever comes second is told at once and has changed nothing; given up after the run's world was left.
#[derive(Debug)]
pub struct Claim {
    run: RunId,
    _locks: [Lock; 2],
}

impl Claim {
    /// Takes the locks or says who has them.
    pub fn take(
        state_dir: &Path,
        wave: &WaveName,
        run: &RunId,
        operator: &Operator,
        since: Timestamp,
    ) -> Result<Self, LockError> {
        let Operator { user, host } = operator.clone();
        let owner = Owner::this_process(run.clone(), user, host, since);
        let wave = state_dir.join("waves").join(format!("{wave}.lock"));
        let locks = [
            Lock::take(&wave, &owner)?,
            Lock::take(&run_dir(state_dir, run).join("lock"), &owner)?,
        ];
        Ok(Self { run: run.clone(), _locks: locks })
    }
}

/// Begins the claimed run.
pub async fn start(
    claim: &Claim,
    mut settings: Settings,
    header: Header,
) -> Result<Ended, EngineError> {
    let signals = Signals::listen().map_err(EngineError::Signals)?;
    let dir = run_dir(&settings.state_dir, &claim.run);
    let at = settings.world.clock.now();
    let first = Record { seq: 0, at, event: Event::RunStarted(Box::new(header)) };
    let state = RunState::begin(&first)?;
    let journal = Journal::create(&dir, &first)?;
    for sink in &mut settings.sinks {
        sink.on_record(&first, &state);
    }
    dispatcher::run(settings, signals, (dir, journal, state), Vec::new(), &Goal::Forward).await
}

/// Takes the claimed run up again, forward or back. `edited` replaces the plan; steps that have begun must be the same in it.
pub async fn resume(
    claim: &Claim,
    settings: Settings,
    goal: &Goal,
    edited: Option<(Plan, String)>,
) -> Result<Ended, EngineError> {
    let signals = Signals::listen().map_err(EngineError::Signals)?;
    let dir = run_dir(&settings.state_dir, &claim.run);
    let (journal, state) = Journal::open(&dir, settings.world.clock.now())?;
    if state.ended.is_some() && *goal == Goal::Forward {
        // The end is durable before the head that speaks of it.
        journal.anchor(&dir)?;
        return Ok(Ended { finish: finish(&state), head: journal.head().clone(), state });
    }
    let mut opening = Vec::new();
    if let Some((plan, fingerprint)) = edited {
        same_beginnings(&state, &plan)?;
        opening.push(Event::PlanChanged { plan: Box::new(plan), fingerprint });
    }
    opening.push(Event::RunResumed {
        operator: settings.operator.clone(),
        tool: env!("CARGO_PKG_VERSION").to_owned(),
    });
    dispatcher::run(settings, signals, (dir, journal, state), opening, goal).await
}

/// Steps that have begun and do not wait for an operator must stand in the edited plan as they stood.
fn same_beginnings(state: &RunState, edited: &Plan) -> Result<(), EngineError> {
    let changed: Vec<_> = state
        .plan()
        .steps
        .iter()
        .zip(&state.steps)
        .filter(|(_, own)| own.attempts > 0 && own.state != StepState::Held)
        .filter(|(step, _)| {
            let same = |new: &&crate::plan::PlannedStep| {
                new.id == step.id && new.uses == step.uses && new.with == step.with
            };
            edited.steps.iter().find(same).is_none()
        })
        .map(|(step, _)| step.id.to_string())
        .collect();
    if changed.is_empty() { Ok(()) } else { Err(EngineError::Rewrites(changed.join(", "))) }
}
