//! SIGKILL at every system call of a cutover that writes, syncs, renames, connects or sends, then `resume`: the same world
//! and the same changes as an uninterrupted run, no order lost, and nothing at the target that no intent on disk speaks of.
//!
//! `run --sandbox` holds the engine and what stands for Azure in one process, so the calls of both are struck: what dies is
//! both ends of the line, as in a power cut of one machine that does not lose what was written.
//!
//! What is covered, exactly:
//!
//! - In a whole run, the N-th call of each name, for every N up to the longest count of one thread and a few beyond it.
//!   strace counts per thread (see `strace`): every call of the thread that makes most calls of that name is struck, of
//!   other threads the ones that come before that. The closing line says how many distinct calls (name, file, how many
//!   before it) were struck of how many there are, and names those that were not.
//! - In a run that was killed after its first record and taken up, the N-th call at each file that more than one thread
//!   writes to, or that was written at all by a thread which is not first to any N: that is where the first part misses.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Mutex;

use crate::child::{Chance, try_all};
use crate::lab::{Lab, cases};
use crate::strace::{self, CUTOVER, Call, Injection, TINY, traced};
use crate::uninterrupted::Uninterrupted;

/// Every name of a call that the world outside, or a later process, can see.
const CALLS: [&str; 12] = [
    "write",
    "writev",
    "pwrite64",
    "fsync",
    "fdatasync",
    "rename",
    "renameat",
    "renameat2",
    "connect",
    "sendto",
    "sendmsg",
    "sendmmsg",
];
/// Points beyond the longest count: threads share work differently each time.
const BEYOND: usize = 3;
const SIDE_BY_SIDE: usize = 3;

/// A call as it compares between runs: its name, its place, and how many like it came before.
type Same = (String, String, usize);

fn numbered(calls: &[Call]) -> Vec<(Same, bool)> {
    let mut before = BTreeMap::new();
    let number = |call: &Call| {
        let count = before.entry((call.name.clone(), call.place.clone())).or_insert(0);
        *count += 1;
        ((call.name.clone(), call.place.clone(), *count - 1), call.struck)
    };
    calls.iter().map(number).collect()
}

fn kill(call: &str, nth: usize, file: Option<&str>) -> Injection {
    let file = file.map(str::to_owned);
    Injection { call: call.to_owned(), fault: "signal=KILL", nth, lasts: false, file }
}

/// Every point, from the calls of an uninterrupted run.
fn points(calls: &[Call]) -> Vec<Injection> {
    let mut by_thread: BTreeMap<(&str, u32), usize> = BTreeMap::new();
    let mut by_file: BTreeMap<(&str, &str), usize> = BTreeMap::new();
    for call in calls {
        *by_thread.entry((&call.name, call.thread)).or_insert(0) += 1;
        // In the run's folder, or a socket and the like.
        if call.place.contains('.') && !call.place.starts_with('/') {
            *by_file.entry((&call.name, &call.place)).or_insert(0) += 1;
        }
    }
    let mut longest: BTreeMap<&str, usize> = BTreeMap::new();
    for (&(name, _), &count) in &by_thread {
        let own = longest.entry(name).or_insert(0);
        *own = count.max(*own);
    }
    let whole = longest
        .into_iter()
        .flat_map(|(name, count)| (1..=count + BEYOND).map(move |nth| kill(name, nth, None)));
    let files = by_file
        .into_iter()
        .flat_map(|((name, file), count)| (1..=count).map(move |nth| kill(name, nth, Some(file))));
    whole.chain(files).collect()
}

/// What the kills came to.
#[derive(Default)]
struct Struck {
    whole: BTreeSet<Same>,
    taken_up: usize,
    before_the_journal: usize,
    beyond: usize,
}

fn survives(
    point: &Injection,
    whole: &Uninterrupted,
    struck: &Mutex<Struck>,
) -> Result<(), String> {
    let lab = Lab::new(TINY);
    let arguments = if point.file.is_some() {
        lab.run(CUTOVER, &["--die-at", "after-record:1"]);
        vec!["resume".to_owned()]
    } else {
        lab.sandbox_run(CUTOVER)
    };
    let (ended, calls) = traced(&lab, arguments, &CALLS, Some(point));
    let hit = numbered(&calls).into_iter().find_map(|(call, hit)| hit.then_some(call));
    match (ended.code(), hit) {
        (None, Some(call)) => {
            let mut struck = struck.lock().expect("no panic");
            if point.file.is_none() {
                struck.whole.insert(call);
            } else {
                struck.taken_up += 1;
            }
        }
        (Some(0), None) => {
            struck.lock().expect("no panic").beyond += 1;
            return whole.same(&lab);
        }
        (_, hit) => return Err(format!("struck {hit:?}: {}", ended.said())),
    }
    if let Some(change) = lab.unannounced().first() {
        return Err(format!("{change} without an intent"));
    }
    let resumed = if lab.journal().is_some() {
        // By its id: it may have ended, but for the head beside its journal.
        lab.migrate(["resume", &lab.run_id()])
    } else {
        struck.lock().expect("no panic").before_the_journal += 1;
        lab.forget_runs();
        lab.run(CUTOVER, &[])
    };
    if resumed.code() != Some(0) {
        return Err(resumed.said());
    }
    whole.same(&lab)
}

#[test]
fn a_cutover_survives_a_kill_at_every_call_that_writes_or_sends() {
    if strace::missing("SIGKILL at every system call") {
        return;
    }
    let whole = Uninterrupted::of(CUTOVER, TINY);
    let lab = Lab::new(TINY);
    let (ended, calls) = traced(&lab, lab.sandbox_run(CUTOVER), &CALLS, None);
    ended.expect(0);
    let all: BTreeSet<_> = numbered(&calls).into_iter().map(|(call, _)| call).collect();
    let seed = Chance::seed();
    let points = Chance::of(seed, 0).sample(points(&calls), cases(30, usize::MAX));
    println!("syscalls: seed {seed}, {} points, {} calls in a run", points.len(), all.len());

    let struck = Mutex::default();
    try_all("syscalls", points.len(), SIDE_BY_SIDE, |case| {
        let point = &points[case];
        survives(point, &whole, &struck).map_err(|why| format!("{point}: {why}"))
    });
    let Struck { whole, taken_up, before_the_journal, beyond } =
        struck.into_inner().expect("no panic");
    println!(
        "syscalls: {} points, {} distinct calls of a whole run struck, {taken_up} kills of a run taken up, \
         {before_the_journal} before the journal, {beyond} beyond the last call, 0 deviations",
        points.len(),
        whole.len(),
    );
    if std::env::var_os("MIGRATE_SOAK").is_some() {
        let missed: Vec<_> = all.difference(&whole).collect();
        println!("syscalls: {} of {} calls not struck: {missed:?}", missed.len(), all.len());
    }
}
