//! The way there and the way back: two weights a step, the share of `to` never in between.

use std::time::Duration;

use serde_json::{Value, json};

use super::super::{
    Evidence, FailureClass, Outcome, Outputs, PerformCx, StepCx, StepError, fallback,
};
use super::With;
use super::gate::Shut;
use super::story::{Key, Leg, Round, Side, VERDICT, Why, verdict_key};
use super::target::Target;
use super::watch::{evidence, looked, unmoved};
use crate::azure::{Wait, Weight};
use crate::run::{Intent, Repeat, Undo};

impl With {
    /// The weights of a step: `from` keeps its own when it is disabled at the end.
    pub(super) fn wanted(percent: u8, side: Side, now: Weight) -> Weight {
        let percent = u16::from(percent);
        match side {
            Side::To => Weight { weight: percent, enabled: true },
            Side::From if percent == 100 => Weight { enabled: false, ..now },
            Side::From => Weight { weight: 100 - percent, enabled: true },
        }
    }

    /// What must hold before more traffic goes over: this identity can write it back, to a source that answers. Reads only.
    pub(super) async fn way_back(
        &self,
        cx: &StepCx,
        target: &Target<'_>,
        wait: &mut Wait<'_>,
    ) -> Result<Vec<Evidence>, StepError> {
        let rights = target.rights(cx, wait).await?;
        let fallback = fallback::read(cx, self.fallback.as_deref()).await;
        if self.fallback.is_some() && !fallback.holds {
            return Err(unproved(target, &fallback, "the way back is not proved")
                .hint("make the source answer again, then `migrate resume`"));
        }
        Ok(rights.into_iter().chain([fallback]).collect())
    }

    /// The target is as healthy as it can be before it gets any traffic. Reads only.
    pub(super) async fn ready(
        &self,
        cx: &StepCx,
        target: &Target<'_>,
        wait: &mut Wait<'_>,
    ) -> Result<Vec<Evidence>, StepError> {
        let probes = looked(cx, self.without_traffic(), wait).await?;
        let probes: Vec<_> = probes.into_iter().map(evidence).collect();
        if let Some(bad) = probes.iter().find(|probe| !probe.holds) {
            return Err(unproved(
                target,
                bad,
                &format!("{} is not healthy before any traffic", bad.check),
            )
            .hint("make the target answer, then `migrate resume`"));
        }
        Ok(probes)
    }

    /// One step forward: `to` first, so that its share only rises.
    pub(super) async fn forward(
        &self,
        cx: &mut PerformCx<'_>,
        target: &Target<'_>,
        round: &mut Round,
        percent: u8,
    ) -> Result<Duration, StepError> {
        let pair = target.after(round).fit(&mut cx.wait()).await?;
        unmoved(target, &pair, round)?;
        for side in [Side::To, Side::From] {
            let (_, now) = pair.side(side);
            let wanted = Self::wanted(percent, side, *now);
            if *now != wanted || round.track(side).is_in_doubt() {
                let key = Key { round: round.number, leg: Leg::Forward(percent), side }.text();
                target.after(round).weigh(cx, key, pair.side(side), wanted).await?;
                round.track_mut(side).moved(*now, wanted);
            }
        }
        Ok(pair.balanced.answers_last)
    }

    /// Restores what the round found, `from` first, so that the share of `to` only falls.
    pub(super) async fn back(
        &self,
        cx: &mut PerformCx<'_>,
        target: &Target<'_>,
        round: &mut Round,
        why: &Why,
    ) -> Result<StepError, StepError> {
        let pair = target.after(round).read(&mut cx.wait()).await?;
        unmoved(target, &pair, round)?;
        for side in [Side::From, Side::To] {
            let track = round.track(side);
            let Some(original) = track.original.filter(|_| !track.back) else { continue };
            cx.progress.say(format!("back: {} to {original}", target.name(side)));
            let key = Key { round: round.number, leg: Leg::Back, side }.text();
            target.after(round).weigh(cx, key, pair.side(side), original).await?;
            round.track_mut(side).moved(pair.side(side).1, original);
        }
        Ok(self.went_back(round, why))
    }

    /// How a round that went back ends.
    pub(super) fn went_back(&self, round: &Round, why: &Why) -> StepError {
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

    pub(super) async fn carry_out(
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
            return Err(self.back(cx, target, &mut round, &why).await?);
        }
        let (read, reached) = (cx.read, round.reached);
        if let Some(reached) = reached.filter(|reached| self.percent.iter().all(|it| it < reached))
        {
            let why = format!("the step has reached {reached} %, and `percent` ends below that");
            return Err(target.after(&round).unfit(why));
        }
        let mut evidence = Vec::new();
        if self.percent.iter().any(|it| Some(*it) > reached) {
            evidence.extend(self.way_back(read, &target.after(&round), &mut cx.wait()).await?);
        }
        if reached.is_none() {
            evidence.extend(self.ready(read, target, &mut cx.wait()).await?);
        }
        for &percent in self.percent.iter().filter(|it| Some(**it) >= reached) {
            let answers_last = self.forward(cx, target, &mut round, percent).await?;
            match self.gate(cx, target, (&round, percent), answers_last).await? {
                Ok(healthy) => evidence.push(healthy),
                Err(why) => {
                    keep(cx, target, &round, &why).await?;
                    return Err(self.back(cx, target, &mut round, &why).await?);
                }
            }
        }
        let previous = |side: Side| json!(round.track(side).original);
        let outputs = Outputs::from([
            ("percent".to_owned(), json!(self.percent.last())),
            (
                "previous".to_owned(),
                json!({ "from": previous(Side::From), "to": previous(Side::To) }),
            ),
        ]);
        Ok(Outcome { outputs, evidence })
    }
}

/// Journals the verdict of a gate before anything goes back on it.
async fn keep(
    cx: &mut PerformCx<'_>,
    target: &Target<'_>,
    round: &Round,
    why: &Why,
) -> Result<(), StepError> {
    let classes = (Repeat::Repeatable, Undo::LeavesInPlace);
    let (key, of) = (verdict_key(round.number), target.balancer.id().as_str());
    let intent = Intent::new(key, of, VERDICT, classes, Value::Null, json!(why));
    cx.change(intent, async |_| Ok(json!(why))).await.map(drop)
}

fn unproved(target: &Target<'_>, evidence: &Evidence, known: &str) -> StepError {
    let known = format!("{known}: {} ({}); {}", evidence.detail, evidence.verdict, target.known);
    StepError::new(FailureClass::Refused, "MIG0235", target.attempted, known).retryable()
}
