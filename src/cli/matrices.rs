//! The matrices of `migrate rehearse`: which points are tried, and how far they are while they are.

use std::num::NonZeroUsize;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use tokio_util::sync::CancellationToken;

use super::Global;
use super::refusal::Refusal;
use super::rehearse::Args;
use crate::crash::KillPoint;
use crate::plan::Plan;
use crate::rehearsal::{
    self, Choice, Matrix, Pace, Point, RehearsalError, Setting, Tried, Verdict, Whole,
};
use crate::report::typed;
use crate::run::StepId;
use crate::sandbox::Scenario;

/// Between two looks at how far the trials are.
const TICK: Duration = Duration::from_millis(500);

/// What every matrix of a rehearsal is made with.
pub(super) struct Trials<'r> {
    pub(super) args: &'r Args,
    pub(super) global: &'r Global,
    pub(super) setting: &'r Setting,
    pub(super) scenario: &'r Scenario,
    pub(super) whole: &'r Whole,
    pub(super) stop: &'r CancellationToken,
}

/// What a matrix is for, and what is tried of it.
struct Aim {
    name: &'static str,
    /// What is shown of it while it goes on.
    shown: &'static str,
    claim: &'static str,
    /// Its flag, as it is typed.
    flag: String,
    points: usize,
    choice: Choice,
    chosen: usize,
}

impl Trials<'_> {
    pub(super) async fn crash_matrix(&self) -> Result<Matrix, Refusal> {
        let (records, calls) = (self.whole.records.len(), self.whole.calls.len());
        let named = self.named(|point| match point {
            Point::Kill(point) => Some(*point),
            _ => None,
        });
        let points: Vec<KillPoint> =
            named.unwrap_or_else(|| rehearsal::points(records, calls, self.sample()));
        let aim = Aim {
            name: "crash",
            shown: "crash matrix",
            claim: "Killed there and resumed, it ends as the whole run does",
            flag: "--crash-matrix".to_owned(),
            points: rehearsal::points(records, calls, None).len(),
            choice: self.choice(),
            chosen: points.len(),
        };
        self.matrix(aim, async |pace| {
            rehearsal::crash_matrix(self.setting, self.whole, &points, pace).await
        })
        .await
    }

    pub(super) async fn rollback_matrix(&self, plan: &Plan) -> Result<Matrix, Refusal> {
        let all = &self.whole.steps;
        let named = self.named(|point| match point {
            Point::FailAt(step) => Some(step.clone()),
            _ => None,
        });
        let steps: Vec<StepId> = named.unwrap_or_else(|| self.sampled(all));
        let aim = Aim {
            name: "rollback",
            shown: "rollback matrix",
            claim: "Failed there and rolled back, the world is as it was at the start",
            flag: "--rollback-matrix".to_owned(),
            points: all.len(),
            choice: self.choice(),
            chosen: steps.len(),
        };
        let matrix = self
            .matrix(aim, async |pace| rehearsal::rollback_matrix(self.setting, &steps, pace).await)
            .await?;
        Ok(Matrix { notes: rehearsal::notes(plan, &matrix.tried), ..matrix })
    }

    pub(super) async fn faults(&self, seed: u64) -> Result<Matrix, Refusal> {
        let all: Vec<_> = (1..=self.args.trials.get()).collect();
        let named = self.named(|point| match point {
            Point::Faults { trial, .. } => Some(*trial),
            _ => None,
        });
        let trials = named.unwrap_or_else(|| self.sampled(&all));
        let aim = Aim {
            name: "faults",
            shown: "faults",
            claim: "Whatever fails on the way to a provider, and resumed where it stopped, it ends as the whole run does",
            flag: format!("--faults {seed} --trials {}", self.args.trials),
            points: all.len().max(trials.len()),
            choice: self.choice(),
            chosen: trials.len(),
        };
        let worlds = (self.setting, self.scenario);
        self.matrix(aim, async |pace| {
            rehearsal::faults(worlds, self.whole, (seed, &trials), pace).await
        })
        .await
    }

    /// Tries what `work` tries, and shows how far it is.
    async fn matrix(
        &self,
        aim: Aim,
        work: impl AsyncFnOnce(Pace<'_>) -> Result<Vec<Tried>, RehearsalError>,
    ) -> Result<Matrix, Refusal> {
        let began = Instant::now();
        let shown = Mutex::new(self.global.trials(aim.shown, aim.chosen));
        let shown = || shown.lock().unwrap_or_else(PoisonError::into_inner);
        let seen = |tried: &Tried| shown().tried(matches!(tried.verdict, Verdict::Deviated(_)));
        let pace = Pace { jobs: self.side_by_side(), ended: &seen, stop: self.stop };
        let tick = || {
            let mut shown = shown();
            if self.stop.is_cancelled() {
                shown.stopping("no more trials are begun; Ctrl-C again ends those under way, too");
            }
            shown.tick();
        };
        let tried = ticking(work(pace), tick).await?;
        Ok(Matrix {
            name: aim.name,
            claim: aim.claim,
            points: aim.points,
            choice: aim.choice,
            chosen: aim.chosen,
            command: self.command(&aim.flag),
            real_seconds: began.elapsed().as_secs_f64(),
            notes: Vec::new(),
            tried,
        })
    }

    /// The points that were named, of one kind and once each; none where nothing was.
    fn named<T: Ord>(&self, of: impl Fn(&Point) -> Option<T>) -> Option<Vec<T>> {
        let mut named: Vec<_> = self.args.point.iter().filter_map(of).collect();
        named.sort();
        named.dedup();
        (!self.args.point.is_empty()).then_some(named)
    }

    fn sampled<T: Clone>(&self, all: &[T]) -> Vec<T> {
        all.iter().step_by(self.sample().map_or(1, NonZeroUsize::get)).cloned().collect()
    }

    fn sample(&self) -> Option<NonZeroUsize> {
        self.args.sample.filter(|every| every.get() > 1)
    }

    fn choice(&self) -> Choice {
        if self.args.point.is_empty() {
            self.sample().map_or(Choice::Every, Choice::Sample)
        } else {
            Choice::Named
        }
    }

    fn side_by_side(&self) -> usize {
        let jobs = self.args.jobs.or_else(|| std::thread::available_parallelism().ok());
        jobs.map_or(1, NonZeroUsize::get)
    }

    /// What to type for the whole of a matrix.
    fn command(&self, flag: &str) -> String {
        let runbook = typed(&self.args.runbook.display().to_string());
        let mut words = vec!["migrate".to_owned(), "rehearse".to_owned(), runbook];
        if let Some(scenario) = &self.args.scenario {
            words.extend(["--scenario".to_owned(), typed(&scenario.display().to_string())]);
        }
        words.push(flag.to_owned());
        words.join(" ")
    }
}

/// Carries `work` out, with a tick now and then.
async fn ticking<T>(work: impl Future<Output = T>, tick: impl Fn()) -> T {
    tokio::pin!(work);
    let mut ticks = tokio::time::interval(TICK);
    loop {
        tokio::select! {
            done = work.as_mut() => return done,
            _ = ticks.tick() => tick(),
        }
    }
}
