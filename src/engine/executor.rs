//! Attempts, undos and probes as tasks. An executor decides nothing: it reports how a task ended.

use std::collections::BTreeMap;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use futures::FutureExt;
use jiff::Timestamp;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use super::freeze::{self, LastSeen, OpenFreeze};
use super::gate::{Gate, Message};
use crate::clock::{Busy, Clock, Hold};
use crate::plan::{PlannedStep, expression};
use crate::run::{
    EffectId, FailureClass, Input, Outcome, Outputs, ProgressNote, RecordedEffect, StepError,
    StepId, Undo, Verdict,
};
use crate::steps::{self, PerformCx, Progress, Step, StepCx, World};

/// How long a cancelled attempt may take to come to a safe point before it is cut off.
const GRACE: Duration = Duration::from_secs(10);
/// How long one undo may take where its step names no timeout.
const UNDO_TIMEOUT: Duration = Duration::from_mins(10);

/// What every task of a moment shares: a snapshot, taken when the task starts.
#[derive(Clone)]
pub(super) struct Bench {
    pub(super) world: Arc<World>,
    pub(super) outputs: Arc<BTreeMap<StepId, Outputs>>,
    pub(super) effects: Arc<BTreeMap<StepId, Vec<RecordedEffect>>>,
    pub(super) first_started: Timestamp,
    pub(super) cut_off: bool,
    pub(super) cancel: CancellationToken,
    pub(super) progress: Option<mpsc::UnboundedSender<ProgressNote>>,
}

impl Bench {
    /// The step of that index, rendered and built, with its read side.
    pub(super) fn prepare(
        &self,
        index: usize,
        recorded: Vec<RecordedEffect>,
    ) -> Result<(Box<dyn Step>, StepCx), StepError> {
        let mut step = self.world.plan.steps[index].clone();
        let unusable = |why: String| {
            StepError::new(
                FailureClass::Failed,
                "MIG0708",
                format!("evaluate the parameters of {}", step.id),
                "the step was not started and changed nothing",
            )
            .cause(why)
        };
        let scope = expression::Scope::new(&self.world.plan, &step, &self.outputs);
        let with = scope.render(&step.with).map_err(unusable)?;
        let kind = steps::kind(&step.uses)
            .ok_or_else(|| unusable(format!("this program has no step kind `{}`", step.uses)))?;
        let built = (kind.build)(&with).map_err(unusable)?;
        step.with = with;
        let cx = StepCx {
            world: self.world.clone(),
            outputs: self.outputs.clone(),
            recorded,
            others: self.effects.clone(),
            first_started: self.first_started,
            cut_off: self.cut_off,
            hold: Hold::default(),
            cancel: self.cancel.clone(),
            progress: Progress::new(step.id.clone(), self.progress.clone()),
            step,
        };
        Ok((built, cx))
    }

    fn wanted(&self, step: &PlannedStep) -> Result<bool, StepError> {
        let Some(condition) = &step.when else { return Ok(true) };
        let scope = expression::Scope::new(&self.world.plan, step, &self.outputs);
        scope.holds(condition).map_err(|why| {
            StepError::new(
                FailureClass::Failed,
                "MIG0708",
                format!("evaluate `when` of {}", step.id),
                "the step was not started and changed nothing",
            )
            .cause(why)
        })
    }
}

/// One attempt, from the freeze watch to the message that it has ended.
pub(super) async fn attempt(
    bench: Bench,
    index: usize,
    recorded: Vec<RecordedEffect>,
    freezes: (Vec<OpenFreeze>, LastSeen),
    to: mpsc::UnboundedSender<Message>,
    mut busy: Busy,
) {
    let planned = bench.world.plan.steps[index].clone();
    let input = match bench.wanted(&planned) {
        Ok(false) => {
            let condition = planned.when.as_deref().unwrap_or_default();
            Input::NotWanted(planned.id.clone(), format!("`when: {condition}` is false"))
        }
        Err(failure) => Input::Ended(planned.id.clone(), Err(failure)),
        Ok(true) => {
            let timeout = planned.timeout;
            let gate = Gate {
                step: planned.id.clone(),
                undoes: None,
                to: to.clone(),
                redactor: bench.world.secrets.redactor(),
            };
            let work = async {
                freeze::watch(&bench, &planned, &freezes.0, &freezes.1).await?;
                let (step, cx) = bench.prepare(index, recorded)?;
                let mut cx = PerformCx { read: &cx, effects: &gate, busy: &mut busy };
                step.perform(&mut cx).await
            };
            let limits = Limits { clock: &bench.world.clock, timeout, cancel: &bench.cancel };
            let result: Result<Outcome, StepError> = limits.hold(&planned.id, work).await;
            Input::Ended(planned.id.clone(), result)
        }
    };
    // The dispatcher outlives its tasks unless the run was cut off.
    let _ = to.send(Message { input, reply: None, last: Some(busy) });
}

/// Takes one step back: its effects that restore, last first.
pub(super) async fn undo(
    bench: Bench,
    index: usize,
    recorded: Vec<RecordedEffect>,
    to_take_back: Vec<RecordedEffect>,
    to: mpsc::UnboundedSender<Message>,
    mut busy: Busy,
) {
    let planned = bench.world.plan.steps[index].clone();
    let timeout = planned.timeout.map_or(UNDO_TIMEOUT, |it| it.max(UNDO_TIMEOUT));
    let limits =
        Limits { clock: &bench.world.clock, timeout: Some(timeout), cancel: &bench.cancel };
    let work = async {
        let (step, cx) = bench.prepare(index, recorded)?;
        for effect in to_take_back.iter().rev() {
            match effect.intent.undo {
                Undo::LeavesInPlace => {}
                Undo::Irreversible => return Err(irreversible(&planned.id, effect)),
                Undo::Restores => {
                    let undoes = Some(effect.intent.key.clone());
                    let gate = Gate {
                        step: planned.id.clone(),
                        undoes,
                        to: to.clone(),
                        redactor: bench.world.secrets.redactor(),
                    };
                    let mut cx = PerformCx { read: &cx, effects: &gate, busy: &mut busy };
                    step.undo(&mut cx, effect).await?;
                }
            }
        }
        Ok(())
    };
    let result = limits.hold(&planned.id, work).await;
    let input = Input::Undone(planned.id.clone(), result);
    let _ = to.send(Message { input, reply: None, last: Some(busy) });
}

fn irreversible(step: &StepId, effect: &RecordedEffect) -> StepError {
    let error = StepError::new(
        FailureClass::NeedsPerson,
        "MIG0709",
        format!("take {step} back"),
        format!(
            "{} stays as it is: {} can not be taken back",
            effect.intent.target, effect.intent.verb
        ),
    );
    match &effect.intent.by_hand {
        Some(how) => error.hint(how),
        None => error,
    }
}

/// Asks the target about one effect in doubt.
pub(super) async fn probe(
    bench: Bench,
    index: usize,
    effect: RecordedEffect,
    recorded: Vec<RecordedEffect>,
    to: mpsc::UnboundedSender<Message>,
    busy: Busy,
) {
    let planned = &bench.world.plan.steps[index];
    let id = EffectId { step: planned.id.clone(), key: effect.intent.key.clone() };
    let limits = Limits { clock: &bench.world.clock, timeout: None, cancel: &bench.cancel };
    let work = async {
        let (step, cx) = bench.prepare(index, recorded)?;
        cx.hold.put(busy);
        let verdict = step.probe(&cx, &effect).await;
        Ok((verdict, cx.hold.take()))
    };
    let clock = &bench.world.clock;
    let (verdict, busy) = limits
        .hold(&planned.id, work)
        .await
        .unwrap_or_else(|failure| (Verdict::Unknown { evidence: failure.to_string() }, None));
    let last = Some(busy.unwrap_or_else(|| clock.busy()));
    let _ = to.send(Message { input: Input::Probed(id, verdict), reply: None, last });
}

/// Keeps one piece of work inside its time, and a panic inside the attempt.
struct Limits<'a> {
    clock: &'a Clock,
    timeout: Option<Duration>,
    cancel: &'a CancellationToken,
}

impl Limits<'_> {
    async fn hold<T>(
        &self,
        step: &StepId,
        work: impl Future<Output = Result<T, StepError>>,
    ) -> Result<T, StepError> {
        let late = AtomicBool::new(false);
        let watch = async {
            let Some(timeout) = self.timeout else { return std::future::pending().await };
            let mut waiting = self.clock.waiting();
            self.clock.sleep(timeout, &mut waiting).await;
            late.store(true, Ordering::Relaxed);
            self.cancel.cancel();
            std::future::pending::<()>().await;
        };
        let cut_off = async {
            self.cancel.cancelled().await;
            tokio::time::sleep(GRACE).await;
        };
        let result = tokio::select! {
            biased;
            result = AssertUnwindSafe(work).catch_unwind() => result.unwrap_or_else(|panic| Err(panicked(step, &*panic))),
            () = watch => unreachable!("the watch only cancels"),
            () = cut_off => Err(StepError::cancelled("coming to a safe point in time")),
        };
        let (late, cancelled) = (late.into_inner(), self.cancel.is_cancelled());
        result.map_err(|failure| match (self.timeout, failure.class) {
            (Some(timeout), FailureClass::Cancelled) if late => timed_out(failure, timeout),
            // A wait that was cut short says that it did not get there. That is our doing, and no verdict on the step: what
            // follows from a failure must not follow from Ctrl-C.
            (_, FailureClass::Failed | FailureClass::Refused) if cancelled && !late => {
                StepError { class: FailureClass::Cancelled, ..failure }
            }
            _ => failure,
        })
    }
}

fn timed_out(failure: StepError, timeout: Duration) -> StepError {
    let limit = jiff::SignedDuration::try_from(timeout).unwrap_or(jiff::SignedDuration::MAX);
    StepError { class: FailureClass::Failed, ..failure }
        .cause(format!("its timeout of {limit:#} ended"))
}

fn panicked(step: &StepId, panic: &(dyn std::any::Any + Send)) -> StepError {
    let said = panic
        .downcast_ref::<&str>()
        .map(|text| (*text).to_owned())
        .or_else(|| panic.downcast_ref::<String>().cloned())
        .unwrap_or_else(|| "it left no message".to_owned());
    StepError::new(
        FailureClass::Unknown,
        "MIG0706",
        format!("carry {step} out"),
        "the program panicked inside the step; its outcome is unknown",
    )
    .cause(said)
}

/// A snapshot entry: only what is not empty is kept, so that ten thousand silent steps cost nothing.
pub(super) fn keep<T: Clone>(map: &mut Arc<BTreeMap<StepId, T>>, step: &StepId, value: T) {
    Arc::make_mut(map).insert(step.clone(), value);
}
