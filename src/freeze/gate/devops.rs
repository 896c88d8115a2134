//! An environment of Azure DevOps: an approval check of our name that holds every deployment to it.
//!
//! REST API 7.1, "Check configurations":
//! <https://learn.microsoft.com/rest/api/azure/devops/approvalsandchecks/check-configurations>. A check has no name of its
//! own, so ours begins its instructions. The approvers can let an emergency deployment pass; whoever else deploys waits.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use reqwest::header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE, HeaderMap, HeaderValue};
use schemars::JsonSchema;
use secrecy::{ExposeSecret as _, SecretString};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::{Found, GateError, Session, Token, authorization};

const API: &str = "api-version=7.1-preview.1";
/// The type of an approval check, the same everywhere.
const APPROVAL: &str = "8c6f20a7-a545-4486-9777-f762fafe0d4d";
/// Minutes until a deployment that nobody approved fails: thirty days, the most there is.
const TIMEOUT: u32 = 43_200;

/// An environment.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct AzureDevops {
    /// `organization/project`.
    pub project: String,
    /// Number of the environment that deployments go to.
    pub environment: u64,
    /// Ids of the people or groups who can let a deployment pass nevertheless.
    pub approvers: Vec<String>,
    /// A personal access token with the scope "Environment, read and manage": `{ secret: name }`.
    pub token: Token,
    /// The service. Default `https://dev.azure.com`.
    #[serde(default = "service")]
    pub server: String,
}

fn service() -> String {
    "https://dev.azure.com".to_owned()
}

pub(super) fn headers(token: &SecretString) -> Result<HeaderMap, GateError> {
    let login = STANDARD.encode(format!(":{}", token.expose_secret()));
    let basic = SecretString::from(format!("Basic {login}"));
    Ok(HeaderMap::from_iter([
        (AUTHORIZATION, authorization(&basic)?),
        (ACCEPT, HeaderValue::from_static("application/json")),
        (CONTENT_TYPE, HeaderValue::from_static("application/json")),
    ]))
}

impl AzureDevops {
    pub(super) fn shown(&self) -> String {
        format!("deployments to environment {} of {}", self.environment, self.project)
    }

    fn configurations(&self) -> String {
        format!("/{}/_apis/pipelines/checks/configurations", self.project)
    }

    pub(super) fn path(&self) -> String {
        format!("{}?{API}", self.configurations())
    }

    pub(super) fn path_of(&self, id: &str) -> String {
        format!("{}/{id}?{API}", self.configurations())
    }

    pub(super) fn closed(&self, name: &str, notes: &str) -> Value {
        json!({
            "type": { "id": APPROVAL, "name": "Approval" },
            "settings": {
                "approvers": self.approvers.iter().map(|id| json!({ "id": id })).collect::<Vec<_>>(),
                "executionOrder": "anyOrder",
                "minRequiredApprovers": 0,
                "instructions": format!("{name}: {notes}"),
                "blockedApprovers": [],
                "requesterCannotBeApprover": true,
            },
            "resource": { "type": "environment", "id": self.environment.to_string() },
            "timeout": TIMEOUT,
        })
    }

    pub(super) async fn find(
        &self,
        session: &Session<'_>,
        name: &str,
    ) -> Result<Option<Found>, GateError> {
        let (path, environment) = (self.configurations(), self.environment);
        let query = format!("resourceType=environment&resourceId={environment}&$expand=settings");
        let listed = session.get(&format!("{path}?{query}&{API}")).await?;
        let checks = listed["value"]
            .as_array()
            .ok_or_else(|| GateError::Unreadable("it is no list of checks".to_owned()))?;
        let ours = format!("{name}: ");
        let found = checks.iter().find(|check| {
            let says = check["settings"]["instructions"].as_str();
            says.is_some_and(|says| says.starts_with(&ours))
        });
        let Some(found) = found else { return Ok(None) };
        let id = found["id"]
            .as_u64()
            .ok_or_else(|| GateError::Unreadable("a check has no id".to_owned()))?;
        Ok(Some(Found { id: id.to_string(), altered: self.altered(found) }))
    }

    /// In what a check is not as we close it.
    fn altered(&self, found: &Value) -> Option<String> {
        let listed = found["settings"]["approvers"].as_array();
        let mut ids: Vec<String> = listed
            .into_iter()
            .flatten()
            .filter_map(|approver| approver["id"].as_str())
            .map(str::to_ascii_lowercase)
            .collect();
        ids.sort();
        let mut wanted: Vec<String> =
            self.approvers.iter().map(|id| id.to_ascii_lowercase()).collect();
        wanted.sort();
        if ids != wanted {
            return Some(format!("its approvers are {}", ids.join(", ")));
        }
        (found["isDisabled"] == true).then(|| "it is disabled".to_owned())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_check_with_other_approvers_or_none_is_altered() {
        let written = json!({ "project": "contoso/crm", "environment": 7, "approvers": ["AB-1", "cd-2"], "token": { "secret": "t" } });
        let gate: AzureDevops = serde_json::from_value(written).expect("a gate");
        let mut found = gate.closed("migrate-w-freeze", "wave w");
        assert_eq!(gate.altered(&found), None);
        found["settings"]["approvers"] = json!([{ "id": "CD-2" }, { "id": "ab-1" }]);
        assert_eq!(gate.altered(&found), None);
        found["isDisabled"] = json!(true);
        assert!(gate.altered(&found).is_some());
        found["settings"]["approvers"] = json!([{ "id": "ef-3" }]);
        assert_eq!(gate.altered(&found).as_deref(), Some("its approvers are ef-3"));
    }
}
