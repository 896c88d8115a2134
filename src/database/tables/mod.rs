//! Two servers compared table by table: every row is hashed inside its server, both sides at once, each in one snapshot.
//!
//! 1. Each side sums the hashes of its rows into at most 1024 parts of the table: ranges of an integer key, else parts of a hash
//!    of what names a row. Only the sums come over the network.
//! 2. A part whose sum differs is divided into 1024 cells by the hash of the key, and of differing cells the rows are told by key
//!    and by a digest of each column. No value is read but keys.
//!
//! What could not be compared says so and never counts as equal. What is held in memory is sums, and rows of a few cells.

mod beside;
mod canon;
mod kept;
mod load;
mod located;
mod mysql;
mod mysql_text;
mod mysql_walk;
mod pace;
mod postgres;
mod postgres_text;
mod ranged;
mod sample;
mod shape;
mod sqlserver;
mod sqlserver_text;
mod sums;

use std::collections::BTreeSet;
use std::ops::RangeInclusive;
use std::path::Path;

use futures::future::try_join;
use tokio_util::sync::CancellationToken;

pub use load::{Limits, Told, Watch};
pub use pace::Pace;
pub use sample::Sample;

use self::beside::Beside;
use self::kept::{EqualTable, Kept, Partial};
use self::mysql::MySql;
use self::postgres::Postgres;
use self::shape::{Alike, Form, Shape, View};
use self::sqlserver::SqlServer;
use self::sums::{Split, Sums};
use super::DatabaseError;
use super::compare::{Comparison, Depth, TableComparison, TableVerdict};
use super::mysql::{Product, Server as MySqlServer};
use super::postgres::Server as PostgresServer;
use super::sqlserver::Server as SqlServerServer;

/// Parts of a table that are looked into at once, where that costs reading the table.
const PARTS_AT_ONCE: usize = 64;
/// Differing rows that are counted; beyond them their number is a lower bound.
const ROWS_FOUND: usize = 1000;
/// Rows of differing cells that are read at once.
const ROWS_AT_ONCE: u64 = 2000;

/// Is told how many rows more have been read.
type Seen<'a> = &'a (dyn Fn(u64) + Sync);

/// Is told how far a side of a table has been read.
type Keep<'a> = &'a (dyn Fn(&Partial) + Sync);

/// What a server is, as far as two must be alike for a hash of their own.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Engine {
    Postgres { major: u32, encoding: String },
    MySql(Product),
    SqlServer,
}

impl Engine {
    /// Whether equal rows have the same hash of the server's own at `other`.
    fn hashes_like(&self, other: &Self) -> bool {
        match self {
            // The extended hashes are part of each version's ABI and not promised between two. A record has one from 14 on.
            Self::Postgres { major, .. } => self == other && *major >= 14,
            Self::MySql(_) => [self, other].iter().all(|engine| {
                matches!(engine, Self::MySql(Product::MariaDb(major, minor)) if (*major, *minor) >= (10, 8))
            }),
            Self::SqlServer => false,
        }
    }

    /// Whether two servers of these engines are compared at all. What SQL Server holds was written for PostgreSQL only.
    fn meets(&self, other: &Self) -> bool {
        let is_either = |found: fn(&Self) -> bool| [self, other].into_iter().any(found);
        !is_either(|it| matches!(it, Self::SqlServer))
            || is_either(|it| matches!(it, Self::Postgres { .. }))
    }

    /// Whether rows can be asked for by the page they are on without reading the others.
    fn reads_pages(&self) -> bool {
        match self {
            Self::Postgres { major, .. } => *major >= 14,
            Self::MySql(_) | Self::SqlServer => false,
        }
    }

    /// How alike `other` is.
    fn like(&self, other: &Self) -> Alike {
        match (self, other) {
            _ if self.hashes_like(other) => Alike::InHashes,
            (Self::Postgres { .. }, Self::Postgres { .. }) | (Self::MySql(_), Self::MySql(_)) => {
                Alike::InTexts
            }
            _ => Alike::Not,
        }
    }
}

/// A server, open for a comparison.
#[derive(Debug)]
pub struct Side(Reading);

#[derive(Debug)]
enum Reading {
    Postgres(Postgres),
    MySql(MySql),
    SqlServer(SqlServer),
}

impl Side {
    /// A session with one snapshot on a PostgreSQL server.
    pub async fn postgres(server: &PostgresServer, pace: Pace) -> Result<Self, DatabaseError> {
        Ok(Self(Reading::Postgres(Postgres::open(server, pace).await?)))
    }

    /// The same on a MariaDB or MySQL server.
    pub async fn mysql(server: &MySqlServer, pace: Pace) -> Result<Self, DatabaseError> {
        Ok(Self(Reading::MySql(MySql::open(server, pace).await?)))
    }

    /// The same on a SQL Server.
    pub async fn sqlserver(server: &SqlServerServer, pace: Pace) -> Result<Self, DatabaseError> {
        Ok(Self(Reading::SqlServer(SqlServer::open(server, pace).await?)))
    }

    /// The same, that leaves the server alone while it is above the limits of the watch.
    #[must_use]
    pub fn watched(mut self, watch: Watch) -> Self {
        match &mut self.0 {
            Reading::Postgres(side) => side.watch = Some(watch),
            Reading::MySql(side) => side.ranged.watch = Some(watch),
            Reading::SqlServer(side) => side.ranged.watch = Some(watch),
        }
        self
    }

    /// Ends the session in order.
    pub async fn close(self) {
        match self.0 {
            Reading::Postgres(side) => side.close().await,
            Reading::MySql(side) => side.ranged.close().await,
            Reading::SqlServer(side) => side.ranged.close().await,
        }
    }

    fn engine(&self) -> &Engine {
        match &self.0 {
            Reading::Postgres(side) => &side.engine,
            Reading::MySql(side) => &side.engine,
            Reading::SqlServer(side) => &side.engine,
        }
    }

    /// Which database of which server it is.
    fn identity(&self) -> &str {
        match &self.0 {
            Reading::Postgres(side) => &side.identity,
            Reading::MySql(side) => &side.identity,
            Reading::SqlServer(side) => &side.identity,
        }
    }

    /// Every table is listed, those included that may not be read.
    fn sees_all(&self) -> bool {
        match &self.0 {
            Reading::Postgres(_) | Reading::SqlServer(_) => true,
            Reading::MySql(side) => side.sees_all,
        }
    }

    fn tables(&self) -> Vec<String> {
        match &self.0 {
            Reading::Postgres(side) => side.tables(),
            Reading::MySql(side) => side.tables(),
            Reading::SqlServer(side) => side.tables(),
        }
    }

    /// What the database has beside its tables, where that is compared.
    async fn beside(&mut self) -> Result<Option<Beside>, DatabaseError> {
        match &mut self.0 {
            Reading::Postgres(side) => side.beside().await.map(Some),
            Reading::MySql(_) | Reading::SqlServer(_) => Ok(None),
        }
    }

    async fn shape(&mut self, table: &str) -> Result<Option<Shape>, DatabaseError> {
        match &mut self.0 {
            Reading::Postgres(side) => side.shape(table).await,
            Reading::MySql(side) => side.shape(table).await,
            Reading::SqlServer(side) => side.shape(table).await,
        }
    }

    async fn ends(
        &mut self,
        view: &View,
        column: &str,
    ) -> Result<Option<(i64, i64)>, DatabaseError> {
        match &mut self.0 {
            Reading::Postgres(side) => side.ends(view, column).await,
            Reading::MySql(side) => side.ranged.ends(view, column).await,
            Reading::SqlServer(side) => side.ranged.ends(view, column).await,
        }
    }

    /// See [`kept`].
    fn mark(&self) -> Option<String> {
        match &self.0 {
            Reading::Postgres(side) => side.mark.clone(),
            Reading::MySql(side) => side.mark.clone(),
            Reading::SqlServer(_) => None,
        }
    }

    async fn sums(
        &mut self,
        view: &View,
        partial: Partial,
        seen: Seen<'_>,
        keep: Keep<'_>,
    ) -> Result<Sums, DatabaseError> {
        match &mut self.0 {
            Reading::Postgres(side) => side.sums(view, partial, seen, keep).await,
            Reading::MySql(side) => side.sums(view, partial, seen, keep).await,
            Reading::SqlServer(side) => side.sums(view, partial, seen, keep).await,
        }
    }

    async fn cells(&mut self, view: &View, parts: &[i64]) -> Result<Sums, DatabaseError> {
        match &mut self.0 {
            Reading::Postgres(side) => side.cells(view, parts).await,
            Reading::MySql(side) => side.ranged.cells(view, parts).await,
            Reading::SqlServer(side) => side.ranged.cells(view, parts).await,
        }
    }

    async fn rows(
        &mut self,
        view: &View,
        parts: &[i64],
        cells: &[i64],
    ) -> Result<Vec<located::RowMark>, DatabaseError> {
        match &mut self.0 {
            Reading::Postgres(side) => side.rows(view, parts, cells).await,
            Reading::MySql(side) => side.ranged.rows(view, parts, cells).await,
            Reading::SqlServer(side) => side.ranged.rows(view, parts, cells).await,
        }
    }
}

/// How far a comparison is.
#[derive(Debug, Clone, Copy)]
pub struct Reached<'a> {
    /// The table that is read.
    pub table: &'a str,
    /// Rows read of it since the last time, of both sides.
    pub rows: u64,
    /// Rows of both sides, as estimated when the table was begun.
    pub of: u64,
}

/// What is compared.
#[derive(Debug, Clone, Copy)]
pub struct Wanted<'a> {
    /// Tables; all that either side has, and what is beside them, when empty.
    pub tables: &'a [String],
    /// Tables to leave out.
    pub exclude: &'a [String],
    /// How much is told about a difference.
    pub depth: Depth,
    /// Where it is kept what has been read, for a comparison that goes on with it.
    pub keep: Option<&'a Path>,
    /// Of how much the content is compared, where that is not all.
    pub sample: Option<&'a Sample>,
}

/// Compares two servers. `reached` is told of every table that is begun and of every range that was read.
pub async fn compare_servers(
    source: &mut Side,
    target: &mut Side,
    wanted: Wanted<'_>,
    cancel: &CancellationToken,
    reached: &(dyn Fn(Reached<'_>) + Sync),
) -> Result<Comparison, DatabaseError> {
    let Wanted { tables, exclude, keep, sample, .. } = wanted;
    if source.identity() == target.identity() {
        let why = "source and target are one and the same database";
        return Err(DatabaseError::System(why.to_owned()));
    }
    if !source.engine().meets(target.engine()) {
        let why = "tables of a SQL Server are compared with those of a PostgreSQL server only";
        return Err(DatabaseError::System(why.to_owned()));
    }
    let sampled = sample.map(Sample::mark).unwrap_or_default();
    let marks = [source.mark(), target.mark()].map(|mark| mark.map(|mark| mark + &sampled));
    let kept = Kept::open(keep, marks);
    let mut names: BTreeSet<String> = tables.iter().cloned().collect();
    let mut comparison = Comparison::default();
    if names.is_empty() {
        names.extend(source.tables());
        names.extend(target.tables());
        if !(source.sees_all() && target.sees_all()) {
            let why = "a user may read single tables only, and is not told of others";
            comparison.tables.push(without_rows("every other table", not_compared(why)));
        }
        if let (Some(here), Some(there)) = try_join(source.beside(), target.beside()).await? {
            comparison.beside = beside::differences(&here, &there);
        }
    }
    for table in names.into_iter().filter(|table| !exclude.contains(table)) {
        if let Some(before) = kept.equal(&table) {
            comparison.tables.push(before.told(table));
            continue;
        }
        let compared = one(source, target, &table, wanted, &kept, reached);
        let compared = tokio::select! {
            compared = compared => compared,
            () = cancel.cancelled() => Err(DatabaseError::Cancelled),
        };
        let compared = compared.inspect_err(|_| kept.write(true))?;
        if let Some(equal) = EqualTable::of(&compared) {
            kept.is_equal(&table, equal);
        }
        comparison.tables.push(compared);
    }
    kept.end();
    Ok(comparison)
}

async fn one(
    source: &mut Side,
    target: &mut Side,
    table: &str,
    wanted: Wanted<'_>,
    kept: &Kept,
    reached: &(dyn Fn(Reached<'_>) + Sync),
) -> Result<TableComparison, DatabaseError> {
    let (here, there) = try_join(source.shape(table), target.shape(table)).await?;
    let estimates = [&here, &there].map(|shape| shape.as_ref().map_or(0, |shape| shape.estimate));
    let of = estimates.iter().sum();
    let seen = |rows| reached(Reached { table, rows, of });
    seen(0);
    let alike = source.engine().like(target.engine());
    let (here, there) = match (here, there) {
        (Some(here), Some(there)) => (here, there),
        (None, None) => {
            return Ok(without_rows(table, not_compared("neither side has this table")));
        }
        // What is on one side only is counted there.
        (Some(only), None) => {
            return on_one_side(source, table, &only, (TableVerdict::Missing, true), &seen).await;
        }
        (None, Some(only)) => {
            return on_one_side(target, table, &only, (TableVerdict::Extra, false), &seen).await;
        }
    };
    let mut lines = shape::differences(&here, &there, alike);
    let (mut views, left_out) = match shape::views(&here, &there, alike) {
        Ok(views) => views,
        Err(why) if lines.is_empty() => return Ok(without_rows(table, not_compared(&why))),
        Err(why) => {
            lines.push(format!("rows not compared: {why}"));
            return Ok(without_rows(table, TableVerdict::Different(lines)));
        }
    };
    let finer = if wanted.sample.is_some() { sample::FINER } else { 1 };
    let parts = divide(source, target, &mut views, of.saturating_mul(finer)).await?;
    let drawn = wanted.sample.map(|sample| sample.draw(table, parts));
    for view in &mut views {
        view.drawn.clone_from(&drawn);
    }
    let [left, right] = &views;
    let [here_before, there_before] = kept.under_way(table, &format!("{views:?}"));
    seen([&here_before, &there_before].map(|it| sums::total(&it.sums).rows).iter().sum());
    let of_source = |partial: &Partial| kept.reached(0, partial);
    let of_target = |partial: &Partial| kept.reached(1, partial);
    let summed = try_join(
        source.sums(left, here_before, &seen, &of_source),
        target.sums(right, there_before, &seen, &of_target),
    )
    .await;
    let (mut left_sums, mut right_sums) = match summed {
        // Something about the table itself, not about its server.
        Err(DatabaseError::System(why)) => return Ok(without_rows(table, not_compared(&why))),
        summed => summed?,
    };
    let sampled = drawn.map(|drawn| {
        sample::only(&drawn, &mut right_sums);
        sample::only(&drawn, &mut left_sums)
    });
    let parts = sums::differing(&left_sums, &right_sums);
    if !parts.is_empty() {
        match located(source, target, &views, &parts, wanted.depth).await {
            Ok(found) => lines.extend(found),
            // That they differ is known, whatever becomes of the search.
            Err(error @ DatabaseError::Silent { .. }) => {
                lines.push(format!("rows differ; which ones was not found: {error}"));
            }
            Err(error) => return Err(error),
        }
    }
    let totals = [&left_sums, &right_sums].map(sums::total);
    Ok(TableComparison {
        table: table.to_owned(),
        rows: (totals[0].rows, totals[1].rows),
        // What differs most comes first: the start is what is shown.
        hash: format!("{:032x}", totals[0].hash.rotate_left(64)),
        verdict: verdict(lines, &left_out, sampled),
    })
}

fn verdict(lines: Vec<String>, left_out: &[String], sampled: Option<u64>) -> TableVerdict {
    let columns = || format!("columns that have no text on both engines: {}", left_out.join(", "));
    match (lines.is_empty(), left_out.is_empty()) {
        (true, true) => sampled.map_or(TableVerdict::Equal, |rows| TableVerdict::Sampled { rows }),
        (true, false) => TableVerdict::NotCompared(format!("all but {}", columns())),
        (false, true) => TableVerdict::Different(lines),
        (false, false) => {
            TableVerdict::Different([lines, vec![format!("not compared: {}", columns())]].concat())
        }
    }
}

fn not_compared(why: &str) -> TableVerdict {
    TableVerdict::NotCompared(why.to_owned())
}

fn without_rows(table: &str, verdict: TableVerdict) -> TableComparison {
    TableComparison { table: table.to_owned(), rows: (0, 0), hash: "0".repeat(32), verdict }
}

async fn on_one_side(
    side: &mut Side,
    table: &str,
    only: &Shape,
    (verdict, is_source): (TableVerdict, bool),
    seen: Seen<'_>,
) -> Result<TableComparison, DatabaseError> {
    let alike = side.engine().like(side.engine());
    let Ok(([view, _], _)) = shape::views(only, only, alike) else {
        return Ok(without_rows(table, verdict));
    };
    let rows = sums::total(&side.sums(&view, Partial::default(), seen, &|_| ()).await?).rows;
    let rows = if is_source { (rows, 0) } else { (0, rows) };
    Ok(TableComparison { rows, ..without_rows(table, verdict) })
}

/// Divides the table into ranges where its key begins with an integer on both sides. The parts there are.
async fn divide(
    source: &mut Side,
    target: &mut Side,
    views: &mut [View; 2],
    rows: u64,
) -> Result<RangeInclusive<i64>, DatabaseError> {
    let hashed = 0..=sums::PARTS - 1;
    let first = |view: &View| view.key.first().map(|&at| view.columns[at].clone());
    let (Some(here), Some(there)) = (first(&views[0]), first(&views[1])) else { return Ok(hashed) };
    if ![here.form, there.form].iter().all(|form| matches!(form, Form::Int4 | Form::Int8)) {
        return Ok(hashed);
    }
    let (left, right) =
        try_join(source.ends(&views[0], &here.name), target.ends(&views[1], &here.name)).await?;
    let (split, parts) = Split::ranges(&here.name, [left, right], rows);
    for view in views {
        view.split = split.clone();
    }
    Ok(parts)
}

/// The rows of differing parts that differ, one line each, after a line that counts them.
async fn located(
    source: &mut Side,
    target: &mut Side,
    views: &[View; 2],
    parts: &[i64],
    depth: Depth,
) -> Result<Vec<String>, DatabaseError> {
    let [left, right] = views;
    let at_once = if left.split.is_ranges() { 1 } else { PARTS_AT_ONCE };
    let mut found = Vec::new();
    let mut least = false;
    'parts: for parts in parts.chunks(at_once) {
        let (here, there) = try_join(source.cells(left, parts), target.cells(right, parts)).await?;
        for cells in few(&sums::differing(&here, &there), &here, &there) {
            if found.len() >= ROWS_FOUND {
                least = true;
                break 'parts;
            }
            let (here, there) =
                try_join(source.rows(left, parts, &cells), target.rows(right, parts, &cells))
                    .await?;
            found.extend(located::unlike(left, here, there, depth.keys));
        }
    }
    let counted = if found.len() == 1 { "row differs" } else { "rows differ" };
    let counted = format!("{}{} {counted}", if least { "at least " } else { "" }, found.len());
    found.truncate(depth.rows);
    found.insert(0, counted);
    Ok(found)
}

/// Cells in groups whose rows can be held.
fn few(cells: &[i64], source: &Sums, target: &Sums) -> Vec<Vec<i64>> {
    let rows = |cell: &i64| -> u64 {
        [source, target].iter().filter_map(|sums| sums.get(cell)).map(|sum| sum.rows).sum()
    };
    let mut groups: Vec<Vec<i64>> = Vec::new();
    let mut held = 0;
    for cell in cells {
        held += rows(cell);
        match groups.last_mut() {
            Some(group) if held <= ROWS_AT_ONCE => group.push(*cell),
            _ => {
                held = rows(cell);
                groups.push(vec![*cell]);
            }
        }
    }
    groups
}
