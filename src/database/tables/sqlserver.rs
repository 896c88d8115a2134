//! One side on SQL Server: one session, one snapshot, one statement at a time.
//!
//! Written from Microsoft's documentation and tried against a server of the tests only: no SQL Server was at hand. A table with an
//! integer key is read range by range (see [`super::ranged`]), any other by one statement. What the user could be kept from seeing
//! without being told is refused: it must read the whole database and its definitions.

use std::collections::BTreeMap;
use std::time::Duration;

use super::canon::Canon;
use super::kept::Partial;
use super::pace::Pace;
use super::ranged::{Asks, Ranged};
use super::shape::{ColumnShape, Form, Relation, Shape, View, shown};
use super::sums::{Split, Sums};
use super::{Engine, Keep, Seen, sqlserver_text as text};
use crate::database::sqlserver::{Reader, Server, literal, quoted};
use crate::database::{DatabaseError, Row};

/// See the module.
#[derive(Debug)]
pub(super) struct SqlServer {
    /// Its session.
    pub(super) ranged: Ranged<Reader>,
    /// What it is.
    pub(super) engine: Engine,
    /// Which database it is.
    pub(super) identity: String,
    tables: BTreeMap<String, String>,
}

/// Version, edition, whether the database allows snapshots, what the user may do, and which database this is.
const FACTS: &str = "select convert(nvarchar(20), serverproperty('ProductMajorVersion')) as c0, \
     convert(nvarchar(20), serverproperty('EngineEdition')) as c1, \
     convert(nvarchar(20), d.snapshot_isolation_state) as c2, \
     convert(nvarchar(20), has_perms_by_name(db_name(), 'DATABASE', 'SELECT')) as c3, \
     convert(nvarchar(20), has_perms_by_name(db_name(), 'DATABASE', 'VIEW DEFINITION')) as c4, \
     concat(@@servername, N' ', db_name()) as c5 from sys.databases d where d.name = db_name()";

const TABLES: &str = "select s.name as c0, o.name as c1 from sys.tables o join sys.schemas s on s.schema_id = o.schema_id \
     where o.is_ms_shipped = 0";

impl SqlServer {
    pub(super) async fn open(server: &Server, pace: Pace) -> Result<Self, DatabaseError> {
        let reader = server.reader(server.database()).await?;
        let mut ranged = Ranged::of(reader, pace);
        ranged.divisible(false).await?;
        let facts = ranged.whole(FACTS).await?.into_iter().next().unwrap_or_default();
        let facts = ranged.texts(facts)?;
        if let Some(why) = refused(&facts) {
            return Err(DatabaseError::System(format!("{}: {why}", server.at())));
        }
        ranged.session.snapshot().await?;
        let mut tables = BTreeMap::new();
        for row in ranged.whole(TABLES).await? {
            let [schema, name] = ranged.texts(row)?;
            let stands = format!("{}.{}", quoted(&schema), quoted(&name));
            tables.insert(shown(&schema, &name, "dbo"), stands);
        }
        let [.., identity] = facts;
        Ok(Self { ranged, engine: Engine::SqlServer, identity, tables })
    }

    pub(super) fn tables(&self) -> Vec<String> {
        self.tables.keys().cloned().collect()
    }

    pub(super) async fn shape(&mut self, table: &str) -> Result<Option<Shape>, DatabaseError> {
        let Some(name) = self.tables.get(table).cloned() else { return Ok(None) };
        let found = self.ranged.whole(&table_of(&name)).await?.into_iter().next();
        let [rows, in_memory, external, policies] = self.ranged.texts(found.unwrap_or_default())?;
        let found = self.ranged.whole(&columns_of(&name)).await?;
        let columns = found.into_iter().map(|row| self.ranged.texts(row));
        let columns = columns.collect::<Result<Vec<[String; 5]>, _>>()?;
        Ok(Some(Shape {
            relations: vec![Relation { quoted: name.clone(), pages: None }],
            quoted: name,
            key: key(&columns),
            columns: columns.into_iter().map(column).collect(),
            objects: BTreeMap::new(),
            estimate: rows.parse().unwrap_or_default(),
            unreadable: unreadable(&in_memory, &external, &policies).map(str::to_owned),
        }))
    }

    /// The sum of every part of the table. It is never gone on with: no mark tells that nothing was written.
    pub(super) async fn sums(
        &mut self,
        view: &View,
        mut partial: Partial,
        seen: Seen<'_>,
        keep: Keep<'_>,
    ) -> Result<Sums, DatabaseError> {
        match &view.split {
            Split::Ranges { column, shift } => {
                let along = (column.as_str(), *shift);
                self.ranged.ranges(view, along, &mut partial, seen, keep).await?;
            }
            Split::Hashed => self.ranged.undivided(view, &mut partial, seen).await?,
        }
        self.ranged.divisible(false).await?;
        Ok(partial.sums)
    }
}

impl Asks for Reader {
    async fn rows(&mut self, statement: &str) -> Result<Option<Vec<Row>>, DatabaseError> {
        Self::rows(self, statement).await
    }

    async fn limit(&mut self, limit: Duration) -> Result<(), DatabaseError> {
        Self::limit(self, limit);
        Ok(())
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

    fn ends(view: &View, column: &str) -> String {
        text::ends(view, column)
    }

    fn summed(view: &View) -> String {
        text::summed(view)
    }

    fn range(view: &View, column: &str, part: i64, keys: (i64, i64)) -> String {
        text::range(view, column, part, keys)
    }

    fn cells(view: &View, parts: &[i64]) -> String {
        text::cells(view, parts)
    }

    fn marked(view: &View, parts: &[i64], cells: &[i64]) -> String {
        text::marked(view, parts, cells)
    }
}

/// Why tables of this database are not compared, by its [`FACTS`].
fn refused([major, edition, snapshots, reads, sees, _]: &[String; 6]) -> Option<String> {
    // Azure SQL Database and managed instances have versions of their own.
    let is_azure = ["5", "8"].contains(&edition.as_str());
    if !is_azure && !major.parse::<u32>().is_ok_and(|major| major >= 15) {
        let why = format!(
            "a SQL Server of version {major} and edition {edition} has no UTF-8; tables are compared from version 15 (2019), and on Azure SQL"
        );
        return Some(why);
    }
    if snapshots != "1" {
        let why = "the database allows no snapshots, and without one rows move while they are read; `alter database current set allow_snapshot_isolation on` allows them";
        return Some(why.to_owned());
    }
    [(reads, "SELECT"), (sees, "VIEW DEFINITION")].into_iter().find(|(has, _)| *has != "1").map(
        |(_, right)| {
            format!(
                "its user lacks {right} on the database: what is kept from it would not be missed"
            )
        },
    )
}

/// Rows as estimated, and what tables can not be read in a snapshot, or not whole.
fn table_of(name: &str) -> String {
    format!(
        "select convert(nvarchar(20), coalesce((select sum(p.rows) from sys.partitions p \
             where p.object_id = o.object_id and p.index_id in (0, 1)), 0)) as c0, \
         convert(nvarchar(1), o.is_memory_optimized) as c1, convert(nvarchar(1), o.is_external) as c2, \
         convert(nvarchar(20), (select count(*) from sys.security_predicates q \
             join sys.security_policies y on y.object_id = q.object_id \
             where q.target_object_id = o.object_id and q.predicate_type = 0 and y.is_enabled = 1)) as c3 \
         from sys.tables o where o.object_id = object_id({})",
        literal(name)
    )
}

/// Name, type, whether it may be NULL, whether its values are kept from this user, and its place in the primary key.
fn columns_of(name: &str) -> String {
    format!(
        "select c.name as c0, coalesce(type_name(c.system_type_id), type_name(c.user_type_id)) as c1, \
         convert(nvarchar(1), c.is_nullable) as c2, \
         case when c.encryption_type is not null then N'encrypted' \
             when c.is_masked = 1 and has_perms_by_name(db_name(), 'DATABASE', 'UNMASK') = 0 then N'masked' \
             else N'' end as c3, \
         convert(nvarchar(10), coalesce(k.key_ordinal, 0)) as c4 \
         from sys.columns c left join (select ic.object_id, ic.column_id, ic.key_ordinal from sys.index_columns ic \
             join sys.indexes i on i.object_id = ic.object_id and i.index_id = ic.index_id and i.is_primary_key = 1) k \
             on k.object_id = c.object_id and k.column_id = c.column_id \
         where c.object_id = object_id({}) order by c.column_id",
        literal(name)
    )
}

/// Why rows of a table can not be compared.
fn unreadable(in_memory: &str, external: &str, policies: &str) -> Option<&'static str> {
    if in_memory != "0" {
        return Some("it lies in memory and is in no snapshot of a session");
    }
    if external != "0" {
        return Some("it is an external table");
    }
    (policies != "0").then_some("a security policy may hide rows of it")
}

/// The columns of the primary key, in its order.
fn key(columns: &[[String; 5]]) -> Vec<String> {
    let place = |text: &String| text.parse::<u32>().ok().filter(|place| *place > 0);
    let places = columns.iter().filter_map(|[name, .., at]| Some((place(at)?, name.clone())));
    places.collect::<BTreeMap<_, _>>().into_values().collect()
}

fn column([name, kind, nullable, hidden, _]: [String; 5]) -> ColumnShape {
    let canon = Canon::of_sqlserver(&kind).filter(|_| hidden.is_empty());
    ColumnShape {
        name,
        declared: if hidden.is_empty() { kind } else { format!("{hidden} {kind}") },
        not_null: nullable == "0",
        form: canon.map_or(Form::Printed, |(_, form)| form),
        canon: canon.map(|(canon, _)| canon),
        brief: false,
    }
}

#[cfg(test)]
mod tests;
