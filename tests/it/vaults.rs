//! Secrets that stand in a Key Vault: used where they belong, and shown nowhere.

use std::fs;

use crate::lab::Lab;

const SCENARIO: &str = "
estate: { workloads: [], files: 0, orders: 0 }
writer: { orders: 0 }
secrets: { kv-crm/hook-token: S3cr3t-0f-the-h00k }
";

fn runbook(reference: &str) -> String {
    format!(
        "migrate: 1
wave: vault
azure: {{ subscription: 00000000-0000-0000-0000-00000000c0de, resource_group: rg-crm }}
secrets: {{ token: {{ key_vault: \"{reference}\" }} }}
stages:
  prepare:
    - id: hook
      uses: http.request
      with:
        url: http://hooks.contoso.example/told
        body: {{ ask: anything }}
        headers: {{ authorization: {{ secret: token, prefix: \"Bearer \" }} }}
        repeat: idempotency-key
        undo: leaves-in-place
"
    )
}

/// Every file below a folder but the scenario, which a real vault would keep, as one text.
fn everything(dir: &std::path::Path, text: &mut String) {
    for entry in fs::read_dir(dir).expect("a folder") {
        let path = entry.expect("an entry").path();
        if path.is_dir() {
            everything(&path, text);
        } else if !path.ends_with("sandbox/sandbox.json") {
            text.push_str(&String::from_utf8_lossy(&fs::read(&path).expect("a file")));
        }
    }
}

#[test]
fn a_secret_of_a_vault_is_used_and_shown_nowhere() {
    let lab = Lab::new(SCENARIO);
    let path =
        lab.write("vault.yaml", &runbook("https://kv-crm.vault.azure.net/secrets/hook-token"));
    let ended = lab.run(&path, &["-vv"]).expect(0);
    let mut written = ended.said();
    everything(&lab.path().join("state"), &mut written);
    assert!(!written.contains("S3cr3t-0f-the-h00k"), "the secret is shown");
    assert_eq!(lab.world().hooks.len(), 1, "it was sent");
}

#[test]
fn what_a_vault_does_not_have_or_is_none_of_the_cloud_s_is_said_by_name() {
    for (reference, why) in [
        ("https://kv-crm.vault.azure.net/secrets/absent", "SecretNotFound"),
        ("https://vault.evil.example/secrets/hook-token", "no token is sent there"),
        ("https://kv-crm.vault.azure.net/hook-token", "https://VAULT/secrets/NAME"),
    ] {
        let lab = Lab::new(SCENARIO);
        let path = lab.write("vault.yaml", &runbook(reference));
        let said = lab.run(&path, &[]).expect(1).said();
        assert!(said.contains(why) && said.contains("secret `token`"), "{reference}: {said}");
        assert!(lab.world().hooks.is_empty(), "{reference}");
    }
}
