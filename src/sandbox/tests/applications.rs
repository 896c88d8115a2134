//! Applications, the client that keeps writing, webhooks and the estate.

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
    let (sandbox, clock, mut busy) = start_still(dir.path(), scenario).await;
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
        let [a, b] = ["a", "b"].map(|name| std::fs::read(dir.path().join(name).join(file)).ok());
        assert_eq!(a, b, "{file}");
    }
}
