//! The page at the end of a run: how it stands, what was measured, what is open, what to type.

use std::collections::BTreeMap;
use std::time::Duration;

use super::halt::{Advice, Halt};
use super::lanes::{self, Listed};
use super::line::{Line, Paint};
use super::overview::{Overview, Side, Standing, StepView};
use super::phrase;
use crate::clock::since;
use crate::run::{Ending, Evidence};

/// Column of the values below a heading.
const VALUES: usize = 18;

/// Steps told in full of those that keep a run back; of the others, what they are.
const HALTS: usize = 10;

/// The page.
pub fn summary(run: &Overview) -> Vec<Line> {
    let mut page = heading(run);
    page.extend(pauses(run));
    page.extend(steps(run));
    page.extend(evidence(run));
    page.extend(approvals(run));
    page.extend(halts(run));
    page.extend(foot(run));
    page
}

/// Run, standing, side of the point of no return.
pub(super) fn heading(run: &Overview) -> Vec<Line> {
    let (standing, paint) = standing(run);
    let took = phrase::lasting(since(run.started, run.as_of));
    let mut lines = vec![
        Line::new(),
        Line::new().paint(Paint::Strong, run.run.as_str()).text("  ").paint(paint, standing),
    ];
    if !run.summary.is_empty() {
        lines.push(row("wave", format!("{}: {}", run.wave, run.summary)));
    }
    if let Some(change) = &run.change {
        lines.push(row("change", change));
    }
    lines.push(row("operator", &run.operator));
    let from = phrase::moment(run.started);
    lines.push(row("time", format!("{from} to {}, {took}", phrase::moment(run.as_of))));
    let stage = run.stage.map_or("not begun", |stage| stage.as_str());
    lines.push(row("stage", stage));
    if let Some(why) = &run.rolling_back {
        lines.push(row("rollback", why));
    }
    lines.push(side(&run.point_of_no_return));
    lines.extend(lanes::standing(run).map(|(text, paint)| label("lanes").paint(paint, text)));
    lines
}

fn standing(run: &Overview) -> (String, Paint) {
    let sandbox = if run.sandbox { " (sandbox)" } else { "" };
    let (text, paint) = match run.standing {
        Standing::Live => ("under way", Paint::Good),
        Standing::Stopped(stop) => (phrase::stop_leaving(stop, run.under_way()), Paint::Warn),
        Standing::CutOff => {
            ("cut off: its process ended without a word; the journal is safe", Paint::Bad)
        }
        Standing::Ended(ending) => phrase::ending(ending),
    };
    (format!("{text}{sandbox}"), paint)
}

fn side(side: &Side) -> Line {
    let (text, paint) = match side {
        Side::NoneInPlan => ("none in this plan; rollback is possible".to_owned(), Paint::Plain),
        Side::Before(step) => (format!("ahead, at {step}; rollback is possible"), Paint::Plain),
        Side::Past(step) => (format!("CROSSED by {step}; rollback is refused"), Paint::Bad),
    };
    label("no return").paint(paint, text)
}

pub(super) fn pauses(run: &Overview) -> Vec<Line> {
    run.writes_paused
        .iter()
        .map(|pause| {
            let whose = pause.workload.as_ref().map_or("whole wave", |name| name.as_str());
            let took = phrase::lasting(pause.lasted(run.as_of));
            let from = phrase::clock(pause.from);
            let line = label("writes paused").paint(Paint::Strong, format!("{took:<7}"));
            match (pause.until, &pause.ended_by) {
                (Some(until), Some(by)) => {
                    let until = phrase::clock(until);
                    line.text(format!(" {whose}, {from} to {until}, ended by {by}"))
                }
                _ => line
                    .text(format!(" {whose}, since {from} by {}", pause.step))
                    .paint(Paint::Bad, "  STILL PAUSED"),
            }
        })
        .collect()
}

/// Steps by outcome; the slowest ten of those that succeeded, every other one.
fn steps(run: &Overview) -> Vec<Line> {
    let mut by_state: BTreeMap<&str, usize> = BTreeMap::new();
    for step in &run.steps {
        *by_state.entry(step.state).or_default() += 1;
    }
    let counts: Vec<_> = by_state.iter().map(|(state, n)| format!("{n} {state}")).collect();
    let mut lines =
        vec![Line::new(), title(format!("steps  {}: {}", run.steps.len(), counts.join(", ")))];
    let widest = widest(run);
    for listed in lanes::listed(run) {
        match listed {
            Listed::One(step) => lines.push(step_line(step, widest)),
            Listed::Many(base, steps) => {
                lines.push(lanes::line(base, &steps, widest));
                // Each lane that is neither done nor still to come.
                let told = steps
                    .iter()
                    .filter(|it| !matches!(it.state, "succeeded" | "skipped" | "pending"));
                lines.extend(told.map(|step| step_line(step, widest)));
            }
        }
    }
    lines
}

/// Longest step id, for the columns.
pub(super) fn widest(run: &Overview) -> usize {
    run.steps.iter().map(|step| step.step.as_str().chars().count()).max().unwrap_or(0).clamp(8, 32)
}

/// One step: stage, id, state, duration, kind.
pub(super) fn step_line(step: &StepView, widest: usize) -> Line {
    let paint = match step.state {
        "succeeded" | "undone" => Paint::Good,
        "pending" | "skipped" => Paint::Dim,
        "running" => Paint::Strong,
        "waiting" | "on hold" | "undoing" | "stopped" => Paint::Warn,
        _ => Paint::Bad,
    };
    let took = step.seconds.map_or_else(String::new, |seconds| {
        phrase::lasting(Duration::try_from_secs_f64(seconds).unwrap_or_default())
    });
    let mut notes = vec![step.uses.clone()];
    if step.effects > 0 {
        notes.push(phrase::count(step.effects, "effect"));
    }
    if step.attempts > 1 {
        notes.push(phrase::count(step.attempts as usize, "attempt"));
    }
    Line::new()
        .text("  ")
        .paint(Paint::Dim, step.stage.as_str())
        .to(11)
        .text(step.step.as_str())
        .to(13 + widest)
        .paint(paint, step.state)
        .to(25 + widest)
        .text(format!("{took:>7}  "))
        .paint(Paint::Dim, notes.join(", "))
}

fn evidence(run: &Overview) -> Vec<Line> {
    let all: Vec<_> = run
        .steps
        .iter()
        .flat_map(|step| step.evidence.iter().map(move |item| (step, item)))
        .collect();
    if all.is_empty() {
        return Vec::new();
    }
    let open = all.iter().filter(|(_, item)| !item.holds).count();
    let holds = all.len() - open;
    let mut lines = vec![Line::new(), title(format!("evidence  {holds} hold, {open} do not"))];
    let widest = widest(run);
    for listed in lanes::listed(run) {
        match listed {
            Listed::One(step) => {
                lines.extend(step.evidence.iter().map(|item| evidence_line(step, item, widest)));
            }
            Listed::Many(base, steps) => {
                let items = || {
                    steps.iter().flat_map(|step| step.evidence.iter().map(move |it| (*step, it)))
                };
                let holds = items().filter(|(_, item)| item.holds).count();
                if holds > 0 {
                    let line = Line::new()
                        .text("  ")
                        .text(format!("{base} x {}", steps.len()))
                        .to(4 + widest);
                    lines.push(line.paint(Paint::Good, format!("{holds} hold")));
                }
                let open = items().filter(|(_, item)| !item.holds);
                lines.extend(open.map(|(step, item)| evidence_line(step, item, widest)));
            }
        }
    }
    lines
}

fn evidence_line(step: &StepView, item: &Evidence, widest: usize) -> Line {
    let paint = if item.holds { Paint::Good } else { Paint::Bad };
    Line::new()
        .text("  ")
        .text(step.step.as_str())
        .to(4 + widest)
        .text(phrase::readable(&item.check))
        .text(": ")
        .paint(paint, &item.verdict)
        .text(if item.detail.is_empty() {
            String::new()
        } else {
            format!("  {}", phrase::readable(&item.detail))
        })
}

fn approvals(run: &Overview) -> Vec<Line> {
    let mut lines: Vec<_> = run
        .steps
        .iter()
        .flat_map(|step| step.answers.iter().map(move |answer| (step, answer)))
        .map(|(step, answer)| {
            let (word, paint) = if answer.yes { ("yes", Paint::Good) } else { ("NO", Paint::Bad) };
            Line::new()
                .text("  ")
                .text(step.step.as_str())
                .to(4 + widest(run))
                .paint(paint, word)
                .to(9 + widest(run))
                .text(&answer.by)
                .text(if answer.comment.is_empty() {
                    String::new()
                } else {
                    format!(": {}", answer.comment)
                })
        })
        .collect();
    if !lines.is_empty() {
        lines.splice(0..0, [Line::new(), title("approvals")]);
    }
    lines
}

/// What keeps the run back, each with what was attempted and what is known.
pub(super) fn halts(run: &Overview) -> Vec<Line> {
    let heading = match run.standing {
        Standing::Ended(Ending::RollbackIncomplete) => "to be done by hand",
        _ => "what it waits for",
    };
    let mut lines = Vec::new();
    for halt in run.halts.iter().take(HALTS) {
        if lines.is_empty() {
            lines.extend([Line::new(), title(heading)]);
        }
        lines.extend(halt_lines(halt, &run.next));
    }
    for halt in run.halts.iter().skip(HALTS) {
        let code = halt.code.as_deref().unwrap_or_default();
        lines.push(
            Line::new()
                .text("  ")
                .paint(Paint::Strong, halt.step.as_str())
                .text("  ")
                .paint(Paint::Bad, format!("{} {code}", halt.state)),
        );
    }
    lines
}

fn halt_lines(halt: &Halt, next: &[Advice]) -> Vec<Line> {
    let code = halt.code.as_ref().map(|code| format!(" {code}")).unwrap_or_default();
    let mut lines = vec![
        Line::new()
            .text("  ")
            .paint(Paint::Strong, halt.step.as_str())
            .text("  ")
            .paint(Paint::Bad, format!("{}{code}", halt.state))
            .paint(Paint::Dim, format!("  {}, {}", halt.uses, halt.place)),
        fact("attempted", &halt.attempted),
    ];
    lines.extend(halt.known.iter().map(|known| fact("known", known)));
    lines.extend(halt.causes.iter().map(|cause| fact("cause", cause)));
    lines.extend(halt.hint.iter().map(|hint| fact("hint", hint)));
    // What stands below under `next` need not be said twice.
    let other = halt.options.iter().filter(|option| !next.contains(option));
    lines.extend(other.map(|option| fact("or", format!("{}   ({})", option.command, option.why))));
    if let Some(code) = &halt.code {
        lines.push(fact("more", format!("migrate explain {code}")));
    }
    lines
}

/// Journal head, next command, undo command.
pub(super) fn foot(run: &Overview) -> Vec<Line> {
    let mut lines = vec![Line::new()];
    lines.extend(run.allowed.iter().map(|(rule, why)| row("allowed", format!("{rule}: {why}"))));
    lines.push(row(
        "journal",
        format!(
            "{}, head {}",
            phrase::count(usize::try_from(run.journal.records).unwrap_or(usize::MAX), "record"),
            run.journal.hash
        ),
    ));
    lines.extend(run.next.iter().map(|advice| command("next", advice)));
    lines.push(match &run.undo {
        Some(advice) => command("undo", advice),
        None => row(
            "undo",
            match &run.point_of_no_return {
                Side::Past(step) => format!("impossible: {step} crossed the point of no return"),
                _ => "nothing that would have to be taken back".to_owned(),
            },
        ),
    });
    lines
}

fn command(name: &str, advice: &Advice) -> Line {
    label(name)
        .paint(Paint::Strong, &advice.command)
        .paint(Paint::Dim, format!("   ({})", advice.why))
}

fn title(text: impl AsRef<str>) -> Line {
    Line::new().paint(Paint::Strong, text)
}

fn label(name: &str) -> Line {
    Line::new().text("  ").paint(Paint::Dim, name).to(VALUES)
}

fn row(name: &str, value: impl AsRef<str>) -> Line {
    label(name).text(value)
}

fn fact(name: &str, value: impl AsRef<str>) -> Line {
    Line::new().text("    ").paint(Paint::Dim, name).to(VALUES).text(value)
}
