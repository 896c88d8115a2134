//! Locks, deployments, operations, the activity log and lists, over HTTPS.

use super::*;

const GROUP: &str = "/subscriptions/00000000-0000-0000-0000-00000000c0de/resourceGroups/rg-crm";

fn at(rest: &str, version: &str) -> String {
    format!("{GROUP}{rest}?api-version={version}")
}

#[tokio::test]
async fn a_lock_is_in_the_way_until_it_is_taken_away() {
    let dir = tempfile::tempdir().expect("a folder");
    let sandbox = start_with(dir.path(), Scenario { unlock_seconds: 0, ..small() }).await;
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
        assert_eq!((status, &refused["error"]["code"]), (delete, &json!("ScopeLocked")), "{level}");
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
    let (sandbox, clock, mut busy) = start_still(dir.path(), small()).await;
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
    let callers: Vec<_> =
        page["value"].as_array().expect("events").iter().map(|event| &event["caller"]).collect();
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
    let code =
        |reply: (u16, Value)| (reply.0, reply.1["error"]["code"].as_str().unwrap_or("").to_owned());
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
