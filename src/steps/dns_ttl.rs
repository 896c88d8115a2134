//! `dns.ttl`: lowers TTLs ahead of a cutover and waits until no cache can hold an answer with the old one.
//!
//! The old TTL counts from the moment every server was seen to serve the new one, which is journalled: a killed wait goes
//! on with what is left of it.

use std::time::Duration;

use async_trait::async_trait;
use futures::future::try_join_all;
use jiff::Timestamp;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::zone::{self, Place, Who, Zone};
use super::{
    Change, Evidence, FailureClass, Granted, Kind, Outcome, Outputs, PerformCx, Preview, Step,
    StepCx, StepError,
};
use crate::clock::{advance, since};
use crate::dns::azure::slot;
use crate::dns::update::Slot;
use crate::dns::{RecordType, Set, Turn};
use crate::plan::{Class, KindSpec, Role, ServerAddress, Span};
use crate::run::{Intent, RecordedEffect, Repeat, Undo, Verdict};

/// Parameters of `dns.ttl`.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct With {
    /// The zone: `contoso.example`.
    pub zone: String,
    /// The system that keeps it, `{rfc2136: …}` under `systems`; Azure DNS when not given.
    #[serde(default)]
    pub system: Option<String>,
    /// Resource group of an Azure DNS zone; the runbook's default one when not given.
    #[serde(default)]
    pub resource_group: Option<String>,
    /// It is a private zone of Azure DNS. Only `resolvers` inside its networks can be asked for it.
    #[serde(default)]
    pub private: bool,
    /// The record sets whose TTL is lowered.
    pub records: Vec<RecordName>,
    /// The new TTL in seconds. A record set that has no more is left alone.
    pub ttl: u32,
    /// Recursive resolvers that must have let go of the old TTL, too: `10.0.0.53`.
    #[serde(default)]
    pub resolvers: Vec<ServerAddress>,
    /// How long the servers may take to serve it.
    #[serde(default = "five_minutes")]
    pub within: Span,
}

/// A record set of the zone.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RecordName {
    /// Relative to the zone; `@` is the zone itself.
    pub record: String,
    /// Its type.
    #[serde(rename = "type")]
    pub kind: RecordType,
}

const fn five_minutes() -> Span {
    Span::minutes(5)
}

const DOCS: &str = "\
Lowers the TTL of record sets by a conditional write each (`If-Match` at Azure DNS; at a primary name server, named by \
`system`, the values that were read are the prerequisite), asks every authoritative server until each serves the \
new TTL over UDP and TCP, and then waits until the *old* TTL has run out since the last of them was seen to: the old TTL is \
the longest that was read or served. Then all are asked again, and the resolvers under `resolvers` as well. From then on no \
honest cache holds an answer for longer than the new TTL, and a cutover is seen as fast as that. Values and metadata stay.\n\n\
Put it an old TTL ahead of the cutover. A killed wait goes on with what is left.\n\n\
Taken back: the old TTL is written over whatever values are there by then, unless somebody set another TTL meanwhile.\n\n\
Outputs: `expired_at`, when the last old TTL had run out.";

/// The kind.
pub const KIND: Kind = Kind {
    spec: KindSpec {
        name: "dns.ttl",
        summary: "Lower TTLs and wait until the old ones have expired",
        docs: DOCS,
        example: include_str!("../../examples/steps/dns.ttl.yaml"),
        class: Class::Action,
        repeat: Repeat::Guarded,
        undo: Undo::Restores,
        roles: &[Role::LowersTtl],
        outputs: &["expired_at"],
        open_outputs: false,
        schema: || schemars::schema_for!(With),
        check: super::check::<With>,
        describe,
    },
    build: |with| {
        let with = super::read::<With>(with)?;
        for of in &with.records {
            slot(&with.zone, &of.record, of.kind)?;
        }
        if with.system.is_some() && with.private {
            return Err("`private` is a zone of Azure DNS, and `system` is not".to_owned());
        }
        Ok(Box::new(with))
    },
};

fn describe(with: &Value) -> Vec<String> {
    let records = with["records"].as_array().cloned().unwrap_or_default();
    let zone = with["zone"].as_str().unwrap_or("?");
    let line = |record: &Value| {
        let text = |key: &str| record[key].as_str().unwrap_or("?").to_owned();
        format!("TTL of {} {}.{zone} -> {} s", text("type"), text("record"), with["ttl"])
    };
    records.iter().map(line).collect()
}

/// Since when every server serves the new TTL, and the longest that anybody was seen to serve before: kept as a
/// baseline, so that a killed wait goes on with what is left.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
struct Served {
    served_at: Timestamp,
    old_ttl_seconds: u64,
}

impl Served {
    /// When no honest cache can hold the old answer any more.
    fn expires(self) -> Timestamp {
        advance(self.served_at, Duration::from_secs(self.old_ttl_seconds))
    }
}

impl RecordName {
    fn key(&self) -> String {
        format!("ttl:{}/{}", self.kind, self.record)
    }

    fn served_key(&self) -> String {
        format!("served:{}/{}", self.kind, self.record)
    }
}

impl With {
    fn slot(&self, of: &RecordName) -> Slot {
        slot(&self.zone, &of.record, of.kind).expect("the step was built from names")
    }

    fn attempted(&self, of: &RecordName) -> String {
        format!("set the TTL of {} {} in zone {} to {} s", of.kind, of.record, self.zone, self.ttl)
    }

    async fn zone(&self, cx: &StepCx) -> Result<Zone, StepError> {
        let attempted = format!("lower TTLs in zone {}", self.zone);
        let With { zone, system, resource_group, private, resolvers, .. } = self;
        let (system, resource_group) = (system.as_deref(), resource_group.as_deref());
        let private = *private;
        Place { zone, system, resource_group, private, resolvers }.open(cx, &attempted).await
    }

    /// What is there, and the same with the TTL wanted; none of the latter when it is low enough already.
    async fn lowered(
        &self,
        cx: &StepCx,
        wait: crate::azure::Wait<'_>,
        zone: &Zone,
        of: &RecordName,
    ) -> Result<(Set, Option<Set>), StepError> {
        let attempted = self.attempted(of);
        let refused = |known: &str| {
            StepError::new(FailureClass::Refused, "MIG0207", &attempted, known.to_owned())
                .hint("correct `records` in the runbook")
        };
        let now = zone.read(cx, wait, &[self.slot(of)], &attempted).await?.pop().flatten();
        let now = now.ok_or_else(|| refused("there is no such record set; nothing was changed"))?;
        match now.ttl() {
            None => Err(refused("it is an alias, whose TTL Azure takes from its target")),
            Some(ttl) if ttl <= self.ttl => Ok((now, None)),
            Some(_) => {
                let wanted = now.clone().with_ttl(self.ttl);
                Ok((now, Some(wanted)))
            }
        }
    }

    /// Lowers one TTL, proves it at every server, and says what is to be outwaited; nothing where it was low enough, which
    /// is still to be proved.
    async fn lower(
        &self,
        cx: &mut PerformCx<'_>,
        zone: &Zone,
        of: &RecordName,
        evidence: &mut Vec<Evidence>,
    ) -> Result<(Vec<Turn>, Option<Served>), StepError> {
        let (read, attempted, slot) = (cx.read, self.attempted(of), self.slot(of));
        let done =
            |key: String| read.recorded.iter().find(move |it| it.done && it.intent.key == key);
        let batch = if let Some(effect) = done(of.key()) {
            zone.batch(effect, &attempted)?
        } else {
            let (now, wanted) = self.lowered(read, cx.wait(), zone, of).await?;
            let Some(wanted) = wanted else {
                evidence.push(low_enough(&slot, &now));
                let wanted = Some(now.clone());
                return Ok((vec![Turn { slot, now: Some(now), wanted }], None));
            };
            let batch = vec![Turn { slot, now: Some(now), wanted: Some(wanted) }];
            zone.write(cx, of.key(), &batch, &attempted).await?;
            batch
        };
        let kept = done(of.served_key()).and_then(|effect| effect.observed.clone());
        if let Some(served) = kept.and_then(|kept| serde_json::from_value(kept).ok()) {
            return Ok((batch, Some(served)));
        }
        let proved = zone.prove(cx, (&batch, Who::Authorities), self.within, &attempted).await?;
        let old =
            batch.iter().filter_map(|turn| turn.now.as_ref()?.ttl()).max().unwrap_or_default();
        // A server that was late may have handed out another version with a longer TTL.
        let seen = proved.iter().map(|proved| proved.worst.as_secs()).max().unwrap_or_default();
        let served = Served {
            served_at: proved.iter().map(|proved| proved.at).max().unwrap_or(read.clock().now()),
            old_ttl_seconds: u64::from(old).max(seen),
        };
        keep(cx, of.served_key(), zone.keeper.target(&batch), served).await?;
        Ok((batch, Some(served)))
    }

    /// Waits until the old TTL has run out everywhere, and proves it: whoever hands out an old answer meanwhile has its TTL
    /// outwaited, too.
    async fn outwait(
        &self,
        cx: &mut PerformCx<'_>,
        zone: &Zone,
        batch: &[Turn],
        expires: Timestamp,
    ) -> Result<(Timestamp, Vec<Evidence>), StepError> {
        let attempted = format!("let the old TTLs in zone {} run out", self.zone);
        let mut expires = expires;
        loop {
            let left = since(cx.clock().both().earliest(), expires);
            if !left.is_zero() {
                let (left, ttl) = (left.as_secs(), self.ttl);
                cx.progress
                    .say(format!("caches may hold an old TTL for {left} s more; then {ttl} s"));
            }
            cx.read.sleep(left, cx.busy).await?;
            let proved = zone.prove(cx, (batch, Who::Everybody), self.within, &attempted).await?;
            match proved.iter().max_by_key(|proved| advance(proved.at, proved.worst)) {
                Some(late) if !late.worst.is_zero() => expires = advance(late.at, late.worst),
                _ => {
                    let told = proved.into_iter().flat_map(|proved| proved.evidence).collect();
                    return Ok((expires, told));
                }
            }
        }
    }
}

/// Keeps since when the new TTL is served, in the journal.
async fn keep(
    cx: &mut PerformCx<'_>,
    key: String,
    target: String,
    served: Served,
) -> Result<(), StepError> {
    let classes = (Repeat::Repeatable, Undo::LeavesInPlace);
    let intent = Intent::new(key, target, "baseline", classes, Value::Null, json!(served));
    let Granted::Permit(permit) = cx.effects.intend(intent).await? else { return Ok(()) };
    cx.effects.done(permit, json!(served)).await
}

/// Nothing is waited out: whoever lowered it may have done so a minute ago, and an answer with a longer TTL may live on.
fn low_enough(slot: &Slot, now: &Set) -> Evidence {
    Evidence {
        check: slot.to_string(),
        verdict: "not compared".to_owned(),
        detail: format!(
            "low enough before the step, since when is not known: {}",
            Set::shown(Some(now))
        ),
        holds: false,
    }
}

#[async_trait]
impl Step for With {
    async fn preview(&self, cx: &StepCx) -> Result<Preview, StepError> {
        let zone = &self.zone(cx).await?;
        let changes = try_join_all(self.records.iter().map(|of| async move {
            let (now, after) = self.lowered(cx, cx.wait(), zone, of).await?;
            Ok::<_, StepError>(after.map(|after| Change {
                target: self.slot(of).to_string(),
                verb: "replace".to_owned(),
                before: Some(Set::shown(Some(&now))),
                after: Some(Set::shown(Some(&after))),
            }))
        }))
        .await?;
        Ok(Preview { changes: changes.into_iter().flatten().collect(), readings: Vec::new() })
    }

    async fn perform(&self, cx: &mut PerformCx<'_>) -> Result<Outcome, StepError> {
        let zone = self.zone(cx.read).await?;
        let (mut evidence, mut batch, mut expires) = (Vec::new(), Vec::new(), None);
        for of in &self.records {
            let (turns, served) = self.lower(cx, &zone, of, &mut evidence).await?;
            batch.extend(turns);
            expires = expires.max(served.map(Served::expires));
        }
        let (at, told) = self.outwait(cx, &zone, &batch, expires.unwrap_or(Timestamp::MIN)).await?;
        evidence.extend(told);
        let expired_at = expires.map(|_| at);
        let outputs = Outputs::from([("expired_at".to_owned(), json!(expired_at))]);
        Ok(Outcome { outputs, evidence })
    }

    async fn probe(&self, cx: &StepCx, effect: &RecordedEffect) -> Verdict {
        let zone = match self.zone(cx).await {
            Ok(zone) => zone,
            Err(error) => return Verdict::Unknown { evidence: error.to_string() },
        };
        if effect.intent.verb == "baseline" {
            // Nothing outside depends on it: it is read anew.
            return Verdict::NotDone;
        }
        zone.probe(cx, effect).await
    }

    async fn undo(&self, cx: &mut PerformCx<'_>, effect: &RecordedEffect) -> Result<(), StepError> {
        let read = cx.read;
        let zone = self.zone(read).await?;
        let attempted = format!("restore the TTL of {}", effect.intent.target);
        let mut batch = zone.batch(effect, &attempted)?;
        for turn in &mut batch {
            let slots = [turn.slot.clone()];
            let now = zone.read(read, cx.wait(), &slots, &attempted).await?.pop().flatten();
            let (left, old) = (turn.wanted.take(), turn.now.take().and_then(|set| set.ttl()));
            let (Some(set), Some(old)) = (&now, old) else {
                return Err(zone::foreign(&attempted, left.as_ref(), now.as_ref()));
            };
            if set.ttl() != Some(old) && set.ttl() != left.as_ref().and_then(Set::ttl) {
                return Err(zone::foreign(&attempted, left.as_ref(), now.as_ref()));
            }
            // The values may have moved since, by a cutover that stays; only the TTL is ours.
            turn.wanted = Some(set.clone().with_ttl(old));
            turn.now = now;
        }
        if !batch.iter().all(Turn::is_made) {
            let key = format!("undo:{}", effect.intent.key);
            zone.write(cx, key, &batch, &attempted).await?;
        }
        zone.prove(cx, (&batch, Who::Authorities), self.within, &attempted).await.map(drop)
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::SandboxBench;
    use super::*;

    #[tokio::test]
    async fn the_old_ttl_is_outwaited_and_restored_even_under_new_values() {
        let sandbox = SandboxBench::start().await;
        let place = json!({ "zone": "contoso.example", "resource_group": "rg-dns" });
        let mut with = place.clone();
        with["records"] = json!([{ "record": "crm", "type": "CNAME" }]);
        with["ttl"] = json!(60);
        let mut lower = sandbox.step("dns.ttl", &with);
        let started = sandbox.world.clock.now();
        lower.perform().await.expect("lowered");
        assert!(since(started, sandbox.world.clock.now()) >= Duration::from_hours(1));
        lower.next_attempt();
        let again = sandbox.world.clock.now();
        lower.perform().await.expect("nothing left to wait for");
        assert!(since(again, sandbox.world.clock.now()) < Duration::from_mins(1));
        let mut effects = lower.effects.recorded();
        effects.retain(|effect| effect.intent.verb != "baseline");
        assert_eq!(effects.len(), 1);
        assert!(matches!(lower.step().probe(&lower.cx, &effects[0]).await, Verdict::Done { .. }));

        let mut with = place;
        with["record"] = json!("crm");
        with["type"] = json!("CNAME");
        with["value"] = json!("crm-target.contoso.example");
        let switch = sandbox.step("dns.cutover", &with);
        switch.perform().await.expect("moved");

        lower.undo(&effects[0]).await.expect("restored");
        let set = sandbox.record_set("crm", crate::azure::RecordType::Cname).await;
        let set = set.expect("it is there");
        assert_eq!(
            (set.ttl(), set.values()),
            (Some(3600), vec!["crm-target.contoso.example".to_owned()])
        );
    }
}
