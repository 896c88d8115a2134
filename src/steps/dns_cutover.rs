//! `dns.cutover`: moves names by conditional writes, and is done when every authoritative server answers the new values.
//!
//! Promises: nothing is written before the way back is proved (everything captured, the fallback answering, the rights
//! there); records changed by another hand are never overwritten; nothing is deleted to be created again.

mod gates;

use async_trait::async_trait;
use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::{Value, json};

use super::zone::{self, Place, Proved, UNTOUCHED, Who, Zone};
use super::{
    Change, Evidence, Kind, Outcome, Outputs, PerformCx, Preview, Step, StepCx, StepError, fallback,
};
use crate::dns::azure::slot;
use crate::dns::update::Slot;
use crate::dns::{Content, RecordType, Set, Turn};
use crate::plan::{Class, KindSpec, Role, ServerAddress, Span};
use crate::run::{RecordedEffect, Repeat, Undo, Verdict};

/// Parameters of `dns.cutover`: one record by `record`, `type` and `value`, or several by `records`.
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
    /// The record's name relative to the zone; `@` is the zone itself.
    #[serde(default)]
    pub record: Option<String>,
    /// Type of the record.
    #[serde(default, rename = "type")]
    pub kind: Option<RecordType>,
    /// The new value, or a list of them. Replaces all that are there.
    #[serde(default)]
    pub value: Option<OneOrMany>,
    /// Instead of `value`, for A, AAAA and CNAME of a public Azure DNS zone: the id of the Azure resource whose records it
    /// shall have, as a public IP address or a Traffic Manager profile. The zone's own name can have one, too.
    #[serde(default)]
    pub alias: Option<String>,
    /// Seconds; what is there stays when not given, 300 for a new record.
    #[serde(default)]
    pub ttl: Option<u32>,
    /// What must be there before the switch, `[]` for nothing; of an alias the resource's id. Anything else is drift: nothing is written, exit 11.
    #[serde(default)]
    pub expect: Option<OneOrMany>,
    /// Types that go from the name in the same update, as a CNAME that becomes an A. Not at Azure DNS, which has no
    /// transactions.
    #[serde(default)]
    pub replaces: Vec<RecordType>,
    /// Several records, moved and taken back together.
    #[serde(default)]
    pub records: Vec<RecordWith>,
    /// URL or `host:port` of the source, which must still answer at the moment of the switch.
    #[serde(default)]
    pub fallback: Option<String>,
    /// Recursive resolvers that must answer the new values, too: `10.0.0.53`. A cache keeps an old answer for what is left
    /// of its TTL.
    #[serde(default)]
    pub resolvers: Vec<ServerAddress>,
    /// How long the servers may take.
    #[serde(default = "five_minutes")]
    pub within: Span,
}

/// One of several records.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RecordWith {
    /// The record's name relative to the zone; `@` is the zone itself.
    pub record: String,
    /// Type of the record.
    #[serde(rename = "type")]
    pub kind: RecordType,
    /// The new value, or a list of them. Replaces all that are there.
    #[serde(default)]
    pub value: Option<OneOrMany>,
    /// Instead of `value`: the id of the Azure resource whose records it shall have.
    #[serde(default)]
    pub alias: Option<String>,
    /// Seconds; what is there stays when not given, 300 for a new record.
    #[serde(default)]
    pub ttl: Option<u32>,
    /// What must be there before the switch, `[]` for nothing.
    #[serde(default)]
    pub expect: Option<OneOrMany>,
    /// Types that go from the name in the same update. Not at Azure DNS.
    #[serde(default)]
    pub replaces: Vec<RecordType>,
}

const fn five_minutes() -> Span {
    Span::minutes(5)
}

/// Seconds, for a record that was not there.
const TTL: u32 = 300;

const DOCS: &str = "\
Changes record sets of a zone by conditional writes, then asks every authoritative server of the zone, at every address, \
over UDP and TCP, until each serves exactly the new values and TTLs, and every resolver under `resolvers` until it does for \
no longer than that. A server that is stale, lame, silent or of two minds is named, and nothing is called done before it is. \
What is not named stays.

The zone is kept by Azure DNS (`If-Match`, or `If-None-Match: *` where nothing is; metadata stays), or by a primary name \
server that takes signed updates, named by `system`:

```yaml
secrets: { tsig_key: { file: tsig.key } }                      # base64, as tsig-keygen writes it
systems: { names: { rfc2136: 10.0.0.53, key_name: migrate, secret: tsig_key } }
```

There the values that were read are the update's prerequisites (TTLs can not be: the protocol compares values only), and \
all records of the step change in one message, or none. `replaces: [CNAME]` with `type: A` lets an alias become an address \
in that message. Azure DNS has no transactions: several `records` are written one after the other, each under its own \
intent, and taken back in reverse; a type can not change there without a hole, so it is refused. `private: true` names a \
private zone, which nobody can ask from outside its networks: it is read back from Azure DNS, and asked at `resolvers`.

Before the first write the way back is proved: everything is captured, `fallback` must answer, and a primary must grant a \
signed update that by its prerequisites changes nothing.

`expect` is how drift is noticed: write down what the plan was made against. If anything else is there at the switch, or \
if somebody writes between our reading and our write, nothing is overwritten and the run stops with exit 11 and both values.

Taken back: what was captured is restored with its TTL and metadata; a record set that was not there is deleted; both \
only if nobody else changed it since, and both proved at every server.

Outputs: `name` (of the first record), `previous`, `values`.";

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
        summary: "Change record sets and prove the answer at every authoritative server",
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
        fallback::check(with.fallback.as_deref())?;
        Ok(Box::new(Cutover::of(with)?))
    },
};

fn describe(with: &Value) -> Vec<String> {
    let zone = with["zone"].as_str().unwrap_or("?");
    let line = |record: &Value| {
        let text = |key: &str| record[key].as_str().unwrap_or("?").to_owned();
        let value = match &record["value"] {
            Value::Array(many) => {
                many.iter().filter_map(Value::as_str).collect::<Vec<_>>().join(", ")
            }
            one => one.as_str().or(record["alias"].as_str()).unwrap_or("?").to_owned(),
        };
        format!("{} {}.{zone} -> {value}", text("type"), text("record"))
    };
    let records = match with["records"].as_array().filter(|records| !records.is_empty()) {
        Some(records) => records.iter().collect(),
        None => vec![with],
    };
    let mut lines: Vec<String> = records.iter().map(|record| line(record)).collect();
    if records.iter().any(|record| record["expect"].is_null()) {
        lines.push(
            "no `expect`: a change by another hand before the switch is not noticed".to_owned(),
        );
    }
    if with["fallback"].is_null() {
        lines.push("no `fallback`: nothing shows that the source still answers".to_owned());
    }
    lines
}

/// The step, its records read.
#[derive(Debug)]
struct Cutover {
    with: With,
    moves: Vec<Move>,
}

/// One record on its way.
#[derive(Debug)]
struct Move {
    slot: Slot,
    content: Content,
    ttl: Option<u32>,
    expect: Option<Vec<String>>,
    /// What goes from the name at the same time.
    replaced: Vec<Slot>,
}

impl Cutover {
    fn of(with: With) -> Result<Self, String> {
        let single = with.value.is_some() || with.alias.is_some();
        let written = match (&with.record, with.kind) {
            (None, None) if !single && !with.records.is_empty() => with.records.clone(),
            (Some(record), Some(kind)) if with.records.is_empty() => {
                vec![RecordWith {
                    record: record.clone(),
                    kind,
                    value: with.value.clone(),
                    alias: with.alias.clone(),
                    ttl: with.ttl,
                    expect: with.expect.clone(),
                    replaces: with.replaces.clone(),
                }]
            }
            _ => {
                let what =
                    "one record needs `record`, `type` and `value`; several stand in `records`";
                return Err(what.to_owned());
            }
        };
        if !with.records.is_empty()
            && (with.ttl.is_some() || with.expect.is_some() || !with.replaces.is_empty())
        {
            return Err("with `records`, `ttl`, `expect` and `replaces` stand there".to_owned());
        }
        let moves: Vec<Move> =
            written.iter().map(|record| Move::of(&with.zone, record)).collect::<Result<_, _>>()?;
        if with.system.is_none() && moves.iter().any(|it| !it.replaced.is_empty()) {
            return Err(format!("`replaces` needs a `system`: {}", gates::NO_TRANSACTIONS));
        }
        let aliases = moves.iter().any(|it| matches!(it.content, Content::Alias(_)));
        if aliases && (with.system.is_some() || with.private) {
            return Err("only a public zone of Azure DNS has aliases".to_owned());
        }
        if with.system.is_some() && with.private {
            return Err("`private` is a zone of Azure DNS, and `system` is not".to_owned());
        }
        let mut named = std::collections::BTreeSet::new();
        let twice = moves.iter().find(|it| !named.insert(&it.slot));
        if let Some(twice) = twice {
            return Err(format!("{} stands twice", twice.slot));
        }
        Ok(Self { with, moves })
    }

    fn attempted(&self) -> String {
        let zone = &self.with.zone;
        match self.moves.as_slice() {
            [one] => {
                let record =
                    self.with.record.as_ref().or(self.with.records.first().map(|it| &it.record));
                let record = record.map_or("?", String::as_str);
                format!("point {} {record} in zone {zone} to {}", one.slot.kind, one.content)
            }
            many => format!("move {} records in zone {zone}", many.len()),
        }
    }

    async fn zone(&self, cx: &StepCx, attempted: &str) -> Result<Zone, StepError> {
        let With { zone, system, resource_group, private, resolvers, .. } = &self.with;
        let (system, resource_group) = (system.as_deref(), resource_group.as_deref());
        let private = *private;
        Place { zone, system, resource_group, private, resolvers }.open(cx, attempted).await
    }

    fn outcome(&self, turns: &[Turn], proved: Vec<Proved>, gates: Vec<Evidence>) -> Outcome {
        let first = self.moves.first().map(|it| it.slot.name.to_string());
        let previous: Vec<String> =
            turns.iter().filter_map(|turn| turn.now.as_ref()).flat_map(Set::written).collect();
        let values: Vec<&String> = self.moves.iter().flat_map(Move::values).collect();
        let outputs = Outputs::from([
            ("name".to_owned(), json!(first)),
            ("previous".to_owned(), json!(previous)),
            ("values".to_owned(), json!(values)),
        ]);
        let mut evidence = gates;
        evidence.extend(proved.into_iter().flat_map(|proved| proved.evidence));
        Outcome { outputs, evidence }
    }
}

impl Move {
    fn of(zone: &str, record: &RecordWith) -> Result<Self, String> {
        let kind = record.kind;
        let content = match (&record.value, &record.alias) {
            (Some(value), None) => Content::Values(value.list()),
            (None, Some(id)) if id.starts_with('/') => Content::Alias(id.clone()),
            (None, Some(id)) => return Err(format!("`alias: {id}` is no id of an Azure resource")),
            _ => return Err("a record needs either `value` or `alias`".to_owned()),
        };
        match &content {
            Content::Values(values) if values.is_empty() => {
                return Err("`value` needs at least one value; a cutover never deletes".to_owned());
            }
            Content::Values(values) if kind == RecordType::Cname && values.len() > 1 => {
                return Err("a CNAME has one value".to_owned());
            }
            Content::Values(values) => {
                values.iter().try_for_each(|text| kind.parse(text).map(drop))?;
            }
            Content::Alias(_) => {
                use RecordType::{A, Aaaa, Cname};
                if !matches!(kind, A | Aaaa | Cname) {
                    return Err(format!("a {kind} can not be an alias of a resource"));
                }
            }
        }
        let slot = slot(zone, &record.record, kind)?;
        let replaced = record.replaces.iter().filter(|other| **other != kind);
        let replaced = replaced.map(|&kind| Slot { kind, ..slot.clone() }).collect();
        let expect = record.expect.as_ref().map(OneOrMany::list);
        Ok(Self { slot, content, ttl: record.ttl, expect, replaced })
    }

    /// What it shall hold, as the author wrote it.
    fn values(&self) -> &[String] {
        match &self.content {
            Content::Values(values) => values,
            Content::Alias(id) => std::slice::from_ref(id),
        }
    }

    /// Everything it changes: the new record set, and what goes.
    fn slots(&self) -> Vec<Slot> {
        std::iter::once(&self.slot).chain(&self.replaced).cloned().collect()
    }

    /// What is to be done, given what is there now.
    fn turns(
        &self,
        zone: &Zone,
        now: Vec<Option<Set>>,
        attempted: &str,
    ) -> Result<Vec<Turn>, StepError> {
        let wanted = match now.first().cloned().flatten() {
            Some(set) => set.with(self.slot.kind, &self.content).map(|set| match self.ttl {
                Some(ttl) => set.with_ttl(ttl),
                None => set,
            }),
            None => zone.keeper.fresh(&self.slot, self.ttl.unwrap_or(TTL), &self.content),
        };
        let wanted = wanted.map_err(|error| error.into_step_error(attempted, UNTOUCHED))?;
        let wanted = std::iter::once(Some(wanted)).chain(std::iter::repeat(None));
        let turns = self.slots().into_iter().zip(now).zip(wanted);
        Ok(turns.map(|((slot, now), wanted)| Turn { slot, now, wanted }).collect())
    }
}

#[async_trait]
impl Step for Cutover {
    async fn preview(&self, cx: &StepCx) -> Result<Preview, StepError> {
        let attempted = self.attempted();
        let zone = self.zone(cx, &attempted).await?;
        let moves: Vec<&Move> = self.moves.iter().collect();
        let turns = self.turns(cx, cx.wait(), &zone, &moves, &attempted).await?;
        let mut readings = vec![self.gates(cx, cx.wait(), &zone, &turns, &attempted).await?];
        let slots = self.moves.iter().map(|it| &it.slot);
        readings.extend(zone.readings(cx, slots, &attempted).await?);
        let change = |turn: &Turn| Change {
            target: turn.slot.to_string(),
            verb: zone::verb(std::slice::from_ref(turn)).to_owned(),
            before: turn.now.is_some().then(|| Set::shown(turn.now.as_ref())),
            after: turn.wanted.is_some().then(|| Set::shown(turn.wanted.as_ref())),
        };
        let changes = turns.iter().filter(|turn| !turn.is_made()).map(change).collect();
        Ok(Preview { changes, readings })
    }

    async fn perform(&self, cx: &mut PerformCx<'_>) -> Result<Outcome, StepError> {
        let read = cx.read;
        let attempted = self.attempted();
        let zone = self.zone(read, &attempted).await?;
        // What an earlier attempt has switched is only to be proved.
        let mut turns = Vec::new();
        for effect in read.recorded.iter().filter(|effect| effect.done) {
            turns.extend(zone.batch(effect, &attempted)?);
        }
        let made = |it: &&Move| turns.iter().any(|turn| turn.slot == it.slot);
        let (_, open): (Vec<&Move>, Vec<&Move>) = self.moves.iter().partition(made);
        let mut gates = Vec::new();
        if !open.is_empty() {
            let wanted = self.turns(read, cx.wait(), &zone, &open, &attempted).await?;
            gates.push(self.gates(read, cx.wait(), &zone, &wanted, &attempted).await?);
            gates.extend(Self::rights(read, cx.wait(), &zone, &wanted, &attempted).await?);
            for batch in zone.keeper.batches(wanted) {
                if !batch.iter().all(Turn::is_made) {
                    let key = zone.keeper.key(&batch);
                    zone.write(cx, key, &batch, &attempted).await?;
                }
                turns.extend(batch);
            }
        }
        let proved = zone.prove(cx, (&turns, Who::Everybody), self.with.within, &attempted).await?;
        Ok(self.outcome(&turns, proved, gates))
    }

    async fn probe(&self, cx: &StepCx, effect: &RecordedEffect) -> Verdict {
        match self.zone(cx, &self.attempted()).await {
            Ok(zone) => zone.probe(cx, effect).await,
            Err(error) => Verdict::Unknown { evidence: error.to_string() },
        }
    }

    async fn undo(&self, cx: &mut PerformCx<'_>, effect: &RecordedEffect) -> Result<(), StepError> {
        let read = cx.read;
        let attempted = format!("restore {}", effect.intent.target);
        let zone = self.zone(read, &attempted).await?;
        let recorded = zone.batch(effect, &attempted)?;
        let slots: Vec<Slot> = recorded.iter().map(|turn| turn.slot.clone()).collect();
        let now = zone.read(read, cx.wait(), &slots, &attempted).await?;
        let back: Vec<Turn> = recorded
            .iter()
            .zip(now)
            .map(|(turn, now)| Turn { slot: turn.slot.clone(), now, wanted: turn.now.clone() })
            .collect();
        if !back.iter().all(Turn::is_made) {
            for (turn, left) in back.iter().zip(&recorded) {
                if !Set::same(turn.now.as_ref(), left.wanted.as_ref()) {
                    return Err(zone::foreign(&attempted, left.wanted.as_ref(), turn.now.as_ref()));
                }
            }
            let key = format!("undo:{}", effect.intent.key);
            zone.write(cx, key, &back, &attempted).await?;
        }
        zone.prove(cx, (&back, Who::Everybody), self.with.within, &attempted).await.map(drop)
    }
}

#[cfg(test)]
mod tests;
