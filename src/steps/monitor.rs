//! `monitor`: watches endpoints for hours or days after a cutover and reaches one of three verdicts. Changes nothing.
//!
//! A watch that was killed goes on with the readings it had; what was not seen meanwhile is missing.

mod watch;

use std::path::PathBuf;
use std::time::Duration;

use async_trait::async_trait;
use futures::future::join_all;
use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::json;

use self::watch::{Conclusion, Limits, Log};
use super::{
    Evidence, FailureClass, Kind, Outcome, Outputs, PerformCx, Preview, Step, StepCx, StepError,
};
use crate::clock::since;
use crate::dns::{Endpoint, Health, Network, Reading};
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
    /// What is watched.
    pub probes: Vec<Endpoint>,
    /// So many bad readings of one endpoint in a row end the watch as failed. Default 3.
    #[serde(default = "three")]
    pub failures_in_a_row: u32,
    /// So many readings of one endpoint in a row that could not be compared end the watch as inconclusive. Default 10.
    #[serde(default = "ten")]
    pub missing_in_a_row: u32,
    /// At the end, more bad readings of one endpoint than this are a failure. Default 1.
    #[serde(default = "one_percent")]
    pub failure_percent: f64,
    /// At the end, at least so many good readings of each endpoint are a success; between the two limits the watch is
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

/// The kind.
pub const KIND: Kind = Kind {
    spec: KindSpec {
        name: "monitor",
        summary: "Watch endpoints and conclude: success, failure or inconclusive",
        docs: "Reads every endpoint under `probes` every `every`, for the time `for`.\n\n\
               - *failure* (exit 7, so that `on_failure: rollback` acts): `failures_in_a_row` bad readings of one endpoint, at \
               once; or more than `failure_percent` bad readings at the end.\n\
               - *inconclusive* (exit 4): `missing_in_a_row` readings that could not be compared; or, at the end, neither \
               failure nor success.\n\
               - *success*: at least `success_percent` good readings of each endpoint.\n\n\
               The readings are kept beside the journal. A killed watch goes on where it was; readings that nobody took \
               count as missing. A watch that has concluded begins anew when its step is tried again.\n\n\
               Outputs: `readings`, `good`.",
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
            let probes = with["probes"].as_array().map_or(0, Vec::len);
            vec![format!("watch {probes} endpoints for {}", with["for"].as_str().unwrap_or("?"))]
        },
    },
    build: |with| {
        let with = super::read::<With>(with)?;
        if with.probes.is_empty() || with.every.duration().is_zero() {
            return Err("give at least one endpoint under `probes`, and `every` above zero".to_owned());
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

    async fn look(&self, network: &Network) -> Vec<Reading> {
        join_all(self.probes.iter().map(|probe| probe.read(network))).await
    }

    /// The verdict that ends the watch now, with the endpoint it is about.
    fn triggered(&self, log: &Log) -> Option<(usize, Conclusion)> {
        let limits = self.limits();
        let mut triggers = log.tallies.iter().map(|tally| tally.trigger(&limits)).enumerate();
        triggers.find_map(|(at, conclusion)| Some((at, conclusion?)))
    }

    /// The verdict at the end: the worst over all endpoints.
    fn concluded(&self, log: &Log) -> (usize, Conclusion) {
        let (slots, limits) = (self.slots(), self.limits());
        let all = log.tallies.iter().map(|tally| tally.conclude(slots, &limits)).enumerate();
        all.max_by_key(|(_, conclusion)| match conclusion {
            Conclusion::Success => 0,
            Conclusion::Inconclusive(_) => 1,
            Conclusion::Failure(_) => 2,
        })
        .expect("a watch has at least one endpoint")
    }

    async fn watch(&self, cx: &mut PerformCx<'_>, log: &mut Log) -> Result<(usize, Conclusion), StepError> {
        let slots = self.slots();
        // The wall clock tells what went by while nobody ran; from here on the steady one does.
        let (before, from) = (since(log.started, cx.clock().now()), cx.clock().steady());
        loop {
            let passed = before.saturating_add(since(from, cx.clock().steady()));
            let due = u64::try_from(passed.as_millis() / self.every.duration().as_millis()).unwrap_or(u64::MAX);
            // Slots that went by without us are missing; the one under way still counts.
            let slot = log.next_slot.max(due);
            let left = self.offset(slot.min(slots)).saturating_sub(passed);
            cx.read.sleep(left, cx.busy).await?;
            if slot >= slots {
                return Ok(self.concluded(log));
            }
            let readings = self.look(&cx.world.network).await;
            let healths: Vec<Health> = readings.iter().map(|reading| reading.health).collect();
            log.take(slot, &healths).map_err(|error| self.unkept(&error))?;
            cx.progress.amount(self.line(&readings), slot + 1, slots, "readings");
            if let Some(conclusion) = self.triggered(log) {
                return Ok(conclusion);
            }
        }
    }

    fn line(&self, readings: &[Reading]) -> String {
        let worst = readings.iter().zip(&self.probes).find(|(it, _)| it.health != Health::Good);
        match worst {
            Some((reading, probe)) => format!("{}: {}", probe.shown(), reading.detail),
            None => format!("{} endpoints healthy", readings.len()),
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
        let evidence = |(probe, tally): (&Endpoint, &watch::Tally)| {
            let conclusion = tally.conclude(slots, &limits);
            Evidence {
                check: format!("{} over {}", probe.shown(), self.duration),
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
        self.probes.iter().zip(&log.tallies).map(evidence).collect()
    }
}

fn file(cx: &StepCx) -> PathBuf {
    cx.world.progress_dir.join(format!("monitor-{}.jsonl", cx.step.id))
}

#[async_trait]
impl Step for With {
    async fn preview(&self, cx: &StepCx) -> Result<Preview, StepError> {
        let readings = self.look(&cx.world.network).await;
        let seen = readings.into_iter().zip(&self.probes).map(|(reading, probe)| Evidence {
            check: probe.shown(),
            verdict: reading.health.to_string(),
            holds: reading.health == Health::Good,
            detail: reading.detail,
        });
        Ok(Preview { readings: seen.collect(), ..Preview::default() })
    }

    async fn perform(&self, cx: &mut PerformCx<'_>) -> Result<Outcome, StepError> {
        let now = cx.clock().now();
        let mut log = Log::open(&file(cx), self.probes.len(), now).map_err(|e| self.unkept(&e))?;
        let (at, conclusion) = self.watch(cx, &mut log).await?;
        // A success stays open: should its record be lost, the next attempt finds every reading and ends at once.
        if let Conclusion::Failure(why) | Conclusion::Inconclusive(why) = &conclusion {
            log.conclude(why).map_err(|error| self.unkept(&error))?;
        }
        let watching = format!("watch {} for {}", self.probes[at].shown(), self.duration);
        match conclusion {
            Conclusion::Success => {
                let good: u64 = log.tallies.iter().map(|tally| tally.good).sum();
                let readings = self.slots().saturating_mul(self.probes.len() as u64);
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

    async fn undo(&self, _cx: &mut PerformCx<'_>, _effect: &RecordedEffect) -> Result<(), StepError> {
        Ok(())
    }
}
