//! `notify`: tells people, on the console and by a webhook.
//!
//! A webhook can not be asked whether it delivered. Every attempt therefore sends the same id, and a message whose reply was
//! lost is sent again under it.

use async_trait::async_trait;
use reqwest::header::{CONTENT_TYPE, HeaderMap, HeaderValue};
use reqwest::{Method, Url};
use schemars::JsonSchema;
use secrecy::ExposeSecret as _;
use serde::Deserialize;
use serde_json::{Value, json};

use super::{Change, Kind, Outcome, PerformCx, Preview, Step, StepCx, StepError};
use crate::http::{self, Reply};
use crate::journal::EffectPermit;
use crate::plan::{Class, KindSpec, Role};
use crate::run::{EffectId, Evidence, FailureClass, Intent, RecordedEffect, Repeat, Undo, Verdict};

/// Key of the one intent.
const KEY: &str = "message";

/// Parameters of `notify`.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct With {
    /// Who is told: names of people or groups, as the receiver knows them.
    #[schemars(length(min = 1))]
    pub to: Vec<String>,
    /// What they are told.
    pub message: String,
    /// Send it there as JSON too; without it the message stands on the console and in the journal only.
    #[serde(default)]
    pub webhook: Option<Webhook>,
}

/// Where a message is posted to.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(untagged)]
pub enum Webhook {
    /// A URL as it stands.
    Url(String),
    /// A URL that is a secret, as most are.
    Secret(SecretUrl),
}

/// A reference to a secret.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct SecretUrl {
    /// Its name under `secrets`.
    pub secret: String,
}

/// The kind.
pub const KIND: Kind = Kind {
    spec: KindSpec {
        name: "notify",
        summary: "Tell people, on the console and by a webhook",
        docs: "Shows the message on the console and, with `webhook`, posts it as JSON: \
               `{id, wave, run, step, to, message, change, journal}`. The id is the same in every attempt and also stands in the header \
               `Idempotency-Key`, so a receiver can recognise a message it already has. `journal` is the head of the run's journal (count and hash): kept by the receiver, it \
               shows records that are cut off later (`migrate journal verify --head`).\n\n\
               If the reply is lost, nobody can tell whether the message arrived: it is sent again under the same id. A message \
               is not taken back.",
        example: include_str!("../../examples/steps/notify.yaml"),
        class: Class::Action,
        repeat: Repeat::Repeatable,
        undo: Undo::LeavesInPlace,
        roles: &[Role::Notifies],
        outputs: &["id"],
        open_outputs: false,
        schema: || schemars::schema_for!(With),
        check: super::check::<With>,
        describe,
    },
    build: |with| Ok(Box::new(super::read::<With>(with)?)),
};

fn describe(with: &Value) -> Vec<String> {
    let people = with["to"].as_array().map_or(String::new(), |to| {
        to.iter().filter_map(Value::as_str).collect::<Vec<_>>().join(", ")
    });
    let way = if with["webhook"].is_null() { "console" } else { "webhook" };
    vec![format!("message to {people} ({way})")]
}

impl With {
    /// Where the message goes, without what could be a secret: a webhook's path often is one.
    fn target(&self) -> String {
        match &self.webhook {
            None => "console".to_owned(),
            Some(Webhook::Secret(SecretUrl { secret })) => format!("webhook of secret `{secret}`"),
            Some(Webhook::Url(url)) => match url.parse::<Url>() {
                Ok(url) => format!("webhook at {}", url.host_str().unwrap_or("?")),
                Err(_) => "webhook".to_owned(),
            },
        }
    }

    fn attempted(&self) -> String {
        format!("tell {} through {}", self.to.join(", "), self.target())
    }

    async fn url(&self, cx: &StepCx) -> Result<Option<Url>, StepError> {
        let wrong = |why: String| {
            let known = "nothing was sent";
            StepError::new(FailureClass::Failed, "MIG0505", self.attempted(), known).cause(why)
        };
        let text = match &self.webhook {
            None => return Ok(None),
            Some(Webhook::Url(url)) => url.clone(),
            Some(Webhook::Secret(SecretUrl { secret })) => {
                let secret = cx.world.secrets.get(secret).await.map_err(wrong)?;
                secret.expose_secret().to_owned()
            }
        };
        let url = text.parse::<Url>().ok().filter(|url| matches!(url.scheme(), "http" | "https"));
        url.map(Some).ok_or_else(|| wrong("the webhook is not an http or https URL".to_owned()))
    }

    fn id(cx: &StepCx) -> String {
        let effect = EffectId { step: cx.step.id.clone(), key: KEY.to_owned() };
        http::idempotency_key(&cx.world.run, &effect)
    }

    async fn post(
        &self,
        cx: &StepCx,
        permit: &EffectPermit,
        url: &Url,
    ) -> Result<Reply, StepError> {
        let body = json!({
            "id": Self::id(cx),
            "wave": cx.world.plan.wave,
            "run": cx.world.run,
            "step": cx.step.id,
            "to": self.to,
            "message": self.message,
            "change": cx.world.plan.change,
            "journal": permit.head(),
        });
        let json = HeaderValue::from_static("application/json");
        let change = http::Change {
            method: Method::POST,
            url,
            shown: &self.target(),
            headers: HeaderMap::from_iter([(CONTENT_TYPE, json)]),
            body: Some(body.to_string()),
        };
        http::change(cx.world.network.http_client(), permit, &cx.world.run, change)
            .await
            .map_err(|error| error.as_step_error(&self.attempted(), "MIG0505"))
    }

    fn not_accepted(&self, reply: &Reply) -> StepError {
        let (class, known) = if reply.refused() {
            (FailureClass::Failed, "the receiver refused the message; nobody was told")
        } else {
            (FailureClass::Unknown, "the receiver failed; the message may have been delivered")
        };
        let error = StepError::new(class, "MIG0504", self.attempted(), known)
            .cause(format!("HTTP status {}", reply.status));
        if reply.is_temporary() { error.retryable() } else { error }
    }
}

#[async_trait]
impl Step for With {
    async fn preview(&self, _cx: &StepCx) -> Result<Preview, StepError> {
        let change = Change {
            target: self.target(),
            verb: "post".to_owned(),
            before: None,
            after: Some(format!("to {}: {}", self.to.join(", "), self.message)),
        };
        Ok(Preview { changes: vec![change], readings: Vec::new() })
    }

    async fn perform(&self, cx: &mut PerformCx<'_>) -> Result<Outcome, StepError> {
        let url = self.url(cx).await?;
        let intent = Intent::new(
            KEY,
            self.target(),
            "post",
            (Repeat::Repeatable, Undo::LeavesInPlace),
            Value::Null,
            json!({ "to": self.to, "message": self.message }),
        );
        cx.change(intent, async |permit| {
            let mut observed = json!({ "id": Self::id(cx) });
            if let Some(url) = &url {
                let reply = self.post(cx, permit, url).await?;
                if !reply.is_success() {
                    return Err(self.not_accepted(&reply));
                }
                observed["status"] = json!(reply.status);
            }
            Ok(observed)
        })
        .await?;
        let told = Evidence {
            check: "message".to_owned(),
            verdict: "sent".to_owned(),
            detail: format!(
                "to {} through {}: {}",
                self.to.join(", "),
                self.target(),
                self.message
            ),
            holds: true,
        };
        cx.progress.say(&self.message);
        Ok(Outcome {
            outputs: [("id".to_owned(), json!(Self::id(cx)))].into(),
            evidence: vec![told],
        })
    }

    async fn probe(&self, _cx: &StepCx, _effect: &RecordedEffect) -> Verdict {
        match self.webhook {
            // The console is told at the end of every attempt.
            None => Verdict::NotDone,
            Some(_) => Verdict::Unknown {
                evidence:
                    "a webhook can not be asked; the message carries the same id when sent again"
                        .to_owned(),
            },
        }
    }

    async fn undo(
        &self,
        _cx: &mut PerformCx<'_>,
        _effect: &RecordedEffect,
    ) -> Result<(), StepError> {
        // What was said stays said; the engine asks only for effects that restore.
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use axum::extract::State;
    use axum::http::{HeaderMap, StatusCode};
    use axum::{Json, Router, routing::post};

    use super::super::testing::Bench;
    use super::*;

    type Ledger = Arc<Mutex<Vec<(String, Value)>>>;

    /// A receiver that answers every message with `status`.
    async fn receiver(status: StatusCode) -> (String, Ledger) {
        let ledger = Ledger::default();
        let hook = move |State(ledger): State<Ledger>,
                         headers: HeaderMap,
                         Json(body): Json<Value>| async move {
            let id = headers["idempotency-key"].to_str().expect("text").to_owned();
            ledger.lock().expect("unpoisoned").push((id, body));
            status
        };
        let router = Router::new().route("/hook", post(hook)).with_state(Arc::clone(&ledger));
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let port = listener.local_addr().expect("an address").port();
        tokio::spawn(async move { axum::serve(listener, router).await });
        (format!("http://127.0.0.1:{port}/hook"), ledger)
    }

    fn bench(webhook: &str) -> Bench {
        let with = json!({ "to": ["crm-team"], "message": "Tonight", "webhook": webhook });
        Bench::new("notify", &with, &json!({}))
    }

    #[tokio::test]
    async fn a_message_is_posted_once_with_its_id() {
        let (url, ledger) = receiver(StatusCode::ACCEPTED).await;
        let bench = bench(&url);
        bench.perform().await.expect("sent");
        bench.perform().await.expect("nothing left to do");
        let ledger = ledger.lock().expect("unpoisoned");
        let [(id, body)] = ledger.as_slice() else { panic!("one message, not {ledger:?}") };
        assert_eq!((id.as_str(), &body["id"]), ("run/step/message", &json!("run/step/message")));
        assert_eq!((&body["to"], &body["wave"]), (&json!(["crm-team"]), &json!("wave")));
        let head: crate::journal::Head =
            serde_json::from_value(body["journal"].clone()).expect("a head");
        assert_eq!(head.records, 7, "what `journal verify --head` reads");
        assert_eq!(bench.effects.recorded()[0].intent.target, "webhook at 127.0.0.1");
    }

    #[tokio::test]
    async fn a_refusal_is_known_and_a_failure_of_the_receiver_is_not() {
        let (url, _) = receiver(StatusCode::GONE).await;
        let refusing = bench(&url);
        let refused = refusing.perform().await.expect_err("refused");
        assert_eq!(refused.class, FailureClass::Failed);
        assert!(refusing.effects.why_not(KEY).is_some());
        let (url, _) = receiver(StatusCode::BAD_GATEWAY).await;
        let failing = bench(&url);
        let unknown = failing.perform().await.expect_err("unknown");
        assert_eq!(unknown.class, FailureClass::Unknown);
        assert_eq!(failing.effects.why_not(KEY), None);
        let probed = failing.step().probe(&failing.cx, &failing.effects.recorded()[0]).await;
        assert!(matches!(probed, Verdict::Unknown { .. }));
    }

    #[tokio::test]
    async fn without_a_webhook_the_journal_holds_the_message() {
        let bench = Bench::new("notify", &json!({ "to": ["all"], "message": "Hi" }), &json!({}));
        let outcome = bench.perform().await.expect("told");
        assert_eq!(outcome.evidence[0].detail, "to all through console: Hi");
        assert!(bench.effects.recorded()[0].done);
    }
}
