//! `migrate run RUNBOOK`: the run itself, or a dry run of it, in the real world or in a sandbox.

use std::path::{Path, PathBuf};

use super::disk::Disk;
use super::dry_run::dry_run;
use super::prompt::AtTheKeyboard;
use super::refusal::Refusal;
use super::rehearsed::Rehearsed;
use super::settings::operator;
use super::world::{Ground, Purpose, scenario};
use super::{Exit, Global, narrate, runs, validate};
use crate::clock::Clock;
use crate::engine::{self, Claim, Ended, EngineError, run_dir};
use crate::journal;
use crate::plan::{Plan, prepare};
use crate::report::{self, Overview};
use crate::run::{Header, RunId};
use crate::steps::CATALOGUE;

/// Arguments of `migrate run`.
#[derive(Debug, clap::Args)]
#[expect(clippy::struct_excessive_bools, reason = "flags of a command line")]
pub struct Args {
    /// The runbook.
    #[arg(value_name = "RUNBOOK")]
    pub runbook: PathBuf,
    /// Show what would change, and change nothing.
    #[arg(long)]
    pub dry_run: bool,
    /// With --dry-run: exit 12 when something would change.
    #[arg(long, requires = "dry_run")]
    pub detailed_exitcode: bool,
    /// Run against a sandbox on this machine instead of the world; its time skips what is only waited for.
    #[arg(long)]
    pub sandbox: bool,
    /// With --dry-run --sandbox: the folder of the sandbox to look at; without it, a new one.
    #[arg(long, value_name = "DIR", requires_all = ["sandbox", "dry_run"])]
    pub sandbox_dir: Option<PathBuf>,
    /// What the sandbox is at first and what happens in it; without it, RUNBOOK's .scenario.yaml or the default world.
    #[arg(long, value_name = "FILE", requires = "sandbox")]
    pub scenario: Option<PathBuf>,
    /// Answer every approval with yes; only in a sandbox.
    #[arg(long, requires = "sandbox", conflicts_with = "dry_run")]
    pub yes: bool,
    /// Stay and wait for `migrate approve` where nobody can be asked.
    #[arg(long, conflicts_with = "dry_run")]
    pub wait: bool,
    /// What a rehearsal does to this process.
    #[command(flatten)]
    pub rehearsed: Rehearsed,
}

impl Args {
    /// Runs it to its end, to a stop, or to a question that nobody here can answer.
    pub fn run(self, global: &Global) -> anyhow::Result<Exit> {
        let name = self.runbook.display().to_string();
        let prepared = prepare(&name, &Disk, CATALOGUE);
        validate::report(&prepared, global);
        let Some(plan) = prepared.plan else { return Ok(Exit::InvalidRunbook) };
        Refusal::settled(async {
            self.rehearsed.arm(self.sandbox && !self.dry_run, &plan)?;
            let runbook = runs::absolute(&self.runbook)?;
            if self.dry_run {
                let scenario = self.scenario(&runbook)?;
                let dir = self.sandbox_dir.as_deref();
                dry_run(global, plan, runbook, scenario.map(|it| (dir, it)), self.detailed_exitcode)
                    .await
            } else {
                self.start(global, plan, runbook).await
            }
        })
    }

    fn scenario(&self, runbook: &Path) -> Result<Option<crate::sandbox::Scenario>, Refusal> {
        self.sandbox.then(|| scenario(self.scenario.as_deref(), runbook)).transpose()
    }

    async fn start(&self, global: &Global, plan: Plan, runbook: PathBuf) -> Result<Exit, Refusal> {
        let run = new_id(&plan);
        let dir = runs::absolute(&run_dir(&global.state_dir, &run))?;
        let claim =
            Claim::take(&global.state_dir, &plan.wave, &run, &operator(), Clock::system().now())
                .map_err(|error| Refusal::locked(&error, &global.program()))?;
        warn_of_unfinished(global, &plan, self.sandbox);
        let header = Header {
            format: journal::FORMAT,
            tool: env!("CARGO_PKG_VERSION").to_owned(),
            run: run.clone(),
            operator: operator(),
            runbook: runbook.display().to_string(),
            fingerprint: plan.fingerprint(),
            sandbox: self.sandbox,
            assume_yes: self.yes,
            plan: plan.clone(),
        };
        let scenario = self.scenario(&runbook)?;
        let progress_dir = dir.join("progress");
        let purpose = Purpose { run: run.clone(), plan, runbook, progress_dir };
        let ground = match scenario {
            Some(scenario) => purpose.in_sandbox(&dir.join("sandbox"), scenario, None).await?,
            None => purpose.really(),
        };
        let settings = self.rehearsed.apply(engine_settings(global, &ground, self.wait));
        let ended = engine::start(&claim, settings, header).await;
        finish(global, ground, &run, ended).await
    }
}

/// `wave-3-20261205T210211Z-1f3a`, from the time of this machine: runs are told apart and sorted by it.
fn new_id(plan: &Plan) -> RunId {
    let stamp = Clock::system().now().strftime("%Y%m%dT%H%M%SZ").to_string();
    let unique = uuid::Uuid::new_v4().simple().to_string();
    RunId::new(format!("{}-{stamp}-{}", plan.wave, &unique[..4]))
}

/// A second run of a wave does not know what the first one has changed.
fn warn_of_unfinished(global: &Global, plan: &Plan, sandbox: bool) {
    let open = runs::find(&global.state_dir, Some(plan.wave.as_str()))
        .ok()
        .filter(|run| !sandbox && !runs::has_ended(&global.state_dir, run));
    if let Some(run) = open {
        let program = global.program();
        narrate(&format!(
            "warning: run {run} of this wave has not ended; what it changed stays as it is\n  \
             hint:  {program} resume {run}, or {program} rollback {run}\n"
        ));
    }
}

/// Sinks and prompt of an engine at this terminal.
pub(super) fn engine_settings(global: &Global, ground: &Ground, wait: bool) -> engine::Settings {
    let mut sinks = global.sinks(&ground.redactor, &ground.world.base);
    let keyboard = global.can_confirm().then(AtTheKeyboard::default);
    if let Some(keyboard) = &keyboard {
        sinks.push(Box::new(keyboard.clone()));
    }
    engine::Settings {
        world: ground.world.clone(),
        state_dir: global.state_dir.clone(),
        operator: operator(),
        sinks,
        prompt: keyboard.map(|keyboard| std::sync::Arc::new(keyboard) as _),
        wait_for_people: wait,
        fail_at: None,
    }
}

/// The page at the end of a run, and its exit code.
pub(super) async fn finish(
    global: &Global,
    ground: Ground,
    run: &RunId,
    ended: Result<Ended, EngineError>,
) -> Result<Exit, Refusal> {
    let (redactor, base) = (ground.redactor.clone(), ground.world.base.clone());
    ground.leave().await;
    let (program, dir) = (global.program(), run_dir(&global.state_dir, run));
    let next = |refusal: Refusal| {
        if dir.join(journal::FILE).is_file() {
            refusal
                .hint(format!("what is known: {program} status {run}"))
                .hint(format!("when the cause is mended: {program} resume {run}"))
        } else {
            let again = "when the cause is mended, type the same command again";
            refusal.hint(format!("nothing was changed, the run has not begun: {again}"))
        }
    };
    let ended = ended.map_err(|error| next(error.into()))?;
    let overview = Overview::read(&dir, None).map_err(|error| next(error.into()))?;
    global.show(overview, &redactor, &base, report::summary);
    Ok(ended.finish.into())
}
