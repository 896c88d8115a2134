//! The rollback matrix: the run fails at a step, is taken back, and its world is compared with the start.
//!
//! What says that it restores must be as it was. What says that it stays in place is left out: messages, deployments, and
//! files below what a copy names as its target. A step that can not be taken back stops for a person; that was said in the
//! plan. Nothing after a point of no return is tried, because nothing leads back from there.

use std::path::{Path, PathBuf};
use std::time::Instant;

use super::RehearsalError;
use super::certificate::Tried;
use super::judge::{Deviation, Verdict};
use super::left::{Doubt, differences};
use super::point::Point;
use super::side_by_side::{Pace, side_by_side};
use super::trial::{Ended, How, Setting, Trial};
use super::words::seconds;
use crate::clock::since;
use crate::journal;
use crate::plan::Plan;
use crate::run::{Event, RunState, StepId, StepState, Undo};
use crate::sandbox::{WorldSnapshot, ledger};

/// The exit code that says "rolled back cleanly".
const ROLLED_BACK: How = How::Exit(8);
/// The exit code that says "rollback incomplete".
const INCOMPLETE: How = How::Exit(9);

/// Fails at each of these steps.
pub async fn rollback_matrix(
    setting: &Setting,
    steps: &[StepId],
    pace: Pace<'_>,
) -> Result<Vec<Tried>, RehearsalError> {
    let start = Trial::new(setting, "start")?.at_first().await?;
    side_by_side(steps, pace, |at, step| taken_back(setting, &start, at, step)).await
}

/// What the trials say together: whether the window keeps enough time, and what was not tried.
pub fn notes(plan: &Plan, tried: &[Tried]) -> Vec<String> {
    let mut notes = vec![
        "not compared is what a step says stays in place: messages, deployments, files at a copy's target"
            .to_owned(),
    ];
    let slowest = tried
        .iter()
        .filter_map(|it| Some((it.rollback_sandbox_seconds?, it)))
        .max_by(|one, other| one.0.total_cmp(&other.0));
    if let Some((took, it)) = slowest {
        let slowest = format!("the slowest rollback took {} ({})", seconds(took), it.at);
        notes.push(match &plan.window {
            None => format!("{slowest}; there is no window to compare it with"),
            Some(window) => {
                let reserve = window.rollback_reserve.as_secs_f64();
                let fits = if took <= reserve { "is enough" } else { "is NOT enough" };
                format!("{slowest}; the rollback reserve of {} {fits}", seconds(reserve))
            }
        });
    }
    for step in plan.steps.iter().filter(|step| step.point_of_no_return) {
        notes.push(format!(
            "{} is a point of no return: neither it nor anything after it was tried, because no rollback leads back over it",
            step.id
        ));
    }
    notes
}

async fn taken_back(
    setting: &Setting,
    start: &WorldSnapshot,
    at: usize,
    step: &StepId,
) -> Result<Tried, RehearsalError> {
    let began = Instant::now();
    let trial = Trial::new(setting, &format!("fail-{at}"))?;
    let mut ended = trial.run(&["--json", "--fail-at", step.as_str()]).await?;
    if ended.how != ROLLED_BACK {
        ended = trial.roll_back().await?;
    }
    let back = Back::read(&trial)?;
    Ok(Tried {
        point: Point::FailAt(step.clone()),
        at: step.to_string(),
        verdict: verdict(&trial, start, &back, ended).await?,
        transcript: Vec::new(),
        real_seconds: began.elapsed().as_secs_f64(),
        rollback_sandbox_seconds: back.seconds,
    })
}

async fn verdict(
    trial: &Trial<'_>,
    start: &WorldSnapshot,
    back: &Back,
    ended: Ended,
) -> Result<Verdict, RehearsalError> {
    let left = trial.left().await?;
    let mut found: Vec<_> = left.unannounced.into_iter().map(Deviation::Unannounced).collect();
    let stopped =
        ended.how == INCOMPLETE && !back.irreversible.is_empty() && !back.failed_otherwise;
    if ended.how != ROLLED_BACK && !stopped {
        let (expected, found_how) = (ROLLED_BACK, ended.how);
        found.push(Deviation::Ending { expected, found: found_how, said: ended.stderr });
    }
    for (application, orders) in &left.world.orders {
        if !orders.lost.is_empty() {
            let application = application.clone();
            found.push(Deviation::LostOrders { application, orders: orders.lost.clone() });
        }
    }
    let [before, now] = [start, &left.world].map(|world| back.restorable(start, world));
    found.extend(differences(&before, &now).into_iter().map(Deviation::World));
    if let Some(run) = trial.run_dir() {
        let entries = ledger::read(&run.join("sandbox"))?;
        for (_, again) in ledger::duplicates(&entries) {
            let change = format!("{} {}", again.method, again.path);
            found.push(Deviation::Changes { change, expected: 1, found: 2 });
        }
    }
    Ok(match (found.is_empty(), stopped, back.failed_there) {
        (false, ..) => Verdict::Deviated(found),
        (true, true, _) => Verdict::StoppedForPerson(back.irreversible.clone()),
        (true, false, true) => Verdict::Same,
        (true, false, false) => Verdict::NotReached,
    })
}

/// What the journal of a run that was taken back says about the way back.
#[derive(Debug, Default)]
struct Back {
    /// The step failed because it was told to: without that nothing was tried.
    failed_there: bool,
    /// How long it took.
    seconds: Option<f64>,
    /// Steps that said in the plan that they can not be taken back.
    irreversible: Vec<Doubt>,
    /// A step could not be taken back although it said that it can.
    failed_otherwise: bool,
    /// The estate, and what in it stays in place.
    estate: PathBuf,
    stays: Vec<PathBuf>,
    /// A command or a request of the author's leaves something in place, and only the author knows where.
    stays_anywhere: bool,
}

impl Back {
    fn read(trial: &Trial<'_>) -> Result<Self, RehearsalError> {
        let Some(dir) = trial.run_dir() else { return Ok(Self::default()) };
        let mut back = Self { estate: dir.join("sandbox").join("estate"), ..Self::default() };
        let mut since_when = None;
        let reading = journal::read(&dir, |record, state| match &record.event {
            Event::StepFailed { failure, .. } => back.failed_there |= failure.code == "MIG0710",
            Event::RollbackStarted { .. } => since_when = Some(record.at),
            Event::RunEnded { .. } => {
                back.seconds = since_when.map(|at| since(at, record.at).as_secs_f64());
            }
            Event::Intent { step, intent, undoes: None } if intent.undo != Undo::Restores => {
                back.stays.push(Path::new(&intent.target).to_owned());
                back.stays_anywhere |= is_custom(state, step);
            }
            _ => {}
        })?;
        let steps = reading.state.plan().steps.iter().zip(&reading.state.steps);
        for (step, own) in steps.filter(|(_, own)| own.state == StepState::UndoFailed) {
            let final_word = own.effects.iter().any(|it| it.intent.undo == Undo::Irreversible);
            if final_word {
                let evidence = own.failure.as_ref().map_or_else(String::new, ToString::to_string);
                let doubt = Doubt { step: step.id.to_string(), promised: true, evidence };
                back.irreversible.push(doubt);
            } else {
                back.failed_otherwise = true;
            }
        }
        Ok(back)
    }

    /// What a rollback has to restore of a world; of resources, those that were there at the start.
    fn restorable(&self, start: &WorldSnapshot, world: &WorldSnapshot) -> WorldSnapshot {
        let stays = |id: &str| {
            self.stays.iter().any(|stays| stays.to_string_lossy().eq_ignore_ascii_case(id))
        };
        let resources = world.resources.iter().filter(|(id, _)| {
            start.resources.contains_key(*id) && !self.stays_anywhere && !stays(id)
        });
        let compared = |name: &str| {
            let path = self.estate.join(name);
            !self.stays_anywhere && !self.stays.iter().any(|stays| path.starts_with(stays))
        };
        let files = world.files.iter().filter(|(name, _)| compared(name));
        let tables = world.target_tables.iter().filter(|(table, _)| {
            table.split_once('/').is_none_or(|(app, _)| compared(&format!("target/{app}/app.db")))
        });
        WorldSnapshot {
            record_sets: world.record_sets.clone(),
            locks: world.locks.clone(),
            groups: world.groups.clone(),
            maintenance: world
                .maintenance
                .iter()
                .filter(|(_, refuses)| **refuses)
                .map(|(app, refuses)| (app.clone(), *refuses))
                .collect(),
            files: files.map(|(name, hash)| (name.clone(), hash.clone())).collect(),
            target_tables: tables.map(|(name, it)| (name.clone(), it.clone())).collect(),
            resources: resources.map(|(id, it)| (id.clone(), it.clone())).collect(),
            ..WorldSnapshot::default()
        }
    }
}

fn is_custom(state: &RunState, step: &StepId) -> bool {
    let step = state.plan().steps.iter().find(|it| it.id == *step);
    step.is_some_and(|it| matches!(it.uses.as_str(), "exec" | "http.request"))
}
