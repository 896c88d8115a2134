//! What a rehearsal does to a process that runs an engine: hidden flags of `run`, `resume` and `rollback`, refused outside a
//! sandbox.

use std::fs::File;
use std::path::PathBuf;

use super::Exit;
use super::refusal::Refusal;
use crate::crash::{self, KillPoint};
use crate::engine;
use crate::plan::Plan;
use crate::run::StepId;

/// The flags.
#[derive(Debug, Clone, Default, clap::Args)]
pub struct Rehearsed {
    /// For rehearsals: kill this process at a point, `before-record:17` or `after-call:12`.
    #[arg(long, value_name = "POINT", hide = true)]
    pub die_at: Option<KillPoint>,
    /// For rehearsals: list the outside calls in this file.
    #[arg(long, value_name = "FILE", hide = true)]
    pub list_calls: Option<PathBuf>,
    /// For rehearsals: take this step for failed once it has done its work.
    #[arg(long, value_name = "STEP", hide = true)]
    pub fail_at: Option<String>,
}

impl Rehearsed {
    /// Arms this process, before anything of the run begins. Points and calls are the sandbox's: nothing else is ever armed.
    pub(super) fn arm(&self, sandbox: bool, plan: &Plan) -> Result<(), Refusal> {
        let asked = self.die_at.is_some() || self.list_calls.is_some() || self.fail_at.is_some();
        if asked && !sandbox {
            let why = "`--die-at`, `--list-calls` and `--fail-at` are for rehearsals, and this is no sandbox run";
            return Err(Refusal::new(Exit::Usage, why));
        }
        if let Some(step) = &self.fail_at
            && !plan.steps.iter().any(|it| it.id.as_str() == step)
        {
            let why = format!("`--fail-at {step}`: there is no such step");
            return Err(Refusal::new(Exit::Usage, why));
        }
        let calls = self.list_calls.as_deref().map(File::create).transpose();
        let calls = calls.map_err(|error| Refusal::because(Exit::Usage, &error))?;
        if self.die_at.is_some() || calls.is_some() {
            crash::arm(self.die_at, calls);
        }
        Ok(())
    }

    /// Hands the rest to an engine.
    pub(super) fn apply(&self, settings: engine::Settings) -> engine::Settings {
        engine::Settings { fail_at: self.fail_at.as_deref().map(StepId::new), ..settings }
    }
}
