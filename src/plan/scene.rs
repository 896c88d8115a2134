//! What each step's expressions can see while the plan is made, and what they ask of other steps.
//!
//! Texts that ask for `steps` stay as they are; what they ask for is noted and checked once the order is known.

use std::collections::{BTreeMap, HashMap};
use std::ops::Range;
use std::rc::Rc;

use minijinja::value::Value as Jinja;
use serde_json::Value;

use super::build::included;
use super::expression::{self, Context, ExpressionError, IdPlace, names_in, render_text};
use super::language::IN_SIGHT;
use super::precedence::Precedence;
use super::reference::{Computed, Reference, in_expression, in_template};
use super::template::is_template;
use super::{KindSpec, Plan};
use crate::diagnostic::Diagnostic;
use crate::diagnostic::source::{Mark, Sources};
use crate::runbook::node::{Kind, Node};
use crate::runbook::{Runbook, Scope, Step, words};

/// Everything expressions can see, and what was found wrong with them.
pub(super) struct Scene<'r> {
    runbook: &'r Runbook,
    sources: &'r Sources,
    wave: Jinja,
    window: Option<Jinja>,
    change: Option<Jinja>,
    vars: Jinja,
    workloads: BTreeMap<&'r str, Jinja>,
    /// Parameters of fragments by inclusion and lane.
    scopes: HashMap<(usize, Option<&'r str>), Rc<Parameters>>,
    references: Vec<Asked<'r>>,
    found: Vec<Diagnostic>,
    /// More than expressions may see; none is evaluated any more.
    too_much: bool,
}

struct Parameters {
    values: BTreeMap<String, Value>,
    jinja: Jinja,
}

/// One reference to an output, by the step of that id.
struct Asked<'r> {
    by: String,
    step: &'r Step,
    reference: Reference,
    mark: Mark,
}

/// What one step sees.
pub(super) struct View<'r> {
    context: Context,
    parameters: Option<Rc<Parameters>>,
    id: String,
    step: Option<&'r Step>,
}

impl View<'_> {
    /// The parameters of the step's fragment; empty outside one.
    pub(super) fn own_vars(&self) -> BTreeMap<String, Value> {
        self.parameters.as_ref().map(|it| it.values.clone()).unwrap_or_default()
    }
}

impl<'r> Scene<'r> {
    pub(super) fn new(runbook: &'r Runbook, sources: &'r Sources) -> Self {
        let window = runbook.keys.window.as_ref().map(|window| {
            expression::window_value(&super::Window {
                opens: window.opens,
                closes: window.closes,
                rollback_reserve: window.rollback_reserve.duration(),
            })
        });
        let workloads = runbook
            .workloads
            .iter()
            .map(|(name, workload, _)| {
                (name.as_str(), expression::workload_value(name.as_str(), workload))
            })
            .collect();
        let mut scene = Self {
            runbook,
            sources,
            wave: Jinja::from(runbook.keys.wave.as_str()),
            window,
            change: runbook.keys.change.as_deref().map(Jinja::from),
            vars: expression::json(&runbook.keys.vars),
            workloads,
            scopes: HashMap::new(),
            references: Vec::new(),
            found: Vec::new(),
            too_much: false,
        };
        scene.limit("vars", runbook.root.mark_of("vars"), &runbook.keys.vars);
        for (name, workload, mark) in &runbook.workloads {
            scene.limit(name.as_str(), *mark, &workload.fields);
        }
        scene
    }

    /// Refuses what is too long for expressions to see.
    fn limit(&mut self, name: &str, mark: Mark, seen: &impl serde::Serialize) {
        let bytes = expression::bytes(seen);
        if bytes <= IN_SIGHT {
            return;
        }
        self.too_much = true;
        let message = format!("`{name}` has {bytes} bytes; expressions see {IN_SIGHT} at most");
        self.found.push(
            Diagnostic::error("RB011", message)
                .at(self.sources.place(mark))
                .hint("keep long texts in files of their own"),
        );
    }

    /// What the sections above the stages see.
    pub(super) fn top(&self) -> View<'r> {
        let context = self.context(self.vars.clone(), None);
        View { context, parameters: None, id: String::new(), step: None }
    }

    /// What a step of one lane sees.
    pub(super) fn enter(&mut self, step: &'r Step, id: &str, lane: Option<&'r str>) -> View<'r> {
        let parameters = step.scope.as_deref().map(|scope| self.parameters(scope, step, lane));
        let vars = parameters.as_ref().map_or_else(|| self.vars.clone(), |it| it.jinja.clone());
        View { context: self.context(vars, lane), parameters, id: id.to_owned(), step: Some(step) }
    }

    fn context(&self, vars: Jinja, lane: Option<&str>) -> Context {
        let mut parts = vec![("vars", vars), ("wave", self.wave.clone())];
        parts.extend(self.window.clone().map(|window| ("window", window)));
        parts.extend(self.change.clone().map(|change| ("change", change)));
        let workload = lane.and_then(|lane| self.workloads.get(lane));
        parts.extend(workload.map(|workload| ("workload", workload.clone())));
        Context::from_parts(parts)
    }

    fn parameters(
        &mut self,
        scope: &'r Scope,
        step: &'r Step,
        lane: Option<&'r str>,
    ) -> Rc<Parameters> {
        let key = (std::ptr::from_ref(scope).addr(), lane);
        if let Some(known) = self.scopes.get(&key) {
            return Rc::clone(known);
        }
        let outer = scope.outer.as_deref().map(|outer| self.parameters(outer, step, lane));
        let vars = outer.as_ref().map_or_else(|| self.vars.clone(), |it| it.jinja.clone());
        let context = self.context(vars, lane);
        let view = View { context, parameters: outer, id: String::new(), step: Some(step) };
        let mut values = BTreeMap::new();
        for (name, node) in scope.vars.entries() {
            values.insert(name.text.clone(), self.render(node, &view).to_json());
        }
        self.limit("with", step.node.mark, &values);
        let parameters = Rc::new(Parameters { jinja: expression::json(&values), values });
        self.scopes.insert(key, Rc::clone(&parameters));
        parameters
    }

    /// Renders every text of a tree that does not ask for `steps`.
    pub(super) fn render(&mut self, node: &Node, view: &View<'r>) -> Node {
        let kind = match &node.kind {
            Kind::Text(text) if is_template(text) => return self.text(node, text, view),
            Kind::List(items) => {
                Kind::List(items.iter().map(|item| self.render(item, view)).collect())
            }
            Kind::Map(entries) => Kind::Map(
                entries
                    .iter()
                    .map(|(key, value)| (key.clone(), self.render(value, view)))
                    .collect(),
            ),
            other => other.clone(),
        };
        Node { mark: node.mark, kind }
    }

    fn text(&mut self, node: &Node, text: &str, view: &View<'r>) -> Node {
        let later = Node { mark: node.mark, kind: Kind::Later(text.to_owned()) };
        if self.too_much {
            return later;
        }
        match in_template(text) {
            Err(Computed(at)) => self.refuse_computed(node.mark, text, at, view),
            Ok(references) if !references.is_empty() => {
                self.check_names(node.mark, text, false, view);
                self.ask(references, node.mark, text, view);
            }
            Ok(_) => match render_text(text, &view.context) {
                Ok(value) => return Node::from_json(node.mark, value),
                Err(error) => self.report_expression(node.mark, text, false, &error, view),
            },
        }
        later
    }

    /// Joins conditions into one expression and checks them as far as that is possible now.
    pub(super) fn condition(
        &mut self,
        conditions: &[(String, Mark)],
        view: &View<'r>,
    ) -> Option<String> {
        let evaluated = if self.too_much { &[] } else { conditions };
        for (text, mark) in evaluated {
            match in_expression(text) {
                Err(Computed(at)) => self.refuse_computed(*mark, text, at, view),
                Ok(references) if !references.is_empty() => {
                    self.check_names(*mark, text, true, view);
                    self.ask(references, *mark, text, view);
                }
                Ok(_) => {
                    if let Err(error) = expression::evaluate_condition(text, &view.context) {
                        self.report_expression(*mark, text, true, &error, view);
                    }
                }
            }
        }
        match conditions {
            [] => None,
            [(only, _)] => Some(only.clone()),
            several => {
                let terms: Vec<String> =
                    several.iter().map(|(text, _)| format!("({text})")).collect();
                let joined = terms.join(" and ");
                if let Err(error) = names_in(&joined, true) {
                    self.report_expression(several[0].1, &joined, true, &error, view);
                }
                Some(joined)
            }
        }
    }

    /// Checks a text that cannot be rendered yet: is it an expression, and is what it names beside `steps` there?
    fn check_names(&mut self, mark: Mark, text: &str, bare: bool, view: &View<'r>) {
        match names_in(text, bare) {
            Err(error) => self.report_expression(mark, text, bare, &error, view),
            // A text that provides for a missing value may name one.
            Ok(_) if text.contains("default") || text.contains("defined") => {}
            Ok(names) => {
                let mut others =
                    names.iter().filter(|name| *name != "steps" && !name.starts_with("steps."));
                if let Some((message, hint)) = others.find_map(|name| view.context.missing(name)) {
                    self.report(mark, "RB019", message, hint, view);
                }
            }
        }
    }

    fn ask(&mut self, references: Vec<Reference>, mark: Mark, text: &str, view: &View<'r>) {
        let Some(step) = view.step.filter(|_| !view.id.is_empty()) else {
            let hint = "outputs exist only while the run is under way; use them in `with` or `when` of a step";
            self.report(
                mark,
                "RB019",
                "`steps` cannot be used here".to_owned(),
                hint.to_owned(),
                view,
            );
            return;
        };
        for reference in references {
            let range = reference.at..reference.at + "steps".len();
            let mark = self.within(mark, text, range);
            self.references.push(Asked { by: view.id.clone(), step, reference, mark });
        }
    }

    fn refuse_computed(&mut self, mark: Mark, text: &str, at: usize, view: &View<'r>) {
        let mark = self.within(mark, text, at..at + "steps".len());
        let hint =
            "name step and output literally: `steps.lag.seconds`, `steps['lag[crm]'].seconds`";
        let message = "this use of `steps` cannot be checked".to_owned();
        self.report(mark, "RB020", message, hint.to_owned(), view);
    }

    fn report_expression(
        &mut self,
        mark: Mark,
        text: &str,
        bare: bool,
        error: &ExpressionError,
        view: &View<'r>,
    ) {
        let mark = error.range.clone().map_or(mark, |range| self.within(mark, text, range));
        if error.syntax {
            let hint = "expressions are `{{ vars.name }}` in a text and bare in `when:`".to_owned();
            self.report(mark, "RB018", format!("not an expression: {}", error.message), hint, view);
            return;
        }
        let missing = names_in(text, bare)
            .ok()
            .and_then(|names| names.iter().find_map(|name| view.context.missing(name)));
        let (message, hint) = missing.unwrap_or_else(|| {
            (
                format!("this expression has no value: {}", error.message),
                "see `migrate explain RB019`".to_owned(),
            )
        });
        self.report(mark, "RB019", message, hint, view);
    }

    fn report(
        &mut self,
        mark: Mark,
        code: &'static str,
        message: String,
        hint: String,
        view: &View<'r>,
    ) {
        let found = Diagnostic::error(code, message).at(self.sources.place(mark)).hint(hint);
        self.found.push(match view.step {
            Some(step) => included(found, step, self.sources),
            None => found,
        });
    }

    /// The part of a text's mark that a byte range of the text stands at, where that can be told.
    fn within(&self, mark: Mark, text: &str, range: Range<usize>) -> Mark {
        let (Some(part), Some(ahead)) = (text.get(range.clone()), text.get(..range.start)) else {
            return mark;
        };
        let quoted = self
            .sources
            .slice(Mark { length: 1, ..mark })
            .is_some_and(|it| matches!(it, "\"" | "'"));
        let chars = |text: &str| u32::try_from(text.chars().count()).unwrap_or(u32::MAX);
        let column = mark.column + u32::from(quoted) + chars(ahead);
        let inner = Mark { column, length: chars(part).max(1), ..mark };
        if self.sources.slice(inner) == Some(part) { inner } else { mark }
    }

    /// Hands over what was found wrong so far.
    pub(super) fn report_all(&mut self, out: &mut Vec<Diagnostic>) {
        out.append(&mut self.found);
    }

    /// Checks what was asked of other steps, now that their order is known.
    pub(super) fn check_references(
        &mut self,
        plan: &Plan,
        kinds: &[&'static KindSpec],
        out: &mut Vec<Diagnostic>,
    ) {
        let index: BTreeMap<&str, usize> =
            plan.steps.iter().enumerate().map(|(at, step)| (step.id.as_str(), at)).collect();
        let precedence = Precedence::of(plan);
        for asked in &self.references {
            let wrong = self.check_reference(asked, &index, &precedence, kinds);
            out.extend(wrong.map(|(message, hint)| {
                let found = Diagnostic::error("RB020", message)
                    .at(self.sources.place(asked.mark))
                    .hint(hint);
                included(found, asked.step, self.sources)
            }));
        }
    }

    fn check_reference(
        &self,
        asked: &Asked<'r>,
        index: &BTreeMap<&str, usize>,
        precedence: &Precedence<'_>,
        kinds: &[&'static KindSpec],
    ) -> Option<(String, String)> {
        let own = *index.get(asked.by.as_str())?;
        let written = &asked.reference.step;
        let named = IdPlace::of(&asked.by)
            .candidates(written)
            .find_map(|id| index.get(id.as_str()).copied());
        let Some(other) = named else {
            if !self.runbook.complete {
                return None;
            }
            let lane = format!("{written}[");
            let repeated =
                index.range(lane.as_str()..).next().filter(|(id, _)| id.starts_with(&lane));
            let hint = repeated.map_or_else(
                || words::suggest(written, index.keys().copied()),
                |(id, _)| format!("it is repeated for every workload; name one: `steps['{id}']`"),
            );
            return Some((format!("there is no step `{written}`"), hint));
        };
        if !precedence.before(other, own) {
            let hint = "an output exists once its step has ended; use a step above, or add `after`";
            return Some((
                format!("`{written}` has not surely ended when this step starts"),
                hint.to_owned(),
            ));
        }
        let kind = kinds[other];
        let Some(output) = &asked.reference.output else {
            let hint = format!("name one of its outputs: {}", kind.outputs.join(", "));
            return Some((format!("`steps.{written}` alone is no value"), hint));
        };
        if kind.open_outputs || kind.outputs.contains(&output.as_str()) {
            return None;
        }
        let hint = match kind.outputs {
            [] => format!("`{}` has no outputs", kind.name),
            outputs => words::suggest(output, outputs.iter().copied()),
        };
        Some((format!("`{written}` has no output `{output}`"), hint))
    }
}
