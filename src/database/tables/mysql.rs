//! One side on MariaDB or MySQL: one session, one snapshot, one statement at a time.
//!
//! Rows lie in the order of the primary key, so a table with an integer key is read range by range (see [`super::ranged`]), and one
//! with another key so many rows at a time. A statement that takes too long is asked again for fewer of them, in the same snapshot.
//! A table without a primary key is read by one statement: no index could divide it.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use super::canon::Canon;
use super::kept::Partial;
use super::mysql_text as text;
use super::mysql_walk::{self as walk, Walk};
use super::pace::Pace;
use super::ranged::{Asks, Ranged, UNDIVIDED};
use super::shape::{ColumnShape, Form, Relation, Shape, View};
use super::sums::{Fold, Split, Sums};
use super::{Engine, Keep, Seen};
use crate::database::mysql::{Product, Reader, Server, literal, quoted};
use crate::database::{DatabaseError, Row};

/// Characters, or bytes, of what is a brief text.
const BRIEF: u64 = 255;

/// Fewer rows at a time save nothing, unless a statement would take too long.
const FEW: u64 = 256;

/// Packets of this many bytes hold whatever is put together of a row whose hashes go into an exclusive or.
const ENOUGH: u64 = 1 << 20;

/// Stands in a sum for a row without a hash: more than all hashes of five thousand million rows.
const NO_HASH: i128 = 100_000_000_000_000_000_000_000_000_000;

/// See the module.
#[derive(Debug)]
pub(super) struct MySql {
    /// Its session.
    pub(super) ranged: Ranged<Reader>,
    /// Product and version.
    pub(super) engine: Engine,
    /// The same as long as nothing is written; none where the server does not say.
    pub(super) mark: Option<String>,
    /// Which database it is.
    pub(super) identity: String,
    /// Its user may read whatever there is: a table that it may not read is not even listed.
    pub(super) sees_all: bool,
    tables: Vec<String>,
    rows_at_once: u64,
    /// Bytes, `max_allowed_packet`.
    packet: u64,
}

impl MySql {
    pub(super) async fn open(server: &Server, pace: Pace) -> Result<Self, DatabaseError> {
        let mut reader = server.reader().await?;
        reader.limit(pace.limit.max(UNDIVIDED)).await?;
        let before = written(&mut reader).await?;
        reader.snapshot().await?;
        let written = written(&mut reader).await?.filter(|after| Some(after) == before.as_ref());
        let identity = identity(&mut reader).await?;
        let mark = written.map(|written| format!("{identity} {written}"));
        let names = "select table_name from information_schema.tables \
             where table_schema = database() and table_type in ('BASE TABLE', 'SYSTEM VERSIONED')";
        let names = reader.rows(names).await?.ok_or_else(|| reader.slow())?;
        let sees_all = reader.one(SEES_ALL).await?.is_some();
        let packet = reader.one("select cast(@@max_allowed_packet as char)").await?;
        let packet = packet.and_then(|row| row.into_iter().next().flatten()?.parse().ok());
        let packet = packet.ok_or_else(|| reader.odd("no `max_allowed_packet`"))?;
        let engine = Engine::MySql(reader.product());
        let tables = names.into_iter().flatten().flatten().collect();
        Ok(Self {
            ranged: Ranged::of(reader, pace),
            engine,
            mark,
            identity,
            sees_all,
            tables,
            rows_at_once: 16_384,
            packet,
        })
    }

    pub(super) fn tables(&self) -> Vec<String> {
        self.tables.clone()
    }

    pub(super) async fn shape(&mut self, table: &str) -> Result<Option<Shape>, DatabaseError> {
        if !self.tables.iter().any(|name| name == table) {
            return Ok(None);
        }
        let named = format!("table_schema = database() and table_name = {}", literal(table));
        let kind = format!(
            "select coalesce(engine, ''), cast(coalesce(table_rows, 0) as char) from information_schema.tables where {named}"
        );
        let kind = self.ranged.whole(&kind).await?.into_iter().next().unwrap_or_default();
        let [storage, estimate] = self.ranged.texts(kind)?;
        let columns = format!(
            "select column_name, data_type, is_nullable, concat(column_type, \
               if(collation_name is null, '', concat(' collate ', collation_name)), \
               if(coalesce(generation_expression, '') = '', '', concat(' as (', generation_expression, ')')), \
               if(coalesce(column_default, 'NULL') = 'NULL', '', concat(' default ', column_default)), if(extra = '', '', concat(' ', extra))) \
             from information_schema.columns where {named} order by ordinal_position"
        );
        let columns = self.ranged.whole(&columns).await?;
        let columns = columns.into_iter().map(|row| Ok(column(self.ranged.texts(row)?)));
        let columns = columns.collect::<Result<Vec<_>, DatabaseError>>()?;
        let (key, objects) = self.keys(&named).await?;
        let name = quoted(table);
        Ok(Some(Shape {
            relations: vec![Relation { quoted: name.clone(), pages: None }],
            quoted: name,
            columns,
            key,
            objects,
            estimate: estimate.parse().unwrap_or_default(),
            unreadable: (storage != "InnoDB")
                .then(|| format!("its engine {storage} has no snapshots")),
        }))
    }

    /// The primary key, and every other index and constraint.
    async fn keys(
        &mut self,
        named: &str,
    ) -> Result<(Vec<String>, BTreeMap<String, String>), DatabaseError> {
        let statement = format!(
            "select index_name, cast(non_unique as char), index_type, column_name, \
             coalesce(concat('(', sub_part, ')'), '') from information_schema.statistics \
             where {named} order by index_name, seq_in_index"
        );
        let mut key = Vec::new();
        let mut objects = BTreeMap::new();
        for row in self.ranged.whole(&statement).await? {
            let [index, many, kind, column, part] = self.ranged.texts(row)?;
            if index == "PRIMARY" {
                key.push(column);
                continue;
            }
            let unique = if many == "0" { "unique " } else { "" };
            let what = objects
                .entry(format!("index {index}"))
                .or_insert_with(|| format!("{unique}{}:", kind.to_lowercase()));
            what.extend([" ", &column, &part]);
        }
        let references = format!(
            "select c.constraint_name, group_concat(concat(c.column_name, ' to ', c.referenced_table_name, '.', \
               c.referenced_column_name) order by c.ordinal_position separator ', '), min(r.update_rule), min(r.delete_rule) \
             from information_schema.key_column_usage c join information_schema.referential_constraints r \
               on r.constraint_schema = c.constraint_schema and r.constraint_name = c.constraint_name and r.table_name = c.table_name \
             where c.{named} and c.referenced_table_name is not null group by c.constraint_name",
            named = named.replacen("table_name", "c.table_name", 1)
        );
        for row in self.ranged.whole(&references).await? {
            let [name, what, update, delete] = self.ranged.texts(row)?;
            let what = format!("{what} on update {update} on delete {delete}");
            objects.insert(format!("foreign key {name}"), what);
        }
        Ok((key, objects))
    }

    /// The sum of every part of the table, going on from what was read of it before.
    pub(super) async fn sums(
        &mut self,
        view: &View,
        mut partial: Partial,
        seen: Seen<'_>,
        keep: Keep<'_>,
    ) -> Result<Sums, DatabaseError> {
        if partial.relation > 0 {
            return Ok(partial.sums);
        }
        if text::fold(view) == Fold::ExclusiveOr && self.packet < ENOUGH {
            return Err(DatabaseError::System(HAS_NO_HASH.to_owned()));
        }
        match &view.split {
            Split::Ranges { column, shift } => {
                let along = (column.as_str(), *shift);
                self.ranged.ranges(view, along, &mut partial, seen, keep).await?;
            }
            Split::Hashed => {
                if let Some(order) = self.order(view).await? {
                    self.ranged.divisible(true).await?;
                    self.walk(view, &order, &mut partial, seen, keep).await?;
                } else {
                    self.ranged.undivided(view, &mut partial, seen).await?;
                }
            }
        }
        self.ranged.divisible(false).await?;
        partial.relation = 1;
        keep(&partial);
        Ok(partial.sums)
    }

    /// The order in which the table can be read piece by piece, if there is one.
    async fn order(&mut self, view: &View) -> Result<Option<Walk>, DatabaseError> {
        let named = |table: &&String| quoted(table) == view.quoted;
        let Some(asked) = self.tables.iter().find(named).map(|it| walk::columns_of_key(it)) else {
            return Ok(None);
        };
        let columns = self.ranged.whole(&asked).await?;
        let columns = columns.into_iter().map(|row| self.ranged.texts(row));
        Ok(Walk::along(columns.collect::<Result<_, _>>()?))
    }

    /// Reads so many rows at a time in the order of the key, after those that were read before.
    async fn walk(
        &mut self,
        view: &View,
        order: &Walk,
        partial: &mut Partial,
        seen: Seen<'_>,
        keep: Keep<'_>,
    ) -> Result<(), DatabaseError> {
        loop {
            self.ranged.clear().await?;
            let began = Instant::now();
            let Some((rows, to)) = self.piece(view, order, &partial.after).await? else {
                if self.rows_at_once == 1 {
                    return Err(self.ranged.session.slow());
                }
                self.rows_at_once = (self.rows_at_once / 4).max(1);
                continue;
            };
            let took = began.elapsed();
            seen(self.ranged.merge(view, &mut partial.sums, rows)?);
            let Some(to) = to else { return Ok(()) };
            partial.after = to;
            keep(partial);
            let next = self.ranged.pace.next(self.rows_at_once, took);
            self.rows_at_once = next.max(self.rows_at_once.min(FEW));
            self.ranged.pace.rest(took).await;
        }
    }

    /// The sums of the next rows and the key of the last of them, none where no more follow; none where it took too long.
    async fn piece(
        &mut self,
        view: &View,
        order: &Walk,
        after: &[String],
    ) -> Result<Option<(Vec<Row>, Option<Vec<String>>)>, DatabaseError> {
        let bound = order.bound(&view.quoted, after, self.rows_at_once);
        let Some(bound) = self.ranged.session.rows(&bound).await? else { return Ok(None) };
        let to = bound.into_iter().next().map(|row| row.into_iter().map(Option::unwrap_or_default));
        let to = to.map(Iterator::collect::<Vec<_>>);
        let filter = order.between(after, to.as_deref());
        let asked = summed(view, &walk::from(&view.quoted), &filter);
        Ok(self.ranged.session.rows(&asked).await?.map(|rows| (rows, to)))
    }
}

const HAS_NO_HASH: &str = "a row is longer than `max_allowed_packet` of the server and has no hash";

/// Of the whole server, or of this database.
const SEES_ALL: &str = "select 'yes' from dual where exists (select 1 from information_schema.user_privileges where privilege_type = 'SELECT') \
     or exists (select 1 from information_schema.schema_privileges where privilege_type = 'SELECT' and database() like table_schema)";

/// Which database of which server this is, since when it runs.
async fn identity(reader: &mut Reader) -> Result<String, DatabaseError> {
    let status = if matches!(reader.product(), Product::MariaDb(..)) {
        "information_schema"
    } else {
        "performance_schema"
    };
    let asked = format!(
        "select concat_ws(' ', @@hostname, @@port, @@server_id, database(), unix_timestamp() - \
         (select variable_value from {status}.global_status where variable_name = 'Uptime'))"
    );
    let row = reader.one(&asked).await?.unwrap_or_default();
    row.into_iter().flatten().next().ok_or_else(|| reader.odd("no identity"))
}

/// How far the log of `InnoDB` is, which whatever is written moves on. None where the server does not tell.
async fn written(reader: &mut Reader) -> Result<Option<String>, DatabaseError> {
    if matches!(reader.product(), Product::MySql(..)) {
        return Ok(None);
    }
    let asked = "select variable_value from information_schema.global_status where variable_name = 'Innodb_lsn_current'";
    Ok(reader.one(asked).await?.and_then(|row| row.into_iter().next().flatten()))
}

impl Asks for Reader {
    async fn rows(&mut self, statement: &str) -> Result<Option<Vec<Row>>, DatabaseError> {
        Self::rows(self, statement).await
    }

    async fn limit(&mut self, limit: Duration) -> Result<(), DatabaseError> {
        Self::limit(self, limit).await
    }

    fn slow(&self) -> DatabaseError {
        Self::slow(self)
    }

    fn odd(&self, why: &str) -> DatabaseError {
        Self::odd(self, why)
    }

    async fn close(self) {
        Self::close(self).await;
    }

    fn has_no_hash(sum: i128) -> Option<&'static str> {
        (sum >= NO_HASH).then_some(HAS_NO_HASH)
    }

    fn fold(view: &View) -> Fold {
        text::fold(view)
    }

    fn ends(view: &View, column: &str) -> String {
        let column = quoted(column);
        let table = &view.quoted;
        format!("select cast(min({column}) as char), cast(max({column}) as char) from {table}")
    }

    fn summed(view: &View) -> String {
        summed(view, &format!("{} t", view.quoted), "true")
    }

    fn range(view: &View, column: &str, part: i64, (from, to): (i64, i64)) -> String {
        let part = part.to_string();
        let (table, hash) = (format!("{} t", view.quoted), text::drawn_hash(view, &part));
        grouped(view, &table, (&part, &hash), &text::between(column, from, to))
    }

    fn cells(view: &View, parts: &[i64]) -> String {
        let (hash, filter) = (text::row_hash(view), text::is_in(view, parts));
        grouped(view, &format!("{} t", view.quoted), (&text::cell(view), &hash), &filter)
    }

    fn marked(view: &View, parts: &[i64], cells: &[i64]) -> String {
        let cells = super::postgres_text::list(cells);
        let filter = format!("{} and {} in ({cells})", text::is_in(view, parts), text::cell(view));
        let marks = text::marks(view);
        // A key tells rows apart; rows without one are counted.
        let (times, group) = if view.key.is_empty() {
            let places: Vec<String> = (1..=marks.len()).map(|at| at.to_string()).collect();
            ("cast(count(*) as char)", format!(" group by {}", places.join(", ")))
        } else {
            ("'1'", String::new())
        };
        let marks = marks.join(", ");
        format!("select {marks}, {times} from {} t where {filter}{group}", view.quoted)
    }
}

/// The sum of every part, of rows of the table or of some of it.
fn summed(view: &View, from: &str, filter: &str) -> String {
    let part = text::part(view);
    grouped(view, from, (&part, &text::drawn_hash(view, &part)), filter)
}

fn grouped(view: &View, from: &str, (by, hash): (&str, &str), filter: &str) -> String {
    let folded = match text::fold(view) {
        // Counted once more by itself, the hash would be computed once more.
        Fold::Sum => format!("sum(ifnull({hash}, {NO_HASH}))"),
        Fold::ExclusiveOr => format!("bit_xor({hash})"),
    };
    format!(
        "select cast({by} as char), cast(count(*) as char), cast({folded} as char) from {from} where {filter} {}",
        // By its place: a column may have any name. One part needs no groups.
        if by.parse::<i64>().is_ok() { "having count(*) > 0" } else { "group by 1" },
    )
}

fn column([name, kind, nullable, declared]: [String; 4]) -> ColumnShape {
    let form = match kind.as_str() {
        "tinyint" | "smallint" | "mediumint" => Form::Int4,
        // All fit but those that use the highest bit without a sign.
        "int" => Form::Int8,
        "bigint" if !declared.contains("unsigned") => Form::Int8,
        "bigint" | "decimal" => Form::Decimal,
        "float" | "double" => Form::Float,
        "bit" => Form::Bits,
        "binary" | "varbinary" | "tinyblob" | "blob" | "mediumblob" | "longblob" | "geometry"
        | "point" | "linestring" | "polygon" | "multipoint" | "multilinestring"
        | "multipolygon" | "geometrycollection" => Form::Bytes,
        "date" | "time" | "datetime" | "timestamp" | "year" => Form::Printed,
        "char" | "varchar" | "tinytext" | "text" | "mediumtext" | "longtext" => Form::Text,
        "enum" | "set" => Form::Choice,
        _ => Form::Converted,
    };
    let canon = Canon::of_mysql(&kind);
    let brief =
        matches!(form, Form::Choice) || length(&kind, &declared).is_some_and(|it| it <= BRIEF);
    ColumnShape { name, declared, not_null: nullable == "NO", form, canon, brief }
}

/// How long a text of this type can be, where its declaration says so.
fn length(kind: &str, declared: &str) -> Option<u64> {
    let bounded = matches!(kind, "char" | "varchar" | "binary" | "varbinary");
    let (length, _) = declared.split_once('(')?.1.split_once(')')?;
    length.parse().ok().filter(|_| bounded)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_is_brief_by_its_declaration() {
        let brief = |kind: &str, declared: &str| {
            column([String::new(), kind.to_owned(), "NO".to_owned(), declared.to_owned()]).brief
        };
        assert!(brief("varchar", "varchar(255) collate utf8mb4_bin"));
        assert!(brief("enum", "enum('a(1)')"));
        assert!(!brief("varchar", "varchar(256) collate utf8mb4_bin"));
        assert!(!brief("text", "text collate utf8mb4_bin default concat(1)"));
    }

    #[test]
    fn what_may_not_fit_is_no_range() {
        let form = |kind: &str, declared: &str| {
            column([String::new(), kind.to_owned(), "NO".to_owned(), declared.to_owned()]).form
        };
        assert_eq!(form("bigint", "bigint(20)"), Form::Int8);
        assert_eq!(form("bigint", "bigint(20) unsigned"), Form::Decimal);
        assert_eq!(form("int", "int(10) unsigned"), Form::Int8);
    }
}
