//! Everything a person or a program asks about a run, computed from the journal alone. `summary` and `status` lay it out,
//! `--json` writes it as it is.

use std::path::{Path, PathBuf};

use jiff::Timestamp;
use serde::Serialize;

use super::halt::{Advice, Halt, halts, next, undo};
use super::pauses::{TakenBack, WritePause, pauses};
use super::phrase;
use crate::journal::{self, Head, JournalError};
use crate::plan::{OnFailure, PlannedStep, Window};
use crate::run::{
    Ending, Evidence, RunId, RunState, Stage, StepId, StepRecord, Stop, WaveName, WorkloadName,
};

/// How the run stands as a whole.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Standing {
    /// A process is at work on it.
    Live,
    /// The engine stopped and said why.
    Stopped(Stop),
    /// The process ended without a word: killed, or the machine went down.
    CutOff,
    /// It is over.
    Ended(Ending),
}

/// Which side of the point of no return the run is on.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Side {
    /// The plan has none.
    NoneInPlan,
    /// Still ahead, at this step.
    Before(StepId),
    /// Crossed by this step.
    Past(StepId),
}

/// One step as it stands.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct StepView {
    /// The step.
    pub step: StepId,
    /// Its stage.
    pub stage: Stage,
    /// Its lane.
    pub workload: Option<WorkloadName>,
    /// Its kind.
    pub uses: String,
    /// Its state in one word.
    pub state: &'static str,
    /// Its lane goes on although it failed.
    #[serde(skip)]
    pub goes_on: bool,
    /// Attempts begun.
    pub attempts: u32,
    /// When the first attempt began.
    pub started: Option<Timestamp>,
    /// When the last attempt ended.
    pub ended: Option<Timestamp>,
    /// First start to last end, or to now.
    pub seconds: Option<f64>,
    /// Effects in place.
    pub effects: usize,
    /// What was compared.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub evidence: Vec<Evidence>,
    /// Who said what when asked.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub answers: Vec<PersonAnswer>,
}

/// What one person answered.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct PersonAnswer {
    /// Who.
    pub by: String,
    /// Yes or no.
    pub yes: bool,
    /// What they wrote.
    pub comment: String,
}

/// A run, for people and programs.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Overview {
    /// The run.
    pub run: RunId,
    /// Its wave.
    pub wave: WaveName,
    /// The runbook's own line about itself.
    pub summary: String,
    /// The change ticket.
    pub change: Option<String>,
    /// The runbook, absolute.
    pub runbook: PathBuf,
    /// Who started it, `user@host`.
    pub operator: String,
    /// Against the sandbox.
    pub sandbox: bool,
    /// Fingerprint of the plan.
    pub plan: String,
    /// When it began.
    pub started: Timestamp,
    /// The last fact, or now while it is live.
    pub as_of: Timestamp,
    /// How it stands.
    pub standing: Standing,
    /// The stage under way.
    pub stage: Option<Stage>,
    /// A rollback was started, and why.
    pub rolling_back: Option<String>,
    /// See [`Side`].
    pub point_of_no_return: Side,
    /// The agreed window.
    pub window: Option<Window>,
    /// How long writes were paused.
    pub writes_paused: Vec<WritePause>,
    /// In the order of the plan.
    pub steps: Vec<StepView>,
    /// What keeps the run from going on.
    pub halts: Vec<Halt>,
    /// What to type next, the safest first.
    pub next: Vec<Advice>,
    /// How to take it all back; none once that is impossible.
    pub undo: Option<Advice>,
    /// Rules the author silenced, with the reason.
    pub allowed: Vec<(String, String)>,
    /// Where the journal ends; a copy of this elsewhere shows records cut off later.
    pub journal: Head,
}

impl Overview {
    /// Reads a run's journal. `now` is given while a process is at work on the run.
    pub fn read(run_dir: &Path, now: Option<Timestamp>) -> Result<Self, JournalError> {
        let mut taken_back = TakenBack::default();
        let reading = journal::read(run_dir, |record, _| taken_back.see(record))?;
        // A sandbox run has its own time; its last fact is the nearest thing to now.
        let now =
            now.map(|now| if reading.state.header.sandbox { reading.state.last } else { now });
        Ok(Self::of(&reading.state, reading.head, &taken_back, now))
    }

    /// From what was read.
    pub fn of(
        state: &RunState,
        journal: Head,
        taken_back: &TakenBack,
        now: Option<Timestamp>,
    ) -> Self {
        let as_of = now.unwrap_or(state.last);
        let standing = match (state.ended, now, state.stopped) {
            (Some(ending), ..) => Standing::Ended(ending),
            (None, Some(_), _) => Standing::Live,
            (None, None, Some(stop)) => Standing::Stopped(stop),
            (None, None, None) => Standing::CutOff,
        };
        let header = &state.header;
        let plan = &header.plan;
        let halts = halts(state, standing);
        let next = next(state, standing, &halts);
        Self {
            run: header.run.clone(),
            wave: plan.wave.clone(),
            summary: plan.summary.clone(),
            change: plan.change.clone(),
            runbook: PathBuf::from(&header.runbook),
            operator: format!("{}@{}", header.operator.user, header.operator.host),
            sandbox: header.sandbox,
            plan: header.fingerprint.clone(),
            started: state.started,
            as_of,
            standing,
            stage: state.stage,
            rolling_back: state.rolling_back.clone(),
            point_of_no_return: side(state),
            window: plan.window.clone(),
            writes_paused: pauses(state, taken_back),
            steps: plan.steps.iter().zip(&state.steps).map(|(p, s)| view(p, s, as_of)).collect(),
            halts,
            next,
            undo: undo(state, standing),
            allowed: plan.allowed.clone().into_iter().collect(),
            journal,
        }
    }

    /// The same with every command beginning with `program` instead of `migrate`.
    #[must_use]
    pub fn typed_with(mut self, program: &str) -> Self {
        let halts = self.halts.iter_mut().flat_map(|halt| &mut halt.options);
        for advice in halts.chain(&mut self.next).chain(&mut self.undo) {
            advice.start_with(program);
        }
        self
    }

    /// Where relative paths of the runbook start, in a real run.
    pub fn base(&self) -> PathBuf {
        self.runbook.parent().map(Path::to_owned).unwrap_or_default()
    }

    /// Steps that are being carried out or taken back.
    pub(super) fn under_way(&self) -> usize {
        self.count("running") + self.count("undoing")
    }

    /// Steps in this state.
    pub fn count(&self, state: &str) -> usize {
        self.steps.iter().filter(|step| step.state == state).count()
    }
}

fn side(state: &RunState) -> Side {
    match &state.crossed {
        Some(step) => Side::Past(step.clone()),
        None => state
            .header
            .plan
            .steps
            .iter()
            .find(|step| step.point_of_no_return)
            .map_or(Side::NoneInPlan, |step| Side::Before(step.id.clone())),
    }
}

fn view(planned: &PlannedStep, step: &StepRecord, as_of: Timestamp) -> StepView {
    let running = matches!(step.state, crate::run::StepState::Running(_));
    let until = if running { Some(as_of) } else { step.ended };
    let seconds = step
        .first_started
        .zip(until)
        .map(|(from, until)| crate::clock::since(from, until).as_secs_f64());
    let said_yes = step
        .question
        .iter()
        .flat_map(|(_, yes)| yes)
        .map(|(by, comment)| PersonAnswer { by: by.clone(), yes: true, comment: comment.clone() });
    let said_no = step.refused.iter().map(|(by, comment)| PersonAnswer {
        by: by.clone(),
        yes: false,
        comment: comment.clone(),
    });
    StepView {
        step: planned.id.clone(),
        stage: planned.stage,
        workload: planned.workload.clone(),
        uses: planned.uses.clone(),
        state: phrase::standing(step),
        goes_on: planned.on_failure == OnFailure::Continue,
        attempts: step.attempts,
        started: step.first_started,
        ended: step.ended,
        seconds,
        effects: step.effects.iter().filter(|effect| effect.done).count(),
        evidence: step.evidence.clone(),
        answers: said_yes.chain(said_no).collect(),
    }
}
