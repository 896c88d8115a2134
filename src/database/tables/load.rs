//! When a comparison leaves a server alone: while too many sessions run on it, or a follower of it is too far behind.
//!
//! It is asked before each statement, in a session of its own, as what is seen inside a snapshot grows old. Above a limit the
//! comparison waits, says why, and asks again; it never gives up by itself. What can not be read is above every limit.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use serde::Deserialize;

use crate::database::mysql::{Reader as MySqlReader, Server as MySqlServer};
use crate::database::postgres::{Reader as PostgresReader, Server as PostgresServer};
use crate::database::sqlserver::{Reader as SqlServerReader, Server as SqlServerServer};
use crate::database::{DatabaseError, Named};

/// How long is waited between two readings.
const POLL: Duration = Duration::from_millis(500);

/// Above them a server is left alone; none is no limit.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Limits {
    /// Sessions of others that carry out a statement.
    pub running: Option<u64>,
    /// Bytes of log that a follower has not applied.
    pub lag_bytes: Option<u64>,
}

impl Limits {
    /// Nothing is limited.
    pub const fn is_none(&self) -> bool {
        self.running.is_none() && self.lag_bytes.is_none()
    }

    /// Fails where a limit is one of followers, of a server that does not tell of them.
    fn without_lag(&self, at: &str) -> Result<(), DatabaseError> {
        if self.lag_bytes.is_none() {
            return Ok(());
        }
        let why =
            format!("{at} does not tell how far its followers are; leave `max_lag_bytes` out");
        Err(DatabaseError::System(why))
    }

    /// Why the server is left alone; none where it need not be.
    fn above(&self, reading: Reading) -> Option<String> {
        let above = |limit: Option<u64>, read: Option<u64>, what: &str| match (limit?, read) {
            (limit, Some(read)) if read <= limit => None,
            (limit, Some(read)) => Some(format!("{read} {what}, limit {limit}")),
            (limit, None) => Some(format!("this user is not told how many {what}, limit {limit}")),
        };
        above(self.running, reading.running, "sessions run")
            .or_else(|| above(self.lag_bytes, reading.lag, "bytes a follower is behind"))
    }
}

/// What a server says; none is unknown.
#[derive(Debug, Clone, Copy, Deserialize)]
struct Reading {
    running: Option<u64>,
    lag: Option<u64>,
}

/// Is told why a comparison waits, at every reading.
pub type Told = Arc<dyn Fn(&str) + Send + Sync>;

enum Session {
    Postgres(PostgresReader),
    MySql(MySqlReader),
    SqlServer(SqlServerReader),
}

/// See the module.
pub struct Watch {
    at: String,
    session: Session,
    limits: Limits,
    told: Told,
}

impl fmt::Debug for Watch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Watch").field("at", &self.at).finish_non_exhaustive()
    }
}

impl Watch {
    /// Of a PostgreSQL server.
    pub async fn postgres(
        server: &PostgresServer,
        limits: Limits,
        told: Told,
    ) -> Result<Self, DatabaseError> {
        let session = Session::Postgres(server.reader().await?);
        Ok(Self { at: server.at().to_owned(), session, limits, told })
    }

    /// Of a MariaDB or MySQL server, which does not know how far its followers are.
    pub async fn mysql(
        server: &MySqlServer,
        limits: Limits,
        told: Told,
    ) -> Result<Self, DatabaseError> {
        limits.without_lag(server.at())?;
        let session = Session::MySql(server.reader().await?);
        Ok(Self { at: server.at().to_owned(), session, limits, told })
    }

    /// Of a SQL Server, which is not asked how far its followers are.
    pub async fn sqlserver(
        server: &SqlServerServer,
        limits: Limits,
        told: Told,
    ) -> Result<Self, DatabaseError> {
        limits.without_lag(server.at())?;
        let session = Session::SqlServer(server.reader(server.database()).await?);
        Ok(Self { at: server.at().to_owned(), session, limits, told })
    }

    /// Returns once the server is within its limits.
    pub(super) async fn clear(&mut self) -> Result<(), DatabaseError> {
        loop {
            let reading = self.read().await?;
            let Some(why) = self.limits.above(reading) else { return Ok(()) };
            (self.told)(&format!("waiting for {}: {why}", self.at));
            tokio::time::sleep(POLL).await;
        }
    }

    /// Ends the session in order.
    pub(super) async fn close(self) {
        match self.session {
            Session::Postgres(reader) => reader.close().await,
            Session::MySql(reader) => reader.close().await,
            Session::SqlServer(reader) => reader.close().await,
        }
    }

    async fn read(&mut self) -> Result<Reading, DatabaseError> {
        match &mut self.session {
            Session::Postgres(reader) => reader.json(POSTGRES, &[]).await,
            Session::MySql(reader) => {
                let rows = reader.named("show global status like 'Threads_running'").await?;
                // One of them is this one.
                let running = number(rows, "value").map(|it| it.saturating_sub(1));
                Ok(Reading { running, lag: None })
            }
            Session::SqlServer(reader) => {
                let rows = reader.named(SQLSERVER).await?;
                Ok(Reading { running: number(rows, "running"), lag: None })
            }
        }
    }
}

/// What the first row says in a column; none where it is no number.
fn number(rows: Vec<Named>, column: &str) -> Option<u64> {
    let value = rows.into_iter().next().and_then(|mut row| row.remove(column)?);
    value.and_then(|text| text.parse().ok())
}

/// Sessions of this program are not counted. Who lacks the right is shown its own sessions only; on Azure SQL Database the right
/// is one on the database.
const SQLSERVER: &str = "select case when has_perms_by_name(null, null, 'VIEW SERVER STATE') = 1 \
     or serverproperty('EngineEdition') = 5 and has_perms_by_name(db_name(), 'DATABASE', 'VIEW DATABASE STATE') = 1 \
     then convert(nvarchar(20), (select count(*) from sys.dm_exec_requests r \
         join sys.dm_exec_sessions s on s.session_id = r.session_id \
         where s.is_user_process = 1 and coalesce(s.program_name, N'') <> app_name())) end as running";

/// Sessions of this run are not counted. A user who may not see the sessions of others sees neither their state nor their kind,
/// and how far followers are neither; a backup is no follower.
const POSTGRES: &str = "select json_build_object(
  'running', (
    select case when bool_or(query = '<insufficient privilege>' and datid is not null) then null
      else count(*) filter (where state = 'active' and backend_type = 'client backend') end
    from pg_stat_activity where application_name is distinct from current_setting('application_name')),
  'lag', (
    select case when count(*) = 0 then 0 when bool_or(behind is null) then null else greatest(max(behind), 0) end
    from (select pg_wal_lsn_diff(case when pg_is_in_recovery() then pg_last_wal_receive_lsn() else pg_current_wal_lsn() end,
        replay_lsn)::int8 as behind
      from pg_stat_replication where state is distinct from 'backup') f))::text";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_known_is_above_every_limit() {
        let limits = |running, lag_bytes| Limits { running, lag_bytes };
        let read = |running, lag| Reading { running, lag };
        let none = Limits::default();
        assert!(none.is_none() && !limits(Some(0), None).is_none());
        assert_eq!(none.above(read(None, Some(u64::MAX))), None);
        assert_eq!(limits(Some(2), Some(5)).above(read(Some(2), Some(5))), None);
        let told = |limits: Limits, reading| limits.above(reading).expect("above");
        assert_eq!(told(limits(Some(2), None), read(Some(3), None)), "3 sessions run, limit 2");
        assert_eq!(
            told(limits(Some(2), Some(5)), read(Some(0), Some(6))),
            "6 bytes a follower is behind, limit 5"
        );
        assert!(told(limits(Some(2), None), read(None, None)).starts_with("this user is not told"));
        assert!(told(limits(None, Some(0)), read(None, None)).starts_with("this user is not told"));
    }
}
