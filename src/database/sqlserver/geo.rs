//! Geo-replication of Azure SQL Database: a verdict from `sys.dm_geo_replication_link_status` on both sides. Pure.
//!
//! The target has what the source had when the last commit it has redone bears the time of the source's last commit or a later
//! one, both by the source's clock. A reading is as old as the last acknowledgement that the source has of the target: a link
//! that died on a quiet source grows stale. `replication_lag_sec` is not taken for a lag.

use std::fmt;
use std::time::Duration;

use jiff::Timestamp;
use serde::Serialize;

use super::super::Named;
use super::super::replication::{Position, Told, unless};
use super::pair::{Mechanism, Side, Sight};
use super::row::Row;

/// See the module.
#[derive(Debug)]
pub struct Geo;

/// The time of a commit, in microseconds of the source's clock. Of two commits in one microsecond nothing is told apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct Committed(i64);

impl Position for Committed {
    const UNIT: &'static str = "ms between commits";

    fn behind(&self, other: &Self) -> u64 {
        if self >= other {
            return 0;
        }
        (other.0.abs_diff(self.0) / 1000).max(1)
    }
}

impl fmt::Display for Committed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match Timestamp::from_microsecond(self.0) {
            Ok(at) => write!(f, "{at}"),
            Err(_) => write!(f, "{} µs", self.0),
        }
    }
}

/// The links of the database, and who answers.
const LINKS: &str = "select convert(nvarchar(128), @@servername) as server_name, db_name() as database_name, \
     l.partner_server, l.partner_database, l.role_desc, l.replication_state_desc, \
     convert(nvarchar(20), l.replication_lag_sec) as replication_lag_sec, \
     convert(nvarchar(20), datediff_big(millisecond, l.last_replication, sysdatetimeoffset())) as acknowledged_ms_ago, \
     convert(nvarchar(20), datediff_big(microsecond, todatetimeoffset('19700101', 0), l.last_commit)) as last_commit \
     from sys.dm_geo_replication_link_status l";

impl Mechanism for Geo {
    type Position = Committed;
    const IN_DATABASE: bool = true;
    const NAME: &'static str = "link of geo-replication";

    fn question(_side: Side, _database: &str) -> String {
        LINKS.to_owned()
    }

    fn end(source: &[Named]) -> Told<Committed> {
        // Every link of a primary tells the same of the primary.
        let rows = source.iter().map(|row| Row::of("the source", row));
        let primary = rows.into_iter().find(|row| row.says("role_desc", "PRIMARY"));
        let primary = primary.ok_or("the source is primary of no link any more")?;
        primary.read("last_commit").map(Committed)
    }

    fn identity(source: &[Named]) -> Told<String> {
        let row = source.first().ok_or("the source has no link any more")?;
        Row::of("the source", row).text("server_name").map(str::to_owned)
    }

    fn reached(sight: &Sight) -> Told<Committed> {
        let (source, target) = both(sight)?;
        source.must("role_desc", &["PRIMARY"])?;
        target.must("role_desc", &["SECONDARY"])?;
        for side in [&source, &target] {
            side.must("replication_state_desc", &["CATCH_UP"])?;
        }
        // Null while the target is not heard of.
        let _: i64 = source.read("replication_lag_sec")?;
        let _: i64 = source.read("acknowledged_ms_ago")?;
        let (end, reached) =
            (Self::end(&sight.source)?, target.read("last_commit").map(Committed)?);
        unless(reached > end, || {
            format!("the target has a commit of {reached}, and the source's last is of {end}")
        })?;
        Ok(reached)
    }

    fn age(sight: &Sight) -> Duration {
        let ago = both(sight).and_then(|(source, _)| source.read::<i64>("acknowledged_ms_ago"));
        // An acknowledgement of a moment that is yet to come is as fresh as one of now.
        Duration::from_millis(ago.unwrap_or(0).try_into().unwrap_or(0))
    }
}

/// The rows of both sides that speak of the link between them.
fn both(sight: &Sight) -> Told<(Row<'_>, Row<'_>)> {
    let who = |rows: &[Named], of: &str| -> Told<(String, String)> {
        let row =
            rows.first().ok_or_else(|| format!("{of} has no link of geo-replication any more"))?;
        let row = Row::of(of, row);
        Ok((row.text("server_name")?.to_owned(), row.text("database_name")?.to_owned()))
    };
    let source = who(&sight.source, "the source")?;
    let target = who(&sight.target, "the target")?;
    Ok((link(&sight.source, "the source", &target)?, link(&sight.target, "the target", &source)?))
}

/// The one link with that partner.
fn link<'a>(
    rows: &'a [Named],
    of: &'a str,
    (server, database): &(String, String),
) -> Told<Row<'a>> {
    let rows = rows.iter().map(|row| Row::of(of, row));
    let mut with = rows
        .filter(|row| row.says("partner_server", server) && row.says("partner_database", database));
    match (with.next(), with.next()) {
        (Some(row), None) => Ok(row),
        (None, _) => Err(format!("{of} has no link with {database} at {server}")),
        (Some(_), Some(_)) => Err(format!("{of} has several links with {database} at {server}")),
    }
}

#[cfg(test)]
mod tests;
