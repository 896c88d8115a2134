//! `writes.resume` on a database, whatever its engine: the setting that refuses writes first, then the logins.

use async_trait::async_trait;
use jiff::Timestamp;
use serde_json::json;

use super::super::barrier::{self, Barrier, OnDatabase};
use super::{
    Change, Evidence, FailureClass, Outcome, PerformCx, Preview, RecordedEffect, StepCx, StepError,
    Verdict, With,
};
use crate::clock::since;
use crate::database::wall::Wall;
use crate::database::{DatabaseError, mysql};
use crate::run::Intent;

/// One database to open.
pub(super) struct Opening<'a, W> {
    pub(super) with: &'a With,
    pub(super) wall: W,
    pub(super) attempted: String,
}

impl<'a> Opening<'a, mysql::wall::Wall> {
    pub(super) async fn of_mysql(with: &'a With, cx: &StepCx) -> Result<Self, StepError> {
        let attempted = with.attempted();
        let refused = |known: &str, hint: &str| {
            Err(StepError::new(FailureClass::Refused, "MIG0524", &attempted, known).hint(hint))
        };
        if with.sequences_from.is_some() {
            return refused(
                "`sequences_from` is of PostgreSQL; nothing was changed",
                "remove it: the binary log carries sequences and AUTO_INCREMENT counters over with the rows",
            );
        }
        if with.reverse.is_some() {
            return refused(
                "`reverse` is of PostgreSQL; nothing was changed",
                "remove it, and let the source follow by a CHANGE MASTER of your own in an `exec` step",
            );
        }
        let wall = async { mysql::wall::Wall::of(cx.mysql(&with.system).await?).await };
        let wall = wall.await.map_err(|error: DatabaseError| error.as_step_error(&attempted))?;
        Ok(Self { with, wall, attempted })
    }
}

impl<W: Wall> Opening<'_, W> {
    fn read(&self, error: &DatabaseError) -> StepError {
        error.as_step_error(&self.attempted)
    }

    fn barrier(&mut self) -> Barrier<'_, W> {
        Barrier { wall: &mut self.wall, attempted: &self.attempted }
    }

    /// The setting to leave: what the pause of this database found before it, where it was this run that paused it. What an attempt
    /// of this step itself found was closed.
    fn wanted(&self, cx: &StepCx) -> Option<String> {
        let paused_here = |step: &&crate::plan::PlannedStep| {
            step.id != cx.step.id && step.with["system"] == *self.with.system
        };
        let steps = cx.world.plan.steps.iter().filter(paused_here);
        let effects = steps.filter_map(|step| cx.others.get(&step.id)).flatten();
        barrier::found_by::<W>(effects).or_else(|| W::WORDS.accepts.map(str::to_owned))
    }

    /// The roles to open: those that are named, else those that this run closed here.
    async fn roles(&mut self, cx: &StepCx) -> Result<Vec<String>, DatabaseError> {
        if !self.with.roles.is_empty() {
            return self.wall.meant(&self.with.roles).await;
        }
        let at = format!(" at {}", self.wall.at());
        let effects =
            cx.others.values().flatten().filter(|effect| effect.intent.target.ends_with(&at));
        let is_closing = |effect: &&RecordedEffect| {
            let Intent { before, after, .. } = &effect.intent;
            before["login"] == true && after["login"] == false
        };
        let closed = effects.filter(is_closing);
        let mut roles: Vec<String> = closed
            .filter_map(|effect| barrier::role_of(&effect.intent.key))
            .map(str::to_owned)
            .collect();
        roles.sort();
        roles.dedup();
        Ok(roles)
    }

    /// The setting and the logins, of a server that would take writes.
    pub(super) async fn can_be_opened(
        &mut self,
        cx: &StepCx,
    ) -> Result<(Option<String>, Vec<(String, bool)>), StepError> {
        let (at, attempted) = (self.wall.at().to_owned(), self.attempted.clone());
        let refused = |known: String, hint: &str| {
            let known = format!("{known}; nothing was changed");
            Err(StepError::new(FailureClass::Refused, "MIG0524", &attempted, known).hint(hint))
        };
        if let Some(why) = self.wall.takes_no_writes().await.map_err(|error| self.read(&error))? {
            return refused(
                format!("{at} {why}"),
                "promote it in a step of its own, then `migrate resume`",
            );
        }
        let setting = self.wall.setting().await.map_err(|error| self.read(&error))?;
        let mut logins = Vec::new();
        for role in self.roles(cx).await.map_err(|error| self.read(&error))? {
            let login = self.wall.login(&role).await.map_err(|error| self.read(&error))?;
            let Some(login) = login else {
                let known = format!("there is no {} {role} at {at}", W::WORDS.role);
                return refused(known, "correct `roles` in the runbook, then `migrate resume`");
            };
            logins.push((role, login));
        }
        Ok((setting, logins))
    }

    /// Opens it; `evidence` is what was done before.
    pub(super) async fn open(
        mut self,
        cx: &mut PerformCx<'_>,
        mut evidence: Vec<Evidence>,
    ) -> Result<Outcome, StepError> {
        let (_, logins) = self.can_be_opened(cx.read).await?;
        let roles: Vec<String> = logins.into_iter().map(|(role, _)| role).collect();
        let (at, wanted) = (cx.clock().now(), self.wanted(cx.read));
        let opened = self.barrier().setting(cx, wanted.as_deref(), at).await?;
        for role in &roles {
            self.barrier().login(cx, role, true, at).await?;
        }
        let (setting, logins) = self.can_be_opened(cx.read).await?;
        if setting.as_deref() == Some(W::WORDS.refuses) || logins.iter().any(|(_, login)| !login) {
            let known = format!("{} was closed again by another hand", self.wall.at());
            return Err(StepError::new(FailureClass::Drift, "MIG0523", &self.attempted, known)
                .hint("find out who did it, then `migrate resume`"));
        }
        self.wall.close().await;
        let resumed_at = opened["at"].clone();
        let until = resumed_at.as_str().and_then(|at| at.parse::<Timestamp>().ok());
        let paused = self.with.paused_at(cx).zip(until).map(|(from, until)| since(from, until));
        let logins =
            if roles.is_empty() { "none had been closed".to_owned() } else { roles.join(", ") };
        evidence.push(Evidence {
            check: format!("writes at {}", self.with.system),
            verdict: "accepted".to_owned(),
            detail: match paused {
                Some(paused) => {
                    format!("paused for {} s; logins opened: {logins}", paused.as_secs())
                }
                None => format!("how long they were paused is not known; logins opened: {logins}"),
            },
            holds: true,
        });
        let paused_seconds = json!(paused.map(|paused| paused.as_secs()));
        let outputs =
            [("resumed_at".to_owned(), resumed_at), ("paused_seconds".to_owned(), paused_seconds)];
        Ok(Outcome { outputs: outputs.into(), evidence })
    }
}

#[async_trait]
impl<W: Wall> OnDatabase for Opening<'_, W> {
    async fn preview(mut self: Box<Self>, cx: &StepCx) -> Result<Preview, StepError> {
        let (setting, logins) = self.can_be_opened(cx).await?;
        let (words, at, wanted) = (W::WORDS, self.wall.at(), self.wanted(cx));
        let change = |target: String, before: String, after: String| Change {
            target,
            verb: "alter".to_owned(),
            before: Some(before),
            after: Some(after),
        };
        let mut changes = Vec::new();
        if setting != wanted {
            let shown = |setting: Option<String>| setting.unwrap_or_else(|| "not set".to_owned());
            changes.push(change(
                format!("{} of {at}", words.setting),
                shown(setting),
                shown(wanted),
            ));
        }
        let closed = logins.into_iter().filter(|(_, login)| !login);
        changes.extend(closed.map(|(role, _)| {
            change(
                format!("{} {role} at {at}", words.role),
                words.closed.to_owned(),
                words.open.to_owned(),
            )
        }));
        self.wall.close().await;
        Ok(Preview { changes, readings: Vec::new() })
    }

    async fn perform(self: Box<Self>, cx: &mut PerformCx<'_>) -> Result<Outcome, StepError> {
        self.open(cx, Vec::new()).await
    }

    async fn probe(mut self: Box<Self>, _cx: &StepCx, effect: &RecordedEffect) -> Verdict {
        let verdict = barrier::probe(&mut self.wall, effect).await;
        self.wall.close().await;
        verdict.unwrap_or_else(|| Verdict::Unknown {
            evidence: format!("{} is no effect of this step", effect.intent.key),
        })
    }

    async fn undo(
        mut self: Box<Self>,
        cx: &mut PerformCx<'_>,
        effect: &RecordedEffect,
    ) -> Result<(), StepError> {
        self.barrier().undo(cx, effect).await?;
        self.wall.close().await;
        Ok(())
    }
}
