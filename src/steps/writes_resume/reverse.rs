//! `reverse:` of `writes.resume`: the paused database follows the one that is about to be opened, which is proved by a row that comes
//! back before anybody is let in. Taken back only once the paused one has everything.

use std::time::Duration;

use secrecy::ExposeSecret as _;
use serde_json::{Value, json};

use super::super::{Granted, marking};
use super::postgres::{Opening, SEQUENCES};
use super::{
    Evidence, FailureClass, PerformCx, RecordedEffect, Reverse, StepCx, StepError, Verdict,
};
use crate::clock::since;
use crate::database::DatabaseError;
use crate::database::postgres::reverse::{self, Ways};
use crate::database::postgres::sequences::Values;
use crate::database::postgres::wall::Follower;
use crate::database::postgres::{Named, Pair, Reader, marker, sequences, wall};
use crate::database::replication::{Marked as _, PairError, Replication as _, Sides};
use crate::journal::EffectPermit;
use crate::run::{Intent, Repeat, Undo};

/// Key of the turn.
pub(super) const REVERSE: &str = "reverse";
/// Key of the row that comes back.
pub(super) const SENTINEL: &str = "sentinel";
const CLASSES: (Repeat, Undo) = (Repeat::Repeatable, Undo::Restores);
/// How long everything may take to arrive.
const PATIENCE: Duration = Duration::from_mins(5);
const BETWEEN: Duration = Duration::from_millis(20);

impl Opening<'_> {
    /// Both databases, the paused one as the source.
    async fn pair(&self, cx: &StepCx, reverse: &Reverse) -> Result<Pair, StepError> {
        let source = cx.postgres(&reverse.to).await.map_err(|error| self.read(&error))?;
        let named = Named { subscription: reverse.subscription.as_deref(), slot: None };
        Pair::find(source, self.server.clone(), named).await.map_err(|error| self.no_pair(error))
    }

    /// The same two, the other way round.
    async fn reversed(&self, pair: &Pair) -> Result<Pair, StepError> {
        let named = Named { subscription: Some(reverse::NAME), slot: None };
        let (source, target) = (pair.target().clone(), pair.source().clone());
        Pair::find(source, target, named).await.map_err(|error| self.no_pair(error))
    }

    fn no_pair(&self, error: PairError) -> StepError {
        match error {
            PairError::Database(error) => self.read(&error),
            PairError::Nothing(why) => self.refused(vec![why]),
        }
    }

    fn refused(&self, why: Vec<String>) -> StepError {
        let known = "replication was not turned around; nothing was changed by this";
        let error = StepError::new(FailureClass::Refused, "MIG0524", &self.attempted, known).hint(
            "mend what is named; the source is paused by a `writes.pause` with `until:` before",
        );
        why.into_iter().fold(error, StepError::cause)
    }

    /// What a dry run shows.
    pub(super) async fn ways_now(
        &self,
        cx: &StepCx,
        reverse: &Reverse,
    ) -> Result<Evidence, StepError> {
        let mut pair = self.pair(cx, reverse).await?;
        let ways = reverse::ways(&mut pair).await.map_err(|error| self.read(&error))?;
        Ok(Evidence {
            check: format!("replication back to {}", reverse.to),
            verdict: "read".to_owned(),
            detail: if ways == Ways::TURNED { "set up" } else { "would be set up" }.to_owned(),
            holds: true,
        })
    }

    /// Turns it around, and sees a row come back.
    pub(super) async fn turn(
        &self,
        cx: &mut PerformCx<'_>,
        reverse: &Reverse,
    ) -> Result<Evidence, StepError> {
        let mut pair = self.pair(cx.read, reverse).await?;
        let recorded = cx.recorded.iter().find(|effect| effect.intent.key == REVERSE);
        let before = if let Some(effect) = recorded {
            effect.intent.before.clone()
        } else {
            self.preflight(cx, &mut pair).await?;
            json!(reverse::ways(&mut pair).await.map_err(|error| self.read(&error))?)
        };
        let target =
            format!("replication between {} and {}", pair.target().at(), pair.source().at());
        let intent = Intent::new(REVERSE, target, "turn", CLASSES, before, json!(Ways::TURNED));
        if let Granted::Permit(permit) = cx.effects.intend(intent).await? {
            let by = reverse.by.as_ref().unwrap_or(&self.with.system);
            let link = cx.postgres(by).await.map_err(|error| self.read(&error))?.link();
            let made = reverse::prepare(&mut pair, &permit, link.expose_secret()).await;
            made.map_err(|error| self.in_part(&error))?;
            while !reverse::has_stopped(&mut pair).await.map_err(|error| self.in_part(&error))? {
                cx.read.sleep(BETWEEN, cx.busy).await?;
            }
            reverse::start(&pair, &permit).await.map_err(|error| self.in_part(&error))?;
            cx.effects.done(permit, json!(Ways::TURNED)).await?;
        }
        self.prove(cx, &pair).await
    }

    /// Nothing has been changed yet: the source has to be paused, and the target to have everything of it.
    async fn preflight(&self, cx: &mut PerformCx<'_>, pair: &mut Pair) -> Result<(), StepError> {
        let read = |error: DatabaseError| self.read(&error);
        let mut why = reverse::in_the_way(pair).await.map_err(read)?;
        if pair.sides().await.map_err(read)? != Sides::BOTH {
            why.push(format!("{} is not on both sides", marker::TABLE));
        }
        // Who can log in before the turn could not be kept out when it is taken back.
        let mut reader = self.server.reader().await.map_err(read)?;
        why.extend(self.still_open(&mut reader).await?);
        reader.close().await;
        if !why.is_empty() {
            return Err(self.refused(why));
        }
        let end = pair.position().await.map_err(read)?;
        let all = marking::has_all(cx.read, cx.busy, pair, &end, PATIENCE).await;
        all.map_err(|why| self.refused(vec![why]))
    }

    /// Writes a row at the target, and waits for it at the source.
    async fn prove(&self, cx: &mut PerformCx<'_>, pair: &Pair) -> Result<Evidence, StepError> {
        let attempted = &self.attempted;
        let mut back = self.reversed(pair).await?;
        let seq = cx.read.first_started.as_microsecond().saturating_mul(2);
        let target = format!("{} at {}", marker::TABLE, self.server.at());
        let intent =
            Intent::new(SENTINEL, target, "insert", CLASSES, Value::Null, json!({ "seq": seq }));
        let run = &cx.read.world.run;
        let mut writer = self.server.writer().await.map_err(|error| self.read(&error))?;
        cx.change(intent, async |permit| {
            let written = marker::write(&mut writer, permit, run, seq).await;
            written.map(|beat| json!(beat)).map_err(|error| error.as_change_error(attempted))
        })
        .await?;
        writer.close().await;
        let began = cx.clock().steady();
        let end = back.position().await.map_err(|error| self.read(&error))?;
        let all = marking::has_all(cx.read, cx.busy, &mut back, &end, PATIENCE).await;
        all.map_err(|why| self.not_there(why))?;
        let arrived = back.arrived(run).await.map_err(|error| self.read(&error))?;
        if arrived.is_none_or(|beat| beat.seq < seq) {
            return Err(self.not_there("the row did not come back".to_owned()));
        }
        Ok(Evidence {
            check: format!("replication back to {}", back.target().name()),
            verdict: "flows".to_owned(),
            detail: format!(
                "row {seq} came back after {} ms",
                since(began, cx.clock().steady()).as_millis()
            ),
            holds: true,
        })
    }

    fn not_there(&self, why: String) -> StepError {
        let known =
            "nobody was let in; what is written at the target does not come back to the source";
        StepError::new(FailureClass::Failed, "MIG0525", &self.attempted, known)
            .cause(why)
            .hint("see why the apply worker at the source fails; then `migrate resume` or `migrate rollback`")
            .retryable()
    }

    /// Several statements make the turn: one of them may be done.
    fn in_part(&self, error: &DatabaseError) -> StepError {
        StepError { class: FailureClass::Unknown, ..error.as_change_error(&self.attempted) }
    }

    pub(super) async fn probe_turn(&self, cx: &StepCx, effect: &RecordedEffect) -> Verdict {
        let unknown = |evidence: String| Verdict::Unknown { evidence };
        let Some(reverse) = &self.with.reverse else {
            return unknown("`reverse` is gone".to_owned());
        };
        let mut pair = match self.pair(cx, reverse).await {
            Ok(pair) => pair,
            Err(error) => return unknown(error.to_string()),
        };
        match reverse::ways(&mut pair).await {
            Ok(ways) if json!(ways) == effect.intent.after => {
                Verdict::Done { observed: json!(ways) }
            }
            Ok(ways) if json!(ways) == effect.intent.before => Verdict::NotDone,
            Ok(ways) => unknown(format!("it is turned in part: {ways:?}")),
            Err(error) => unknown(error.to_string()),
        }
    }

    /// Turns it back, once nobody writes at the target any more and the source has everything.
    pub(super) async fn turn_back(
        &self,
        cx: &mut PerformCx<'_>,
        effect: &RecordedEffect,
    ) -> Result<(), StepError> {
        // A step that has begun keeps its parameters.
        let Some(reverse) = &self.with.reverse else { return Ok(()) };
        let mut pair = self.pair(cx.read, reverse).await?;
        let ways = reverse::ways(&mut pair).await.map_err(|error| self.read(&error))?;
        let Intent { key, target, before, .. } = &effect.intent;
        let intent = Intent::new(
            format!("undo:{key}"),
            target,
            "turn",
            CLASSES,
            json!(ways),
            before.clone(),
        );
        let Granted::Permit(permit) = cx.effects.intend(intent).await? else { return Ok(()) };
        self.close(cx, &permit).await?;
        if ways.back {
            let mut back = self.reversed(&pair).await?;
            let end = back.position().await.map_err(|error| self.read(&error))?;
            let all = marking::has_all(cx.read, cx.busy, &mut back, &end, PATIENCE).await;
            all.map_err(|why| self.not_all_there(why))?;
            self.carry_back(cx.read, &pair, &permit).await.map_err(|error| self.in_part(&error))?;
        }
        reverse::end(&mut pair, &permit).await.map_err(|error| self.in_part(&error))?;
        let from = pair.position().await.map_err(|error| self.read(&error))?;
        let forward = reverse::forward_from(&mut pair, &permit, from).await;
        forward.map_err(|error| self.in_part(&error))?;
        let all = marking::has_all(cx.read, cx.busy, &mut pair, &from, PATIENCE).await;
        all.map_err(|why| self.not_all_there(why))?;
        cx.effects.done(permit, before.clone()).await
    }

    fn not_all_there(&self, why: String) -> StepError {
        let known = "replication is not as it was; what the target accepted is kept there";
        StepError::new(FailureClass::Failed, "MIG0525", &self.attempted, known)
            .cause(why)
            .hint("see why the other side does not follow; then `migrate rollback` goes on")
    }

    /// Who may log in here and write.
    async fn still_open(&self, reader: &mut Reader) -> Result<Option<String>, StepError> {
        let roles =
            wall::writers(reader, &[], &Follower::None).await.map_err(|error| self.read(&error))?;
        let open = roles.into_iter().filter(|role| role.login).map(|role| role.name);
        let open: Vec<String> = open.collect();
        Ok((!open.is_empty())
            .then(|| format!("{} may log in and write at {}", open.join(", "), self.server.at())))
    }

    /// Ends who may have been writing, and waits until they are gone. Logins were closed before.
    async fn close(&self, cx: &mut PerformCx<'_>, permit: &EffectPermit) -> Result<(), StepError> {
        let read = |error: DatabaseError| self.read(&error);
        let mut writer = self.server.writer().await.map_err(read)?;
        if let Some(open) = self.still_open(writer.reading()).await? {
            return Err(self.not_all_there(open));
        }
        let there = wall::unfinished(writer.reading()).await.map_err(read)?.sessions;
        let clients: Vec<i64> =
            there.iter().filter(|it| it.can_be_ended).map(|it| it.pid).collect();
        if !clients.is_empty() {
            wall::end_sessions(&mut writer, permit, &clients)
                .await
                .map_err(|error| self.in_part(&error))?;
        }
        let began = cx.clock().steady();
        loop {
            let mut left = wall::unfinished(writer.reading()).await.map_err(read)?;
            left.sessions.retain(|it| it.writes || clients.contains(&it.pid));
            if left.sessions.is_empty() && left.prepared.is_empty() {
                writer.close().await;
                return Ok(());
            }
            if since(began, cx.clock().steady()) > PATIENCE {
                return Err(self.not_all_there(format!("still there: {left:?}")));
            }
            cx.read.sleep(BETWEEN, cx.busy).await?;
        }
    }

    /// Numbers that the target gave out are not given out again by the source; a sequence that nobody used stays.
    async fn carry_back(
        &self,
        cx: &StepCx,
        pair: &Pair,
        permit: &EffectPermit,
    ) -> Result<(), DatabaseError> {
        let recorded = cx.recorded.iter().find(|effect| effect.intent.key == SEQUENCES);
        let set = recorded.map(|effect| effect.intent.after.clone()).unwrap_or_default();
        let set: Values = serde_json::from_value(set).unwrap_or_default();
        let (mut reader, mut writer) = (self.server.reader().await?, pair.source().writer().await?);
        let used: sequences::Sequences = sequences::all(&mut reader)
            .await?
            .into_iter()
            .filter(|(name, now)| set.get(name) != Some(&now.at))
            .collect();
        let own = sequences::all(writer.reading()).await?;
        let at = pair.source().at().to_owned();
        let wanted = sequences::carried(&used, &own, 0).map_err(|missing| {
            DatabaseError::Refused { at, cause: format!("it lacks {}", missing.join(", ")) }
        })?;
        for (name, at) in wanted {
            sequences::set(&mut writer, permit, &name, at).await?;
        }
        reader.close().await;
        writer.close().await;
        Ok(())
    }
}
