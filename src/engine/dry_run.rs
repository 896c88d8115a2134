//! A dry run: the real steps, read side only. No permit can exist here, because there is no journal to make one.

use std::collections::BTreeMap;
use std::sync::Arc;

use tokio_util::sync::CancellationToken;

use super::executor::Bench;
use crate::plan::expression;
use crate::run::{StepError, StepId};
use crate::steps::{Preview, World};

/// What one step would do.
#[derive(Debug)]
pub struct DryStep {
    /// The step.
    pub step: StepId,
    /// Its preview, or why it can not be known before earlier steps have run, or what went wrong.
    pub shown: Shown,
}

/// What can be said of a step before it runs.
#[derive(Debug)]
pub enum Shown {
    /// Read from the real targets now.
    Preview(Preview),
    /// Depends on outputs of steps that have not run.
    KnownAfter(Vec<String>),
    /// Reading failed.
    Failed(StepError),
}

/// Previews every step, in the plan's order, one at a time: the same world gives the same bytes.
pub async fn dry_run(world: Arc<World>) -> Vec<DryStep> {
    let mut shown = Vec::new();
    for (index, step) in world.plan.steps.iter().enumerate() {
        let needs = expression::steps_needed(step);
        let preview = if needs.is_empty() {
            let bench = Bench {
                world: world.clone(),
                outputs: Arc::new(BTreeMap::new()),
                effects: Arc::new(BTreeMap::new()),
                first_started: world.clock.now(),
                cut_off: false,
                cancel: CancellationToken::new(),
                progress: None,
            };
            match bench.prepare(index, Vec::new()) {
                Ok((built, cx)) => {
                    built.preview(&cx).await.map_or_else(Shown::Failed, Shown::Preview)
                }
                Err(failure) => Shown::Failed(failure),
            }
        } else {
            Shown::KnownAfter(needs)
        };
        shown.push(DryStep { step: step.id.clone(), shown: preview });
    }
    shown
}
