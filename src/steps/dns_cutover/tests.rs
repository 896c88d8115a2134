//! Cutovers in a sandbox: real ARM requests, real DNS servers.

use serde_json::{Value, json};

use super::super::testing::{Bench, SandboxBench};
use super::*;
use crate::azure::RecordType;
use crate::journal::EffectPermit;
use crate::run::FailureClass;

fn with(changes: &Value) -> Value {
    let mut with = json!({
        "zone": "contoso.example", "resource_group": "rg-dns", "record": "crm", "type": "CNAME",
        "value": "crm-target.contoso.example", "ttl": 60, "expect": "crm-source.contoso.example",
    });
    for (key, value) in changes.as_object().expect("an object") {
        with[key] = value.clone();
    }
    with
}

/// Somebody else points crm elsewhere.
async fn other_hand(sandbox: &SandboxBench, step: &Bench) {
    let azure = &sandbox.world.azure;
    let set = sandbox.record_set("crm", RecordType::Cname).await.expect("a record set");
    let zone = azure.zone_id(Some("rg-dns"), "contoso.example").expect("an id");
    let elsewhere = set.clone().with_values(&["elsewhere.example.".to_owned()]).expect("a value");
    let (mut wait, permit) = (step.cx.wait(), EffectPermit::for_test("other"));
    let put = azure.put_record_set(&mut wait, &permit, &zone, Some(&set), &elsewhere);
    put.await.expect("written");
}

#[tokio::test]
async fn a_name_moves_once_and_comes_back_exactly() {
    let sandbox = SandboxBench::start().await;
    let mut step = sandbox.step("dns.cutover", &with(&json!({})));
    let before = sandbox.record_set("crm", RecordType::Cname).await;

    let preview = step.step().preview(&step.cx).await.expect("a preview");
    assert_eq!(
        preview.changes[0].before.as_deref(),
        Some("crm-source.contoso.example (TTL 3600 s)")
    );
    assert_eq!(preview.changes[0].after.as_deref(), Some("crm-target.contoso.example (TTL 60 s)"));
    assert!(step.effects.recorded().is_empty());

    let outcome = step.perform().await.expect("moved");
    assert_eq!(outcome.outputs["previous"], json!(["crm-source.contoso.example"]));
    let servers = outcome.evidence.iter().filter(|it| it.verdict == "equal").count();
    assert_eq!(servers, 3, "two servers, and both together: {:?}", outcome.evidence);
    step.next_attempt();
    step.perform().await.expect("proved again");
    let effects = step.effects.recorded();
    assert_eq!(effects.len(), 1);
    assert!(matches!(step.step().probe(&step.cx, &effects[0]).await, Verdict::Done { .. }));

    step.undo(&effects[0]).await.expect("restored");
    let after = sandbox.record_set("crm", RecordType::Cname).await;
    let [before, after] = [before, after].map(|set| set.map(Set::Azure));
    assert!(Set::same(after.as_ref(), before.as_ref()), "{after:?}");
    // The same state under a newer version: nothing is left of the switch.
    assert_eq!(step.step().probe(&step.cx, &effects[0]).await, Verdict::NotDone);
}

#[tokio::test]
async fn a_record_set_that_was_not_there_is_created_and_deleted_again() {
    let sandbox = SandboxBench::start().await;
    let changes = json!({ "record": "fresh", "type": "A", "value": ["127.0.0.2", "127.0.0.3"], "expect": [] });
    let step = sandbox.step("dns.cutover", &with(&changes));
    step.perform().await.expect("created");
    let effects = step.effects.recorded();
    assert_eq!(
        (effects[0].intent.verb.as_str(), &effects[0].intent.before),
        ("create", &Value::Null)
    );
    step.undo(&effects[0]).await.expect("deleted");
    assert_eq!(sandbox.record_set("fresh", RecordType::A).await, None);
}

#[tokio::test]
async fn a_change_by_another_hand_is_drift_and_stays() {
    let sandbox = SandboxBench::start().await;
    let step = sandbox.step("dns.cutover", &with(&json!({})));
    other_hand(&sandbox, &step).await;
    let error = step.perform().await.expect_err("drift");
    assert_eq!((error.class, error.code.as_str()), (FailureClass::Drift, "MIG0203"));
    assert_eq!(error.causes[0], "expected: crm-source.contoso.example");
    assert!(error.causes[1].contains("elsewhere.example"), "{:?}", error.causes);
    assert!(step.effects.recorded().is_empty(), "nothing was even intended");
}

#[tokio::test]
async fn a_change_after_the_switch_is_not_taken_back() {
    let sandbox = SandboxBench::start().await;
    let step = sandbox.step("dns.cutover", &with(&json!({})));
    step.perform().await.expect("moved");
    other_hand(&sandbox, &step).await;
    let effects = step.effects.recorded();
    assert!(matches!(step.step().probe(&step.cx, &effects[0]).await, Verdict::Unknown { .. }));
    let error = step.undo(&effects[0]).await.expect_err("drift");
    assert_eq!((error.class, error.code.as_str()), (FailureClass::Drift, "MIG0206"));
    let found = sandbox.record_set("crm", RecordType::Cname).await.expect("it is there");
    assert_eq!(found.values(), ["elsewhere.example."]);
}

#[tokio::test]
async fn no_switch_without_a_way_back_and_none_that_would_leave_a_hole() {
    let sandbox = SandboxBench::start().await;
    for (changes, code) in [
        (json!({ "fallback": "127.0.0.9:9" }), "MIG0204"),
        (json!({ "type": "A", "value": "127.0.0.3", "expect": [] }), "MIG0205"),
        (json!({ "record": "crm-source", "expect": [] }), "MIG0205"),
    ] {
        let step = sandbox.step("dns.cutover", &with(&changes));
        let error = step.perform().await.expect_err("refused");
        assert_eq!((error.class, error.code.as_str()), (FailureClass::Refused, code), "{error}");
        assert!(step.effects.recorded().is_empty());
    }
}

#[tokio::test]
async fn several_records_are_one_cutover_written_in_turn_and_taken_back_in_reverse() {
    let sandbox = SandboxBench::start().await;
    let with = json!({
        "zone": "contoso.example", "resource_group": "rg-dns", "records": [
            { "record": "crm", "type": "CNAME", "value": "crm-target.contoso.example",
              "expect": "crm-source.contoso.example" },
            { "record": "fresh", "type": "SRV", "value": "0 5 5060 crm-target.contoso.example", "expect": [] },
        ],
    });
    let before = sandbox.record_set("crm", RecordType::Cname).await;
    let mut step = sandbox.step("dns.cutover", &with);
    let outcome = step.perform().await.expect("moved");
    assert_eq!(outcome.outputs["previous"], json!(["crm-source.contoso.example"]));
    let effects = step.effects.recorded();
    let keys: Vec<_> = effects.iter().map(|effect| effect.intent.key.as_str()).collect();
    assert_eq!(keys, ["record:CNAME/crm", "record:SRV/fresh"]);
    step.next_attempt();
    step.perform().await.expect("proved again");
    assert_eq!(step.effects.recorded().len(), 2);
    for effect in effects.iter().rev() {
        step.undo(effect).await.expect("taken back");
    }
    assert_eq!(sandbox.record_set("fresh", RecordType::Srv).await, None);
    let after = sandbox.record_set("crm", RecordType::Cname).await;
    let [before, after] = [before, after].map(|set| set.map(Set::Azure));
    assert!(Set::same(after.as_ref(), before.as_ref()), "{after:?}");
}

#[tokio::test]
async fn nothing_of_several_is_written_when_one_is_not_as_expected() {
    let sandbox = SandboxBench::start().await;
    let with = json!({
        "zone": "contoso.example", "resource_group": "rg-dns", "records": [
            { "record": "shop", "type": "CNAME", "value": "shop-target.contoso.example" },
            { "record": "crm", "type": "CNAME", "value": "crm-target.contoso.example",
              "expect": "crm-source.contoso.example" },
        ],
    });
    let step = sandbox.step("dns.cutover", &with);
    other_hand(&sandbox, &step).await;
    let error = step.perform().await.expect_err("drift");
    assert_eq!((error.class, error.code.as_str()), (FailureClass::Drift, "MIG0203"));
    assert!(step.effects.recorded().is_empty(), "nothing was even intended");
}

#[tokio::test]
async fn the_zones_own_name_follows_a_resource_and_comes_back() {
    let sandbox = SandboxBench::start().await;
    let zone = sandbox.world.azure.zone_id(Some("rg-dns"), "contoso.example").expect("an id");
    let id = format!("{zone}/A/crm-target");
    let alias = json!({ "zone": "contoso.example", "resource_group": "rg-dns", "record": "@", "type": "A",
        "alias": id, "expect": [] });
    let first = sandbox.step("dns.cutover", &alias);
    first.perform().await.expect("it has the records of crm-target");
    let set = sandbox.record_set("@", RecordType::A).await.expect("it is there");
    assert_eq!(set.alias(), Some(id.as_str()));
    // What follows a resource can be expected, replaced and put back as well.
    let plain = json!({ "zone": "contoso.example", "resource_group": "rg-dns", "record": "@", "type": "A",
        "value": "127.0.0.9", "expect": id });
    let second = sandbox.step("dns.cutover", &plain);
    second.perform().await.expect("it has an address of its own");
    second.undo(&second.effects.recorded()[0]).await.expect("it follows again");
    let set = sandbox.record_set("@", RecordType::A).await.expect("it is there");
    assert_eq!(set.alias(), Some(id.as_str()));
    first.undo(&first.effects.recorded()[0]).await.expect("it is gone");
    assert_eq!(sandbox.record_set("@", RecordType::A).await, None);
}
