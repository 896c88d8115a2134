//! Tree -> [`Runbook`]: sections, workloads, steps, fragments.
//!
//! Every step is read on its own; what is wrong is reported and left out, and reading goes on.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use super::files::{Files, beside};
use super::keys::{FragmentKeys, When, WorkloadKeys};
use super::node::{Key, Kind, Node};
use super::{Runbook, RunbookKeys, Scope, Step, StepKeys, de, inventory, yaml};
use crate::diagnostic::Diagnostic;
use crate::diagnostic::source::{Mark, Sources};
use crate::plan::Workload;
use crate::run::{Stage, WorkloadName};

/// Fragments within fragments.
const MAX_INCLUDE_DEPTH: usize = 4;
/// The keys of a step that includes a fragment.
const INCLUDE_KEYS: [&str; 6] = ["id", "uses", "with", "workload", "each", "when"];

/// One reading of a runbook.
pub(super) struct Lowering<'a> {
    files: &'a dyn Files,
    sources: &'a mut Sources,
    out: &'a mut Vec<Diagnostic>,
    /// Fragments by path; none for one that could not be read.
    fragments: HashMap<String, Option<Arc<Node>>>,
    steps: Vec<Step>,
    complete: bool,
}

/// What a fragment's steps take over from the place that includes them.
#[derive(Clone, Default)]
struct Outer {
    prefix: String,
    file: String,
    scope: Option<Arc<Scope>>,
    workload: Option<String>,
    each: Option<super::keys::Each>,
    when: Vec<(String, Mark)>,
    depth: usize,
}

impl<'a> Lowering<'a> {
    pub(super) fn new(
        files: &'a dyn Files,
        sources: &'a mut Sources,
        out: &'a mut Vec<Diagnostic>,
    ) -> Self {
        Self { files, sources, out, fragments: HashMap::new(), steps: Vec::new(), complete: true }
    }

    /// Reads the runbook of that name.
    pub(super) fn runbook(mut self, name: &str) -> Option<Runbook> {
        let text = match self.files.read(name) {
            Ok(text) => text,
            Err(why) => {
                self.out.push(
                    Diagnostic::error("RB001", format!("cannot read `{name}`: {why}"))
                        .hint("give the path of a runbook in YAML"),
                );
                return None;
            }
        };
        let file = self.sources.add(name, text);
        let mut root = yaml::parse(file, self.sources, self.out)?;
        let before = self.out.len();
        let keys: Option<RunbookKeys> = de::read(&root, self.sources, self.out);
        self.complete &= keys.is_some() && self.out.len() == before;
        if !matches!(root.kind, Kind::Map(_)) {
            return None;
        }
        let keys = keys.unwrap_or_default();
        self.check_header(&keys, &root);
        let stages = root.take("stages");
        let workloads = self.workloads(name, &mut root);
        if let Some(stages) = stages {
            let outer = Outer { file: name.to_owned(), ..Outer::default() };
            self.stages(stages, &outer);
        }
        Some(Runbook { keys, root, workloads, steps: self.steps, complete: self.complete })
    }

    fn report(&mut self, mark: Mark, code: &'static str, message: impl Into<String>, hint: &str) {
        self.out.push(Diagnostic::error(code, message).at(self.sources.place(mark)).hint(hint));
    }

    fn check_header(&mut self, keys: &RunbookKeys, root: &Node) {
        let format = root.get("migrate").and_then(|node| match &node.kind {
            Kind::Number(number) => number.as_u64(),
            _ => None,
        });
        if let Some(format) = format.filter(|&format| format != 1) {
            let mark = root.mark_of("migrate");
            let message = format!("this program does not know runbook format {format}");
            self.report(mark, "RB008", message, "write `migrate: 1`, or use a newer release");
        }
        if root.get("wave").is_some() && !keys.wave.is_empty() {
            self.check_name(&keys.wave, root.mark_of("wave"), "a wave");
        } else if root.get("wave").and_then(Node::text) == Some("") {
            self.check_name("", root.mark_of("wave"), "a wave");
        }
        if let Some(window) = &keys.window {
            let node = root.get("window").unwrap_or(root);
            if window.closes <= window.opens {
                let mark = node.mark_of("closes");
                self.report(
                    mark,
                    "RB024",
                    "the window closes before it opens",
                    "give a later moment",
                );
            } else if window.opens + window.rollback_reserve.duration() >= window.closes {
                let mark = node.mark_of("rollback_reserve");
                let hint = "the reserve is kept free at the end of the window; make it shorter";
                self.report(
                    mark,
                    "RB024",
                    "the rollback reserve leaves no time in the window",
                    hint,
                );
            }
        }
    }

    fn check_name(&mut self, name: &str, mark: Mark, what: &str) {
        let good = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_');
        if name.is_empty() || !name.chars().all(good) || name.starts_with('-') {
            let message = format!("`{name}` cannot be the name of {what}");
            self.report(mark, "RB013", message, "use letters, digits, `-` and `_`");
        }
    }

    fn workloads(&mut self, name: &str, root: &mut Node) -> Vec<(WorkloadName, Workload, Mark)> {
        let Some(mut section) = root.take("workloads") else { return Vec::new() };
        if let Some(path) = section.get("from").and_then(Node::text).map(str::to_owned) {
            let mark = section.mark_of("from");
            if section.entries().len() > 1 {
                let hint = "take workloads from the inventory or write them here";
                self.report(section.entries()[1].0.mark, "RB022", "`from` stands alone", hint);
            }
            let Some(rows) = self.inventory(&beside(name, &path), mark) else {
                self.complete = false;
                return Vec::new();
            };
            section = rows;
        }
        let Kind::Map(entries) = section.kind else {
            let hint = "write `name: {strategy: …}` for each, or `from: inventory.csv`";
            self.report(section.mark, "RB005", "workloads are a mapping", hint);
            return Vec::new();
        };
        entries.into_iter().filter_map(|(key, node)| self.workload(&key, &node)).collect()
    }

    fn inventory(&mut self, path: &str, mark: Mark) -> Option<Node> {
        match self.files.read(path) {
            Ok(text) => {
                let file = self.sources.add(path, text);
                inventory::rows(file, self.sources, self.out)
            }
            Err(why) => {
                let message = format!("cannot read the inventory `{path}`: {why}");
                self.report(mark, "RB022", message, "the path is relative to the runbook");
                None
            }
        }
    }

    fn workload(&mut self, key: &Key, node: &Node) -> Option<(WorkloadName, Workload, Mark)> {
        self.check_name(&key.text, key.mark, "a workload");
        if !matches!(node.kind, Kind::Map(_) | Kind::Null) {
            let hint = "write `{strategy: …, criticality: …, owner: …}`";
            self.report(node.mark, "RB005", "a workload is a mapping", hint);
            self.complete = false;
            return None;
        }
        // Only the keys with a meaning are read as types; the others are the author's own.
        let known = node
            .entries()
            .iter()
            .filter(|(key, _)| WorkloadKeys::KNOWN.contains(&key.text.as_str()))
            .cloned()
            .collect();
        let known = Node { mark: node.mark, kind: Kind::Map(known) };
        let keys: WorkloadKeys = de::read(&known, self.sources, self.out).unwrap_or_default();
        let workload = Workload {
            strategy: keys.strategy.map(|it| it.as_str().to_owned()).unwrap_or_default(),
            criticality: keys.criticality.map(|it| it.as_str().to_owned()).unwrap_or_default(),
            fields: node
                .entries()
                .iter()
                .map(|(key, node)| (key.text.clone(), node.to_json()))
                .collect(),
        };
        Some((WorkloadName::new(&key.text), workload, key.mark))
    }

    fn stages(&mut self, stages: Node, outer: &Outer) {
        let mark = stages.mark;
        let Kind::Map(entries) = stages.kind else { return };
        let mut by_name: BTreeMap<String, Node> =
            entries.into_iter().map(|(key, node)| (key.text, node)).collect();
        for stage in Stage::ALL {
            if let Some(list) = by_name.remove(stage.as_str()) {
                self.list(list, stage, outer);
            }
        }
        if self.steps.is_empty() && self.complete {
            let hint = "add a step under `prepare`, `assess`, `deploy` or `release`";
            self.report(mark, "RB028", "the runbook has no step", hint);
        }
    }

    fn list(&mut self, list: Node, stage: Stage, outer: &Outer) {
        match list.kind {
            Kind::List(items) => {
                for item in items {
                    self.step(item, stage, outer);
                }
            }
            Kind::Null => {}
            _ => {
                let hint = "begin each step with `- id: …`";
                self.report(list.mark, "RB005", format!("`{stage}` is a list of steps"), hint);
                self.complete = false;
            }
        }
    }

    fn step(&mut self, mut node: Node, stage: Stage, outer: &Outer) {
        if !matches!(node.kind, Kind::Map(_)) {
            let hint = "write `- id: …`, and `uses: …` below it";
            self.report(node.mark, "RB005", "a step is a mapping", hint);
            self.complete = false;
            return;
        }
        let (with, undo) = (node.take("with"), node.take("undo"));
        let Some(mut keys) = de::read::<StepKeys>(&node, self.sources, self.out) else {
            self.complete = false;
            return;
        };
        self.inherit(&mut keys, &node, outer);
        let mut when = outer.when.clone();
        when.extend(keys.when.as_ref().map(|condition| {
            let text = match condition {
                When::Always(value) => value.to_string(),
                When::Expression(text) => text.clone(),
            };
            (text, node.mark_of("when"))
        }));
        let with = with.unwrap_or(Node { mark: node.mark, kind: Kind::Map(Vec::new()) });
        if is_fragment(&keys.uses) {
            self.include(&keys, &node, with, when, stage, outer);
            return;
        }
        let Some(id) = keys.id.clone() else {
            let hint = format!(
                "add an `id:` that is unique in the runbook, like `{}`",
                keys.uses.replace('.', "-")
            );
            self.report(node.mark, "RB006", "the key `id` is missing", &hint);
            self.complete = false;
            return;
        };
        self.check_name(&id, node.mark_of("id"), "a step");
        let id = format!("{}{id}", outer.prefix);
        let scope = outer.scope.clone();
        self.steps.push(Step { stage, id, keys, node, with, undo, when, scope });
    }

    /// Gives a step of a fragment the workload of the place that includes it, and checks the combination.
    fn inherit(&mut self, keys: &mut StepKeys, node: &Node, outer: &Outer) {
        if keys.each.is_some() && keys.workload.is_some() {
            let hint = "`each: workload` gives every workload its own step; drop one of the two";
            self.report(
                node.mark_of("workload"),
                "RB025",
                "`workload` and `each` exclude each other",
                hint,
            );
            keys.workload = None;
        }
        if keys.each.is_none() && keys.workload.is_none() {
            keys.workload.clone_from(&outer.workload);
            keys.each = outer.each;
        }
    }

    fn include(
        &mut self,
        keys: &StepKeys,
        node: &Node,
        with: Node,
        when: Vec<(String, Mark)>,
        stage: Stage,
        outer: &Outer,
    ) {
        let at = node.mark_of("uses");
        for (key, _) in node.entries() {
            if !INCLUDE_KEYS.contains(&key.text.as_str()) {
                let message = format!("`{}` has no meaning where a fragment is included", key.text);
                self.report(key.mark, "RB021", message, "write it at the steps of the fragment");
            }
        }
        if outer.depth >= MAX_INCLUDE_DEPTH {
            let message =
                format!("fragments include each other more than {MAX_INCLUDE_DEPTH} deep");
            self.report(
                at,
                "RB021",
                message,
                "a fragment must not include itself; make the nesting flatter",
            );
            self.complete = false;
            return;
        }
        let path = beside(&outer.file, &keys.uses);
        let Some(fragment) = self.fragment(&path, at) else {
            self.complete = false;
            return;
        };
        if let Some(id) = &keys.id {
            self.check_name(id, node.mark_of("id"), "a fragment's inclusion");
        }
        let scope =
            Scope { vars: self.parameters(&fragment, with, at), at, outer: outer.scope.clone() };
        let inner = Outer {
            prefix: keys
                .id
                .as_ref()
                .map_or_else(|| outer.prefix.clone(), |id| format!("{}{id}/", outer.prefix)),
            file: path,
            scope: Some(Arc::new(scope)),
            workload: keys.workload.clone(),
            each: keys.each,
            when,
            depth: outer.depth + 1,
        };
        let before = self.out.len();
        let steps = fragment.get("steps").unwrap_or(&fragment).clone();
        self.list(steps, stage, &inner);
        let place = self.sources.place(at);
        for found in &mut self.out[before..] {
            found.related.push((place.clone(), "included from here".to_owned()));
        }
    }

    fn fragment(&mut self, path: &str, at: Mark) -> Option<Arc<Node>> {
        if let Some(known) = self.fragments.get(path) {
            return known.clone();
        }
        let fragment = match self.files.read(path) {
            Ok(text) => {
                let file = self.sources.add(path, text);
                yaml::parse(file, self.sources, self.out).and_then(|node| self.check_fragment(node))
            }
            Err(why) => {
                let message = format!("cannot read the fragment `{path}`: {why}");
                self.report(
                    at,
                    "RB021",
                    message,
                    "the path is relative to the file that includes it",
                );
                None
            }
        };
        let fragment = fragment.map(Arc::new);
        self.fragments.insert(path.to_owned(), fragment.clone());
        fragment
    }

    fn check_fragment(&mut self, node: Node) -> Option<Node> {
        if matches!(node.kind, Kind::List(_)) {
            return Some(node);
        }
        de::read::<FragmentKeys>(&node, self.sources, self.out).map(|_| node)
    }

    /// The fragment's defaults with the given parameters over them.
    fn parameters(&mut self, fragment: &Node, with: Node, at: Mark) -> Node {
        let declared = fragment.get("vars").map(Node::entries);
        let mark = with.mark;
        let mut entries = if let Kind::Map(entries) = with.kind {
            entries
        } else {
            self.report(mark, "RB005", "`with` is a mapping", "write `with: {name: value}`");
            Vec::new()
        };
        let Some(declared) = declared else { return Node { mark, kind: Kind::Map(entries) } };
        for (key, _) in &entries {
            if !declared.iter().any(|(name, _)| name.text == key.text) {
                let names = declared.iter().map(|(name, _)| name.text.as_str());
                self.out.push(de::unknown_key(key, names, self.sources));
            }
        }
        for (name, default) in declared {
            if entries.iter().any(|(key, _)| key.text == name.text) {
                continue;
            }
            if matches!(default.kind, Kind::Null) {
                let message = format!("the fragment needs the parameter `{}`", name.text);
                self.report(at, "RB006", message, &format!("add `with: {{{}: …}}`", name.text));
            }
            // A parameter that is missing fits wherever it is used, so that it is reported once.
            let default = match default.kind {
                Kind::Null => Node { mark: default.mark, kind: Kind::Later(String::new()) },
                _ => default.clone(),
            };
            entries.push((name.clone(), default));
        }
        Node { mark, kind: Kind::Map(entries) }
    }
}

fn is_fragment(uses: &str) -> bool {
    let extension = std::path::Path::new(uses).extension();
    uses.starts_with("./")
        || uses.starts_with("../")
        || extension
            .is_some_and(|it| it.eq_ignore_ascii_case("yaml") || it.eq_ignore_ascii_case("yml"))
}
