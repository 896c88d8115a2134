//! The operations of the client: which file describes each, which version is sent, which methods send it, and what those
//! take out of an answer. A method of the client that stands here nowhere fails a test, as does a request of a run.

use futures::FutureExt;
use futures::future::LocalBoxFuture;
use migrate::azure::{
    ActivityEvent, ActivityFilter, Aggregation, ArmError, Balanced, Balancer, Deployment, Job,
    Lock, LockLevel, MetricQuery, MigrationItemId, RecordSet, RecordType, ReplicationItem,
    ResourceId, Template, TestMachine, Weight,
};
use serde_json::{Map, Value, json};

use super::played::Asking;

/// What was read: for each item of the answer the texts that have to stand in it; none where nothing is read.
pub(crate) type Read = Option<Vec<Vec<String>>>;
pub(crate) type Ask = for<'a> fn(&'a mut Asking) -> LocalBoxFuture<'a, Result<Read, ArmError>>;

/// One operation.
pub(crate) struct Row {
    pub(crate) id: &'static str,
    /// The `OpenAPI` file.
    pub(crate) spec: &'static str,
    /// The api-version that is sent.
    pub(crate) sends: &'static str,
    /// Where the files hold no example of the operation: one that answers with the same schema, if there is any.
    pub(crate) like: Option<&'static str>,
    /// What is read before it is sent.
    pub(crate) given: Option<fn() -> Value>,
    /// Methods of the client that send it.
    pub(crate) methods: &'static [(&'static str, Ask)],
}

pub(crate) const LOCKS: &str =
    "resources/resource-manager/Microsoft.Authorization/stable/2020-05-01/locks.json";
pub(crate) const RESOURCES: &str =
    "resources/resource-manager/Microsoft.Resources/stable/2024-07-01/resources.json";
pub(crate) const ACTIVITY: &str =
    "monitor/resource-manager/Microsoft.Insights/stable/2015-04-01/activityLogs_API.json";
pub(crate) const DNS: &str = "dns/resource-manager/Microsoft.Network/stable/2018-05-01/dns.json";
pub(crate) const PRIVATE_DNS: &str =
    "privatedns/resource-manager/Microsoft.Network/stable/2024-06-01/privatedns.json";
pub(crate) const SITE_RECOVERY: &str = "recoveryservicessiterecovery/resource-manager/Microsoft.RecoveryServices/stable/2024-04-01/service.json";
pub(crate) const MIGRATION_SERVICE: &str =
    "datamigration/resource-manager/Microsoft.DataMigration/stable/2021-06-30/datamigration.json";
pub(crate) const POSTGRES: &str =
    "postgresql/resource-manager/Microsoft.DBforPostgreSQL/stable/2024-08-01/Migrations.json";
pub(crate) const INSTANCE_LINKS: &str = "sql/resource-manager/Microsoft.Sql/preview/2023-08-01-preview/DistributedAvailabilityGroups.json";
pub(crate) const TRAFFIC_MANAGER: &str =
    "trafficmanager/resource-manager/Microsoft.Network/stable/2022-04-01/trafficmanager.json";
pub(crate) const FRONT_DOOR: &str =
    "cdn/resource-manager/Microsoft.Cdn/stable/2024-09-01/afdx.json";
pub(crate) const METRICS: &str =
    "monitor/resource-manager/Microsoft.Insights/stable/2024-02-01/metrics_API.json";
pub(crate) const ROLES: &str = "authorization/resource-manager/Microsoft.Authorization/stable/2022-04-01/authorization-RoleDefinitionsCalls.json";
pub(crate) const ASSIGNMENTS: &str = "authorization/resource-manager/Microsoft.Authorization/stable/2022-04-01/authorization-RoleAssignmentsCalls.json";
pub(crate) const DENIALS: &str = "authorization/resource-manager/Microsoft.Authorization/stable/2022-04-01/authorization-DenyAssignmentCalls.json";
pub(crate) const HEALTH: &str = "resourcehealth/resource-manager/Microsoft.ResourceHealth/stable/2024-02-01/ResourceHealth.json";

/// The table, and a test of each row under its operation's name.
macro_rules! rows {
    ($($test:ident: $id:literal in $spec:ident at $sends:literal $(like $like:literal)? $(given $given:ident)?
        { $($method:ident: $ask:expr),+ $(,)? })+) => {
        pub(crate) static ROWS: &[Row] = &[$(Row {
            id: $id,
            spec: $spec,
            sends: $sends,
            like: rows!(@like $($like)?),
            given: rows!(@given $($given)?),
            methods: &[$((stringify!($method), $ask)),+],
        }),+];

        mod operation {
            $(#[tokio::test]
            async fn $test() {
                crate::conformance::client::holds($id, super::$spec).await;
            })+
        }
    };
    (@like) => { None };
    (@like $like:literal) => { Some($like) };
    (@given) => { None };
    (@given $given:ident) => { Some($given) };
}

rows! {
    management_locks_get_by_scope: "ManagementLocks_GetByScope" in LOCKS at "2020-05-01" {
        lock: |it| async {
            let lock = it.azure.lock(&mut it.wait, &group(), "l").await?;
            Ok(Some(lock.iter().map(lock_words).collect()))
        }.boxed_local(),
    }
    management_locks_list_by_scope: "ManagementLocks_ListByScope" in LOCKS at "2020-05-01" {
        locks: |it| async {
            let locks = it.azure.locks(&mut it.wait, &group()).await?;
            Ok(Some(locks.iter().map(lock_words).collect()))
        }.boxed_local(),
    }
    management_locks_create_or_update_by_scope: "ManagementLocks_CreateOrUpdateByScope" in LOCKS at "2020-05-01" {
        put_lock: |it| async {
            let lock = Lock { name: "l".into(), level: Some(LockLevel::ReadOnly), notes: "n".into() };
            let lock = it.azure.put_lock(&mut it.wait, it.permit, &group(), &lock).await?;
            Ok(Some(vec![lock_words(&lock)]))
        }.boxed_local(),
    }
    management_locks_delete_by_scope: "ManagementLocks_DeleteByScope" in LOCKS at "2020-05-01" {
        delete_lock: |it| async {
            it.azure.delete_lock(&mut it.wait, it.permit, &group(), "l").await?;
            Ok(None)
        }.boxed_local(),
    }
    activity_logs_list: "ActivityLogs_List" in ACTIVITY at "2015-04-01" {
        activity: |it| async {
            let at = |text: &str| text.parse().expect("a time");
            let filter = ActivityFilter {
                from: at("2026-11-21T07:00:00Z"),
                until: at("2026-11-21T09:00:00Z"),
                scope: group(),
            };
            let events = it.azure.activity(&mut it.wait, &filter).await?;
            Ok(Some(events.iter().map(event_words).collect()))
        }.boxed_local(),
    }
    resource_groups_get: "ResourceGroups_Get" in RESOURCES at "2021-04-01" like "ResourceGroups_CreateOrUpdate" {
        group: |it| async {
            let group = it.azure.group(&mut it.wait, "rg-crm").await?;
            Ok(Some(group.into_iter().map(|it| vec![it.id, it.name, it.location]).collect()))
        }.boxed_local(),
    }
    resources_get_by_id: "Resources_GetById" in RESOURCES at "2023-01-01" {
        get: |it| async {
            let found = it.azure.get(&mut it.wait, &site(), "2023-01-01").await?;
            Ok(Some(found.iter().map(|it| vec![it["id"].to_string()]).collect()))
        }.boxed_local(),
    }
    resources_check_existence_by_id: "Resources_CheckExistenceById" in RESOURCES at "2023-01-01" {
        exists: |it| async {
            it.azure.exists(&mut it.wait, &site(), "2023-01-01").await?;
            Ok(None)
        }.boxed_local(),
    }
    deployments_validate: "Deployments_Validate" in RESOURCES at "2021-04-01" {
        validate_deployment: |it| async {
            it.azure.validate_deployment(&mut it.wait, "rg-crm", "d", &template()).await?;
            Ok(None)
        }.boxed_local(),
    }
    deployments_what_if: "Deployments_WhatIf" in RESOURCES at "2021-04-01" {
        what_if: |it| async {
            let changes = it.azure.what_if(&mut it.wait, "rg-crm", "d", &template()).await?;
            Ok(Some(changes.into_iter().map(|it| vec![it.resource_id, it.change]).collect()))
        }.boxed_local(),
    }
    deployments_create_or_update: "Deployments_CreateOrUpdate" in RESOURCES at "2021-04-01" {
        create_deployment: |it| async {
            let template = template();
            let created = it.azure.create_deployment(&mut it.wait, it.permit, "rg-crm", "d", &template);
            let created = created.await?;
            Ok(Some(vec![vec![created.body["name"].as_str().unwrap_or_default().to_owned()]]))
        }.boxed_local(),
    }
    deployments_get: "Deployments_Get" in RESOURCES at "2021-04-01" like "Deployments_CreateOrUpdate" {
        deployment: |it| async {
            let found = it.azure.deployment(&mut it.wait, "rg-crm", "d").await?;
            Ok(Some(found.iter().map(deployment_words).collect()))
        }.boxed_local(),
        finish_deployment: |it| async {
            let ended = it.azure.finish_deployment(&mut it.wait, "rg-crm", "d", None).await?;
            Ok(Some(vec![vec![ended.name]]))
        }.boxed_local(),
    }
    deployment_operations_list: "DeploymentOperations_List" in RESOURCES at "2021-04-01" {
        deployment_operations: |it| async {
            let operations = it.azure.deployment_operations(&mut it.wait, "rg-crm", "d").await?;
            Ok(Some(operations.into_iter().map(|it| vec![it.resource_id, it.state]).collect()))
        }.boxed_local(),
    }
    zones_get: "Zones_Get" in DNS at "2018-05-01" {
        zone: |it| async {
            let zone = it.azure.zone(&mut it.wait, &zone()).await?;
            Ok(Some(zone.into_iter().map(|it| [vec![it.name], it.name_servers].concat()).collect()))
        }.boxed_local(),
    }
    record_sets_get: "RecordSets_Get" in DNS at "2018-05-01" {
        record_set: |it| async {
            let set = it.azure.record_set(&mut it.wait, &zone(), RecordType::Cname, "crm").await?;
            Ok(Some(set.iter().map(record_words).collect()))
        }.boxed_local(),
    }
    record_sets_list_by_dns_zone: "RecordSets_ListByDnsZone" in DNS at "2018-05-01" {
        record_sets: |it| async {
            let sets = it.azure.record_sets(&mut it.wait, &zone()).await?;
            Ok(Some(sets.iter().map(record_words).collect()))
        }.boxed_local(),
    }
    record_sets_create_or_update: "RecordSets_CreateOrUpdate" in DNS at "2018-05-01" {
        put_record_set: |it| async {
            let wanted = cname(None);
            let set = it.azure.put_record_set(&mut it.wait, it.permit, &zone(), None, &wanted).await?;
            Ok(Some(vec![record_words(&set)]))
        }.boxed_local(),
        put_record_set: |it| async {
            let (zone, before, wanted) = (zone(), cname(Some("etag")), cname(None));
            let put = it.azure.put_record_set(&mut it.wait, it.permit, &zone, Some(&before), &wanted);
            Ok(Some(vec![record_words(&put.await?)]))
        }.boxed_local(),
    }
    record_sets_delete: "RecordSets_Delete" in DNS at "2018-05-01" {
        delete_record_set: |it| async {
            let before = cname(Some("etag"));
            it.azure.delete_record_set(&mut it.wait, it.permit, &zone(), &before).await?;
            Ok(None)
        }.boxed_local(),
    }
    private_zones_get: "PrivateZones_Get" in PRIVATE_DNS at "2024-06-01" {
        zone: |it| async {
            let zone = it.azure.zone(&mut it.wait, &private_zone()).await?;
            Ok(Some(zone.into_iter().map(|it| vec![it.name]).collect()))
        }.boxed_local(),
    }
    private_record_sets_get: "RecordSets_Get" in PRIVATE_DNS at "2024-06-01" {
        record_set: |it| async {
            let zone = private_zone();
            let set = it.azure.record_set(&mut it.wait, &zone, RecordType::Cname, "crm").await?;
            Ok(Some(set.iter().map(record_words).collect()))
        }.boxed_local(),
    }
    private_record_sets_list: "RecordSets_List" in PRIVATE_DNS at "2024-06-01" {
        record_sets: |it| async {
            let sets = it.azure.record_sets(&mut it.wait, &private_zone()).await?;
            Ok(Some(sets.iter().map(record_words).collect()))
        }.boxed_local(),
    }
    private_record_sets_create_or_update: "RecordSets_CreateOrUpdate" in PRIVATE_DNS at "2024-06-01" {
        put_record_set: |it| async {
            let (zone, wanted) = (private_zone(), cname(None));
            let set = it.azure.put_record_set(&mut it.wait, it.permit, &zone, None, &wanted).await?;
            Ok(Some(vec![record_words(&set)]))
        }.boxed_local(),
        put_record_set: |it| async {
            let (zone, before, wanted) = (private_zone(), cname(Some("etag")), cname(None));
            let put = it.azure.put_record_set(&mut it.wait, it.permit, &zone, Some(&before), &wanted);
            Ok(Some(vec![record_words(&put.await?)]))
        }.boxed_local(),
    }
    private_record_sets_delete: "RecordSets_Delete" in PRIVATE_DNS at "2024-06-01" {
        delete_record_set: |it| async {
            let (zone, before) = (private_zone(), cname(Some("etag")));
            it.azure.delete_record_set(&mut it.wait, it.permit, &zone, &before).await?;
            Ok(None)
        }.boxed_local(),
    }
    replication_migration_items_get: "ReplicationMigrationItems_Get" in SITE_RECOVERY at "2024-04-01" {
        replication_item: |it| async {
            let item = it.azure.replication_item(&mut it.wait, &migration_item()).await?;
            Ok(Some(item.iter().map(item_words).collect()))
        }.boxed_local(),
        trail: |it| async { trail(it, &format!("{CONTAINER}/replicationMigrationItems/i")).await }.boxed_local(),
    }
    replication_migration_items_test_migrate: "ReplicationMigrationItems_TestMigrate" in SITE_RECOVERY at "2024-04-01" {
        test_migrate: |it| async {
            let test = TestMachine { recovery_point: "p".to_owned(), network: "n".to_owned() };
            it.azure.test_migrate(&mut it.wait, it.permit, &migration_item(), &test).await?;
            Ok(None)
        }.boxed_local(),
    }
    replication_migration_items_test_migrate_cleanup: "ReplicationMigrationItems_TestMigrateCleanup" in SITE_RECOVERY at "2024-04-01" {
        clean_up_test: |it| async {
            it.azure.clean_up_test(&mut it.wait, it.permit, &migration_item(), "done").await?;
            Ok(None)
        }.boxed_local(),
    }
    replication_migration_items_migrate: "ReplicationMigrationItems_Migrate" in SITE_RECOVERY at "2024-04-01" {
        migrate_machine: |it| async {
            it.azure.migrate_machine(&mut it.wait, it.permit, &migration_item(), true).await?;
            Ok(None)
        }.boxed_local(),
    }
    migration_recovery_points_list: "MigrationRecoveryPoints_ListByReplicationMigrationItems" in SITE_RECOVERY at "2024-04-01" {
        newest_recovery_point: |it| async {
            let newest = it.azure.newest_recovery_point(&mut it.wait, &migration_item()).await?;
            assert!(newest.is_none_or(|id| id.contains("/migrationRecoveryPoints/34cb2d05")), "the newest");
            Ok(None)
        }.boxed_local(),
    }
    replication_jobs_get: "ReplicationJobs_Get" in SITE_RECOVERY at "2024-04-01" {
        replication_job: |it| async {
            let vault = it.azure.vault_id(None, "v")?;
            let job = it.azure.replication_job(&mut it.wait, &vault, "j").await?;
            Ok(Some(job.iter().map(job_words).collect()))
        }.boxed_local(),
        follow_job: |it| async {
            let vault = it.azure.vault_id(None, "v")?;
            let job = it.azure.follow_job(&mut it.wait, &vault, "j", None).await?;
            Ok(Some(vec![job_words(&job)]))
        }.boxed_local(),
        follow_operation: |it| async {
            let vault = it.azure.vault_id(None, "v")?;
            let link = format!("https://management.azure.com{vault}/replicationOperationStatus/j");
            let job = it.azure.follow_operation(&mut it.wait, &vault, &link).await?;
            Ok(Some(vec![job_words(&job)]))
        }.boxed_local(),
    }
    replication_protected_items_get: "ReplicationProtectedItems_Get" in SITE_RECOVERY at "2024-04-01" {
        trail: |it| async { trail(it, &format!("{CONTAINER}/replicationProtectedItems/i")).await }.boxed_local(),
    }
    migration_tasks_get: "Tasks_Get" in MIGRATION_SERVICE at "2021-06-30" {
        trail: |it| async {
            trail(it, "Microsoft.DataMigration/services/s/projects/p/tasks/t").await
        }.boxed_local(),
    }
    postgres_migrations_get: "Migrations_Get" in POSTGRES at "2024-08-01" {
        trail: |it| async {
            trail(it, "Microsoft.DBforPostgreSQL/flexibleServers/server/migrations/migration").await
        }.boxed_local(),
    }
    instance_links_get: "DistributedAvailabilityGroups_Get" in INSTANCE_LINKS at "2023-08-01-preview" {
        trail: |it| async {
            trail(it, "Microsoft.Sql/managedInstances/m/distributedAvailabilityGroups/d").await
        }.boxed_local(),
    }
    replication_migration_items_list: "ReplicationMigrationItems_List" in SITE_RECOVERY at "2024-04-01" {
        replication_items: |it| async {
            let vault = it.azure.vault_id(None, "v")?;
            let items = it.azure.replication_items(&mut it.wait, &vault).await?;
            Ok(Some(items.iter().map(item_words).collect()))
        }.boxed_local(),
    }
    profiles_get: "Profiles_Get" in TRAFFIC_MANAGER at "2022-04-01" {
        balanced: |it| async {
            let balanced = it.azure.balanced(&mut it.wait, &manager()).await?;
            Ok(Some(balanced.iter().map(balanced_words).collect()))
        }.boxed_local(),
    }
    endpoints_get: "Endpoints_Get" in TRAFFIC_MANAGER at "2022-04-01" {
        weighed: |it| async {
            let weight = it.azure.weighed(&mut it.wait, &manager(), &endpoint(), None).await?;
            Ok(Some(vec![vec![weight.weight.to_string()]]))
        }.boxed_local(),
    }
    endpoints_update: "Endpoints_Update" in TRAFFIC_MANAGER at "2022-04-01" given weighted_endpoint {
        weigh: |it| async {
            let change = (BEFORE, WANTED);
            it.azure.weigh(&mut it.wait, it.permit, &manager(), &endpoint(), change).await?;
            Ok(None)
        }.boxed_local(),
    }
    afd_origins_list_by_origin_group: "AFDOrigins_ListByOriginGroup" in FRONT_DOOR at "2024-09-01" {
        balanced: |it| async {
            let balanced = it.azure.balanced(&mut it.wait, &door()).await?;
            let members = balanced.into_iter().flat_map(|it| it.members);
            Ok(Some(members.map(|it| vec![it.id.to_string(), it.name]).collect()))
        }.boxed_local(),
    }
    afd_origins_get: "AFDOrigins_Get" in FRONT_DOOR at "2024-09-01" {
        weighed: |it| async {
            // The file's example has no weight: whoever shifts weights can not go on from there, and must say so.
            match it.azure.weighed(&mut it.wait, &door(), &origin(), None).await {
                Err(error) if error.to_string().ends_with("it has no weight") => Ok(None),
                weight => Ok(Some(vec![vec![weight?.weight.to_string()]])),
            }
        }.boxed_local(),
    }
    afd_origins_update: "AFDOrigins_Update" in FRONT_DOOR at "2024-09-01" given weighted_origin {
        weigh: |it| async {
            let change = (BEFORE, WANTED);
            it.azure.weigh(&mut it.wait, it.permit, &door(), &origin(), change).await?;
            Ok(None)
        }.boxed_local(),
    }
    metrics_list: "Metrics_List" in METRICS at "2024-02-01" {
        metrics: |it| async {
            let (resource, from) = (site(), jiff::Timestamp::UNIX_EPOCH);
            let query = MetricQuery {
                resource: &resource,
                metric: "BlobCount",
                namespace: Some("Microsoft.Storage/storageAccounts/blobServices"),
                aggregation: Aggregation::Average,
                filter: Some("Tier eq '*'"),
                from,
                until: "1970-01-01T00:05:00Z".parse().expect("a time"),
            };
            let metrics = it.azure.metrics(&mut it.wait, &query).await?;
            Ok(Some(metrics.into_iter().map(|it| vec![it.name, it.unit]).collect()))
        }.boxed_local(),
    }
    permissions_list_for_resource_group: "Permissions_ListForResourceGroup" in ROLES at "2022-04-01" {
        permissions: |it| async {
            let permissions = it.azure.permissions(&mut it.wait, &group()).await?;
            Ok(Some(permissions.into_iter().map(|it| it.actions).collect()))
        }.boxed_local(),
    }
    permissions_list_for_resource: "Permissions_ListForResource" in ROLES at "2022-04-01" {
        permissions: |it| async {
            let permissions = it.azure.permissions(&mut it.wait, &endpoint()).await?;
            Ok(Some(permissions.into_iter().map(|it| it.actions).collect()))
        }.boxed_local(),
    }
    role_definitions_get: "RoleDefinitions_Get" in ROLES at "2022-04-01" {
        role_name: |it| async {
            let definition = id("rg-crm/providers/Microsoft.Authorization/roleDefinitions/r");
            let name = it.azure.role_name(&mut it.wait, &definition).await?;
            Ok(Some(name.into_iter().map(|name| vec![name]).collect()))
        }.boxed_local(),
    }
    role_assignments_list_for_scope: "RoleAssignments_ListForScope" in ASSIGNMENTS at "2022-04-01" {
        role_assignments: |it| async {
            let roles = it.azure.role_assignments(&mut it.wait, &group(), "principal").await?;
            let words = roles.into_iter().map(|it| vec![it.definition.to_string(), it.scope]);
            Ok(Some(words.collect()))
        }.boxed_local(),
    }
    deny_assignments_list_for_scope: "DenyAssignments_ListForScope" in DENIALS at "2022-04-01" {
        deny_assignments: |it| async {
            let denials = it.azure.deny_assignments(&mut it.wait, &group()).await?;
            Ok(Some(denials.into_iter().map(|it| vec![it.name]).collect()))
        }.boxed_local(),
    }
    availability_statuses_get_by_resource: "AvailabilityStatuses_GetByResource" in HEALTH at "2024-02-01" {
        availability: |it| async {
            let found = it.azure.availability(&mut it.wait, &site()).await?;
            Ok(Some(found.into_iter().map(|it| vec![it.summary, it.reason]).collect()))
        }.boxed_local(),
    }
    events_list_by_subscription_id: "Events_ListBySubscriptionId" in HEALTH at "2024-02-01" {
        service_events: |it| async {
            let now = jiff::Timestamp::UNIX_EPOCH;
            let events = it.azure.service_events(&mut it.wait, now).await?;
            Ok(Some(events.into_iter().map(|it| vec![it.id, it.kind, it.status, it.title]).collect()))
        }.boxed_local(),
    }
}

const BEFORE: Weight = Weight { weight: 100, enabled: true };
const WANTED: Weight = Weight { weight: 1, enabled: false };

fn manager() -> Balancer {
    Balancer::TrafficManager(id("rg-crm/providers/Microsoft.Network/trafficManagerProfiles/crm"))
}

fn endpoint() -> ResourceId {
    manager().id().join("externalEndpoints/source").expect("an id")
}

fn weighted_endpoint() -> Value {
    json!({ "properties": { "weight": 100, "endpointStatus": "Enabled" } })
}

fn door() -> Balancer {
    Balancer::FrontDoor(id("rg-crm/providers/Microsoft.Cdn/profiles/fd/originGroups/web"))
}

fn origin() -> ResourceId {
    door().id().join("origins/source").expect("an id")
}

fn weighted_origin() -> Value {
    json!({ "properties": { "weight": 100, "enabledState": "Enabled" } })
}

fn balanced_words(balanced: &Balanced) -> Vec<String> {
    let members = balanced.members.iter();
    members.flat_map(|it| [it.id.to_string(), it.name.clone()]).collect()
}

fn id(path: &str) -> ResourceId {
    let text =
        format!("/subscriptions/{}/resourceGroups/{path}", migrate::azure::played::SUBSCRIPTION);
    ResourceId::parse(&text).expect("an id")
}

fn group() -> ResourceId {
    id("rg-crm")
}

fn site() -> ResourceId {
    id("rg-crm/providers/Microsoft.Web/sites/crm")
}

fn zone() -> ResourceId {
    id("rg-dns/providers/Microsoft.Network/dnsZones/contoso.example")
}

fn private_zone() -> ResourceId {
    id("rg-dns/providers/Microsoft.Network/privateDnsZones/contoso.internal")
}

fn cname(etag: Option<&str>) -> RecordSet {
    let value = ["crm-target.contoso.example".to_owned()];
    let set = RecordSet::new("crm", RecordType::Cname, 60, &value).expect("a record set");
    RecordSet { etag: etag.map(str::to_owned), ..set }
}

fn template() -> Template {
    let template = json!({
        "$schema": "https://schema.management.azure.com/schemas/2019-04-01/deploymentTemplate.json#",
        "contentVersion": "1.0.0.0", "parameters": { "name": { "type": "string" } }, "resources": [],
    });
    let parameters = Map::from_iter([("name".to_owned(), json!("crm"))]);
    Template { template, parameters }
}

fn lock_words(lock: &Lock) -> Vec<String> {
    let level = lock.level.map_or("no level", |level| match level {
        LockLevel::ReadOnly => "ReadOnly",
        LockLevel::CanNotDelete => "CanNotDelete",
    });
    vec![lock.name.clone(), level.to_owned()]
}

fn event_words(event: &ActivityEvent) -> Vec<String> {
    let texts = [&event.id, &event.operation, &event.status, &event.caller, &event.resource_id];
    texts.into_iter().chain([&event.correlation_id]).cloned().collect()
}

fn deployment_words(deployment: &Deployment) -> Vec<String> {
    let texts = [deployment.name.clone(), deployment.state.clone()];
    texts.into_iter().chain(deployment.correlation_id.clone()).collect()
}

fn record_words(set: &RecordSet) -> Vec<String> {
    let ttl = set.ttl().map(|ttl| ttl.to_string()).unwrap_or_default();
    let mut words = vec![set.name.clone(), set.etag.clone().unwrap_or_default(), ttl];
    if set.record_type != RecordType::Txt {
        let values = set.values();
        assert!(!values.is_empty(), "no values in {set:?}");
        let plain = values.iter().map(|it| it.trim_start_matches("alias of "));
        words.extend(plain.flat_map(|it| it.split(' ')).map(str::to_owned));
    }
    words
}

const CONTAINER: &str =
    "Microsoft.RecoveryServices/vaults/v/replicationFabrics/f/replicationProtectionContainers/c";

fn migration_item() -> MigrationItemId {
    let own = |text: &str| text.to_owned();
    MigrationItemId {
        resource_group: None,
        vault: own("v"),
        fabric: own("f"),
        container: own("c"),
        item: own("i"),
    }
}

/// What is taken out of each answer is tried beside the client; here it is the request that counts.
async fn trail(it: &mut Asking, below: &str) -> Result<Read, ArmError> {
    let id = id(&format!("rg-crm/providers/{below}"));
    let now = "2027-01-01T00:00:00Z".parse().expect("a time");
    it.azure.trail(&mut it.wait, &id, now).await?;
    Ok(None)
}

fn job_words(job: &Job) -> Vec<String> {
    let tasks = job.tasks.iter().flat_map(|(name, state)| [name.clone(), state.clone()]);
    tasks.chain([job.state.clone()]).collect()
}

fn item_words(item: &ReplicationItem) -> Vec<String> {
    let texts = [&item.id, &item.name, &item.machine, &item.state, &item.test_state];
    texts.into_iter().chain(&item.allowed_operations).cloned().collect()
}
