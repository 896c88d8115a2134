//! SIGKILL at every system call of a cutover that writes, syncs, renames, connects or sends, then `resume`: the same world
//! and the same changes as an uninterrupted run, no order lost, and nothing at the target that no intent on disk speaks of.
//!
//! `run --sandbox` holds the engine and what stands for Azure in one process, so the calls of both are struck: what dies is
//! both ends of the line, as in a power cut of one machine that does not lose what was written.
//!
//! Which calls these are is looked up in runs to which nothing happened (`survey`): in a whole run, and for what strace can
//! not reach there, in runs taken up. A call is told from others by its name, its file and how many like it come later. The
//! closing line says how many of them were struck, and the long form names the rest.

use std::collections::BTreeSet;
use std::sync::Mutex;

use crate::child::{Chance, try_all};
use crate::lab::{Lab, cases, is_soak};
use crate::strace::{self, CUTOVER, Injection, Point, TINY, traced};
use crate::survey::{Same, Survey};
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
const SIDE_BY_SIDE: usize = 3;
/// How often the long form goes for what it has missed.
const AGAIN: usize = 4;

/// Whether more than the process itself could tell that the call was made: not so where a thread wakes another one.
fn is_seen_outside((_, place, _): &Same) -> bool {
    place != "anon_inode"
}

/// What the kills came to.
#[derive(Default)]
struct Struck {
    calls: BTreeSet<Same>,
    before_the_journal: usize,
    beyond: usize,
}

fn survives(
    kill: &Injection,
    survey: &Survey,
    whole: &Uninterrupted,
    struck: &Mutex<Struck>,
) -> Result<(), String> {
    let lab = Lab::new(TINY);
    if let Some((records, _)) = &kill.point.at {
        lab.run(CUTOVER, &["--die-at", &format!("after-record:{records}")]);
    }
    let (ended, calls) = traced(&lab, &CALLS, Some(kill));
    match (ended.code(), survey.struck(&kill.point, &calls)) {
        (None, Some(call)) => drop(struck.lock().expect("no panic").calls.insert(call)),
        (Some(0), None) => {
            // Threads share work differently each time; this time none made so many calls.
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
    let survey = Survey::take(TINY, &CALLS);
    let all = survey.all(|_| true);
    let seed = Chance::seed();
    let points = Chance::of(seed, 0).sample(survey.points(|_| true, &[]), cases(30, usize::MAX));
    println!("syscalls: seed {seed}, {} points, {} calls in a run", points.len(), all.len());

    let struck = Mutex::default();
    let strike = |points: &[Point]| {
        try_all("syscalls", points.len(), SIDE_BY_SIDE, |case| {
            let point = points[case].clone();
            let kill = Injection { point, fault: "signal=KILL".to_owned(), lasts: false };
            survives(&kill, &survey, &whole, &struck).map_err(|why| format!("{kill}: {why}"))
        });
        points.len()
    };
    let left = || -> BTreeSet<Same> {
        let struck = struck.lock().expect("no panic");
        all.difference(&struck.calls).filter(|call| is_seen_outside(call)).cloned().collect()
    };
    let mut tried = strike(&points);
    if is_soak() {
        // Threads share work differently each time: what was missed once is met in another run.
        for _ in 0..AGAIN {
            tried += strike(&survey.taken_up(left(), |_| true));
        }
        println!("syscalls: not struck: {:?}", left());
    }
    let left = left().len();
    let Struck { beyond, before_the_journal, .. } = struck.into_inner().expect("no panic");
    let outside = all.iter().filter(|call| is_seen_outside(call)).count();
    println!(
        "syscalls: {} kills, {} of {outside} calls struck, {before_the_journal} before the journal, \
         {beyond} beyond the last call, 0 deviations",
        tried - beyond,
        outside - left,
    );
}
