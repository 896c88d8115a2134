//! How far targets trail: every kind of resource in the sandbox, and the examples that Microsoft's own specifications give.

use std::fs;
use std::path::{Path, PathBuf};

use migrate::azure::{ResourceId, Trail};
use serde_json::Value;

use crate::lab::Lab;

const GROUP: &str =
    "/subscriptions/00000000-0000-0000-0000-00000000c0de/resourceGroups/rg-crm/providers";
pub(crate) const RESOURCES: [&str; 5] = [
    "Microsoft.RecoveryServices/vaults/vault-crm/replicationFabrics/fabric-1/replicationProtectionContainers/container-1/replicationMigrationItems/crm-web",
    "Microsoft.RecoveryServices/vaults/vault-crm/replicationFabrics/azure/replicationProtectionContainers/west/replicationProtectedItems/crm-db",
    "Microsoft.DataMigration/services/dms/projects/crm/tasks/sync",
    "Microsoft.DBforPostgreSQL/flexibleServers/crm/migrations/online",
    "Microsoft.Sql/managedInstances/mi/distributedAvailabilityGroups/dag",
];

pub(crate) fn scenario(of_each: &str) -> String {
    let replica = |it: &&str| format!("  - {{ id: \"{GROUP}/{it}\"{of_each} }}\n");
    let replicas: String = RESOURCES[1..].iter().map(replica).collect();
    format!(
        "
estate: {{ workloads: [], files: 0, orders: 0 }}
writer: {{ orders: 0 }}
replicas:
{replicas}"
    )
}

pub(crate) fn runbook(resources: &[&str]) -> String {
    let list: Vec<_> = resources.iter().map(|it| format!("          - {GROUP}/{it}\n")).collect();
    let list = list.concat();
    format!(
        "migrate: 1\nwave: trails\nazure: {{ subscription: 00000000-0000-0000-0000-00000000c0de, resource_group: rg-crm }}\nstages:\n  assess:\n    - id: lag\n      uses: replication.wait\n      timeout: 2h\n      with:\n        max_lag: 0s\n        resources:\n{list}"
    )
}

#[test]
fn all_of_them_are_waited_for_until_each_has_caught_up() {
    let lab = Lab::new(&scenario(", seeding_seconds: 600, lag: [[600, 300], [2400, 0]]"));
    let path = lab.write("trails.yaml", &runbook(&RESOURCES));
    let said = lab.run(&path, &[]).expect(0).said();
    assert!(said.contains("ok          40m"), "none of them opens early: {said}");
}

#[test]
fn each_alone_is_unknown_while_it_is_copied_and_refused_once_it_has_failed() {
    for resource in &RESOURCES[1..] {
        let copying = Lab::new(&scenario(", seeding_seconds: 99999"));
        let path = copying.write("trails.yaml", &runbook(&[resource]));
        let said = copying.run(&path, &[]).expect(4).said();
        assert!(
            said.contains("MIG0411") && said.contains("unknown, so not ready"),
            "{resource}: {said}"
        );
        let failing = Lab::new(&scenario(", lag: [[0, 60]], fails_after_seconds: 300"));
        let path = failing.write("trails.yaml", &runbook(&[resource]));
        let said = failing.run(&path, &[]).expect(4).said();
        // A link or an item may come back by itself; a task or a migration does not.
        let ends = resource.contains("/tasks/") || resource.contains("/migrations/");
        assert_eq!(said.contains("MIG0413"), ends, "{resource}: {said}");
    }
}

#[test]
fn a_resource_of_another_type_is_refused_when_it_is_planned() {
    let lab = Lab::new(&scenario(""));
    let path = lab.write("trails.yaml", &runbook(&["Microsoft.Network/dnsZones/contoso.example"]));
    let said = lab.migrate(["validate", &path]).expect(3).said();
    assert!(said.contains("no type that tells how far it trails"), "{said}");
}

fn examples(dir: &Path, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(dir).expect("a folder") {
        let path = entry.expect("an entry").path();
        if path.is_dir() {
            examples(&path, found);
        } else if path.parent().is_some_and(|it| it.ends_with("examples")) {
            found.push(path);
        }
    }
}

/// Every body of every successful answer in an example, lists taken apart.
fn bodies(example: &Value) -> Vec<Value> {
    let answers = example["responses"].as_object().into_iter().flatten();
    let bodies = answers.map(|(_, answer)| &answer["body"]);
    bodies
        .flat_map(|body| match body["value"].as_array() {
            Some(values) => values.clone(),
            None => vec![body.clone()],
        })
        .collect()
}

#[test]
fn every_example_of_the_specifications_is_read() {
    let Some(specs) = std::env::var_os("AZURE_REST_API_SPECS").map(PathBuf::from) else {
        println!("SKIPPED: lag in the specifications' examples: AZURE_REST_API_SPECS is not set");
        return;
    };
    let mut files = Vec::new();
    for provider in ["recoveryservicessiterecovery", "datamigration", "postgresql", "sql"] {
        examples(&specs.join("specification").join(provider), &mut files);
    }
    let now = "2027-01-01T00:00:00Z".parse().expect("a time");
    let mut read: std::collections::BTreeMap<String, usize> = std::collections::BTreeMap::new();
    for file in files {
        let Ok(example) = serde_json::from_slice::<Value>(&fs::read(&file).expect("a file")) else {
            continue;
        };
        for body in bodies(&example) {
            let Some(id) = body["id"].as_str().and_then(|id| ResourceId::parse(id).ok()) else {
                continue;
            };
            if !Trail::is_told_by(&id) {
                continue;
            }
            let kind = body["type"].as_str().unwrap_or_default().to_ascii_lowercase();
            *read.entry(kind).or_default() += 1;
            // None of them says that it has caught up: whatever is read, it opens no gate with a limit of zero by mistake.
            let caught_up =
                matches!(Trail::read(&id, &body, now), Trail::Behind { lag, .. } if lag.is_zero());
            assert!(!caught_up, "{}: {:?}", file.display(), Trail::read(&id, &body, now));
        }
    }
    println!("examples read: {read:?}");
    assert_eq!(read.len(), 5, "{read:?}");
}
