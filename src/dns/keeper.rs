//! Who keeps a zone: Azure DNS, or a primary name server that takes signed updates. Reads, changes and journal forms, the
//! same for both.
//!
//! Promises: every change is conditional on exactly what was read; a recorded state restores what was there; whether a
//! recorded change is in place is answered by reading.

use serde_json::Value;

use super::azure::AzureZone;
use super::record::RecordType;
use super::set::{Content, Set, exact};
use super::update::{Primary, Slot, State, UpdateError};
use crate::azure::{ArmError, Azure, RecordSet, Wait};
use crate::clock::Clock;
use crate::journal::EffectPermit;
use crate::run::{StepError, Verdict};

/// See the module.
#[derive(Debug, Clone)]
pub enum Keeper {
    /// A zone of Azure DNS: one record set a write.
    Azure(AzureZone),
    /// A zone at its primary: any number of record sets in one update.
    Primary(Primary),
}

/// What a call to a keeper needs of the run.
pub struct Hands<'a, 'w> {
    /// For Azure DNS.
    pub azure: &'a Azure,
    /// For signatures.
    pub clock: &'a Clock,
    /// Waits for Azure DNS.
    pub wait: Wait<'w>,
}

impl std::fmt::Debug for Hands<'_, '_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Hands").finish_non_exhaustive()
    }
}

/// One record set, from what it is to what it shall be.
#[derive(Debug, Clone)]
pub struct Turn {
    /// Which.
    pub slot: Slot,
    /// As it was read; none where nothing is.
    pub now: Option<Set>,
    /// As it shall be; none where nothing shall be.
    pub wanted: Option<Set>,
}

impl Turn {
    /// Nothing is to be done.
    pub fn is_made(&self) -> bool {
        Set::same(self.now.as_ref(), self.wanted.as_ref())
    }
}

/// Why a keeper could not do what it was asked.
#[derive(Debug, thiserror::Error)]
pub enum KeeperError {
    /// Azure DNS.
    #[error(transparent)]
    Azure(#[from] ArmError),
    /// A primary.
    #[error(transparent)]
    Primary(#[from] UpdateError),
}

impl KeeperError {
    /// Whether the change may have been made nevertheless.
    pub fn outcome_unknown(&self) -> bool {
        match self {
            Self::Azure(error) => error.outcome_unknown(),
            Self::Primary(error) => error.outcome_unknown(),
        }
    }

    /// As the failure of a step; `known` says what is known of the zone where nothing was changed.
    pub fn into_step_error(self, attempted: &str, known: &str) -> StepError {
        match self {
            Self::Azure(error) => error.into_step_error(attempted, known),
            Self::Primary(error) => error.into_step_error(attempted, known),
        }
    }
}

impl Keeper {
    /// For people: who is changed.
    pub fn shown(&self) -> String {
        match self {
            Self::Azure(_) => "Azure DNS".to_owned(),
            Self::Primary(primary) => format!("the primary {}", primary.address),
        }
    }

    /// What it holds now, in the order of `slots`.
    pub async fn read(
        &self,
        hands: &mut Hands<'_, '_>,
        slots: &[Slot],
    ) -> Result<Vec<Option<Set>>, KeeperError> {
        match self {
            Self::Azure(zone) => {
                let mut sets = Vec::new();
                for slot in slots {
                    let set = zone.read(hands.azure, &mut hands.wait, slot).await?;
                    sets.push(set.map(Set::Azure));
                }
                Ok(sets)
            }
            Self::Primary(primary) => {
                let mut state = primary.read(hands.clock, slots.iter().cloned()).await?;
                let held = |slot| state.0.remove(slot).flatten().map(Set::Exact);
                Ok(slots.iter().map(held).collect())
            }
        }
    }

    /// A record set that is not there yet.
    pub fn fresh(&self, slot: &Slot, ttl: u32, content: &Content) -> Result<Set, ArmError> {
        match self {
            Self::Azure(zone) => zone.fresh(slot, ttl, content).map(Set::Azure),
            Self::Primary(_) => exact(slot.kind, ttl, content),
        }
    }

    /// Types of what is at the name and can not stand beside this one: a name has either a CNAME or other records.
    pub async fn in_the_way(
        &self,
        hands: &mut Hands<'_, '_>,
        slot: &Slot,
    ) -> Result<Vec<String>, KeeperError> {
        let alias = RecordType::Cname;
        if let (Self::Primary(primary), true) = (self, slot.kind == alias) {
            // All types there are: one that is overlooked would have the alias ignored without a word.
            let types = primary.types_at(hands.clock, &slot.name).await?;
            let others = types.into_iter().filter(|rtype| *rtype != alias.rtype());
            return Ok(others.map(|rtype| rtype.to_string()).collect());
        }
        let others = RecordType::ALL
            .into_iter()
            .filter(|kind| if slot.kind == alias { *kind != alias } else { *kind == alias });
        let slots: Vec<Slot> = others.map(|kind| Slot { kind, ..slot.clone() }).collect();
        let found = self.read(hands, &slots).await?;
        let there = slots.iter().zip(found).filter(|(_, set)| set.is_some());
        Ok(there.map(|(slot, _)| slot.kind.to_string()).collect())
    }

    /// The turns as they are written: one intent each. Azure DNS knows no transactions.
    pub fn batches(&self, turns: Vec<Turn>) -> Vec<Vec<Turn>> {
        match self {
            Self::Azure(_) => turns.into_iter().map(|turn| vec![turn]).collect(),
            Self::Primary(_) => vec![turns],
        }
    }

    /// The key of a batch's intent, the same in every attempt.
    pub fn key(&self, batch: &[Turn]) -> String {
        match (self, batch) {
            (Self::Azure(zone), [turn]) => format!("record:{}", zone.path(&turn.slot)),
            _ => "records".to_owned(),
        }
    }

    /// What a batch changes, for its intent.
    pub fn target(&self, batch: &[Turn]) -> String {
        match (self, batch) {
            (Self::Azure(zone), [turn]) => format!("{}/{}", zone.id, zone.path(&turn.slot)),
            (Self::Azure(zone), _) => zone.id.to_string(),
            (Self::Primary(primary), _) => {
                format!("zone {} at {}", primary.zone, primary.address)
            }
        }
    }

    /// Changes a batch, or nothing of it, and says what is there then, in the form of a journal.
    pub async fn change(
        &self,
        hands: &mut Hands<'_, '_>,
        permit: &EffectPermit,
        batch: &[Turn],
    ) -> Result<Value, KeeperError> {
        match self {
            Self::Azure(zone) => {
                let mut left = Value::Null;
                for turn in batch {
                    let sides = (record_set(turn.now.as_ref()), record_set(turn.wanted.as_ref()));
                    let set = zone.change(hands.azure, &mut hands.wait, permit, sides).await?;
                    left = value(&set);
                }
                Ok(left)
            }
            Self::Primary(primary) => {
                let [before, after] = [state(batch, false), state(batch, true)];
                primary.change(hands.clock, permit, &before, &after).await?;
                let left = primary.read(hands.clock, after.0.keys().cloned()).await;
                let lost = |why: String| UpdateError::ReplyLost(primary.address, why);
                match left {
                    Ok(left) if left == after => Ok(value(&left)),
                    Ok(left) => Err(lost(format!("it said NOERROR, and then held {left}")).into()),
                    Err(why) => Err(lost(format!("it said NOERROR; reading back: {why}")).into()),
                }
            }
        }
    }

    /// Proves that the batch may be written and taken back, where the keeper can be asked without changing anything.
    /// `Ok(false)` where it can not.
    pub async fn prove_rights(
        &self,
        hands: &mut Hands<'_, '_>,
        batch: &[Turn],
    ) -> Result<bool, KeeperError> {
        match self {
            Self::Azure(_) => Ok(false),
            Self::Primary(primary) => {
                primary.prove_rights(hands.clock, &state(batch, false)).await?;
                Ok(true)
            }
        }
    }

    /// Both sides of a batch as an intent holds them.
    pub fn recorded(&self, batch: &[Turn]) -> (Value, Value) {
        match self {
            Self::Azure(_) => {
                let side = |set: Option<&Set>| value(&record_set(set));
                let turn = batch.first();
                let now = side(turn.and_then(|turn| turn.now.as_ref()));
                (now, side(turn.and_then(|turn| turn.wanted.as_ref())))
            }
            Self::Primary(_) => (value(&state(batch, false)), value(&state(batch, true))),
        }
    }

    /// The batch of a recorded intent again.
    pub fn batch(&self, before: &Value, after: &Value) -> Result<Vec<Turn>, String> {
        let unreadable = |error: serde_json::Error| error.to_string();
        match self {
            Self::Azure(zone) => {
                let side = |value: &Value| -> Result<Option<RecordSet>, String> {
                    serde::Deserialize::deserialize(value).map_err(unreadable)
                };
                let (now, wanted) = (side(before)?, side(after)?);
                let slot = now.as_ref().or(wanted.as_ref()).and_then(|set| zone.slot(set));
                let slot = slot.ok_or("it names no record set that can be moved")?;
                Ok(vec![Turn { slot, now: now.map(Set::Azure), wanted: wanted.map(Set::Azure) }])
            }
            Self::Primary(_) => {
                let side = |value: &Value| -> Result<State, String> {
                    serde::Deserialize::deserialize(value).map_err(unreadable)
                };
                let (before, mut after) = (side(before)?, side(after)?);
                let turn = |(slot, now): (Slot, Option<_>)| {
                    let wanted = after.0.remove(&slot).flatten().map(Set::Exact);
                    Turn { slot, now: now.map(Set::Exact), wanted }
                };
                Ok(before.0.into_iter().map(turn).collect())
            }
        }
    }

    /// Is a recorded change in place?
    pub async fn probe(&self, hands: &mut Hands<'_, '_>, before: &Value, after: &Value) -> Verdict {
        let unknown = |evidence: String| Verdict::Unknown { evidence };
        let batch = match self.batch(before, after) {
            Ok(batch) => batch,
            Err(why) => return unknown(format!("the recorded state can not be read: {why}")),
        };
        let slots: Vec<Slot> = batch.iter().map(|turn| turn.slot.clone()).collect();
        let now = match self.read(hands, &slots).await {
            Ok(now) => now,
            Err(error) => return unknown(format!("{} could not be read: {error}", slots[0])),
        };
        let all = |side: fn(&Turn) -> Option<&Set>| {
            batch.iter().zip(&now).all(|(turn, now)| Set::same(now.as_ref(), side(turn)))
        };
        if all(|turn| turn.wanted.as_ref()) {
            let left: Vec<Turn> = batch
                .into_iter()
                .zip(now)
                .map(|(turn, now)| Turn { wanted: now, ..turn })
                .collect();
            return Verdict::Done { observed: self.recorded(&left).1 };
        }
        if all(|turn| turn.now.as_ref()) {
            return Verdict::NotDone;
        }
        let line = |(turn, now): (&Turn, &Option<Set>)| {
            format!(
                "{} is {}; before it was {}, wanted is {}",
                turn.slot,
                Set::shown(now.as_ref()),
                Set::shown(turn.now.as_ref()),
                Set::shown(turn.wanted.as_ref())
            )
        };
        unknown(batch.iter().zip(&now).map(line).collect::<Vec<_>>().join("; "))
    }
}

fn value(of: &impl serde::Serialize) -> Value {
    serde_json::to_value(of).expect("records are plain data")
}

fn record_set(set: Option<&Set>) -> Option<&RecordSet> {
    match set {
        Some(Set::Azure(set)) => Some(set),
        _ => None,
    }
}

/// One side of a batch at a primary.
fn state(batch: &[Turn], wanted: bool) -> State {
    let side = |turn: &Turn| {
        let set = if wanted { &turn.wanted } else { &turn.now };
        match set {
            Some(Set::Exact(held)) => Some(held.clone()),
            _ => None,
        }
    };
    State(batch.iter().map(|turn| (turn.slot.clone(), side(turn))).collect())
}
