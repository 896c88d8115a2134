//! What a trial left behind, read from outside the program that did it, and how two of these differ.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

use serde::Serialize;
use serde_json::{Value, json};

use super::RehearsalError;
use crate::azure::change_request_id;
use crate::http::idempotency_key;
use crate::journal;
use crate::run::{EffectId, Event, Repeat, RunId, RunState};
use crate::sandbox::scenario::FaultKind;
use crate::sandbox::{self, WorldSnapshot, estate_in, ledger};

/// See the module.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Left {
    /// The world.
    pub world: WorldSnapshot,
    /// How often each thing was changed, by the sandbox's ledger; the writing client's orders left out.
    pub changes: BTreeMap<String, usize>,
    /// Changes in the ledger that no intent in the journal announces.
    pub unannounced: Vec<String>,
    /// What only a person can decide.
    pub doubts: Vec<Doubt>,
}

/// A step whose outcome nobody could find out.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Doubt {
    /// The step.
    pub step: String,
    /// Its kind says that a person has to be asked: neither a probe nor a harmless repeat was promised.
    pub promised: bool,
    /// What was read.
    pub evidence: String,
}

impl Left {
    /// What the runs in this state folder left. Opens databases, which takes back what a crash left half done in them.
    pub async fn read(state_dir: &Path) -> Result<Self, RehearsalError> {
        let mut left = Self {
            changes: changes(state_dir)?,
            unannounced: unannounced(state_dir)?,
            ..Self::default()
        };
        if let Some(run) = run_dir(state_dir) {
            left.doubts = Announced::read(&run)?.doubts;
        }
        if let Some(run) = run_dir(state_dir).or_else(|| runs(state_dir).pop()) {
            left.world = sandbox::world(&run.join("sandbox")).await?;
        }
        Ok(left)
    }
}

/// How often each thing was changed, by the ledgers; the writing client's orders left out, and what a fault of the scenario made
/// fail after it was accepted: to ask for that again is no repetition.
pub fn changes(state_dir: &Path) -> Result<BTreeMap<String, usize>, RehearsalError> {
    let mut changes = BTreeMap::new();
    for dir in runs(state_dir) {
        let own = Announced::read(&dir)?.changes(&dir)?;
        for change in own.into_iter().filter(|change| !change.failed) {
            *changes.entry(change.name).or_insert(0) += 1;
        }
    }
    Ok(changes)
}

/// Changes that no intent in the journals announces, also of runs that were cut off. Reads files and touches nothing.
pub fn unannounced(state_dir: &Path) -> Result<Vec<String>, RehearsalError> {
    let mut found = Vec::new();
    for dir in runs(state_dir) {
        let own = Announced::read(&dir)?;
        let changes = own.changes(&dir)?.into_iter().filter(|change| !change.announced);
        found.extend(changes.map(|change| change.name));
        if !own.copies && has_files(&estate_in(&dir.join("sandbox")).join("target")) {
            found.push("files at the target".to_owned());
        }
    }
    Ok(found)
}

fn has_files(dir: &Path) -> bool {
    let entries = fs::read_dir(dir).into_iter().flatten().flatten();
    entries.map(|it| it.path()).any(|path| if path.is_dir() { has_files(&path) } else { true })
}

/// The folders of the runs there, also of one that ended before it had a journal.
fn runs(state_dir: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(state_dir.join("runs")).into_iter().flatten();
    let mut runs: Vec<_> = entries.filter_map(|entry| Some(entry.ok()?.path())).collect();
    runs.sort();
    runs
}

/// The folder of the run that has a journal.
pub(super) fn run_dir(state_dir: &Path) -> Option<PathBuf> {
    runs(state_dir).into_iter().find(|run| run.join(journal::FILE).is_file())
}

/// A change in a ledger.
struct Change {
    /// Method and path.
    name: String,
    /// An intent speaks of it.
    announced: bool,
    /// The operation that it began was made to fail.
    failed: bool,
}

/// What a run's journal says about changes.
#[derive(Default)]
struct Announced {
    run: String,
    /// Request ids that its intents give rise to.
    ids: BTreeSet<String>,
    /// Some intent may put files at the target.
    copies: bool,
    doubts: Vec<Doubt>,
}

impl Announced {
    fn read(dir: &Path) -> Result<Self, RehearsalError> {
        let name = dir.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let (run, mut ids, mut copies) = (RunId::new(name.clone()), BTreeSet::new(), false);
        if !dir.join(journal::FILE).is_file() {
            return Ok(Self { run: name, ..Self::default() });
        }
        let reading = journal::read(dir, |record, _| {
            if let Event::Intent { step, intent, .. } = &record.event {
                let effect = EffectId { step: step.clone(), key: intent.key.clone() };
                ids.insert(idempotency_key(&run, &effect));
                ids.insert(change_request_id(&run, &effect).to_string());
                copies |= ["copy", "run"].contains(&intent.verb.as_str());
            }
        })?;
        Ok(Self { run: name, ids, copies, doubts: doubts(&reading.state) })
    }

    /// Every change in the run's ledger. The writing client's orders are none of the run's.
    fn changes(&self, dir: &Path) -> Result<Vec<Change>, RehearsalError> {
        let entries = ledger::read(&dir.join("sandbox"))?;
        let own = entries.into_iter().filter(|entry| {
            entry.is_mutating_request() && entry.changed && !entry.path.ends_with("/orders")
        });
        let changes = own.map(|entry| {
            let path = stable(&entry.path).replace(&self.run, "RUN");
            let announced = entry.request_id.is_some_and(|id| self.ids.contains(&id));
            let failed = entry.fault.as_deref() == Some(FaultKind::OperationFails.name());
            Change { name: format!("{} {path}", entry.method), announced, failed }
        });
        Ok(changes.collect())
    }
}

fn doubts(state: &RunState) -> Vec<Doubt> {
    let steps = state.plan().steps.iter().zip(&state.steps);
    let open = steps.filter_map(|(step, own)| {
        let evidence = own.doubt.clone()?;
        let promised = own.in_doubt().all(|effect| effect.intent.repeat == Repeat::Ask);
        Some(Doubt { step: step.id.to_string(), promised, evidence })
    });
    open.collect()
}

/// The part of a path that is the same in every run: deployments are named after their run.
pub fn stable(path: &str) -> &str {
    let at = path.find("/deployments/").map(|at| at + "/deployments/".len());
    &path[..at.unwrap_or(path.len())]
}

/// One place at which two worlds differ.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Difference {
    /// Where: `record_sets / contoso.example/cname/crm / TTL`.
    pub at: String,
    /// What the whole run left there; none: nothing.
    pub expected: Option<Value>,
    /// What is there.
    pub found: Option<Value>,
}

/// A world as it compares between two right runs. How many orders its client got rid of while it ran is a matter of speed;
/// that none is lost, and whether all are at the target, is not.
pub fn comparable(world: &WorldSnapshot) -> Value {
    let mut value = serde_json::to_value(world).expect("a world is plain data");
    for (application, orders) in &world.orders {
        value["orders"][application] =
            json!({ "all_at_target": orders.missing_at_target.is_empty(), "lost": orders.lost });
    }
    value
}

/// Every place at which `found` is not as `expected`, in order.
pub fn differences(expected: &WorldSnapshot, found: &WorldSnapshot) -> Vec<Difference> {
    let [expected, found] = [expected, found].map(|world| {
        let mut leaves = BTreeMap::new();
        flatten(String::new(), comparable(world), &mut leaves);
        leaves
    });
    let places: BTreeSet<_> = expected.keys().chain(found.keys()).collect();
    places
        .into_iter()
        .filter(|at| expected.get(*at) != found.get(*at))
        .map(|at| Difference {
            at: at.clone(),
            expected: expected.get(at).cloned(),
            found: found.get(at).cloned(),
        })
        .collect()
}

/// Leaves by their place. Lists are leaves: their order is part of what they say.
fn flatten(at: String, value: Value, leaves: &mut BTreeMap<String, Value>) {
    match value {
        Value::Object(members) => {
            for (name, member) in members {
                let below = if at.is_empty() { name } else { format!("{at} / {name}") };
                flatten(below, member, leaves);
            }
        }
        leaf => drop(leaves.insert(at, leaf)),
    }
}
