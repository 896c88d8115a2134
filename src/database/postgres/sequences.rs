//! Sequences, which logical replication leaves behind: read at the source once nobody writes there, set at the target with a
//! margin before anybody writes there.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::super::DatabaseError;
use super::{Reader, Writer, literal, quoted};
use crate::journal::EffectPermit;

/// Where a sequence stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Sequence {
    /// The last number that was given out; none where none was.
    pub last: Option<i64>,
    /// The first one.
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

const ALL: &str = "select coalesce(json_object_agg(name, value), '{}')::text from (
    select '\"' || replace(schemaname, '\"', '\"\"') || '\".\"' || replace(sequencename, '\"', '\"\"') || '\"' as name,
        json_build_object('last', last_value, 'start', start_value, 'step', increment_by, 'min', min_value, 'max', max_value) as value
    from pg_sequences where schemaname !~ '^(pg_|migrate$)') named";

/// Every sequence of the database.
pub async fn all(reader: &mut Reader) -> Result<Sequences, DatabaseError> {
    reader.json(ALL, &[]).await
}

impl Sequence {
    /// Of two numbers the one that is given out later.
    fn later(self, one: i64, other: i64) -> i64 {
        if self.step < 0 { one.min(other) } else { one.max(other) }
    }

    /// `last` and `margin` numbers more, as far as there are any.
    fn beyond(self, last: i64, margin: u32) -> i64 {
        let ahead = self.step.saturating_mul(i64::from(margin));
        last.saturating_add(ahead).clamp(self.min, self.max)
    }
}

/// What each sequence of the target is to be set to, so that it gives out no number that the source gave out or the target
/// itself. `Err` names those that the target does not have.
pub fn carried(
    source: &Sequences,
    target: &Sequences,
    margin: u32,
) -> Result<BTreeMap<String, i64>, Vec<String>> {
    let used =
        || source.iter().filter_map(|(name, sequence)| Some((name, sequence, sequence.last?)));
    let missing: Vec<String> = used()
        .filter(|(name, ..)| !target.contains_key(*name))
        .map(|(name, ..)| name.clone())
        .collect();
    if !missing.is_empty() {
        return Err(missing);
    }
    let wanted = used().map(|(name, sequence, last)| {
        let wanted = sequence.beyond(last, margin);
        let own = target[name].last.unwrap_or(wanted);
        (name.clone(), sequence.later(wanted, own))
    });
    Ok(wanted.collect())
}

/// Sets a sequence so that the number after `last` comes next; without `last`, its first one.
pub async fn set(
    writer: &mut Writer,
    permit: &EffectPermit,
    name: &str,
    last: Option<i64>,
    start: i64,
) -> Result<(), DatabaseError> {
    let (value, called) = (last.unwrap_or(start), last.is_some());
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

    fn sequence(last: Option<i64>, step: i64) -> Sequence {
        Sequence { last, start: 1, step, min: -1000, max: 1000 }
    }

    fn one(last: Option<i64>, step: i64) -> Sequences {
        BTreeMap::from([("\"s\".\"q\"".to_owned(), sequence(last, step))])
    }

    proptest! {
        #[test]
        fn no_number_is_given_out_twice(
            source in -900_i64..900, own in proptest::option::of(-900_i64..900), margin in 0_u32..2000,
            step in prop_oneof![-9_i64..-1, 1_i64..9],
        ) {
            let wanted = carried(&one(Some(source), step), &one(own, step), margin).expect("it is there");
            let value = wanted["\"s\".\"q\""];
            // In the direction of the sequence, neither side has been further.
            prop_assert!((value - source) * step.signum() >= 0);
            prop_assert!(own.is_none_or(|own| (value - own) * step.signum() >= 0));
            prop_assert!((-1000..=1000).contains(&value));
        }
    }

    #[test]
    fn what_was_never_used_stays_and_what_is_missing_is_named() {
        assert_eq!(carried(&one(None, 1), &Sequences::new(), 5), Ok(BTreeMap::new()));
        let missing = carried(&one(Some(3), 1), &Sequences::new(), 5).expect_err("it is missing");
        assert_eq!(missing, [name("s", "q")]);
    }
}
