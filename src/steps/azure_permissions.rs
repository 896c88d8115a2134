//! `azure.permissions`: this identity holds the rights that the run will need, where it will need them. Changes nothing.
//!
//! What can not be told is not held: a group in a deny assignment, an answer that does not come.

use std::collections::BTreeSet;

use async_trait::async_trait;
use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::{Value, json};

use super::{
    Evidence, Kind, Outcome, Outputs, PerformCx, Preview, Step, StepCx, StepError, rights,
};
use crate::azure::{ArmError, Azure, ResourceId, Right, Wait};
use crate::plan::{Class, KindSpec, Role};
use crate::run::{RecordedEffect, Repeat, Undo, Verdict};

/// Parameters of `azure.permissions`.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct With {
    /// What must be allowed, and where.
    pub needs: Vec<Need>,
    /// Actions that reading long-running operations needs. They are always looked at in the subscription, where many
    /// providers keep them: `Microsoft.Sql/locations/managedInstanceOperationResults/read`.
    #[serde(default)]
    pub polling: Vec<String>,
}

/// Rights at one scope.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Need {
    /// A resource group of the runbook's subscription, `subscription`, or an ARM id.
    pub scope: String,
    /// Actions: `Microsoft.Network/dnsZones/CNAME/write`.
    #[serde(default)]
    pub actions: Vec<String>,
    /// Actions on data: `Microsoft.Storage/storageAccounts/blobServices/containers/blobs/write`.
    #[serde(default)]
    pub data_actions: Vec<String>,
}

const DOCS: &str = "\
Reads what the identity of the run may do at each scope and compares it with `needs`: effective permissions (every role, \
through groups too; wildcards; what a role leaves out again), then deny assignments at the scope and above, which no role \
outweighs.\n\n\
Long-running operations are polled elsewhere than they are started, often at the subscription. A role in the resource group \
alone then starts what it can not watch; `polling` names what has to be readable there.\n\n\
Any right that is missing, denied or can not be told is refused (exit 4), and all of them are named. A deny assignment for a group \
can not be told: who is in a group is not read here.\n\n\
Locks are no permissions: see `freeze.begin`. Conditions of role assignments are shown and not evaluated.\n\n\
Outputs: `principal` (object id, where the token says), `roles`.";

/// The kind.
pub const KIND: Kind = Kind {
    spec: KindSpec {
        name: "azure.permissions",
        summary: "Check that this identity holds the rights that will be needed",
        docs: DOCS,
        example: include_str!("../../examples/steps/azure.permissions.yaml"),
        class: Class::Check,
        repeat: Repeat::Repeatable,
        undo: Undo::LeavesInPlace,
        roles: &[Role::ProvesRights],
        outputs: &["principal", "roles"],
        open_outputs: false,
        schema: || schemars::schema_for!(With),
        check: super::check::<With>,
        describe: |with| {
            let needs = with["needs"].as_array().into_iter().flatten();
            let count = |need: &Value, key: &str| need[key].as_array().map_or(0, Vec::len);
            let line = |need: &Value| {
                let scope = need["scope"].as_str().unwrap_or("?").to_owned();
                format!(
                    "{} rights at {scope}",
                    count(need, "actions") + count(need, "data_actions")
                )
            };
            needs.map(line).collect()
        },
    },
    build: |with| {
        let with = super::read::<With>(with)?;
        let wants = |need: &Need| !need.actions.is_empty() || !need.data_actions.is_empty();
        if with.needs.is_empty() || !with.needs.iter().all(wants) {
            return Err("give `needs`, each with `actions` or `data_actions`".to_owned());
        }
        let needs =
            with.needs.iter().flat_map(|need| need.actions.iter().chain(&need.data_actions));
        if let Some(pattern) = needs.chain(&with.polling).find(|action| action.contains('*')) {
            return Err(format!("`{pattern}` is a pattern; name the actions that will be used"));
        }
        Ok(Box::new(with))
    },
};

/// Everything read at once.
struct Reading {
    evidence: Vec<Evidence>,
    /// `Reader at /subscriptions/…`.
    roles: BTreeSet<String>,
}

impl With {
    const ATTEMPTED: &str = "check the rights of this identity";

    fn needs(&self) -> Vec<(String, Vec<Right>)> {
        let mut needs: Vec<(String, Vec<Right>)> = Vec::new();
        for need in &self.needs {
            let actions = need.actions.iter().cloned().map(Right::Action);
            let data = need.data_actions.iter().cloned().map(Right::Data);
            needs.push((need.scope.clone(), actions.chain(data).collect()));
        }
        if !self.polling.is_empty() {
            let polling = self.polling.iter().cloned().map(Right::Action);
            needs.push(("subscription".to_owned(), polling.collect()));
        }
        needs
    }

    async fn look(&self, cx: &StepCx, wait: &mut Wait<'_>) -> Result<Reading, ArmError> {
        let azure = &cx.world.azure;
        let (mut evidence, mut roles) = (Vec::new(), BTreeSet::new());
        for (scope, wanted) in self.needs() {
            let scope = azure.scope(&scope)?;
            evidence.extend(rights::read(cx, wait, &scope, &wanted).await?);
            // For the record only: a custom role often may not read these.
            roles.extend(shown(azure, wait, &scope).await.unwrap_or_default());
        }
        Ok(Reading { evidence, roles })
    }
}

#[async_trait]
impl Step for With {
    async fn preview(&self, cx: &StepCx) -> Result<Preview, StepError> {
        let reading = self.look(cx, &mut cx.wait()).await;
        let reading =
            reading.map_err(|it| it.into_step_error(Self::ATTEMPTED, "nothing was changed"))?;
        Ok(Preview { readings: reading.evidence, ..Preview::default() })
    }

    async fn perform(&self, cx: &mut PerformCx<'_>) -> Result<Outcome, StepError> {
        let read = cx.read;
        let reading = self.look(read, &mut cx.wait()).await;
        let Reading { evidence, roles } =
            reading.map_err(|it| it.into_step_error(Self::ATTEMPTED, "nothing was changed"))?;
        if evidence.iter().any(|it| !it.holds) {
            let shown = roles.into_iter().collect::<Vec<_>>().join(", ");
            let error = rights::missing(Self::ATTEMPTED, &evidence);
            return Err(if shown.is_empty() {
                error
            } else {
                error.cause(format!("it has: {shown}"))
            });
        }
        let principal = read.world.azure.principal().await.unwrap_or_default();
        let outputs = Outputs::from([
            ("principal".to_owned(), json!(principal)),
            ("roles".to_owned(), json!(roles)),
        ]);
        Ok(Outcome { outputs, evidence })
    }

    async fn probe(&self, _cx: &StepCx, _effect: &RecordedEffect) -> Verdict {
        Verdict::Unknown { evidence: "a check changes nothing".to_owned() }
    }

    async fn undo(
        &self,
        _cx: &mut PerformCx<'_>,
        _effect: &RecordedEffect,
    ) -> Result<(), StepError> {
        Ok(())
    }
}

/// The roles of this identity at a scope.
async fn shown(
    azure: &Azure,
    wait: &mut Wait<'_>,
    scope: &ResourceId,
) -> Result<Vec<String>, ArmError> {
    let Some(principal) = azure.principal().await? else { return Ok(Vec::new()) };
    let mut shown = Vec::new();
    for role in azure.role_assignments(wait, scope, &principal).await? {
        let name = azure.role_name(wait, &role.definition).await?;
        let name = name.unwrap_or_else(|| role.definition.to_string());
        let condition = if role.conditional { ", under a condition" } else { "" };
        shown.push(format!("{name} at {}{condition}", role.scope));
    }
    Ok(shown)
}

#[cfg(test)]
mod tests {
    use super::super::FailureClass;
    use super::super::testing::Bench;
    use super::*;
    use crate::azure::testing::{Answer, Script, azure};

    fn bench(answers: impl IntoIterator<Item = Value>) -> Bench {
        let with = json!({
            "needs": [{ "scope": "rg-crm", "actions": ["Microsoft.Network/dnsZones/CNAME/write"] }],
            "polling": ["Microsoft.Cdn/operationresults/read"],
        });
        let mut bench = Bench::new("azure.permissions", &with, &json!({}));
        let answers: Vec<_> =
            answers.into_iter().map(|it| Answer::json(200, &json!({ "value": it }))).collect();
        bench.connect(|clock| azure(&Script::new(answers), clock));
        bench
    }

    #[tokio::test]
    async fn rights_in_the_group_do_not_let_it_poll_in_the_subscription() {
        let (dns, none) = (json!([{ "actions": ["Microsoft.Network/*"] }]), json!([]));
        let error = bench([dns.clone(), none.clone(), none.clone(), none.clone()]).perform().await;
        let error = error.expect_err("refused");
        assert_eq!((error.class, error.code.as_str()), (FailureClass::Refused, "MIG0121"));
        assert_eq!(error.causes.len(), 1, "{error}");
        assert!(error.causes[0].contains("Microsoft.Cdn/operationresults/read"), "{error}");
        let reader = json!([{ "actions": ["*/read"] }]);
        let outcome = bench([dns, none.clone(), reader, none]).perform().await.expect("held");
        assert!(outcome.evidence.iter().all(|it| it.holds) && outcome.evidence.len() == 2);
    }

    #[test]
    fn a_pattern_can_not_be_asked_for() {
        for with in [
            json!({ "needs": [] }),
            json!({ "needs": [{ "scope": "rg" }] }),
            json!({ "needs": [{ "scope": "rg", "actions": ["*/write"] }] }),
        ] {
            assert!((KIND.build)(&with).is_err(), "{with}");
        }
    }
}
