//! The session itself, part by part.

use std::path::Path;

use migrate::sandbox::exchanges;

use super::Az;
use crate::conformance::answers_to_others;
use crate::lab::is_soak;

/// Everything, or what CI has time for.
pub(super) fn whole(az: &Az<'_>) {
    sign_in(az);
    record_sets(az);
    locks(az);
    deployments(az);
    activity(az);
    if is_soak() {
        groups(az);
        zones(az);
        every_record_type(az);
        traffic(az);
        private_names(az);
        metrics(az);
        rights(az);
    } else {
        println!(
            "short form: groups, zones, every record type, private names, traffic, metrics and rights only under \
             tests/soak azure-cli"
        );
    }
}

/// What the sandbox answered the CLI, in the versions that it asks for, against the files of the versions at hand.
pub(super) fn answers_are_as_the_files_say(world: &Path) {
    let kept = exchanges::read(world).expect("exchanges");
    assert!(kept.len() > 20, "only {}", kept.len());
    answers_to_others(&kept);
}

fn sign_in(az: &Az<'_>) {
    let azure = &az.sandbox.azure;
    az.ok(&format!("cloud register -n sandbox --endpoint-resource-manager {}", azure.arm));
    az.ok("cloud set -n sandbox");
    let principal = format!("-u {} -p {} --tenant {}", azure.client, azure.secret, azure.tenant);
    az.ok(&format!("login --service-principal {principal}"));
    az.ok("logout");
    az.ok("login --identity");
    az.says("group list --query [].name", &["rg-crm", "rg-crm-source", "rg-dns"]);
}

fn record_sets(az: &Az<'_>) {
    let zone = "-g rg-dns -z contoso.example";
    az.says(&format!("network dns record-set list {zone} --query length(@)"), &["11"]);
    let set = format!("network dns record-set cname set-record {zone} -n crm -c b.example");
    az.ok(&set);
    let cname = format!("network dns record-set cname show {zone} -n crm --query");
    az.says(&format!("{cname} CNAMERecord.cname"), &["b.example"]);
    let etag = az.ok(&format!("{cname} etag -o tsv"));
    let update =
        format!("network dns record-set cname update {zone} -n crm --set ttl=60 --if-match");
    az.refused(&format!("{update} stale"), "(PreconditionFailed)");
    az.ok(&format!("{update} {}", etag.trim()));
    az.refused(&format!("{update} {}", etag.trim()), "(PreconditionFailed)");
    let (code, said) = az.run(&format!("network dns record-set a show {zone} -n nobody"));
    assert_eq!(code, Some(3), "the CLI's code for what is not there: {said}");
}

fn locks(az: &Az<'_>) {
    let add =
        "network dns record-set a add-record -g rg-dns -z contoso.example -n www -a 127.0.0.9";
    az.ok("lock create -n freeze -g rg-dns -t ReadOnly --notes 'a change freeze'");
    az.says(
        "lock list -g rg-dns --query [].[name,level,notes]",
        &["freeze\tReadOnly\ta change freeze"],
    );
    az.refused(add, "(ScopeLocked)");
    az.ok("lock delete -n freeze -g rg-dns");
    let forgets = std::time::Instant::now();
    while az.run(add).0 != Some(0) {
        assert!(forgets.elapsed().as_secs() < 60, "the lock is gone and still refuses");
    }
}

fn deployments(az: &Az<'_>) {
    let template = az.home.join("template.json");
    std::fs::write(&template, TEMPLATE).expect("a template");
    let deploy = format!("-g rg-crm -n wave -f {} -p name=crm", template.display());
    let state = "properties.provisioningState";
    az.says(&format!("deployment group validate {deploy} --query {state}"), &["Succeeded"]);
    az.refused(&format!("deployment group validate {deploy} odd=1"), "odd");
    let what_if = az.ok(&format!("deployment group what-if {deploy} --no-pretty-print"));
    assert!(what_if.contains("\"Create\""), "{what_if}");
    let output = "properties.outputs.site.value";
    az.says(&format!("deployment group create {deploy} --query {output}"), &["crm"]);
    az.says("deployment group list -g rg-crm --query [].name", &["wave"]);
    let target = "[].properties.targetResource.resourceName";
    az.says(
        &format!("deployment operation group list -g rg-crm -n wave --query {target}"),
        &["crm"],
    );
    let site = "resource show -g rg-crm -n crm --resource-type Microsoft.Web/sites --api-version 2023-01-01";
    az.says(&format!("{site} --query location"), &["westeurope"]);
}

fn activity(az: &Az<'_>) {
    let log = az.ok("monitor activity-log list --offset 1h --query [].operationName.value -o tsv");
    assert!(log.contains("Microsoft.Resources/deployments/write"), "{log}");
    assert!(log.contains("Microsoft.Authorization/locks/delete"), "{log}");
}

fn groups(az: &Az<'_>) {
    az.ok("group create -n rg-az -l westeurope --tags a=b");
    az.says("group update -n rg-az --tags a=c --query tags.a", &["c"]);
    az.says("group exists -n rg-az", &["true"]);
    az.ok("lock create -n keep -g rg-az -t CanNotDelete");
    az.refused("group delete -n rg-az -y", "(ScopeLocked)");
    az.says("lock show -n keep -g rg-az --query level", &["CanNotDelete"]);
    az.ok("lock delete -n keep -g rg-az");
    let forgets = std::time::Instant::now();
    while az.run("group delete -n rg-az -y").0 != Some(0) {
        assert!(forgets.elapsed().as_secs() < 60, "the lock is gone and still refuses");
    }
    az.says("group exists -n rg-az", &["false"]);
    az.refused("group show -n rg-az", "(ResourceGroupNotFound)");
    az.refused("rest --url /subscriptions?api-version=1999-01-01", "InvalidApiVersionParameter");
}

fn zones(az: &Az<'_>) {
    az.says("network dns zone create -g rg-dns -n new.example --query name", &["new.example"]);
    az.says("network dns zone list --query [].name", &["contoso.example", "new.example"]);
    let servers = "network dns zone show -g rg-dns -n new.example --query length(nameServers)";
    az.says(servers, &["2"]);
}

/// Each record type made, shown as `fqdn`, and exported; an empty set and its guard; then the zone goes, as an operation.
fn every_record_type(az: &Az<'_>) {
    let zone = "-g rg-dns -z new.example";
    let records = [
        ("a add-record", "www", "-a 127.0.0.9"),
        ("aaaa add-record", "www", "-a ::1"),
        ("caa add-record", "@", "--flags 0 --tag issue --value ca.example"),
        ("cname set-record", "alias", "-c www.new.example"),
        ("mx add-record", "@", "-e mail.new.example -p 10"),
        ("ns add-record", "sub", "-d ns1.sub.example"),
        ("ptr add-record", "4", "-d www.new.example"),
        ("srv add-record", "_sip._tcp", "-p 0 -w 5 -r 5060 -t sip.new.example"),
        ("txt add-record", "@", "-v 'v=spf1 -all'"),
    ];
    for (verb, name, values) in records {
        let fqdn =
            if name == "@" { "new.example.".to_owned() } else { format!("{name}.new.example.") };
        let add = format!("network dns record-set {verb} {zone} -n {name} {values} --query fqdn");
        az.says(&add, &[&fqdn]);
    }
    az.ok(&format!("network dns record-set soa update {zone} -e admin.new.example"));
    let create = format!("network dns record-set a create {zone} -n empty --ttl 30");
    az.ok(&create);
    az.refused(&format!("{create} --if-none-match '*'"), "(PreconditionFailed)");
    az.ok(&format!("network dns record-set a delete {zone} -n empty -y"));
    let file = az.ok("network dns zone export -g rg-dns -n new.example");
    for line in ["www 3600 IN A 127.0.0.9", "IN MX 10 mail.new.example.", "\"v=spf1 -all\""] {
        assert!(file.contains(line), "{line}\n{file}");
    }
    az.ok("network dns zone delete -g rg-dns -n new.example -y");
    az.refused("network dns zone show -g rg-dns -n new.example", "NotFound");
}

fn traffic(az: &Az<'_>) {
    let profile = "network traffic-manager profile";
    let created = format!(
        "{profile} create -g rg-crm -n new --routing-method Weighted --unique-dns-name new --ttl 30"
    );
    az.ok(&format!("{created} --protocol HTTP --port 80 --path /"));
    az.says(&format!("{profile} list -g rg-crm --query [].name"), &["crm", "new"]);
    let endpoint = "network traffic-manager endpoint";
    let of = "-g rg-crm --profile-name new --type externalEndpoints -n a";
    az.ok(&format!("{endpoint} create {of} --target crm-target.contoso.example --weight 5"));
    az.says(&format!("{endpoint} update {of} --weight 7 --query weight"), &["7"]);
    az.says(&format!("{endpoint} show {of} --query endpointStatus"), &["Enabled"]);
    az.ok(&format!("{endpoint} delete {of}"));
    az.ok(&format!("{profile} delete -g rg-crm -n new"));
}

fn private_names(az: &Az<'_>) {
    let dns = "network private-dns";
    az.says(&format!("{dns} zone list --query [].name"), &["contoso.internal"]);
    let set = "-g rg-dns -z contoso.internal -n www";
    let record = format!("{dns} record-set a");
    az.says(
        &format!("{record} add-record {set} -a 10.0.0.9 --query fqdn"),
        &["www.contoso.internal."],
    );
    az.says(&format!("{record} update {set} --set ttl=60 --query ttl"), &["60"]);
    let all = format!("{record} list -g rg-dns -z contoso.internal --query [].name");
    az.says(&all, &["db", "www"]);
    az.ok(&format!("{record} delete {set} -y"));
    az.says(&all, &["db"]);
}

/// A CLI without a word about the time asks for the last hour, in times that name no zone.
fn metrics(az: &Az<'_>) {
    let site = format!(
        "/subscriptions/{}/resourceGroups/rg-crm/providers/Microsoft.Web/sites/crm-target",
        az.sandbox.azure.subscription
    );
    let list = format!("monitor metrics list --resource {site} --aggregation Total --metric");
    let name = "--query value[].name.value";
    az.says(&format!("{list} Http5xx --interval PT1M {name}"), &["Http5xx"]);
    let points = az.ok(&format!("{list} Http5xx --query length(value[0].timeseries[0].data)"));
    // The first and the last minute are begun, not whole.
    assert!(["60", "61"].contains(&points.trim()), "{points}");
}

fn rights(az: &Az<'_>) {
    let scope = format!("/subscriptions/{}", az.sandbox.azure.subscription);
    // Names would be asked of Microsoft Graph, which is not here.
    let given = format!(
        "role assignment list --scope {scope} --fill-principal-name false --fill-role-definition-name false"
    );
    az.says(&format!("{given} --query length(@)"), &["1"]);
    az.says("role definition list --name Contributor --query [].roleName", &["Contributor"]);
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
