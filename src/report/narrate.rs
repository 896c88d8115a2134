//! A fact in words: one row for `plain` and `terminal` alike. What nobody at the phone needs to hear gives no row.

use jiff::Timestamp;

use super::line::{Line, Paint};
use super::phrase;
use crate::clock::since;
use crate::run::{
    Event, Evidence, PersonRequest, Record, RecordedEffect, Request, Resolution, RunState,
    StepError, StepId, Waiting,
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

/// One row: what about which step, and lines below it.
#[derive(Debug)]
pub(super) struct Row {
    step: Option<StepId>,
    word: &'static str,
    paint: Paint,
    text: String,
    below: Vec<String>,
    from: Detail,
}

impl Row {
    fn new(
        step: Option<&StepId>,
        word: &'static str,
        paint: Paint,
        text: impl Into<String>,
    ) -> Self {
        Self {
            step: step.cloned(),
            word,
            paint,
            text: text.into(),
            below: Vec::new(),
            from: if matches!(paint, Paint::Bad | Paint::Warn) {
                Detail::Quiet
            } else {
                Detail::Normal
            },
        }
    }

    fn below(mut self, below: impl IntoIterator<Item = String>) -> Self {
        self.below.extend(below);
        self
    }

    fn only_from(mut self, detail: Detail) -> Self {
        self.from = detail;
        self
    }
}

/// Columns of a run's narration; as wide as its longest step id, within reason.
#[derive(Debug, Clone, Copy)]
pub(super) struct Columns {
    step: usize,
    with_date: bool,
}

impl Columns {
    pub(super) fn of(state: &RunState, with_date: bool) -> Self {
        let longest =
            state.header.plan.steps.iter().map(|step| step.id.as_str().chars().count()).max();
        Self { step: longest.unwrap_or(0).clamp(8, 28), with_date }
    }

    /// The row as lines, the first with its time.
    pub(super) fn lines(self, at: Timestamp, row: &Row, state: &RunState) -> Vec<Line> {
        let id = row.step.as_ref().map_or("-", |step| step.as_str());
        let within = row
            .step
            .as_ref()
            .and_then(|step| state.index.get(step))
            .map(|&index| state.header.plan.steps[index].stage)
            .or(state.stage)
            .map_or("-", |stage| stage.as_str());
        let time = if self.with_date { phrase::moment(at) } else { phrase::clock(at) };
        let words = time.len() + 2 + 9 + self.step + 2;
        let first = Line::new()
            .paint(Paint::Dim, &time)
            .to(time.len() + 2)
            .paint(Paint::Dim, within)
            .to(time.len() + 2 + 9)
            .paint(Paint::Strong, id)
            .to(words)
            .paint(row.paint, row.word)
            .to(words + 12)
            .text(&row.text);
        let below = row.below.iter().map(|text| Line::new().to(words + 12).text(text));
        std::iter::once(first).chain(below).collect()
    }

    /// A row that is no fact: why something waits.
    pub(super) fn heartbeat(
        self,
        at: Timestamp,
        step: Option<&StepId>,
        text: String,
        state: &RunState,
    ) -> Vec<Line> {
        self.lines(at, &Row::new(step, "…", Paint::Dim, text), state)
    }
}

/// The row of this fact, if it has one at this detail.
pub(super) fn narrate(record: &Record, state: &RunState, detail: Detail) -> Option<Row> {
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
    (row.from <= detail).then_some(row)
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
        Event::PersonActed(request) => person(request),
        Event::PointOfNoReturnCrossed { step } => Row::new(
            Some(step),
            "NO RETURN",
            Paint::Bad,
            "the point of no return is crossed; rollback is refused from here on",
        ),
        Event::RollbackStarted { why } => Row::new(None, "rollback", Paint::Warn, why),
        Event::RunStopped { stop } => {
            let text = phrase::stop(*stop);
            Row::new(None, "stopped", Paint::Warn, text)
        }
        Event::RunEnded { ending } => {
            let (text, paint) = phrase::ending(*ending);
            Row::new(None, "ended", paint, text)
        }
        _ => unreachable!("only called with facts of the run"),
    }
}

fn person(request: &PersonRequest) -> Row {
    let by = &request.by.user;
    let said =
        if request.comment.is_empty() { by.clone() } else { format!("{by}: {}", request.comment) };
    match &request.request {
        Request::Approve { step } => Row::new(Some(step), "yes", Paint::Good, said),
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
            Row::new(Some(step), "asks", Paint::Warn, format!("{} ({needs})", question.ask)).below(
                [format!(
                    "answer with: migrate approve {run} {}   (or add --refuse)",
                    phrase::typed(step.as_str())
                )],
            )
        }
        Event::StepSucceeded { step, evidence, .. } => succeeded(record.at, step, evidence, state),
        Event::StepSkipped { step, why } => Row::new(Some(step), "skipped", Paint::Dim, why),
        Event::StepFailed { step, failure } => failed(step, "FAILED", failure),
        Event::UndoFailed { step, failure } => failed(step, "NOT UNDONE", failure),
        Event::StepInDoubt { step, evidence } => {
            Row::new(Some(step), "IN DOUBT", Paint::Bad, evidence).below([
                format!(
                    "it happened:     migrate resolve {run} {} --done",
                    phrase::typed(step.as_str())
                ),
                format!(
                    "it did not:      migrate resolve {run} {} --not-done",
                    phrase::typed(step.as_str())
                ),
            ])
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
        Waiting::Hold => {
            Row::new(Some(step), "on hold", Paint::Warn, "a planned hold").below([format!(
                "release with: migrate approve {run} {}",
                phrase::typed(step.as_str())
            )])
        }
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
        [only] => format!("{took}; {}", phrase::shortened(&phrase::evidence(only), 100)),
        [first, rest @ ..] => {
            let first = phrase::shortened(&phrase::evidence(first), 100);
            format!("{took}; {first} and {} more", rest.len())
        }
    };
    let open = evidence.iter().skip(1).filter(|item| !item.holds);
    Row::new(Some(step), "ok", Paint::Good, text).below(open.map(phrase::evidence))
}

fn failed(step: &StepId, word: &'static str, failure: &StepError) -> Row {
    let causes = failure.causes.iter().map(|cause| format!("cause:  {cause}"));
    let hint = failure.hint.iter().map(|hint| format!("hint:   {hint}"));
    Row::new(Some(step), word, Paint::Bad, format!("{} {}", failure.code, failure.attempted))
        .below([format!("known:  {}", failure.known)])
        .below(causes)
        .below(hint)
}
