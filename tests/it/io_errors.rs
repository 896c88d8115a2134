//! The system calls of a cutover fail: a full or read-only disk, a dying one, no descriptors left, an interruption. The program
//! never panics and ends with a code of its table; when the journal can not be written nothing more happens at the target;
//! it says which of its files it is, and what to type next. With the fault gone the run is taken up and comes to the same
//! as an uninterrupted one.
//!
//! Every call of these names and of both processes' parts (see `syscalls`) that concerns a file or a socket is struck, but
//! for what the loader and the libraries read of the system's own files (certificates, `/proc`). The runtime's wake-ups of
//! its own threads are writes that can not fail; so writes are struck by file, in runs taken up, and not those before the
//! first record.
//!
//! An interruption (EINTR) is no failure: the call is made again by the standard library, a sync as well, for which nothing
//! was reported that a second one could hide.

use std::collections::{BTreeMap, BTreeSet};
use std::process::Command;
use std::sync::Mutex;

use migrate::cli::Exit;

use crate::child::{Chance, try_all};
use crate::lab::{Ended, Lab, cases};
use crate::strace::{self, CUTOVER, Call, Injection, traced};
use crate::survey::Survey;
use crate::uninterrupted::Uninterrupted;

/// Calls, and what can befall them.
const FAULTS: [(&str, &[&str]); 16] = [
    ("write", &["EIO", "ENOSPC", "EDQUOT", "EINTR"]),
    ("pwrite64", &["EIO", "ENOSPC", "EDQUOT"]),
    ("fsync", &["EIO", "ENOSPC", "EDQUOT", "EINTR"]),
    ("fdatasync", &["EIO", "ENOSPC", "EDQUOT", "EINTR"]),
    ("openat", &["EIO", "EMFILE", "EROFS"]),
    ("rename", &["EIO", "ENOSPC", "EROFS"]),
    ("fallocate", &["EIO", "ENOSPC", "EDQUOT"]),
    ("mkdir", &["ENOSPC", "EROFS"]),
    ("ftruncate", &["EIO"]),
    ("read", &["EIO", "EINTR"]),
    ("pread64", &["EIO"]),
    ("socket", &["EMFILE"]),
    ("connect", &["EIO", "EINTR"]),
    ("accept4", &["EMFILE", "EINTR"]),
    ("sendto", &["EIO"]),
    ("recvfrom", &["EIO"]),
];
/// From this call on, every one of its kind.
const LASTING: [(&str, &str); 4] =
    [("fdatasync", "EIO"), ("fsync", "EIO"), ("rename", "EROFS"), ("socket", "EMFILE")];
const SIDE_BY_SIDE: usize = 3;

/// Nobody orders anything meanwhile: whose order is refused by a failing disk gives up, and the worlds differ by it.
const QUIET: &str = "
estate: { seed: 7, workloads: [crm], files: 4, orders: 8 }
writer: { orders: 0 }
replication: [{ group: rg-crm, vault: vault-crm, item: crm-db, lag: [[0, 0]] }]
operation_seconds: 1
";

/// What the faults came to.
#[derive(Default)]
struct Tally {
    ends: BTreeMap<i32, usize>,
    /// The journal could not be written.
    journal: usize,
    /// No thread made so many calls.
    beyond: usize,
}

fn injections(survey: &Survey) -> Vec<Injection> {
    let wanted = |call: &Call| {
        let systems = ["/etc", "/usr", "/lib", "/proc", "/sys", "/dev", "anon_inode", "pipe"];
        let theirs = systems.iter().any(|it| call.place.starts_with(it)) || call.place.is_empty();
        call.name == "socket" || !theirs
    };
    let mut injections = Vec::new();
    for point in survey.points(wanted, &["write"]) {
        let mut add = |error: &str, lasts| {
            let fault = format!("error={error}");
            injections.push(Injection { point: point.clone(), fault, lasts });
        };
        for (_, errors) in FAULTS.iter().filter(|(call, _)| *call == point.call) {
            errors.iter().for_each(|error| add(error, false));
        }
        for (_, error) in LASTING.iter().filter(|(call, _)| *call == point.call) {
            add(error, true);
        }
    }
    injections
}

/// The fault was meant for another thread's call, and met that of the loader, before anything of the program ran.
fn never_began(ended: &Ended) -> bool {
    ended.code() == Some(127) && ended.said().contains("error while loading shared libraries")
}

/// What must hold of the end itself, before anything is mended.
fn ended_well(lab: &Lab, ended: &Ended, calls: &[Call], fault: &str) -> Result<bool, String> {
    let said = ended.said();
    let documented = Exit::ALL.iter().any(|(exit, _)| Some(i32::from(exit.code())) == ended.code());
    if !documented || said.contains("panicked") {
        return Err(format!("no end of the table: {said}"));
    }
    let journal = |call: &Call| {
        call.struck
            && call.place == "journal.jsonl"
            && ["write", "fdatasync"].contains(&&*call.name)
    };
    let lost = calls.iter().position(journal).filter(|_| fault != "error=EINTR");
    if let Some(at) = lost {
        let effect = |call: &&Call| {
            call.place == "sandbox/ledger.jsonl" && call.name == "write"
                || call.place.starts_with("sandbox/estate/target") && call.name == "rename"
        };
        if ended.code() != Some(14) || calls[at..].iter().any(|call| effect(&call)) {
            return Err(format!("the journal was lost, and then: {said}"));
        }
    }
    if let Some(change) = lab.unannounced().first() {
        return Err(format!("{change} without an intent: {said}"));
    }
    // A runbook that can not be read is exit 3, and says that.
    let next = ["migrate resume", "type the same command again"].iter().any(|it| said.contains(it));
    if !next && ![Some(0), Some(3)].contains(&ended.code()) {
        return Err(format!("it does not say what to do next: {said}"));
    }
    Ok(lost.is_some())
}

/// The names of the journal and the files beside it that were struck: a message has to name them.
fn own_files(calls: &[Call]) -> BTreeSet<String> {
    let struck = calls.iter().filter(|it| it.struck && it.inside);
    let own = struck.filter(|it| !it.place.contains('/') && it.place.contains('.'));
    own.map(|it| it.place.rsplit_once('.').map_or(&*it.place, |(stem, _)| stem).to_owned())
        .collect()
}

/// With the fault gone: the run goes on, or begins if it had not.
fn mended(lab: &Lab, whole: &Uninterrupted) -> Result<(), String> {
    let again = if lab.journal().is_some() {
        lab.migrate(["resume", &lab.run_id()])
    } else {
        lab.forget_runs();
        lab.run(CUTOVER, &[])
    };
    if again.code() != Some(0) {
        return Err(format!("with the fault gone: {}", again.said()));
    }
    whole.same(lab)
}

fn survives(
    injection: &Injection,
    whole: &Uninterrupted,
    names: &[&str],
    tally: &Mutex<Tally>,
) -> Result<(), String> {
    let lab = Lab::new(QUIET);
    if let Some((records, _)) = &injection.point.at {
        lab.run(CUTOVER, &["--die-at", &format!("after-record:{records}")]);
    }
    let (ended, calls) = traced(&lab, names, Some(injection));
    if !calls.iter().any(|call| call.struck) {
        tally.lock().expect("no panic").beyond += 1;
        return whole.same(&lab);
    }
    if never_began(&ended) {
        *tally.lock().expect("no panic").ends.entry(127).or_insert(0) += 1;
        return mended(&lab, whole);
    }
    let lost = ended_well(&lab, &ended, &calls, &injection.fault)?;
    let code = ended.code().unwrap_or_default();
    {
        let mut tally = tally.lock().expect("no panic");
        *tally.ends.entry(code).or_insert(0) += 1;
        tally.journal += usize::from(lost);
    }
    if code == 0 {
        return whole.same(&lab);
    }
    let said = ended.said();
    if let Some(file) = own_files(&calls).iter().find(|file| !said.contains(&***file)) {
        return Err(format!("{file} was struck and is not named: {said}"));
    }
    mended(&lab, whole).map_err(|why| format!("{why}\nfirst: {said}"))
}

#[test]
fn a_cutover_survives_every_input_and_output_error() {
    if strace::missing("I/O errors at every system call") {
        return;
    }
    let whole = Uninterrupted::of(CUTOVER, QUIET);
    let names = FAULTS.map(|(name, _)| name);
    let survey = Survey::take(QUIET, &names);
    let seed = Chance::seed();
    let all = injections(&survey);
    let injections = Chance::of(seed, 0).sample(all, cases(40, usize::MAX));
    println!("io-errors: seed {seed}, {} injections", injections.len());

    let tally = Mutex::default();
    try_all("io-errors", injections.len(), SIDE_BY_SIDE, |case| {
        let injection = &injections[case];
        survives(injection, &whole, &names, &tally).map_err(|why| format!("{injection}: {why}"))
    });
    let Tally { ends, journal, beyond } = tally.into_inner().expect("no panic");
    println!(
        "io-errors: {} injections, 0 panics, exits {ends:?}, {journal} lost the journal and 0 effects came after, \
         {beyond} beyond the last call, 0 deviations",
        injections.len() - beyond,
    );
}

/// Takes a run up that may write files up to `blocks` of 512 bytes only: what is longer is cut short, then refused (EFBIG).
fn limited(lab: &Lab, blocks: u64) -> Ended {
    let inner = lab.command(["resume"]);
    let mut shell = Command::new("sh");
    shell.args(["-c", "trap '' XFSZ; ulimit -f \"$0\"; exec \"$@\"", &blocks.to_string()]);
    shell.arg(inner.get_program()).args(inner.get_args());
    shell.current_dir(inner.get_current_dir().expect("a lab says where"));
    shell.envs(inner.get_envs().filter_map(|(name, value)| Some((name, value?))));
    Ended(shell.stdin(std::process::Stdio::null()).output().expect("a shell"))
}

#[test]
fn a_journal_that_is_cut_short_in_the_middle_of_a_record_is_taken_up() {
    let whole = Uninterrupted::of(CUTOVER, QUIET);
    let begun = || {
        let lab = Lab::new(QUIET);
        lab.run(CUTOVER, &["--die-at", "after-record:1"]);
        lab
    };
    let length = |lab: &Lab| lab.journal().expect("a journal").len() as u64;
    let (first, last) = {
        let lab = begun();
        let first = length(&lab);
        lab.migrate(["resume"]).expect(0);
        (first.div_ceil(512), length(&lab) / 512)
    };
    let seed = Chance::seed();
    let limits = Chance::of(seed, 1).sample((first..=last).collect(), cases(8, usize::MAX));
    println!("io-errors: seed {seed}, {} sizes that no file may exceed", limits.len());
    let torn = Mutex::new(0);
    try_all("io-errors", limits.len(), SIDE_BY_SIDE, |case| {
        let lab = begun();
        let ended = limited(&lab, limits[case]);
        let check = || -> Result<(), String> {
            ended_well(&lab, &ended, &[], "error=EFBIG")?;
            mended(&lab, &whole)
        };
        check().map_err(|why| format!("seed {seed}, {} blocks: {why}", limits[case]))?;
        let repaired = lab.journal().expect("a journal").contains("\"tail_repaired\"");
        *torn.lock().expect("no panic") += usize::from(repaired);
        Ok(())
    });
    let torn = torn.into_inner().expect("no panic");
    println!("io-errors: {} sizes, {torn} torn tails repaired, 0 deviations", limits.len());
}
