//! A sandbox with every exchange kept, and a plain HTTP client that asks it whatever a test wants asked.

use std::path::Path;
use std::time::Duration;

use migrate::clock::Clock;
use migrate::sandbox::exchanges::{self, Exchange};
use migrate::sandbox::scenario::{Estate, Writer};
use migrate::sandbox::{SUBSCRIPTION, Sandbox, Scenario};
use reqwest::Method;
use serde_json::Value;

/// See the module.
pub(crate) struct Caller {
    pub(crate) sandbox: Sandbox,
    pub(crate) clock: Clock,
    dir: tempfile::TempDir,
    http: reqwest::Client,
    token: String,
}

/// What came back.
#[derive(Debug)]
pub(crate) struct Reply {
    pub(crate) status: u16,
    pub(crate) headers: reqwest::header::HeaderMap,
    pub(crate) body: Value,
}

impl Reply {
    /// A header's text, or nothing.
    pub(crate) fn header(&self, name: &str) -> &str {
        self.headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default()
    }

    /// The error's code, with or without the wrapper.
    pub(crate) fn code(&self) -> &str {
        let error = self.body.get("error").unwrap_or(&self.body);
        error["code"].as_str().unwrap_or_default()
    }

    /// The error's message, with or without the wrapper.
    pub(crate) fn message(&self) -> &str {
        let error = self.body.get("error").unwrap_or(&self.body);
        error["message"].as_str().unwrap_or_default()
    }
}

/// The default world with next to no files, and what `yaml` changes in it.
pub(crate) fn scenario(yaml: &str) -> Scenario {
    let scenario = Scenario::parse("test", yaml).expect("a scenario");
    Scenario {
        estate: Estate { files: 2, orders: 4, ..Estate::default() },
        writer: Writer { orders: 0, pause_ms: 1 },
        exchanges: true,
        ..scenario
    }
}

impl Caller {
    /// On a clock that stands still unless the test moves it.
    pub(crate) async fn start(yaml: &str) -> Self {
        let (dir, scenario) = (tempfile::tempdir().expect("a folder"), scenario(yaml));
        let clock = Clock::skipping_from(scenario.start);
        let home = dir.path().join("sandbox");
        let sandbox = Sandbox::start(&home, scenario, clock.clone()).await.expect("it starts");
        let (http, token) = client(&sandbox).await;
        Self { sandbox, clock, dir, http, token }
    }

    /// The sandbox's time goes on.
    pub(crate) async fn pass(&self, time: Duration) {
        let mut busy = self.clock.busy();
        self.clock.sleep(time, &mut busy).await;
    }

    /// Sends `GET /path?query`; a path that begins with `~` is one below the subscription, a whole URL is taken as it is.
    pub(crate) async fn send(
        &self,
        line: &str,
        headers: &[(&str, &str)],
        body: Option<&Value>,
    ) -> Reply {
        let (method, target) = line.split_once(' ').expect("a method and a path");
        let target = target.replacen('~', &format!("/subscriptions/{SUBSCRIPTION}"), 1);
        let arm = &self.sandbox.azure.arm;
        let url = if target.starts_with("https:") { target } else { format!("{arm}{target}") };
        let method = Method::from_bytes(method.as_bytes()).expect("a method");
        let mut request = self.http.request(method, url).bearer_auth(&self.token);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        if let Some(body) = body {
            request = request.json(body);
        }
        let reply = request.send().await.expect("an answer");
        let (status, headers) = (reply.status().as_u16(), reply.headers().clone());
        let text = reply.text().await.expect("a body");
        let body = if text.is_empty() {
            Value::Null
        } else {
            serde_json::from_str(&text).unwrap_or(Value::String(text))
        };
        Reply { status, headers, body }
    }

    pub(crate) async fn get(&self, path: &str) -> Reply {
        self.send(&format!("GET {path}"), &[], None).await
    }

    pub(crate) async fn put(&self, path: &str, body: &Value) -> Reply {
        self.send(&format!("PUT {path}"), &[], Some(body)).await
    }

    pub(crate) async fn delete(&self, path: &str) -> Reply {
        self.send(&format!("DELETE {path}"), &[], None).await
    }

    /// Ends it; what was said in it.
    pub(crate) async fn end(self) -> Vec<Exchange> {
        self.sandbox.halt().await;
        kept(&self.dir.path().join("sandbox"))
    }
}

fn kept(dir: &Path) -> Vec<Exchange> {
    exchanges::read(dir).expect("exchanges")
}

/// Trusts the sandbox's own authority and nothing else.
async fn client(sandbox: &Sandbox) -> (reqwest::Client, String) {
    let azure = &sandbox.azure;
    let ca = reqwest::Certificate::from_pem(azure.ca_pem.as_bytes()).expect("a CA");
    let http = reqwest::Client::builder().tls_certs_only([ca]).build().expect("a client");
    let url = format!("{}/{}/oauth2/v2.0/token", azure.authority, azure.tenant);
    let form = format!("grant_type=client_credentials&client_id={}&client_secret=x", azure.client);
    let reply = http.post(url).body(form).send().await.expect("a token");
    let body: Value = reply.json().await.expect("JSON");
    (http, body["access_token"].as_str().expect("a token").to_owned())
}
