//! `freeze.end`: each lock returns to what it was before the freeze. From its success on nothing is watched any more.

use async_trait::async_trait;
use schemars::JsonSchema;
use serde::Deserialize;

use super::{
    Change, Kind, Outcome, PerformCx, Preview, Step, StepCx, StepError, lock,
};
use crate::azure::{Lock, ResourceId};
use crate::freeze::{Frozen, shown};
use crate::plan::{Class, KindSpec, Role};
use crate::run::{RecordedEffect, Repeat, Undo, Verdict};

/// Parameters of `freeze.end`.
#[derive(Debug, Clone, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct With {
    /// Id of the `freeze.begin` step; every freeze that has begun when not given.
    #[serde(default)]
    pub freeze: Option<String>,
}

/// The kind.
pub const KIND: Kind = Kind {
    spec: KindSpec {
        name: "freeze.end",
        summary: "End the freeze: locks return to what they were",
        docs: "Each lock that `freeze.begin` set is removed, or set back to what was there before. A lock that another hand \
               changed meanwhile is left alone (exit 11).\n\n\
               Azure can go on answering `ScopeLocked` for a short while after a lock is gone.\n\n\
               Taken back: the locks of the freeze are set again.",
        example: include_str!("../../examples/steps/freeze.end.yaml"),
        class: Class::Action,
        repeat: Repeat::Repeatable,
        undo: Undo::Restores,
        roles: &[Role::Unfreezes],
        outputs: &[],
        open_outputs: false,
        schema: || schemars::schema_for!(With),
        check: super::check::<With>,
        describe: |_| vec!["locks of the freeze return to what they were".to_owned()],
    },
    build: |with| {
        if with.is_null() {
            return Ok(Box::new(With::default()));
        }
        Ok(Box::new(super::read::<With>(with)?))
    },
};

/// A lock of the freeze: its key here, its scope, what the freeze made of it, and what it was before.
struct Locked {
    key: String,
    scope: String,
    frozen: Option<Lock>,
    before: Option<Lock>,
}

impl With {
    fn locked(&self, cx: &StepCx) -> Result<Vec<Locked>, StepError> {
        let mut all = Vec::new();
        for (begin, effects) in lock::begun(cx, self.freeze.as_deref())? {
            for effect in effects.iter().filter(|effect| effect.done) {
                if let (Some(Frozen::Lock { scope, lock: frozen }), Some(Frozen::Lock { lock: before, .. })) =
                    (Frozen::of(&effect.intent.after), Frozen::of(&effect.intent.before))
                {
                    let key = format!("end:{begin}/{}", effect.intent.key);
                    all.push(Locked { key, scope, frozen, before });
                }
            }
        }
        Ok(all)
    }
}

#[async_trait]
impl Step for With {
    async fn preview(&self, cx: &StepCx) -> Result<Preview, StepError> {
        let mut changes = Vec::new();
        // In a dry run nothing has begun; then there is nothing to end.
        for Locked { scope, frozen, before, .. } in self.locked(cx).unwrap_or_default() {
            let Some(named) = &frozen else { continue };
            let id = ResourceId::parse(&scope)
                .map_err(|error| error.into_step_error("read a lock", "nothing was changed"))?;
            let now = lock::read(cx, &mut cx.wait(), &id, &named.name).await?;
            if now != before {
                changes.push(Change {
                    target: scope,
                    verb: if before.is_some() { "replace" } else { "delete" }.to_owned(),
                    before: Some(shown(now.as_ref())),
                    after: before.is_some().then(|| shown(before.as_ref())),
                });
            }
        }
        Ok(Preview { changes, readings: Vec::new() })
    }

    async fn perform(&self, cx: &mut PerformCx<'_>) -> Result<Outcome, StepError> {
        for Locked { key, scope, frozen, before } in self.locked(cx.read)? {
            lock::turn(cx, key, &scope, frozen, before).await?;
        }
        Ok(Outcome::default())
    }

    async fn probe(&self, cx: &StepCx, effect: &RecordedEffect) -> Verdict {
        lock::look(cx, cx.wait(), &[]).at(effect).await
    }

    async fn undo(&self, cx: &mut PerformCx<'_>, effect: &RecordedEffect) -> Result<(), StepError> {
        lock::take_back(cx, effect).await
    }
}
