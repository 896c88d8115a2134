//! Who we are to Azure.
//!
//! Each credential is tried for a real token when the connection is made, so a wrong one is found before any step acts.
//! `auto` tries them in a fixed order and says which one it took and why the ones before it failed. Secrets and keys
//! stay inside the credential; no report, error or `Debug` shows them.

mod assertion;
mod cli;
mod known;
mod settings;
#[cfg(test)]
mod tests;

use std::fmt;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use azure_core::credentials::{Secret, TokenCredential};
use azure_core::http::{ClientOptions, HttpClient, Transport};
use azure_identity::{
    AzureCliCredential, AzureCliCredentialOptions, AzurePipelinesCredential,
    AzurePipelinesCredentialOptions, ClientAssertionCredential, ClientAssertionCredentialOptions,
    ClientSecretCredential, ClientSecretCredentialOptions, ManagedIdentityCredential,
    ManagedIdentityCredentialOptions, UserAssignedId, WorkloadIdentityCredential,
    WorkloadIdentityCredentialOptions,
};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use secrecy::{ExposeSecret, SecretString};
use serde::{Deserialize, Serialize};

pub use settings::{CredentialSettings, Proof, ServicePrincipal};

use super::arm::{ArmError, causes};
use super::cloud::Cloud;
use crate::clock::Clock;
use crate::diagnostic::redact::Secrets;

/// A machine outside Azure has no metadata service; the probe for it must not hold the run.
const METADATA_PROBE: Duration = Duration::from_secs(3);

/// What Azure Pipelines hands to a job that maps it.
const PIPELINE_TOKEN: &str = "SYSTEM_ACCESSTOKEN";

/// A way to get a token.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum CredentialKind {
    /// Federated token of a Kubernetes pod.
    WorkloadIdentity,
    /// Federated token of an Azure Pipelines job.
    AzurePipelines,
    /// The account of `az login`.
    AzureCli,
    /// Identity of the virtual machine or App Service we run on.
    ManagedIdentity,
    /// Application with a secret or certificate.
    ServicePrincipal,
}

impl fmt::Display for CredentialKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::WorkloadIdentity => "workload-identity",
            Self::AzurePipelines => "azure-pipelines",
            Self::AzureCli => "azure-cli",
            Self::ManagedIdentity => "managed-identity",
            Self::ServicePrincipal => "service-principal",
        })
    }
}

/// Order of `auto`: what the surroundings were set up for first, then the person, then the machine.
const AUTO: [CredentialKind; 4] = [
    CredentialKind::WorkloadIdentity,
    CredentialKind::AzurePipelines,
    CredentialKind::AzureCli,
    CredentialKind::ManagedIdentity,
];

/// Which credential was taken, and why the ones tried before it were not.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct CredentialReport {
    /// The one in use; none when nothing worked.
    pub taken: Option<CredentialKind>,
    /// The ones that gave no token, in order, and why.
    pub failed: Vec<(CredentialKind, String)>,
    /// A later refusal by the credential that was in use.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub refused: Option<String>,
}

impl CredentialReport {
    /// The credential in use stopped giving tokens.
    pub(super) fn refused(cause: String) -> Self {
        Self { refused: Some(cause), ..Self::default() }
    }
}

impl fmt::Display for CredentialReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let taken = self.taken.map(|kind| format!("takes {kind}"));
        let failed = self.failed.iter().map(|(kind, why)| format!("{kind}: {why}"));
        let parts: Vec<_> = taken.into_iter().chain(failed).chain(self.refused.clone()).collect();
        f.write_str(&parts.join("; "))
    }
}

/// The object id that a token speaks of; none where it is no JWT or does not say. It is read, never trusted: what the
/// identity may do is the service's to say.
pub(super) async fn object_id(
    credential: &dyn TokenCredential,
    scope: &str,
) -> Result<Option<String>, ArmError> {
    let token = credential.get_token(&[scope], None).await;
    let token =
        token.map_err(|error| ArmError::Credential(CredentialReport::refused(causes(&error))))?;
    let payload =
        token.token.secret().split('.').nth(1).and_then(|it| URL_SAFE_NO_PAD.decode(it).ok());
    let claims: Option<serde_json::Value> =
        payload.and_then(|payload| serde_json::from_slice(&payload).ok());
    Ok(claims.and_then(|claims| claims["oid"].as_str().map(str::to_owned)))
}

/// What credentials are made from.
pub(super) struct Origin<'a> {
    pub(super) cloud: &'a Cloud,
    pub(super) transport: &'a Arc<dyn HttpClient>,
    pub(super) secrets: &'a Secrets,
    pub(super) base: &'a Path,
    pub(super) subscription: &'a str,
    pub(super) clock: &'a Clock,
}

/// A credential that has given a token once, and how it was found.
pub(super) async fn choose(
    settings: &CredentialSettings,
    origin: &Origin<'_>,
) -> Result<(Arc<dyn TokenCredential>, CredentialReport), ArmError> {
    let one;
    let kinds: &[CredentialKind] = match settings {
        CredentialSettings::Auto => &AUTO,
        CredentialSettings::AzureCli => &[CredentialKind::AzureCli],
        CredentialSettings::ManagedIdentity => &[CredentialKind::ManagedIdentity],
        CredentialSettings::WorkloadIdentity => &[CredentialKind::WorkloadIdentity],
        CredentialSettings::AzurePipelines => &[CredentialKind::AzurePipelines],
        CredentialSettings::ServicePrincipal(_) => {
            one = [CredentialKind::ServicePrincipal];
            &one
        }
    };
    let mut report = CredentialReport::default();
    for &kind in kinds {
        match origin.attempt(kind, settings).await {
            Ok(credential) => {
                report.taken = Some(kind);
                tracing::info!(%report, "credential for Azure");
                return Ok((credential, report));
            }
            Err(why) => report.failed.push((kind, why)),
        }
    }
    Err(ArmError::Credential(report))
}

impl Origin<'_> {
    async fn attempt(
        &self,
        kind: CredentialKind,
        settings: &CredentialSettings,
    ) -> Result<Arc<dyn TokenCredential>, String> {
        let credential = match (kind, settings) {
            (CredentialKind::ServicePrincipal, CredentialSettings::ServicePrincipal(principal)) => {
                self.service_principal(principal).await?
            }
            _ => self.ambient(kind).map_err(|error| first_line(&causes(&error)))?,
        };
        let credential = known::Known::over(credential, self.secrets.redactor());
        let scope = self.cloud.scope();
        let scopes = [scope.as_str()];
        let token = credential.get_token(&scopes, None);
        let probing =
            matches!(settings, CredentialSettings::Auto) && kind == CredentialKind::ManagedIdentity;
        let token = if probing {
            tokio::time::timeout(METADATA_PROBE, token)
                .await
                .map_err(|_| "no metadata service answered within 3 s".to_owned())?
        } else {
            token.await
        };
        token.map(|_| credential).map_err(|error| first_line(&causes(&error)))
    }

    fn client_options(&self) -> ClientOptions {
        ClientOptions {
            transport: Some(Transport::new(Arc::clone(self.transport))),
            cloud: Some(Arc::new(self.cloud.configuration())),
            ..ClientOptions::default()
        }
    }

    fn assertion_options(&self) -> ClientAssertionCredentialOptions {
        ClientAssertionCredentialOptions { client_options: self.client_options() }
    }

    fn ambient(&self, kind: CredentialKind) -> azure_core::Result<Arc<dyn TokenCredential>> {
        Ok(match kind {
            CredentialKind::WorkloadIdentity => {
                WorkloadIdentityCredential::new(Some(WorkloadIdentityCredentialOptions {
                    credential_options: self.assertion_options(),
                    ..WorkloadIdentityCredentialOptions::default()
                }))?
            }
            CredentialKind::AzurePipelines => {
                let options = AzurePipelinesCredentialOptions {
                    credential_options: self.assertion_options(),
                };
                AzurePipelinesCredential::new(
                    environment("AZURESUBSCRIPTION_TENANT_ID")?,
                    environment("AZURESUBSCRIPTION_CLIENT_ID")?,
                    &environment("AZURESUBSCRIPTION_SERVICE_CONNECTION_ID")?,
                    self.known_environment(PIPELINE_TOKEN)?,
                    Some(options),
                )?
            }
            CredentialKind::ManagedIdentity => {
                ManagedIdentityCredential::new(Some(ManagedIdentityCredentialOptions {
                    user_assigned_id: environment("AZURE_CLIENT_ID")
                        .ok()
                        .map(UserAssignedId::ClientId),
                    client_options: self.client_options(),
                }))?
            }
            CredentialKind::AzureCli | CredentialKind::ServicePrincipal => {
                AzureCliCredential::new(Some(AzureCliCredentialOptions {
                    subscription: Some(self.subscription.to_owned()),
                    executor: Some(Arc::new(self.scrubbed())),
                    ..AzureCliCredentialOptions::default()
                }))?
            }
        })
    }

    fn scrubbed(&self) -> cli::Scrubbed {
        let mut without: Vec<_> = self.secrets.variables().map(str::to_owned).collect();
        without.push(PIPELINE_TOKEN.to_owned());
        cli::Scrubbed { without }
    }

    /// A variable whose value is a secret.
    fn known_environment(&self, name: &str) -> azure_core::Result<String> {
        let value = environment(name)?;
        // Too short a value opens nothing.
        let _ = self.secrets.redactor().register(&SecretString::from(value.as_str()));
        Ok(value)
    }

    async fn service_principal(
        &self,
        principal: &ServicePrincipal,
    ) -> Result<Arc<dyn TokenCredential>, String> {
        match &principal.proof {
            Proof::Secret(name) => {
                // A vault could not be opened without it.
                let secret = self.secrets.get_without_vault(name).await?;
                self.with_secret(principal, &secret)
            }
            Proof::Certificate(file) => {
                let path = self.base.join(file);
                let pem = tokio::fs::read(&path)
                    .await
                    .map_err(|error| format!("{}: {error}", path.display()))?;
                let redactor = self.secrets.redactor();
                // A file too short to be a key says so below.
                let _ = redactor.register(&SecretString::from(&*String::from_utf8_lossy(&pem)));
                let audience = format!(
                    "{}/{}/oauth2/v2.0/token",
                    self.cloud.authority.as_str().trim_end_matches('/'),
                    principal.tenant
                );
                let signer = assertion::Certificate::read(
                    &pem,
                    principal.client_id.clone(),
                    audience,
                    self.clock.clone(),
                    redactor,
                )
                .map_err(|error| format!("{}: {error}", path.display()))?;
                let credential: Arc<dyn TokenCredential> = ClientAssertionCredential::new(
                    principal.tenant.clone(),
                    principal.client_id.clone(),
                    signer,
                    Some(self.assertion_options()),
                )
                .map_err(|error| causes(&error))?;
                Ok(credential)
            }
        }
    }

    fn with_secret(
        &self,
        principal: &ServicePrincipal,
        secret: &SecretString,
    ) -> Result<Arc<dyn TokenCredential>, String> {
        let credential: Arc<dyn TokenCredential> = ClientSecretCredential::new(
            &principal.tenant,
            principal.client_id.clone(),
            Secret::new(secret.expose_secret().to_owned()),
            Some(ClientSecretCredentialOptions { client_options: self.client_options() }),
        )
        .map_err(|error| causes(&error))?;
        Ok(credential)
    }

    /// A service principal whose secret is at hand: what a sandbox run signs in with.
    pub(super) fn given(
        &self,
        principal: &GivenPrincipal,
    ) -> Result<(Arc<dyn TokenCredential>, CredentialReport), ArmError> {
        let named = ServicePrincipal {
            tenant: principal.tenant.clone(),
            client_id: principal.client_id.clone(),
            proof: Proof::Secret("given".to_owned()),
        };
        let credential = self.with_secret(&named, &principal.secret).map_err(ArmError::Settings)?;
        let credential = known::Known::over(credential, self.secrets.redactor());
        let taken = Some(CredentialKind::ServicePrincipal);
        Ok((credential, CredentialReport { taken, ..CredentialReport::default() }))
    }
}

/// A service principal with its secret at hand.
#[derive(Debug, Clone)]
pub struct GivenPrincipal {
    /// Tenant id.
    pub tenant: String,
    /// Application id.
    pub client_id: String,
    /// Its secret.
    pub secret: SecretString,
}

fn environment(name: &str) -> azure_core::Result<String> {
    std::env::var(name).map_err(|_| {
        azure_core::Error::with_message(
            azure_core::error::ErrorKind::Credential,
            format!("{name} is not set"),
        )
    })
}

/// Library messages end in links and repeat themselves over several lines.
fn first_line(text: &str) -> String {
    text.lines().map(str::trim).find(|line| !line.is_empty()).unwrap_or_default().to_owned()
}
