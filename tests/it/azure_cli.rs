//! A stock Azure CLI against the sandbox, as `migrate sandbox` serves it. Skipped where no `az` is on the path, which
//! `tests/run` says.

use std::path::Path;
use std::process::Command;

use migrate::clock::Clock;
use migrate::sandbox::scenario::{Estate, Writer};
use migrate::sandbox::{Sandbox, Scenario};

/// An Azure CLI with a configuration of its own that trusts the sandbox and nothing else.
struct Az<'a> {
    home: &'a Path,
    sandbox: &'a Sandbox,
}

impl Az<'_> {
    /// Exit code, and what it said on both streams.
    fn run(&self, line: &str) -> (Option<i32>, String) {
        let azure = &self.sandbox.azure;
        let ended = Command::new("az")
            .args(line.split(' '))
            .env("AZURE_CONFIG_DIR", self.home)
            .env("REQUESTS_CA_BUNDLE", &azure.ca_file)
            .env("AZURE_CORE_COLLECT_TELEMETRY", "no")
            .env("AZURE_CORE_NO_COLOR", "1")
            .env("AZURE_CORE_INSTANCE_DISCOVERY", "false")
            .env("IDENTITY_ENDPOINT", &azure.identity)
            .env("IDENTITY_HEADER", "sandbox")
            .output()
            .expect("az starts");
        let said = [ended.stdout, ended.stderr].concat();
        (ended.status.code(), String::from_utf8_lossy(&said).into_owned())
    }

    fn ok(&self, line: &str) -> String {
        let (code, said) = self.run(line);
        assert_eq!(code, Some(0), "az {line}\n{said}");
        said
    }

    #[track_caller]
    fn refused(&self, line: &str, with: &str) {
        let (code, said) = self.run(line);
        assert!(code != Some(0) && said.contains(with), "az {line}\n{said}");
    }
}

fn in_order(az: &Az<'_>) {
    let (azure, zone) = (&az.sandbox.azure, "-g rg-dns -z contoso.example");
    az.ok(&format!("cloud register -n sandbox --endpoint-resource-manager {}", azure.arm));
    az.ok("cloud set -n sandbox");
    let principal = format!("-u {} -p {} --tenant {}", azure.client, azure.secret, azure.tenant);
    az.ok(&format!("login --service-principal {principal}"));
    az.ok("logout");
    az.ok("login --identity");
    assert_eq!(az.ok("group list --query [].name -o tsv"), "rg-crm\nrg-crm-source\nrg-dns\n");
    let sets = az.ok(&format!("network dns record-set list {zone} --query length(@)"));
    assert_eq!(sets.trim(), "11");

    az.ok(&format!(
        "network dns record-set cname set-record {zone} -n crm -c crm-target.contoso.example"
    ));
    let show =
        format!("network dns record-set cname show {zone} -n crm --query CNAMERecord.cname -o tsv");
    assert_eq!(az.ok(&show), "crm-target.contoso.example\n");
    let stale =
        format!("network dns record-set cname update {zone} -n crm --set ttl=60 --if-match stale");
    az.refused(&stale, "PreconditionFailed");
    az.refused(&format!("network dns record-set a show {zone} -n nobody"), "NotFound");

    az.ok("lock create -n freeze -g rg-dns -t ReadOnly");
    az.refused(
        &format!("network dns record-set a add-record {zone} -n www -a 127.0.0.9"),
        "ScopeLocked",
    );
    az.ok("lock delete -n freeze -g rg-dns");
    az.ok(&format!("network dns record-set a add-record {zone} -n www -a 127.0.0.9"));

    let template = az.home.join("template.json");
    std::fs::write(&template, TEMPLATE).expect("a template");
    let deploy = format!("-g rg-crm -n wave -f {} -p name=crm", template.display());
    let what_if = az.ok(&format!("deployment group what-if {deploy} --no-pretty-print"));
    assert!(what_if.contains("\"Create\""), "{what_if}");
    let create =
        format!("deployment group create {deploy} --query properties.outputs.site.value -o tsv");
    assert_eq!(az.ok(&create), "crm\n");
    let log = az.ok("monitor activity-log list --offset 1h --query [].operationName.value -o tsv");
    assert!(log.contains("Microsoft.Resources/deployments/write"), "{log}");
    assert!(log.contains("Microsoft.Authorization/locks/delete"), "{log}");
}

const TEMPLATE: &str = r#"{
  "$schema": "https://schema.management.azure.com/schemas/2019-04-01/deploymentTemplate.json#",
  "contentVersion": "1.0.0.0",
  "parameters": { "name": { "type": "string" } },
  "resources": [{
    "type": "Microsoft.Web/sites", "apiVersion": "2023-01-01", "name": "[parameters('name')]",
    "location": "[resourceGroup().location]", "properties": {}
  }],
  "outputs": { "site": { "type": "string", "value": "[parameters('name')]" } }
}"#;

#[tokio::test(flavor = "multi_thread")]
async fn a_stock_azure_cli_logs_in_lists_changes_and_is_refused() {
    if Command::new("az").arg("--version").output().is_err() {
        println!("SKIPPED: az is not installed");
        return;
    }
    let dir = tempfile::tempdir().expect("a folder");
    let scenario = Scenario {
        estate: Estate { files: 2, orders: 4, ..Estate::default() },
        writer: Writer { orders: 0, pause_ms: 1 },
        operation_seconds: 1,
        ..Scenario::default()
    };
    let sandbox = Sandbox::start(&dir.path().join("sandbox"), scenario, Clock::system())
        .await
        .expect("the sandbox starts");
    let home = dir.path().join("az");
    std::fs::create_dir(&home).expect("a folder");
    tokio::task::block_in_place(|| in_order(&Az { home: &home, sandbox: &sandbox }));
    sandbox.halt().await;
}
