//! The sandbox over its real sockets.

use reqwest::Method;
use serde_json::{Value, json};

use super::scenario::Estate;
use super::*;

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
    let scenario = small();
    let clock = Clock::skipping_from(scenario.start);
    let sandbox = Sandbox::start(dir.path(), scenario, clock.clone()).await.expect("it starts");
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
        let mut busy = clock.busy();
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

mod resources {
    use super::*;

    const GROUP: &str = "/subscriptions/00000000-0000-0000-0000-00000000c0de/resourceGroups/rg-crm";

    fn at(rest: &str, version: &str) -> String {
        format!("{GROUP}{rest}?api-version={version}")
    }

    #[tokio::test]
    async fn a_lock_is_in_the_way_until_it_is_taken_away() {
        let dir = tempfile::tempdir().expect("a folder");
        let sandbox = start(dir.path()).await;
        let arm = Client::of(&sandbox).await;
        let lock = "/subscriptions/00000000-0000-0000-0000-00000000c0de/resourceGroups/RG-DNS/providers/Microsoft.Authorization/locks/freeze?api-version=2020-05-01";
        for (level, put, delete) in [("CanNotDelete", 200, 409), ("ReadOnly", 409, 409)] {
            let body = json!({ "properties": { "level": level, "notes": "CHG1" } });
            let (status, _) = arm.send(Method::PUT, lock, &[], Some(&body)).await;
            assert!([200, 201].contains(&status));
            let (status, _) =
                arm.send(Method::PUT, &record("crm"), &[], Some(&cname("x.example"))).await;
            assert_eq!(status, put, "{level}");
            let (status, refused) = arm.send(Method::DELETE, &record("crm"), &[], None).await;
            assert_eq!(
                (status, &refused["error"]["code"]),
                (delete, &json!("ScopeLocked")),
                "{level}"
            );
        }
        let list = at("/providers/Microsoft.Authorization/locks", "2016-09-01");
        assert_eq!(arm.get(&list).await.1["value"], json!([]));
        assert_eq!(arm.send(Method::DELETE, lock, &[], None).await.0, 200);
        assert_eq!(arm.send(Method::DELETE, lock, &[], None).await.0, 204);
        assert_eq!(arm.send(Method::DELETE, &record("crm"), &[], None).await.0, 200);
        sandbox.stop().await;
    }

    fn template() -> Value {
        json!({ "properties": { "mode": "Incremental", "parameters": { "name": { "value": "Crm" } }, "template": {
            "parameters": { "name": { "type": "string" } },
            "resources": [{
                "type": "Microsoft.Web/sites", "apiVersion": "2023-01-01", "name": "[toLower(parameters('name'))]",
                "location": "[resourceGroup().location]", "properties": { "httpsOnly": true },
            }],
            "outputs": { "site": { "type": "string", "value": "[resourceId('Microsoft.Web/sites', 'crm')]" } },
        }}})
    }

    #[tokio::test]
    async fn a_deployment_runs_as_long_as_the_clock_says() {
        let dir = tempfile::tempdir().expect("a folder");
        let scenario = small();
        let clock = Clock::skipping_from(scenario.start);
        let mut busy = clock.busy();
        let sandbox = Sandbox::start(dir.path(), scenario, clock.clone()).await.expect("it starts");
        let arm = Client::of(&sandbox).await;
        let deployment = "/providers/Microsoft.Resources/deployments/wave";
        let what_if = at(&format!("{deployment}/whatIf"), "2021-04-01");
        let (status, headers, _) =
            arm.try_send(Method::POST, &what_if, &[], Some(&template())).await.expect("an answer");
        assert_eq!((status, headers.contains_key("azure-asyncoperation")), (202, false));
        let result = headers["location"].to_str().expect("text").replace(&sandbox.azure.arm, "");
        let (_, result) = arm.get(&result).await;
        assert_eq!(result["properties"]["changes"][0]["changeType"], "Create");

        let put = at(deployment, "2024-07-01");
        let (status, headers, _) =
            arm.try_send(Method::PUT, &put, &[], Some(&template())).await.expect("an answer");
        assert_eq!(status, 201);
        let poll =
            headers["azure-asyncoperation"].to_str().expect("text").replace(&sandbox.azure.arm, "");
        assert_eq!(arm.get(&poll).await, (200, json!({ "status": "Running" })));
        assert_eq!(arm.send(Method::PUT, &put, &[], Some(&template())).await.0, 409);
        clock.sleep(Duration::from_mins(1), &mut busy).await;
        assert_eq!(arm.get(&poll).await, (200, json!({ "status": "Succeeded" })));
        let (_, done) = arm.get(&put).await;
        let site = format!("{GROUP}/providers/Microsoft.Web/sites/crm");
        assert_eq!(done["properties"]["outputs"]["site"]["value"], json!(site));
        let (status, made) = arm.get(&format!("{site}?api-version=2023-01-01")).await;
        assert_eq!((status, &made["location"]), (200, &json!("westeurope")));
        let (_, operations) = arm.get(&at("/deployments/wave/operations", "2021-04-01")).await;
        assert_eq!(operations["value"][0]["properties"]["targetResource"]["id"], json!(site));
        let entries = ledger::read(dir.path()).expect("a ledger");
        assert_eq!(entries.iter().filter(|entry| entry.is_mutating_request()).count(), 2);
        sandbox.stop().await;
    }

    #[tokio::test]
    async fn a_failed_operation_is_said_inside_a_success() {
        let dir = tempfile::tempdir().expect("a folder");
        let faults = "faults: [{ method: PUT, path: /deployments/wave, fault: operation_fails }]";
        let faults = Scenario::parse("test", faults).expect("valid").faults;
        let sandbox =
            start_with(dir.path(), Scenario { faults, operation_seconds: 0, ..small() }).await;
        let arm = Client::of(&sandbox).await;
        let put = at("/providers/Microsoft.Resources/deployments/wave", "2025-04-01");
        let (_, headers, _) =
            arm.try_send(Method::PUT, &put, &[], Some(&template())).await.expect("an answer");
        let poll =
            headers["azure-asyncoperation"].to_str().expect("text").replace(&sandbox.azure.arm, "");
        let (status, state) = arm.get(&poll).await;
        assert_eq!((status, &state["status"]), (200, &json!("Failed")));
        assert_eq!(arm.get(&put).await.1["properties"]["provisioningState"], "Failed");
        sandbox.stop().await;
    }

    #[tokio::test]
    async fn the_activity_log_holds_writes_of_everybody() {
        let dir = tempfile::tempdir().expect("a folder");
        let drift = "drift: [{ before_request: 1, zone: contoso.example, record: { name: crm, type: CNAME, ttl: 9, values: [x.example] } }]";
        let drift = Scenario::parse("test", drift).expect("valid").drift;
        let sandbox = start_with(dir.path(), Scenario { drift, ..small() }).await;
        let arm = Client::of(&sandbox).await;
        arm.send(Method::PUT, &record("crm"), &[], Some(&cname("y.example"))).await;
        let filter = "eventTimestamp%20ge%20%272026-12-01T00:00:00Z%27%20and%20eventTimestamp%20le%20%272027-01-01T00:00:00Z%27%20and%20resourceGroupName%20eq%20%27rg-dns%27";
        let log = format!(
            "/subscriptions/{SUBSCRIPTION}/providers/Microsoft.Insights/eventtypes/management/values?api-version=2015-04-01&$filter={filter}"
        );
        let (status, page) = arm.get(&log).await;
        assert_eq!(status, 200, "{page}");
        let callers: Vec<_> = page["value"]
            .as_array()
            .expect("events")
            .iter()
            .map(|event| &event["caller"])
            .collect();
        assert_eq!(callers, [&json!(CLIENT), &json!("somebody-else@contoso.example")]);
        let old = log.replace("2026-12-01", "2026-01-01");
        assert_eq!(arm.get(&old).await.1["code"], "BadRequest", "without the wrapper");
        sandbox.stop().await;
    }

    #[tokio::test]
    async fn versions_paging_and_absence_are_answered_as_arm_does() {
        let dir = tempfile::tempdir().expect("a folder");
        let sandbox = start(dir.path()).await;
        let arm = Client::of(&sandbox).await;
        let code = |reply: (u16, Value)| {
            (reply.0, reply.1["error"]["code"].as_str().unwrap_or("").to_owned())
        };
        let unknown = record("crm").replace("2018-05-01", "1999-01-01");
        assert_eq!(code(arm.get(&unknown).await), (400, "NoRegisteredProviderFound".to_owned()));
        assert_eq!(code(arm.get(GROUP).await), (400, "MissingApiVersionParameter".to_owned()));
        let missing = GROUP.replace("rg-crm", "rg-none") + "/resources?api-version=2021-04-01";
        assert_eq!(code(arm.get(&missing).await), (404, "ResourceGroupNotFound".to_owned()));
        let mut page = record("").replace("/CNAME/", "/recordsets") + "&$top=5";
        let mut names = Vec::new();
        loop {
            let (_, body) = arm.get(&page).await;
            let sets = body["value"].as_array().expect("a page").clone();
            assert!(sets.len() <= 5);
            names.extend(sets.into_iter().map(|set| set["name"].clone()));
            let Some(next) = body["nextLink"].as_str() else { break };
            page = next.replace(&sandbox.azure.arm, "");
        }
        assert_eq!(names.len(), 11);
        sandbox.stop().await;
    }

    #[tokio::test]
    async fn a_zone_goes_as_a_long_running_operation() {
        let dir = tempfile::tempdir().expect("a folder");
        let sandbox = start(dir.path()).await;
        let arm = Client::of(&sandbox).await;
        let zone = record("").replace("/CNAME/", "");
        let (status, headers, _) =
            arm.try_send(Method::DELETE, &zone, &[], None).await.expect("an answer");
        assert_eq!(status, 202);
        let poll =
            headers["azure-asyncoperation"].to_str().expect("text").replace(&sandbox.azure.arm, "");
        assert!(poll.contains(';'));
        assert_eq!(arm.get(&poll).await, (200, json!({ "status": "Running" })));
        assert_eq!(arm.get(&zone).await.0, 404);
        sandbox.stop().await;
    }
}

mod applications {
    use super::*;

    fn writing(orders: u32) -> Scenario {
        Scenario { writer: scenario::Writer { orders, pause_ms: 1 }, ..small() }
    }

    /// Switches, and waits until no order is in flight.
    async fn put_maintenance(sandbox: &Sandbox, enabled: bool) {
        loop {
            let reply = reqwest::Client::new()
                .put(format!("http://127.0.0.2:{}/maintenance", sandbox.ports.http))
                .header("host", "crm.contoso.example")
                .json(&json!({ "enabled": enabled }));
            let reply = reply.send().await.expect("an answer");
            let state: Value = reply.json().await.expect("JSON");
            assert_eq!(state["enabled"], enabled);
            if !enabled || state["in_flight"] == 0 {
                return;
            }
        }
    }

    async fn stats(sandbox: &Sandbox) -> Value {
        let reply = reqwest::Client::new()
            .get(format!("http://127.0.0.2:{}/orders/stats", sandbox.ports.http))
            .header("host", "crm.contoso.example");
        reply.send().await.expect("an answer").json().await.expect("JSON")
    }

    #[tokio::test]
    async fn a_pause_holds_against_a_client_that_keeps_writing() {
        let dir = tempfile::tempdir().expect("a folder");
        let sandbox = start_with(dir.path(), writing(1_000_000)).await;
        put_maintenance(&sandbox, true).await;
        let before = stats(&sandbox).await;
        let refused = |stats: &Value| stats["refused"].as_u64().expect("a count");
        let mut during = stats(&sandbox).await;
        while refused(&during) < refused(&before) + 3 {
            during = stats(&sandbox).await;
        }
        assert_eq!(during["accepted"], before["accepted"]);
        put_maintenance(&sandbox, false).await;
        while stats(&sandbox).await["accepted"] == before["accepted"] {}
        sandbox.halt().await;
        let world = world(dir.path()).await.expect("a world");
        for app in ["crm", "shop"] {
            assert_eq!(world.orders[app].lost, Vec::<i64>::new());
        }
        assert_eq!(world.maintenance, BTreeMap::from([("source-crm".to_owned(), false)]));
    }

    #[tokio::test]
    async fn orders_follow_the_name_to_the_target_also_over_a_kill() {
        let dir = tempfile::tempdir().expect("a folder");
        let sandbox = start_with(dir.path(), writing(30)).await;
        put_maintenance(&sandbox, true).await;
        let (from, to) =
            (sandbox.base.join("source/crm/app.db"), sandbox.base.join("target/crm/app.db"));
        drop(sandbox);
        std::fs::copy(from, to).expect("a copy");
        let sandbox = restart(dir.path()).await;
        let arm = Client::of(&sandbox).await;
        let new = cname("crm-target.contoso.example");
        arm.send(Method::PUT, &record("crm"), &[], Some(&new)).await;
        sandbox.stop().await;
        let world = world(dir.path()).await.expect("a world");
        assert_eq!(world.orders["crm"].missing_at_target, Vec::<i64>::new());
        assert_eq!(world.orders["crm"].acknowledged, 30);
        assert_eq!(world.target_tables["crm/orders"].rows, 50);
    }

    #[tokio::test]
    async fn an_outage_lasts_as_long_as_the_scenario_says() {
        let dir = tempfile::tempdir().expect("a folder");
        let text = "outages: [{ path: crm@target/health, after_seconds: 3600, for_seconds: 3600 }]";
        let outages = Scenario::parse("test", text).expect("valid").outages;
        let scenario = Scenario { outages, ..small() };
        let clock = Clock::skipping_from(scenario.start);
        let mut busy = clock.busy();
        let sandbox = Sandbox::start(dir.path(), scenario, clock.clone()).await.expect("it starts");
        let mut statuses = Vec::new();
        for _ in 0..3 {
            let health = reqwest::Client::new()
                .get(format!("http://127.0.0.3:{}/health", sandbox.ports.http))
                .header("host", "crm.contoso.example");
            statuses.push(health.send().await.expect("an answer").status().as_u16());
            clock.sleep(Duration::from_hours(1), &mut busy).await;
        }
        assert_eq!(statuses, [200, 503, 200]);
        sandbox.stop().await;
    }

    #[tokio::test]
    async fn a_webhook_is_kept_once_per_key() {
        let dir = tempfile::tempdir().expect("a folder");
        let sandbox = start(dir.path()).await;
        let mut statuses = Vec::new();
        for key in ["run-1/announce/0", "run-1/announce/0", "run-1/announce/1"] {
            let hook = reqwest::Client::new()
                .post(format!("http://127.0.0.2:{}/teams", sandbox.ports.http))
                .header("host", "hooks.contoso.example")
                .header("idempotency-key", key)
                .json(&json!({ "text": "soon" }));
            statuses.push(hook.send().await.expect("an answer").status().as_u16());
        }
        assert_eq!(statuses, [202, 200, 202]);
        let entries = ledger::read(dir.path()).expect("a ledger");
        assert!(ledger::duplicates(&entries).is_empty());
        let hooks = world(dir.path()).await.expect("a world").hooks;
        assert_eq!(
            hooks,
            BTreeMap::from([("/teams announce/0".into(), 1), ("/teams announce/1".into(), 1)])
        );
        sandbox.stop().await;
    }

    #[tokio::test]
    async fn the_same_seed_makes_the_same_estate() {
        let dir = tempfile::tempdir().expect("a folder");
        let sizes = Estate { files: 20, orders: 40, ..Estate::default() };
        for name in ["a", "b"] {
            let estate = dir.path().join(name);
            estate::create(&estate, &sizes).await.expect("an estate");
        }
        for file in ["source/crm/app.db", "source/shop/share/Team Files/document 00007.txt"] {
            let [a, b] =
                ["a", "b"].map(|name| std::fs::read(dir.path().join(name).join(file)).ok());
            assert_eq!(a, b, "{file}");
        }
    }
}

mod names {
    use std::str::FromStr;

    use domain::base::iana::Rcode;
    use domain::base::{Message, MessageBuilder, Name, Rtype};
    use domain::rdata::AllRecordData;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    use super::*;

    fn query(name: &str, kind: Rtype) -> Vec<u8> {
        let mut question = MessageBuilder::new_vec().question();
        let name: Name<Vec<u8>> = Name::from_str(name).expect("a name");
        question.push((name, kind)).expect("it fits");
        question.finish()
    }

    /// Response code, AA, and answers as text.
    fn read(reply: &[u8]) -> (Rcode, bool, Vec<String>) {
        let message = Message::from_octets(reply).expect("a message");
        let records = message.answer().expect("answers").limit_to::<AllRecordData<_, _>>();
        let texts = records.map(|record| record.expect("a record").data().to_string());
        (message.header().rcode(), message.header().aa(), texts.collect())
    }

    async fn udp(server: SocketAddr, name: &str, kind: Rtype) -> (Rcode, bool, Vec<String>) {
        let socket = tokio::net::UdpSocket::bind("127.0.0.1:0").await.expect("a socket");
        socket.send_to(&query(name, kind), server).await.expect("it is sent");
        let mut buffer = [0; 1500];
        let length = socket.recv(&mut buffer).await.expect("an answer");
        read(&buffer[..length])
    }

    async fn tcp(server: SocketAddr, name: &str, kind: Rtype) -> (Rcode, bool, Vec<String>) {
        let mut stream = tokio::net::TcpStream::connect(server).await.expect("a connection");
        let query = query(name, kind);
        let length = u16::try_from(query.len()).expect("short");
        stream.write_all(&[&length.to_be_bytes()[..], &query].concat()).await.expect("it is sent");
        let mut reply = vec![0; usize::from(stream.read_u16().await.expect("a length"))];
        stream.read_exact(&mut reply).await.expect("an answer");
        read(&reply)
    }

    #[tokio::test]
    async fn answers_follow_arm_at_every_server_over_udp_and_tcp() {
        let dir = tempfile::tempdir().expect("a folder");
        let sandbox = start(dir.path()).await;
        let arm = Client::of(&sandbox).await;
        for target in ["crm-source.contoso.example", "crm-target.contoso.example"] {
            let (status, _) =
                arm.send(Method::PUT, &record("crm"), &[], Some(&cname(target))).await;
            assert_eq!(status, 200);
            let wanted = (Rcode::NOERROR, true, vec![format!("{target}.")]);
            for server in sockets::NAME_SERVERS {
                let server = SocketAddr::from((server, sandbox.ports.dns));
                let alias = "CRM.contoso.example";
                let texts = |(rcode, aa, texts): (Rcode, bool, Vec<String>)| {
                    let dotted = |text: String| format!("{}.", text.trim_end_matches('.'));
                    (rcode, aa, texts.into_iter().map(dotted).collect::<Vec<_>>())
                };
                assert_eq!(texts(udp(server, alias, Rtype::A).await), wanted);
                assert_eq!(texts(tcp(server, alias, Rtype::CNAME).await), wanted);
            }
        }
        sandbox.stop().await;
    }

    #[tokio::test]
    async fn no_name_no_record_and_no_zone_are_three_answers() {
        let dir = tempfile::tempdir().expect("a folder");
        let sandbox = start(dir.path()).await;
        let server = sandbox.network.resolver().expect("a resolver");
        let none: Vec<String> = Vec::new();
        let ask = |name, kind| udp(server, name, kind);
        assert_eq!(
            ask("nobody.contoso.example", Rtype::A).await,
            (Rcode::NXDOMAIN, true, none.clone())
        );
        assert_eq!(
            ask("hooks.contoso.example", Rtype::AAAA).await,
            (Rcode::NOERROR, true, none.clone())
        );
        assert_eq!(ask("other.example", Rtype::A).await, (Rcode::REFUSED, false, none));
        assert_eq!(ask("hooks.contoso.example", Rtype::A).await.2, ["127.0.0.2"]);
        assert_eq!(ask("contoso.example", Rtype::NS).await.2.len(), 2);
        sandbox.stop().await;
    }
}
