//! Lag between two database servers, as `replication.wait` reads it: positions of both sides, and a heartbeat where asked for.

use std::time::Duration;

use async_trait::async_trait;

use super::gate::Reading;
use super::super::marking;
use super::heartbeat::{Heartbeat, LAST, Seen};
use super::{FailureClass, Outcome, PerformCx, StepCx, StepError, Verdict, With};
use crate::clock::{Busy, since};
use crate::database::replication::{PairError, Position, Replication, Standing};
use crate::database::{DatabaseError, Distance, Trace, mysql, postgres};
use crate::run::RecordedEffect;

/// How long one look waits for the target to come where the source is.
const ARRIVAL: Duration = Duration::from_millis(500);
/// Between two readings of one look.
const BETWEEN: Duration = Duration::from_millis(20);

/// A pair of servers under watch, whatever their engine.
#[async_trait]
pub(super) trait Watch: Send {
    /// Two looks, without changing anything.
    async fn preview(&mut self, cx: &StepCx) -> Result<Vec<(String, Reading)>, StepError>;
    /// One look; a heartbeat begins once the pair is well.
    async fn look(&mut self, cx: &mut PerformCx<'_>) -> Result<Vec<(String, Reading)>, StepError>;
    /// Ends the heartbeat, however the wait went.
    async fn end(&mut self, cx: &mut PerformCx<'_>, waited: Result<Outcome, StepError>) -> Result<Outcome, StepError>;
    /// Whether the table of a heartbeat is gone again.
    async fn probe(&mut self, cx: &StepCx) -> Verdict;
    /// Takes away what a heartbeat left.
    async fn undo(&mut self, cx: &mut PerformCx<'_>, effect: &RecordedEffect) -> Result<(), StepError>;
}

/// How two systems of a runbook are found to be a pair.
pub(super) trait Find: Replication + Sized {
    fn find(cx: &StepCx, with: &With, source: &str, target: &str) -> impl Future<Output = Result<Self, Unready>> + Send;
}

impl Find for postgres::Pair {
    async fn find(cx: &StepCx, with: &With, source: &str, target: &str) -> Result<Self, Unready> {
        if with.target_own.is_some() {
            return Err(DatabaseError::System("`target_own` belongs to MariaDB and MySQL".to_owned()).into());
        }
        let (source, target) = (cx.postgres(source).await?, cx.postgres(target).await?);
        let named = postgres::Named { subscription: with.subscription.as_deref(), slot: with.slot.as_deref() };
        Ok(Self::find(source, target, named).await?)
    }
}

impl Find for mysql::Pair {
    async fn find(cx: &StepCx, with: &With, source: &str, target: &str) -> Result<Self, Unready> {
        if with.subscription.is_some() || with.slot.is_some() {
            let why = "`subscription` and `slot` belong to PostgreSQL";
            return Err(DatabaseError::System(why.to_owned()).into());
        }
        let (source, target) = (cx.mysql(source).await?, cx.mysql(target).await?);
        Ok(Self::find(source, target, with.target_own.as_deref()).await?)
    }
}

/// The pair of one attempt, and what earlier looks saw.
#[derive(Debug)]
pub(super) struct Servers<'a, R: Replication> {
    with: &'a With,
    source: &'a str,
    target: &'a str,
    pair: Option<R>,
    before: Option<R::Look>,
    trace: Trace<R::Position>,
    heartbeat: Option<Heartbeat>,
}

impl<'a, R: Find> Servers<'a, R> {
    pub(super) fn new(source: &'a str, target: &'a str, with: &'a With) -> Self {
        let (before, trace) = (None, Trace::default());
        Self { with, source, target, pair: None, before, trace, heartbeat: None }
    }

    /// The pair, found on first use.
    async fn pair(&mut self, cx: &StepCx) -> Result<&mut R, Unready> {
        if self.pair.is_none() {
            self.pair = Some(R::find(cx, self.with, self.source, self.target).await?);
        }
        Ok(self.pair.as_mut().expect("it was found just now"))
    }

    /// What waiting may heal is an unknown reading.
    fn reading(&self, read: Result<(String, Reading), Unready>) -> Result<(String, Reading), StepError> {
        let attempted = self.with.attempted();
        match read {
            Ok(reading) => Ok(reading),
            Err(Unready::Error(error @ DatabaseError::Silent { .. })) => {
                Ok((self.target.to_owned(), Reading::Unknown(error.to_string())))
            }
            Err(Unready::Error(error)) => Err(error.as_step_error(&attempted)),
            Err(Unready::Stopped(error)) => Err(error),
            Err(Unready::Nothing(why)) => {
                let known = "there is no replication to wait for; nothing was changed";
                Err(StepError::new(FailureClass::Refused, "MIG0412", attempted, known)
                    .cause(why)
                    .hint("set it up, or name it by `subscription` or `slot`; then `migrate resume`"))
            }
        }
    }

    /// By positions: the time until the target is where the source was as the look began, or since it was there.
    async fn positions(&mut self, cx: &StepCx, busy: &mut Busy) -> Result<(String, Reading), Unready> {
        let asked = cx.clock().steady();
        let position = self.pair(cx).await?.position().await?;
        self.trace.saw(asked, position.clone());
        loop {
            let reached = match self.standing(cx).await? {
                Standing::At(reached) => reached,
                Standing::Unknown(why) => return Ok((self.target.to_owned(), Reading::Unknown(why))),
            };
            let now = cx.clock().steady();
            if !reached.reaches(&position) && since(asked, now) < ARRIVAL {
                cx.sleep(BETWEEN, busy).await.map_err(Unready::Stopped)?;
                continue;
            }
            let distance = self.trace.distance(&reached, now).expect("a position was seen");
            return Ok(told::<R::Position>(self.target, distance));
        }
    }

    async fn standing(&mut self, cx: &StepCx) -> Result<Standing<R::Position>, Unready> {
        let look = self.pair(cx).await?.look().await;
        // What was read before a gap says nothing about what comes after it.
        let before = self.before.take();
        let look = look?;
        let standing = R::judge(&look, before.as_ref());
        self.before = Some(look);
        Ok(standing)
    }

    /// By the heartbeat, as long as nothing else is wrong.
    async fn beat(&mut self, cx: &mut PerformCx<'_>) -> Result<(String, Reading), Unready> {
        let (pair, heartbeat) = (self.pair.as_mut(), self.heartbeat.as_mut());
        let (pair, heartbeat) = pair.zip(heartbeat).expect("it beats for a pair");
        let seen = heartbeat.beat(cx, pair).await?;
        let reading = match (self.standing(cx.read).await?, seen) {
            (Standing::Unknown(why), _) => Reading::Unknown(why),
            (Standing::At(_), Seen::Nothing) => Reading::Unknown("no heartbeat has arrived yet".to_owned()),
            (Standing::At(_), Seen::Behind(lag)) => Reading::Lag { lag, age: Duration::ZERO },
        };
        Ok((format!("{} by heartbeat", self.target), reading))
    }
}

#[async_trait]
impl<R: Find> Watch for Servers<'_, R> {
    async fn preview(&mut self, cx: &StepCx) -> Result<Vec<(String, Reading)>, StepError> {
        let mut busy = cx.hold.take().unwrap_or_else(|| cx.clock().busy());
        let first = self.positions(cx, &mut busy).await;
        let read = if first.is_ok() { self.positions(cx, &mut busy).await } else { first };
        cx.hold.put(busy);
        self.reading(read).map(|read| vec![read])
    }

    async fn look(&mut self, cx: &mut PerformCx<'_>) -> Result<Vec<(String, Reading)>, StepError> {
        let read = match &self.heartbeat {
            None => self.positions(cx.read, cx.busy).await,
            Some(_) => self.beat(cx).await,
        };
        let well = matches!(&read, Ok((_, Reading::Lag { .. })));
        let reading = self.reading(read)?;
        if well && self.with.heartbeat && self.heartbeat.is_none() {
            let pair = self.pair.as_mut().expect("it was looked at");
            self.heartbeat = Some(Heartbeat::begin(cx, pair, &self.with.attempted()).await?);
            let why = "the table of the heartbeat was made just now".to_owned();
            return Ok(vec![(self.target.to_owned(), Reading::Unknown(why))]);
        }
        Ok(vec![reading])
    }

    async fn end(
        &mut self,
        cx: &mut PerformCx<'_>,
        waited: Result<Outcome, StepError>,
    ) -> Result<Outcome, StepError> {
        let Some((pair, heartbeat)) = self.pair.as_mut().zip(self.heartbeat.take()) else { return waited };
        let ended = heartbeat.end(cx, pair, &self.with.attempted()).await;
        // Why the wait failed matters more than what became of a table.
        match waited {
            Err(failure) => Err(failure),
            Ok(outcome) => ended.map(|()| outcome),
        }
    }

    async fn probe(&mut self, cx: &StepCx) -> Verdict {
        match self.pair(cx).await {
            Ok(pair) => Heartbeat::probe(pair).await,
            Err(error) => Verdict::Unknown { evidence: error.to_string() },
        }
    }

    async fn undo(&mut self, cx: &mut PerformCx<'_>, effect: &RecordedEffect) -> Result<(), StepError> {
        let attempted = self.with.attempted();
        let found = self.pair(cx.read).await.map(drop);
        self.reading(found.map(|()| (String::new(), Reading::Unknown(String::new()))))?;
        match &mut self.pair {
            Some(pair) => marking::undo(cx, pair, effect, LAST, &attempted).await,
            None => Err(StepError::new(FailureClass::Failed, "MIG0309", attempted, "the table of the heartbeat may be left")
                .hint("look whether both servers are up, then `migrate rollback`")
                .retryable()),
        }
    }
}

/// Positions as a reading, with what is missing beside the seconds.
fn told<P: Position>(target: &str, Distance { behind, at_most }: Distance) -> (String, Reading) {
    let (unit, age) = (P::UNIT, Duration::ZERO);
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

/// Why a look brought nothing.
#[derive(Debug, thiserror::Error)]
pub(super) enum Unready {
    #[error(transparent)]
    Error(#[from] DatabaseError),
    #[error("{0}")]
    Nothing(String),
    #[error(transparent)]
    Stopped(StepError),
}

impl From<PairError> for Unready {
    fn from(error: PairError) -> Self {
        match error {
            PairError::Database(error) => Self::Error(error),
            PairError::Nothing(why) => Self::Nothing(why),
        }
    }
}
