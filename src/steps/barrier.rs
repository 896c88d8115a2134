//! The effects by which writers are kept out of a PostgreSQL database and let in again, for `writes.pause` and `writes.resume`.
//! Not a kind.
//!
//! Keys: `database` is the default of the database, `role:<name>` one login, `sessions:<n>` an ending of sessions. Defaults and
//! logins are taken back to what was found, unless another hand has changed them since; whose login is closed by that is not left
//! inside (`undo:sessions:<name>`).

use jiff::Timestamp;
use serde_json::{Value, json};

use super::{FailureClass, PerformCx, StepCx, StepError, Verdict};
use crate::database::DatabaseError;
use crate::database::postgres::{Reader, Server, Writer, wall};
use crate::run::{Intent, RecordedEffect, Repeat, Undo};

/// Key of the database's default.
pub(super) const DATABASE: &str = "database";
const SESSIONS: &str = "sessions:";
const SETTING: &str = "default_transaction_read_only";
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

/// A database under change, with the session that changes it.
pub(super) struct Barrier<'a> {
    pub(super) server: &'a Server,
    pub(super) writer: Writer,
    pub(super) attempted: &'a str,
}

impl<'a> Barrier<'a> {
    pub(super) async fn open(server: &'a Server, attempted: &'a str) -> Result<Self, StepError> {
        let writer = server.writer().await.map_err(|error| error.as_step_error(attempted))?;
        Ok(Self { server, writer, attempted })
    }

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
        let now =
            wall::login(self.writer.reading(), role).await.map_err(|error| self.read(&error))?;
        let Some(now) = now else {
            let known =
                format!("there is no role {role} at {}; nothing was changed", self.server.at());
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
        let target = format!("role {role} at {}", self.server.at());
        let intent = Intent::new(key, target, "alter", CLASSES, before, json!({ "login": wanted }));
        let (writer, attempted) = (&mut self.writer, self.attempted);
        let changed = cx.change(intent, async |permit| {
            let changed = async {
                wall::set_login(writer, permit, role, wanted).await?;
                wall::login(writer.reading(), role).await
            };
            let login = changed.await.map_err(|error| error.as_change_error(attempted))?;
            Ok(json!({ "login": login }))
        });
        changed.await.map(drop)
    }

    /// Sets the default of the database; sessions keep their own.
    pub(super) async fn setting(
        &mut self,
        cx: &PerformCx<'_>,
        wanted: Option<&str>,
        at: Timestamp,
    ) -> Result<Value, StepError> {
        let now = wall::setting(self.writer.reading()).await.map_err(|error| self.read(&error))?;
        let before = found_first(cx.read, DATABASE, json!({ SETTING: now, "read_at": at }));
        self.set_setting(cx, DATABASE, before, wanted).await
    }

    async fn set_setting(
        &mut self,
        cx: &PerformCx<'_>,
        key: &str,
        before: Value,
        wanted: Option<&str>,
    ) -> Result<Value, StepError> {
        let target = format!("database {}", self.server.at());
        let after = json!({ SETTING: wanted });
        let intent = Intent::new(key, target, "alter", CLASSES, before, after);
        let (writer, server, attempted) = (&mut self.writer, self.server, self.attempted);
        let now = cx.clock().now();
        cx.change(intent, async |permit| {
            let changed = async {
                wall::set_setting(writer, permit, server, wanted).await?;
                wall::setting(writer.reading()).await
            };
            let setting = changed.await.map_err(|error| error.as_change_error(attempted))?;
            Ok(json!({ SETTING: setting, "at": now }))
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
        let target = format!("sessions at {}", self.server.at());
        let key = format!("{SESSIONS}{time}");
        let classes = (Repeat::Repeatable, Undo::LeavesInPlace);
        let intent = Intent::new(key, target, "end", classes, Value::Null, json!({ "pids": pids }));
        let (writer, attempted) = (&mut self.writer, self.attempted);
        let ended = cx.change(intent, async |permit| {
            let ended = wall::end_sessions(writer, permit, pids).await;
            ended
                .map(|()| json!({ "ended": pids.len() }))
                .map_err(|error| error.as_change_error(attempted))
        });
        ended.await.map(drop)
    }

    /// Nobody who was let in goes on once the login is closed again.
    async fn end_sessions_of(&mut self, cx: &PerformCx<'_>, role: &str) -> Result<(), StepError> {
        let target = format!("sessions of {role} at {}", self.server.at());
        let classes = (Repeat::Repeatable, Undo::LeavesInPlace);
        let key = format!("undo:{SESSIONS}{role}");
        let intent = Intent::new(key, target, "end", classes, Value::Null, Value::Null);
        let (writer, attempted) = (&mut self.writer, self.attempted);
        let ended = cx.change(intent, async |permit| {
            let ended = wall::end_sessions_of(writer, permit, role).await;
            ended.map(|()| Value::Null).map_err(|error| error.as_change_error(attempted))
        });
        ended.await.map(drop)
    }

    /// Takes a login or the default back. `Ok(false)`: the effect is neither.
    pub(super) async fn undo(
        &mut self,
        cx: &PerformCx<'_>,
        effect: &RecordedEffect,
    ) -> Result<bool, StepError> {
        let Intent { key, before, after, .. } = &effect.intent;
        let undoes = format!("undo:{key}");
        if let Some(role) = role_of(key) {
            let now = wall::login(self.writer.reading(), role)
                .await
                .map_err(|error| self.read(&error))?;
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
        if key != DATABASE {
            return Ok(false);
        }
        let now = wall::setting(self.writer.reading()).await.map_err(|error| self.read(&error))?;
        let now_value = json!(now);
        if now_value != after[SETTING] && now_value != before[SETTING] {
            let known =
                format!("{SETTING} of {} was changed by another hand; it stays", self.server.at());
            return Err(StepError::new(FailureClass::Drift, "MIG0523", self.attempted, known)
                .hint("find out who did it, and set it by hand"));
        }
        let wanted = before[SETTING].as_str().map(str::to_owned);
        self.set_setting(cx, &undoes, json!({ SETTING: now }), wanted.as_deref()).await?;
        Ok(true)
    }
}

/// Whether a login or the default is as the intent wants it. `None`: the effect is neither.
pub(super) async fn probe(reader: &mut Reader, effect: &RecordedEffect) -> Option<Verdict> {
    let (key, after) = (effect.intent.key.as_str(), &effect.intent.after);
    let probed = if let Some(role) = role_of(key) {
        wall::login(reader, role).await.map(|now| {
            let observed = json!({ "login": now });
            told(
                &observed["login"],
                &effect.intent.before["login"],
                &after["login"],
                observed.clone(),
            )
        })
    } else if key.trim_start_matches("undo:") == DATABASE {
        in_place(reader, effect).await
    } else if key.trim_start_matches("undo:").starts_with(SESSIONS) {
        // Those that are still there are ended by another effect.
        Ok(Verdict::Done { observed: Value::Null })
    } else {
        return None;
    };
    Some(probed.unwrap_or_else(|error| Verdict::Unknown { evidence: error.to_string() }))
}

async fn in_place(reader: &mut Reader, effect: &RecordedEffect) -> Result<Verdict, DatabaseError> {
    let (before, after) = (&effect.intent.before, &effect.intent.after);
    let now = wall::setting(reader).await?;
    let now = json!(now);
    // When it was set was lost with the answer; before that it was read.
    let observed = json!({ SETTING: now, "at": before["read_at"] });
    Ok(told(&now, &before[SETTING], &after[SETTING], observed))
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

/// What another step's closing of the default found before it.
pub(super) fn found_by<'a>(effects: impl IntoIterator<Item = &'a RecordedEffect>) -> Option<Value> {
    let closed = effects.into_iter().find(|effect| effect.intent.key == DATABASE);
    closed.map(|effect| effect.intent.before[SETTING].clone())
}
