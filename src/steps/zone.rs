//! What the DNS kinds do with record sets: find their zone, write them under journalled intents, prove them at every server.
//!
//! Not a kind. A write is conditional on exactly what was read; a lost reply is left to the probe.

use serde_json::Value;

use super::{Evidence, FailureClass, Granted, PerformCx, StepCx, StepError};
use crate::azure::Wait;
use crate::dns::update::{Primary, Slot, TsigKey, UpdateError};
use crate::dns::{
    Authorities, AzureZone, Hands, Keeper, LookupError, Patience, Set, Settled, Truth, Turn,
};
use crate::plan::{NameServer, Span};
use crate::run::{Intent, RecordedEffect, Repeat, Undo, Verdict};

/// What is known of the target when a step fails before its first change.
pub(super) const UNTOUCHED: &str = "nothing was changed";

/// Where a step says its zone is.
#[derive(Debug, Clone, Copy)]
pub(super) struct Place<'a> {
    pub(super) zone: &'a str,
    pub(super) system: Option<&'a str>,
    pub(super) resource_group: Option<&'a str>,
}

/// A zone, who keeps it, and who is asked about it.
#[derive(Debug)]
pub(super) struct Zone {
    name: String,
    pub(super) keeper: Keeper,
    /// Named by the author instead of those the zone's NS records name.
    servers: Option<Authorities>,
}

impl Place<'_> {
    /// Finds the zone. Asks nobody but whoever holds the secret of its key.
    pub(super) async fn open(self, cx: &StepCx, attempted: &str) -> Result<Zone, StepError> {
        let name = self.zone.to_owned();
        let Some(system) = self.system else {
            let id = cx.world.azure.zone_id(self.resource_group, self.zone);
            let id = id.map_err(|error| error.into_step_error(attempted, UNTOUCHED))?;
            let keeper = Keeper::Azure(AzureZone { id, name: name.clone() });
            return Ok(Zone { name, keeper, servers: None });
        };
        let unusable = |why: String| {
            StepError::new(FailureClass::Refused, "MIG0212", attempted, UNTOUCHED)
                .cause(why)
                .hint("correct `systems` or `secrets` in the runbook")
        };
        if cx.world.sandbox.is_some() {
            return Err(unusable(
                "the sandbox has no primary name server that takes updates".to_owned(),
            ));
        }
        let settings = cx.world.plan.systems.get(system);
        let settings =
            settings.ok_or_else(|| unusable(format!("there is no system `{system}`")))?;
        let settings: NameServer = serde::Deserialize::deserialize(settings)
            .map_err(|error| unusable(format!("`{system}` takes no updates: {error}")))?;
        let secret = cx.world.secrets.get(&settings.secret).await.map_err(unusable)?;
        let key =
            TsigKey::new(&settings.key_name, settings.algorithm, &secret).map_err(unusable)?;
        let network = &cx.world.network;
        let unknown = |error: LookupError| {
            StepError::new(FailureClass::Failed, "MIG0209", attempted, UNTOUCHED)
                .because(&error)
                .hint("check the addresses under `systems`")
                .retryable()
        };
        let address = network.name_server(&settings.rfc2136).await.map_err(unknown)?;
        let zone = crate::dns::record::name(self.zone).map_err(|why| unusable(why.to_string()))?;
        let servers = match settings.servers.as_slice() {
            [] => None,
            named => Some(Authorities::named(network, zone.clone(), named).await.map_err(unknown)?),
        };
        Ok(Zone { name, keeper: Keeper::Primary(Primary { address, zone, key }), servers })
    }
}

impl Zone {
    /// The servers of the zone.
    async fn authorities(&self, cx: &StepCx, attempted: &str) -> Result<Authorities, StepError> {
        if let Some(servers) = &self.servers {
            return Ok(servers.clone());
        }
        let network = &cx.world.network;
        let found = match &self.keeper {
            Keeper::Azure(_) => Authorities::find(network, &self.name).await.map_err(Lost::Names),
            Keeper::Primary(primary) => {
                Authorities::of_primary(network, cx.clock(), primary).await.map_err(Lost::Primary)
            }
        };
        found.map_err(|error| {
            let known =
                format!("the authoritative servers of {} could not be found", self.name);
            StepError::new(FailureClass::Failed, "MIG0201", attempted, known)
                .because(&error)
                .hint("check the zone's delegation and this machine's resolver, then `migrate resume`")
                .retryable()
        })
    }

    /// What the servers say now, one line each, for dry runs.
    pub(super) async fn readings(
        &self,
        cx: &StepCx,
        slots: impl Iterator<Item = &Slot>,
        attempted: &str,
    ) -> Result<Vec<Evidence>, StepError> {
        let servers = self.authorities(cx, attempted).await?;
        let mut readings = Vec::new();
        for slot in slots {
            readings.extend(evidence(slot, &servers.ask(&slot.name, slot.kind).await, "read"));
        }
        Ok(readings)
    }

    /// The record sets as their keeper holds them now.
    pub(super) async fn read(
        &self,
        cx: &StepCx,
        wait: Wait<'_>,
        slots: &[Slot],
        attempted: &str,
    ) -> Result<Vec<Option<Set>>, StepError> {
        let mut hands = hands(cx, wait);
        let read = self.keeper.read(&mut hands, slots).await;
        read.map_err(|error| error.into_step_error(attempted, UNTOUCHED))
    }

    /// Writes a batch under one intent. `observed` makes the record of the effect out of what is there then.
    pub(super) async fn write(
        &self,
        cx: &mut PerformCx<'_>,
        key: String,
        batch: &[Turn],
        attempted: &str,
        observed: impl FnOnce(Value) -> Value + Send,
    ) -> Result<(), StepError> {
        let classes = (Repeat::Guarded, Undo::Restores);
        let (before, after) = self.keeper.recorded(batch);
        let target = self.keeper.target(batch);
        let intent = Intent::new(key, target, verb(batch), classes, before, after);
        let Granted::Permit(permit) = cx.effects.intend(intent).await? else { return Ok(()) };
        let changed = {
            let read = cx.read;
            let mut hands = hands(read, cx.wait());
            self.keeper.change(&mut hands, &permit, batch).await
        };
        match changed {
            Ok(state) => cx.effects.done(permit, observed(state)).await,
            Err(error) if error.outcome_unknown() => {
                Err(error.into_step_error(attempted, UNTOUCHED))
            }
            Err(error) => {
                cx.effects.not_done(permit, &error.to_string()).await?;
                Err(error.into_step_error(attempted, "nothing was overwritten"))
            }
        }
    }

    /// Every authoritative server serves what is wanted, or an error that names who does not. One answer for each turn.
    pub(super) async fn prove(
        &self,
        cx: &mut PerformCx<'_>,
        batch: &[Turn],
        within: Span,
        attempted: &str,
    ) -> Result<Vec<Settled>, StepError> {
        let read = cx.read;
        let servers = self.authorities(read, attempted).await?;
        let mut proved = Vec::new();
        for Turn { slot, wanted, .. } in batch {
            let patience = Patience {
                clock: read.clock(),
                busy: cx.busy,
                cancel: &read.cancel,
                within: within.duration(),
                say: &|text| read.progress.say(text),
            };
            let served = |set: &_| Set::served(set, wanted.as_ref(), slot.kind);
            let settled = servers.settle(patience, &slot.name, slot.kind, served).await;
            if !settled.missing.is_empty() {
                let known = format!(
                    "{} holds {}, but not every authoritative server serves it",
                    self.keeper.shown(),
                    Set::shown(wanted.as_ref())
                );
                let mut error = StepError::new(FailureClass::Failed, "MIG0202", attempted, known)
                    .hint("`migrate resume` asks the servers again and writes nothing twice")
                    .retryable();
                error.causes = settled.missing;
                return Err(error);
            }
            proved.push(settled);
        }
        Ok(proved)
    }

    /// Is a recorded effect in place?
    pub(super) async fn probe(&self, cx: &StepCx, effect: &RecordedEffect) -> Verdict {
        let Intent { before, after, .. } = &effect.intent;
        self.keeper.probe(&mut hands(cx, cx.wait()), before, after).await
    }

    /// The batch of a recorded effect.
    pub(super) fn batch(
        &self,
        effect: &RecordedEffect,
        attempted: &str,
    ) -> Result<Vec<Turn>, StepError> {
        self.keeper.batch(&effect.intent.before, &effect.intent.after).map_err(|why| {
            StepError::new(FailureClass::Failed, "MIG0206", attempted, UNTOUCHED).cause(why)
        })
    }
}

/// Why the servers of a zone are not known.
#[derive(Debug, thiserror::Error)]
enum Lost {
    #[error(transparent)]
    Names(LookupError),
    #[error(transparent)]
    Primary(UpdateError),
}

/// What a keeper needs of the run.
pub(super) fn hands<'a, 'w>(cx: &'a StepCx, wait: Wait<'w>) -> Hands<'a, 'w> {
    Hands { azure: &cx.world.azure, clock: cx.clock(), wait }
}

/// What is done to a batch: to its last record set that changes.
pub(super) fn verb(batch: &[Turn]) -> &'static str {
    let side = |set: fn(&Turn) -> &Option<Set>| batch.iter().any(|turn| set(turn).is_some());
    match (side(|turn| &turn.now), side(|turn| &turn.wanted)) {
        (_, false) => "delete",
        (false, _) => "create",
        _ => "replace",
    }
}

/// One line a server.
pub(super) fn evidence(slot: &Slot, truth: &Truth, verdict: &str) -> Vec<Evidence> {
    let line = |answer: &crate::dns::ServerAnswer| Evidence {
        check: format!("{slot} at {}", answer.server),
        verdict: verdict.to_owned(),
        detail: answer.said.to_string(),
        holds: true,
    };
    truth.0.iter().map(line).collect()
}

/// Another hand was at the record set after us.
pub(super) fn foreign(attempted: &str, left: Option<&Set>, now: Option<&Set>) -> StepError {
    StepError::new(
        FailureClass::Drift,
        "MIG0206",
        attempted,
        "the record set was changed by another hand after us; nothing was overwritten",
    )
    .cause(format!("we left: {}", Set::shown(left)))
    .cause(format!("found: {}", Set::shown(now)))
    .hint("decide by hand what the record set shall be")
}
