//! `migrate validate RUNBOOK...`: everything that is wrong with runbooks, without touching anything.

use std::fmt::Write as _;
use std::io;

use serde_json::json;

use super::disk::Disk;
use super::{Exit, Global, colour, narrate, print};
use crate::diagnostic::render::Renderer;
use crate::diagnostic::{Diagnostic, Severity};
use crate::plan::{Plan, Prepared, prepare, rules::RULES};
use crate::steps::CATALOGUE;

/// Arguments of `migrate validate`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The runbooks.
    #[arg(value_name = "RUNBOOK", required = true)]
    pub runbooks: Vec<String>,
    /// Take warnings for errors.
    #[arg(long)]
    pub strict: bool,
}

impl Args {
    /// Reads, plans and reports on each. Opens no connection and writes no file.
    pub fn run(self, global: &Global) -> anyhow::Result<Exit> {
        let mut worst = Exit::Done;
        for runbook in &self.runbooks {
            worst = worst.max(self.one(runbook, global)?);
        }
        Ok(worst)
    }

    fn one(&self, runbook: &str, global: &Global) -> anyhow::Result<Exit> {
        let prepared = prepare(runbook, &Disk, CATALOGUE);
        let warned = !prepared.found.is_empty();
        if global.json {
            report_json(runbook, &prepared)?;
        } else {
            report(&prepared, global);
        }
        Ok(match &prepared.plan {
            Some(plan) if !(self.strict && warned) => {
                if !global.json && !global.quiet {
                    print(&checked(plan, &prepared))?;
                }
                Exit::Done
            }
            _ => Exit::InvalidRunbook,
        })
    }
}

/// Writes what was found to standard error. Commands that need a plan call it, too.
pub fn report(prepared: &Prepared, global: &Global) {
    let shown: Vec<Diagnostic> = prepared
        .found
        .iter()
        .filter(|it| !global.quiet || it.severity == Severity::Error)
        .cloned()
        .collect();
    if shown.is_empty() {
        return;
    }
    let mut renderer = Renderer::new(&prepared.sources, colour(&io::stderr()));
    let count = |severity| shown.iter().filter(|it| it.severity == severity).count();
    let summary = match (count(Severity::Error), count(Severity::Warning)) {
        (0, warnings) => many(warnings, "warning"),
        (errors, 0) => many(errors, "error"),
        (errors, warnings) => format!("{}, {}", many(errors, "error"), many(warnings, "warning")),
    };
    let first = shown.first().map_or("CODE", |it| it.code);
    narrate(&format!("{}\n{summary}; `migrate explain {first}` says more\n", renderer.all(&shown)));
}

fn report_json(runbook: &str, prepared: &Prepared) -> anyhow::Result<()> {
    let valid = prepared.plan.is_some();
    print(&format!("{}\n", json!({ "format": 1, "runbook": runbook, "valid": valid })))?;
    for found in &prepared.found {
        print(&format!("{}\n", serde_json::to_string(found)?))?;
    }
    Ok(())
}

fn checked(plan: &Plan, prepared: &Prepared) -> String {
    let silenced = plan.allowed.len();
    let rules = RULES.len() - silenced;
    let mut text = format!(
        "{} is valid: {}, {}, {} read, {} checked",
        plan.wave,
        many(plan.steps.len(), "step"),
        many(plan.workloads.len(), "workload"),
        many(prepared.sources.count(), "file"),
        many(rules, "rule"),
    );
    text.push('\n');
    for (code, reason) in &plan.allowed {
        let _ = writeln!(text, "{code} is silenced: {reason}");
    }
    let _ = writeln!(text, "plan {}", plan.fingerprint());
    text
}

/// `1 step`, `2 steps`.
pub(super) fn many(count: usize, what: &str) -> String {
    format!("{count} {what}{}", if count == 1 { "" } else { "s" })
}
