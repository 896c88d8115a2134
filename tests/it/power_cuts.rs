//! Power cuts while the journal is created, appended to, anchored and repaired, by the code that does it in every run: no
//! acknowledged record is lost, no journal refused, no repair unsaid. Then the same with a whole wave, and a disk that is
//! full.

mod disk;

use std::collections::BTreeSet;
use std::fs::{self, OpenOptions};
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::sync::mpsc::{self, Sender};
use std::time::Duration;

use jiff::Timestamp;
use migrate::journal::{FILE, Head, Journal, Kept, compare, read};
use migrate::run::{Event, Intent, Operator, PersonRequest, Record, Repeat, Request, Undo};
use serde_json::json;

use self::disk::{Disk, Lamp};
use crate::child::{Chance, Running, try_all};
use crate::lab::{Lab, SMALL, cases};
use crate::uninterrupted::Uninterrupted;

const WAVE: &str = "runbooks/wave-2.yaml";
const PATIENCE: Duration = Duration::from_mins(2);

/// What the appending thread has been promised.
enum Promise {
    /// The journal is there and ends here.
    Durable(Head),
    /// So is the head beside it.
    Anchored(u64),
}

/// What came of all cuts.
#[derive(Default)]
struct Figures {
    acknowledged: u64,
    before_the_journal: usize,
    torn: usize,
    zeros: usize,
    planted: usize,
    repaired: usize,
    unacknowledged: u64,
}

/// The first fact of a real run: a plan of several pages.
fn first() -> Record {
    let journals = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/it/journals/format-1");
    let mut first = None;
    read(&journals, |record, _| first = first.take().or_else(|| Some(record.clone())))
        .expect("a whole journal");
    first.expect("a first record")
}

fn fact(first: &Record, chance: &mut Chance, seq: u64) -> Event {
    let Event::RunStarted(header) = &first.event else { panic!("a header") };
    // From a few bytes to more than a page.
    let most = 1 << (4 + chance.below(10));
    let size = usize::try_from(chance.below(most)).expect("small");
    let text = "0123456789abcdef".repeat(size / 16 + 1);
    if chance.below(3) > 0 {
        let request = Request::Pause;
        let by = Operator { user: "ada".to_owned(), host: "ops-1".to_owned() };
        let id = seq.to_string();
        return Event::PersonActed(PersonRequest { id, by, comment: text, request });
    }
    let class = (Repeat::Guarded, Undo::Restores);
    let key = format!("k{}", chance.below(4));
    let intent = Intent::new(key, "target", "replace", class, json!(null), json!(text));
    Event::Intent { step: header.plan.steps[0].id.clone(), intent, undoes: None }
}

/// Creates or opens the journal and appends to it until the power is gone, telling each promise it was given.
fn append(run: &Path, first: &Record, mut chance: Chance, lamp: &Lamp, promises: &Sender<Promise>) {
    let promise = |promise| {
        if lamp.is_on() {
            let _ = promises.send(promise);
        }
    };
    let opened = if run.join(FILE).exists() {
        Journal::open(run, first.at).map(|(journal, _)| journal)
    } else {
        Journal::create(run, first)
    };
    // Cut off before there was anything to lose; that it is not refused afterwards is seen then.
    let Ok(mut journal) = opened else { return };
    promise(Promise::Durable(journal.head().clone()));
    loop {
        let mut intents = 0;
        for _ in 0..=chance.below(6) {
            let event = fact(first, &mut chance, journal.head().records);
            intents += usize::from(matches!(event, Event::Intent { .. }));
            journal.append(first.at, event);
        }
        let Ok(permits) = journal.sync() else {
            assert!(journal.sync().is_err(), "a failed sync is never tried again");
            return;
        };
        assert_eq!(permits.len(), intents);
        promise(Promise::Durable(journal.head().clone()));
        if chance.below(4) == 0 && journal.anchor(run).is_ok() {
            promise(Promise::Anchored(journal.head().records));
        }
    }
}

/// What a write that was cut short leaves: part of the next record, zeros, or both.
fn tear(run: &Path, records: u64, chance: &mut Chance) {
    let at = Timestamp::UNIX_EPOCH;
    let whole =
        format!("{{\"seq\":{records},\"at\":\"{at}\",\"event\":{{\"step_held\":{{\"step\":\"a");
    let part = usize::try_from(chance.below(whole.len() as u64)).expect("small");
    let zeros = usize::try_from(chance.below(5000)).expect("small");
    let mut file = OpenOptions::new().append(true).open(run.join(FILE)).expect("a journal");
    file.write_all(&whole.as_bytes()[..part]).expect("written");
    file.write_all(&vec![0; zeros]).expect("written");
    file.sync_all().expect("durable");
}

/// Looks at what is left after power came back; returns the records of the journal, if it began.
fn judge(
    run: &Path,
    durable: Option<&Head>,
    anchored: u64,
    figures: &mut Figures,
) -> Result<Option<u64>, String> {
    if !run.join(FILE).exists() {
        figures.before_the_journal += 1;
        return durable.map_or(Ok(None), |head| Err(format!("{head:?} is lost with its file")));
    }
    let mut repairs = BTreeSet::new();
    let note = |record: &Record, _: &_| {
        if let Event::TailRepaired { kept, .. } = &record.event {
            repairs.insert(kept.clone());
        }
    };
    let reading = read(run, note).map_err(|error| format!("refused: {error}"))?;
    if let Some(head) = durable {
        let kept = compare(run, head).map_err(|error| error.to_string())?;
        if kept != Kept::Holds {
            return Err(format!("acknowledged {head:?}: {kept:?}"));
        }
        figures.unacknowledged += reading.head.records - head.records;
    }
    figures.torn += usize::from(!reading.torn.is_empty());
    figures.zeros +=
        usize::from(!reading.torn.is_empty() && reading.torn.iter().all(|it| *it == 0));
    figures.repaired += repairs.len();
    let side_file = fs::read(run.join("head.json")).ok();
    let head: Option<Head> = match &side_file {
        Some(text) => Some(serde_json::from_slice(text).map_err(|e| format!("head.json: {e}"))?),
        None => None,
    };
    match &head {
        Some(head) if compare(run, head).map_err(|e| e.to_string())? != Kept::Holds => {
            return Err(format!("head.json is ahead of the journal: {head:?}"));
        }
        Some(head) if head.records >= anchored => {}
        None if anchored == 0 => {}
        older => return Err(format!("the head of {anchored} records was lost: {older:?}")),
    }
    // A tail that was cut off is spoken of by the next record, or will be as soon as the journal is opened.
    let unsaid = entries(run).into_iter().filter(|name| name.starts_with("journal.torn-"));
    let unsaid: Vec<_> = unsaid
        .filter(|name| !repairs.contains(name))
        .filter(|name| *name != format!("journal.torn-{}", reading.head.records))
        .collect();
    if unsaid.is_empty() {
        Ok(Some(reading.head.records))
    } else {
        Err(format!("unsaid: {unsaid:?}"))
    }
}

fn entries(dir: &Path) -> Vec<String> {
    let entries = fs::read_dir(dir).expect("a folder");
    entries.map(|it| it.expect("an entry").file_name().to_string_lossy().into_owned()).collect()
}

/// One life of the disk: append until the power goes, look at what is left.
fn cycle(
    disk: &mut Disk,
    run: &Path,
    first: &Record,
    chance: &mut Chance,
    figures: &mut Figures,
) -> Result<Option<u64>, String> {
    let (to, promises) = mpsc::channel();
    let (path, record, own, lamp) = (run.to_owned(), first.clone(), chance.clone(), disk.lamp());
    let at_work = std::thread::spawn(move || append(&path, &record, own, &lamp, &to));
    chance.next();
    // After so many promises, the creation or repair among them, and a little later.
    let (moment, micros) = (chance.below(12), chance.below(400));
    let flush_log = chance.below(2) == 0;
    let (mut durable, mut anchored, mut given) = (None, 0, 0);
    let mut on = true;
    while on {
        if given == moment {
            disk.cut(flush_log, micros);
        }
        given += 1;
        match promises.recv() {
            Ok(Promise::Durable(head)) => durable = Some(head),
            Ok(Promise::Anchored(records)) => anchored = records,
            Err(_) => on = false,
        }
    }
    if given <= moment {
        // It gave up by itself, which only a cut may make it do.
        return Err("it stopped before the cut".to_owned());
    }
    at_work.join().map_err(|_| "it panicked".to_owned())?;
    disk.restart();
    figures.acknowledged += durable.as_ref().map_or(0, |head| head.records);
    judge(run, durable.as_ref(), anchored, figures)
}

/// Removes every run; a removal that was cut off itself is made up for by the next.
fn clear(disk: &Path) {
    for state in entries(disk).into_iter().filter(|name| name.starts_with("state-")) {
        fs::remove_dir_all(disk.join(state)).expect("removed");
    }
}

fn cuts(kind: &str, megabytes: u64, cases: usize) {
    let dir = tempfile::tempdir().expect("a folder");
    let mut disk = match Disk::mounted(kind, megabytes, &dir.path().join("disk")) {
        Ok(disk) => disk,
        Err(why) => return println!("SKIPPED: power cuts on {kind}: {why}"),
    };
    let (seed, first, mut figures) = (Chance::seed(), first(), Figures::default());
    let mut run: Option<PathBuf> = None;
    for case in 0..cases {
        let mut chance = Chance::of(seed, case);
        // A new run, or the one that the last cut left.
        let new = chance.below(4) == 0 || run.is_none();
        if new {
            run = None;
            clear(disk.path());
        }
        let dir = run.get_or_insert_with(|| disk.path().join(format!("state-{case}/runs/run")));
        if let (false, Ok(reading)) = (new, read(dir, |_, _| {}))
            && reading.torn.is_empty()
            && chance.below(3) == 0
        {
            tear(dir, reading.head.records, &mut chance);
            figures.planted += 1;
        }
        match cycle(&mut disk, dir, &first, &mut chance, &mut figures) {
            Ok(Some(_)) => {}
            Ok(None) => run = None,
            Err(why) => panic!("{kind}, MIGRATE_SEED={seed}, case {case}: {why}"),
        }
        if case % 500 == 499 {
            println!("power cuts on {kind}: {} of {cases}, 0 deviations", case + 1);
        }
    }
    println!(
        "power cuts on {kind}: {cases}, 0 of {} acknowledged records lost, 0 journals refused; {} before the journal began, \
         {} torn tails ({} of zeros, {} planted), {} repairs told, {} records more than acknowledged (seed {seed})",
        figures.acknowledged,
        figures.before_the_journal,
        figures.torn,
        figures.zeros,
        figures.planted,
        figures.repaired,
        figures.unacknowledged,
    );
}

#[test]
fn no_acknowledged_record_is_lost_on_ext4() {
    cuts("ext4", 64, cases(25, 10_000));
}

#[test]
fn no_acknowledged_record_is_lost_on_xfs() {
    cuts("xfs", 300, cases(5, 1_000));
}

/// A wave that has begun on a disk of its own; the world it changes is elsewhere and keeps its power.
fn begun(lab: &Lab) -> Result<Disk, String> {
    let disk = Disk::mounted("ext4", 64, &lab.path().join("state"))?;
    assert_eq!(lab.run(WAVE, &["--die-at", "after-record:2"]).code(), None, "killed");
    let world = lab.path().join("world");
    let moved = std::process::Command::new("mv").arg(lab.sandbox_dir()).arg(&world).status();
    assert!(moved.expect("mv starts").success());
    std::os::unix::fs::symlink(&world, lab.sandbox_dir()).expect("a link");
    std::process::Command::new("sync").status().expect("sync starts");
    Ok(disk)
}

#[test]
fn a_wave_survives_power_cuts() {
    if let Err(why) = begun(&Lab::new(SMALL)) {
        return println!("SKIPPED: power cuts in a wave: {why}");
    }
    let whole = Uninterrupted::run(WAVE);
    let (seed, count) = (Chance::seed(), cases(2, 200).min(200));
    try_all("power cuts in a wave", count, 2, |case| {
        let mut chance = Chance::of(seed, case);
        let lab = Lab::new(SMALL);
        let mut disk = begun(&lab)?;
        let run = lab.run_id();
        let moments: Vec<_> = (0..2).map(|_| chance.within(whole.lasted)).collect();
        for (nth, moment) in moments.iter().enumerate() {
            let command = lab.command(["resume", &run]);
            let mut process = Running::start(command, lab.path(), &format!("resume-{nth}"));
            let early = process.ended_by(process.started + *moment);
            if early.is_none() {
                // The power goes for all at once: nobody acts on what a disk without power answers.
                process.freeze();
            }
            disk.cut(chance.below(2) == 0, chance.below(2000));
            if early.is_none() {
                process.kill();
            }
            let ended = early.or_else(|| process.ended_within(PATIENCE));
            let status = ended.ok_or("it outlives SIGKILL")?;
            if status.code().is_some_and(|code| code != 0) {
                return Err(format!("{moments:?}: {status}\n{}", process.said()));
            }
            disk.restart();
        }
        let resumed = lab.migrate(["resume", &run]);
        if resumed.code() != Some(0) {
            return Err(format!("{moments:?}: {}", resumed.said()));
        }
        whole.same(&lab).map_err(|why| format!("{moments:?}: {why}"))
    });
    println!("power cuts in a wave: {count} runs, cut twice each, 0 deviations (seed {seed})");
}

/// A disk that goes away from under a process that lives on: it stops, says so, and the journal can be read afterwards.
#[test]
fn a_disk_that_goes_away_stops_the_run() {
    if let Err(why) = begun(&Lab::new(SMALL)) {
        return println!("SKIPPED: a disk that goes away: {why}");
    }
    let whole = Uninterrupted::run(WAVE);
    let (seed, count) = (Chance::seed(), cases(2, 200).min(200));
    try_all("a disk that goes away", count, 2, |case| {
        let mut chance = Chance::of(seed, case);
        let lab = Lab::new(SMALL);
        let mut disk = begun(&lab)?;
        let run = lab.run_id();
        let mut process = Running::start(lab.command(["resume", &run]), lab.path(), "resume");
        let early = process.ended_by(process.started + chance.within(whole.lasted));
        disk.cut(chance.below(2) == 0, chance.below(2000));
        let ended = early.or_else(|| process.ended_within(PATIENCE));
        let code = ended.and_then(|status| status.code());
        // 13 where it was about to read its journal, 14 where it was about to write it.
        if !matches!(code, Some(0 | 13 | 14)) {
            return Err(format!("exit {code:?}\n{}", process.said()));
        }
        if code != Some(0) && !process.stderr().contains(&format!("migrate resume {run}")) {
            return Err(format!("it does not say what to type next:\n{}", process.said()));
        }
        disk.restart();
        let verified = lab.migrate(["journal", "verify", &run]);
        if verified.code() == Some(0) { Ok(()) } else { Err(verified.said()) }
    });
    println!("a disk that goes away: {count} runs, 0 deviations (seed {seed})");
}

#[test]
fn a_full_disk_stops_the_run_and_says_what_to_do() {
    let lab = Lab::new(SMALL);
    let disk = match begun(&lab) {
        Ok(disk) => disk,
        Err(why) => return println!("SKIPPED: a full disk: {why}"),
    };
    let (run, whole) = (lab.run_id(), Uninterrupted::run(WAVE));
    // What the killed process had reserved is given back, or the journal would outlast every other file.
    let journal = OpenOptions::new().append(true).open(lab.run_dir().join(FILE)).expect("there");
    journal.set_len(journal.metadata().expect("there").len()).expect("trimmed");
    let filler = disk.path().join("filler");
    let mut file = fs::File::create(&filler).expect("a file");
    for size in [1 << 20, 1 << 12] {
        while file.write_all(&vec![7; size]).is_ok() {}
    }
    drop(file);
    let stopped = lab.migrate(["resume", &run]).expect(14);
    let said = stopped.stderr();
    for part in [FILE, "No space left on device", "MIG0704", &format!("migrate resume {run}")] {
        assert!(said.contains(part), "{part} is missing in:\n{said}");
    }
    fs::remove_file(&filler).expect("removed");
    lab.migrate(["resume", &run]).expect(0);
    whole.same(&lab).unwrap_or_else(|why| panic!("{why}"));
    println!("full disk: exit 14, then resumed to the same world");
}
