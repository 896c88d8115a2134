//! What the kinds about a replicating machine share: where it is, whether it may be touched now, how its jobs end, and
//! what became of one whose reply was lost. Not a kind.
//!
//! A try that was carried out and failed at the target is done, not undone: the source may be stopped, a half-made machine
//! may be there. Its record stays, and the next try has a key of its own.

use std::time::Duration;

use jiff::Timestamp;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::{Begun, Evidence, FailureClass, PerformCx, StepCx, StepError};
use crate::azure::{
    Accepted, ArmError, Azure, Health, Job, JobEnd, MigrationItemId, Power, ReplicationItem,
    ResourceId, VirtualMachine, Wait,
};
use crate::clock::since;
use crate::journal::EffectPermit;
use crate::plan::Span;
use crate::run::{Intent, RecordedEffect, Verdict};

/// Name of the condition that a test was made.
const TESTED: &str = "test migration";

/// Pause between two looks at a machine that starts.
const LOOK: Duration = Duration::from_secs(10);

/// A replicating machine of Azure Migrate.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Machine {
    /// Recovery Services vault.
    pub vault: String,
    /// Resource group of the vault; the runbook's default one when not given.
    #[serde(default)]
    pub resource_group: Option<String>,
    /// Replication fabric.
    pub fabric: String,
    /// Protection container.
    pub container: String,
    /// Name of the item.
    pub item: String,
}

/// The worst health that is good enough.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum WorstHealth {
    /// Nothing to report.
    #[default]
    Normal,
    /// Replication goes on, with warnings.
    Warning,
}

impl Machine {
    pub(super) fn id(&self) -> MigrationItemId {
        MigrationItemId {
            resource_group: self.resource_group.clone(),
            vault: self.vault.clone(),
            fabric: self.fabric.clone(),
            container: self.container.clone(),
            item: self.item.clone(),
        }
    }

    /// The item as it is now; one that is not there is refused.
    pub(super) async fn read(
        &self,
        cx: &StepCx,
        wait: &mut Wait<'_>,
        attempted: &str,
    ) -> Result<ReplicationItem, StepError> {
        let known = "nothing was changed by this attempt";
        let found = cx.world.azure.replication_item(wait, &self.id()).await;
        let found = found.map_err(|error| error.into_step_error(attempted, known))?;
        found.ok_or_else(|| {
            let known =
                format!("vault {} has no replication item {}; {known}", self.vault, self.item);
            StepError::new(FailureClass::Refused, "MIG0412", attempted, known)
                .hint("enable replication of the machine in Azure Migrate, or correct the runbook")
        })
    }

    /// Full id of the item.
    pub(super) fn target(&self, cx: &StepCx, attempted: &str) -> Result<String, StepError> {
        let id = cx.world.azure.replication_item_id(&self.id());
        let id = id.map_err(|error| error.into_step_error(attempted, "nothing was changed"))?;
        Ok(id.to_string())
    }
}

/// Under which conditions an operation may start.
#[derive(Debug)]
pub(super) struct Gate {
    /// As `allowedOperations` names it.
    pub(super) operation: &'static str,
    /// Oldest good recovery point.
    pub(super) max_lag: Span,
    pub(super) health: WorstHealth,
    /// A test migration must have succeeded.
    pub(super) tested: bool,
}

fn evidence(check: &str, verdict: &str, detail: impl Into<String>, holds: bool) -> Evidence {
    Evidence { check: check.to_owned(), verdict: verdict.to_owned(), detail: detail.into(), holds }
}

impl Gate {
    /// What the gate sees, one line per condition.
    pub(super) fn readings(&self, item: &ReplicationItem, now: Timestamp) -> Vec<Evidence> {
        let mut readings = vec![self.allowed(item), self.healthy(item), self.fresh(item, now)];
        if item.resync_required == Some(true) {
            let detail = "the source has to be read again in full first";
            readings.push(evidence("resynchronization", "required", detail, false));
        }
        if self.tested {
            readings.push(tested(item));
        }
        readings
    }

    fn allowed(&self, item: &ReplicationItem) -> Evidence {
        let allowed = item.allows(self.operation);
        let verdict = if allowed { "allowed" } else { "not allowed" };
        let mut detail = format!("{}: {}", item.state, item.state_description);
        if item.test_state != "None" && !item.test_state.is_empty() {
            detail = format!("{detail}; test: {}", item.test_state);
        }
        if let Some(job) = &item.current_job {
            detail = format!("{detail}; job {job} is under way");
        }
        evidence(self.operation, verdict, detail, allowed)
    }

    fn healthy(&self, item: &ReplicationItem) -> Evidence {
        let worst = match self.health {
            WorstHealth::Normal => Health::Normal,
            WorstHealth::Warning => Health::Warning,
        };
        // Errors can stand beside good health; they are shown, and the health decides.
        let errors = item.health_errors.join("; ");
        let (verdict, holds) = match item.health {
            Health::Unknown => ("not compared", false),
            health => (word(health), health <= worst),
        };
        evidence("replication health", verdict, errors, holds)
    }

    fn fresh(&self, item: &ReplicationItem, now: Timestamp) -> Evidence {
        let check = "recovery point";
        match (item.lag(now), item.last_recovery_point) {
            (Some(lag), _) => {
                let holds = lag <= self.max_lag.duration();
                let detail = format!("{} s old, limit {}", lag.as_secs(), self.max_lag);
                evidence(check, if holds { "fresh" } else { "too old" }, detail, holds)
            }
            (None, Some(point)) => {
                let detail =
                    format!("its time {point:.0} is in the future; one of two clocks is wrong");
                evidence(check, "not compared", detail, false)
            }
            (None, None) => evidence(check, "not compared", "none has arrived", false),
        }
    }
}

/// Refuses while a condition does not hold.
pub(super) fn check(readings: &[Evidence], attempted: &str) -> Result<(), StepError> {
    if readings.iter().all(|reading| reading.holds) {
        return Ok(());
    }
    let error = StepError::new(FailureClass::Refused, "MIG0441", attempted, "nothing was changed");
    let failed = readings.iter().filter(|reading| !reading.holds);
    let error = failed.fold(error, |error, it| {
        error.cause(format!("{}: {} ({})", it.check, it.verdict, it.detail))
    });
    let hint = if readings.iter().any(|it| !it.holds && it.check == TESTED) {
        "test it: `migrate resolve` the failed `vm.test_migrate` step with `--retry`, or in Azure Migrate; then `migrate resume`"
    } else {
        "put right in Azure Migrate what is named here, then `migrate resume`"
    };
    Err(error.hint(hint).retryable())
}

const fn word(health: Health) -> &'static str {
    match health {
        Health::Normal => "normal",
        Health::Warning => "warning",
        Health::Critical => "critical",
        Health::Unknown => "unknown",
    }
}

fn tested(item: &ReplicationItem) -> Evidence {
    let (check, well) = (TESTED, item.last_test_status.eq_ignore_ascii_case("Succeeded"));
    match item.last_test {
        Some(at) if well => evidence(check, "succeeded", format!("at {at:.0}"), true),
        Some(at) => {
            evidence(check, "not succeeded", format!("{} at {at:.0}", item.last_test_status), false)
        }
        None => evidence(check, "not made", "there is no record of one", false),
    }
}

/// How a try ended; what the journal keeps as observed.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub(super) struct Ended {
    /// The job; none where the state of the item was all there was to see, or a person said that it is done.
    pub(super) job: Option<Job>,
    /// How it ended; none where a person said so.
    pub(super) end: Option<JobEnd>,
    /// State of the item, or of its test, afterwards.
    pub(super) state: String,
    /// Id of the virtual machine it is about, where it was seen.
    pub(super) machine: Option<String>,
}

impl Ended {
    pub(super) fn of(observed: &Value) -> Self {
        Self::deserialize(observed).unwrap_or_default()
    }

    pub(super) fn by_state(end: JobEnd, state: &str) -> Self {
        Self { end: Some(end), state: state.to_owned(), ..Self::default() }
    }

    /// Whether it may be gone on from.
    pub(super) fn well(&self) -> bool {
        !matches!(self.end, Some(JobEnd::Failed | JobEnd::Cancelled | JobEnd::Partially))
    }

    pub(super) fn word(&self) -> &'static str {
        match self.end {
            Some(JobEnd::Succeeded) => "succeeded",
            Some(JobEnd::WithInformation) => "succeeded, with information",
            Some(JobEnd::Partially) => "succeeded in part",
            Some(JobEnd::Failed) => "failed",
            Some(JobEnd::Cancelled) => "was cancelled",
            None => "is done, as a person said",
        }
    }

    /// The failure in an operator's words.
    pub(super) fn failure(&self, attempted: &str, known: impl Into<String>) -> StepError {
        let mut error = StepError::new(FailureClass::Failed, "MIG0442", attempted, known);
        let Some(job) = &self.job else { return error.cause(format!("it {}", self.word())) };
        error = error.cause(format!("job {} {}", job.name, self.word()));
        for (task, state) in job.broken_tasks() {
            error = error.cause(format!("task {task}: {state}"));
        }
        job.errors.iter().fold(error, |error, cause| error.cause(cause.clone()))
    }
}

/// What became of an effect that was asked for.
pub(super) enum Carried {
    /// An earlier attempt did it.
    Before(Ended),
    /// This one did; the caller journals the outcome.
    Now(EffectPermit, Ended),
}

/// What the item's own state says about a try whose job nobody knows, given the state before.
pub(super) type Judge = fn(&ReplicationItem, &Value) -> Verdict;

/// Carries an operation out: declares it, starts it, follows its job to the end, reads the item back.
pub(super) async fn carry_out(
    cx: &mut PerformCx<'_>,
    machine: &Machine,
    (intent, attempted, judge): (Intent, &str, Judge),
    start: impl AsyncFnOnce(&mut PerformCx<'_>, &EffectPermit) -> Result<Accepted, ArmError>,
) -> Result<Carried, StepError> {
    let before = intent.before.clone();
    let (permit, accepted) =
        match cx.begin(intent, (attempted, "nothing was changed"), start).await? {
            Begun::Before(observed) => return Ok(Carried::Before(Ended::of(&observed))),
            Begun::Now(permit, accepted) => (permit, accepted),
        };
    let azure = cx.read.world.azure.clone();
    let known = "the operation was started; how it stands could not be read";
    if let Some(link) = &accepted.operation_url {
        let ended = followed(&azure, &mut cx.wait(), machine, link).await;
        return Ok(Carried::Now(
            permit,
            ended.map_err(|error| error.into_step_error(attempted, known))?,
        ));
    }
    let why = match told(&azure, &mut cx.wait(), machine, (&before, judge)).await {
        Verdict::Done { observed } => return Ok(Carried::Now(permit, Ended::of(&observed))),
        Verdict::NotDone => "the item is as before".to_owned(),
        Verdict::Unknown { evidence } => evidence,
    };
    let cause = format!("it was accepted without an operation to follow, and {why}");
    let lost = ArmError::ReplyLost { request_id: accepted.request_id, cause };
    Err(lost.into_step_error(attempted, known))
}

/// The job behind a link, followed to its end, and the item as it is then.
async fn followed(
    azure: &Azure,
    wait: &mut Wait<'_>,
    machine: &Machine,
    link: &str,
) -> Result<Ended, ArmError> {
    let id = machine.id();
    let vault = azure.vault_id(id.resource_group.as_deref(), &id.vault)?;
    let job = azure.follow_operation(wait, &vault, link).await?;
    let item = azure.replication_item(wait, &id).await?;
    let state = item.map(|item| item.state).unwrap_or_default();
    Ok(Ended { end: job.end, job: Some(job), state, machine: None })
}

/// Where no link is known: follows whatever is under way on the item to its end, then lets the item tell.
async fn told(
    azure: &Azure,
    wait: &mut Wait<'_>,
    machine: &Machine,
    (before, judge): (&Value, Judge),
) -> Verdict {
    let id = machine.id();
    let unknown = |error: ArmError| Verdict::Unknown { evidence: error.to_string() };
    let vault = match azure.vault_id(id.resource_group.as_deref(), &id.vault) {
        Ok(vault) => vault,
        Err(error) => return unknown(error),
    };
    for _ in 0..2 {
        let item = match azure.replication_item(wait, &id).await {
            Ok(Some(item)) => item,
            Ok(None) => {
                return Verdict::Unknown {
                    evidence: "the vault has no such item any more".to_owned(),
                };
            }
            Err(error) => return unknown(error),
        };
        let Some(job) = &item.current_job_id else { return judge(&item, before) };
        // The gate saw no job before; what runs now began after it.
        if let Err(error) = azure.follow_job(wait, &vault, job, None).await {
            return unknown(error);
        }
    }
    Verdict::Unknown { evidence: "one job after the other is under way on it".to_owned() }
}

/// Settles an effect in doubt: by its job, or by the item where no job is known.
pub(super) async fn settle(
    cx: &StepCx,
    machine: &Machine,
    effect: &RecordedEffect,
    judge: Judge,
) -> Verdict {
    let (azure, mut wait) = (&cx.world.azure, cx.wait());
    let link = effect.sent.as_ref().and_then(|sent| sent.operation_url.as_deref());
    let Some(link) = link else {
        return told(azure, &mut wait, machine, (&effect.intent.before, judge)).await;
    };
    match followed(azure, &mut wait, machine, link).await {
        Ok(ended) => Verdict::Done { observed: json!(ended) },
        Err(error) => Verdict::Unknown { evidence: error.to_string() },
    }
}

/// Looks at a virtual machine until it runs, for so long at most. None when there is no such machine.
pub(super) async fn running(
    cx: &mut PerformCx<'_>,
    id: &ResourceId,
    (within, attempted): (Span, &str),
) -> Result<Option<VirtualMachine>, StepError> {
    let started = cx.clock().steady();
    loop {
        let azure = cx.read.world.azure.clone();
        let found = azure.virtual_machine(&mut cx.wait(), id).await.map_err(|error| {
            error.into_step_error(
                attempted,
                "the job has ended; the virtual machine could not be read",
            )
        })?;
        let Some(machine) = found else { return Ok(None) };
        let late = since(started, cx.clock().steady()) >= within.duration();
        if machine.power == Power::Running || late {
            return Ok(Some(machine));
        }
        cx.progress.say(format!("waits for {} to run, up to {within}", name_of(id.as_str())));
        cx.read.sleep(LOOK, cx.busy).await?;
    }
}

/// The last part of an id.
pub(super) fn name_of(id: &str) -> &str {
    id.rsplit('/').next().unwrap_or(id)
}
