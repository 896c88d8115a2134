//! What a database has beside its tables: extensions, types, sequences, and how far those are. Pure.

use std::collections::BTreeMap;

use serde::Deserialize;

use super::shape::unlike;

/// A sequence.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub(super) struct Sequence {
    /// Its name.
    name: String,
    /// Type, step and bounds.
    declared: String,
    /// Positive where it rises.
    step: i64,
    /// The last value it gave out; none where it never did.
    last: Option<i64>,
}

/// What one side has beside its tables.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
pub(super) struct Beside {
    /// Extensions by name.
    extensions: Vec<String>,
    /// Enums and domains by name, as declared.
    types: BTreeMap<String, String>,
    /// See [`Sequence`].
    sequences: Vec<Sequence>,
}

/// In what two databases differ beside their tables, one line each. The target may have extensions more, and its sequences may be
/// ahead: they are carried over with a margin.
pub(super) fn differences(source: &Beside, target: &Beside) -> Vec<String> {
    let missing = source.extensions.iter().filter(|name| !target.extensions.contains(name));
    let mut lines: Vec<String> =
        missing.map(|name| format!("extension {name}: missing at the target")).collect();
    lines.extend(unlike(&source.types, &target.types));
    let declared = |side: &Beside| -> BTreeMap<String, String> {
        side.sequences
            .iter()
            .map(|it| (format!("sequence {}", it.name), it.declared.clone()))
            .collect()
    };
    lines.extend(unlike(&declared(source), &declared(target)));
    for here in &source.sequences {
        let there = target.sequences.iter().find(|there| there.name == here.name);
        let (Some(last), Some(there)) = (here.last, there) else { continue };
        let behind = there.last.is_none_or(|it| if here.step > 0 { it < last } else { it > last });
        if behind {
            let at = there.last.map_or("never used".to_owned(), |it| format!("at {it}"));
            lines.push(format!(
                "sequence {}: at {last} at the source, {at} at the target",
                here.name
            ));
        }
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    fn beside(extensions: &[&str], last: Option<i64>, step: i64) -> Beside {
        let sequence = Sequence { name: "s".to_owned(), declared: "bigint".to_owned(), step, last };
        Beside {
            extensions: extensions.iter().map(|name| (*name).to_owned()).collect(),
            types: BTreeMap::new(),
            sequences: vec![sequence],
        }
    }

    #[test]
    fn a_sequence_may_be_ahead_and_never_behind() {
        for (here, there, step, lines) in [
            (Some(5), Some(5), 1, 0),
            (Some(5), Some(1005), 1, 0),
            (Some(5), Some(4), 1, 1),
            (Some(5), None, 1, 1),
            (None, None, 1, 0),
            (Some(-5), Some(-6), -1, 0),
            (Some(-5), Some(-4), -1, 1),
        ] {
            let found = differences(&beside(&[], here, step), &beside(&[], there, step));
            assert_eq!(found.len(), lines, "{here:?} {there:?}: {found:?}");
        }
    }

    #[test]
    fn what_the_source_needs_is_not_missing() {
        let (source, target) = (beside(&["citext"], None, 1), beside(&["azure"], None, 1));
        assert_eq!(differences(&source, &target), ["extension citext: missing at the target"]);
        let none = Beside::default();
        assert_eq!(
            differences(&beside(&[], None, 1), &none),
            ["sequence s: missing at the target"]
        );
        assert_eq!(differences(&none, &beside(&[], None, 1)), ["sequence s: extra at the target"]);
    }
}
