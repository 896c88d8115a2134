//! `migrate plan RUNBOOK`: the order in lanes, what each step will change, and where the way back ends.
//!
//! Everything shown is known from the runbook alone; nothing is read from any target (`run --dry-run` does that).

use std::collections::BTreeMap;
use std::fmt::Write as _;

use serde_json::json;

use super::disk::Disk;
use super::explain::{repeat, undo};
use super::validate::{many, report};
use super::{Exit, Global, print};
use crate::plan::{Class, OnFailure, Plan, PlannedStep, Span, prepare};
use crate::run::WorkloadName;
use crate::steps::CATALOGUE;

/// Columns of the line that marks the point of no return.
const PAGE: usize = 100;

/// Arguments of `migrate plan`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The runbook.
    #[arg(value_name = "RUNBOOK")]
    pub runbook: String,
    /// Write the steps and what they wait for as a Mermaid flowchart.
    #[arg(long, conflicts_with = "json")]
    pub graph: bool,
}

impl Args {
    /// Prints the plan; with mistakes in the runbook it prints those.
    pub fn run(self, global: &Global) -> anyhow::Result<Exit> {
        let prepared = prepare(&self.runbook, &Disk, CATALOGUE);
        report(&prepared, global);
        let Some(plan) = &prepared.plan else { return Ok(Exit::InvalidRunbook) };
        let text = if self.graph {
            mermaid(plan)
        } else if global.json {
            lines_of_json(plan)
        } else {
            page(plan)
        };
        print(&text)?;
        Ok(Exit::Done)
    }
}

fn changes(step: &PlannedStep) -> Vec<String> {
    CATALOGUE.get(&step.uses).map(|kind| (kind.describe)(&step.with)).unwrap_or_default()
}

fn lines_of_json(plan: &Plan) -> String {
    let head = json!({
        "format": 1,
        "wave": plan.wave,
        "fingerprint": plan.fingerprint(),
        "steps": plan.steps.len(),
    });
    let steps = plan.steps.iter().map(|step| json!({ "step": step, "changes": changes(step) }));
    let mut text = String::new();
    for line in [head].into_iter().chain(steps) {
        let _ = writeln!(text, "{line}");
    }
    text
}

fn page(plan: &Plan) -> String {
    let mut text = String::new();
    let _ = writeln!(text, "{}  {}", plan.wave, plan.summary);
    let _ = writeln!(
        text,
        "{}, {}, at most {} side by side",
        many(plan.steps.len(), "step"),
        many(plan.workloads.len(), "workload"),
        plan.parallel
    );
    if let Some(window) = &plan.window {
        let reserve = Span(window.rollback_reserve);
        let _ = writeln!(
            text,
            "window {} to {}, {reserve} of it kept for going back",
            window.opens, window.closes
        );
    }
    let _ = writeln!(text, "plan {}", plan.fingerprint());
    let mut stage = None;
    let mut at = 0;
    while let Some(step) = plan.steps.get(at) {
        if stage.replace(step.stage) != Some(step.stage) {
            let _ = writeln!(text, "\n{}", step.stage);
        }
        let together = plan.steps[at..]
            .iter()
            .take_while(|it| it.stage == step.stage && it.workload.is_some())
            .count();
        if together == 0 {
            one(&mut text, step, 2);
            at += 1;
        } else {
            lanes(&mut text, &plan.steps[at..at + together]);
            at += together;
        }
    }
    text
}

/// Steps between two barriers: each workload's own, one workload below the other.
fn lanes(text: &mut String, steps: &[PlannedStep]) {
    let mut lanes: BTreeMap<&WorkloadName, Vec<&PlannedStep>> = BTreeMap::new();
    for step in steps {
        if let Some(workload) = &step.workload {
            lanes.entry(workload).or_default().push(step);
        }
    }
    for (workload, steps) in lanes {
        let _ = writeln!(text, "  | {workload}");
        for step in steps {
            one(text, step, 4);
        }
    }
}

fn one(text: &mut String, step: &PlannedStep, indent: usize) {
    let kind = match step.class {
        // The one check that writes, where asked to: it says what, below.
        Class::Check if step.with["heartbeat"] == true => step.uses.clone(),
        Class::Check => format!("{} (reads only)", step.uses),
        Class::Action => step.uses.clone(),
    };
    let _ = writeln!(text, "{:indent$}{:<28} {kind}", "", step.id.as_str());
    for change in changes(step) {
        let _ = writeln!(text, "{:indent$}    {change}", "");
    }
    if step.class == Class::Action {
        let _ = writeln!(
            text,
            "{:indent$}    repeat {}; undo {}",
            "",
            repeat(step.repeat),
            undo(step.undo)
        );
    }
    let terms = terms(step);
    if !terms.is_empty() {
        let _ = writeln!(text, "{:indent$}    {}", "", terms.join("; "));
    }
    if step.point_of_no_return {
        let title = format!(" point of no return: `{}` ends the way back ", step.id);
        let _ = writeln!(text, "{title:─^PAGE$}");
    }
}

/// Conditions and limits, where they differ from the usual.
fn terms(step: &PlannedStep) -> Vec<String> {
    let mut terms = Vec::new();
    terms.extend(step.hold_before.then(|| "held until released".to_owned()));
    terms.extend(step.when.as_ref().map(|when| format!("when {when}")));
    terms.extend(step.timeout.map(|timeout| format!("timeout {}", Span(timeout))));
    if step.retry.attempts > 1 {
        terms.push(format!(
            "{} attempts, {} apart at first",
            step.retry.attempts,
            Span(step.retry.backoff)
        ));
    }
    terms.extend(match step.on_failure {
        OnFailure::Hold => None,
        OnFailure::Rollback => Some("rolls back on failure".to_owned()),
        OnFailure::Continue => Some("goes on after failure".to_owned()),
    });
    terms
}

fn mermaid(plan: &Plan) -> String {
    let mut text = "flowchart TD\n".to_owned();
    let mut stage = None;
    for (at, step) in plan.steps.iter().enumerate() {
        if stage != Some(step.stage) {
            text.push_str(if stage.is_some() { "  end\n" } else { "" });
            let _ = writeln!(text, "  subgraph {}", step.stage);
            stage = Some(step.stage);
        }
        // Ids are letters, digits and `-_/[]`, so a quoted label needs no escapes.
        let (open, close) = if step.point_of_no_return { ("{{", "}}") } else { ("[", "]") };
        let _ = writeln!(text, "    s{at}{open}\"{}<br/>{}\"{close}", step.id, step.uses);
    }
    text.push_str(if stage.is_some() { "  end\n" } else { "" });
    for (at, step) in plan.steps.iter().enumerate() {
        for before in &step.after {
            let _ = writeln!(text, "  s{before} --> s{at}");
        }
    }
    text
}
