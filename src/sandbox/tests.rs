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
