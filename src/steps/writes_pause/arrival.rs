//! That everything has come over: the sentinel is written behind the wall, and the target has it, the position, and a replication
//! that nothing speaks against. All three.

use serde_json::{Value, json};

use super::super::marking;
use super::database::{CLASSES, Pause};
use super::{Evidence, FailureClass, PerformCx, StepCx, StepError};
use crate::clock::{advance, since};
use crate::database::DatabaseError;
use crate::database::replication::{Marked, Position as _, Replication, Standing};
use crate::database::wall::Wall;
use crate::run::{Intent, RunId};

/// Key of the row.
pub(super) const SENTINEL: &str = "sentinel";

type Position<W> = <<W as Wall>::Pair as Replication>::Position;
type Look<W> = <<W as Wall>::Pair as Replication>::Look;
type Reached<W> = (Look<W>, Result<(), String>);

/// The number of this run's sentinel: above every heartbeat's, which are microseconds.
fn sentinel_seq(cx: &PerformCx<'_>) -> i64 {
    let first = cx.read.first_started;
    first.as_microsecond().saturating_mul(2)
}

impl<W: Wall> Pause<'_, W> {
    /// Writes the sentinel and then reads the position: what was committed before it is before that position.
    pub(super) async fn sentinel(&mut self, cx: &PerformCx<'_>) -> Result<Position<W>, StepError> {
        let attempted = &self.attempted;
        if let Some(pair) = &mut self.pair {
            let seq = sentinel_seq(cx);
            let target = format!("{} at {}", <W::Pair as Marked>::MARKS, pair.source_at());
            let intent = Intent::new(
                SENTINEL,
                target,
                "insert",
                CLASSES,
                Value::Null,
                json!({ "seq": seq }),
            );
            let run = &cx.read.world.run;
            cx.change(intent, async |permit| {
                let written = pair.mark(permit, run, seq).await;
                written.map(|beat| json!(beat)).map_err(|error| error.as_change_error(attempted))
            })
            .await?;
        }
        self.wall.position().await.map_err(|error| self.read(&error))
    }

    /// Waits until the target has all of it: the position is reached, nothing speaks against it, the sentinel is there.
    pub(super) async fn arrived(
        &mut self,
        cx: &mut PerformCx<'_>,
        position: &Position<W>,
    ) -> Result<Option<Evidence>, StepError> {
        let Some(pair) = &mut self.pair else { return Ok(None) };
        let (began, seq) = (cx.clock().steady(), sentinel_seq(cx));
        let deadline = advance(began, self.with.drain_within.duration());
        let target = self.with.until.as_deref().unwrap_or_default();
        let mut before: Option<Look<W>> = None;
        loop {
            let why = match reached::<W>(pair, before.as_ref(), position, &cx.read.world.run, seq)
                .await
            {
                Ok((_, Ok(()))) => {
                    return Ok(Some(Evidence {
                        check: format!("everything at {target}"),
                        verdict: "drained".to_owned(),
                        detail: format!(
                            "position {position} and sentinel {seq} there after {} ms, nothing speaks against it",
                            since(began, cx.clock().steady()).as_millis()
                        ),
                        holds: true,
                    }));
                }
                Ok((look, Err(why))) => {
                    before = Some(look);
                    why
                }
                Err(error @ DatabaseError::Silent { .. }) => {
                    before = None;
                    error.to_string()
                }
                Err(error) => return Err(error.as_step_error(&self.attempted)),
            };
            if cx.clock().steady() >= deadline {
                return Err(self.not_arrived(&why));
            }
            cx.progress.say(format!("waits for {position} at {target}: {why}"));
            cx.read.sleep(W::BETWEEN, cx.busy).await?;
        }
    }

    fn not_arrived(&self, why: &str) -> StepError {
        let known = format!("writes are refused; the target does not have everything: {why}");
        StepError::new(FailureClass::Failed, "MIG0525", &self.attempted, known)
            .cause(format!("it did not arrive within {}", self.with.drain_within))
            .hint("`migrate resume` goes on waiting, `migrate rollback` accepts writes at the source again")
            .retryable()
    }
}

/// One look: the position, what speaks against it, and the sentinel, all three.
async fn reached<W: Wall>(
    pair: &mut W::Pair,
    before: Option<&Look<W>>,
    position: &Position<W>,
    run: &RunId,
    seq: i64,
) -> Result<Reached<W>, DatabaseError> {
    let look = pair.look().await?;
    let arrived = pair.arrived(run).await?.is_some_and(|beat| beat.seq >= seq);
    let told = match W::Pair::judge(&look, before) {
        Standing::Unknown(why) => Err(why),
        Standing::At(at) if !at.reaches(position) => Err(marking::behind(&at, position)),
        Standing::At(_) if !arrived => Err("the sentinel is not there".to_owned()),
        Standing::At(_) => Ok(()),
    };
    Ok((look, told))
}

/// Two looks: one alone does not tell whether errors go on.
pub(super) async fn twice<W: Wall>(
    cx: &StepCx,
    pair: &mut W::Pair,
) -> Result<Standing<Position<W>>, DatabaseError> {
    let first = pair.look().await?;
    let mut busy = cx.hold.take().unwrap_or_else(|| cx.clock().busy());
    cx.clock().sleep(W::BETWEEN, &mut busy).await;
    cx.hold.put(busy);
    Ok(W::Pair::judge(&pair.look().await?, Some(&first)))
}

/// What a dry run shows of it.
pub(super) fn well<P>(standing: &Standing<P>) -> Evidence {
    let (verdict, detail) = match standing {
        // Where it is differs from look to look, and the same dry run says the same.
        Standing::At(_) => ("follows", "nothing speaks against it".to_owned()),
        Standing::Unknown(why) => ("not ready", why.clone()),
    };
    Evidence {
        check: "replication to the target".to_owned(),
        verdict: verdict.to_owned(),
        detail,
        holds: matches!(standing, Standing::At(_)),
    }
}
