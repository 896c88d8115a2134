//! `migrate rehearse RUNBOOK`: how long it takes, and whether it survives interruption. Every run of it is a sandbox run.

use std::num::NonZeroUsize;
use std::path::PathBuf;

use sha2::{Digest as _, Sha256};
use tokio_util::sync::CancellationToken;

use super::disk::Disk;
use super::matrices::Trials;
use super::refusal::Refusal;
use super::world::scenario;
use super::{Exit, Global, narrate, runs, validate};
use crate::clock::Clock;
use crate::diagnostic::redact::Redactor;
use crate::engine::Signals;
use crate::plan::{Plan, prepare};
use crate::rehearsal::{self, Certificate, How, Point, RehearsalError, Setting, Whole};
use crate::report::{JsonLines, Output};
use crate::run::{Stop, hex};
use crate::sandbox::Scenario;
use crate::steps::CATALOGUE;

/// Arguments of `migrate rehearse`.
#[derive(Debug, clap::Args)]
#[command(group(clap::ArgGroup::new("matrix").multiple(true)))]
pub struct Args {
    /// The runbook.
    #[arg(value_name = "RUNBOOK")]
    pub runbook: PathBuf,
    /// What the sandbox is at first and what happens in it; without it, RUNBOOK's .scenario.yaml or the default world.
    #[arg(long, value_name = "FILE")]
    pub scenario: Option<PathBuf>,
    /// Kill the run before and after every journal record and every outside call, resume it, and compare.
    #[arg(long, group = "matrix")]
    pub crash_matrix: bool,
    /// Fail at every step before the point of no return, roll back, and compare with the start.
    #[arg(long, group = "matrix")]
    pub rollback_matrix: bool,
    /// Let random requests fail, be throttled or lose their answer, and compare. The same seed draws the same faults.
    #[arg(long, value_name = "SEED", group = "matrix")]
    pub faults: Option<u64>,
    /// With --faults: how many runs meet some.
    #[arg(long, value_name = "N", default_value = "20", requires = "faults")]
    pub trials: NonZeroUsize,
    /// Try every N-th point only; the certificate says so.
    #[arg(long, value_name = "N", requires = "matrix")]
    pub sample: Option<NonZeroUsize>,
    /// Try only this point, as a certificate names it: `after-call:12`, `fail-at:STEP`, `faults:SEED/N`. Can be given again.
    #[arg(long, value_name = "POINT", requires = "matrix", conflicts_with = "sample")]
    pub point: Vec<Point>,
    /// Trials side by side; without it, as many as there are cores.
    #[arg(long, value_name = "N")]
    pub jobs: Option<NonZeroUsize>,
    /// Write the certificate to this file, too: Markdown if it ends in .md, JSON if in .json.
    #[arg(long, value_name = "FILE")]
    pub certificate: Option<PathBuf>,
}

impl Args {
    /// Rehearses.
    pub fn run(self, global: &Global) -> anyhow::Result<Exit> {
        let name = self.runbook.display().to_string();
        let prepared = prepare(&name, &Disk, CATALOGUE);
        validate::report(&prepared, global);
        let Some(plan) = prepared.plan else { return Ok(Exit::InvalidRunbook) };
        Refusal::settled(self.until_stopped(global, &plan))
    }

    /// A first Ctrl-C ends the rehearsal after the trials under way, with what was tried; a second one at once.
    async fn until_stopped(&self, global: &Global, plan: &Plan) -> Result<Exit, Refusal> {
        let mut signals =
            Signals::listen().map_err(|error| Refusal::because(Exit::Failed, &error))?;
        let stop = CancellationToken::new();
        let rehearsal = self.rehearse(global, plan, &stop);
        tokio::pin!(rehearsal);
        let exit = tokio::select! {
            ended = rehearsal.as_mut() => return ended,
            signal = signals.next() => match signal {
                Stop::Terminated => Exit::Terminated,
                _ => Exit::Interrupted,
            },
        };
        // Said where the trials are shown: a line of ours would stand in the middle of their bar.
        stop.cancel();
        tokio::select! {
            ended = rehearsal => match ended {
                Ok(_) => Ok(exit),
                Err(mut refusal) => {
                    refusal.exit = exit;
                    Err(refusal)
                }
            },
            _ = signals.next() => Err(Refusal::new(exit, "interrupted again: there is no certificate")),
        }
    }

    async fn rehearse(
        &self,
        global: &Global,
        plan: &Plan,
        stop: &CancellationToken,
    ) -> Result<Exit, Refusal> {
        let form = self.certificate.as_deref().map(Form::of).transpose()?;
        self.check_points(plan)?;
        let runbook = runs::absolute(&self.runbook)?;
        let scenario = scenario(self.scenario.as_deref(), &runbook)?;
        let program =
            std::env::current_exe().map_err(|error| Refusal::because(Exit::Failed, &error))?;
        let setting = Setting::new(program, runbook, &scenario)?;
        let whole = tokio::select! {
            whole = Whole::run(&setting, plan) => whole?,
            () = stop.cancelled() => {
                let why = "interrupted before the end of the whole run: there is no certificate";
                return Err(Refusal::new(Exit::Interrupted, why));
            }
        };
        if !whole.is_complete() {
            narrate(&whole.outcome.said);
            return Err(Refusal::new(
                ending(&whole),
                format!("the rehearsal did not come to its end: {}", whole.outcome.ended),
            ));
        }
        let mut certificate = self.certificate_of(plan, &scenario, &whole);
        let trials = Trials {
            args: self,
            global,
            setting: &setting,
            scenario: &scenario,
            whole: &whole,
            stop,
        };
        if self.crash_matrix {
            certificate.matrices.push(trials.crash_matrix().await?);
        }
        if self.rollback_matrix {
            certificate.matrices.push(trials.rollback_matrix(plan).await?);
        }
        if let Some(seed) = self.faults {
            certificate.matrices.push(trials.faults(seed).await?);
        }
        show(global, &certificate);
        if let (Some(form), Some(path)) = (form, &self.certificate) {
            std::fs::write(path, form.text(&certificate))
                .map_err(|error| Refusal::because(Exit::Failed, &error))?;
        }
        if certificate.deviations() > 0 {
            return Ok(Exit::Failed);
        }
        if let Some(empty) = certificate.matrices.iter().find(|matrix| matrix.shows_nothing()) {
            let why =
                format!("{}: none of its points was reached, so nothing was shown", empty.name);
            return Err(Refusal::new(Exit::Failed, why));
        }
        Ok(Exit::Done)
    }

    /// A point that no matrix which was asked for has would be left out silently.
    fn check_points(&self, plan: &Plan) -> Result<(), Refusal> {
        for point in &self.point {
            let wanted = match point {
                Point::Kill(_) => self.crash_matrix,
                Point::FailAt(step) => {
                    if !plan.steps.iter().any(|it| it.id == *step) {
                        return Err(Refusal::usage(format!("{point}: there is no such step")));
                    }
                    self.rollback_matrix
                }
                Point::Faults { seed, .. } => self.faults == Some(*seed),
            };
            if !wanted {
                let flag = point.flag();
                return Err(Refusal::usage(format!(
                    "{point} is a point of {flag}, which is not asked for"
                )));
            }
        }
        Ok(())
    }

    fn certificate_of(&self, plan: &Plan, scenario: &Scenario, whole: &Whole) -> Certificate {
        let beside = self.runbook.with_extension("scenario.yaml");
        let named = self.scenario.clone().or_else(|| beside.is_file().then_some(beside));
        let text = serde_json::to_string(scenario).expect("a scenario is plain data");
        Certificate {
            tool: env!("CARGO_PKG_VERSION").to_owned(),
            runbook: self.runbook.display().to_string(),
            wave: plan.wave.to_string(),
            summary: plan.summary.clone(),
            change: plan.change.clone(),
            plan: plan.fingerprint(),
            scenario: named.map_or("the default world".to_owned(), |it| it.display().to_string()),
            scenario_hash: hex(&Sha256::digest(text)),
            seed: scenario.estate.seed,
            at: Clock::system().now(),
            ended: whole.outcome.ended.to_string(),
            records: whole.records.len(),
            calls: whole.calls.len(),
            world: whole.world(),
            times: whole.times.clone(),
            matrices: Vec::new(),
        }
    }
}

/// The whole run's own exit code: what would happen on the night.
fn ending(whole: &Whole) -> Exit {
    let code = match whole.outcome.ended {
        How::Exit(code) => u8::try_from(code).ok(),
        _ => None,
    };
    let known = Exit::ALL.iter().map(|(exit, _)| *exit);
    known.into_iter().find(|exit| Some(exit.code()) == code).unwrap_or(Exit::Failed)
}

fn show(global: &Global, certificate: &Certificate) {
    let output = Output::stdout(Redactor::default());
    if global.json {
        let mut lines = JsonLines::new(output, "certificate");
        lines.value(&serde_json::json!({ "certificate": certificate }));
    } else {
        let mut output = output;
        output.page(&rehearsal::page(certificate));
    }
}

/// How the certificate is written to a file.
#[derive(Debug, Clone, Copy)]
enum Form {
    Markdown,
    Json,
}

impl Form {
    fn of(path: &std::path::Path) -> Result<Self, Refusal> {
        match path.extension().and_then(|it| it.to_str()) {
            Some("md") => Ok(Self::Markdown),
            Some("json") => Ok(Self::Json),
            _ => Err(Refusal::usage(format!(
                "a certificate is written to a name that ends in .md or .json, not {}",
                path.display()
            ))),
        }
    }

    fn text(self, certificate: &Certificate) -> String {
        match self {
            Self::Markdown => rehearsal::markdown(certificate),
            Self::Json => {
                let text = serde_json::to_string_pretty(certificate);
                text.expect("a certificate is plain data") + "\n"
            }
        }
    }
}

impl From<RehearsalError> for Refusal {
    fn from(error: RehearsalError) -> Self {
        Self::because(Exit::Failed, &error)
    }
}
