//! What kinds that mark a replication share: waiting until all of it has arrived, and taking its table away. Not a kind.

use std::time::Duration;

use serde_json::json;

use super::{FailureClass, Granted, PerformCx, StepCx, StepError};
use crate::clock::{Busy, since};
use crate::database::DatabaseError;
use crate::database::replication::{Marked, Position, Replication, Sides, Standing};
use crate::journal::EffectPermit;
use crate::run::{Intent, RecordedEffect, Repeat, Undo};

/// Between two looks.
const BETWEEN: Duration = Duration::from_millis(20);

/// Waits until the target has everything up to `end`. `Err` says why it has not, once that took too long or the attempt is to
/// end.
pub(super) async fn has_all<R: Replication>(
    cx: &StepCx,
    busy: &mut Busy,
    pair: &mut R,
    end: &R::Position,
    patience: Duration,
) -> Result<(), String> {
    let began = cx.clock().steady();
    let mut before: Option<R::Look> = None;
    loop {
        let why = match pair.look().await {
            Ok(look) => {
                let why = match R::judge(&look, before.as_ref()) {
                    Standing::At(reached) if reached.reaches(end) => return Ok(()),
                    Standing::At(reached) => behind(&reached, end),
                    Standing::Unknown(why) => why,
                };
                before = Some(look);
                why
            }
            Err(error) => error.to_string(),
        };
        let late = since(began, cx.clock().steady()) > patience;
        if late || cx.sleep(BETWEEN, busy).await.is_err() {
            return Err(why);
        }
    }
}

/// How far it is from one position to another, in words.
pub(super) fn behind<P: Position>(reached: &P, end: &P) -> String {
    format!("{} {} behind", reached.behind(end), P::UNIT)
}

/// Takes the table of marks away, where nobody writes to it any more. From a target that has it apart
/// only once every change of it is there: one that came later would stop it. What is left is told.
pub(super) async fn remove<R: Marked>(
    cx: &StepCx,
    busy: &mut Busy,
    pair: &mut R,
    permit: &EffectPermit,
    patience: Duration,
) -> Result<Sides, DatabaseError> {
    let now = pair.sides().await?;
    let apart = pair.marks_apart();
    if now.source && apart {
        let end = pair.position().await?;
        if has_all(cx, busy, pair, &end, patience).await.is_err() {
            return Ok(now);
        }
    }
    if now.source {
        pair.drop_marks_at_source(permit).await?;
    }
    if now.target && apart {
        pair.drop_marks_at_target(permit).await?;
    }
    if !apart && pair.sides().await?.target {
        // The drop itself has to arrive; where it does not, the sides tell.
        let end = pair.position().await?;
        let _ = has_all(cx, busy, pair, &end, patience).await;
    }
    pair.sides().await
}

/// Takes the effect back that made the table, as far as it made it.
pub(super) async fn undo<R: Marked>(
    cx: &mut PerformCx<'_>,
    pair: &mut R,
    effect: &RecordedEffect,
    patience: Duration,
    attempted: &str,
) -> Result<(), StepError> {
    let found = serde_json::from_value(effect.intent.before.clone()).unwrap_or(Sides::NONE);
    let now = pair.sides().await.map_err(|error| error.as_step_error(attempted))?;
    let Intent { key, target, before, .. } = &effect.intent;
    let classes = (Repeat::Repeatable, Undo::Restores);
    let intent =
        Intent::new(format!("undo:{key}"), target, "drop", classes, json!(now), before.clone());
    let Granted::Permit(permit) = cx.effects.intend(intent).await? else { return Ok(()) };
    let left = remove_what_was_made(cx, pair, &permit, found, patience).await;
    let left = left.map_err(|error| error.as_change_error(attempted))?;
    if left != found {
        return Err(is_left::<R>(attempted, left));
    }
    cx.effects.done(permit, json!(left)).await
}

/// The same as [`remove`], where the table was not there before.
pub(super) async fn remove_what_was_made<R: Marked>(
    cx: &mut PerformCx<'_>,
    pair: &mut R,
    permit: &EffectPermit,
    found: Sides,
    patience: Duration,
) -> Result<Sides, DatabaseError> {
    if found != Sides::NONE {
        return pair.sides().await;
    }
    remove(cx.read, cx.busy, pair, permit, patience).await
}

/// The failure that names the sides on which the table is left.
pub(super) fn is_left<R: Marked>(attempted: &str, left: Sides) -> StepError {
    let side = |there: bool, name: &str| there.then(|| name.to_owned());
    let sides: Vec<String> = [side(left.source, "the source"), side(left.target, "the target")]
        .into_iter()
        .flatten()
        .collect();
    let known = format!("{} is left at {}", R::MARKS, sides.join(" and "));
    StepError::new(FailureClass::Failed, "MIG0414", attempted, known)
        .hint("see why the target trails; once it has caught up, `migrate resume` or `migrate rollback` remove it")
}
