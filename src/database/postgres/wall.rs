//! What keeps writers out of a database: logins that are closed, a default that refuses, and sessions that are ended.
//!
//! The default alone is advice: a session may set it back. What holds is that nobody who may write can log in.

use serde::{Deserialize, Serialize};

use super::super::DatabaseError;
use super::{Reader, Server, Writer, literal, quoted};
use crate::journal::EffectPermit;

/// Somebody who may write.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Role {
    /// The role.
    pub name: String,
    /// It may log in.
    pub login: bool,
    /// It is connected as a replica: without its login the target could not come back after a broken link.
    pub replicates: bool,
}

/// Another session in the database.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct Session {
    /// Its process.
    pub pid: i64,
    /// Whose it is; none for a worker of the server.
    pub user: Option<String>,
    /// A client, and not a worker of the server.
    pub client: bool,
    /// It has written in its open transaction.
    pub writes: bool,
}

/// What may still be written by what began before the wall stood.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct Unfinished {
    /// Prepared transactions, by their ids.
    pub prepared: Vec<String>,
    /// Other sessions.
    pub sessions: Vec<Session>,
}

impl Unfinished {
    /// What could still change something: prepared transactions, whoever has written, and sessions of roles whose login is
    /// `closed`. In words; empty where there is none of it.
    pub fn writing(&self, closed: &[String]) -> Vec<String> {
        let is_closed = |it: &Session| it.user.as_ref().is_some_and(|user| closed.contains(user));
        let prepared = self.prepared.iter().map(|id| format!("prepared transaction {id}"));
        let held = self.sessions.iter().filter(|it| it.writes || it.client && is_closed(it));
        let sessions = held.map(|it| {
            let user = it.user.as_deref().unwrap_or("the server itself");
            format!("session {} of {user}", it.pid)
        });
        prepared.chain(sessions).collect()
    }
}

/// Who may log in and write into some table of the database, or is writing in it. Superusers only if they write: people who look
/// after the server are not kept out.
const WRITERS: &str = "select coalesce(json_agg(json_build_object(
        'name', rolname, 'login', rolcanlogin,
        'replicates', exists (select from pg_stat_replication sender where sender.usesysid = role.oid)) order by rolname), '[]')::text
    from pg_roles role
    where rolname <> current_user and case
        when $1::text <> '[]' then rolname::text in (select json_array_elements_text($1::text::json))
        else rolcanlogin and (
            exists (select from pg_stat_activity where usesysid = role.oid and datname = current_database() and backend_xid is not null)
            or not rolsuper and has_database_privilege(role.oid, current_database(), 'connect') and exists (
                select from pg_roles writer join pg_class class on class.relkind in ('r', 'p')
                    join pg_namespace space on space.oid = class.relnamespace
                where pg_has_role(role.oid, writer.oid, 'member') and space.nspname !~ '^(pg_|information_schema$|migrate$)'
                    and has_table_privilege(writer.oid, class.oid, 'insert, update, delete, truncate')))
        end";
const LOGIN: &str = "select coalesce((select to_json(rolcanlogin)::text from pg_roles where rolname = $1::text), 'null')";
const SETTING: &str = "select coalesce((select to_json(split_part(entry, '=', 2))::text
    from pg_db_role_setting, unnest(setconfig) entry
    where setrole = 0 and setdatabase = (select oid from pg_database where datname = current_database())
        and entry like 'default_transaction_read_only=%'), 'null')";
/// Of this run are sessions of its own user under its own name.
const UNFINISHED: &str = "select json_build_object(
    'prepared', (select coalesce(json_agg(gid order by gid), '[]') from pg_prepared_xacts where database = current_database()),
    'sessions', (select coalesce(json_agg(json_build_object(
            'pid', pid, 'user', usename, 'client', backend_type = 'client backend', 'writes', backend_xid is not null) order by pid), '[]')
        from pg_stat_activity
        where datname = current_database() and pid <> pg_backend_pid() and backend_type not in ('walsender', 'autovacuum worker')
            and not (usename = current_user and application_name = current_setting('application_name')))
)::text";

/// Those of these names, or whoever may write when none is named.
pub async fn writers(reader: &mut Reader, named: &[String]) -> Result<Vec<Role>, DatabaseError> {
    reader.json(WRITERS, &[&serde_json::json!(named).to_string()]).await
}

/// Whether a role may log in; none where there is no such role.
pub async fn login(reader: &mut Reader, role: &str) -> Result<Option<bool>, DatabaseError> {
    reader.json(LOGIN, &[role]).await
}

/// The database's own `default_transaction_read_only`; none where it has none.
pub async fn setting(reader: &mut Reader) -> Result<Option<String>, DatabaseError> {
    reader.json(SETTING, &[]).await
}

/// What began before and has not ended.
pub async fn unfinished(reader: &mut Reader) -> Result<Unfinished, DatabaseError> {
    reader.json(UNFINISHED, &[]).await
}

/// Opens or closes a role's login.
pub async fn set_login(
    writer: &mut Writer,
    permit: &EffectPermit,
    role: &str,
    login: bool,
) -> Result<(), DatabaseError> {
    let wanted = if login { "login" } else { "nologin" };
    writer.execute(permit, &format!("alter role {} {wanted}", quoted(role))).await
}

/// Sets the database's own `default_transaction_read_only`, or removes it.
pub async fn set_setting(
    writer: &mut Writer,
    permit: &EffectPermit,
    server: &Server,
    value: Option<&str>,
) -> Result<(), DatabaseError> {
    let database = quoted(server.database());
    let statement = match value {
        Some(value) => format!(
            "alter database {database} set default_transaction_read_only = {}",
            literal(value)
        ),
        None => format!("alter database {database} reset default_transaction_read_only"),
    };
    writer.execute(permit, &statement).await
}

/// Asks every other client to end; their open transactions are rolled back.
pub async fn end_sessions(writer: &mut Writer, permit: &EffectPermit) -> Result<(), DatabaseError> {
    let statement = "select pg_terminate_backend(pid) from pg_stat_activity
        where datname = current_database() and pid <> pg_backend_pid() and backend_type = 'client backend'
            and not (usename = current_user and application_name = current_setting('application_name'))";
    writer.execute(permit, statement).await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whoever_may_still_write_is_waited_for_and_who_only_looks_is_not() {
        let session =
            |client, writes| Session { pid: 7, user: Some("app".to_owned()), client, writes };
        let left = |prepared: &[&str], sessions: &[Session]| Unfinished {
            prepared: prepared.iter().map(|&id| id.to_owned()).collect(),
            sessions: sessions.to_vec(),
        };
        let (closed, nobody) = (["app".to_owned()], []);
        for none in [left(&[], &[]), left(&[], &[session(false, false)])] {
            assert!(none.writing(&closed).is_empty());
        }
        assert!(left(&[], &[session(true, false)]).writing(&nobody).is_empty());
        for some in [
            left(&["a"], &[]),
            left(&[], &[session(true, false)]),
            left(&[], &[session(false, true)]),
        ] {
            assert_eq!(some.writing(&closed).len(), 1);
        }
    }
}
