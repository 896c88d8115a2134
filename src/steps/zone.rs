//! What the DNS kinds do with a record set: find it, write it under a journalled intent, prove it at every server.
//!
//! Not a kind. A write is conditional on exactly what was read; a lost reply is left to the probe.

use serde_json::{Value, json};

use super::{Evidence, FailureClass, Granted, PerformCx, StepCx, StepError};
use crate::azure::{ArmError, RecordSet};
use crate::dns::azure::{Record, served, shown};
use crate::dns::{Authorities, Patience, Settled, Truth};
use crate::plan::Span;
use crate::run::{Intent, Repeat, Undo};

/// What is known of the target when a step fails before its first change.
pub(super) const UNTOUCHED: &str = "nothing was changed";

/// The change of one record set, for messages: "point CNAME crm in zone contoso.example to …".
#[derive(Debug, Clone, Copy)]
pub(super) struct Task<'a> {
    pub(super) zone: &'a str,
    pub(super) record: &'a Record,
    pub(super) attempted: &'a str,
}

impl Task<'_> {
    /// A failed call that certainly changed nothing.
    pub(super) fn failed(&self, error: ArmError) -> StepError {
        error.into_step_error(self.attempted, UNTOUCHED)
    }

    /// What the service holds now.
    pub(super) async fn read(
        &self,
        cx: &mut PerformCx<'_>,
    ) -> Result<Option<RecordSet>, StepError> {
        let azure = &cx.read.world.azure;
        self.record.read(azure, &mut cx.wait()).await.map_err(|error| self.failed(error))
    }

    /// The servers of the zone.
    pub(super) async fn authorities(&self, cx: &StepCx) -> Result<Authorities, StepError> {
        Authorities::find(&cx.world.network, self.zone).await.map_err(|error| {
            let known =
                format!("the authoritative servers of {} could not be found", self.zone);
            StepError::new(FailureClass::Failed, "MIG0201", self.attempted, known)
                .because(&error)
                .hint("check the zone's delegation and this machine's resolver, then `migrate resume`")
                .retryable()
        })
    }

    /// Writes `wanted` over exactly `now`; none is no record set. `observed` makes the record of the effect out of what
    /// the service then holds.
    pub(super) async fn write(
        &self,
        cx: &mut PerformCx<'_>,
        key: String,
        now: Option<&RecordSet>,
        wanted: Option<&RecordSet>,
        observed: impl FnOnce(Value) -> Value + Send,
    ) -> Result<(), StepError> {
        let verb = match (now, wanted) {
            (_, None) => "delete",
            (None, _) => "create",
            _ => "replace",
        };
        let classes = (Repeat::Guarded, Undo::Restores);
        let intent = Intent::new(key, self.record.id(), verb, classes, json!(now), json!(wanted));
        let Granted::Permit(permit) = cx.effects.intend(intent).await? else { return Ok(()) };
        let azure = &cx.read.world.azure;
        let zone = &self.record.zone;
        let changed = match (now, wanted) {
            (_, Some(wanted)) => azure
                .put_record_set(&mut cx.wait(), &permit, zone, now, wanted)
                .await
                .map(|set| json!(set)),
            (Some(now), None) => azure
                .delete_record_set(&mut cx.wait(), &permit, zone, now)
                .await
                .map(|()| Value::Null),
            (None, None) => Ok(Value::Null),
        };
        match changed {
            Ok(state) => cx.effects.done(permit, observed(state)).await,
            Err(error) if error.outcome_unknown() => Err(self.failed(error)),
            Err(error) => {
                cx.effects.not_done(permit, &error.to_string()).await?;
                Err(error.into_step_error(self.attempted, "nothing was overwritten"))
            }
        }
    }

    /// Every authoritative server serves `wanted`, or an error that names who does not.
    pub(super) async fn prove(
        &self,
        cx: &mut PerformCx<'_>,
        wanted: Option<&RecordSet>,
        within: Span,
    ) -> Result<Settled, StepError> {
        let (read, kind) = (cx.read, self.record.kind);
        let servers = self.authorities(read).await?;
        let patience = Patience {
            clock: read.clock(),
            busy: cx.busy,
            cancel: &read.cancel,
            within: within.duration(),
            say: &|text| read.progress.say(text),
        };
        let name = &self.record.full_name;
        let settled = servers.settle(patience, name, kind, |set| served(set, wanted, kind)).await;
        if settled.missing.is_empty() {
            return Ok(settled);
        }
        let known =
            format!("Azure holds {}, but not every authoritative server serves it", shown(wanted));
        let mut error = StepError::new(FailureClass::Failed, "MIG0202", self.attempted, known)
            .hint("`migrate resume` asks the servers again and writes nothing twice")
            .retryable();
        error.causes = settled.missing;
        Err(error)
    }

    /// One line a server.
    pub(super) fn evidence(&self, truth: &Truth, verdict: &str) -> Vec<Evidence> {
        let line = |answer: &crate::dns::ServerAnswer| Evidence {
            check: format!("{} at {}", self.record.shown(), answer.server),
            verdict: verdict.to_owned(),
            detail: answer.said.to_string(),
            holds: true,
        };
        truth.0.iter().map(line).collect()
    }

    /// Another hand was at the record set after us.
    pub(super) fn foreign(&self, left: Option<&RecordSet>, now: Option<&RecordSet>) -> StepError {
        StepError::new(
            FailureClass::Drift,
            "MIG0206",
            self.attempted,
            "the record set was changed by another hand after us; nothing was overwritten",
        )
        .cause(format!("we left: {}", shown(left)))
        .cause(format!("found: {}", shown(now)))
        .hint("decide by hand what the record set shall be")
    }

    /// The recorded state of an effect can not be read back.
    pub(super) fn unreadable(&self, error: &serde_json::Error) -> StepError {
        StepError::new(FailureClass::Failed, "MIG0206", self.attempted, UNTOUCHED).because(error)
    }
}
