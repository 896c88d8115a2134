//! Azure Resource Manager as this program uses it.
//!
//! [`Azure`] is a cheap handle that connects on first use: a runbook without Azure costs nothing. Reading methods take a
//! [`Wait`], changing methods an [`EffectPermit`](crate::journal::EffectPermit) as well. Nothing here retries a change
//! whose outcome is unknown; [`ArmError`] says which case it is.

mod activity;
mod arm;
mod assessments;
mod cloud;
mod credential;
mod deployments;
mod dns;
mod health;
mod locks;
mod machines;
mod metrics;
mod permissions;
pub mod played;
mod replication;
mod resources;
#[cfg(test)]
pub(crate) mod testing;
#[cfg(test)]
mod tests;
mod traffic;
mod trail;
mod vault;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use azure_core::credentials::TokenCredential;
use azure_core::http::{HttpClient, Url};
use tokio::sync::OnceCell;

pub use activity::{ActivityEvent, ActivityFilter};
pub use arm::{Accepted, ArmError, Finished, ServiceError, Wait, change_request_id};
pub use assessments::{AssessedMachine, Suitability};
pub use cloud::{Cloud, CloudName};
pub use credential::{
    CredentialKind, CredentialReport, CredentialSettings, GivenPrincipal, Proof, ServicePrincipal,
};
pub use deployments::{Deployment, DeploymentOperation, Template, WhatIfChange};
pub use dns::{RecordSet, RecordType, Zone};
pub use health::{Availability, AvailabilityState, ServiceEvent};
pub use locks::{Lock, LockLevel};
pub use machines::{ComputeState, Power, VirtualMachine};
pub use metrics::{Aggregation, Metric, MetricQuery, MetricSeries};
pub use permissions::{DenyAssignment, Held, Permission, Right, Rights, RoleAssignment};
pub use replication::{Health, Job, JobEnd, MigrationItemId, ReplicationItem, TestMachine};
pub use resources::{ResourceGroup, ResourceId};
pub use traffic::{Balanced, Balancer, Member, Serving, Weight};
pub use trail::Trail;

use crate::clock::Clock;
use crate::diagnostic::redact::Secrets;
use crate::plan::AzureSettings;
use crate::run::RunId;
use arm::Arm;

/// Real time a connection may take to be made.
const CONNECT: Duration = Duration::from_secs(20);
/// Real time a reply may take.
const READ: Duration = Duration::from_mins(1);

/// A connection to Azure, made on first use. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Azure(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    setup: Option<AzureSetup>,
    connection: OnceCell<Connection>,
}

/// What a connection is made from.
#[derive(Debug)]
pub struct AzureSetup {
    /// The run; request ids of changes derive from it.
    pub run: RunId,
    /// The runbook's `azure` section.
    pub settings: AzureSettings,
    /// What a sandbox run puts in its place.
    pub overrides: Option<AzureOverrides>,
    /// For the secret of a service principal.
    pub secrets: Arc<Secrets>,
    /// Throttling and long-running operations wait on it.
    pub clock: Clock,
    /// Relative paths (certificate, CA) start here.
    pub base: PathBuf,
}

/// Where a sandbox run goes instead of Azure.
#[derive(Debug, Clone)]
pub struct AzureOverrides {
    /// ARM endpoint, https.
    pub arm: Url,
    /// Authority, https; tokens come from `<authority>/<tenant>/oauth2/v2.0/token`.
    pub authority: Url,
    /// What tokens are asked for, without `/.default`.
    pub audience: String,
    /// PEM text of the CA that signed both.
    pub ca_pem: String,
    /// Who signs in.
    pub credential: GivenPrincipal,
}

#[derive(Debug)]
struct Connection {
    arm: Arm,
    cloud: Cloud,
    report: CredentialReport,
    credential: Arc<dyn TokenCredential>,
    transport: Arc<dyn HttpClient>,
}

impl Azure {
    /// A handle for runbooks without an `azure` section; every call says so.
    pub fn disconnected() -> Self {
        Self(Arc::new(Inner { setup: None, connection: OnceCell::new() }))
    }

    /// A handle that connects on first use.
    pub fn new(setup: AzureSetup) -> Self {
        Self(Arc::new(Inner { setup: Some(setup), connection: OnceCell::new() }))
    }

    /// The runbook's subscription id.
    pub fn subscription(&self) -> Result<&str, ArmError> {
        Ok(&self.setup()?.settings.subscription)
    }

    /// The resource group named, or the runbook's default one.
    pub fn resource_group<'a>(&'a self, named: Option<&'a str>) -> Result<&'a str, ArmError> {
        named.or(self.setup()?.settings.resource_group.as_deref()).ok_or_else(|| {
            ArmError::Settings(
                "no resource group: name one, or set `azure.resource_group`".to_owned(),
            )
        })
    }

    /// Which credential is in use, and why others were not taken. Connects.
    pub async fn credential_report(&self) -> Result<CredentialReport, ArmError> {
        Ok(self.connection().await?.report.clone())
    }

    /// The cloud's addresses. Connects.
    pub async fn cloud(&self) -> Result<Cloud, ArmError> {
        Ok(self.connection().await?.cloud.clone())
    }

    /// Object id of the identity in use, where its token says. Connects.
    pub async fn principal(&self) -> Result<Option<String>, ArmError> {
        let Connection { credential, cloud, .. } = self.connection().await?;
        credential::object_id(credential.as_ref(), &cloud.scope()).await
    }

    fn setup(&self) -> Result<&AzureSetup, ArmError> {
        self.0.setup.as_ref().ok_or(ArmError::NotConfigured)
    }

    async fn arm(&self) -> Result<&Arm, ArmError> {
        Ok(&self.connection().await?.arm)
    }

    async fn connection(&self) -> Result<&Connection, ArmError> {
        let setup = self.setup()?;
        self.0.connection.get_or_try_init(|| setup.connect()).await
    }
}

impl AzureSetup {
    async fn connect(&self) -> Result<Connection, ArmError> {
        let ca = match (&self.overrides, &self.settings.ca_file) {
            (Some(overrides), _) => Some(overrides.ca_pem.clone().into_bytes()),
            (None, Some(file)) => Some(self.read_ca(file).await?),
            (None, None) => None,
        };
        let transport: Arc<dyn HttpClient> = Arc::new(http_client(ca.as_deref())?);
        let cloud = self.cloud(&transport).await?;
        let origin = credential::Origin {
            cloud: &cloud,
            transport: &transport,
            secrets: &self.secrets,
            base: &self.base,
            subscription: &self.settings.subscription,
            clock: &self.clock,
        };
        let (credential, report) = if let Some(overrides) = &self.overrides {
            origin.given(&overrides.credential)?
        } else {
            let settings = CredentialSettings::read(&self.settings.credential)?;
            credential::choose(&settings, &origin).await?
        };
        let arm = Arm::new(
            cloud.arm.clone(),
            &cloud.scope(),
            Arc::clone(&credential),
            Arc::clone(&transport),
            self.clock.clone(),
            self.run.clone(),
        );
        Ok(Connection { arm, cloud, report, credential, transport })
    }

    async fn read_ca(&self, file: &str) -> Result<Vec<u8>, ArmError> {
        tokio::fs::read(self.base.join(file))
            .await
            .map_err(|error| ArmError::Settings(format!("`azure.ca_file: {file}`: {error}")))
    }

    async fn cloud(&self, http: &Arc<dyn HttpClient>) -> Result<Cloud, ArmError> {
        if let Some(overrides) = &self.overrides {
            return Ok(Cloud {
                arm: overrides.arm.clone(),
                authority: overrides.authority.clone(),
                audience: overrides.audience.clone(),
                vaults: Some("vault.azure.net".to_owned()),
            });
        }
        if let Some(cloud) = Cloud::known(CloudName::parse(&self.settings.cloud)?) {
            return Ok(cloud);
        }
        let endpoint = self.settings.endpoint.as_deref().unwrap_or_default();
        let arm =
            Url::parse(endpoint).ok().filter(|url| url.scheme() == "https").ok_or_else(|| {
                ArmError::Settings(
                    "`azure.cloud: custom` needs `azure.endpoint`, an https URL".to_owned(),
                )
            })?;
        Cloud::discover(arm, http.as_ref()).await
    }
}

/// The one HTTP client: no redirects (a token must not follow one), certificates always verified.
fn http_client(ca_pem: Option<&[u8]>) -> Result<reqwest::Client, ArmError> {
    let unusable =
        |error: reqwest::Error| ArmError::Settings(format!("HTTP client: {}", arm::causes(&error)));
    let mut builder = reqwest::Client::builder()
        .connect_timeout(CONNECT)
        .read_timeout(READ)
        .redirect(reqwest::redirect::Policy::none());
    if let Some(pem) = ca_pem {
        let roots = reqwest::Certificate::from_pem_bundle(pem).map_err(unusable)?;
        if roots.is_empty() {
            return Err(ArmError::Settings("the CA file holds no certificate".to_owned()));
        }
        builder = roots.into_iter().fold(builder, reqwest::ClientBuilder::add_root_certificate);
    }
    builder.build().map_err(unusable)
}
