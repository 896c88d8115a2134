//! Log shipping: a verdict from the log backups of both sides. Pure.
//!
//! The target has what the source had when the last log backup it has restored ends behind where the source's log ended. At a
//! source that takes writes that is the age of a backup, minutes at best; it is none once the tail of the log was backed up
//! `with norecovery`, after which nothing can be written there any more. `last_restored_latency`, which compares the times of
//! two files, is not read.

use super::super::Named;
use super::super::replication::{Position as _, Told, unless};
use super::lsn::Lsn;
use super::pair::{Mechanism, Side, Sight};
use super::row::Row;
use super::server::literal;

/// See the module.
#[derive(Debug)]
pub struct Shipping;

/// The database, the end of its log, its last log backup, and how the job that makes them does.
const PRIMARY: &str = "select convert(nvarchar(128), @@servername) as server_name, d.state_desc, d.recovery_model_desc, \
     convert(nvarchar(24), l.log_end_lsn) as log_end_lsn, convert(nvarchar(30), b.last_lsn) as last_lsn, \
     convert(nvarchar(60), b.family_guid) as family_guid, \
     convert(nvarchar(60), b.last_recovery_fork_guid) as last_recovery_fork_guid, \
     convert(nvarchar(20), datediff(second, m.last_backup_date_utc, getutcdate())) as seconds_ago, \
     convert(nvarchar(20), m.backup_threshold) as threshold_minutes \
     from sys.databases d left join msdb.dbo.log_shipping_monitor_primary m on m.primary_database = d.name \
     outer apply sys.dm_db_log_stats(d.database_id) l \
     outer apply (select top (1) s.last_lsn, s.family_guid, s.last_recovery_fork_guid from msdb.dbo.backupset s \
         where s.database_name = d.name and s.type = 'L' order by s.backup_set_id desc) b \
     where d.name = ";

/// The database, whom it follows, the last backup restored to it, and how the job that restores them does.
const SECONDARY: &str = "select m.primary_server, m.primary_database, d.state_desc, \
     convert(nvarchar(1), d.is_in_standby) as is_in_standby, convert(nvarchar(30), b.last_lsn) as last_lsn, \
     convert(nvarchar(60), b.family_guid) as family_guid, \
     convert(nvarchar(60), b.last_recovery_fork_guid) as last_recovery_fork_guid, \
     convert(nvarchar(20), datediff(second, m.last_restored_date_utc, getutcdate())) as seconds_ago, \
     convert(nvarchar(20), m.restore_threshold) as threshold_minutes \
     from sys.databases d join msdb.dbo.log_shipping_monitor_secondary m on m.secondary_database = d.name \
     outer apply (select top (1) s.last_lsn, s.family_guid, s.last_recovery_fork_guid from msdb.dbo.restorehistory h \
         join msdb.dbo.backupset s on s.backup_set_id = h.backup_set_id \
         where h.destination_database_name = d.name order by h.restore_history_id desc) b \
     where d.name = ";

impl Mechanism for Shipping {
    type Position = Lsn;
    const IN_DATABASE: bool = false;
    const NAME: &'static str = "database that log shipping restores to";

    fn question(side: Side, database: &str) -> String {
        let question = if side == Side::Source { PRIMARY } else { SECONDARY };
        format!("{question}{}", literal(database))
    }

    fn end(source: &[Named]) -> Told<Lsn> {
        let source = only(source, "the source")?;
        if is_closed(&source) {
            return source.read("last_lsn");
        }
        source.must("state_desc", &["ONLINE"])?;
        // A backup ends at the first record that is not in it.
        Ok(source.read::<Lsn>("log_end_lsn")?.next())
    }

    fn identity(source: &[Named]) -> Told<String> {
        only(source, "the source")?.text("server_name").map(str::to_owned)
    }

    fn reached(sight: &Sight) -> Told<Lsn> {
        Self::end(&sight.source)?;
        let source = only(&sight.source, "the source")?;
        let target = only(&sight.target, "the target")?;
        follows(&source, &target, &sight.databases.0)?;
        waits_for_more(&target)?;
        in_time(&target)?;
        if !is_closed(&source) {
            in_time(&source)?;
            unless(source.text("recovery_model_desc")?.eq_ignore_ascii_case("SIMPLE"), || {
                "the source keeps no log to ship: its recovery model is SIMPLE".to_owned()
            })?;
        }
        for history in ["family_guid", "last_recovery_fork_guid"] {
            unless(!source.agrees(&target, history)?, || {
                format!(
                    "what was restored is of another history than the source's: {history} differs"
                )
            })?;
        }
        let (reached, backed_up): (Lsn, Lsn) = (target.read("last_lsn")?, source.read("last_lsn")?);
        unless(!backed_up.reaches(&reached), || {
            format!(
                "the target has restored up to {reached}, and the source has backed up to {backed_up} only"
            )
        })?;
        Ok(reached)
    }
}

/// The row of a side; there must be one.
fn only<'a>(rows: &'a [Named], of: &'a str) -> Told<Row<'a>> {
    match rows {
        [row] => Ok(Row::of(of, row)),
        [] => Err(format!("{of} has no such database in log shipping any more")),
        _ => Err(format!("{of} has the database in log shipping several times")),
    }
}

/// The tail of its log was backed up so that nothing comes after it.
fn is_closed(source: &Row<'_>) -> bool {
    source.says("state_desc", "RESTORING")
}

fn follows(source: &Row<'_>, target: &Row<'_>, database: &str) -> Told<()> {
    let (server, name) = (target.text("primary_server")?, target.text("primary_database")?);
    let own = source.text("server_name")?;
    unless(!server.eq_ignore_ascii_case(own) || !name.eq_ignore_ascii_case(database), || {
        format!("the target follows {name} at {server}, and the source is {database} at {own}")
    })
}

/// It was not recovered: further logs can be restored.
fn waits_for_more(target: &Row<'_>) -> Told<()> {
    if target.says("state_desc", "RESTORING") {
        return Ok(());
    }
    target.must("state_desc", &["ONLINE"])?;
    unless(!target.flag("is_in_standby")?, || {
        "the target was recovered: it takes no more logs".to_owned()
    })
}

/// The job of a side was at it within its own threshold, by that side's clock.
fn in_time(side: &Row<'_>) -> Told<()> {
    let (ago, threshold): (i64, i64) = (side.read("seconds_ago")?, side.read("threshold_minutes")?);
    unless(ago < 0, || "a job of log shipping ran in the future: a clock was set".to_owned())?;
    unless(ago > threshold.saturating_mul(60), || {
        format!(
            "a job of log shipping last ended well {ago} s ago, which is over its threshold of {threshold} min"
        )
    })
}

#[cfg(test)]
mod tests;
