//! Which rows of the two tables were taken.

use std::collections::BTreeSet;

use super::super::recovery::{self, Recovery};
use super::super::transition::{self, Move, Phase};
use super::super::*;

/// Rows by their position in their table.
#[derive(Default)]
pub(super) struct Coverage {
    transitions: BTreeSet<usize>,
    recoveries: BTreeSet<usize>,
}

impl Coverage {
    /// A fact is about to be folded into this state.
    pub(super) fn see(&mut self, state: &RunState, event: &Event) {
        let Some((step, fact, _)) = transition::of(event) else { return };
        let Some(from) = state.step(step).map(|own| own.state.phase()) else { return };
        let row = transition::TABLE.iter().position(|row| (row.0, row.1) == (from, fact));
        self.transitions.extend(row);
    }

    /// A probe has answered about an effect in doubt.
    pub(super) fn probed(&mut self, state: &RunState, effect: &EffectId, verdict: &Verdict) {
        let recorded = state.step(&effect.step).and_then(|own| own.effect(&effect.key));
        let Some(recorded) = recorded.filter(|recorded| !recorded.done) else { return };
        let case = (recorded.intent.repeat, verdict.answered());
        let row = recovery::TABLE.iter().position(|row| (row.0, row.1) == case);
        self.recoveries.extend(row);
    }

    pub(super) fn join(&mut self, other: &Self) {
        self.transitions.extend(&other.transitions);
        self.recoveries.extend(&other.recoveries);
    }

    pub(super) fn is_complete(&self) -> bool {
        self.count().iter().all(|(taken, rows)| taken == rows)
    }

    /// Rows taken and rows there are, of both tables.
    pub(super) fn count(&self) -> [(usize, usize); 2] {
        [
            (self.transitions.len(), transition::TABLE.len()),
            (self.recoveries.len(), recovery::TABLE.len()),
        ]
    }

    pub(super) fn never_taken(&self) -> (Vec<(Phase, Move, Phase)>, Vec<Recovery>) {
        let transitions = transition::TABLE.iter().enumerate();
        let recoveries = recovery::TABLE.iter().enumerate();
        (
            transitions
                .filter(|(at, _)| !self.transitions.contains(at))
                .map(|(_, it)| *it)
                .collect(),
            recoveries
                .filter(|(at, _)| !self.recoveries.contains(at))
                .map(|(_, it)| it.2)
                .collect(),
        )
    }
}
