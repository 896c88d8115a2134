//! [`Runbook`] -> [`Plan`]: repeat steps for workloads, render what can be rendered, check every reference, order.
//!
//! Nothing is looked up outside the runbook, no clock is read, and everything that is wrong is found in one go.

use std::collections::{BTreeMap, HashSet};
use std::ops::Bound;
use std::time::Duration;

use super::order::{Item, NoOrder, order};
use super::scene::Scene;
use super::settings::Settings;
use super::{Catalogue, Class, KindSpec, Plan, PlannedStep, Retry, Role, rules};
use crate::diagnostic::source::Sources;
use crate::diagnostic::{Diagnostic, Severity};
use crate::run::{Stage, StepId, WaveName, WorkloadName};
use crate::runbook::node::{Key, Kind, Node};
use crate::runbook::{self, Files, Runbook, Step, de, words};

/// Steps side by side when the runbook does not say.
const PARALLEL: u32 = 50;

/// What came of reading and planning a runbook.
#[derive(Debug)]
pub struct Prepared {
    /// Every file that was read.
    pub sources: Sources,
    /// The plan, when nothing is wrong.
    pub plan: Option<Plan>,
    /// Everything that is wrong, and warnings.
    pub found: Vec<Diagnostic>,
}

/// Reads and plans a runbook: all that `validate` does, and what every run begins with.
pub fn prepare(name: &str, files: &dyn Files, catalogue: Catalogue) -> Prepared {
    let loaded = runbook::load(name, files);
    let valid = loaded.is_valid();
    let (sources, mut found) = (loaded.sources, loaded.found);
    let mut plan = None;
    if let Some(runbook) = &loaded.runbook {
        match Plan::build(runbook, &sources, catalogue) {
            Ok((built, warnings)) => {
                plan = Some(built).filter(|_| valid);
                found.extend(warnings);
            }
            Err(more) => found.extend(more),
        }
    }
    sort(&mut found);
    Prepared { sources, plan, found }
}

/// In the order of the page, each once: a step that is repeated for 200 workloads has one mistake and not 200.
fn sort(found: &mut Vec<Diagnostic>) {
    let mut seen = HashSet::new();
    found.retain(|it| seen.insert((it.code, it.place.clone(), it.message.clone())));
    found.sort_by(|a, b| a.severity.cmp(&b.severity).then_with(|| a.place.cmp(&b.place)));
}

impl Plan {
    /// Plans a runbook. Beside the plan come the warnings of the rules; on the other side everything that is wrong.
    pub fn build(
        runbook: &Runbook,
        sources: &Sources,
        catalogue: Catalogue,
    ) -> Result<(Self, Vec<Diagnostic>), Vec<Diagnostic>> {
        let lanes = runbook.workloads.iter().map(|(name, ..)| name.as_str()).collect();
        let mut builder = Builder { runbook, lanes, sources, catalogue, out: Vec::new() };
        let plan = builder.plan();
        let mut found = builder.out;
        sort(&mut found);
        match plan {
            Some(plan) if found.iter().all(|it| it.severity != Severity::Error) => {
                Ok((plan, found))
            }
            _ => Err(found),
        }
    }

    /// SHA-256 in hex over the plan: what is approved is what is run.
    pub fn fingerprint(&self) -> String {
        let value = serde_json::to_value(self).expect("a plan is plain data");
        crate::run::fingerprint(&value)
    }
}

struct Builder<'r> {
    runbook: &'r Runbook,
    /// Names of the workloads.
    lanes: HashSet<&'r str>,
    sources: &'r Sources,
    catalogue: Catalogue,
    out: Vec<Diagnostic>,
}

/// Already reported.
struct NoSuchWorkload;

/// A step for one lane.
struct Expanded<'r> {
    step: &'r Step,
    id: String,
    lane: Option<&'r str>,
    kind: &'static KindSpec,
}

impl<'r> Builder<'r> {
    fn plan(&mut self) -> Option<Plan> {
        let mut scene = Scene::new(self.runbook, self.sources);
        let settings = Settings::read(self.runbook, self.sources, &mut scene, &mut self.out);
        let steps = self.expand();
        let index = self.index(&steps);
        let ordered = self.order(&steps, &index);
        let mut planned: Vec<PlannedStep> =
            steps.iter().map(|step| self.render(step, &mut scene)).collect();
        scene.report_all(&mut self.out);
        let ordered = ordered?;
        let mut slots: Vec<Option<PlannedStep>> = planned.drain(..).map(Some).collect();
        planned.extend(
            ordered
                .written
                .iter()
                .zip(ordered.after)
                .filter_map(|(&at, after)| Some(PlannedStep { after, ..slots[at].take()? })),
        );
        let kinds: Vec<&'static KindSpec> =
            ordered.written.iter().map(|&at| steps[at].kind).collect();
        close_window(&mut planned, &kinds);
        let plan = self.assemble(settings, planned);
        scene.check_references(&plan, &kinds, &mut self.out);
        let marks: Vec<_> =
            ordered.written.iter().map(|&at| steps[at].step.node.mark_of("id")).collect();
        rules::check(&plan, &kinds, &marks, (self.runbook, self.sources), &mut self.out);
        Some(plan)
    }

    fn assemble(&self, settings: Settings, steps: Vec<PlannedStep>) -> Plan {
        let keys = &self.runbook.keys;
        Plan {
            format: keys.migrate,
            wave: WaveName::new(&keys.wave),
            summary: keys.summary.clone(),
            change: keys.change.clone(),
            window: keys.window.as_ref().map(|window| super::Window {
                opens: window.opens,
                closes: window.closes,
                rollback_reserve: window.rollback_reserve.duration(),
            }),
            parallel: keys.parallel.map_or(PARALLEL, std::num::NonZeroU32::get),
            azure: settings.azure,
            secrets: keys
                .secrets
                .clone()
                .into_iter()
                .map(|(name, from)| (name, from.into()))
                .collect(),
            systems: settings.systems,
            workloads: self
                .runbook
                .workloads
                .iter()
                .map(|(name, workload, _)| (name.clone(), workload.clone()))
                .collect(),
            vars: keys.vars.clone(),
            steps,
            allowed: settings.allowed,
        }
    }

    /// One step for each lane it runs in, in written order. Steps of unknown kinds or lanes are reported and left out.
    fn expand(&mut self) -> Vec<Expanded<'r>> {
        let runbook = self.runbook;
        let mut steps = Vec::with_capacity(runbook.steps.len());
        for step in &runbook.steps {
            let kind = self.kind(step);
            let lane = self.lane(step);
            let (Some(kind), Ok(lane)) = (kind, lane) else { continue };
            let id = step.id.clone();
            if step.keys.each.is_none() {
                steps.push(Expanded { step, id, lane, kind });
                continue;
            }
            for (name, ..) in &runbook.workloads {
                let id = format!("{id}[{name}]");
                steps.push(Expanded { step, id, lane: Some(name.as_str()), kind });
            }
        }
        steps
    }

    fn kind(&mut self, step: &Step) -> Option<&'static KindSpec> {
        let uses = &step.keys.uses;
        let kind = self.catalogue.get(uses);
        if kind.is_none() {
            let names = self.catalogue.kinds.iter().map(|kind| kind.name);
            let found = Diagnostic::error("RB015", format!("there is no step kind `{uses}`"))
                .at(self.sources.place(step.node.mark_of("uses")))
                .hint(words::suggest(uses, names));
            self.out.push(included(found, step, self.sources));
        }
        if let (Some(kind), Some(undo)) = (kind, &step.undo)
            && !takes_undo(kind)
        {
            let found = Diagnostic::error(
                "RB026",
                format!("`{uses}` takes itself back; `undo` is not read here"),
            )
            .at(self.sources.place(undo.mark))
            .hint("remove it; only `exec` and `http.request` need to be told");
            self.out.push(included(found, step, self.sources));
        }
        kind
    }

    /// The lane of a step, or that it is a barrier. Reports a workload that is not there.
    fn lane(&mut self, step: &'r Step) -> Result<Option<&'r str>, NoSuchWorkload> {
        let workloads = &self.runbook.workloads;
        if step.keys.each.is_some() && workloads.is_empty() && self.runbook.complete {
            let found = Diagnostic::error("RB025", "there is no workload to repeat the step for")
                .at(self.sources.place(step.node.mark_of("each")))
                .hint("name them under `workloads:`, or drop `each`");
            self.out.push(included(found, step, self.sources));
        }
        let Some(written) = &step.keys.workload else { return Ok(None) };
        if let Some(name) = self.lanes.get(written.as_str()) {
            return Ok(Some(name));
        }
        if self.runbook.complete || !workloads.is_empty() {
            let names = workloads.iter().map(|(name, ..)| name.as_str());
            let hint = if workloads.is_empty() {
                format!("add `workloads: {{{written}: {{…}}}}` to the runbook")
            } else {
                words::suggest(written, names)
            };
            let found = Diagnostic::error("RB014", format!("there is no workload `{written}`"))
                .at(self.sources.place(step.node.mark_of("workload")))
                .hint(hint);
            self.out.push(included(found, step, self.sources));
        }
        Err(NoSuchWorkload)
    }

    /// Position of each id. Reports ids that stand twice.
    fn index(&mut self, steps: &[Expanded<'r>]) -> BTreeMap<String, usize> {
        let mut index: BTreeMap<String, usize> = BTreeMap::new();
        for (at, expanded) in steps.iter().enumerate() {
            if let Some(&first) = index.get(&expanded.id) {
                let first = steps[first].step;
                let mut found =
                    Diagnostic::error("RB012", format!("the step id `{}` stands twice", expanded.step.id))
                        .at(self.sources.place(expanded.step.node.mark_of("id")))
                        .hint("give one of them another id; a fragment included twice needs an `id` at each place");
                let place = self.sources.place(first.node.mark_of("id"));
                found.related.push((place, "first used here".to_owned()));
                self.out.push(found);
            } else {
                index.insert(expanded.id.clone(), at);
            }
        }
        index
    }

    fn order(
        &mut self,
        steps: &[Expanded<'r>],
        index: &BTreeMap<String, usize>,
    ) -> Option<super::order::Ordered> {
        let errors = self.out.len();
        let items: Vec<Item<'_>> = steps
            .iter()
            .map(|expanded| Item {
                stage: expanded.step.stage,
                lane: expanded.lane,
                after: self.after(expanded, steps, index),
            })
            .collect();
        if self.out.len() > errors {
            return None;
        }
        match order(&items) {
            Ok(ordered) => Some(ordered),
            Err(NoOrder::Cycle(cycle)) => {
                self.report_cycle(&cycle, steps);
                None
            }
            Err(NoOrder::TooWide(stage)) => {
                let message = format!(
                    "more than a thousand lanes end `{stage}` and begin the stage after it"
                );
                let hint = "end the stage with a step without `workload`; it gathers the lanes";
                self.out.push(Diagnostic::error("RB011", message).hint(hint));
                None
            }
        }
    }

    fn after(
        &mut self,
        expanded: &Expanded<'r>,
        steps: &[Expanded<'r>],
        index: &BTreeMap<String, usize>,
    ) -> Vec<usize> {
        let step = expanded.step;
        let place = super::expression::IdPlace::of(&expanded.id);
        let mut positions = Vec::new();
        for (written, item) in step.keys.after.iter().zip(after_nodes(step)) {
            let named =
                place.candidates(written).map(|id| named(index, &id)).find(|it| !it.is_empty());
            let (message, hint) = match named {
                Some(named) if named.iter().all(|&other| steps[other].step.stage <= step.stage) => {
                    positions.extend(named);
                    continue;
                }
                Some(_) => {
                    let hint = "drop it, or move one of the two steps; stages run in turn";
                    (format!("`{written}` runs in a later stage"), hint.to_owned())
                }
                None if !self.runbook.complete => continue,
                None => {
                    let ids = steps.iter().map(|other| other.step.id.as_str());
                    (format!("there is no step `{written}`"), words::suggest(written, ids))
                }
            };
            let found =
                Diagnostic::error("RB016", message).at(self.sources.place(item.mark)).hint(hint);
            self.out.push(included(found, step, self.sources));
        }
        positions
    }

    fn report_cycle(&mut self, cycle: &[usize], steps: &[Expanded<'r>]) {
        let names: Vec<&str> =
            cycle.iter().chain(cycle.first()).map(|&at| steps[at].id.as_str()).collect();
        let first = steps[cycle[0]].step;
        let mut found = Diagnostic::error("RB017", format!("steps wait for each other: {}", names.join(" -> ")))
            .at(self.sources.place(first.node.mark_of("id")))
            .hint(
                "`a -> b` reads: a waits for b. Drop an `after`, or move a step; one without `workload` waits for all \
                 above it and holds all below it",
            );
        for &at in &cycle[1..] {
            let place = self.sources.place(steps[at].step.node.mark_of("id"));
            found.related.push((place, format!("`{}` stands here", steps[at].id)));
        }
        self.out.push(found);
    }

    fn render(&mut self, expanded: &Expanded<'r>, scene: &mut Scene<'r>) -> PlannedStep {
        let (step, keys, kind) = (expanded.step, &expanded.step.keys, expanded.kind);
        let first = self.out.len();
        let view = scene.enter(step, &expanded.id, expanded.lane);
        let mut with = scene.render(&step.with, &view);
        if let Some(undo) = step.undo.as_ref().filter(|_| takes_undo(kind)) {
            insert(&mut with, "undo", scene.render(undo, &view));
        }
        let well_formed = de::check(&with, self.sources, &mut self.out, kind.check);
        if well_formed && self.out.len() == first && with.is_known() {
            let wrong = (self.catalogue.accepts)(kind.name, &with.to_json()).err();
            let place = self.sources.place(with.mark);
            self.out.extend(wrong.map(|why| de::together(&why, place)));
        }
        let when = scene.condition(&step.when, &view);
        for found in &mut self.out[first..] {
            *found = included(found.clone(), step, self.sources);
        }
        PlannedStep {
            id: StepId::new(&expanded.id),
            stage: step.stage,
            workload: expanded.lane.map(WorkloadName::new),
            uses: kind.name.to_owned(),
            with: with.to_json(),
            after: Vec::new(),
            when,
            timeout: keys.timeout.map(Duration::from),
            retry: keys.retry.as_ref().map_or(
                Retry { attempts: 1, backoff: Duration::ZERO },
                |retry| Retry { attempts: retry.attempts.get(), backoff: retry.backoff.duration() },
            ),
            on_failure: keys.on_failure,
            hold_before: keys.hold.is_some(),
            point_of_no_return: keys.point_of_no_return,
            in_window: false,
            expires: false,
            class: kind.class,
            repeat: kind.repeat,
            undo: kind.undo,
            vars: view.own_vars(),
            source: (self.sources.name(step.node.mark.file).to_owned(), step.node.mark.line),
        }
    }
}

fn takes_undo(kind: &KindSpec) -> bool {
    matches!(kind.name, "exec" | "http.request")
}

fn insert(with: &mut Node, name: &str, value: Node) {
    if let Kind::Map(entries) = &mut with.kind {
        entries.push((Key { text: name.to_owned(), mark: value.mark }, value));
    }
}

/// The items of `after`, one for each id that was read.
fn after_nodes(step: &Step) -> impl Iterator<Item = &Node> {
    let items = step.node.get("after").map(Node::items).unwrap_or_default();
    items.iter().filter(|item| item.text().is_some())
}

/// The steps an id names: itself, a step repeated for every workload, or every step of a fragment.
fn named(index: &BTreeMap<String, usize>, id: &str) -> Vec<usize> {
    if let Some(&at) = index.get(id) {
        return vec![at];
    }
    ["[", "/"]
        .into_iter()
        .flat_map(|sign| {
            let prefix = format!("{id}{sign}");
            let from = (Bound::Included(prefix.clone()), Bound::Unbounded);
            let found = index.range(from).take_while(|(id, _)| id.starts_with(&prefix));
            found.map(|(_, &at)| at).collect::<Vec<_>>()
        })
        .collect()
}

/// Adds the places that include the fragment a step stands in.
pub(super) fn included(mut found: Diagnostic, step: &Step, sources: &Sources) -> Diagnostic {
    let mut scope = step.scope.as_deref();
    while let Some(inner) = scope {
        let place = (sources.place(inner.at), "included from here".to_owned());
        if !found.related.contains(&place) {
            found.related.push(place);
        }
        scope = inner.outer.as_deref();
    }
    found
}

/// Release actions up to the last traffic switch may start only inside the window.
fn close_window(steps: &mut [PlannedStep], kinds: &[&'static KindSpec]) {
    let switches = |kind: &KindSpec| kind.roles.contains(&Role::SwitchesTraffic);
    let last = kinds.iter().rposition(|kind| switches(kind)).unwrap_or(steps.len());
    for (at, step) in steps.iter_mut().enumerate() {
        let ends_something = [Role::ResumesWrites, Role::Unfreezes, Role::Notifies]
            .iter()
            .any(|role| kinds[at].roles.contains(role));
        let begins = step.class == Class::Action && !ends_something;
        step.in_window = step.stage == Stage::Release && begins && at <= last;
        step.expires = [Role::WaitsForLag, Role::VerifiesFreeze, Role::Probes, Role::ProvesRights]
            .iter()
            .any(|role| step.class == Class::Check && kinds[at].roles.contains(role));
    }
}
