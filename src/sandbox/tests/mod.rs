//! The sandbox over its real sockets.

mod applications;
mod names;
mod readings;
mod resources;
mod traffic;

use reqwest::Method;
use serde_json::{Value, json};

use super::scenario::Estate;
use super::*;
use crate::clock::Busy;

pub(super) async fn start(dir: &Path) -> Sandbox {
    start_with(dir, small()).await
}

/// The default world with an estate that is made in no time, and no writing client.
fn small() -> Scenario {
    Scenario {
        estate: Estate { files: 6, orders: 20, ..Estate::default() },
        writer: quiet(),
        ..Scenario::default()
    }
}

fn quiet() -> scenario::Writer {
    scenario::Writer { orders: 0, pause_ms: 1 }
}

async fn start_with(dir: &Path, scenario: Scenario) -> Sandbox {
    let clock = Clock::skipping_from(Sandbox::opening_time(dir, &scenario).expect("a time"));
    Sandbox::start(dir, scenario, clock).await.expect("the sandbox starts")
}

/// A sandbox whose time the test moves, from the start of its scenario.
async fn start_still(dir: &Path, scenario: Scenario) -> (Sandbox, Clock, Busy) {
    let clock = Clock::skipping_from(scenario.start);
    let busy = clock.busy();
    let sandbox = Sandbox::start(dir, scenario, clock.clone()).await.expect("it starts");
    (sandbox, clock, busy)
}

pub(super) struct Client {
    http: reqwest::Client,
    base: String,
    token: String,
}

impl Client {
    pub(super) async fn of(sandbox: &Sandbox) -> Self {
        let ca = reqwest::Certificate::from_pem(sandbox.azure.ca_pem.as_bytes()).expect("a CA");
        let http = reqwest::Client::builder().tls_certs_only([ca]).build().expect("a client");
        let url = format!("{}/{TENANT}/oauth2/v2.0/token", sandbox.azure.authority);
        let form = format!("grant_type=client_credentials&client_id={CLIENT}&client_secret=x");
        let reply = http.post(url).body(form).send().await.expect("a token");
        let body: Value = reply.json().await.expect("JSON");
        let token = body["access_token"].as_str().expect("a token").to_owned();
        Self { http, base: sandbox.azure.arm.clone(), token }
    }

    pub(super) async fn try_send(
        &self,
        method: Method,
        path: &str,
        headers: &[(&str, &str)],
        body: Option<&Value>,
    ) -> reqwest::Result<(u16, reqwest::header::HeaderMap, Value)> {
        let mut request =
            self.http.request(method, format!("{}{path}", self.base)).bearer_auth(&self.token);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        if let Some(body) = body {
            request = request.json(body);
        }
        let reply = request.send().await?;
        let (status, headers) = (reply.status().as_u16(), reply.headers().clone());
        let text = reply.text().await?;
        Ok((status, headers, serde_json::from_str(&text).unwrap_or(Value::Null)))
    }

    pub(super) async fn send(
        &self,
        method: Method,
        path: &str,
        headers: &[(&str, &str)],
        body: Option<&Value>,
    ) -> (u16, Value) {
        let (status, _, body) =
            self.try_send(method, path, headers, body).await.expect("an answer");
        (status, body)
    }

    pub(super) async fn get(&self, path: &str) -> (u16, Value) {
        self.send(Method::GET, path, &[], None).await
    }
}

pub(super) fn record(name: &str) -> String {
    format!(
        "/subscriptions/{SUBSCRIPTION}/resourceGroups/rg-dns/providers/Microsoft.Network/dnsZones/contoso.example/CNAME/{name}?api-version=2018-05-01"
    )
}

pub(super) fn cname(target: &str) -> Value {
    json!({ "properties": { "TTL": 60, "CNAMERecord": { "cname": target } } })
}

#[tokio::test]
async fn a_record_set_lives_by_its_etag() {
    let dir = tempfile::tempdir().expect("a folder");
    let sandbox = start(dir.path()).await;
    let arm = Client::of(&sandbox).await;
    let (status, before) = arm.get(&record("crm")).await;
    assert_eq!((status, &before["properties"]["TTL"]), (200, &json!(3600)));
    let etag = before["etag"].as_str().expect("an etag");
    let new = cname("crm-target.contoso.example");

    let (status, headers, after) = arm
        .try_send(Method::PUT, &record("CRM"), &[("if-match", etag)], Some(&new))
        .await
        .expect("an answer");
    assert_eq!(status, 200);
    assert_eq!(headers["etag"].to_str().ok(), after["etag"].as_str());
    assert_ne!(after["etag"], before["etag"]);

    let (status, refused) =
        arm.send(Method::PUT, &record("crm"), &[("if-match", etag)], Some(&new)).await;
    assert_eq!(status, 412);
    assert_eq!(refused["code"], "PreconditionFailed", "without the wrapper: {refused}");
    let (status, refused) =
        arm.send(Method::PUT, &record("crm"), &[("if-none-match", "*")], Some(&new)).await;
    assert_eq!(status, 412);
    assert!(refused["message"].as_str().is_some_and(|text| text.contains("exists already")));

    let (status, _) =
        arm.send(Method::PUT, &record("new"), &[("if-none-match", "*")], Some(&new)).await;
    assert_eq!(status, 201);
    let (status, _) = arm.send(Method::DELETE, &record("new"), &[], None).await;
    assert_eq!(status, 200);
    let (status, _) = arm.send(Method::DELETE, &record("new"), &[], None).await;
    assert_eq!(status, 204);
    let entries = ledger::read(dir.path()).expect("a ledger");
    let changed: Vec<_> =
        entries.iter().skip(1).map(|entry| (entry.status, entry.changed)).collect();
    assert_eq!(
        changed,
        [(200, true), (412, false), (412, false), (201, true), (200, true), (204, false)]
    );
    sandbox.stop().await;
}

#[tokio::test]
async fn a_restart_keeps_world_and_ports() {
    let dir = tempfile::tempdir().expect("a folder");
    let sandbox = start(dir.path()).await;
    let arm = Client::of(&sandbox).await;
    let put = arm.send(Method::PUT, &record("crm"), &[], Some(&cname("elsewhere.example"))).await;
    let ports = sandbox.ports;
    drop(sandbox);
    let sandbox = restart(dir.path()).await;
    assert_eq!(sandbox.ports, ports);
    let arm = Client::of(&sandbox).await;
    assert_eq!(arm.get(&record("crm")).await.1, put.1);
    sandbox.stop().await;
}

#[tokio::test]
async fn a_lost_reply_is_a_durable_change_and_happens_once() {
    let dir = tempfile::tempdir().expect("a folder");
    let fault = "faults: [{ method: PUT, path: /CNAME/crm, fault: reply_lost }]";
    let scenario =
        Scenario { faults: Scenario::parse("test", fault).expect("valid").faults, ..small() };
    let sandbox = start_with(dir.path(), scenario).await;
    let arm = Client::of(&sandbox).await;
    let new = cname("crm-target.contoso.example");
    arm.try_send(Method::PUT, &record("crm"), &[], Some(&new)).await.expect_err("no answer");
    assert_eq!(arm.get(&record("crm")).await.1["properties"]["TTL"], 60);
    drop(sandbox);
    let sandbox = restart(dir.path()).await;
    let arm = Client::of(&sandbox).await;
    assert_eq!(arm.get(&record("crm")).await.1["properties"]["TTL"], 60);
    let (status, _) = arm.send(Method::PUT, &record("crm"), &[], Some(&new)).await;
    assert_eq!(status, 200);
    let entries = ledger::read(dir.path()).expect("a ledger");
    assert_eq!(entries[1].fault.as_deref(), Some("reply_lost"));
    assert!(entries[1].changed);
    sandbox.stop().await;
}

#[tokio::test]
async fn refusals_and_drift_come_when_the_scenario_says() {
    let dir = tempfile::tempdir().expect("a folder");
    let text = "
faults:
  - { method: GET, path: /CNAME/crm, nth: 2, fault: { throttled: { retry_after: 7 } } }
drift:
  - { before_request: 4, zone: contoso.example, record: { name: crm, type: CNAME, ttl: 9, values: [x.example] } }
";
    let Scenario { faults, drift, .. } = Scenario::parse("test", text).expect("valid");
    let sandbox = start_with(dir.path(), Scenario { drift, faults, ..small() }).await;
    let arm = Client::of(&sandbox).await;
    let mut seen = Vec::new();
    for _ in 0..4 {
        let (status, headers, body) =
            arm.try_send(Method::GET, &record("crm"), &[], None).await.expect("an answer");
        let wait = headers.get("retry-after").and_then(|value| value.to_str().ok());
        seen.push((status, wait.map(str::to_owned), body["properties"]["TTL"].as_u64()));
    }
    let wait = Some("7".to_owned());
    assert_eq!(
        seen,
        [(200, None, Some(3600)), (429, wait, None), (200, None, Some(3600)), (200, None, Some(9))]
    );
    sandbox.stop().await;
}

#[tokio::test]
async fn lag_falls_with_the_sandboxs_time() {
    let dir = tempfile::tempdir().expect("a folder");
    let (sandbox, clock, mut busy) = start_still(dir.path(), small()).await;
    let arm = Client::of(&sandbox).await;
    let vault = format!(
        "/subscriptions/{SUBSCRIPTION}/resourceGroups/rg-crm/providers/Microsoft.RecoveryServices/vaults/vault-crm/replicationMigrationItems?api-version=2024-04-01"
    );
    let mut lags = Vec::new();
    for _ in 0..2 {
        let (status, page) = arm.get(&vault).await;
        assert_eq!(status, 200, "{page}");
        let details = &page["value"][0]["properties"]["providerSpecificDetails"];
        let received: Timestamp = details["lastRecoveryPointReceived"]
            .as_str()
            .and_then(|text| text.parse().ok())
            .expect("a time");
        lags.push(clock.now().duration_since(received).as_secs());
        clock.sleep(std::time::Duration::from_hours(1), &mut busy).await;
    }
    assert!(lags[0] > 800 && lags[1] <= 0, "{lags:?}");
    sandbox.stop().await;
}

/// A dropped sandbox gives its folder and ports back when its tasks have seen it.
async fn restart(dir: &Path) -> Sandbox {
    loop {
        let scenario = small();
        let clock = Clock::skipping_from(Sandbox::opening_time(dir, &scenario).expect("a time"));
        match Sandbox::start(dir, scenario, clock).await {
            Ok(sandbox) => return sandbox,
            Err(SandboxError::Bind { .. } | SandboxError::InUse { .. }) => {
                tokio::task::yield_now().await;
            }
            Err(other) => panic!("{other}"),
        }
    }
}
