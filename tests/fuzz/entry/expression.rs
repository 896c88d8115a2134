//! The expression language: any text as a condition and as a template, over a fixed run.

use std::collections::BTreeMap;
use std::sync::LazyLock;

use migrate::plan::expression::{Scope, steps_needed};
use migrate::plan::{Plan, PlannedStep, prepare};
use migrate::run::{Outputs, StepId};
use migrate::steps::CATALOGUE;
use serde_json::json;

/// Two steps, so that one can ask for the outputs of the other.
const RUNBOOK: &str = "
migrate: 1
wave: wave-1
summary: Move the CRM
change: CHG0031337
vars: { zone: contoso.example, port: 8080, list: [1, 2, 3], nested: { a: { b: deep } }, text: 'a b c' }
workloads:
  crm: { strategy: near-zero-downtime, criticality: mission-critical, data: confidential, owner: crm-team }
stages:
  prepare:
    - { id: lag, uses: exec, workload: crm, with: { argv: ['true'], repeat: repeatable } }
    - { id: go, uses: exec, workload: crm, with: { argv: ['true'], repeat: repeatable } }
";

static PLAN: LazyLock<Plan> = LazyLock::new(|| {
    let files = BTreeMap::from([("wave.yaml".to_owned(), RUNBOOK.to_owned())]);
    let prepared = prepare("wave.yaml", &files, CATALOGUE);
    let found = format!("{:?}", prepared.found);
    prepared.plan.unwrap_or_else(|| panic!("the runbook above is valid: {found}"))
});

/// Evaluates the text in every place a runbook has for one.
pub(crate) fn any(input: &[u8]) {
    let Ok(text) = std::str::from_utf8(input) else { return };
    let plan = &*PLAN;
    let values = json!({ "seconds": 4, "stdout": "ok", "rows": [{ "n": 1 }, { "n": 2 }] });
    let outputs: Outputs = serde_json::from_value(values).expect("outputs");
    let outputs = BTreeMap::from([(StepId::from("lag"), outputs)]);
    let step = PlannedStep { when: Some(text.to_owned()), ..plan.steps[1].clone() };
    let scope = Scope::new(plan, &step, &outputs);
    drop(scope.holds(text));
    drop(scope.render(&json!({ "text": text })));
    // What asks for an output is rendered at run time; a text that asks for none was rendered when the plan was made.
    drop(scope.render(&json!([format!("{text}{{{{ steps.lag.seconds }}}}")])));
    drop(scope.render(&json!([format!("{{{{ [steps.lag.seconds, {text}] }}}}")])));
    steps_needed(&step);
}
