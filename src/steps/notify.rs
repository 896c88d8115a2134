//! `notify`: tells people on the console or by a webhook.

use async_trait::async_trait;
use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::{Value, json};

use super::{Granted, Kind, Outcome, PerformCx, Preview, Step, StepCx, StepError};
use crate::plan::{Class, KindSpec, Role};
use crate::run::{Intent, RecordedEffect, Repeat, Undo, Verdict};

/// Parameters of `notify`.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct With {
    /// Who is told.
    pub to: Vec<String>,
    /// What they are told.
    pub message: String,
}

/// The kind.
pub const KIND: Kind = Kind {
    spec: KindSpec {
        name: "notify",
        summary: "Tell people",
        docs: "",
        example: "",
        class: Class::Action,
        repeat: Repeat::Repeatable,
        undo: Undo::LeavesInPlace,
        roles: &[Role::Notifies],
        outputs: &[],
        open_outputs: false,
        schema: || schemars::schema_for!(With),
        check: super::check::<With>,
        describe: |with| vec![format!("message to {}", with["to"])],
    },
    build: |with| Ok(Box::new(super::read::<With>(with)?)),
};

#[async_trait]
impl Step for With {
    async fn preview(&self, _cx: &StepCx) -> Result<Preview, StepError> {
        Ok(Preview::default())
    }

    async fn perform(&self, cx: &mut PerformCx<'_>) -> Result<Outcome, StepError> {
        let intent = Intent::new(
            "message",
            "console",
            "post",
            (Repeat::Repeatable, Undo::LeavesInPlace),
            Value::Null,
            json!({ "to": self.to, "message": self.message }),
        );
        if let Granted::Permit(permit) = cx.effects.intend(intent).await? {
            cx.effects.done(permit, Value::Null).await?;
        }
        Ok(Outcome::default())
    }

    async fn probe(&self, _cx: &StepCx, _effect: &RecordedEffect) -> Verdict {
        Verdict::NotDone
    }

    async fn undo(&self, _cx: &mut PerformCx<'_>, _effect: &RecordedEffect) -> Result<(), StepError> {
        Ok(())
    }
}
