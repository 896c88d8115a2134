//! `dns.cutover`: moves a name by one conditional write, and is done when every authoritative server answers the new value.
//!
//! Promises: nothing is written before the way back is proved (the whole record set captured, the fallback answering); a
//! record set changed by another hand is never overwritten; nothing is deleted to be created again.

use std::collections::BTreeSet;

use async_trait::async_trait;
use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::{Value, json};

use super::zone::{Task, UNTOUCHED};
use super::{
    Change, Evidence, FailureClass, Kind, Outcome, Outputs, PerformCx, Preview, Step, StepCx,
    StepError,
};
use crate::azure::{Azure, RecordSet, Wait};
use crate::dns::azure::{Record, recorded, same, service_type, shown, values};
use crate::dns::{Endpoint, Health, HostPort, RecordType, Settled};
use crate::plan::{Class, KindSpec, Role, Span};
use crate::run::{Intent, RecordedEffect, Repeat, Undo, Verdict};

/// Parameters of `dns.cutover`.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct With {
    /// The public Azure DNS zone: `contoso.example`.
    pub zone: String,
    /// Resource group of the zone; the runbook's default one when not given.
    #[serde(default)]
    pub resource_group: Option<String>,
    /// The record's name relative to the zone; `@` is the zone itself.
    pub record: String,
    /// Type of the record. It stays the same: a CNAME can not become an A.
    #[serde(rename = "type")]
    pub kind: RecordType,
    /// The new value, or a list of them. Replaces all that are there.
    pub value: OneOrMany,
    /// Seconds; what is there stays when not given, 300 for a new record.
    #[serde(default)]
    pub ttl: Option<u32>,
    /// What must be there before the switch, `[]` for nothing. Anything else is drift: nothing is written, exit 11.
    #[serde(default)]
    pub expect: Option<OneOrMany>,
    /// URL or `host:port` of the source, which must still answer at the moment of the switch.
    #[serde(default)]
    pub fallback: Option<String>,
    /// How long the authoritative servers may take.
    #[serde(default = "five_minutes")]
    pub within: Span,
}

const fn five_minutes() -> Span {
    Span::minutes(5)
}

/// Seconds, for a record that was not there.
const TTL: u32 = 300;

const DOCS: &str = "\
Changes one record set of a public Azure DNS zone by a single conditional write (`If-Match`, or `If-None-Match: *` where \
nothing is), then asks every authoritative server of the zone until each serves exactly the new value and TTL. Metadata stays.

Before the write the way back is proved: the whole record set is captured, and `fallback` must answer.

`expect` is how drift is noticed: write down what the plan was made against. If anything else is there at the switch, or \
if somebody writes between our reading and our write, nothing is overwritten and the run stops with exit 11 and both values.

Taken back: the captured record set is restored with TTL and metadata; a record set that was not there is deleted; both \
only if nobody else changed it since, and both proved at every server.

Outputs: `name`, `previous`, `values`.";

/// A value or a list of values.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(untagged)]
pub enum OneOrMany {
    /// One value.
    One(String),
    /// Several values.
    Many(Vec<String>),
}

impl OneOrMany {
    fn list(&self) -> Vec<String> {
        match self {
            Self::One(one) => vec![one.clone()],
            Self::Many(many) => many.clone(),
        }
    }
}

/// The kind.
pub const KIND: Kind = Kind {
    spec: KindSpec {
        name: "dns.cutover",
        summary: "Change a record set and prove the answer at every authoritative server",
        docs: DOCS,
        example: include_str!("../../examples/steps/dns.cutover.yaml"),
        class: Class::Action,
        repeat: Repeat::Guarded,
        undo: Undo::Restores,
        roles: &[Role::SwitchesTraffic],
        outputs: &["name", "previous", "values"],
        open_outputs: false,
        schema: || schemars::schema_for!(With),
        check: super::check::<With>,
        describe,
    },
    build: |with| {
        let with = super::read::<With>(with)?;
        for value in with.value.list().iter().chain(&with.expected().unwrap_or_default()) {
            with.kind.parse(value)?;
        }
        if with.value.list().is_empty() {
            return Err("`value` needs at least one value; a cutover never deletes".to_owned());
        }
        Ok(Box::new(with))
    },
};

fn describe(with: &Value) -> Vec<String> {
    let text = |key: &str| with[key].as_str().unwrap_or("?").to_owned();
    let value = match &with["value"] {
        Value::Array(many) => {
            many.iter().filter_map(Value::as_str).collect::<Vec<_>>().join(", ")
        }
        one => one.as_str().unwrap_or("?").to_owned(),
    };
    let mut lines =
        vec![format!("{} {}.{} -> {value}", text("type"), text("record"), text("zone"))];
    if with["expect"].is_null() {
        lines.push("no `expect`: a change by another hand before the switch is not noticed".to_owned());
    }
    if with["fallback"].is_null() {
        lines.push("no `fallback`: nothing shows that the source still answers".to_owned());
    }
    lines
}

impl With {
    fn expected(&self) -> Option<Vec<String>> {
        self.expect.as_ref().map(OneOrMany::list)
    }

    fn record(&self, azure: &Azure) -> Result<Record, StepError> {
        let group = self.resource_group.as_deref();
        Record::new(azure, group, &self.zone, &self.record, self.kind)
            .map_err(|error| error.into_step_error(self.attempted(), UNTOUCHED))
    }

    fn attempted(&self) -> String {
        let (kind, record, zone) = (self.kind, &self.record, &self.zone);
        format!("point {kind} {record} in zone {zone} to {}", self.value.list().join(", "))
    }

    /// What the record set shall be: values and TTL change, metadata stays.
    fn wanted(&self, now: Option<&RecordSet>) -> Result<RecordSet, StepError> {
        let list = self.value.list();
        let kind = service_type(self.kind);
        let set = match now {
            Some(now) => now.clone().with_values(&list).map(|set| match self.ttl {
                Some(ttl) => set.with_ttl(ttl),
                None => set,
            }),
            None => RecordSet::new(&self.record, kind, self.ttl.unwrap_or(TTL), &list),
        };
        let mut set = set.map_err(|error| error.into_step_error(self.attempted(), UNTOUCHED))?;
        set.etag = None;
        Ok(set)
    }

    /// Drift: what is there is not what the author expected.
    fn as_expected(&self, now: Option<&RecordSet>) -> Result<(), StepError> {
        let Some(expected) = self.expected() else { return Ok(()) };
        let wanted: Result<_, _> = expected.iter().map(|value| self.kind.parse(value)).collect();
        let found = now.map_or_else(|| Ok(BTreeSet::default()), |set| values(set, self.kind));
        if wanted.is_ok() && wanted == found {
            return Ok(());
        }
        let expected =
            if expected.is_empty() { "no record".to_owned() } else { expected.join(", ") };
        Err(StepError::new(
            FailureClass::Drift,
            "MIG0203",
            self.attempted(),
            "the record set was changed by another hand; nothing was overwritten",
        )
        .cause(format!("expected: {expected}"))
        .cause(format!("found: {}", shown(now)))
        .hint("find out who changed it and why; correct the record set or `expect`, then plan again"))
    }

    /// A name has either a CNAME or other records; the service would refuse, and deleting first would leave a hole.
    async fn same_type(&self, azure: &Azure, record: &Record, wait: &mut Wait<'_>) -> Result<(), StepError> {
        use RecordType::{A, Aaaa, Cname, Mx, Txt};
        let others: &[RecordType] =
            if self.kind == Cname { &[A, Aaaa, Txt, Mx] } else { &[Cname] };
        for &kind in others {
            let other = Record { kind, ..record.clone() };
            let found = other.read(azure, wait).await;
            let found = found.map_err(|error| error.into_step_error(self.attempted(), UNTOUCHED))?;
            if let Some(set) = found {
                return Err(StepError::new(
                    FailureClass::Refused,
                    "MIG0205",
                    self.attempted(),
                    format!(
                        "the name has a {kind} record: {}; nothing was changed",
                        shown(Some(&set))
                    ),
                )
                .hint(format!("a change from {kind} to {} would leave the name without an answer meanwhile; keep the type", self.kind)));
            }
        }
        Ok(())
    }

    /// Whether the source still answers. Not given is not compared, and said so.
    async fn fallback(&self, cx: &StepCx) -> Evidence {
        let evidence = |check: String, verdict: &str, detail: String, holds: bool| Evidence {
            check: format!("way back: {check}"),
            verdict: verdict.to_owned(),
            detail,
            holds,
        };
        let Some(fallback) = self.fallback.clone() else {
            let detail = "no `fallback` is given".to_owned();
            return evidence("source".to_owned(), "not compared", detail, false);
        };
        if let Ok(url) = fallback.parse::<url::Url>()
            && url.has_host()
        {
            let endpoint = Endpoint::answering(url);
            let reading = endpoint.read(&cx.world.network).await;
            let good = reading.health == Health::Good;
            return evidence(endpoint.shown(), &reading.health.to_string(), reading.detail, good);
        }
        match HostPort::try_from(fallback.clone()) {
            Ok(HostPort { host, port }) => {
                match cx.world.network.tcp_connect(&host, port).await {
                    Ok(_) => evidence(fallback, "healthy", "accepts connections".to_owned(), true),
                    Err(error) => evidence(fallback, "failing", error.to_string(), false),
                }
            }
            Err(why) => evidence(fallback, "not compared", why, false),
        }
    }

    /// Everything that must hold before the switch. Reads only.
    async fn gates(
        &self,
        cx: &StepCx,
        record: &Record,
        now: Option<&RecordSet>,
        wait: &mut Wait<'_>,
    ) -> Result<Evidence, StepError> {
        self.as_expected(now)?;
        self.same_type(&cx.world.azure, record, wait).await?;
        let fallback = self.fallback(cx).await;
        if self.fallback.is_some() && !fallback.holds {
            return Err(StepError::new(
                FailureClass::Refused,
                "MIG0204",
                self.attempted(),
                format!("the way back is not proved: {} ({}); nothing was changed", fallback.detail, fallback.verdict),
            )
            .hint("make the source answer again, then `migrate resume`")
            .retryable());
        }
        Ok(fallback)
    }

    fn outcome(&self, task: Task<'_>, before: &Value, settled: &Settled, fallback: Option<Evidence>) -> Outcome {
        let previous = recorded(before).ok().flatten().map(|set| set.values());
        let outputs = Outputs::from([
            ("name".to_owned(), json!(task.record.full_name.to_string())),
            ("previous".to_owned(), json!(previous.unwrap_or_default())),
            ("values".to_owned(), json!(self.value.list())),
        ]);
        let mut evidence: Vec<Evidence> = fallback.into_iter().collect();
        evidence.extend(task.evidence(&settled.truth, "equal"));
        Outcome { outputs, evidence }
    }
}

#[async_trait]
impl Step for With {
    async fn preview(&self, cx: &StepCx) -> Result<Preview, StepError> {
        let azure = &cx.world.azure;
        let (record, attempted) = (self.record(azure)?, self.attempted());
        let task = Task { zone: &self.zone, record: &record, attempted: &attempted };
        let mut wait = cx.wait();
        let now = record.read(azure, &mut wait).await.map_err(|error| task.failed(error))?;
        let fallback = self.gates(cx, &record, now.as_ref(), &mut wait).await?;
        let wanted = self.wanted(now.as_ref())?;
        let truth = task.authorities(cx).await?.ask(&record.full_name, self.kind).await;
        let mut readings = vec![fallback];
        readings.extend(task.evidence(&truth, "read"));
        let change = Change {
            target: record.shown(),
            verb: if now.is_some() { "replace" } else { "create" }.to_owned(),
            before: now.is_some().then(|| shown(now.as_ref())),
            after: Some(shown(Some(&wanted))),
        };
        let changes = if same(now.as_ref(), Some(&wanted)) { vec![] } else { vec![change] };
        Ok(Preview { changes, readings })
    }

    async fn perform(&self, cx: &mut PerformCx<'_>) -> Result<Outcome, StepError> {
        let read = cx.read;
        let (record, attempted) = (self.record(&read.world.azure)?, self.attempted());
        let task = Task { zone: &self.zone, record: &record, attempted: &attempted };
        if let Some(effect) = read.recorded.iter().find(|effect| effect.done) {
            // The switch was made in an earlier attempt; what is left is to prove it.
            let wanted = recorded(&effect.intent.after).map_err(|e| task.unreadable(&e))?;
            let settled = task.prove(cx, wanted.as_ref(), self.within).await?;
            return Ok(self.outcome(task, &effect.intent.before, &settled, None));
        }
        let now = task.read(cx).await?;
        let wanted = self.wanted(now.as_ref())?;
        let fallback = self.gates(read, &record, now.as_ref(), &mut cx.wait()).await?;
        if !same(now.as_ref(), Some(&wanted)) {
            let key = format!("record:{}/{}", self.kind, self.record);
            task.write(cx, key, now.as_ref(), Some(&wanted), |state| state).await?;
        }
        let settled = task.prove(cx, Some(&wanted), self.within).await?;
        Ok(self.outcome(task, &json!(now), &settled, Some(fallback)))
    }

    async fn probe(&self, cx: &StepCx, effect: &RecordedEffect) -> Verdict {
        match self.record(&cx.world.azure) {
            Ok(record) => {
                let Intent { before, after, .. } = &effect.intent;
                record.probe(&cx.world.azure, &mut cx.wait(), before, after).await
            }
            Err(error) => Verdict::Unknown { evidence: error.to_string() },
        }
    }

    async fn undo(&self, cx: &mut PerformCx<'_>, effect: &RecordedEffect) -> Result<(), StepError> {
        let record = self.record(&cx.read.world.azure)?;
        let attempted = format!("restore {}", record.shown());
        let task = Task { zone: &self.zone, record: &record, attempted: &attempted };
        let state = |value| recorded(value).map_err(|error| task.unreadable(&error));
        let (restored, left) = (state(&effect.intent.before)?, state(&effect.intent.after)?);
        let now = task.read(cx).await?;
        if !same(now.as_ref(), restored.as_ref()) {
            if !same(now.as_ref(), left.as_ref()) {
                return Err(task.foreign(left.as_ref(), now.as_ref()));
            }
            let key = format!("undo:{}", effect.intent.key);
            task.write(cx, key, now.as_ref(), restored.as_ref(), |state| state).await?;
        }
        task.prove(cx, restored.as_ref(), self.within).await.map(drop)
    }
}

#[cfg(test)]
mod tests;
