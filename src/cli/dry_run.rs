//! `migrate run --dry-run`: the real engine and steps, read side only; the state folder is not touched.

use std::path::{Path, PathBuf};

use super::refusal::Refusal;
use super::world::{Ground, Purpose};
use super::{Exit, Global};
use crate::engine::{self, DryStep, Shown};
use crate::plan::Plan;
use crate::report::{self, Foreseen, JsonLines, Output, Scrub};
use crate::run::{FailureClass, RunId};
use crate::sandbox::Scenario;

/// Previews every step and shows it on standard output.
pub(super) async fn dry_run(
    global: &Global,
    plan: Plan,
    runbook: PathBuf,
    sandbox: Option<(Option<&Path>, Scenario)>,
    detailed: bool,
) -> Result<Exit, Refusal> {
    let fingerprint = plan.fingerprint();
    let nowhere = Nowhere::new();
    let purpose = Purpose {
        run: RunId::from("dry-run"),
        plan: plan.clone(),
        runbook,
        progress_dir: nowhere.0.join("progress"),
    };
    let ground = match sandbox {
        Some((dir, scenario)) => {
            let own = nowhere.0.join("sandbox");
            purpose.in_still_sandbox(dir.unwrap_or(&own), scenario).await?
        }
        None => purpose.really(),
    };
    let scrub = scrub(&ground);
    let foreseen: Vec<_> =
        engine::dry_run(ground.world.clone()).await.into_iter().map(foreseen).collect();
    let redactor = ground.redactor.clone();
    ground.leave().await;
    let output = Output::stdout(redactor);
    if global.json {
        let mut lines = JsonLines::new(output, "dry_run");
        for (step, foreseen) in plan.steps.iter().zip(&foreseen) {
            lines.value(&serde_json::json!({ "step": step.id, "foreseen": scrub.value(foreseen) }));
        }
    } else {
        let mut output = output;
        output.page(&report::dry_run(&plan, &fingerprint, &foreseen, &scrub));
    }
    Ok(exit(&foreseen, detailed))
}

fn foreseen(step: DryStep) -> Foreseen {
    match step.shown {
        Shown::Preview(preview) => Foreseen::Preview(preview),
        Shown::KnownAfter(steps) => Foreseen::KnownAfter(steps),
        Shown::Failed(failure) => Foreseen::Error(failure),
    }
}

/// Ports and folders of a sandbox differ from one dry run to the next; what is written in the runbook does not.
fn scrub(ground: &Ground) -> Scrub {
    let Some(sandbox) = &ground.sandbox else { return Scrub::default() };
    let ports = sandbox.ports;
    let folder = |path: &Path| format!("{}/", path.display());
    [ports.http, ports.dns, ports.azure, ports.identity]
        .iter()
        .fold(Scrub::default(), |scrub, port| scrub.replacing(format!(":{port}"), ""))
        .replacing(folder(&sandbox.base), "")
        .replacing(sandbox.base.display().to_string(), ".")
}

/// What could not be foreseen decides; changes count only with `--detailed-exitcode`.
fn exit(foreseen: &[Foreseen], detailed: bool) -> Exit {
    let failed = foreseen.iter().find_map(|step| match step {
        Foreseen::Error(failure) => Some(match failure.class {
            FailureClass::Refused => Exit::Refused,
            FailureClass::NeedsPerson => Exit::NeedsPerson,
            FailureClass::Unknown => Exit::Unknown,
            FailureClass::Mismatch => Exit::Mismatch,
            FailureClass::Drift => Exit::Drift,
            FailureClass::Failed | FailureClass::Cancelled => Exit::Failed,
        }),
        _ => None,
    });
    let changes = foreseen.iter().any(Foreseen::changes_something);
    match failed {
        Some(exit) => exit,
        None if detailed && changes => Exit::ChangesPending,
        None => Exit::Done,
    }
}

/// A folder of its own below the system's temporary one; removed with this value. Made only when something needs it.
struct Nowhere(PathBuf);

impl Nowhere {
    fn new() -> Self {
        Self(
            std::env::temp_dir().join(format!("migrate-dry-run-{}", uuid::Uuid::new_v4().simple())),
        )
    }
}

impl Drop for Nowhere {
    fn drop(&mut self) {
        // Never made, in most cases.
        let _ = std::fs::remove_dir_all(&self.0);
    }
}
