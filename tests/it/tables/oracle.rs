//! What differs between two lists of rows, computed from the values that were written and not from what a server says.

use std::collections::{BTreeMap, BTreeSet};

use crate::generate::Dice;

/// A type, and values that its server writes out differently, as they stand in a statement.
pub(super) struct Type {
    pub(super) sql: &'static str,
    pub(super) values: &'static [&'static str],
}

/// A row: for each column which of its type's values; none for NULL.
pub(super) type Row = Vec<Option<usize>>;

pub(super) struct Column {
    pub(super) name: String,
    pub(super) of: &'static Type,
    pub(super) not_null: bool,
}

/// A table with a key of its own beside the columns, or without one.
pub(super) struct Table {
    /// The type of the key, and what the server writes for each of its values.
    pub(super) key: Option<(&'static Type, &'static [&'static str])>,
    pub(super) columns: Vec<Column>,
    pub(super) source: Vec<Row>,
    pub(super) target: Vec<Row>,
}

const NAMES: [&str; 8] = ["a", "B", "c d", "e\"f", "order", "g.h", "ünï", "select"];

impl Table {
    /// A table of some of these types with some rows, the same on both sides. The key is the first value of a row.
    pub(super) fn random(
        dice: &mut Dice,
        keys: &'static [(Type, &'static [&'static str])],
        types: &'static [Type],
    ) -> Self {
        let key = dice.chance(75).then(|| dice.pick(keys)).map(|(of, told)| (of, *told));
        let columns: Vec<Column> = (0..=dice.below(5))
            .map(|at| Column {
                name: NAMES[at].to_owned(),
                of: dice.pick(types),
                not_null: dice.chance(40),
            })
            .collect();
        let rows = dice.below(key.as_ref().map_or(30, |(of, _)| of.values.len() + 1));
        let mut table = Self { key, columns, source: Vec::new(), target: Vec::new() };
        for _ in 0..rows {
            let row = table.row(dice);
            if !table.has(&table.source, &row) {
                table.source.push(row);
            }
        }
        table.target.clone_from(&table.source);
        table
    }

    fn has(&self, rows: &[Row], row: &Row) -> bool {
        self.key.is_some() && rows.iter().any(|other| other[0] == row[0])
    }

    /// Where the columns begin in a row.
    fn first(&self) -> usize {
        usize::from(self.key.is_some())
    }

    fn row(&self, dice: &mut Dice) -> Row {
        let key = self.key.iter().map(|(of, _)| Some(dice.below(of.values.len()))).collect::<Row>();
        let mut row = key;
        for column in &self.columns {
            row.push(value(dice, column));
        }
        row
    }

    /// Changes one thing at the target; now and then nothing.
    pub(super) fn change(&mut self, dice: &mut Dice) -> &'static str {
        let first = self.first();
        let rows = self.target.len();
        match dice.below(6) {
            0 | 1 if rows > 0 => {
                let (row, at) = (dice.below(rows), dice.below(self.columns.len()));
                self.target[row][first + at] = value(dice, &self.columns[at]);
                "a value"
            }
            2 if rows > 1 => {
                let (row, other, at) =
                    (dice.below(rows), dice.below(rows), first + dice.below(self.columns.len()));
                let value = self.target[row][at];
                self.target[row][at] = self.target[other][at];
                self.target[other][at] = value;
                "a value swapped between two rows"
            }
            3 if rows > 0 => {
                self.target.remove(dice.below(rows));
                "a row gone"
            }
            4 => {
                let row = self.row(dice);
                if !self.has(&self.target, &row) {
                    self.target.push(row);
                }
                "a row more"
            }
            _ => "nothing",
        }
    }

    /// The lines that name what differs; without a key, none, and how many they are.
    pub(super) fn expected(&self) -> (usize, BTreeSet<String>) {
        let count = |rows: &[Row]| -> BTreeMap<Row, usize> {
            rows.iter().fold(BTreeMap::new(), |mut counted, row| {
                *counted.entry(row.clone()).or_default() += 1;
                counted
            })
        };
        let (here, there) = (count(&self.source), count(&self.target));
        let Some((_, told)) = &self.key else {
            let rows: BTreeSet<&Row> = here.keys().chain(there.keys()).collect();
            return (
                rows.into_iter().filter(|row| here.get(*row) != there.get(*row)).count(),
                BTreeSet::new(),
            );
        };
        let by_key = |rows: &BTreeMap<Row, usize>| -> BTreeMap<usize, Row> {
            rows.keys().map(|row| (row[0].expect("a key is not NULL"), row.clone())).collect()
        };
        let (here, there) = (by_key(&here), by_key(&there));
        let keys: BTreeSet<usize> = here.keys().chain(there.keys()).copied().collect();
        let lines: BTreeSet<String> = keys
            .into_iter()
            .filter_map(|key| {
                let how = match (here.get(&key), there.get(&key)) {
                    (here, there) if here == there => return None,
                    (Some(_), None) => "missing at the target".to_owned(),
                    (None, _) => "extra at the target".to_owned(),
                    (Some(here), Some(there)) => {
                        let names = self
                            .columns
                            .iter()
                            .enumerate()
                            .filter(|(at, _)| here[at + 1] != there[at + 1]);
                        let names: Vec<&str> =
                            names.map(|(_, column)| column.name.as_str()).collect();
                        format!("different in {}", names.join(", "))
                    }
                };
                Some(format!("row k = {} {how}", told[key]))
            })
            .collect();
        (lines.len(), lines)
    }

    /// A row's values, as they stand in a statement.
    pub(super) fn values(&self, row: &Row) -> String {
        self.values_as(row, &|of| of)
    }

    /// The same with other types that have as many values.
    pub(super) fn values_as(
        &self,
        row: &Row,
        other: &dyn Fn(&'static Type) -> &'static Type,
    ) -> String {
        let key = self.key.iter().map(|(of, _)| *of);
        let types = key.chain(self.columns.iter().map(|column| other(column.of)));
        let texts =
            types.zip(row).map(|(of, value)| value.map_or("NULL", |value| of.values[value]));
        format!("({})", texts.collect::<Vec<_>>().join(", "))
    }
}

fn value(dice: &mut Dice, column: &Column) -> Option<usize> {
    (column.not_null || dice.chance(85)).then(|| dice.below(column.of.values.len()))
}
