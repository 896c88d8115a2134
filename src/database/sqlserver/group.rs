//! Always On availability groups, also distributed ones such as the link of a managed instance: a verdict from the rows of
//! `sys.dm_hadr_database_replica_states` on both sides. Pure.
//!
//! On each side only the row of the replica at hand is taken for a position: what a primary shows of its secondary is what it
//! last heard. The target has what the source had when its log on disk reaches where the source's log ended, and the last
//! commit it has redone is at or after the source's. What the source says of the target is held against it only: a link that
//! it sees as broken, suspended or unmeasured is not ready, however good the numbers are. `secondary_lag_seconds` is not read.

use std::fmt;

use serde::Serialize;

use super::super::Named;
use super::super::replication::{Position, Told, unless};
use super::lsn::Lsn;
use super::pair::{Mechanism, Side, Sight};
use super::row::Row;
use super::server::literal;

/// See the module.
#[derive(Debug)]
pub struct Group;

/// How far a replica is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Reached {
    /// Of a source, where its log ends; of a target, up to where it is on disk.
    pub log: Lsn,
    /// The last commit; at the target, the last one that was redone.
    pub commit: Lsn,
}

impl Position for Reached {
    const UNIT: &'static str = Lsn::UNIT;

    fn behind(&self, other: &Self) -> u64 {
        self.log.behind(&other.log).max(self.commit.behind(&other.commit))
    }
}

impl fmt::Display for Reached {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "log {}, commit {}", self.log, self.commit)
    }
}

/// Every replica of the database that a server knows of, itself among them.
const REPLICAS: &str = "select convert(nvarchar(60), d.group_id) as group_id, g.name as group_name, \
     convert(nvarchar(1), g.is_distributed) as is_distributed, convert(nvarchar(60), d.replica_id) as replica_id, \
     r.replica_server_name, r.availability_mode_desc, convert(nvarchar(1), d.is_local) as is_local, \
     convert(nvarchar(1), d.is_primary_replica) as is_primary_replica, \
     convert(nvarchar(60), d.group_database_id) as group_database_id, d.synchronization_state_desc, \
     convert(nvarchar(1), d.is_suspended) as is_suspended, d.suspend_reason_desc, d.database_state_desc, \
     convert(nvarchar(20), d.log_send_queue_size) as log_send_queue_size, \
     convert(nvarchar(20), d.redo_queue_size) as redo_queue_size, \
     convert(nvarchar(30), d.end_of_log_lsn) as end_of_log_lsn, \
     convert(nvarchar(30), d.last_hardened_lsn) as last_hardened_lsn, \
     convert(nvarchar(30), d.last_commit_lsn) as last_commit_lsn, s.connected_state_desc, \
     (select max(o.role_desc) from sys.dm_hadr_availability_replica_states o \
         where o.group_id = d.group_id and o.is_local = 1) as local_role_desc \
     from sys.dm_hadr_database_replica_states d join sys.databases b on b.database_id = d.database_id \
     left join sys.availability_groups g on g.group_id = d.group_id \
     left join sys.availability_replicas r on r.replica_id = d.replica_id \
     left join sys.dm_hadr_availability_replica_states s on s.replica_id = d.replica_id \
     where b.name = ";

impl Mechanism for Group {
    type Position = Reached;
    const IN_DATABASE: bool = false;
    const NAME: &'static str = "replica of the database in an availability group";

    fn question(_side: Side, database: &str) -> String {
        format!("{REPLICAS}{}", literal(database))
    }

    fn end(source: &[Named]) -> Told<Reached> {
        let own = own(source, "the source")?;
        is_primary(&own)?;
        Ok(Reached { log: own.read("end_of_log_lsn")?, commit: own.read("last_commit_lsn")? })
    }

    fn identity(source: &[Named]) -> Told<String> {
        own(source, "the source")?.text("replica_id").map(str::to_owned)
    }

    fn reached(sight: &Sight) -> Told<Reached> {
        let end = Self::end(&sight.source)?;
        let source = own(&sight.source, "the source")?;
        let target = own(&sight.target, "the target")?;
        let seen = if source.agrees(&target, "group_id")? {
            of_one_group(&sight.source, &source, &target)?
        } else {
            of_a_distributed_group(sight)?
        };
        for replica in [&source, &target, &seen] {
            moves(replica)?;
        }
        source.must("database_state_desc", &["ONLINE"])?;
        target.must("database_state_desc", &["ONLINE"])?;
        synchronizes(&seen, &target)?;
        let reached = Reached {
            log: target.read("last_hardened_lsn")?,
            commit: target.read("last_commit_lsn")?,
        };
        unless(reached.commit > end.commit, || {
            format!("the target has commit {}, and the source only {}", reached.commit, end.commit)
        })?;
        Ok(reached)
    }
}

/// The row in which a server tells of itself. In a distributed group it may be there twice, once for its own group.
fn own<'a>(rows: &'a [Named], of: &'a str) -> Told<Row<'a>> {
    let local = rows.iter().map(|row| Row::of(of, row)).filter(|row| row.says("is_local", "1"));
    local
        .min_by_key(|row| row.says("is_distributed", "1"))
        .ok_or_else(|| format!("{of} has no replica of the database any more"))
}

fn is_primary(source: &Row<'_>) -> Told<()> {
    unless(!source.flag("is_primary_replica")?, || {
        "the source is a secondary replica: the roles have changed".to_owned()
    })?;
    source.must("local_role_desc", &["PRIMARY"])
}

/// What the source says of a target that is a replica of the same group.
fn of_one_group<'a>(rows: &'a [Named], source: &Row<'_>, target: &Row<'_>) -> Told<Row<'a>> {
    unless(!source.agrees(target, "group_database_id")?, || {
        "source and target are two databases of one group".to_owned()
    })?;
    unless(target.flag("is_primary_replica")?, || {
        "the target is a primary replica: the roles have changed, or both sides are".to_owned()
    })?;
    for row in remote(rows) {
        if row.says("is_distributed", "0") && row.agrees(target, "replica_id")? {
            return Ok(row);
        }
    }
    Err("the source does not know the replica of the target any more".to_owned())
}

/// What the source says of the group at the far end of a distributed group. It has exactly two.
fn of_a_distributed_group(sight: &Sight) -> Told<Row<'_>> {
    let far: Vec<Row<'_>> =
        remote(&sight.source).filter(|row| row.says("is_distributed", "1")).collect();
    // A managed instance need not tell its side of the link.
    let named = sight.target.iter().map(|row| Row::of("the target", row));
    let named: Vec<Row<'_>> = named.filter(|row| row.says("is_distributed", "1")).collect();
    let is_shared = |row: &&Row<'_>| {
        named.is_empty() || named.iter().any(|it| it.agrees(row, "group_name") == Ok(true))
    };
    let mut shared = far.iter().filter(is_shared);
    let (Some(row), None) = (shared.next(), shared.next()) else {
        return Err("source and target share no availability group, or several".to_owned());
    };
    row.must("local_role_desc", &["PRIMARY"])?;
    Ok(*row)
}

/// Replicas that are not the source itself.
fn remote(rows: &[Named]) -> impl Iterator<Item = Row<'_>> {
    let rows = rows.iter().map(|row| Row::of("the target, as the source sees it,", row));
    rows.filter(|row| row.says("is_local", "0"))
}

/// Data is on its way, as far as the replica knows.
fn moves(replica: &Row<'_>) -> Told<()> {
    let suspended = replica.flag("is_suspended")?;
    unless(suspended, || {
        let reason = replica.text("suspend_reason_desc").unwrap_or("no reason is told");
        format!("data movement is suspended: {reason}")
    })?;
    replica.must("synchronization_state_desc", &["SYNCHRONIZED", "SYNCHRONIZING"])
}

/// The link carries, and both sides call it what its mode promises.
fn synchronizes(seen: &Row<'_>, target: &Row<'_>) -> Told<()> {
    seen.must("connected_state_desc", &["CONNECTED"])?;
    // Null where the primary has not heard of it.
    let _: u64 = seen.read("log_send_queue_size")?;
    let _: u64 = seen.read("redo_queue_size")?;
    let synchronous = match seen.text("availability_mode_desc")? {
        "SYNCHRONOUS_COMMIT" => true,
        "ASYNCHRONOUS_COMMIT" => false,
        other => return Err(format!("availability_mode_desc of the target is {other}")),
    };
    // A replica of synchronous commit that only synchronizes is catching up, and no failover to it is safe.
    let fine: &[&str] =
        if synchronous { &["SYNCHRONIZED"] } else { &["SYNCHRONIZED", "SYNCHRONIZING"] };
    seen.must("synchronization_state_desc", fine)?;
    target.must("synchronization_state_desc", fine)
}

#[cfg(test)]
mod tests;
