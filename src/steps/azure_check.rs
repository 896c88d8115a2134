//! `azure.check`: any ARM resource is as it must be, now or within a time. Changes nothing.

use async_trait::async_trait;
use minijinja::value::Serde;
use minijinja::{Environment, UndefinedBehavior, Value as JinjaValue, context};
use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::Value;

use super::{
    Evidence, FailureClass, Kind, Outcome, Outputs, PerformCx, Preview, Step, StepCx, StepError,
};
use crate::azure::{ArmError, Wait};
use crate::clock::since;
use crate::plan::{Class, KindSpec, Role, Span};
use crate::run::{RecordedEffect, Repeat, Undo, Verdict};

/// Parameters of `azure.check`.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct With {
    /// ARM id, or the name of a resource group of the runbook's subscription.
    pub resource: String,
    /// Version of the resource type's API: `2023-05-01`.
    pub api_version: String,
    /// Expression over `resource` that must be true: `resource.properties.provisioningState == "Succeeded"`.
    pub that: String,
    /// Look again until it is true, this long. Without it, once.
    #[serde(default)]
    pub within: Span,
    /// Pause between two looks.
    #[serde(default = "five_seconds")]
    pub every: Span,
}

const fn five_seconds() -> Span {
    Span::seconds(5)
}

/// The kind.
pub const KIND: Kind = Kind {
    spec: KindSpec {
        name: "azure.check",
        summary: "Check that an Azure resource is as it must be",
        docs: "Reads one ARM resource by its id and evaluates an expression over it. With `within` it looks again until the \
               expression is true or the time is up.\n\n\
               A resource that does not exist is refused. An expression that does not fit the resource is *not compared*, \
               which never passes.\n\n\
               Needs `*/read` on the resource. Output: `resource`, the JSON as Azure sent it.",
        example: include_str!("../../examples/steps/azure.check.yaml"),
        class: Class::Check,
        repeat: Repeat::Repeatable,
        undo: Undo::LeavesInPlace,
        roles: &[Role::Probes],
        outputs: &["resource"],
        open_outputs: false,
        schema: || schemars::schema_for!(With),
        check: super::check::<With>,
        describe: |with| {
            let text = |key: &str| with[key].as_str().unwrap_or_default().to_owned();
            vec![format!("GET {}: {}", text("resource"), text("that"))]
        },
    },
    build: |with| Ok(Box::new(super::read::<With>(with)?)),
};

/// One look at the resource.
struct Reading {
    resource: Option<Value>,
    verdict: &'static str,
    detail: String,
}

impl Reading {
    fn holds(&self) -> bool {
        self.verdict == "holds"
    }
}

impl With {
    async fn look(&self, cx: &StepCx, wait: &mut Wait<'_>) -> Result<Reading, ArmError> {
        let azure = &cx.world.azure;
        let id = azure.scope(&self.resource)?;
        let Some(resource) = azure.get(wait, &id, &self.api_version).await? else {
            let detail = "the resource does not exist".to_owned();
            return Ok(Reading { resource: None, verdict: "missing", detail });
        };
        let (verdict, detail) = match holds(&self.that, &resource) {
            Ok(true) => ("holds", self.that.clone()),
            Ok(false) => ("fails", format!("not {}", self.that)),
            Err(why) => ("not compared", format!("{}: {why}", self.that)),
        };
        Ok(Reading { resource: Some(resource), verdict, detail })
    }

    fn evidence(&self, reading: &Reading) -> Evidence {
        Evidence {
            check: self.resource.clone(),
            verdict: reading.verdict.to_owned(),
            detail: reading.detail.clone(),
            holds: reading.holds(),
        }
    }

    fn attempted(&self) -> String {
        format!("check {}", self.resource)
    }

    fn refused(&self, reading: &Reading) -> StepError {
        let attempted = self.attempted();
        StepError::new(FailureClass::Refused, "MIG0114", attempted, "nothing was changed by this")
            .cause(format!("{}: {}", reading.verdict, reading.detail))
    }
}

/// Evaluates the expression; what is not there is an error, never false.
fn holds(that: &str, resource: &Value) -> Result<bool, String> {
    let mut environment = Environment::new();
    environment.set_undefined_behavior(UndefinedBehavior::Strict);
    let expression = environment.compile_expression(that).map_err(|error| error.to_string())?;
    let resource = JinjaValue::from(Serde(resource));
    let value = expression.eval(context! { resource }).map_err(|error| error.to_string())?;
    if value.is_undefined() {
        return Err("it is undefined".to_owned());
    }
    Ok(value.is_true())
}

#[async_trait]
impl Step for With {
    async fn preview(&self, cx: &StepCx) -> Result<Preview, StepError> {
        let reading = self.look(cx, &mut cx.wait()).await;
        let reading = reading
            .map_err(|error| error.into_step_error(self.attempted(), "nothing was changed"))?;
        Ok(Preview { readings: vec![self.evidence(&reading)], ..Preview::default() })
    }

    async fn perform(&self, cx: &mut PerformCx<'_>) -> Result<Outcome, StepError> {
        let started = cx.clock().steady();
        loop {
            let reading = self.look(cx.read, &mut cx.wait()).await;
            let reading = reading
                .map_err(|error| error.into_step_error(self.attempted(), "nothing was changed"))?;
            if reading.holds() {
                let evidence = vec![self.evidence(&reading)];
                let resource = reading.resource.unwrap_or_default();
                let outputs = Outputs::from([("resource".to_owned(), resource)]);
                return Ok(Outcome { outputs, evidence });
            }
            if since(started, cx.clock().steady()) >= self.within.duration() {
                return Err(self.refused(&reading));
            }
            let (resource, within) = (&self.resource, self.within);
            cx.progress.say(format!("{resource}: {}; waits up to {within}", reading.detail));
            cx.read.sleep(self.every.duration(), cx.busy).await?;
        }
    }

    async fn probe(&self, _cx: &StepCx, _effect: &RecordedEffect) -> Verdict {
        Verdict::NotDone
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
    use serde_json::json;

    use super::super::testing::Bench;
    use super::*;
    use crate::azure::testing::{Answer, Script, azure};

    fn bench(within: &str, answers: impl IntoIterator<Item = Answer>) -> Bench {
        let with = json!({ "resource": "rg-crm", "api_version": "2021-04-01", "within": within,
            "that": "resource.properties.provisioningState == 'Succeeded'" });
        let mut bench = Bench::new("azure.check", &with, &json!({}));
        bench.connect(|clock| azure(&Script::new(answers), clock));
        bench
    }

    fn state(state: &str) -> Answer {
        Answer::json(200, &json!({ "properties": { "provisioningState": state } }))
    }

    #[tokio::test]
    async fn it_looks_until_the_expression_is_true_and_hands_on_the_resource() {
        let outcome = bench("1m", [state("Updating"), state("Succeeded")]).perform().await;
        let outcome = outcome.expect("true in the end");
        assert_eq!(outcome.outputs["resource"]["properties"]["provisioningState"], "Succeeded");
        assert!(outcome.evidence[0].holds);
    }

    #[tokio::test]
    async fn missing_false_and_not_comparable_are_refused() {
        let cases = [
            (Answer::json(404, &Value::Null), "missing"),
            (state("Failed"), "fails"),
            (Answer::json(200, &json!({ "name": "x" })), "not compared"),
        ];
        for (answer, verdict) in cases {
            let error = bench("0s", [answer]).perform().await.expect_err("refused");
            assert_eq!((error.class, error.code.as_str()), (FailureClass::Refused, "MIG0114"));
            assert!(error.causes[0].starts_with(verdict), "{error}");
        }
    }
}
