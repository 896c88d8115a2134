//! `traffic.shift`: moves traffic by weights in steps, with a health gate after each, and goes back by itself.
//!
//! Promises: nothing is written before the way back is proved (the weights recorded, the fallback answering, the target
//! healthy); a gate that fails or can not tell ends with the recorded weights restored exactly; weights changed by another
//! hand are never overwritten knowingly.

mod gate;
mod story;
mod target;

use std::time::Duration;

use async_trait::async_trait;
use futures::future::join_all;
use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::{Value, json};

use self::gate::{Gate, Limits, Shut, Stand};
use self::story::{Key, Leg, Round, Side, Why};
use self::target::{Pair, Target, UNTOUCHED};
use super::{
    Change, Evidence, FailureClass, Kind, Outcome, Outputs, PerformCx, Preview, Step, StepCx,
    StepError, fallback,
};
use crate::azure::{ArmError, Azure, Balancer, Serving, Weight};
use crate::dns::{Endpoint, Health, Reading};
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
    /// How long a step may take to get there; then it is inconclusive. Three times the hold when not given.
    #[serde(default)]
    pub within: Option<Span>,
    /// Endpoints of the target that must answer as they must.
    pub probes: Vec<Endpoint>,
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

const DOCS: &str = "\
Gives `to` the first of `percent`, watches the gate, goes on to the next. The gate looks at every probe and at what the \
balancer itself says of `to` (`endpointMonitorStatus`, `provisioningState`), every `every`. It opens when everything was good \
for `hold_for`, counted from when old DNS answers have run out.\n\n\
Before the first step the way back is proved: weights are recorded, `fallback` must answer, and every probe must be good. \
Other enabled endpoints, another routing method or different priorities are refused: the percents would not hold.\n\n\
The step goes back by itself, to the recorded weights and states of both, `from` first:\n\n\
- *failure* (exit 7): `failures_in_a_row` bad looks.\n\
- *inconclusive* (exit 4): `missing_in_a_row` looks that could not be compared, or `within` over without the hold.\n\n\
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

/// One signal of one look.
struct Look {
    what: String,
    health: Health,
    detail: String,
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
        if self.gate.probes.is_empty() || self.gate.every.duration().is_zero() {
            return Err("the gate needs at least one of `probes`, and `every` above zero".to_owned());
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

    /// The weights of a step: `from` keeps its own when it is disabled at the end.
    fn wanted(percent: u8, side: Side, now: Weight) -> Weight {
        let percent = u16::from(percent);
        match side {
            Side::To => Weight { weight: percent, enabled: true },
            Side::From if percent == 100 => Weight { enabled: false, ..now },
            Side::From => Weight { weight: 100 - percent, enabled: true },
        }
    }

    fn limits(&self, answers_last: Duration) -> Limits {
        let hold = answers_last + self.gate.hold_for.duration();
        Limits {
            hold,
            within: self.gate.within.map_or(hold * 3, |it| answers_last + it.duration()),
            gap: self.gate.every.duration() * 3,
            failures_in_a_row: self.gate.failures_in_a_row.max(1),
            missing_in_a_row: self.gate.missing_in_a_row.max(1),
        }
    }

    async fn probes(&self, cx: &StepCx) -> Vec<Look> {
        let readings = join_all(self.gate.probes.iter().map(|it| it.read(&cx.world.network))).await;
        let look = |(reading, probe): (Reading, &Endpoint)| Look {
            what: probe.shown(),
            health: reading.health,
            detail: reading.detail,
        };
        readings.into_iter().zip(&self.gate.probes).map(look).collect()
    }

    /// Every signal, the balancer's own first; drift ends the step.
    async fn look(
        &self,
        cx: &mut PerformCx<'_>,
        target: &Target<'_>,
        round: &Round,
    ) -> Result<Vec<Look>, StepError> {
        let what = format!("{} at {}", self.to, target.balancer.name());
        let own = match target.read(&mut cx.wait()).await {
            Ok(pair) => {
                unmoved(target, &pair, round)?;
                serving(what, pair.balanced.member(&self.to).map(|member| &member.serving))
            }
            Err(error) if error.class == FailureClass::Cancelled => return Err(error),
            Err(error) => Look { what, health: Health::Unknown, detail: error.to_string() },
        };
        let mut looks = vec![own];
        looks.extend(self.probes(cx.read).await);
        Ok(looks)
    }

    /// Everything that must hold before the first write. Reads only.
    async fn way_back(&self, cx: &StepCx) -> Result<Vec<Evidence>, StepError> {
        let refused = |evidence: &Evidence, known: &str| {
            let known = format!("{known}: {} ({}); {UNTOUCHED}", evidence.detail, evidence.verdict);
            StepError::new(FailureClass::Refused, "MIG0235", self.attempted(), known).retryable()
        };
        let fallback = fallback::read(cx, self.fallback.as_deref()).await;
        if self.fallback.is_some() && !fallback.holds {
            return Err(refused(&fallback, "the way back is not proved")
                .hint("make the source answer again, then `migrate resume`"));
        }
        let probes: Vec<_> = self.probes(cx).await.into_iter().map(evidence).collect();
        if let Some(bad) = probes.iter().find(|probe| !probe.holds) {
            return Err(refused(bad, &format!("{} is not healthy before any traffic", bad.check))
                .hint("make the target answer, then `migrate resume`"));
        }
        Ok(std::iter::once(fallback).chain(probes).collect())
    }

    /// Waits at the gate of one step.
    async fn gate(
        &self,
        cx: &mut PerformCx<'_>,
        target: &Target<'_>,
        (round, percent): (&Round, u8),
        answers_last: Duration,
    ) -> Result<Result<Evidence, Why>, StepError> {
        let limits = self.limits(answers_last);
        let mut gate = Gate::new(limits, 1 + self.gate.probes.len(), cx.clock().steady());
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
                    let which = at.map_or_else(|| said.clone(), |at| {
                        format!("{}: {}", look[at].what, look[at].detail)
                    });
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

    /// One step forward: `to` first, so that its share only rises.
    async fn forward(
        &self,
        cx: &mut PerformCx<'_>,
        target: &Target<'_>,
        round: &mut Round,
        percent: u8,
    ) -> Result<Duration, StepError> {
        let pair = target.read(&mut cx.wait()).await?;
        unmoved(target, &pair, round)?;
        for side in [Side::To, Side::From] {
            let (_, now) = pair.side(side);
            let wanted = Self::wanted(percent, side, *now);
            if *now != wanted {
                let key = Key { round: round.number, leg: Leg::Forward(percent), side }.text();
                target.weigh(cx, key, pair.side(side), wanted, json!(wanted)).await?;
                round.track_mut(side).moved(*now, wanted);
            }
        }
        Ok(pair.balanced.answers_last)
    }

    /// Restores what the round found, `from` first, so that the share of `to` only falls.
    async fn back(
        &self,
        cx: &mut PerformCx<'_>,
        target: &Target<'_>,
        round: &Round,
        why: &Why,
    ) -> Result<StepError, StepError> {
        let pair = target.read(&mut cx.wait()).await?;
        unmoved(target, &pair, round)?;
        for side in [Side::From, Side::To] {
            let track = round.track(side);
            let Some(original) = track.original.filter(|_| !track.back) else { continue };
            cx.progress.say(format!("back: {} to {original}", target.name(side)));
            let key = Key { round: round.number, leg: Leg::Back, side }.text();
            let after = story::back_to(original, why);
            target.weigh(cx, key, pair.side(side), original, after).await?;
        }
        Ok(self.went_back(round, why))
    }

    /// How a round that went back ends.
    fn went_back(&self, round: &Round, why: &Why) -> StepError {
        let (class, code) = match why.verdict {
            Shut::Failure => (FailureClass::Mismatch, "MIG0232"),
            Shut::Inconclusive => (FailureClass::Refused, "MIG0233"),
        };
        let back = [Side::From, Side::To].map(|side| {
            let name = if side == Side::From { &self.from } else { &self.to };
            round.track(side).original.map(|original| format!("{name} {original}"))
        });
        let back: Vec<_> = back.into_iter().flatten().collect();
        let known = format!("traffic is back where it was: {}", back.join("; "));
        StepError::new(class, code, self.attempted(), known)
            .cause(why.detail.clone())
            .hint("repair the target, then `migrate resume` begins with the first percent; or `migrate rollback`")
    }

    async fn carry_out(
        &self,
        cx: &mut PerformCx<'_>,
        target: &Target<'_>,
    ) -> Result<Outcome, StepError> {
        let mut round = Round::last(&cx.read.recorded);
        if round.is_over() {
            if let Some(why) = round.why.clone().filter(|_| cx.read.cut_off) {
                // All was back, and only the word about it was lost.
                return Err(self.went_back(&round, &why));
            }
            round = Round::recorded(round.number + 1, &[]);
        }
        if let Some(why) = round.why.clone() {
            return Err(self.back(cx, target, &round, &why).await?);
        }
        let mut evidence = match round.reached {
            Some(_) => Vec::new(),
            None => self.way_back(cx.read).await?,
        };
        let reached = round.reached;
        for &percent in self.percent.iter().filter(|it| Some(**it) >= reached) {
            let answers_last = self.forward(cx, target, &mut round, percent).await?;
            match self.gate(cx, target, (&round, percent), answers_last).await? {
                Ok(healthy) => evidence.push(healthy),
                Err(why) => return Err(self.back(cx, target, &round, &why).await?),
            }
        }
        let previous = |side: Side| json!(round.track(side).original);
        let outputs = Outputs::from([
            ("percent".to_owned(), json!(self.percent.last())),
            ("previous".to_owned(), json!({ "from": previous(Side::From), "to": previous(Side::To) })),
        ]);
        Ok(Outcome { outputs, evidence })
    }

    /// Lends the parts of a target to `work`.
    fn parts(&self, azure: &Azure) -> Result<(Balancer, String), StepError> {
        let attempted = self.attempted();
        let balancer = self.balancer(azure);
        let balancer = balancer.map_err(|error| error.into_step_error(&attempted, UNTOUCHED))?;
        Ok((balancer, attempted))
    }

    fn target<'a>(&'a self, azure: &'a Azure, parts: &'a (Balancer, String)) -> Target<'a> {
        let (balancer, attempted) = parts;
        Target { azure, balancer, from: &self.from, to: &self.to, attempted }
    }
}

/// Each side is as the round left it.
fn unmoved(target: &Target<'_>, pair: &Pair, round: &Round) -> Result<(), StepError> {
    for side in [Side::From, Side::To] {
        let (_, now) = pair.side(side);
        if let Some(left) = round.track(side).left.filter(|left| left != now) {
            return Err(target.foreign(target.name(side), left, *now));
        }
    }
    Ok(())
}

fn serving(what: String, serving: Option<&Serving>) -> Look {
    let (health, detail) = match serving {
        Some(Serving::Yes(said)) => (Health::Good, said.clone()),
        Some(Serving::No(said)) => (Health::Bad, said.clone()),
        Some(Serving::Unknown(said)) => (Health::Unknown, said.clone()),
        None => (Health::Unknown, "it is not there".to_owned()),
    };
    Look { what, health, detail }
}

fn evidence(look: Look) -> Evidence {
    let holds = look.health == Health::Good;
    Evidence { check: look.what, verdict: look.health.to_string(), detail: look.detail, holds }
}

#[async_trait]
impl Step for With {
    async fn preview(&self, cx: &StepCx) -> Result<Preview, StepError> {
        let azure = &cx.world.azure;
        let parts = self.parts(azure)?;
        let target = self.target(azure, &parts);
        let pair = target.read(&mut cx.wait()).await?;
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
        readings.extend(self.probes(cx).await.into_iter().map(evidence));
        Ok(Preview { changes, readings })
    }

    async fn perform(&self, cx: &mut PerformCx<'_>) -> Result<Outcome, StepError> {
        let azure = cx.read.world.azure.clone();
        let parts = self.parts(&azure)?;
        self.carry_out(cx, &self.target(&azure, &parts)).await
    }

    async fn probe(&self, cx: &StepCx, effect: &RecordedEffect) -> Verdict {
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
        let attempted = format!("restore the weight of {}", self.target(&azure, &parts).name(key.side));
        let target = Target { attempted: &attempted, ..self.target(&azure, &parts) };
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
            let left = track.left.unwrap_or(original);
            return Err(target.foreign(member.as_str(), left, *now));
        }
        // Straight to where the round began: the steps in between carry traffic to what is being left.
        let undo = format!("undo:{}", effect.intent.key);
        target.weigh(cx, undo, pair.side(key.side), original, json!(original)).await
    }
}

#[cfg(test)]
mod tests;
