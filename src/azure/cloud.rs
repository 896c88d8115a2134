//! Which Azure: endpoint, authority and audience of each cloud.
//!
//! A custom cloud (Azure Stack, an emulator) is asked for its own endpoints at `/metadata/endpoints`, as the Azure CLI
//! does; that one request carries no token.

use azure_core::cloud::{CloudConfiguration, CustomConfiguration};
use azure_core::http::{HttpClient, Method, Request, Url};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::arm::{ArmError, causes};

/// The cloud as the runbook names it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum CloudName {
    /// Azure.
    #[default]
    Public,
    /// Azure US Government.
    UsGovernment,
    /// Azure operated by 21Vianet.
    China,
    /// The cloud behind `azure.endpoint`.
    Custom,
}

/// A cloud's addresses.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cloud {
    /// Where ARM answers.
    pub arm: Url,
    /// Where tokens come from.
    pub authority: Url,
    /// What ARM tokens are for, without `/.default`.
    pub audience: String,
    /// What the names of its Key Vaults end in.
    pub vaults: Option<String>,
}

impl CloudName {
    /// Reads the runbook's word.
    pub fn parse(name: &str) -> Result<Self, ArmError> {
        serde_json::from_value(Value::String(name.to_owned())).map_err(|_| {
            ArmError::Settings(format!(
                "`azure.cloud: {name}` is none of public, us-government, china, custom"
            ))
        })
    }
}

impl Cloud {
    /// One of the clouds with fixed addresses; none for `custom`.
    pub fn known(name: CloudName) -> Option<Self> {
        let (arm, authority, vaults) = match name {
            CloudName::Public => (
                "https://management.azure.com",
                "https://login.microsoftonline.com",
                "vault.azure.net",
            ),
            CloudName::UsGovernment => (
                "https://management.usgovcloudapi.net",
                "https://login.microsoftonline.us",
                "vault.usgovcloudapi.net",
            ),
            CloudName::China => (
                "https://management.chinacloudapi.cn",
                "https://login.chinacloudapi.cn",
                "vault.azure.cn",
            ),
            CloudName::Custom => return None,
        };
        let url = |text: &str| Url::parse(text).expect("a constant");
        let (audience, vaults) = (arm.to_owned(), Some(vaults.to_owned()));
        Some(Self { arm: url(arm), authority: url(authority), audience, vaults })
    }

    /// Asks the ARM endpoint of a custom cloud for the rest.
    pub(super) async fn discover(arm: Url, http: &dyn HttpClient) -> Result<Self, ArmError> {
        let mut url = arm.clone();
        url.set_path("/metadata/endpoints");
        url.set_query(Some("api-version=2022-09-01"));
        let unreachable =
            |cause: String| ArmError::NoReply { host: arm.authority().to_owned(), cause };
        let reply = http
            .execute_request(&Request::new(url, Method::Get))
            .await
            .map_err(|error| unreachable(causes(&error)))?
            .try_into_raw_response()
            .await
            .map_err(|error| unreachable(causes(&error)))?;
        if !reply.status().is_success() {
            return Err(unreachable(format!("HTTP {} for /metadata/endpoints", reply.status())));
        }
        let body: Value =
            serde_json::from_slice(reply.body()).map_err(|error| ArmError::Unreadable {
                what: "/metadata/endpoints".to_owned(),
                cause: error.to_string(),
            })?;
        Self::from_metadata(arm, &body)
    }

    fn from_metadata(arm: Url, body: &Value) -> Result<Self, ArmError> {
        let missing = |key: &str| ArmError::Unreadable {
            what: "/metadata/endpoints".to_owned(),
            cause: format!("`{key}` is missing or no https URL"),
        };
        // Older metadata versions answer with a list of clouds; the first is the own one.
        let body = body.get(0).unwrap_or(body);
        let text = |pointer: &str| body.pointer(pointer).and_then(Value::as_str);
        let authority = text("/authentication/loginEndpoint")
            .and_then(|url| Url::parse(url).ok())
            .filter(|url| url.scheme() == "https")
            .ok_or_else(|| missing("authentication.loginEndpoint"))?;
        let audience = text("/authentication/audiences/0")
            .ok_or_else(|| missing("authentication.audiences"))?
            .trim_end_matches('/')
            .to_owned();
        let vaults = text("/suffixes/keyVaultDns").filter(|suffix| !suffix.is_empty());
        let vaults = vaults.map(|suffix| suffix.trim_start_matches('.').to_owned());
        Ok(Self { arm, authority, audience, vaults })
    }

    /// The scope tokens are asked for.
    pub fn scope(&self) -> String {
        format!("{}/.default", self.audience)
    }

    /// For the credentials of `azure_identity`.
    pub(super) fn configuration(&self) -> CloudConfiguration {
        let mut custom = CustomConfiguration::default();
        self.authority.as_str().trim_end_matches('/').clone_into(&mut custom.authority_host);
        custom.into()
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_custom_cloud_names_its_authority_and_audience() {
        let arm = Url::parse("https://localhost:8443").expect("a URL");
        let body = json!({ "resourceManager": "https://localhost:8443", "authentication": {
            "loginEndpoint": "https://localhost:8444", "audiences": ["https://management.sandbox/"] } });
        let cloud = Cloud::from_metadata(arm.clone(), &body).expect("complete");
        assert_eq!(cloud.scope(), "https://management.sandbox/.default");
        assert_eq!(cloud, Cloud::from_metadata(arm, &json!([body])).expect("the older form"));
    }

    #[test]
    fn an_authority_over_http_is_refused() {
        let arm = Url::parse("https://localhost").expect("a URL");
        let body = json!({ "authentication": { "loginEndpoint": "http://localhost", "audiences": ["a"] } });
        assert!(matches!(Cloud::from_metadata(arm, &body), Err(ArmError::Unreadable { .. })));
    }

    #[test]
    fn clouds_go_by_their_names_in_the_runbook() {
        assert_eq!(CloudName::parse("us-government").expect("known"), CloudName::UsGovernment);
        assert!(CloudName::parse("germany").is_err());
    }
}
