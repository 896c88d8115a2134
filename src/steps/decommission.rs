//! `decommission`: retires machines that are not needed any more: deallocates them, keeps a snapshot of each disk, deletes them.
//!
//! Each step down needs the one before it: a snapshot is taken of a machine that stands still, and nothing is deleted whose
//! snapshots are not proved. Deleting can not be taken back and follows an approval, or is refused.

use async_trait::async_trait;
use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::{Value, json};

use super::machine::name_of;
use super::{
    Begun, Change, Evidence, FailureClass, Kind, Outcome, PerformCx, Preview, Step, StepCx,
    StepError,
};
use crate::azure::{Accepted, ArmError, ComputeState, Power, ResourceId, VirtualMachine, Wait};
use crate::journal::EffectPermit;
use crate::plan::{Class, KindSpec, Role};
use crate::run::{Intent, RecordedEffect, Repeat, StepId, Undo, Verdict};

/// Parameters of `decommission`.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct With {
    /// Virtual machines to retire: ARM ids, or names in the runbook's resource group.
    pub machines: Vec<String>,
    /// How far. Default `deallocate`.
    #[serde(default)]
    pub until: Until,
    /// The `approval` step that signs the deletion off; needed for `deleted`.
    #[serde(default)]
    pub approval: Option<String>,
}

/// How far machines are retired; each includes the one before.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Until {
    /// Stopped, with their compute given back. A rollback starts them again.
    #[default]
    Deallocated,
    /// And a snapshot of each disk is kept.
    Snapshot,
    /// And machine and disks are deleted. The snapshots stay.
    Deleted,
}

const DOCS: &str = "\
Retires each machine as far as `until` says: `deallocated`, then a proved `snapshot` of each of its disks, then `deleted` with its \
disks. A dry run shows everything that would be stopped, made and deleted.\n\n\
`deleted` needs `approval`, the id of an `approval` step that was answered in this run before; without its yes nothing is done. A \
machine is deleted only when it stands still and every one of its disks has a snapshot that says it is complete and of that \
disk, read right before. Network cards, addresses and whatever else hangs on a machine stay.\n\n\
A rollback starts machines again that ran before, and leaves others as they are; snapshots stay. What was deleted is listed with the snapshots to make it from by \
hand.\n\n\
Needs `Microsoft.Compute/virtualMachines/*`, `disks/delete` and `snapshots/write`. Outputs: `snapshots` (ids).";

/// The kind.
pub const KIND: Kind = Kind {
    spec: KindSpec {
        name: "decommission",
        summary: "Retire machines: deallocate, keep snapshots, delete",
        docs: DOCS,
        example: include_str!("../../examples/steps/decommission.yaml"),
        class: Class::Action,
        repeat: Repeat::Ask,
        undo: Undo::Irreversible,
        roles: &[Role::Decommissions],
        outputs: &["snapshots"],
        open_outputs: false,
        schema: || schemars::schema_for!(With),
        check: super::check::<With>,
        describe: |with| {
            let until = with["until"].as_str().unwrap_or("deallocated");
            let machines =
                with["machines"].as_array().into_iter().flatten().filter_map(Value::as_str);
            machines.map(|machine| format!("{} -> {until}", name_of(machine))).collect()
        },
    },
    build: |with| {
        let with = super::read::<With>(with)?;
        if with.machines.is_empty() {
            return Err("give at least one machine".to_owned());
        }
        if with.until == Until::Deleted && with.approval.is_none() {
            return Err("`until: deleted` needs `approval`, the id of the step that signs it off"
                .to_owned());
        }
        Ok(Box::new(with))
    },
};

const UNCHANGED: &str = "nothing was changed by this attempt";

/// What is done to one thing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Act {
    Deallocate,
    Start,
    Snapshot,
    Delete,
}

impl Act {
    const fn verb(self) -> &'static str {
        match self {
            Self::Deallocate => "deallocate",
            Self::Start => "start",
            Self::Snapshot => "snapshot",
            Self::Delete => "delete",
        }
    }

    fn named(verb: &str) -> Option<Self> {
        let all = [Self::Deallocate, Self::Start, Self::Snapshot, Self::Delete];
        all.into_iter().find(|act| act.verb() == verb)
    }
}

/// A disk, and the snapshot that is kept of it.
struct Disk {
    id: ResourceId,
    snapshot: ResourceId,
}

impl Disk {
    fn parse(id: &str) -> Result<Self, ArmError> {
        let id = ResourceId::parse(id)?;
        Ok(Self { snapshot: snapshot_of(&id)?, id })
    }
}

/// A machine to retire.
struct Machine {
    id: ResourceId,
    /// As the first attempt found it.
    first: VirtualMachine,
    disks: Vec<Disk>,
}

impl Machine {
    fn name(&self) -> &str {
        name_of(self.id.as_str())
    }
}

fn key(act: Act, target: &ResourceId) -> String {
    format!("{}:{}", act.verb(), target.as_str().to_ascii_lowercase())
}

impl With {
    fn attempted(&self) -> String {
        let names: Vec<_> = self.machines.iter().map(|machine| name_of(machine)).collect();
        format!("retire {}", names.join(", "))
    }

    fn failed(&self, error: ArmError) -> StepError {
        error.into_step_error(self.attempted(), UNCHANGED)
    }

    /// Every machine, also one that an earlier attempt has deleted.
    async fn found(&self, cx: &StepCx, wait: &mut Wait<'_>) -> Result<Vec<Machine>, StepError> {
        let mut found = Vec::new();
        for written in &self.machines {
            let azure = &cx.world.azure;
            let id = azure.named("Microsoft.Compute/virtualMachines", written);
            let id = id.map_err(|error| self.failed(error))?;
            let now = azure.virtual_machine(wait, &id).await.map_err(|error| self.failed(error))?;
            let stopped = key(Act::Deallocate, &id);
            let before = cx.recorded.iter().find(|it| it.intent.key == stopped);
            let first = before.and_then(|it| VirtualMachine::deserialize(&it.intent.before).ok());
            let Some(first) = first.or(now) else {
                let known = format!("there is no machine {id}; {UNCHANGED}");
                let error =
                    StepError::new(FailureClass::Refused, "MIG0462", self.attempted(), known);
                return Err(error.hint("correct `machines` in the runbook"));
            };
            if first.power == Power::Unknown {
                let known = format!("whether {id} runs can not be told; {UNCHANGED}");
                let error =
                    StepError::new(FailureClass::Refused, "MIG0464", self.attempted(), known);
                return Err(error
                    .hint("wait until it has started or stopped, then `migrate resume`")
                    .retryable());
            }
            let disks = first.disks.iter().map(|disk| Disk::parse(disk)).collect::<Result<_, _>>();
            found.push(Machine { id, disks: disks.map_err(|error| self.failed(error))?, first });
        }
        Ok(found)
    }

    /// The sign-off for a deletion was given in this run.
    fn signed_off(&self, cx: &StepCx) -> Result<(), StepError> {
        if self.until < Until::Deleted {
            return Ok(());
        }
        let step = StepId::new(self.approval.clone().unwrap_or_default());
        let asks = cx.world.plan.steps.iter().any(|it| it.id == step && it.uses == "approval");
        if asks && cx.outputs.contains_key(&step) {
            return Ok(());
        }
        let why = if asks {
            "has not been answered with yes in this run"
        } else {
            "is no `approval` step of this runbook"
        };
        let error = StepError::new(FailureClass::Refused, "MIG0461", self.attempted(), UNCHANGED);
        Err(error
            .cause(format!("`{step}` {why}"))
            .hint("put an `approval` before this step and name it under `approval`"))
    }

    async fn retire(
        &self,
        cx: &mut PerformCx<'_>,
        machine: &Machine,
    ) -> Result<Vec<Evidence>, StepError> {
        self.deallocate(cx, machine).await?;
        if self.until >= Until::Snapshot {
            for disk in &machine.disks {
                self.snapshot(cx, machine, disk).await?;
            }
        }
        let mut evidence = self.proved(cx, machine).await?;
        if self.until == Until::Deleted {
            let kept = machine.disks.iter().map(|disk| name_of(disk.snapshot.as_str()));
            let names = kept.collect::<Vec<_>>().join(", ");
            let again = format!("make {} anew from {names}", machine.name());
            self.delete(cx, &machine.id, &again).await?;
            for disk in &machine.disks {
                self.delete(cx, &disk.id, &again).await?;
            }
            let detail = format!("{} disks with it; kept: {names}", machine.disks.len());
            evidence.push(proof(&machine.id, "gone", detail));
        }
        Ok(evidence)
    }

    async fn deallocate(&self, cx: &mut PerformCx<'_>, machine: &Machine) -> Result<(), StepError> {
        let classes = (Repeat::Repeatable, Undo::Restores);
        let mut after = machine.first.clone();
        after.power = Power::Deallocated;
        let (before, after) = (json!(machine.first), json!(after));
        let (id, act) = (&machine.id, Act::Deallocate);
        let intent = Intent::new(key(act, id), id.as_str(), act.verb(), classes, before, after);
        self.carry_out(cx, intent, id).await
    }

    async fn snapshot(
        &self,
        cx: &mut PerformCx<'_>,
        machine: &Machine,
        disk: &Disk,
    ) -> Result<(), StepError> {
        let (id, act) = (&disk.snapshot, Act::Snapshot);
        let classes = (Repeat::Repeatable, Undo::LeavesInPlace);
        let after = json!({ "of": disk.id, "location": machine.first.location });
        let intent =
            Intent::new(key(act, id), id.as_str(), act.verb(), classes, Value::Null, after);
        self.carry_out(cx, intent, id).await
    }

    /// What stands now, read anew: what an earlier attempt saw is no proof, and nothing is deleted on it.
    async fn proved(
        &self,
        cx: &mut PerformCx<'_>,
        machine: &Machine,
    ) -> Result<Vec<Evidence>, StepError> {
        let azure = cx.read.world.azure.clone();
        let unread = |error: ArmError| {
            let known = format!(
                "how it stands could not be read; nothing more was done to {}",
                machine.name()
            );
            error.into_step_error(self.attempted(), known)
        };
        let mut wanted = Vec::new();
        // An earlier attempt may have come as far as its disks.
        let gone = self.until == Until::Deleted
            && azure
                .compute_stands(&mut cx.wait(), &machine.id, ComputeState::Gone)
                .await
                .map_err(unread)?;
        if !gone {
            wanted.push((
                &machine.id,
                ComputeState::Power(Power::Deallocated),
                "deallocated",
                String::new(),
            ));
        }
        for disk in machine.disks.iter().filter(|_| self.until >= Until::Snapshot) {
            let (of, detail) = (disk.id.as_str(), format!("of {}", name_of(disk.id.as_str())));
            wanted.push((&disk.snapshot, ComputeState::SnapshotOf(of), "complete", detail));
        }
        let mut evidence = Vec::new();
        for (id, state, verdict, detail) in wanted {
            if !azure.compute_stands(&mut cx.wait(), id, state).await.map_err(unread)? {
                let id = name_of(id.as_str());
                let known =
                    format!("{id} is not {verdict}; nothing more was done to {}", machine.name());
                let error =
                    StepError::new(FailureClass::Refused, "MIG0463", self.attempted(), known);
                return Err(error
                    .cause("it was, and another hand changed it since")
                    .hint("find out who changed it and why; make it so again by hand, then `migrate resume`"));
            }
            evidence.push(proof(id, verdict, detail));
        }
        Ok(evidence)
    }

    async fn delete(
        &self,
        cx: &mut PerformCx<'_>,
        id: &ResourceId,
        again: &str,
    ) -> Result<(), StepError> {
        let classes = (Repeat::Ask, Undo::Irreversible);
        let before = json!({ "there": true });
        let intent = Intent::new(
            key(Act::Delete, id),
            id.as_str(),
            Act::Delete.verb(),
            classes,
            before,
            json!({ "there": false }),
        );
        self.carry_out(cx, intent.by_hand(again), id).await
    }

    /// One change from intent to proof.
    async fn carry_out(
        &self,
        cx: &mut PerformCx<'_>,
        intent: Intent,
        id: &ResourceId,
    ) -> Result<(), StepError> {
        let act = Act::named(&intent.verb).expect("an intent of this kind");
        let (after, name) = (intent.after.clone(), name_of(id.as_str()));
        let (attempted, known) =
            (format!("{} {name}", act.verb()), format!("{name} was left as it was"));
        let azure = cx.read.world.azure.clone();
        let stands = azure.compute_stands(&mut cx.wait(), id, act.wanted(&after)).await;
        if stands.map_err(|error| error.into_step_error(&attempted, &known))? {
            return cx.change(intent, async |_| Ok(json!({ "already": true }))).await.map(drop);
        }
        let begun = cx.begin(intent, (&attempted, &known), async |cx, permit| {
            start(cx, permit, (act, id, &after)).await
        });
        let Begun::Now(permit, accepted) = begun.await? else { return Ok(()) };
        // What does not end well from here on stays in doubt, and is settled by the probe.
        azure.finish_compute(&mut cx.wait(), accepted, id).await.map_err(|error| {
            error.into_step_error(&attempted, "the operation was begun and did not end well")
        })?;
        let proved = azure.compute_stands(&mut cx.wait(), id, act.wanted(&after)).await;
        let proved = proved.map_err(|error| {
            error.into_step_error(&attempted, "the operation ended; its result could not be read")
        })?;
        if !proved {
            let known = "the operation ended well, and the target does not show it";
            let error = StepError::new(FailureClass::Failed, "MIG0463", attempted, known);
            return Err(error.hint("look at it in Azure, then `migrate resume`"));
        }
        cx.effects.done(permit, json!({ "proved": true })).await
    }
}

fn proof(id: &ResourceId, verdict: &str, detail: String) -> Evidence {
    Evidence {
        check: name_of(id.as_str()).to_owned(),
        verdict: verdict.to_owned(),
        detail,
        holds: true,
    }
}

async fn start(
    cx: &mut PerformCx<'_>,
    permit: &EffectPermit,
    (act, id, after): (Act, &ResourceId, &Value),
) -> Result<Accepted, ArmError> {
    let azure = cx.read.world.azure.clone();
    let mut wait = cx.wait();
    let text = |name: &str| after[name].as_str().unwrap_or_default();
    match act {
        Act::Deallocate => azure.set_power(&mut wait, permit, id, "deallocate").await,
        Act::Start => azure.set_power(&mut wait, permit, id, "start").await,
        Act::Snapshot => {
            azure.put_snapshot(&mut wait, permit, id, (text("of"), text("location"))).await
        }
        Act::Delete => azure.delete_compute(&mut wait, permit, id).await,
    }
}

impl Act {
    /// How the target must stand once it is done.
    fn wanted(self, after: &Value) -> ComputeState<'_> {
        match self {
            Self::Deallocate => ComputeState::Power(Power::Deallocated),
            Self::Start => ComputeState::Power(Power::Running),
            Self::Snapshot => ComputeState::SnapshotOf(after["of"].as_str().unwrap_or_default()),
            Self::Delete => ComputeState::Gone,
        }
    }

    /// How it stood before; none where all that is not as wanted stands as before.
    fn stood(self, before: &Value) -> Option<ComputeState<'_>> {
        match self {
            Self::Deallocate | Self::Start => {
                let power = Power::deserialize(&before["power"]);
                Some(ComputeState::Power(power.unwrap_or(Power::Unknown)))
            }
            Self::Snapshot => Some(ComputeState::Gone),
            Self::Delete => None,
        }
    }
}

/// Id of the snapshot of a disk: beside it, the same in every attempt.
fn snapshot_of(disk: &ResourceId) -> Result<ResourceId, ArmError> {
    let lower = disk.as_str().to_ascii_lowercase();
    let at = lower.rfind("/disks/").unwrap_or(lower.len());
    ResourceId::parse(&format!(
        "{}/snapshots/{}-retired",
        &disk.as_str()[..at],
        name_of(disk.as_str())
    ))
}

#[async_trait]
impl Step for With {
    async fn preview(&self, cx: &StepCx) -> Result<Preview, StepError> {
        let mut changes = Vec::new();
        let change = |id: &str, verb: &str, before: Option<&str>, after: Option<&str>| Change {
            target: id.to_owned(),
            verb: verb.to_owned(),
            before: before.map(str::to_owned),
            after: after.map(str::to_owned),
        };
        for machine in self.found(cx, &mut cx.wait()).await? {
            let power = json!(machine.first.power);
            changes.push(change(
                machine.id.as_str(),
                "deallocate",
                power.as_str(),
                Some("deallocated"),
            ));
            for Disk { id, snapshot } in
                machine.disks.iter().filter(|_| self.until >= Until::Snapshot)
            {
                let after = format!("snapshot of {}", name_of(id.as_str()));
                changes.push(change(snapshot.as_str(), "create", None, Some(&after)));
            }
            let disks = machine.disks.iter().map(|disk| &disk.id);
            let goes =
                std::iter::once(&machine.id).chain(disks).filter(|_| self.until == Until::Deleted);
            changes.extend(goes.map(|id| change(id.as_str(), "delete", Some("there"), None)));
        }
        Ok(Preview { changes, readings: Vec::new() })
    }

    async fn perform(&self, cx: &mut PerformCx<'_>) -> Result<Outcome, StepError> {
        let read = cx.read;
        self.signed_off(read)?;
        let machines = self.found(read, &mut cx.wait()).await?;
        let (mut evidence, mut snapshots) = (Vec::new(), Vec::new());
        for machine in &machines {
            evidence.extend(self.retire(cx, machine).await?);
            let kept = machine.disks.iter().filter(|_| self.until >= Until::Snapshot);
            snapshots.extend(kept.map(|disk| &disk.snapshot));
        }
        Ok(Outcome { outputs: [("snapshots".to_owned(), json!(snapshots))].into(), evidence })
    }

    async fn probe(&self, cx: &StepCx, effect: &RecordedEffect) -> Verdict {
        let unknown = |error: ArmError| Verdict::Unknown { evidence: error.to_string() };
        let (azure, mut wait) = (&cx.world.azure, cx.wait());
        let Some(act) = Act::named(&effect.intent.verb) else {
            return Verdict::Unknown {
                evidence: format!("`{}` is nothing this kind does", effect.intent.verb),
            };
        };
        let id = match ResourceId::parse(&effect.intent.target) {
            Ok(id) => id,
            Err(error) => return unknown(error),
        };
        if let Some(link) = effect.sent.as_ref().and_then(|sent| sent.operation_url.as_deref())
            && let Err(error) = azure.attach_compute(&mut wait, link).await
            && error.outcome_unknown()
        {
            return unknown(error);
        }
        match azure.compute_stands(&mut wait, &id, act.wanted(&effect.intent.after)).await {
            Ok(true) => return Verdict::Done { observed: json!({ "proved": true }) },
            Ok(false) => {}
            Err(error) => return unknown(error),
        }
        let Some(before) = act.stood(&effect.intent.before) else { return Verdict::NotDone };
        match azure.compute_stands(&mut wait, &id, before).await {
            Ok(true) => Verdict::NotDone,
            Ok(false) => Verdict::Unknown {
                evidence: format!("{id} stands neither as before nor as wanted"),
            },
            Err(error) => unknown(error),
        }
    }

    async fn undo(&self, cx: &mut PerformCx<'_>, effect: &RecordedEffect) -> Result<(), StepError> {
        if effect.intent.before["power"] != json!(Power::Running) {
            // One that did not run before is left as it is, whatever somebody did with it since.
            return Ok(());
        }
        let id = ResourceId::parse(&effect.intent.target).map_err(|error| self.failed(error))?;
        let classes = (Repeat::Repeatable, Undo::LeavesInPlace);
        let (before, after) = (effect.intent.after.clone(), effect.intent.before.clone());
        let key = format!("undo:{}", effect.intent.key);
        let intent = Intent::new(key, id.as_str(), Act::Start.verb(), classes, before, after);
        self.carry_out(cx, intent, &id).await
    }
}

#[cfg(test)]
mod tests;
