//! What no schema states: how the services behave, by documentation and recordings, one behaviour a test. More of them,
//! nearer to their code, are in `src/sandbox/tests`.

use std::time::Duration;

use jiff::Timestamp;
use serde_json::{Value, json};

use super::caller::Caller;

const RECORD: &str = "~/resourceGroups/rg-dns/providers/Microsoft.Network/dnsZones/contoso.example/CNAME/crm?api-version=2018-05-01";
const LOCK: &str =
    "~/resourceGroups/rg-dns/providers/Microsoft.Authorization/locks/freeze?api-version=2020-05-01";
const ITEM: &str = "~/resourceGroups/rg-crm/providers/Microsoft.RecoveryServices/vaults/vault-crm/replicationFabrics/fabric-1/replicationProtectionContainers/container-1/replicationMigrationItems/crm-db?api-version=2024-04-01";

const THROTTLED: &str = "SubscriptionRequestsThrottled";

fn cname(target: &str) -> Value {
    json!({ "properties": { "TTL": 60, "CNAMERecord": { "cname": target } } })
}

#[tokio::test]
async fn a_lock_refuses_while_it_stands_and_for_a_moment_after() {
    let caller = Caller::start("unlock_seconds: 5").await;
    let lock = json!({ "properties": { "level": "ReadOnly" } });
    assert_eq!(caller.put(LOCK, &lock).await.status, 201);
    let refused = caller.put(RECORD, &cname("a.example")).await;
    assert_eq!((refused.status, refused.code()), (409, "ScopeLocked"));
    let locked = "are locked: '/subscriptions/00000000-0000-0000-0000-00000000c0de/resourcegroups/rg-dns'. Please remove";
    assert!(refused.message().contains(locked), "{}", refused.message());
    assert!(refused.body["error"].is_object(), "locks are ARM's, and ARM wraps");

    assert_eq!(caller.delete(LOCK).await.status, 200);
    assert_eq!(caller.get(LOCK).await.status, 404, "it is gone");
    assert_eq!(caller.put(RECORD, &cname("a.example")).await.code(), "ScopeLocked", "and refuses");
    caller.pass(Duration::from_secs(6)).await;
    assert_eq!(caller.put(RECORD, &cname("a.example")).await.status, 200);
}

#[tokio::test]
async fn a_precondition_fails_in_one_of_two_texts() {
    let caller = Caller::start("").await;
    let put = format!("PUT {RECORD}");
    let stale = caller.send(&put, &[("if-match", "stale")], Some(&cname("a.example"))).await;
    assert_eq!((stale.status, stale.code()), (412, "PreconditionFailed"));
    assert_eq!(stale.message(), "The Record set crm has been modified (etag mismatch).");
    let there = caller.send(&put, &[("if-none-match", "*")], Some(&cname("a.example"))).await;
    assert_eq!((there.status, there.code()), (412, "PreconditionFailed"));
    let text = "The Record set crm exists already and hence cannot be created again.";
    assert_eq!(there.message(), text);
    // The `etag` in a body is no precondition.
    let mut body = cname("a.example");
    body["etag"] = json!("stale");
    assert_eq!(caller.put(RECORD, &body).await.status, 200);
}

#[tokio::test]
async fn reads_writes_and_deletes_have_a_bucket_each() {
    let caller = Caller::start("").await;
    let class = |name: &str| format!("x-ms-ratelimit-remaining-subscription-{name}");
    for (method, name, size, rate) in
        [("GET", "reads", 250, 25), ("PATCH", "writes", 200, 10), ("DELETE", "deletes", 200, 10)]
    {
        // A record set that is not there: nothing changes, and every answer costs a token.
        let line = format!("{method} {}", RECORD.replace("/crm?", "/none?"));
        let body = (method == "PATCH").then(|| cname("a.example"));
        // Time flows meanwhile, so a few more than the bucket holds are taken.
        for tokens in [size, rate] {
            let (from, mut taken) = (caller.clock.now(), 0);
            let refused = loop {
                let reply = caller.send(&line, &[], body.as_ref()).await;
                let left: i64 = reply.header(&class(name)).parse().expect("a number");
                if reply.status == 429 {
                    break reply;
                }
                taken += 1;
                assert!(left < size && taken < 20 * size, "{name}: {left} left, {taken} taken");
            };
            let seconds = caller.clock.now().duration_since(from).as_secs() + 1;
            let most = tokens + rate * seconds + 1;
            assert!((tokens..=most).contains(&taken), "{name}: {taken} in {seconds} s");
            assert_eq!((refused.code(), refused.header("retry-after")), (THROTTLED, "1"));
            caller.pass(Duration::from_secs(1)).await;
        }
    }
}

#[tokio::test]
async fn ids_compare_without_case_and_keep_theirs() {
    let caller = Caller::start("").await;
    let plain = caller.get(RECORD).await;
    let shouted = RECORD.replace("resourceGroups/rg-dns", "RESOURCEGROUPS/RG-DNS");
    let shouted =
        shouted.replace("dnsZones/contoso.example/CNAME/crm", "DNSZONES/CONTOSO.example/cname/CRM");
    assert_eq!(caller.get(&shouted).await.body, plain.body);
    let id = plain.body["id"].as_str().expect("an id");
    assert!(id.contains("/resourceGroups/rg-dns/") && id.ends_with("/CNAME/crm"), "{id}");
    let query = caller.get(&RECORD.replace("api-version", "API-Version")).await;
    assert_eq!(query.body, plain.body);
    let item = caller.get(ITEM).await;
    let id = item.body["id"].as_str().expect("an id");
    assert!(id.starts_with("/Subscriptions/"), "as Site Recovery writes it: {id}");
}

#[tokio::test]
async fn an_unknown_version_is_refused_with_those_that_are_known() {
    let caller = Caller::start("").await;
    let refused = caller.get(&RECORD.replace("2018-05-01", "1999-01-01")).await;
    assert_eq!((refused.status, refused.code()), (400, "NoRegisteredProviderFound"));
    for part in ["API version '1999-01-01' for type 'dnszones'", "2018-05-01", "2023-07-01-preview"]
    {
        assert!(refused.message().contains(part), "{part}: {}", refused.message());
    }
    for known in ["2016-04-01", "2017-10-01", "2023-07-01-preview"] {
        assert_eq!(caller.get(&RECORD.replace("2018-05-01", known)).await.status, 200, "{known}");
    }
    let group = "~/resourcegroups/rg-crm?api-version=1999-01-01";
    assert_eq!(caller.get(group).await.code(), "InvalidApiVersionParameter");
    let none = caller.get("~/resourcegroups/rg-crm").await;
    assert_eq!(none.code(), "MissingApiVersionParameter");
}

#[tokio::test]
async fn a_healthy_idle_item_has_errors_nulls_texts_for_flags_and_a_point_in_the_future() {
    let caller = Caller::start("").await;
    caller.pass(Duration::from_hours(1)).await;
    let item = caller.get(ITEM).await.body;
    let (properties, details) =
        (&item["properties"], &item["properties"]["providerSpecificDetails"]);
    assert_eq!(properties["health"], "Normal");
    assert_eq!(properties["healthErrors"][0]["errorCode"], "110084");
    assert_eq!(properties["healthErrors"][0]["creationTimeUtc"], "0001-01-01T00:00:00");
    assert_eq!(properties["currentJob"]["jobName"], "None");
    let started = properties["currentJob"]["startTime"].as_str().expect("a time");
    assert!(started.starts_with("1753-01-01"), "{started}");
    for flag in ["performAutoResync", "resyncRequired"] {
        assert!(details[flag] == "true" || details[flag] == "false", "{flag} is {}", details[flag]);
    }
    for percentage in ["initialSeeding", "migration", "resync", "resume", "deltaSync"] {
        let name = format!("{percentage}ProgressPercentage");
        assert_eq!(details.get(&name), Some(&Value::Null), "{name}");
    }
    let point = details["lastRecoveryPointReceived"].as_str().expect("a time");
    let point: Timestamp = point.parse().expect("a time");
    assert!(point > caller.clock.now(), "{point}");
}

#[tokio::test]
async fn providers_leave_the_wrapper_out_and_arm_does_not() {
    let caller = Caller::start("").await;
    let bare = [
        RECORD.replace("/crm?", "/none?"),
        "~/providers/Microsoft.Insights/eventtypes/management/values?api-version=2015-04-01"
            .to_owned(),
    ];
    for path in bare {
        let refused = caller.get(&path).await.body;
        assert!(refused["code"].is_string() && refused.get("error").is_none(), "{refused}");
    }
    let wrapped = [
        "~/resourceGroups/rg-none/providers/Microsoft.Network/dnsZones?api-version=2018-05-01",
        "~/resourcegroups/rg-crm/providers/Microsoft.Resources/deployments/none?api-version=2021-04-01",
        LOCK,
    ];
    for path in wrapped {
        let refused = caller.get(path).await.body;
        assert!(refused["error"]["code"].is_string(), "{refused}");
    }
}

#[tokio::test]
async fn every_reply_carries_its_ids() {
    let caller = Caller::start("").await;
    let line = format!("GET {RECORD}");
    let asked = "11111111-2222-3333-4444-555555555555";
    let reply = caller.send(&line, &[("x-ms-client-request-id", asked)], None).await;
    assert_eq!(reply.header("x-ms-client-request-id"), asked);
    for name in ["x-ms-request-id", "x-ms-correlation-request-id"] {
        assert!(uuid::Uuid::parse_str(reply.header(name)).is_ok(), "{name}");
    }
    assert!(reply.header("x-ms-routing-request-id").starts_with("WESTEUROPE:"));
    assert_eq!(reply.body["etag"].as_str(), Some(reply.header("etag")), "in both places, unquoted");
}
