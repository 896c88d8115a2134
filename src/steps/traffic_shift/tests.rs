//! The step against a sandbox: both services, what it refuses, and what it leaves to others.

use serde_json::{Value, json};

use super::super::testing::{Bench, SandboxBench};
use super::gate::{Gate, Shut, Stand};
use super::story::Why;
use super::*;
use crate::azure::Balanced;
use crate::azure::testing::{Answer, Script, azure};
use crate::dns::Health;

fn with(percent: &Value, more: &Value) -> Value {
    let mut with = json!({
        "traffic_manager": "crm", "from": "source", "to": "target", "percent": percent,
        "gate": { "hold_for": "2m", "probes": [{ "url": "http://crm-target.contoso.example/health" }] },
        "fallback": "http://crm-source.contoso.example/health",
    });
    for (key, value) in more.as_object().into_iter().flatten() {
        with[key] = value.clone();
    }
    with
}

fn door() -> Value {
    json!({ "traffic_manager": null, "front_door": { "profile": "fd-crm", "origin_group": "web" } })
}

async fn read(bench: &Bench, with: &Value) -> Balanced {
    let with: With = serde_json::from_value(with.clone()).expect("parameters");
    let azure = &bench.cx.world.azure;
    let balancer = with.balancer(azure).expect("an id");
    azure.balanced(&mut bench.cx.wait(), &balancer).await.expect("read").expect("there")
}

async fn weights(bench: &Bench, with: &Value) -> [String; 2] {
    let balanced = read(bench, with).await;
    ["source", "target"].map(|name| {
        let weight = balanced.member(name).and_then(|member| member.weight);
        weight.expect("a weight").to_string()
    })
}

#[tokio::test]
async fn traffic_goes_over_step_by_step_and_comes_back_exactly() {
    let sandbox = SandboxBench::start().await;
    for more in [json!({}), door()] {
        let with = with(&json!([10, 100]), &more);
        let mut bench = sandbox.step("traffic.shift", &with);
        let preview = bench.step().preview(&bench.cx).await.expect("a preview");
        let after = preview.changes[0].after.as_deref();
        assert_eq!(after, Some("weight 10, then weight 100"), "{preview:?}");
        assert_eq!(weights(&bench, &with).await, ["weight 1000", "weight 1, disabled"]);
        let outcome = bench.perform().await.expect("shifted");
        assert_eq!(outcome.outputs["percent"], 100);
        assert_eq!(outcome.outputs["previous"]["to"], json!({ "weight": 1, "enabled": false }));
        assert_eq!(weights(&bench, &with).await, ["weight 90, disabled", "weight 100"]);
        bench.next_attempt();
        let effects = bench.effects.recorded();
        let keys: Vec<_> = effects.iter().map(|effect| effect.intent.key.as_str()).collect();
        let steps = ["shift-1/10/to", "shift-1/10/from", "shift-1/100/to", "shift-1/100/from"];
        assert_eq!(keys, steps);
        for effect in &effects {
            let sent = effect.sent.as_ref().expect("a request");
            assert_eq!(
                sent.operation_url.is_some(),
                with["traffic_manager"].is_null(),
                "an operation"
            );
        }
        let last = effects.last().expect("an effect");
        let verdict = bench.step().probe(&bench.cx, last).await;
        assert!(matches!(verdict, Verdict::Done { .. }), "{verdict:?}");
        for effect in effects.iter().rev() {
            bench.undo(effect).await.expect("restored");
        }
        assert_eq!(weights(&bench, &with).await, ["weight 1000", "weight 1, disabled"]);
    }
}

#[tokio::test]
async fn a_first_write_that_nobody_could_tell_about_is_taken_up_and_taken_back() {
    let sandbox = SandboxBench::start().await;
    let with = with(&json!([50]), &json!({}));
    let lost = sandbox.step("traffic.shift", &with);
    lost.perform().await.expect("shifted");
    let mut first = lost.effects.recorded().swap_remove(0);
    first.done = false;
    let mut bench = sandbox.step("traffic.shift", &with);
    bench.cx.recorded = vec![first.clone()];
    let outcome = bench.perform().await.expect("our own weight is no other hand's");
    assert_eq!(outcome.outputs["previous"]["to"], json!({ "weight": 1, "enabled": false }));
    let taken_up = bench.effects.recorded();
    assert_eq!(
        (taken_up[0].intent.key.as_str(), taken_up[0].done),
        (first.intent.key.as_str(), true)
    );
    bench.undo(&first).await.expect("restored");
    assert_eq!(weights(&bench, &with).await[1], "weight 1, disabled");
}

#[tokio::test]
async fn what_another_hand_changed_stays() {
    let sandbox = SandboxBench::start().await;
    let own = with(&json!([50]), &json!({}));
    let mut bench = sandbox.step("traffic.shift", &own);
    bench.perform().await.expect("shifted");
    bench.next_attempt();
    let other = with(&json!([80]), &json!({}));
    sandbox.step("traffic.shift", &other).perform().await.expect("shifted by another hand");
    let effects = bench.effects.recorded();
    let error = bench.undo(effects.last().expect("an effect")).await.expect_err("drift");
    assert_eq!((error.class, error.code.as_str()), (FailureClass::Drift, "MIG0234"));
    assert_eq!(weights(&bench, &own).await, ["weight 20", "weight 80"]);
    let verdict = bench.step().probe(&bench.cx, &effects[0]).await;
    assert!(matches!(verdict, Verdict::Unknown { .. }), "{verdict:?}");
}

#[tokio::test]
async fn nothing_is_written_before_the_way_back_and_the_target_are_proved() {
    let sandbox = SandboxBench::start().await;
    let dead = json!({ "fallback": "http://crm-source.contoso.example/nowhere" });
    let url = "http://crm-target.contoso.example/health";
    let wrong =
        json!({ "gate": { "hold_for": "2m", "probes": [{ "url": url, "that": "json.absent" }] } });
    for (more, code) in [
        (dead, "MIG0235"),
        (wrong, "MIG0235"),
        (json!({ "to": "elsewhere" }), "MIG0231"),
        (json!({ "traffic_manager": "none" }), "MIG0231"),
    ] {
        let bench = sandbox.step("traffic.shift", &with(&json!([50]), &more));
        let error = bench.perform().await.expect_err("refused");
        assert_eq!((error.class, error.code.as_str()), (FailureClass::Refused, code), "{error}");
        assert!(bench.effects.recorded().is_empty(), "{more}");
    }
    let untouched = with(&json!([50]), &json!({}));
    let bench = sandbox.step("traffic.shift", &untouched);
    assert_eq!(weights(&bench, &untouched).await, ["weight 1000", "weight 1, disabled"]);
}

#[tokio::test]
async fn whoever_takes_it_up_before_the_last_percent_proves_the_way_back_again() {
    let sandbox = SandboxBench::start().await;
    let begun = sandbox.step("traffic.shift", &with(&json!([10]), &json!({})));
    begun.perform().await.expect("shifted");
    let dead = json!({ "fallback": "http://crm-source.contoso.example/nowhere" });
    let mut resumed = sandbox.step("traffic.shift", &with(&json!([10, 50]), &dead));
    resumed.effects = begun.effects;
    resumed.next_attempt();
    let error = resumed.perform().await.expect_err("no way back");
    assert_eq!(error.code, "MIG0235", "{error}");
    assert!(
        error.known.ends_with("the step has left source at weight 90 and target at weight 10"),
        "{error}"
    );
    let mut last = sandbox.step("traffic.shift", &with(&json!([10]), &dead));
    last.effects = resumed.effects;
    last.next_attempt();
    last.perform().await.expect("nothing more goes over");
}

#[tokio::test]
async fn percents_that_were_edited_to_end_below_what_was_reached_are_no_success() {
    let sandbox = SandboxBench::start().await;
    let begun = sandbox.step("traffic.shift", &with(&json!([50]), &json!({})));
    begun.perform().await.expect("shifted");
    let mut edited = sandbox.step("traffic.shift", &with(&json!([10, 20]), &json!({})));
    edited.effects = begun.effects;
    edited.next_attempt();
    let error = edited.perform().await.expect_err("half of the traffic is at the target");
    assert_eq!((error.class, error.code.as_str()), (FailureClass::Refused, "MIG0231"), "{error}");
    assert!(error.causes[0].contains("reached 50 %"), "{error}");
}

/// A profile between two that were shifted to 90 and 10, and a third that somebody has enabled since.
fn three() -> (Value, impl Fn(&str, u16, &str) -> Value) {
    const PROFILE: &str = "/subscriptions/s/resourceGroups/rg-crm/providers/Microsoft.Network/trafficManagerProfiles/crm";
    let endpoint = |name: &str, weight: u16, status: &str| {
        json!({ "id": format!("{PROFILE}/externalEndpoints/{name}"), "name": name, "properties": {
            "endpointStatus": status, "endpointMonitorStatus": "Online", "weight": weight } })
    };
    let members = [
        endpoint("source", 90, "Enabled"),
        endpoint("target", 10, "Enabled"),
        endpoint("third", 1, "Enabled"),
    ];
    let profile = json!({ "properties": { "profileStatus": "Enabled", "trafficRoutingMethod": "Weighted",
        "dnsConfig": { "ttl": 30 }, "endpoints": members } });
    (profile, endpoint)
}

#[tokio::test]
async fn a_third_member_stops_the_way_there_and_not_the_way_back() {
    let (profile, endpoint) = three();
    let ok = |body: &Value| Answer::json(200, body);
    let written = |name: &str, left: (u16, &str), wanted: (u16, &str)| {
        let [left, wanted] = [left, wanted].map(|(weight, state)| endpoint(name, weight, state));
        [ok(&left), ok(&wanted), ok(&wanted)]
    };
    let source = written("source", (90, "Enabled"), (100, "Enabled"));
    let target = written("target", (10, "Enabled"), (1, "Disabled"));
    let answers = [ok(&profile), ok(&profile)].into_iter().chain(source).chain(target);
    let with: With =
        serde_json::from_value(with(&json!([10, 50]), &json!({}))).expect("parameters");
    let mut bench = Bench::new(
        "traffic.shift",
        &json!({ "traffic_manager": "crm", "from": "source",
        "to": "target", "percent": [10], "gate": { "hold_for": "2m", "probes": [{ "url": "http://a.example/" }] } }),
        &json!({}),
    );
    bench.connect(|clock| azure(&Script::new(answers), clock));
    let arm = bench.cx.world.azure.clone();
    let parts = with.parts(&arm).expect("an id");
    let target = with.target(&arm, &parts);
    let mut round = Round::recorded(1, &[]);
    let weight = |weight| Weight { weight, enabled: true };
    round.from.moved(weight(100), weight(90));
    round.to.moved(Weight { weight: 1, enabled: false }, weight(10));
    let mut busy = bench.cx.clock().busy();
    let mut cx = PerformCx { read: &bench.cx, effects: &bench.effects, busy: &mut busy };
    let error = with.forward(&mut cx, &target, &mut round, 50).await.expect_err("three share it");
    assert_eq!(
        (error.code.as_str(), error.known.as_str()),
        ("MIG0231", "the step has left source at weight 90 and target at weight 10")
    );
    let why = Why { verdict: Shut::Failure, percent: 10, detail: "down".to_owned() };
    let back =
        with.back(&mut cx, &target, &mut round, &why).await.expect("it goes back all the same");
    assert_eq!(back.code, "MIG0232", "{back}");
}

#[test]
fn a_metric_of_a_target_without_traffic_has_the_time_to_get_its_values() {
    let metric = json!({ "resource": "Microsoft.Web/sites/crm", "metric": "Http5xx", "max": 5.0 });
    let more = json!({ "gate": { "hold_for": "5m", "metrics": [metric] } });
    let with: With = serde_json::from_value(with(&json!([10]), &more)).expect("parameters");
    with.fits().expect("every default");
    let start = jiff::Timestamp::UNIX_EPOCH;
    let mut gate = Gate::new(with.limits(Duration::from_secs(30)), &with.blind(), start);
    // Its window of five minutes is full for the first time when the last of them is three minutes old.
    for second in (0..900).step_by(30) {
        let seen = if second >= 8 * 60 { Health::Good } else { Health::Unknown };
        let now = crate::clock::advance(start, Duration::from_secs(second));
        match gate.take(now, &[Health::Good, seen]) {
            Stand::Open => return,
            Stand::Shut(.., why) => panic!("shut after {second} s: {why}"),
            Stand::Holding(_) | Stand::Lapsed => {}
        }
    }
    panic!("it never opened");
}

#[test]
fn parameters_that_can_not_be_meant_are_refused() {
    let gate =
        json!({ "hold_for": "2m", "within": "1m", "probes": [{ "url": "http://a.example/" }] });
    for more in [
        json!({ "percent": [] }),
        json!({ "percent": [50, 10] }),
        json!({ "percent": [0, 10] }),
        json!({ "percent": [101] }),
        json!({ "to": "SOURCE" }),
        json!({ "front_door": { "profile": "p", "origin_group": "g" } }),
        json!({ "gate": { "hold_for": "2m", "probes": [] } }),
        json!({ "gate": gate }),
    ] {
        assert!((KIND.build)(&with(&json!([10]), &more)).is_err(), "{more}");
    }
}
