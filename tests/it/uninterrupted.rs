//! What a run of a wave comes to when nothing interrupts it: the measure of every run that something is done to.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use migrate::rehearsal::{How, Left, Outcome, Verdict, judge};
use migrate::sandbox::WorldSnapshot;

use crate::lab::{Lab, SMALL};

/// See the module.
pub(crate) struct Uninterrupted {
    pub(crate) world: WorldSnapshot,
    pub(crate) changes: BTreeMap<String, usize>,
    /// Records of its journal.
    pub(crate) records: usize,
    /// From start to exit.
    pub(crate) lasted: Duration,
}

impl Uninterrupted {
    /// Runs the wave in the small world.
    pub(crate) fn run(runbook: &str) -> Self {
        Self::of(runbook, SMALL)
    }

    /// Runs the wave in the world of that scenario.
    pub(crate) fn of(runbook: &str, scenario: &str) -> Self {
        let lab = Lab::new(scenario);
        let started = Instant::now();
        lab.migrate(lab.sandbox_run(runbook)).expect(0);
        let lasted = started.elapsed();
        let it =
            Self { world: lab.world(), changes: lab.changes(), records: lab.records(), lasted };
        assert!(it.records > 50 && !it.changes.is_empty(), "{} records", it.records);
        it
    }

    /// Whether that lab's run came to the same: the same world, the same changes, no order lost.
    pub(crate) fn same(&self, lab: &Lab) -> Result<(), String> {
        let outcome = |world, changes| Outcome {
            ended: How::Exit(0),
            said: String::new(),
            left: Left { world, changes, ..Left::default() },
        };
        let whole = outcome(self.world.clone(), self.changes.clone());
        match judge(&whole, Some(&lab.unannounced()), &outcome(lab.world(), lab.changes())) {
            Verdict::Same => Ok(()),
            other => Err(format!("{other:#?}")),
        }
    }
}
