//! A handle for whoever plays the service: tests of this crate, conformance to Azure's own files, fuzzing. It opens no
//! socket and signs in nowhere; what it asks goes to the transport it was given.

use std::path::PathBuf;
use std::sync::Arc;

use async_trait::async_trait;
use azure_core::credentials::{AccessToken, TokenCredential, TokenRequestOptions};
use azure_core::http::HttpClient;
use azure_core::time::{Duration, OffsetDateTime};
use serde_json::Value;
use tokio::sync::OnceCell;

use super::arm::Arm;
use super::{Azure, AzureSetup, Cloud, CloudName, Connection, CredentialReport, Inner};
use crate::clock::Clock;
use crate::plan::AzureSettings;
use crate::run::RunId;

/// The subscription that is asked.
pub const SUBSCRIPTION: &str = "00000000-0000-0000-0000-00000000c0de";
/// The resource group that is meant where none is named.
pub const GROUP: &str = "rg-crm";

/// The same token for everybody, which opens nothing.
#[derive(Debug)]
struct NoToken;

#[async_trait]
impl TokenCredential for NoToken {
    async fn get_token(
        &self,
        _: &[&str],
        _: Option<TokenRequestOptions<'_>>,
    ) -> azure_core::Result<AccessToken> {
        Ok(AccessToken::new("token", OffsetDateTime::now_utc() + Duration::hours(1)))
    }
}

impl Azure {
    /// The public cloud, as the run `run` asks it, over `transport`.
    pub fn played(transport: Arc<dyn HttpClient>, clock: &Clock) -> Self {
        let cloud = Cloud::known(CloudName::Public).expect("it has fixed addresses");
        let (run, credential) = (RunId::new("run"), Arc::new(NoToken) as Arc<dyn TokenCredential>);
        let arm = Arm::new(
            cloud.arm.clone(),
            &cloud.scope(),
            Arc::clone(&credential),
            Arc::clone(&transport),
            clock.clone(),
            run.clone(),
        );
        let settings = AzureSettings {
            cloud: "public".to_owned(),
            endpoint: None,
            ca_file: None,
            subscription: SUBSCRIPTION.to_owned(),
            resource_group: Some(GROUP.to_owned()),
            credential: Value::Null,
        };
        let setup = AzureSetup {
            run,
            settings,
            overrides: None,
            secrets: Arc::default(),
            clock: clock.clone(),
            base: PathBuf::new(),
        };
        let report = CredentialReport::default();
        let connection = Connection { arm, cloud, report, credential, transport };
        let connection = OnceCell::new_with(Some(connection));
        Self(Arc::new(Inner { setup: Some(setup), connection }))
    }
}
