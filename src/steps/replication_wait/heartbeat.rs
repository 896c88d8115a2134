//! The heartbeat of `replication.wait`: one effect from the making of its table to the removal.

use std::time::Duration;

use serde_json::json;

use super::servers::Unready;
use super::{FailureClass, PerformCx, StepError, Verdict};
use crate::clock::since;
use crate::database::DatabaseError;
use crate::database::replication::{Marked, Sides};
use crate::journal::EffectPermit;
use crate::run::{Intent, Repeat, Undo};
use crate::steps::{Granted, marking};

/// From one row to the next.
pub(super) const PACE: Duration = Duration::from_millis(250);
const BETWEEN: Duration = Duration::from_millis(10);
/// How long the target may take to get the last of it, before its table is left there.
pub(super) const LAST: Duration = Duration::from_secs(5);
const KEY: &str = "heartbeat";

/// What a beat tells.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Seen {
    /// None has arrived.
    Nothing,
    /// What the source had so long ago has arrived.
    Behind(Duration),
}

/// A heartbeat under way.
#[derive(Debug)]
pub(super) struct Heartbeat {
    permit: EffectPermit,
    /// The table was there before: somebody else's.
    found: Sides,
    seq: i64,
}

impl Heartbeat {
    /// Makes the table.
    pub(super) async fn begin<R: Marked>(
        cx: &mut PerformCx<'_>,
        pair: &mut R,
        attempted: &str,
    ) -> Result<Self, StepError> {
        let read = |error: DatabaseError| error.as_step_error(attempted);
        let bystanders = pair.bystanders().await.map_err(read)?;
        if !bystanders.is_empty() {
            let known =
                "other subscribers would stop at the table of a heartbeat; nothing was changed";
            return Err(StepError::new(FailureClass::Refused, "MIG0412", attempted, known)
                .cause(format!("slots {}", bystanders.join(", ")))
                .hint("leave `heartbeat` out, or publish tables by name; then `migrate resume`"));
        }
        // What an attempt left that was cut off is this one's to remove.
        let mine = || cx.recorded.iter().filter(|effect| effect.intent.key.starts_with(KEY));
        let left =
            mine().rev().find(|effect| effect.observed.as_ref() != Some(&effect.intent.before));
        let ended = mine().filter(|effect| effect.done).count();
        let before = match left {
            Some(effect) => effect.intent.before.clone(),
            None => json!(pair.sides().await.map_err(read)?),
        };
        let found = serde_json::from_value(before.clone()).unwrap_or(Sides::NONE);
        let target = format!("{} at {} and {}", R::MARKS, pair.source_at(), pair.target_at());
        let classes = (Repeat::Repeatable, Undo::Restores);
        let intent =
            Intent::new(format!("{KEY}:{ended}"), target, "beat", classes, before.clone(), before);
        let Granted::Permit(permit) = cx.effects.intend(intent).await? else {
            let known = "the journal holds it as ended";
            return Err(StepError::new(FailureClass::Failed, "MIG0706", attempted, known));
        };
        match pair.make_marks(&permit).await {
            // Numbers of an earlier attempt are not reached by accident.
            Ok(()) => {
                let seq =
                    pair.source_now().await.map_err(|error| error.as_change_error(attempted))?;
                Ok(Self { permit, found, seq })
            }
            Err(error) if found == Sides::NONE => {
                Err(unmade(cx, permit, pair, &error, attempted).await?)
            }
            Err(error) => Err(error.as_change_error(attempted)),
        }
    }

    /// Writes the next row and looks how long it takes to arrive, or how old the last one is that did.
    pub(super) async fn beat<R: Marked>(
        &mut self,
        cx: &mut PerformCx<'_>,
        pair: &mut R,
    ) -> Result<Seen, Unready> {
        let began = cx.clock().steady();
        self.seq += 1;
        let run = &cx.read.world.run;
        pair.mark(&self.permit, run, self.seq).await?;
        let written = cx.clock().steady();
        loop {
            let arrived = pair.arrived(run).await?;
            let now = cx.clock().steady();
            match arrived {
                Some(beat) if beat.seq >= self.seq => return Ok(Seen::Behind(since(written, now))),
                _ if since(began, now) < PACE => {
                    cx.read.sleep(BETWEEN, cx.busy).await.map_err(Unready::Stopped)?;
                }
                None => return Ok(Seen::Nothing),
                Some(beat) => {
                    // Both by the clock of the source; one that was set back tells nothing.
                    let micros = pair.source_now().await?.saturating_sub(beat.at);
                    let age = u64::try_from(micros).ok().map(Duration::from_micros);
                    return Ok(age.map_or(Seen::Nothing, Seen::Behind));
                }
            }
        }
    }

    /// Removes the table, where the target has all of it. What is left is taken up by the next attempt.
    pub(super) async fn end<R: Marked>(
        self,
        cx: &mut PerformCx<'_>,
        pair: &mut R,
        attempted: &str,
    ) -> Result<(), StepError> {
        let left = marking::remove_what_was_made(cx, pair, &self.permit, self.found, LAST).await;
        let left = left.map_err(|error| error.as_change_error(attempted))?;
        if left != self.found {
            return Err(marking::is_left::<R>(attempted, left));
        }
        cx.effects.done(self.permit, json!(left)).await
    }

    /// It beats no more; what it left is told.
    pub(super) async fn probe<R: Marked>(pair: &mut R) -> Verdict {
        match pair.sides().await {
            Ok(left) => Verdict::Done { observed: json!(left) },
            Err(error) => Verdict::Unknown { evidence: error.to_string() },
        }
    }
}

/// Making it failed: what is known of it, and the failure.
async fn unmade<R: Marked>(
    cx: &mut PerformCx<'_>,
    permit: EffectPermit,
    pair: &mut R,
    error: &DatabaseError,
    attempted: &str,
) -> Result<StepError, StepError> {
    let failure = error.as_change_error(attempted);
    // It takes several statements, and the first may have been carried out. No row was written: nothing can be on its way.
    let left = marking::remove(cx.read, cx.busy, pair, &permit, LAST).await;
    if matches!(left, Ok(Sides::NONE)) {
        cx.effects.not_done(permit, &error.to_string()).await?;
        return Ok(failure);
    }
    Ok(StepError {
        class: FailureClass::Unknown,
        known: "the table of the heartbeat may be left".to_owned(),
        ..failure
    })
}
