//! That nobody is left who could write: sessions that are ended, transactions that are waited for, and the wall looked at for gaps
//! meanwhile.

use super::super::barrier;
use super::database::Pause;
use super::{Evidence, FailureClass, PerformCx, StepError};
use crate::clock::{advance, since};
use crate::database::DatabaseError;
use crate::database::wall::{Session, Unfinished, Wall};

impl<W: Wall> Pause<'_, W> {
    /// The wall has no gap, and nothing came through it.
    pub(super) async fn still_stands(
        &mut self,
        cx: &mut PerformCx<'_>,
        closed: &[String],
    ) -> Result<(), StepError> {
        let users = users::<W>(closed);
        let mut there = self.behind(closed).await?;
        if !there.writing(&users).is_empty() {
            cx.read.sleep(W::BETWEEN, cx.busy).await?;
            there = self.behind(closed).await?.through(there);
        }
        self.no_gaps(there.writing(&users))
    }

    /// What is behind the wall, which has no gap.
    async fn behind(&mut self, closed: &[String]) -> Result<Unfinished, StepError> {
        let found = async {
            let gaps = gaps(&mut self.wall, closed, true).await?;
            Ok((gaps, self.wall.unfinished().await?))
        };
        let (gaps, mut there) = found.await.map_err(|error: DatabaseError| self.read(&error))?;
        self.no_gaps(gaps)?;
        // Whoever knocks by now is refused.
        there.opening.clear();
        Ok(there)
    }

    fn no_gaps(&self, gaps: Vec<String>) -> Result<(), StepError> {
        if gaps.is_empty() {
            return Ok(());
        }
        let known = "the database was opened by another hand; writes may be accepted";
        let error = StepError::new(FailureClass::Drift, "MIG0523", &self.attempted, known)
            .hint("find out who did it and close it again, then `migrate resume`; `migrate rollback` accepts writes again");
        Err(gaps.into_iter().fold(error, StepError::cause))
    }

    /// Ends sessions and waits until nobody is connected who may write, and nothing is open.
    pub(super) async fn emptied(
        &mut self,
        cx: &mut PerformCx<'_>,
        closed: &[String],
    ) -> Result<Evidence, StepError> {
        let began = cx.clock().steady();
        let deadline = advance(began, self.with.drain_within.duration());
        let users = users::<W>(closed);
        // A number is used once, whatever attempt it was in.
        let (mut times, mut knocked) = (barrier::times_ended(&cx.recorded), None);
        loop {
            let gaps = gaps(&mut self.wall, closed, W::SETTING_LASTS)
                .await
                .map_err(|error| self.read(&error))?;
            self.no_gaps(gaps)?;
            let mut unfinished = self.wall.unfinished().await.map_err(|error| self.read(&error))?;
            // Only who knocked before the logins were closed may have been let in.
            let is_first = knocked.is_none();
            let knocked = knocked.get_or_insert_with(|| unfinished.opening.clone());
            unfinished.opening.retain(|pid| knocked.contains(pid));
            // At first whoever keeps a default of before; then only who may write all the same.
            let keeps_default = is_first && W::SETTING_LASTS;
            let ends = |it: &&Session| it.can_be_ended && (keeps_default || it.may_write(&users));
            let pids: Vec<i64> = unfinished.sessions.iter().filter(ends).map(|it| it.pid).collect();
            if !pids.is_empty() {
                self.barrier().end_sessions(cx, &pids, times).await?;
                times += 1;
            }
            let left = unfinished.writing(&users).join(", ");
            if left.is_empty() {
                return Ok(Evidence {
                    check: format!("sessions and open transactions at {}", self.with.system),
                    verdict: "ended".to_owned(),
                    detail: format!("after {} ms", since(began, cx.clock().steady()).as_millis()),
                    holds: true,
                });
            }
            if cx.clock().steady() >= deadline {
                return Err(self.not_ended(&left));
            }
            cx.progress.say(format!("waits for the end of {left}"));
            cx.read.sleep(W::BETWEEN, cx.busy).await?;
        }
    }

    fn not_ended(&self, left: &str) -> StepError {
        let known = format!("new writes are refused; still there: {left}");
        StepError::new(FailureClass::Failed, "MIG0522", &self.attempted, known)
            .cause(format!("they did not end within {}", self.with.drain_within))
            .hint("end them; `migrate resume` goes on waiting, `migrate rollback` accepts writes again")
            .retryable()
    }
}

/// The names by which sessions show that they belong to these roles.
fn users<W: Wall>(roles: &[String]) -> Vec<String> {
    roles.iter().map(|role| W::user_of(role).to_owned()).collect()
}

/// What of the wall does not stand: logins of these roles, and the setting once it is set. In words.
async fn gaps<W: Wall>(
    wall: &mut W,
    closed: &[String],
    is_set: bool,
) -> Result<Vec<String>, DatabaseError> {
    let words = W::WORDS;
    let setting = wall.setting().await?;
    let setting = (is_set && setting.as_deref() != Some(words.refuses))
        .then(|| format!("{} is not {}", words.setting, words.refuses));
    let open = wall.open(closed).await?.into_iter().map(|role| format!("{role} may log in"));
    Ok(setting.into_iter().chain(open).collect())
}
