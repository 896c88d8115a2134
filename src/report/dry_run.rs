//! `run --dry-run`: what would change, before -> after, and what the checks read now. The same bytes twice in a row: no
//! times, no ports, no temporary paths.

use serde::Serialize;

use super::line::{Line, Paint};
use super::phrase;
use crate::plan::{Plan, PlannedStep};
use crate::run::StepError;
use crate::steps::Preview;

/// What a step answered when it was asked what it would do.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Foreseen {
    /// It read the world.
    Preview(Preview),
    /// It depends on outputs of steps that have not run.
    KnownAfter(Vec<String>),
    /// It could not.
    Error(StepError),
}

impl Foreseen {
    /// Whether the step would change something, as far as that is known.
    pub const fn changes_something(&self) -> bool {
        self.changes() > 0
    }

    const fn changes(&self) -> usize {
        match self {
            Self::Preview(preview) => preview.changes.len(),
            Self::KnownAfter(_) | Self::Error(_) => 0,
        }
    }
}

/// Replaces what differs between two runs of the same plan: ports of the sandbox, the folder everything is relative to.
#[derive(Debug, Clone, Default)]
pub struct Scrub(Vec<(String, String)>);

impl Scrub {
    /// Adds one replacement.
    #[must_use]
    pub fn replacing(mut self, what: impl Into<String>, with: impl Into<String>) -> Self {
        let what = what.into();
        if !what.is_empty() {
            self.0.push((what, with.into()));
        }
        self
    }

    /// The same over every text in a value.
    pub fn value(&self, value: &impl Serialize) -> serde_json::Value {
        let text = serde_json::to_string(value).expect("our own types have string keys");
        serde_json::from_str(&self.apply(&text)).unwrap_or(serde_json::Value::Null)
    }

    fn apply(&self, text: &str) -> String {
        self.0.iter().fold(text.to_owned(), |text, (what, with)| text.replace(what, with))
    }
}

/// The page. `foreseen` by index of the step in the plan.
pub fn dry_run(plan: &Plan, fingerprint: &str, foreseen: &[Foreseen], scrub: &Scrub) -> Vec<Line> {
    let mut page =
        vec![Line::new().text("dry run of ").paint(Paint::Strong, plan.wave.as_str()).text(
            format!(
                ", {}, plan {fingerprint:.12}: nothing is changed",
                phrase::count(plan.steps.len(), "step")
            ),
        )];
    let mut stage = None;
    for (step, foreseen) in plan.steps.iter().zip(foreseen) {
        if stage != Some(step.stage) {
            stage = Some(step.stage);
            page.extend([Line::new(), Line::new().paint(Paint::Strong, step.stage.as_str())]);
        }
        page.extend(of_step(step, foreseen, scrub));
        if step.point_of_no_return {
            page.push(
                Line::new().paint(
                    Paint::Bad,
                    "  ──── point of no return: rollback is impossible below ────",
                ),
            );
        }
    }
    page.extend([Line::new(), totals(foreseen)]);
    page
}

fn of_step(step: &PlannedStep, foreseen: &Foreseen, scrub: &Scrub) -> Vec<Line> {
    let head = Line::new()
        .text("  ")
        .paint(Paint::Strong, step.id.as_str())
        .to(32)
        .paint(Paint::Dim, &step.uses);
    let mut lines = Vec::new();
    match foreseen {
        Foreseen::Preview(preview) if preview.changes.is_empty() && preview.readings.is_empty() => {
            lines.push(head.to(50).paint(Paint::Dim, "nothing to change"));
        }
        Foreseen::Preview(preview) => {
            lines.push(head.to(50).paint(Paint::Dim, phrase::classes(step.repeat, step.undo)));
            lines.extend(preview.changes.iter().map(|change| {
                let nothing = "nothing".to_owned();
                let before = change.before.as_ref().unwrap_or(&nothing);
                let after = change.after.as_ref().unwrap_or(&nothing);
                Line::new().text("      ").paint(Paint::Warn, &change.verb).to(16).text(
                    scrub.apply(&format!("{}: {before} -> {after}", phrase::place(&change.target))),
                )
            }));
            lines.extend(preview.readings.iter().map(|reading| {
                let paint = if reading.holds { Paint::Good } else { Paint::Warn };
                Line::new()
                    .text("      ")
                    .paint(paint, if reading.holds { "reads" } else { "not yet" })
                    .to(16)
                    .text(scrub.apply(&phrase::evidence(reading)))
            }));
        }
        Foreseen::KnownAfter(steps) => {
            let text = format!("known after {}", steps.join(", "));
            lines.push(head.to(50).paint(Paint::Dim, text));
        }
        Foreseen::Error(error) => {
            lines.push(head.to(50).paint(Paint::Bad, "can not be foreseen"));
            lines.push(below("attempted", &format!("{} {}", error.code, error.attempted), scrub));
            lines.push(below("known", &error.known, scrub));
            lines.extend(error.causes.iter().map(|cause| below("cause", cause, scrub)));
            lines.extend(error.hint.iter().map(|hint| below("hint", hint, scrub)));
        }
    }
    lines
}

fn below(name: &str, text: &str, scrub: &Scrub) -> Line {
    Line::new().text("      ").paint(Paint::Bad, name).to(18).text(scrub.apply(text))
}

fn totals(foreseen: &[Foreseen]) -> Line {
    let changes: usize = foreseen.iter().map(Foreseen::changes).sum();
    let changing = foreseen.iter().filter(|step| step.changes_something()).count();
    let later = foreseen.iter().filter(|step| matches!(step, Foreseen::KnownAfter(_))).count();
    let failing = foreseen.iter().filter(|step| matches!(step, Foreseen::Error(_))).count();
    let text = format!(
        "{}: {changing} would change something ({}), {later} known only later, {failing} can not be foreseen",
        phrase::count(foreseen.len(), "step"),
        phrase::count(changes, "change"),
    );
    Line::new().paint(Paint::Strong, text)
}
