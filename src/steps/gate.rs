//! What the freeze kinds do with the gate of a pipeline. Not a kind.
//!
//! A gate carries no version, so it is read before it is moved and read again afterwards; one that another hand has
//! altered is left alone.

use super::{FailureClass, PerformCx, StepCx, StepError, lock};
use crate::freeze::{Door, Frozen, Gate, GateError, Stand, stands};
use crate::run::{Intent, Repeat, Undo};

/// How this step asks gates.
pub(super) fn door(cx: &StepCx) -> Door<'_> {
    let world = &cx.world;
    Door { client: world.network.http_client(), secrets: &world.secrets, run: &world.run }
}

/// How the gate of that name stands; one that was altered is refused.
pub(super) async fn stand(cx: &StepCx, gate: &Gate, name: &str) -> Result<Stand, StepError> {
    let attempted = format!("read the gate of {}", gate.shown());
    match gate.stand(door(cx), name).await {
        Ok(Stand::Altered(how)) => Err(StepError::new(
            FailureClass::Drift,
            "MIG0406",
            attempted,
            "the gate was altered by another hand; it was left alone",
        )
        .cause(format!("{name}: {how}"))
        .hint("decide by hand what the gate shall be, then `migrate resume`")),
        Ok(stand) => Ok(stand),
        Err(error) => Err(error.into_step_error(attempted, true)),
    }
}

/// Closes or opens it; already so is fine.
pub(super) async fn turn(
    cx: &mut PerformCx<'_>,
    key: String,
    gate: &Gate,
    name: &str,
    close: bool,
) -> Result<(), StepError> {
    let stand = stand(cx.read, gate, name).await?;
    if matches!(stand, Stand::Closed(_)) == close {
        return Ok(());
    }
    make(cx, key, gate, name, stand, close).await
}

/// Makes the change under a journalled intent, also where there is nothing left to change: what was found is what an
/// undo returns to.
pub(super) async fn make(
    cx: &mut PerformCx<'_>,
    key: String,
    gate: &Gate,
    name: &str,
    stand: Stand,
    close: bool,
) -> Result<(), StepError> {
    let state =
        |closed| Frozen::Gate { gate: gate.clone(), name: name.to_owned(), closed }.to_value();
    let verb = if close { "close" } else { "open" };
    let attempted = format!("{verb} the gate of {}", gate.shown());
    let classes = (Repeat::Repeatable, Undo::Restores);
    let was = matches!(stand, Stand::Closed(_));
    let intent = Intent::new(key, gate.shown(), verb, classes, state(was), state(close));
    let (door, notes) = (door(cx.read), lock::notes(cx.read));
    let failed = |error: GateError| error.into_step_error(attempted.clone(), false);
    let make = async |permit: &_| {
        match &stand {
            Stand::Open if close => gate.close(door, permit, name, &notes).await.map_err(failed)?,
            Stand::Closed(id) if !close => gate.open(door, permit, id).await.map_err(failed)?,
            _ => return Ok(state(close)),
        }
        match gate.stand(door, name).await {
            Ok(now) if matches!(now, Stand::Closed(_)) == close => Ok(state(close)),
            Ok(now) => {
                Err(unseen(&attempted, format!("it answered, and then the gate was {now:?}")))
            }
            Err(error) => Err(unseen(&attempted, error.to_string())),
        }
    };
    cx.change(intent, make).await.map(drop)
}

/// The change was answered but could not be seen.
fn unseen(attempted: &str, why: String) -> StepError {
    let known = "the service took the change, and it was not there when it was read again";
    StepError::new(FailureClass::Unknown, "MIG0405", attempted, known)
        .cause(why)
        .hint("look at the gate by hand, then `migrate resume`")
}

/// For dry runs.
pub(super) fn change(gate: &Gate, from: bool, to: bool) -> super::Change {
    super::Change {
        target: gate.shown(),
        verb: if to { "close" } else { "open" }.to_owned(),
        before: Some(stands(from).to_owned()),
        after: Some(stands(to).to_owned()),
    }
}
