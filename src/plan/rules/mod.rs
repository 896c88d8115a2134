//! Rules of the Cloud Adoption Framework, one a file: what, why, and an example that breaks it.
//!
//! A rule looks at the finished plan and never at the world. It is an error where breaking it can lose data or the way
//! back, and a warning elsewhere. `allow: [CAF008: reason]` silences one; the reason is part of the plan.

use std::collections::BTreeMap;

use super::precedence::Precedence;
use super::{KindSpec, Plan, PlannedStep, Role};
use crate::diagnostic::source::{Mark, Sources};
use crate::diagnostic::{Diagnostic, Place, Severity};
use crate::run::{Stage, WorkloadName};
use crate::runbook::Runbook;

/// One rule.
#[derive(Debug)]
pub struct Rule {
    /// `CAF001`.
    pub code: &'static str,
    /// A few words: "writes are paused before the final sync".
    pub title: &'static str,
    /// What it asks for.
    pub what: &'static str,
    /// Why, with the place in the Cloud Adoption Framework.
    pub why: &'static str,
    /// A runbook that breaks it.
    pub example: &'static str,
    /// An error or a warning.
    pub severity: Severity,
    /// What breaks it in a plan.
    pub check: fn(&View<'_>) -> Vec<Breach>,
}

/// One place where a rule is broken.
#[derive(Debug)]
pub struct Breach {
    /// The step at fault; none for the runbook as a whole.
    pub step: Option<usize>,
    /// What is wrong, in lower case.
    pub message: String,
    /// What to write.
    pub hint: String,
}

impl Breach {
    fn at(step: usize, message: impl Into<String>, hint: impl Into<String>) -> Self {
        Self { step: Some(step), message: message.into(), hint: hint.into() }
    }

    fn of_runbook(message: impl Into<String>, hint: impl Into<String>) -> Self {
        Self { step: None, message: message.into(), hint: hint.into() }
    }
}

/// "`a`, `b` and 3 more".
fn list(names: &[&str]) -> String {
    let shown: Vec<String> = names.iter().take(5).map(|name| format!("`{name}`")).collect();
    match names.len().saturating_sub(5) {
        0 => shown.join(", "),
        more => format!("{} and {more} more", shown.join(", ")),
    }
}

macro_rules! rules {
    ($($module:ident),* $(,)?) => {
        $(mod $module;)*
        /// Every rule, in the order of its code.
        pub const RULES: &[&Rule] = &[$(&$module::RULE),*];
    };
}

rules![
    caf001, caf002, caf003, caf004, caf005, caf006, caf007, caf008, caf009, caf010, caf011, caf012,
    caf013, caf014, caf015, caf016, caf017, caf018, caf019, caf020, caf021,
];

/// A plan as rules see it.
#[derive(Debug)]
pub struct View<'p> {
    /// The plan.
    pub plan: &'p Plan,
    precedence: Precedence<'p>,
    by_role: BTreeMap<(Role, Option<&'p WorkloadName>), Vec<usize>>,
    all_by_role: BTreeMap<Role, Vec<usize>>,
}

impl<'p> View<'p> {
    fn new(plan: &'p Plan, kinds: &[&'static KindSpec]) -> Self {
        let mut by_role: BTreeMap<_, Vec<usize>> = BTreeMap::new();
        let mut all_by_role: BTreeMap<_, Vec<usize>> = BTreeMap::new();
        for (at, (step, kind)) in plan.steps.iter().zip(kinds).enumerate() {
            for &role in kind.roles {
                by_role.entry((role, step.workload.as_ref())).or_default().push(at);
                all_by_role.entry(role).or_default().push(at);
            }
        }
        Self { plan, precedence: Precedence::of(plan), by_role, all_by_role }
    }

    /// A step.
    pub fn step(&self, at: usize) -> &'p PlannedStep {
        &self.plan.steps[at]
    }

    /// Every step with a role, in order.
    pub fn all(&self, role: Role) -> &[usize] {
        self.all_by_role.get(&role).map(Vec::as_slice).unwrap_or_default()
    }

    /// The steps with a role that concern the workload of a step: of its lane and of no lane; for a step of no lane all.
    pub fn concerning(&self, role: Role, step: usize) -> impl Iterator<Item = usize> {
        let own = self.plan.steps[step].workload.as_ref();
        let lane = |lane| self.by_role.get(&(role, lane)).map(Vec::as_slice).unwrap_or_default();
        let (first, second) = match own {
            Some(_) => (lane(own), lane(None)),
            None => (self.all(role), &[] as &[usize]),
        };
        first.iter().chain(second).copied()
    }

    /// Whether one step has ended when the other starts.
    pub fn before(&self, a: usize, b: usize) -> bool {
        self.precedence.before(a, b)
    }

    /// Whether a step with a role that concerns `step` has ended when it starts.
    pub fn has_before(&self, role: Role, step: usize) -> bool {
        self.concerning(role, step).any(|other| self.before(other, step))
    }

    /// Whether a step with a role that concerns `step` starts after it has ended.
    pub fn has_after(&self, role: Role, step: usize) -> bool {
        self.concerning(role, step).any(|other| self.before(step, other))
    }

    /// Strategy of the workload of a step; empty when it has none.
    pub fn strategy(&self, step: usize) -> &str {
        let workload = self.plan.steps[step].workload.as_ref();
        workload
            .and_then(|name| self.plan.workloads.get(name))
            .map_or("", |it| it.strategy.as_str())
    }

    /// Whether a step tells or asks people and changes nothing else.
    pub fn asks_people(&self, at: usize) -> bool {
        [Role::Notifies, Role::Approves]
            .into_iter()
            .any(|role| self.all(role).binary_search(&at).is_ok())
    }

    /// The steps of the release stage.
    pub fn release(&self) -> impl Iterator<Item = (usize, &'p PlannedStep)> {
        self.plan.steps.iter().enumerate().filter(|(_, step)| step.stage == Stage::Release)
    }
}

/// Runs every rule that is not silenced.
pub(super) fn check(
    plan: &Plan,
    kinds: &[&'static KindSpec],
    marks: &[Mark],
    (runbook, sources): (&Runbook, &Sources),
    out: &mut Vec<Diagnostic>,
) {
    let view = View::new(plan, kinds);
    let top: Place = sources.place(runbook.root.mark_of("wave"));
    for rule in RULES.iter().filter(|rule| !plan.allowed.contains_key(rule.code)) {
        for breach in (rule.check)(&view) {
            let place = breach.step.map_or_else(|| top.clone(), |at| sources.place(marks[at]));
            let mut found =
                Diagnostic::error(rule.code, breach.message).at(place).hint(breach.hint);
            found.severity = rule.severity;
            out.push(found);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::plan::prepare;
    use crate::steps::CATALOGUE;

    fn codes(text: &str) -> Vec<&'static str> {
        let files = BTreeMap::from([("w.yaml".to_owned(), text.to_owned())]);
        prepare("w.yaml", &files, CATALOGUE).found.iter().map(|found| found.code).collect()
    }

    #[test]
    fn every_rule_is_broken_by_its_example_and_silenced_by_allow() {
        for rule in RULES {
            let found = codes(rule.example);
            assert!(found.contains(&rule.code), "{} found {found:?}", rule.code);
            assert!(
                found.iter().all(|code| code.starts_with("CAF")),
                "{} found {found:?}",
                rule.code
            );
            let silenced = format!("{}allow: [{{ {}: tried it }}]\n", rule.example, rule.code);
            assert!(!codes(&silenced).contains(&rule.code), "{} is not silenced", rule.code);
        }
    }

    #[test]
    fn a_sample_is_no_proof_before_a_switch() {
        let rule = RULES.iter().find(|rule| rule.code == "CAF002").expect("a rule");
        let compared = |more: &str| {
            let check = format!(
                "    - id: tables\n      uses: verify.tables\n      with: {{ source: a, target: b{more} }}\n    - id: switch\n"
            );
            let runbook = rule.example.replace("    - id: switch\n", &check);
            runbook
                .replace("systems:\n", "systems:\n  a: { sqlite: a.db }\n  b: { sqlite: b.db }\n")
        };
        assert!(!codes(&compared("")).contains(&"CAF002"));
        assert!(codes(&compared(", sample_percent: 5")).contains(&"CAF002"));
    }

    #[test]
    fn codes_are_in_order_and_unique() {
        assert!(RULES.windows(2).all(|pair| pair[0].code < pair[1].code));
    }
}
