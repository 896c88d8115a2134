//! `dns.ttl`: lowers TTLs ahead of a cutover and waits until no cache can hold an answer with the old one.
//!
//! The old TTL counts from the moment the change was journalled, so a killed wait goes on with what is left of it.

use std::time::Duration;

use async_trait::async_trait;
use futures::future::try_join_all;
use jiff::Timestamp;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::zone::{self, Place, Zone};
use super::{
    Change, Evidence, FailureClass, Kind, Outcome, Outputs, PerformCx, Preview, Step, StepCx,
    StepError,
};
use crate::clock::{advance, since};
use crate::dns::azure::slot;
use crate::dns::update::Slot;
use crate::dns::{RecordType, Set, Turn};
use crate::plan::{Class, KindSpec, Role, Span};
use crate::run::{RecordedEffect, Repeat, Undo, Verdict};

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
    /// The record sets whose TTL is lowered.
    pub records: Vec<RecordName>,
    /// The new TTL in seconds. A record set that has no more is left alone.
    pub ttl: u32,
    /// How long the authoritative servers may take to serve it.
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
new TTL, and then waits until the *old* TTL has run out since the change. From then on no honest cache holds an answer for \
longer than the new TTL, and a cutover is seen as fast as that. Values and metadata stay.\n\n\
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

/// What is recorded as observed: the record set, and when the old TTL began to run out.
#[derive(Debug, Serialize, Deserialize)]
struct Lowered {
    changed_at: Timestamp,
    set: Value,
}

impl RecordName {
    fn key(&self) -> String {
        format!("ttl:{}/{}", self.kind, self.record)
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
        let With { zone, system, resource_group, .. } = self;
        let (system, resource_group) = (system.as_deref(), resource_group.as_deref());
        Place { zone, system, resource_group }.open(cx, &attempted).await
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

    /// Lowers one TTL, proves it at every server, and says until when the old one may live in caches.
    async fn lower(
        &self,
        cx: &mut PerformCx<'_>,
        zone: &Zone,
        of: &RecordName,
        evidence: &mut Vec<Evidence>,
    ) -> Result<Timestamp, StepError> {
        let (read, attempted, slot) = (cx.read, self.attempted(of), self.slot(of));
        let earlier = read.recorded.iter().find(|it| it.done && it.intent.key == of.key());
        let (batch, changed_at) = if let Some(effect) = earlier {
            let observed = effect.observed.clone().unwrap_or_default();
            let changed_at = serde_json::from_value(observed).map(|it: Lowered| it.changed_at);
            let changed_at = changed_at.unwrap_or_else(|_| read.clock().now());
            (zone.batch(effect, &attempted)?, changed_at)
        } else {
            let (now, wanted) = self.lowered(read, cx.wait(), zone, of).await?;
            let Some(wanted) = wanted else {
                evidence.push(low_enough(&slot, &now));
                return Ok(Timestamp::MIN);
            };
            let batch = vec![Turn { slot, now: Some(now), wanted: Some(wanted) }];
            let clock = read.clock();
            let mut changed_at = clock.now();
            let observed = |set| {
                changed_at = clock.now();
                json!({ "changed_at": changed_at, "set": set })
            };
            zone.write(cx, of.key(), &batch, &attempted, observed).await?;
            (batch, changed_at)
        };
        let mut expires = changed_at;
        for (turn, settled) in batch.iter().zip(zone.prove(cx, &batch, self.within, &attempted).await?) {
            evidence.extend(zone::evidence(&turn.slot, &settled.truth, "equal"));
            // A server that was late went on handing out the old TTL until just now.
            let from = if settled.rounds > 1 { read.clock().now() } else { changed_at };
            let old = turn.now.as_ref().and_then(Set::ttl).unwrap_or_default();
            expires = expires.max(advance(from, Duration::from_secs(old.into())));
        }
        Ok(expires)
    }
}

fn low_enough(slot: &Slot, now: &Set) -> Evidence {
    Evidence {
        check: slot.to_string(),
        verdict: "equal".to_owned(),
        detail: format!("low enough before the step: {}", Set::shown(Some(now))),
        holds: true,
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
        let mut evidence = Vec::new();
        let mut expires = Timestamp::MIN;
        for of in &self.records {
            expires = expires.max(self.lower(cx, &zone, of, &mut evidence).await?);
        }
        let left = since(cx.clock().both().earliest(), expires);
        if !left.is_zero() {
            let (left, ttl) = (left.as_secs(), self.ttl);
            cx.progress.say(format!("caches may hold an old TTL for {left} s more; then {ttl} s"));
        }
        cx.read.sleep(left, cx.busy).await?;
        let expired_at = (expires > Timestamp::MIN).then_some(expires);
        let outputs = Outputs::from([("expired_at".to_owned(), json!(expired_at))]);
        Ok(Outcome { outputs, evidence })
    }

    async fn probe(&self, cx: &StepCx, effect: &RecordedEffect) -> Verdict {
        let zone = match self.zone(cx).await {
            Ok(zone) => zone,
            Err(error) => return Verdict::Unknown { evidence: error.to_string() },
        };
        match zone.probe(cx, effect).await {
            // When it happened is lost; now is late enough for any cache.
            Verdict::Done { observed } => Verdict::Done {
                observed: json!({ "changed_at": cx.clock().now(), "set": observed }),
            },
            other => other,
        }
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
            zone.write(cx, key, &batch, &attempted, |set| set).await?;
        }
        zone.prove(cx, &batch, self.within, &attempted).await.map(drop)
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
        let effects = lower.effects.recorded();
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
        assert_eq!((set.ttl(), set.values()), (Some(3600), vec!["crm-target.contoso.example".to_owned()]));
    }
}
