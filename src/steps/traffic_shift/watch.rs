//! What is looked at between two steps of traffic, and how long: every signal, the balancer's own word first.

use std::time::Duration;

use super::super::signals::Signals;
use super::super::{Evidence, FailureClass, PerformCx, StepCx, StepError};
use super::gate::{Gate, Limits, Stand};
use super::story::{Round, Side, Why};
use super::target::{Pair, Target};
use super::{MINUTE, With};
use crate::azure::{Serving, Wait};
use crate::dns::Health;

/// One signal of one look.
pub(super) struct Look {
    pub(super) what: String,
    pub(super) health: Health,
    pub(super) detail: String,
}

impl With {
    pub(super) fn limits(&self, answers_last: Duration) -> Limits {
        let hold = answers_last + self.gate.hold_for.duration();
        let blind = self.blind().into_iter().max().unwrap_or_default();
        Limits {
            hold,
            within: self.gate.within.map_or(hold * 3 + blind, |it| answers_last + it.duration()),
            gap: self.gate.every.duration() * 3,
            failures_in_a_row: self.gate.failures_in_a_row.max(1),
            missing_in_a_row: self.gate.missing_in_a_row.max(1),
        }
    }

    /// How long each signal may have nothing to show after a step, the balancer's own first: a metric of a target that had
    /// no traffic has no values before the minutes that it looks at have come.
    pub(super) fn blind(&self) -> Vec<Duration> {
        let others = 1 + self.gate.probes.len();
        let metrics = self.gate.metrics.iter();
        let metrics = metrics.map(|it| it.window.duration() + it.late.duration() + MINUTE);
        std::iter::repeat_n(Duration::ZERO, others).chain(metrics).collect()
    }

    pub(super) fn signals(&self) -> Signals<'_> {
        Signals { probes: &self.gate.probes, metrics: &self.gate.metrics }
    }

    /// What can be good before there is any traffic.
    pub(super) fn without_traffic(&self) -> Signals<'_> {
        Signals { metrics: &[], ..self.signals() }
    }

    /// Every signal, the balancer's own first; drift ends the step.
    pub(super) async fn look(
        &self,
        cx: &mut PerformCx<'_>,
        target: &Target<'_>,
        round: &Round,
    ) -> Result<Vec<Look>, StepError> {
        let what = format!("{} at {}", self.to, target.balancer.name());
        let own = match target.fit(&mut cx.wait()).await {
            Ok(pair) => {
                unmoved(target, &pair, round)?;
                serving(what, pair.balanced.member(&self.to).map(|member| &member.serving))
            }
            Err(error) if error.class == FailureClass::Cancelled => return Err(error),
            Err(error) => Look { what, health: Health::Unknown, detail: error.to_string() },
        };
        let mut looks = vec![own];
        let read = cx.read;
        looks.extend(looked(read, self.signals(), &mut cx.wait()).await?);
        Ok(looks)
    }

    /// Waits at the gate of one step.
    pub(super) async fn gate(
        &self,
        cx: &mut PerformCx<'_>,
        target: &Target<'_>,
        (round, percent): (&Round, u8),
        answers_last: Duration,
    ) -> Result<Result<Evidence, Why>, StepError> {
        let limits = self.limits(answers_last);
        let mut gate = Gate::new(limits, &self.blind(), cx.clock().steady());
        let hold = limits.hold.as_secs();
        for looks in 1_u64.. {
            let look = self.look(cx, target, round).await?;
            let healths: Vec<_> = look.iter().map(|look| look.health).collect();
            let bad = look.iter().find(|look| look.health != Health::Good);
            let said = bad.map_or_else(
                || format!("{} signals healthy", look.len()),
                |bad| format!("{}: {}", bad.what, bad.detail),
            );
            let line = match gate.take(cx.clock().steady(), &healths) {
                Stand::Open => {
                    let to = format!("{percent} % at {}", self.to);
                    let detail = format!("held {hold} s; {} signals, {looks} looks", look.len());
                    let verdict = "healthy".to_owned();
                    return Ok(Ok(Evidence { check: to, verdict, detail, holds: true }));
                }
                Stand::Shut(verdict, at, why) => {
                    let which = at.map_or_else(
                        || said.clone(),
                        |at| format!("{}: {}", look[at].what, look[at].detail),
                    );
                    let detail = format!("{why} at {percent} %: {which}");
                    return Ok(Err(Why { verdict, percent, detail }));
                }
                Stand::Holding(so_far) => {
                    format!("{said}; held {} s of {hold} s", so_far.as_secs())
                }
                Stand::Lapsed => said,
            };
            cx.progress.say(format!("{percent} % at {}: {line}", self.to));
            cx.read.sleep(self.gate.every.duration(), cx.busy).await?;
        }
        unreachable!("a gate ends before its looks can be counted no more")
    }
}

pub(super) async fn looked(
    cx: &StepCx,
    signals: Signals<'_>,
    wait: &mut Wait<'_>,
) -> Result<Vec<Look>, StepError> {
    let readings = signals.read(cx, wait).await?.into_iter().zip(signals.names());
    let look = readings.map(|(reading, what)| {
        let (health, detail) = (reading.health, reading.detail);
        Look { what, health, detail }
    });
    Ok(look.collect())
}

/// Each side is as the round left it, or may have.
pub(super) fn unmoved(target: &Target<'_>, pair: &Pair, round: &Round) -> Result<(), StepError> {
    for side in [Side::From, Side::To] {
        let ((_, now), left) = (pair.side(side), &round.track(side).left);
        if !left.is_empty() && !left.contains(now) {
            return Err(target.foreign(target.name(side), left, *now));
        }
    }
    Ok(())
}

pub(super) fn serving(what: String, serving: Option<&Serving>) -> Look {
    let (health, detail) = match serving {
        Some(Serving::Yes(said)) => (Health::Good, said.clone()),
        Some(Serving::No(said)) => (Health::Bad, said.clone()),
        Some(Serving::Unknown(said)) => (Health::Unknown, said.clone()),
        None => (Health::Unknown, "it is not there".to_owned()),
    };
    Look { what, health, detail }
}

pub(super) fn evidence(look: Look) -> Evidence {
    let holds = look.health == Health::Good;
    Evidence { check: look.what, verdict: look.health.to_string(), detail: look.detail, holds }
}
