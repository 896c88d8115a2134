//! `azure.credential` of a runbook.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::azure::arm::ArmError;

/// A word, or `service_principal` with its parameters.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum CredentialSettings {
    /// Workload identity, Azure Pipelines, Azure CLI, managed identity: the first that gives a token.
    #[default]
    Auto,
    /// The account of `az login`.
    AzureCli,
    /// Identity of the machine; `AZURE_CLIENT_ID` names a user-assigned one.
    ManagedIdentity,
    /// Federated token of a Kubernetes pod (`AZURE_FEDERATED_TOKEN_FILE` and its companions).
    WorkloadIdentity,
    /// Federated token of an Azure Pipelines job (`SYSTEM_ACCESSTOKEN` and the service connection's variables).
    AzurePipelines,
    /// An application with its secret or certificate.
    #[serde(rename = "service_principal")]
    ServicePrincipal(ServicePrincipal),
}

/// An application registered in a tenant.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(try_from = "Written", into = "Written")]
#[schemars(with = "Written")]
pub struct ServicePrincipal {
    /// Tenant id.
    pub tenant: String,
    /// Application id.
    pub client_id: String,
    /// How it proves who it is.
    pub proof: Proof,
}

/// How an application proves who it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Proof {
    /// Name of a secret under `secrets`.
    Secret(String),
    /// PEM file with certificate and private key, relative to the runbook.
    Certificate(String),
}

/// An application registered in a tenant, with exactly one of `secret` and `certificate`.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "ServicePrincipal")]
struct Written {
    /// Tenant id.
    tenant: String,
    /// Application id.
    client_id: String,
    /// Name of a secret under `secrets`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    secret: Option<String>,
    /// PEM file with certificate and private key, relative to the runbook.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    certificate: Option<String>,
}

impl TryFrom<Written> for ServicePrincipal {
    type Error = &'static str;

    fn try_from(written: Written) -> Result<Self, Self::Error> {
        let proof = match (written.secret, written.certificate) {
            (Some(secret), None) => Proof::Secret(secret),
            (None, Some(file)) => Proof::Certificate(file),
            _ => return Err("a service principal has either `secret` or `certificate`"),
        };
        Ok(Self { tenant: written.tenant, client_id: written.client_id, proof })
    }
}

impl From<ServicePrincipal> for Written {
    fn from(principal: ServicePrincipal) -> Self {
        let (secret, certificate) = match principal.proof {
            Proof::Secret(secret) => (Some(secret), None),
            Proof::Certificate(file) => (None, Some(file)),
        };
        Self { tenant: principal.tenant, client_id: principal.client_id, secret, certificate }
    }
}

impl CredentialSettings {
    /// Reads the value of a plan; a plan without one means `auto`.
    pub fn read(value: &Value) -> Result<Self, ArmError> {
        if value.is_null() {
            return Ok(Self::Auto);
        }
        Self::deserialize(value)
            .map_err(|error| ArmError::Settings(format!("`azure.credential`: {error}")))
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn words_and_mappings_are_read() {
        let read = |value: Value| CredentialSettings::read(&value).expect("valid");
        assert_eq!(read(Value::Null), CredentialSettings::Auto);
        assert_eq!(read(json!("azure-cli")), CredentialSettings::AzureCli);
        let principal =
            json!({ "service_principal": { "tenant": "t", "client_id": "c", "secret": "s" } });
        assert_eq!(
            read(principal),
            CredentialSettings::ServicePrincipal(ServicePrincipal {
                tenant: "t".to_owned(),
                client_id: "c".to_owned(),
                proof: Proof::Secret("s".to_owned()),
            })
        );
    }

    #[test]
    fn two_proofs_or_none_are_refused() {
        for more in [json!({}), json!({ "secret": "s", "certificate": "f" })] {
            let mut principal = json!({ "tenant": "t", "client_id": "c" });
            principal
                .as_object_mut()
                .expect("an object")
                .extend(more.as_object().expect("one").clone());
            let error = CredentialSettings::read(&json!({ "service_principal": principal }));
            assert!(
                error
                    .expect_err("refused")
                    .to_string()
                    .contains("either `secret` or `certificate`")
            );
        }
    }
}
