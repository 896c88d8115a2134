//! Expressions of a runbook: `{{ … }}` in texts, bare in `when:`. What the language has is in [`super::language`].
//!
//! Undefined values are errors. Expressions see `vars`, `wave`, `change`, `window`, `workload` and, while a run is under way, `steps`;
//! secrets are not among what they can reach. Whatever does not ask for `steps` is rendered when the plan is made.

use std::collections::BTreeMap;
use std::ops::Range;

use minijinja::ErrorKind;
use minijinja::value::{Serde, Value as Jinja};
use serde_json::Value;

use super::language::{IN_SIGHT, LANGUAGE, is_too_long, repetition};
use super::reference::{Reference, in_expression, in_template};
use super::template::{Part, is_template, parts};
use super::{Plan, PlannedStep};
use crate::run::{Outputs, StepId};

/// Why an expression has no value.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub(super) struct ExpressionError {
    /// What is wrong, in lower case.
    pub(super) message: String,
    /// Whether the text is no expression at all, as opposed to one whose value is missing.
    pub(super) syntax: bool,
    /// Bytes of the text that are at fault.
    pub(super) range: Option<Range<usize>>,
}

/// What expressions can see.
#[derive(Debug, Clone)]
pub(super) struct Context(Jinja);

impl Context {
    pub(super) fn from_parts(parts: impl IntoIterator<Item = (&'static str, Jinja)>) -> Self {
        Self(parts.into_iter().collect::<BTreeMap<_, _>>().into())
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
        "change" => "the runbook has no `change:`".to_owned(),
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

/// What the expressions of one step can see while the run is under way.
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

    /// Renders every text that asks for `steps`; all others were rendered when the plan was made. A text that is
    /// nothing but one expression becomes its value, with its type; any other text stays text.
    pub fn render(&self, with: &Value) -> Result<Value, String> {
        let references = references_in(with);
        if references.is_empty() {
            return Ok(with.clone());
        }
        render(with, &self.context(&references)).map_err(|error| error.to_string())
    }

    /// Whether a condition holds. It must be true or false; nothing else is taken for either.
    pub fn holds(&self, condition: &str) -> Result<bool, String> {
        let references = in_expression(condition).unwrap_or_default();
        evaluate_condition(condition, &self.context(&references))
            .map_err(|error| format!("`{condition}`: {error}"))
    }

    /// Only the outputs that are asked for are put in sight: a plan of ten thousand steps has many more.
    fn context(&self, references: &[Reference]) -> Context {
        let (plan, step) = (self.plan, self.step);
        let place = IdPlace::of(step.id.as_str());
        let steps: BTreeMap<&str, Jinja> = references
            .iter()
            .filter_map(|reference| {
                let mut ids = place.candidates(&reference.step);
                let outputs = ids.find_map(|id| self.outputs.get(&StepId::new(id)))?;
                Some((reference.step.as_str(), json(outputs)))
            })
            .collect();
        let vars = if step.vars.is_empty() { &plan.vars } else { &step.vars };
        let mut parts = vec![
            ("vars", json(vars)),
            ("wave", Jinja::from(plan.wave.as_str())),
            ("steps", Jinja::from(steps)),
        ];
        parts.extend(plan.window.as_ref().map(|window| ("window", window_value(window))));
        parts.extend(plan.change.as_deref().map(|change| ("change", Jinja::from(change))));
        let workload = step.workload.as_ref().and_then(|name| plan.workloads.get_key_value(name));
        let workload = workload.map(|(name, it)| ("workload", workload_value(name.as_str(), it)));
        parts.extend(workload);
        Context::from_parts(parts)
    }
}

/// Names of the steps whose outputs this step's texts use: what a dry run cannot know yet.
pub fn steps_needed(step: &PlannedStep) -> Vec<String> {
    let mut references = references_in(&step.with);
    let condition = step.when.as_deref().unwrap_or_default();
    references.extend(in_expression(condition).unwrap_or_default());
    let mut needed: Vec<String> = references.into_iter().map(|it| it.step).collect();
    needed.sort();
    needed.dedup();
    needed
}

fn references_in(value: &Value) -> Vec<Reference> {
    match value {
        Value::String(text) if is_template(text) => in_template(text).unwrap_or_default(),
        Value::Array(items) => items.iter().flat_map(references_in).collect(),
        Value::Object(entries) => entries.values().flat_map(references_in).collect(),
        _ => Vec::new(),
    }
}

fn render(value: &Value, context: &Context) -> Result<Value, ExpressionError> {
    Ok(match value {
        Value::String(text) if !references_in(value).is_empty() => render_text(text, context)?,
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

/// The value of a `when:`, which must be true or false.
pub(super) fn evaluate_condition(text: &str, context: &Context) -> Result<bool, ExpressionError> {
    let value = evaluate(text, 0, context)?;
    bool::try_from(value.clone()).map_err(|_| ExpressionError {
        message: format!("the value is {value}, neither true nor false"),
        syntax: false,
        range: Some(0..text.len()),
    })
}

/// One text. A text that is a single `{{ … }}` keeps the type of its value; any other becomes text.
pub(super) fn render_text(text: &str, context: &Context) -> Result<Value, ExpressionError> {
    if let [Part::Expression { at, inner }] = parts(text.trim()).as_slice() {
        let offset = text.len() - text.trim_start().len() + at;
        let value = evaluate(inner, offset, context)?;
        let value = serde_json::to_value(&value).map_err(|error| ExpressionError {
            message: format!("the value cannot be used here: {error}"),
            syntax: false,
            range: None,
        })?;
        return if bytes(&value) > IN_SIGHT { Err(too_long()) } else { Ok(value) };
    }
    let mut rendered = String::new();
    // A last line break is the text block's, not the text's.
    for part in parts(text.strip_suffix('\n').unwrap_or(text)) {
        match expression_in(part)? {
            Err(plain) => rendered.push_str(plain),
            Ok((at, inner)) => {
                let value = evaluate(inner, at, context)?.to_string();
                if value.len() > IN_SIGHT {
                    return Err(too_long());
                }
                rendered.push_str(&value);
            }
        }
        if rendered.len() > text.len() + IN_SIGHT {
            return Err(too_long());
        }
    }
    Ok(Value::String(rendered))
}

/// The place and the inside of an expression, or plain text.
fn expression_in(part: Part<'_>) -> Result<Result<(usize, &str), &str>, ExpressionError> {
    let refused = |range: Range<usize>, message: &str| {
        Err(ExpressionError { message: message.to_owned(), syntax: true, range: Some(range) })
    };
    match part {
        Part::Plain(text) => Ok(Err(text)),
        Part::Expression { at, inner } => Ok(Ok((at, inner))),
        Part::Open { at, inner } => refused(at - 2..at + inner.len(), "`{{` without `}}`"),
        Part::Statement { at } => {
            refused(at..at + 2, "only `{{ … }}` is read here, no statements and no comments")
        }
    }
}

/// Bytes of a value as JSON.
pub(super) fn bytes(value: &impl serde::Serialize) -> usize {
    serde_json::to_string(value).map_or(usize::MAX, |text| text.len())
}

fn too_long() -> ExpressionError {
    let message = format!("the value has more than {IN_SIGHT} bytes");
    ExpressionError { message, syntax: false, range: None }
}

/// Whether a text is an expression, and which names outside `steps` it uses.
pub(super) fn names_in(text: &str, bare: bool) -> Result<Vec<String>, ExpressionError> {
    let parts = if bare { vec![Part::Expression { at: 0, inner: text }] } else { parts(text) };
    let mut names = Vec::new();
    for part in parts {
        if let Ok((at, inner)) = expression_in(part)? {
            names.extend(compile(inner, at)?.undeclared_variables(true));
        }
    }
    names.sort_unstable();
    names.dedup();
    Ok(names)
}

fn compile(text: &str, offset: usize) -> Result<minijinja::Expression<'_, '_>, ExpressionError> {
    if let Some(at) = repetition(text) {
        return Err(ExpressionError {
            message: "`*` is not read, because it also repeats texts; `a | times(b)` multiplies"
                .to_owned(),
            syntax: true,
            range: Some(offset + at..offset + at + 1),
        });
    }
    if is_too_long(text) {
        return Err(ExpressionError {
            message: "it is too long".to_owned(),
            syntax: true,
            range: Some(offset..offset + text.len()),
        });
    }
    LANGUAGE.compile_expression(text).map_err(|error| explain(&error, offset))
}

fn evaluate(text: &str, offset: usize, context: &Context) -> Result<Jinja, ExpressionError> {
    let expression = compile(text, offset)?;
    let value = expression.eval(context.0.clone()).map_err(|error| explain(&error, offset))?;
    if value.is_undefined() {
        let inner = text.trim();
        let from = offset + text.len() - text.trim_start().len();
        return Err(ExpressionError {
            message: "the value is not defined".to_owned(),
            syntax: false,
            range: Some(from..from + inner.len()),
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
        (ErrorKind::OutOfFuel, _) => "it is too long to be evaluated".to_owned(),
        (ErrorKind::UndefinedError, _) => "the value is not defined".to_owned(),
        (_, Some(detail)) => detail.to_owned(),
        (kind, None) => kind.to_string(),
    };
    let range = error.range().map(|range| range.start + offset..range.end + offset);
    ExpressionError { message, syntax, range }
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

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn context() -> Context {
        let vars = json!({ "zone": "contoso.example", "port": 8080, "list": [1, 2] });
        Context::from_parts([("vars", super::json(&vars))])
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
    fn a_short_text_makes_no_long_value() {
        let big = "x".repeat(60_000);
        let vars = json!({ "big": big, "list": vec![1; 5_000] });
        let context = Context::from_parts([("vars", super::json(&vars))]);
        let chain = format!("{{{{ {} }}}}", vec!["vars.big"; 300].join(" ~ "));
        for text in [
            "{{ 'a' * 100000000 }}",
            "{{ [1] * 100000000 }}",
            "{% for a in vars.list %}{% for b in vars.list %}x{% endfor %}{% endfor %}",
            "{{ vars.big | replace('x', vars.big) }}",
            "{{ vars.list | join(vars.big) }}",
            "{{ vars.list | map('join', vars.big) | list }}",
            "{{ '%999999999d' | format(1) }}",
            "{{ 'a' | indent(999999999, true) }}",
            "{{ range(99999) | list }}",
            "{{ vars.big ~ vars.big }}",
            "{{ vars.big }}{{ vars.big }}{{ vars.big }}",
            &chain,
            &format!("{{{{ {}1 }}}}", "-".repeat(100_000)),
            &format!("{{{{ {}1 }}}}", "not ".repeat(100_000)),
            &format!("{{{{ 1{} }}}}", "+1".repeat(100_000)),
        ] {
            let error = render_text(text, &context).expect_err(text);
            assert!(!error.message.is_empty(), "{text}");
        }
        assert_eq!(render_text("{{ 6 | times(7) }}", &context), Ok(json!(42)));
        assert_eq!(render_text("{{ 2 ** 3 ~ ' * ' }}", &context), Ok(json!("8 * ")));
        assert!(render_text("{{ 'a' | times(7) }}", &context).is_err());
    }

    fn plan_with(id: &str) -> (Plan, BTreeMap<StepId, Outputs>) {
        let plan = crate::plan::testing::plan(&format!(
            "migrate: 1\nwave: w\nstages:\n  prepare:\n    - {{id: {id}, uses: note}}\n"
        ));
        let outputs = [
            (StepId::from("lag[crm]"), Outputs::from([("seconds".to_owned(), json!(4))])),
            (StepId::from("f/lag"), Outputs::from([("seconds".to_owned(), json!(5))])),
        ];
        (plan, outputs.into())
    }

    #[test]
    fn outputs_by_plain_id_within_lane_and_fragment() {
        let (plan, outputs) = plan_with("go");
        let render = |id: &str, with: Value| {
            let step = PlannedStep { id: StepId::from(id), ..plan.steps[0].clone() };
            Scope::new(&plan, &step, &outputs).render(&with)
        };
        let with = json!({ "a": "{{ steps.lag.seconds }}", "b": "{{ steps['lag[crm]'].seconds }}", "c": "{{ x" });
        assert_eq!(render("go[crm]", with), Ok(json!({ "a": 4, "b": 4, "c": "{{ x" })));
        assert_eq!(render("f/go", json!("{{ steps.lag.seconds }}")), Ok(json!(5)));
        assert!(render("go", json!("{{ steps.lag.seconds }}")).is_err());
    }

    #[test]
    fn conditions_are_true_or_false_and_nothing_else() {
        let (plan, outputs) = plan_with("go");
        let step = PlannedStep { id: StepId::from("go[crm]"), ..plan.steps[0].clone() };
        let scope = Scope::new(&plan, &step, &outputs);
        assert_eq!(scope.holds("steps.lag.seconds < 5"), Ok(true));
        assert_eq!(scope.holds("steps.lag.seconds > 5"), Ok(false));
        assert!(scope.holds("steps.none.seconds > 5").is_err());
        assert!(scope.holds("steps.lag.seconds").is_err());
    }
}
