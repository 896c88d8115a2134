//! The laws that every step kind keeps, checked from the list of kinds with the real program in a sandbox.
//!
//! Each test is one law and names every kind that breaks it. A kind takes part by being listed: its example is what is run.

use std::any::Any;
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use migrate::azure::change_request_id;
use migrate::plan::Class;
use migrate::run::{EffectId, Event, Intent, Repeat, RunId, Undo};
use migrate::sandbox::{self, WorldSnapshot, ledger};
use migrate::steps::{KINDS, Kind};
use migrate::{http, journal};

use crate::lab::{Lab, stable};

/// As small as a world can be: these tests start the program some hundred times.
const TINY: &str = "
estate: { seed: 7, workloads: [crm, shop], files: 6, orders: 8 }
writer: { orders: 0 }
";
/// Kinds tried side by side; each is a process that mostly waits for the disk.
const SIDE_BY_SIDE: usize = 2;

fn example(kind: &Kind) -> String {
    format!("examples/steps/{}.yaml", kind.spec.name)
}

/// Holds a law against every kind, and names those that break it.
fn every_kind(law: impl Fn(&Kind) + Sync) {
    let (next, broken) = (AtomicUsize::new(0), Mutex::new(BTreeMap::new()));
    std::thread::scope(|scope| {
        for _ in 0..SIDE_BY_SIDE {
            scope.spawn(|| {
                while let Some(kind) = KINDS.get(next.fetch_add(1, Ordering::Relaxed)) {
                    if let Err(panic) = catch_unwind(AssertUnwindSafe(|| law(kind))) {
                        broken.lock().expect("no panic").insert(kind.spec.name, message(&*panic));
                    }
                }
            });
        }
    });
    let broken = broken.into_inner().expect("no panic");
    assert!(broken.is_empty(), "{} kinds: {broken:#?}", broken.len());
}

fn message(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<String>().cloned();
    text.or_else(|| panic.downcast_ref::<&str>().map(|it| (*it).to_owned())).unwrap_or_default()
}

/// What a journal tells of effects.
#[derive(Default)]
struct Story {
    /// Every intent; the same one again replaces it.
    intents: BTreeMap<EffectId, Intent>,
    done: BTreeSet<EffectId>,
    /// Effects that were taken back.
    undone: BTreeSet<EffectId>,
    /// Records (counted from 1) after which an outside call is about to be made, or was just made.
    before_change: Vec<usize>,
    after_change: Vec<usize>,
}

fn story(lab: &Lab) -> Story {
    let mut story = Story::default();
    journal::read(&lab.run_dir(), |record, _| {
        let records = usize::try_from(record.seq).expect("few") + 1;
        match &record.event {
            Event::Intent { step, intent, undoes } => {
                let id = |key: &str| EffectId { step: step.clone(), key: key.to_owned() };
                story.intents.insert(id(&intent.key), intent.clone());
                story.undone.extend(undoes.as_deref().map(id));
                story.before_change.push(records);
            }
            Event::Sent { .. } => story.after_change.push(records),
            Event::Done { step, key, .. } => {
                story.done.insert(EffectId { step: step.clone(), key: key.clone() });
                story.after_change.push(records);
            }
            _ => {}
        }
    })
    .expect("a journal");
    story
}

/// The example, run to its end.
fn completed(kind: &Kind) -> Lab {
    let lab = Lab::new(TINY);
    lab.run(&example(kind), &[]).expect(0);
    lab
}

/// The world before anything has run: a dry run makes it and must not change it.
fn untouched(kind: &Kind) -> WorldSnapshot {
    let lab = Lab::new(TINY);
    let dir = lab.path().join("world");
    lab.dry_run(&example(kind), &dir.display().to_string()).expect(0);
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    runtime.block_on(sandbox::world(&dir)).expect("a world")
}

/// Requests that changed something, or tried to; the writing client's orders left out.
fn mutating(sandbox: &Path) -> Vec<ledger::Entry> {
    let entries = ledger::read(sandbox).expect("a ledger").into_iter();
    entries.filter(|it| it.is_mutating_request() && !it.path.ends_with("/orders")).collect()
}

#[test]
fn the_example_validates_plans_and_runs() {
    every_kind(|kind| {
        let lab = Lab::new(TINY);
        lab.migrate(["validate", &example(kind)]).expect(0);
        let plan = lab.migrate(["plan", &example(kind)]).expect(0).stdout();
        assert!(plan.contains(kind.spec.name), "the plan does not name the kind:\n{plan}");
        lab.run(&example(kind), &[]).expect(0);
        let text = fs::read_to_string(example(kind)).expect("an example");
        assert_eq!(
            text, kind.spec.example,
            "the example of the reference is the one that is tested"
        );
    });
}

#[test]
fn a_dry_run_sends_no_change_leaves_nothing_and_says_the_same_twice() {
    every_kind(|kind| {
        let lab = Lab::new(TINY);
        let dir = lab.path().join("world");
        let dry = || lab.dry_run(&example(kind), &dir.display().to_string()).expect(0);
        assert_eq!(dry().stdout(), dry().stdout());
        // The two checks that Azure itself offers as POST: it validates and predicts, and changes nothing.
        let reads = |path: &str| path.ends_with("/validate") || path.ends_with("/whatIf");
        let sent: Vec<_> = mutating(&dir).into_iter().filter(|it| !reads(&it.path)).collect();
        assert!(sent.is_empty(), "{sent:#?}");
        assert!(!lab.path().join("state").exists(), "a state folder is left");
    });
}

#[test]
fn effects_seen_at_the_target_are_among_the_intents() {
    every_kind(|kind| {
        let before = untouched(kind);
        let lab = completed(kind);
        let (story, run) = (story(&lab), RunId::new(lab.run_id()));
        for id in story.intents.keys() {
            assert!(story.done.contains(id), "{id:?} is not done");
        }
        let ours: BTreeSet<String> = story
            .intents
            .keys()
            .flat_map(|id| {
                [http::idempotency_key(&run, id), change_request_id(&run, id).to_string()]
            })
            .collect();
        for entry in mutating(&lab.sandbox_dir()).iter().filter(|entry| entry.changed) {
            let id = entry.request_id.as_deref().unwrap_or_default();
            assert!(ours.contains(id), "{} {} belongs to no intent", entry.method, entry.path);
        }
        let (after, estate) = (lab.world(), lab.sandbox_dir().join("estate"));
        let tables = after.target_tables.keys().filter_map(|table| table.split_once('/'));
        let databases = tables.map(|(app, _)| format!("target/{app}/app.db"));
        let files =
            after.files.iter().filter(|(name, hash)| before.files.get(*name) != Some(*hash));
        for name in files.map(|(name, _)| name.clone()).chain(databases) {
            let path = estate.join(&name);
            let named = story.intents.values().any(|intent| path.starts_with(&intent.target));
            assert!(named, "{name} belongs to no intent");
        }
    });
}

#[test]
fn a_kind_is_what_it_says_it_is() {
    every_kind(|kind| {
        let lab = completed(kind);
        let story = story(&lab);
        let state = journal::read(&lab.run_dir(), |_, _| {}).expect("a journal").state;
        let uses: BTreeMap<_, _> =
            state.plan().steps.iter().map(|step| (&step.id, step.uses.as_str())).collect();
        let own = story.intents.iter().filter(|(id, _)| uses[&id.step] == kind.spec.name);
        let mut effects = 0;
        // A baseline is what was read, kept in the journal; it has no class of its own.
        for (id, intent) in own.filter(|(_, intent)| intent.verb != "baseline") {
            assert!(intent.repeat <= kind.spec.repeat, "{id:?}: {:?}", intent.repeat);
            assert!(intent.undo <= kind.spec.undo, "{id:?}: {:?}", intent.undo);
            effects += 1;
        }
        assert_eq!(kind.spec.class == Class::Action, effects > 0, "{effects} effects");
    });
}

/// The world, the changes in it, and how often was sent what must never be sent twice on suspicion: as they compare
/// between two runs.
fn traces(lab: &Lab) -> (WorldSnapshot, BTreeMap<String, usize>, usize) {
    let (story, run) = (story(lab), RunId::new(lab.run_id()));
    let asks = story.intents.iter().filter(|(_, intent)| intent.repeat == Repeat::Ask);
    let keys: BTreeSet<_> = asks.map(|(id, _)| http::idempotency_key(&run, id)).collect();
    let sent = mutating(&lab.sandbox_dir());
    let once = sent.iter().filter(|it| it.request_id.as_ref().is_some_and(|id| keys.contains(id)));
    let mut world = lab.world();
    for orders in world.orders.values_mut() {
        // How many were acknowledged before the run ended is a matter of speed.
        assert!(orders.lost.is_empty(), "lost orders {:?}", orders.lost);
        (orders.acknowledged, orders.missing_at_target) = (0, Vec::new());
    }
    (world, lab.changes(), once.count())
}

/// Kills the example at each of `points` and resumes it: the same world, no change twice and none left out.
fn survives(kind: &Kind, whole: &Lab, points: &[usize]) {
    let expected = traces(whole);
    for point in points {
        let lab = Lab::new(TINY);
        let killed = lab.run(&example(kind), &["--die-at", &format!("after-record:{point}")]);
        assert_eq!(killed.code(), None, "not killed after record {point}: {}", killed.said());
        let resumed = lab.migrate(["resume"]);
        assert_eq!(resumed.code(), Some(0), "after record {point}: {}", resumed.said());
        assert_eq!(traces(&lab), expected, "after record {point}");
    }
}

#[test]
fn killed_between_intent_and_change_it_is_done_once() {
    every_kind(|kind| {
        let whole = completed(kind);
        survives(kind, &whole, &story(&whole).before_change);
    });
}

#[test]
fn killed_after_a_change_it_is_not_done_again() {
    every_kind(|kind| {
        let whole = completed(kind);
        survives(kind, &whole, &story(&whole).after_change);
    });
}

#[test]
fn a_reply_lost_after_the_change_leaves_a_state_that_probe_can_tell() {
    every_kind(|kind| {
        let whole = completed(kind);
        let expected = traces(&whole);
        let calls = mutating(&whole.sandbox_dir()).into_iter().filter(|entry| entry.changed);
        let mut seen: BTreeMap<(String, String), usize> = BTreeMap::new();
        for entry in calls {
            let (method, path) = (entry.method, stable(&entry.path).to_owned());
            let nth = seen.entry((method.clone(), path.clone())).or_insert(0);
            *nth += 1;
            let lab = Lab::new(&format!(
                "{TINY}faults: [{{ method: {method}, path: \"{path}\", nth: {nth}, fault: reply_lost }}]\n"
            ));
            let mut ended = lab.run(&example(kind), &[]);
            if ended.code() != Some(0) {
                ended = lab.migrate(["resume"]);
            }
            assert_eq!(ended.code(), Some(0), "{method} {path}: {}", ended.said());
            let entries = ledger::read(&lab.sandbox_dir()).expect("a ledger");
            assert!(entries.iter().any(|it| it.fault.is_some()), "{method} {path} was not hit");
            assert_eq!(traces(&lab), expected, "{method} {path}");
        }
    });
}

/// What a run may change and a rollback has to restore.
fn restorable(world: WorldSnapshot) -> WorldSnapshot {
    let weighed =
        |id: &str| ["trafficmanagerprofiles", "microsoft.cdn"].iter().any(|it| id.contains(it));
    WorldSnapshot {
        // Copies, deployments and messages stay and harm nothing; orders come in meanwhile.
        deployments: BTreeMap::new(),
        resources: world.resources.into_iter().filter(|(id, _)| weighed(id)).collect(),
        files: BTreeMap::new(),
        target_tables: BTreeMap::new(),
        orders: BTreeMap::new(),
        hooks: BTreeMap::new(),
        maintenance: world.maintenance.into_iter().filter(|(_, refuses)| *refuses).collect(),
        ..world
    }
}

#[test]
fn what_says_it_restores_restores() {
    every_kind(|kind| {
        let before = untouched(kind);
        let lab = completed(kind);
        let intents = story(&lab).intents;
        let for_good = intents.values().any(|intent| intent.undo == Undo::Irreversible);
        let restores: Vec<EffectId> = intents
            .into_iter()
            .filter(|(_, intent)| intent.undo == Undo::Restores)
            .map(|(id, _)| id)
            .collect();
        // What can not be taken back is left to people, and only that.
        lab.migrate(["rollback", &lab.run_id(), "--yes"]).expect(if for_good { 9 } else { 8 });
        let undone = story(&lab).undone;
        for id in &restores {
            assert!(undone.contains(id), "{id:?} was not taken back");
        }
        assert_eq!(restorable(lab.world()), restorable(before));
        assert!(
            !lab.sandbox_dir().join("estate/target/crm/ready").exists(),
            "exec's folder is left"
        );
    });
}
