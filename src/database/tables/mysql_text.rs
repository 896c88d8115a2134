//! What MariaDB and MySQL are asked about rows: pure.
//!
//! CRC32 is linear: two rows of equal length that swapped a value have the same exclusive or of it, whatever the value. The
//! product of two CRCs of different polynomials, summed, is not; only MariaDB has the second, from 10.8, and there a CRC can be
//! continued: numbers, times, the lengths of texts and brief texts are put together once for both, then come the long texts, each
//! as its bytes are stored. The lengths keep borders between columns from moving. A text whose two columns are declared in other
//! words is converted to one encoding; what that encoding lacks is then a question mark.
//!
//! A sum of whole numbers costs the server a decimal addition for each row, an exclusive or next to nothing. It is as good where no
//! two rows are alike, for the product of the CRCs is not linear, and where every row has a hash, as NULL is passed over.
//!
//! What was put together is kept in a user variable of the session from the first factor of the product to the second. Factors are
//! computed from left to right; a server that did otherwise would hash a row with the one before it, and so find differences where
//! there are none, and not the other way round.

use super::shape::{Asked, By, Form, View};
use super::sums::{Fold, PARTS, Split};
use crate::database::mysql::quoted;

/// The hash of a row, a whole number; NULL only where the row is longer than the server's `max_allowed_packet`.
pub(super) fn row_hash(view: &View) -> String {
    let columns = view.columns.iter().collect::<Vec<_>>();
    match view.by {
        By::Own => {
            let (together, long) = together(&columns);
            let first = continued("crc32", &format!("@row := {together}"), &long);
            format!("{first} * {}", continued("crc32c", "@row", &long))
        }
        By::Text | By::Canon => {
            format!("cast({} as unsigned)", text_hash(&joined(&columns, view.by)))
        }
    }
}

/// How the hashes of rows are put together: by exclusive or where a key tells rows apart and none of them can be too long for the
/// server. Only what is brief is then put together, and long texts are read where they are stored.
pub(super) fn fold(view: &View) -> Fold {
    let is_bounded = |column: &Asked| match column.form {
        Form::Converted => false,
        Form::Choice => column.same,
        Form::Text => column.same || column.brief,
        _ => true,
    };
    let is_exclusive =
        view.by == By::Own && !view.key.is_empty() && view.columns.iter().all(is_bounded);
    if is_exclusive { Fold::ExclusiveOr } else { Fold::Sum }
}

/// A CRC, continued from text to text.
fn continued(crc: &str, first: &str, texts: &[String]) -> String {
    texts.iter().fold(format!("{crc}({first})"), |before, text| format!("{crc}({before}, {text})"))
}

/// All of a row but its long texts, and these.
fn together(columns: &[&Asked]) -> (String, Vec<String>) {
    let is_text = |column: &Asked| match column.form {
        Form::Text | Form::Bytes | Form::Converted => true,
        Form::Choice => !column.same,
        _ => false,
    };
    let (mut items, mut brief, mut long) = (Vec::new(), Vec::new(), Vec::new());
    for column in columns {
        let value = value(column, By::Own);
        let length = format!("length({value})");
        match (is_text(column), column.nullable) {
            (true, true) => items.push(format!("ifnull({length}, -1)")),
            (true, false) => items.push(length),
            (false, true) => {
                items.extend([
                    or_empty(column, &value),
                    format!("isnull(t.{})", quoted(&column.name)),
                ]);
            }
            (false, false) => items.push(value.clone()),
        }
        match is_text(column) {
            // Of a NULL, which is passed over here, -1 is among the lengths.
            true if column.brief => brief.push(value),
            true => long.push(or_empty(column, &value)),
            false => (),
        }
    }
    // Bytes: texts of two encodings would not go together, or be converted.
    let items = [items, brief].concat().join(", ");
    (format!("concat_ws(cast('#' as binary), {items})"), long)
}

fn or_empty(column: &Asked, value: &str) -> String {
    if column.nullable {
        format!("if(isnull(t.{}), '', {value})", quoted(&column.name))
    } else {
        value.to_owned()
    }
}

/// The same, of rows that are in part `of` and of a sample; 0 of the others.
pub(super) fn drawn_hash(view: &View, of: &str) -> String {
    match &view.drawn {
        None => row_hash(view),
        Some(parts) => {
            let parts = super::postgres_text::list(parts);
            format!("if({of} in ({parts}), {}, 0)", row_hash(view))
        }
    }
}

/// The hash of what names a row.
fn name_hash(view: &View) -> String {
    let text = |by| joined(&view.naming(), by);
    match view.by {
        By::Own => format!("crc32({})", text(By::Text)),
        by => format!("cast({} as unsigned)", text_hash(&text(by))),
    }
}

/// The part a row is in, where parts are no ranges.
pub(super) fn part(view: &View) -> String {
    format!("({} & {})", name_hash(view), PARTS - 1)
}

/// The cell of its part a row is in.
pub(super) fn cell(view: &View) -> String {
    let cells = match view.split {
        Split::Ranges { .. } => PARTS,
        Split::Hashed => PARTS * PARTS,
    };
    format!("({} & {})", name_hash(view), cells - 1)
}

/// Holds for rows of such a part.
pub(super) fn is_in(view: &View, parts: &[i64]) -> String {
    match (&view.split, parts) {
        (Split::Ranges { column, shift }, [part]) => {
            let (low, high) = Split::ends(*part, *shift);
            between(column, low, high)
        }
        _ => format!("{} in ({})", part(view), super::postgres_text::list(parts)),
    }
}

/// Holds for keys from `low` to `high`.
pub(super) fn between(column: &str, low: i64, high: i64) -> String {
    format!("t.{} between {low} and {high}", quoted(column))
}

/// What names a row, then a digest of each column, then how often the row is there.
pub(super) fn marks(view: &View) -> Vec<String> {
    let key = view.key.iter().map(|&at| told(&view.columns[at], view.by));
    let columns = view.columns.iter().map(|column| text_hash(&value(column, view.by)));
    key.chain(columns).collect()
}

/// 60 bits of MD5, as decimal digits; NULL for NULL.
fn text_hash(text: &str) -> String {
    format!("conv(left(md5({text}), 15), 16, 10)")
}

/// A value as people read it.
fn told(column: &Asked, by: By) -> String {
    match column.form {
        _ if by == By::Canon => value(column, by),
        Form::Bytes => format!("lower(hex(t.{}))", quoted(&column.name)),
        Form::Text | Form::Choice | Form::Converted => {
            format!("convert(t.{} using utf8mb4)", quoted(&column.name))
        }
        _ => format!("cast({} as char)", value(column, by)),
    }
}

/// A value as it goes into a hash; no two that the server tells apart are alike.
fn value(column: &Asked, by: By) -> String {
    if let (By::Canon, Some(canon)) = (by, column.canon) {
        return canon.mysql(&column.name);
    }
    let name = format!("t.{}", quoted(&column.name));
    match column.form {
        // A float is written with six digits, a double with all.
        Form::Float => format!("{name} * 1e0"),
        Form::Bits => format!("{name} + 0"),
        Form::Choice if column.same => format!("{name} + 0"),
        Form::Text if column.same && by == By::Own => name,
        Form::Text if column.same => format!("cast({name} as binary)"),
        // Bytes: as text, columns of two collations would not go together.
        Form::Text | Form::Choice | Form::Converted => {
            format!("cast(convert({name} using utf8mb4) as binary)")
        }
        _ => name,
    }
}

/// Values one after the other. Where one is too long for the server it is NULL, and so is the whole: `concat_ws` and `coalesce`
/// would pass over it.
fn joined(columns: &[&Asked], by: By) -> String {
    if by == By::Canon {
        return as_postgres_joins(columns);
    }
    let mut items = Vec::new();
    for column in columns {
        let value = value(column, by);
        if matches!(column.form, Form::Text | Form::Bytes | Form::Choice | Form::Converted) {
            items.push(or_empty(column, &format!("length({value})")));
        }
        items.push(or_empty(column, &value));
    }
    let nullable = columns.iter().filter(|column| column.nullable);
    items.extend(nullable.map(|column| format!("isnull(t.{})", quoted(&column.name))));
    format!("concat({})", items.join(", '#', "))
}

/// The same as [`super::postgres_text`] writes it.
fn as_postgres_joins(columns: &[&Asked]) -> String {
    let items = columns.iter().map(|column| {
        let value = value(column, By::Canon);
        let item = format!("concat(char_length({value}), ':', {value})");
        if column.nullable {
            format!("if(isnull(t.{}), 'n', {item})", quoted(&column.name))
        } else {
            item
        }
    });
    format!("concat({})", items.collect::<Vec<_>>().join(", "))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn folded(key: &[usize], by: By, (form, same, brief): (Form, bool, bool)) -> Fold {
        let column = |form, same, brief| Asked {
            name: "c".to_owned(),
            form,
            canon: None,
            nullable: true,
            same,
            brief,
        };
        fold(&View {
            quoted: "t".to_owned(),
            relations: Vec::new(),
            columns: vec![column(Form::Int8, true, false), column(form, same, brief)],
            key: key.to_vec(),
            by,
            split: Split::Hashed,
            drawn: None,
        })
    }

    #[test]
    fn equal_rows_are_summed_for_two_of_them_are_not_none() {
        assert_eq!(folded(&[], By::Own, (Form::Text, true, true)), Fold::Sum);
        assert_eq!(folded(&[0], By::Own, (Form::Text, true, true)), Fold::ExclusiveOr);
    }

    #[test]
    fn rows_that_may_have_no_hash_are_summed_for_an_exclusive_or_passes_over_them() {
        assert_eq!(folded(&[0], By::Text, (Form::Int4, true, false)), Fold::Sum);
        // Long texts are read where they are stored, but not those that are converted first.
        assert_eq!(folded(&[0], By::Own, (Form::Text, true, false)), Fold::ExclusiveOr);
        assert_eq!(folded(&[0], By::Own, (Form::Text, false, true)), Fold::ExclusiveOr);
        assert_eq!(folded(&[0], By::Own, (Form::Text, false, false)), Fold::Sum);
        assert_eq!(folded(&[0], By::Own, (Form::Converted, true, false)), Fold::Sum);
        assert_eq!(folded(&[0], By::Own, (Form::Choice, true, true)), Fold::ExclusiveOr);
        assert_eq!(folded(&[0], By::Own, (Form::Choice, false, true)), Fold::Sum);
    }
}
