//! Weights against scripted answers: shapes of both services, and what is refused before anything is written.

use serde_json::{Value, json};

use super::*;
use crate::azure::testing::{Answer, world};
use crate::journal::EffectPermit;

const GROUP: &str =
    "/subscriptions/00000000-0000-0000-0000-00000000c0de/resourceGroups/rg-crm/providers";
const POLL: &str =
    "https://management.azure.com/subscriptions/s/operationresults/1?api-version=2024-09-01";

fn endpoint(name: &str, weight: &Value, status: &str, monitor: &str) -> Value {
    json!({ "id": format!("{GROUP}/Microsoft.Network/trafficManagerProfiles/crm/externalEndpoints/{name}"),
        "name": name, "type": "Microsoft.Network/trafficManagerProfiles/externalEndpoints",
        "properties": { "endpointStatus": status, "endpointMonitorStatus": monitor, "weight": weight } })
}

fn origin(name: &str, weight: u16, priority: u8, provisioning: &str) -> Value {
    json!({ "id": format!("{GROUP}/Microsoft.Cdn/profiles/fd/origingroups/web/origins/{name}"), "name": name,
        "type": "Microsoft.Cdn/profiles/origingroups/origins",
        "properties": { "weight": weight, "priority": priority, "enabledState": "Enabled",
            "provisioningState": provisioning, "deploymentStatus": "NotStarted" } })
}

fn ok(body: &Value) -> Answer {
    Answer::json(200, body)
}

const HALF: Weight = Weight { weight: 50, enabled: true };
const OFF: Weight = Weight { weight: 100, enabled: false };

#[tokio::test]
async fn a_profile_is_read_with_its_endpoints_health_and_ttl() {
    let body = |method: &str| {
        json!({ "properties": { "profileStatus": "Enabled", "trafficRoutingMethod": method,
            "dnsConfig": { "ttl": 35 }, "endpoints": [
                endpoint("a", &json!(100), "Disabled", "Disabled"),
                endpoint("b", &Value::Null, "Enabled", "CheckingEndpoint"),
                endpoint("c", &json!(1), "Enabled", "Online") ] } })
    };
    let answers = [ok(&body("Weighted")), ok(&body("Priority")), Answer::json(404, &Value::Null)];
    let (azure, script, mut wait, _) = world(answers);
    let profile = azure.traffic_manager(None, "crm").expect("an id");
    let read = azure.balanced(&mut wait, &profile).await.expect("read").expect("there");
    assert_eq!((read.answers_last.as_secs(), &read.not_weighted), (35, &None));
    let weights: Vec<_> = read.members.iter().map(|member| member.weight).collect();
    assert_eq!(weights, [Some(OFF), None, Some(Weight { weight: 1, enabled: true })]);
    assert!(matches!(read.member("A").expect("a member").serving, Serving::No(_)));
    assert!(matches!(read.members[1].serving, Serving::Unknown(_)));
    assert!(matches!(read.members[2].serving, Serving::Yes(_)));
    let other = azure.balanced(&mut wait, &profile).await.expect("read").expect("there");
    assert!(other.not_weighted.expect("why").contains("Priority"));
    assert_eq!(azure.balanced(&mut wait, &profile).await.expect("read"), None);
    assert!(script.lines()[0].ends_with("trafficManagerProfiles/crm?api-version=2022-04-01"));
}

#[tokio::test]
async fn a_weight_is_compared_before_it_is_written_and_only_it_is_written() {
    let held = endpoint("a", &json!(100), "Disabled", "Disabled");
    let written = endpoint("a", &json!(50), "Enabled", "CheckingEndpoint");
    let (azure, script, mut wait, _) = world([ok(&held), ok(&written), ok(&written), ok(&held)]);
    let profile = azure.traffic_manager(None, "crm").expect("an id");
    let id = ResourceId::parse(held["id"].as_str().expect("an id")).expect("an id");
    let permit = EffectPermit::for_test("weight");
    let accepted = azure.weigh(&mut wait, &permit, &profile, &id, (OFF, HALF)).await;
    assert_eq!(accepted.expect("accepted").operation_url, None);
    assert_eq!(azure.weighed(&mut wait, &profile, &id, None).await.expect("read"), HALF);
    let patch = &script.seen()[1];
    assert_eq!(patch.method, "PATCH");
    assert_eq!(patch.body, json!({ "properties": { "weight": 50, "endpointStatus": "Enabled" } }));

    let error = azure.weigh(&mut wait, &permit, &profile, &id, (HALF, OFF)).await;
    assert!(matches!(error, Err(ArmError::Drift { .. })), "{error:?}");
    assert_eq!(script.seen().len(), 4, "nothing was written");
}

#[tokio::test]
async fn a_front_door_origin_is_changed_by_a_long_running_operation() {
    let list =
        json!({ "value": [origin("a", 900, 1, "Succeeded"), origin("b", 100, 2, "Succeeded")] });
    let (before, running, after) = (
        origin("a", 900, 1, "Succeeded"),
        origin("a", 50, 1, "Updating"),
        origin("a", 50, 1, "Succeeded"),
    );
    let (azure, script, mut wait, _) = world([
        ok(&list),
        ok(&before),
        Answer::json(202, &running).with("azure-asyncoperation", POLL),
        ok(&json!({ "status": "InProgress" })),
        ok(&json!({ "status": "Succeeded" })),
        ok(&after),
        // Without its operation URL the origin itself is asked.
        ok(&running),
        ok(&after),
    ]);
    let group = azure.front_door(Some("rg-crm"), "fd", "web").expect("an id");
    let read = azure.balanced(&mut wait, &group).await.expect("read").expect("there");
    assert!(read.not_weighted.expect("why").contains("priority"));
    let id = &read.members[0].id;
    let was = Weight { weight: 900, enabled: true };
    let permit = EffectPermit::for_test("weight");
    let accepted = azure.weigh(&mut wait, &permit, &group, id, (was, HALF)).await;
    let url = accepted.expect("accepted").operation_url.expect("an operation");
    let weighed = azure.weighed(&mut wait, &group, id, Some(&url)).await;
    assert_eq!(weighed.expect("ended"), HALF);
    assert_eq!(azure.weighed(&mut wait, &group, id, None).await.expect("ended"), HALF);
    let body = json!({ "properties": { "weight": 50, "enabledState": "Enabled" } });
    assert_eq!(script.seen()[2].body, body);
}

#[tokio::test]
async fn a_front_door_operation_that_fails_in_an_http_200_has_failed() {
    let failed = json!({ "status": "Failed", "error": { "code": "Conflict", "message": "no" } });
    let (azure, _, mut wait, _) = world([ok(&failed)]);
    let group = azure.front_door(None, "fd", "web").expect("an id");
    let id = ResourceId::parse("/a/b").expect("an id");
    let error = azure.weighed(&mut wait, &group, &id, Some(POLL)).await.expect_err("failed");
    assert!(matches!(error, ArmError::OperationFailed { .. }), "{error}");
}
