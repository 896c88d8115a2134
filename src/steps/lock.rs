//! What the freeze kinds do with a management lock, and how they look at a freeze. Not a kind. Gates: [`super::gate`].
//!
//! Locks carry no version, so the state is compared before it is changed; a lock changed by another hand is left alone.

use jiff::{SignedDuration, Timestamp};
use serde_json::json;

use super::{FailureClass, Granted, PerformCx, StepCx, StepError};
use crate::azure::{Lock, ResourceId, Wait};
use crate::freeze::{Exception, Frozen, Look, Ours, Servers, lock_id, shown, stands};
use crate::run::{Intent, RecordedEffect, Repeat, StepId, Undo};

/// A lock goes from one state to another; none is no lock.
#[derive(Debug)]
pub(super) struct Turn<'a> {
    pub(super) key: String,
    pub(super) scope: &'a ResourceId,
    pub(super) name: &'a str,
    pub(super) now: Option<Lock>,
    pub(super) wanted: Option<Lock>,
}

impl Turn<'_> {
    fn attempted(&self) -> String {
        format!(
            "go from {} to {} at {}",
            shown(self.now.as_ref()),
            shown(self.wanted.as_ref()),
            self.scope
        )
    }

    /// Makes the change under a journalled intent.
    pub(super) async fn make(self, cx: &mut PerformCx<'_>) -> Result<(), StepError> {
        let attempted = self.attempted();
        let Self { key, scope, name, now, wanted } = self;
        let state = |lock: &Option<Lock>| {
            Frozen::Lock { scope: scope.to_string(), lock: lock.clone() }.to_value()
        };
        let verb = match (&now, &wanted) {
            (_, None) => "delete",
            (None, _) => "create",
            _ => "replace",
        };
        let classes = (Repeat::Repeatable, Undo::Restores);
        let target = lock_id(scope, name);
        let intent = Intent::new(key, target, verb, classes, state(&now), state(&wanted));
        let Granted::Permit(permit) = cx.effects.intend(intent).await? else { return Ok(()) };
        let azure = &cx.read.world.azure;
        let made = match &wanted {
            Some(lock) => azure.put_lock(&mut cx.wait(), &permit, scope, lock).await.map(Some),
            None => azure.delete_lock(&mut cx.wait(), &permit, scope, name).await.map(|()| None),
        };
        match made {
            Ok(lock) => cx.effects.done(permit, state(&lock)).await,
            Err(error) if error.outcome_unknown() => Err(error.into_step_error(attempted, "")),
            Err(error) => {
                cx.effects.not_done(permit, &error.to_string()).await?;
                Err(error.into_step_error(attempted, "the lock is as it was"))
            }
        }
    }
}

/// The lock of that name at a scope now.
pub(super) async fn read(
    cx: &StepCx,
    wait: &mut Wait<'_>,
    scope: &ResourceId,
    name: &str,
) -> Result<Option<Lock>, StepError> {
    cx.world.azure.lock(wait, scope, name).await.map_err(|error| {
        error.into_step_error(format!("read the lock {name} at {scope}"), "nothing was changed")
    })
}

/// Turns a recorded part back to what it was before: the undo of both `freeze.begin` and `freeze.end`.
pub(super) async fn take_back(
    cx: &mut PerformCx<'_>,
    effect: &RecordedEffect,
) -> Result<(), StepError> {
    let (Some(before), Some(left)) =
        (Frozen::of(&effect.intent.before), Frozen::of(&effect.intent.after))
    else {
        return Ok(());
    };
    turn_part(cx, format!("undo:{}", effect.intent.key), left, before).await
}

/// A lock or a gate from one known state to another. A baseline has none to return to.
pub(super) async fn turn_part(
    cx: &mut PerformCx<'_>,
    key: String,
    from: Frozen,
    to: Frozen,
) -> Result<(), StepError> {
    match (from, to) {
        (Frozen::Lock { scope, lock: from }, Frozen::Lock { lock: to, .. }) => {
            turn(cx, key, &scope, from, to).await
        }
        (Frozen::Gate { gate, name, .. }, Frozen::Gate { closed, .. }) => {
            super::gate::turn(cx, key, &gate, &name, closed).await
        }
        _ => Ok(()),
    }
}

/// From one known state to another; already there is fine, anything else is left alone.
async fn turn(
    cx: &mut PerformCx<'_>,
    key: String,
    scope: &str,
    from: Option<Lock>,
    to: Option<Lock>,
) -> Result<(), StepError> {
    let name = to.as_ref().or(from.as_ref()).map(|lock| lock.name.clone()).unwrap_or_default();
    let attempted = format!("change the lock {name} at {scope}");
    let scope = ResourceId::parse(scope)
        .map_err(|error| error.into_step_error(&attempted, "nothing was changed"))?;
    let now = read(cx.read, &mut cx.wait(), &scope, &name).await?;
    if now == to {
        return Ok(());
    }
    if now != from {
        return Err(StepError::new(
            FailureClass::Drift,
            "MIG0402",
            attempted,
            "the lock was changed by another hand; it was left alone",
        )
        .cause(format!("expected: {}", shown(from.as_ref())))
        .cause(format!("found: {}", shown(now.as_ref())))
        .hint("decide by hand what the lock shall be"));
    }
    Turn { key, scope: &scope, name: &name, now, wanted: to }.make(cx).await
}

/// Changes through ARM that are younger than this are looked at next time: another lane may have made them after this
/// step was told what the run has done. The log is later than that anyway.
const GRACE: SignedDuration = SignedDuration::from_secs(2);

/// A look at a freeze from one of its own steps, at a step boundary.
pub(super) fn look<'a>(cx: &'a StepCx, wait: Wait<'a>, exceptions: &'a [Exception]) -> Look<'a> {
    let now = cx.clock().now();
    look_until(cx, wait, exceptions, now.checked_sub(GRACE).unwrap_or(now))
}

/// A look at a freeze as it was at a moment, by this step's own effects and those it was told of.
pub(super) fn look_until<'a>(
    cx: &'a StepCx,
    wait: Wait<'a>,
    exceptions: &'a [Exception],
    until: Timestamp,
) -> Look<'a> {
    let own = cx.recorded.iter().map(|effect| (&cx.step.id, effect));
    let others =
        cx.others.iter().flat_map(|(step, effects)| effects.iter().map(move |it| (step, it)));
    Look {
        azure: &cx.world.azure,
        wait,
        door: super::gate::door(cx),
        now: cx.clock().now(),
        until,
        kept: &cx.world.progress_dir,
        exceptions,
        ours: Ours::of(&cx.world.run, own.chain(others)),
        servers: Servers {
            systems: &cx.world.plan.systems,
            secrets: &cx.world.secrets,
            beside: &cx.world.runbook_dir,
            run: &cx.world.run,
        },
    }
}

/// The freezes that a later step is about: the one named, or all that have begun. Steps with their recorded effects.
pub(super) fn begun<'a>(
    cx: &'a StepCx,
    named: Option<&str>,
) -> Result<Vec<(&'a StepId, &'a [RecordedEffect])>, StepError> {
    let steps = cx.world.plan.steps.iter().filter(|step| step.uses == "freeze.begin");
    let found: Vec<_> = steps
        .filter(|step| named.is_none_or(|named| step.id.as_str() == named))
        .filter_map(|step| Some((&step.id, cx.others.get(&step.id)?.as_slice())))
        .filter(|(_, effects)| !effects.is_empty())
        .collect();
    if found.is_empty() {
        let which =
            named.map_or_else(|| "a freeze".to_owned(), |named| format!("the freeze {named}"));
        return Err(StepError::new(
            FailureClass::Refused,
            "MIG0403",
            format!("find {which}"),
            "no such freeze was begun in this run; nothing was changed",
        )
        .hint("put a `freeze.begin` step before this one"));
    }
    Ok(found)
}

/// Name of the locks of a step: `migrate-wave-3-freeze`.
pub(super) fn name(cx: &StepCx) -> String {
    let text = format!("migrate-{}-{}", cx.world.plan.wave, cx.step.id);
    text.chars().map(|c| if c.is_ascii_alphanumeric() || c == '-' { c } else { '-' }).collect()
}

/// What the lock says about itself.
pub(super) fn notes(cx: &StepCx) -> String {
    format!("change freeze of migration wave {}, run {}", cx.world.plan.wave, cx.world.run)
}

/// For dry runs and evidence: an effect's part of the freeze in words.
pub(super) fn part(effect: &RecordedEffect) -> String {
    match Frozen::of(&effect.intent.after) {
        Some(Frozen::Lock { lock, .. }) => {
            format!("{} at {}", shown(lock.as_ref()), effect.intent.target)
        }
        Some(Frozen::Gate { gate, closed, .. }) => format!("{} {}", gate.shown(), stands(closed)),
        Some(Frozen::Files(baseline)) => {
            format!("{} files in {}", baseline.files, effect.intent.target)
        }
        Some(Frozen::Schema(schema)) => {
            format!("schema of {} ({} objects)", effect.intent.target, schema.objects)
        }
        Some(Frozen::Git(reference)) => format!("{} at {}", effect.intent.target, reference.commit),
        Some(Frozen::ActivityLog { scope, .. }) => format!("activity log of {scope}"),
        None => json!(effect.intent.after).to_string(),
    }
}
