//! Rows of differing parts, side by side: which rows differ, and in what columns. Pure.

use std::collections::BTreeMap;

use serde::Deserialize;

use super::shape::View;
use crate::run::hex;

/// A digest of each column; none for NULL.
pub(in crate::database) type Digests = Vec<Option<i64>>;

/// A row as a server tells of it: its key as text, its digests, and how often it is there.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub(in crate::database) struct RowMark(
    pub(in crate::database) Vec<String>,
    pub(in crate::database) Digests,
    pub(in crate::database) u64,
);

/// Rows of both sides by name.
type Held = BTreeMap<Vec<String>, [Vec<(Digests, u64)>; 2]>;

/// The rows that differ, one line each, in the order of their names.
pub(super) fn unlike(
    view: &View,
    source: Vec<RowMark>,
    target: Vec<RowMark>,
    keys: bool,
) -> Vec<String> {
    let mut held = Held::new();
    for (side, rows) in [source, target].into_iter().enumerate() {
        for RowMark(key, columns, times) in rows {
            // Without a key a row is what is in it, and that is never shown.
            let name = if view.key.is_empty() {
                columns.iter().map(|it| format!("{it:?}")).collect()
            } else {
                key
            };
            held.entry(name).or_default()[side].push((columns, times));
        }
    }
    held.into_iter()
        .filter_map(|(name, sides)| {
            Some(format!("{} {}", named(view, &name, keys), how(view, sides)?))
        })
        .collect()
}

fn how(view: &View, [mut here, mut there]: [Vec<(Digests, u64)>; 2]) -> Option<String> {
    here.sort();
    there.sort();
    if here == there {
        return None;
    }
    let times = |rows: &[(Digests, u64)]| rows.iter().map(|row| row.1).sum::<u64>();
    Some(match (here.as_slice(), there.as_slice()) {
        ([(source, 1)], [(target, 1)]) => {
            let cells = view.columns.iter().zip(source.iter().zip(target));
            let names = cells.filter(|(_, (source, target))| source != target);
            let names: Vec<&str> = names.map(|(column, _)| column.name.as_str()).collect();
            format!("different in {}", names.join(", "))
        }
        ([(_, 1)], []) => "missing at the target".to_owned(),
        ([], [(_, 1)]) => "extra at the target".to_owned(),
        (source, target) => {
            format!("{} times at the source, {} at the target", times(source), times(target))
        }
    })
}

fn named(view: &View, name: &[String], keys: bool) -> String {
    if view.key.is_empty() || !keys {
        return format!("row #{}", &hex(&sha(name))[..12]);
    }
    let parts = view.naming().into_iter().zip(name).map(|(column, text)| match column.form {
        super::shape::Form::Int4 | super::shape::Form::Int8 => format!("{} = {text}", column.name),
        _ => format!("{} = '{text}'", column.name),
    });
    format!("row {}", parts.collect::<Vec<_>>().join(", "))
}

fn sha(name: &[String]) -> [u8; 32] {
    use sha2::{Digest as _, Sha256};
    let mut hasher = Sha256::new();
    for text in name {
        hasher.update((text.len() as u64).to_be_bytes());
        hasher.update(text);
    }
    hasher.finalize().into()
}

#[cfg(test)]
mod tests {
    use super::super::shape::{Asked, By, Form};
    use super::super::sums::Split;
    use super::*;

    fn view(key: &[usize]) -> View {
        let column = |name: &str, form| Asked {
            name: name.to_owned(),
            form,
            canon: None,
            nullable: false,
            same: true,
            brief: false,
        };
        View {
            quoted: "t".to_owned(),
            relations: Vec::new(),
            columns: vec![
                column("id", Form::Int8),
                column("name", Form::Text),
                column("total", Form::Text),
            ],
            key: key.to_vec(),
            by: By::Text,
            split: Split::Hashed,
            drawn: None,
        }
    }

    fn mark(key: &str, columns: [i64; 3]) -> RowMark {
        RowMark(vec![key.to_owned()], columns.map(Some).to_vec(), 1)
    }

    #[test]
    fn rows_are_named_by_key_and_column() {
        let source = vec![mark("1", [1, 5, 5]), mark("2", [2, 6, 6]), mark("3", [3, 7, 7])];
        let target = vec![mark("1", [1, 5, 5]), mark("2", [2, 0, 0]), mark("4", [4, 8, 8])];
        assert_eq!(
            unlike(&view(&[0]), source, target, true),
            [
                "row id = 2 different in name, total",
                "row id = 3 missing at the target",
                "row id = 4 extra at the target"
            ]
        );
    }

    #[test]
    fn keys_can_be_hidden_and_rows_without_one_are() {
        for key in [&[0_usize][..], &[]] {
            let lines =
                unlike(&view(key), vec![mark("secret", [1, 2, 3])], Vec::new(), key.is_empty());
            assert!(
                lines[0].starts_with("row #") && lines[0].ends_with(" missing at the target"),
                "{lines:?}"
            );
        }
        let text = vec![mark("it", [1, 2, 3])];
        assert_eq!(
            unlike(&view(&[1]), text, Vec::new(), true),
            ["row name = 'it' missing at the target"]
        );
    }

    #[test]
    fn rows_without_a_key_are_counted() {
        let times =
            |columns: [i64; 3], times| RowMark(Vec::new(), columns.map(Some).to_vec(), times);
        let source = vec![times([1; 3], 2), times([2; 3], 1)];
        let target = vec![times([1; 3], 1), times([2; 3], 2)];
        let lines = unlike(&view(&[]), source, target, true);
        assert_eq!(lines.len(), 2);
        assert!(lines[0].ends_with(" 2 times at the source, 1 at the target"), "{lines:?}");
    }
}
