//! ARM deployments into a resource group, through the generated client: validate, what-if, create, watch, outputs.
//!
//! Requests are the generated ones (2021-04-01). Answers are read here and tolerantly, since the generated models refuse
//! values that newer services send.

use azure_mgmt_resources::package_resources_2021_04 as generated;
use generated::models::{
    Deployment as Body, DeploymentProperties, DeploymentWhatIf, DeploymentWhatIfProperties,
    DeploymentWhatIfSettings, deployment_properties::Mode,
    deployment_what_if_settings::ResultFormat,
};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::arm::{Parts, found};
use super::{Accepted, ArmError, Azure, ServiceError, Wait};
use crate::journal::EffectPermit;

const API: &str = "2021-04-01";

/// A template with its parameters. The mode is always incremental: nothing outside the template is deleted.
#[derive(Debug, Clone, PartialEq)]
pub struct Template {
    /// The ARM JSON template.
    pub template: Value,
    /// Values by name, without ARM's `{"value": …}` around them.
    pub parameters: Map<String, Value>,
}

/// One resource a deployment would touch.
#[derive(Debug, Clone, PartialEq)]
pub struct WhatIfChange {
    /// Its id.
    pub resource_id: String,
    /// `Create`, `Delete`, `Modify`, `Deploy`, `NoChange`, `Ignore`, `Unsupported`.
    pub change: String,
    /// The resource now; `Null` where it does not exist.
    pub before: Value,
    /// The resource afterwards; `Null` where it would go.
    pub after: Value,
    /// Properties that change: path, before, after.
    pub delta: Vec<(String, Value, Value)>,
}

/// A deployment as the service holds it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Deployment {
    /// Its name.
    pub name: String,
    /// `Succeeded`, `Running`, `Failed`, …
    pub state: String,
    /// Outputs by name, without their type and without those that are secure: Azure leaves their values out, and where
    /// another service does not, they are not kept.
    pub outputs: Map<String, Value>,
    /// Ids of the resources it made or updated.
    pub resources: Vec<String>,
    /// Joins ARM, the activity log and support.
    pub correlation_id: Option<String>,
    /// Why it failed.
    pub error: Option<String>,
}

/// One operation of a deployment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DeploymentOperation {
    /// The resource it is about.
    pub resource_id: String,
    /// `Succeeded`, `Failed`, …
    pub state: String,
    /// Error code and message, or empty.
    pub message: String,
}

impl Template {
    fn properties(&self) -> DeploymentProperties {
        let parameters = self
            .parameters
            .iter()
            .map(|(name, value)| (name.clone(), serde_json::json!({ "value": value })))
            .collect();
        DeploymentProperties {
            template: Some(self.template.clone()),
            parameters: Some(Value::Object(parameters)),
            ..DeploymentProperties::new(Mode::Incremental)
        }
    }

    fn body(&self) -> Body {
        Body::new(self.properties())
    }

    fn what_if(&self) -> DeploymentWhatIf {
        let settings =
            DeploymentWhatIfSettings { result_format: Some(ResultFormat::FullResourcePayloads) };
        DeploymentWhatIf::new(DeploymentWhatIfProperties {
            what_if_settings: Some(settings),
            ..DeploymentWhatIfProperties::new(self.properties())
        })
    }
}

/// Whether the template calls an output a secret.
fn is_secure(output: &Value) -> bool {
    let kind = output.get("type").and_then(Value::as_str).unwrap_or_default();
    ["securestring", "secureobject"].iter().any(|secure| kind.eq_ignore_ascii_case(secure))
}

impl Deployment {
    /// Reads the service's JSON.
    fn from_body(body: &Value) -> Self {
        let property =
            |name: &str| body.pointer(&format!("/properties/{name}")).unwrap_or(&Value::Null);
        let outputs = property("outputs").as_object().into_iter().flatten();
        let resources = property("outputResources").as_array().into_iter().flatten();
        let error = property("error");
        Self {
            name: text(body.get("name")),
            state: text(Some(property("provisioningState"))),
            outputs: outputs
                .filter(|(_, output)| !is_secure(output))
                .map(|(name, output)| {
                    (name.clone(), output.get("value").cloned().unwrap_or_default())
                })
                .collect(),
            resources: resources.map(|resource| text(resource.get("id"))).collect(),
            correlation_id: property("correlationId").as_str().map(str::to_owned),
            error: error.is_object().then(|| ServiceError::from_body(error).to_string()),
        }
    }

    /// Whether it has ended well.
    pub fn succeeded(&self) -> bool {
        self.state.eq_ignore_ascii_case("Succeeded")
    }

    /// Whether it has ended, well or not.
    pub fn ended(&self) -> bool {
        ["Succeeded", "Failed", "Canceled", "Deleted"]
            .iter()
            .any(|state| self.state.eq_ignore_ascii_case(state))
    }
}

fn text(value: Option<&Value>) -> String {
    value.and_then(Value::as_str).unwrap_or_default().to_owned()
}

fn changes(result: &Value) -> Vec<WhatIfChange> {
    let list = result.pointer("/properties/changes").or_else(|| result.get("changes"));
    let list = list.and_then(Value::as_array).into_iter().flatten();
    list.map(|change| {
        let mut delta = Vec::new();
        flatten("", change.get("delta"), &mut delta);
        WhatIfChange {
            resource_id: text(change.get("resourceId")),
            change: text(change.get("changeType")),
            before: change.get("before").cloned().unwrap_or_default(),
            after: change.get("after").cloned().unwrap_or_default(),
            delta,
        }
    })
    .collect()
}

/// Nested property changes as full paths; `NoEffect` is left out.
fn flatten(prefix: &str, delta: Option<&Value>, into: &mut Vec<(String, Value, Value)>) {
    for change in delta.and_then(Value::as_array).into_iter().flatten() {
        let kind = text(change.get("propertyChangeType"));
        let path = [prefix, &text(change.get("path"))]
            .into_iter()
            .filter(|part| !part.is_empty())
            .collect::<Vec<_>>()
            .join(".");
        let children = change
            .get("children")
            .filter(|children| children.as_array().is_some_and(|c| !c.is_empty()));
        if children.is_some() {
            flatten(&path, children, into);
        } else if kind != "NoEffect" {
            let side = |name: &str| change.get(name).cloned().unwrap_or_default();
            into.push((path, side("before"), side("after")));
        }
    }
}

fn client(to: Parts) -> generated::deployments::Client {
    generated::Client::new(to.endpoint, to.credential, to.scopes, to.options).deployments_client()
}

impl Azure {
    /// Whether ARM accepts template and parameters; the error says why not. Changes nothing.
    pub async fn validate_deployment(
        &self,
        wait: &mut Wait<'_>,
        group: &str,
        name: &str,
        template: &Template,
    ) -> Result<(), ArmError> {
        let (arm, subscription) = (self.arm().await?, self.subscription()?);
        let reply = arm
            .generated(wait, None, |to| {
                client(to).validate(group, name, template.body(), subscription).send()
            })
            .await?;
        let finished = arm.finish(wait, Accepted::of(&reply)?, None).await?;
        match finished.body.get("error") {
            Some(error @ Value::Object(_)) => {
                let service = ServiceError { status: 400, ..ServiceError::from_body(error) };
                Err(ArmError::Service(Box::new(service)))
            }
            _ => Ok(()),
        }
    }

    /// What the deployment would change, resource by resource. Changes nothing.
    pub async fn what_if(
        &self,
        wait: &mut Wait<'_>,
        group: &str,
        name: &str,
        template: &Template,
    ) -> Result<Vec<WhatIfChange>, ArmError> {
        let (arm, subscription) = (self.arm().await?, self.subscription()?);
        let reply = arm
            .generated(wait, None, |to| {
                client(to).what_if(group, name, template.what_if(), subscription).send()
            })
            .await?;
        let finished = arm.finish(wait, Accepted::of(&reply)?, None).await?;
        Ok(changes(&finished.body))
    }

    /// Starts the deployment. The name is its identity: a second start under the same name is the same deployment.
    pub async fn create_deployment(
        &self,
        wait: &mut Wait<'_>,
        permit: &EffectPermit,
        group: &str,
        name: &str,
        template: &Template,
    ) -> Result<Accepted, ArmError> {
        let (arm, subscription) = (self.arm().await?, self.subscription()?);
        let reply = arm
            .generated(wait, Some(permit), |to| {
                client(to).create_or_update(group, name, template.body(), subscription).send()
            })
            .await?;
        Accepted::of(&reply)
    }

    /// Waits until a started deployment has ended, at its stored operation URL when there is one, and reads it back.
    /// An answer that does not come leaves the outcome unknown ([`ArmError::ReplyLost`]).
    pub async fn finish_deployment(
        &self,
        wait: &mut Wait<'_>,
        group: &str,
        name: &str,
        operation_url: Option<&str>,
    ) -> Result<Deployment, ArmError> {
        let arm = self.arm().await?;
        arm.wait_out(wait, operation_url).await?;
        loop {
            let deployment =
                self.deployment(wait, group, name).await.map_err(ArmError::in_flight)?;
            let Some(deployment) = deployment else {
                let cause = format!("deployment {name} does not exist");
                return Err(ArmError::ReplyLost { request_id: name.to_owned(), cause });
            };
            if deployment.succeeded() {
                return Ok(deployment);
            }
            if deployment.ended() {
                let mut service = ServiceError::from_body(&Value::Null);
                service.code.clone_from(&deployment.state);
                service.message = deployment.error.unwrap_or_default();
                service.request_id = deployment.correlation_id;
                let state = deployment.state;
                return Err(ArmError::OperationFailed { state, service: Box::new(service) });
            }
            arm.pause(wait, None).await.map_err(ArmError::in_flight)?;
        }
    }

    /// The deployment; none when there is none of that name.
    pub async fn deployment(
        &self,
        wait: &mut Wait<'_>,
        group: &str,
        name: &str,
    ) -> Result<Option<Deployment>, ArmError> {
        let (arm, subscription) = (self.arm().await?, self.subscription()?);
        let reply =
            arm.generated(wait, None, |to| client(to).get(group, name, subscription).send()).await;
        Ok(found(reply)?
            .map(|reply| reply.value())
            .transpose()?
            .as_ref()
            .map(Deployment::from_body))
    }

    /// What the deployment did to each resource. The path has no `providers/Microsoft.Resources`: so says the service.
    pub async fn deployment_operations(
        &self,
        wait: &mut Wait<'_>,
        group: &str,
        name: &str,
    ) -> Result<Vec<DeploymentOperation>, ArmError> {
        let arm = self.arm().await?;
        let path = self.scope(group)?.join(&format!("deployments/{name}/operations"))?;
        let items = arm.list(wait, arm.url(path.as_str(), API)).await?;
        Ok(items
            .iter()
            .filter_map(|item| item.get("properties"))
            .map(|properties| {
                let message = properties
                    .pointer("/statusMessage/error")
                    .or_else(|| properties.get("statusMessage"));
                DeploymentOperation {
                    resource_id: text(properties.pointer("/targetResource/id")),
                    state: text(properties.get("provisioningState")),
                    message: match message {
                        Some(error @ Value::Object(_)) => {
                            ServiceError::from_body(error).to_string()
                        }
                        other => text(other),
                    },
                }
            })
            .collect())
    }
}
