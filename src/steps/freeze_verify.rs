//! `freeze.verify`: the freeze held until now, or who broke it. Changes nothing.

use async_trait::async_trait;
use jiff::Timestamp;
use schemars::JsonSchema;
use serde::Deserialize;

use super::{
    Evidence, FailureClass, Kind, Outcome, PerformCx, Preview, Step, StepCx, StepError, lock,
};
use crate::freeze::{Exception, Frozen};
use crate::plan::{Class, KindSpec, Role, Span};
use crate::run::{RecordedEffect, Repeat, StepId, Undo, Verdict};

/// Parameters of `freeze.verify`.
#[derive(Debug, Clone, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct With {
    /// Id of the `freeze.begin` step; every freeze that has begun when not given.
    #[serde(default)]
    pub freeze: Option<String>,
    /// Where the activity log is watched: wait this long first, because the log tells late. Default 5m.
    #[serde(default = "five_minutes")]
    pub margin: Span,
}

const fn five_minutes() -> Span {
    Span::minutes(5)
}

/// The kind.
pub const KIND: Kind = Kind {
    spec: KindSpec {
        name: "freeze.verify",
        summary: "Verify that the freeze held until now",
        docs: "Looks at every lock and baseline that `freeze.begin` recorded. A lock that is gone or changed, a change in the \
               activity log that neither this run made nor an exception covers, or a file that is not as it was ends with \
               exit 4 and names each.\n\n\
               The activity log tells some minutes late; `margin` is waited out first where it is watched.",
        example: include_str!("../../examples/steps/freeze.verify.yaml"),
        class: Class::Check,
        repeat: Repeat::Repeatable,
        undo: Undo::LeavesInPlace,
        roles: &[Role::VerifiesFreeze],
        outputs: &[],
        open_outputs: false,
        schema: || schemars::schema_for!(With),
        check: super::check::<With>,
        describe: |_| vec!["the freeze held".to_owned()],
    },
    build: |with| {
        if with.is_null() {
            return Ok(Box::new(With { freeze: None, margin: five_minutes() }));
        }
        Ok(Box::new(super::read::<With>(with)?))
    },
};

/// The part of a `freeze.begin` that is read again at every look, so that a later agreement counts.
#[derive(Deserialize)]
struct Agreed {
    #[serde(default)]
    exceptions: Vec<Exception>,
}

fn agreed(cx: &StepCx, begin: &StepId) -> Vec<Exception> {
    let step = cx.world.plan.steps.iter().find(|step| step.id == *begin);
    step.and_then(|step| Agreed::deserialize(&step.with).ok())
        .map(|agreed| agreed.exceptions)
        .unwrap_or_default()
}

impl With {
    async fn look(&self, cx: &StepCx, until: Timestamp) -> Result<Vec<Evidence>, StepError> {
        let mut evidence = Vec::new();
        for (begin, effects) in lock::begun(cx, self.freeze.as_deref())? {
            let exceptions = agreed(cx, begin);
            let mut look = lock::look_until(cx, cx.wait(), &exceptions, until);
            for effect in effects.iter().filter(|effect| effect.done) {
                let (verdict, detail) = match look.at(effect).await {
                    Verdict::Done { .. } => ("held", String::new()),
                    Verdict::NotDone => ("gone", "it is not in place any more".to_owned()),
                    Verdict::Unknown { evidence } => ("violated", evidence),
                };
                let (verdict, holds) = (verdict.to_owned(), verdict == "held");
                evidence.push(Evidence { check: lock::part(effect), verdict, detail, holds });
            }
        }
        Ok(evidence)
    }

    fn tells_late(&self, cx: &StepCx) -> Result<bool, StepError> {
        let begun = lock::begun(cx, self.freeze.as_deref())?;
        Ok(begun.iter().flat_map(|(_, effects)| effects.iter()).any(|effect| {
            matches!(Frozen::of(&effect.intent.after), Some(Frozen::ActivityLog { .. }))
        }))
    }
}

#[async_trait]
impl Step for With {
    async fn preview(&self, cx: &StepCx) -> Result<Preview, StepError> {
        // In a dry run nothing has begun; then there is nothing to look at.
        let readings = self.look(cx, cx.clock().now()).await.unwrap_or_default();
        Ok(Preview { readings, ..Preview::default() })
    }

    async fn perform(&self, cx: &mut PerformCx<'_>) -> Result<Outcome, StepError> {
        // What counts is the time until this step began; the wait is only for what the log tells late.
        let until = cx.clock().now();
        if self.tells_late(cx.read)? {
            cx.progress
                .say(format!("waits {} for the activity log, which tells late", self.margin));
            cx.read.sleep(self.margin.duration(), cx.busy).await?;
        }
        let evidence = self.look(cx.read, until).await?;
        let broken: Vec<String> = evidence
            .iter()
            .filter(|it| !it.holds)
            .map(|it| format!("{}: {}", it.check, it.detail))
            .collect();
        if broken.is_empty() {
            return Ok(Outcome { evidence, ..Outcome::default() });
        }
        let mut error = StepError::new(
            FailureClass::Refused,
            "MIG0401",
            "verify that the freeze held",
            format!("{} of {} parts did not hold; nothing was changed", broken.len(), evidence.len()),
        )
        .hint("have the change taken back, or agreed under `exceptions` of `freeze.begin`, then `migrate resume`");
        error.causes = broken;
        Err(error)
    }

    async fn probe(&self, _cx: &StepCx, _effect: &RecordedEffect) -> Verdict {
        Verdict::Unknown { evidence: "a check changes nothing".to_owned() }
    }

    async fn undo(
        &self,
        _cx: &mut PerformCx<'_>,
        _effect: &RecordedEffect,
    ) -> Result<(), StepError> {
        Ok(())
    }
}
