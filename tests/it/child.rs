//! A process that something is done to while it runs: it leads a process group of its own, what it says goes to files that
//! can be read meanwhile, and nobody waits for it longer than told.

use std::fs::{self, File};
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process, kill_process_group};

/// Between two looks at a process that is waited for.
const LOOK: Duration = Duration::from_micros(500);

/// See the module. Dropped, whatever is left of it is killed.
pub(crate) struct Running {
    child: Child,
    out: PathBuf,
    pub(crate) started: Instant,
}

impl Running {
    /// Starts it; `name` tells its output files in `dir` from others.
    pub(crate) fn start(mut command: Command, dir: &Path, name: &str) -> Self {
        let out = dir.join(name);
        let file = |extension| File::create(out.with_extension(extension)).expect("a file");
        command.stdout(file("out")).stderr(file("err")).process_group(0);
        let started = Instant::now();
        Self { child: command.spawn().expect("the program starts"), out, started }
    }

    pub(crate) fn id(&self) -> u32 {
        self.child.id()
    }

    fn pid(&self) -> Pid {
        let raw = i32::try_from(self.child.id()).expect("a process id");
        Pid::from_raw(raw).expect("a process id")
    }

    /// Sends a signal to the process itself. It is ours until it has been waited for, so the id is nobody else's.
    pub(crate) fn signal(&self, signal: Signal) {
        kill_process(self.pid(), signal).expect("it has not been waited for");
    }

    /// Stops it, and returns when none of its threads can do anything more: each is stopped, or in a call to the system
    /// that it will not see the end of before it goes on.
    pub(crate) fn freeze(&self) {
        self.signal(Signal::STOP);
        let tasks = format!("/proc/{}/task", self.child.id());
        let still = |stat: &str| {
            // The name may hold anything; the state comes after its last bracket.
            let state = stat.rsplit_once(") ").and_then(|(_, rest)| rest.chars().next());
            matches!(state, Some('T' | 't' | 'D' | 'Z' | 'X'))
        };
        let all_still = || {
            let tasks = fs::read_dir(&tasks).into_iter().flatten().flatten();
            let mut stats =
                tasks.filter_map(|task| fs::read_to_string(task.path().join("stat")).ok());
            stats.all(|stat| still(&stat))
        };
        while !all_still() {
            std::thread::yield_now();
        }
    }

    /// Kills it and all of its group.
    pub(crate) fn kill(&self) {
        kill_process_group(self.pid(), Signal::KILL).expect("it has not been waited for");
    }

    /// How it ended, if it does before `moment`.
    pub(crate) fn ended_by(&mut self, moment: Instant) -> Option<ExitStatus> {
        loop {
            if let Some(status) = self.child.try_wait().expect("it is ours") {
                return Some(status);
            }
            let left = moment.checked_duration_since(Instant::now())?;
            std::thread::sleep(left.min(LOOK));
        }
    }

    /// How it ended, if it does within `limit` from now.
    pub(crate) fn ended_within(&mut self, limit: Duration) -> Option<ExitStatus> {
        self.ended_by(Instant::now() + limit)
    }

    pub(crate) fn stdout(&self) -> String {
        fs::read_to_string(self.out.with_extension("out")).expect("text")
    }

    pub(crate) fn stderr(&self) -> String {
        fs::read_to_string(self.out.with_extension("err")).expect("text")
    }

    /// Both streams, for messages of tests.
    pub(crate) fn said(&self) -> String {
        format!("{}\n{}", self.stdout(), self.stderr())
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        if matches!(self.child.try_wait(), Ok(None)) {
            self.kill();
            let _ = self.child.wait();
        }
    }
}

/// Numbers that a seed determines (splitmix64).
#[derive(Debug, Clone)]
pub(crate) struct Chance(u64);

impl Chance {
    /// The seed of a whole test: `MIGRATE_SEED`, or the time.
    pub(crate) fn seed() -> u64 {
        let given = std::env::var("MIGRATE_SEED").ok().and_then(|text| text.parse().ok());
        // Nanoseconds past the second are chance enough.
        let now = migrate::clock::Clock::system().now();
        given.unwrap_or_else(|| u64::try_from(now.subsec_nanosecond()).unwrap_or(1))
    }

    /// The numbers of one case of a test, the same in whatever order cases are tried.
    pub(crate) fn of(seed: u64, case: usize) -> Self {
        Self(seed.wrapping_add((case as u64).wrapping_mul(0xd134_2543_de82_ef95)))
    }

    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// Below `end`.
    pub(crate) fn below(&mut self, end: u64) -> u64 {
        self.next() % end.max(1)
    }

    /// So many of these, all if there are no more, in an order of chance.
    pub(crate) fn sample<T>(&mut self, mut all: Vec<T>, count: usize) -> Vec<T> {
        let count = count.min(all.len());
        for at in 0..count {
            let left = u64::try_from(all.len() - at).expect("few");
            let other = at + usize::try_from(self.below(left)).expect("few");
            all.swap(at, other);
        }
        all.truncate(count);
        all
    }

    /// A moment within `span`.
    pub(crate) fn within(&mut self, span: Duration) -> Duration {
        let micros = u64::try_from(span.as_micros()).expect("a short time");
        Duration::from_micros(self.below(micros))
    }
}

/// Waits until something is so, for as long as no test lasts.
#[track_caller]
pub(crate) fn until(what: &str, is_so: impl Fn() -> bool) {
    let given_up = Instant::now() + Duration::from_mins(2);
    while !is_so() {
        assert!(Instant::now() < given_up, "it never came: {what}");
        std::thread::sleep(LOOK);
    }
}

/// Measured times.
#[derive(Debug, Default)]
pub(crate) struct Figures(Vec<Duration>);

impl Figures {
    pub(crate) fn add(&mut self, took: Duration) {
        self.0.push(took);
    }

    /// The time that so many percent do not exceed; zero when nothing was measured.
    pub(crate) fn percentile(&self, percent: usize) -> Duration {
        let mut sorted = self.0.clone();
        sorted.sort_unstable();
        let index = (sorted.len() * percent / 100).min(sorted.len().saturating_sub(1));
        sorted.get(index).copied().unwrap_or_default()
    }
}

impl std::fmt::Display for Figures {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let at = |percent| self.percentile(percent).as_millis();
        write!(
            f,
            "{} times, p50 {} ms, p99 {} ms, max {} ms",
            self.0.len(),
            at(50),
            at(99),
            at(100)
        )
    }
}

/// Tries every case, `side_by_side` at a time; a case returns what deviated. Prints progress in the long form.
pub(crate) fn try_all(
    name: &str,
    cases: usize,
    side_by_side: usize,
    case: impl Fn(usize) -> Result<(), String> + Sync,
) {
    use std::sync::Mutex;
    use std::sync::atomic::{AtomicUsize, Ordering};
    let (next, wrong) = (AtomicUsize::new(0), Mutex::new(Vec::new()));
    std::thread::scope(|scope| {
        for _ in 0..side_by_side {
            scope.spawn(|| {
                loop {
                    let at = next.fetch_add(1, Ordering::Relaxed);
                    if at >= cases {
                        return;
                    }
                    let mut wrong = match case(at) {
                        Ok(()) => wrong.lock().expect("no panic"),
                        Err(why) => {
                            println!("{name}: case {at}: {why}");
                            let mut wrong = wrong.lock().expect("no panic");
                            wrong.push(format!("case {at}: {why}"));
                            wrong
                        }
                    };
                    if at % 100 == 99 && std::env::var_os("MIGRATE_SOAK").is_some() {
                        println!("{name}: {} of {cases}, {} deviations", at + 1, wrong.len());
                    }
                    // A defect shows in the first few; thousands of copies of it help nobody.
                    if wrong.len() > 20 {
                        wrong.push("and more: stopped here".to_owned());
                        next.store(cases, Ordering::Relaxed);
                    }
                }
            });
        }
    });
    let wrong = wrong.into_inner().expect("no panic");
    assert!(wrong.is_empty(), "{} of {cases} cases:\n{}", wrong.len(), wrong.join("\n"));
}
