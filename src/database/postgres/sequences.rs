//! Sequences, which logical replication leaves behind: read at the source once nobody writes there, set at the target with a
//! margin before anybody writes there.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::super::DatabaseError;
use super::{Reader, Writer, literal, quoted};
use crate::journal::EffectPermit;

/// What a sequence holds: its two columns that change.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct At {
    /// The number.
    pub value: i64,
    /// It was given out, and the one after it comes next; else it comes next itself.
    pub called: bool,
}

/// A sequence, and where it stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Sequence {
    /// Where it stands.
    #[serde(flatten)]
    pub at: At,
    /// The first number.
    pub start: i64,
    /// From one to the next; negative where it counts down.
    pub step: i64,
    /// The smallest.
    pub min: i64,
    /// The largest.
    pub max: i64,
}

/// By schema and name, each as [`quoted`]: `"public"."orders_id_seq"`.
pub type Sequences = BTreeMap<String, Sequence>;

/// What sequences are set to, by the same names.
pub type Values = BTreeMap<String, At>;

/// The relation itself is read: the view `pg_sequences` shows null for one that may not be read, and for one that was set.
const ALL: &str = "select coalesce(json_object_agg(name, value), '{}')::text from (
    select '\"' || replace(schemaname, '\"', '\"\"') || '\".\"' || replace(sequencename, '\"', '\"\"') || '\"' as name,
        json_build_object('value', (xpath('/row/last_value/text()', state))[1]::text::bigint,
            'called', (xpath('/row/is_called/text()', state))[1]::text::boolean,
            'start', start_value, 'step', increment_by, 'min', min_value, 'max', max_value) as value
    from (select pg_sequences.*, query_to_xml(format('select last_value, is_called from %I.%I', schemaname, sequencename), false, true, '') as state
        from pg_sequences where schemaname !~ '^pg_') found) named";

/// Every sequence of the database. One that this user may not read is an error.
pub async fn all(reader: &mut Reader) -> Result<Sequences, DatabaseError> {
    reader.json(ALL, &[]).await
}

impl Sequence {
    /// It has never given out a number and was never set.
    fn is_fresh(self) -> bool {
        self.at == At { value: self.start, called: false }
    }

    /// The number that comes next; none where it has run out, as far as it does not begin again.
    fn next(self) -> Option<i64> {
        let At { value, called } = self.at;
        let next = if called { value.checked_add(self.step)? } else { value };
        (self.min..=self.max).contains(&next).then_some(next)
    }

    /// `margin` numbers further, but never more than half of those that are left.
    fn beyond(self, margin: u32) -> At {
        let Some(next) = self.next() else { return self.at };
        let end = if self.step < 0 { self.min } else { self.max };
        let left = i128::from(end) - i128::from(next);
        let left = left / i128::from(self.step);
        let ahead = (left / 2).min(i128::from(margin)) * i128::from(self.step);
        let value = i64::try_from(i128::from(next) + ahead).unwrap_or(next);
        // As one that gave out the number before, where there is one: what was never called looks unused.
        let before = value.checked_sub(self.step).filter(|it| (self.min..=self.max).contains(it));
        before.map_or(At { value, called: false }, |value| At { value, called: true })
    }

    /// Whether it has been as far as `at` or further.
    pub fn has_reached(self, at: At) -> bool {
        let wanted = Self { at, ..self };
        match (self.next(), wanted.next()) {
            (None, _) => true,
            (Some(_), None) => false,
            (Some(own), Some(wanted)) if self.step < 0 => own <= wanted,
            (Some(own), Some(wanted)) => own >= wanted,
        }
    }
}

/// What each sequence of the target is to be set to, so that it gives out no number that the source gave out or the target
/// itself. `Err` names those that the target does not have.
pub fn carried(source: &Sequences, target: &Sequences, margin: u32) -> Result<Values, Vec<String>> {
    let used = || source.iter().filter(|(_, sequence)| !sequence.is_fresh());
    let missing: Vec<String> = used()
        .filter(|(name, _)| !target.contains_key(*name))
        .map(|(name, _)| name.clone())
        .collect();
    if !missing.is_empty() {
        return Err(missing);
    }
    let wanted = used().map(|(name, sequence)| {
        let (wanted, own) = (sequence.beyond(margin), target[name]);
        (name.clone(), if own.has_reached(wanted) { own.at } else { wanted })
    });
    Ok(wanted.collect())
}

/// Sets a sequence.
pub async fn set(
    writer: &mut Writer,
    permit: &EffectPermit,
    name: &str,
    at: At,
) -> Result<(), DatabaseError> {
    let At { value, called } = at;
    let statement = format!("select setval({}::regclass, {value}, {called})", literal(name));
    writer.execute(permit, &statement).await
}

/// The name of a sequence as these functions take it.
pub fn name(schema: &str, sequence: &str) -> String {
    format!("{}.{}", quoted(schema), quoted(sequence))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn one(at: At, step: i64) -> Sequences {
        let sequence = Sequence { at, start: 1, step, min: -1000, max: 1000 };
        BTreeMap::from([(name("s", "q"), sequence)])
    }

    fn anywhere() -> impl Strategy<Value = At> {
        (-1000_i64..=1000, any::<bool>()).prop_map(|(value, called)| At { value, called })
    }

    proptest! {
        #[test]
        fn no_number_is_given_out_twice_and_no_sequence_is_emptied(
            source in anywhere(), own in anywhere(), margin in 0_u32..3000,
            step in prop_oneof![-9_i64..=-1, 1_i64..=9],
        ) {
            let (here, there) = (one(source, step), one(own, step));
            let wanted = carried(&here, &there, margin).expect("it is there");
            let of = |sequences: &Sequences| sequences[&name("s", "q")];
            prop_assert_eq!(wanted.is_empty(), of(&here).is_fresh());
            let Some(&at) = wanted.get(&name("s", "q")) else { return Ok(()) };
            let set = Sequence { at, ..of(&there) };
            // Neither side has been further, and where both had numbers left there are some.
            prop_assert!(set.has_reached(source) && set.has_reached(own));
            let had = of(&here).next().is_some() && of(&there).next().is_some();
            prop_assert!(!had || set.next().is_some());
            prop_assert!((-1000..=1000).contains(&at.value));
        }
    }

    #[test]
    fn the_margin_leaves_half_of_what_is_left() {
        let small = |value, called| Sequence {
            at: At { value, called },
            start: 1,
            step: 1,
            min: 1,
            max: 32767,
        };
        assert_eq!(small(7, true).beyond(1000), At { value: 1007, called: true });
        assert_eq!(small(32000, true).beyond(1000), At { value: 32383, called: true });
        assert_eq!(small(32767, true).beyond(1000), At { value: 32767, called: true });
        assert_eq!(small(32767, false).beyond(1000), At { value: 32766, called: true });
        assert_eq!(small(5000, false).beyond(10), At { value: 5009, called: true });
    }

    #[test]
    fn what_was_never_used_stays_and_what_is_missing_is_named() {
        let fresh = At { value: 1, called: false };
        assert_eq!(carried(&one(fresh, 1), &Sequences::new(), 5), Ok(Values::new()));
        // Restarted by hand, and nothing given out since.
        let set = At { value: 3, called: false };
        let missing = carried(&one(set, 1), &Sequences::new(), 5).expect_err("it is missing");
        assert_eq!(missing, [name("s", "q")]);
    }
}
