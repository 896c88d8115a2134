//! `monitor`: watches endpoints and metrics for hours or days after a cutover and reaches one of three verdicts. Changes nothing.
//!
//! A watch that was killed goes on with the readings it had; what was not seen meanwhile is missing.

mod watch;

use std::path::PathBuf;
use std::time::Duration;

use async_trait::async_trait;
use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::json;

use self::watch::{Conclusion, Limits, Log};
use super::signals::{MetricLimit, Signals};
use super::{
    Evidence, FailureClass, Kind, Outcome, Outputs, PerformCx, Preview, Step, StepCx, StepError,
};
use crate::clock::since;
use crate::dns::{Endpoint, Health, Reading};
use crate::plan::{Class, KindSpec, Role, Span};
use crate::run::{RecordedEffect, Repeat, Undo, Verdict};

/// Parameters of `monitor`.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct With {
    /// How long to watch. The Cloud Adoption Framework asks for 24 to 48 hours after a cutover.
    #[serde(rename = "for")]
    pub duration: Span,
    /// Time between two readings.
    #[serde(default = "one_minute")]
    pub every: Span,
    /// Endpoints that are watched.
    #[serde(default)]
    pub probes: Vec<Endpoint>,
    /// Metrics of Azure Monitor that are watched.
    #[serde(default)]
    pub metrics: Vec<MetricLimit>,
    /// So many bad readings of one signal in a row end the watch as failed. Default 3.
    #[serde(default = "three")]
    pub failures_in_a_row: u32,
    /// So many readings of one signal in a row that could not be compared end the watch as inconclusive. Default 10.
    #[serde(default = "ten")]
    pub missing_in_a_row: u32,
    /// At the end, more bad readings of one signal than this are a failure. Default 1.
    #[serde(default = "one_percent")]
    pub failure_percent: f64,
    /// At the end, at least so many good readings of each signal are a success; between the two limits the watch is
    /// inconclusive. Default 99.
    #[serde(default = "ninety_nine_percent")]
    pub success_percent: f64,
}

const fn one_minute() -> Span {
    Span::minutes(1)
}
const fn three() -> u32 {
    3
}
const fn ten() -> u32 {
    10
}
const fn one_percent() -> f64 {
    1.0
}
const fn ninety_nine_percent() -> f64 {
    99.0
}

const DOCS: &str = "\
Reads every signal every `every`, for the time `for`: endpoints under `probes`, and metrics of Azure Monitor under `metrics`.

- *failure* (exit 7): `failures_in_a_row` bad readings of one signal, at once; or more than `failure_percent` bad readings at \
the end. With `on_failure: rollback` this is what triggers the rollback.
- *inconclusive* (exit 4): `missing_in_a_row` readings that could not be compared; or, at the end, neither failure nor success.
- *success*: at least `success_percent` good readings of each signal.

A reading of a metric covers its last `window` up to `late` ago, minute by minute. A value beyond `min` or `max` is bad, also in \
the minutes since. A minute without a value makes the reading unknown: no data is not health. Let `window` be no shorter \
than `every`, else minutes between two readings are seen by nobody.

The readings are kept beside the journal. A killed watch goes on where it was; readings that nobody took count as missing. \
A watch that has concluded begins anew when its step is tried again.

Metrics need `Microsoft.Insights/metrics/read` on their resources. Outputs: `readings`, `good`.";

/// The kind.
pub const KIND: Kind = Kind {
    spec: KindSpec {
        name: "monitor",
        summary: "Watch endpoints and metrics and conclude: success, failure or inconclusive",
        docs: DOCS,
        example: include_str!("../../examples/steps/monitor.yaml"),
        class: Class::Check,
        repeat: Repeat::Repeatable,
        undo: Undo::LeavesInPlace,
        roles: &[Role::Stabilizes],
        outputs: &["readings", "good"],
        open_outputs: false,
        schema: || schemars::schema_for!(With),
        check: super::check::<With>,
        describe: |with| {
            let count = |key: &str| with[key].as_array().map_or(0, Vec::len);
            let metrics = match count("metrics") {
                0 => String::new(),
                metrics => format!(" and {metrics} metrics"),
            };
            let span = with["for"].as_str().unwrap_or("?");
            vec![format!("watch {} endpoints{metrics} for {span}", count("probes"))]
        },
    },
    build: |with| {
        let with = super::read::<With>(with)?;
        with.signals().fit()?;
        if with.every.duration().is_zero() {
            return Err("`every` must be above zero".to_owned());
        }
        Ok(Box::new(with))
    },
};

impl With {
    fn limits(&self) -> Limits {
        Limits {
            failures_in_a_row: self.failures_in_a_row.max(1),
            missing_in_a_row: self.missing_in_a_row.max(1),
            failure_percent: self.failure_percent,
            success_percent: self.success_percent,
        }
    }

    /// Readings of each endpoint that the whole watch has.
    fn slots(&self) -> u64 {
        let slots = self.duration.duration().as_millis() / self.every.duration().as_millis().max(1);
        u64::try_from(slots).unwrap_or(u64::MAX).max(1)
    }

    fn offset(&self, slot: u64) -> Duration {
        let milliseconds = self.every.duration().as_millis().saturating_mul(u128::from(slot));
        Duration::from_millis(u64::try_from(milliseconds).unwrap_or(u64::MAX))
    }

    fn signals(&self) -> Signals<'_> {
        Signals { probes: &self.probes, metrics: &self.metrics }
    }

    /// The verdict that ends the watch now, with the signal it is about.
    fn triggered(&self, log: &Log) -> Option<(usize, Conclusion)> {
        let limits = self.limits();
        let mut triggers = log.tallies.iter().map(|tally| tally.trigger(&limits)).enumerate();
        triggers.find_map(|(at, conclusion)| Some((at, conclusion?)))
    }

    /// The verdict at the end: the worst over all signals.
    fn concluded(&self, log: &Log) -> (usize, Conclusion) {
        let (slots, limits) = (self.slots(), self.limits());
        let all = log.tallies.iter().map(|tally| tally.conclude(slots, &limits)).enumerate();
        all.max_by_key(|(_, conclusion)| match conclusion {
            Conclusion::Success => 0,
            Conclusion::Inconclusive(_) => 1,
            Conclusion::Failure(_) => 2,
        })
        .expect("a watch has at least one signal")
    }

    async fn watch(
        &self,
        cx: &mut PerformCx<'_>,
        log: &mut Log,
    ) -> Result<(usize, Conclusion), StepError> {
        let slots = self.slots();
        // The wall clock tells what went by while nobody ran; from here on the steady one does.
        let (before, from) = (since(log.started, cx.clock().now()), cx.clock().steady());
        loop {
            let passed = before.saturating_add(since(from, cx.clock().steady()));
            let due = u64::try_from(passed.as_millis() / self.every.duration().as_millis())
                .unwrap_or(u64::MAX);
            // Slots that went by without us are missing; the one under way still counts.
            let slot = log.next_slot.max(due);
            let left = self.offset(slot.min(slots)).saturating_sub(passed);
            cx.read.sleep(left, cx.busy).await?;
            if slot >= slots {
                return Ok(self.concluded(log));
            }
            let read = cx.read;
            let readings = self.signals().read(read, &mut cx.wait()).await?;
            let healths: Vec<Health> = readings.iter().map(|reading| reading.health).collect();
            log.take(slot, &healths).map_err(|error| self.unkept(&error))?;
            cx.progress.amount(self.line(&readings), slot + 1, slots, "readings");
            if let Some(conclusion) = self.triggered(log) {
                return Ok(conclusion);
            }
        }
    }

    fn line(&self, readings: &[Reading]) -> String {
        let names = self.signals().names();
        let worst = readings.iter().zip(names).find(|(it, _)| it.health != Health::Good);
        match worst {
            Some((reading, name)) => format!("{name}: {}", reading.detail),
            None => format!("{} signals healthy", readings.len()),
        }
    }

    fn unkept(&self, error: &std::io::Error) -> StepError {
        StepError::new(
            FailureClass::Failed,
            "MIG0433",
            format!("keep the readings of a watch over {}", self.duration),
            "the watch stopped; nothing was changed",
        )
        .because(error)
        .hint("make room beside the journal, then `migrate resume`")
    }

    fn evidence(&self, log: &Log) -> Vec<Evidence> {
        let (slots, limits) = (self.slots(), self.limits());
        let evidence = |(name, tally): (String, &watch::Tally)| {
            let conclusion = tally.conclude(slots, &limits);
            Evidence {
                check: format!("{name} over {}", self.duration),
                verdict: match conclusion {
                    Conclusion::Success => "healthy",
                    Conclusion::Failure(_) => "failing",
                    Conclusion::Inconclusive(_) => "inconclusive",
                }
                .to_owned(),
                detail: format!("{} good and {} bad of {slots} readings", tally.good, tally.bad),
                holds: conclusion == Conclusion::Success,
            }
        };
        self.signals().names().into_iter().zip(&log.tallies).map(evidence).collect()
    }
}

fn file(cx: &StepCx) -> PathBuf {
    cx.world.progress_dir.join(format!("monitor-{}.jsonl", cx.step.id))
}

#[async_trait]
impl Step for With {
    async fn preview(&self, cx: &StepCx) -> Result<Preview, StepError> {
        let readings = self.signals().read(cx, &mut cx.wait()).await?;
        let seen =
            readings.into_iter().zip(self.signals().names()).map(|(reading, name)| Evidence {
                check: name,
                verdict: reading.health.to_string(),
                holds: reading.health == Health::Good,
                detail: reading.detail,
            });
        Ok(Preview { readings: seen.collect(), ..Preview::default() })
    }

    async fn perform(&self, cx: &mut PerformCx<'_>) -> Result<Outcome, StepError> {
        let now = cx.clock().now();
        let signals = self.signals();
        let mut log = Log::open(&file(cx), signals.len(), now).map_err(|e| self.unkept(&e))?;
        let (at, conclusion) = self.watch(cx, &mut log).await?;
        // A success stays open: should its record be lost, the next attempt finds every reading and ends at once.
        if let Conclusion::Failure(why) | Conclusion::Inconclusive(why) = &conclusion {
            log.conclude(why).map_err(|error| self.unkept(&error))?;
        }
        let watching = format!("watch {} for {}", signals.names()[at], self.duration);
        match conclusion {
            Conclusion::Success => {
                let good: u64 = log.tallies.iter().map(|tally| tally.good).sum();
                let readings = self.slots().saturating_mul(signals.len() as u64);
                let outputs = Outputs::from([
                    ("readings".to_owned(), json!(readings)),
                    ("good".to_owned(), json!(good)),
                ]);
                Ok(Outcome { outputs, evidence: self.evidence(&log) })
            }
            Conclusion::Failure(why) => {
                Err(StepError::new(FailureClass::Mismatch, "MIG0431", watching, why)
                    .hint("`migrate rollback`, or repair the target and `migrate resume`"))
            }
            Conclusion::Inconclusive(why) => {
                Err(StepError::new(FailureClass::Refused, "MIG0432", watching, why)
                    .hint("`migrate resume` watches again from the beginning"))
            }
        }
    }

    async fn probe(&self, _cx: &StepCx, _effect: &RecordedEffect) -> Verdict {
        Verdict::Unknown { evidence: "a check changes nothing".to_owned() }
    }

    async fn undo(
        &self,
        _cx: &mut PerformCx<'_>,
        _effect: &RecordedEffect,
    ) -> Result<(), StepError> {
        Ok(())
    }
}
