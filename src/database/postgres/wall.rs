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
    /// The target comes in by it: without its login it could not come back after a broken link.
    pub replicates: bool,
    /// The server lets this program's user open and close its login.
    pub alterable: bool,
    /// Client sessions it has in this database.
    pub sessions: u64,
    /// Other databases in which it has sessions: a login is of the whole server.
    pub elsewhere: Vec<String>,
}

/// By what the target comes in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Follower {
    /// Nobody is waited for.
    None,
    /// Through that slot.
    Slot(String),
    /// As a standby without a slot that is known.
    Standby,
}

impl Follower {
    fn parameter(&self) -> String {
        match self {
            Self::None => "none".to_owned(),
            Self::Slot(name) => format!("slot:{name}"),
            Self::Standby => "standby".to_owned(),
        }
    }
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
    /// This program's user may end it.
    pub can_be_ended: bool,
}

/// What may still be written by what began before the wall stood.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct Unfinished {
    /// Sessions that are being opened: their login was looked at, and no view shows them yet.
    pub opening: Vec<i64>,
    /// Other sessions.
    pub sessions: Vec<Session>,
    /// Prepared transactions, by their ids.
    pub prepared: Vec<String>,
}

impl Unfinished {
    /// What could still change something: prepared transactions, sessions of roles whose login is `closed`, whoever has written,
    /// is about to appear, or works for somebody (an apply worker, a job). In words; empty where there is none of it.
    pub fn writing(&self, closed: &[String]) -> Vec<String> {
        let prepared = self.prepared.iter().map(|id| format!("prepared transaction {id}"));
        let opening = self.opening.iter().map(|pid| format!("session {pid} that is being opened"));
        let sessions = self.sessions.iter().filter(|it| it.may_write(closed)).map(|it| {
            let user = it.user.as_deref().unwrap_or("the server itself");
            format!("session {} of {user}", it.pid)
        });
        prepared.chain(opening).chain(sessions).collect()
    }
}

impl Session {
    /// It has written, belongs to a role that is `closed`, or is no client and works for a user.
    pub fn may_write(&self, closed: &[String]) -> bool {
        let user = self.user.as_ref();
        let is_closed = user.is_some_and(|user| closed.contains(user));
        self.writes || is_closed || !self.client && user.is_some()
    }
}

/// Sessions of this run: of its own user, under its own name.
macro_rules! ours {
    () => {
        "(usename = session_user and application_name = current_setting('application_name'))"
    };
}
pub(super) use ours;

/// Who may log in and change something in the database: rows of tables, views and foreign tables, in whole or by column;
/// sequences; whatever a function does in the name of its owner; new objects. Not superusers, unless they are named.
const WRITERS: &str = "with me as (select rolsuper, rolcreaterole from pg_roles where rolname = session_user),
    spaces as (select oid from pg_namespace where nspname !~ '^pg_' and nspname <> 'information_schema')
    select coalesce(json_agg(json_build_object(
        'name', rolname, 'login', rolcanlogin,
        'replicates', exists (select from pg_stat_replication sender where sender.usesysid = role.oid and case $2::text
            when 'none' then false
            when 'standby' then application_name <> 'pg_receivewal' and coalesce(state, '') <> 'backup'
                and not exists (select from pg_replication_slots where active_pid = sender.pid and slot_type = 'logical')
            else exists (select from pg_replication_slots where active_pid = sender.pid and 'slot:' || slot_name = $2::text) end),
        'alterable', case
            when me.rolsuper then true
            when role.rolsuper or role.rolreplication then false
            when current_setting('server_version_num')::int >= 160000 then me.rolcreaterole and pg_has_role(role.oid, 'member with admin option')
            else me.rolcreaterole end,
        'sessions', (select count(*) from pg_stat_activity
            where usesysid = role.oid and datname = current_database() and backend_type = 'client backend'),
        'elsewhere', (select coalesce(json_agg(distinct datname), '[]') from pg_stat_activity
            where usesysid = role.oid and datname <> current_database() and backend_type = 'client backend')
        ) order by rolname), '[]')::text
    from me, pg_roles role
    where rolname <> session_user and case
        when $1::text <> '[]' then rolname::text in (select json_array_elements_text($1::text::json))
        else rolcanlogin and not role.rolsuper and has_database_privilege(role.oid, current_database(), 'connect') and exists (
            select from pg_roles writer where pg_has_role(role.oid, writer.oid, 'member') and (
                has_database_privilege(writer.oid, current_database(), 'create')
                or exists (select from spaces where has_schema_privilege(writer.oid, spaces.oid, 'create'))
                or exists (select from pg_class class join spaces on spaces.oid = relnamespace where case
                    when relkind in ('r', 'p', 'v', 'f') then has_table_privilege(writer.oid, class.oid, 'insert, update, delete, truncate')
                        or has_any_column_privilege(writer.oid, class.oid, 'insert, update')
                    when relkind = 'S' then has_sequence_privilege(writer.oid, class.oid, 'usage, update')
                    else false end)
                or exists (select from pg_proc proc join spaces on spaces.oid = pronamespace
                    where prosecdef and has_function_privilege(writer.oid, proc.oid, 'execute'))))
        end";
const LOGIN: &str = "select coalesce((select to_json(rolcanlogin)::text from pg_roles where rolname = $1::text), 'null')";
const OPEN: &str = "select coalesce(json_agg(rolname order by rolname), '[]')::text from pg_roles
    where rolcanlogin and rolname::text in (select json_array_elements_text($1::text::json))";
const SETTING: &str = "select coalesce((select to_json(split_part(entry, '=', 2))::text
    from pg_db_role_setting, unnest(setconfig) entry
    where setrole = 0 and setdatabase = (select oid from pg_database where datname = current_database())
        and entry like 'default_transaction_read_only=%'), 'null')";
/// Whoever is being let in holds a lock before the login is looked at, and until the views show the session.
const LOCKING: &str = "select coalesce(json_agg(distinct pid), '[]')::text from pg_locks where pid is not null and pid <> pg_backend_pid()";
const UNFINISHED: &str = concat!(
    "select json_build_object(
    'opening', (select coalesce(json_agg(pid), '[]') from (select pid::text::int from json_array_elements($1::text::json) pid) locking
        where pid not in (select pid from pg_stat_activity)),
    'sessions', (select coalesce(json_agg(json_build_object(
            'pid', pid, 'user', usename, 'client', backend_type = 'client backend', 'writes', backend_xid is not null,
            'can_be_ended', backend_type = 'client backend' and (me.rolsuper or not coalesce(role.rolsuper, true))) order by pid), '[]')
        from pg_stat_activity left join pg_roles role on role.oid = usesysid, pg_roles me
        where me.rolname = session_user and datname = current_database() and pid <> pg_backend_pid()
            and backend_type not in ('walsender', 'autovacuum worker', 'parallel worker') and not ",
    ours!(),
    "),
    'prepared', (select coalesce(json_agg(gid order by gid), '[]') from pg_prepared_xacts where database = current_database())
)::text"
);

/// Those of these names, or whoever may write when none is named.
pub async fn writers(
    reader: &mut Reader,
    named: &[String],
    follower: &Follower,
) -> Result<Vec<Role>, DatabaseError> {
    let named = serde_json::json!(named).to_string();
    reader.json(WRITERS, &[&named, &follower.parameter()]).await
}

/// Whether a role may log in; none where there is no such role.
pub async fn login(reader: &mut Reader, role: &str) -> Result<Option<bool>, DatabaseError> {
    reader.json(LOGIN, &[role]).await
}

/// What of the wall does not stand: the default, and logins of these roles. In words.
pub async fn gaps(reader: &mut Reader, closed: &[String]) -> Result<Vec<String>, DatabaseError> {
    let setting = setting(reader).await?;
    let open: Vec<String> = reader.json(OPEN, &[&serde_json::json!(closed).to_string()]).await?;
    let setting = (setting.as_deref() != Some("on"))
        .then(|| "default_transaction_read_only is not on".to_owned());
    let open = open.into_iter().map(|role| format!("{role} may log in"));
    Ok(setting.into_iter().chain(open).collect())
}

/// The database's own `default_transaction_read_only`; none where it has none.
pub async fn setting(reader: &mut Reader) -> Result<Option<String>, DatabaseError> {
    reader.json(SETTING, &[]).await
}

/// What began before and has not ended.
pub async fn unfinished(reader: &mut Reader) -> Result<Unfinished, DatabaseError> {
    // In this order: what holds a lock and is in no view by then is being opened, or has ended.
    let locking: Vec<i64> = reader.json(LOCKING, &[]).await?;
    reader.json(UNFINISHED, &[&serde_json::json!(locking).to_string()]).await
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

/// Asks sessions to end; their open transactions are rolled back.
pub async fn end_sessions(
    writer: &mut Writer,
    permit: &EffectPermit,
    pids: &[i64],
) -> Result<(), DatabaseError> {
    let pids: Vec<String> = pids.iter().map(i64::to_string).collect();
    let statement = format!(
        "select pg_terminate_backend(pid) from pg_stat_activity
         where backend_type = 'client backend' and datname = current_database() and pid in ({})",
        pids.join(", ")
    );
    writer.execute(permit, &statement).await
}

/// The same for all that a role has in the database.
pub async fn end_sessions_of(
    writer: &mut Writer,
    permit: &EffectPermit,
    role: &str,
) -> Result<(), DatabaseError> {
    let statement = format!(
        "select pg_terminate_backend(pid) from pg_stat_activity
         where backend_type = 'client backend' and datname = current_database() and usename = {}",
        literal(role)
    );
    writer.execute(permit, &statement).await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whoever_may_still_write_is_waited_for_and_who_only_looks_is_not() {
        let session = |client, writes| Session {
            pid: 7,
            user: Some("app".to_owned()),
            client,
            writes,
            can_be_ended: true,
        };
        let left = |prepared: &[&str], opening: &[i64], sessions: &[Session]| Unfinished {
            prepared: prepared.iter().map(|&id| id.to_owned()).collect(),
            opening: opening.to_vec(),
            sessions: sessions.to_vec(),
        };
        let (closed, nobody) = (["app".to_owned()], []);
        let of_the_server = Session { user: None, ..session(false, false) };
        assert!(left(&[], &[], &[of_the_server]).writing(&closed).is_empty());
        assert!(left(&[], &[], &[session(true, false)]).writing(&nobody).is_empty());
        for some in [
            left(&["a"], &[], &[]),
            left(&[], &[8], &[]),
            left(&[], &[], &[session(true, false)]),
            left(&[], &[], &[session(false, false)]),
            left(&[], &[], &[session(false, true)]),
        ] {
            assert_eq!(some.writing(&closed).len(), 1);
        }
    }
}
