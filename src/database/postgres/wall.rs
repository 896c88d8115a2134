//! What keeps writers out of a PostgreSQL database: logins that are closed, a default that refuses, and sessions that are ended.

use std::time::Duration;

use super::super::DatabaseError;
use super::super::preflight::{Accepted, Finding};
use super::super::wall::{self, Role, Unfinished, Words};
use super::{Lsn, Pair, Reader, Server, Writer, literal, position, preflight, quoted};
use crate::journal::EffectPermit;

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

/// What began before and has not ended.
pub async fn unfinished(reader: &mut Reader) -> Result<Unfinished, DatabaseError> {
    // In this order: what holds a lock and is in no view by then is being opened, or has ended.
    let locking: Vec<i64> = reader.json(LOCKING, &[]).await?;
    reader.json(UNFINISHED, &[&serde_json::json!(locking).to_string()]).await
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

/// A database, and the sessions in which it is looked at and closed.
#[derive(Debug)]
pub struct Wall {
    server: Server,
    reader: Reader,
    writer: Option<Writer>,
}

impl Wall {
    /// With the session that reads.
    pub async fn of(server: Server) -> Result<Self, DatabaseError> {
        let reader = server.reader().await?;
        Ok(Self { server, reader, writer: None })
    }

    async fn writer(&mut self) -> Result<&mut Writer, DatabaseError> {
        let writer = match self.writer.take() {
            Some(writer) => writer,
            None => self.server.writer().await?,
        };
        Ok(self.writer.insert(writer))
    }
}

impl wall::Wall for Wall {
    type Pair = Pair;
    const WORDS: Words = Words {
        role: "role",
        open: "login",
        closed: "nologin",
        setting: "default_transaction_read_only",
        refuses: "on",
        accepts: None,
    };
    const SETTING_LASTS: bool = true;
    const BETWEEN: Duration = Duration::from_millis(20);

    fn at(&self) -> &str {
        self.server.at()
    }

    fn setting_of(&self) -> String {
        format!("database {}", self.server.at())
    }

    fn user_of(role: &str) -> &str {
        role
    }

    async fn meant(&mut self, names: &[String]) -> Result<Vec<String>, DatabaseError> {
        Ok(names.to_vec())
    }

    async fn writers(
        &mut self,
        named: &[String],
        pair: Option<&mut Pair>,
    ) -> Result<Vec<Role>, DatabaseError> {
        writers(&mut self.reader, named, &preflight::follower(pair.as_deref())).await
    }

    async fn rights(&mut self, accepted: &[Accepted]) -> Result<Vec<Finding>, DatabaseError> {
        preflight::rights(&mut self.reader, accepted).await
    }

    async fn contents(
        &mut self,
        pair: &mut Pair,
        accepted: &[Accepted],
    ) -> Result<Vec<Finding>, DatabaseError> {
        preflight::contents(pair, accepted).await
    }

    async fn takes_no_writes(&mut self) -> Result<Option<String>, DatabaseError> {
        let standby: bool =
            self.reader.json("select to_json(pg_is_in_recovery())::text", &[]).await?;
        Ok(standby.then(|| "is a standby, which takes no writes".to_owned()))
    }

    async fn login(&mut self, role: &str) -> Result<Option<bool>, DatabaseError> {
        self.reader.json(LOGIN, &[role]).await
    }

    async fn open(&mut self, roles: &[String]) -> Result<Vec<String>, DatabaseError> {
        self.reader.json(OPEN, &[&serde_json::json!(roles).to_string()]).await
    }

    async fn setting(&mut self) -> Result<Option<String>, DatabaseError> {
        self.reader.json(SETTING, &[]).await
    }

    async fn unfinished(&mut self) -> Result<Unfinished, DatabaseError> {
        unfinished(&mut self.reader).await
    }

    async fn position(&mut self) -> Result<Lsn, DatabaseError> {
        position(&mut self.reader).await
    }

    async fn set_login(
        &mut self,
        permit: &EffectPermit,
        role: &str,
        login: bool,
    ) -> Result<(), DatabaseError> {
        let wanted = if login { "login" } else { "nologin" };
        let statement = format!("alter role {} {wanted}", quoted(role));
        self.writer().await?.execute(permit, &statement).await
    }

    async fn set_setting(
        &mut self,
        permit: &EffectPermit,
        value: Option<&str>,
    ) -> Result<(), DatabaseError> {
        let database = quoted(self.server.database());
        let set = "default_transaction_read_only";
        let statement = match value {
            Some(value) => format!("alter database {database} set {set} = {}", literal(value)),
            None => format!("alter database {database} reset {set}"),
        };
        self.writer().await?.execute(permit, &statement).await
    }

    async fn end_sessions(
        &mut self,
        permit: &EffectPermit,
        pids: &[i64],
    ) -> Result<(), DatabaseError> {
        end_sessions(self.writer().await?, permit, pids).await
    }

    async fn close(self) {
        self.reader.close().await;
        if let Some(writer) = self.writer {
            writer.close().await;
        }
    }
}
