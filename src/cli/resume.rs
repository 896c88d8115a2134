//! `migrate resume [RUN]`: takes a run up from its journal, in the world it was started in.

use std::collections::BTreeMap;
use std::path::PathBuf;

use super::disk::Disk;
use super::refusal::Refusal;
use super::rehearsed::Rehearsed;
use super::run::{engine_settings, finish};
use super::runs::Found;
use super::settings::operator;
use super::world::{Ground, Purpose};
use super::{Exit, Global, narrate, validate};
use crate::clock::Clock;
use crate::engine::{self, Claim, Goal};
use crate::plan::{Plan, PlannedStep, prepare};
use crate::run::StepId;
use crate::sandbox::Scenario;
use crate::steps::CATALOGUE;

/// Arguments of `migrate resume`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The run: its id, the start of it, or its wave; without it, the only unfinished one.
    pub run: Option<String>,
    /// Go on with the runbook as it is now, where it was edited since the run began.
    #[arg(long)]
    pub accept_changes: bool,
    /// Stay and wait for `migrate approve` where nobody can be asked.
    #[arg(long)]
    pub wait: bool,
    /// What a rehearsal does to this process.
    #[command(flatten)]
    pub rehearsed: Rehearsed,
}

impl Args {
    /// Runs it on.
    pub fn run(self, global: &Global) -> anyhow::Result<Exit> {
        Refusal::settled(self.resume(global))
    }

    async fn resume(&self, global: &Global) -> Result<Exit, Refusal> {
        let found = Found::read(&global.state_dir, self.run.as_deref())?;
        let edited = edited(global, &found)?;
        if let Some((plan, differences)) = &edited
            && !self.accept_changes
        {
            let (run, program) = (&found.run, global.program());
            narrate(&format!("the runbook was edited since the run began:\n{differences}"));
            return Err(Refusal::new(
                Exit::Drift,
                format!("run {run} has another plan than {}", plan.wave),
            )
            .hint(format!("go on with the edited one: {program} resume {run} --accept-changes"))
            .hint("or put the runbook back as it was"));
        }
        let edited =
            edited.map(|(plan, _)| (plan.fingerprint(), plan)).map(|(print, plan)| (plan, print));
        take_up(global, &found, &Goal::Forward, edited, (self.wait, &self.rehearsed)).await
    }
}

/// Resumes a run in its world, forward or back.
pub(super) async fn take_up(
    global: &Global,
    found: &Found,
    goal: &Goal,
    edited: Option<(Plan, String)>,
    (wait, rehearsed): (bool, &Rehearsed),
) -> Result<Exit, Refusal> {
    let plan = found.reading.state.plan();
    let claim =
        Claim::take(&global.state_dir, &plan.wave, &found.run, &operator(), Clock::system().now())
            .map_err(|error| Refusal::locked(&error, &global.program()))?;
    // Whoever held it until now has gone on meanwhile.
    let found = &Found::read(&global.state_dir, Some(found.run.as_str()))?;
    let state = &found.reading.state;
    rehearsed.arm(state.header.sandbox, state.plan())?;
    let ground = ground(found, edited.as_ref().map(|(plan, _)| plan)).await?;
    let settings = rehearsed.apply(engine_settings(global, &ground, wait));
    let ended = engine::resume(&claim, settings, goal, edited).await;
    finish(global, ground, &found.run, ended).await
}

async fn ground(found: &Found, edited: Option<&Plan>) -> Result<Ground, Refusal> {
    let header = &found.reading.state.header;
    let purpose = Purpose {
        run: found.run.clone(),
        plan: edited.unwrap_or(&header.plan).clone(),
        runbook: PathBuf::from(&header.runbook),
        progress_dir: found.dir.join("progress"),
    };
    if !header.sandbox {
        return Ok(purpose.really());
    }
    // The folder knows its scenario; time goes on from whatever happened last.
    let last = Some(found.reading.state.last);
    purpose.in_sandbox(&found.dir.join("sandbox"), Scenario::default(), last).await
}

/// The runbook as it is now with how it differs, if it is still there and does.
fn edited(global: &Global, found: &Found) -> Result<Option<(Plan, String)>, Refusal> {
    let state = &found.reading.state;
    let runbook = &state.header.runbook;
    if state.ended.is_some() || !std::path::Path::new(runbook).is_file() {
        return Ok(None);
    }
    let prepared = prepare(runbook, &Disk, CATALOGUE);
    let Some(now) = prepared.plan else {
        validate::report(&prepared, global);
        return Err(Refusal::new(
            Exit::InvalidRunbook,
            format!("{runbook} was edited and is not valid any more"),
        )
        .hint("put it right, or move it away: the journal holds the plan that was approved"));
    };
    let (before, after) = (placeless(state.plan()), placeless(&now));
    Ok((before != after).then(|| (now, differences(&before, &after))))
}

/// Where a step is written says nothing about what it does.
fn placeless(plan: &Plan) -> Plan {
    let mut plan = plan.clone();
    for step in &mut plan.steps {
        step.source = (String::new(), 0);
    }
    plan
}

/// One line per step that came, went or changed.
fn differences(before: &Plan, after: &Plan) -> String {
    let by_id = |plan: &Plan| -> BTreeMap<StepId, PlannedStep> {
        plan.steps.iter().map(|step| (step.id.clone(), step.clone())).collect()
    };
    let (old, new) = (by_id(before), by_id(after));
    let mut lines: Vec<_> =
        new.keys().filter(|id| !old.contains_key(*id)).map(|id| format!("  + {id}\n")).collect();
    for (id, step) in &old {
        match new.get(id) {
            None => lines.push(format!("  - {id}\n")),
            // Indexes of predecessors move with every step that comes or goes.
            Some(now) if PlannedStep { after: step.after.clone(), ..now.clone() } != *step => {
                lines.push(format!("  ~ {id}: {} -> {}\n", step.with, now.with));
            }
            Some(_) => {}
        }
    }
    if lines.is_empty() {
        lines.push("  ~ settings above the steps, or their order\n".to_owned());
    }
    lines.concat()
}
