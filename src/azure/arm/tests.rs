//! The pipeline's promises against scripted faults.

use std::time::Duration;

use jiff::Timestamp;
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;

use super::{ArmError, Wait};
use crate::azure::testing::{Answer, Script, azure, world};
use crate::azure::{Azure, Lock, LockLevel, RecordSet, RecordType, ResourceId};
use crate::clock::{Clock, since};
use crate::journal::EffectPermit;
use crate::run::FailureClass;

fn group() -> ResourceId {
    ResourceId::parse("/subscriptions/s/resourceGroups/rg").expect("an id")
}

fn ok() -> Answer {
    Answer::json(200, &json!({ "name": "l", "properties": { "level": "ReadOnly" } }))
}

async fn read(azure: &Azure, wait: &mut Wait<'_>) -> Result<Option<Value>, ArmError> {
    azure.get(wait, &group(), "2021-04-01").await
}

async fn change(azure: &Azure, wait: &mut Wait<'_>) -> Result<Lock, ArmError> {
    let lock = Lock { name: "l".into(), level: Some(LockLevel::ReadOnly), notes: String::new() };
    azure.put_lock(wait, &EffectPermit::for_test("lock:l"), &group(), &lock).await
}

#[tokio::test]
async fn every_request_names_version_token_and_request_id() {
    let (azure, script, mut wait, _) = world([ok()]);
    read(&azure, &mut wait).await.expect("an answer");
    let seen = &script.seen()[0];
    assert_eq!(seen.line(), "GET /subscriptions/s/resourceGroups/rg?api-version=2021-04-01");
    assert_eq!(seen.headers["authorization"], "Bearer token");
    assert!(uuid::Uuid::parse_str(&seen.headers["x-ms-client-request-id"]).is_ok());
}

#[tokio::test]
async fn throttling_is_waited_out_on_the_engines_clock_beyond_a_minute() {
    for status in [429, 503] {
        let throttled = || Answer::json(status, &Value::Null).with("retry-after", "300");
        let (azure, script, mut wait, clock) = world([throttled(), throttled(), ok()]);
        read(&azure, &mut wait).await.expect("an answer in the end");
        assert!(since(Timestamp::UNIX_EPOCH, clock.now()) >= Duration::from_mins(10));
        assert_eq!(script.seen().len(), 3);
    }
}

#[tokio::test]
async fn a_throttled_change_is_sent_again_under_the_same_request_id() {
    let throttled = Answer::json(429, &Value::Null).with("retry-after", "17");
    let (azure, script, mut wait, _) = world([throttled, Answer::NoConnection, ok()]);
    change(&azure, &mut wait).await.expect("the change");
    let ids: Vec<_> =
        script.seen().iter().map(|seen| seen.headers["x-ms-client-request-id"].clone()).collect();
    assert_eq!(ids.len(), 3);
    assert!(ids.iter().all(|id| *id == ids[0]), "{ids:?}");
}

#[tokio::test]
async fn a_lost_reply_to_a_change_is_never_sent_again() {
    for answer in [
        Answer::Lost,
        Answer::json(500, &Value::Null),
        Answer::json(503, &Value::Null).with("retry-after", "1"),
        Answer::json(504, &Value::Null),
    ] {
        let (azure, script, mut wait, _) = world([answer, ok()]);
        let error = change(&azure, &mut wait).await.expect_err("unknown");
        assert!(error.outcome_unknown(), "{error}");
        assert_eq!(error.into_step_error("put", "not changed").class, FailureClass::Unknown);
        assert_eq!(script.seen().len(), 1);
    }
}

#[tokio::test]
async fn a_lost_reply_to_a_read_is_asked_again_and_then_given_up() {
    let (azure, script, mut wait, _) = world([Answer::Lost, Answer::json(502, &Value::Null), ok()]);
    read(&azure, &mut wait).await.expect("an answer");
    assert_eq!(script.seen().len(), 3);
    let (azure, script, mut wait, _) = world((0..20).map(|_| Answer::Lost));
    let error = read(&azure, &mut wait).await.expect_err("no answer");
    assert!(matches!(error, ArmError::NoReply { .. }));
    assert!(error.into_step_error("get", "unchanged").retryable);
    assert_eq!(script.seen().len(), 6);
}

#[tokio::test]
async fn an_expired_token_is_renewed_once() {
    let expired =
        || Answer::json(401, &json!({ "error": { "code": "ExpiredAuthenticationToken" } }));
    let (azure, script, mut wait, _) = world([expired(), ok()]);
    change(&azure, &mut wait).await.expect("the change");
    let (again, _, mut wait_again, _) = world([expired(), expired(), ok()]);
    let error = read(&again, &mut wait_again).await.expect_err("refused");
    assert_eq!((error.status(), error.code(), script.seen().len()), (Some(401), "MIG0107", 2));
}

#[tokio::test]
async fn a_quota_is_no_throttling() {
    let quota = Answer::json(
        429,
        &json!({ "error": { "code": "OperationNotAllowed", "message": "quota" } }),
    );
    let (azure, script, mut wait, _) = world([quota, ok()]);
    assert!(read(&azure, &mut wait).await.is_err());
    assert_eq!(script.seen().len(), 1);
}

#[tokio::test]
async fn error_bodies_are_read_with_and_without_the_wrapper_and_empty() {
    let inner = json!({ "code": "ScopeLocked", "message": "locked",
        "details": [{ "code": "A", "message": "b", "details": [{ "code": "C", "message": "d" }] }] });
    for body in [json!({ "error": inner }), inner] {
        let (azure, _, mut wait, _) =
            world([Answer::json(409, &body).with("x-ms-request-id", "r-1")]);
        let error = read(&azure, &mut wait).await.expect_err("refused");
        assert_eq!(error.code(), "MIG0108");
        let service = error.service().expect("a service error");
        assert_eq!(service.details, ["A: b", "C: d"]);
        assert_eq!(service.request_id.as_deref(), Some("r-1"));
    }
    let (azure, _, mut wait, _) = world([Answer::json(400, &Value::Null)]);
    let error = read(&azure, &mut wait).await.expect_err("refused");
    assert_eq!(error.service().map(|service| service.code.as_str()), Some("HTTP400"));
}

#[tokio::test]
async fn a_missing_resource_is_an_answer() {
    let (azure, _, mut wait, _) = world([Answer::json(404, &Value::Null)]);
    assert_eq!(read(&azure, &mut wait).await.expect("an answer"), None);
}

#[tokio::test]
async fn cancelling_ends_a_throttled_wait_and_says_that_nothing_changed() {
    let clock = Clock::system();
    let script = Script::new([Answer::json(429, &Value::Null).with("retry-after", "86400")]);
    let azure = azure(&script, &clock);
    let cancel = CancellationToken::new();
    let at_once = cancel.clone();
    let mut wait = Wait::new(&clock, &cancel).saying(move |_| at_once.cancel());
    let error = change(&azure, &mut wait).await.expect_err("cancelled");
    assert!(matches!(error, ArmError::Cancelled), "{error}");
    assert!(matches!(change(&azure, &mut wait).await, Err(ArmError::Cancelled)));
    assert_eq!(script.seen().len(), 1, "a cancelled attempt sends nothing more");
}

#[tokio::test]
async fn pages_are_followed_on_the_own_host_only() {
    let page =
        |value: Value, next: &str| Answer::json(200, &json!({ "value": value, "nextLink": next }));
    let lock = |name: &str| json!({ "name": name, "properties": { "level": "CanNotDelete" } });
    let (azure, script, mut wait, _) = world([
        page(json!([lock("a")]), "https://management.azure.com/next?$skiptoken=x%3D"),
        page(json!([lock("b")]), "/last?$skiptoken=y%3D"),
        page(json!([lock("c")]), ""),
    ]);
    let locks = azure.locks(&mut wait, &group()).await.expect("every page");
    assert_eq!(locks.iter().map(|lock| lock.name.as_str()).collect::<Vec<_>>(), ["a", "b", "c"]);
    let lines = script.lines();
    assert_eq!(
        lines[1..],
        ["GET /next?$skiptoken=x%3D", "GET /last?$skiptoken=y%3D"],
        "as they came"
    );
    let foreign = [
        "https://evil.example/next",
        "http://management.azure.com/next",
        "//evil.example/next",
        "/\\evil.example/next",
        "next",
    ];
    for link in foreign {
        let (azure, script, mut wait, _) = world([page(json!([]), link)]);
        let error = azure.locks(&mut wait, &group()).await.expect_err("refused");
        assert!(matches!(error, ArmError::ForeignUrl(_)), "{link}: {error}");
        assert_eq!(script.seen().len(), 1, "{link}");
    }
}

fn zone() -> ResourceId {
    let path = "/subscriptions/s/resourceGroups/rg-dns/providers/Microsoft.Network/dnsZones/contoso.example";
    ResourceId::parse(path).expect("an id")
}

fn cname(target: &str, etag: &str) -> Value {
    json!({ "id": "…", "name": "crm", "type": "Microsoft.Network/dnszones/CNAME", "etag": etag,
        "properties": { "TTL": 60, "fqdn": "crm.contoso.example.", "provisioningState": "Succeeded",
            "metadata": { "owner": "crm" }, "targetResource": {}, "CNAMERecord": { "cname": target } } })
}

#[tokio::test]
async fn a_record_set_is_replaced_only_as_it_was_read() {
    let (azure, script, mut wait, _) =
        world([Answer::json(200, &cname("old", "e1")), Answer::json(200, &cname("new", "e2"))]);
    let zone = zone();
    let before = azure.record_set(&mut wait, &zone, RecordType::Cname, "crm").await.expect("read");
    let before = before.expect("it exists");
    let wanted = before.clone().with_values(&["new".to_owned()]).expect("a value");
    let permit = EffectPermit::for_test("record:CNAME/crm");
    let now = azure.put_record_set(&mut wait, &permit, &zone, Some(&before), &wanted).await;
    assert_eq!(now.expect("written").values(), ["new"]);
    let put = &script.seen()[1];
    assert_eq!(put.headers["if-match"], "e1");
    assert_eq!(
        put.body,
        json!({ "properties": { "TTL": 60, "metadata": { "owner": "crm" }, "CNAMERecord": { "cname": "new" } } })
    );
}

#[tokio::test]
async fn a_record_set_changed_by_somebody_else_is_drift_with_both_values() {
    let refused = json!({ "code": "PreconditionFailed", "message": "etag mismatch" });
    let (azure, _, mut wait, _) =
        world([Answer::json(412, &refused), Answer::json(200, &cname("elsewhere", "e9"))]);
    let before = RecordSet { etag: Some("e1".into()), ..record("old") };
    let permit = EffectPermit::for_test("record:CNAME/crm");
    let error = azure
        .put_record_set(&mut wait, &permit, &zone(), Some(&before), &record("new"))
        .await
        .expect_err("refused");
    let error = error.into_step_error("replace CNAME crm", "nothing was overwritten");
    assert_eq!((error.class, error.code.as_str()), (FailureClass::Drift, "MIG0110"));
    let causes = error.causes.join("\n");
    assert!(causes.contains("old") && causes.contains("elsewhere"), "{causes}");
}

#[tokio::test]
async fn a_new_record_set_must_not_exist_yet_and_an_unread_one_is_not_replaced() {
    let (azure, script, mut wait, _) = world([Answer::json(201, &cname("new", "e1"))]);
    let permit = EffectPermit::for_test("record:CNAME/crm");
    azure.put_record_set(&mut wait, &permit, &zone(), None, &record("new")).await.expect("created");
    assert_eq!(script.seen()[0].headers["if-none-match"], "*");
    let unread = record("old");
    let error =
        azure.put_record_set(&mut wait, &permit, &zone(), Some(&unread), &record("new")).await;
    assert!(matches!(error, Err(ArmError::Settings(_))));
    assert_eq!(script.seen().len(), 1, "nothing was sent");
}

fn record(target: &str) -> RecordSet {
    RecordSet::new("crm", RecordType::Cname, 60, &[target.to_owned()]).expect("a record set")
}

#[tokio::test]
async fn the_generated_lock_client_uses_our_pipeline() {
    let (azure, script, mut wait, _) =
        world([ok(), ok(), Answer::json(204, &Value::Null), Answer::json(404, &Value::Null)]);
    let lock = azure.lock(&mut wait, &group(), "l").await.expect("read").expect("there");
    assert_eq!(lock.level, Some(LockLevel::ReadOnly));
    change(&azure, &mut wait).await.expect("written");
    let permit = EffectPermit::for_test("lock:l");
    azure.delete_lock(&mut wait, &permit, &group(), "l").await.expect("deleted");
    azure.delete_lock(&mut wait, &permit, &group(), "l").await.expect("already gone");
    let path = "/subscriptions/s/resourceGroups/rg/providers/Microsoft.Authorization/locks/l?api-version=2020-05-01";
    assert_eq!(
        script.lines(),
        [
            format!("GET {path}"),
            format!("PUT {path}"),
            format!("DELETE {path}"),
            format!("DELETE {path}")
        ]
    );
    assert_eq!(script.seen()[1].body, json!({ "properties": { "level": "ReadOnly" } }));
    assert_eq!(script.seen()[1].headers["authorization"], "Bearer token");
}
