//! What a step may touch: everything it reads goes through [`StepCx`], every change through [`Effects`].
//!
//! A step sees no journal, no terminal and no global. Dry runs hand out a [`StepCx`] without [`Effects`], so a step can
//! not even ask for a permit there.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use async_trait::async_trait;
use serde_json::Value;
use tokio_util::sync::CancellationToken;

use crate::azure::{Accepted, ArmError, Azure, Wait};
use crate::clock::{Busy, Clock, Hold};
use crate::database::DatabaseError;
use crate::database::postgres::Server;
use crate::database::{mysql, sqlserver};
use crate::diagnostic::redact::Secrets;
use crate::dns::Network;
use crate::journal::EffectPermit;
use crate::plan::{Plan, PlannedStep};
use crate::run::{
    Answer, FailureClass, Intent, Outputs, ProgressNote, Question, RecordedEffect, RunId, Sent,
    Stage, StepError, StepId,
};

/// What is the same for every step of a run.
#[derive(Debug, Clone)]
pub struct World {
    /// The run.
    pub run: RunId,
    /// The plan.
    pub plan: Plan,
    /// Time.
    pub clock: Clock,
    /// Names and ports as this run sees them.
    pub network: Network,
    /// Azure, connected on first use.
    pub azure: Azure,
    /// Secrets, resolved on first use and known to every sink's redactor.
    pub secrets: Arc<Secrets>,
    /// Relative paths of what is migrated start here: the runbook's folder, or the estate of a sandbox.
    pub base: PathBuf,
    /// Relative paths of what belongs to the runbook start here: templates, certificates.
    pub runbook_dir: PathBuf,
    /// Progress files of bulk effects, beside the journal.
    pub progress_dir: PathBuf,
    /// The sandbox's state folder, in a sandbox run.
    pub sandbox: Option<PathBuf>,
}

/// The read side of one attempt.
#[derive(Debug)]
pub struct StepCx {
    /// The run's world.
    pub world: Arc<World>,
    /// The step, with every expression rendered.
    pub step: PlannedStep,
    /// Outputs of finished steps, by id.
    pub outputs: Arc<BTreeMap<StepId, Outputs>>,
    /// This step's effects as the journal knows them from earlier attempts, in order. One that is not done may be in
    /// place all the same: nobody could tell, and repeating it would have been harmless.
    pub recorded: Vec<RecordedEffect>,
    /// Effects of every other step whose kind restores, in order of the journal: a freeze end finds its begin here.
    pub others: Arc<BTreeMap<StepId, Vec<RecordedEffect>>>,
    /// When this step was started for the first time in this run; a watch that was killed goes on from here.
    pub first_started: jiff::Timestamp,
    /// The last attempt never said how it ended: its process died inside it.
    pub cut_off: bool,
    /// The guard of a task that only reads; [`Self::wait`] sleeps with it.
    pub hold: Hold,
    /// Ends when the attempt must stop: timeout, abort, second Ctrl-C.
    pub cancel: CancellationToken,
    /// Shows progress; never journalled.
    pub progress: Progress,
}

impl StepCx {
    /// Time.
    pub fn clock(&self) -> &Clock {
        &self.world.clock
    }

    /// The path of a file that belongs to the runbook, resolved.
    pub fn beside_runbook(&self, written: &str) -> PathBuf {
        self.world.runbook_dir.join(written)
    }

    /// The path of something that is migrated, resolved.
    pub fn path(&self, written: &str) -> PathBuf {
        self.world.base.join(Path::new(written))
    }

    /// Sleeps of this clock's time; ends early with an error when the attempt is cancelled.
    pub async fn sleep(
        &self,
        duration: std::time::Duration,
        busy: &mut Busy,
    ) -> Result<(), StepError> {
        tokio::select! {
            () = self.clock().sleep(duration, busy) => Ok(()),
            () = self.cancel.cancelled() => Err(StepError::cancelled("waiting")),
        }
    }

    /// For calls to Azure where no attempt's guard can be lent: previews and probes.
    pub fn wait(&self) -> Wait<'static> {
        let progress = self.progress.clone();
        Wait::held(&self.hold, self.clock(), &self.cancel).saying(move |why| progress.say(why))
    }

    /// The PostgreSQL server that the runbook calls `name`.
    pub async fn postgres(&self, name: &str) -> Result<Server, DatabaseError> {
        let world = self.world_with_servers(name)?;
        Server::of(name, &world.plan.systems, &world.secrets, &world.runbook_dir, &world.run).await
    }

    /// The MariaDB or MySQL server that the runbook calls `name`.
    pub async fn mysql(&self, name: &str) -> Result<mysql::Server, DatabaseError> {
        let world = self.world_with_servers(name)?;
        mysql::Server::of(name, &world.plan.systems, &world.secrets, &world.runbook_dir).await
    }

    /// The SQL Server that the runbook calls `name`.
    pub async fn sqlserver(&self, name: &str) -> Result<sqlserver::Server, DatabaseError> {
        let world = self.world_with_servers(name)?;
        sqlserver::Server::of(name, &world.plan.systems, &world.secrets, &world.runbook_dir).await
    }

    /// A sandbox run has no database servers: it would read and change real ones.
    fn world_with_servers(&self, name: &str) -> Result<&World, DatabaseError> {
        let world = &self.world;
        if world.sandbox.is_some() && world.plan.systems.contains_key(name) {
            let why = format!("system `{name}` is a real server, and this is a sandbox run");
            return Err(DatabaseError::System(why));
        }
        Ok(world)
    }

    /// The stage, for messages.
    pub fn stage(&self) -> Stage {
        self.step.stage
    }
}

/// What became of a declared intent.
#[derive(Debug)]
pub enum Granted {
    /// Durable; go ahead.
    Permit(EffectPermit),
    /// The journal already holds this effect as done, with the state observed then. Change nothing.
    AlreadyDone(Value),
}

/// The write side of one attempt. The engine implements it; each method returns after the record is durable.
#[async_trait]
pub trait Effects: Send + Sync {
    /// Declares a change. Re-declaring the same key in a later attempt is the same effect.
    async fn intend(&self, intent: Intent) -> Result<Granted, StepError>;
    /// The request left.
    async fn sent(&self, permit: &EffectPermit, sent: Sent) -> Result<(), StepError>;
    /// The change is in place, and this was read back from the target.
    async fn done(&self, permit: EffectPermit, observed: Value) -> Result<(), StepError>;
    /// Nothing was changed: the target refused before doing anything. The step then fails in a known state.
    async fn not_done(&self, permit: EffectPermit, why: &str) -> Result<(), StepError>;
    /// Asks people and waits for them.
    async fn ask(&self, question: Question) -> Result<Answer, StepError>;
}

/// Both sides of one attempt.
pub struct PerformCx<'a> {
    /// Reading.
    pub read: &'a StepCx,
    /// Changing.
    pub effects: &'a dyn Effects,
    /// Held by the attempt; lend it to [`StepCx::sleep`].
    pub busy: &'a mut Busy,
}

impl PerformCx<'_> {
    /// For calls to Azure: they wait on the attempt's time and end with it.
    pub fn wait(&mut self) -> Wait<'_> {
        let progress = self.read.progress.clone();
        Wait::lent(self.busy, &self.read.cancel).saying(move |why| progress.say(why))
    }
}

impl std::ops::Deref for PerformCx<'_> {
    type Target = StepCx;
    fn deref(&self) -> &StepCx {
        self.read
    }
}

impl PerformCx<'_> {
    /// One change from intent to outcome, for kinds whose change is a single call: declares `intent`; unless it is done
    /// already, lets `make` change the target and journals what `make` read back. An error of another class than
    /// [`FailureClass::Unknown`] or [`FailureClass::Cancelled`] promises that nothing was changed.
    pub async fn change(
        &self,
        intent: Intent,
        make: impl AsyncFnOnce(&EffectPermit) -> Result<Value, StepError>,
    ) -> Result<Value, StepError> {
        let permit = match self.effects.intend(intent).await? {
            Granted::AlreadyDone(observed) => return Ok(observed),
            Granted::Permit(permit) => permit,
        };
        match make(&permit).await {
            Ok(observed) => {
                self.effects.done(permit, observed.clone()).await?;
                Ok(observed)
            }
            Err(error) => {
                if !matches!(error.class, FailureClass::Unknown | FailureClass::Cancelled) {
                    self.effects.not_done(permit, &error.to_string()).await?;
                }
                Err(error)
            }
        }
    }
}

/// How far a change came that its service carries out by itself.
#[derive(Debug)]
pub enum Begun {
    /// An earlier attempt did it; with the state observed then.
    Before(Value),
    /// The service has accepted it.
    Now(EffectPermit, Accepted),
}

impl PerformCx<'_> {
    /// Begins a change that its service carries out by itself: declares `intent`; unless it is done already, sends it and
    /// journals where to ask how it goes. A refusal by the service changed nothing, and `known` says what is known then.
    ///
    /// Once it is accepted only the target can say that nothing happened: whoever follows it journals `done`, or leaves
    /// the effect in doubt to the probe. An operation that ended badly may have done a part.
    pub async fn begin(
        &mut self,
        intent: Intent,
        (attempted, known): (&str, &str),
        start: impl AsyncFnOnce(&mut PerformCx<'_>, &EffectPermit) -> Result<Accepted, ArmError>,
    ) -> Result<Begun, StepError> {
        let permit = match self.effects.intend(intent).await? {
            Granted::AlreadyDone(observed) => return Ok(Begun::Before(observed)),
            Granted::Permit(permit) => permit,
        };
        let accepted = match start(self, &permit).await {
            Ok(accepted) => accepted,
            Err(error) => {
                if !error.outcome_unknown() {
                    self.effects.not_done(permit, &error.to_string()).await?;
                }
                return Err(error.into_step_error(attempted, known));
            }
        };
        let sent = Sent {
            operation_url: accepted.operation_url.clone(),
            request_id: Some(accepted.request_id.clone()),
        };
        self.effects.sent(&permit, sent).await?;
        Ok(Begun::Now(permit, accepted))
    }
}

/// Where progress goes.
#[derive(Debug, Clone)]
pub struct Progress {
    step: StepId,
    to: Option<tokio::sync::mpsc::UnboundedSender<ProgressNote>>,
}

impl Progress {
    /// Progress of a step into a channel; without one it goes nowhere.
    pub fn new(step: StepId, to: Option<tokio::sync::mpsc::UnboundedSender<ProgressNote>>) -> Self {
        Self { step, to }
    }

    /// Says why the step waits or what it does.
    pub fn say(&self, text: impl Into<String>) {
        self.send(text.into(), None);
    }

    /// The same, with an amount.
    pub fn amount(&self, text: impl Into<String>, done: u64, total: u64, unit: &'static str) {
        self.send(text.into(), Some((done, total, unit)));
    }

    fn send(&self, text: String, amount: Option<(u64, u64, &'static str)>) {
        if let Some(to) = &self.to {
            // A closed channel means that nobody watches any more.
            let _ = to.send(ProgressNote { step: self.step.clone(), text, amount });
        }
    }
}
