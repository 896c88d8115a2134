//! How a table whose key is no integer is read piece by piece, in the order of its primary key: pure.
//!
//! Each side cuts where it likes: what is summed does not depend on it. So a bound is compared only with keys of the server that
//! named it, in the column's own character set and collation, and the order of the index is the order of the pieces. Rows of a
//! key are told apart by its whole columns: an index over the beginning of a text has no such order and is not walked, nor is a
//! key of binary floating-point numbers, which no text names exactly.

use crate::database::mysql::{literal, quoted};

/// How the value of a key's column is written down, and stands in a statement again.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Written {
    /// Digits.
    Number,
    /// What the server writes.
    Printed,
    /// Hexadecimal digits of its bytes.
    Bytes,
    /// The same, of a text in this collation.
    Text(String),
}

/// The columns of a primary key, in its order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Walk(Vec<(String, Written)>);

/// Name, data type, collation and, of the beginning of a text, its length, of each column of a primary key.
pub(super) fn columns_of_key(table: &str) -> String {
    format!(
        "select c.column_name, c.data_type, coalesce(c.collation_name, ''), coalesce(s.sub_part, '') \
         from information_schema.statistics s join information_schema.columns c \
           on c.table_schema = s.table_schema and c.table_name = s.table_name and c.column_name = s.column_name \
         where s.table_schema = database() and s.table_name = {} and s.index_name = 'PRIMARY' order by s.seq_in_index",
        literal(table)
    )
}

impl Walk {
    /// Along the columns that were answered; none where there is no such order.
    pub(super) fn along(columns: Vec<[String; 4]>) -> Option<Self> {
        let written = |[name, kind, collation, part]: [String; 4]| {
            let written = match kind.as_str() {
                "tinyint" | "smallint" | "mediumint" | "int" | "bigint" | "decimal" | "year"
                | "bit" | "enum" | "set" => Written::Number,
                "char" | "varchar" => Written::Text(collation),
                "binary" | "varbinary" => Written::Bytes,
                "date" | "time" | "datetime" | "timestamp" | "uuid" | "inet4" | "inet6" => {
                    Written::Printed
                }
                _ => return None,
            };
            part.is_empty().then_some((name, written))
        };
        let columns = columns.into_iter().map(written).collect::<Option<Vec<_>>>()?;
        (!columns.is_empty()).then_some(Self(columns))
    }

    /// Asks for the key of the last of so many rows after one.
    pub(super) fn bound(&self, table: &str, after: &[String], rows: u64) -> String {
        let columns = self.0.iter().map(|(name, written)| written.asked(name));
        let order: Vec<String> = self.0.iter().map(|(name, _)| column(name)).collect();
        format!(
            "select {} from {} where {} order by {} limit 1 offset {}",
            columns.collect::<Vec<_>>().join(", "),
            from(table),
            self.between(after, None),
            order.join(", "),
            rows.saturating_sub(1)
        )
    }

    /// Holds for keys after one, where there is one, and up to another.
    pub(super) fn between(&self, after: &[String], to: Option<&[String]>) -> String {
        let after = (!after.is_empty()).then(|| self.side(after, '>', ">"));
        let to = to.map(|to| self.side(to, '<', "<="));
        match (after, to) {
            (None, None) => "true".to_owned(),
            (Some(one), None) | (None, Some(one)) => one,
            (Some(after), Some(to)) => format!("{after} and {to}"),
        }
    }

    /// The order of several columns, spelled out: of a comparison of rows the server makes no range of the index.
    fn side(&self, bound: &[String], beyond: char, last: &str) -> String {
        let mut columns = self
            .0
            .iter()
            .zip(bound)
            .rev()
            .map(|((name, written), text)| (column(name), written.literal(text)));
        let innermost = columns.next().map(|(name, value)| format!("{name} {last} {value}"));
        columns.fold(innermost.unwrap_or_default(), |inner, (name, value)| {
            format!("({name} {beyond} {value} or ({name} = {value} and {inner}))")
        })
    }
}

/// The table by its primary key.
pub(super) fn from(table: &str) -> String {
    format!("{table} t force index (primary)")
}

fn column(name: &str) -> String {
    format!("t.{}", quoted(name))
}

impl Written {
    fn asked(&self, name: &str) -> String {
        let name = column(name);
        match self {
            // A bit, or one of several texts, has its place as a number.
            Self::Number => format!("cast({name} + 0 as char)"),
            Self::Printed => format!("cast({name} as char)"),
            Self::Bytes | Self::Text(_) => format!("hex({name})"),
        }
    }

    fn literal(&self, text: &str) -> String {
        match self {
            Self::Number => text.to_owned(),
            Self::Printed => literal(text),
            Self::Bytes => format!("x'{text}'"),
            Self::Text(collation) => {
                let charset = collation.split('_').next().unwrap_or_default();
                format!("_{charset} x'{text}' collate {collation}")
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn walk(columns: &[[&str; 4]]) -> Option<Walk> {
        Walk::along(columns.iter().map(|column| column.map(str::to_owned)).collect())
    }

    #[test]
    fn a_piece_begins_after_one_key_and_ends_with_another() {
        let walk = walk(&[["a`", "int", "", ""], ["b", "varchar", "latin1_swedish_ci", ""]]);
        let walk = walk.expect("an order");
        let bound = |number: &str, text: &str| [number.to_owned(), text.to_owned()];
        let text = |hex: &str| format!("_latin1 x'{hex}' collate latin1_swedish_ci");
        assert_eq!(
            walk.between(&bound("-1", "E9"), Some(&bound("7", ""))),
            format!(
                "(t.`a``` > -1 or (t.`a``` = -1 and t.`b` > {})) and (t.`a``` < 7 or (t.`a``` = 7 and t.`b` <= {}))",
                text("E9"),
                text("")
            )
        );
        assert_eq!(walk.between(&[], None), "true");
        assert_eq!(
            walk.bound("`t`", &[], 3),
            "select cast(t.`a``` + 0 as char), hex(t.`b`) from `t` t force index (primary) where true \
             order by t.`a```, t.`b` limit 1 offset 2"
        );
    }

    #[test]
    fn what_has_no_exact_order_is_not_walked() {
        assert_eq!(walk(&[["a", "varchar", "utf8mb4_bin", "10"]]), None);
        assert_eq!(walk(&[["a", "int", "", ""], ["b", "double", "", ""]]), None);
        assert_eq!(walk(&[]), None);
    }
}
