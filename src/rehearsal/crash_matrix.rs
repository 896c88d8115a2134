//! The crash matrix: a child is killed at a point, taken up as an operator would, and compared with the whole run.

use std::time::Instant;

use super::RehearsalError;
use super::certificate::Tried;
use super::judge::{Outcome, judge};
use super::point::Point;
use super::side_by_side::{Pace, side_by_side};
use super::trial::{How, Setting, Trial};
use super::whole::{Whole, name};
use crate::crash::{Boundary, KillPoint, Side};
use crate::journal;

/// Tries every point.
pub async fn crash_matrix(
    setting: &Setting,
    whole: &Whole,
    points: &[KillPoint],
    pace: Pace<'_>,
) -> Result<Vec<Tried>, RehearsalError> {
    side_by_side(points, pace, |_, point| interrupted(setting, whole, *point)).await
}

async fn interrupted(
    setting: &Setting,
    whole: &Whole,
    point: KillPoint,
) -> Result<Tried, RehearsalError> {
    let began = Instant::now();
    let trial = Trial::new(setting, &point.to_string())?;
    let mut ended = trial.run_until(Some(point)).await?;
    let (mut at_death, mut at) = (None, String::new());
    if ended.how == How::KILLED {
        at = place(whole, &trial, point)?;
        at_death = Some(trial.unannounced()?);
        ended = trial.take_up().await?;
    }
    let outcome = Outcome { ended: ended.how, said: ended.stderr, left: trial.left().await? };
    Ok(Tried {
        point: Point::Kill(point),
        at,
        verdict: judge(&whole.outcome, at_death.as_deref(), &outcome),
        transcript: Vec::new(),
        real_seconds: began.elapsed().as_secs_f64(),
        rollback_sandbox_seconds: None,
    })
}

/// What the process was killed at. Lanes run side by side, so this trial's own record or call is told where it has one.
fn place(whole: &Whole, trial: &Trial<'_>, point: KillPoint) -> Result<String, RehearsalError> {
    let index = usize::try_from(point.number - 1).unwrap_or(usize::MAX);
    let at = match (point.boundary, point.side) {
        (Boundary::Call, _) => trial.calls().get(index).cloned(),
        // Never written: the whole run's is the likely one.
        (Boundary::Record, Side::Before) => whole.records.get(index).cloned(),
        (Boundary::Record, Side::After) => {
            let mut last = None;
            if let Some(dir) = trial.run_dir() {
                journal::read(&dir, |record, _| last = Some(name(&record.event)))?;
            }
            last
        }
    };
    Ok(at.unwrap_or_default())
}
