//! A fact in words: one row for `plain` and `terminal` alike. What nobody at the phone needs to hear gives no row.

use jiff::Timestamp;

use super::lanes::{self, Told};
use super::line::Paint;
use super::phrase;
use super::row::Row;
use super::waits::under_way;
use crate::clock::since;
use crate::run::{
    Event, Evidence, FailureClass, PersonRequest, Record, RecordedEffect, Request, Resolution,
    RunId, RunState, StepError, StepId, StepState, Stop, Waiting,
};

/// How much is told.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Detail {
    /// Only what went wrong and what waits for a person.
    Quiet,
    /// What happened.
    Normal,
    /// Also what is about to happen and which requests left.
    Verbose,
}

/// The row of this fact, if it has one at this detail.
pub(super) fn narrate(record: &Record, state: &RunState, detail: Detail) -> Option<Row> {
    if detail < Detail::Verbose {
        match lanes::told(record, state) {
            Told::AsItIs => {}
            Told::NotAtAll => return None,
            Told::Together(row) => return row.is_told_at(detail).then_some(row),
        }
    }
    let row = match &record.event {
        Event::RunStarted(_)
        | Event::RunResumed { .. }
        | Event::PlanChanged { .. }
        | Event::TailRepaired { .. }
        | Event::StageStarted { .. }
        | Event::PersonActed(_)
        | Event::PointOfNoReturnCrossed { .. }
        | Event::RollbackStarted { .. }
        | Event::RunStopped { .. }
        | Event::RunEnded { .. } => of_run(&record.event, state),
        Event::Intent { .. }
        | Event::Sent { .. }
        | Event::Done { .. }
        | Event::NotDone { .. }
        | Event::StayedUnknown { .. } => of_effect(&record.event, state)?,
        _ => of_step(record, state)?,
    };
    row.is_told_at(detail).then_some(row)
}

fn of_run(event: &Event, state: &RunState) -> Row {
    let run = &state.header.run;
    match event {
        Event::RunStarted(header) => Row::new(
            None,
            "run",
            Paint::Strong,
            format!(
                "{run} by {}@{}: {}, plan {:.12}{}",
                header.operator.user,
                header.operator.host,
                phrase::count(header.plan.steps.len(), "step"),
                header.fingerprint,
                if header.sandbox { ", in the sandbox" } else { "" }
            ),
        ),
        Event::RunResumed { operator, .. } => {
            let text = format!("{run} by {}@{}, from the journal", operator.user, operator.host);
            Row::new(None, "resumed", Paint::Strong, text)
        }
        Event::PlanChanged { fingerprint, .. } => {
            let text = format!("the edited runbook was accepted; plan {fingerprint:.12}");
            Row::new(None, "replanned", Paint::Warn, text)
        }
        Event::TailRepaired { bytes, kept } => {
            let text =
                format!("{bytes} bytes of a torn last record cut off the journal, kept in {kept}");
            Row::new(None, "repaired", Paint::Warn, text)
        }
        Event::StageStarted { stage } => {
            Row::new(None, "stage", Paint::Strong, format!("{stage} begins"))
        }
        Event::PersonActed(request) => person(request, state),
        Event::PointOfNoReturnCrossed { step } => Row::new(
            Some(step),
            "NO RETURN",
            Paint::Bad,
            "the point of no return is crossed; rollback is refused from here on",
        ),
        Event::RollbackStarted { why } => Row::new(None, "rollback", Paint::Warn, why),
        Event::RunStopped { stop } => stopped(*stop, state),
        Event::RunEnded { ending } => {
            let (text, paint) = phrase::ending(*ending);
            Row::new(None, "ended", paint, text)
        }
        _ => unreachable!("only called with facts of the run"),
    }
}

/// Steps named in one row; a wave of 200 must not fill the screen.
const NAMED: usize = 6;

/// `files (files.sync), lag (replication.wait) and 3 more`; none when nothing is under way.
fn who(state: &RunState) -> Option<String> {
    let names: Vec<_> = under_way(state)
        .map(|(planned, own)| match own.state {
            StepState::Undoing => format!("the undo of {}", planned.id),
            _ => format!("{} ({})", planned.id, planned.uses),
        })
        .collect();
    let shown = names.iter().take(NAMED).cloned().collect::<Vec<_>>().join(", ");
    match names.len().checked_sub(NAMED) {
        _ if names.is_empty() => None,
        Some(more) if more > 0 => Some(format!("{shown} and {more} more")),
        _ => Some(shown),
    }
}

/// Effects whose outcome nobody has seen.
fn in_doubt(state: &RunState) -> Vec<String> {
    let steps = state.header.plan.steps.iter().zip(&state.steps);
    steps
        .flat_map(|(planned, own)| {
            own.in_doubt()
                .map(|effect| format!("{}: {}", planned.id, phrase::intent(&effect.intent)))
        })
        .collect()
}

/// A signal has just asked for a stop: what it waits for, and what a second signal does.
pub(super) fn stopping(stop: Stop, state: &RunState) -> Row {
    let by = match stop {
        Stop::Terminated => "terminate (SIGTERM)",
        _ => "interrupt (Ctrl-C, or a closed terminal)",
    };
    let row = |text| Row::new(None, "stopping", Paint::Warn, text);
    let Some(who) = who(state) else {
        return row(format!("asked to {by}; nothing is under way"));
    };
    row(format!("asked to {by}; no step starts any more; waits for a safe point of {who}")).below([
        "a second signal waits for nothing: what was not seen to end stays in doubt until `resume`"
            .to_owned(),
    ])
}

/// The engine has stopped. Where something is still under way nobody waited for it.
fn stopped(stop: Stop, state: &RunState) -> Row {
    let row = |text| Row::new(None, "stopped", Paint::Warn, text);
    let Some(who) = who(state) else {
        return row(phrase::stop(stop).to_owned());
    };
    let row = row(format!("at once, not waiting for {who}"));
    let doubts = in_doubt(state);
    if doubts.is_empty() {
        return row.below(["nothing is in doubt: no change was under way".to_owned()]);
    }
    let more = doubts.len().saturating_sub(NAMED);
    let doubts = doubts.into_iter().take(NAMED).map(|doubt| format!("in doubt: {doubt}"));
    row.below(doubts).below((more > 0).then(|| format!("in doubt: {more} more")))
}

fn approve(run: &RunId, step: &StepId) -> String {
    format!("migrate approve {run} {}", phrase::typed(step.as_str()))
}

fn person(request: &PersonRequest, state: &RunState) -> Row {
    let by = &request.by.user;
    let said =
        if request.comment.is_empty() { by.clone() } else { format!("{by}: {}", request.comment) };
    match &request.request {
        Request::Approve { step } => yes(step, said, state),
        Request::Refuse { step } => Row::new(Some(step), "NO", Paint::Bad, said),
        Request::Pause => Row::new(None, "pause", Paint::Warn, format!("asked by {said}")),
        Request::Abort => Row::new(None, "abort", Paint::Warn, format!("asked by {said}")),
        Request::Resolve { step, as_ } => {
            let decision = match as_ {
                Resolution::Done => "as done",
                Resolution::NotDone => "as not done; the step runs again",
                Resolution::Retry => "to be tried again",
                Resolution::Skip => "to be left out",
            };
            Row::new(Some(step), "resolved", Paint::Warn, format!("{decision}, by {said}"))
        }
    }
}

/// A yes, and how many are still missing: whoever typed it must not wait for a run that waits for somebody else.
fn yes(step: &StepId, said: String, state: &RunState) -> Row {
    let open = state.step(step).and_then(|own| own.question.as_ref());
    let (given, needed) = open.map_or((0, 0), |(question, yes)| (yes.len(), question.approvers));
    if given >= needed as usize {
        return Row::new(Some(step), "yes", Paint::Good, said);
    }
    let text = format!("{said} ({given} of {needed}; another person is needed)");
    Row::new(Some(step), "yes", Paint::Warn, text)
        .command("they type", approve(&state.header.run, step))
}

fn of_effect(event: &Event, state: &RunState) -> Option<Row> {
    let known = |step: &StepId, key: &str| state.step(step).and_then(|step| step.effect(key));
    Some(match event {
        Event::Intent { step, intent, undoes } => {
            let word = if undoes.is_some() { "takes back" } else { "intends" };
            Row::new(Some(step), word, Paint::Dim, phrase::intent(intent))
                .only_from(Detail::Verbose)
        }
        Event::Sent { step, sent, .. } => {
            let text = match &sent.request_id {
                Some(id) => format!("request {id}"),
                None => "request left".to_owned(),
            };
            Row::new(Some(step), "sent", Paint::Dim, text).only_from(Detail::Verbose)
        }
        Event::Done { step, key, probed, .. } => {
            let word = if *probed { "found done" } else { "done" };
            let text = known(step, key).map_or_else(
                || key.clone(),
                |RecordedEffect { intent, .. }| {
                    format!(
                        "{} ({})",
                        phrase::intent(intent),
                        phrase::classes(intent.repeat, intent.undo)
                    )
                },
            );
            Row::new(Some(step), word, Paint::Good, text)
        }
        Event::NotDone { step, key, why, .. } => {
            Row::new(Some(step), "not done", Paint::Warn, format!("{key}: {why}"))
        }
        Event::StayedUnknown { step, key, verdict } => {
            let evidence = match verdict {
                crate::run::Verdict::Unknown { evidence } => evidence.as_str(),
                _ => "the probe could not tell",
            };
            Row::new(Some(step), "unknown", Paint::Bad, format!("{key}: {evidence}"))
        }
        _ => return None,
    })
}

fn of_step(record: &Record, state: &RunState) -> Option<Row> {
    let run = &state.header.run;
    Some(match &record.event {
        Event::StepWaiting { step, waiting } => waits(record.at, step, waiting, state),
        Event::StepStarted { step, attempt } => starts(step, *attempt, state),
        Event::Asked { step, question } => {
            let from = if question.from.is_empty() {
                "anybody".to_owned()
            } else {
                question.from.join(", ")
            };
            let until = question.expires.map(|at| format!(", until {}", phrase::moment(at)));
            let needs =
                format!("needs {} of {from}{}", question.approvers, until.unwrap_or_default());
            if state.header.assume_yes && state.header.sandbox {
                let text = format!("{} ({needs}); --yes answers", question.ask);
                return Some(Row::new(Some(step), "asks", Paint::Plain, text));
            }
            Row::new(Some(step), "asks", Paint::Warn, format!("{} ({needs})", question.ask))
                .command("yes", approve(run, step))
                .command("no", format!("{} --refuse", approve(run, step)))
        }
        Event::StepSucceeded { step, evidence, .. } => succeeded(record.at, step, evidence, state),
        Event::StepSkipped { step, why } => Row::new(Some(step), "skipped", Paint::Dim, why),
        Event::StepFailed { step, failure } => failed(step, "FAILED", failure),
        Event::UndoFailed { step, failure } => failed(step, "NOT UNDONE", failure),
        Event::StepInDoubt { step, evidence } => {
            let resolve = format!("migrate resolve {run} {}", phrase::typed(step.as_str()));
            Row::new(Some(step), "IN DOUBT", Paint::Bad, evidence)
                .command("it happened", format!("{resolve} --done"))
                .command("it did not", format!("{resolve} --not-done"))
        }
        Event::StepHeld { step } => Row::new(
            Some(step),
            "held",
            Paint::Bad,
            "its lane stops here; other lanes reach the next barrier",
        ),
        Event::UndoStarted { step } => Row::new(Some(step), "undoes", Paint::Plain, ""),
        Event::StepUndone { step } => Row::new(Some(step), "undone", Paint::Good, ""),
        _ => return None,
    })
}

fn waits(at: Timestamp, step: &StepId, waiting: &Waiting, state: &RunState) -> Row {
    let run = &state.header.run;
    match waiting {
        Waiting::Window { opens } => {
            let left = phrase::lasting(since(at, *opens));
            let text = format!("the window opens {} (in {left})", phrase::moment(*opens));
            Row::new(Some(step), "waits", Paint::Warn, text)
        }
        Waiting::Hold => Row::new(Some(step), "on hold", Paint::Warn, "a planned hold")
            .command("release", approve(run, step)),
        Waiting::Backoff { until } => {
            let left = phrase::lasting(since(at, *until));
            Row::new(Some(step), "waits", Paint::Plain, format!("next attempt in {left}"))
        }
    }
}

fn starts(step: &StepId, attempt: u32, state: &RunState) -> Row {
    let planned = state.index.get(step).map(|&index| &state.header.plan.steps[index]);
    let uses = planned.map_or("", |step| step.uses.as_str());
    match planned {
        Some(planned) if attempt > 1 => {
            let text =
                format!("{uses}, attempt {attempt} of {}", planned.retry.attempts.max(attempt));
            Row::new(Some(step), "retries", Paint::Plain, text)
        }
        _ => Row::new(Some(step), "starts", Paint::Plain, uses),
    }
}

fn succeeded(at: Timestamp, step: &StepId, evidence: &[Evidence], state: &RunState) -> Row {
    let started = state.step(step).and_then(|step| step.last_started).unwrap_or(at);
    let took = phrase::lasting(since(started, at));
    let text = match evidence {
        [] => took,
        [only] => format!("{took}; {}", phrase::shortened(&phrase::evidence(only), 160)),
        [first, rest @ ..] => {
            let first = phrase::shortened(&phrase::evidence(first), 160);
            format!("{took}; {first} and {} more", rest.len())
        }
    };
    let open = evidence.iter().skip(1).filter(|item| !item.holds);
    Row::new(Some(step), "ok", Paint::Good, text).below(open.map(phrase::evidence))
}

fn failed(step: &StepId, word: &'static str, failure: &StepError) -> Row {
    if failure.class == FailureClass::Cancelled {
        let text = format!("{}; {}", failure.attempted, failure.known);
        return Row::new(Some(step), "stopped", Paint::Warn, text);
    }
    let causes = failure.causes.iter().map(|cause| format!("cause:  {cause}"));
    let hint = failure.hint.iter().map(|hint| format!("hint:   {hint}"));
    Row::new(Some(step), word, Paint::Bad, format!("{} {}", failure.code, failure.attempted))
        .below([format!("known:  {}", failure.known)])
        .below(causes)
        .below(hint)
}
