//! What must hold whenever a fact is recorded or a command given: worked out from plan and facts alone, by the promises
//! of the design and not by the fold under test.

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;

use super::super::*;
use super::world::is_undo;
use crate::clock::since;
use crate::plan::{Class, OnFailure, Plan};

/// What the journal says of an effect.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Known {
    /// Its intent is recorded, its outcome not.
    Open,
    Done,
    NotDone,
    /// It may have happened, and repeating it is harmless.
    Perhaps,
}

/// See the module.
#[expect(clippy::struct_excessive_bools, reason = "promises about the whole run, each of its own")]
pub(super) struct Model {
    plan: Plan,
    index: BTreeMap<StepId, usize>,
    effects: BTreeMap<(StepId, String), Known>,
    /// Effects that may have happened in a try before the last one.
    perhaps: BTreeSet<(StepId, String)>,
    /// Steps that have ended well, were left out, or failed and may be passed over.
    passed: BTreeSet<StepId>,
    /// Steps whose last end was a success, in whichever process.
    read: BTreeSet<StepId>,
    /// Those that succeeded in this process.
    fresh: BTreeSet<StepId>,
    /// Steps whose hold was released, and those that wait for it.
    released: BTreeSet<StepId>,
    holding: BTreeSet<StepId>,
    undone: BTreeSet<StepId>,
    /// Undos that failed in this process.
    not_undone: BTreeSet<StepId>,
    /// Answers of probes since the last settlement.
    verdicts: BTreeMap<(StepId, String), recovery::Answered>,
    crossed: bool,
    rolling_back: bool,
    /// Nothing may start: paused, aborted, stopped, ended.
    halted: bool,
    over: bool,
}

impl Model {
    pub(super) fn new(plan: Plan) -> Self {
        let index = plan.steps.iter().enumerate().map(|(at, step)| (step.id.clone(), at));
        Self {
            index: index.collect(),
            plan,
            effects: BTreeMap::new(),
            perhaps: BTreeSet::new(),
            passed: BTreeSet::new(),
            read: BTreeSet::new(),
            fresh: BTreeSet::new(),
            released: BTreeSet::new(),
            holding: BTreeSet::new(),
            undone: BTreeSet::new(),
            not_undone: BTreeSet::new(),
            verdicts: BTreeMap::new(),
            crossed: false,
            rolling_back: false,
            halted: false,
            over: false,
        }
    }

    /// A fact is recorded. `stopping`: a signal has come to this process.
    pub(super) fn see(&mut self, event: &Event, stopping: bool) {
        match event {
            Event::RunResumed { .. } => {
                self.fresh.clear();
                self.not_undone.clear();
                (self.halted, self.over) = (false, false);
            }
            Event::StepWaiting { step, waiting: Waiting::Hold } => {
                self.holding.insert(step.clone());
            }
            Event::StepStarted { step, .. } => self.starts(step, stopping),
            Event::Intent { step, intent, undoes } => self.intends(step, intent, undoes.as_ref()),
            Event::Done { step, key, probed, .. } => {
                let id = (step.clone(), key.clone());
                assert_eq!(self.effects.get(&id), Some(&Known::Open), "{step} {key} is done");
                let verdict = self.verdicts.remove(&id);
                let told = !probed || verdict == Some(recovery::Answered::Done);
                assert!(told, "{step} {key} counts as done, and the probe said {verdict:?}");
                self.perhaps.remove(&id);
                self.effects.insert(id, Known::Done);
            }
            Event::NotDone { step, key, certain, .. } => {
                let id = (step.clone(), key.clone());
                assert_eq!(self.effects.get(&id), Some(&Known::Open), "{step} {key} is not done");
                self.verdicts.remove(&id);
                // An earlier try may have been carried out, whatever became of this one.
                let known = if *certain && !self.perhaps.contains(&id) {
                    Known::NotDone
                } else {
                    self.perhaps.insert(id.clone());
                    Known::Perhaps
                };
                self.effects.insert(id, known);
            }
            Event::PersonActed(request) => self.acts(&request.request),
            Event::StepSucceeded { step, .. } => {
                assert!(!self.of(step).any(|(_, known)| known == Known::Open), "{step} in doubt");
                self.passed.insert(step.clone());
                self.read.insert(step.clone());
                self.fresh.insert(step.clone());
            }
            Event::ReadingExpired { step } => {
                assert!(self.plan.steps[self.index[step]].expires, "{step} does not expire");
                assert!(!self.fresh.contains(step), "{step} was read by this process");
                self.passed.remove(step);
            }
            Event::StepSkipped { step, .. } => {
                self.read.remove(step);
                self.passed.insert(step.clone());
            }
            Event::StepFailed { step, .. } => {
                self.read.remove(step);
                if self.plan.steps[self.index[step]].on_failure == OnFailure::Continue {
                    self.passed.insert(step.clone());
                }
            }
            Event::PointOfNoReturnCrossed { .. } => self.crossed = true,
            Event::RollbackStarted { .. } => {
                assert!(!self.crossed, "a rollback from beyond the point of no return");
                (self.rolling_back, self.over) = (true, false);
            }
            Event::UndoStarted { step } => self.undoes(step, stopping),
            Event::StepUndone { step } => self.is_undone(step),
            Event::UndoFailed { step, .. } => _ = self.not_undone.insert(step.clone()),
            Event::RunStopped { .. } => self.over = true,
            Event::RunEnded { ending } => self.ends(*ending),
            _ => {}
        }
    }

    fn of<'a>(&'a self, step: &'a StepId) -> impl Iterator<Item = (&'a str, Known)> {
        let own = self.effects.iter().filter(move |((of, _), _)| of == step);
        own.map(|((_, key), known)| (key.as_str(), *known))
    }

    fn starts(&self, step: &StepId, stopping: bool) {
        assert!(!self.over && !self.halted && !stopping, "{step} starts after a stop");
        assert!(!self.rolling_back, "{step} starts while the run is taken back");
        let planned = &self.plan.steps[self.index[step]];
        assert!(!planned.hold_before || self.released.contains(step), "{step} was held");
        let begun = |known| matches!(known, Known::Open | Known::Done);
        let begins = !self.of(step).any(|(_, known)| begun(known));
        for &before in &planned.after {
            let gate = &self.plan.steps[before];
            assert!(self.passed.contains(&gate.id), "{step} starts before {} has ended", gate.id);
            let guards = gate.class == Class::Check && gate.expires && begins;
            let outdated = self.read.contains(&gate.id) && !self.fresh.contains(&gate.id);
            assert!(!guards || !outdated, "{step} starts on {}'s old reading", gate.id);
        }
    }

    fn intends(&mut self, step: &StepId, intent: &Intent, undoes: Option<&String>) {
        let id = (step.clone(), intent.key.clone());
        let known = self.effects.get(&id);
        assert!(
            !matches!(known, Some(Known::Open | Known::Done)),
            "{step} {} is intended again: {known:?}",
            intent.key
        );
        assert_eq!(undoes.is_some(), self.rolling_back, "{step} {}: which way?", intent.key);
        if let Some(undone) = undoes {
            let undone = self.effects.get(&(step.clone(), undone.clone()));
            let was = matches!(undone, Some(Known::Done | Known::Perhaps));
            assert!(was, "{step}: what is taken back was never done: {undone:?}");
            assert_eq!(intent.undo, Undo::Restores, "{step}: what is taken back restores");
        }
        self.effects.insert(id, Known::Open);
    }

    fn acts(&mut self, request: &Request) {
        match request {
            Request::Approve { step } if self.holding.contains(step) => {
                self.released.insert(step.clone());
            }
            Request::Pause | Request::Abort => self.halted = true,
            _ => {}
        }
    }

    fn undoes(&self, step: &StepId, stopping: bool) {
        assert!(self.rolling_back && !self.over, "{step} is taken back, and nobody asked");
        assert!(!self.halted && !stopping, "{step} is taken back after a stop");
        for later in &self.plan.steps[self.index[step] + 1..] {
            // What could not be taken back, or nobody knows whether it was, holds up nothing before it.
            let unknown = self.of(&later.id).any(|(key, it)| is_undo(key) && it == Known::Open);
            let settled =
                self.undone.contains(&later.id) || self.not_undone.contains(&later.id) || unknown;
            let there = self.of(&later.id).any(|(key, it)| !is_undo(key) && it == Known::Done);
            assert!(settled || !there, "{step} is taken back before {}", later.id);
        }
    }

    fn is_undone(&mut self, step: &StepId) {
        for (key, known) in self.of(step) {
            let undo = (step.clone(), format!("undo {key}"));
            let restores = self.plan.steps[self.index[step]].undo == Undo::Restores;
            let owed = restores && !is_undo(key) && known == Known::Done;
            let paid = self.effects.get(&undo) == Some(&Known::Done);
            assert!(!owed || paid, "{step} counts as undone, and {key} is still there");
        }
        self.undone.insert(step.clone());
    }

    fn ends(&mut self, ending: Ending) {
        self.over = true;
        if ending == Ending::Completed {
            let missing = self.plan.steps.iter().find(|step| !self.passed.contains(&step.id));
            assert!(missing.is_none(), "completed without {:?}", missing.map(|step| &step.id));
        }
    }

    /// A probe answered.
    pub(super) fn probed(&mut self, effect: &EffectId, verdict: &Verdict) {
        let id = (effect.step.clone(), effect.key.clone());
        self.verdicts.insert(id, verdict.answered());
    }

    /// A command is about to be carried out.
    pub(super) fn allows(&self, command: &Command, now: Timestamp) {
        let works = matches!(
            command,
            Command::Start(_) | Command::Undo(_) | Command::Permit(_) | Command::Probe(_)
        );
        assert!(!works || !self.over, "{command:?} after the end");
        if let Command::Start(at) = command
            && let Some(window) =
                self.plan.window.as_ref().filter(|_| self.plan.steps[*at].in_window)
        {
            let open = window.opens <= now && since(now, window.closes) > window.rollback_reserve;
            assert!(open, "{} starts outside the window", self.plan.steps[*at].id);
        }
    }

    /// The target is about to be changed.
    pub(super) fn performs(&self, effect: &EffectId) {
        let known = self.effects.get(&(effect.step.clone(), effect.key.clone()));
        assert_eq!(known, Some(&Known::Open), "{effect} without a durable intent");
    }

    /// Whether an effect must be at the target; none where the journal itself says that nobody knows.
    pub(super) fn in_place(&self, step: &StepId, key: &str) -> Option<bool> {
        let known = |key: String| self.effects.get(&(step.clone(), key)).copied();
        match known(format!("undo {key}")) {
            Some(Known::Done) => return Some(false),
            Some(Known::Open | Known::Perhaps) => return None,
            Some(Known::NotDone) | None => {}
        }
        match known(key.to_owned()) {
            Some(Known::Done) => Some(true),
            Some(Known::NotDone) | None => Some(false),
            Some(Known::Open | Known::Perhaps) => None,
        }
    }
}
