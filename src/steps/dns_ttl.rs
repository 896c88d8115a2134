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

use super::zone::{Task, UNTOUCHED};
use super::{
    Change, Evidence, FailureClass, Kind, Outcome, Outputs, PerformCx, Preview, Step, StepCx,
    StepError,
};
use crate::azure::{Azure, RecordSet};
use crate::clock::{advance, since};
use crate::dns::RecordType;
use crate::dns::azure::{Record, recorded, same, shown};
use crate::plan::{Class, KindSpec, Role, Span};
use crate::run::{Intent, RecordedEffect, Repeat, Undo, Verdict};

/// Parameters of `dns.ttl`.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct With {
    /// The public Azure DNS zone: `contoso.example`.
    pub zone: String,
    /// Resource group of the zone; the runbook's default one when not given.
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
Lowers the TTL of record sets by a conditional write each (`If-Match`), asks every authoritative server until each serves the \
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
    build: |with| Ok(Box::new(super::read::<With>(with)?)),
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
    set: Option<RecordSet>,
}

impl RecordName {
    fn key(&self) -> String {
        format!("ttl:{}/{}", self.kind, self.record)
    }
}

impl With {
    fn record(&self, azure: &Azure, of: &RecordName) -> Result<Record, StepError> {
        Record::new(azure, self.resource_group.as_deref(), &self.zone, &of.record, of.kind)
            .map_err(|error| error.into_step_error(self.attempted(of), UNTOUCHED))
    }

    fn attempted(&self, of: &RecordName) -> String {
        format!("set the TTL of {} {} in zone {} to {} s", of.kind, of.record, self.zone, self.ttl)
    }

    /// The record set with the TTL wanted; none when it is low enough already.
    fn lowered(&self, task: Task<'_>, now: Option<RecordSet>) -> Result<Option<RecordSet>, StepError> {
        let refused = |known: &str| {
            StepError::new(FailureClass::Refused, "MIG0207", task.attempted, known.to_owned())
                .hint("correct `records` in the runbook")
        };
        let now = now.ok_or_else(|| refused("there is no such record set; nothing was changed"))?;
        match now.ttl() {
            None => Err(refused("it is an alias, whose TTL Azure takes from its target")),
            Some(ttl) if ttl <= self.ttl => Ok(None),
            Some(_) => Ok(Some(RecordSet { etag: None, ..now.with_ttl(self.ttl) })),
        }
    }

    /// Lowers one TTL, proves it at every server, and says until when the old one may live in caches.
    async fn lower(&self, cx: &mut PerformCx<'_>, of: &RecordName, evidence: &mut Vec<Evidence>) -> Result<Timestamp, StepError> {
        let read = cx.read;
        let (record, attempted) = (self.record(&read.world.azure, of)?, self.attempted(of));
        let task = Task { zone: &self.zone, record: &record, attempted: &attempted };
        let earlier = read.recorded.iter().find(|it| it.done && it.intent.key == of.key());
        let (before, wanted, changed_at) = if let Some(effect) = earlier {
            let state = |value| recorded(value).map_err(|error| task.unreadable(&error));
            let observed = effect.observed.clone().unwrap_or_default();
            let changed_at = serde_json::from_value(observed).map(|it: Lowered| it.changed_at);
            let changed_at = changed_at.unwrap_or_else(|_| read.clock().now());
            (state(&effect.intent.before)?, state(&effect.intent.after)?, changed_at)
        } else {
            let now = task.read(cx).await?;
            let Some(wanted) = self.lowered(task, now.clone())? else {
                evidence.push(low_enough(&record, now.as_ref()));
                return Ok(Timestamp::MIN);
            };
            let clock = read.clock();
            let mut changed_at = clock.now();
            task.write(cx, of.key(), now.as_ref(), Some(&wanted), |set| {
                changed_at = clock.now();
                json!({ "changed_at": changed_at, "set": set })
            })
            .await?;
            (now, Some(wanted), changed_at)
        };
        let settled = task.prove(cx, wanted.as_ref(), self.within).await?;
        evidence.extend(task.evidence(&settled.truth, "equal"));
        // A server that was late went on handing out the old TTL until just now.
        let from = if settled.rounds > 1 { read.clock().now() } else { changed_at };
        let old = before.as_ref().and_then(RecordSet::ttl).unwrap_or_default();
        Ok(advance(from, Duration::from_secs(old.into())))
    }
}

fn low_enough(record: &Record, now: Option<&RecordSet>) -> Evidence {
    Evidence {
        check: record.shown(),
        verdict: "equal".to_owned(),
        detail: format!("low enough before the step: {}", shown(now)),
        holds: true,
    }
}

#[async_trait]
impl Step for With {
    async fn preview(&self, cx: &StepCx) -> Result<Preview, StepError> {
        let azure = &cx.world.azure;
        let changes = try_join_all(self.records.iter().map(|of| async move {
            let (record, attempted) = (self.record(azure, of)?, self.attempted(of));
            let task = Task { zone: &self.zone, record: &record, attempted: &attempted };
            let now = record.read(azure, &mut cx.wait()).await.map_err(|e| task.failed(e))?;
            let after = self.lowered(task, now.clone())?;
            Ok::<_, StepError>(after.map(|after| Change {
                target: record.shown(),
                verb: "replace".to_owned(),
                before: Some(shown(now.as_ref())),
                after: Some(shown(Some(&after))),
            }))
        }))
        .await?;
        Ok(Preview { changes: changes.into_iter().flatten().collect(), readings: Vec::new() })
    }

    async fn perform(&self, cx: &mut PerformCx<'_>) -> Result<Outcome, StepError> {
        let mut evidence = Vec::new();
        let mut expires = Timestamp::MIN;
        for of in &self.records {
            expires = expires.max(self.lower(cx, of, &mut evidence).await?);
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
        let unknown = |evidence: String| Verdict::Unknown { evidence };
        let Some(of) = self.records.iter().find(|of| effect.intent.key.ends_with(&of.key())) else {
            return unknown(format!("no record set of this step has key {}", effect.intent.key));
        };
        let record = match self.record(&cx.world.azure, of) {
            Ok(record) => record,
            Err(error) => return unknown(error.to_string()),
        };
        let Intent { before, after, .. } = &effect.intent;
        match record.probe(&cx.world.azure, &mut cx.wait(), before, after).await {
            // When it happened is lost; now is late enough for any cache.
            Verdict::Done { observed } => Verdict::Done {
                observed: json!({ "changed_at": cx.clock().now(), "set": observed }),
            },
            other => other,
        }
    }

    async fn undo(&self, cx: &mut PerformCx<'_>, effect: &RecordedEffect) -> Result<(), StepError> {
        let Some(of) = self.records.iter().find(|of| of.key() == effect.intent.key) else {
            return Ok(());
        };
        let record = self.record(&cx.read.world.azure, of)?;
        let attempted = format!("restore the TTL of {}", record.shown());
        let task = Task { zone: &self.zone, record: &record, attempted: &attempted };
        let state = |value| recorded(value).map_err(|error| task.unreadable(&error));
        let (before, left) = (state(&effect.intent.before)?, state(&effect.intent.after)?);
        let now = task.read(cx).await?;
        let (Some(set), Some(ttl)) = (&now, before.as_ref().and_then(RecordSet::ttl)) else {
            return Err(task.foreign(left.as_ref(), now.as_ref()));
        };
        // The values may have moved since, by a cutover that stays; only the TTL is ours.
        let restored = RecordSet { etag: None, ..set.clone().with_ttl(ttl) };
        if !same(now.as_ref(), Some(&restored)) {
            if set.ttl() != left.as_ref().and_then(RecordSet::ttl) {
                return Err(task.foreign(left.as_ref(), now.as_ref()));
            }
            let key = format!("undo:{}", effect.intent.key);
            task.write(cx, key, now.as_ref(), Some(&restored), |set| set).await?;
        }
        task.prove(cx, Some(&restored), self.within).await.map(drop)
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
        let azure = &sandbox.world.azure;
        let record =
            Record::new(azure, Some("rg-dns"), "contoso.example", "crm", RecordType::Cname);
        let set = record.expect("an id").read(azure, &mut lower.cx.wait()).await.expect("read");
        let set = set.expect("it is there");
        assert_eq!((set.ttl(), set.values()), (Some(3600), vec!["crm-target.contoso.example".to_owned()]));
    }
}
