//! `migrate status`: one run as it stands now, or the list of runs.

use super::line::{Line, Paint};
use super::overview::{Overview, Standing, StepView};
use super::phrase;
use super::summary::{foot, halts, heading, step_line, widest};
use crate::clock::since;
use crate::run::Stop;

/// Pending steps shown in full; the rest is counted.
const AHEAD: usize = 5;

/// From so many steps on, those that ended well are only counted.
const LONG: usize = 60;

/// One run: where it stands, what presses, what ran last, what comes next.
pub fn status(run: &Overview) -> Vec<Line> {
    let mut page = heading(run);
    page.extend(pressing(run));
    page.push(Line::new());
    page.extend(steps(run));
    page.extend(halts(run));
    page.extend(foot(run));
    page
}

/// The steps in the order of the plan up to a few that come next; in a long plan, those that ended well are counted.
fn steps(run: &Overview) -> Vec<Line> {
    let begun =
        run.steps.iter().rposition(|step| step.state != "pending").map_or(0, |last| last + 1);
    let near = run.steps.len().min(begun + AHEAD);
    let counts =
        |step: &StepView| run.steps.len() > LONG && matches!(step.state, "succeeded" | "skipped");
    let counted = run.steps[..near].iter().filter(|step| counts(step)).count();
    let ahead = run.steps.len() - near;
    let mut lines: Vec<_> = run.steps[..near]
        .iter()
        .filter(|step| !counts(step))
        .map(|step| step_line(step, widest(run)))
        .collect();
    if counted + ahead > 0 {
        let text = format!("           {counted} more ended well, {ahead} more ahead");
        lines.push(Line::new().paint(Paint::Dim, text));
    }
    lines
}

fn pressing(run: &Overview) -> Vec<Line> {
    let mut lines = Vec::new();
    if let Some(window) = &run.window {
        let (word, left, paint) = if run.as_of < window.opens {
            ("opens in", since(run.as_of, window.opens), Paint::Plain)
        } else if run.as_of < window.closes {
            ("closes in", since(run.as_of, window.closes), Paint::Plain)
        } else {
            ("closed since", since(window.closes, run.as_of), Paint::Warn)
        };
        lines.push(
            Line::new()
                .text("  ")
                .paint(Paint::Dim, "window")
                .to(18)
                .paint(paint, format!("{word} {}", phrase::lasting(left)))
                .text(format!(
                    ", {} to {}",
                    phrase::moment(window.opens),
                    phrase::moment(window.closes)
                )),
        );
    }
    lines.extend(super::summary::pauses(run));
    lines
}

/// Every run under the state folder, the newest last.
pub fn runs(runs: &[Overview]) -> Vec<Line> {
    let widest = runs.iter().map(|run| run.run.as_str().chars().count()).max().unwrap_or(0);
    runs.iter()
        .map(|run| {
            let (standing, paint) = match run.standing {
                Standing::Live => ("under way", Paint::Good),
                Standing::Stopped(Stop::WaitsForPerson) => ("waits for a person", Paint::Warn),
                Standing::Stopped(stop) => {
                    (phrase::stop_leaving(stop, run.under_way()), Paint::Warn)
                }
                Standing::CutOff => ("cut off", Paint::Bad),
                Standing::Ended(ending) => phrase::ending(ending),
            };
            let ended = run.count("succeeded") + run.count("skipped");
            Line::new()
                .paint(Paint::Strong, run.run.as_str())
                .to(widest + 2)
                .paint(paint, standing)
                .to(widest + 32)
                .text(format!("{ended:>3} of {:<3}", run.steps.len()))
                .to(widest + 44)
                .text(run.stage.map_or("-", |stage| stage.as_str()))
                .to(widest + 54)
                .text(phrase::moment(run.started))
                .paint(Paint::Dim, if run.sandbox { "  sandbox" } else { "" })
        })
        .collect()
}
