//! `kill -9` at random moments of a wave, of its whole process group, and often of what takes it up as well: resumed until it
//! ends, the world is the same as after an uninterrupted run, no order is lost and no effect happened twice by the
//! sandbox's own ledger.
//!
//! `crash_matrix` kills at every durable record; this kills anywhere between, in the middle of a write, too.

use std::sync::Mutex;
use std::time::Duration;

use migrate::sandbox::ledger;

use crate::child::{Chance, Running, try_all};
use crate::lab::{Lab, SMALL, cases};
use crate::uninterrupted::Uninterrupted;

const WAVE: &str = "runbooks/wave-1.yaml";
/// Processes that are killed on the way of one run, the first included.
const KILLS: usize = 4;
/// No run of the small world lasts so long, however busy the machine.
const PATIENCE: Duration = Duration::from_mins(2);

/// Where the kills struck: by records on disk, and how many of a case.
#[derive(Default)]
struct Struck {
    by_tenth: [usize; 10],
    before_the_journal: usize,
    of_resumes: usize,
    too_late: usize,
}

/// One run, killed and taken up until it ends by itself. `life` is how long a run lasts.
fn survives(
    chance: &mut Chance,
    life: Duration,
    whole: &Uninterrupted,
    struck: &Mutex<Struck>,
) -> Result<(), String> {
    let lab = Lab::new(SMALL);
    let mut moments = Vec::new();
    // Half of them once, a quarter twice, and so on.
    let again = (1 + chance.next().trailing_zeros() as usize).min(KILLS);
    for nth in 0..=again {
        let begun = lab.journal().is_some();
        let mut process = if begun {
            // By its name: it may have been killed after its last record, and has ended.
            let resume = ["resume".to_owned(), lab.run_id()];
            Running::start(lab.command(resume), lab.path(), &format!("resume-{nth}"))
        } else {
            lab.forget_runs();
            Running::start(lab.command(lab.sandbox_run(WAVE)), lab.path(), &format!("run-{nth}"))
        };
        let at = if nth == again { PATIENCE } else { chance.within(life) };
        moments.push(at);
        if let Some(status) = process.ended_by(process.started + at) {
            if status.code() != Some(0) {
                return Err(format!("{moments:?}: {status}\n{}", process.said()));
            }
            if nth < again {
                struck.lock().expect("no panic").too_late += 1;
            }
            return whole.same(&lab).map_err(|why| format!("{moments:?}: {why}"));
        }
        if nth == again {
            return Err(format!("{moments:?}: it does not end\n{}", process.said()));
        }
        process.kill();
        process.ended_within(PATIENCE).ok_or("it outlives kill -9")?;
        note(&lab, nth, whole, struck)?;
    }
    unreachable!("the last one is never killed")
}

/// Counts the kill, and looks whether one before the journal existed changed anything.
fn note(
    lab: &Lab,
    nth: usize,
    whole: &Uninterrupted,
    struck: &Mutex<Struck>,
) -> Result<(), String> {
    let mut struck = struck.lock().expect("no panic");
    struck.of_resumes += usize::from(nth > 0);
    let Some(journal) = lab.journal() else {
        struck.before_the_journal += 1;
        let changed = lab.run_dirs().iter().any(|run| {
            let ledger = ledger::read(&run.join("sandbox")).unwrap_or_default();
            ledger.iter().any(|it| it.is_mutating_request() && it.changed)
        });
        return if changed { Err("a change without a journal".to_owned()) } else { Ok(()) };
    };
    let tenth = journal.lines().count() * 10 / whole.records;
    struck.by_tenth[tenth.min(9)] += 1;
    Ok(())
}

#[test]
fn wave_1_survives_kills_at_random_moments() {
    let whole = Uninterrupted::run(WAVE);
    let (seed, struck) = (Chance::seed(), Mutex::default());
    let count = cases(200, 5_000);
    println!("kills: seed {seed}, a run lasts {} ms", whole.lasted.as_millis());
    try_all("kills", count, 2, |case| {
        survives(&mut Chance::of(seed, case), whole.lasted, &whole, &struck)
            .map_err(|why| format!("seed {seed}: {why}"))
    });
    let Struck { by_tenth, before_the_journal, of_resumes, too_late } =
        struck.into_inner().expect("no panic");
    let kills = before_the_journal + by_tenth.iter().sum::<usize>();
    println!(
        "kills: {count} runs, {kills} kills ({of_resumes} of a resume, {before_the_journal} before the journal, \
         by tenth of the journal {by_tenth:?}), {too_late} moments after the end, 0 deviations"
    );
}
