//! `writes.resume` on a PostgreSQL database: sequences first, then replication back, then what every engine needs.

use std::collections::BTreeMap;

use async_trait::async_trait;
use serde_json::{Value, json};

use super::super::barrier::OnDatabase;
use super::reverse::{REVERSE, SENTINEL};
use super::{
    Evidence, FailureClass, Outcome, PerformCx, Preview, RecordedEffect, StepCx, StepError,
    Verdict, With, database,
};
use crate::database::DatabaseError;
use crate::database::postgres::Server;
use crate::database::postgres::sequences::{self, Sequences, Values};
use crate::database::postgres::wall::Wall;
use crate::run::{Intent, Repeat, Undo};

pub(super) const SEQUENCES: &str = "sequences";
const CLASSES: (Repeat, Undo) = (Repeat::Repeatable, Undo::Restores);

/// One PostgreSQL database to open.
pub(super) struct Opening<'a> {
    pub(super) with: &'a With,
    pub(super) server: Server,
    pub(super) attempted: String,
}

impl<'a> Opening<'a> {
    pub(super) async fn of(with: &'a With, cx: &StepCx) -> Result<Self, StepError> {
        let attempted = with.attempted();
        let server =
            cx.postgres(&with.system).await.map_err(|error| error.as_step_error(&attempted))?;
        Ok(Self { with, server, attempted })
    }

    pub(super) fn read(&self, error: &DatabaseError) -> StepError {
        error.as_step_error(&self.attempted)
    }

    /// What of it does not depend on the engine.
    async fn opening(&self) -> Result<Box<database::Opening<'a, Wall>>, StepError> {
        let wall = Wall::of(self.server.clone()).await.map_err(|error| self.read(&error))?;
        let attempted = self.attempted.clone();
        Ok(Box::new(database::Opening { with: self.with, wall, attempted }))
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
        let (theirs, own) =
            (all(&source).await.map_err(read)?, all(&self.server).await.map_err(read)?);
        match sequences::carried(&theirs, &own, self.with.sequence_margin) {
            Ok(wanted) => Ok((own, wanted)),
            Err(missing) => {
                let known = format!(
                    "{} lacks sequences that {} has; nothing was changed",
                    self.server.at(),
                    source.at()
                );
                Err(StepError::new(FailureClass::Refused, "MIG0524", &self.attempted, known)
                    .cause(missing.join(", "))
                    .hint("make them at the target, then `migrate resume`"))
            }
        }
    }

    async fn carry(&self, cx: &PerformCx<'_>) -> Result<Evidence, StepError> {
        let recorded = cx.recorded.iter().find(|effect| effect.intent.key == SEQUENCES);
        let (own, wanted) = self.carried(cx.read).await?;
        let (before, after) = if let Some(effect) = recorded {
            // What was read first counts: the target may have taken numbers of its own by now.
            (effect.intent.before.clone(), effect.intent.after.clone())
        } else {
            let before: BTreeMap<_, _> =
                wanted.keys().map(|name| (name.clone(), own[name])).collect();
            (json!(before), json!(wanted))
        };
        let wanted: Values = serde_json::from_value(after.clone()).unwrap_or_default();
        let target = format!("{} sequences of {}", wanted.len(), self.server.at());
        let intent = Intent::new(SEQUENCES, target, "set", CLASSES, before, after);
        let (attempted, count) = (&self.attempted, wanted.len());
        cx.change(intent, async |permit| {
            let mut writer = self.server.writer().await.map_err(|error| self.read(&error))?;
            // One that is further by now gave out numbers since.
            let has_reached =
                |name: &String, at| own.get(name).is_some_and(|own| own.has_reached(at));
            for (name, &at) in wanted.iter().filter(|(name, at)| !has_reached(name, **at)) {
                let set = sequences::set(&mut writer, permit, name, at).await;
                // One may have been set before another was refused.
                set.map_err(|error| StepError {
                    class: FailureClass::Unknown,
                    ..error.as_change_error(attempted)
                })?;
            }
            writer.close().await;
            Ok(json!({ "set": count }))
        })
        .await?;
        Ok(Evidence {
            check: "sequences".to_owned(),
            verdict: "carried over".to_owned(),
            detail: format!(
                "{count}, each {} numbers ahead of the source",
                self.with.sequence_margin
            ),
            holds: true,
        })
    }

    /// Sets back what still stands where this step put it; a number that was given out since is not given out again.
    async fn set_back(&self, cx: &PerformCx<'_>, effect: &RecordedEffect) -> Result<(), StepError> {
        let mut writer = self.server.writer().await.map_err(|error| self.read(&error))?;
        let own = sequences::all(writer.reading()).await.map_err(|error| self.read(&error))?;
        let before: Sequences =
            serde_json::from_value(effect.intent.before.clone()).unwrap_or_default();
        let set: Values = serde_json::from_value(effect.intent.after.clone()).unwrap_or_default();
        let untouched: Sequences = before
            .into_iter()
            .filter(|(name, _)| own.get(name).map(|own| own.at) == set.get(name).copied())
            .collect();
        let target = effect.intent.target.clone();
        let key = format!("undo:{SEQUENCES}");
        let intent = Intent::new(key, target, "set", CLASSES, json!(set), json!(untouched));
        let attempted = &self.attempted;
        let changed = cx.change(intent, async |permit| {
            for (name, was) in &untouched {
                let set = sequences::set(&mut writer, permit, name, was.at).await;
                set.map_err(|error| StepError {
                    class: FailureClass::Unknown,
                    ..error.as_change_error(attempted)
                })?;
            }
            Ok(Value::Null)
        });
        changed.await.map(drop)
    }
}

#[async_trait]
impl OnDatabase for Opening<'_> {
    async fn preview(self: Box<Self>, cx: &StepCx) -> Result<Preview, StepError> {
        let mut preview = self.opening().await?.preview(cx).await?;
        if self.with.sequences_from.is_some() {
            let (_, wanted) = self.carried(cx).await?;
            preview.readings.push(Evidence {
                check: "sequences to carry over".to_owned(),
                verdict: "read".to_owned(),
                detail: format!(
                    "{}, each {} numbers ahead",
                    wanted.len(),
                    self.with.sequence_margin
                ),
                holds: true,
            });
        }
        if let Some(reverse) = &self.with.reverse {
            preview.readings.push(self.ways_now(cx, reverse).await?);
        }
        Ok(preview)
    }

    async fn perform(self: Box<Self>, cx: &mut PerformCx<'_>) -> Result<Outcome, StepError> {
        let mut opening = self.opening().await?;
        opening.can_be_opened(cx.read).await?;
        let mut evidence = Vec::new();
        if self.with.sequences_from.is_some() {
            evidence.push(self.carry(cx).await?);
        }
        if let Some(reverse) = &self.with.reverse {
            evidence.push(self.turn(cx, reverse).await?);
        }
        opening.open(cx, evidence).await
    }

    async fn probe(self: Box<Self>, cx: &StepCx, effect: &RecordedEffect) -> Verdict {
        match effect.intent.key.trim_start_matches("undo:") {
            REVERSE => return self.probe_turn(cx, effect).await,
            // The same row again is harmless.
            SENTINEL => return Verdict::NotDone,
            _ => {}
        }
        if effect.intent.key != SEQUENCES {
            return match self.opening().await {
                Ok(opening) => opening.probe(cx, effect).await,
                Err(error) => Verdict::Unknown { evidence: error.to_string() },
            };
        }
        let own = async { sequences::all(&mut self.server.reader().await?).await };
        let own = match own.await {
            Ok(own) => own,
            Err(error) => return Verdict::Unknown { evidence: DatabaseError::to_string(&error) },
        };
        let wanted: Values =
            serde_json::from_value(effect.intent.after.clone()).unwrap_or_default();
        let before: Sequences =
            serde_json::from_value(effect.intent.before.clone()).unwrap_or_default();
        if wanted.iter().all(|(name, at)| own.get(name).is_some_and(|own| own.has_reached(*at))) {
            return Verdict::Done { observed: json!({ "set": wanted.len() }) };
        }
        if before.iter().all(|(name, was)| own.get(name).is_some_and(|own| own.at == was.at)) {
            return Verdict::NotDone;
        }
        Verdict::Unknown { evidence: "some of the sequences are set".to_owned() }
    }

    async fn undo(
        self: Box<Self>,
        cx: &mut PerformCx<'_>,
        effect: &RecordedEffect,
    ) -> Result<(), StepError> {
        match effect.intent.key.as_str() {
            REVERSE => self.turn_back(cx, effect).await,
            SENTINEL => Ok(()),
            SEQUENCES => self.set_back(cx, effect).await,
            _ => self.opening().await?.undo(cx, effect).await,
        }
    }
}
