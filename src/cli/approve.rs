//! `migrate approve [RUN] STEP`: yes or no to a question, release of a planned hold.

use super::refusal::Refusal;
use super::runs::{Found, run_and_step};
use super::settings::operator;
use super::{Exit, Global, inbox, narrate};
use crate::run::{Request, StepId, StepState, Waiting};

/// Arguments of `migrate approve`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The step that asks, after its run unless only one is unfinished.
    #[arg(num_args = 1..=2, required = true, value_name = "[RUN] STEP")]
    pub target: Vec<String>,
    /// Say no.
    #[arg(long)]
    pub refuse: bool,
    /// Kept in the journal with the answer.
    #[arg(long, default_value = "", hide_default_value = true)]
    pub comment: String,
}

impl Args {
    /// Hands the answer over.
    #[expect(clippy::unnecessary_wraps, reason = "one signature for every subcommand")]
    pub fn run(self, global: &Global) -> anyhow::Result<Exit> {
        Ok(Refusal::told(self.answer(global)))
    }

    fn answer(&self, global: &Global) -> Result<Exit, Refusal> {
        let (run, step) = run_and_step(&self.target);
        let found = Found::read(&global.state_dir, run)?;
        let step = found.step(step)?;
        may_answer(&found, &step, self.refuse)?;
        let request =
            if self.refuse { Request::Refuse { step } } else { Request::Approve { step } };
        // Whoever answers keeps what was answered on: the journal up to here.
        narrate(&format!("{}\n", found.reading.head));
        inbox::submit(global, &found, request, &self.comment)
    }
}

/// Refuses an answer to a question that is not asked, or from somebody who is not asked.
fn may_answer(found: &Found, step: &StepId, refuse: bool) -> Result<(), Refusal> {
    let state = &found.reading.state;
    let own = state.step(step).expect("the step was found in this plan");
    let word = || crate::report::word(&own.state);
    match (&own.state, &own.question) {
        (StepState::Waiting(Waiting::Hold), _) if !refuse => Ok(()),
        (StepState::Running(_), Some((question, yes))) => {
            let user = operator().user;
            if !question.from.is_empty() && !question.from.contains(&user) {
                let asked = question.from.join(", ");
                return Err(Refusal::new(
                    Exit::Refused,
                    format!("{user} is not asked; {asked} are"),
                ));
            }
            if usize::try_from(question.approvers).is_ok_and(|needed| yes.len() >= needed) {
                let message = format!("step {step} has every yes that it needs");
                return Err(Refusal::new(Exit::Refused, message));
            }
            if !refuse && yes.iter().any(|(who, _)| *who == user) {
                let message = format!("{user} has said yes already; another person is needed");
                return Err(Refusal::new(Exit::NeedsPerson, message));
            }
            Ok(())
        }
        _ => Err(Refusal::new(
            Exit::Refused,
            format!("step {step} asks nothing now: it is {}", word()),
        )),
    }
}
