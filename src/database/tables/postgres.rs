//! One side on PostgreSQL, from version 12: one session, one snapshot, one statement at a time.
//!
//! Where the whole table is read it is read page by page in the order of the disk, a few pages a statement, whatever the key is:
//! sums do not depend on the order, so both sides need not cut at the same rows. A statement that takes too long is asked again
//! for fewer pages, in the same snapshot.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use serde::Deserialize;
use serde::de::DeserializeOwned;
use sqlx::AssertSqlSafe;

use super::beside::Beside;
use super::canon::Canon;
use super::kept::Partial;
use super::load::Watch;
use super::located::RowMark;
use super::pace::Pace;
use super::postgres_text as text;
use super::shape::{ColumnShape, Form, Relation, Shape, View, shown};
use super::sums::{Sum, Sums};
use super::{Engine, Keep, Seen};
use crate::database::DatabaseError;
use crate::database::postgres::{Reader, Server, quoted};

/// Settings that change how values are written out, or how a plan reads them, beyond those of every session.
const PINNED: &str = "set local row_security = off; set local lc_monetary = 'C'; set local xmloption = 'content'; \
     set local jit = off; set local max_parallel_workers_per_gather = 0; savepoint part";

/// What a statement may take at least that can not be asked for less.
const UNDIVIDED: Duration = Duration::from_secs(30);

/// See the module.
#[derive(Debug)]
pub(super) struct Postgres {
    at: String,
    reader: Reader,
    /// Version and encoding.
    pub(super) engine: Engine,
    /// The same as long as nothing is written; none while somebody writes.
    pub(super) mark: Option<String>,
    /// Which database it is.
    pub(super) identity: String,
    tables: BTreeMap<String, (String, String)>,
    pace: Pace,
    pages_at_once: u64,
    /// What tells when the server is to be left alone.
    pub(super) watch: Option<Watch>,
}

#[derive(Deserialize)]
struct TableOf {
    kind: String,
    columns: Vec<ColumnOf>,
    key: Option<Vec<String>>,
    relations: Vec<(String, u64, u64, String, Option<String>)>,
    objects: Option<BTreeMap<String, String>>,
}

#[derive(Deserialize)]
struct ColumnOf {
    name: String,
    declared: String,
    not_null: bool,
    base: String,
    is_enum: bool,
}

impl Postgres {
    pub(super) async fn open(server: &Server, pace: Pace) -> Result<Self, DatabaseError> {
        let server = server.clone().with_statement_limit(pace.limit.max(UNDIVIDED));
        let mut reader = server.reader().await?;
        reader.snapshot().await?;
        let product = "select json_build_array(current_setting('server_version_num')::int / 10000, current_setting('server_encoding'))::text";
        let (major, encoding): (u32, String) = reader.json(product, &[]).await?;
        if major < 12 {
            let why = format!(
                "{} is PostgreSQL {major}; tables are compared from version 12",
                server.at()
            );
            return Err(DatabaseError::System(why));
        }
        let mark = reader.json(MARK, &[]).await?;
        let identity = reader.json(IDENTITY, &[]).await?;
        let names = "select coalesce(json_agg(json_build_array(nspname, relname)), '[]')::text from pg_class c \
             join pg_namespace n on n.oid = relnamespace where relkind in ('r', 'p', 'f') and not relispartition \
             and nspname !~ '^pg_' and nspname <> 'information_schema'";
        let names: Vec<(String, String)> = reader.json(names, &[]).await?;
        let tables = names
            .into_iter()
            .map(|(schema, name)| (shown(&schema, &name, "public"), (schema, name)))
            .collect();
        let mut this = Self {
            at: server.at().to_owned(),
            reader,
            engine: Engine::Postgres { major, encoding },
            mark,
            identity,
            tables,
            pace,
            pages_at_once: 1024,
            watch: None,
        };
        this.run(PINNED).await?;
        Ok(this)
    }

    pub(super) fn tables(&self) -> Vec<String> {
        self.tables.keys().cloned().collect()
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

    /// What the database has beside its tables.
    pub(super) async fn beside(&mut self) -> Result<Beside, DatabaseError> {
        self.reader.json(BESIDE, &[]).await
    }

    pub(super) async fn shape(&mut self, table: &str) -> Result<Option<Shape>, DatabaseError> {
        let Some((schema, name)) = self.tables.get(table) else { return Ok(None) };
        let name = format!("{}.{}", quoted(schema), quoted(name));
        let found: TableOf = self.reader.json(SHAPE, &[&name]).await?;
        let pages = |pages: u64, method: Option<&str>| {
            (self.engine.reads_pages() && method == Some("heap")).then_some(pages)
        };
        let foreign = found.relations.iter().find(|it| it.3 == "f");
        Ok(Some(Shape {
            quoted: if found.kind == "p" { name.clone() } else { format!("only {name}") },
            columns: found.columns.into_iter().map(column).collect(),
            key: found.key.unwrap_or_default(),
            unreadable: foreign.map(|it| format!("{} is a foreign table", it.0)),
            estimate: found.relations.iter().map(|it| it.2).sum(),
            relations: found
                .relations
                .into_iter()
                .map(|it| Relation { pages: pages(it.1, it.4.as_deref()), quoted: it.0 })
                .collect(),
            objects: found.objects.unwrap_or_default(),
        }))
    }

    /// The least and the greatest value of an integer column.
    pub(super) async fn ends(
        &mut self,
        view: &View,
        column: &str,
    ) -> Result<Option<(i64, i64)>, DatabaseError> {
        let column = quoted(column);
        let asked = format!(
            "select json_build_array(min(t.{column})::int8, max(t.{column})::int8)::text from {} t",
            view.quoted
        );
        match self.whole(&asked).await? {
            (Some(low), Some(high)) => Ok(Some((low, high))),
            (None, _) | (_, None) => Ok(None::<(i64, i64)>),
        }
    }

    /// The sum of every part of the table, going on from what was read of it before.
    pub(super) async fn sums(
        &mut self,
        view: &View,
        mut partial: Partial,
        seen: Seen<'_>,
        keep: Keep<'_>,
    ) -> Result<Sums, DatabaseError> {
        let asked = |from: &str, filter: &str| {
            grouped(&text::part(view), &text::drawn_hash(view), from, filter)
        };
        let page = partial.next.and_then(|next| next.try_into().ok()).unwrap_or_default();
        let begin = (partial.relation, page);
        let mut add = |found: Vec<(i64, u64, String)>, (relation, page): (usize, u64)| {
            seen(found.iter().map(|it| it.1).sum());
            merge(&mut partial.sums, found)?;
            partial.relation = relation;
            partial.next = Some(page.try_into().unwrap_or(i64::MAX));
            keep(&partial);
            Ok(())
        };
        self.scan(view, begin, asked, &mut add).await?;
        let names: Vec<&str> = view.relations.iter().map(|it| it.quoted.as_str()).collect();
        if self.reader.json(REWRITTEN, &[&serde_json::json!(names).to_string()]).await? {
            return Err(DatabaseError::System(
                "it was emptied or written anew meanwhile".to_owned(),
            ));
        }
        Ok(partial.sums)
    }

    /// The sum of every cell of some parts.
    pub(super) async fn cells(
        &mut self,
        view: &View,
        parts: &[i64],
    ) -> Result<Sums, DatabaseError> {
        let filter = text::is_in(view, parts);
        let asked = |from: &str, pages: &str| {
            grouped(
                &text::cell(view),
                &text::row_hash(view),
                from,
                &format!("{filter} and {pages}"),
            )
        };
        let mut sums = Sums::new();
        let mut add = |found, _| merge(&mut sums, found);
        self.some(view, asked, &mut add).await?;
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
            "{} and ({}) in ({})",
            text::is_in(view, parts),
            text::cell(view),
            text::list(cells)
        );
        let asked = |from: &str, pages: &str| {
            format!(
                "select coalesce(jsonb_agg(m || to_jsonb(n)), '[]')::text from \
                 (select {} as m, count(*) as n from {from} t where {filter} and {pages} group by 1) s",
                text::mark(view)
            )
        };
        let mut rows = Vec::new();
        let mut add = |found: Vec<RowMark>, _| {
            rows.extend(found);
            Ok(())
        };
        self.some(view, asked, &mut add).await?;
        Ok(rows)
    }

    /// Asks by the index where parts are ranges of the key, else the whole table.
    async fn some<T: DeserializeOwned>(
        &mut self,
        view: &View,
        asked: impl Fn(&str, &str) -> String,
        add: &mut (dyn FnMut(T, (usize, u64)) -> Result<(), String> + Send),
    ) -> Result<(), DatabaseError> {
        if view.split.is_ranges() {
            let found = self.whole(&asked(&view.quoted, "true")).await?;
            return add(found, (0, 0)).map_err(|why| self.odd(&why));
        }
        self.scan(view, (0, 0), asked, add).await
    }

    /// Asks for some pages at a time until the table has been read.
    async fn scan<T: DeserializeOwned>(
        &mut self,
        view: &View,
        begin: (usize, u64),
        asked: impl Fn(&str, &str) -> String,
        add: &mut (dyn FnMut(T, (usize, u64)) -> Result<(), String> + Send),
    ) -> Result<(), DatabaseError> {
        self.limit(self.pace.limit).await?;
        for (at, relation) in view.relations.iter().enumerate().skip(begin.0) {
            let from = format!("only {}", relation.quoted);
            let Some(pages) = relation.pages else {
                self.limit(self.pace.limit.max(UNDIVIDED)).await?;
                let found = self.whole(&asked(&from, "true")).await?;
                add(found, (at + 1, 0)).map_err(|why| self.odd(&why))?;
                self.limit(self.pace.limit).await?;
                continue;
            };
            let mut page = if at == begin.0 { begin.1 } else { 0 };
            while page == 0 || page < pages {
                let next = page.saturating_add(self.pages_at_once);
                // The last one is open: no row may be passed over.
                let until = if next < pages {
                    format!(" and t.ctid < '({next},0)'")
                } else {
                    String::new()
                };
                self.clear().await?;
                let asked_at = Instant::now();
                let answered =
                    self.ask(&asked(&from, &format!("t.ctid >= '({page},0)'{until}"))).await?;
                let Some(found) = answered else {
                    if self.pages_at_once == 1 {
                        return Err(self.slow());
                    }
                    self.pages_at_once = (self.pages_at_once / 4).max(1);
                    self.limit(self.pace.limit).await?;
                    continue;
                };
                add(found, (at, next)).map_err(|why| self.odd(&why))?;
                page = next;
                self.pages_at_once = self.pace.next(self.pages_at_once, asked_at.elapsed());
                self.pace.rest(asked_at.elapsed()).await;
            }
        }
        self.limit(self.pace.limit.max(UNDIVIDED)).await
    }

    async fn limit(&mut self, limit: Duration) -> Result<(), DatabaseError> {
        // The rollback takes nothing back but the limit before.
        self.run(&format!(
            "rollback to savepoint part; set local statement_timeout = {}",
            limit.as_millis()
        ))
        .await
    }

    async fn whole<T: DeserializeOwned>(&mut self, statement: &str) -> Result<T, DatabaseError> {
        self.clear().await?;
        self.ask(statement).await?.ok_or_else(|| self.slow())
    }

    /// The answer to a statement; none where it took longer than it may.
    async fn ask<T: DeserializeOwned>(
        &mut self,
        statement: &str,
    ) -> Result<Option<T>, DatabaseError> {
        // Safe: composed of quoted names and numbers. Not kept: hardly one is asked twice.
        let asked =
            sqlx::query_scalar::<_, String>(AssertSqlSafe(statement.to_owned())).persistent(false);
        let patience = self.pace.limit.max(UNDIVIDED) + Duration::from_secs(5);
        let answered =
            tokio::time::timeout(patience, asked.fetch_one(self.reader.connection())).await;
        let text = match answered {
            Ok(Ok(text)) => text,
            Ok(Err(sqlx::Error::Database(told))) if told.code().as_deref() == Some("57014") => {
                self.run("rollback to savepoint part").await?;
                return Ok(None);
            }
            Ok(Err(error)) => return Err(self.reader.failed(&error)),
            Err(_) => return Err(self.slow()),
        };
        serde_json::from_str(&text).map(Some).map_err(|why| self.odd(&why.to_string()))
    }

    async fn run(&mut self, statement: &str) -> Result<(), DatabaseError> {
        let ran = sqlx::raw_sql(AssertSqlSafe(statement.to_owned()))
            .execute(self.reader.connection())
            .await;
        ran.map(drop).map_err(|error| self.reader.failed(&error))
    }

    fn slow(&self) -> DatabaseError {
        let cause = format!("a statement took longer than {} s", self.pace.limit.as_secs());
        DatabaseError::Silent { at: self.at.clone(), cause }
    }

    fn odd(&self, why: &str) -> DatabaseError {
        let cause = format!("an answer that can not be read: {why}");
        DatabaseError::Silent { at: self.at.clone(), cause }
    }
}

fn grouped(by: &str, hash: &str, from: &str, filter: &str) -> String {
    format!(
        "select coalesce(json_agg(json_build_array(p, n, h::text)), '[]')::text from \
         (select {by} as p, count(*) as n, sum({hash}) as h from {from} t where {filter} group by 1) s"
    )
}

fn merge(sums: &mut Sums, found: Vec<(i64, u64, String)>) -> Result<(), String> {
    for (part, rows, hash) in found {
        let hash = hash.parse().map_err(|_| format!("`{hash}` is no sum"))?;
        sums.entry(part).or_default().add(Sum { rows, hash });
    }
    Ok(())
}

fn column(found: ColumnOf) -> ColumnShape {
    let form = match found.base.as_str() {
        "bool" => Form::Bool,
        "int2" | "int4" => Form::Int4,
        "int8" => Form::Int8,
        "numeric" => Form::Decimal,
        "text" | "varchar" => Form::Text,
        "uuid" => Form::Uuid,
        "float4" | "float8" => Form::Float,
        "bytea" => Form::Bytes,
        "timestamp" => Form::Sent("timestamp_send"),
        "timestamptz" => Form::Sent("timestamptz_send"),
        "date" => Form::Sent("date_send"),
        "time" => Form::Sent("time_send"),
        _ => Form::Printed,
    };
    let canon = Canon::of_postgres(&found.base, found.is_enum);
    ColumnShape {
        name: found.name,
        declared: found.declared,
        not_null: found.not_null,
        form,
        canon,
        brief: false,
    }
}

/// Whether a table has other pages than in the snapshot: emptied, or written anew, since. What was read of it was then not what
/// the snapshot should see.
const REWRITTEN: &str = "select coalesce(to_json(bool_or(relfilenode <> pg_relation_filenode(oid)))::text, 'false') from pg_class
    where oid in (select value::regclass from json_array_elements_text($1::text::json)) and relkind <> 'f'";

/// Which database of which server this is.
const IDENTITY: &str = "select to_json(concat_ws(' ', (select system_identifier from pg_control_system()), pg_postmaster_start_time(),
    pg_is_in_recovery(), current_database()))::text";

/// What names the rows that a snapshot sees. Every write takes a transaction id: as long as none is open and the next one is the
/// same, no row of this server is another. A crash may lose ids and rows, and a restart empties unlogged tables.
const MARK: &str = "
select coalesce(to_json(case when pg_snapshot_xmin(s) = pg_snapshot_xmax(s) then concat_ws(' ',
  (select system_identifier from pg_control_system()), (select timeline_id from pg_control_checkpoint()), pg_postmaster_start_time(),
  pg_is_in_recovery(), case when not pg_is_in_recovery() then left(pg_walfile_name(pg_current_wal_lsn()), 8) end,
  inet_server_addr(), inet_server_port(), current_database(), pg_snapshot_xmax(s)) end)::text, 'null')
from pg_current_snapshot() s";

/// Everything beside tables. What an extension brings is not named by itself.
const BESIDE: &str = "
with own as (
  select oid, nspname from pg_namespace where nspname !~ '^pg_' and nspname <> 'information_schema'),
brought as (select objid from pg_depend where deptype = 'e')
select json_build_object(
  'extensions', (select coalesce(json_agg(extname order by extname), '[]') from pg_extension where extname <> 'plpgsql'),
  'types', (
    select coalesce(json_object_agg('type ' || format_type(t.oid, null), case t.typtype
      when 'e' then (select 'enum of ' || string_agg(enumlabel, ', ' order by enumsortorder) from pg_enum where enumtypid = t.oid)
      else 'domain over ' || format_type(t.typbasetype, t.typtypmod) || case when t.typnotnull then ' not null' else '' end
        || coalesce((select string_agg(' ' || pg_get_constraintdef(oid), '' order by conname) from pg_constraint where contypid = t.oid), '') end), '{}')
    from pg_type t join own n on n.oid = t.typnamespace
    where t.typtype in ('e', 'd') and t.oid not in (select objid from brought)),
  'sequences', (
    select coalesce(json_agg(json_build_object('name', s.oid::regclass::text, 'step', q.seqincrement,
      'declared', format('%s from %s by %s between %s and %s%s', format_type(q.seqtypid, null), q.seqstart, q.seqincrement,
        q.seqmin, q.seqmax, case when q.seqcycle then ' cycle' else '' end),
      'last', (xpath('/row/last/text()', query_to_xml(format('select case when is_called then last_value
        when last_value <> %s then last_value - %s end as last from %s', q.seqstart, q.seqincrement, s.oid::regclass), false, true, '')))[1]::text::int8) order by s.oid::regclass::text), '[]')
    from pg_class s join pg_sequence q on q.seqrelid = s.oid join own n on n.oid = s.relnamespace
    where s.relkind = 'S' and s.oid not in (select objid from brought))
)::text";

/// Everything about a table, `$1`. A column's base type is the one under its domains, and its name is `text` for the server's own
/// types only: another schema may have a type of the same name.
const SHAPE: &str = "
with recursive it as (select c.oid, c.relkind from pg_class c where c.oid = $1::text::regclass),
base as (
  select a.attnum, a.atttypid as type, a.atttypmod as mod from pg_attribute a, it
  where a.attrelid = it.oid and a.attnum > 0 and not a.attisdropped
  union all
  select b.attnum, t.typbasetype, t.typtypmod from base b join pg_type t on t.oid = b.type where t.typtype = 'd'),
leaves as (
  select p.relid as oid from it, pg_partition_tree(it.oid) p where it.relkind = 'p' and p.isleaf
  union all select oid from it where relkind <> 'p')
select json_build_object(
  'kind', it.relkind,
  'columns', (
    select coalesce(json_agg(json_build_object(
      'name', a.attname, 'not_null', a.attnotnull, 'is_enum', t.typtype = 'e',
      'base', case when t.typnamespace = 'pg_catalog'::regnamespace then t.typname::text else '' end,
      'declared', format_type(a.atttypid, a.atttypmod)
        || case when a.attcollation <> y.typcollation then ' collate ' || a.attcollation::regcollation::text else '' end
        || case a.attidentity when 'a' then ' generated always as identity' when 'd' then ' generated by default as identity' else '' end
        || case when d.adbin is null then '' when a.attgenerated <> '' then ' generated always as ' || pg_get_expr(d.adbin, d.adrelid)
             else ' default ' || pg_get_expr(d.adbin, d.adrelid) end) order by a.attnum), '[]')
    from pg_attribute a join base b on b.attnum = a.attnum join pg_type t on t.oid = b.type and t.typtype <> 'd'
    join pg_type y on y.oid = a.atttypid
    left join pg_attrdef d on d.adrelid = a.attrelid and d.adnum = a.attnum where a.attrelid = it.oid),
  'key', (
    select json_agg(a.attname order by k.place) from pg_index i
    cross join lateral unnest(i.indkey::int2[]) with ordinality k(number, place)
    join pg_attribute a on a.attrelid = i.indrelid and a.attnum = k.number
    where i.indrelid = it.oid and i.indisprimary and k.place <= i.indnkeyatts),
  'relations', (
    select coalesce(json_agg(json_build_array(c.oid::regclass::text, p.pages,
      case when c.reltuples < 0 then p.pages * 50 else c.reltuples::int8 end, c.relkind, m.amname)), '[]')
    from leaves l join pg_class c on c.oid = l.oid left join pg_am m on m.oid = c.relam
    cross join lateral (select coalesce(pg_relation_size(c.oid), 0) / current_setting('block_size')::int8 as pages) p),
  'objects', (
    select json_object_agg(name, what) from (
      select 'index ' || x.relname as name, pg_get_indexdef(i.indexrelid) || case when i.indisvalid then '' else ' (not valid)' end as what
      from pg_index i join pg_class x on x.oid = i.indexrelid
      where i.indrelid = it.oid and not exists (select from pg_constraint c where c.conindid = i.indexrelid and c.conrelid = it.oid)
      union all
      select 'constraint ' || c.conname, pg_get_constraintdef(c.oid) from pg_constraint c
      where c.conrelid = it.oid and c.contype in ('c', 'f', 'p', 'u', 'x')) o)
)::text from it";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_no_sum_is_an_error() {
        let mut sums = Sums::new();
        merge(&mut sums, vec![(1, 2, "-3".to_owned()), (1, 1, "1".to_owned())]).expect("sums");
        assert_eq!(sums[&1], Sum { rows: 3, hash: -2 });
        merge(&mut sums, vec![(1, 2, "1.5".to_owned())]).expect_err("no whole number");
    }
}
