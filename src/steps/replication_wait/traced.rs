//! Lag of transactional replication between SQL Servers, by tracer tokens: one effect from the first token to the last.
//!
//! The intent is durable before anything is posted. Tokens harm nobody and stay with the Distributor, so that nothing is taken
//! back; one whose number was lost, by a reply or by a crash, is not believed and another is posted. Only tokens of this attempt
//! count.

use async_trait::async_trait;
use serde_json::json;

use super::gate::Reading;
use super::positions::{heard, unless_it_hangs};
use super::servers::{MYSQL_ONLY, POSTGRES_ONLY, Unready, Watch, foreign};
use super::tokens::Tokens;
use super::{FailureClass, Outcome, PerformCx, StepCx, StepError, Verdict, With};
use crate::database::DatabaseError;
use crate::database::sqlserver::Publication;
use crate::journal::EffectPermit;
use crate::run::{Intent, RecordedEffect, Repeat, Undo};
use crate::steps::Granted;

const KEY: &str = "tokens";

/// See the module.
#[derive(Debug)]
pub(super) struct Traced<'a> {
    with: &'a With,
    source: &'a str,
    target: &'a str,
    publication: Option<Publication>,
    tokens: Tokens,
    effect: Option<Effect>,
}

/// What was posted under a permit.
#[derive(Debug)]
struct Effect {
    permit: EffectPermit,
    posted: Vec<i64>,
    /// Posted or not: the answer did not tell.
    uncertain: u32,
}

impl<'a> Traced<'a> {
    pub(super) fn new(source: &'a str, target: &'a str, with: &'a With) -> Self {
        let tokens = Tokens::default();
        Self { with, source, target, publication: None, tokens, effect: None }
    }

    /// The publication, found on first use.
    async fn publication(&mut self, cx: &StepCx) -> Result<&mut Publication, Unready> {
        if self.publication.is_none() {
            let With { subscription, slot, target_own, heartbeat, .. } = self.with;
            foreign(subscription.is_some() || slot.is_some(), POSTGRES_ONLY)?;
            foreign(target_own.is_some(), MYSQL_ONLY)?;
            foreign(
                *heartbeat,
                "tracer tokens are the heartbeat of `by: transactional-replication`",
            )?;
            let name = self.with.publication.as_deref().unwrap_or_default();
            let (source, target) =
                (cx.sqlserver(self.source).await?, cx.sqlserver(self.target).await?);
            self.publication = Some(Publication::find(source, target, name).await?);
        }
        Ok(self.publication.as_mut().expect("it was found just now"))
    }

    /// Asks for the token under way, and posts the next one where it is time.
    async fn once(&mut self, cx: &PerformCx<'_>) -> Result<(String, Reading), Unready> {
        let clock = cx.clock();
        let name = format!("{} by tracer token", self.target);
        if let Err(why) = self.publication(cx.read).await?.standing().await? {
            self.tokens.forget();
            return Ok((name, Reading::Unknown(why)));
        }
        if let Some(token) = self.tokens.ask() {
            let asked = clock.steady();
            let told = self.publication(cx.read).await?.arrival(token).await?;
            self.tokens.told(told, (asked, clock.steady()));
        }
        if self.tokens.post(clock.steady()) {
            match self.post(cx).await {
                // Remembered until the next one is posted.
                Err(Unready::Error(silent @ DatabaseError::Silent { .. })) => {
                    self.tokens.unposted(silent.to_string());
                }
                posted => posted?,
            }
        }
        Ok((name, self.tokens.reading(clock.steady())))
    }

    async fn post(&mut self, cx: &PerformCx<'_>) -> Result<(), Unready> {
        if self.effect.is_none() {
            self.effect = Some(self.intend(cx).await?);
        }
        let (publication, effect) =
            self.publication.as_mut().zip(self.effect.as_mut()).expect("both are there");
        let asked = cx.clock().steady();
        // Counted before: the wait for the answer may be given up.
        effect.uncertain += 1;
        let posted = publication.post(&effect.permit).await;
        if !matches!(posted, Err(DatabaseError::Silent { .. })) {
            effect.uncertain -= 1;
        }
        let token = posted.map_err(|error| match error {
            silent @ DatabaseError::Silent { .. } => silent.into(),
            refusal => Unready::Stopped(refusal.as_change_error(&self.with.attempted())),
        })?;
        effect.posted.push(token);
        self.tokens.posted(token, (asked, cx.clock().steady()));
        Ok(())
    }

    /// Before the first token: which ones were there.
    async fn intend(&mut self, cx: &PerformCx<'_>) -> Result<Effect, Unready> {
        let publication = self.publication(cx.read).await?;
        let newest = publication.tokens().await?.into_iter().max();
        let mine = || cx.recorded.iter().filter(|effect| effect.intent.key.starts_with(KEY));
        // What an attempt left in doubt that was cut off is this one's too.
        let in_doubt = mine().rev().find(|effect| !effect.done);
        let before =
            in_doubt.map_or(json!({ "newest_token": newest }), |it| it.intent.before.clone());
        let key = format!("{KEY}:{}", mine().filter(|effect| effect.done).count());
        let classes = (Repeat::Repeatable, Undo::LeavesInPlace);
        let after = json!({ "newest_token": "a newer one" });
        let intent = Intent::new(key, publication.at(), "post", classes, before, after);
        match cx.effects.intend(intent).await.map_err(Unready::Stopped)? {
            Granted::Permit(permit) => Ok(Effect { permit, posted: Vec::new(), uncertain: 0 }),
            Granted::AlreadyDone(_) => {
                let known = "the journal holds it as ended";
                let attempted = self.with.attempted();
                Err(Unready::Stopped(StepError::new(
                    FailureClass::Failed,
                    "MIG0706",
                    attempted,
                    known,
                )))
            }
        }
    }
}

#[async_trait]
impl Watch for Traced<'_> {
    async fn preview(&mut self, cx: &StepCx) -> Result<Vec<(String, Reading)>, StepError> {
        let target = self.target.to_owned();
        let standing = async {
            let publication = self.publication(cx).await?;
            let would = format!("tracer tokens would be posted to {}", publication.at());
            let why = publication.standing().await?.err().unwrap_or(would);
            Ok((target, Reading::Unknown(why)))
        };
        let read = standing.await;
        heard(self.with, self.target, read).map(|read| vec![read])
    }

    async fn look(&mut self, cx: &mut PerformCx<'_>) -> Result<Vec<(String, Reading)>, StepError> {
        let (with, target) = (self.with, self.target);
        let read = unless_it_hangs(cx.read, target, self.once(cx)).await;
        heard(with, target, read).map(|read| vec![read])
    }

    async fn end(
        &mut self,
        cx: &mut PerformCx<'_>,
        waited: Result<Outcome, StepError>,
    ) -> Result<Outcome, StepError> {
        let Some(Effect { permit, posted, uncertain }) = self.effect.take() else { return waited };
        let ended = if posted.is_empty() && uncertain == 0 {
            cx.effects.not_done(permit, "no tracer token was posted").await
        } else {
            let observed = json!({ "tokens": posted, "uncertain": uncertain });
            cx.effects.done(permit, observed).await
        };
        // Why the wait failed matters more.
        waited.and_then(|outcome| ended.map(|()| outcome))
    }

    /// Tokens newer than those before it: its own, or of somebody who looks at the replication too.
    async fn probe(&mut self, cx: &StepCx, effect: &RecordedEffect) -> Verdict {
        let asked = async { Ok::<_, Unready>(self.publication(cx).await?.tokens().await?) };
        let before = effect.intent.before["newest_token"].as_i64();
        match asked.await {
            Err(error) => Verdict::Unknown { evidence: error.to_string() },
            Ok(tokens) => {
                let newer = |token: &i64| before.is_none_or(|before| *token > before);
                let newer: Vec<i64> = tokens.into_iter().filter(newer).collect();
                if newer.is_empty() {
                    return Verdict::NotDone;
                }
                Verdict::Done { observed: json!({ "newer_tokens": newer }) }
            }
        }
    }

    async fn undo(
        &mut self,
        _cx: &mut PerformCx<'_>,
        _effect: &RecordedEffect,
    ) -> Result<(), StepError> {
        Ok(())
    }
}
