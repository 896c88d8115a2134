//! Facts of a run, in the past tense. The journal is a sequence of these and nothing else.
//!
//! Adding a field: give it a default that reads as the *unsafe* value, so that an old journal never looks safer than it was.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::{Evidence, Intent, Outputs, Question, RunId, Sent, Stage, StepError, StepId, Verdict};
use crate::plan::Plan;

/// One line of the journal without its chain.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Record {
    /// From 0, without a gap.
    pub seq: u64,
    /// UTC.
    pub at: Timestamp,
    /// The fact.
    pub event: Event,
}

/// Who did something.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Operator {
    /// Login name.
    pub user: String,
    /// Host name.
    pub host: String,
}

/// The first fact of every journal.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Header {
    /// Journal format version.
    pub format: u32,
    /// Version of the program that wrote it.
    pub tool: String,
    /// The run.
    pub run: RunId,
    /// Who started it.
    pub operator: Operator,
    /// The runbook as it was named on the command line, made absolute.
    pub runbook: String,
    /// SHA-256 of the plan.
    pub fingerprint: String,
    /// True in a sandbox run. An old journal without it was a real run.
    #[serde(default)]
    pub sandbox: bool,
    /// Answer approvals without a person; only ever true together with `sandbox`.
    #[serde(default)]
    pub assume_yes: bool,
    /// The plan itself, so that a run needs no other file to be resumed, read or rolled back.
    pub plan: Plan,
}

/// Why a step does not run although its predecessors have ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "why", rename_all = "snake_case")]
pub enum Waiting {
    /// The window has not opened.
    Window {
        /// When it opens.
        opens: Timestamp,
    },
    /// `hold: before`; until released.
    Hold,
    /// The pause before the next attempt.
    Backoff {
        /// When the next attempt may start.
        until: Timestamp,
    },
}

/// What a person decided about a step that could not go on by itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Resolution {
    /// The effect in doubt is in place.
    Done,
    /// The effect in doubt is not in place; the step runs again.
    NotDone,
    /// Try again.
    Retry,
    /// Leave the step out; what follows it goes on.
    Skip,
}

/// What a person asked of a run, through the inbox or at the prompt.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "ask", rename_all = "snake_case")]
pub enum Request {
    /// Yes to a question, or release of a hold.
    Approve {
        /// The step.
        step: StepId,
    },
    /// No to a question.
    Refuse {
        /// The step.
        step: StepId,
    },
    /// Start no further step, until `resume`.
    Pause,
    /// End the run at the next safe point.
    Abort,
    /// Decide about a step.
    Resolve {
        /// The step.
        step: StepId,
        /// The decision.
        as_: Resolution,
    },
}

/// A request with its author.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PersonRequest {
    /// Unique; a request file taken up twice is journalled once.
    pub id: String,
    /// Who.
    pub by: Operator,
    /// What for.
    #[serde(default)]
    pub comment: String,
    /// What.
    pub request: Request,
}

/// Why the engine stopped while the run had not ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Stop {
    /// SIGINT or SIGHUP.
    Interrupted,
    /// SIGTERM.
    Terminated,
    /// `migrate pause`.
    Paused,
    /// `migrate abort`.
    Aborted,
    /// Only people can go on: approvals or holds are open.
    WaitsForPerson,
    /// A step failed, was refused or is in doubt.
    Halted,
}

/// How a run ended for good.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Ending {
    /// Every step succeeded or was skipped.
    Completed,
    /// Rolled back cleanly.
    RolledBack,
    /// Rolled back as far as possible; manual work is listed.
    RollbackIncomplete,
}

/// A fact.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Event {
    /// A run began.
    RunStarted(Box<Header>),
    /// A later process took the run up.
    RunResumed {
        /// Who.
        operator: Operator,
        /// Version of the program.
        tool: String,
    },
    /// The runbook was edited and the change accepted; steps not yet started were replaced.
    PlanChanged {
        /// The new plan.
        plan: Box<Plan>,
        /// Its fingerprint.
        fingerprint: String,
    },
    /// A torn tail was cut off when the journal was opened.
    TailRepaired {
        /// Bytes cut.
        bytes: u64,
        /// The side file that keeps them.
        kept: String,
    },
    /// Every step of the stage before has ended.
    StageStarted {
        /// The stage.
        stage: Stage,
    },
    /// A step does not run yet.
    StepWaiting {
        /// The step.
        step: StepId,
        /// Why.
        waiting: Waiting,
    },
    /// An attempt began.
    StepStarted {
        /// The step.
        step: StepId,
        /// From 1.
        attempt: u32,
    },
    /// A change is about to be made.
    Intent {
        /// The step.
        step: StepId,
        /// The change.
        intent: Intent,
        /// The change takes the effect with this key back.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        undoes: Option<String>,
    },
    /// The request left.
    Sent {
        /// The step.
        step: StepId,
        /// The intent's key.
        key: String,
        /// How to find the operation again.
        #[serde(flatten)]
        sent: Sent,
    },
    /// The effect is in place.
    Done {
        /// The step.
        step: StepId,
        /// The intent's key.
        key: String,
        /// Read back from the target.
        observed: Value,
        /// Found by a probe after a crash, not seen when it happened.
        #[serde(default)]
        probed: bool,
    },
    /// The target refused, or a probe found nothing: the effect did not happen.
    NotDone {
        /// The step.
        step: StepId,
        /// The intent's key.
        key: String,
        /// Why.
        why: String,
        /// The target shows that nothing happened. Otherwise it may have, and repeating is harmless.
        #[serde(default)]
        certain: bool,
    },
    /// An effect in doubt was probed and stays unknown.
    StayedUnknown {
        /// The step.
        step: StepId,
        /// The intent's key.
        key: String,
        /// The probe's answer.
        verdict: Verdict,
    },
    /// A step asked people.
    Asked {
        /// The step.
        step: StepId,
        /// The question.
        question: Question,
    },
    /// A person asked something of the run.
    PersonActed(PersonRequest),
    /// The step ended well.
    StepSucceeded {
        /// The step.
        step: StepId,
        /// For later steps.
        #[serde(default, skip_serializing_if = "Outputs::is_empty")]
        outputs: Outputs,
        /// For the summary.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        evidence: Vec<Evidence>,
    },
    /// A process that took the run up does not trust this check's reading any more; the check runs again.
    ReadingExpired {
        /// The step.
        step: StepId,
    },
    /// The step was left out.
    StepSkipped {
        /// The step.
        step: StepId,
        /// Why.
        why: String,
    },
    /// The attempt ended badly.
    StepFailed {
        /// The step.
        step: StepId,
        /// How.
        failure: StepError,
    },
    /// An effect's outcome is unknown and no probe could tell.
    StepInDoubt {
        /// The step.
        step: StepId,
        /// What was read.
        evidence: String,
    },
    /// The step waits for an operator.
    StepHeld {
        /// The step.
        step: StepId,
    },
    /// Rollback is impossible from here on.
    PointOfNoReturnCrossed {
        /// The step.
        step: StepId,
    },
    /// The run is being taken back.
    RollbackStarted {
        /// Why: by whom, or which step failed.
        why: String,
    },
    /// A step is being taken back.
    UndoStarted {
        /// The step.
        step: StepId,
    },
    /// It was.
    StepUndone {
        /// The step.
        step: StepId,
    },
    /// It could not be.
    UndoFailed {
        /// The step.
        step: StepId,
        /// Why.
        failure: StepError,
    },
    /// The engine stopped; the run can be resumed.
    RunStopped {
        /// Why.
        stop: Stop,
    },
    /// The run is over.
    RunEnded {
        /// How.
        ending: Ending,
    },
}
