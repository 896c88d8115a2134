//! A place to run the program in: its own state folder, sandbox runs only, everything looked at from outside.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

pub(crate) use migrate::rehearsal::stable;
use migrate::{rehearsal, sandbox};

/// The program under test: the release binary that `MIGRATE_BIN` names, as `tests/run` and `tests/soak` set it, else the
/// one that was built along with the tests.
pub(crate) fn program() -> PathBuf {
    std::env::var_os("MIGRATE_BIN")
        .map_or_else(|| PathBuf::from(env!("CARGO_BIN_EXE_migrate")), PathBuf::from)
}

/// How many cases a test tries: the short form that CI has time for, the long one under `tests/soak NAME`, or as many as
/// `tests/soak NAME COUNT` says.
pub(crate) fn cases(short: usize, long: usize) -> usize {
    match std::env::var("MIGRATE_SOAK") {
        Err(_) => short,
        Ok(text) => text.parse().unwrap_or(long),
    }
}

/// Whether this is a long form.
pub(crate) fn is_soak() -> bool {
    std::env::var_os("MIGRATE_SOAK").is_some()
}

/// A small world: the same resources, fewer files and orders.
pub(crate) const SMALL: &str = "
estate: { seed: 7, workloads: [crm, shop], files: 24, orders: 40 }
writer: { orders: 12, pause_ms: 1 }
";

/// See the module.
pub(crate) struct Lab {
    dir: tempfile::TempDir,
}

impl Lab {
    /// An empty state folder, and a scenario that every run in it uses.
    pub(crate) fn new(scenario: &str) -> Self {
        let dir = tempfile::tempdir().expect("a folder");
        fs::write(dir.path().join("scenario.yaml"), scenario).expect("a scenario");
        Self { dir }
    }

    pub(crate) fn path(&self) -> &Path {
        self.dir.path()
    }

    /// A file of the lab's folder, and its path.
    pub(crate) fn write(&self, name: &str, text: &str) -> String {
        let path = self.path().join(name);
        fs::write(&path, text).expect("a file");
        path.display().to_string()
    }

    /// A runbook of these steps between two servers, the secret `db` of which holds that password.
    pub(crate) fn pair(&self, password: &str, source: &str, target: &str, steps: &str) -> String {
        self.write("db", password);
        let text = format!(
            "migrate: 1
wave: pair
secrets: {{ db: {{ file: db }} }}
systems: {{ source: {source}, target: {target} }}
stages:
  release:
{steps}
"
        );
        self.write("pair.yaml", &text)
    }

    /// The text of a file in the lab's folder, once there is one.
    pub(crate) fn text(&self, name: &str) -> Option<String> {
        fs::read_to_string(self.path().join(name)).ok()
    }

    /// Folders of runs, also of one that was killed before its journal began.
    pub(crate) fn run_dirs(&self) -> Vec<PathBuf> {
        let entries = fs::read_dir(self.path().join("state/runs"));
        entries.into_iter().flatten().filter_map(|entry| Some(entry.ok()?.path())).collect()
    }

    /// The journal of the only run, once it has begun.
    pub(crate) fn journal(&self) -> Option<String> {
        let texts = |run: &PathBuf| fs::read_to_string(run.join("journal.jsonl")).ok();
        self.run_dirs().iter().find_map(texts)
    }

    /// Removes runs that were killed before their journal began.
    pub(crate) fn forget_runs(&self) {
        for run in self.run_dirs() {
            assert!(!run.join("journal.jsonl").exists(), "{} has begun", run.display());
            fs::remove_dir_all(run).expect("it is ours");
        }
    }

    /// The folder of the only run.
    pub(crate) fn run_dir(&self) -> PathBuf {
        let runs = self.path().join("state/runs");
        let mut entries = fs::read_dir(&runs).unwrap_or_else(|e| panic!("{}: {e}", runs.display()));
        let only = entries.next().expect("a run").expect("an entry").path();
        assert!(entries.next().is_none(), "one run only");
        only
    }

    pub(crate) fn sandbox_dir(&self) -> PathBuf {
        self.run_dir().join("sandbox")
    }

    /// The program, with nothing of the caller's environment that could matter.
    pub(crate) fn command<S: AsRef<OsStr>>(
        &self,
        arguments: impl IntoIterator<Item = S>,
    ) -> Command {
        let mut command = Command::new(program());
        command
            .current_dir(env!("CARGO_MANIFEST_DIR"))
            .args(arguments)
            .env("MIGRATE_STATE_DIR", self.path().join("state"))
            .env("NO_COLOR", "1")
            // What examples name as secrets; a sandbox takes any.
            .env("GITHUB_TOKEN", "a-token-of-github")
            .env("AZURE_DEVOPS_TOKEN", "a-token-of-azure-devops")
            .stdin(Stdio::null());
        command
    }

    /// Runs the program to its end.
    pub(crate) fn migrate<S: AsRef<OsStr>>(&self, arguments: impl IntoIterator<Item = S>) -> Ended {
        Ended(self.command(arguments).output().expect("the program starts"))
    }

    /// Arguments of `run RUNBOOK --sandbox --yes` in this lab's scenario.
    pub(crate) fn sandbox_run(&self, runbook: &str) -> Vec<String> {
        let scenario = self.path().join("scenario.yaml").display().to_string();
        ["run", runbook, "--sandbox", "--yes", "--scenario", &scenario].map(str::to_owned).into()
    }

    /// `run RUNBOOK --sandbox --yes` in this lab's scenario.
    pub(crate) fn run(&self, runbook: &str, more: &[&str]) -> Ended {
        let more = more.iter().map(|&it| it.to_owned());
        self.migrate(self.sandbox_run(runbook).into_iter().chain(more))
    }

    /// A dry run against the world in `dir`, which it makes if there is none.
    pub(crate) fn dry_run(&self, runbook: &str, dir: &str) -> Ended {
        let scenario = self.path().join("scenario.yaml").display().to_string();
        let sandbox = ["--dry-run", "--sandbox", "--sandbox-dir", dir, "--scenario", &scenario];
        self.migrate(["run", runbook].iter().chain(&sandbox))
    }

    /// Records of the only run's journal.
    pub(crate) fn records(&self) -> usize {
        let journal = fs::read_to_string(self.run_dir().join("journal.jsonl")).expect("a journal");
        journal.lines().count()
    }

    /// What the run left behind.
    pub(crate) fn world(&self) -> sandbox::WorldSnapshot {
        let runtime = tokio::runtime::Runtime::new().expect("a runtime");
        runtime.block_on(sandbox::world(&self.sandbox_dir())).expect("a world")
    }

    fn state_dir(&self) -> PathBuf {
        self.path().join("state")
    }

    /// How often each thing was changed, by the sandbox's own ledger; the writing client's orders left out.
    pub(crate) fn changes(&self) -> BTreeMap<String, usize> {
        rehearsal::changes(&self.state_dir()).expect("a ledger")
    }

    /// Changes at the target that no intent on disk speaks of. Of a run that was cut off, too.
    pub(crate) fn unannounced(&self) -> Vec<String> {
        rehearsal::unannounced(&self.state_dir()).expect("a ledger")
    }

    pub(crate) fn run_id(&self) -> String {
        self.run_dir().file_name().expect("a name").to_string_lossy().into_owned()
    }
}

/// A process that has ended.
pub(crate) struct Ended(pub(crate) Output);

impl Ended {
    pub(crate) fn code(&self) -> Option<i32> {
        self.0.status.code()
    }

    pub(crate) fn stdout(&self) -> String {
        String::from_utf8_lossy(&self.0.stdout).into_owned()
    }

    pub(crate) fn stderr(&self) -> String {
        String::from_utf8_lossy(&self.0.stderr).into_owned()
    }

    /// Both streams, for messages of tests.
    pub(crate) fn said(&self) -> String {
        format!("exit {:?}\n{}\n{}", self.code(), self.stdout(), self.stderr())
    }

    #[track_caller]
    pub(crate) fn expect(self, code: i32) -> Self {
        assert_eq!(self.code(), Some(code), "{}", self.said());
        self
    }
}
