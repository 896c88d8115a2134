//! Lag between two database servers by the positions of both sides: what every engine has in common, and all that is read where
//! there is no heartbeat.

use std::time::Duration;

use async_trait::async_trait;

use super::gate::Reading;
use super::servers::{Find, Unready, Watch};
use super::{FailureClass, Outcome, PerformCx, StepCx, StepError, Verdict, With};
use crate::clock::{Busy, since};
use crate::database::replication::{Position, Replication, Standing};
use crate::database::{DatabaseError, Distance, Trace};
use crate::run::RecordedEffect;

/// How long one look waits for the target to come where the source is.
const ARRIVAL: Duration = Duration::from_millis(500);
/// How long the end of an attempt waits for an answer that is on its way: it tells why the wait was in vain.
const LAST_ANSWER: Duration = Duration::from_secs(2);
/// Between two readings of one look.
const BETWEEN: Duration = Duration::from_millis(20);

/// The pair of one attempt, and what earlier looks saw.
#[derive(Debug)]
pub(super) struct Positions<'a, R: Replication> {
    pub(super) with: &'a With,
    source: &'a str,
    pub(super) target: &'a str,
    pub(super) pair: Option<R>,
    before: Option<R::Look>,
    trace: Trace<R::Position>,
}

impl<'a, R: Find> Positions<'a, R> {
    pub(super) fn new(source: &'a str, target: &'a str, with: &'a With) -> Self {
        let (before, trace) = (None, Trace::default());
        Self { with, source, target, pair: None, before, trace }
    }

    /// The pair, found on first use.
    pub(super) async fn pair(&mut self, cx: &StepCx) -> Result<&mut R, Unready> {
        if self.pair.is_none() {
            self.pair = Some(R::find(cx, self.with, self.source, self.target).await?);
        }
        Ok(self.pair.as_mut().expect("it was found just now"))
    }

    /// What waiting may heal is an unknown reading.
    pub(super) fn reading(
        &self,
        read: Result<(String, Reading), Unready>,
    ) -> Result<(String, Reading), StepError> {
        heard(self.with, self.target, read)
    }

    /// One reading.
    pub(super) async fn read(
        &mut self,
        cx: &StepCx,
        busy: &mut Busy,
    ) -> Result<(String, Reading), Unready> {
        unless_it_hangs(cx, self.target, self.distance(cx, busy)).await
    }

    /// By positions: the time until the target is where the source was as the look began, or since it was there.
    async fn distance(
        &mut self,
        cx: &StepCx,
        busy: &mut Busy,
    ) -> Result<(String, Reading), Unready> {
        let asked = cx.clock().steady();
        let position = self.pair(cx).await?.position().await?;
        self.trace.saw(asked, position.clone());
        loop {
            let reached = match self.standing(cx).await? {
                Standing::At(reached) => reached,
                Standing::Unknown(why) => {
                    return Ok((self.target.to_owned(), Reading::Unknown(why)));
                }
            };
            let now = cx.clock().steady();
            // Woken by the deadline it tells how far the target has come.
            let early = !reached.reaches(&position) && since(asked, now) < ARRIVAL;
            if early && cx.sleep(BETWEEN, busy).await.is_ok() {
                continue;
            }
            let distance = self.trace.distance(&reached, now).expect("a position was seen");
            let age = self.before.as_ref().map_or(Duration::ZERO, R::age);
            return Ok(told::<R::Position>(self.target, distance, age));
        }
    }

    pub(super) async fn standing(&mut self, cx: &StepCx) -> Result<Standing<R::Position>, Unready> {
        let look = self.pair(cx).await?.look().await;
        // What was read before a gap says nothing about what comes after it.
        let before = self.before.take();
        let look = look?;
        let standing = R::judge(&look, before.as_ref());
        self.before = Some(look);
        Ok(standing)
    }

    /// Two looks, so that an error that goes on is seen.
    pub(super) async fn twice(&mut self, cx: &StepCx) -> Result<Vec<(String, Reading)>, StepError> {
        let mut busy = cx.hold.take().unwrap_or_else(|| cx.clock().busy());
        let first = self.read(cx, &mut busy).await;
        let read = if first.is_ok() { self.read(cx, &mut busy).await } else { first };
        cx.hold.put(busy);
        self.reading(read).map(|read| vec![read])
    }
}

/// What waiting may heal is an unknown reading.
pub(super) fn heard(
    with: &With,
    target: &str,
    read: Result<(String, Reading), Unready>,
) -> Result<(String, Reading), StepError> {
    let attempted = with.attempted();
    match read {
        Ok(reading) => Ok(reading),
        Err(Unready::Error(error @ DatabaseError::Silent { .. })) => {
            Ok((target.to_owned(), Reading::Unknown(error.to_string())))
        }
        Err(Unready::Error(error)) => Err(error.as_step_error(&attempted)),
        Err(Unready::Stopped(error)) => Err(error),
        Err(Unready::Nothing(why)) => {
            let known = "there is no replication to wait for; nothing was changed";
            Err(StepError::new(FailureClass::Refused, "MIG0412", attempted, known).cause(why).hint(
                "set it up, or name it by `subscription`, `slot` or `publication`; then `migrate resume`",
            ))
        }
    }
}

/// A reading, which a server that hangs does not hold up for much longer than the attempt may take.
pub(super) async fn unless_it_hangs(
    cx: &StepCx,
    target: &str,
    read: impl Future<Output = Result<(String, Reading), Unready>>,
) -> Result<(String, Reading), Unready> {
    let hangs = async {
        cx.cancel.cancelled().await;
        tokio::time::sleep(LAST_ANSWER).await;
    };
    tokio::select! {
        biased;
        read = read => read,
        () = hangs => {
            Ok((target.to_owned(), Reading::Unknown("no answer came in time".to_owned())))
        }
    }
}

/// Nothing is ever made here, so that nothing is left.
#[async_trait]
impl<R: Find> Watch for Positions<'_, R> {
    async fn preview(&mut self, cx: &StepCx) -> Result<Vec<(String, Reading)>, StepError> {
        self.twice(cx).await
    }

    async fn look(&mut self, cx: &mut PerformCx<'_>) -> Result<Vec<(String, Reading)>, StepError> {
        let read = self.read(cx.read, cx.busy).await;
        self.reading(read).map(|read| vec![read])
    }

    async fn end(
        &mut self,
        _cx: &mut PerformCx<'_>,
        waited: Result<Outcome, StepError>,
    ) -> Result<Outcome, StepError> {
        waited
    }

    async fn probe(&mut self, _cx: &StepCx, _effect: &RecordedEffect) -> Verdict {
        Verdict::Unknown { evidence: "a check changes nothing".to_owned() }
    }

    async fn undo(
        &mut self,
        _cx: &mut PerformCx<'_>,
        _effect: &RecordedEffect,
    ) -> Result<(), StepError> {
        Ok(())
    }
}

/// Positions as a reading, with what is missing beside the seconds.
fn told<P: Position>(
    target: &str,
    Distance { behind, at_most }: Distance,
    age: Duration,
) -> (String, Reading) {
    let unit = P::UNIT;
    match at_most {
        Some(lag) if behind == 0 => (target.to_owned(), Reading::Lag { lag, age }),
        Some(lag) => (format!("{target} ({behind} {unit}, at most)"), Reading::Lag { lag, age }),
        None => {
            let why = format!(
                "{target} is {behind} {unit} behind; for how long is known once it reaches a position seen here"
            );
            (target.to_owned(), Reading::Unknown(why))
        }
    }
}
