//! `writes.pause` on a PostgreSQL database: keep new writers out, end the sessions there are, wait for what they left open, write
//! the sentinel, record the position, and see all of it at the target. In that order. That the wall stands is looked at again in
//! every attempt and at the end, and never taken from the journal.

use std::time::Duration;

use jiff::Timestamp;
use serde_json::{Value, json};

use super::super::barrier::{self, Barrier};
use super::super::marking;
use super::{
    Change, Evidence, FailureClass, Outcome, PerformCx, Preview, RecordedEffect, StepCx, StepError, Verdict, With,
};
use crate::clock::{advance, since};
use crate::database::DatabaseError;
use crate::database::postgres::judge::{Look, Standing};
use crate::database::postgres::preflight::{self, Finding};
use crate::database::postgres::wall::{self, Role, Session};
use crate::database::postgres::{Lsn, Named, Pair, Reader, Server, marker, position};
use crate::database::replication::{Marked as _, PairError, Replication as _, Sides};
use crate::run::{Intent, Repeat, Undo};

const MARKER: &str = "marker";
const SENTINEL: &str = "sentinel";
const CLOSED: &str = "new writes are refused, and nothing more was changed";
const BETWEEN: Duration = Duration::from_millis(20);
const CLASSES: (Repeat, Undo) = (Repeat::Repeatable, Undo::Restores);

/// One database, and the one that follows it where the pause is to reach it.
pub(super) struct Pause<'a> {
    with: &'a With,
    server: Server,
    pair: Option<Pair>,
    attempted: String,
}

impl<'a> Pause<'a> {
    pub(super) async fn of(with: &'a With, cx: &StepCx) -> Result<Self, StepError> {
        let attempted = with.attempted();
        let read = |error: DatabaseError| error.as_step_error(&attempted);
        let server = cx.postgres(&with.system).await.map_err(read)?;
        let pair = match &with.until {
            None => None,
            Some(target) => {
                let target = cx.postgres(target).await.map_err(read)?;
                let named = Named { subscription: with.subscription.as_deref(), slot: with.slot.as_deref() };
                match Pair::find(server.clone(), target, named).await {
                    Ok(pair) => Some(pair),
                    Err(PairError::Database(error)) => return Err(read(error)),
                    Err(PairError::Nothing(why)) => {
                        let known = "there is no replication to the target; nothing was changed by this";
                        return Err(StepError::new(FailureClass::Refused, "MIG0412", attempted, known).cause(why));
                    }
                }
            }
        };
        Ok(Self { with, server, pair, attempted })
    }

    fn read(&self, error: &DatabaseError) -> StepError {
        error.as_step_error(&self.attempted)
    }

    async fn reader(&self) -> Result<Reader, StepError> {
        self.server.reader().await.map_err(|error| self.read(&error))
    }

    async fn findings(&mut self, reader: &mut Reader, roles: &[Role]) -> Result<Vec<Finding>, StepError> {
        let accepted = &self.with.accept;
        let mut found = preflight::rights(reader, accepted).await.map_err(|error| self.read(&error))?;
        found.extend(preflight::logins(roles, &self.with.roles, accepted));
        if let Some(pair) = &mut self.pair {
            let contents = preflight::contents(pair, &self.with.accept).await;
            found.extend(contents.map_err(|error| error.as_step_error(&self.attempted))?);
        }
        Ok(found)
    }

    async fn writers(&self, reader: &mut Reader) -> Result<Vec<Role>, StepError> {
        let follower = preflight::follower(self.pair.as_ref());
        wall::writers(reader, &self.with.roles, &follower).await.map_err(|error| self.read(&error))
    }

    /// What would be changed, and what stands in the way.
    pub(super) async fn preview(&mut self, cx: &StepCx) -> Result<Preview, StepError> {
        let mut reader = self.reader().await?;
        let mut changes = Vec::new();
        let change = |target: String, before: &str, after: &str| Change {
            target,
            verb: "alter".to_owned(),
            before: Some(before.to_owned()),
            after: Some(after.to_owned()),
        };
        let roles = self.writers(&mut reader).await?;
        for role in roles.iter().filter(|role| role.login && !role.replicates) {
            changes.push(change(format!("role {} at {}", role.name, self.server.at()), "login", "nologin"));
        }
        let setting = wall::setting(&mut reader).await.map_err(|error| self.read(&error))?;
        let target = format!("default_transaction_read_only of {}", self.server.at());
        changes.push(change(target, setting.as_deref().unwrap_or("not set"), "on; sessions are ended"));
        let findings = self.findings(&mut reader, &roles).await?;
        let mut readings: Vec<Evidence> = findings.into_iter().map(evidence).collect();
        readings.extend(replicating(&roles));
        if let Some(pair) = &mut self.pair {
            let standing = twice(cx, pair).await.map_err(|error| error.as_step_error(&self.attempted))?;
            readings.push(well(&standing));
        }
        reader.close().await;
        Ok(Preview { changes, readings })
    }

    /// What stands in the way stops the step before it goes on.
    async fn preflight(&mut self, cx: &StepCx, reader: &mut Reader, roles: &[Role]) -> Result<(), StepError> {
        let mut in_the_way = in_the_way(&self.findings(reader, roles).await?);
        let is_first = cx.recorded.is_empty();
        if let Some(pair) = self.pair.as_mut().filter(|_| is_first) {
            let standing = twice(cx, pair).await.map_err(|error| error.as_step_error(&self.attempted))?;
            if let Standing::Unknown(why) = standing {
                in_the_way.push(format!("replication to the target: {why}"));
            }
        }
        let known = if is_first { "writes go on; nothing was changed" } else { CLOSED };
        self.refuse(in_the_way, known)
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

    pub(super) async fn perform(&mut self, cx: &mut PerformCx<'_>) -> Result<Outcome, StepError> {
        let mut reader = self.reader().await?;
        let roles = self.writers(&mut reader).await?;
        self.preflight(cx.read, &mut reader, &roles).await?;
        self.mark(cx).await?;
        let at = cx.clock().now();
        let server = self.server.clone();
        let attempted = self.attempted.clone();
        let mut barrier = Barrier::open(&server, &attempted).await?;
        let known = cx.recorded.iter().filter_map(|effect| barrier::role_of(&effect.intent.key));
        let mut names: Vec<String> = known.map(str::to_owned).collect();
        names.extend(roles.iter().filter(|role| !role.replicates).map(|role| role.name.clone()));
        names.sort();
        names.dedup();
        // Taken back in the opposite order: logins come back even where the default was changed by another hand.
        let closed = barrier.setting(cx, Some("on"), at).await?;
        for name in &names {
            barrier.login(cx, name, false, at).await?;
        }
        let mut facts = vec![self.emptied(cx, &mut reader, &mut barrier, &names).await?];
        if let Some(pair) = &mut self.pair {
            // Something may have come between the look and the wall.
            let contents = preflight::contents(pair, &self.with.accept).await;
            let contents = contents.map_err(|error| error.as_step_error(&self.attempted))?;
            self.refuse(in_the_way(&contents), CLOSED)?;
        }
        let position = self.sentinel(cx, &mut reader, &mut barrier).await?;
        facts.extend(self.drain(cx, position).await?);
        self.still_stands(&mut reader, &names).await?;
        barrier.writer.close().await;
        let paused_at = cx
            .recorded
            .iter()
            .find(|effect| effect.intent.key == barrier::DATABASE)
            .map_or_else(|| json!(at), |effect| effect.intent.before["read_at"].clone());
        let logins = if names.is_empty() { "nobody".to_owned() } else { names.join(", ") };
        facts.insert(
            0,
            Evidence {
                check: format!("writes at {}", self.with.system),
                verdict: "refused".to_owned(),
                detail: format!("since {}, position {position}; logins closed: {logins}", shown(&closed["at"])),
                holds: true,
            },
        );
        facts.extend(replicating(&roles));
        let outputs = [("position".to_owned(), json!(position)), ("paused_at".to_owned(), paused_at)].into();
        Ok(Outcome { outputs, evidence: facts })
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
        let target = format!("{} at {} and {}", marker::TABLE, pair.source().at(), pair.target().at());
        let intent = Intent::new(MARKER, target, "create", CLASSES, before, after);
        cx.change(intent, async |permit| {
            let Err(error) = pair.make_marks(permit).await else { return Ok(json!(Sides::BOTH)) };
            // It takes several statements, and the first may have been carried out.
            let is_as_before = pair.sides().await.is_ok_and(|now| json!(now) == found);
            let error = error.as_change_error(attempted);
            Err(if is_as_before { error } else { StepError { class: FailureClass::Unknown, ..error } })
        })
        .await?;
        // Its own first copy, and the worker that was told of it, must not be what the pause waits for.
        let position = pair.position().await.map_err(|error| error.as_step_error(&self.attempted))?;
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

    /// The wall has no gap, and nothing came through it.
    async fn still_stands(&self, reader: &mut Reader, closed: &[String]) -> Result<(), StepError> {
        let gaps = async {
            let mut gaps = wall::gaps(reader, closed).await?;
            let mut unfinished = wall::unfinished(reader).await?;
            // Whoever knocks by now is refused.
            unfinished.opening.clear();
            gaps.extend(unfinished.writing(closed));
            Ok(gaps)
        };
        self.no_gaps(gaps.await.map_err(|error: DatabaseError| self.read(&error))?)
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
    async fn emptied(
        &self,
        cx: &mut PerformCx<'_>,
        reader: &mut Reader,
        barrier: &mut Barrier<'_>,
        closed: &[String],
    ) -> Result<Evidence, StepError> {
        let began = cx.clock().steady();
        let deadline = advance(began, self.with.drain_within.duration());
        // A number is used once, whatever attempt it was in.
        let (mut times, mut knocked) = (barrier::times_ended(&cx.recorded), None);
        loop {
            self.no_gaps(wall::gaps(reader, closed).await.map_err(|error| self.read(&error))?)?;
            let mut unfinished = wall::unfinished(reader).await.map_err(|error| self.read(&error))?;
            // Only who knocked before the logins were closed may have been let in.
            let is_first = knocked.is_none();
            let knocked = knocked.get_or_insert_with(|| unfinished.opening.clone());
            unfinished.opening.retain(|pid| knocked.contains(pid));
            // At first whoever keeps a default of before; then only who may write all the same.
            let ends = |it: &&Session| it.can_be_ended && (is_first || it.may_write(closed));
            let pids: Vec<i64> = unfinished.sessions.iter().filter(ends).map(|it| it.pid).collect();
            if !pids.is_empty() {
                barrier.end_sessions(cx, &pids, times).await?;
                times += 1;
            }
            let left = unfinished.writing(closed).join(", ");
            if left.is_empty() {
                return Ok(Evidence {
                    check: format!("sessions and open transactions at {}", self.with.system),
                    verdict: "ended".to_owned(),
                    detail: format!("after {} ms", since(began, cx.clock().steady()).as_millis()),
                    holds: true,
                });
            }
            if cx.clock().steady() >= deadline {
                let known = format!("new writes are refused; still there: {left}");
                return Err(StepError::new(FailureClass::Failed, "MIG0522", &self.attempted, known)
                    .cause(format!("they did not end within {}", self.with.drain_within))
                    .hint("end them; `migrate resume` goes on waiting, `migrate rollback` accepts writes again")
                    .retryable());
            }
            cx.progress.say(format!("waits for the end of {left}"));
            cx.read.sleep(BETWEEN, cx.busy).await?;
        }
    }

    /// Writes the sentinel and then reads the position: what was committed before it is before that position.
    async fn sentinel(
        &mut self,
        cx: &PerformCx<'_>,
        reader: &mut Reader,
        barrier: &mut Barrier<'_>,
    ) -> Result<Lsn, StepError> {
        let attempted = &self.attempted;
        if self.pair.is_some() {
            let seq = sentinel_seq(cx);
            let target = format!("{} at {}", marker::TABLE, self.server.at());
            let intent = Intent::new(SENTINEL, target, "insert", CLASSES, Value::Null, json!({ "seq": seq }));
            let run = &cx.read.world.run;
            cx.change(intent, async |permit| {
                let written = marker::write(&mut barrier.writer, permit, run, seq).await;
                written.map(|beat| json!(beat)).map_err(|error| error.as_change_error(attempted))
            })
            .await?;
        }
        position(reader).await.map_err(|error| self.read(&error))
    }

    /// Waits until the target has all of it: the position is reached, nothing speaks against it, the sentinel is there.
    async fn drain(&mut self, cx: &mut PerformCx<'_>, position: Lsn) -> Result<Option<Evidence>, StepError> {
        let Some(pair) = &mut self.pair else { return Ok(None) };
        let (began, seq) = (cx.clock().steady(), sentinel_seq(cx));
        let deadline = advance(began, self.with.drain_within.duration());
        let mut before: Option<Look> = None;
        loop {
            let why = match reached(pair, before.as_ref(), position, &cx.read.world.run, seq).await {
                Ok((look, Ok(()))) => {
                    drop(look);
                    return Ok(Some(Evidence {
                        check: format!("everything at {}", pair.target().name()),
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
                let known = format!("writes are refused; the target does not have everything: {why}");
                return Err(StepError::new(FailureClass::Failed, "MIG0525", &self.attempted, known)
                    .cause(format!("it did not arrive within {}", self.with.drain_within))
                    .hint("`migrate resume` goes on waiting, `migrate rollback` accepts writes at the source again")
                    .retryable());
            }
            cx.progress.say(format!("waits for {position} at {}: {why}", pair.target().name()));
            cx.read.sleep(BETWEEN, cx.busy).await?;
        }
    }

    pub(super) async fn probe(&mut self, effect: &RecordedEffect) -> Verdict {
        let unknown = |evidence: String| Verdict::Unknown { evidence };
        match (effect.intent.key.trim_start_matches("undo:"), &mut self.pair) {
            (MARKER, Some(pair)) => match pair.sides().await {
                Ok(sides) if json!(sides) == effect.intent.after => Verdict::Done { observed: json!(sides) },
                Ok(sides) if json!(sides) == effect.intent.before => Verdict::NotDone,
                Ok(sides) => unknown(format!("the table is there in part: {sides:?}")),
                Err(error) => unknown(error.to_string()),
            },
            // The same row again is harmless, and the position is read anew.
            (SENTINEL, _) => Verdict::NotDone,
            _ => match self.server.reader().await {
                Ok(mut reader) => match barrier::probe(&mut reader, effect).await {
                    Some(verdict) => verdict,
                    None => unknown(format!("{} is no effect of this step", effect.intent.key)),
                },
                Err(error) => unknown(error.to_string()),
            },
        }
    }

    pub(super) async fn undo(&mut self, cx: &mut PerformCx<'_>, effect: &RecordedEffect) -> Result<(), StepError> {
        match effect.intent.key.as_str() {
            MARKER => match &mut self.pair {
                Some(pair) => {
                    let within = self.with.drain_within.duration();
                    marking::undo(cx, pair, effect, within, &self.attempted).await
                }
                None => Ok(()),
            },
            SENTINEL => Ok(()),
            _ => {
                let mut barrier = Barrier::open(&self.server, &self.attempted).await?;
                barrier.undo(cx, effect).await?;
                barrier.writer.close().await;
                Ok(())
            }
        }
    }
}

/// The number of this run's sentinel: above every heartbeat's, which are microseconds.
fn sentinel_seq(cx: &PerformCx<'_>) -> i64 {
    let first = cx.read.first_started;
    first.as_microsecond().saturating_mul(2)
}

type Reached = (Look, Result<(), String>);

/// One look: the position, what speaks against it, and the sentinel, all three.
async fn reached(
    pair: &mut Pair,
    before: Option<&Look>,
    position: Lsn,
    run: &crate::run::RunId,
    seq: i64,
) -> Result<Reached, DatabaseError> {
    let look = pair.look().await?;
    let arrived = pair.arrived(run).await?.is_some_and(|beat| beat.seq >= seq);
    let told = match look.judge(before) {
        Standing::Unknown(why) => Err(why),
        Standing::At(at) if at < position => Err(marking::behind(&at, &position)),
        Standing::At(_) if !arrived => Err("the sentinel is not there".to_owned()),
        Standing::At(_) => Ok(()),
    };
    Ok((look, told))
}

/// Two looks: one alone does not tell whether errors go on.
async fn twice(cx: &StepCx, pair: &mut Pair) -> Result<Standing, DatabaseError> {
    let first = pair.look().await?;
    let mut busy = cx.hold.take().unwrap_or_else(|| cx.clock().busy());
    cx.clock().sleep(BETWEEN, &mut busy).await;
    cx.hold.put(busy);
    Ok(pair.look().await?.judge(Some(&first)))
}

fn well(standing: &Standing) -> Evidence {
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

fn in_the_way(findings: &[Finding]) -> Vec<String> {
    findings.iter().filter(|it| !it.holds).map(|it| format!("{}: {}", it.check, it.detail)).collect()
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
    at.as_str().and_then(|at| at.parse::<Timestamp>().ok()).map_or_else(|| "an unknown time".to_owned(), |at| at.to_string())
}
