//! Whether this identity may do what a step is about to do, and take it back: asked before the first write.
//!
//! Not a kind. What can not be told counts as missing: a way back that is not proved is none.

use super::{Evidence, FailureClass, StepCx, StepError};
use crate::azure::{ArmError, Held, ResourceId, Right, Wait};

/// What is known of each right at one scope.
pub(super) async fn read(
    cx: &StepCx,
    wait: &mut Wait<'_>,
    scope: &ResourceId,
    rights: &[Right],
) -> Result<Vec<Evidence>, ArmError> {
    let known = cx.world.azure.rights(wait, scope).await?;
    let evidence = |right: &Right| {
        let (verdict, detail) = match known.holds(right) {
            Held::Yes => ("held", right.to_string()),
            Held::No => ("missing", format!("no role grants {right}")),
            Held::Denied(by) => ("denied", format!("{right}, by deny assignment `{by}`")),
            Held::Unknown(by) => {
                let why = "whether it concerns this identity can not be told";
                ("not compared", format!("{right}: deny assignment `{by}`, and {why}"))
            }
        };
        let check = format!("rights at {}", short(scope));
        Evidence { check, verdict: verdict.to_owned(), detail, holds: verdict == "held" }
    };
    Ok(rights.iter().map(evidence).collect())
}

/// All of them are held, or an error that names those that are not. Changes nothing.
pub(super) async fn prove(
    cx: &StepCx,
    wait: &mut Wait<'_>,
    attempted: &str,
    scope: &ResourceId,
    rights: &[Right],
) -> Result<Evidence, StepError> {
    let evidence = read(cx, wait, scope, rights).await;
    let evidence =
        evidence.map_err(|error| error.into_step_error(attempted, "nothing was changed"))?;
    if evidence.iter().any(|it| !it.holds) {
        return Err(missing(attempted, &evidence));
    }
    let names: Vec<_> = rights.iter().map(Right::to_string).collect();
    Ok(Evidence {
        check: format!("rights at {}", short(scope)),
        verdict: "held".to_owned(),
        detail: names.join(", "),
        holds: true,
    })
}

/// The refusal.
pub(super) fn missing(attempted: &str, evidence: &[Evidence]) -> StepError {
    let known = "rights are missing; nothing was changed";
    let error = StepError::new(FailureClass::Refused, "MIG0121", attempted, known);
    let missing = evidence.iter().filter(|it| !it.holds);
    missing
        .fold(error, |error, it| {
            error.cause(format!("{}: {}: {}", it.check, it.verdict, it.detail))
        })
        .hint("give the identity a role with these actions at that scope, then `migrate resume`")
        .retryable()
}

/// The last two segments: `resourceGroups/rg-crm`.
pub(super) fn short(scope: &ResourceId) -> &str {
    let id = scope.as_str();
    let mut slashes = id.rmatch_indices('/');
    slashes.nth(1).map_or(id, |(at, _)| &id[at + 1..])
}
