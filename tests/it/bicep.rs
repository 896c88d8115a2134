//! A Bicep template is compiled by the `bicep` program where there is one. Here a script stands for it, which does as the
//! real one does: it writes the compiled file, or complains and fails. The real compiler was not run.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::process::Output;

use crate::lab::{Ended, Lab, SMALL};

const RUNBOOK: &str = "
migrate: 1
wave: bicep
azure: { subscription: 00000000-0000-0000-0000-00000000c0de, resource_group: rg-crm }
stages:
  deploy:
    - id: target
      uses: azure.deploy
      timeout: 30m
      with: { template: target.bicep }
";

/// The compiled form, longer than what is kept of a child's output.
fn compiled() -> String {
    let outputs: Vec<_> = (0..2_000)
        .map(|at| {
            format!("\"output{at}\": {{ \"type\": \"string\", \"value\": \"{}\" }}", "x".repeat(40))
        })
        .collect();
    format!(
        r#"{{ "$schema": "https://schema.management.azure.com/schemas/2019-04-01/deploymentTemplate.json#",
              "contentVersion": "1.0.0.0", "metadata": {{ "_generator": {{ "name": "bicep", "version": "VERSION" }} }},
              "resources": [ {{ "type": "Microsoft.Storage/storageAccounts", "apiVersion": "2023-05-01",
                "name": "stbicep", "location": "westeurope", "sku": {{ "name": "Standard_ZRS" }}, "kind": "StorageV2" }} ],
              "outputs": {{ {} }} }}"#,
        outputs.join(", ")
    )
}

/// A lab whose PATH has a `bicep` that is this script.
fn lab(script: &str) -> Lab {
    let lab = Lab::new(SMALL);
    lab.write("bicep.yaml", RUNBOOK);
    lab.write("target.bicep", "resource files 'Microsoft.Storage/storageAccounts@2023-05-01' = {}");
    lab.write("compiled.json", &compiled());
    fs::create_dir(lab.path().join("bin")).expect("a folder");
    let program = lab.write("bin/bicep", &format!("#!/bin/sh\n{script}\n"));
    fs::set_permissions(program, fs::Permissions::from_mode(0o755)).expect("it may run");
    lab
}

fn run(lab: &Lab, more: &[&str]) -> Ended {
    let runbook = lab.path().join("bicep.yaml").display().to_string();
    let mut command = lab
        .command(lab.sandbox_run(&runbook).iter().map(String::as_str).chain(more.iter().copied()));
    let path = std::env::var("PATH").unwrap_or_default();
    command.env("PATH", format!("{}:{path}", lab.path().join("bin").display()));
    let output: Output = command.output().expect("it starts");
    Ended(output)
}

#[test]
fn a_bicep_template_is_compiled_and_deployed() {
    // Called as `bicep build FILE --outfile COMPILED`.
    let lab = lab(r#"[ "$1 $3" = "build --outfile" ] && cp "${2%target.bicep}compiled.json" "$4""#);
    run(&lab, &[]).expect(0);
    let world = lab.world();
    assert!(world.resources.keys().any(|id| id.ends_with("/storageaccounts/stbicep")), "{world:?}");
}

#[test]
fn what_does_not_compile_is_said_in_the_compilers_words_and_sends_nothing() {
    let lab = lab(r#"echo "target.bicep(1,16) : Error BCP035: sku is missing" >&2; exit 1"#);
    let failed = run(&lab, &[]).expect(1).said();
    assert!(failed.contains("MIG0115") && failed.contains("BCP035: sku is missing"), "{failed}");
    assert!(lab.changes().is_empty(), "{:?}", lab.changes());
}

#[test]
fn without_the_compiler_the_remedy_is_named() {
    let lab = lab("");
    fs::remove_file(lab.path().join("bin/bicep")).expect("removed");
    if std::process::Command::new("bicep").arg("--version").output().is_ok() {
        println!("SKIPPED: a missing bicep: there is one on this machine");
        return;
    }
    let failed = run(&lab, &[]).expect(1).said();
    assert!(failed.contains("install `bicep`") && failed.contains("az bicep build"), "{failed}");
}
