//! Who may write on a server of MariaDB or MySQL. The judging is pure.
//!
//! An account may write by a right on everything, a database, a table, a column or a routine (which acts as whoever defined it,
//! whatever `read_only` says), by a role of any depth, by everybody's rights, or as another whose proxy it is. A right anywhere on
//! the server counts: the position that a pause records, and `read_only`, are of the whole server.
//!
//! A session shows the name of its account and not its host pattern, so accounts of one name are closed together.

use std::collections::{BTreeMap, BTreeSet};

use super::super::DatabaseError;
use super::{Named, Product, Reader};

/// Name and host pattern; a role of MariaDB has no host.
type Who = (String, String);

/// An account, as the server has it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[expect(
    clippy::struct_excessive_bools,
    reason = "one answer of the server each, in any combination"
)]
pub struct Account {
    /// Whose it is.
    pub who: Who,
    /// It can not log in: a role.
    pub is_role: bool,
    /// Its login is closed.
    pub locked: bool,
    /// It may write, by its own rights or what it has come by.
    pub writes: bool,
    /// `read_only` does not bind it.
    pub unbound: bool,
}

impl Account {
    /// As a runbook writes it, and this program tells it.
    pub fn name(&self) -> String {
        format!("{}@{}", self.who.0, self.who.1)
    }
}

/// The name by which a session of an account shows; the host pattern has no `@`.
pub fn user_of(account: &str) -> &str {
    account.rsplit_once('@').map_or(account, |(user, _)| user)
}

/// What is meant by names in a runbook: `app` is every account of that name.
pub fn meant(accounts: &[Account], names: &[String]) -> Vec<String> {
    let of_name = |name: &String| {
        let all: Vec<String> = accounts
            .iter()
            .filter(|it| !it.is_role && (it.who.0 == *name || it.name() == *name))
            .map(Account::name)
            .collect();
        if all.is_empty() { vec![name.clone()] } else { all }
    };
    names.iter().flat_map(of_name).collect()
}

/// Rights of MariaDB, as bits of `mysql.global_priv`: insert, update, delete, create, drop, index, alter, execute, create view,
/// create and alter routine, create user, event, trigger, create tablespace, delete history.
const MARIA_WRITES: u64 = 0x3fa4_303e;
/// Super (which also meant the next before 10.11), and `READ_ONLY ADMIN`.
const MARIA_UNBOUND: u64 = 1 << 15 | 1 << 33;

/// Columns of both products that hold a right to change something, of `mysql.user` and of `mysql.db`.
const COLUMNS: &str = "insert_priv, update_priv, delete_priv, create_priv, drop_priv, index_priv, alter_priv, execute_priv,
    create_view_priv, create_routine_priv, alter_routine_priv, event_priv, trigger_priv";

const EDGES_MARIA: &str =
    "select user, host, role as to_user, '' as to_host from mysql.roles_mapping";
const EDGES_MYSQL: &str = "select to_user as user, to_host as host, from_user as to_user, from_host as to_host from mysql.role_edges";
const PROXIES: &str =
    "select user, host, proxied_user as to_user, proxied_host as to_host from mysql.proxies_priv";

fn accounts_of(product: Product) -> String {
    match product {
        Product::MariaDb(..) => format!(
            "select user, host, coalesce(json_value(priv, '$.is_role'), 0) as is_role,
                coalesce(json_value(priv, '$.account_locked'), 0) as locked,
                coalesce(json_value(priv, '$.access'), 0) & {MARIA_WRITES} <> 0 as writes,
                coalesce(json_value(priv, '$.access'), 0) & {MARIA_UNBOUND} <> 0 as unbound
            from mysql.global_priv order by user, host"
        ),
        Product::MySql(..) => format!(
            "select user, host, 0 as is_role, account_locked = 'Y' as locked,
                'Y' in ({COLUMNS}, create_user_priv, create_tablespace_priv) as writes,
                super_priv = 'Y' or exists (select 1 from mysql.global_grants held where held.user = account.user
                    and held.host = account.host and priv = 'CONNECTION_ADMIN') as unbound
            from mysql.user account order by user, host"
        ),
    }
}

/// Who has a right to change something below the whole server.
fn writers_below(product: Product) -> String {
    let history =
        if matches!(product, Product::MariaDb(..)) { ", delete_history_priv" } else { "" };
    format!(
        "select user, host from mysql.db where 'Y' in ({COLUMNS}{history})
        union select user, host from mysql.tables_priv
            where concat(table_priv, ',', column_priv) regexp 'Insert|Update|Delete|Create|Drop|Index|Alter|Trigger'
        union select user, host from mysql.columns_priv where column_priv regexp 'Insert|Update'
        union select user, host from mysql.procs_priv where proc_priv regexp 'Execute|Alter'"
    )
}

/// Every account and role by its own rights on the whole server.
pub async fn listed(reader: &mut Reader) -> Result<Vec<Account>, DatabaseError> {
    let accounts = accounts_of(reader.product());
    Ok(reader.named(&accounts).await?.iter().map(account).collect())
}

/// Every account and role, judged.
pub async fn all(reader: &mut Reader) -> Result<Vec<Account>, DatabaseError> {
    let product = reader.product();
    let accounts = listed(reader).await?;
    let below = reader.named(&writers_below(product)).await?.iter().map(who).collect();
    let is_maria = matches!(product, Product::MariaDb(..));
    let edges = reader.named(if is_maria { EDGES_MARIA } else { EDGES_MYSQL }).await?;
    let proxies = reader.named(PROXIES).await?;
    let edges = edges.iter().chain(&proxies).map(|row| (who(row), to(row))).collect();
    Ok(judged(accounts, &below, edges))
}

fn text(row: &Named, name: &str) -> String {
    row.get(name).cloned().flatten().unwrap_or_default()
}

fn who(row: &Named) -> Who {
    (text(row, "user"), text(row, "host"))
}

fn to(row: &Named) -> Who {
    (text(row, "to_user"), text(row, "to_host"))
}

fn account(row: &Named) -> Account {
    // What is not told counts as open, and as one that writes.
    let is = |name: &str| row.get(name).cloned().flatten().is_some_and(|value| value == "1");
    let is_told = |name: &str| row.get(name).is_some_and(Option::is_some);
    Account {
        who: who(row),
        is_role: is("is_role"),
        locked: is("locked"),
        writes: is("writes") || !is_told("writes"),
        unbound: is("unbound"),
    }
}

/// Gives every account the rights of whatever it can become: roles, whose proxy it is, and what everybody may.
fn judged(
    mut accounts: Vec<Account>,
    below: &BTreeSet<Who>,
    edges: Vec<(Who, Who)>,
) -> Vec<Account> {
    let everybody = ("PUBLIC".to_owned(), String::new());
    let mut becomes: BTreeMap<Who, BTreeSet<Who>> = BTreeMap::new();
    for (from, to) in edges {
        // Whoever may be a proxy of nobody in particular may be one of anybody.
        let all = accounts.iter().filter(|_| to.0.is_empty()).map(|it| it.who.clone());
        let targets: Vec<Who> = all.chain([to.clone()]).collect();
        becomes.entry(from).or_default().extend(targets);
    }
    let own: BTreeMap<Who, (bool, bool)> = accounts
        .iter()
        .map(|it| (it.who.clone(), (it.writes || below.contains(&it.who), it.unbound)))
        .collect();
    for account in &mut accounts {
        let mut seen = BTreeSet::new();
        let mut next = vec![account.who.clone(), everybody.clone()];
        while let Some(who) = next.pop() {
            let (writes, unbound) = own.get(&who).copied().unwrap_or_default();
            account.writes |= writes || below.contains(&who);
            account.unbound |= unbound;
            if seen.insert(who.clone()) {
                next.extend(becomes.get(&who).into_iter().flatten().cloned());
            }
        }
    }
    accounts
}

#[cfg(test)]
mod tests {
    use super::*;

    fn who(name: &str) -> Who {
        let (user, host) = name.rsplit_once('@').expect("an account");
        (user.to_owned(), host.to_owned())
    }

    fn plain(name: &str) -> Account {
        Account { who: who(name), ..Account::default() }
    }

    #[test]
    fn rights_are_the_bits_of_the_server() {
        // Each alone, as `mysql.global_priv` of 10.11 had it after `grant … on *.* to …`.
        for bit in [1, 2, 3, 4, 5, 12, 13, 18, 21, 23, 24, 25, 26, 27, 28, 29] {
            assert_ne!(MARIA_WRITES & 1 << bit, 0, "{bit}");
        }
        // Select, reload, shutdown, process, file, grant, references, show databases, super, temporary tables, lock tables,
        // both of replication, show view.
        for bit in [0, 6, 7, 8, 9, 10, 11, 14, 15, 16, 17, 19, 20, 22] {
            assert_eq!(MARIA_WRITES & 1 << bit, 0, "{bit}");
        }
    }

    #[test]
    fn whatever_an_account_can_become_counts() {
        let accounts = vec![
            plain("reader@%"),
            plain("by_role@%"),
            plain("by_proxy@%"),
            plain("by_any_proxy@%"),
            Account { is_role: true, ..plain("crew@") },
            Account { is_role: true, ..plain("inner@") },
            plain("app@%"),
            Account { unbound: true, ..plain("chief@%") },
        ];
        let below = [who("inner@"), who("app@%")].into();
        let edges = [
            ("by_role@%", "crew@"),
            ("crew@", "inner@"),
            ("inner@", "crew@"),
            ("by_proxy@%", "app@%"),
            ("by_any_proxy@%", "@"),
        ];
        let edges: Vec<(Who, Who)> = edges.map(|(from, to)| (who(from), who(to))).into();
        let found = judged(accounts.clone(), &below, edges.clone());
        let writers: Vec<String> = found.iter().filter(|it| it.writes).map(Account::name).collect();
        assert_eq!(
            writers,
            ["by_role@%", "by_proxy@%", "by_any_proxy@%", "crew@", "inner@", "app@%"]
        );
        let unbound: Vec<String> =
            found.iter().filter(|it| it.unbound).map(Account::name).collect();
        assert_eq!(unbound, ["by_any_proxy@%", "chief@%"]);
        let below = [("PUBLIC".to_owned(), String::new())].into();
        assert!(judged(accounts, &below, edges).iter().all(|it| it.writes));
    }

    #[test]
    fn a_name_means_all_of_its_accounts() {
        let accounts = [plain("app@%"), plain("app@10.0.%"), plain("a@b@%")];
        let meant = |name: &str| super::meant(&accounts, &[name.to_owned()]);
        assert_eq!(meant("app"), ["app@%", "app@10.0.%"]);
        assert_eq!(meant("app@%"), ["app@%"]);
        assert_eq!(meant("ap"), ["ap"]);
        assert_eq!(user_of("a@b@%"), "a@b");
    }
}
