//! Transactional replication: whether the target's subscription is in order, and how far a tracer token has come. Pure.
//!
//! A tracer token goes through log, Distributor and agents behind everything that was committed before it. Once the Distributor
//! has noted its arrival at the target, all of that is there; until then nothing is known, and NULL is never a zero. A token
//! reaches only subscriptions that are active, and a subscription that is set up anew loses those under way: both are read
//! before a token is believed. What the agents say of themselves is not read.

use super::super::Named;
use super::super::replication::{Told, unless};
use super::row::Row;
use super::server::literal;

/// Who answers, and what it lets this user do.
pub(super) const WHO: &str = "select convert(nvarchar(128), @@servername) as server_name, d.name as database_name, \
     convert(nvarchar(1), d.is_published) as is_published, convert(nvarchar(1), is_member('db_owner')) as is_owner \
     from sys.databases d where d.database_id = db_id()";

/// The articles of a publication, each with every subscription to it.
pub(super) fn subscriptions(publication: &str) -> String {
    format!(
        "select convert(nvarchar(128), @@servername) as server_name, convert(nvarchar(3), p.status) as publication_status, \
         convert(nvarchar(3), p.repl_freq) as repl_freq, a.name as article, s.srvname, s.dest_db, \
         convert(nvarchar(3), s.status) as subscription_status, convert(nvarchar(1), s.queued_reinit) as queued_reinit \
         from dbo.syspublications p left join dbo.sysarticles a on a.pubid = p.pubid \
         left join dbo.syssubscriptions s on s.artid = a.artid where p.name = {}",
        literal(publication)
    )
}

/// Posts a token, and answers with its number.
pub(super) fn post(publication: &str) -> String {
    format!(
        "declare @posted int; exec sys.sp_posttracertoken @publication = {}, @tracer_token_id = @posted output; \
         select convert(nvarchar(20), @posted) as posted",
        literal(publication)
    )
}

/// The tokens that the Distributor has not forgotten.
pub(super) fn tokens(publication: &str) -> String {
    format!("exec sys.sp_helptracertokens @publication = {}", literal(publication))
}

/// How far a token has come, to each subscriber.
pub(super) fn history(publication: &str, token: i64) -> String {
    format!(
        "exec sys.sp_helptracertokenhistory @publication = {}, @tracer_id = {token}",
        literal(publication)
    )
}

/// A database and its server, as they call themselves.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Who {
    pub(super) server: String,
    pub(super) database: String,
}

impl Who {
    pub(super) fn of(rows: &[Named], of: &str) -> Told<Self> {
        let row = rows.first().map(|row| Row::of(of, row));
        let row = row.ok_or_else(|| format!("{of} does not tell its name"))?;
        let text = |column| row.text(column).map(str::to_owned);
        Ok(Self { server: text("server_name")?, database: text("database_name")? })
    }

    /// The names in a row are these. A server of Azure SQL Database calls itself by the first part of its name.
    fn is_in(&self, row: &Row<'_>, server: &str, database: &str) -> bool {
        let named = |name: &str| name.eq_ignore_ascii_case(&self.server);
        let is_server = row.text(server).is_ok_and(|name| {
            named(name) || name.split_once(".database.").is_some_and(|(first, _)| named(first))
        });
        is_server && row.says(database, &self.database)
    }
}

/// Whether tokens reach the target behind all that it is to get: every article of the publication goes to it, by a subscription
/// that is active and not about to be set up anew.
pub(super) fn in_order(rows: &[Named], source: &Who, target: &Who) -> Told<()> {
    let rows: Vec<_> = rows.iter().map(|row| Row::of("the publication", row)).collect();
    let first = rows.first().ok_or("the publication is gone")?;
    unless(!first.says("server_name", &source.server), || {
        "another server answers as the source than before".to_owned()
    })?;
    first.must("publication_status", &["1"])?;
    unless(!first.says("repl_freq", "0"), || {
        "a publication of snapshots has no tracer tokens".to_owned()
    })?;
    let subscribed = |row: &&Row<'_>| target.is_in(row, "srvname", "dest_db");
    let to_target: Vec<_> = rows.iter().filter(subscribed).collect();
    for row in &rows {
        let article = row.text("article")?;
        let Some(own) = to_target.iter().find(|own| own.says("article", article)) else {
            let Who { server, database } = target;
            return Err(format!("{database} at {server} does not subscribe to article {article}"));
        };
        unless(!own.says("subscription_status", "2"), || {
            format!("the subscription of the target to article {article} is not active")
        })?;
        unless(own.flag("queued_reinit")?, || {
            format!("the subscription of the target to article {article} is to be set up anew")
        })?;
    }
    Ok(())
}

/// How far a token has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Arrival {
    /// The Log Reader Agent has not brought it to the Distributor.
    InTheLog,
    /// The Distribution Agent has not brought it to the target.
    AtTheDistributor,
    /// It is at the target.
    There {
        /// From one commit to the other, as the servers tell.
        seconds: i64,
    },
}

/// How far a token has come to the target. One that nothing is told of is no token that has not come yet.
pub(super) fn arrival(rows: &[Named], target: &Who, token: i64) -> Told<Arrival> {
    let of = format!("tracer token {token}");
    let rows = rows.iter().map(|row| Row::of(&of, row));
    let mut own = rows.filter(|row| target.is_in(row, "subscriber", "subscriber_db"));
    let (Some(row), None) = (own.next(), own.next()) else {
        let Who { server, database } = target;
        return Err(format!(
            "of {database} at {server} the history of {of} tells nothing, or several things"
        ));
    };
    if row.text("distributor_latency").is_err() {
        return Ok(Arrival::InTheLog);
    }
    if row.text("subscriber_latency").is_err() || row.text("overall_latency").is_err() {
        return Ok(Arrival::AtTheDistributor);
    }
    Ok(Arrival::There { seconds: row.read("overall_latency")? })
}

#[cfg(test)]
mod tests;
