//! `writes.pause` on a database, whatever its engine: keep new writers out, end the sessions there are, wait for what they left
//! open, write the sentinel, record the position, and see all of it at the target. In that order. That the wall stands is looked
//! at again in every attempt and at the end, and never taken from the journal.

use async_trait::async_trait;
use jiff::Timestamp;
use serde_json::{Value, json};

use super::super::barrier::{self, Barrier, OnDatabase};
use super::super::marking;
use super::arrival::{SENTINEL, twice, well};
use super::{
    Change, Evidence, FailureClass, Outcome, PerformCx, Preview, RecordedEffect, StepCx, StepError,
    Verdict, With,
};
use crate::database::preflight::{Finding, logins};
use crate::database::replication::{Marked, PairError, Replication, Sides, Standing};
use crate::database::wall::{Role, Wall};
use crate::database::{DatabaseError, mysql, postgres};
use crate::run::{Intent, Repeat, Undo};

const MARKER: &str = "marker";
const CLOSED: &str = "new writes are refused, and nothing more was changed";
pub(super) const CLASSES: (Repeat, Undo) = (Repeat::Repeatable, Undo::Restores);

/// One database, and the one that follows it where the pause is to reach it.
pub(super) struct Pause<'a, W: Wall> {
    pub(super) with: &'a With,
    pub(super) wall: W,
    pub(super) pair: Option<W::Pair>,
    pub(super) attempted: String,
}

impl<'a> Pause<'a, postgres::wall::Wall> {
    pub(super) async fn of_postgres(with: &'a With, cx: &StepCx) -> Result<Self, StepError> {
        let found = async {
            let source = cx.postgres(&with.system).await?;
            let pair = match &with.until {
                None => None,
                Some(target) => {
                    let target = cx.postgres(target).await?;
                    let named = postgres::Named {
                        subscription: with.subscription.as_deref(),
                        slot: with.slot.as_deref(),
                    };
                    Some(postgres::Pair::find(source.clone(), target, named).await?)
                }
            };
            Ok((postgres::wall::Wall::of(source).await?, pair))
        };
        Self::found(with, found.await)
    }
}

impl<'a> Pause<'a, mysql::wall::Wall> {
    pub(super) async fn of_mysql(with: &'a With, cx: &StepCx) -> Result<Self, StepError> {
        if with.subscription.is_some() || with.slot.is_some() {
            let known = "`subscription` and `slot` are of PostgreSQL; nothing was changed";
            return Err(StepError::new(FailureClass::Refused, "MIG0524", with.attempted(), known)
                .hint(
                    "remove them: a replica of MariaDB or MySQL is found by its own connections",
                ));
        }
        let found = async {
            let source = cx.mysql(&with.system).await?;
            let pair = match &with.until {
                None => None,
                Some(target) => {
                    Some(mysql::Pair::find(source.clone(), cx.mysql(target).await?, None).await?)
                }
            };
            Ok((mysql::wall::Wall::of(source).await?, pair))
        };
        Self::found(with, found.await)
    }
}

impl<'a, W: Wall> Pause<'a, W> {
    fn found(
        with: &'a With,
        found: Result<(W, Option<W::Pair>), PairError>,
    ) -> Result<Self, StepError> {
        let attempted = with.attempted();
        match found {
            Ok((wall, pair)) => Ok(Self { with, wall, pair, attempted }),
            Err(PairError::Database(error)) => Err(error.as_step_error(&attempted)),
            Err(PairError::Nothing(why)) => {
                let known = "there is no replication to the target; nothing was changed by this";
                Err(StepError::new(FailureClass::Refused, "MIG0412", attempted, known).cause(why))
            }
        }
    }

    pub(super) fn read(&self, error: &DatabaseError) -> StepError {
        error.as_step_error(&self.attempted)
    }

    pub(super) fn barrier(&mut self) -> Barrier<'_, W> {
        Barrier { wall: &mut self.wall, attempted: &self.attempted }
    }

    async fn writers(&mut self) -> Result<(Vec<String>, Vec<Role>), DatabaseError> {
        let named = self.wall.meant(&self.with.roles).await?;
        let roles = self.wall.writers(&named, self.pair.as_mut()).await?;
        Ok((named, roles))
    }

    async fn contents(&mut self) -> Result<Vec<Finding>, DatabaseError> {
        match &mut self.pair {
            Some(pair) => self.wall.contents(pair, &self.with.accept).await,
            None => Ok(Vec::new()),
        }
    }

    async fn findings(
        &mut self,
        named: &[String],
        roles: &[Role],
    ) -> Result<Vec<Finding>, DatabaseError> {
        let mut found = self.wall.rights(&self.with.accept).await?;
        found.extend(logins(roles, named, &self.with.accept));
        found.extend(self.contents().await?);
        Ok(found)
    }

    async fn previewed(&mut self, cx: &StepCx) -> Result<Preview, DatabaseError> {
        let words = W::WORDS;
        let change = |target: String, before: &str, after: &str| Change {
            target,
            verb: "alter".to_owned(),
            before: Some(before.to_owned()),
            after: Some(after.to_owned()),
        };
        let (named, roles) = self.writers().await?;
        let closing = roles.iter().filter(|role| role.login && !role.replicates);
        let closing =
            closing.map(|role| format!("{} {} at {}", words.role, role.name, self.wall.at()));
        let mut changes: Vec<Change> =
            closing.map(|target| change(target, words.open, words.closed)).collect();
        let setting = self.wall.setting().await?;
        let target = format!("{} of {}", words.setting, self.wall.at());
        let after = format!("{}; sessions are ended", words.refuses);
        changes.push(change(target, setting.as_deref().unwrap_or("not set"), &after));
        let findings = self.findings(&named, &roles).await?;
        let mut readings: Vec<Evidence> = findings.into_iter().map(evidence).collect();
        readings.extend(replicating(&roles));
        if let Some(pair) = &mut self.pair {
            readings.push(well(&twice::<W>(cx, pair).await?));
        }
        Ok(Preview { changes, readings })
    }

    /// What stands in the way stops the step before it goes on.
    async fn preflight(&mut self, cx: &StepCx) -> Result<Vec<Role>, StepError> {
        let (named, roles) = self.writers().await.map_err(|error| self.read(&error))?;
        let findings = self.findings(&named, &roles).await.map_err(|error| self.read(&error))?;
        let mut in_the_way = in_the_way(&findings);
        let is_first = cx.recorded.is_empty();
        if let Some(pair) = self.pair.as_mut().filter(|_| is_first) {
            let standing =
                twice::<W>(cx, pair).await.map_err(|error| error.as_step_error(&self.attempted))?;
            if let Standing::Unknown(why) = standing {
                in_the_way.push(format!("replication to the target: {why}"));
            }
        }
        let known = if is_first { "writes go on; nothing was changed" } else { CLOSED };
        self.refuse(in_the_way, known)?;
        Ok(roles)
    }

    /// What stands in the way, if anything does.
    fn refuse(&self, in_the_way: Vec<String>, known: &str) -> Result<(), StepError> {
        if in_the_way.is_empty() {
            return Ok(());
        }
        let error = StepError::new(FailureClass::Refused, "MIG0524", &self.attempted, known)
            .hint("mend what is named, or accept by `accept:` what is not carried over; then `migrate resume`");
        Err(in_the_way.into_iter().fold(error, StepError::cause))
    }

    async fn performed(&mut self, cx: &mut PerformCx<'_>) -> Result<Outcome, StepError> {
        let roles = self.preflight(cx.read).await?;
        self.mark(cx).await?;
        let at = cx.clock().now();
        let known = cx.recorded.iter().filter_map(|effect| barrier::role_of(&effect.intent.key));
        let mut names: Vec<String> = known.map(str::to_owned).collect();
        names.extend(roles.iter().filter(|role| !role.replicates).map(|role| role.name.clone()));
        names.sort();
        names.dedup();
        let (closed, ended) = self.close(cx, &names, at).await?;
        // Something may have come between the look and the wall.
        let contents = self.contents().await.map_err(|error| self.read(&error))?;
        self.refuse(in_the_way(&contents), CLOSED)?;
        let position = self.sentinel(cx).await?;
        let arrived = self.arrived(cx, &position).await?;
        self.still_stands(cx, &names).await?;
        let logins = if names.is_empty() { "nobody".to_owned() } else { names.join(", ") };
        let refused = Evidence {
            check: format!("writes at {}", self.with.system),
            verdict: "refused".to_owned(),
            detail: format!(
                "since {}, position {position}; logins closed: {logins}",
                shown(&closed["at"])
            ),
            holds: true,
        };
        let facts = [refused, ended].into_iter().chain(arrived).chain(replicating(&roles));
        let paused_at = barrier::first_read_at(&cx.recorded, at);
        let outputs =
            [("position".to_owned(), json!(position)), ("paused_at".to_owned(), paused_at)].into();
        Ok(Outcome { outputs, evidence: facts.collect() })
    }

    /// Closes logins, ends sessions and sets the setting, in the order that the engine needs. Taken back in the opposite order:
    /// logins come back even where a setting that was set before them was changed by another hand.
    async fn close(
        &mut self,
        cx: &mut PerformCx<'_>,
        names: &[String],
        at: Timestamp,
    ) -> Result<(Value, Evidence), StepError> {
        let refuses = Some(W::WORDS.refuses);
        let first = if W::SETTING_LASTS {
            Some(self.barrier().setting(cx, refuses, at).await?)
        } else {
            None
        };
        for name in names {
            self.barrier().login(cx, name, false, at).await?;
        }
        let ended = self.emptied(cx, names).await?;
        let closed = match first {
            Some(closed) => closed,
            // Set before, it would refuse what was prepared its commit.
            None => self.barrier().setting(cx, refuses, at).await?,
        };
        Ok((closed, ended))
    }

    /// Makes the table of the sentinel, while everybody still writes.
    async fn mark(&mut self, cx: &mut PerformCx<'_>) -> Result<(), StepError> {
        let Some(pair) = &mut self.pair else { return Ok(()) };
        let attempted = &self.attempted;
        let known = cx.recorded.iter().find(|effect| effect.intent.key == MARKER);
        let before = match known {
            Some(effect) => effect.intent.before.clone(),
            None => json!(pair.sides().await.map_err(|error| error.as_step_error(attempted))?),
        };
        let (after, found) = (json!(Sides::BOTH), before.clone());
        let marks = <W::Pair as Marked>::MARKS;
        let target = format!("{marks} at {} and {}", pair.source_at(), pair.target_at());
        let intent = Intent::new(MARKER, target, "create", CLASSES, before, after);
        cx.change(intent, async |permit| {
            let Err(error) = pair.make_marks(permit).await else { return Ok(json!(Sides::BOTH)) };
            // It takes several statements, and the first may have been carried out.
            let is_as_before = pair.sides().await.is_ok_and(|now| json!(now) == found);
            let error = error.as_change_error(attempted);
            Err(if is_as_before {
                error
            } else {
                StepError { class: FailureClass::Unknown, ..error }
            })
        })
        .await?;
        // Its own first copy, and the worker that was told of it, must not be what the pause waits for.
        let position = pair.position().await.map_err(|error| error.as_step_error(attempted))?;
        let within = self.with.drain_within.duration();
        let followed = marking::has_all(cx.read, cx.busy, pair, &position, within).await;
        followed.map_err(|why| {
            let known = "writes go on; the target does not follow";
            StepError::new(FailureClass::Failed, "MIG0525", &self.attempted, known)
                .cause(why)
                .hint("wait by a `replication.wait` before the pause; then `migrate resume`")
                .retryable()
        })
    }
}

#[async_trait]
impl<W: Wall> OnDatabase for Pause<'_, W> {
    /// What would be changed, and what stands in the way.
    async fn preview(mut self: Box<Self>, cx: &StepCx) -> Result<Preview, StepError> {
        let previewed = self.previewed(cx).await.map_err(|error| self.read(&error));
        self.wall.close().await;
        previewed
    }

    async fn perform(mut self: Box<Self>, cx: &mut PerformCx<'_>) -> Result<Outcome, StepError> {
        let outcome = self.performed(cx).await;
        self.wall.close().await;
        outcome
    }

    async fn probe(mut self: Box<Self>, _cx: &StepCx, effect: &RecordedEffect) -> Verdict {
        let unknown = |evidence: String| Verdict::Unknown { evidence };
        match (effect.intent.key.trim_start_matches("undo:"), &mut self.pair) {
            (MARKER, Some(pair)) => match pair.sides().await {
                Ok(sides) if json!(sides) == effect.intent.after => {
                    Verdict::Done { observed: json!(sides) }
                }
                Ok(sides) if json!(sides) == effect.intent.before => Verdict::NotDone,
                Ok(sides) => unknown(format!("the table is there in part: {sides:?}")),
                Err(error) => unknown(error.to_string()),
            },
            // The same row again is harmless, and the position is read anew.
            (SENTINEL, _) => Verdict::NotDone,
            _ => match barrier::probe(&mut self.wall, effect).await {
                Some(verdict) => verdict,
                None => unknown(format!("{} is no effect of this step", effect.intent.key)),
            },
        }
    }

    async fn undo(
        mut self: Box<Self>,
        cx: &mut PerformCx<'_>,
        effect: &RecordedEffect,
    ) -> Result<(), StepError> {
        match (effect.intent.key.as_str(), &mut self.pair) {
            (MARKER, Some(pair)) => {
                let within = self.with.drain_within.duration();
                marking::undo(cx, pair, effect, within, &self.attempted).await?;
            }
            (MARKER, None) | (SENTINEL, _) => {}
            _ => {
                self.barrier().undo(cx, effect).await?;
            }
        }
        self.wall.close().await;
        Ok(())
    }
}

fn in_the_way(findings: &[Finding]) -> Vec<String> {
    findings
        .iter()
        .filter(|it| !it.holds)
        .map(|it| format!("{}: {}", it.check, it.detail))
        .collect()
}

fn evidence(finding: Finding) -> Evidence {
    Evidence {
        verdict: if finding.holds { "fits" } else { "in the way" }.to_owned(),
        check: finding.check,
        detail: finding.detail,
        holds: finding.holds,
    }
}

/// Whose login stays open, because the target comes in by it.
fn replicating(roles: &[Role]) -> Vec<Evidence> {
    let open = roles.iter().filter(|role| role.replicates && role.login);
    open.map(|role| Evidence {
        check: format!("login of {}", role.name),
        verdict: "stays open".to_owned(),
        detail: "it replicates, and may write; nobody else should know its password".to_owned(),
        holds: true,
    })
    .collect()
}

fn shown(at: &Value) -> String {
    at.as_str()
        .and_then(|at| at.parse::<Timestamp>().ok())
        .map_or_else(|| "an unknown time".to_owned(), |at| at.to_string())
}
