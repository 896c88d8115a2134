//! Expressions at run time: `{{ … }}` in parameters and `when`, over `vars`, `wave`, `window`, `workload` and `steps`.
//!
//! Strict: a name that is not there is an error, never an empty text. Secrets are not in scope.

use std::collections::BTreeMap;

use minijinja::{Environment, UndefinedBehavior};
use serde::Deserialize;
use serde_json::{Map, Value, json};

use super::{Plan, PlannedStep};
use crate::run::{Outputs, StepId};

/// What the expressions of one step can see.
#[derive(Debug)]
pub struct Scope<'a> {
    plan: &'a Plan,
    step: &'a PlannedStep,
    outputs: &'a BTreeMap<StepId, Outputs>,
}

impl<'a> Scope<'a> {
    /// The scope of `step`, with the outputs of the steps that have ended.
    pub fn new(
        plan: &'a Plan,
        step: &'a PlannedStep,
        outputs: &'a BTreeMap<StepId, Outputs>,
    ) -> Self {
        Self { plan, step, outputs }
    }

    /// Evaluates every text with an expression in it. A text that is nothing but one expression becomes its value,
    /// with its type; any other text stays text.
    pub fn render(&self, with: &Value) -> Result<Value, String> {
        if !has_expression(with) {
            return Ok(with.clone());
        }
        let environment = environment();
        let names = self.names();
        render(&environment, &names, with)
    }

    /// Whether a condition holds. It must be true or false; nothing else is taken for either.
    pub fn holds(&self, condition: &str) -> Result<bool, String> {
        let environment = environment();
        let bare = only_expression(condition).unwrap_or(condition);
        let value = environment
            .compile_expression(bare)
            .and_then(|compiled| compiled.eval(self.names()))
            .map_err(|error| format!("`{condition}`: {error:#}"))?;
        bool::try_from(value.clone())
            .map_err(|_| format!("`{condition}` is {value}, neither true nor false"))
    }

    fn names(&self) -> minijinja::Value {
        let mut steps = Map::new();
        for (id, outputs) in self.outputs {
            let value = Value::from_iter(outputs.clone());
            if let Some(plain) = self.plain_id(id) {
                steps.insert(plain.to_owned(), value.clone());
            }
            steps.insert(id.to_string(), value);
        }
        let window = self.plan.window.as_ref();
        let workload = self.step.workload.as_ref().map(|name| {
            let mut fields = Map::from_iter(
                self.plan.workloads.get(name).map(|it| it.fields.clone()).unwrap_or_default(),
            );
            fields.insert("name".to_owned(), Value::from(name.as_str()));
            Value::Object(fields)
        });
        let names = json!({
            "vars": self.plan.vars,
            "wave": self.plan.wave,
            "change": self.plan.change,
            "window": window.map(|it| json!({ "opens": it.opens, "closes": it.closes })),
            "workload": workload,
            "steps": steps,
        });
        minijinja::Value::deserialize(names).expect("JSON values are expression values")
    }

    /// `lag` for `lag[crm]`, seen from another step of the workload `crm`.
    fn plain_id<'b>(&self, id: &'b StepId) -> Option<&'b str> {
        let own = self.step.workload.as_ref()?;
        id.as_str().strip_suffix(']')?.strip_suffix(own.as_str())?.strip_suffix('[')
    }
}

/// Whether any text in it holds an expression.
pub fn has_expression(value: &Value) -> bool {
    match value {
        Value::String(text) => text.contains("{{") || text.contains("{%"),
        Value::Array(items) => items.iter().any(has_expression),
        Value::Object(members) => members.values().any(has_expression),
        _ => false,
    }
}

/// The language, as strict as it gets.
pub fn environment() -> Environment<'static> {
    let mut environment = Environment::new();
    environment.set_undefined_behavior(UndefinedBehavior::Strict);
    environment
}

/// What stands inside, when the text is one `{{ … }}` and nothing else.
pub fn only_expression(text: &str) -> Option<&str> {
    let inside = text.trim().strip_prefix("{{")?.strip_suffix("}}")?;
    (!inside.contains("{{") && !inside.contains("}}")).then(|| inside.trim())
}

fn render(
    environment: &Environment<'_>,
    names: &minijinja::Value,
    value: &Value,
) -> Result<Value, String> {
    match value {
        Value::String(text) if text.contains("{{") || text.contains("{%") => {
            let rendered = match only_expression(text) {
                Some(expression) => environment
                    .compile_expression(expression)
                    .and_then(|compiled| compiled.eval(names))
                    .map(|value| serde_json::to_value(&value).unwrap_or(Value::Null)),
                None => environment.render_str(text, names).map(Value::from),
            };
            rendered.map_err(|error| format!("`{text}`: {error:#}"))
        }
        Value::Array(items) => items.iter().map(|item| render(environment, names, item)).collect(),
        Value::Object(members) => members
            .iter()
            .map(|(key, member)| Ok((key.clone(), render(environment, names, member)?)))
            .collect::<Result<Map<_, _>, String>>()
            .map(Value::Object),
        other => Ok(other.clone()),
    }
}

/// Names of the steps whose outputs this step's texts use: what a dry run can not know yet.
pub fn steps_needed(step: &PlannedStep) -> Vec<String> {
    let mut needed = Vec::new();
    collect(&step.with, &mut needed);
    if let Some(condition) = &step.when {
        let bare = only_expression(condition).unwrap_or(condition);
        if let Ok(compiled) = environment().compile_expression(bare) {
            needed.extend(used_steps(compiled.undeclared_variables(true)));
        }
    }
    needed.sort();
    needed.dedup();
    needed
}

fn collect(value: &Value, needed: &mut Vec<String>) {
    match value {
        Value::String(text) if has_expression(value) => {
            if let Ok(template) = environment().template_from_str(text) {
                needed.extend(used_steps(template.undeclared_variables(true)));
            }
        }
        Value::Array(items) => items.iter().for_each(|item| collect(item, needed)),
        Value::Object(members) => members.values().for_each(|member| collect(member, needed)),
        _ => {}
    }
}

fn used_steps(variables: std::collections::HashSet<String>) -> impl Iterator<Item = String> {
    variables.into_iter().filter_map(|name| {
        let rest = name.strip_prefix("steps")?;
        Some(rest.trim_start_matches('.').split('.').next().unwrap_or_default().to_owned())
    })
}
