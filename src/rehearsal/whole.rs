//! The whole run: uninterrupted, timed, and the measure of every trial.

use std::time::Duration;

use sha2::{Digest as _, Sha256};

use super::RehearsalError;
use super::judge::Outcome;
use super::left::comparable;
use super::times::Times;
use super::trial::{Ended, How, Setting, Trial};
use crate::journal;
use crate::plan::Plan;
use crate::report::Overview;
use crate::run::{Event, Record, StepId, hex};

/// See the module.
#[derive(Debug, Clone)]
pub struct Whole {
    /// How it ended, and what it left.
    pub outcome: Outcome,
    /// What each record of its journal says, in a few words.
    pub records: Vec<String>,
    /// Its outside calls.
    pub calls: Vec<String>,
    /// How long it took.
    pub times: Times,
    /// Steps that did their work before a point of no return, in the order in which they ended.
    pub steps: Vec<StepId>,
}

impl Whole {
    /// Runs it.
    pub async fn run(setting: &Setting, plan: &Plan) -> Result<Self, RehearsalError> {
        let trial = Trial::new(setting, "whole")?;
        let ended = trial.run_until(None).await?;
        let seen = records(&ended);
        let (mut names, mut pauses, mut steps) = (Vec::new(), Vec::new(), Vec::new());
        if let Some(dir) = trial.run_dir() {
            journal::read(&dir, |record, state| {
                names.push(name(&record.event));
                if let Event::StepSucceeded { step, .. } = &record.event
                    && state.crossed.is_none()
                    && !is_point_of_no_return(plan, step)
                {
                    steps.push(step.clone());
                }
            })?;
            pauses = Overview::read(&dir, None)?.writes_paused;
        }
        Ok(Self {
            records: names,
            calls: trial.calls(),
            times: Times::of(&seen, plan, pauses),
            steps,
            outcome: Outcome { ended: ended.how, said: ended.stderr, left: trial.left().await? },
        })
    }

    /// Whether it came to the end of its plan.
    pub fn is_complete(&self) -> bool {
        self.outcome.ended == How::Exit(0)
    }

    /// SHA-256 over the world it left: what every trial is compared with.
    pub fn world(&self) -> String {
        hex(&Sha256::digest(comparable(&self.outcome.left.world).to_string()))
    }
}

fn is_point_of_no_return(plan: &Plan, step: &StepId) -> bool {
    plan.steps.iter().any(|it| it.id == *step && it.point_of_no_return)
}

/// The records among the lines of a child's JSON, with their real times.
fn records(ended: &Ended) -> Vec<(Duration, Record)> {
    let parsed =
        ended.stdout.iter().map(|(at, line)| Some((*at, serde_json::from_str(line).ok()?)));
    parsed.flatten().collect()
}

/// `intent pause[crm]`.
pub(super) fn name(event: &Event) -> String {
    let value = serde_json::to_value(event).expect("facts are plain data");
    let (fact, members) = value
        .as_object()
        .and_then(|fact| fact.iter().next())
        .expect("a fact is an object with one member");
    let of = ["step", "stage", "ending", "stop"].iter().find_map(|name| members[name].as_str());
    [fact.replace('_', " "), of.unwrap_or_default().to_owned()].join(" ").trim_end().to_owned()
}
