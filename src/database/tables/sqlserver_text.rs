//! What SQL Server is asked about rows: pure. Written from Microsoft's documentation.
//!
//! A row is the same text as [`super::postgres_text`] writes for two engines, in UTF-8 (from SQL Server 2019), and its hash the
//! first 60 bits of the MD5 of that. Texts go through `nvarchar(max)`: put straight into another encoding they would be cut off
//! where they grow. Characters are counted under a collation that takes a pair of surrogates for one, with a full stop at the end:
//! blanks there are not counted.

use super::canon::Canon;
use super::postgres_text::list;
use super::shape::{Asked, Form, View};
use super::sums::{PARTS, Split};
use crate::database::sqlserver::quoted;

/// Arguments of a function: it takes 254 at most.
const ARGUMENTS: usize = 200;
/// Whoever reads a whole table leaves the other processors alone.
const ALONE: &str = "option (maxdop 1)";

/// The sum of every part, of rows of the table.
pub(super) fn summed(view: &View) -> String {
    let part = part(view);
    grouped(view, &part, &drawn_hash(view, &part), "1 = 1")
}

/// The same of keys from `low` to `high`, all of which are in part `of`.
pub(super) fn range(view: &View, column: &str, of: i64, (low, high): (i64, i64)) -> String {
    let part = whole(of);
    grouped(view, &part, &drawn_hash(view, &part), &between(column, low, high))
}

/// The sum of every cell of some parts.
pub(super) fn cells(view: &View, parts: &[i64]) -> String {
    grouped(view, &cell(view), &hash(&view.columns.iter().collect::<Vec<_>>()), &is_in(view, parts))
}

/// Key, digests and number of the rows of some cells of some parts.
pub(super) fn marked(view: &View, parts: &[i64], cells: &[i64]) -> String {
    let keys =
        view.key.iter().map(|&at| format!("convert(nvarchar(max), {})", value(&view.columns[at])));
    let digests = view.columns.iter().map(|column| {
        let digest = text_hash(&value(column));
        if column.nullable {
            format!("case when {} then {digest} end", is_not_null(column))
        } else {
            digest
        }
    });
    let marks = keys.chain(digests).enumerate();
    let marks =
        marks.map(|(at, mark)| format!("{mark} as c{at:04}")).collect::<Vec<_>>().join(", ");
    let filter = format!("{} and {} in ({})", is_in(view, parts), cell(view), list(cells));
    let rows = format!("(select {marks} from {} t where {filter}) s", view.quoted);
    let keys = view.key.len();
    let names = (0..keys + view.columns.len()).map(|at| format!("c{at:04}")).collect::<Vec<_>>();
    let digests =
        names[keys..].iter().map(|name| format!("convert(nvarchar(20), {name}) as {name}"));
    let told = names[..keys].iter().cloned().chain(digests).collect::<Vec<_>>().join(", ");
    // A key tells rows apart; rows without one are counted.
    let (times, group) = if keys == 0 {
        ("convert(nvarchar(20), count_big(*))", format!(" group by {}", names.join(", ")))
    } else {
        ("N'1'", String::new())
    };
    format!("select {told}, {times} as n from {rows}{group} {ALONE}")
}

/// The least and the greatest value of an integer column.
pub(super) fn ends(view: &View, column: &str) -> String {
    let column = quoted(column);
    let text = |function: &str| format!("convert(nvarchar(20), {function}({column}))");
    format!("select {} as c0, {} as c1 from {}", text("min"), text("max"), view.quoted)
}

/// No sum of a table's hashes is too long for 38 digits.
fn grouped(view: &View, by: &str, hash: &str, filter: &str) -> String {
    format!(
        "select convert(nvarchar(20), p) as c0, convert(nvarchar(20), count_big(*)) as c1, \
         convert(nvarchar(40), sum(convert(numeric(38, 0), h))) as c2 \
         from (select {by} as p, {hash} as h from {} t where {filter}) s group by p {ALONE}",
        view.quoted
    )
}

/// The hash of a row, of rows that are in part `of` and of a sample; 0 of the others.
fn drawn_hash(view: &View, of: &str) -> String {
    let hash = hash(&view.columns.iter().collect::<Vec<_>>());
    match &view.drawn {
        None => hash,
        Some(parts) => format!("case when {of} in ({}) then {hash} else 0 end", list(parts)),
    }
}

/// The part a row is in, where parts are no ranges.
fn part(view: &View) -> String {
    format!("({} & {})", hash(&view.naming()), PARTS - 1)
}

/// The cell of its part a row is in.
fn cell(view: &View) -> String {
    let cells = if view.split.is_ranges() { PARTS } else { PARTS * PARTS };
    format!("({} & {})", hash(&view.naming()), cells - 1)
}

/// Holds for rows of such a part.
fn is_in(view: &View, parts: &[i64]) -> String {
    match (&view.split, parts) {
        (Split::Ranges { column, shift }, [part]) => {
            let (low, high) = Split::ends(*part, *shift);
            between(column, low, high)
        }
        _ => format!("{} in ({})", part(view), list(parts)),
    }
}

/// Holds for keys from `low` to `high`.
fn between(column: &str, low: i64, high: i64) -> String {
    format!("t.{} between {} and {}", quoted(column), whole(low), whole(high))
}

/// A whole number that the server does not take for a decimal one, however large it is.
fn whole(number: i64) -> String {
    format!("convert(bigint, {number})")
}

fn hash(columns: &[&Asked]) -> String {
    text_hash(&joined(columns))
}

/// The first 60 bits of MD5, as a number without a sign. Eight bytes are a number with one: what is divided has four zeros at its
/// end, so that nothing is rounded.
fn text_hash(text: &str) -> String {
    let bytes = format!("convert(bigint, substring(hashbytes('MD5', {text}), 1, 8))");
    format!("((({bytes} & -16) / 16) & convert(bigint, {}))", (1_i64 << 60) - 1)
}

/// Values one after the other, each behind its length; `n` for NULL.
fn joined(columns: &[&Asked]) -> String {
    let item = |column: &&Asked| {
        let item = format!("concat({}, ':', {})", length(column), value(column));
        if column.nullable {
            format!("case when {} then {item} else 'n' end", is_not_null(column))
        } else {
            item
        }
    };
    let mut items = columns.iter().map(item).collect::<Vec<_>>();
    while items.len() > ARGUMENTS {
        items = items.chunks(ARGUMENTS).map(concatenated).collect();
    }
    concatenated(&items)
}

fn concatenated(items: &[String]) -> String {
    // It takes two arguments at least.
    format!("concat('', {})", items.join(", "))
}

fn is_not_null(column: &Asked) -> String {
    format!("t.{} is not null", quoted(&column.name))
}

/// The text of a value, still in whatever encoding.
fn spelled(column: &Asked) -> String {
    let name = format!("t.{}", quoted(&column.name));
    let text = match column.form {
        Form::Spelled(text) => text.replace("{}", &name),
        _ => name,
    };
    match column.canon {
        Some(Canon::Decimal) => without_zeros(&text),
        Some(Canon::Time) => without_tenth(&text, "HH:MM:SS.ffffff".len()),
        Some(Canon::Stamp) => without_tenth(&text, "YYYY-MM-DD HH:MM:SS.ffffff".len()),
        _ => text,
    }
}

/// A decimal number without zeros at the end of its fraction, and without a point there: only blanks can be cut off.
fn without_zeros(text: &str) -> String {
    let cut = |text: &str, what: &str| {
        format!("replace(rtrim(replace({text}, '{what}', ' ')), ' ', '{what}')")
    };
    let short = cut(&cut(text, "0"), ".");
    format!("case when charindex('.', {text}) = 0 then {text} else {short} end")
}

/// A time with seven digits behind its seconds, without the last of them where it is 0.
fn without_tenth(text: &str, length: usize) -> String {
    format!("concat(left({text}, {length}), nullif(right({text}, 1), '0'))")
}

/// A value as text in UTF-8. What is no text has ASCII only, which is the same in every encoding.
fn value(column: &Asked) -> String {
    let text = spelled(column);
    if is_text(column) {
        format!("convert(varchar(max), {text} collate Latin1_General_100_BIN2_UTF8)")
    } else {
        format!("convert(varchar(max), {text})")
    }
}

/// Characters of it. An expression takes one collation and no second one: here it is another than in UTF-8.
fn length(column: &Asked) -> String {
    if is_text(column) {
        format!("len({} collate Latin1_General_100_CI_AS_SC + N'.') - 1", spelled(column))
    } else {
        format!("len({})", value(column))
    }
}

fn is_text(column: &Asked) -> bool {
    column.canon == Some(Canon::Text)
}

#[cfg(test)]
mod tests;
