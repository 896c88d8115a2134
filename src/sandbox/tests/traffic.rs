//! Traffic Manager and Front Door over HTTPS.

use super::*;

const GROUP: &str = "/subscriptions/00000000-0000-0000-0000-00000000c0de/resourceGroups/rg-crm";

fn manager(rest: &str) -> String {
    format!(
        "{GROUP}/providers/Microsoft.Network/trafficmanagerprofiles/{rest}?api-version=2022-04-01"
    )
}

fn origin(rest: &str) -> String {
    format!(
        "{GROUP}/providers/Microsoft.Cdn/profiles/fd-crm/originGroups/{rest}?api-version=2024-09-01"
    )
}

fn weight(weight: u32) -> Value {
    json!({ "properties": { "weight": weight, "endpointStatus": "Enabled", "enabledState": "Enabled" } })
}

#[tokio::test]
async fn an_endpoint_is_patched_without_an_etag_and_checked_before_it_is_online() {
    let dir = tempfile::tempdir().expect("a folder");
    let (sandbox, clock, mut busy) = start_still(dir.path(), small()).await;
    let arm = Client::of(&sandbox).await;
    let target = manager("crm/ExternalEndpoints/target");
    let (_, headers, before) =
        arm.try_send(Method::GET, &target, &[], None).await.expect("an answer");
    assert!(!headers.contains_key("etag") && before["etag"].is_null());
    assert_eq!(before["properties"]["endpointMonitorStatus"], "Disabled");

    let (status, after) = arm.send(Method::PATCH, &target, &[], Some(&weight(20))).await;
    assert_eq!((status, &after["properties"]["weight"]), (200, &json!(20)));
    assert_eq!(
        after["properties"]["target"], before["properties"]["target"],
        "PATCH keeps the rest"
    );
    let (_, profile) = arm.get(&manager("CRM")).await;
    let status = &profile["properties"]["monitorConfig"]["profileMonitorStatus"];
    assert_eq!(status, "CheckingEndpoints");
    clock.sleep(Duration::from_secs(20), &mut busy).await;
    let (_, profile) = arm.get(&manager("crm")).await;
    let endpoints = profile["properties"]["endpoints"].as_array().expect("a list");
    let online = endpoints.iter().all(|it| it["properties"]["endpointMonitorStatus"] == "Online");
    assert!(online && endpoints.len() == 2, "{profile}");

    for wrong in [0, 1001] {
        let (status, refused) = arm.send(Method::PATCH, &target, &[], Some(&weight(wrong))).await;
        assert_eq!((status, &refused["error"]["code"]), (400, &json!("BadRequest")));
    }
    assert_eq!(arm.get(&manager("crm/externalEndpoints/none")).await.0, 404);
    sandbox.stop().await;
}

#[tokio::test]
async fn a_profile_is_made_with_its_endpoints_listed_and_deleted_with_them() {
    let dir = tempfile::tempdir().expect("a folder");
    let sandbox = start(dir.path()).await;
    let arm = Client::of(&sandbox).await;
    let body = json!({ "location": "global", "tags": { "a": "b" }, "properties": {
        "trafficRoutingMethod": "Weighted", "dnsConfig": { "relativeName": "shop", "ttl": 35 },
        "monitorConfig": { "protocol": "HTTP", "port": 80, "path": "/" },
        "endpoints": [{ "name": "one", "type": "Microsoft.Network/trafficManagerProfiles/externalEndpoints",
            "properties": { "target": "shop.contoso.example" } }],
    } });
    let (status, made) = arm.send(Method::PUT, &manager("shop"), &[], Some(&body)).await;
    assert_eq!(
        (status, &made["properties"]["dnsConfig"]["fqdn"]),
        (201, &json!("shop.trafficmanager.net"))
    );
    assert_eq!(made["properties"]["endpoints"][0]["properties"]["weight"], 1);
    let (_, list) = arm.get(&manager("").replace("/?", "?")).await;
    assert_eq!(list["value"].as_array().map(Vec::len), Some(2));
    assert_eq!(arm.send(Method::PUT, &manager("shop"), &[], Some(&body)).await.0, 200);
    assert_eq!(arm.send(Method::DELETE, &manager("shop"), &[], None).await.0, 200);
    assert_eq!(arm.send(Method::DELETE, &manager("shop"), &[], None).await.0, 204);
    assert_eq!(arm.get(&manager("shop/externalEndpoints/one")).await.0, 404);
    sandbox.stop().await;
}

#[tokio::test]
async fn an_origin_changes_by_a_long_running_operation_whose_status_is_at_operationresults() {
    let dir = tempfile::tempdir().expect("a folder");
    let (sandbox, clock, mut busy) = start_still(dir.path(), small()).await;
    let arm = Client::of(&sandbox).await;
    let target = origin("web/origins/target");
    let (status, headers, begun) =
        arm.try_send(Method::PATCH, &target, &[], Some(&weight(7))).await.expect("an answer");
    assert_eq!((status, &begun["properties"]["provisioningState"]), (202, &json!("Updating")));
    let poll =
        headers["azure-asyncoperation"].to_str().expect("text").replace(&sandbox.azure.arm, "");
    assert!(poll.contains("/providers/Microsoft.Cdn/operationresults/"), "{poll}");
    assert_eq!(arm.get(&poll).await, (200, json!({ "status": "Running" })));
    clock.sleep(Duration::from_mins(1), &mut busy).await;
    assert_eq!(arm.get(&poll).await, (200, json!({ "status": "Succeeded" })));
    let (_, list) = arm.get(&origin("web/origins")).await;
    let origins: Vec<_> = list["value"]
        .as_array()
        .expect("a list")
        .iter()
        .map(|it| {
            (&it["name"], &it["properties"]["weight"], &it["properties"]["provisioningState"])
        })
        .collect();
    let succeeded = json!("Succeeded");
    let (source, target) = (json!("source"), json!("target"));
    assert_eq!(origins, [(&source, &json!(1000), &succeeded), (&target, &json!(7), &succeeded)]);
    assert_eq!(arm.get(&origin("none/origins")).await.0, 404);
    sandbox.stop().await;
}
