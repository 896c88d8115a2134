//! Everything that must hold before the switch. Reads only, but for one update that a primary has to grant and that
//! changes nothing.

use super::{Cutover, Move};
use crate::azure::Wait;
use crate::dns::update::Slot;
use crate::dns::{Keeper, Set, Turn};
use crate::run::{Evidence, FailureClass, StepError};
use crate::steps::zone::{UNTOUCHED, Zone, hands};
use crate::steps::{StepCx, fallback};

/// Why a type stays what it is at Azure DNS, and what to do instead.
pub(super) const NO_TRANSACTIONS: &str = "Azure DNS has no transactions, and between two writes the name would have no answer; \
     point the CNAME at a name that has the address, or move the alias ahead of the wave";

impl Cutover {
    /// What is there now, and what is to be done, for these moves.
    pub(super) async fn turns(
        &self,
        cx: &StepCx,
        wait: Wait<'_>,
        zone: &Zone,
        moves: &[&Move],
        attempted: &str,
    ) -> Result<Vec<Turn>, StepError> {
        let slots: Vec<Slot> = moves.iter().flat_map(|it| it.slots()).collect();
        let mut now = zone.read(cx, wait, &slots, attempted).await?.into_iter();
        let mut turns: Vec<Turn> = Vec::new();
        for one in moves {
            let now = now.by_ref().take(one.slots().len()).collect();
            one.as_expected(&now, attempted)?;
            turns.extend(one.turns(zone, now, attempted)?);
        }
        // Two records may let the same type go.
        let mut seen = std::collections::BTreeSet::new();
        turns.retain(|turn| turn.wanted.is_some() || seen.insert(turn.slot.clone()));
        Ok(turns)
    }

    /// Refuses where something is in the way, or the source does not answer. Reads only.
    pub(super) async fn gates(
        &self,
        cx: &StepCx,
        wait: Wait<'_>,
        zone: &Zone,
        turns: &[Turn],
        attempted: &str,
    ) -> Result<Evidence, StepError> {
        let mut hands = hands(cx, wait);
        for turn in turns.iter().filter(|turn| turn.wanted.is_some()) {
            let found = zone.keeper.in_the_way(&mut hands, &turn.slot).await;
            let found = found.map_err(|error| error.into_step_error(attempted, UNTOUCHED))?;
            let goes = |kind: &String| {
                turns.iter().any(|other| {
                    other.wanted.is_none()
                        && other.slot.name == turn.slot.name
                        && other.slot.kind.as_str() == kind
                })
            };
            if let Some(kind) = found.into_iter().find(|kind| !goes(kind)) {
                return Err(in_the_way(zone, &turn.slot, &kind, attempted));
            }
        }
        let fallback = fallback::read(cx, self.with.fallback.as_deref()).await;
        if self.with.fallback.is_some() && !fallback.holds {
            return Err(StepError::new(
                FailureClass::Refused,
                "MIG0204",
                attempted,
                format!(
                    "the way back is not proved: {} ({}); nothing was changed",
                    fallback.detail, fallback.verdict
                ),
            )
            .hint("make the source answer again, then `migrate resume`")
            .retryable());
        }
        Ok(fallback)
    }

    /// Has the keeper grant the rights for the way there and back, where it can be asked.
    pub(super) async fn rights(
        cx: &StepCx,
        wait: Wait<'_>,
        zone: &Zone,
        turns: &[Turn],
        attempted: &str,
    ) -> Result<Option<Evidence>, StepError> {
        let proved = zone.keeper.prove_rights(&mut hands(cx, wait), turns).await;
        let proved =
            proved.map_err(|error| refused(error.into_step_error(attempted, UNTOUCHED)))?;
        Ok(proved.then(|| Evidence {
            check: format!("way back: rights at {}", zone.keeper.shown()),
            verdict: "granted".to_owned(),
            detail: "a signed update of the same records that changes nothing".to_owned(),
            holds: true,
        }))
    }
}

impl Move {
    /// Drift: what is there is not what the author expected. What goes with the switch counts, too.
    fn as_expected(&self, now: &Vec<Option<Set>>, attempted: &str) -> Result<(), StepError> {
        let Some(expected) = &self.expect else { return Ok(()) };
        let alias = now.first().and_then(|set| set.as_ref()?.alias());
        if let (Some(id), [expected]) = (alias, expected.as_slice())
            && id.eq_ignore_ascii_case(expected)
        {
            return Ok(());
        }
        let found: Option<Vec<_>> = self
            .slots()
            .iter()
            .zip(now)
            .filter_map(|(slot, set)| Some((slot.kind, set.as_ref()?.values(slot.kind).ok())))
            .map(|(kind, values)| Some((kind, values?)))
            .collect();
        let as_expected = found.is_some_and(|found| {
            let found: Vec<_> = found
                .into_iter()
                .flat_map(|(kind, values)| values.into_iter().map(move |value| (kind, value)))
                .collect();
            let is = |text: &String, (kind, value): &(_, _)| {
                crate::dns::RecordType::parse(*kind, text).as_ref() == Ok(value)
            };
            found.iter().all(|value| expected.iter().any(|text| is(text, value)))
                && expected.iter().all(|text| found.iter().any(|value| is(text, value)))
        });
        if as_expected {
            return Ok(());
        }
        let expected =
            if expected.is_empty() { "no record".to_owned() } else { expected.join(", ") };
        let there: Vec<_> = now.iter().flatten().map(|set| Set::shown(Some(set))).collect();
        let there = if there.is_empty() { Set::shown(None) } else { there.join("; ") };
        Err(StepError::new(
            FailureClass::Drift,
            "MIG0203",
            attempted,
            "the record set was changed by another hand; nothing was overwritten",
        )
        .cause(format!("expected: {expected}"))
        .cause(format!("found: {there}"))
        .hint(
            "find out who changed it and why; correct the record set or `expect`, then plan again",
        ))
    }
}

/// A name has either a CNAME or other records; deleting first would leave a hole.
fn in_the_way(zone: &Zone, slot: &Slot, kind: &str, attempted: &str) -> StepError {
    let known = format!("the name has a {kind} record; nothing was changed");
    let error = StepError::new(FailureClass::Refused, "MIG0205", attempted, known);
    match zone.keeper {
        Keeper::Azure(_) => error.hint(format!("keep the type: {NO_TRANSACTIONS}")),
        Keeper::Primary(_) => error
            .hint(format!("write `replaces: [{kind}]` at {slot}: it then goes in the same update")),
    }
}

/// The proof of rights failed: the update itself was not sent, and its outcome is not in doubt.
fn refused(error: StepError) -> StepError {
    if error.class == FailureClass::Unknown {
        return StepError {
            class: FailureClass::Failed,
            known: "the primary was asked to change nothing, and its reply was lost".to_owned(),
            ..error
        }
        .retryable();
    }
    error
}
