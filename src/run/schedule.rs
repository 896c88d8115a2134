//! What starts next, given everything folded so far. Pure; called after every batch of facts.

use std::collections::BTreeSet;
use std::time::Duration;

use jiff::Timestamp;

use super::decide::answer;
use super::{
    Command, Decision, Ending, Event, FailureClass, RunState, StepError, StepId, StepState, Stop,
    Undo, Waiting,
};
use crate::clock::{Now, since};
use crate::plan::{Class, PlannedStep, Window};

/// Less than this between two clocks is worth no word.
const SET_BACK_MIN: Duration = Duration::from_secs(2);

/// What the engine knows beyond the facts.
#[derive(Debug, Clone, Copy, Default)]
pub struct Circumstances {
    /// A stop was asked for by a signal.
    pub stopping: Option<Stop>,
    /// Tasks that have not reported yet: attempts, undos, probes.
    pub tasks: usize,
    /// Of these, attempts that wait for people.
    pub asking: usize,
    /// Stay although only people can go on.
    pub wait_for_people: bool,
}

/// Starts whatever may start, answers whoever waits for people, and says when there is nothing left to do.
pub fn schedule(state: &RunState, now: Circumstances, at: impl Into<Now>) -> Decision {
    let at = at.into();
    let mut decision = Decision::default();
    if state.ended.is_some() {
        decision.commands.push(Command::Finish);
        return decision;
    }
    answers(state, at, &mut decision);
    let halting = now.stopping.or(state.aborted.then_some(Stop::Aborted));
    let halting = halting.or(state.paused.then_some(Stop::Paused));
    if halting.is_none() {
        if state.rolling_back.is_some() {
            undo(state, now, &mut decision);
        } else {
            start(state, at, &mut decision);
        }
    }
    if decision.facts.is_empty() && decision.commands.iter().all(passive) {
        finish(state, now, halting, &mut decision);
    }
    decision
}

fn passive(command: &Command) -> bool {
    matches!(command, Command::WakeAt(_) | Command::WakeAfter(_))
}

/// Only an attempt asks. The question it asked stays on record while the step is taken back, and nobody waits there for
/// an answer: one that is given all the same would look like work under way, and no stop would ever come to its end.
fn answers(state: &RunState, at: Now, decision: &mut Decision) {
    for &index in &state.frontier.running {
        let own = &state.steps[index];
        if let (StepState::Running(_), Some((question, _))) = (&own.state, &own.question) {
            let step = &state.plan().steps[index].id;
            if let Some(answer) = answer(state, step, question, at) {
                decision.commands.push(Command::Answer(step.clone(), answer));
            }
        }
    }
}

fn start(state: &RunState, at: Now, decision: &mut Decision) {
    let plan = state.plan();
    let mut room = usize::try_from(plan.parallel)
        .unwrap_or(usize::MAX)
        .saturating_sub(state.frontier.running.len());
    let mut under_way = state.stage;
    let mut expired = BTreeSet::new();
    for &index in &state.frontier.startable {
        if room == 0 {
            break;
        }
        let (planned, own) = (&plan.steps[index], &state.steps[index]);
        if own.in_doubt().next().is_some() {
            continue;
        }
        // A pause that an earlier process began is over: its steady clock is not ours.
        if let StepState::Waiting(Waiting::Backoff { until }) = own.state
            && own.ended_in == state.resumes
            && at.steady < until
        {
            decision.commands.push(Command::WakeAfter(until));
            continue;
        }
        let outdated = stale_guards(state, index);
        if !outdated.is_empty() {
            expired.extend(outdated);
            continue;
        }
        let id = planned.id.clone();
        if planned.hold_before && own.released.is_none() {
            if own.state != StepState::Waiting(Waiting::Hold) {
                let waiting = Waiting::Hold;
                decision.facts.push(Event::StepWaiting { step: id, waiting });
            }
            continue;
        }
        if under_way.is_none_or(|stage| stage < planned.stage) {
            under_way = Some(planned.stage);
            decision.facts.push(Event::StageStarted { stage: planned.stage });
        }
        match window(state, index, at) {
            Gate::Open => {
                let attempt = own.attempts + 1;
                decision.facts.push(Event::StepStarted { step: id, attempt });
                decision.commands.push(Command::Start(index));
                room -= 1;
            }
            Gate::NotYet(opens) => {
                let waiting = Waiting::Window { opens };
                if own.state != StepState::Waiting(waiting.clone()) {
                    decision.facts.push(Event::StepWaiting { step: id, waiting });
                }
                decision.commands.push(Command::WakeAt(opens));
            }
            Gate::Closed(failure) => {
                let attempt = own.attempts + 1;
                decision.facts.push(Event::StepStarted { step: id.clone(), attempt });
                decision.facts.push(Event::StepFailed { step: id.clone(), failure });
                decision.facts.push(Event::StepHeld { step: id });
            }
        }
    }
    for at in expired {
        decision.facts.push(Event::ReadingExpired { step: plan.steps[at].id.clone() });
    }
}

/// Checks whose readings guard this step and were taken by an earlier process: those before it with no action in between.
/// A step that has begun to change something is past its gates. Approvals stand; what people knew is on record.
fn stale_guards(state: &RunState, index: usize) -> Vec<usize> {
    let steps = &state.plan().steps;
    let mut outdated = Vec::new();
    if state.resumes == 0 || !state.steps[index].effects.is_empty() {
        return outdated;
    }
    let mut looked = BTreeSet::new();
    let mut before = steps[index].after.clone();
    while let Some(at) = before.pop() {
        let own = &state.steps[at];
        if steps[at].class == Class::Action || own.ended_in == state.resumes || !looked.insert(at) {
            continue;
        }
        if steps[at].expires && own.state == StepState::Succeeded {
            outdated.push(at);
        }
        before.extend(&steps[at].after);
    }
    outdated
}

enum Gate {
    Open,
    NotYet(Timestamp),
    Closed(StepError),
}

/// It opens by the wall clock and is closed as soon as any clock, or a record since the run was last taken up, is past its
/// end: a clock that is set back opens nothing again. Whoever takes the run up has been told, and looks at the clock anew.
fn window(state: &RunState, index: usize, at: Now) -> Gate {
    let plan = state.plan();
    let planned = &plan.steps[index];
    let Some(window) = plan.window.as_ref().filter(|_| planned.in_window) else {
        return Gate::Open;
    };
    let latest = at.latest().max(state.latest);
    if since(latest, window.closes) <= window.rollback_reserve {
        return closed(window, planned, at, latest);
    }
    if at.wall < window.opens {
        return Gate::NotYet(window.opens);
    }
    Gate::Open
}

fn closed(window: &Window, planned: &PlannedStep, at: Now, latest: Timestamp) -> Gate {
    let set_back = if since(at.wall, latest) > SET_BACK_MIN {
        format!(", and this run has seen {latest:.0}: the clock was set back")
    } else {
        String::new()
    };
    Gate::Closed(
        StepError::new(
            FailureClass::Refused,
            "MIG0703",
            format!("start {} inside the window", planned.id),
            "the step was not started and changed nothing",
        )
        .cause(format!(
            "it is {:.0}{set_back}; the window closes at {:.0} and its last {} min are kept for going back",
            at.wall,
            window.closes,
            window.rollback_reserve.as_secs() / 60
        ))
        .hint("agree a new window, write it into the runbook, then resume with --accept-changes; or roll back"),
    )
}

/// Takes steps back one at a time, last first, once every attempt and probe has reported.
fn undo(state: &RunState, now: Circumstances, decision: &mut Decision) {
    if now.tasks > 0 {
        return;
    }
    let next = (0..state.steps.len()).rev().find(|&index| {
        let own = &state.steps[index];
        match own.state {
            StepState::Undone => false,
            // An undo of which nobody knows how it went is not repeated.
            _ if own.undo_in_doubt() => false,
            StepState::Undoing => true,
            StepState::UndoFailed => own.undo_again,
            _ => own.has_effects(),
        }
    });
    if let Some(index) = next {
        let step = state.plan().steps[index].id.clone();
        decision.facts.push(Event::UndoStarted { step: step.clone() });
        match obstacle(state, index) {
            Some(later) => {
                let failure = StepError::new(
                    FailureClass::Failed,
                    "MIG0711",
                    format!("take {step} back"),
                    "what it changed was left as it is",
                )
                .cause(format!("{later} changed the same after it, and is not taken back"))
                .hint(format!("see to {later} first, then roll back again"));
                decision.facts.push(Event::UndoFailed { step, failure });
            }
            None => decision.commands.push(Command::Undo(index)),
        }
    }
}

/// A later step that changed the same target and could not be taken back: whoever went behind it would change what its
/// own undo has to find unchanged.
fn obstacle(state: &RunState, index: usize) -> Option<&StepId> {
    let restores = |at: usize| {
        let effects = state.steps[at].to_take_back();
        effects.into_iter().filter(|it| it.intent.undo == Undo::Restores).map(|it| it.intent.target)
    };
    let own: BTreeSet<_> = restores(index).collect();
    (index + 1..state.steps.len())
        .filter(|&at| state.steps[at].state == StepState::UndoFailed)
        .find(|&at| restores(at).any(|target| own.contains(&target)))
        .map(|at| &state.plan().steps[at].id)
}

fn finish(state: &RunState, now: Circumstances, halting: Option<Stop>, decision: &mut Decision) {
    let waits = decision.commands.iter().any(passive);
    if let Some(stop) = halting {
        if now.tasks == 0 {
            decision.facts.push(Event::RunStopped { stop });
            decision.commands.push(Command::Finish);
        } else if now.tasks == now.asking {
            decision.commands.push(Command::Cancel);
        }
        return;
    }
    if now.tasks > now.asking || waits {
        return;
    }
    if state.rolling_back.is_some() {
        // An attempt that asks people was told to stop and has yet to say so; nothing is taken back before that.
        if now.tasks > 0 {
            return;
        }
        let left = state
            .steps
            .iter()
            .any(|own| own.state == StepState::UndoFailed || own.in_doubt().next().is_some());
        let ending = if left { Ending::RollbackIncomplete } else { Ending::RolledBack };
        decision.facts.push(Event::RunEnded { ending });
        decision.commands.push(Command::Finish);
        return;
    }
    let held = state
        .frontier
        .startable
        .iter()
        .any(|&index| state.steps[index].state == StepState::Waiting(Waiting::Hold));
    let stop = if state.frontier.unfinished == 0 {
        decision.facts.push(Event::RunEnded { ending: Ending::Completed });
        decision.commands.push(Command::Finish);
        return;
    } else if now.asking > 0 || held {
        if now.wait_for_people {
            return;
        }
        Stop::WaitsForPerson
    } else {
        Stop::Halted
    };
    decision.facts.push(Event::RunStopped { stop });
    decision.commands.push(Command::Finish);
}
