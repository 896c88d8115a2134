//! `writes.pause`: makes an application or a database refuse writes, waits until those under way have ended, and records the
//! position. In that order: a position taken before the last write has ended would be too early.

mod arrival;
mod database;
mod emptied;

use std::time::Duration;

use async_trait::async_trait;
use jiff::Timestamp;
use reqwest::Url;
use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::{Value, json};

use self::database::Pause;
use super::barrier::OnDatabase;
use super::{Change, Kind, Outcome, PerformCx, Preview, Step, StepCx, StepError};
use crate::clock::{advance, since};
use crate::database::preflight::Accepted;
use crate::database::{mysql, postgres};
use crate::http::{self, Reading, Switch, SwitchError};
use crate::plan::{Class, KindSpec, Role, Span};
use crate::run::{Evidence, FailureClass, Intent, RecordedEffect, Repeat, Undo, Verdict};

/// Key of the intent.
const KEY: &str = "switch";
/// Between two looks at the writes under way.
const POLL: Duration = Duration::from_secs(1);

/// Parameters of `writes.pause`.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct With {
    /// The application, `{ http: url }` under `systems`, or the database, `{ postgres: … }` or `{ mysql: … }`.
    pub system: String,
    /// How its maintenance switch looks.
    #[serde(default)]
    pub switch: Switch,
    /// Path whose JSON answer tells the position of the last accepted write.
    #[serde(default)]
    pub position: Option<String>,
    /// Field of that answer.
    #[serde(default = "last_id")]
    pub position_field: String,
    /// How long writes under way may take to end.
    #[serde(default = "five_minutes")]
    pub drain_within: Span,
    /// Of a database: the roles, or accounts (`app`, or `app@host`), whose logins are closed; whoever may write when none is named.
    #[serde(default)]
    pub roles: Vec<String>,
    /// Of a database: the one that follows it. The pause ends when everything is there.
    #[serde(default)]
    pub until: Option<String>,
    /// Of PostgreSQL: the subscription at that database, where it has several.
    #[serde(default)]
    pub subscription: Option<String>,
    /// Of PostgreSQL: the slot by which a physical standby follows.
    #[serde(default)]
    pub slot: Option<String>,
    /// Of a database with `until`: what replication does not carry over, and the author knows of.
    #[serde(default)]
    pub accept: Vec<Accepted>,
}

fn last_id() -> String {
    "last_id".to_owned()
}

const fn five_minutes() -> Span {
    Span::minutes(5)
}

/// The kind.
pub const KIND: Kind = Kind {
    spec: KindSpec {
        name: "writes.pause",
        summary: "Refuse writes, drain those under way, record the position",
        docs: "Reads the application's maintenance switch, turns it on with one PUT, reads it back, then waits until no write is \
               under way any more and records the position of the last one. The switch lives in the application: the pause holds \
               whether this process lives or not, until `writes.resume` or a rollback.\n\n\
               On a PostgreSQL database it sets the default to read-only, closes the login of every role that may change something \
               there (or of `roles`), ends sessions, waits for open and prepared transactions and for logins under way, and records \
               the position; with `until`, it is over once the position, a sentinel row and a healthy replication are all seen at the \
               target. What stands in the way (superusers that are connected, subscriptions that write into the source, tables that \
               are not published, …) is found before anything is changed, and what `accept` names is passed over. That the wall \
               stands is looked at again in every attempt and at the end. The table `migrate.marker` stays until the pause is taken \
               back.\n\n\
               On a MariaDB server (10.5 or later; MySQL from 8.0 by its documentation only) it locks every account that may change something \
               anywhere on the server (or the accounts of `roles`), on that server alone, ends their sessions, waits for XA transactions that \
               are prepared and lets the session that holds one commit it, then sets `read_only`, which is not set earlier because it would refuse \
               those their commit, and records the global transaction id. Locks outlast a restart of the server; `read_only`, which does not, is \
               set again by the next attempt. With `until` as above; the table is `migrate_marker`. Found before anything is changed: users that \
               `read_only` does not bind and that are connected (`accept: [superusers]`), events (`events`), tables without transactions \
               (`non-transactional-tables`), a source that follows another, no binary log, accounts without a name that may write, rights that are \
               missing. A session does not tell the host of its account, so accounts of one name are locked together. Take a user of its own \
               for this program: its account stays open.\n\n\
               Outputs: `position` (null without `position:`) and `paused_at`. Taking the step back restores what was found.",
        example: include_str!("../../examples/steps/writes.pause.yaml"),
        class: Class::Action,
        repeat: Repeat::Repeatable,
        undo: Undo::Restores,
        roles: &[Role::PausesWrites],
        outputs: &["position", "paused_at"],
        open_outputs: false,
        schema: || schemars::schema_for!(With),
        check: super::check::<With>,
        describe,
    },
    build: |with| {
        let with = super::read::<With>(with)?;
        if with.until.is_none()
            && (with.subscription.is_some() || with.slot.is_some() || !with.accept.is_empty())
        {
            return Err("`subscription`, `slot` and `accept` belong to `until`".to_owned());
        }
        Ok(Box::new(with))
    },
};

fn describe(with: &Value) -> Vec<String> {
    let text = |key: &str| with[key].as_str();
    let refuse = format!("refuse writes at {}", text("system").unwrap_or("?"));
    let drain = text("until")
        .map(|target| format!("until {target} has everything; marked by a row of its own at both"));
    [refuse].into_iter().chain(drain).collect()
}

impl With {
    fn attempted(&self) -> String {
        format!("pause writes at {}", self.system)
    }

    fn base(&self, cx: &StepCx) -> Result<Url, SwitchError> {
        http::base(&self.system, cx.world.plan.systems.get(&self.system))
    }

    /// Its side of this step, where the system is a database.
    async fn database(&self, cx: &StepCx) -> Result<Option<Box<dyn OnDatabase + '_>>, StepError> {
        let system = cx.world.plan.systems.get(&self.system);
        Ok(if postgres::Server::is(system) {
            Some(Box::new(Pause::of_postgres(self, cx).await?))
        } else if mysql::Server::is(system) {
            Some(Box::new(Pause::of_mysql(self, cx).await?))
        } else {
            None
        })
    }

    async fn reading(&self, cx: &StepCx) -> Result<Reading, SwitchError> {
        self.switch.read(cx.world.network.http_client(), &self.base(cx)?).await
    }

    /// Sets the switch as the intent wants it; `observed` is what to remember besides.
    async fn set(&self, cx: &PerformCx<'_>, intent: Intent) -> Result<Value, StepError> {
        let refuse = intent.after["refuses_writes"] == true;
        let asked_at = intent.before["read_at"].clone();
        cx.change(intent, async |permit| {
            let set = async {
                let (client, run) = (cx.world.network.http_client(), &cx.world.run);
                self.switch.set(client, permit, run, &self.base(cx)?, refuse).await
            };
            let reading = set.await.map_err(|error| error.as_step_error(&self.attempted()))?;
            Ok(json!({ "refuses_writes": reading.refuses_writes, "since": asked_at }))
        })
        .await
    }

    /// Waits until no accepted write is under way. Writes stay refused however this ends.
    async fn drain(&self, cx: &mut PerformCx<'_>) -> Result<Evidence, StepError> {
        let began = cx.clock().steady();
        let deadline = advance(began, self.drain_within.duration());
        loop {
            let reading =
                self.reading(cx).await.map_err(|error| error.as_read_error(&self.attempted()))?;
            if !reading.refuses_writes {
                let known = "the switch was turned off by another hand; writes are accepted";
                return Err(StepError::new(
                    FailureClass::Drift,
                    "MIG0523",
                    self.attempted(),
                    known,
                )
                .hint("find out who did it, then `migrate resume`"));
            }
            let waited = since(began, cx.clock().steady());
            let (verdict, holds) = match reading.in_flight {
                Some(0) => ("drained", true),
                None => ("not compared", false),
                Some(left) if cx.clock().steady() >= deadline => {
                    let known = format!("writes are refused; {left} are still under way");
                    let code = "MIG0522";
                    return Err(StepError::new(
                        FailureClass::Failed,
                        code,
                        self.attempted(),
                        known,
                    )
                    .cause(format!("they did not end within {}", self.drain_within))
                    .hint(
                        "`migrate resume` goes on waiting, `migrate rollback` accepts writes again",
                    )
                    .retryable());
                }
                Some(left) => {
                    let limit = self.drain_within;
                    cx.progress
                        .say(format!("{left} writes under way, waits for 0, at most {limit}"));
                    cx.read.sleep(POLL, cx.busy).await?;
                    continue;
                }
            };
            return Ok(Evidence {
                check: format!("writes under way at {}", self.system),
                verdict: verdict.to_owned(),
                detail: match reading.in_flight {
                    Some(_) => format!("0 after {} s", waited.as_secs()),
                    None => "the application does not tell".to_owned(),
                },
                holds,
            });
        }
    }

    async fn position(&self, cx: &StepCx) -> Result<Value, StepError> {
        let Some(path) = &self.position else { return Ok(Value::Null) };
        let position = async {
            let url = http::at(&self.base(cx)?, path)?;
            http::field(cx.world.network.http_client(), &url, &self.position_field).await
        };
        position.await.map_err(|error| {
            let mut error = error.as_read_error(&self.attempted());
            "writes are refused and drained; the position is not known"
                .clone_into(&mut error.known);
            error
        })
    }

    fn intent(&self, key: &str, cx: &StepCx, before: Value, refuse: bool) -> Intent {
        let target = self.base(cx).and_then(|base| http::at(&base, &self.switch.path));
        Intent::new(
            key,
            target.map_or_else(|_| self.system.clone(), |url| http::shown(&url)),
            "put",
            (Repeat::Repeatable, Undo::Restores),
            before,
            json!({ "refuses_writes": refuse }),
        )
    }
}

fn says(refuses: bool) -> String {
    if refuses { "refuses writes" } else { "accepts writes" }.to_owned()
}

fn before(reading: Reading, at: Timestamp) -> Value {
    json!({ "refuses_writes": reading.refuses_writes, "read_at": at })
}

#[async_trait]
impl Step for With {
    async fn preview(&self, cx: &StepCx) -> Result<Preview, StepError> {
        if let Some(database) = self.database(cx).await? {
            return database.preview(cx).await;
        }
        let reading =
            self.reading(cx).await.map_err(|error| error.as_read_error(&self.attempted()))?;
        let change = Change {
            target: self.system.clone(),
            verb: "put".to_owned(),
            before: Some(says(reading.refuses_writes)),
            after: Some(says(true)),
        };
        let changes = if reading.refuses_writes { Vec::new() } else { vec![change] };
        // How many there are at this moment says nothing about later, and would differ in the next dry run.
        let detail = match reading.in_flight {
            Some(_) => "the application counts them; the step waits for the last one",
            None => "the application does not tell",
        };
        let readings = vec![Evidence {
            check: format!("writes under way at {}", self.system),
            verdict: "read".to_owned(),
            detail: detail.to_owned(),
            holds: reading.in_flight.is_some(),
        }];
        Ok(Preview { changes, readings })
    }

    async fn perform(&self, cx: &mut PerformCx<'_>) -> Result<Outcome, StepError> {
        if let Some(database) = self.database(cx).await? {
            return database.perform(cx).await;
        }
        // After a crash the switch may already be on by our own hand: the state before is the one found first.
        let found_first = cx.recorded.iter().find(|effect| effect.intent.key == KEY);
        let before = if let Some(effect) = found_first {
            effect.intent.before.clone()
        } else {
            let reading = self.reading(cx).await;
            let reading = reading.map_err(|error| error.as_read_error(&self.attempted()))?;
            before(reading, cx.clock().now())
        };
        let intent = self.intent(KEY, cx, before, true);
        let paused_at = self.set(cx, intent).await?["since"].clone();
        let drained = self.drain(cx).await?;
        let position = self.position(cx).await?;
        let since = paused_at.as_str().unwrap_or("an unknown time");
        let refused = Evidence {
            check: format!("writes at {}", self.system),
            verdict: "refused".to_owned(),
            detail: match &position {
                Value::Null => format!("since {since}"),
                position => format!("since {since}, position {position}"),
            },
            holds: true,
        };
        Ok(Outcome {
            outputs: [("position".to_owned(), position), ("paused_at".to_owned(), paused_at)]
                .into(),
            evidence: vec![refused, drained],
        })
    }

    async fn probe(&self, cx: &StepCx, effect: &RecordedEffect) -> Verdict {
        match self.database(cx).await {
            Ok(Some(database)) => return database.probe(cx, effect).await,
            Err(error) => return Verdict::Unknown { evidence: error.to_string() },
            Ok(None) => {}
        }
        match self.reading(cx).await {
            Ok(reading)
                if json!(reading.refuses_writes) == effect.intent.after["refuses_writes"] =>
            {
                Verdict::Done {
                    observed: json!({
                        "refuses_writes": reading.refuses_writes,
                        "since": effect.intent.before["read_at"],
                    }),
                }
            }
            Ok(_) => Verdict::NotDone,
            Err(error) => Verdict::Unknown { evidence: error.to_string() },
        }
    }

    async fn undo(&self, cx: &mut PerformCx<'_>, effect: &RecordedEffect) -> Result<(), StepError> {
        if let Some(database) = self.database(cx).await? {
            return database.undo(cx, effect).await;
        }
        let reading =
            self.reading(cx).await.map_err(|error| error.as_read_error(&self.attempted()))?;
        let restored = effect.intent.before["refuses_writes"] == true;
        let now = before(reading, cx.clock().now());
        let intent = self.intent(&format!("undo:{KEY}"), cx, now, restored);
        self.set(cx, intent).await.map(drop)
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::{Application, Bench};
    use super::*;

    async fn bench(with: Value) -> (Application, Bench) {
        let app = Application::start().await;
        let systems = json!({ "app": { "http": app.url } });
        let mut all = json!({ "system": "app" });
        all.as_object_mut().expect("an object").extend(with.as_object().cloned().expect("one"));
        (app, Bench::new("writes.pause", &all, &systems))
    }

    #[tokio::test]
    async fn refuse_then_drain_then_position() {
        let (app, bench) = bench(json!({ "position": "/orders/stats" })).await;
        // Each look at the switch sees one write less; the last of them is order 7.
        app.set(|state| (state.in_flight, state.last_id) = (3, 7));
        let outcome = bench.perform().await.expect("paused");
        assert_eq!(outcome.outputs["position"], json!(7));
        assert_eq!(
            outcome.outputs["paused_at"],
            bench.effects.recorded()[0].intent.before["read_at"]
        );
        let state = app.state();
        assert!(state.enabled && state.in_flight == 0);
        let first = state.asked.iter().position(|asked| asked == "PUT /maintenance");
        let last = state.asked.iter().position(|asked| asked == "GET /orders/stats");
        assert!(first < last && last == Some(state.asked.len() - 1), "{:?}", state.asked);
    }

    #[tokio::test]
    async fn a_second_attempt_sets_nothing_and_keeps_the_state_found_first() {
        let (app, mut bench) = bench(json!({})).await;
        bench.perform().await.expect("paused");
        bench.cx.recorded = bench.effects.recorded();
        bench.perform().await.expect("paused already");
        let puts = app.state().asked.iter().filter(|asked| asked.starts_with("PUT")).count();
        assert_eq!(puts, 1);
        assert_eq!(bench.effects.recorded()[0].intent.before["refuses_writes"], json!(false));
    }

    #[tokio::test]
    async fn undo_restores_what_was_found() {
        for found in [false, true] {
            let (app, bench) = bench(json!({})).await;
            app.set(|state| state.enabled = found);
            bench.perform().await.expect("paused");
            bench.undo(&bench.effects.recorded()[0]).await.expect("undone");
            assert_eq!(app.state().enabled, found);
        }
    }

    #[tokio::test]
    async fn a_lost_reply_is_unknown_and_the_probe_finds_the_pause() {
        let (app, bench) = bench(json!({})).await;
        app.set(|state| state.fails_after_change = true);
        let error = bench.perform().await.expect_err("no usable answer");
        assert_eq!(error.class, FailureClass::Unknown);
        let effect = &bench.effects.recorded()[0];
        assert!(!effect.done && bench.effects.why_not(KEY).is_none());
        assert!(matches!(bench.step().probe(&bench.cx, effect).await, Verdict::Done { .. }));
    }

    #[tokio::test]
    async fn writes_that_never_end_stop_the_step_and_stay_refused() {
        let (app, bench) = bench(json!({ "drain_within": "10s" })).await;
        app.set(|state| (state.in_flight, state.stuck) = (2, true));
        let error = bench.perform().await.expect_err("never drained");
        assert_eq!((error.code.as_str(), error.class), ("MIG0522", FailureClass::Failed));
        assert!(app.state().enabled);
    }

    #[tokio::test]
    async fn an_application_that_does_not_tell_is_not_drained() {
        let (app, bench) = bench(json!({ "switch": { "in_flight": "nowhere" } })).await;
        let error = bench.perform().await.expect_err("no reading");
        assert_eq!(error.code, "MIG0520");
        assert!(!app.state().enabled, "read before anything was changed");
    }
}
