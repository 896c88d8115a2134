//! Lag between two database servers, as `replication.wait` reads it: positions of both sides, and a heartbeat where asked for.

use std::time::Duration;

use async_trait::async_trait;

use super::super::marking;
use super::gate::Reading;
use super::heartbeat::{Heartbeat, LAST, Seen};
use super::positions::Positions;
use super::{FailureClass, Outcome, PerformCx, StepCx, StepError, Verdict, With};
use crate::database::replication::{Marked, PairError, Replication, Standing};
use crate::database::sqlserver::Mechanism;
use crate::database::{DatabaseError, mysql, postgres, sqlserver};
use crate::run::RecordedEffect;

/// A pair of servers under watch, whatever their engine.
#[async_trait]
pub(super) trait Watch: Send {
    /// Two looks, without changing anything.
    async fn preview(&mut self, cx: &StepCx) -> Result<Vec<(String, Reading)>, StepError>;
    /// One look; a heartbeat begins once the pair is well.
    async fn look(&mut self, cx: &mut PerformCx<'_>) -> Result<Vec<(String, Reading)>, StepError>;
    /// Ends the heartbeat, however the wait went.
    async fn end(
        &mut self,
        cx: &mut PerformCx<'_>,
        waited: Result<Outcome, StepError>,
    ) -> Result<Outcome, StepError>;
    /// What is known of an effect that was cut off: whether the table of a heartbeat is gone again, or tracer tokens were posted.
    async fn probe(&mut self, cx: &StepCx, effect: &RecordedEffect) -> Verdict;
    /// Takes away what a heartbeat left.
    async fn undo(
        &mut self,
        cx: &mut PerformCx<'_>,
        effect: &RecordedEffect,
    ) -> Result<(), StepError>;
}

/// How two systems of a runbook are found to be a pair.
pub(super) trait Find: Replication + Sized {
    fn find(
        cx: &StepCx,
        with: &With,
        source: &str,
        target: &str,
    ) -> impl Future<Output = Result<Self, Unready>> + Send;
}

/// A key that is given and belongs to another engine is refused rather than passed over.
pub(super) fn foreign(given: bool, why: &str) -> Result<(), Unready> {
    if given { Err(DatabaseError::System(why.to_owned()).into()) } else { Ok(()) }
}

pub(super) const POSTGRES_ONLY: &str = "`subscription` and `slot` belong to PostgreSQL";
pub(super) const MYSQL_ONLY: &str = "`target_own` belongs to MariaDB and MySQL";
const SQLSERVER_ONLY: &str = "`by` belongs to SQL Server";

impl Find for postgres::Pair {
    async fn find(cx: &StepCx, with: &With, source: &str, target: &str) -> Result<Self, Unready> {
        foreign(with.target_own.is_some(), MYSQL_ONLY)?;
        foreign(with.by.is_some(), SQLSERVER_ONLY)?;
        let (source, target) = (cx.postgres(source).await?, cx.postgres(target).await?);
        let named = postgres::Named {
            subscription: with.subscription.as_deref(),
            slot: with.slot.as_deref(),
        };
        Ok(Self::find(source, target, named).await?)
    }
}

impl Find for mysql::Pair {
    async fn find(cx: &StepCx, with: &With, source: &str, target: &str) -> Result<Self, Unready> {
        foreign(with.subscription.is_some() || with.slot.is_some(), POSTGRES_ONLY)?;
        foreign(with.by.is_some(), SQLSERVER_ONLY)?;
        let (source, target) = (cx.mysql(source).await?, cx.mysql(target).await?);
        Ok(Self::find(source, target, with.target_own.as_deref()).await?)
    }
}

impl<M: Mechanism> Find for sqlserver::Pair<M> {
    async fn find(cx: &StepCx, with: &With, source: &str, target: &str) -> Result<Self, Unready> {
        foreign(with.subscription.is_some() || with.slot.is_some(), POSTGRES_ONLY)?;
        foreign(with.target_own.is_some(), MYSQL_ONLY)?;
        foreign(with.heartbeat, "no heartbeat is written to a SQL Server")?;
        let unsaid = "say by what the target follows: `by: availability-group`, `log-shipping`, `geo-replication` or `transactional-replication`";
        foreign(with.by.is_none(), unsaid)?;
        let (source, target) = (cx.sqlserver(source).await?, cx.sqlserver(target).await?);
        Ok(Self::find(source, target).await?)
    }
}

/// A pair in which marks can be written: by positions, and by a heartbeat where asked for.
#[derive(Debug)]
pub(super) struct Servers<'a, R: Marked> {
    positions: Positions<'a, R>,
    heartbeat: Option<Heartbeat>,
}

impl<'a, R: Find + Marked> Servers<'a, R> {
    pub(super) fn new(source: &'a str, target: &'a str, with: &'a With) -> Self {
        Self { positions: Positions::new(source, target, with), heartbeat: None }
    }

    /// By the heartbeat, as long as nothing else is wrong.
    async fn beat(&mut self, cx: &mut PerformCx<'_>) -> Result<(String, Reading), Unready> {
        let positions = &mut self.positions;
        let (pair, heartbeat) = (positions.pair.as_mut(), self.heartbeat.as_mut());
        let (pair, heartbeat) = pair.zip(heartbeat).expect("it beats for a pair");
        let seen = heartbeat.beat(cx, pair).await?;
        let reading = match (positions.standing(cx.read).await?, seen) {
            (Standing::Unknown(why), _) => Reading::Unknown(why),
            (Standing::At(_), Seen::Nothing) => {
                Reading::Unknown("no heartbeat has arrived yet".to_owned())
            }
            (Standing::At(_), Seen::Behind(lag)) => Reading::Lag { lag, age: Duration::ZERO },
        };
        Ok((format!("{} by heartbeat", positions.target), reading))
    }
}

#[async_trait]
impl<R: Find + Marked> Watch for Servers<'_, R> {
    async fn preview(&mut self, cx: &StepCx) -> Result<Vec<(String, Reading)>, StepError> {
        self.positions.twice(cx).await
    }

    async fn look(&mut self, cx: &mut PerformCx<'_>) -> Result<Vec<(String, Reading)>, StepError> {
        let read = match &self.heartbeat {
            None => self.positions.read(cx.read, cx.busy).await,
            Some(_) => self.beat(cx).await,
        };
        let positions = &mut self.positions;
        let well = matches!(&read, Ok((_, Reading::Lag { .. })));
        let reading = positions.reading(read)?;
        if well && positions.with.heartbeat && self.heartbeat.is_none() {
            let pair = positions.pair.as_mut().expect("it was looked at");
            self.heartbeat = Some(Heartbeat::begin(cx, pair, &positions.with.attempted()).await?);
            let why = "the table of the heartbeat was made just now".to_owned();
            return Ok(vec![(positions.target.to_owned(), Reading::Unknown(why))]);
        }
        Ok(vec![reading])
    }

    async fn end(
        &mut self,
        cx: &mut PerformCx<'_>,
        waited: Result<Outcome, StepError>,
    ) -> Result<Outcome, StepError> {
        let Positions { pair, with, .. } = &mut self.positions;
        let Some((pair, heartbeat)) = pair.as_mut().zip(self.heartbeat.take()) else {
            return waited;
        };
        let ended = heartbeat.end(cx, pair, &with.attempted()).await;
        // Why the wait failed matters more than what became of a table.
        match waited {
            Err(failure) => Err(failure),
            Ok(outcome) => ended.map(|()| outcome),
        }
    }

    async fn probe(&mut self, cx: &StepCx, _effect: &RecordedEffect) -> Verdict {
        match self.positions.pair(cx).await {
            Ok(pair) => Heartbeat::probe(pair).await,
            Err(error) => Verdict::Unknown { evidence: error.to_string() },
        }
    }

    async fn undo(
        &mut self,
        cx: &mut PerformCx<'_>,
        effect: &RecordedEffect,
    ) -> Result<(), StepError> {
        let positions = &mut self.positions;
        let attempted = positions.with.attempted();
        let found = positions.pair(cx.read).await.map(drop);
        positions.reading(found.map(|()| (String::new(), Reading::Unknown(String::new()))))?;
        match &mut positions.pair {
            Some(pair) => marking::undo(cx, pair, effect, LAST, &attempted).await,
            None => Err(StepError::new(
                FailureClass::Failed,
                "MIG0309",
                attempted,
                "the table of the heartbeat may be left",
            )
            .hint("look whether both servers are up, then `migrate rollback`")
            .retryable()),
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
