//! `http.request`: one HTTP request of the author's. It says how to probe it or that repeating is safe; else a lost reply is
//! unknown, and the request is never sent blindly again.

use std::collections::BTreeMap;

use async_trait::async_trait;
use reqwest::header::{CONTENT_TYPE, HeaderMap, HeaderValue};
use reqwest::{Method, Url};
use schemars::JsonSchema;
use secrecy::ExposeSecret as _;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::{Change, Kind, Outcome, PerformCx, Preview, Step, StepCx, StepError};
use crate::http::{self, Reply};
use crate::journal::EffectPermit;
use crate::plan::{Class, KindSpec, Role};
use crate::run::{Evidence, FailureClass, Intent, RecordedEffect, Repeat, Undo, Verdict};

/// Key of the intent.
const KEY: &str = "request";
/// Key of the intent that takes it back.
const UNDO_KEY: &str = "undo:request";

/// Parameters of `http.request`.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct With {
    /// `POST` when not given.
    #[serde(default = "post")]
    pub method: String,
    /// `http://` or `https://`. Its query is never shown.
    pub url: String,
    /// Headers: texts, or `{ secret: name }`.
    #[serde(default)]
    pub headers: BTreeMap<String, HeaderText>,
    /// The body: a text as it stands, anything else as JSON.
    #[serde(default)]
    pub body: Value,
    /// Status codes that mean that the work is done; any from 200 to 299 when empty.
    #[serde(default)]
    pub expect: Vec<u16>,
    /// How to find out, by reading, whether the request did its work.
    #[serde(default)]
    pub probe: Option<Probe>,
    /// Say why sending it again is harmless.
    #[serde(default)]
    pub repeat: Option<Harmless>,
    /// A request that takes it back, or `leaves-in-place` where nothing needs to be.
    #[serde(default)]
    pub undo: Option<UndoBy>,
}

/// A request that takes another one back.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Request {
    /// `POST` when not given.
    #[serde(default = "post")]
    pub method: String,
    /// `http://` or `https://`. Its query is never shown.
    pub url: String,
    /// Headers: texts, or `{ secret: name }`.
    #[serde(default)]
    pub headers: BTreeMap<String, HeaderText>,
    /// The body: a text as it stands, anything else as JSON.
    #[serde(default)]
    pub body: Value,
    /// Status codes that mean that the work is done; any from 200 to 299 when empty.
    #[serde(default)]
    pub expect: Vec<u16>,
}

fn post() -> String {
    "POST".to_owned()
}

/// The value of a header.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(untagged)]
pub enum HeaderText {
    /// As it stands.
    Text(String),
    /// A secret.
    Secret(SecretHeader),
}

/// A reference to a secret.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct SecretHeader {
    /// Its name under `secrets`.
    pub secret: String,
    /// Text before it: `Bearer `, with its blank.
    #[serde(default)]
    pub prefix: String,
}

/// A reading that tells whether the request did its work.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Probe {
    /// Asked with GET and the request's headers.
    pub url: String,
    /// Expression over `status`, `body` and `json` of the answer: true is done, false is not done.
    pub that: String,
}

/// The author's word that a repeat is harmless.
#[derive(Debug, Clone, Copy, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Harmless {
    /// The same request again changes nothing more.
    Repeatable,
    /// The server recognises the header `Idempotency-Key`, which is the same in every attempt.
    IdempotencyKey,
}

/// How a request is taken back.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(untagged)]
pub enum UndoBy {
    /// By another request.
    Request(Request),
    /// Not at all, and that harms nothing.
    Nothing(LeavesInPlace),
}

/// The author's word that what a request leaves behind is harmless.
#[derive(Debug, Clone, Copy, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum LeavesInPlace {
    /// It stays.
    LeavesInPlace,
}

/// The kind.
pub const KIND: Kind = Kind {
    spec: KindSpec {
        name: "http.request",
        summary: "Send an HTTP request",
        docs: "Sends one request, with the header `Idempotency-Key` (the same in every attempt) unless it is a GET or HEAD. 4xx and 503 are \
               refusals: nothing was changed. Any other status that is not expected, and a lost reply, leave it unknown whether the request \
               did its work.\n\n\
               Then somebody must know: `probe` (a URL to read and an expression that is true once the work is done; answers other than 2xx \
               and 404 are unknown) or `repeat: repeatable` or `repeat: idempotency-key`. Without either the run stops for \
               `migrate resolve`.\n\n\
               `undo:` names a request that takes it back, or `leaves-in-place`. Without it a rollback lists the step as manual work. \
               Outputs: `status`, `body` (its first 64 KiB), `json`.",
        example: include_str!("../../examples/steps/http.request.yaml"),
        class: Class::Action,
        repeat: Repeat::Ask,
        undo: Undo::Irreversible,
        roles: &[Role::Custom],
        outputs: &["status", "body", "json"],
        open_outputs: false,
        schema: || schemars::schema_for!(With),
        check: |from| {
            let with: With = erased_serde::deserialize(from)?;
            Method::from_bytes(with.method.as_bytes())
                .map(drop)
                .map_err(|_| serde::de::Error::custom("`method` is not one of HTTP"))
        },
        describe: |with| vec![shown(with)],
    },
    build: |with| Ok(Box::new(super::read::<With>(with)?)),
};

fn shown(request: &Value) -> String {
    let method = request["method"].as_str().unwrap_or("POST");
    let url = request["url"].as_str().unwrap_or("?");
    format!("{method} {}", url.split(['?', '#']).next().unwrap_or_default())
}

impl Request {
    fn reads(&self) -> bool {
        matches!(self.method.as_str(), "GET" | "HEAD")
    }

    fn shown(&self) -> String {
        shown(&json!({ "method": self.method, "url": self.url }))
    }

    fn wanted(&self, reply: &Reply) -> bool {
        if self.expect.is_empty() {
            reply.is_success()
        } else {
            self.expect.contains(&reply.status)
        }
    }

    async fn headers(&self, cx: &StepCx) -> Result<HeaderMap, String> {
        let mut headers = HeaderMap::new();
        if !self.body.is_null() && !self.body.is_string() {
            headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        }
        for (name, text) in &self.headers {
            let (name, mut value) = match text {
                HeaderText::Text(text) => http::header(name, text)?,
                HeaderText::Secret(SecretHeader { secret, prefix }) => {
                    let secret = cx.world.secrets.get(secret).await?;
                    http::header(name, &format!("{prefix}{}", secret.expose_secret()))?
                }
            };
            value.set_sensitive(matches!(text, HeaderText::Secret(_)));
            headers.insert(name, value);
        }
        Ok(headers)
    }

    /// The outcome of sending it, as data to be journalled.
    async fn send(&self, cx: &StepCx, permit: &EffectPermit) -> Result<Value, StepError> {
        let shown = self.shown();
        let attempted = format!("send {shown}");
        let unsent = |why: String| {
            let known = "nothing was sent";
            StepError::new(FailureClass::Failed, "MIG0511", attempted.clone(), known).cause(why)
        };
        let url = url(&self.url).map_err(unsent)?;
        let method = Method::from_bytes(self.method.as_bytes())
            .map_err(|_| unsent(format!("`{}` is not a method of HTTP", self.method)))?;
        let change = http::Change {
            method,
            url: &url,
            shown: &shown,
            headers: self.headers(cx).await.map_err(unsent)?,
            body: match &self.body {
                Value::Null => None,
                Value::String(text) => Some(text.clone()),
                other => Some(other.to_string()),
            },
        };
        let sent = http::change(cx.world.network.http_client(), permit, &cx.world.run, change);
        let reply = sent.await.map_err(|error| error.as_step_error(&attempted, "MIG0512"))?;
        if !self.wanted(&reply) {
            return Err(unexpected(cx, &attempted, &reply));
        }
        Ok(json!({ "status": reply.status, "body": clean(cx, &reply) }))
    }
}

fn url(text: &str) -> Result<Url, String> {
    let url = text.parse::<Url>().ok().filter(|url| matches!(url.scheme(), "http" | "https"));
    url.ok_or_else(|| "the URL is not one of http or https".to_owned())
}

/// Without any secret that this run knows.
fn clean(cx: &StepCx, reply: &Reply) -> String {
    reply.clean(&cx.world.secrets.redactor())
}

fn unexpected(cx: &StepCx, attempted: &str, reply: &Reply) -> StepError {
    let body = clean(cx, reply);
    let said = format!("status {}: {}", reply.status, body.chars().take(500).collect::<String>());
    if reply.refused() {
        let known = "the server refused the request; nothing was changed";
        let error = StepError::new(FailureClass::Failed, "MIG0511", attempted, known).cause(said);
        return if reply.is_temporary() { error.retryable() } else { error };
    }
    let known = "the server answered otherwise than expected; it may have done the work";
    StepError::new(FailureClass::Unknown, "MIG0512", attempted, known).cause(said)
}

impl With {
    fn request(&self) -> Request {
        Request {
            method: self.method.clone(),
            url: self.url.clone(),
            headers: self.headers.clone(),
            body: self.body.clone(),
            expect: self.expect.clone(),
        }
    }

    fn classes(&self) -> (Repeat, Undo) {
        let reads = self.request().reads();
        let harmless = self.repeat.is_some() || reads;
        let repeat = if harmless { Repeat::Repeatable } else { Repeat::Ask };
        let undo = match self.undo {
            Some(UndoBy::Request(_)) => Undo::Restores,
            Some(UndoBy::Nothing(_)) => Undo::LeavesInPlace,
            None if reads => Undo::LeavesInPlace,
            None => Undo::Irreversible,
        };
        (repeat, undo)
    }

    /// Asks the author's probe; an answer that is neither 2xx nor 404 says nothing.
    async fn ask_probe(&self, cx: &StepCx) -> Result<bool, String> {
        let probe = self.probe.as_ref().ok_or("the step has no `probe`")?;
        let (url, headers) = (url(&probe.url)?, self.request().headers(cx).await?);
        let reply = http::read(cx.world.network.http_client(), &url, headers).await;
        let reply = reply.map_err(|error| error.to_string())?;
        if !reply.is_success() && reply.status != 404 {
            return Err(format!("the probe was answered with status {}", reply.status));
        }
        crate::dns::endpoint::holds(&probe.that, reply.status, &reply.body)
            .map_err(|why| format!("`{}` could not be evaluated: {why}", probe.that))
    }
}

/// What the journal needs of a request: enough to tell a changed one, nothing that could be a secret.
fn recorded(request: &Request) -> Value {
    let names: Vec<&String> = request.headers.keys().collect();
    let body = crate::run::fingerprint(&request.body);
    json!({ "request": request.shown(), "headers": names, "body_sha256": body })
}

#[async_trait]
impl Step for With {
    async fn preview(&self, _cx: &StepCx) -> Result<Preview, StepError> {
        let request = self.request();
        let change = Change {
            target: request.shown(),
            verb: "send".to_owned(),
            before: None,
            after: Some(match (&self.probe, self.repeat) {
                (Some(probe), _) => format!("with a probe: {}", probe.that),
                (None, Some(_)) => "repeatable".to_owned(),
                (None, None) if request.reads() => "a reading".to_owned(),
                (None, None) => "unknown if its reply is lost".to_owned(),
            }),
        };
        Ok(Preview { changes: vec![change], readings: Vec::new() })
    }

    async fn perform(&self, cx: &mut PerformCx<'_>) -> Result<Outcome, StepError> {
        let request = self.request();
        let intent = Intent::new(
            KEY,
            request.shown(),
            "send",
            self.classes(),
            Value::Null,
            recorded(&request),
        );
        let observed = cx.change(intent, async |permit| request.send(cx, permit).await).await?;
        let done = Evidence {
            check: request.shown(),
            verdict: "done".to_owned(),
            detail: match observed["status"].as_u64() {
                Some(status) => format!("status {status}"),
                None => "the probe says so".to_owned(),
            },
            holds: true,
        };
        let body = observed["body"].as_str().unwrap_or_default();
        let json: Value = serde_json::from_str(body).unwrap_or_default();
        let outputs = [
            ("status".to_owned(), observed["status"].clone()),
            ("body".to_owned(), observed["body"].clone()),
            ("json".to_owned(), json),
        ];
        Ok(Outcome { outputs: outputs.into(), evidence: vec![done] })
    }

    async fn probe(&self, cx: &StepCx, effect: &RecordedEffect) -> Verdict {
        let undo = effect.intent.key == UNDO_KEY;
        match self.ask_probe(cx).await {
            Ok(in_place) if in_place != undo => {
                Verdict::Done { observed: json!({ "status": null, "body": null }) }
            }
            Ok(_) => Verdict::NotDone,
            Err(why) => Verdict::Unknown { evidence: format!("the reply was lost; {why}") },
        }
    }

    async fn undo(&self, cx: &mut PerformCx<'_>, effect: &RecordedEffect) -> Result<(), StepError> {
        let Some(UndoBy::Request(request)) = &self.undo else { return Ok(()) };
        let intent = Intent::new(
            UNDO_KEY,
            request.shown(),
            "send",
            (self.classes().0, Undo::LeavesInPlace),
            effect.observed.clone().unwrap_or_default(),
            recorded(request),
        );
        cx.change(intent, async |permit| request.send(cx, permit).await).await.map(drop)
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::{Application, Bench};
    use super::*;

    async fn bench(more: &Value) -> (Application, Bench) {
        let app = Application::start().await;
        let mut with = json!({
            "method": "PUT", "url": format!("{}/maintenance?token=hush", app.url),
            "body": { "enabled": true },
        });
        with.as_object_mut().expect("an object").extend(more.as_object().cloned().expect("one"));
        (app, Bench::new("http.request", &with, &json!({})))
    }

    fn probe(app: &Application) -> Probe {
        Probe { url: format!("{}/maintenance", app.url), that: "json.enabled".to_owned() }
    }

    #[tokio::test]
    async fn a_request_is_sent_once_and_its_query_stays_hidden() {
        let (app, bench) = bench(&json!({})).await;
        let outcome = bench.perform().await.expect("sent");
        assert_eq!(outcome.outputs["status"], json!(200));
        assert_eq!(bench.perform().await.expect("done already"), outcome);
        assert_eq!(app.state().asked, ["PUT /maintenance"]);
        let effect = &bench.effects.recorded()[0];
        assert_eq!((effect.intent.repeat, effect.intent.undo), (Repeat::Ask, Undo::Irreversible));
        assert!(!format!("{effect:?}").contains("hush"));
    }

    #[tokio::test]
    async fn a_lost_reply_is_settled_by_the_probe_or_by_nobody() {
        let (app, bench) = bench(&json!({})).await;
        app.set(|state| state.fails_after_change = true);
        let error = bench.perform().await.expect_err("500 after the change");
        assert_eq!(error.class, FailureClass::Unknown);
        let effect = &bench.effects.recorded()[0];
        assert!(matches!(bench.step().probe(&bench.cx, effect).await, Verdict::Unknown { .. }));
        let mut with: With = super::super::read(&bench.cx.step.with).expect("parameters");
        with.probe = Some(probe(&app));
        assert!(matches!(with.probe(&bench.cx, effect).await, Verdict::Done { .. }));
        app.set(|state| state.enabled = false);
        assert_eq!(with.probe(&bench.cx, effect).await, Verdict::NotDone);
    }

    #[tokio::test]
    async fn a_refusal_changed_nothing() {
        let (_app, bench) = bench(&json!({ "method": "POST" })).await;
        let error = bench.perform().await.expect_err("405");
        assert_eq!((error.code.as_str(), error.class), ("MIG0511", FailureClass::Failed));
        assert!(bench.effects.why_not(KEY).is_some());
    }

    #[tokio::test]
    async fn undo_sends_its_own_request() {
        let (app, bench) = bench(&json!({})).await;
        let url = format!("{}/maintenance", app.url);
        let undo = json!({ "method": "PUT", "url": url, "body": { "enabled": false } });
        let mut with = bench.cx.step.with.clone();
        with["undo"] = undo;
        let bench = Bench::new("http.request", &with, &json!({}));
        bench.perform().await.expect("sent");
        assert!(app.state().enabled);
        bench.undo(&bench.effects.recorded()[0]).await.expect("undone");
        assert!(!app.state().enabled);
    }

    #[tokio::test]
    async fn a_preview_sends_nothing() {
        let (app, bench) = bench(&json!({ "repeat": "idempotency-key" })).await;
        let preview = bench.step().preview(&bench.cx).await.expect("a preview");
        assert_eq!(preview.changes[0].after.as_deref(), Some("repeatable"));
        assert!(app.state().asked.is_empty());
    }
}
