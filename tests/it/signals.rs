//! Ctrl-C, SIGTERM and a closed terminal at random moments, once or twice, and a process that is stopped and goes on: no
//! new step starts, the process is gone soon with a journal that verifies, it says which command goes on, and that command
//! ends in the same world as an uninterrupted run. Then the moments that chance seldom finds: a command that does not heed
//! SIGTERM, an undo, an open question, a closed pipe.

use std::fs;
use std::io::{BufRead as _, BufReader};
use std::os::unix::process::ExitStatusExt as _;
use std::process::{Command, ExitStatus, Stdio};
use std::sync::Mutex;
use std::time::{Duration, Instant};

use rustix::process::Signal;

use crate::child::{Chance, Figures, Running, try_all, until};
use crate::lab::{Lab, SMALL, cases, is_soak};
use crate::uninterrupted::Uninterrupted;

const WAVE: &str = "runbooks/wave-1.yaml";
/// No run of the small world lasts so long, however busy the machine.
const PATIENCE: Duration = Duration::from_mins(2);

/// What the issue allows; a busy machine of CI gets more, so that only a defect fails it.
struct Limits {
    /// From the signal to the last step that may begin.
    no_new_step: Duration,
    /// From the signal to the end of the process.
    gone: Duration,
}

fn limits() -> Limits {
    if is_soak() {
        Limits { no_new_step: Duration::from_millis(100), gone: Duration::from_secs(2) }
    } else {
        Limits { no_new_step: Duration::from_secs(1), gone: Duration::from_secs(10) }
    }
}

/// What happened, over all cases.
#[derive(Default)]
struct Seen {
    to_stop: Figures,
    second_to_stop: Figures,
    paused: usize,
    interrupted: usize,
    too_early: usize,
    too_late: usize,
    steps_after: usize,
}

fn code_of(signal: Signal) -> i32 {
    if signal == Signal::TERM { 143 } else { 130 }
}

/// The command it says to type next, after "resume", as the lab would run it.
fn next_command(lab: &Lab, said: &str) -> Result<Command, String> {
    let found = said.lines().find_map(|line| {
        let at = line.find("migrate ")?;
        line[at..].split(' ').any(|word| word == "resume").then(|| line[at..].to_owned())
    });
    let line = found.ok_or_else(|| format!("it does not say how to resume:\n{said}"))?;
    // The command ends where its reason begins, after two spaces.
    let words = line.split("  ").next().unwrap_or_default().split(' ').skip(1);
    let mut command = lab.command(words);
    if said.contains("--state-dir") {
        command.env_remove("MIGRATE_STATE_DIR");
    }
    Ok(command)
}

/// The run as a person starts it: in the half of cases the state folder is named on the command line.
fn start(lab: &Lab, by_flag: bool) -> Running {
    let mut command = lab.command(lab.sandbox_run(WAVE));
    if by_flag {
        command.env_remove("MIGRATE_STATE_DIR").arg("--state-dir").arg(lab.path().join("state"));
    }
    Running::start(command, lab.path(), "run")
}

fn verified(lab: &Lab) -> Result<(), String> {
    let verified = lab.migrate(["journal", "verify", &lab.run_id()]);
    if verified.code() == Some(0) { Ok(()) } else { Err(verified.said()) }
}

/// Steps that the journal says to have started in what was written behind `from`.
fn started_behind(lab: &Lab, from: usize) -> usize {
    let journal = lab.journal().unwrap_or_default();
    let behind = journal.get(from..).unwrap_or_default();
    behind.matches("\"step_started\"").count()
}

fn interrupted(
    chance: &mut Chance,
    whole: &Uninterrupted,
    seen: &Mutex<Seen>,
) -> Result<(), String> {
    let lab = Lab::new(SMALL);
    let mut process = start(&lab, chance.below(2) == 0);
    let at = chance.within(whole.lasted);
    let signal = match chance.below(3) {
        0 => Signal::INT,
        1 => Signal::TERM,
        _ => Signal::HUP,
    };
    let second = (chance.below(4) == 0).then(|| chance.within(Duration::from_millis(30)));
    let point = format!("{signal:?} at {at:?}, second {second:?}");
    if let Some(status) = process.ended_by(process.started + at) {
        seen.lock().expect("no panic").too_late += 1;
        return ended_well(&lab, status, whole, &process).map_err(|why| format!("{point}: {why}"));
    }
    let limits = limits();
    let before = lab.journal().map_or(0, |text| text.len());
    process.signal(signal);
    let sent = Instant::now();
    let mut ended = None;
    let mut last_sent = sent;
    if let Some(after) = second {
        ended = process.ended_by(sent + after);
        if ended.is_none() {
            process.signal(signal);
            last_sent = Instant::now();
        }
    }
    // Whatever began until then may have been on its way; nothing may begin later.
    let ended = ended.or_else(|| process.ended_by(sent + limits.no_new_step));
    let by_then = lab.journal().map_or(0, |text| text.len());
    let ended = ended.or_else(|| process.ended_by(sent + limits.gone));
    let gone = Instant::now();
    let status = ended.ok_or_else(|| format!("{point}: still there:\n{}", process.said()))?;
    let late = started_behind(&lab, by_then);
    {
        let mut seen = seen.lock().expect("no panic");
        seen.steps_after += started_behind(&lab, before);
        let figures = if last_sent == sent { &mut seen.to_stop } else { &mut seen.second_to_stop };
        figures.add(gone.saturating_duration_since(last_sent));
    }
    let judged = if late > 0 {
        Err(format!("{late} steps began after {:?}", limits.no_new_step))
    } else {
        stopped_well(&lab, status, signal, whole, &process, seen)
    };
    judged.map_err(|why| format!("{point}: {why}"))
}

fn stopped_well(
    lab: &Lab,
    status: ExitStatus,
    signal: Signal,
    whole: &Uninterrupted,
    process: &Running,
    seen: &Mutex<Seen>,
) -> Result<(), String> {
    let Some(code) = status.code() else {
        // Before anything was recorded a signal ends the program as it ends any other.
        seen.lock().expect("no panic").too_early += 1;
        let by = status.signal() == Some(signal.as_raw());
        return match lab.journal() {
            None if by => Ok(()),
            _ => Err(format!("{status}:\n{}", process.said())),
        };
    };
    verified(lab)?;
    if code == 0 {
        seen.lock().expect("no panic").too_late += 1;
        return ended_well(lab, status, whole, process);
    }
    if code != code_of(signal) {
        return Err(format!("exit {code}:\n{}", process.said()));
    }
    let stderr = process.stderr();
    if !stderr.contains("stopping") || !stderr.contains("stopped") {
        return Err(format!("it does not say that it stops:\n{stderr}"));
    }
    seen.lock().expect("no panic").interrupted += 1;
    let mut resumed = Running::start(next_command(lab, &process.stdout())?, lab.path(), "resume");
    let status = resumed.ended_within(PATIENCE).ok_or("the resumed run does not end")?;
    ended_well(lab, status, whole, &resumed)
}

fn ended_well(
    lab: &Lab,
    status: ExitStatus,
    whole: &Uninterrupted,
    process: &Running,
) -> Result<(), String> {
    if status.code() != Some(0) {
        return Err(format!("{status}:\n{}", process.said()));
    }
    whole.same(lab)
}

/// SIGSTOP for a while, as a terminal's Ctrl-Z or a suspended machine: the run goes on and ends the same.
fn paused(chance: &mut Chance, whole: &Uninterrupted, seen: &Mutex<Seen>) -> Result<(), String> {
    let lab = Lab::new(SMALL);
    let mut process = start(&lab, false);
    let mut moments = Vec::new();
    let mut status = None;
    for _ in 0..=chance.below(3) {
        let at = chance.within(whole.lasted);
        let span = chance.within(Duration::from_millis(300));
        moments.push((at, span));
        status = process.ended_within(at);
        if status.is_some() {
            break;
        }
        process.signal(Signal::STOP);
        // It can not end meanwhile; only time passes. Unless it had come to its end just before.
        status = process.ended_within(span);
        if status.is_some() {
            break;
        }
        process.signal(Signal::CONT);
    }
    let status = status.or_else(|| process.ended_within(PATIENCE));
    seen.lock().expect("no panic").paused += 1;
    let status = status.ok_or_else(|| format!("{moments:?}: it does not end"))?;
    ended_well(&lab, status, whole, &process).map_err(|why| format!("stopped {moments:?}: {why}"))
}

#[test]
fn signals_at_random_moments() {
    let whole = Uninterrupted::run(WAVE);
    let (seed, all) = (Chance::seed(), Mutex::default());
    let count = cases(32, 1_000);
    println!("signals: seed {seed}, a run lasts {} ms", whole.lasted.as_millis());
    try_all("signals", count, 2, |case| {
        let mut chance = Chance::of(seed, case);
        let tried = if case % 5 == 4 {
            self::paused(&mut chance, &whole, &all)
        } else {
            self::interrupted(&mut chance, &whole, &all)
        };
        tried.map_err(|why| format!("seed {seed}: {why}"))
    });
    let Seen { to_stop, second_to_stop, paused, interrupted, too_early, too_late, steps_after } =
        all.into_inner().expect("no panic");
    println!(
        "signals: {count} cases ({} interrupted and resumed, {} stopped and continued, {} before the journal, {} after the \
         end), 0 deviations; {} steps began between a signal and its taking up, 0 after {} ms",
        interrupted,
        paused,
        too_early,
        too_late,
        steps_after,
        limits().no_new_step.as_millis()
    );
    println!("signals: from signal to end of process: {to_stop}");
    println!("signals: from second signal to end of process: {second_to_stop}");
}

/// A runbook of real commands, in the lab's folder.
fn real(lab: &Lab, name: &str, text: &str) -> Running {
    let path = lab.write(name, text);
    Running::start(lab.command(["run", &path]), lab.path(), "run")
}

const STUBBORN: &str = "migrate: 1
wave: stubborn
stages:
  prepare:
    - id: slow
      uses: exec
      with: { argv: [sh, -c, \"trap '' TERM; echo $$ > started; sleep 1000 & wait; wait\"] }
    - id: never
      uses: exec
      with: { argv: [touch, never] }
";

#[test]
fn a_second_signal_leaves_at_once_and_says_what_is_in_doubt() {
    let lab = Lab::new(SMALL);
    let mut process = real(&lab, "stubborn.yaml", STUBBORN);
    until("the command runs", || lab.text("started").is_some_and(|it| it.ends_with('\n')));
    process.signal(Signal::INT);
    until("it says so", || process.stderr().contains("stopping"));
    assert!(process.stderr().contains("slow (exec)"), "{}", process.stderr());
    process.signal(Signal::INT);
    let status = process.ended_within(PATIENCE).expect("it ends");
    assert_eq!(status.code(), Some(130), "{}", process.said());
    let stderr = process.stderr();
    assert!(stderr.contains("at once, not waiting for slow (exec)"), "{stderr}");
    assert!(stderr.contains("in doubt: slow: "), "{stderr}");
    assert!(process.stdout().contains("interrupted in the middle of a step"), "{}", process.said());
    let pid = lab.text("started").expect("a pid");
    until("the command is gone", || {
        let stat = fs::read_to_string(format!("/proc/{}/stat", pid.trim()));
        stat.map_or(true, |stat| stat.contains(") Z "))
    });
    verified(&lab).expect("a clean journal");
    assert!(process.stdout().contains(&format!("migrate resume {}", lab.run_id())));
    let resumed = lab.migrate(["resume"]).expect(6);
    assert!(resumed.said().contains("migrate resolve"), "{}", resumed.said());
    assert!(lab.text("never").is_none());
}

#[test]
fn a_command_cut_off_by_a_signal_goes_with_its_group_and_a_repeatable_one_runs_again() {
    let text = "migrate: 1
wave: cut
stages:
  prepare:
    - id: slow
      uses: exec
      with:
        argv: [sh, -c, \"test -e started && exit 0; sleep 1000 & echo $! > started; wait\"]
        repeat: repeatable
";
    let lab = Lab::new(SMALL);
    let mut process = real(&lab, "cut.yaml", text);
    until("the command runs", || lab.text("started").is_some_and(|it| it.ends_with('\n')));
    process.signal(Signal::TERM);
    let status = process.ended_within(PATIENCE).expect("it ends");
    assert_eq!(status.code(), Some(143), "{}", process.said());
    let child = lab.text("started").expect("a pid");
    // It was told with its group, and nobody waits for it.
    until("its own child is gone, too", || {
        let stat = fs::read_to_string(format!("/proc/{}/stat", child.trim()));
        stat.map_or(true, |stat| stat.contains(") Z "))
    });
    verified(&lab).expect("a clean journal");
    lab.migrate(["resume"]).expect(0);
}

#[test]
fn an_undo_cut_off_by_a_signal_is_taken_up_again() {
    let text = "migrate: 1
wave: back
stages:
  prepare:
    - id: made
      uses: exec
      with: { argv: [touch, made], repeat: repeatable }
      undo: [sh, -c, \"rm -f made; test -e undoing && exit 0; touch undoing; sleep 1000\"]
    - id: fails
      uses: exec
      with: { argv: [\"false\"], repeat: repeatable }
";
    let lab = Lab::new(SMALL);
    let path = lab.write("back.yaml", text);
    lab.migrate(["run", &path]).expect(1);
    let back = lab.command(["rollback", &lab.run_id(), "--yes"]);
    let mut process = Running::start(back, lab.path(), "rollback");
    until("the undo runs", || lab.text("undoing").is_some());
    process.signal(Signal::TERM);
    let status = process.ended_within(PATIENCE).expect("it ends");
    assert_eq!(status.code(), Some(143), "{}", process.said());
    assert!(process.stderr().contains("the undo of made"), "{}", process.stderr());
    verified(&lab).expect("a clean journal");
    lab.migrate(["resume"]).expect(8);
    assert!(lab.text("made").is_none());
}

#[test]
fn a_signal_while_a_question_is_open_leaves_it_open() {
    let lab = Lab::new(SMALL);
    let mut ask = lab.sandbox_run("tests/it/runbooks/ask.yaml");
    ask.retain(|word| word != "--yes");
    ask.push("--wait".to_owned());
    let mut process = Running::start(lab.command(ask), lab.path(), "run");
    until("it asks", || lab.journal().is_some_and(|text| text.contains("\"asked\"")));
    process.signal(Signal::HUP);
    let status = process.ended_within(PATIENCE).expect("it ends");
    assert_eq!(status.code(), Some(130), "{}", process.said());
    verified(&lab).expect("a clean journal");
    lab.migrate(["resume"]).expect(5);
    lab.migrate(["approve", "go"]).expect(0);
    lab.migrate(["resume"]).expect(0);
}

/// As `| head -1`: one line is read of one stream, then nobody reads either any more.
fn read_one_line(lab: &Lab, more: &str, of_stderr: bool) -> (String, ExitStatus) {
    let mut command = lab.command(lab.sandbox_run(WAVE).into_iter().chain([more.to_owned()]));
    let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("starts");
    let out = child.stdout.take().expect("a pipe");
    let err = child.stderr.take().expect("a pipe");
    let mut line = String::new();
    let read = if of_stderr {
        drop(out);
        BufReader::new(err).read_line(&mut line)
    } else {
        drop(err);
        BufReader::new(out).read_line(&mut line)
    };
    read.expect("a line");
    (line, child.wait().expect("it ends"))
}

#[test]
fn a_closed_pipe_ends_nothing() {
    for (more, of_stderr) in [("--json", false), ("-v", true)] {
        let lab = Lab::new(SMALL);
        let (line, status) = read_one_line(&lab, more, of_stderr);
        assert_eq!(status.code(), Some(0), "{more}: {line}");
        let journal = lab.journal().expect("a journal");
        assert!(journal.lines().last().is_some_and(|last| last.contains("run_ended")), "{more}");
    }
}
