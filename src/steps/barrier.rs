//! The effects by which writers are kept out of a PostgreSQL database and let in again, for `writes.pause` and `writes.resume`.
//! Not a kind.
//!
//! Keys: `role:<name>` is one login, `database` the default of the database with the sessions that it does not reach. Either is
//! taken back to what was found, unless another hand has changed it since.

use jiff::Timestamp;
use serde_json::{Value, json};

use super::{FailureClass, PerformCx, StepCx, StepError, Verdict};
use crate::database::DatabaseError;
use crate::database::postgres::{Reader, Server, Writer, wall};
use crate::run::{Intent, RecordedEffect, Repeat, Undo};

/// Key of the database's default.
pub(super) const DATABASE: &str = "database";
const SETTING: &str = "default_transaction_read_only";
const CLASSES: (Repeat, Undo) = (Repeat::Repeatable, Undo::Restores);

/// The login of a role.
pub(super) fn role_key(role: &str) -> String {
    format!("role:{role}")
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

    /// Sets the default of the database; `ends` ends the sessions that keep their own.
    pub(super) async fn setting(
        &mut self,
        cx: &PerformCx<'_>,
        wanted: Option<&str>,
        ends: bool,
        at: Timestamp,
    ) -> Result<Value, StepError> {
        let now = wall::setting(self.writer.reading()).await.map_err(|error| self.read(&error))?;
        let before = found_first(cx.read, DATABASE, json!({ SETTING: now, "read_at": at }));
        self.set_setting(cx, DATABASE, before, wanted, ends).await
    }

    async fn set_setting(
        &mut self,
        cx: &PerformCx<'_>,
        key: &str,
        before: Value,
        wanted: Option<&str>,
        ends: bool,
    ) -> Result<Value, StepError> {
        let target = format!("database {}", self.server.at());
        let after = json!({ SETTING: wanted, "ends_sessions": ends });
        let intent = Intent::new(key, target, "alter", CLASSES, before, after);
        let (writer, server, attempted) = (&mut self.writer, self.server, self.attempted);
        let now = cx.clock().now();
        cx.change(intent, async |permit| {
            let changed = async {
                wall::set_setting(writer, permit, server, wanted).await?;
                if ends {
                    wall::end_sessions(writer, permit).await?;
                }
                wall::setting(writer.reading()).await
            };
            let setting = changed.await.map_err(|error| error.as_change_error(attempted))?;
            Ok(json!({ SETTING: setting, "at": now }))
        })
        .await
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
        self.set_setting(cx, &undoes, json!({ SETTING: now }), wanted.as_deref(), false).await?;
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
    } else {
        return None;
    };
    Some(probed.unwrap_or_else(|error| Verdict::Unknown { evidence: error.to_string() }))
}

async fn in_place(reader: &mut Reader, effect: &RecordedEffect) -> Result<Verdict, DatabaseError> {
    let (before, after) = (&effect.intent.before, &effect.intent.after);
    let now = wall::setting(reader).await?;
    let ended = after["ends_sessions"] != true
        || !wall::unfinished(reader).await?.sessions.iter().any(|session| session.client);
    let now = json!(now);
    if now == after[SETTING] && !ended {
        let evidence = "the default is set, and other sessions are connected".to_owned();
        return Ok(Verdict::Unknown { evidence });
    }
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
