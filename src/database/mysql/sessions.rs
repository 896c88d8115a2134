//! Who is connected to a server of MariaDB or MySQL, and what they have open.
//!
//! The list of sessions and the list of prepared transactions are of the moment. What a session has open is read from a table that
//! the server makes anew only a tenth of a second after it was last read; it says whom to spare for now, never that all is over.

use super::super::DatabaseError;
use super::super::wall::{Session, Unfinished};
use super::{Named, Product, Reader};

/// How a session shows before its client has said whose it is.
const UNKNOWN: &str = "unauthenticated user";
/// What a session does until it is let in. Whose it says it is shows by then, also where that account is locked.
const COMES_IN: &str = "Connect";
/// How a worker of replication shows.
const SYSTEM: &str = "system user";

/// Sessions other than the one that asks, of clients and of workers that change something. One that holds the lock of its own
/// number is this program's.
const SESSIONS: &str = "select process.id as id, process.user as user, process.db as db, process.command as command,
        substring_index(user(), '@', 1) = process.user and is_used_lock(concat('migrate/', process.id)) <=> process.id as ours,
        exists (select 1 from information_schema.innodb_trx where trx_mysql_thread_id = process.id) as is_open,
        exists (select 1 from information_schema.innodb_trx where trx_mysql_thread_id = process.id and trx_rows_modified > 0) as writes
    from information_schema.processlist process
    where process.id <> connection_id() and process.command <> 'Daemon' and process.command not like 'Binlog Dump%'
    order by process.id";
/// Transactions that no session holds.
const DETACHED: &str = "select count(*) as count from information_schema.innodb_trx
    where trx_mysql_thread_id = 0 and trx_state <> 'ROLLING BACK'";

/// One session.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Connected {
    pub(super) id: i64,
    pub(super) user: String,
    /// The database that it has selected.
    pub(super) database: Option<String>,
    /// It is this program's.
    pub(super) ours: bool,
    /// What it does.
    command: String,
    /// It has a transaction open.
    is_open: bool,
    /// It has written in it.
    writes: bool,
}

impl Connected {
    fn of(row: &Named) -> Option<Self> {
        let text = |name: &str| row.get(name).cloned().flatten();
        let is = |name: &str| text(name).is_some_and(|value| value == "1");
        Some(Self {
            id: text("id")?.parse().ok()?,
            user: text("user").unwrap_or_default(),
            database: text("db"),
            command: text("command").unwrap_or_default(),
            ours: is("ours"),
            is_open: is("is_open"),
            writes: is("writes"),
        })
    }

    /// It is not let in yet, and may never be.
    fn comes_in(&self) -> bool {
        self.user == UNKNOWN || self.user != SYSTEM && self.command == COMES_IN
    }

    /// It may hold a transaction that is prepared: its end by force would leave nobody who commits it.
    fn session(&self, some_are_prepared: bool) -> Session {
        let client = self.user != SYSTEM;
        Session {
            pid: self.id,
            user: Some(self.user.clone()),
            client,
            writes: self.writes,
            can_be_ended: client && !(self.is_open && some_are_prepared),
        }
    }
}

/// All of them.
pub(super) async fn connected(reader: &mut Reader) -> Result<Vec<Connected>, DatabaseError> {
    let rows = reader.named(SESSIONS).await?;
    let read: Option<Vec<Connected>> = rows.iter().map(Connected::of).collect();
    read.ok_or_else(|| reader.odd("a session without a number"))
}

/// Transactions that are prepared, by their ids.
pub(super) async fn prepared(reader: &mut Reader) -> Result<Vec<String>, DatabaseError> {
    let query = match reader.product() {
        Product::MariaDb(..) => "xa recover format = 'SQL'",
        Product::MySql(..) => "xa recover convert xid",
    };
    let rows = reader.named(query).await?;
    Ok(rows.iter().map(|row| row.get("data").cloned().flatten().unwrap_or_default()).collect())
}

/// What began before and has not ended.
pub(super) async fn unfinished(reader: &mut Reader) -> Result<Unfinished, DatabaseError> {
    // In this order: a session that is gone by then has left what it prepared to the second list.
    let all = connected(reader).await?;
    let detached = count(reader, DETACHED).await?;
    let prepared = prepared(reader).await?;
    let some_are_attached = prepared.len() > usize::try_from(detached).unwrap_or_default();
    let (opening, others): (Vec<&Connected>, Vec<&Connected>) =
        all.iter().filter(|it| !it.ours).partition(|it| it.comes_in());
    Ok(Unfinished {
        opening: opening.into_iter().map(|it| it.id).collect(),
        sessions: others.into_iter().map(|it| it.session(some_are_attached)).collect(),
        prepared,
    })
}

/// The number that a query for one answers.
pub(super) async fn count(reader: &mut Reader, query: &str) -> Result<u64, DatabaseError> {
    let rows = reader.named(query).await?;
    let count = rows.first().and_then(|row| row.get("count")).cloned().flatten();
    count.and_then(|count| count.parse().ok()).ok_or_else(|| reader.odd("no number"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_is_not_let_in_yet_has_no_session() {
        let comes_in = |user: &str, command: &str| {
            let row = [("id", "7"), ("user", user), ("command", command)];
            let row = row.map(|(name, value)| (name.to_owned(), Some(value.to_owned())));
            Connected::of(&row.into()).expect("a session").comes_in()
        };
        assert!(comes_in("app", "Connect") && comes_in(UNKNOWN, "Connect"));
        // Of a replica of MySQL.
        assert!(!comes_in(SYSTEM, "Connect") && !comes_in("app", "Sleep"));
    }

    #[test]
    fn a_session_that_may_hold_something_prepared_is_spared_and_no_worker_is_ended() {
        let open = Connected {
            id: 7,
            user: "app".to_owned(),
            database: None,
            ours: false,
            command: "Sleep".to_owned(),
            is_open: true,
            writes: true,
        };
        assert!(!open.session(true).can_be_ended);
        assert!(open.session(false).can_be_ended);
        assert!(Connected { is_open: false, ..open.clone() }.session(true).can_be_ended);
        let worker = Connected { user: SYSTEM.to_owned(), ..open }.session(false);
        assert!(!worker.can_be_ended && worker.may_write(&[]));
    }
}
