//! The sandbox's answers beyond what runs ask for: every operation it has, with success and refusals, against the files.

use serde_json::{Value, json};

use super::caller::Caller;
use super::judge::{Findings, Listed};
use super::openapi::Files;
use super::rules::KNOWN;
use super::table::{DNS, FRONT_DOOR, RESOURCES, ROWS, TRAFFIC_MANAGER};
use crate::names;

const SUBSCRIPTIONS: &str =
    "resources/resource-manager/Microsoft.Resources/stable/2022-12-01/subscriptions.json";

/// Operations that the sandbox answers and the client never sends: for other clients, a stock Azure CLI first.
pub(crate) const FURTHER: &[(&str, &[&str])] = &[
    (SUBSCRIPTIONS, &["Subscriptions_List", "Subscriptions_Get"]),
    (
        RESOURCES,
        &[
            "ResourceGroups_List",
            "ResourceGroups_CheckExistence",
            "ResourceGroups_CreateOrUpdate",
            "ResourceGroups_Delete",
            "Resources_List",
            "Resources_ListByResourceGroup",
            "Resources_CreateOrUpdateById",
            "Resources_DeleteById",
            "Deployments_ListByResourceGroup",
            "Deployments_CheckExistence",
            "Deployments_Delete",
        ],
    ),
    (
        DNS,
        &[
            "Zones_List",
            "Zones_ListByResourceGroup",
            "Zones_CreateOrUpdate",
            "Zones_Delete",
            "RecordSets_Update",
            "RecordSets_ListByType",
            "RecordSets_ListAllByDnsZone",
        ],
    ),
    (
        TRAFFIC_MANAGER,
        &[
            "Profiles_ListBySubscription",
            "Profiles_ListByResourceGroup",
            "Profiles_CreateOrUpdate",
            "Profiles_Update",
            "Profiles_Delete",
            "Endpoints_CreateOrUpdate",
            "Endpoints_Delete",
        ],
    ),
    (
        FRONT_DOOR,
        &[
            "AFDOriginGroups_ListByProfile",
            "AFDOriginGroups_Get",
            "AFDOrigins_Create",
            "AFDOrigins_Delete",
        ],
    ),
];

/// One line each: method, path, and after ` <- ` a body.
const CONVERSATION: &[&str] = &[
    "GET /subscriptions?api-version=2022-12-01",
    "GET ~?api-version=2022-12-01",
    "GET ~/resourcegroups?api-version=2024-07-01",
    "GET ~/resourcegroups/rg-crm?api-version=2024-07-01",
    "GET ~/resourcegroups/rg-none?api-version=2024-07-01",
    "HEAD ~/resourcegroups/rg-crm?api-version=2024-07-01",
    "PUT ~/resourcegroups/rg-new?api-version=2024-07-01 <- {\"location\":\"westeurope\",\"tags\":{\"a\":\"b\"}}",
    "PUT ~/resourcegroups/rg-bad?api-version=2024-07-01 <- {}",
    "PUT ~/resourceGroups/rg-new/providers/Microsoft.Web/sites/s?api-version=2023-01-01 <- {\"location\":\"westeurope\",\"properties\":{\"httpsOnly\":true}}",
    "GET ~/resourceGroups/rg-new/providers/Microsoft.Web/sites/s?api-version=2023-01-01",
    "HEAD ~/resourceGroups/rg-new/providers/Microsoft.Web/sites/s?api-version=2023-01-01",
    "GET ~/resourceGroups/rg-new/providers/Microsoft.Web/sites/none?api-version=2023-01-01",
    "GET ~/resources?api-version=2024-07-01",
    "GET ~/resourceGroups/rg-new/resources?api-version=2024-07-01",
    "PUT ~/resourceGroups/rg-new/providers/Microsoft.Authorization/locks/l?api-version=2020-05-01 <- {\"properties\":{\"level\":\"CanNotDelete\",\"notes\":\"n\"}}",
    "PUT ~/resourceGroups/rg-new/providers/Microsoft.Authorization/locks/l?api-version=2020-05-01 <- {\"properties\":{\"level\":\"Odd\"}}",
    "GET ~/resourceGroups/rg-new/providers/Microsoft.Authorization/locks/l?api-version=2020-05-01",
    "GET ~/resourceGroups/rg-new/providers/Microsoft.Authorization/locks?api-version=2020-05-01",
    "DELETE ~/resourceGroups/rg-new/providers/Microsoft.Web/sites/s?api-version=2023-01-01",
    "DELETE ~/resourceGroups/rg-new/providers/Microsoft.Authorization/locks/l?api-version=2020-05-01",
    "GET ~/resourceGroups/rg-new/providers/Microsoft.Authorization/locks/l?api-version=2020-05-01",
    "WAIT",
    "DELETE ~/resourceGroups/rg-new/providers/Microsoft.Web/sites/s?api-version=2023-01-01",
    "POST ~/resourcegroups/rg-new/providers/Microsoft.Resources/deployments/d/validate?api-version=2024-07-01 <- TEMPLATE",
    "POST ~/resourcegroups/rg-new/providers/Microsoft.Resources/deployments/d/validate?api-version=2024-07-01 <- {\"properties\":{\"mode\":\"Incremental\",\"template\":{}}}",
    "POST ~/resourcegroups/rg-new/providers/Microsoft.Resources/deployments/d/whatIf?api-version=2024-07-01 <- TEMPLATE",
    "PUT ~/resourcegroups/rg-new/providers/Microsoft.Resources/deployments/d?api-version=2024-07-01 <- TEMPLATE",
    "PUT ~/resourcegroups/rg-new/providers/Microsoft.Resources/deployments/d?api-version=2024-07-01 <- TEMPLATE",
    "WAIT",
    "GET ~/resourcegroups/rg-new/providers/Microsoft.Resources/deployments/d?api-version=2024-07-01",
    "GET ~/resourcegroups/rg-new/providers/Microsoft.Resources/deployments/none?api-version=2024-07-01",
    "HEAD ~/resourcegroups/rg-new/providers/Microsoft.Resources/deployments/d?api-version=2024-07-01",
    "GET ~/resourcegroups/rg-new/providers/Microsoft.Resources/deployments/?api-version=2024-07-01",
    "GET ~/resourcegroups/rg-new/deployments/d/operations?api-version=2024-07-01",
    "DELETE ~/resourcegroups/rg-new/providers/Microsoft.Resources/deployments/d?api-version=2024-07-01",
    "DELETE ~/resourcegroups/rg-new?api-version=2024-07-01",
    "PUT ~/resourceGroups/rg-dns/providers/Microsoft.Network/dnsZones/new.example?api-version=2018-05-01 <- {\"location\":\"global\"}",
    "PUT ~/resourceGroups/rg-dns/providers/Microsoft.Network/dnsZones/new.example?api-version=2018-05-01 <- {\"location\":\"global\",\"tags\":{\"a\":\"b\"}}",
    "GET ~/resourceGroups/rg-dns/providers/Microsoft.Network/dnsZones/new.example?api-version=2018-05-01",
    "GET ~/resourceGroups/rg-dns/providers/Microsoft.Network/dnsZones/none.example?api-version=2018-05-01",
    "GET ~/providers/Microsoft.Network/dnszones?api-version=2018-05-01",
    "GET ~/resourceGroups/rg-dns/providers/Microsoft.Network/dnsZones?api-version=2018-05-01",
    "PUT ZONE/A/a?api-version=2018-05-01 <- {\"properties\":{\"TTL\":60,\"ARecords\":[{\"ipv4Address\":\"127.0.0.1\"}]}}",
    "PUT ZONE/AAAA/a?api-version=2018-05-01 <- {\"properties\":{\"TTL\":60,\"AAAARecords\":[{\"ipv6Address\":\"::1\"}]}}",
    "PUT ZONE/CAA/a?api-version=2018-05-01 <- {\"properties\":{\"TTL\":60,\"caaRecords\":[{\"flags\":0,\"tag\":\"issue\",\"value\":\"ca.example\"}]}}",
    "PUT ZONE/CNAME/c?api-version=2018-05-01 <- {\"properties\":{\"TTL\":60,\"CNAMERecord\":{\"cname\":\"a.new.example\"}}}",
    "PUT ZONE/MX/@?api-version=2018-05-01 <- {\"properties\":{\"TTL\":60,\"MXRecords\":[{\"preference\":10,\"exchange\":\"m.example\"}]}}",
    "PUT ZONE/NS/sub?api-version=2018-05-01 <- {\"properties\":{\"TTL\":60,\"NSRecords\":[{\"nsdname\":\"n.example\"}]}}",
    "PUT ZONE/PTR/4?api-version=2018-05-01 <- {\"properties\":{\"TTL\":60,\"PTRRecords\":[{\"ptrdname\":\"p.example\"}]}}",
    "PUT ZONE/SRV/_s._tcp?api-version=2018-05-01 <- {\"properties\":{\"TTL\":60,\"SRVRecords\":[{\"priority\":0,\"weight\":5,\"port\":5060,\"target\":\"s.example\"}]}}",
    "PUT ZONE/TXT/@?api-version=2018-05-01 <- {\"properties\":{\"TTL\":60,\"metadata\":{\"k\":\"v\"},\"TXTRecords\":[{\"value\":[\"a\",\"b\"]}]}}",
    "PATCH ZONE/A/a?api-version=2018-05-01 <- {\"properties\":{\"TTL\":30}}",
    "PATCH ZONE/A/none?api-version=2018-05-01 <- {\"properties\":{\"TTL\":30}}",
    "PUT ZONE/A/bad?api-version=2018-05-01 <- {\"properties\":{\"ARecords\":[]}}",
    "PUT ZONE/A/c?api-version=2018-05-01 <- {\"properties\":{\"TTL\":60,\"ARecords\":[]}}",
    "GET ZONE/A/a?api-version=2018-05-01",
    "GET ZONE/SOA/@?api-version=2018-05-01",
    "GET ZONE/A?api-version=2018-05-01",
    "GET ZONE/recordsets?api-version=2018-05-01&$top=3",
    "GET ZONE/all?api-version=2018-05-01",
    "DELETE ZONE/A/a?api-version=2018-05-01",
    "DELETE ZONE/A/a?api-version=2018-05-01",
    "DELETE ZONE?api-version=2018-05-01",
    "DELETE ~/resourceGroups/rg-dns/providers/Microsoft.Network/dnsZones/none.example?api-version=2018-05-01",
    "GET ~/providers/Microsoft.Network/trafficmanagerprofiles?api-version=2022-04-01",
    "GET ~/resourceGroups/rg-crm/providers/Microsoft.Network/trafficmanagerprofiles?api-version=2022-04-01",
    "PUT PROFILE?api-version=2022-04-01 <- {\"location\":\"global\",\"properties\":{\"trafficRoutingMethod\":\"Weighted\",\"dnsConfig\":{\"relativeName\":\"new\",\"ttl\":30},\"monitorConfig\":{\"protocol\":\"HTTP\",\"port\":80,\"path\":\"/\"}}}",
    "PATCH PROFILE?api-version=2022-04-01 <- {\"tags\":{\"a\":\"b\"}}",
    "PUT PROFILE/externalEndpoints/a?api-version=2022-04-01 <- {\"properties\":{\"target\":\"crm-target.contoso.example\",\"weight\":5}}",
    "PATCH PROFILE/externalEndpoints/a?api-version=2022-04-01 <- {\"properties\":{\"weight\":6,\"endpointStatus\":\"Disabled\"}}",
    "PUT PROFILE/externalEndpoints/b?api-version=2022-04-01 <- {\"properties\":{\"target\":\"x.example\",\"weight\":5000}}",
    "GET PROFILE/externalEndpoints/a?api-version=2022-04-01",
    "GET PROFILE/externalEndpoints/none?api-version=2022-04-01",
    "GET PROFILE?api-version=2022-04-01",
    "DELETE PROFILE/externalEndpoints/a?api-version=2022-04-01",
    "DELETE PROFILE/externalEndpoints/a?api-version=2022-04-01",
    "DELETE PROFILE?api-version=2022-04-01",
    "GET PROFILE?api-version=2022-04-01",
    "GET DOOR?api-version=2024-09-01",
    "GET DOOR/web?api-version=2024-09-01",
    "GET DOOR/none?api-version=2024-09-01",
    "GET DOOR/web/origins?api-version=2024-09-01",
    "GET DOOR/web/origins/source?api-version=2024-09-01",
    "PATCH DOOR/web/origins/source?api-version=2024-09-01 <- {\"properties\":{\"weight\":10}}",
    "PUT DOOR/web/origins/new?api-version=2024-09-01 <- {\"properties\":{\"hostName\":\"x.example\",\"weight\":10}}",
    "PUT DOOR/web/origins/bad?api-version=2024-09-01 <- {\"properties\":{\"hostName\":\"x.example\",\"weight\":5000}}",
    "WAIT",
    "DELETE DOOR/web/origins/new?api-version=2024-09-01",
    "GET ~/providers/Microsoft.Insights/eventtypes/management/values?api-version=2015-04-01&$filter=eventTimestamp ge '2026-12-01T00:00:00Z'",
    "GET ~/providers/Microsoft.Insights/eventtypes/management/values?api-version=2015-04-01&$filter=eventTimestamp ge '2020-12-01T00:00:00Z'",
    "GET ~/resourceGroups/rg-crm/providers/Microsoft.RecoveryServices/vaults/vault-crm/replicationMigrationItems?api-version=2024-04-01",
    "GET ~/resourceGroups/rg-crm/providers/Microsoft.RecoveryServices/vaults/vault-crm/replicationFabrics/fabric-1/replicationProtectionContainers/container-1/replicationMigrationItems/crm-db?api-version=2024-04-01",
    "GET ~/resourceGroups/rg-crm/providers/Microsoft.RecoveryServices/vaults/vault-crm/replicationFabrics/fabric-1/replicationProtectionContainers/container-1/replicationMigrationItems/none?api-version=2024-04-01",
];

/// The same of a private zone, in a world that has one.
const OF_PRIVATE_NAMES: &[&str] = &[
    "GET INNER?api-version=2024-06-01",
    "GET INNER/ALL?api-version=2024-06-01",
    "GET INNER/A/db?api-version=2024-06-01",
    "GET INNER/A/none?api-version=2024-06-01",
    "PUT INNER/A/www?api-version=2024-06-01 <- {\"properties\":{\"ttl\":60,\"aRecords\":[{\"ipv4Address\":\"10.0.0.9\"}]}}",
    "PUT INNER/A/odd?api-version=2024-06-01 <- {\"properties\":{\"ttl\":60,\"aRecords\":[{\"ipv4Address\":\"x\"}]}}",
    "DELETE INNER/A/www?api-version=2024-06-01",
];

/// Whether this conversation leaves an operation to the runs: `recorded` fails where none of them asks for it.
pub(crate) fn is_only_in_runs(id: &str) -> bool {
    ONLY_IN_RUNS.contains(&id)
}

/// Operations that this conversation does not speak of.
const ONLY_IN_RUNS: &[&str] = &[
    "AvailabilityStatuses_GetByResource",
    "DenyAssignments_ListForScope",
    "DistributedAvailabilityGroups_Get",
    "Events_ListBySubscriptionId",
    "Metrics_List",
    "MigrationRecoveryPoints_ListByReplicationMigrationItems",
    "Migrations_Get",
    "Permissions_ListForResource",
    "Permissions_ListForResourceGroup",
    "ReplicationJobs_Get",
    "ReplicationMigrationItems_Migrate",
    "ReplicationMigrationItems_TestMigrate",
    "ReplicationMigrationItems_TestMigrateCleanup",
    "ReplicationProtectedItems_Get",
    "RoleAssignments_ListForScope",
    "RoleDefinitions_Get",
    "Tasks_Get",
];

const PROFILE: &str =
    "~/resourceGroups/rg-crm/providers/Microsoft.Network/trafficmanagerprofiles/new";
const DOOR: &str = "~/resourceGroups/rg-crm/providers/Microsoft.Cdn/profiles/fd-crm/originGroups";
const INNER: &str =
    "~/resourceGroups/rg-dns/providers/Microsoft.Network/privateDnsZones/contoso.internal";
const ZONE: &str = "~/resourceGroups/rg-dns/providers/Microsoft.Network/dnsZones/new.example";

fn template() -> Value {
    json!({ "properties": { "mode": "Incremental", "parameters": { "name": { "value": "crm" } }, "template": {
        "$schema": "https://schema.management.azure.com/schemas/2019-04-01/deploymentTemplate.json#",
        "contentVersion": "1.0.0.0",
        "parameters": { "name": { "type": "string" } },
        "resources": [{
            "type": "Microsoft.Web/sites", "apiVersion": "2023-01-01", "name": "[parameters('name')]",
            "location": "[resourceGroup().location]", "properties": { "httpsOnly": true },
        }],
        "outputs": { "site": { "type": "string", "value": "[parameters('name')]" } },
    } } })
}

fn whole(line: &str) -> String {
    [("ZONE", ZONE), ("INNER", INNER), ("PROFILE", PROFILE), ("DOOR", DOOR)]
        .iter()
        .fold(line.to_owned(), |line, (short, long)| line.replace(short, long))
}

/// Says it all, and follows every operation to its end and every list to its last page.
async fn talk(caller: &Caller, conversation: &[&str]) {
    for entry in conversation {
        if *entry == "WAIT" {
            caller.pass(std::time::Duration::from_mins(2)).await;
            continue;
        }
        let (line, body) = entry.split_once(" <- ").map_or((*entry, None), |(l, b)| (l, Some(b)));
        let body = body.map(|text| match text {
            "TEMPLATE" => template(),
            json => serde_json::from_str(json).expect("JSON"),
        });
        let reply = caller.send(&whole(line), &[], body.as_ref()).await;
        for name in ["azure-asyncoperation", "location"] {
            let poll = reply.header(name);
            if !poll.is_empty() {
                caller.get(poll).await;
                caller.pass(std::time::Duration::from_mins(2)).await;
                caller.get(poll).await;
            }
        }
        let mut next = reply.body["nextLink"].as_str().map(str::to_owned);
        while let Some(link) = next {
            next = caller.get(&link).await.body["nextLink"].as_str().map(str::to_owned);
        }
    }
}

#[tokio::test]
async fn every_answer_of_every_operation_is_as_the_files_say() {
    let Some(files) = Files::given() else { return };
    let listed = Listed::new(&files, FURTHER);
    let mut findings = Findings::default();
    for (world, conversation) in [("", CONVERSATION), (names::PRIVATE, OF_PRIVATE_NAMES)] {
        let caller = Caller::start(world).await;
        talk(&caller, conversation).await;
        listed.judge(&caller.end().await, &mut findings);
    }
    println!("{} exchanges, {} operations", findings.exchanges, findings.met.len());
    let strangers = findings.client.iter().filter(|it| it.starts_with("no listed"));
    for known in KNOWN {
        println!("known: {} {}: {}", known.operation, known.fault, known.why);
    }
    let wrong: Vec<_> = findings.sandbox.iter().chain(strangers).cloned().collect();
    assert!(wrong.is_empty(), "{} mismatches\n{}", wrong.len(), wrong.join("\n"));
    let own = ROWS.iter().map(|row| (row.spec, row.id));
    let further = FURTHER.iter().flat_map(|(spec, ids)| ids.iter().map(move |id| (*spec, *id)));
    let mut silent: Vec<_> = own.chain(further).collect();
    println!("held where a runbook asks: {}", ONLY_IN_RUNS.join(", "));
    silent.retain(|(_, id)| !is_only_in_runs(id));
    silent.retain(|(spec, id)| !findings.met.contains(&((*spec).to_owned(), (*id).to_owned())));
    assert!(silent.is_empty(), "never answered with success: {silent:?}");
    let idle: Vec<_> = (0..KNOWN.len()).filter(|at| !findings.known.contains(at)).collect();
    assert!(idle.is_empty(), "departures that nothing needs: {idle:?}");
}
