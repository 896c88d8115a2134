<<<<<<< HEAD
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
=======
//! The one expression language of a runbook: `{{ … }}` in texts, bare in `when:`.
//!
//! Undefined values are errors. Expressions see `vars`, `wave`, `window`, `workload` and, while a run is under way, `steps`;
//! secrets are not among what they can reach. Whatever does not ask for `steps` is rendered when the plan is made.

use std::collections::BTreeMap;
use std::sync::{Arc, LazyLock};

use minijinja::value::{Object, Serde, Value as Jinja};
use minijinja::{Environment, ErrorKind, UndefinedBehavior};
use serde_json::Value;

use super::reference::{in_template, is_template};
use super::{Plan, PlannedStep};
use crate::run::{Outputs, StepId};

static LANGUAGE: LazyLock<Environment<'static>> = LazyLock::new(|| {
    let mut language = Environment::new();
    language.set_undefined_behavior(UndefinedBehavior::Strict);
    // Places of errors, also in release builds.
    language.set_debug(true);
    language
});

/// Why an expression has no value.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct ExpressionError {
    /// What is wrong, in lower case.
    pub message: String,
    /// Whether the text is no expression at all, as opposed to one whose value is missing.
    pub syntax: bool,
    /// Bytes of the text that are at fault.
    pub range: Option<std::ops::Range<usize>>,
}

/// What expressions can see.
#[derive(Debug, Clone)]
pub struct Context(Jinja);

impl Context {
    pub(super) fn from_parts(parts: impl IntoIterator<Item = (&'static str, Jinja)>) -> Self {
        Self(parts.into_iter().collect::<BTreeMap<_, _>>().into())
    }

    /// What a step of a plan sees while the run is under way: outputs of finished steps by id.
    pub fn of_step(
        plan: &Plan,
        step: &PlannedStep,
        outputs: Arc<BTreeMap<StepId, Outputs>>,
    ) -> Self {
        let vars = if step.vars.is_empty() { &plan.vars } else { &step.vars };
        let mut parts = vec![
            ("vars", json(vars)),
            ("wave", Jinja::from(plan.wave.as_str())),
            (
                "steps",
                Jinja::from_object(StepOutputs { outputs, place: IdPlace::of(step.id.as_str()) }),
            ),
        ];
        if let Some(window) = &plan.window {
            parts.push(("window", window_value(window)));
        }
        if let Some((name, workload)) =
            step.workload.as_ref().and_then(|name| plan.workloads.get_key_value(name))
        {
            parts.push(("workload", workload_value(name.as_str(), workload)));
        }
        Self::from_parts(parts)
    }
}

impl Context {
    /// Why the value of a dotted name is not there and what to do, or nothing when it is there.
    pub(super) fn missing(&self, name: &str) -> Option<(String, String)> {
        let mut value = self.0.clone();
        let mut reached: Vec<&str> = Vec::new();
        for part in name.split('.') {
            let next = value.get_attr(part).unwrap_or(Jinja::UNDEFINED);
            if next.is_undefined() {
                let path = if reached.is_empty() {
                    part.to_owned()
                } else {
                    format!("{}.{part}", reached.join("."))
                };
                return Some((format!("`{path}` is not defined"), hint_for(&path, part, &value)));
            }
            value = next;
            reached.push(part);
        }
        None
    }
}

fn hint_for(path: &str, part: &str, within: &Jinja) -> String {
    match path {
        "secrets" => {
            "expressions cannot reach secrets; name the secret where a step kind asks for one"
                .to_owned()
        }
        "workload" => "it is defined in a step with `workload:` or `each: workload`".to_owned(),
        "window" => "the runbook has no `window:`".to_owned(),
        _ => {
            let known: Vec<String> =
                within.try_iter().into_iter().flatten().map(|key| key.to_string()).collect();
            crate::runbook::words::suggest(part, known.iter().map(String::as_str))
        }
    }
}

pub(super) fn json(value: &impl serde::Serialize) -> Jinja {
    Jinja::from(Serde(value))
}

pub(super) fn window_value(window: &super::Window) -> Jinja {
    let moments = [("opens", window.opens.to_string()), ("closes", window.closes.to_string())];
    let reserve = super::Span(window.rollback_reserve).to_string();
    moments.into_iter().chain([("rollback_reserve", reserve)]).collect::<BTreeMap<_, _>>().into()
}

pub(super) fn workload_value(name: &str, workload: &super::Workload) -> Jinja {
    let mut fields = workload.fields.clone();
    fields.insert("name".to_owned(), Value::from(name));
    json(&fields)
}

/// Renders every text in a value that asks for `steps`; all others were rendered when the plan was made.
pub fn render(value: &Value, context: &Context) -> Result<Value, ExpressionError> {
    Ok(match value {
        Value::String(text)
            if is_template(text) && in_template(text).is_ok_and(|it| !it.is_empty()) =>
        {
            render_text(text, context)?
        }
        Value::Array(items) => {
            Value::Array(items.iter().map(|item| render(item, context)).collect::<Result<_, _>>()?)
        }
        Value::Object(entries) => Value::Object(
            entries
                .iter()
                .map(|(key, value)| Ok((key.clone(), render(value, context)?)))
                .collect::<Result<_, _>>()?,
        ),
        other => other.clone(),
    })
}

/// The value of a `when:`.
pub fn evaluate_condition(text: &str, context: &Context) -> Result<bool, ExpressionError> {
    Ok(evaluate(text, 0, context)?.is_true())
}

/// One text. A text that is a single `{{ … }}` keeps the type of its value; any other becomes text.
pub(super) fn render_text(text: &str, context: &Context) -> Result<Value, ExpressionError> {
    if let Some((from, inner)) = single(text) {
        let value = evaluate(inner, from, context)?;
        return serde_json::to_value(&value).map_err(|error| ExpressionError {
            message: format!("the value cannot be used here: {error}"),
            syntax: false,
            range: None,
        });
    }
    let template = LANGUAGE.template_from_str(text).map_err(|error| explain(&error, 0))?;
    template.render(context.0.clone()).map(Value::String).map_err(|error| explain(&error, 0))
}

/// Whether a text is an expression, and which names outside `steps` it uses.
pub(super) fn names_in(text: &str, bare: bool) -> Result<Vec<String>, ExpressionError> {
    let names = if bare {
        compile(text, 0)?.undeclared_variables(true)
    } else {
        let template = LANGUAGE.template_from_str(text).map_err(|error| explain(&error, 0))?;
        template.undeclared_variables(true)
    };
    let mut names: Vec<String> = names.into_iter().collect();
    names.sort_unstable();
    Ok(names)
}

fn compile(text: &str, offset: usize) -> Result<minijinja::Expression<'_, '_>, ExpressionError> {
    LANGUAGE.compile_expression(text).map_err(|error| explain(&error, offset))
}

fn evaluate(text: &str, offset: usize, context: &Context) -> Result<Jinja, ExpressionError> {
    let expression = compile(text, offset)?;
    let value = expression.eval(context.0.clone()).map_err(|error| explain(&error, offset))?;
    if value.is_undefined() {
        let range = Some(offset..offset + text.len());
        return Err(ExpressionError {
            message: "the value is not defined".to_owned(),
            syntax: false,
            range,
        });
    }
    Ok(value)
}

fn explain(error: &minijinja::Error, offset: usize) -> ExpressionError {
    let syntax = matches!(
        error.kind(),
        ErrorKind::SyntaxError
            | ErrorKind::UnknownFilter
            | ErrorKind::UnknownFunction
            | ErrorKind::UnknownTest
    );
    let message = match (error.kind(), error.detail()) {
        (ErrorKind::UndefinedError, _) => "the value is not defined".to_owned(),
        (_, Some(detail)) => detail.to_owned(),
        (kind, None) => kind.to_string(),
    };
    let range = error.range().map(|range| range.start + offset..range.end + offset);
    ExpressionError { message, syntax, range }
}

/// The inside of a text that is one `{{ … }}` and nothing else, with its byte offset.
fn single(text: &str) -> Option<(usize, &str)> {
    let trimmed = text.trim();
    let inner = trimmed.strip_prefix("{{")?.strip_suffix("}}")?;
    let plain = !inner.contains("{{")
        && !inner.contains("}}")
        && !inner.starts_with('-')
        && !inner.ends_with('-');
    let from = text.len() - text.trim_start().len() + 2;
    plain.then_some((from, inner))
}

/// Where a step stands: the fragments around it and the workload it was repeated for.
#[derive(Debug, Clone)]
pub(super) struct IdPlace {
    prefix: String,
    suffix: String,
}

impl IdPlace {
    pub(super) fn of(id: &str) -> Self {
        let (path, suffix) = id.split_at(id.find('[').unwrap_or(id.len()));
        let prefix = &path[..path.rfind('/').map_or(0, |at| at + 1)];
        Self { prefix: prefix.to_owned(), suffix: suffix.to_owned() }
    }

    /// The ids that a name written at this place may mean, nearest first: in its own fragment and lane, then around it.
    pub(super) fn candidates(&self, written: &str) -> impl Iterator<Item = String> {
        let mut prefixes = vec![self.prefix.as_str()];
        while let Some(last) = prefixes.last().copied().filter(|prefix| !prefix.is_empty()) {
            let outer = last.trim_end_matches('/');
            prefixes.push(&last[..outer.rfind('/').map_or(0, |at| at + 1)]);
        }
        let mut ids = Vec::new();
        for prefix in prefixes {
            if !self.suffix.is_empty() && !written.contains('[') {
                ids.push(format!("{prefix}{written}{}", self.suffix));
            }
            ids.push(format!("{prefix}{written}"));
        }
        ids.into_iter()
    }
}

/// `steps` in an expression.
#[derive(Debug)]
struct StepOutputs {
    outputs: Arc<BTreeMap<StepId, Outputs>>,
    place: IdPlace,
}

impl Object for StepOutputs {
    fn get_value(self: &Arc<Self>, key: &Jinja) -> Option<Jinja> {
        let written = key.as_str()?;
        self.place.candidates(written).find_map(|id| self.outputs.get(&StepId::new(id))).map(json)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn context() -> Context {
        let vars = json!({ "zone": "contoso.example", "port": 8080, "list": [1, 2] });
        Context::from_parts([("vars", super::json(&vars))])
    }

    fn with_outputs(id: &str) -> Context {
        let outputs: BTreeMap<StepId, Outputs> = [
            (StepId::from("lag[crm]"), Outputs::from([("seconds".to_owned(), json!(4))])),
            (StepId::from("f/lag"), Outputs::from([("seconds".to_owned(), json!(5))])),
        ]
        .into();
        let steps = StepOutputs { outputs: Arc::new(outputs), place: IdPlace::of(id) };
        Context::from_parts([("steps", Jinja::from_object(steps))])
    }

    #[test]
    fn a_single_expression_keeps_its_type() {
        assert_eq!(render_text("{{ vars.port }}", &context()), Ok(json!(8080)));
        assert_eq!(render_text(" {{ vars.list }} ", &context()), Ok(json!([1, 2])));
        assert_eq!(render_text("p{{ vars.port }}", &context()), Ok(json!("p8080")));
        assert_eq!(
            render_text("{{ vars.zone }}.{{ vars.zone }}", &context()),
            Ok(json!("contoso.example.contoso.example"))
        );
    }

    #[test]
    fn what_is_not_there_is_an_error_with_a_range() {
        let error = render_text("a {{ vars.zne }}", &context()).expect_err("undefined");
        assert!(!error.syntax);
        let error = render_text("a {{ vars. }}", &context()).expect_err("no expression");
        assert!(error.syntax);
        assert!(error.range.is_some());
        assert!(render_text("{{ secrets.x }}", &context()).is_err());
        assert!(render_text("{{ vars.nothing }}", &context()).is_err());
    }

    #[test]
    fn outputs_by_plain_id_within_lane_and_fragment() {
        let with = json!({ "a": "{{ steps.lag.seconds }}", "b": "{{ steps['lag[crm]'].seconds }}", "c": "{{ x" });
        let rendered = render(&with, &with_outputs("go[crm]"));
        assert_eq!(rendered, Ok(json!({ "a": 4, "b": 4, "c": "{{ x" })));
        let rendered = render(&json!("{{ steps.lag.seconds }}"), &with_outputs("f/go"));
        assert_eq!(rendered, Ok(json!(5)));
        assert!(render(&json!("{{ steps.lag.seconds }}"), &with_outputs("go")).is_err());
    }

    #[test]
    fn conditions() {
        let context = with_outputs("go[crm]");
        assert_eq!(evaluate_condition("steps.lag.seconds < 5", &context), Ok(true));
        assert_eq!(evaluate_condition("steps.lag.seconds > 5", &context), Ok(false));
        assert!(evaluate_condition("steps.none.seconds > 5", &context).is_err());
    }
}
>>>>>>> 36e4a17 (plan: read a runbook with every mistake at once, expand, order, render and check it)
