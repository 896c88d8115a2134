//! `traffic.shift`: moves traffic by weights in steps, with a health gate after each, and goes back by itself.
//!
//! Promises: nothing is written before the way back is proved (the weights recorded, the fallback answering, the target
//! healthy); a gate that fails or can not tell ends with the recorded weights restored exactly; weights changed by another
//! hand are never overwritten knowingly.

mod gate;
mod story;
mod target;
mod watch;
mod way;

use std::time::Duration;

use async_trait::async_trait;
use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::Value;

use self::story::{Key, Leg, Round, Side, VERDICT};
use self::target::{Target, UNTOUCHED};
use self::watch::{evidence, looked};
use super::signals::MetricLimit;
use super::{
    Change, FailureClass, Kind, Outcome, PerformCx, Preview, Step, StepCx, StepError, fallback,
};
use crate::azure::{ArmError, Azure, Balancer, Weight};
use crate::dns::Endpoint;
use crate::plan::{Class, KindSpec, Role, Span};
use crate::run::{RecordedEffect, Repeat, Undo, Verdict};

/// Parameters of `traffic.shift`; either `traffic_manager` or `front_door`.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct With {
    /// A Traffic Manager profile that routes by weight.
    #[serde(default)]
    pub traffic_manager: Option<String>,
    /// An origin group of a Front Door profile (Standard or Premium).
    #[serde(default)]
    pub front_door: Option<FrontDoor>,
    /// Its resource group; the runbook's default one when not given.
    #[serde(default)]
    pub resource_group: Option<String>,
    /// The endpoint or origin that traffic leaves.
    pub from: String,
    /// The endpoint or origin that it goes to. Nobody but these two may be enabled.
    pub to: String,
    /// Percent of the traffic at `to`, step by step: `[10, 50, 100]`. At 100 `from` is disabled.
    pub percent: Vec<u8>,
    /// What must hold after each step.
    pub gate: GateWith,
    /// URL or `host:port` of the source, which must still answer before the first step.
    #[serde(default)]
    pub fallback: Option<String>,
}

/// An origin group.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct FrontDoor {
    /// The profile.
    pub profile: String,
    /// The origin group.
    pub origin_group: String,
}

/// The health gate.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct GateWith {
    /// How long everything must be good, from when the old answers have run out (the TTL of a Traffic Manager profile).
    pub hold_for: Span,
    /// Time between two looks. Default 30s.
    #[serde(default = "thirty_seconds")]
    pub every: Span,
    /// How long a step may take to get there; then it is inconclusive. When not given, three times the hold, and what the
    /// slowest metric needs to have values.
    #[serde(default)]
    pub within: Option<Span>,
    /// Endpoints of the target that must answer as they must.
    #[serde(default)]
    pub probes: Vec<Endpoint>,
    /// Metrics of Azure Monitor that must be within their limits. The hold must be longer than they are late.
    #[serde(default)]
    pub metrics: Vec<MetricLimit>,
    /// So many bad looks of one of them in a row: back, as failed. Default 3.
    #[serde(default = "three")]
    pub failures_in_a_row: u32,
    /// So many looks in a row that could not be compared: back, as inconclusive. Default 5.
    #[serde(default = "five")]
    pub missing_in_a_row: u32,
}

const fn thirty_seconds() -> Span {
    Span::seconds(30)
}
const fn three() -> u32 {
    3
}
const fn five() -> u32 {
    5
}

/// Metrics are kept by the minute.
const MINUTE: Duration = Duration::from_mins(1);

const DOCS: &str = "\
Gives `to` the first of `percent`, watches the gate, goes on to the next. The gate looks at every probe, every metric and what the \
balancer itself says of `to` (`endpointMonitorStatus`, `provisioningState`), every `every`. It opens when everything was good \
for `hold_for`, counted from when old DNS answers have run out.\n\n\
Before the first step the way back is proved: this identity may write both weights, they are recorded, `fallback` must answer, \
and every probe must be good (a metric has nothing to show before there is traffic). Whoever takes the step up before its last \
percent proves the way back again. \
Other enabled endpoints, another routing method or different priorities are refused: the percents would not hold.\n\n\
The step goes back by itself, to the recorded weights and states of both, `from` first:\n\n\
- *failure* (exit 7): `failures_in_a_row` bad looks.\n\
- *inconclusive* (exit 4): `missing_in_a_row` looks that could not be compared, or `within` over without the hold. A metric \
without values is counted only once the minutes that it looks at (`window`, `late`) have passed since the step.\n\n\
`migrate resume` then begins anew with the first percent. A step that was killed goes on where it was, with its gate from \
the beginning, or goes on going back. A `timeout` of the step does not go back; `within` does.\n\n\
Neither service has an `ETag`. Each weight is read and compared right before it is written, and only weight and state are \
written; a change by another hand in the moment between the two requests is not seen. That is why the effects are \
*repeatable* and not guarded. A weight found changed is drift (exit 11): it stays, and so does everything else.\n\n\
Taken back: the recorded weights and states, exactly.\n\n\
Needs read and write on the profile. Outputs: `percent`, `previous`.";

/// The kind.
pub const KIND: Kind = Kind {
    spec: KindSpec {
        name: "traffic.shift",
        summary: "Move traffic by weights in steps, with a health gate after each",
        docs: DOCS,
        example: include_str!("../../examples/steps/traffic.shift.yaml"),
        class: Class::Action,
        repeat: Repeat::Repeatable,
        undo: Undo::Restores,
        roles: &[Role::SwitchesTraffic],
        outputs: &["percent", "previous"],
        open_outputs: false,
        schema: || schemars::schema_for!(With),
        check: super::check::<With>,
        describe,
    },
    build: |with| {
        let with = super::read::<With>(with)?;
        with.fits()?;
        Ok(Box::new(with))
    },
};

fn describe(with: &Value) -> Vec<String> {
    let text = |value: &Value| value.as_str().unwrap_or("?").to_owned();
    let name = with["front_door"]["profile"].as_str().map(str::to_owned);
    let name = name.unwrap_or_else(|| text(&with["traffic_manager"]));
    let percents = with["percent"].as_array().into_iter().flatten();
    let percents: Vec<_> = percents.map(|it| format!("{it} %")).collect();
    let (from, to) = (text(&with["from"]), text(&with["to"]));
    let mut lines = vec![format!("{name}: {from} -> {to} by {}", percents.join(", "))];
    if with["fallback"].is_null() {
        lines.push("no `fallback`: nothing shows that the source still answers".to_owned());
    }
    lines
}

impl With {
    fn fits(&self) -> Result<(), String> {
        let rising = self.percent.windows(2).all(|pair| pair[0] < pair[1]);
        let ends = self.percent.first().zip(self.percent.last());
        if !rising || !ends.is_some_and(|(first, last)| *first >= 1 && *last <= 100) {
            return Err("`percent` is a rising list of numbers from 1 to 100".to_owned());
        }
        if self.traffic_manager.is_some() == self.front_door.is_some() {
            return Err("give either `traffic_manager` or `front_door`".to_owned());
        }
        if self.from.eq_ignore_ascii_case(&self.to) {
            return Err("`from` and `to` are the same".to_owned());
        }
        self.signals().fit().map_err(|why| format!("the gate: {why}"))?;
        if self.gate.every.duration().is_zero() {
            return Err("the gate's `every` must be above zero".to_owned());
        }
        let late = self.gate.metrics.iter().map(|metric| metric.late).max();
        if late.is_some_and(|late| self.gate.hold_for.duration() <= late.duration() + MINUTE) {
            return Err(
                "the gate's `hold_for` must be more than a minute longer than its metrics are \
                        `late`, else it would open on what was before the step"
                    .to_owned(),
            );
        }
        if self.gate.within.is_some_and(|within| within <= self.gate.hold_for) {
            return Err("the gate's `within` must be longer than its `hold_for`".to_owned());
        }
        Ok(())
    }

    fn balancer(&self, azure: &Azure) -> Result<Balancer, ArmError> {
        let group = self.resource_group.as_deref();
        match (&self.traffic_manager, &self.front_door) {
            (Some(profile), _) => azure.traffic_manager(group, profile),
            (None, Some(door)) => azure.front_door(group, &door.profile, &door.origin_group),
            (None, None) => Err(ArmError::Settings("no balancer is named".to_owned())),
        }
    }

    fn attempted(&self) -> String {
        let percents: Vec<_> = self.percent.iter().map(|it| format!("{it} %")).collect();
        format!("shift traffic from {} to {} by {}", self.from, self.to, percents.join(", "))
    }

    /// What a target borrows.
    fn parts(&self, azure: &Azure) -> Result<(Balancer, String), StepError> {
        let attempted = self.attempted();
        let balancer = self.balancer(azure);
        let balancer = balancer.map_err(|error| error.into_step_error(&attempted, UNTOUCHED))?;
        Ok((balancer, attempted))
    }

    fn target<'a>(&'a self, azure: &'a Azure, parts: &'a (Balancer, String)) -> Target<'a> {
        let (balancer, attempted) = parts;
        let (from, to, known) = (&self.from, &self.to, UNTOUCHED.to_owned());
        Target { azure, balancer, from, to, attempted, known }
    }
}

#[async_trait]
impl Step for With {
    async fn preview(&self, cx: &StepCx) -> Result<Preview, StepError> {
        let azure = &cx.world.azure;
        let parts = self.parts(azure)?;
        let target = self.target(azure, &parts);
        let pair = target.fit(&mut cx.wait()).await?;
        let mut changes = Vec::new();
        for side in [Side::To, Side::From] {
            let (_, now) = pair.side(side);
            let steps = self.percent.iter().map(|&it| Self::wanted(it, side, *now).to_string());
            let steps: Vec<_> = steps.collect();
            changes.push(Change {
                target: format!("{}/{}", target.balancer.name(), target.name(side)),
                verb: "weigh".to_owned(),
                before: Some(now.to_string()),
                after: Some(steps.join(", then ")),
            });
        }
        let mut readings = vec![fallback::read(cx, self.fallback.as_deref()).await];
        readings.extend(target.rights(cx, &mut cx.wait()).await?);
        let signals = looked(cx, self.signals(), &mut cx.wait()).await?;
        readings.extend(signals.into_iter().map(evidence));
        Ok(Preview { changes, readings })
    }

    async fn perform(&self, cx: &mut PerformCx<'_>) -> Result<Outcome, StepError> {
        let azure = cx.read.world.azure.clone();
        let parts = self.parts(&azure)?;
        self.carry_out(cx, &self.target(&azure, &parts)).await
    }

    async fn probe(&self, cx: &StepCx, effect: &RecordedEffect) -> Verdict {
        if effect.intent.verb == VERDICT {
            // The intent holds all of it.
            return Verdict::Done { observed: effect.intent.after.clone() };
        }
        match self.balancer(&cx.world.azure) {
            Ok(balancer) => target::probe(cx, &balancer, effect).await,
            Err(error) => Verdict::Unknown { evidence: error.to_string() },
        }
    }

    async fn undo(&self, cx: &mut PerformCx<'_>, effect: &RecordedEffect) -> Result<(), StepError> {
        let Some(key) = Key::parse(&effect.intent.key) else { return Ok(()) };
        let round = Round::recorded(key.round, &cx.read.recorded);
        let track = round.track(key.side);
        if key.leg == Leg::Back || track.back {
            // The step took it back itself.
            return Ok(());
        }
        let azure = cx.read.world.azure.clone();
        let parts = self.parts(&azure)?;
        let attempted =
            format!("restore the weight of {}", self.target(&azure, &parts).name(key.side));
        let target = Target { attempted: &attempted, ..self.target(&azure, &parts) }.after(&round);
        let weight = |value: &Value| serde_json::from_value::<Weight>(value.clone()).ok();
        let before = weight(&effect.intent.before);
        let Some(original) = track.original.or(before) else {
            return Err(StepError::new(FailureClass::Failed, "MIG0234", attempted, UNTOUCHED)
                .cause("the journal's record of the weight can not be read"));
        };
        let pair = target.read(&mut cx.wait()).await?;
        let (member, now) = pair.side(key.side);
        let own = [before, weight(&effect.intent.after)].contains(&Some(*now));
        if !own && !track.known.contains(now) {
            return Err(target.foreign(member.as_str(), &track.left, *now));
        }
        // Straight to where the round began: the steps in between carry traffic to what is being left.
        let undo = format!("undo:{}", effect.intent.key);
        target.weigh(cx, undo, pair.side(key.side), original).await
    }
}

#[cfg(test)]
mod tests;
