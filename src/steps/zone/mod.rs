//! What the DNS kinds do with record sets: find their zone, write them under journalled intents, prove them at every server.
//!
//! Not a kind. A write is conditional on exactly what was read; a lost reply is left to the probe.

mod prove;

pub(super) use prove::{Proved, Who};

use super::{FailureClass, Granted, PerformCx, StepCx, StepError};
use crate::azure::Wait;
use crate::dns::update::{Primary, Slot, TsigKey};
use crate::dns::{AzureZone, Hands, Keeper, LookupError, Set, Turn};
use crate::plan::{NameServer, ServerAddress};
use crate::run::{Intent, RecordedEffect, Repeat, Undo, Verdict};

/// What is known of the target when a step fails before its first change.
pub(super) const UNTOUCHED: &str = "nothing was changed";

/// Where a step says its zone is.
#[derive(Debug, Clone, Copy)]
pub(super) struct Place<'a> {
    pub(super) zone: &'a str,
    pub(super) system: Option<&'a str>,
    pub(super) resource_group: Option<&'a str>,
    pub(super) private: bool,
    pub(super) resolvers: &'a [ServerAddress],
}

/// A zone, who keeps it, and who is asked about it.
#[derive(Debug)]
pub(super) struct Zone {
    name: String,
    pub(super) keeper: Keeper,
    /// Named by the author instead of those the zone's NS records name.
    servers: Vec<ServerAddress>,
    /// Asked as well.
    resolvers: Vec<ServerAddress>,
}

impl Place<'_> {
    /// Finds the zone. Asks nobody but whoever holds the secret of its key.
    pub(super) async fn open(self, cx: &StepCx, attempted: &str) -> Result<Zone, StepError> {
        let (name, resolvers) = (self.zone.to_owned(), self.resolvers.to_vec());
        let Some(system) = self.system else {
            let azure = &cx.world.azure;
            let id = if self.private {
                azure.private_zone_id(self.resource_group, self.zone)
            } else {
                azure.zone_id(self.resource_group, self.zone)
            };
            let id = id.map_err(|error| error.into_step_error(attempted, UNTOUCHED))?;
            let private = self.private;
            let keeper = Keeper::Azure(AzureZone { id, name, private });
            return Ok(Zone { name: self.zone.to_owned(), keeper, servers: Vec::new(), resolvers });
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
        let address = network.name_server(&settings.rfc2136).await.map_err(unknown)?[0];
        let zone = crate::dns::record::name(self.zone).map_err(|why| unusable(why.to_string()))?;
        let keeper = Keeper::Primary(Primary { address, zone, key });
        Ok(Zone { name, keeper, servers: settings.servers, resolvers })
    }
}

impl Zone {
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

    /// Writes a batch under one intent.
    pub(super) async fn write(
        &self,
        cx: &mut PerformCx<'_>,
        key: String,
        batch: &[Turn],
        attempted: &str,
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
            Ok(state) => cx.effects.done(permit, state).await,
            Err(error) if error.outcome_unknown() => {
                Err(error.into_step_error(attempted, UNTOUCHED))
            }
            Err(error) => {
                cx.effects.not_done(permit, &error.to_string()).await?;
                Err(error.into_step_error(attempted, "nothing was overwritten"))
            }
        }
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
