//! What keeps writers out of a server of MariaDB or MySQL: accounts that are locked, sessions that are ended, and then `read_only`.
//!
//! Locks are what holds: they last over a restart, which forgets `read_only`. Locks are not logged, or the target's accounts would be
//! locked by the replication. A lock keeps out new sessions only, so those there are end. `read_only` comes last: it refuses what was
//! prepared before its commit. MySQL goes by its documentation; no such server was at hand.

use std::collections::BTreeSet;
use std::time::Duration;

use super::super::DatabaseError;
use super::super::preflight::{Accepted, Finding};
use super::super::wall::{self, Role, Unfinished, Words};
use super::accounts::{self, Account};
use super::sessions::{self, Connected};
use super::status::{self, Statements};
use super::{Gtids, Pair, Reader, Server, Writer, literal, preflight};
use crate::journal::EffectPermit;

/// A server, and the sessions in which it is looked at and closed.
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

    /// A session whose changes nobody follows.
    async fn writer(&mut self, permit: &EffectPermit) -> Result<&mut Writer, DatabaseError> {
        let writer = if let Some(writer) = self.writer.take() {
            writer
        } else {
            let mut writer = self.server.writer().await?;
            writer.execute(permit, "set session sql_log_bin = 0").await?;
            writer
        };
        Ok(self.writer.insert(writer))
    }

    /// Everybody but this program; nobody where that may not be read, which the rights tell.
    async fn accounts(&mut self) -> Result<Vec<Account>, DatabaseError> {
        if !preflight::reads_accounts(&mut self.reader).await? {
            return Ok(Vec::new());
        }
        let own = preflight::own_user(&mut self.reader).await?;
        let mut all = accounts::all(&mut self.reader).await?;
        all.retain(|it| it.who.0 != own);
        Ok(all)
    }

    fn role(&self, account: &Account, sessions: &[Connected], comes_in: &[String]) -> Role {
        let of_name = || sessions.iter().filter(|it| it.user == account.who.0);
        let other = |it: &Connected| {
            it.database.clone().filter(|database| database != self.server.database())
        };
        let elsewhere: BTreeSet<String> = of_name().filter_map(other).collect();
        Role {
            name: account.name(),
            login: !account.locked,
            replicates: comes_in.contains(&account.who.0),
            alterable: true,
            sessions: of_name().count() as u64,
            elsewhere: elsewhere.into_iter().collect(),
        }
    }
}

impl wall::Wall for Wall {
    type Pair = Pair;
    const WORDS: Words = Words {
        role: "account",
        open: "unlocked",
        closed: "locked",
        setting: "read_only",
        refuses: "ON",
        accepts: Some("OFF"),
    };
    const SETTING_LASTS: bool = false;
    const BETWEEN: Duration = Duration::from_millis(120);

    fn at(&self) -> &str {
        self.server.at()
    }

    fn setting_of(&self) -> String {
        format!("read_only of {}", self.server.at())
    }

    fn user_of(role: &str) -> &str {
        accounts::user_of(role)
    }

    async fn meant(&mut self, names: &[String]) -> Result<Vec<String>, DatabaseError> {
        if names.is_empty() {
            return Ok(Vec::new());
        }
        Ok(accounts::meant(&accounts::listed(&mut self.reader).await?, names))
    }

    async fn writers(
        &mut self,
        named: &[String],
        pair: Option<&mut Pair>,
    ) -> Result<Vec<Role>, DatabaseError> {
        let comes_in = match pair {
            Some(pair) => pair.comes_in_as().await?,
            None => Vec::new(),
        };
        let accounts = self.accounts().await?;
        let sessions = sessions::connected(&mut self.reader).await?;
        let is_writer = |it: &&Account| it.writes && !it.unbound && !it.locked && !it.is_role;
        let users: BTreeSet<&str> = if named.is_empty() {
            accounts.iter().filter(is_writer).map(|it| it.who.0.as_str()).collect()
        } else {
            named.iter().map(|name| accounts::user_of(name)).collect()
        };
        // A session does not tell by which of the accounts of its name it came in.
        let closed = accounts.iter().filter(|it| !it.is_role && users.contains(it.who.0.as_str()));
        let closed = closed.filter(|it| !named.is_empty() || !it.unbound && !it.locked);
        Ok(closed.map(|it| self.role(it, &sessions, &comes_in)).collect())
    }

    async fn rights(&mut self, accepted: &[Accepted]) -> Result<Vec<Finding>, DatabaseError> {
        let accounts = self.accounts().await?;
        let database = self.server.database().to_owned();
        preflight::rights(&mut self.reader, &database, &accounts, accepted).await
    }

    async fn contents(
        &mut self,
        _pair: &mut Pair,
        accepted: &[Accepted],
    ) -> Result<Vec<Finding>, DatabaseError> {
        preflight::contents(&mut self.reader, accepted).await
    }

    async fn takes_no_writes(&mut self) -> Result<Option<String>, DatabaseError> {
        Ok(None)
    }

    async fn login(&mut self, role: &str) -> Result<Option<bool>, DatabaseError> {
        let accounts = accounts::listed(&mut self.reader).await?;
        let account = accounts.iter().find(|it| !it.is_role && it.name() == role);
        Ok(account.map(|it| !it.locked))
    }

    async fn open(&mut self, roles: &[String]) -> Result<Vec<String>, DatabaseError> {
        let accounts = accounts::listed(&mut self.reader).await?;
        let open = accounts.iter().filter(|it| !it.is_role && !it.locked).map(Account::name);
        Ok(open.filter(|name| roles.contains(name)).collect())
    }

    async fn setting(&mut self) -> Result<Option<String>, DatabaseError> {
        let rows = self.reader.named("show global variables like 'read_only'").await?;
        Ok(rows.first().and_then(|row| row.get("value")).cloned().flatten())
    }

    async fn unfinished(&mut self) -> Result<Unfinished, DatabaseError> {
        sessions::unfinished(&mut self.reader).await
    }

    async fn position(&mut self) -> Result<Gtids, DatabaseError> {
        let product = self.reader.product();
        let rows = self.reader.named(Statements::of(product).own).await?;
        let own = rows.first().ok_or_else(|| self.reader.odd("no answer about itself"))?;
        let own = status::own(product, own, true).map_err(|why| self.reader.odd(&why))?;
        own.end().cloned().map_err(|why| self.reader.odd(&why))
    }

    async fn set_login(
        &mut self,
        permit: &EffectPermit,
        role: &str,
        login: bool,
    ) -> Result<(), DatabaseError> {
        let (user, host) = role.rsplit_once('@').unwrap_or((role, "%"));
        let wanted = if login { "unlock" } else { "lock" };
        let statement = format!("alter user {}@{} account {wanted}", literal(user), literal(host));
        self.writer(permit).await?.execute(permit, &statement).await
    }

    async fn set_setting(
        &mut self,
        permit: &EffectPermit,
        value: Option<&str>,
    ) -> Result<(), DatabaseError> {
        let statement = format!("set global read_only = {}", literal(value.unwrap_or("OFF")));
        self.writer(permit).await?.execute(permit, &statement).await
    }

    async fn end_sessions(
        &mut self,
        permit: &EffectPermit,
        pids: &[i64],
    ) -> Result<(), DatabaseError> {
        for pid in pids {
            let writer = self.writer(permit).await?;
            let Err(error) = writer.execute(permit, &format!("kill connection {pid}")).await else {
                continue;
            };
            // One that has ended by itself can not be ended.
            let left = sessions::connected(&mut self.reader).await?;
            if left.iter().any(|it| it.id == *pid) {
                return Err(error);
            }
        }
        Ok(())
    }

    async fn close(self) {
        self.reader.close().await;
        if let Some(writer) = self.writer {
            writer.close().await;
        }
    }
}
