//! `freeze.end`: each lock and each gate returns to what it was before the freeze. From its success on nothing is watched any more.

use async_trait::async_trait;
use schemars::JsonSchema;
use serde::Deserialize;

use super::{Change, Kind, Outcome, PerformCx, Preview, Step, StepCx, StepError, gate, lock};
use crate::azure::ResourceId;
use crate::freeze::{Frozen, Stand, shown};
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
        summary: "End the freeze: locks and gates return to what they were",
        docs: "Each lock that `freeze.begin` set is removed, or set back to what was there before; each gate that it closed is \
               opened. A lock or gate that another hand changed meanwhile is left alone (exit 11).\n\n\
               Azure can go on answering `ScopeLocked` for a short while after a lock is gone.\n\n\
               Taken back: the locks of the freeze are set again, its gates closed.",
        example: include_str!("../../examples/steps/freeze.end.yaml"),
        class: Class::Action,
        repeat: Repeat::Repeatable,
        undo: Undo::Restores,
        roles: &[Role::Unfreezes],
        outputs: &[],
        open_outputs: false,
        schema: || schemars::schema_for!(With),
        check: super::check::<With>,
        describe: |_| vec!["locks and gates of the freeze return to what they were".to_owned()],
    },
    build: |with| {
        if with.is_null() {
            return Ok(Box::new(With::default()));
        }
        Ok(Box::new(super::read::<With>(with)?))
    },
};

/// A lock or a gate of the freeze: its key here, what the freeze made of it, and what it was before.
struct Part {
    key: String,
    frozen: Frozen,
    before: Frozen,
}

impl With {
    fn parts(&self, cx: &StepCx) -> Result<Vec<Part>, StepError> {
        let mut all = Vec::new();
        for (begin, effects) in lock::begun(cx, self.freeze.as_deref())? {
            for effect in effects.iter().filter(|effect| effect.done) {
                if let (Some(frozen), Some(before)) =
                    (Frozen::of(&effect.intent.after), Frozen::of(&effect.intent.before))
                {
                    let key = format!("end:{begin}/{}", effect.intent.key);
                    all.push(Part { key, frozen, before });
                }
            }
        }
        Ok(all)
    }
}

/// What would change of a part, if anything would.
async fn change(
    cx: &StepCx,
    Part { frozen, before, .. }: Part,
) -> Result<Option<Change>, StepError> {
    match (frozen, before) {
        (Frozen::Lock { scope, lock: Some(named) }, Frozen::Lock { lock: before, .. }) => {
            let id = ResourceId::parse(&scope)
                .map_err(|error| error.into_step_error("read a lock", "nothing was changed"))?;
            let now = lock::read(cx, &mut cx.wait(), &id, &named.name).await?;
            Ok((now != before).then(|| Change {
                target: scope,
                verb: if before.is_some() { "replace" } else { "delete" }.to_owned(),
                before: Some(shown(now.as_ref())),
                after: before.is_some().then(|| shown(before.as_ref())),
            }))
        }
        (Frozen::Gate { gate, name, .. }, Frozen::Gate { closed, .. }) => {
            let now = matches!(gate::stand(cx, &gate, &name).await?, Stand::Closed(_));
            Ok((now != closed).then(|| gate::change(&gate, now, closed)))
        }
        _ => Ok(None),
    }
}

#[async_trait]
impl Step for With {
    async fn preview(&self, cx: &StepCx) -> Result<Preview, StepError> {
        let mut changes = Vec::new();
        // In a dry run nothing has begun; then there is nothing to end.
        for part in self.parts(cx).unwrap_or_default() {
            changes.extend(change(cx, part).await?);
        }
        Ok(Preview { changes, readings: Vec::new() })
    }

    async fn perform(&self, cx: &mut PerformCx<'_>) -> Result<Outcome, StepError> {
        for Part { key, frozen, before } in self.parts(cx.read)? {
            lock::turn_part(cx, key, frozen, before).await?;
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

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::sync::Arc;

    use serde_json::{Value, json};

    use super::super::testing::{Bench, SandboxBench};
    use super::gate;
    use crate::azure::{Lock, LockLevel};
    use crate::freeze::{Gate, Stand};
    use crate::journal::EffectPermit;
    use crate::run::{FailureClass, StepId, Verdict};

    fn begin(sandbox: &SandboxBench) -> Bench {
        let with = json!({
            "locks": [{ "scope": "rg-crm-source", "level": "can-not-delete" }],
            "watch": ["activity-log", { "files": { "folder": "source/crm/share" } }],
        });
        sandbox.step("freeze.begin", &with)
    }

    /// A later step of the same plan, which knows what `freeze` has recorded.
    fn after(sandbox: &SandboxBench, freeze: &Bench, kind: &str, with: &Value) -> Bench {
        let mut step = sandbox.step(kind, with);
        let mut planned = freeze.cx.step.clone();
        planned.id = StepId::new("freeze");
        let effects = BTreeMap::from([(planned.id.clone(), freeze.effects.recorded())]);
        step.cx.others = Arc::new(effects);
        step.plan_step(planned);
        step
    }

    async fn lock(sandbox: &SandboxBench, step: &Bench) -> Option<Lock> {
        let azure = &sandbox.world.azure;
        let scope = azure.scope("rg-crm-source").expect("a scope");
        azure.lock(&mut step.cx.wait(), &scope, "migrate-wave-step").await.expect("read")
    }

    #[tokio::test]
    async fn a_freeze_is_set_watched_and_ended_and_each_can_be_taken_back() {
        let sandbox = SandboxBench::start().await;
        let mut freeze = begin(&sandbox);
        freeze.perform().await.expect("frozen");
        freeze.next_attempt();
        freeze.perform().await.expect("nothing is done twice");
        let set = lock(&sandbox, &freeze).await;
        assert_eq!(set.as_ref().and_then(|lock| lock.level), Some(LockLevel::CanNotDelete));
        let effects = freeze.effects.recorded();
        assert_eq!(effects.len(), 3);
        for effect in &effects {
            let verdict = freeze.step().probe(&freeze.cx, effect).await;
            assert!(matches!(verdict, Verdict::Done { .. }), "{verdict:?}");
        }

        let verify = after(&sandbox, &freeze, "freeze.verify", &json!({}));
        verify.perform().await.expect("our own lock is no violation, late as the log may be");

        let end = after(&sandbox, &freeze, "freeze.end", &json!({}));
        end.perform().await.expect("ended");
        assert_eq!(lock(&sandbox, &freeze).await, None);
        assert_eq!(freeze.step().probe(&freeze.cx, &effects[0]).await, Verdict::NotDone);
        end.undo(&end.effects.recorded()[0]).await.expect("locked again");
        assert_eq!(lock(&sandbox, &freeze).await, set);
        freeze.undo(&effects[0]).await.expect("unlocked");
        assert_eq!(lock(&sandbox, &freeze).await, None);
    }

    #[tokio::test]
    async fn what_another_hand_did_is_named() {
        let sandbox = SandboxBench::start().await;
        let freeze = begin(&sandbox);
        freeze.perform().await.expect("frozen");
        let azure = &sandbox.world.azure;
        let scope = azure.scope("rg-crm-source").expect("a scope");
        let theirs = Lock {
            name: "theirs".to_owned(),
            level: Some(LockLevel::CanNotDelete),
            notes: String::new(),
        };
        let permit = EffectPermit::for_test("somebody-else");
        azure.put_lock(&mut freeze.cx.wait(), &permit, &scope, &theirs).await.expect("locked");
        std::fs::write(sandbox.world.base.join("source/crm/share/new.txt"), "x").expect("written");

        let verify = after(&sandbox, &freeze, "freeze.verify", &json!({ "margin": "30m" }));
        let error = verify.perform().await.expect_err("violated");
        assert_eq!((error.class, error.code.as_str()), (FailureClass::Refused, "MIG0401"));
        let causes = error.causes.join("\n");
        assert!(causes.contains("locks/theirs"), "{causes}");
        assert!(causes.contains("new.txt"), "{causes}");
        assert_eq!(error.causes.len(), 2, "{causes}");
    }

    #[tokio::test]
    async fn a_lock_changed_by_another_hand_is_left_alone() {
        let sandbox = SandboxBench::start().await;
        let freeze = begin(&sandbox);
        freeze.perform().await.expect("frozen");
        let azure = &sandbox.world.azure;
        let scope = azure.scope("rg-crm-source").expect("a scope");
        let set = lock(&sandbox, &freeze).await.expect("it is set");
        let theirs = Lock { level: Some(LockLevel::ReadOnly), ..set };
        let permit = EffectPermit::for_test("somebody-else");
        azure.put_lock(&mut freeze.cx.wait(), &permit, &scope, &theirs).await.expect("changed");
        let end = after(&sandbox, &freeze, "freeze.end", &json!({}));
        let error = end.perform().await.expect_err("drift");
        assert_eq!((error.class, error.code.as_str()), (FailureClass::Drift, "MIG0402"));
        assert_eq!(lock(&sandbox, &freeze).await, Some(theirs));
    }

    const NAME: &str = "migrate-wave-step";

    fn gates() -> [Value; 2] {
        let token = json!({ "secret": "token" });
        [
            json!({ "github": { "repository": "contoso/crm", "token": token } }),
            json!({ "azure-devops": {
                "project": "contoso/crm", "environment": 7, "approvers": ["ab-1"], "token": token,
            } }),
        ]
    }

    async fn stand(step: &Bench, written: &Value) -> Stand {
        let gate: Gate = serde_json::from_value(written.clone()).expect("a gate");
        gate.stand(gate::door(&step.cx), NAME).await.expect("an answer")
    }

    #[tokio::test]
    async fn a_gate_is_closed_watched_and_opened_and_each_can_be_taken_back() {
        let sandbox = SandboxBench::start().await;
        for written in gates() {
            let mut freeze = sandbox.step("freeze.begin", &json!({ "gates": [written] }));
            assert_eq!(stand(&freeze, &written).await, Stand::Open);
            freeze.perform().await.expect("closed");
            let closed = stand(&freeze, &written).await;
            assert!(matches!(closed, Stand::Closed(_)), "{closed:?}");
            freeze.next_attempt();
            freeze.perform().await.expect("nothing is done twice");
            let effect = &freeze.effects.recorded()[0];
            let verdict = freeze.step().probe(&freeze.cx, effect).await;
            assert!(matches!(verdict, Verdict::Done { .. }), "{verdict:?}");

            let verify = after(&sandbox, &freeze, "freeze.verify", &json!({}));
            verify.perform().await.expect("it holds");
            let end = after(&sandbox, &freeze, "freeze.end", &json!({}));
            end.perform().await.expect("ended");
            assert_eq!(stand(&freeze, &written).await, Stand::Open);
            let gone = verify.perform().await.expect_err("it is open");
            assert_eq!(gone.code, "MIG0401");
            end.undo(&end.effects.recorded()[0]).await.expect("closed again");
            assert_eq!(
                stand(&freeze, &written).await,
                closed,
                "found by its name, and the only one"
            );
            freeze.undo(effect).await.expect("opened");
            assert_eq!(stand(&freeze, &written).await, Stand::Open);
        }
    }

    #[tokio::test]
    async fn a_gate_that_another_hand_altered_is_left_alone() {
        let sandbox = SandboxBench::start().await;
        for mut written in gates() {
            let freeze = sandbox.step("freeze.begin", &json!({ "gates": [written] }));
            freeze.perform().await.expect("closed");
            // The same name, about something else.
            if let Some(github) = written.get_mut("github") {
                github["branches"] = json!(["main"]);
            } else {
                written["azure-devops"]["approvers"] = json!(["cd-2"]);
            }
            let again = sandbox.step("freeze.begin", &json!({ "gates": [written] }));
            let error = again.perform().await.expect_err("altered");
            assert_eq!((error.class, error.code.as_str()), (FailureClass::Drift, "MIG0406"));
            assert!(matches!(stand(&again, &written).await, Stand::Altered(_)));
        }
    }
}
