//! A trial: the program as a child process, in a state folder of its own that goes with this value.

use std::ffi::OsStr;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::{Duration, Instant};

use serde::Serialize;
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, BufReader};
use tokio::process::{ChildStderr, ChildStdout, Command};

use super::RehearsalError;
use super::left::{self, Left};
use crate::crash::KillPoint;
use crate::run::RunId;
use crate::sandbox::{self, Scenario, WorldSnapshot};

/// A child that has not ended after so long in real time is ended, and that is a deviation.
const PATIENCE: Duration = Duration::from_mins(10);
/// Where the calls of a child are listed.
const CALLS: &str = "calls";
/// Where a scenario lies, in the folder of those that share it.
const SCENARIO: &str = "scenario.yaml";

/// What all trials of a rehearsal share. Its folder goes with it.
#[derive(Debug)]
pub struct Setting {
    program: PathBuf,
    runbook: PathBuf,
    folder: PathBuf,
}

impl Setting {
    /// Trials of `runbook` with this `program`, in worlds made by `scenario`, below a new temporary folder.
    pub fn new(
        program: PathBuf,
        runbook: PathBuf,
        scenario: &Scenario,
    ) -> Result<Self, RehearsalError> {
        let name = format!("migrate-rehearsal-{}", uuid::Uuid::new_v4().simple());
        let folder = std::env::temp_dir().join(name);
        create(&folder)?;
        let setting = Self { program, runbook, folder };
        write(&setting.folder.join(SCENARIO), scenario)?;
        Ok(setting)
    }
}

impl Drop for Setting {
    fn drop(&mut self) {
        // A child that was killed a moment ago may still be writing. What can not be removed is the system's to clean up.
        let given_up = Instant::now() + Duration::from_secs(1);
        while fs::remove_dir_all(&self.folder).is_err()
            && self.folder.exists()
            && Instant::now() < given_up
        {
            std::thread::sleep(Duration::from_millis(10));
        }
    }
}

/// How a child came to its end.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum How {
    /// With this exit code.
    Exit(i32),
    /// By this signal.
    Signal(i32),
    /// It did not end, and was ended.
    TooLate,
}

impl How {
    /// SIGKILL, which nobody but a kill point sends here.
    pub const KILLED: Self = Self::Signal(9);
}

impl std::fmt::Display for How {
    fn fmt(&self, to: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Exit(code) => write!(to, "exit {code}"),
            Self::Signal(signal) => write!(to, "signal {signal}"),
            Self::TooLate => write!(to, "no end within {} minutes", PATIENCE.as_secs() / 60),
        }
    }
}

/// A child that has ended.
#[derive(Debug)]
pub struct Ended {
    /// See [`How`].
    pub how: How,
    /// Lines of its standard output, each with its real time since the start.
    pub stdout: Vec<(Duration, String)>,
    /// Its narration.
    pub stderr: String,
}

/// See the module.
#[derive(Debug)]
pub struct Trial<'s> {
    setting: &'s Setting,
    folder: PathBuf,
    scenario: PathBuf,
}

impl<'s> Trial<'s> {
    /// An empty state folder; `name` tells it from the rehearsal's other trials.
    pub fn new(setting: &'s Setting, name: &str) -> Result<Self, RehearsalError> {
        let folder = setting.folder.join(name.replace([':', '/'], "-"));
        create(&folder)?;
        Ok(Self { setting, folder, scenario: setting.folder.join(SCENARIO) })
    }

    /// The same in a world of its own.
    pub fn in_world(
        setting: &'s Setting,
        name: &str,
        scenario: &Scenario,
    ) -> Result<Self, RehearsalError> {
        let mut trial = Self::new(setting, name)?;
        trial.scenario = trial.folder.join(SCENARIO);
        write(&trial.scenario, scenario)?;
        Ok(trial)
    }

    /// `run RUNBOOK --sandbox --yes`, with `more` arguments, to its end.
    pub async fn run(&self, more: &[&str]) -> Result<Ended, RehearsalError> {
        let (runbook, scenario) = (&self.setting.runbook, &self.scenario);
        let mut arguments = vec![OsStr::new("run"), runbook.as_os_str()];
        arguments.extend(["--sandbox", "--yes", "--scenario"].map(OsStr::new));
        arguments.push(scenario.as_os_str());
        arguments.extend(more.iter().map(OsStr::new));
        self.start(&arguments).await
    }

    /// The same, killed at `point` if it gets there, with its calls listed.
    pub async fn run_until(&self, point: Option<KillPoint>) -> Result<Ended, RehearsalError> {
        let calls = self.folder.join(CALLS).display().to_string();
        let mut more = vec!["--json".to_owned(), "--list-calls".to_owned(), calls];
        more.extend(point.iter().flat_map(|point| ["--die-at".to_owned(), point.to_string()]));
        self.run(&more.iter().map(String::as_str).collect::<Vec<_>>()).await
    }

    /// What an operator types after a crash: `resume`, or `run` again where nothing had begun.
    pub async fn take_up(&self) -> Result<Ended, RehearsalError> {
        match self.run_id() {
            Some(run) => self.start(&["resume", run.as_str(), "--json"].map(OsStr::new)).await,
            None => self.run(&["--json"]).await,
        }
    }

    /// The world before anything has run: a dry run makes it, and changes nothing in it.
    pub(super) async fn at_first(&self) -> Result<WorldSnapshot, RehearsalError> {
        let dir = self.folder.join("world");
        let (runbook, scenario) = (&self.setting.runbook, &self.scenario);
        let mut arguments = vec![OsStr::new("run"), runbook.as_os_str()];
        arguments.extend(["--dry-run", "--sandbox", "--sandbox-dir"].map(OsStr::new));
        arguments.extend([dir.as_os_str(), OsStr::new("--scenario"), scenario.as_os_str()]);
        // What it could not preview in a world in which nothing has happened yet is not asked here.
        self.start(&arguments).await?;
        Ok(sandbox::world(&dir).await?)
    }

    /// `rollback --yes`.
    pub async fn roll_back(&self) -> Result<Ended, RehearsalError> {
        let run = self.run_id();
        let run = run.as_ref().map(RunId::as_str);
        let arguments = ["rollback", "--yes", "--json"].into_iter().chain(run);
        self.start(&arguments.map(OsStr::new).collect::<Vec<_>>()).await
    }

    async fn start(&self, arguments: &[&OsStr]) -> Result<Ended, RehearsalError> {
        let program = &self.setting.program;
        let failed = |source| RehearsalError::Start { program: program.clone(), source };
        let began = Instant::now();
        let mut child = Command::new(program)
            .args(arguments)
            .env("MIGRATE_STATE_DIR", self.state_dir())
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            // Ctrl-C reaches the group of whoever types it: a trial under way goes on.
            .process_group(0)
            .kill_on_drop(true)
            .spawn()
            .map_err(failed)?;
        let stdout = child.stdout.take().expect("standard output is piped");
        let stderr = child.stderr.take().expect("standard error is piped");
        let ending = async {
            let (stdout, stderr) = tokio::join!(lines(stdout, began), text(stderr));
            Ok((child.wait().await?, stdout?, stderr?))
        };
        match tokio::time::timeout(PATIENCE, ending).await {
            Ok(ended) => {
                let (status, stdout, stderr) = ended.map_err(failed)?;
                let signal = std::os::unix::process::ExitStatusExt::signal(&status).unwrap_or(0);
                let how = status.code().map_or(How::Signal(signal), How::Exit);
                Ok(Ended { how, stdout, stderr })
            }
            Err(_) => Ok(Ended { how: How::TooLate, stdout: Vec::new(), stderr: String::new() }),
        }
    }

    fn state_dir(&self) -> PathBuf {
        self.folder.join("state")
    }

    /// The folder of its run; none before that has a journal.
    pub fn run_dir(&self) -> Option<PathBuf> {
        left::run_dir(&self.state_dir())
    }

    fn run_id(&self) -> Option<RunId> {
        Some(RunId::new(self.run_dir()?.file_name()?.to_str()?))
    }

    /// What it left behind until now.
    pub async fn left(&self) -> Result<Left, RehearsalError> {
        Left::read(&self.state_dir()).await
    }

    /// Changes that no intent announces, read without touching what a dead process left half done.
    pub fn unannounced(&self) -> Result<Vec<String>, RehearsalError> {
        left::unannounced(&self.state_dir())
    }

    /// The outside calls that the last [`Self::run_until`] listed, in their order.
    pub fn calls(&self) -> Vec<String> {
        let text = fs::read_to_string(self.folder.join(CALLS)).unwrap_or_default();
        let name = |line: &str| line.split_once(' ').map_or(line, |(_, name)| name).to_owned();
        text.lines().map(name).collect()
    }
}

impl Drop for Trial<'_> {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.folder);
    }
}

async fn lines(from: ChildStdout, began: Instant) -> std::io::Result<Vec<(Duration, String)>> {
    let (mut lines, mut found) = (BufReader::new(from).lines(), Vec::new());
    while let Some(line) = lines.next_line().await? {
        found.push((began.elapsed(), line));
    }
    Ok(found)
}

async fn text(mut from: ChildStderr) -> std::io::Result<String> {
    let mut bytes = Vec::new();
    from.read_to_end(&mut bytes).await?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

fn write(path: &Path, scenario: &Scenario) -> Result<(), RehearsalError> {
    let text = serde_json::to_string(scenario).expect("a scenario is plain data");
    fs::write(path, text).map_err(file("write", path))
}

fn create(folder: &Path) -> Result<(), RehearsalError> {
    let mut builder = fs::DirBuilder::new();
    std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
    builder.create(folder).map_err(file("create", folder))
}

fn file<'p>(
    doing: &'static str,
    path: &'p Path,
) -> impl FnOnce(std::io::Error) -> RehearsalError + 'p {
    move |source| RehearsalError::File { doing, path: path.to_owned(), source }
}
