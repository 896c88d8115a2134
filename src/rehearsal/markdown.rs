//! The certificate as Markdown, to be attached to a change ticket.

use std::fmt::Write as _;

use super::certificate::{Certificate, Matrix, counts};
use super::judge::Verdict;
use super::page::{NOTE, seconds, told};

/// The document.
pub fn markdown(it: &Certificate) -> String {
    let mut text = format!("# Rehearsal of {}\n\n{}\n\n", it.wave, it.summary);
    let rows = [
        ("change", it.change.clone().unwrap_or_default()),
        ("runbook", format!("`{}`", it.runbook)),
        ("plan", format!("`{}`", it.plan)),
        ("scenario", format!("{}, `{}`, seed {}", it.scenario, it.scenario_hash, it.seed)),
        ("at", it.at.strftime("%Y-%m-%dT%H:%M:%SZ").to_string()),
        ("tool", format!("migrate {}", it.tool)),
        ("whole run", format!("{}; {} records, {} outside calls", it.ended, it.records, it.calls)),
        ("world compared", format!("`{}`", it.world)),
    ];
    text.push_str("| | |\n|---|---|\n");
    for (name, value) in rows.iter().filter(|(_, value)| !value.is_empty()) {
        let _ = writeln!(text, "| {name} | {value} |");
    }
    let _ = write!(
        text,
        "\n## Times\n\n{NOTE}.\n\n| step | stage | sandbox | real |\n|---|---|---|---|\n"
    );
    for step in &it.times.steps {
        let (stage, span) = (step.stage.as_str(), step.span);
        let (sandbox, real) = (seconds(span.sandbox_seconds), seconds(span.real_seconds));
        let _ = writeln!(text, "| `{}` | {stage} | {sandbox} | {real} |", step.step);
    }
    for matrix in &it.matrices {
        text.push_str(&self::matrix(matrix));
    }
    text
}

fn matrix(matrix: &Matrix) -> String {
    let total = matrix.total();
    let mut text = format!(
        "\n## {} matrix: {} deviations at {} points\n\n{}.\n\n| series | tried | same | not reached | stopped for a person | deviated |\n|---|---|---|---|---|---|\n",
        matrix.name,
        total.deviated,
        total.all(),
        matrix.claim
    );
    for (series, count) in counts(&matrix.tried) {
        let _ = writeln!(
            text,
            "| {series} | {} | {} | {} | {} | {} |",
            count.all(),
            count.same,
            count.not_reached,
            count.stopped_for_person,
            count.deviated
        );
    }
    for tried in &matrix.tried {
        if let Verdict::Deviated(found) = &tried.verdict {
            let _ = write!(text, "\n- `{}` {}\n", tried.point, tried.at);
            for it in found {
                let _ = writeln!(text, "  - {}", told(it));
            }
        }
    }
    text
}
