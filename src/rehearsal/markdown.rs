//! The certificate as Markdown, to be attached to a change ticket.

use std::fmt::Write as _;

use super::certificate::{Certificate, Count, Matrix, Tried, counts};
use super::judge::Verdict;
use super::times::{Span, Times};
use super::words::{NOTE, agreed, cutover, fit, gaps, in_words, last_words, seconds, told};
use super::words::{tried as how_many, verdict};

/// The document.
pub fn markdown(it: &Certificate) -> String {
    let mut text = format!("# Rehearsal of {}\n\n{}\n\n", it.wave, plain(&it.summary));
    text.push_str(&conditions(it));
    text.push_str(&times(&it.times));
    for matrix in &it.matrices {
        text.push_str(&self::matrix(matrix));
    }
    text
}

/// What was rehearsed, with what, and what came of it.
fn conditions(it: &Certificate) -> String {
    let results = it.matrices.iter().map(|matrix| {
        let mut parts =
            vec![format!("{} at {}", verdict(matrix.total().deviated), how_many(matrix))];
        parts.extend(gaps(matrix).into_iter().map(|gap| format!("**{gap}**")));
        (matrix.name, parts.join("; "))
    });
    let none = it.matrices.is_empty();
    let rows = [
        ("change", plain(it.change.as_deref().unwrap_or_default())),
        ("runbook", cell(&it.runbook)),
        ("plan", code(&it.plan)),
        (
            "scenario",
            format!("{}, {}, seed {}", plain(&it.scenario), code(&it.scenario_hash), it.seed),
        ),
        ("at", format!("{:.0}", it.at)),
        ("tool", format!("migrate {}", it.tool)),
        ("whole run", format!("{}; {} records, {} outside calls", it.ended, it.records, it.calls)),
        ("world compared", code(&it.world)),
        ("interruptions", if none { "none was tried".to_owned() } else { String::new() }),
    ];
    let mut text = "| | |\n|---|---|\n".to_owned();
    for (name, value) in rows.into_iter().chain(results).filter(|(_, value)| !value.is_empty()) {
        let _ = writeln!(text, "| {name} | {value} |");
    }
    text
}

fn times(times: &Times) -> String {
    let mut text = format!("\n## Times\n\n{NOTE}.\n\n");
    let cutover = times.cutover.as_ref().map(|it| ("cutover", cutover(it)));
    let window = times.window.iter().flat_map(|window| {
        let fit = fit(window).unwrap_or_else(|fails| format!("**{fails}**"));
        [("window", agreed(window)), ("needed of it", fit)]
    });
    for (name, value) in cutover.into_iter().chain(window) {
        let _ = writeln!(text, "- {name}: {value}");
    }
    let row = |text: &mut String, name: &str, middle: &str, span: Span| {
        let (sandbox, real) = (seconds(span.sandbox_seconds), seconds(span.real_seconds));
        let _ = writeln!(text, "| {name} | {middle} | {sandbox} | {real} |");
    };
    text.push_str("\n| stage | steps | sandbox | real |\n|---|---|---|---|\n");
    for stage in &times.stages {
        row(&mut text, stage.stage.as_str(), &stage.steps.to_string(), stage.span);
    }
    row(&mut text, "total", &times.steps.len().to_string(), times.total);
    text.push_str("\n| step | stage | sandbox | real |\n|---|---|---|---|\n");
    for step in &times.steps {
        row(&mut text, &cell(step.step.as_str()), step.stage.as_str(), step.span);
    }
    text
}

fn matrix(matrix: &Matrix) -> String {
    let deviated = verdict(matrix.total().deviated);
    let mut text = format!(
        "\n## {} matrix: {deviated} at {}\n\n{}.\n\n",
        matrix.name,
        how_many(matrix),
        matrix.claim
    );
    for gap in gaps(matrix) {
        let _ = writeln!(text, "**{gap}**\n");
    }
    text.push_str("| series | tried | came to |\n|---|---|---|\n");
    for (series, count) in counts(&matrix.tried) {
        let _ = writeln!(text, "| {series} | {} | {} |", count.all(), in_words(count));
    }
    for note in &matrix.notes {
        let _ = write!(text, "\n- {}\n", plain(note));
    }
    if matrix.tried.iter().any(|tried| tried.rollback_sandbox_seconds.is_some()) {
        text.push_str("\n| failed at | came to | rollback, sandbox time |\n|---|---|---|\n");
        for tried in &matrix.tried {
            let verdict = in_words(Count::of(&tried.verdict));
            let took = tried.rollback_sandbox_seconds.map_or_else(String::new, seconds);
            let _ = writeln!(text, "| {} | {verdict} | {took} |", cell(&tried.at));
        }
    }
    for tried in matrix.tried.iter().filter(|tried| !tried.transcript.is_empty()) {
        let told = tried.transcript.iter().map(|told| plain(told)).collect::<Vec<_>>().join("; ");
        let _ = writeln!(text, "- {} {}: {told}", code(&tried.point.to_string()), code(&tried.at));
    }
    let worth_reading = matrix.tried.iter().map(|tried| self::tried(matrix, tried));
    text.extend(worth_reading);
    text
}

/// What is worth reading of one trial: nothing, where it ended as the whole run.
fn tried(matrix: &Matrix, tried: &Tried) -> String {
    let at = if tried.at.is_empty() { String::new() } else { format!(" {}", code(&tried.at)) };
    let heading = |what: &str| format!("\n- {}{at}: {what}\n", code(&tried.point.to_string()));
    match &tried.verdict {
        Verdict::Same | Verdict::NotReached => String::new(),
        Verdict::StoppedForPerson(doubts) => {
            let mut text = heading("stopped for a person");
            for doubt in doubts {
                let _ = writeln!(text, "  - {}: {}", code(&doubt.step), plain(&doubt.evidence));
            }
            text
        }
        Verdict::Deviated(found) => {
            let mut text = heading("**deviated**");
            for it in found {
                let _ = writeln!(text, "  - {}", plain(&told(it)));
                for said in last_words(it) {
                    let _ = writeln!(text, "    - {}", code(said));
                }
            }
            let _ = writeln!(text, "  - again: {}", code(&matrix.again(tried)));
            text
        }
    }
}

/// Text from outside as text: one line, and nothing in it is markup.
fn plain(text: &str) -> String {
    text.chars().fold(String::with_capacity(text.len()), |mut out, c| {
        match c {
            c if c.is_control() => out.push(' '),
            '\\' | '`' | '*' | '<' | '|' | '[' | ']' => out.extend(['\\', c]),
            c => out.push(c),
        }
        out
    })
}

/// Text from outside as code.
fn code(text: &str) -> String {
    let text = text.replace(|c: char| c.is_control(), " ");
    if text.contains('`') { format!("`` {text} ``") } else { format!("`{text}`") }
}

/// Text from outside as code in a table, where a bar ends the cell even there.
fn cell(text: &str) -> String {
    code(text).replace('|', "\\|")
}

#[cfg(test)]
mod tests {
    use std::num::NonZeroUsize;

    use serde_json::json;

    use super::*;
    use crate::rehearsal::{
        Choice, Deviation, Difference, Doubt, How, StageTime, StepTime, Verdict, Window, page,
    };
    use crate::report;
    use crate::run::{Stage, StepId};

    fn tried(point: &str, at: &str, verdict: Verdict) -> Tried {
        Tried {
            point: point.parse().expect("a point"),
            at: at.to_owned(),
            verdict,
            transcript: Vec::new(),
            real_seconds: 1.0,
            rollback_sandbox_seconds: None,
        }
    }

    /// A sampled matrix in which a trial ended in every way there is, and which was interrupted.
    fn crash() -> Matrix {
        let world = Difference {
            at: "files / target/crm/log".to_owned(),
            expected: Some(json!("one")),
            found: None,
        };
        let deviations = vec![
            Deviation::Unannounced("PUT /switch".to_owned()),
            Deviation::LostOrders { application: "crm".to_owned(), orders: vec![2, 3] },
            Deviation::Changes { change: "PUT /switch".to_owned(), expected: 1, found: 2 },
            Deviation::Ending {
                expected: How::Exit(0),
                found: How::Exit(1),
                said: "first\n\nerror: no | such `step`\n".to_owned(),
            },
            Deviation::World(world),
        ];
        let doubt = Doubt {
            step: "load[crm]".to_owned(),
            promised: true,
            evidence: "started at 20:01\nnobody saw its end <here>".to_owned(),
        };
        Matrix {
            name: "crash",
            claim: "Killed there and resumed, it ends as the whole run does",
            points: 40,
            choice: Choice::Sample(NonZeroUsize::new(3).expect("not 0")),
            chosen: 14,
            command: "migrate rehearse wave.yaml --crash-matrix".to_owned(),
            real_seconds: 62.0,
            notes: Vec::new(),
            tried: vec![
                tried("before-record:1", "run started", Verdict::Same),
                tried("after-record:5", "intent load[crm]", Verdict::StoppedForPerson(vec![doubt])),
                tried("before-call:9", "", Verdict::NotReached),
                tried("after-call:2", "PUT localhost/switch", Verdict::Deviated(deviations)),
            ],
        }
    }

    fn certificate(matrices: Vec<Matrix>) -> Certificate {
        let span = Span { sandbox_seconds: 95.0, real_seconds: 0.4 };
        let moment = |text: &str| text.parse().expect("a time");
        let step = |id: &str| StepId::new(id);
        Certificate {
            tool: "0.1.0".to_owned(),
            runbook: "wave.yaml".to_owned(),
            wave: "wave".to_owned(),
            summary: "CRM | and shop".to_owned(),
            change: Some("CHG1".to_owned()),
            plan: "f00d".to_owned(),
            scenario: "wave.scenario.yaml".to_owned(),
            scenario_hash: "5ca1ab1e".to_owned(),
            seed: 7,
            at: moment("2026-11-21T12:00:00.4Z"),
            ended: "exit 0".to_owned(),
            records: 6,
            calls: 14,
            world: "ba5eba11".to_owned(),
            times: Times {
                total: span,
                stages: vec![StageTime { stage: Stage::Release, steps: 1, span }],
                steps: vec![StepTime {
                    step: step("switch[crm]"),
                    stage: Stage::Release,
                    uses: "dns.cutover".to_owned(),
                    span,
                }],
                cutover: Some(crate::rehearsal::Cutover {
                    paused_by: step("pause[crm]"),
                    from: moment("2026-12-05T21:00:00Z"),
                    confirmed_by: step("switch[crm]"),
                    until: moment("2026-12-05T21:01:35Z"),
                    span,
                }),
                writes_paused: Vec::new(),
                window: Some(Window {
                    opens: moment("2026-12-05T20:00:00Z"),
                    closes: moment("2026-12-05T22:00:00Z"),
                    rollback_reserve_seconds: 3600.0,
                    last_needed: moment("2026-12-05T21:01:35Z"),
                    spare_seconds: -95.0,
                }),
            },
            matrices,
        }
    }

    #[test]
    fn what_was_not_tried_and_what_deviated_stand_in_both_forms() {
        let certificate = certificate(vec![crash()]);
        insta::assert_snapshot!("all_verdicts.md", markdown(&certificate));
        let text = report::page(&page(&certificate), report::Style::Plain);
        insta::assert_snapshot!("all_verdicts.txt", text);
    }

    #[test]
    fn a_whole_matrix_claims_no_gap_and_times_alone_claim_no_matrix() {
        let all = crash().tried.into_iter().filter(|tried| tried.verdict == Verdict::Same);
        let tried: Vec<_> = all.collect();
        let whole = Matrix { choice: Choice::Every, points: 1, chosen: 1, tried, ..crash() };
        insta::assert_snapshot!("whole.md", conditions(&certificate(vec![whole])));
        insta::assert_snapshot!("times_only.md", conditions(&certificate(Vec::new())));
    }
}
