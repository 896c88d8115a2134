//! What PostgreSQL is asked about rows: pure.
//!
//! `hash_record` and `hash_any` of the server are fast and have holes that no comparison may have: the hash of a bigint folds its
//! halves (1 and 4294967296 are alike), a decimal's passes over its sign and does not mix (-1 is 1; two rows that swapped 1 and
//! 10000 have the same sum), a record's is linear in its columns, `0` is `-0`, an array is its elements without its shape, an enum
//! its number in this database. So each column's hash is the seed of the next one's, a bigint is in its own seed as well, and
//! everything else with such a hole goes as text, or as the digits of its binary form.

use super::shape::{Asked, By, Form, View};
use super::sums::{PARTS, Split};
use crate::database::postgres::{literal, quoted};

/// The hash of a row, a bigint that is never NULL.
pub(super) fn row_hash(view: &View) -> String {
    hash(&view.columns.iter().collect::<Vec<_>>(), view.by, 42)
}

/// The same, of rows of a sample; 0 of the others.
pub(super) fn drawn_hash(view: &View) -> String {
    match &view.drawn {
        None => row_hash(view),
        Some(parts) => {
            format!(
                "case when ({}) in ({}) then {} else 0 end",
                part(view),
                list(parts),
                row_hash(view)
            )
        }
    }
}

/// The hash of what names a row.
fn name_hash(view: &View) -> String {
    hash(&view.naming(), view.by, 7)
}

/// The part a row is in.
pub(super) fn part(view: &View) -> String {
    match &view.split {
        Split::Ranges { column, shift } => format!("t.{}::int8 >> {shift}", quoted(column)),
        Split::Hashed => format!("{} & {}", name_hash(view), PARTS - 1),
    }
}

/// The cell of its part a row is in.
pub(super) fn cell(view: &View) -> String {
    let cells = match view.split {
        Split::Ranges { .. } => PARTS,
        // The part is in the lowest bits, so that a cell of one part is no cell of another.
        Split::Hashed => PARTS * PARTS,
    };
    format!("{} & {}", name_hash(view), cells - 1)
}

/// Holds for rows of such a part.
pub(super) fn is_in(view: &View, parts: &[i64]) -> String {
    match (&view.split, parts) {
        (Split::Ranges { column, shift }, [part]) => {
            let (low, high) = Split::ends(*part, *shift);
            format!("t.{0} between {low} and {high}", quoted(column))
        }
        _ => format!("({}) in ({})", part(view), list(parts)),
    }
}

/// Whole numbers as a list.
pub(super) fn list(numbers: &[i64]) -> String {
    numbers.iter().map(i64::to_string).collect::<Vec<_>>().join(", ")
}

/// Key and digests of a row, as [`super::located::RowMark`] reads them.
pub(super) fn mark(view: &View) -> String {
    let key =
        view.key.iter().map(|&at| format!("coalesce({}, '')", printed(&view.columns[at], view.by)));
    let columns = view.columns.iter().map(|column| {
        let digest = text_hash(&printed(column, view.by));
        format!("case when not {} then {digest} end", is_null(column))
    });
    let array = |parts: Vec<String>| -> String {
        // A function takes 100 arguments; json_build_array would fail on a wide table.
        let parts = parts.chunks(50).map(|some| format!("jsonb_build_array({})", some.join(", ")));
        let joined = parts.collect::<Vec<_>>().join(" || ");
        if joined.is_empty() { "'[]'::jsonb".to_owned() } else { joined }
    };
    format!("jsonb_build_array({}, {})", array(key.collect()), array(columns.collect()))
}

/// A value as text; NULL, or empty, for NULL.
fn printed(column: &Asked, by: By) -> String {
    if let (By::Canon, Some(canon)) = (by, column.canon) {
        return canon.postgres(&column.name);
    }
    let name = format!("t.{}", quoted(&column.name));
    match column.form {
        // A cast of `character(n)` to text would drop its blanks; the types here have no cast of their own.
        Form::Printed | Form::Float | Form::Bits => format!("concat({name})"),
        _ => format!("{name}::text"),
    }
}

fn text_hash(text: &str) -> String {
    format!("('x' || substr(md5(convert_to({text}, 'UTF8')), 1, 15))::bit(60)::int8")
}

fn hash(columns: &[&Asked], by: By, seed: i64) -> String {
    match by {
        By::Own => {
            columns.iter().rev().fold(nulls(columns, seed), |seed, column| own(column, &seed))
        }
        By::Text | By::Canon => {
            let item = |column: &&Asked| {
                let text = printed(column, by);
                let item = format!("length({text}) || ':' || {text}");
                if column.nullable {
                    format!("case when {} then 'n' else {item} end", is_null(column))
                } else {
                    item
                }
            };
            let items: Vec<String> = columns.iter().map(item).collect();
            text_hash(&format!("({})", items.join(" || ")))
        }
    }
}

/// Holds for NULL only: a composite of nulls, too, `is null`.
fn is_null(column: &Asked) -> String {
    let name = quoted(&column.name);
    match column.form {
        Form::Printed => format!("(num_nonnulls(t.{name}) = 0)"),
        _ => format!("(t.{name} is null)"),
    }
}

/// The innermost seed: which columns are NULL.
fn nulls(columns: &[&Asked], seed: i64) -> String {
    let nullable: Vec<String> =
        columns.iter().filter(|it| it.nullable).map(|it| is_null(it)).collect();
    nullable.chunks(31).fold(seed.to_string(), |seed, some| {
        let bits = some.iter().enumerate().map(|(bit, null)| format!("{null}::int << {bit}"));
        format!("hashint4extended({}, {seed})", bits.collect::<Vec<_>>().join(" | "))
    })
}

/// The server's own hash of a column, on a seed.
fn own(column: &Asked, seed: &str) -> String {
    let name = format!("t.{}", quoted(&column.name));
    let or = |value: &str, instead: &str| {
        if column.nullable { format!("coalesce({value}, {instead})") } else { value.to_owned() }
    };
    match column.form {
        Form::Bool => format!("hashint4extended({}, {seed})", or(&format!("{name}::int"), "0")),
        Form::Int4 => format!("hashint4extended({}, {seed})", or(&format!("{name}::int4"), "0")),
        Form::Int8 => {
            let value = or(&format!("{name}::int8"), "0");
            // Two that fold alike have two seeds.
            format!("hashint8extended({value}, {seed} # {value})")
        }
        Form::Text | Form::Decimal => format!(
            "hashtextextended({} collate \"C\", {seed})",
            or(&format!("{name}::text"), "''")
        ),
        Form::Uuid => {
            format!("uuid_hash_extended({}, {seed})", or(&name, &literal(&"0".repeat(32))))
        }
        Form::Bytes | Form::Sent(_) => {
            let bytes = match column.form {
                Form::Sent(function) => format!("{function}({name})"),
                _ => format!("{name}::bytea"),
            };
            let digits = or(&format!("encode({bytes}, 'hex')"), "''");
            format!("hashtextextended({digits} collate \"C\", {seed})")
        }
        Form::Printed
        | Form::Float
        | Form::Bits
        | Form::Choice
        | Form::Converted
        | Form::Spelled(_) => {
            format!("hashtextextended(concat({name}) collate \"C\", {seed})")
        }
    }
}
