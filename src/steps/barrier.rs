//! What `writes.pause` and `writes.resume` change on a server, whatever its engine, and how each of it is taken back. Not a kind.
//!
//! Keys: `database` is the setting that refuses writes (`database:<n>` the same, set again after a restart forgot it),
//! `role:<name>` one login, `sessions:<n>` an ending of sessions. Settings and logins are taken back to what was found, unless
//! another hand has changed them since; whose login is closed by that is not left inside (`undo:sessions:<name>:<n>`).

use async_trait::async_trait;
use jiff::Timestamp;
use serde_json::{Value, json};

use super::{FailureClass, Outcome, PerformCx, Preview, StepCx, StepError, Verdict};
use crate::database::DatabaseError;
use crate::database::wall::{Session, Wall};
use crate::run::{Intent, RecordedEffect, Repeat, Undo};

/// Key of the setting.
const DATABASE: &str = "database";
const SESSIONS: &str = "sessions:";
const CLASSES: (Repeat, Undo) = (Repeat::Repeatable, Undo::Restores);

/// The login of a role.
pub(super) fn role_key(role: &str) -> String {
    format!("role:{role}")
}

/// How often sessions were ended so far.
pub(super) fn times_ended(effects: &[RecordedEffect]) -> usize {
    effects.iter().filter(|effect| effect.intent.key.starts_with(SESSIONS)).count()
}

/// The role of a key, where it is one.
pub(super) fn role_of(key: &str) -> Option<&str> {
    key.strip_prefix("undo:").unwrap_or(key).strip_prefix("role:")
}

/// What was found before the first attempt; else what is found now.
fn found_first(cx: &StepCx, key: &str, now: Value) -> Value {
    let known = cx.recorded.iter().find(|effect| effect.intent.key == key);
    known.map_or(now, |effect| effect.intent.before.clone())
}

/// Whether a key, or its undoing, is of the setting.
fn is_setting(key: &str) -> bool {
    let key = key.strip_prefix("undo:").unwrap_or(key);
    key.strip_prefix(DATABASE).is_some_and(|rest| rest.is_empty() || rest.starts_with(':'))
}

/// As [`super::Step`], on a database that is open for one call.
#[async_trait]
pub(super) trait OnDatabase: Send {
    async fn preview(self: Box<Self>, cx: &StepCx) -> Result<Preview, StepError>;
    async fn perform(self: Box<Self>, cx: &mut PerformCx<'_>) -> Result<Outcome, StepError>;
    async fn probe(self: Box<Self>, cx: &StepCx, effect: &RecordedEffect) -> Verdict;
    async fn undo(
        self: Box<Self>,
        cx: &mut PerformCx<'_>,
        effect: &RecordedEffect,
    ) -> Result<(), StepError>;
}

/// A server under change.
pub(super) struct Barrier<'a, W> {
    pub(super) wall: &'a mut W,
    pub(super) attempted: &'a str,
}

impl<W: Wall> Barrier<'_, W> {
    fn read(&self, error: &DatabaseError) -> StepError {
        error.as_step_error(self.attempted)
    }

    /// Opens or closes the login of a role that is there.
    pub(super) async fn login(
        &mut self,
        cx: &PerformCx<'_>,
        role: &str,
        wanted: bool,
        at: Timestamp,
    ) -> Result<(), StepError> {
        let now = self.wall.login(role).await.map_err(|error| self.read(&error))?;
        let Some(now) = now else {
            let known = format!(
                "there is no {} {role} at {}; nothing was changed",
                W::WORDS.role,
                self.wall.at()
            );
            return Err(StepError::new(FailureClass::Refused, "MIG0524", self.attempted, known)
                .hint("correct `roles` in the runbook"));
        };
        let key = role_key(role);
        let is_begun = cx.recorded.iter().any(|effect| effect.intent.key == key);
        if now == wanted && !is_begun {
            return Ok(());
        }
        let before = found_first(cx.read, &key, json!({ "login": now, "read_at": at }));
        self.set_login(cx, &key, role, before, wanted).await
    }

    async fn set_login(
        &mut self,
        cx: &PerformCx<'_>,
        key: &str,
        role: &str,
        before: Value,
        wanted: bool,
    ) -> Result<(), StepError> {
        let target = format!("{} {role} at {}", W::WORDS.role, self.wall.at());
        let intent = Intent::new(key, target, "alter", CLASSES, before, json!({ "login": wanted }));
        let (wall, attempted) = (&mut *self.wall, self.attempted);
        let changed = cx.change(intent, async |permit| {
            let changed = async {
                wall.set_login(permit, role, wanted).await?;
                wall.login(role).await
            };
            let login = changed.await.map_err(|error| error.as_change_error(attempted))?;
            Ok(json!({ "login": login }))
        });
        changed.await.map(drop)
    }

    /// Sets the setting; answers with when. One that a restart forgets is set anew where it is found otherwise.
    pub(super) async fn setting(
        &mut self,
        cx: &PerformCx<'_>,
        wanted: Option<&str>,
        at: Timestamp,
    ) -> Result<Value, StepError> {
        let now = self.wall.setting().await.map_err(|error| self.read(&error))?;
        let is_forgotten = !W::SETTING_LASTS && now.as_deref() != wanted;
        let times = cx.recorded.iter().filter(|effect| is_setting(&effect.intent.key)).count();
        let key = match times {
            1.. if is_forgotten => format!("{DATABASE}:{times}"),
            _ => DATABASE.to_owned(),
        };
        let before =
            found_first(cx.read, DATABASE, json!({ W::WORDS.setting: now, "read_at": at }));
        self.set_setting(cx, &key, before, wanted).await
    }

    async fn set_setting(
        &mut self,
        cx: &PerformCx<'_>,
        key: &str,
        before: Value,
        wanted: Option<&str>,
    ) -> Result<Value, StepError> {
        let name = W::WORDS.setting;
        let intent = Intent::new(
            key,
            self.wall.setting_of(),
            "alter",
            CLASSES,
            before,
            json!({ name: wanted }),
        );
        let (wall, attempted) = (&mut *self.wall, self.attempted);
        let now = cx.clock().now();
        cx.change(intent, async |permit| {
            let changed = async {
                wall.set_setting(permit, wanted).await?;
                wall.setting().await
            };
            let setting = changed.await.map_err(|error| error.as_change_error(attempted))?;
            Ok(json!({ name: setting, "at": now }))
        })
        .await
    }

    /// Ends sessions, by their processes. Each time is an effect of its own.
    pub(super) async fn end_sessions(
        &mut self,
        cx: &PerformCx<'_>,
        pids: &[i64],
        time: usize,
    ) -> Result<(), StepError> {
        self.end(cx, format!("{SESSIONS}{time}"), pids).await
    }

    async fn end(
        &mut self,
        cx: &PerformCx<'_>,
        key: String,
        pids: &[i64],
    ) -> Result<(), StepError> {
        let target = format!("sessions at {}", self.wall.at());
        let classes = (Repeat::Repeatable, Undo::LeavesInPlace);
        let intent = Intent::new(key, target, "end", classes, Value::Null, json!({ "pids": pids }));
        let (wall, attempted) = (&mut *self.wall, self.attempted);
        let ended = cx.change(intent, async |permit| {
            let ended = wall.end_sessions(permit, pids).await;
            ended
                .map(|()| json!({ "ended": pids.len() }))
                .map_err(|error| error.as_change_error(attempted))
        });
        ended.await.map(drop)
    }

    /// Nobody who was let in goes on once the login is closed again, nor who was about to be.
    async fn end_sessions_of(
        &mut self,
        cx: &mut PerformCx<'_>,
        role: &str,
    ) -> Result<(), StepError> {
        let key = format!("undo:{SESSIONS}{role}:");
        let ended = cx.recorded.iter().filter(|effect| effect.intent.key.starts_with(&key));
        let mut time = ended.count();
        let mut knocked = None;
        loop {
            let there = self.wall.unfinished().await.map_err(|error| self.read(&error))?;
            // Whoever knocks later is refused.
            let knocked = knocked.get_or_insert_with(|| there.opening.clone());
            let is_theirs = |it: &&Session| it.user.as_deref() == Some(W::user_of(role));
            let ends = there.sessions.iter().filter(is_theirs).filter(|it| it.can_be_ended);
            let pids: Vec<i64> = ends.map(|it| it.pid).collect();
            if !pids.is_empty() {
                self.end(cx, format!("{key}{time}"), &pids).await?;
                time += 1;
            }
            if !there.opening.iter().any(|pid| knocked.contains(pid)) {
                return Ok(());
            }
            cx.read.sleep(W::BETWEEN, cx.busy).await?;
        }
    }

    /// Takes a login or the default back. `Ok(false)`: the effect is neither.
    pub(super) async fn undo(
        &mut self,
        cx: &mut PerformCx<'_>,
        effect: &RecordedEffect,
    ) -> Result<bool, StepError> {
        let Intent { key, before, after, .. } = &effect.intent;
        let undoes = format!("undo:{key}");
        if let Some(role) = role_of(key) {
            let now = self.wall.login(role).await.map_err(|error| self.read(&error))?;
            // Gone, or as it was: nothing is left to take back.
            let wanted = before["login"] == true;
            let wanted = if json!(now) == after["login"] { wanted } else { now == Some(true) };
            if now.is_some() {
                self.set_login(cx, &undoes, role, json!({ "login": now }), wanted).await?;
            }
            if !wanted {
                self.end_sessions_of(cx, role).await?;
            }
            return Ok(true);
        }
        if !is_setting(key) {
            return Ok(false);
        }
        let name = W::WORDS.setting;
        let now = self.wall.setting().await.map_err(|error| self.read(&error))?;
        let now_value = json!(now);
        if now_value != after[name] && now_value != before[name] {
            let known =
                format!("{name} of {} was changed by another hand; it stays", self.wall.at());
            return Err(StepError::new(FailureClass::Drift, "MIG0523", self.attempted, known)
                .hint("find out who did it, and set it by hand"));
        }
        let wanted = before[name].as_str().map(str::to_owned);
        self.set_setting(cx, &undoes, json!({ name: now }), wanted.as_deref()).await?;
        Ok(true)
    }
}

/// Whether a login or the setting is as the intent wants it. `None`: the effect is neither.
pub(super) async fn probe<W: Wall>(wall: &mut W, effect: &RecordedEffect) -> Option<Verdict> {
    let Intent { key, before, after, .. } = &effect.intent;
    let probed = if let Some(role) = role_of(key) {
        wall.login(role).await.map(|now| {
            let observed = json!({ "login": now });
            told(&observed["login"], &before["login"], &after["login"], observed.clone())
        })
    } else if is_setting(key) {
        in_place(wall, effect).await
    } else if key.trim_start_matches("undo:").starts_with(SESSIONS) {
        // Those that are still there are ended by another effect.
        Ok(Verdict::Done { observed: Value::Null })
    } else {
        return None;
    };
    Some(probed.unwrap_or_else(|error| Verdict::Unknown { evidence: error.to_string() }))
}

async fn in_place<W: Wall>(
    wall: &mut W,
    effect: &RecordedEffect,
) -> Result<Verdict, DatabaseError> {
    let (before, after, name) = (&effect.intent.before, &effect.intent.after, W::WORDS.setting);
    let now = json!(wall.setting().await?);
    // When it was set was lost with the answer; before that it was read.
    let observed = json!({ name: now, "at": before["read_at"] });
    Ok(told(&now, &before[name], &after[name], observed))
}

/// What is neither before nor after leaves what was found first in its place.
fn told(now: &Value, before: &Value, after: &Value, observed: Value) -> Verdict {
    if now == after {
        Verdict::Done { observed }
    } else if now == before {
        Verdict::NotDone
    } else {
        Verdict::Unknown { evidence: format!("it is {now}; it was {before}, wanted was {after}") }
    }
}

/// What another step's closing by the setting found before it. An opening found what was closed.
pub(super) fn found_by<'a, W: Wall>(
    effects: impl IntoIterator<Item = &'a RecordedEffect>,
) -> Option<String> {
    let name = W::WORDS.setting;
    let is_closing = |it: &Intent| it.key == DATABASE && it.after[name] == W::WORDS.refuses;
    let closing = effects.into_iter().find(|effect| is_closing(&effect.intent));
    closing?.intent.before[name].as_str().map(str::to_owned)
}

/// When this step first looked at what it then changed; `now` where it has changed nothing yet.
pub(super) fn first_read_at(effects: &[RecordedEffect], now: Timestamp) -> Value {
    let known = effects.iter().find_map(|effect| effect.intent.before.get("read_at"));
    known.cloned().unwrap_or_else(|| json!(now))
}
