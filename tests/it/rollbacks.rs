//! The way back from every step before the point of no return, on runbooks drawn by lot: the world equals the start.
//!
//! For each step the run is ended in one of the ways of [`Way`], taken back with `rollback`, and compared: record sets, TTLs,
//! locks, maintenance switches, what `exec` made. Now and then the rollback itself is killed at a random record, or a
//! request of it meets a fault; then it is taken up again. Exit 8, and nothing was changed twice.

use std::collections::BTreeMap;
use std::fs;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use migrate::azure::change_request_id;
use migrate::run::{EffectId, Ending, Event, RunId, StepId};
use migrate::sandbox::{WorldSnapshot, ledger};
use migrate::{http, journal, sandbox};

use crate::child::Running;
use crate::generate::{self, Dice, Generated};
use crate::lab::{Ended, Lab, cases, stable};

/// Seeds that once led to a deviation, and why.
const KEPT: &[u64] = &[319_072_677_316];
const SCENARIO: &str = "
estate: { seed: 7, workloads: [crm, shop], files: 6, orders: 8 }
writer: { orders: 2, pause_ms: 1 }
";
/// Runbooks tried side by side; each is a process that mostly waits for the disk.
const SIDE_BY_SIDE: usize = 2;

/// How a run is ended at a step.
#[derive(Debug, Clone)]
enum Way {
    /// `kill -9` when so many records are durable.
    Killed(usize),
    /// One of its requests meets this fault; the scenario's words.
    Fault(String),
}

/// What happens to the rollback.
#[derive(Debug, Clone)]
enum Interruption {
    None,
    /// `kill -9` after so many of its records.
    Killed(usize),
    /// A request that takes something back meets this fault.
    Fault(String),
}

/// A step of the whole run, as far as ways to end there need it.
struct Stop {
    step: StepId,
    /// Records when it began and when it had succeeded.
    began: usize,
    succeeded: usize,
    /// `(method, path, nth)` of requests that changed something.
    requests: Vec<(String, String, usize)>,
    acts: bool,
}

#[derive(Default)]
struct Figures {
    steps: usize,
    rollbacks: usize,
    killed: usize,
    crossed: usize,
}

struct Proof {
    seed: u64,
    book: Generated,
    dice: Dice,
    before: WorldSnapshot,
}

impl Proof {
    fn new(seed: u64) -> Self {
        let before = untouched();
        Self { seed, book: generate::runbook(seed), dice: Dice::new(!seed), before }
    }

    /// A place with the runbook in it, whose world meets these faults.
    fn lab(&self, faults: &str) -> (Lab, String) {
        let faults = if faults.is_empty() { String::new() } else { format!("faults:\n{faults}") };
        let lab = Lab::new(&format!("{SCENARIO}{faults}"));
        let path = lab.path().join("runbook.yaml");
        fs::write(&path, &self.book.text).expect("a runbook");
        fs::copy("examples/steps/azure.deploy.json", lab.path().join("azure.deploy.json"))
            .expect("a template");
        (lab, path.display().to_string())
    }

    /// Runs it, and lets held steps begin, until it ends otherwise.
    fn run(&self, lab: &Lab, runbook: &str, more: &[&str]) -> Ended {
        let mut ended = lab.run(runbook, more);
        for _ in 0..self.book.holds.len() {
            if ended.code() != Some(5) {
                break;
            }
            for step in &self.book.holds {
                lab.migrate(["approve", &lab.run_id(), step]);
            }
            ended = lab.migrate(["resume"].iter().chain(more));
        }
        ended
    }

    fn every_step(&mut self) -> Result<Figures, String> {
        let (lab, runbook) = self.lab("");
        let valid = lab.migrate(["validate", &runbook]);
        if valid.code() != Some(0) {
            return Err(format!("it is not valid: {}", valid.said()));
        }
        let whole = self.run(&lab, &runbook, &[]);
        if whole.code() != Some(0) {
            return Err(format!("it does not complete: {}", whole.said()));
        }
        let (mut figures, mut before) = (Figures::default(), Vec::new());
        for stop in stops(&lab) {
            before.extend(stop.requests.iter().cloned());
            figures.steps += 1;
            let mut ways = vec![Way::Killed(stop.succeeded)];
            if let Some(way) = self.half_way(&stop) {
                ways.push(way);
            }
            for way in ways {
                let interruption = self.interruption(&before);
                figures.rollbacks += 1;
                self.taken_back(&way, &interruption, &mut figures)
                    .map_err(|why| format!("{} {way:?} {interruption:?}: {why}", stop.step))?;
            }
        }
        Ok(figures)
    }

    /// A way to end the step in the middle of what it changes.
    fn half_way(&mut self, stop: &Stop) -> Option<Way> {
        if !stop.acts {
            return None;
        }
        if stop.requests.is_empty() || self.dice.chance(25) {
            let inside = stop.succeeded - stop.began;
            return Some(Way::Killed(stop.began + self.dice.below(inside)));
        }
        let (method, path, nth) = self.dice.pick(&stop.requests).clone();
        let mut kinds =
            vec!["reply_lost", "reply_lost", "server_error", "conflict", "precondition_failed"];
        if path.contains("/deployments/") {
            kinds.push("operation_fails");
        }
        let kind = *self.dice.pick(&kinds);
        Some(Way::Fault(format!(
            "  - {{ method: {method}, path: \"{path}\", nth: {nth}, fault: {kind} }}\n"
        )))
    }

    /// What happens to the rollback of a run that ends there; `before` are the requests of the steps up to it.
    fn interruption(&mut self, before: &[(String, String, usize)]) -> Interruption {
        match self.dice.below(6) {
            0 | 1 => Interruption::Killed(1 + self.dice.below(12)),
            2 if !before.is_empty() => {
                let (method, path, _) = self.dice.pick(before).clone();
                // A lock goes with DELETE; all else returns the way it came.
                let (method, nth) = if path.contains("/locks/") {
                    ("DELETE".to_owned(), 1)
                } else {
                    let same =
                        |it: &&(String, String, usize)| it.0 == method && it.1.contains(&path);
                    let met = before.iter().filter(same).count();
                    (method, met + 1)
                };
                let kinds = ["reply_lost", "server_error", "conflict", "precondition_failed"];
                let kind = *self.dice.pick(&kinds);
                Interruption::Fault(format!(
                    "  - {{ method: {method}, path: \"{path}\", nth: {nth}, fault: {kind} }}\n"
                ))
            }
            _ => Interruption::None,
        }
    }

    fn taken_back(
        &self,
        way: &Way,
        interruption: &Interruption,
        figures: &mut Figures,
    ) -> Result<(), String> {
        let mut faults = String::new();
        if let Way::Fault(it) = way {
            faults += it;
        }
        if let Interruption::Fault(it) = interruption {
            faults += it;
        }
        let (lab, runbook) = self.lab(&faults);
        let mut ended = match way {
            Way::Killed(records) => {
                self.run(&lab, &runbook, &["--die-at", &format!("after-record:{records}")])
            }
            Way::Fault(_) => self.run(&lab, &runbook, &[]),
        };
        if crossed(&lab) {
            figures.crossed += 1;
            let refused = lab.migrate(["rollback", &lab.run_id(), "--yes"]);
            return if refused.code() == Some(4) { Ok(()) } else { Err(refused.said()) };
        }
        if let Interruption::Killed(after) = interruption
            && ended.code() != Some(8)
        {
            match killed(&lab, lab.records() + after) {
                None => {
                    figures.killed += 1;
                    // Before its beginning is on disk there is no rollback to resume: that would go on with the run.
                    let resumes = self.seed.is_multiple_of(2) && has_begun_to_roll_back(&lab);
                    let next = if resumes { "resume" } else { "rollback" };
                    let yes = (next == "rollback").then_some("--yes");
                    ended = lab.migrate([next, &lab.run_id()].into_iter().chain(yes));
                    // Killed after its last word, there is nothing to do.
                    if ended.code() == Some(0) && is_rolled_back(&lab) {
                        return self.as_before(&lab);
                    }
                }
                Some(8) => return self.as_before(&lab),
                Some(_) => {}
            }
        }
        // A request that was refused on the way back is not sent again by itself: an operator types it again.
        for _ in 0..3 {
            if ended.code() != Some(8) {
                ended = lab.migrate(["rollback", &lab.run_id(), "--yes"]);
            }
            if !matches!(interruption, Interruption::Fault(_)) {
                break;
            }
        }
        if ended.code() != Some(8) {
            return Err(ended.said());
        }
        self.as_before(&lab)
    }

    fn as_before(&self, lab: &Lab) -> Result<(), String> {
        let (now, before) = (restorable(lab.world()), restorable(self.before.clone()));
        if now != before {
            return Err(format!("another world: {}", difference(&before, &now)));
        }
        let entries = ledger::read(&lab.sandbox_dir()).expect("a ledger");
        let twice = ledger::duplicates(&entries);
        if !twice.is_empty() {
            return Err(format!("changed twice: {twice:?}"));
        }
        let estate = lab.sandbox_dir().join("estate");
        for marker in &self.book.markers {
            let log = fs::read_to_string(estate.join(format!("log-{marker}"))).unwrap_or_default();
            if !["", "do\nundo\n"].contains(&log.as_str()) {
                return Err(format!("{marker} did {log:?}"));
            }
            if estate.join(format!("made-{marker}")).exists() {
                return Err(format!("{marker} is left"));
            }
        }
        Ok(())
    }
}

/// The world that every one of these runs begins with.
fn untouched() -> WorldSnapshot {
    static WORLD: Mutex<Option<WorldSnapshot>> = Mutex::new(None);
    let mut world = WORLD.lock().expect("no panic");
    let world = world.get_or_insert_with(|| {
        let lab = Lab::new(SCENARIO);
        let dir = lab.path().join("world");
        lab.dry_run("examples/steps/net.check.yaml", &dir.display().to_string()).expect(0);
        let runtime = tokio::runtime::Runtime::new().expect("a runtime");
        runtime.block_on(sandbox::world(&dir)).expect("a world")
    });
    world.clone()
}

/// What a run may change and a rollback has to restore.
fn restorable(world: WorldSnapshot) -> WorldSnapshot {
    WorldSnapshot {
        deployments: BTreeMap::new(),
        resources: BTreeMap::new(),
        files: BTreeMap::new(),
        target_tables: BTreeMap::new(),
        orders: BTreeMap::new(),
        hooks: BTreeMap::new(),
        maintenance: world.maintenance.into_iter().filter(|(_, refuses)| *refuses).collect(),
        ..world
    }
}

fn difference(before: &WorldSnapshot, now: &WorldSnapshot) -> String {
    let [before, now] = [before, now].map(|it| serde_json::to_string_pretty(it).expect("JSON"));
    let lost = before.lines().filter(|line| !now.contains(*line)).map(|it| format!("- {it}"));
    let new = now.lines().filter(|line| !before.contains(*line)).map(|it| format!("+ {it}"));
    lost.chain(new).collect::<Vec<_>>().join("\n")
}

/// A rollback with `kill -9` as soon as its journal has so many records; its exit code if it was faster.
fn killed(lab: &Lab, records: usize) -> Option<i32> {
    let command = lab.command(["rollback", &lab.run_id(), "--yes"]);
    let mut rollback = Running::start(command, lab.path(), "rollback");
    while lab.records() < records {
        if let Some(status) = rollback.ended_within(Duration::from_micros(200)) {
            return status.code();
        }
    }
    rollback.kill();
    let ended = rollback.ended_within(Duration::from_mins(1)).expect("it was killed");
    ended.code()
}

fn is_rolled_back(lab: &Lab) -> bool {
    let state = journal::read(&lab.run_dir(), |_, _| {}).expect("a journal").state;
    state.ended == Some(Ending::RolledBack)
}

fn has_begun_to_roll_back(lab: &Lab) -> bool {
    journal::read(&lab.run_dir(), |_, _| {}).expect("a journal").state.rolling_back.is_some()
}

fn crossed(lab: &Lab) -> bool {
    journal::read(&lab.run_dir(), |_, _| {}).expect("a journal").state.crossed.is_some()
}

/// Every step that succeeded before the point of no return, in that order.
fn stops(lab: &Lab) -> Vec<Stop> {
    let run = RunId::new(lab.run_id());
    let (mut began, mut effects) = (BTreeMap::new(), BTreeMap::<StepId, Vec<EffectId>>::new());
    let mut stops = Vec::new();
    journal::read(&lab.run_dir(), |record, state| {
        let records = usize::try_from(record.seq).expect("few") + 1;
        match &record.event {
            Event::StepStarted { step, .. } => drop(began.insert(step.clone(), records)),
            Event::Intent { step, intent, .. } => {
                let id = EffectId { step: step.clone(), key: intent.key.clone() };
                effects.entry(step.clone()).or_default().push(id);
            }
            Event::StepSucceeded { step, .. } => {
                let point =
                    state.plan().steps.iter().any(|it| it.id == *step && it.point_of_no_return);
                if !point && state.crossed.is_none() {
                    let stop = Stop {
                        step: step.clone(),
                        began: began[step],
                        succeeded: records,
                        requests: Vec::new(),
                        acts: effects.contains_key(step),
                    };
                    stops.push(stop);
                }
            }
            _ => {}
        }
    })
    .expect("a journal");
    let entries = ledger::read(&lab.sandbox_dir()).expect("a ledger");
    for stop in &mut stops {
        let ids: Vec<String> = effects
            .get(&stop.step)
            .into_iter()
            .flatten()
            .flat_map(|id| {
                [http::idempotency_key(&run, id), change_request_id(&run, id).to_string()]
            })
            .collect();
        for (at, entry) in entries.iter().enumerate().filter(|(_, it)| it.is_mutating_request()) {
            if entry.request_id.as_ref().is_some_and(|id| ids.contains(id)) {
                // Names that hold the run's id differ from run to run.
                let path =
                    stable(&entry.path).split(run.as_str()).next().unwrap_or_default().to_owned();
                let same =
                    |it: &&ledger::Entry| it.method == entry.method && it.path.contains(&path);
                let nth = entries[..=at].iter().filter(same).count();
                stop.requests.push((entry.method.clone(), path, nth));
            }
        }
    }
    stops
}

/// Seeds that are new each time, so that no two runs of the tests try the same.
fn fresh(count: usize) -> Vec<u64> {
    use std::hash::{BuildHasher, Hasher};
    let first = std::collections::hash_map::RandomState::new().build_hasher().finish() >> 24;
    (0..count as u64).map(|nth| first + nth).collect()
}

fn seeds() -> Vec<u64> {
    if let Ok(seed) = std::env::var("MIGRATE_SEED") {
        return vec![seed.parse().expect("MIGRATE_SEED is a number")];
    }
    let fixed = 1..=3;
    let count = cases(6, 500);
    let known: Vec<u64> = KEPT.iter().copied().chain(fixed).take(count).collect();
    let new = fresh(count - known.len());
    known.into_iter().chain(new).collect()
}

#[test]
fn the_world_equals_the_start_after_a_rollback_from_every_step() {
    let seeds = seeds();
    println!("rollbacks: {} runbooks, seeds from {:?}", seeds.len(), seeds.last());
    let (next, wrong, total) =
        (AtomicUsize::new(0), Mutex::new(Vec::new()), Mutex::new(Figures::default()));
    std::thread::scope(|scope| {
        for _ in 0..SIDE_BY_SIDE {
            scope.spawn(|| {
                while let Some(&seed) = seeds.get(next.fetch_add(1, Ordering::Relaxed)) {
                    match Proof::new(seed).every_step() {
                        Ok(figures) => total.lock().expect("no panic").add(&figures),
                        Err(why) => {
                            println!("MIGRATE_SEED={seed}: {why}\n");
                            wrong.lock().expect("no panic").push(seed);
                        }
                    }
                    let tried = next.load(Ordering::Relaxed);
                    if tried.is_multiple_of(25) && std::env::var_os("MIGRATE_SOAK").is_some() {
                        println!("{tried} runbooks, {}", total.lock().expect("no panic").steps);
                    }
                }
            });
        }
    });
    let (wrong, total) =
        (wrong.into_inner().expect("no panic"), total.into_inner().expect("no panic"));
    println!(
        "rollbacks: {} runbooks, {} steps, {} rollbacks, {} of them killed and taken up again, {} refused after a point of no \
         return, {} deviations",
        seeds.len(),
        total.steps,
        total.rollbacks,
        total.killed,
        total.crossed,
        wrong.len()
    );
    assert!(wrong.is_empty(), "deviations with the seeds {wrong:?}");
}

impl Figures {
    fn add(&mut self, other: &Self) {
        self.steps += other.steps;
        self.rollbacks += other.rollbacks;
        self.killed += other.killed;
        self.crossed += other.crossed;
    }
}

/// A place whose world meets these faults, after a run of the example that came to this end.
fn ran(example: &str, faults: &str, code: i32) -> Lab {
    let lab = Lab::new(&format!("{SCENARIO}faults:\n{faults}"));
    lab.run(example, &[]).expect(code);
    lab
}

const LOWER_TTL: &str = "examples/steps/dns.ttl.yaml";

#[test]
fn a_rollback_that_met_a_refusal_is_completed_by_the_next() {
    let fault = "  - { method: PUT, path: CNAME/crm, nth: 2, fault: precondition_failed }\n";
    let lab = ran(LOWER_TTL, fault, 0);
    lab.migrate(["rollback", &lab.run_id(), "--yes"]).expect(9);
    lab.migrate(["rollback", &lab.run_id(), "--yes"]).expect(8);
    assert_eq!(restorable(lab.world()), restorable(untouched()));
}

#[test]
fn a_reply_lost_on_the_way_back_does_not_end_it() {
    let fault = "  - { method: PUT, path: CNAME/crm, nth: 2, fault: reply_lost }\n";
    let lab = ran(LOWER_TTL, fault, 0);
    let whole = ran(LOWER_TTL, "  []\n", 0);
    for lab in [&lab, &whole] {
        lab.migrate(["rollback", &lab.run_id(), "--yes"]).expect(8);
    }
    assert_eq!(lab.changes(), whole.changes());
    assert_eq!(restorable(lab.world()), restorable(untouched()));
}

#[test]
fn what_may_be_in_place_is_taken_back_too() {
    let fault = |nth, fault| {
        format!(
            "  - {{ method: PUT, path: \"crm@target/maintenance\", nth: {nth}, fault: {fault} }}\n"
        )
    };
    let faults = fault(1, "reply_lost") + &fault(2, "server_error") + &fault(3, "server_error");
    let lab = ran("tests/it/runbooks/blind-request.yaml", &faults, 6);
    assert!(lab.world().maintenance["target-crm"], "the first request did its work");
    lab.migrate(["rollback", &lab.run_id(), "--yes"]).expect(8);
    assert_eq!(restorable(lab.world()), restorable(untouched()));
}

#[test]
fn nothing_is_taken_back_behind_a_later_change_of_the_same() {
    let fault = "  - { method: PUT, path: CNAME/crm, nth: 3, fault: precondition_failed }\n";
    let lab = ran("tests/it/runbooks/lowered.yaml", fault, 0);
    let incomplete = lab.migrate(["rollback", &lab.run_id(), "--yes"]).expect(9);
    assert!(incomplete.said().contains("MIG0711"), "{}", incomplete.said());
    lab.migrate(["rollback", &lab.run_id(), "--yes"]).expect(8);
    assert_eq!(restorable(lab.world()), restorable(untouched()));
}
