//! What stands in the way of pausing a server of MariaDB or MySQL, found before anything is changed.

use std::collections::BTreeMap;

use super::super::DatabaseError;
use super::super::preflight::{Accepted, Finding};
use super::accounts::Account;
use super::judge::may_be;
use super::sessions::{self, Connected};
use super::status::{self, Statements};
use super::{Named, Product, Reader};

/// A right of the whole server, and what it is for.
type Need = (&'static str, &'static str);

const MARIA_NEEDS: &[Need] = &[
    ("CREATE USER", "lock accounts"),
    ("READ_ONLY ADMIN", "set read_only, and write behind it"),
    ("CONNECTION ADMIN", "end sessions"),
    ("BINLOG ADMIN", "lock accounts on this server alone"),
    ("PROCESS", "see every session"),
    ("BINLOG MONITOR", "read what its log leaves out"),
    ("SLAVE MONITOR", "see whom it follows"),
];
/// As its manual says; no such server was at hand.
const MYSQL_NEEDS: &[Need] = &[
    ("CREATE USER", "lock accounts"),
    ("CONNECTION_ADMIN", "end sessions, and write behind read_only"),
    ("SYSTEM_VARIABLES_ADMIN", "set read_only, and lock accounts on this server alone"),
    ("PROCESS", "see every session"),
    ("REPLICATION CLIENT", "see whom it follows"),
    ("XA_RECOVER_ADMIN", "see prepared transactions"),
];
/// What the table of marks takes.
const ON_DATABASE: &[&str] = &["CREATE", "DROP", "SELECT", "INSERT", "UPDATE"];

const LONG: &str = "select count(*) as count from information_schema.innodb_trx
    where trx_started < now() - interval 1 minute";
const NOT_TRANSACTIONAL: &str = "select concat(owner.table_schema, '.', owner.table_name) as name
    from information_schema.tables owner left join information_schema.engines using (engine)
    where owner.table_schema = database() and table_type = 'BASE TABLE' and coalesce(transactions, 'NO') <> 'YES'
    order by name";
const SCHEDULER: &str = "show global variables like 'event_scheduler'";

/// What is in the way of a pause, in raw readings.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Rights {
    product: Product,
    user: String,
    reads_accounts: bool,
    grants: Vec<String>,
    database: String,
    logs: bool,
    follows: Vec<String>,
    unbound: Vec<String>,
    anonymous: Vec<String>,
    events: Vec<String>,
    same_user: u64,
    prepared: u64,
    long: u64,
}

/// As whom this program has logged in, without the host.
pub(super) async fn own_user(reader: &mut Reader) -> Result<String, DatabaseError> {
    let row = reader.one("select current_user()").await?.unwrap_or_default();
    let account = row.into_iter().next().flatten().unwrap_or_default();
    Ok(super::accounts::user_of(&account).to_owned())
}

/// Whether this program's user may read who may do what, in the form that this product keeps it.
pub(super) async fn reads_accounts(reader: &mut Reader) -> Result<bool, DatabaseError> {
    let (product, tables) = (reader.product(), ["mysql.procs_priv", "mysql.proxies_priv"]);
    if !is_known(product) {
        return Ok(false);
    }
    let first =
        if matches!(product, Product::MariaDb(..)) { "mysql.global_priv" } else { "mysql.user" };
    for table in [first].into_iter().chain(tables) {
        // There is a row, whether or not anything is in the table.
        let read = format!("select count(*) as count from {table}");
        if unless_refused(reader.named(&read).await)?.is_empty() {
            return Ok(false);
        }
    }
    Ok(true)
}

/// Since when accounts can be locked, roles are kept as here, and a prepared transaction outlives its session.
const fn is_known(product: Product) -> bool {
    match product {
        Product::MariaDb(major, minor) => major > 10 || major == 10 && minor >= 5,
        Product::MySql(major, _) => major >= 8,
    }
}

/// What the user of this program may do, and who else is there.
pub(super) async fn rights(
    reader: &mut Reader,
    database: &str,
    accounts: &[Account],
    accepted: &[Accepted],
) -> Result<Vec<Finding>, DatabaseError> {
    let product = reader.product();
    let user = own_user(reader).await?;
    let grants: Vec<String> = reader
        .named("show grants")
        .await?
        .into_iter()
        .flat_map(Named::into_values)
        .flatten()
        .collect();
    let own = reader.named(Statements::of(product).own).await?;
    let own = own.first().and_then(|row| status::own(product, row, true).ok());
    let connected = sessions::connected(reader).await?;
    let anonymous = accounts.iter().filter(|it| it.who.0.is_empty() && it.writes && !it.locked);
    let found = Rights {
        product,
        reads_accounts: reads_accounts(reader).await?,
        grants,
        database: database.to_owned(),
        logs: own.and_then(|own| own.logs).unwrap_or_default(),
        follows: follows(reader).await?,
        unbound: unbound(accounts, &connected),
        anonymous: anonymous.map(Account::name).collect(),
        events: events(reader).await?,
        same_user: connected.iter().filter(|it| it.user == user && !it.ours).count() as u64,
        prepared: unless_refused(sessions::prepared(reader).await)?.len() as u64,
        long: unless_refused(sessions::count(reader, LONG).await)?,
        user,
    };
    Ok(judge(&found, accepted))
}

/// What is in the source that the target would not get.
pub(super) async fn contents(
    reader: &mut Reader,
    accepted: &[Accepted],
) -> Result<Vec<Finding>, DatabaseError> {
    let tables = names(&reader.named(NOT_TRANSACTIONAL).await?);
    let accepted = accepted.contains(&Accepted::NonTransactionalTables);
    Ok(vec![Finding::none("tables without transactions", &tables, accepted)])
}

/// Nothing where a right is missing, which is told by itself.
fn unless_refused<T: Default>(answer: Result<T, DatabaseError>) -> Result<T, DatabaseError> {
    match answer {
        Err(DatabaseError::Refused { .. }) => Ok(T::default()),
        answer => answer,
    }
}

fn names(rows: &[Named]) -> Vec<String> {
    rows.iter().filter_map(|row| row.get("name").cloned().flatten()).collect()
}

/// Whom the server follows itself, as far as a thread of it runs.
async fn follows(reader: &mut Reader) -> Result<Vec<String>, DatabaseError> {
    let product = reader.product();
    let rows = unless_refused(reader.named(Statements::of(product).connections).await)?;
    let connections = rows.iter().map(|row| status::connection(product, row));
    let runs = |thread: &Option<String>| thread.as_deref() != Some("No");
    let running = connections.filter(|it| runs(&it.io) || runs(&it.sql));
    Ok(running.map(|it| format!("server {}", it.source.as_deref().unwrap_or("unknown"))).collect())
}

/// Users whom `read_only` does not bind and who are connected, with how many sessions.
fn unbound(accounts: &[Account], connected: &[Connected]) -> Vec<String> {
    let mut counts: BTreeMap<&str, u64> = BTreeMap::new();
    for session in connected.iter().filter(|it| !it.ours) {
        if accounts.iter().any(|it| it.unbound && !it.is_role && it.who.0 == session.user) {
            *counts.entry(&session.user).or_default() += 1;
        }
    }
    counts.into_iter().map(|(user, count)| format!("{user}, {count} sessions")).collect()
}

/// What the server would carry out by itself.
async fn events(reader: &mut Reader) -> Result<Vec<String>, DatabaseError> {
    let scheduler = reader.named(SCHEDULER).await?;
    let value = scheduler.first().and_then(|row| row.get("value")).cloned().flatten();
    if !value.is_some_and(|value| value.eq_ignore_ascii_case("on")) {
        return Ok(Vec::new());
    }
    let query = match reader.product() {
        Product::MariaDb(..) => {
            "select concat(db, '.', name) as name from mysql.event where status = 'ENABLED' order by 1"
        }
        Product::MySql(..) => {
            "select concat(event_schema, '.', event_name) as name from information_schema.events where status = 'ENABLED' order by 1"
        }
    };
    match reader.named(query).await {
        Ok(rows) => Ok(names(&rows)),
        Err(DatabaseError::Refused { .. }) => Ok(vec!["which can not be read".to_owned()]),
        Err(error) => Err(error),
    }
}

/// Whether one of the grants, as the server shows them, gives a right on everything, or on the database.
fn holds(grants: &[String], right: &str, database: Option<&str>) -> bool {
    grants.iter().any(|grant| {
        let Some((rights, rest)) =
            grant.strip_prefix("GRANT ").and_then(|it| it.split_once(" ON "))
        else {
            return false;
        };
        let on = rest.split_once(" TO ").map_or(rest, |(on, _)| on);
        let is_there = match (on, on.strip_suffix(".*"), database) {
            ("*.*", ..) => true,
            (_, Some(name), Some(database)) => may_be(name.trim_matches('`'), database),
            _ => false,
        };
        is_there && rights.split(',').map(str::trim).any(|it| it == right || it == "ALL PRIVILEGES")
    })
}

fn judge(found: &Rights, accepted: &[Accepted]) -> Vec<Finding> {
    let (user, grants) = (&found.user, &found.grants);
    let right = |holds, check: &str, missing| Finding::right(user, holds, check, missing);
    let needs = match found.product {
        Product::MariaDb(..) => MARIA_NEEDS,
        Product::MySql(..) => MYSQL_NEEDS,
    };
    let missing: Vec<&str> = ON_DATABASE
        .iter()
        .copied()
        .filter(|right| !holds(grants, right, Some(&found.database)))
        .collect();
    let mut findings: Vec<Finding> = needs
        .iter()
        .map(|(name, what)| right(holds(grants, name, None), what, format!("{user} lacks {name}")))
        .collect();
    findings.extend([
        right(
            is_known(found.product),
            "pause this version",
            format!(
                "it is {:?}; MariaDB from 10.5 and MySQL from 8.0 on can be paused",
                found.product
            ),
        ),
        right(
            found.reads_accounts,
            "read who may write",
            format!("{user} lacks SELECT on mysql.*"),
        ),
        right(
            missing.is_empty(),
            "make the table of marks",
            format!("{user} lacks {} on {}", missing.join(", "), found.database),
        ),
        Finding {
            check: "binary log with global transaction ids".to_owned(),
            detail: if found.logs { "on" } else { "off" }.to_owned(),
            holds: found.logs,
        },
        Finding::apart(user, found.same_user),
        Finding::none(
            "users that read_only does not bind and that are connected",
            &found.unbound,
            accepted.contains(&Accepted::Superusers),
        ),
        Finding::none("replication by which others write into the source", &found.follows, false),
        Finding::none("accounts without a name that may write", &found.anonymous, false),
        Finding::none(
            "events that the server carries out by itself",
            &found.events,
            accepted.contains(&Accepted::Events),
        ),
        Finding::open(found.prepared, "prepared transactions"),
        Finding::open(found.long, "transactions older than a minute"),
    ]);
    findings
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rights(product: Product, grants: &[&str]) -> Rights {
        Rights {
            product,
            user: "migrate".to_owned(),
            reads_accounts: true,
            grants: grants.iter().map(|&grant| grant.to_owned()).collect(),
            database: "crm".to_owned(),
            logs: true,
            follows: Vec::new(),
            unbound: Vec::new(),
            anonymous: Vec::new(),
            events: Vec::new(),
            same_user: 0,
            prepared: 1,
            long: 2,
        }
    }

    fn held(found: &Rights, accepted: &[Accepted]) -> Vec<String> {
        judge(found, accepted).into_iter().filter(|it| !it.holds).map(|it| it.detail).collect()
    }

    const ALL: &[&str] = &["GRANT ALL PRIVILEGES ON *.* TO `migrate`@`%`"];
    const MARIA: Product = Product::MariaDb(10, 11);

    #[test]
    fn each_missing_right_stands_in_the_way_and_what_is_waited_for_does_not() {
        assert!(held(&rights(MARIA, ALL), &[]).is_empty());
        let spoil: [fn(&mut Rights); 8] = [
            |it| it.reads_accounts = false,
            |it| it.logs = false,
            |it| it.product = Product::MariaDb(10, 4),
            |it| it.follows.push("server 3".to_owned()),
            |it| it.unbound.push("root, 1 sessions".to_owned()),
            |it| it.anonymous.push("@%".to_owned()),
            |it| it.events.push("crm.nightly".to_owned()),
            |it| it.same_user = 1,
        ];
        for spoil in spoil {
            let mut found = rights(MARIA, ALL);
            spoil(&mut found);
            assert_eq!(held(&found, &[]).len(), 1);
        }
        let mut found = rights(MARIA, ALL);
        found.unbound.push("root, 1 sessions".to_owned());
        found.events.push("crm.nightly".to_owned());
        assert!(held(&found, &[Accepted::Superusers, Accepted::Events]).is_empty());
    }

    #[test]
    fn grants_are_read_as_the_server_shows_them() {
        let maria = [
            "GRANT PROCESS, BINLOG MONITOR, CREATE USER, CONNECTION ADMIN, READ_ONLY ADMIN, BINLOG ADMIN, SLAVE MONITOR ON *.* TO `m`@`%` IDENTIFIED BY PASSWORD '*B6'",
            "GRANT SELECT, INSERT, UPDATE, DELETE, CREATE, DROP ON `crm`.* TO `m`@`%`",
        ];
        assert!(held(&rights(MARIA, &maria), &[]).is_empty());
        assert_eq!(held(&rights(MARIA, &maria[..1]), &[]).len(), 1);
        assert_eq!(held(&rights(MARIA, &maria[1..]), &[]).len(), MARIA_NEEDS.len());
        // By the manual; dynamic rights stand in a line of their own.
        let mysql = [
            "GRANT PROCESS, REPLICATION CLIENT, CREATE USER ON *.* TO `m`@`%`",
            "GRANT CONNECTION_ADMIN,SYSTEM_VARIABLES_ADMIN,XA_RECOVER_ADMIN ON *.* TO `m`@`%`",
            "GRANT SELECT, INSERT, UPDATE, DELETE, CREATE, DROP ON `cr%`.* TO `m`@`%`",
        ];
        assert!(held(&rights(Product::MySql(8, 4), &mysql), &[]).is_empty());
        assert_eq!(held(&rights(Product::MySql(5, 7), &mysql), &[]).len(), 1);
    }
}
