//! What stands in the way of pausing a database, found before anything is changed: what the engines share.

use schemars::JsonSchema;
use serde::Deserialize;

use super::wall::Role;

/// Something that replication does not carry over, or that a pause does not reach, and that an author has accepted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Accepted {
    /// Tables whose rows can not be told apart: updates and deletes of them fail at the source once they are published.
    NoReplicaIdentity,
    /// Tables that are not in the log.
    UnloggedTables,
    /// Large objects.
    LargeObjects,
    /// Tables that no publication of the subscription holds.
    UnpublishedTables,
    /// Superusers (of MariaDB and MySQL: whoever `read_only` does not bind) who are connected: no login of theirs is closed, and
    /// they may write whatever is set.
    Superusers,
    /// Other databases whose sessions belong to a role that is closed: a login is of the whole server.
    OtherDatabases,
    /// Other subscribers of a publication of all tables: each needs the table of marks, or stops.
    OtherSubscribers,
    /// MariaDB and MySQL: tables of engines without transactions, of which a statement that is ended leaves a part.
    NonTransactionalTables,
    /// MariaDB and MySQL: events that the server carries out by itself, as whoever defined them.
    Events,
}

/// One thing that was looked at.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    /// What.
    pub check: String,
    /// What was found, in words.
    pub detail: String,
    /// It does not stand in the way.
    pub holds: bool,
}

impl Finding {
    /// Something that has to be so, and what it is called where it is not.
    pub(super) fn right(user: &str, holds: bool, check: &str, missing: String) -> Self {
        Self {
            check: check.to_owned(),
            detail: if holds { format!("{user} may") } else { missing },
            holds,
        }
    }

    /// There should be none of it; what is there stands in the way unless it was accepted.
    pub(super) fn none(check: &str, found: &[String], accepted: bool) -> Self {
        let detail = match (found.is_empty(), accepted) {
            (true, _) => "none".to_owned(),
            (false, true) => format!("{}; accepted", found.join(", ")),
            (false, false) => found.join(", "),
        };
        Self { check: check.to_owned(), detail, holds: found.is_empty() || accepted }
    }

    /// What does not stand in the way, because the pause waits for its end or ends it.
    pub(super) fn open(count: u64, what: &str) -> Self {
        Self {
            check: what.to_owned(),
            detail: if count == 0 {
                "none".to_owned()
            } else {
                format!("{count}; they are waited for, or ended")
            },
            holds: true,
        }
    }

    /// Nobody else logs in as this program does.
    pub(super) fn apart(user: &str, others: u64) -> Self {
        let missing =
            format!("{others} other sessions are of {user} too, whose login must stay open");
        Self::right(user, others == 0, "log in apart from everybody else", missing)
    }
}

/// Whether the logins that are to be closed can be, and whom else that would hit.
pub fn logins(roles: &[Role], named: &[String], accepted: &[Accepted]) -> Vec<Finding> {
    let those = |fits: &dyn Fn(&&Role) -> bool| -> Vec<String> {
        roles.iter().filter(fits).map(|role| role.name.clone()).collect()
    };
    let is_there = |name: &&String| roles.iter().any(|role| role.name == **name);
    let absent: Vec<String> = named.iter().filter(|name| !is_there(name)).cloned().collect();
    let elsewhere = roles.iter().filter(|role| role.login && !role.elsewhere.is_empty());
    let elsewhere = elsewhere.map(|role| format!("{} in {}", role.name, role.elsewhere.join(", ")));
    let open = |role: &&Role| role.replicates && (role.sessions > 0 || named.contains(&role.name));
    vec![
        Finding::none("roles that are not there, or are this program's own", &absent, false),
        Finding::none(
            "logins that this user may not close",
            &those(&|role| role.login && !role.alterable && !role.replicates),
            false,
        ),
        Finding::none("roles by which the target comes in, and clients too", &those(&open), false),
        Finding::none(
            "sessions of these roles in other databases",
            &elsewhere.collect::<Vec<_>>(),
            accepted.contains(&Accepted::OtherDatabases),
        ),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_login_that_can_not_be_closed_or_is_needed_elsewhere_stands_in_the_way() {
        let role = Role {
            name: "app".to_owned(),
            login: true,
            replicates: false,
            alterable: true,
            sessions: 1,
            elsewhere: Vec::new(),
        };
        let held = |role: &Role, named: &[&str], accepted: &[Accepted]| {
            let named: Vec<String> = named.iter().map(|&name| name.to_owned()).collect();
            let found = logins(std::slice::from_ref(role), &named, accepted);
            found.into_iter().filter(|it| !it.holds).map(|it| it.detail).collect::<Vec<_>>()
        };
        assert!(held(&role, &[], &[]).is_empty());
        assert_eq!(held(&role, &["app", "ap"], &[]), ["ap"]);
        assert_eq!(held(&Role { alterable: false, ..role.clone() }, &[], &[]), ["app"]);
        assert_eq!(held(&Role { replicates: true, ..role.clone() }, &[], &[]), ["app"]);
        let quiet = Role { replicates: true, sessions: 0, ..role.clone() };
        assert!(held(&quiet, &[], &[]).is_empty());
        assert_eq!(held(&quiet, &["app"], &[]), ["app"]);
        let shared = Role { elsewhere: vec!["billing".to_owned()], ..role };
        assert_eq!(held(&shared, &[], &[]), ["app in billing"]);
        assert!(held(&shared, &[], &[Accepted::OtherDatabases]).is_empty());
    }
}
