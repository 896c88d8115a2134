//! The client against the sandbox: real sockets, real TLS, real tokens.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use serde_json::{Value, json};
use tempfile::TempDir;
use tokio_util::sync::CancellationToken;

use super::*;
use crate::journal::EffectPermit;
use crate::plan::SecretRef;
use crate::sandbox::{Sandbox, Scenario};

struct World {
    sandbox: Sandbox,
    clock: Clock,
    folder: TempDir,
}

impl World {
    async fn start() -> Self {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let (dir, scenario) = (folder.path().join("sandbox"), Scenario::default());
        let clock = Clock::skipping_from(Sandbox::opening_time(&dir, &scenario).expect("a time"));
        let sandbox = Sandbox::start(&dir, scenario, clock.clone()).await.expect("it starts");
        Self { sandbox, clock, folder }
    }

    fn wait(&self) -> Wait<'static> {
        Wait::new(&self.clock, &CancellationToken::new())
    }

    /// As a runbook for a custom cloud would connect: nothing overridden, everything discovered.
    fn azure(&self, settings: &Value) -> Azure {
        let folder: &Path = self.folder.path();
        std::fs::write(folder.join("ca.pem"), &self.sandbox.azure.ca_pem).expect("a CA");
        std::fs::write(folder.join("secret"), self.sandbox.azure.secret).expect("a secret");
        let references = BTreeMap::from([("sp".to_owned(), SecretRef::File("secret".to_owned()))]);
        Azure::new(AzureSetup {
            run: RunId::new("run"),
            settings: serde_json::from_value(settings.clone()).expect("settings"),
            overrides: None,
            secrets: Arc::new(Secrets::new(references).relative_to(folder)),
            clock: self.clock.clone(),
            base: folder.to_owned(),
        })
    }

    fn settings(&self) -> Value {
        json!({
            "cloud": "custom", "endpoint": self.sandbox.azure.arm, "ca_file": "ca.pem",
            "subscription": self.sandbox.azure.subscription, "resource_group": "rg-crm",
            "credential": { "service_principal": {
                "tenant": self.sandbox.azure.tenant, "client_id": self.sandbox.azure.client, "secret": "sp",
            } },
        })
    }
}

#[tokio::test]
async fn a_custom_cloud_is_discovered_and_its_resources_read() {
    let world = World::start().await;
    let (azure, mut wait) = (world.azure(&world.settings()), world.wait());
    let report = azure.credential_report().await.expect("signed in");
    assert_eq!(report.taken, Some(CredentialKind::ServicePrincipal));
    let group = azure.group(&mut wait, "RG-CRM").await.expect("read").expect("in any casing");
    assert_eq!(group.location, "westeurope");
    assert_eq!(azure.group(&mut wait, "rg-none").await.expect("read"), None);
    let id = azure.scope("rg-crm").expect("an id");
    assert!(azure.exists(&mut wait, &id, "2021-04-01").await.expect("HEAD"));
    let item = MigrationItemId {
        resource_group: None,
        vault: "vault-crm".to_owned(),
        fabric: "fabric-1".to_owned(),
        container: "container-1".to_owned(),
        item: "crm-db".to_owned(),
    };
    let item = azure.replication_item(&mut wait, &item).await.expect("read").expect("there");
    assert!(item.lag(world.clock.now()).is_some(), "{item:?}");
    let vault = azure.vault_id(None, "vault-crm").expect("an id");
    assert!(azure.replication_items(&mut wait, &vault).await.expect("read").len() >= 3);
}

#[tokio::test]
async fn record_sets_go_there_and_back_and_a_stale_write_is_drift() {
    let world = World::start().await;
    let (azure, mut wait) = (world.azure(&world.settings()), world.wait());
    let zone = azure.zone_id(Some("rg-dns"), "contoso.example").expect("an id");
    let found = azure.zone(&mut wait, &zone).await.expect("read").expect("there");
    assert_eq!(found.name_servers.len(), 2);
    let all = azure.record_sets(&mut wait, &zone).await.expect("every page");
    assert!(all.iter().any(|set| set.name == "crm" && set.record_type == RecordType::Cname));

    let before = azure.record_set(&mut wait, &zone, RecordType::Cname, "crm").await;
    let before = before.expect("read").expect("there");
    let wanted = before.clone().with_values(&["crm-target.contoso.example".to_owned()]);
    let wanted = wanted.expect("a value").with_ttl(60);
    let permit = EffectPermit::for_test("record:CNAME/crm");
    let put = azure.put_record_set(&mut wait, &permit, &zone, Some(&before), &wanted).await;
    let now = put.expect("written");
    assert!(now.same_state(&wanted) && now.etag != before.etag);

    let stale = azure.put_record_set(&mut wait, &permit, &zone, Some(&before), &before).await;
    assert!(matches!(stale, Err(ArmError::Drift { .. })), "{stale:?}");
    let twice = azure.put_record_set(&mut wait, &permit, &zone, None, &wanted).await;
    assert!(matches!(twice, Err(ArmError::Drift { expected: None, .. })), "{twice:?}");

    let undone = azure.put_record_set(&mut wait, &permit, &zone, Some(&now), &before).await;
    let undone = undone.expect("written back");
    assert!(undone.same_state(&before), "exactly as it was");
    azure.delete_record_set(&mut wait, &permit, &zone, &undone).await.expect("deleted");
    let gone = azure.record_set(&mut wait, &zone, RecordType::Cname, "crm").await.expect("read");
    assert_eq!(gone, None);
}

#[tokio::test]
async fn locks_forbid_changes_and_the_activity_log_tells_them() {
    let world = World::start().await;
    let (azure, mut wait) = (world.azure(&world.settings()), world.wait());
    let from = world.clock.now();
    let scope = azure.scope("rg-dns").expect("an id");
    let lock = Lock {
        name: "migrate-freeze".to_owned(),
        level: Some(LockLevel::ReadOnly),
        notes: "wave".to_owned(),
    };
    let permit = EffectPermit::for_test("lock");
    let put = azure.put_lock(&mut wait, &permit, &scope, &lock).await.expect("locked");
    assert_eq!(put, lock);
    assert_eq!(azure.lock(&mut wait, &scope, &lock.name).await.expect("read"), Some(lock.clone()));
    assert!(azure.locks(&mut wait, &scope).await.expect("listed").contains(&lock));

    let zone = azure.zone_id(Some("rg-dns"), "contoso.example").expect("an id");
    let set = RecordSet::new("new", RecordType::A, 60, &["127.0.0.3".to_owned()]).expect("a set");
    let refused = azure.put_record_set(&mut wait, &permit, &zone, None, &set).await;
    assert_eq!(refused.expect_err("locked").code(), "MIG0108");

    for _ in 0..2 {
        azure.delete_lock(&mut wait, &permit, &scope, &lock.name).await.expect("gone");
    }
    assert_eq!(azure.lock(&mut wait, &scope, &lock.name).await.expect("read"), None);

    // Events arrive late; ten minutes later they are there.
    let mut busy = world.clock.busy();
    drop(wait);
    world.clock.sleep(Duration::from_mins(10), &mut busy).await;
    let until = world.clock.now();
    let filter = ActivityFilter { from, until, scope: azure.scope("rg-dns").expect("an id") };
    let events = azure.activity(&mut world.wait(), &filter).await.expect("read");
    let of_locks = events.iter().filter(|event| event.operation.ends_with("locks/write"));
    assert_eq!(of_locks.count(), 1, "{events:?}");
    assert!(events.iter().all(|event| event.within(&scope)));
}

#[tokio::test]
async fn a_foreign_ca_and_a_missing_section_are_told_apart() {
    let world = World::start().await;
    let mut settings = world.settings();
    settings["ca_file"] = Value::Null;
    let error = world.azure(&settings).credential_report().await.expect_err("not trusted");
    assert_eq!(error.code(), "MIG0104", "{error}");
    let error = Azure::disconnected().credential_report().await.expect_err("nothing to connect to");
    assert_eq!(error.code(), "MIG0101");
    settings["endpoint"] = json!("http://127.0.0.1:1");
    let error = world.azure(&settings).credential_report().await.expect_err("no https");
    assert_eq!(error.code(), "MIG0102", "{error}");
}
