//! What the tests of `replication.wait` share, whatever the engine: cases whose verdicts an oracle judges, a kill while the heartbeat
//! beats, seconds beside the truth.

use std::collections::BTreeMap;
use std::fmt::Debug;
use std::process::Stdio;
use std::time::{Duration, Instant};

use crate::generate::Dice;
use crate::lab::{Lab, cases};
use crate::seconds::Seconds;

/// A step that waits until the target has everything.
pub(crate) fn wait(with: &str, timeout: &str) -> String {
    format!(
        "    - id: lag
      uses: replication.wait
      timeout: {timeout}
      with: {{ source: source, target: target, max_lag: 0s, poll: 200ms, {with} }}"
    )
}

/// Waits until the pair is ready again.
#[track_caller]
pub(crate) fn until_ready(mut verdict: impl FnMut() -> Result<(), String>, after: &dyn Debug) {
    let began = Instant::now();
    while let Err(why) = verdict() {
        let late = began.elapsed() > Duration::from_mins(1);
        assert!(!late, "never ready again after {after:?}: {why}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// Case after case, each with one of the faults; `case` tells how often the pair was called ready, and how often wrongly.
pub(crate) fn adversarial<F: Copy + Ord + Debug>(
    faults: &[F],
    (count, seed): (usize, u64),
    mut case: impl FnMut(F, &mut Dice) -> (usize, usize),
) {
    let (mut dice, mut told, mut wrong) = (Dice::new(seed), BTreeMap::new(), 0);
    for (number, &fault) in faults.iter().cycle().take(count).enumerate() {
        let (ready, falsely) = case(fault, &mut dice);
        let row = told.entry(fault).or_insert((0, 0));
        *row = (row.0 + 1, row.1 + ready);
        if falsely > 0 {
            println!(
                "case {number}, seed {seed}: {fault:?} was called ready {falsely} times while rows were missing"
            );
        }
        wrong += falsely;
    }
    println!("{count} cases of 3 looks (cases, ready): {told:?}; wrongly ready: {wrong}");
    assert_eq!(wrong, 0);
}

/// Looks three times, at moments of chance within so many milliseconds each: how often the verdict was ready, and how often that was wrong.
pub(crate) fn looks(
    dice: &mut Dice,
    within: usize,
    mut verdict: impl FnMut() -> Result<(), String>,
    is_wrong: impl Fn() -> bool,
) -> (usize, usize) {
    let (mut ready, mut wrong) = (0, 0);
    for _ in 0..3 {
        std::thread::sleep(Duration::from_millis(dice.below(within) as u64));
        if verdict().is_ok() {
            ready += 1;
            // Nothing is written meanwhile: what is missing now was missing then.
            wrong += usize::from(is_wrong());
        }
    }
    (ready, wrong)
}

/// Kills a run once it beats, and takes it up.
pub(crate) fn killed_while_it_beats(lab: &Lab, runbook: &str, until_it_beats: impl FnOnce()) {
    let mut run = lab.command(["run", runbook]);
    run.stdout(Stdio::null()).stderr(Stdio::null());
    let mut child = run.spawn().expect("it starts");
    until_it_beats();
    child.kill().expect("it is ours");
    child.wait().expect("it is ours");
    lab.migrate(["resume"]).expect(0);
}

/// Seconds that a run tells while applying stands still now and then, for a while that differs.
pub(crate) fn seconds<B>(
    lab: &Lab,
    runbook: &str,
    last: impl Fn() -> String,
    block: impl Fn() -> B,
) -> Seconds {
    let mut seconds = Seconds::start(lab.command(["run", runbook, "--json"]));
    for round in 0..cases(2, 60) {
        for _ in 0..8 {
            seconds.look(&last);
        }
        let blocker = block();
        for _ in 0..(8 + round % 9) {
            seconds.look(&last);
        }
        drop(blocker);
    }
    seconds
}
