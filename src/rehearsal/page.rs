//! The certificate as a page for a terminal.

use std::time::Duration;

use super::certificate::{Certificate, Count, Matrix, counts};
use super::judge::{Deviation, Verdict};
use super::times::{Times, Window};
use crate::report::{Line, Paint, count, lasting};

/// Column of the values.
const VALUES: usize = 18;

/// Seconds in words.
pub(super) fn seconds(seconds: f64) -> String {
    lasting(Duration::try_from_secs_f64(seconds).unwrap_or_default())
}

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
        ("scenario", it.scenario.clone()),
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
    if let Some(cutover) = &times.cutover {
        lines.push(row(
            "cutover",
            format!(
                "{} from {} to {}",
                seconds(cutover.span.sandbox_seconds),
                cutover.paused_by,
                cutover.confirmed_by
            ),
        ));
    }
    lines.extend(times.window.as_ref().map(window));
    lines.push(row("note", NOTE));
    lines
}

/// What the times are worth.
pub(super) const NOTE: &str = "times are those of the scenario: its data is small, its lag falls as scripted; only waits \
                               that the runbook asks for are as long as on the night";

fn window(window: &Window) -> Line {
    let label = Line::new().text("  ").paint(Paint::Dim, "window").to(VALUES);
    if window.spare_seconds < 0.0 {
        let late = seconds(-window.spare_seconds);
        return label.paint(Paint::Bad, format!("does not fit: {late} into the rollback reserve"));
    }
    label.text(format!("fits, {} before the rollback reserve", seconds(window.spare_seconds)))
}

fn matrix(matrix: &Matrix) -> Vec<Line> {
    let total = matrix.total();
    let (paint, verdict) = match total.deviated {
        0 => (Paint::Good, "0 deviations".to_owned()),
        found => (Paint::Bad, count(found, "deviation")),
    };
    let tried = count(matrix.tried.len(), "point");
    let mut lines = vec![
        Line::new()
            .paint(Paint::Strong, format!("{} matrix", matrix.name))
            .text(format!("  {tried} in {}: ", seconds(matrix.real_seconds)))
            .paint(paint, verdict),
    ];
    if let Some(sample) = matrix.sample {
        lines.push(row("sample", format!("every {sample}th of {} points", matrix.points)));
    }
    for (series, count) in counts(&matrix.tried) {
        lines.push(row(series, in_words(count)));
    }
    for tried in &matrix.tried {
        if let Verdict::Deviated(found) = &tried.verdict {
            lines.push(Line::new().paint(Paint::Bad, format!("{} {}", tried.point, tried.at)));
            lines.extend(found.iter().map(|it| Line::new().to(4).text(told(it))));
        }
    }
    lines
}

fn in_words(count: Count) -> String {
    let parts = [
        (count.same, "same"),
        (count.not_reached, "not reached"),
        (count.stopped_for_person, "stopped for a person"),
        (count.deviated, "deviated"),
    ];
    let parts = parts.into_iter().filter(|(count, _)| *count > 0);
    parts.map(|(count, what)| format!("{count} {what}")).collect::<Vec<_>>().join(", ")
}

/// A deviation in one line.
pub(super) fn told(deviation: &Deviation) -> String {
    match deviation {
        Deviation::Ending { expected, found, .. } => format!("ended with {found}, not {expected}"),
        Deviation::World(it) => {
            let value = |value: &Option<serde_json::Value>| {
                value.as_ref().map_or("nothing".to_owned(), ToString::to_string)
            };
            format!("{}: {} instead of {}", it.at, value(&it.found), value(&it.expected))
        }
        Deviation::Changes { change, expected, found } => {
            format!("{change}: changed {found} times, not {expected}")
        }
        Deviation::LostOrders { application, orders } => {
            format!("{application} lost orders {orders:?}")
        }
        Deviation::Unannounced(change) => format!("{change}: changed without an intent before it"),
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
