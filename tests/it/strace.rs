//! The program under `strace`, which puts a fault into one system call of it and tells which call that was.
//!
//! `when=N` counts the calls of one name in one thread: it strikes in every thread that gets so far, and a fatal fault in
//! the first that does. The program is therefore run with one worker thread: all that goes over the network, and all of
//! the journal, is then in one thread each, so there `N` is the N-th call of the process. Other threads wait for the disk.
//!
//! `--seccomp-bpf` would be faster and is not used: strace 6.1 leaves calls uncounted under it.

use std::collections::BTreeMap;
use std::fmt;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::time::Duration;

use crate::child::Running;
use crate::lab::{Ended, Lab};

/// One workload, every kind of step of a cutover, some 700 calls that write or send.
pub(crate) const CUTOVER: &str = "tests/it/runbooks/cutover.yaml";
/// The smallest world for it.
pub(crate) const TINY: &str = "
estate: { seed: 7, workloads: [crm], files: 4, orders: 8 }
writer: { orders: 2, pause_ms: 1 }
replication: [{ group: rg-crm, vault: vault-crm, item: crm-db, lag: [[0, 0]] }]
operation_seconds: 1
";
/// No run of it lasts so long, however busy the machine.
const PATIENCE: Duration = Duration::from_mins(2);

/// Whether strace is here and may trace; says so if not.
pub(crate) fn missing(what: &str) -> bool {
    let works = Command::new("strace")
        .args(["-f", "-qq", "-o", "/dev/null", "true"])
        .status()
        .is_ok_and(|it| it.success());
    if !works {
        println!("SKIPPED: {what}: strace is not installed, or may not trace");
    }
    !works
}

/// Where a fault strikes.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Point {
    /// The call's name.
    pub(crate) call: String,
    /// Which of a thread's calls, from 1.
    pub(crate) nth: usize,
    /// In a whole run if `None`. Else of a run that was killed after so many records and is taken up, and counted are only
    /// calls that concern this file, relative to the run's folder.
    pub(crate) at: Option<(u64, String)>,
}

/// A fault at a point, as strace has it: `signal=KILL`, `error=EIO`; in all later calls, too, if it lasts.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Injection {
    pub(crate) point: Point,
    pub(crate) fault: String,
    pub(crate) lasts: bool,
}

impl fmt::Display for Injection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { point: Point { call, nth, at }, fault, lasts } = self;
        write!(f, "inject={call}:{fault}:when={nth}{}", if *lasts { "+" } else { "" })?;
        at.as_ref().map_or(Ok(()), |(records, file)| {
            write!(f, " -P {file}, of a run killed after {records} records and taken up")
        })
    }
}

/// A system call as strace has seen it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Call {
    pub(crate) thread: u32,
    pub(crate) name: String,
    /// The file, relative to the run's folder if it is in there, or what else the descriptor is.
    pub(crate) place: String,
    /// The file is in the run's folder.
    pub(crate) inside: bool,
    /// The fault was put into it.
    pub(crate) struck: bool,
}

/// Runs the cutover, or takes up what is there of it, under strace, which sees calls of these names, and strikes.
pub(crate) fn traced(
    lab: &Lab,
    names: &[&str],
    injection: Option<&Injection>,
) -> (Ended, Vec<Call>) {
    let begun = lab.journal().is_some();
    let arguments = if begun { vec!["resume".to_owned()] } else { lab.sandbox_run(CUTOVER) };
    traced_with(lab, arguments, names, injection)
}

/// The same with other arguments.
pub(crate) fn traced_with(
    lab: &Lab,
    arguments: Vec<String>,
    names: &[&str],
    injection: Option<&Injection>,
) -> (Ended, Vec<Call>) {
    let log = lab.path().join("strace.log");
    // A name that this machine's kernel does not have is passed over.
    let set: Vec<_> = names.iter().map(|name| format!("?{name}")).collect();
    let mut command = Command::new("strace");
    command.args(["-f", "-qq", "-y", "-s", "0", "-o"]).arg(&log);
    command.arg("-e").arg(format!("trace={}", set.join(",")));
    if let Some(Injection { point: Point { call, nth, at }, fault, lasts }) = injection {
        let when = format!("{nth}{}", if *lasts { "+" } else { "" });
        command.arg("-e").arg(format!("inject={call}:{fault}:when={when}"));
        if let Some((_, file)) = at {
            command.arg("-P").arg(lab.run_dir().join(file));
        }
    }
    let inner = lab.command(arguments);
    command.arg(inner.get_program()).args(inner.get_args());
    command.current_dir(inner.get_current_dir().expect("a lab says where"));
    command.envs(inner.get_envs().filter_map(|(name, value)| Some((name, value?))));
    command.env("TOKIO_WORKER_THREADS", "1").stdin(std::process::Stdio::null());
    let mut running = Running::start(command, lab.path(), "traced");
    let ended = running.ended_within(PATIENCE);
    let (stdout, stderr) = (running.stdout().into_bytes(), running.stderr().into_bytes());
    let status = ended.unwrap_or_else(|| panic!("it does not end: {}", running.said()));
    let text = fs::read(&log).map(|bytes| String::from_utf8_lossy(&bytes).into_owned());
    let calls = calls(&text.unwrap_or_default(), lab.path(), &lab.run_dirs(), injection);
    (Ended(Output { status, stdout, stderr }), calls)
}

/// The calls of a log, in order.
fn calls(log: &str, base: &Path, runs: &[PathBuf], injection: Option<&Injection>) -> Vec<Call> {
    let mut calls: Vec<Call> = Vec::new();
    let mut counts = BTreeMap::new();
    for line in log.lines() {
        let Some((thread, rest)) = line.split_once(' ') else { continue };
        let (Ok(thread), rest) = (thread.parse(), rest.trim_start()) else { continue };
        if rest.starts_with("<...") {
            let own = calls.iter_mut().rev().find(|it| it.thread == thread);
            own.expect("what resumes has begun").struck |= rest.contains("(INJECTED)");
            continue;
        }
        // Signals and exits are no calls.
        let Some((name, arguments)) = rest.split_once('(') else { continue };
        if !name.chars().all(|it| it.is_ascii_alphanumeric() || it == '_') {
            continue;
        }
        let count = counts.entry((thread, name.to_owned())).or_insert(0);
        *count += 1;
        // What dies in a call can not tell how it ended, and others die with it.
        let fatal = |it: &Injection| {
            it.fault == "signal=KILL" && it.point.call == name && it.point.nth == *count
        };
        let struck = rest.contains("(INJECTED)") || injection.is_some_and(fatal);
        let (place, inside) = place(arguments, base, runs);
        calls.push(Call { thread, name: name.to_owned(), place, inside, struck });
    }
    calls
}

/// What a call is about: the last name among its arguments, else its descriptor; and whether that is in the run's folder.
/// Places in no run's folder are relative to `base`, which is another one in each lab.
fn place(arguments: &str, base: &Path, runs: &[PathBuf]) -> (String, bool) {
    let arguments = arguments.rsplit_once(" = ").map_or(arguments, |(before, _)| before);
    let descriptor = || {
        let inner = arguments.split_once('<')?.1.split_once('>')?.0;
        Some(inner.split_once(":[").map_or(inner, |(kind, _)| kind))
    };
    let named = arguments.rsplit('"').nth(1);
    let by_number = arguments.starts_with(|first: char| first.is_ascii_digit());
    let found = if by_number { descriptor() } else { named.or_else(descriptor) };
    let found = found.unwrap_or_default();
    let inside = runs.iter().find_map(|run| found.strip_prefix(&*run.to_string_lossy()));
    let beside = || (found.strip_prefix(&*base.to_string_lossy()).unwrap_or(found), false);
    let (place, inside) = inside.map_or_else(beside, |inside| (inside, true));
    (place.trim_start_matches('/').to_owned(), inside)
}

#[test]
fn a_log_of_strace_is_understood() {
    let log = "\
7 rename(\"/r/w-1/head.new\", \"/r/w-1/head.json\") = 0
7 connect(9<socket:[1]>, {sa_family=AF_INET}, 16 <unfinished ...>
8 fdatasync(11</r/w-1/journal.jsonl>) = -1 EIO (Input/output error) (INJECTED)
7 <... connect resumed>) = -1 EINPROGRESS (Operation now in progress)
7 openat(AT_FDCWD</work>, \"/etc/hosts\", O_RDONLY|O_CLOEXEC) = 3</etc/hosts>
8 fsync(12</r/waves>) = 0
8 write(11</r/w-1/journal.jsonl>, \"\"..., 5 <unfinished ...>
8 +++ killed by SIGKILL +++
";
    let point = Point { call: "write".to_owned(), nth: 1, at: None };
    let kill = Injection { point, fault: "signal=KILL".to_owned(), lasts: false };
    let found: Vec<_> = calls(log, Path::new("/r"), &[PathBuf::from("/r/w-1")], Some(&kill))
        .into_iter()
        .map(|it| (it.thread, it.name, it.place, it.inside, it.struck))
        .collect();
    let expected = [
        (7, "rename", "head.json", true, false),
        (7, "connect", "socket", false, false),
        (8, "fdatasync", "journal.jsonl", true, true),
        (7, "openat", "etc/hosts", false, false),
        (8, "fsync", "waves", false, false),
        (8, "write", "journal.jsonl", true, true),
    ];
    let own = |(thread, name, place, inside, struck): (u32, &str, &str, bool, bool)| {
        (thread, name.to_owned(), place.to_owned(), inside, struck)
    };
    assert_eq!(found, expected.map(own));
}
