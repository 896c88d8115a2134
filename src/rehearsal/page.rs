//! The certificate as a page for a terminal.

use super::certificate::{Certificate, Count, Matrix, Tried, counts};
use super::judge::Verdict;
use super::times::{Times, Window};
use super::words::{NOTE, agreed, cutover, fit, gaps, in_words, last_words, seconds, told};
use super::words::{tried as how_many, verdict};
use crate::report::{Line, Paint, count};

/// Column of the values.
const VALUES: usize = 18;

/// The page.
pub fn page(certificate: &Certificate) -> Vec<Line> {
    let mut page = heading(certificate);
    page.extend(times(&certificate.times));
    for matrix in &certificate.matrices {
        page.push(Line::new());
        page.extend(self::matrix(matrix));
    }
    page
}

fn heading(it: &Certificate) -> Vec<Line> {
    let title =
        Line::new().paint(Paint::Strong, &it.wave).text(format!("  rehearsed, {}", it.ended));
    let rows = [
        ("wave", it.summary.clone()),
        ("change", it.change.clone().unwrap_or_default()),
        ("plan", it.plan.clone()),
        ("scenario", format!("{}, seed {}", it.scenario, it.seed)),
        ("at", format!("{:.0}, by migrate {}", it.at, it.tool)),
        (
            "journal",
            format!("{}, {}", count(it.records, "record"), count(it.calls, "outside call")),
        ),
        ("world", it.world.clone()),
    ];
    let rows = rows.into_iter().filter(|(_, value)| !value.is_empty());
    std::iter::once(title).chain(rows.map(|(name, value)| row(name, value))).collect()
}

fn times(times: &Times) -> Vec<Line> {
    let mut lines = vec![Line::new(), columns("step", "", "sandbox", "real")];
    for step in &times.steps {
        lines.push(columns(
            step.step.as_str(),
            step.stage.as_str(),
            &seconds(step.span.sandbox_seconds),
            &seconds(step.span.real_seconds),
        ));
    }
    lines.push(Line::new());
    for stage in &times.stages {
        lines.push(columns(
            stage.stage.as_str(),
            &count(stage.steps, "step"),
            &seconds(stage.span.sandbox_seconds),
            &seconds(stage.span.real_seconds),
        ));
    }
    let total = times.total;
    lines.push(columns("total", "", &seconds(total.sandbox_seconds), &seconds(total.real_seconds)));
    lines.push(Line::new());
    lines.extend(times.cutover.as_ref().map(|it| row("cutover", cutover(it))));
    lines.extend(times.window.iter().flat_map(window));
    lines.push(row("note", NOTE));
    lines
}

fn window(window: &Window) -> [Line; 2] {
    let label = Line::new().text("  ").to(VALUES);
    let fit = match fit(window) {
        Ok(fits) => label.text(fits),
        Err(fails) => label.paint(Paint::Bad, fails),
    };
    [row("window", agreed(window)), fit]
}

fn matrix(matrix: &Matrix) -> Vec<Line> {
    let deviated = matrix.total().deviated;
    let mut lines = vec![
        Line::new()
            .paint(Paint::Strong, format!("{} matrix", matrix.name))
            .text(format!("  {} in {}: ", how_many(matrix), seconds(matrix.real_seconds)))
            .paint(if deviated == 0 { Paint::Good } else { Paint::Bad }, verdict(deviated)),
    ];
    let gaps = gaps(matrix);
    lines.extend(gaps.iter().map(|gap| Line::new().text("  ").paint(Paint::Warn, gap)));
    for (series, count) in counts(&matrix.tried) {
        lines.push(row(&series, in_words(count)));
    }
    lines.extend(matrix.notes.iter().map(|note| row("note", note)));
    lines.extend(matrix.tried.iter().flat_map(transcript));
    for tried in &matrix.tried {
        if let Some(took) = tried.rollback_sandbox_seconds {
            let verdict = in_words(Count::of(&tried.verdict));
            lines.push(columns(&tried.at, &verdict, &seconds(took), &seconds(tried.real_seconds)));
        }
    }
    lines.extend(matrix.tried.iter().flat_map(|tried| self::tried(matrix, tried)));
    lines
}

/// What happened on the way of one trial, where that is told.
fn transcript(tried: &Tried) -> Vec<Line> {
    if tried.transcript.is_empty() {
        return Vec::new();
    }
    let heading = Line::new().text(format!("  {}  {}", tried.point, tried.at));
    let told = tried.transcript.iter().map(|told| Line::new().to(4).paint(Paint::Dim, told));
    std::iter::once(heading).chain(told).collect()
}

/// What is worth reading of one trial: nothing, where it ended as the whole run.
fn tried(matrix: &Matrix, tried: &Tried) -> Vec<Line> {
    let heading = |paint, what: &str| {
        let point = Line::new().paint(paint, format!("{} {}", tried.point, tried.at));
        point.text(format!(": {what}"))
    };
    match &tried.verdict {
        Verdict::Same | Verdict::NotReached => Vec::new(),
        Verdict::StoppedForPerson(doubts) => {
            let evidence = doubts
                .iter()
                .map(|doubt| Line::new().to(4).text(format!("{}: {}", doubt.step, doubt.evidence)));
            [heading(Paint::Warn, "stopped for a person")].into_iter().chain(evidence).collect()
        }
        Verdict::Deviated(found) => {
            let mut lines = vec![heading(Paint::Bad, "deviated")];
            for it in found {
                lines.push(Line::new().to(4).text(told(it)));
                lines.extend(
                    last_words(it)
                        .into_iter()
                        .map(|said| Line::new().to(6).paint(Paint::Dim, format!("> {said}"))),
                );
            }
            lines.push(Line::new().to(4).paint(Paint::Dim, "again: ").text(matrix.again(tried)));
            lines
        }
    }
}

fn columns(name: &str, middle: &str, sandbox: &str, real: &str) -> Line {
    Line::new()
        .text("  ")
        .text(name)
        .to(32)
        .paint(Paint::Dim, middle)
        .to(42)
        .text(format!("{sandbox:>9}"))
        .text(format!("{real:>9}"))
}

fn row(name: &str, value: impl AsRef<str>) -> Line {
    Line::new().text("  ").paint(Paint::Dim, name).to(VALUES).text(value)
}
