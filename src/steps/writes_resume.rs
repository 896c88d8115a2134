//! `writes.resume`: makes an application or a database accept writes again, and says how long they were paused.

mod database;
mod postgres;
mod reverse;

use async_trait::async_trait;
use jiff::Timestamp;
use reqwest::Url;
use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::{Value, json};

use self::database::Opening;
use super::barrier::OnDatabase;
use super::{Change, FailureClass, Kind, Outcome, PerformCx, Preview, Step, StepCx, StepError};
use crate::clock::since;
use crate::database::mysql;
use crate::database::postgres::Server;
use crate::http::{self, Reading, Switch, SwitchError};
use crate::plan::{Class, KindSpec, Role};
use crate::run::{Evidence, Intent, RecordedEffect, Repeat, StepId, Undo, Verdict};

/// Key of the intent.
const KEY: &str = "switch";

/// Parameters of `writes.resume`.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct With {
    /// The application, `{ http: url }` under `systems`, or the database, `{ postgres: … }` or `{ mysql: … }`. After a cutover that is the target's.
    pub system: String,
    /// How its maintenance switch looks.
    #[serde(default)]
    pub switch: Switch,
    /// The `writes.pause` step that this ends, to measure how long writes were paused.
    #[serde(default)]
    pub pause: Option<StepId>,
    /// Of a database: the roles, or accounts (`app`, or `app@host`), whose logins are opened; those that this run closed there when none is named.
    #[serde(default)]
    pub roles: Vec<String>,
    /// Of PostgreSQL: the paused database whose sequences are carried over before anybody writes here.
    #[serde(default)]
    pub sequences_from: Option<String>,
    /// How many numbers each sequence skips. Default 1000.
    #[serde(default = "thousand")]
    pub sequence_margin: u32,
    /// Of a PostgreSQL database that has followed another by a subscription: from now on that one follows this one.
    #[serde(default)]
    pub reverse: Option<Reverse>,
}

/// Replication back to where the data came from.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Reverse {
    /// The paused database, which follows from now on.
    pub to: String,
    /// The subscription by which this database has followed that one, where it has several.
    #[serde(default)]
    pub subscription: Option<String>,
    /// The system that says where that database's server finds this one, and as whom; `system` when not given.
    #[serde(default)]
    pub by: Option<String>,
}

const fn thousand() -> u32 {
    1000
}

/// The kind.
pub const KIND: Kind = Kind {
    spec: KindSpec {
        name: "writes.resume",
        summary: "Accept writes again",
        docs: "Turns the application's maintenance switch off with one PUT and reads it back. With `pause: <step id>` it also says how \
               long writes were paused, from when that step asked for the pause until now, by this program's clock.\n\n\
               On a PostgreSQL database: with `sequences_from`, sets each sequence `sequence_margin` numbers beyond where that database's \
               stands (never back; logical replication leaves sequences behind); then removes the `default_transaction_read_only` that was set, \
               or restores what stood there before, and opens logins. A promoted standby has both as copies of its source's: name its `roles`. \
               A standby that still follows is refused.\n\n\
               On a MariaDB server (MySQL by its documentation only): sets `read_only` off, or to what stood there before the pause, and unlocks \
               the accounts of `roles`, else those that this run locked there; both on that server alone. `sequences_from` and \
               `reverse` are refused: sequences and AUTO_INCREMENT counters come over with the rows, and turning the replication around is \
               for PostgreSQL only. Once the target has written it follows no longer; taken back, the table of marks is dropped on \
               each side, and the target has to be set up again before the next cutover.\n\n\
               With `reverse: { to: system }`, and before anybody is let in, replication is turned around: that database, paused by `writes.pause` \
               with `until`, has to have sent everything; its subscription here is disabled, it subscribes to what this one publishes \
               (`migrate_reverse`, without a first copy), and a row that is written here has to come back. Both users are superusers; the source's server \
               keeps the link, password and all, as it does for any subscription. While it stands, the source keeps its log from the turn on for \
               the subscription that is disabled. Taken back: logins are closed and sessions ended, the source gets everything first (also the \
               numbers that sequences gave out here), and then the subscription goes on beyond what came back. Remove \
               both subscriptions by hand once the source is given up.\n\n\
               After a cutover, resume writes at the target; the source stays paused, so that nobody writes to it by accident. \
               Outputs: `resumed_at` and `paused_seconds` (null when the pause is not known). Taking the step back restores the \
               switch as it was found.",
        example: include_str!("../../examples/steps/writes.resume.yaml"),
        class: Class::Action,
        repeat: Repeat::Repeatable,
        undo: Undo::Restores,
        roles: &[Role::ResumesWrites],
        outputs: &["resumed_at", "paused_seconds"],
        open_outputs: false,
        schema: || schemars::schema_for!(With),
        check: super::check::<With>,
        describe,
    },
    build: |with| Ok(Box::new(super::read::<With>(with)?)),
};

fn describe(with: &Value) -> Vec<String> {
    let system = with["system"].as_str().unwrap_or("?");
    let reverse = with["reverse"]["to"].as_str();
    let reverse =
        reverse.map(|source| format!("replication turned around: {source} follows {system}"));
    reverse.into_iter().chain([format!("accept writes at {system}")]).collect()
}

impl With {
    fn attempted(&self) -> String {
        format!("accept writes at {}", self.system)
    }

    fn base(&self, cx: &StepCx) -> Result<Url, SwitchError> {
        http::base(&self.system, cx.world.plan.systems.get(&self.system))
    }

    /// Its side of this step, where the system is a database.
    async fn database(&self, cx: &StepCx) -> Result<Option<Box<dyn OnDatabase + '_>>, StepError> {
        let system = cx.world.plan.systems.get(&self.system);
        Ok(if Server::is(system) {
            Some(Box::new(postgres::Opening::of(self, cx).await?))
        } else if mysql::Server::is(system) {
            Some(Box::new(Opening::of_mysql(self, cx).await?))
        } else {
            None
        })
    }

    async fn reading(&self, cx: &StepCx) -> Result<Reading, SwitchError> {
        self.switch.read(cx.world.network.http_client(), &self.base(cx)?).await
    }

    /// Sets the switch to `refuse`; answers with when that was, by this program's clock.
    async fn set(
        &self,
        cx: &PerformCx<'_>,
        key: &str,
        before: Value,
        refuse: bool,
    ) -> Result<Value, StepError> {
        let target = self.base(cx).and_then(|base| http::at(&base, &self.switch.path));
        let intent = Intent::new(
            key,
            target.map_or_else(|_| self.system.clone(), |url| http::shown(&url)),
            "put",
            (Repeat::Repeatable, Undo::Restores),
            before,
            json!({ "refuses_writes": refuse }),
        );
        cx.change(intent, async |permit| {
            let set = async {
                let (client, run) = (cx.world.network.http_client(), &cx.world.run);
                self.switch.set(client, permit, run, &self.base(cx)?, refuse).await
            };
            let reading = set.await.map_err(|error| error.as_step_error(&self.attempted()))?;
            Ok(json!({ "refuses_writes": reading.refuses_writes, "at": cx.clock().now() }))
        })
        .await
    }

    /// When the pause was asked for: from the pausing step's outputs, or from its journalled effect.
    fn paused_at(&self, cx: &StepCx) -> Option<Timestamp> {
        let pause = self.pause.as_ref()?;
        let output = cx.outputs.get(pause).and_then(|outputs| outputs.get("paused_at"));
        let effect =
            || cx.others.get(pause)?.iter().find_map(|effect| effect.intent.before.get("read_at"));
        output.or_else(effect)?.as_str()?.parse().ok()
    }
}

fn says(refuses: bool) -> String {
    if refuses { "refuses writes" } else { "accepts writes" }.to_owned()
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
            after: Some(says(false)),
        };
        let changes = if reading.refuses_writes { vec![change] } else { Vec::new() };
        Ok(Preview { changes, readings: Vec::new() })
    }

    async fn perform(&self, cx: &mut PerformCx<'_>) -> Result<Outcome, StepError> {
        if let Some(database) = self.database(cx).await? {
            return database.perform(cx).await;
        }
        // After a crash the switch may already be off by our own hand: the state before is the one found first.
        let found_first = cx.recorded.iter().find(|effect| effect.intent.key == KEY);
        let before = if let Some(effect) = found_first {
            effect.intent.before.clone()
        } else {
            let reading = self.reading(cx).await;
            let reading = reading.map_err(|error| error.as_read_error(&self.attempted()))?;
            json!({ "refuses_writes": reading.refuses_writes })
        };
        let resumed_at = self.set(cx, KEY, before, false).await?["at"].clone();
        let until = resumed_at.as_str().and_then(|at| at.parse::<Timestamp>().ok());
        let paused = self.paused_at(cx).zip(until).map(|(from, until)| since(from, until));
        let evidence = Evidence {
            check: format!("writes at {}", self.system),
            verdict: "accepted".to_owned(),
            detail: match paused {
                Some(paused) => format!("paused for {} s", paused.as_secs()),
                None => "how long they were paused is not known".to_owned(),
            },
            holds: true,
        };
        let paused_seconds = json!(paused.map(|paused| paused.as_secs()));
        Ok(Outcome {
            outputs: [
                ("resumed_at".to_owned(), resumed_at),
                ("paused_seconds".to_owned(), paused_seconds),
            ]
            .into(),
            evidence: vec![evidence],
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
                // The moment itself was lost with the reply; the probe's is the latest it can have been.
                let observed =
                    json!({ "refuses_writes": reading.refuses_writes, "at": cx.clock().now() });
                Verdict::Done { observed }
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
        let now = json!({ "refuses_writes": reading.refuses_writes });
        let restored = effect.intent.before["refuses_writes"] == true;
        self.set(cx, &format!("undo:{KEY}"), now, restored).await.map(drop)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::sync::Arc;

    use super::super::testing::{Application, Bench};
    use super::*;

    async fn bench() -> (Application, Bench) {
        let app = Application::start().await;
        let systems = json!({ "app": { "http": app.url } });
        (app, Bench::new("writes.resume", &json!({ "system": "app", "pause": "pause" }), &systems))
    }

    #[tokio::test]
    async fn it_says_how_long_writes_were_paused() {
        let (app, mut bench) = bench().await;
        app.set(|state| state.enabled = true);
        let paused_at = json!("1969-12-31T23:58:30Z");
        let outputs = BTreeMap::from([("paused_at".to_owned(), paused_at)]);
        bench.cx.outputs = Arc::new(BTreeMap::from([(StepId::new("pause"), outputs)]));
        let outcome = bench.perform().await.expect("resumed");
        assert!(!app.state().enabled);
        assert_eq!(outcome.outputs["paused_seconds"], json!(90));
        assert_eq!(outcome.evidence[0].detail, "paused for 90 s");
    }

    #[tokio::test]
    async fn without_the_pause_the_time_is_not_known() {
        let (_app, bench) = bench().await;
        let outcome = bench.perform().await.expect("resumed");
        assert_eq!(outcome.outputs["paused_seconds"], Value::Null);
    }

    #[tokio::test]
    async fn undo_refuses_writes_again_where_they_were_refused() {
        let (app, bench) = bench().await;
        app.set(|state| state.enabled = true);
        bench.perform().await.expect("resumed");
        bench.undo(&bench.effects.recorded()[0]).await.expect("undone");
        assert!(app.state().enabled);
    }
}
