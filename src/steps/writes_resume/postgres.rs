//! `writes.resume` on a PostgreSQL database: sequences first, then replication back, then the default of the database, then the logins.

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde_json::{Value, json};

use super::super::barrier::{self, Barrier};
use super::reverse::{REVERSE, SENTINEL};
use super::{Change, Evidence, FailureClass, Outcome, PerformCx, Preview, RecordedEffect, StepCx, StepError, Verdict, With};
use crate::clock::since;
use crate::database::DatabaseError;
use crate::database::postgres::sequences::{self, Sequences, Values};
use crate::database::postgres::{Server, wall};
use crate::run::{Intent, Repeat, Undo};

pub(super) const SEQUENCES: &str = "sequences";
const CLASSES: (Repeat, Undo) = (Repeat::Repeatable, Undo::Restores);

/// One database to open.
pub(super) struct Opening<'a> {
    pub(super) with: &'a With,
    pub(super) server: Server,
    pub(super) attempted: String,
}

impl<'a> Opening<'a> {
    pub(super) async fn of(with: &'a With, cx: &StepCx) -> Result<Self, StepError> {
        let attempted = with.attempted();
        let server = cx.postgres(&with.system).await.map_err(|error| error.as_step_error(&attempted))?;
        Ok(Self { with, server, attempted })
    }

    pub(super) fn read(&self, error: &DatabaseError) -> StepError {
        error.as_step_error(&self.attempted)
    }

    /// What the pause of this database found before it; none where it was not this run that paused it.
    fn found_by_pause(&self, cx: &StepCx) -> Option<String> {
        let paused_here = |step: &&crate::plan::PlannedStep| step.with["system"] == *self.with.system;
        let steps = cx.world.plan.steps.iter().filter(paused_here);
        let effects = steps.filter_map(|step| cx.others.get(&step.id)).flatten();
        barrier::found_by(effects)?.as_str().map(str::to_owned)
    }

    /// The roles to open: those that are named, else those that this run closed here.
    fn roles(&self, cx: &StepCx) -> Vec<String> {
        if !self.with.roles.is_empty() {
            return self.with.roles.clone();
        }
        let at = format!(" at {}", self.server.at());
        let effects = cx.others.values().flatten().filter(|effect| effect.intent.target.ends_with(&at));
        let is_closing = |effect: &&RecordedEffect| {
            let Intent { before, after, .. } = &effect.intent;
            before["login"] == true && after["login"] == false
        };
        let closed = effects.filter(is_closing);
        let mut roles: Vec<String> =
            closed.filter_map(|effect| barrier::role_of(&effect.intent.key)).map(str::to_owned).collect();
        roles.sort();
        roles.dedup();
        roles
    }

    async fn is_open(&self, cx: &StepCx) -> Result<(Option<String>, Vec<(String, bool)>), StepError> {
        let read = |error: DatabaseError| self.read(&error);
        let mut reader = self.server.reader().await.map_err(read)?;
        let standby: bool = reader.json("select to_json(pg_is_in_recovery())::text", &[]).await.map_err(read)?;
        if standby {
            let known = format!("{} is a standby, which takes no writes; nothing was changed", self.server.at());
            return Err(StepError::new(FailureClass::Refused, "MIG0524", &self.attempted, known)
                .hint("promote it in a step of its own, then `migrate resume`"));
        }
        let setting = wall::setting(&mut reader).await.map_err(read)?;
        let mut logins = Vec::new();
        for role in self.roles(cx) {
            let Some(login) = wall::login(&mut reader, &role).await.map_err(read)? else {
                let known = format!("there is no role {role} at {}; nothing was changed", self.server.at());
                return Err(StepError::new(FailureClass::Refused, "MIG0524", &self.attempted, known)
                    .hint("correct `roles` in the runbook, then `migrate resume`"));
            };
            logins.push((role, login));
        }
        reader.close().await;
        Ok((setting, logins))
    }

    pub(super) async fn preview(&self, cx: &StepCx) -> Result<Preview, StepError> {
        let (setting, logins) = self.is_open(cx).await?;
        let (mut changes, wanted) = (Vec::new(), self.found_by_pause(cx));
        let change = |target: String, before: String, after: String| Change {
            target,
            verb: "alter".to_owned(),
            before: Some(before),
            after: Some(after),
        };
        if setting != wanted {
            let words = |setting: Option<String>| setting.unwrap_or_else(|| "not set".to_owned());
            let target = format!("default_transaction_read_only of {}", self.server.at());
            changes.push(change(target, words(setting), words(wanted)));
        }
        let closed = logins.into_iter().filter(|(_, login)| !login);
        changes.extend(closed.map(|(role, _)| {
            change(format!("role {role} at {}", self.server.at()), "nologin".to_owned(), "login".to_owned())
        }));
        let mut readings = Vec::new();
        if self.with.sequences_from.is_some() {
            let (_, wanted) = self.carried(cx).await?;
            readings.push(Evidence {
                check: "sequences to carry over".to_owned(),
                verdict: "read".to_owned(),
                detail: format!("{}, each {} numbers ahead", wanted.len(), self.with.sequence_margin),
                holds: true,
            });
        }
        if let Some(reverse) = &self.with.reverse {
            readings.push(self.ways_now(cx, reverse).await?);
        }
        Ok(Preview { changes, readings })
    }

    /// The sequences of the target, and what they are to be.
    async fn carried(&self, cx: &StepCx) -> Result<(Sequences, Values), StepError> {
        let read = |error: DatabaseError| self.read(&error);
        let source = self.with.sequences_from.as_deref().unwrap_or_default();
        let source = cx.postgres(source).await.map_err(read)?;
        let all = async |server: &Server| {
            let mut reader = server.reader().await?;
            let all = sequences::all(&mut reader).await?;
            reader.close().await;
            Ok(all)
        };
        let (theirs, own) = (all(&source).await.map_err(read)?, all(&self.server).await.map_err(read)?);
        match sequences::carried(&theirs, &own, self.with.sequence_margin) {
            Ok(wanted) => Ok((own, wanted)),
            Err(missing) => {
                let known = format!("{} lacks sequences that {} has; nothing was changed", self.server.at(), source.at());
                Err(StepError::new(FailureClass::Refused, "MIG0524", &self.attempted, known)
                    .cause(missing.join(", "))
                    .hint("make them at the target, then `migrate resume`"))
            }
        }
    }

    async fn carry(&self, cx: &PerformCx<'_>, barrier: &mut Barrier<'_>) -> Result<Evidence, StepError> {
        let recorded = cx.recorded.iter().find(|effect| effect.intent.key == SEQUENCES);
        let (own, wanted) = self.carried(cx.read).await?;
        let (before, after) = if let Some(effect) = recorded {
            // What was read first counts: the target may have taken numbers of its own by now.
            (effect.intent.before.clone(), effect.intent.after.clone())
        } else {
            let before: BTreeMap<_, _> = wanted.keys().map(|name| (name.clone(), own[name])).collect();
            (json!(before), json!(wanted))
        };
        let wanted: Values = serde_json::from_value(after.clone()).unwrap_or_default();
        let target = format!("{} sequences of {}", wanted.len(), self.server.at());
        let intent = Intent::new(SEQUENCES, target, "set", CLASSES, before, after);
        let attempted = &self.attempted;
        let (writer, count) = (&mut barrier.writer, wanted.len());
        cx.change(intent, async |permit| {
            // One that is further by now gave out numbers since.
            let has_reached = |name: &String, at| own.get(name).is_some_and(|own| own.has_reached(at));
            for (name, &at) in wanted.iter().filter(|(name, at)| !has_reached(name, **at)) {
                let set = sequences::set(writer, permit, name, at).await;
                // One may have been set before another was refused.
                set.map_err(|error| StepError { class: FailureClass::Unknown, ..error.as_change_error(attempted) })?;
            }
            Ok(json!({ "set": count }))
        })
        .await?;
        Ok(Evidence {
            check: "sequences".to_owned(),
            verdict: "carried over".to_owned(),
            detail: format!("{count}, each {} numbers ahead of the source", self.with.sequence_margin),
            holds: true,
        })
    }

    pub(super) async fn perform(&self, cx: &mut PerformCx<'_>) -> Result<Outcome, StepError> {
        self.is_open(cx.read).await?;
        let mut barrier = Barrier::open(&self.server, &self.attempted).await?;
        let mut evidence = Vec::new();
        if self.with.sequences_from.is_some() {
            evidence.push(self.carry(cx, &mut barrier).await?);
        }
        if let Some(reverse) = &self.with.reverse {
            evidence.push(self.turn(cx, reverse).await?);
        }
        let at = cx.clock().now();
        let wanted = self.found_by_pause(cx.read);
        let opened = barrier.setting(cx, wanted.as_deref(), at).await?;
        let roles = self.roles(cx.read);
        for role in &roles {
            barrier.login(cx, role, true, at).await?;
        }
        barrier.writer.close().await;
        let (setting, logins) = self.is_open(cx.read).await?;
        if setting.as_deref() == Some("on") || logins.iter().any(|(_, login)| !login) {
            let known = format!("{} was closed again by another hand", self.server.at());
            return Err(StepError::new(FailureClass::Drift, "MIG0523", &self.attempted, known)
                .hint("find out who did it, then `migrate resume`"));
        }
        let resumed_at = opened["at"].clone();
        let until = resumed_at.as_str().and_then(|at| at.parse::<Timestamp>().ok());
        let paused = self.with.paused_at(cx).zip(until).map(|(from, until)| since(from, until));
        let logins = if roles.is_empty() { "none had been closed".to_owned() } else { roles.join(", ") };
        evidence.push(Evidence {
            check: format!("writes at {}", self.with.system),
            verdict: "accepted".to_owned(),
            detail: match paused {
                Some(paused) => format!("paused for {} s; logins opened: {logins}", paused.as_secs()),
                None => format!("how long they were paused is not known; logins opened: {logins}"),
            },
            holds: true,
        });
        let paused_seconds = json!(paused.map(|paused| paused.as_secs()));
        let outputs = [("resumed_at".to_owned(), resumed_at), ("paused_seconds".to_owned(), paused_seconds)];
        Ok(Outcome { outputs: outputs.into(), evidence })
    }

    pub(super) async fn probe(&self, cx: &StepCx, effect: &RecordedEffect) -> Verdict {
        match effect.intent.key.trim_start_matches("undo:") {
            REVERSE => return self.probe_turn(cx, effect).await,
            // The same row again is harmless.
            SENTINEL => return Verdict::NotDone,
            _ => {}
        }
        let probed = async {
            let mut reader = self.server.reader().await?;
            if effect.intent.key == SEQUENCES {
                let own = sequences::all(&mut reader).await?;
                let wanted: Values = serde_json::from_value(effect.intent.after.clone()).unwrap_or_default();
                let before: Sequences = serde_json::from_value(effect.intent.before.clone()).unwrap_or_default();
                if wanted.iter().all(|(name, at)| own.get(name).is_some_and(|own| own.has_reached(*at))) {
                    return Ok(Verdict::Done { observed: json!({ "set": wanted.len() }) });
                }
                if before.iter().all(|(name, was)| own.get(name).is_some_and(|own| own.at == was.at)) {
                    return Ok(Verdict::NotDone);
                }
                return Ok(Verdict::Unknown { evidence: "some of the sequences are set".to_owned() });
            }
            let verdict = barrier::probe(&mut reader, effect).await;
            let strange = || Verdict::Unknown { evidence: format!("{} is no effect of this step", effect.intent.key) };
            Ok::<_, DatabaseError>(verdict.unwrap_or_else(strange))
        };
        probed.await.unwrap_or_else(|error| Verdict::Unknown { evidence: error.to_string() })
    }

    pub(super) async fn undo(&self, cx: &mut PerformCx<'_>, effect: &RecordedEffect) -> Result<(), StepError> {
        match effect.intent.key.as_str() {
            REVERSE => return self.turn_back(cx, effect).await,
            SENTINEL => return Ok(()),
            _ => {}
        }
        let mut barrier = Barrier::open(&self.server, &self.attempted).await?;
        if effect.intent.key == SEQUENCES {
            self.set_back(cx, &mut barrier, effect).await?;
        } else {
            barrier.undo(cx, effect).await?;
        }
        barrier.writer.close().await;
        Ok(())
    }

    /// Sets back what still stands where this step put it; a number that was given out since is not given out again.
    async fn set_back(&self, cx: &PerformCx<'_>, barrier: &mut Barrier<'_>, effect: &RecordedEffect) -> Result<(), StepError> {
        let own = sequences::all(barrier.writer.reading()).await.map_err(|error| self.read(&error))?;
        let before: Sequences = serde_json::from_value(effect.intent.before.clone()).unwrap_or_default();
        let set: Values = serde_json::from_value(effect.intent.after.clone()).unwrap_or_default();
        let untouched: Sequences = before
            .into_iter()
            .filter(|(name, _)| own.get(name).map(|own| own.at) == set.get(name).copied())
            .collect();
        let target = effect.intent.target.clone();
        let key = format!("undo:{SEQUENCES}");
        let intent = Intent::new(key, target, "set", CLASSES, json!(set), json!(untouched));
        let (writer, attempted) = (&mut barrier.writer, &self.attempted);
        let changed = cx.change(intent, async |permit| {
            for (name, was) in &untouched {
                let set = sequences::set(writer, permit, name, was.at).await;
                set.map_err(|error| StepError { class: FailureClass::Unknown, ..error.as_change_error(attempted) })?;
            }
            Ok(Value::Null)
        });
        changed.await.map(drop)
    }
}
