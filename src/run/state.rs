//! The fold: what all facts so far add up to.

use std::collections::BTreeMap;

use jiff::Timestamp;

use super::{
    Ending, Evidence, Header, Outputs, Question, RecordedEffect, Stage, StepError, StepId, Stop,
    Waiting,
};

/// Where a step stands.
#[derive(Debug, Clone, PartialEq)]
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
    /// When the first attempt began.
    pub first_started: Option<Timestamp>,
    /// When it last began and ended.
    pub last_started: Option<Timestamp>,
    /// When it ended.
    pub ended: Option<Timestamp>,
    /// Its effects in the order of their first intent.
    pub effects: Vec<RecordedEffect>,
    /// Effects of its undo; `undoes` key of the effect taken back.
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
}

/// The whole run.
#[derive(Debug, Clone, PartialEq)]
pub struct RunState {
    /// The first fact; plan and fingerprint are replaced when an edited runbook was accepted.
    pub header: Header,
    /// When the run began.
    pub started: Timestamp,
    /// Facts so far.
    pub records: u64,
    /// The stage under way.
    pub stage: Option<Stage>,
    /// By index in the plan.
    pub steps: Vec<StepRecord>,
    /// Index of a step id.
    pub index: BTreeMap<StepId, usize>,
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
    pub taken_up: std::collections::BTreeSet<String>,
}

impl RunState {
    /// The step of that id.
    pub fn step(&self, id: &StepId) -> Option<&StepRecord> {
        self.index.get(id).map(|&at| &self.steps[at])
    }
}
