//! `migrate resolve [RUN] STEP`: a person decides about a step that can not go on by itself.

use super::refusal::Refusal;
use super::runs::{Found, run_and_step};
use super::{Exit, Global, inbox};
use crate::run::{Request, Resolution, StepId, StepState};

/// Arguments of `migrate resolve`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The step, after its run unless only one is unfinished.
    #[arg(num_args = 1..=2, required = true, value_name = "[RUN] STEP")]
    pub target: Vec<String>,
    /// The decision.
    #[command(flatten)]
    pub decision: Decision,
    /// How you know; kept in the journal with the decision.
    #[arg(long, default_value = "", hide_default_value = true)]
    pub comment: String,
}

/// Exactly one of them.
#[derive(Debug, clap::Args)]
#[group(required = true, multiple = false)]
#[expect(clippy::struct_excessive_bools, reason = "flags of a command line; the group admits one")]
pub struct Decision {
    /// You looked, and the change in doubt is in place.
    #[arg(long)]
    pub done: bool,
    /// You looked, and nothing was changed; the step runs again.
    #[arg(long)]
    pub not_done: bool,
    /// The cause is gone: try again.
    #[arg(long)]
    pub retry: bool,
    /// Leave the step out; what follows it goes on.
    #[arg(long)]
    pub skip: bool,
}

impl Decision {
    const fn resolution(&self) -> Resolution {
        match self {
            Self { done: true, .. } => Resolution::Done,
            Self { not_done: true, .. } => Resolution::NotDone,
            Self { retry: true, .. } => Resolution::Retry,
            Self { .. } => Resolution::Skip,
        }
    }
}

impl Args {
    /// Hands the decision over.
    #[expect(clippy::unnecessary_wraps, reason = "one signature for every subcommand")]
    pub fn run(self, global: &Global) -> anyhow::Result<Exit> {
        Ok(Refusal::told(self.decide(global)))
    }

    fn decide(&self, global: &Global) -> Result<Exit, Refusal> {
        let (run, step) = run_and_step(&self.target);
        let found = Found::read(&global.state_dir, run)?;
        let step = found.step(step)?;
        let as_ = self.decision.resolution();
        may_resolve(&found, &step, as_)?;
        inbox::submit(global, &found, Request::Resolve { step, as_ }, &self.comment)
    }
}

fn may_resolve(found: &Found, step: &StepId, as_: Resolution) -> Result<(), Refusal> {
    let own = found.reading.state.step(step).expect("the step was found in this plan");
    if !matches!(own.state, StepState::Held | StepState::Failed | StepState::InDoubt) {
        let word = crate::report::word(&own.state);
        return Err(Refusal::new(
            Exit::Refused,
            format!("step {step} needs no decision: it is {word}"),
        ));
    }
    let in_doubt = own.doubt.is_some() || own.in_doubt().next().is_some();
    if matches!(as_, Resolution::Done | Resolution::NotDone) && !in_doubt {
        let message = format!("nothing of step {step} is in doubt; what it changed is known");
        return Err(Refusal::new(Exit::Refused, message).hint("decide with --retry or --skip"));
    }
    Ok(())
}
