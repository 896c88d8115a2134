//! Metrics, rights and health over HTTPS: what only is read, with the oddities of the real ones.

use super::*;

const SCOPE: &str = "/subscriptions/00000000-0000-0000-0000-00000000c0de";

async fn scripted(dir: &Path, text: &str) -> (Sandbox, Client) {
    let parsed = Scenario::parse("test", text).expect("valid");
    let estate = small();
    let scenario = Scenario { estate: estate.estate, writer: estate.writer, ..parsed };
    let sandbox = start_with(dir, scenario).await;
    let client = Client::of(&sandbox).await;
    (sandbox, client)
}

#[tokio::test]
async fn a_metric_has_points_without_values_and_a_timespan_may_be_encoded_twice() {
    let dir = tempfile::tempdir().expect("a folder");
    let metrics = "metrics: [{ resource: Microsoft.Web/sites/a, metric: Http5xx, points: [[0, 4.0], [90, null]], late_seconds: 0 }]\nstart: 2026-12-05T20:10:00Z";
    let (sandbox, arm) = scripted(dir.path(), metrics).await;
    let site = format!(
        "{SCOPE}/resourceGroups/RG-crm/providers/Microsoft.Web/sites/A/providers/Microsoft.Insights/metrics"
    );
    let ask = |timespan: &str| {
        format!(
            "{site}?api-version=2024-02-01&metricnames=http5xx&aggregation=total,average&timespan={timespan}"
        )
    };
    let (from, until) = ("2026-12-05T20%3A06%3A00Z", "2026-12-05T20%3A13%3A00Z");
    let (status, once) = arm.get(&ask(&format!("{from}%2F{until}"))).await;
    assert_eq!(status, 200, "{once}");
    let data = once["value"][0]["timeseries"][0]["data"].as_array().expect("points");
    assert_eq!(data.len(), 7);
    assert_eq!((&data[0]["total"], &data[0]["average"]), (&json!(4.0), &json!(4.0)));
    let last = data[6].as_object().expect("a point");
    assert_eq!(last.keys().collect::<Vec<_>>(), ["timeStamp"], "no value, no key");
    let twice = ask(&format!("{from}/{until}").replace('%', "%25"));
    assert_eq!(arm.get(&twice).await.1["value"], once["value"]);
    let unknown = ask("x").replace("http5xx", "Nothing");
    let (status, refused) = arm.get(&unknown).await;
    assert_eq!((status, &refused["error"]["code"]), (400, &json!("BadRequest")));
    sandbox.stop().await;
}

#[tokio::test]
async fn permissions_follow_from_roles_and_do_not_show_what_is_denied() {
    let dir = tempfile::tempdir().expect("a folder");
    let world = "
roles: [{ role: Reader }, { role: DNS Zone Contributor, group: rg-dns }]
denies: [{ name: stack, group: rg-dns, actions: ['*/delete'] }]
";
    let (sandbox, arm) = scripted(dir.path(), world).await;
    let at = |scope: &str, what: &str| {
        format!("{SCOPE}{scope}/providers/Microsoft.Authorization/{what}?api-version=2022-04-01")
    };
    let count = |body: &Value| body["value"].as_array().map_or(0, Vec::len);
    let (_, here) = arm.get(&at("/resourceGroups/rg-dns", "permissions")).await;
    let (_, there) = arm.get(&at("/resourceGroups/rg-crm", "permissions")).await;
    assert_eq!((count(&here), count(&there)), (2, 1));
    assert_eq!(there["value"][0]["actions"], json!(["*/read"]));
    let zone = "/resourceGroups/rg-dns/providers/Microsoft.Network/dnsZones/contoso.example";
    let (_, denied) = arm.get(&(at(zone, "denyAssignments") + "&$filter=atScope()")).await;
    assert_eq!(denied["value"][0]["properties"]["denyAssignmentName"], "stack");
    let (_, none) = arm.get(&(at("", "denyAssignments") + "&$filter=atScope()")).await;
    assert_eq!(count(&none), 0);

    let (_, roles) = arm.get(&at("", "roleAssignments")).await;
    assert_eq!(count(&roles), 2);
    let own = roles["value"][0]["properties"]["principalId"].as_str().expect("an id").to_owned();
    let body = json!({ "properties": { "principalId": own, "principalType": "ServicePrincipal",
        "roleDefinitionId": format!("{SCOPE}/providers/Microsoft.Authorization/roleDefinitions/8e3af657-a8ff-443c-a75c-2fe8c4bcb635") } });
    let new = at("/resourceGroups/rg-crm", "roleAssignments/11111111-1111-1111-1111-111111111111");
    assert_eq!(arm.send(Method::PUT, &new, &[], Some(&body)).await.0, 201);
    let (_, there) = arm.get(&at("/resourceGroups/rg-crm", "permissions")).await;
    assert_eq!(count(&there), 2);
    let filter = format!("&$filter=assignedTo('{own}')");
    assert_eq!(count(&arm.get(&(at("", "roleAssignments") + &filter)).await.1), 3);
    let (_, owner) = arm.get(&at("", "roleDefinitions/8e3af657-a8ff-443c-a75c-2fe8c4bcb635")).await;
    assert_eq!(owner["properties"]["roleName"], "Owner");
    assert_eq!(arm.send(Method::DELETE, &new, &[], None).await.0, 200);
    assert_eq!(arm.send(Method::DELETE, &new, &[], None).await.0, 204);
    sandbox.stop().await;
}

#[tokio::test]
async fn health_is_scripted_and_silent_about_what_is_not_there() {
    let dir = tempfile::tempdir().expect("a folder");
    let world = "
health: [{ resource: Microsoft.Web/sites/a, states: [[0, Unavailable]] }]
service_events: [{ id: A-1, type: ServiceIssue, title: t, service: Azure DNS, region: Global, after_seconds: 9999999 }, { id: B-2, type: PlannedMaintenance, title: t, service: Azure DNS, region: Global }]
";
    let (sandbox, arm) = scripted(dir.path(), world).await;
    let of = |resource: &str| {
        format!(
            "{SCOPE}/resourceGroups/rg-crm/providers/{resource}/providers/Microsoft.ResourceHealth/availabilityStatuses/current?api-version=2024-02-01"
        )
    };
    let (_, site) = arm.get(&of("Microsoft.Web/sites/A")).await;
    let properties = &site["properties"];
    assert_eq!(
        (&properties["availabilityState"], &properties["reasonType"]),
        (&json!("Unavailable"), &json!("Unplanned"))
    );
    assert!(properties["occuredTime"].is_string(), "spelt so");
    let (_, profile) = arm.get(&of("Microsoft.Network/trafficManagerProfiles/crm")).await;
    assert_eq!(profile["properties"]["availabilityState"], "Available");
    assert_eq!(arm.get(&of("Microsoft.Web/sites/b")).await.0, 404);
    let events =
        format!("{SCOPE}/providers/Microsoft.ResourceHealth/events?api-version=2024-02-01");
    let (_, events) = arm.get(&events).await;
    let names: Vec<_> =
        events["value"].as_array().expect("a list").iter().map(|it| &it["name"]).collect();
    assert_eq!(names, ["B-2"]);
    sandbox.stop().await;
}
