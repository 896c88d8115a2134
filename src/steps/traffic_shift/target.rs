//! The two members between which traffic moves: read and checked, and written one at a time under a journalled intent.
//!
//! There is no `ETag`: what was read is compared right before the write, and anything else is left alone as drift.

use serde_json::{Value, json};

use super::super::{Begun, Evidence, FailureClass, PerformCx, StepCx, StepError, rights};
use super::story::{Round, Side, words};
use crate::azure::{ArmError, Azure, Balanced, Balancer, Member, ResourceId, Right, Wait, Weight};
use crate::run::{Intent, RecordedEffect, Repeat, Undo, Verdict};

/// Both change by absolute values, compared first: the same again is harmless.
const CLASSES: (Repeat, Undo) = (Repeat::Repeatable, Undo::Restores);
pub(super) const UNTOUCHED: &str = "nothing was changed";

/// See the module.
#[derive(Clone)]
pub(super) struct Target<'a> {
    pub(super) azure: &'a Azure,
    pub(super) balancer: &'a Balancer,
    pub(super) from: &'a str,
    pub(super) to: &'a str,
    pub(super) attempted: &'a str,
    /// What an error says of the weights.
    pub(super) known: String,
}

/// Both members as they were read.
pub(super) struct Pair {
    pub(super) balanced: Balanced,
    pub(super) from: (ResourceId, Weight),
    pub(super) to: (ResourceId, Weight),
}

impl Pair {
    pub(super) fn side(&self, side: Side) -> &(ResourceId, Weight) {
        match side {
            Side::From => &self.from,
            Side::To => &self.to,
        }
    }
}

impl Target<'_> {
    pub(super) fn name(&self, side: Side) -> &str {
        match side {
            Side::From => self.from,
            Side::To => self.to,
        }
    }

    /// The same, once a round has moved something: errors say how it left the weights.
    pub(super) fn after(&self, round: &Round) -> Self {
        let left = |side: Side| {
            let left = &round.track(side).left;
            (!left.is_empty()).then(|| format!("{} at {}", self.name(side), words(left)))
        };
        let left: Vec<_> = [Side::From, Side::To].into_iter().filter_map(left).collect();
        if left.is_empty() {
            return self.clone();
        }
        Self { known: format!("the step has left {}", left.join(" and ")), ..self.clone() }
    }

    fn failed(&self, error: ArmError) -> StepError {
        error.into_step_error(self.attempted, &self.known)
    }

    pub(super) fn unfit(&self, why: String) -> StepError {
        StepError::new(FailureClass::Refused, "MIG0231", self.attempted, &self.known)
            .cause(why)
            .hint("correct the runbook or the balancer, then `migrate resume`")
    }

    /// What the service holds of both now.
    pub(super) async fn read(&self, wait: &mut Wait<'_>) -> Result<Pair, StepError> {
        let name = self.balancer.name();
        let balanced = self.azure.balanced(wait, self.balancer).await;
        let balanced = balanced
            .map_err(|error| self.failed(error))?
            .ok_or_else(|| self.unfit(format!("{} does not exist", self.balancer.id())))?;
        let side = |wanted: &str| {
            let member = balanced
                .member(wanted)
                .ok_or_else(|| self.unfit(format!("{name} has no member {wanted}")))?;
            let weight = member.weight.ok_or_else(|| {
                self.unfit(format!("{wanted} has no weight, so none could be restored"))
            })?;
            Ok((member.id.clone(), weight))
        };
        let (from, to) = (side(self.from)?, side(self.to)?);
        Ok(Pair { balanced, from, to })
    }

    /// The same, where weights between these two decide about all of the traffic. Going back does not ask for that.
    pub(super) async fn fit(&self, wait: &mut Wait<'_>) -> Result<Pair, StepError> {
        let (pair, name) = (self.read(wait).await?, self.balancer.name());
        if let Some(why) = &pair.balanced.not_weighted {
            return Err(self.unfit(format!("{name}: {why}")));
        }
        let own = |member: &Member| {
            [self.from, self.to].iter().any(|name| member.name.eq_ignore_ascii_case(name))
        };
        let other = pair
            .balanced
            .members
            .iter()
            .find(|member| !own(member) && member.weight.is_none_or(|weight| weight.enabled));
        if let Some(other) = other {
            let why =
                format!("{name}: {} gets traffic, too, so the percents would not hold", other.name);
            return Err(self.unfit(why));
        }
        Ok(pair)
    }

    /// This identity may write both weights there and back, and watch how it goes.
    pub(super) async fn rights(
        &self,
        cx: &StepCx,
        wait: &mut Wait<'_>,
    ) -> Result<Vec<Evidence>, StepError> {
        let Pair { from: (from, _), to: (to, _), .. } = self.fit(wait).await?;
        let mut proved = Vec::new();
        for member in [from, to] {
            let polling = match self.balancer {
                Balancer::TrafficManager(_) => None,
                Balancer::FrontDoor(_) => Some("Microsoft.Cdn/operationresults/read".to_owned()),
            };
            let wanted: Vec<_> =
                member.action("write").into_iter().chain(polling).map(Right::Action).collect();
            let held = rights::prove(cx, wait, self.attempted, &member, &wanted).await;
            proved.push(held.map_err(|error| {
                let known = error.known.replace(UNTOUCHED, &self.known);
                StepError { known, ..error }
            })?);
        }
        Ok(proved)
    }

    /// Gives one side another weight.
    pub(super) async fn weigh(
        &self,
        cx: &mut PerformCx<'_>,
        key: String,
        (member, before): &(ResourceId, Weight),
        wanted: Weight,
    ) -> Result<(), StepError> {
        let intent =
            Intent::new(key, member.as_str(), "weigh", CLASSES, json!(before), json!(wanted));
        if *before == wanted {
            return cx.change(intent, async |_| Ok(json!(wanted))).await.map(drop);
        }
        let (azure, balancer) = (self.azure, self.balancer);
        let begun = cx.begin(intent, (self.attempted, &self.known), async |cx, permit| {
            azure.weigh(&mut cx.wait(), permit, balancer, member, (*before, wanted)).await
        });
        let Begun::Now(permit, accepted) = begun.await? else { return Ok(()) };
        // What does not end well from here on stays in doubt, and is settled by the probe.
        let url = accepted.operation_url.as_deref();
        let now = azure.weighed(&mut cx.wait(), balancer, member, url).await;
        let now = now.map_err(|error| {
            error.into_step_error(self.attempted, "the change was begun and did not end well")
        })?;
        if now != wanted {
            return Err(self.foreign(member.as_str(), &[wanted], now));
        }
        cx.effects.done(permit, json!(wanted)).await
    }

    /// Another hand was at a weight.
    pub(super) fn foreign(&self, what: &str, left: &[Weight], found: Weight) -> StepError {
        let known = "the weights were changed by another hand; nothing was overwritten";
        StepError::new(FailureClass::Drift, "MIG0234", self.attempted, known)
            .cause(format!("{what}: we left {}", words(left)))
            .cause(format!("{what}: found {found}"))
            .hint("find out who changed them and why, and decide by hand what they shall be")
    }
}

/// Is a recorded weight in place? Waits for an operation that is still under way.
pub(super) async fn probe(cx: &StepCx, balancer: &Balancer, effect: &RecordedEffect) -> Verdict {
    let weight = |value: &Value| serde_json::from_value::<Weight>(value.clone());
    let unknown = |evidence: String| Verdict::Unknown { evidence };
    let (before, after) = match (weight(&effect.intent.before), weight(&effect.intent.after)) {
        (Ok(before), Ok(after)) => (before, after),
        (Err(error), _) | (_, Err(error)) => return unknown(error.to_string()),
    };
    let member = match ResourceId::parse(&effect.intent.target) {
        Ok(member) => member,
        Err(error) => return unknown(error.to_string()),
    };
    let (azure, mut wait) = (&cx.world.azure, cx.wait());
    let url = effect.sent.as_ref().and_then(|sent| sent.operation_url.as_deref());
    let now = match azure.weighed(&mut wait, balancer, &member, url).await {
        Err(ArmError::OperationFailed { .. }) => {
            azure.weighed(&mut wait, balancer, &member, None).await
        }
        now => now,
    };
    match now {
        Ok(now) if now == after => Verdict::Done { observed: json!(now) },
        Ok(now) if now == before => Verdict::NotDone,
        Ok(now) => unknown(format!("{member} has {now}: neither {before} nor {after}")),
        Err(error) => unknown(error.to_string()),
    }
}
