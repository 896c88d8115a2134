//! `migrate rollback [RUN]`: takes every effect that restores back, the last one first.

use std::io::BufRead as _;

use super::refusal::Refusal;
use super::rehearsed::Rehearsed;
use super::resume::take_up;
use super::runs::Found;
use super::settings::operator;
use super::{Exit, Global, narrate};
use crate::engine::Goal;
use crate::run::{Ending, Undo};

/// Arguments of `migrate rollback`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The run: its id, the start of it, or its wave; without it, the only unfinished one.
    pub run: Option<String>,
    /// Do not ask.
    #[arg(long)]
    pub yes: bool,
    /// What a rehearsal does to this process.
    #[command(flatten)]
    pub rehearsed: Rehearsed,
}

impl Args {
    /// Rolls it back.
    pub fn run(self, global: &Global) -> anyhow::Result<Exit> {
        Refusal::settled(self.roll_back(global))
    }

    async fn roll_back(&self, global: &Global) -> Result<Exit, Refusal> {
        let found = Found::read(&global.state_dir, self.run.as_deref())?;
        let state = &found.reading.state;
        let program = global.program();
        if let Some(owner) = &found.owner {
            return Err(Refusal::held(owner, &program)
                .hint(format!("end it first: {program} abort {}", found.run)));
        }
        if let Some(step) = &state.crossed {
            let message =
                format!("step {step} of run {} crossed the point of no return", found.run);
            return Err(Refusal::new(Exit::Refused, message)
                .hint(format!("go on instead: {program} resume {}", found.run)));
        }
        if state.ended == Some(Ending::RolledBack) {
            narrate(&format!("run {} is rolled back already\n", found.run));
            return Ok(Exit::Done);
        }
        if !self.yes && !confirmed(global, &found)? {
            return Err(Refusal::new(Exit::NeedsPerson, "nothing was taken back")
                .hint(format!("without a question: {program} rollback {} --yes", found.run)));
        }
        let goal = Goal::RollBack(format!("asked by {}", operator().user));
        take_up(global, &found, &goal, None, (false, &self.rehearsed)).await
    }
}

/// Says what would be taken back, and asks where somebody can answer.
fn confirmed(global: &Global, found: &Found) -> Result<bool, Refusal> {
    let state = &found.reading.state;
    let done = || state.steps.iter().flat_map(|step| &step.effects).filter(|effect| effect.done);
    let count = |class| done().filter(|effect| effect.intent.undo == class).count();
    narrate(&format!(
        "rollback of {}: {} effects are restored, {} stay in place, {} can not be taken back\n",
        found.run,
        count(Undo::Restores),
        count(Undo::LeavesInPlace),
        count(Undo::Irreversible),
    ));
    if !global.can_confirm() {
        return Ok(false);
    }
    narrate("Roll back? [yes/no] ");
    let mut line = String::new();
    std::io::stdin()
        .lock()
        .read_line(&mut line)
        .map_err(|error| Refusal::because(Exit::NeedsPerson, &error))?;
    Ok(matches!(line.trim(), "yes" | "y"))
}
