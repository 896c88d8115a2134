//! One side on MariaDB or MySQL: one session, one snapshot, one statement at a time.
//!
//! Rows lie in the order of the primary key, so a table with an integer key is read range by range, and one with another key so
//! many rows at a time. A statement that takes too long is asked again for fewer of them, in the same snapshot. A table without a
//! primary key is read by one statement: no index could divide it.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use super::canon::Canon;
use super::kept::Partial;
use super::load::Watch;
use super::located::RowMark;
use super::mysql_text as text;
use super::mysql_walk::{self as walk, Walk};
use super::pace::Pace;
use super::shape::{ColumnShape, Form, Relation, Shape, View};
use super::sums::{Split, Sum, Sums};
use super::{Engine, Keep, Seen};
use crate::database::DatabaseError;
use crate::database::mysql::{Product, Reader, Row, Server, literal, quoted};

/// What a statement may take at least that can not be asked for less.
const UNDIVIDED: Duration = Duration::from_secs(30);

/// Characters, or bytes, of what is a brief text.
const BRIEF: u64 = 255;

/// Fewer rows at a time save nothing, unless a statement would take too long.
const FEW: u64 = 256;

/// Stands in a sum for a row without a hash: more than all hashes of five thousand million rows.
const NO_HASH: i128 = 100_000_000_000_000_000_000_000_000_000;

/// See the module.
#[derive(Debug)]
pub(super) struct MySql {
    reader: Reader,
    /// Product and version.
    pub(super) engine: Engine,
    /// The same as long as nothing is written; none where the server does not say.
    pub(super) mark: Option<String>,
    /// Which database it is.
    pub(super) identity: String,
    /// Its user may read whatever there is: a table that it may not read is not even listed.
    pub(super) sees_all: bool,
    tables: Vec<String>,
    pace: Pace,
    keys_at_once: u64,
    rows_at_once: u64,
    /// What tells when the server is to be left alone.
    pub(super) watch: Option<Watch>,
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
        let engine = Engine::MySql(reader.product());
        let tables = names.into_iter().flatten().flatten().collect();
        Ok(Self {
            reader,
            engine,
            mark,
            identity,
            sees_all,
            tables,
            pace,
            keys_at_once: u64::MAX,
            rows_at_once: 16_384,
            watch: None,
        })
    }

    pub(super) fn tables(&self) -> Vec<String> {
        self.tables.clone()
    }

    pub(super) async fn close(self) {
        if let Some(watch) = self.watch {
            watch.close().await;
        }
        self.reader.close().await;
    }

    /// Returns once the server may be asked for more.
    async fn clear(&mut self) -> Result<(), DatabaseError> {
        match &mut self.watch {
            Some(watch) => watch.clear().await,
            None => Ok(()),
        }
    }

    pub(super) async fn shape(&mut self, table: &str) -> Result<Option<Shape>, DatabaseError> {
        if !self.tables.iter().any(|name| name == table) {
            return Ok(None);
        }
        let named = format!("table_schema = database() and table_name = {}", literal(table));
        let kind = format!(
            "select coalesce(engine, ''), cast(coalesce(table_rows, 0) as char) from information_schema.tables where {named}"
        );
        let kind = self.whole(&kind).await?.into_iter().next().unwrap_or_default();
        let [storage, estimate] = self.texts(kind)?;
        let columns = format!(
            "select column_name, data_type, is_nullable, concat(column_type, \
               if(collation_name is null, '', concat(' collate ', collation_name)), \
               if(coalesce(generation_expression, '') = '', '', concat(' as (', generation_expression, ')')), \
               if(coalesce(column_default, 'NULL') = 'NULL', '', concat(' default ', column_default)), if(extra = '', '', concat(' ', extra))) \
             from information_schema.columns where {named} order by ordinal_position"
        );
        let columns = self.whole(&columns).await?;
        let columns = columns.into_iter().map(|row| Ok(column(self.texts(row)?)));
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
        for row in self.whole(&statement).await? {
            let [index, many, kind, column, part] = self.texts(row)?;
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
        for row in self.whole(&references).await? {
            let [name, what, update, delete] = self.texts(row)?;
            let what = format!("{what} on update {update} on delete {delete}");
            objects.insert(format!("foreign key {name}"), what);
        }
        Ok((key, objects))
    }

    /// The least and the greatest value of an integer column.
    pub(super) async fn ends(
        &mut self,
        view: &View,
        column: &str,
    ) -> Result<Option<(i64, i64)>, DatabaseError> {
        let column = quoted(column);
        let asked = format!(
            "select cast(min({column}) as char), cast(max({column}) as char) from {}",
            view.quoted
        );
        let row = self.whole(&asked).await?.into_iter().next().unwrap_or_default();
        if row.iter().any(Option::is_none) {
            return Ok(None);
        }
        let [low, high] = self.texts(row)?;
        let number = |text: String| text.parse().map_err(|_| self.reader.odd("no whole number"));
        Ok(Some((number(low)?, number(high)?)))
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
        match &view.split {
            Split::Ranges { column, shift } => {
                let Some((least, greatest)) = self.ends(view, column).await? else {
                    return Ok(partial.sums);
                };
                let least = partial.next.map_or(least, |next| next.max(least));
                self.reader.limit(self.pace.limit).await?;
                for part in (least >> shift)..=(greatest >> shift) {
                    let (low, high) = Split::ends(part, *shift);
                    let range = (low.max(least), high.min(greatest));
                    self.range(view, column, (part, range), &mut partial, seen, keep).await?;
                }
            }
            Split::Hashed => {
                if let Some(order) = self.order(view).await? {
                    self.reader.limit(self.pace.limit).await?;
                    self.walk(view, &order, &mut partial, seen, keep).await?;
                } else {
                    let asked = summed(view, &format!("{} t", view.quoted), "true");
                    let rows = self.whole(&asked).await?;
                    seen(self.merge(&mut partial.sums, rows)?);
                }
            }
        }
        self.reader.limit(self.pace.limit.max(UNDIVIDED)).await?;
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
        let columns = self.whole(&asked).await?;
        let columns = columns.into_iter().map(|row| self.texts(row));
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
            self.clear().await?;
            let began = Instant::now();
            let Some((rows, to)) = self.piece(view, order, &partial.after).await? else {
                if self.rows_at_once == 1 {
                    return Err(self.reader.slow());
                }
                self.rows_at_once = (self.rows_at_once / 4).max(1);
                continue;
            };
            let took = began.elapsed();
            seen(self.merge(&mut partial.sums, rows)?);
            let Some(to) = to else { return Ok(()) };
            partial.after = to;
            keep(partial);
            let next = self.pace.next(self.rows_at_once, took);
            self.rows_at_once = next.max(self.rows_at_once.min(FEW));
            self.pace.rest(took).await;
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
        let Some(bound) = self.reader.rows(&bound).await? else { return Ok(None) };
        let to = bound.into_iter().next().map(|row| row.into_iter().map(Option::unwrap_or_default));
        let to = to.map(Iterator::collect::<Vec<_>>);
        let filter = order.between(after, to.as_deref());
        let asked = summed(view, &walk::from(&view.quoted), &filter);
        Ok(self.reader.rows(&asked).await?.map(|rows| (rows, to)))
    }

    /// Adds the rows of a part whose keys lie in a range, by as many statements as it takes.
    async fn range(
        &mut self,
        view: &View,
        column: &str,
        (part, (low, high)): (i64, (i64, i64)),
        partial: &mut Partial,
        seen: Seen<'_>,
        keep: Keep<'_>,
    ) -> Result<(), DatabaseError> {
        let mut next = (low <= high).then_some(low);
        while let Some(from) = next {
            let to = high.min(from.saturating_add_unsigned(self.keys_at_once - 1));
            let hash = text::drawn_hash(view, &part.to_string());
            let table = format!("{} t", view.quoted);
            let asked = grouped(&table, &part.to_string(), &hash, &text::between(column, from, to));
            self.clear().await?;
            let began = Instant::now();
            let Some(rows) = self.reader.rows(&asked).await? else {
                if self.keys_at_once == 1 {
                    return Err(self.reader.slow());
                }
                let keys = to.abs_diff(from).saturating_add(1);
                self.keys_at_once = (self.keys_at_once.min(keys) / 4).max(1);
                continue;
            };
            let took = began.elapsed();
            seen(self.merge(&mut partial.sums, rows)?);
            next = (to < high).then(|| to + 1);
            partial.next = Some(to.saturating_add(1));
            keep(partial);
            self.keys_at_once = self.pace.next(self.keys_at_once, took);
            self.pace.rest(took).await;
        }
        Ok(())
    }

    /// The sum of every cell of some parts.
    pub(super) async fn cells(
        &mut self,
        view: &View,
        parts: &[i64],
    ) -> Result<Sums, DatabaseError> {
        let from = format!("{} t", view.quoted);
        let (hash, filter) = (text::row_hash(view), text::is_in(view, parts));
        let asked = grouped(&from, &text::cell(view), &hash, &filter);
        let rows = self.whole(&asked).await?;
        let mut sums = Sums::new();
        self.merge(&mut sums, rows)?;
        Ok(sums)
    }

    /// The rows of some cells.
    pub(super) async fn rows(
        &mut self,
        view: &View,
        parts: &[i64],
        cells: &[i64],
    ) -> Result<Vec<RowMark>, DatabaseError> {
        let filter = format!(
            "{} and {} in ({})",
            text::is_in(view, parts),
            text::cell(view),
            super::postgres_text::list(cells)
        );
        let marks = text::marks(view);
        // A key tells rows apart; rows without one are counted.
        let (times, group) = if view.key.is_empty() {
            let places: Vec<String> = (1..=marks.len()).map(|at| at.to_string()).collect();
            ("cast(count(*) as char)", format!(" group by {}", places.join(", ")))
        } else {
            ("'1'", String::new())
        };
        let asked = format!(
            "select {}, {times} from {} t where {filter}{group}",
            marks.join(", "),
            view.quoted
        );
        let rows = self.whole(&asked).await?;
        rows.into_iter().map(|row| self.mark(view, row)).collect()
    }

    fn mark(&self, view: &View, row: Row) -> Result<RowMark, DatabaseError> {
        let number = |text: String| text.parse().map_err(|_| self.reader.odd("no digest"));
        let mut texts = row.into_iter();
        let key = texts.by_ref().take(view.key.len()).map(Option::unwrap_or_default).collect();
        let digests = texts.by_ref().take(view.columns.len());
        let digests = digests.map(|text| text.map(number).transpose()).collect::<Result<_, _>>()?;
        let times = texts.next().flatten().and_then(|text| text.parse().ok());
        Ok(RowMark(key, digests, times.ok_or_else(|| self.reader.odd("no count"))?))
    }

    async fn whole(&mut self, statement: &str) -> Result<Vec<Row>, DatabaseError> {
        self.clear().await?;
        self.reader.rows(statement).await?.ok_or_else(|| self.reader.slow())
    }

    /// Adds sums to others; how many rows they are of.
    fn merge(&self, sums: &mut Sums, rows: Vec<Row>) -> Result<u64, DatabaseError> {
        let mut read = 0;
        for row in rows {
            let [part, rows, hash] = self.texts(row)?;
            let (part, rows) = (part.parse().ok(), rows.parse().ok());
            let (Some(part), Some(rows), Ok(hash)) = (part, rows, hash.parse()) else {
                return Err(self.reader.odd("no sum"));
            };
            if hash >= NO_HASH {
                let why = "a row is longer than `max_allowed_packet` of the server and has no hash";
                return Err(DatabaseError::System(why.to_owned()));
            }
            sums.entry(part).or_default().add(Sum { rows, hash });
            read += rows;
        }
        Ok(read)
    }

    /// So many texts; empty for NULL.
    fn texts<const N: usize>(&self, row: Row) -> Result<[String; N], DatabaseError> {
        let texts: Vec<String> = row.into_iter().map(Option::unwrap_or_default).collect();
        texts.try_into().map_err(|_| self.reader.odd("not as many columns as asked for"))
    }
}

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

/// The sum of every part, of rows of the table or of some of it.
fn summed(view: &View, from: &str, filter: &str) -> String {
    let part = text::part(view);
    grouped(from, &part, &text::drawn_hash(view, &part), filter)
}

fn grouped(from: &str, by: &str, hash: &str, filter: &str) -> String {
    // Counted once more by itself, the hash would be computed once more.
    format!(
        "select cast({by} as char), cast(count(*) as char), cast(sum(ifnull({hash}, {NO_HASH})) as char) \
         from {from} where {filter} {}",
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
