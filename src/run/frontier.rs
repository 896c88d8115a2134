//! Which steps could start: kept up to date by the fold, so that a decision never scans the plan.

use std::collections::BTreeSet;

use super::{StepRecord, StepState};
use crate::plan::{OnFailure, Plan};

/// Derived from plan and step states; never journalled.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Frontier {
    successors: Vec<Vec<usize>>,
    open: Vec<usize>,
    /// The step ended well, was skipped or passed over.
    passed: Vec<bool>,
    /// It passed, and so did everything before it: its successors count it.
    released: Vec<bool>,
    /// Every predecessor has ended and the step has not begun; in plan order.
    pub startable: BTreeSet<usize>,
    /// Attempts and undos under way.
    pub running: BTreeSet<usize>,
    /// Steps not yet ended well, skipped or passed over.
    pub unfinished: usize,
}

impl Frontier {
    /// Over a whole plan; `steps` as they stand.
    pub fn over(plan: &Plan, steps: &[StepRecord]) -> Self {
        let mut successors = vec![Vec::new(); plan.steps.len()];
        for (at, step) in plan.steps.iter().enumerate() {
            for &before in &step.after {
                successors[before].push(at);
            }
        }
        let open: Vec<usize> = plan.steps.iter().map(|step| step.after.len()).collect();
        let mut frontier = Self {
            startable: open
                .iter()
                .enumerate()
                .filter(|(_, n)| **n == 0)
                .map(|(at, _)| at)
                .collect(),
            running: BTreeSet::new(),
            unfinished: plan.steps.len(),
            passed: vec![false; plan.steps.len()],
            released: vec![false; plan.steps.len()],
            successors,
            open,
        };
        for (at, step) in steps.iter().enumerate() {
            frontier.moved(at, &step.state, plan.steps[at].on_failure);
        }
        frontier
    }

    /// A step changed its state.
    pub(super) fn moved(&mut self, at: usize, state: &StepState, on_failure: OnFailure) {
        match state {
            StepState::Running(_) | StepState::Undoing => {
                self.startable.remove(&at);
                self.running.insert(at);
            }
            StepState::Pending | StepState::Waiting(_) => {
                self.running.remove(&at);
                if self.open[at] == 0 {
                    self.startable.insert(at);
                }
            }
            _ => {
                self.startable.remove(&at);
                self.running.remove(&at);
            }
        }
        let passed = matches!(state, StepState::Succeeded | StepState::Skipped)
            || (matches!(state, StepState::Failed) && on_failure == OnFailure::Continue);
        self.passed[at] |= passed;
        if passed && self.open[at] == 0 {
            self.release(at);
        }
    }

    /// Counts a passed step for its successors, and those among them that had passed already.
    fn release(&mut self, at: usize) {
        let mut to_release = vec![at];
        while let Some(at) = to_release.pop() {
            if std::mem::replace(&mut self.released[at], true) {
                continue;
            }
            self.unfinished -= 1;
            for next in self.successors[at].clone() {
                self.open[next] -= 1;
                if self.open[next] == 0 && self.passed[next] {
                    to_release.push(next);
                } else if self.open[next] == 0 && !self.running.contains(&next) {
                    self.startable.insert(next);
                }
            }
        }
    }

    /// A passed step has to run again: whatever comes after it waits, and what had passed there need not run again.
    pub(super) fn reopen(&mut self, at: usize) {
        self.passed[at] = false;
        let mut to_hold = vec![at];
        while let Some(at) = to_hold.pop() {
            if !std::mem::replace(&mut self.released[at], false) {
                continue;
            }
            self.unfinished += 1;
            for next in self.successors[at].clone() {
                self.open[next] += 1;
                self.startable.remove(&next);
                to_hold.push(next);
            }
        }
        if self.open[at] == 0 {
            self.startable.insert(at);
        }
    }

    /// Another attempt of a step that failed, was held or was cut off.
    pub(super) fn again(&mut self, at: usize) {
        self.running.remove(&at);
        if self.open[at] == 0 {
            self.startable.insert(at);
        }
    }
}
