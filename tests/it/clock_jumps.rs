//! The system clock is set while real runs go on: by minutes, an hour as when somebody takes summer time for winter time,
//! days, forward and back, at random moments (libfaketime; the monotonic clock runs on, as it does when a clock is set).
//!
//! Nothing panics; no release action begins outside the window by the clock of that moment, nor in a window that this
//! process has seen closed; timeouts, pauses between attempts and watches last as long as the runbook says; an answer that
//! came too late by the clock does not count; and the journal, whose times may go back, verifies and can be shown.

use std::fs;
use std::io::{Read as _, Write as _};
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::ExitStatus;
use std::sync::Mutex;
use std::time::{Duration, Instant};

use jiff::{SignedDuration, Timestamp};
use migrate::clock::Clock;
use migrate::journal;
use migrate::run::{Event, StepId};

use crate::child::{Chance, Running, try_all};
use crate::lab::{Lab, SMALL, cases, is_soak};

/// Where Debian puts it, by machine.
fn libfaketime() -> Option<PathBuf> {
    let machine = std::env::consts::ARCH;
    let places = [
        format!("/usr/lib/{machine}-linux-gnu/faketime/libfaketime.so.1"),
        "/usr/lib/faketime/libfaketime.so.1".to_owned(),
    ];
    places.into_iter().map(PathBuf::from).find(|path| path.is_file())
}

/// How much longer than the runbook says anything may last, for a machine that has other work. No jump is shorter than a
/// minute, so what a jump ends or prolongs is off by more.
fn slack() -> Duration {
    if is_soak() { Duration::from_secs(5) } else { Duration::from_secs(20) }
}

const HOUR: i64 = 3_600;
const DAY: i64 = 24 * HOUR;
/// Offsets of the set clock from the right one, in seconds.
const OFFSETS: [i64; 12] =
    [0, 0, -HOUR, HOUR, 2 * DAY, -1_200, 1_200, -120, 120, -60, 1_740, -2 * HOUR];
/// The window around the moment a case begins, and what is kept of it for going back.
const WINDOW: SignedDuration = SignedDuration::from_mins(40);
const RESERVE: SignedDuration = SignedDuration::from_mins(10);
/// No case lasts so long, however busy the machine.
const PATIENCE: Duration = Duration::from_mins(1);

/// A clock that can be set, and every time it was.
struct SetClock {
    file: PathBuf,
    set: Vec<(Timestamp, i64)>,
}

impl SetClock {
    fn new(lab: &Lab) -> Self {
        let mut clock = Self { file: lab.path().join("offset"), set: Vec::new() };
        clock.set(0);
        clock
    }

    /// In one piece: the program reads the file whenever it looks at the clock.
    fn set(&mut self, offset: i64) {
        let new = self.file.with_extension("new");
        fs::write(&new, format!("{offset:+}\n")).expect("a file");
        self.set.push((Clock::system().now(), offset));
        fs::rename(&new, &self.file).expect("it is replaced");
    }

    /// The offsets that were in force at some time between two moments of the right clock.
    fn between(&self, from: Timestamp, until: Timestamp) -> Vec<i64> {
        let ends = self.set.iter().skip(1).map(|(at, _)| *at).chain([Timestamp::MAX]);
        let spans = self.set.iter().zip(ends);
        spans
            .filter(|((begins, _), ends)| *begins <= until && *ends >= from)
            .map(|((_, offset), _)| *offset)
            .collect()
    }
}

/// A case under way.
struct Case {
    lab: Lab,
    clock: SetClock,
    began: Timestamp,
    process: Running,
}

impl Case {
    fn start(library: &Path, runbook: impl FnOnce(Timestamp) -> String, more: &[&str]) -> Self {
        let lab = Lab::new(SMALL);
        let clock = SetClock::new(&lab);
        // Whole seconds, as the runbook writes them.
        let began = Timestamp::from_second(Clock::system().now().as_second()).expect("a time");
        let path = lab.write("runbook.yaml", &runbook(began));
        let mut command = lab.command(["run", &path].iter().chain(more));
        command
            .env("LD_PRELOAD", library)
            .env("FAKETIME_TIMESTAMP_FILE", &clock.file)
            .env("FAKETIME_NO_CACHE", "1")
            .env("FAKETIME_DONT_FAKE_MONOTONIC", "1");
        let process = Running::start(command, lab.path(), "run");
        Self { lab, clock, began, process }
    }

    /// Sets the clock at random moments within `span` from the start; returns early with the end of the process.
    fn jump(&mut self, chance: &mut Chance, span: Duration) -> Option<ExitStatus> {
        let mut moments: Vec<_> = (0..2 + chance.below(3)).map(|_| chance.within(span)).collect();
        moments.sort();
        for moment in moments {
            if let Some(status) = self.process.ended_by(self.process.started + moment) {
                return Some(status);
            }
            let nth = usize::try_from(chance.below(OFFSETS.len() as u64)).expect("small");
            self.clock.set(OFFSETS[nth]);
        }
        None
    }

    fn end(&mut self) -> Result<ExitStatus, String> {
        self.process.ended_within(PATIENCE).ok_or_else(|| format!("no end:\n{}", self.said()))
    }

    fn said(&self) -> String {
        format!("clock set: {:?}\n{}", self.clock.set, self.process.said())
    }

    fn expect(&self, status: ExitStatus, codes: &[i32]) -> Result<i32, String> {
        match status.code() {
            Some(code) if codes.contains(&code) => Ok(code),
            _ => Err(format!("{status}, not {codes:?}:\n{}", self.said())),
        }
    }

    /// The journal verifies and can be shown, whatever its times; nothing panicked.
    fn readable(&self) -> Result<(), String> {
        if self.process.said().contains("panicked") {
            return Err(self.said());
        }
        let run = self.lab.run_id();
        for words in [["journal", "verify"], ["journal", "show"]] {
            let ended = self.lab.migrate(words.iter().chain([&run.as_str()]));
            if ended.code() != Some(0) {
                return Err(ended.said());
            }
        }
        let status = self.lab.migrate(["status", &run]);
        if status.code() == Some(0) { Ok(()) } else { Err(status.said()) }
    }

    /// Times of the right clock that commands wrote into a file, one a line.
    fn times(&self, name: &str) -> Vec<Timestamp> {
        let text = self.lab.text(name).unwrap_or_default();
        let nanos = |line: &str| line.trim().parse::<i128>().ok();
        let times = text.lines().filter_map(nanos);
        times.filter_map(|nanos| Timestamp::from_nanosecond(nanos).ok()).collect()
    }
}

fn in_window(began: Timestamp, at: Timestamp) -> bool {
    let [opens, closes] = [began - WINDOW, began + (WINDOW - RESERVE)];
    opens <= at && at < closes
}

/// Four release actions, one after another, in a window that the jumps lead out of and into.
fn window(library: &Path, chance: &mut Chance) -> Result<(), String> {
    let action = |nth: usize| {
        format!(
            "    - id: act-{nth}\n      uses: exec\n      with: {{ argv: [sh, -c, \"date +%s%N >> acted; sleep 0.12\"], \
             repeat: repeatable }}\n"
        )
    };
    let runbook = |began: Timestamp| {
        let (opens, closes) = (began - WINDOW, began + WINDOW);
        let steps: String = (1..=4).map(action).collect();
        format!(
            "migrate: 1\nwave: jumps\nwindow: {{ opens: {opens:.0}, closes: {closes:.0}, rollback_reserve: 10m }}\n\
             stages:\n  release:\n{steps}"
        )
    };
    let mut case = Case::start(library, runbook, &[]);
    let mut ended = case.jump(chance, Duration::from_millis(700));
    if ended.is_none() {
        // Whoever waits for the window sees it open, and whoever saw it close does not.
        ended = case.process.ended_within(Duration::from_millis(500));
        case.clock.set(0);
    }
    let status = match ended {
        Some(status) => status,
        None => case.end()?,
    };
    let code = case.expect(status, &[0, 4])?;
    if code == 4 && !case.process.said().contains("MIG0703") {
        return Err(format!("refused, but not by the window:\n{}", case.said()));
    }
    for acted in case.times("acted") {
        // Between the decision and the command's own first look at the clock.
        let offsets = case.clock.between(acted - slack(), acted);
        let wall = |offset: &i64| acted + SignedDuration::from_secs(*offset);
        if !offsets.iter().any(|offset| in_window(case.began, wall(offset))) {
            return Err(format!("an action at {acted} outside the window:\n{}", case.said()));
        }
    }
    begun_in_window(&case)?;
    case.readable()
}

/// By the journal: what began was in the window, and nothing recorded before was past it.
fn begun_in_window(case: &Case) -> Result<(), String> {
    let mut records = Vec::new();
    journal::read(&case.lab.run_dir(), |record, _| records.push((record.at, record.event.clone())))
        .map_err(|error| error.to_string())?;
    let mut seen = Timestamp::MIN;
    for (nth, (at, event)) in records.iter().enumerate() {
        let refused = |id: &StepId| matches!(records.get(nth + 1), Some((_, Event::StepFailed { step, .. })) if step == id);
        if let Event::StepStarted { step, .. } = event
            && !refused(step)
            && !(in_window(case.began, *at) && seen < case.began + (WINDOW - RESERVE))
        {
            return Err(format!("{step} began at {at}, after {seen} was seen:\n{}", case.said()));
        }
        seen = seen.max(*at);
    }
    Ok(())
}

/// A timeout that is long enough, then one that is not.
fn timeout(library: &Path, chance: &mut Chance) -> Result<(), String> {
    let runbook = "migrate: 1
wave: jumps
stages:
  prepare:
    - id: in-time
      uses: exec
      with: { argv: [sleep, \"0.4\"], repeat: repeatable }
      timeout: 1m
    - id: too-long
      uses: exec
      with: { argv: [sh, -c, \"date +%s%N >> began; exec sleep 1000\"], repeat: repeatable }
      timeout: 600ms
";
    let mut case = Case::start(library, |_| runbook.to_owned(), &[]);
    let early = case.jump(chance, Duration::from_millis(900));
    let status = early.map_or_else(|| case.end(), Ok)?;
    let ended = Clock::system().now();
    case.expect(status, &[1])?;
    if !case.process.said().contains("its timeout of") {
        return Err(format!("no word of the timeout:\n{}", case.said()));
    }
    // A machine that is too busy to begin in 600 ms leaves no time behind.
    for began in case.times("began") {
        let took = migrate::clock::since(began, ended);
        lasted(&case, "the timeout", Duration::from_millis(600), took)?;
    }
    case.readable()
}

/// Whether something lasted as long as it should; less, where what marks its beginning was late itself.
fn lasted(case: &Case, what: &str, wanted: Duration, found: Duration) -> Result<(), String> {
    if found >= wanted.mul_f64(0.3) && found <= wanted + slack() {
        return Ok(());
    }
    Err(format!("{what} of {wanted:?} lasted {found:?}:\n{}", case.said()))
}

/// A pause between two attempts, and a watch of four readings.
fn pause(library: &Path, chance: &mut Chance) -> Result<(), String> {
    let port = healthy_server();
    let runbook = format!(
        "migrate: 1
wave: jumps
stages:
  prepare:
    - id: again
      uses: exec
      with: {{ argv: [sh, -c, \"date +%s%N >> tries; test $(wc -l < tries) = 2\"], repeat: repeatable }}
      retry: {{ attempts: 2, backoff: 500ms }}
    - id: watch
      uses: monitor
      with: {{ for: 800ms, every: 200ms, probes: [{{ url: \"http://127.0.0.1:{port}/\" }}] }}
    - id: end
      uses: exec
      with: {{ argv: [sh, -c, \"date +%s%N >> tries\"], repeat: repeatable }}
"
    );
    let mut case = Case::start(library, |_| runbook, &[]);
    let early = case.jump(chance, Duration::from_millis(1_300));
    let status = early.map_or_else(|| case.end(), Ok)?;
    // A machine too busy for the readings of a watch: missing ones never count as good.
    let code = case.expect(status, if is_soak() { &[0] } else { &[0, 4] })?;
    let times = case.times("tries");
    let spans: Vec<_> =
        times.windows(2).map(|pair| migrate::clock::since(pair[0], pair[1])).collect();
    lasted(&case, "the pause", Duration::from_millis(500), spans[0])?;
    if code == 0 {
        lasted(&case, "the watch", Duration::from_millis(800), spans[1])?;
    }
    case.readable()
}

/// Answers every request with 200, for as long as the test lasts.
fn healthy_server() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let port = listener.local_addr().expect("an address").port();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let Ok(mut stream) = stream else { return };
            let mut request = [0; 2048];
            let read = stream.read(&mut request).unwrap_or(0);
            let answer = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\nok";
            if read > 0 && stream.write_all(answer.as_bytes()).is_err() {
                return;
            }
        }
    });
    port
}

/// A question with an end: past it by the clock, ever, the answer is no.
fn question(library: &Path, chance: &mut Chance) -> Result<(), String> {
    let runbook = "migrate: 1
wave: jumps
stages:
  prepare:
    - id: go
      uses: approval
      with: { ask: \"Go?\", expires: 25m }
";
    let mut case = Case::start(library, |_| runbook.to_owned(), &["--wait"]);
    let asked = Instant::now() + PATIENCE;
    while !case.lab.journal().is_some_and(|text| text.contains("\"asked\"")) {
        if case.process.ended_within(Duration::from_millis(1)).is_some() || Instant::now() > asked {
            return Err(format!("it does not ask:\n{}", case.said()));
        }
    }
    let asked = Clock::system().now();
    let offsets = OFFSETS[usize::try_from(chance.below(OFFSETS.len() as u64)).expect("small")];
    case.clock.set(offsets);
    // Longer than the clock is left unlooked at.
    let early = case.process.ended_within(Duration::from_millis(600));
    case.clock.set(0);
    let expired = offsets > 25 * 60;
    let status = if let Some(status) = early {
        status
    } else {
        let answered = case.lab.migrate(["approve", &case.lab.run_id(), "go"]);
        if answered.code() != Some(0) {
            return Err(format!("{}\n{}", answered.said(), case.said()));
        }
        case.end()?
    };
    // On a machine so busy that nobody looked at the clock in time, a yes is right, too.
    let looked = migrate::clock::since(asked, Clock::system().now()) < slack();
    match case.expect(status, &[0, 4])? {
        0 if expired && is_soak() && looked => {
            Err(format!("a yes to a question that had expired:\n{}", case.said()))
        }
        4 if !expired => Err(format!("a no to a question still open:\n{}", case.said())),
        _ => case.readable(),
    }
}

#[test]
fn the_clock_is_set_at_random_moments() {
    let Some(library) = libfaketime() else {
        println!("SKIPPED: clock jumps: libfaketime is not installed");
        return;
    };
    let (seed, done) = (Chance::seed(), Mutex::new([0_usize; 4]));
    let count = cases(16, 1_000);
    println!("clock-jumps: seed {seed}");
    // They mostly sleep.
    try_all("clock-jumps", count, 4, |case| {
        let mut chance = Chance::of(seed, case);
        let kind = case % 4;
        let tried = match kind {
            0 => window(&library, &mut chance),
            1 => timeout(&library, &mut chance),
            2 => pause(&library, &mut chance),
            _ => question(&library, &mut chance),
        };
        done.lock().expect("no panic")[kind] += 1;
        tried.map_err(|why| format!("seed {seed}: {why}"))
    });
    let [windows, timeouts, pauses, questions] = done.into_inner().expect("no panic");
    println!(
        "clock-jumps: {count} runs, each with its clock set two to five times ({windows} with a window, {timeouts} with \
         timeouts, {pauses} with a pause and a watch, {questions} with a question), 0 deviations"
    );
}
