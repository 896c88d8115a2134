//! Key Vault secrets (7.4), over the same pipeline as everything else: the same credential, throttling and errors, and a
//! token for vaults that goes to vaults of this cloud only.

use std::sync::Weak;

use async_trait::async_trait;
use azure_core::http::{Method, Url};
use secrecy::SecretString;
use serde_json::Value;
use tokio_util::sync::CancellationToken;

use super::arm::{Arm, Call};
use super::{ArmError, Azure, Inner, Wait};
use crate::diagnostic::redact::Vault;

const API: &str = "7.4";

/// A reference to a secret: `https://NAME.vault.azure.net/secrets/SECRET[/VERSION]`.
#[derive(Debug, PartialEq, Eq)]
struct Reference {
    host: String,
    /// `/secrets/SECRET[/VERSION]`
    path: String,
}

impl Reference {
    fn parse(url: &str) -> Result<Self, ArmError> {
        let refused = || {
            let shown = url.split(['?', '#']).next().unwrap_or_default();
            ArmError::Settings(format!(
                "`key_vault: {shown}` is not `https://VAULT/secrets/NAME`, with or without a version"
            ))
        };
        let url = Url::parse(url).map_err(|_| refused())?;
        let parts: Vec<&str> = url.path().split('/').skip(1).collect();
        let named = match parts.as_slice() {
            ["secrets", name] => !name.is_empty(),
            ["secrets", name, version] => !name.is_empty() && !version.is_empty(),
            _ => false,
        };
        let plain = url.scheme() == "https"
            && url.query().is_none()
            && url.username().is_empty()
            && url.password().is_none()
            && url.port().is_none();
        match url.host_str() {
            Some(host) if named && plain => {
                Ok(Self { host: host.to_owned(), path: url.path().to_owned() })
            }
            _ => Err(refused()),
        }
    }

    /// Name of the vault, if it is one of the cloud with that suffix. A token goes nowhere else.
    fn vault_of(&self, suffix: &str) -> Option<&str> {
        let name = self.host.strip_suffix(suffix)?.strip_suffix('.')?;
        (!name.is_empty() && !name.contains('.')).then_some(name)
    }
}

impl Azure {
    /// The value of a secret.
    async fn vault_secret(&self, url: &str) -> Result<SecretString, ArmError> {
        let reference = Reference::parse(url)?;
        let connection = self.connection().await?;
        let setup = self.setup()?;
        let suffix = connection.cloud.vaults.as_deref().unwrap_or_default();
        let vault = reference.vault_of(suffix).ok_or_else(|| {
            ArmError::Settings(format!(
                "`{}` is no vault of this cloud (NAME.{suffix}); no token is sent there",
                reference.host
            ))
        })?;
        let sandbox = setup.overrides.as_ref().map(|overrides| overrides.arm.clone());
        let (endpoint, path) = if let Some(arm) = sandbox {
            (arm, format!("/keyvault/{vault}{}", reference.path))
        } else {
            let host = format!("https://{}", reference.host);
            let url =
                Url::parse(&host).map_err(|_| ArmError::ForeignUrl(reference.host.clone()))?;
            (url, reference.path.clone())
        };
        let pipeline = Arm::new(
            endpoint,
            &format!("https://{suffix}/.default"),
            std::sync::Arc::clone(&connection.credential),
            std::sync::Arc::clone(&connection.transport),
            setup.clock.clone(),
            setup.run.clone(),
        );
        let mut wait = Wait::new(&setup.clock, &CancellationToken::new());
        let call = Call::read(Method::Get, pipeline.url(&path, API));
        let body: Value = pipeline.send(&mut wait, &call).await?.read()?;
        let value = body["value"].as_str().ok_or_else(|| ArmError::Unreadable {
            what: reference.path.clone(),
            cause: "the answer has no `value`".to_owned(),
        })?;
        Ok(SecretString::from(value))
    }

    /// A way to its vaults for whoever resolves secrets. It does not keep the connection alive.
    pub fn vaults(&self) -> impl Vault + use<> {
        Vaults(std::sync::Arc::downgrade(&self.0))
    }
}

#[derive(Debug)]
struct Vaults(Weak<Inner>);

#[async_trait]
impl Vault for Vaults {
    async fn read(&self, url: &str) -> Result<SecretString, String> {
        let inner = self.0.upgrade().ok_or_else(|| "the run has ended".to_owned())?;
        Azure(inner).vault_secret(url).await.map_err(|error| error.to_string())
    }
}

#[cfg(test)]
mod tests {
    use secrecy::ExposeSecret as _;
    use serde_json::json;

    use super::super::testing::{Answer, world};
    use super::*;

    const URL: &str = "https://kv-crm.vault.azure.net/secrets/db-password";

    #[tokio::test]
    async fn a_secret_is_read_from_its_own_vault_with_a_token() {
        let (azure, script, _, _) =
            world([Answer::json(200, &json!({ "value": "hunter2!", "id": URL }))]);
        assert_eq!(azure.vault_secret(URL).await.expect("a value").expose_secret(), "hunter2!");
        let seen = &script.seen()[0];
        assert_eq!(seen.url.as_str(), format!("{URL}?api-version=7.4"));
        assert!(seen.headers["authorization"].starts_with("Bearer "));
    }

    #[tokio::test]
    async fn a_token_goes_to_no_other_host_and_an_error_says_no_value() {
        for url in [
            "https://evil.example/secrets/x",
            "https://vault.azure.net.evil.example/secrets/x",
            "https://a.b.vault.azure.net/secrets/x",
            "http://kv-crm.vault.azure.net/secrets/x",
            "https://kv-crm.vault.azure.net/keys/x",
            "https://kv-crm.vault.azure.net/secrets/x?y=z",
            "https://kv-crm.vault.azure.net:8443/secrets/x",
        ] {
            let (azure, script, _, _) = world([]);
            let refused = azure.vault_secret(url).await.expect_err("refused");
            assert!(matches!(refused, ArmError::Settings(_)), "{url}: {refused}");
            assert!(script.seen().is_empty(), "{url}");
        }
        let denied = json!({ "error": { "code": "Forbidden", "message": "no get permission" } });
        let (azure, _, _, _) = world([Answer::json(403, &denied)]);
        let error = azure.vaults().read(URL).await.expect_err("denied");
        assert!(error.contains("Forbidden"), "{error}");
    }
}
