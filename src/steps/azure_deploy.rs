//! `azure.deploy`: an ARM template into a resource group.
//!
//! The deployment's name is derived from run, step and request, so a repeat after a crash finds its own deployment instead
//! of starting another one. The mode is incremental: nothing outside the template is deleted. Secrets go into the request
//! and nowhere else; the intent holds their names.

mod template;

use std::collections::BTreeMap;

use async_trait::async_trait;
use schemars::JsonSchema;
use secrecy::ExposeSecret;
use serde::Deserialize;
use serde_json::{Map, Value, json};

use super::{
    Change, Evidence, FailureClass, Granted, Kind, Outcome, PerformCx, Preview, Step, StepCx,
    StepError,
};
use crate::azure::{ArmError, Deployment, ResourceId, Template, WhatIfChange};
use crate::journal::EffectPermit;
use crate::plan::{Class, KindSpec, Role};
use crate::run::{Intent, RecordedEffect, Repeat, Sent, Undo, Verdict, fingerprint};

/// Parameters of `azure.deploy`.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct With {
    /// ARM JSON template, relative to the runbook; or a `.bicep` file, which the `bicep` program compiles.
    pub template: String,
    /// Template parameters by name.
    #[serde(default)]
    pub parameters: Map<String, Value>,
    /// Template parameters whose values are secrets: name of the parameter, name under `secrets`.
    #[serde(default)]
    pub secure_parameters: BTreeMap<String, String>,
    /// Resource group; the runbook's default one when none is given. It must exist.
    #[serde(default)]
    pub resource_group: Option<String>,
}

/// The kind.
pub const KIND: Kind = Kind {
    spec: KindSpec {
        name: "azure.deploy",
        summary: "Deploy an ARM or Bicep template into a resource group",
        docs: "Validates the template, starts an incremental deployment, waits until it has ended and hands on its outputs. A \
               dry run asks for what-if and shows each resource before and after.\n\n\
               The deployment's name is derived from run, step and request: a repeat recognises its own deployment. After a \
               crash the stored operation URL is taken up again.\n\n\
               A template that ends in `.bicep` is compiled by the `bicep` program on the PATH, at each dry run and at the step.\n\n\
               Rollback leaves what was deployed in place.\n\n\
               Needs `Microsoft.Resources/deployments/*` and the rights to create what the template holds. Outputs: those of \
               the template.",
        example: include_str!("../../examples/steps/azure.deploy.yaml"),
        class: Class::Action,
        repeat: Repeat::Guarded,
        undo: Undo::LeavesInPlace,
        roles: &[Role::Deploys],
        outputs: &[],
        open_outputs: true,
        schema: || schemars::schema_for!(With),
        check: super::check::<With>,
        describe: |with| {
            let group = with["resource_group"].as_str().map(|group| format!(" into {group}"));
            let template = with["template"].as_str().unwrap_or_default();
            vec![format!("deploy {template}{}", group.unwrap_or_default())]
        },
    },
    build: |with| Ok(Box::new(super::read::<With>(with)?)),
};

const KEY: &str = "deployment";
const UNCHANGED: &str = "nothing was changed";

/// Everything a deployment needs, read and named.
struct Prepared {
    group: String,
    name: String,
    id: ResourceId,
    request: String,
    template: Template,
}

impl With {
    fn attempted(&self) -> String {
        format!("deploy {}", self.template)
    }

    fn unreadable(&self, cause: String) -> StepError {
        StepError::new(FailureClass::Failed, "MIG0115", self.attempted(), UNCHANGED).cause(cause)
    }

    fn failed(&self, error: ArmError) -> StepError {
        error.into_step_error(self.attempted(), UNCHANGED)
    }

    async fn prepare(&self, cx: &StepCx) -> Result<Prepared, StepError> {
        let path = cx.beside_runbook(&self.template);
        let unreadable = |cause: String| self.unreadable(format!("{}: {cause}", path.display()));
        let template = template::read(cx, &path).await.map_err(unreadable)?;
        // Names of secrets, never values: this goes into the intent and into the deployment's name.
        let request = fingerprint(&json!([template, self.parameters, self.secure_parameters]));
        let mut parameters = self.parameters.clone();
        for (parameter, secret) in &self.secure_parameters {
            let value = cx.world.secrets.get(secret).await.map_err(|why| self.unreadable(why))?;
            parameters.insert(parameter.clone(), json!(value.expose_secret()));
        }
        let azure = &cx.world.azure;
        let group = azure.resource_group(self.resource_group.as_deref());
        let group = group.map_err(|error| self.failed(error))?.to_owned();
        let identity = fingerprint(&json!([cx.world.run, cx.step.id, group, request]));
        let name = format!("migrate-{}", &identity[..20]);
        let id = azure
            .scope(&group)
            .and_then(|scope| {
                scope.join(&format!("providers/Microsoft.Resources/deployments/{name}"))
            })
            .map_err(|error| self.failed(error))?;
        Ok(Prepared { group, name, id, request, template: Template { template, parameters } })
    }

    /// Starts the deployment, unless an earlier attempt has.
    async fn start(
        &self,
        cx: &mut PerformCx<'_>,
        permit: &EffectPermit,
        prepared: &Prepared,
    ) -> Result<Sent, ArmError> {
        let azure = cx.read.world.azure.clone();
        let Prepared { group, name, template, .. } = prepared;
        let existing = azure.deployment(&mut cx.wait(), group, name).await?;
        if existing.is_some_and(|deployment| deployment.succeeded() || !deployment.ended()) {
            return Ok(Sent::default());
        }
        let accepted =
            azure.create_deployment(&mut cx.wait(), permit, group, name, template).await?;
        Ok(Sent { operation_url: accepted.operation_url, request_id: Some(accepted.request_id) })
    }

    /// The failure of a deployment, in a known state or not.
    async fn fail(
        &self,
        cx: &mut PerformCx<'_>,
        permit: EffectPermit,
        prepared: &Prepared,
        error: ArmError,
    ) -> StepError {
        if error.outcome_unknown() {
            return self.failed(error);
        }
        let mut known = UNCHANGED.to_owned();
        let mut operations = Vec::new();
        if matches!(error, ArmError::OperationFailed { .. }) {
            known = format!("deployment {} failed; what it made before that stays", prepared.name);
            operations = self.failed_operations(cx, prepared).await;
        }
        if let Err(unwritten) = cx.effects.not_done(permit, &error.to_string()).await {
            return unwritten;
        }
        let error = error.into_step_error(self.attempted(), known);
        operations.into_iter().fold(error, StepError::cause)
    }

    /// The operations that failed say more than the deployment does.
    async fn failed_operations(&self, cx: &mut PerformCx<'_>, prepared: &Prepared) -> Vec<String> {
        let azure = cx.read.world.azure.clone();
        let operations =
            azure.deployment_operations(&mut cx.wait(), &prepared.group, &prepared.name).await;
        let failed = operations.unwrap_or_default().into_iter();
        failed
            .filter(|operation| operation.state.eq_ignore_ascii_case("Failed"))
            .map(|operation| format!("{}: {}", short(&operation.resource_id), operation.message))
            .collect()
    }
}

fn outcome(group: &str, deployment: Deployment) -> Outcome {
    let made = deployment.resources.len();
    let evidence = Evidence {
        check: format!("deployment into {group}"),
        verdict: "succeeded".to_owned(),
        detail: format!("{} resources, deployment {}", made, deployment.name),
        holds: true,
    };
    Outcome { outputs: deployment.outputs.into_iter().collect(), evidence: vec![evidence] }
}

/// `Microsoft.Storage/storageAccounts/crm` out of an id.
fn short(id: &str) -> &str {
    const MARK: &str = "/providers/";
    let at = id.to_ascii_lowercase().rfind(MARK);
    at.map_or(id, |at| &id[at + MARK.len()..])
}

/// A what-if result as an operator reads it; resources that stay as they are are left out.
fn shown(change: &WhatIfChange) -> Option<Change> {
    let side = |pick: fn(&(String, Value, Value)) -> &Value| {
        let lines = change.delta.iter().map(|delta| format!("{}: {}", delta.0, pick(delta)));
        lines.collect::<Vec<_>>().join(", ")
    };
    let whole = |value: &Value| {
        let location = value.get("location").and_then(Value::as_str);
        location.map_or_else(|| "created".to_owned(), |location| format!("in {location}"))
    };
    let (before, after) = match change.change.as_str() {
        "NoChange" | "Ignore" => return None,
        "Create" => (None, Some(whole(&change.after))),
        "Delete" => (Some("present".to_owned()), None),
        "Modify" => (Some(side(|delta| &delta.1)), Some(side(|delta| &delta.2))),
        _ => (None, Some("not predicted by Azure".to_owned())),
    };
    let target = short(&change.resource_id).to_owned();
    Some(Change { target, verb: change.change.to_ascii_lowercase(), before, after })
}

#[async_trait]
impl Step for With {
    async fn preview(&self, cx: &StepCx) -> Result<Preview, StepError> {
        let Prepared { group, name, template, .. } = &self.prepare(cx).await?;
        let (azure, mut wait) = (&cx.world.azure, cx.wait());
        let validated = azure.validate_deployment(&mut wait, group, name, template).await;
        validated.map_err(|error| self.failed(error))?;
        let changes = azure.what_if(&mut wait, group, name, template).await;
        let changes = changes.map_err(|error| self.failed(error))?;
        let unchanged = changes.iter().filter(|change| change.change == "NoChange").count();
        let reading = Evidence {
            check: format!("template {}", self.template),
            verdict: "valid".to_owned(),
            detail: format!("{unchanged} resources stay as they are"),
            holds: true,
        };
        Ok(Preview { changes: changes.iter().filter_map(shown).collect(), readings: vec![reading] })
    }

    async fn perform(&self, cx: &mut PerformCx<'_>) -> Result<Outcome, StepError> {
        let prepared = self.prepare(cx.read).await?;
        let azure = cx.read.world.azure.clone();
        let Prepared { group, name, template, .. } = &prepared;
        let validated = azure.validate_deployment(&mut cx.wait(), group, name, template).await;
        validated.map_err(|error| self.failed(error))?;
        let after = json!({ "group": group, "name": name, "request": prepared.request });
        let classes = (Repeat::Guarded, Undo::LeavesInPlace);
        let id = prepared.id.as_str();
        let permit = match cx
            .effects
            .intend(Intent::new(KEY, id, "deploy", classes, Value::Null, after))
            .await?
        {
            Granted::Permit(permit) => permit,
            Granted::AlreadyDone(observed) => {
                let deployment = serde_json::from_value(observed)
                    .map_err(|error| self.unreadable(format!("the journal's record: {error}")))?;
                return Ok(outcome(group, deployment));
            }
        };
        let sent = match self.start(cx, &permit, &prepared).await {
            Ok(sent) => sent,
            Err(error) => return Err(self.fail(cx, permit, &prepared, error).await),
        };
        if sent.request_id.is_some() {
            cx.effects.sent(&permit, sent.clone()).await?;
        }
        cx.progress.say(format!("deployment {name} runs"));
        let url = sent.operation_url.as_deref();
        let ended = azure.finish_deployment(&mut cx.wait(), group, name, url).await;
        match ended {
            Ok(deployment) => {
                cx.effects.done(permit, json!(deployment)).await?;
                Ok(outcome(group, deployment))
            }
            Err(error) => Err(self.fail(cx, permit, &prepared, error).await),
        }
    }

    async fn probe(&self, cx: &StepCx, effect: &RecordedEffect) -> Verdict {
        let text = |key: &str| effect.intent.after[key].as_str().unwrap_or_default();
        let (group, name) = (text("group"), text("name"));
        let (azure, mut wait) = (&cx.world.azure, cx.wait());
        let unknown = |error: ArmError| Verdict::Unknown { evidence: error.to_string() };
        match azure.deployment(&mut wait, group, name).await {
            Ok(None) => return Verdict::NotDone,
            Ok(Some(_)) => {}
            Err(error) => return unknown(error),
        }
        let url = effect.sent.as_ref().and_then(|sent| sent.operation_url.as_deref());
        match azure.finish_deployment(&mut wait, group, name, url).await {
            Ok(deployment) => Verdict::Done { observed: json!(deployment) },
            // An incremental deployment that failed is finished by the same request again.
            Err(ArmError::OperationFailed { .. }) => Verdict::NotDone,
            Err(error) => unknown(error),
        }
    }

    async fn undo(
        &self,
        _cx: &mut PerformCx<'_>,
        _effect: &RecordedEffect,
    ) -> Result<(), StepError> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::super::testing::{Bench, SandboxBench};
    use super::*;
    use crate::azure::testing::{Answer, Script, azure};

    const POLL: &str =
        "https://management.azure.com/subscriptions/s/operationStatuses/08?t=1&s=signed";

    fn bench(answers: impl IntoIterator<Item = Answer>) -> (Bench, Arc<Script>) {
        let with = json!({ "template": "main.json", "parameters": { "name": "crm" } });
        let mut bench = Bench::new("azure.deploy", &with, &json!({}));
        let template = bench.folder.path().join("main.json");
        std::fs::write(template, r#"{"resources":[]}"#).expect("a template");
        let script = Script::new(answers);
        bench.connect(|clock| azure(&script, clock));
        (bench, script)
    }

    fn valid() -> Answer {
        Answer::json(200, &json!({ "properties": { "provisioningState": "Succeeded" } }))
    }

    fn deployment(state: &str) -> Answer {
        let outputs = json!({ "host": { "type": "String", "value": "crm.example" } });
        let body = json!({ "name": "d", "type": "Microsoft.Resources/deployments", "properties": {
            "provisioningState": state, "outputs": outputs, "correlationId": "c",
            "outputResources": [{ "id": "/subscriptions/s/resourceGroups/rg/providers/A/b/c" }] } });
        Answer::json(200, &body)
    }

    fn started() -> Answer {
        Answer::json(201, &Value::Null).with("azure-asyncoperation", POLL)
    }

    fn status(status: &str) -> Answer {
        Answer::json(200, &json!({ "status": status }))
    }

    fn nothing() -> Answer {
        let code = json!({ "error": { "code": "DeploymentNotFound", "message": "none" } });
        Answer::json(404, &code)
    }

    #[tokio::test]
    async fn it_validates_starts_watches_and_hands_on_the_outputs() {
        let poll = status("Running").with("retry-after", "600");
        let answers =
            [valid(), nothing(), started(), poll, status("Succeeded"), deployment("Succeeded")];
        let (bench, script) = bench(answers);
        let outcome = bench.perform().await.expect("deployed");
        assert_eq!(outcome.outputs["host"], "crm.example");
        let effect = &bench.effects.recorded()[0];
        let sent = effect.sent.as_ref().expect("the request left");
        assert_eq!(sent.operation_url.as_deref(), Some(POLL));
        assert!(effect.done);
        let put = &script.seen()[2];
        assert_eq!(put.method, "PUT");
        let parameters = json!({ "name": { "value": "crm" } });
        assert_eq!(put.body["properties"]["parameters"], parameters);
        assert_eq!(put.body["properties"]["mode"], "Incremental");
        assert_eq!(script.seen()[3].url.as_str(), POLL, "opaque, as it came");
    }

    #[tokio::test]
    async fn a_repeat_finds_its_own_deployment_and_starts_no_second_one() {
        let (bench, script) = bench([valid(), nothing(), Answer::Lost]);
        let error = bench.perform().await.expect_err("unknown");
        assert_eq!(error.class, FailureClass::Unknown);
        let effect = bench.effects.recorded().remove(0);
        assert!(!effect.done && bench.effects.why_not(KEY).is_none());
        let name = effect.intent.after["name"].as_str().expect("a name").to_owned();
        assert!(script.lines()[2].contains(&name));

        let again =
            Script::new([deployment("Running"), deployment("Running"), deployment("Succeeded")]);
        let mut bench = bench;
        bench.connect(|clock| azure(&again, clock));
        let verdict = bench.step().probe(&bench.cx, &effect).await;
        assert!(matches!(verdict, Verdict::Done { .. }), "{verdict:?}");

        let repeat = Script::new([valid(), deployment("Succeeded"), deployment("Succeeded")]);
        bench.connect(|clock| azure(&repeat, clock));
        bench.perform().await.expect("found");
        assert!(repeat.lines().iter().all(|line| !line.starts_with("PUT")));
        assert!(repeat.lines()[1].contains(&name), "the same name in every attempt");
    }

    #[tokio::test]
    async fn a_failure_inside_http_200_names_the_operation_that_failed() {
        let failed = json!({ "status": "Failed", "error": { "code": "DeploymentFailed", "message": "see details" } });
        let operations = json!({ "value": [{ "properties": { "provisioningState": "Failed",
            "targetResource": { "id": "/subscriptions/s/resourceGroups/rg/providers/A/b/c" },
            "statusMessage": { "error": { "code": "NameTaken", "message": "taken" } } } }] });
        let (bench, script) = bench([
            valid(),
            nothing(),
            started(),
            Answer::json(200, &failed),
            Answer::json(200, &operations),
        ]);
        let error = bench.perform().await.expect_err("failed");
        assert_eq!((error.class, error.code.as_str()), (FailureClass::Failed, "MIG0111"));
        assert!(error.causes.iter().any(|cause| cause.starts_with("A/b/c: NameTaken")), "{error}");
        assert!(bench.effects.why_not(KEY).is_some(), "the state is known");
        assert!(
            script.lines()[4].contains("/resourceGroups/rg-crm/deployments/"),
            "no provider in the path"
        );
    }

    #[tokio::test]
    async fn an_invalid_template_changes_nothing() {
        let invalid = json!({ "error": { "code": "InvalidTemplate", "message": "no", "details": [{ "code": "X", "message": "y" }] } });
        let (bench, _) = bench([Answer::json(400, &invalid)]);
        let error = bench.perform().await.expect_err("refused");
        assert_eq!(error.code, "MIG0106");
        assert!(error.causes[0].contains("X: y"), "{error}");
        assert!(bench.effects.recorded().is_empty());
    }

    #[tokio::test]
    async fn a_dry_run_shows_each_resource_before_and_after() {
        let location = "https://management.azure.com/subscriptions/s/operationresults/opaque?s=x";
        let id = |name: &str| format!("/subscriptions/s/resourceGroups/rg/providers/A/b/{name}");
        let changes = json!({ "status": "Succeeded", "properties": { "correlationId": "c", "changes": [
            { "resourceId": id("new"), "changeType": "Create", "after": { "location": "westeurope" } },
            { "resourceId": id("same"), "changeType": "NoChange" },
            { "resourceId": id("sized"), "changeType": "Modify", "delta": [
                { "path": "sku", "propertyChangeType": "Modify", "children": [
                    { "path": "name", "propertyChangeType": "Modify", "before": "S1", "after": "P1" },
                    { "path": "tier", "propertyChangeType": "NoEffect", "after": "x" } ] } ] },
        ] } });
        let (bench, script) = bench([
            valid(),
            Answer::json(202, &Value::Null).with("location", location),
            Answer::json(202, &Value::Null).with("location", location),
            Answer::json(200, &changes),
        ]);
        let preview = bench.step().preview(&bench.cx).await.expect("a preview");
        let line = |c: &Change| format!("{} {} {:?} -> {:?}", c.verb, c.target, c.before, c.after);
        assert_eq!(
            preview.changes.iter().map(line).collect::<Vec<_>>(),
            [
                "create A/b/new None -> Some(\"in westeurope\")",
                "modify A/b/sized Some(\"sku.name: \\\"S1\\\"\") -> Some(\"sku.name: \\\"P1\\\"\")",
            ]
        );
        assert!(script.seen().iter().all(|seen| seen.method != "PUT"));
        let settings = &script.seen()[1].body["properties"]["whatIfSettings"];
        assert_eq!(*settings, json!({ "resultFormat": "FullResourcePayloads" }));
    }

    #[tokio::test]
    async fn the_example_deploys_in_a_sandbox_and_a_repeat_deploys_nothing() {
        let sandbox = SandboxBench::start().await;
        let template = include_str!("../../examples/steps/azure.deploy.json");
        let file = sandbox.world.runbook_dir.join("azure.deploy.json");
        std::fs::write(file, template).expect("a template");
        let with =
            json!({ "template": "azure.deploy.json", "parameters": { "name": "crmtarget" } });
        let first = sandbox.step("azure.deploy", &with);
        let preview = first.step().preview(&first.cx).await.expect("a preview");
        assert_eq!(preview.changes[0].target, "Microsoft.Storage/storageAccounts/crmtarget");
        let outcome = first.perform().await.expect("deployed");
        assert_eq!(outcome.outputs["account"], "crmtarget");
        let effect = first.effects.recorded().remove(0);
        assert!(effect.sent.as_ref().is_some_and(|sent| sent.operation_url.is_some()));

        // As after a crash before `done`: the probe finds it, and another attempt starts nothing.
        let verdict = first.step().probe(&first.cx, &effect).await;
        assert!(
            matches!(&verdict, Verdict::Done { observed } if Some(observed) == effect.observed.as_ref()),
            "{verdict:?}"
        );
        let again = sandbox.step("azure.deploy", &with);
        again.perform().await.expect("found");
        assert_eq!(again.effects.recorded()[0].sent, None, "nothing was sent");
    }
}
