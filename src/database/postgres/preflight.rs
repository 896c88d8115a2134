//! What stands in the way of pausing a database, found before anything is changed.

use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::json;

use super::super::DatabaseError;
use super::{How, Pair, Reader};

/// Something that replication does not carry over, and that an author has accepted.
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

#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[expect(
    clippy::struct_excessive_bools,
    reason = "one answer of the server each, in any combination"
)]
struct Rights {
    in_recovery: bool,
    user: String,
    reads_sessions: bool,
    ends_sessions: bool,
    alters_roles: bool,
    owns_database: bool,
    same_user: u64,
    prepared: u64,
    long: u64,
}

#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
struct Contents {
    no_identity: Vec<String>,
    unlogged: Vec<String>,
    unpublished: Vec<String>,
    large_objects: u64,
    sequences: u64,
}

const RIGHTS: &str = "select json_build_object(
    'in_recovery', pg_is_in_recovery(),
    'user', current_user::text,
    'reads_sessions', pg_has_role(current_user, 'pg_read_all_stats', 'usage'),
    'ends_sessions', pg_has_role(current_user, 'pg_signal_backend', 'usage'),
    'alters_roles', (select rolsuper or rolcreaterole from pg_roles where rolname = current_user),
    'owns_database', (select pg_has_role(current_user, datdba, 'usage') from pg_database where datname = current_database()),
    'same_user', (select count(*) from pg_stat_activity where datname = current_database() and usename = current_user
        and backend_type = 'client backend' and application_name <> current_setting('application_name')),
    'prepared', (select count(*) from pg_prepared_xacts where database = current_database()),
    'long', (select count(*) from pg_stat_activity where datname = current_database() and xact_start < now() - interval '1 minute'
        and backend_type = 'client backend')
)::text";

const CONTENTS: &str = "with tables as (
        select space.nspname || '.' || class.relname as name, class.oid, relpersistence, relreplident
        from pg_class class join pg_namespace space on space.oid = class.relnamespace
        where relkind = 'r' and nspname !~ '^(pg_|information_schema$|migrate$)' and relpersistence <> 't'),
    published as (select schemaname || '.' || tablename as name from pg_publication_tables
        where pubname::text in (select json_array_elements_text($1::text::json)))
    select json_build_object(
        'no_identity', (select coalesce(json_agg(name order by name), '[]') from tables where relreplident = 'n'
            or relreplident = 'd' and not exists (select from pg_index where indrelid = tables.oid and indisprimary)),
        'unlogged', (select coalesce(json_agg(name order by name), '[]') from tables where relpersistence = 'u'),
        'unpublished', (select coalesce(json_agg(name order by name), '[]') from tables
            where relpersistence = 'p' and not exists (select from published where published.name = tables.name)),
        'large_objects', (select count(*) from pg_largeobject_metadata),
        'sequences', (select count(*) from pg_sequences where schemaname !~ '^(pg_|migrate$)')
    )::text";

/// What the user of this program may do, and who else is there.
pub async fn rights(reader: &mut Reader) -> Result<Vec<Finding>, DatabaseError> {
    Ok(judge_rights(&reader.json(RIGHTS, &[]).await?))
}

/// What is in the source that the target would not get.
pub async fn contents(
    pair: &mut Pair,
    accepted: &[Accepted],
) -> Result<Vec<Finding>, DatabaseError> {
    let how = pair.how().clone();
    let publications = match &how {
        How::Logical { publications, .. } => publications.clone(),
        How::Physical { .. } => Vec::new(),
    };
    let found: Contents = pair.ask_source(CONTENTS, &[&json!(publications).to_string()]).await?;
    Ok(judge_contents(&found, matches!(how, How::Logical { .. }), accepted))
}

fn judge_rights(found: &Rights) -> Vec<Finding> {
    let user = &found.user;
    let right = |holds: bool, check: &str, missing: String| Finding {
        check: check.to_owned(),
        detail: if holds { format!("{user} may") } else { missing },
        holds,
    };
    let open = |count: u64, what: &str| Finding {
        check: what.to_owned(),
        detail: if count == 0 {
            "none".to_owned()
        } else {
            format!("{count}; they are waited for, or ended")
        },
        holds: true,
    };
    vec![
        right(
            !found.in_recovery,
            "it is a primary",
            "it is a standby, which takes no writes".to_owned(),
        ),
        right(found.reads_sessions, "see every session", format!("{user} lacks pg_read_all_stats")),
        right(found.ends_sessions, "end sessions", format!("{user} lacks pg_signal_backend")),
        right(found.alters_roles, "close logins", format!("{user} lacks createrole")),
        right(
            found.owns_database,
            "change the database's settings",
            format!("{user} does not own the database"),
        ),
        right(
            found.same_user == 0,
            "log in apart from everybody else",
            format!(
                "{} other sessions are of {user} too, whose login must stay open",
                found.same_user
            ),
        ),
        open(found.prepared, "prepared transactions"),
        open(found.long, "transactions older than a minute"),
    ]
}

fn judge_contents(found: &Contents, is_logical: bool, accepted: &[Accepted]) -> Vec<Finding> {
    let finding = |check: &str, what: Accepted, found: String| {
        let (none, accepted) = (found.is_empty(), accepted.contains(&what));
        let detail = match (none, accepted) {
            (true, _) => "none".to_owned(),
            (false, true) => format!("{found}; accepted"),
            (false, false) => found,
        };
        Finding { check: check.to_owned(), detail, holds: none || accepted }
    };
    let mut findings =
        vec![finding("unlogged tables", Accepted::UnloggedTables, found.unlogged.join(", "))];
    if is_logical {
        let objects =
            if found.large_objects == 0 { String::new() } else { found.large_objects.to_string() };
        findings.extend([
            finding(
                "tables without a replica identity",
                Accepted::NoReplicaIdentity,
                found.no_identity.join(", "),
            ),
            finding(
                "tables that are not published",
                Accepted::UnpublishedTables,
                found.unpublished.join(", "),
            ),
            finding("large objects", Accepted::LargeObjects, objects),
            Finding {
                check: "sequences".to_owned(),
                detail: match found.sequences {
                    0 => "none".to_owned(),
                    count => format!(
                        "{count}, which are not replicated: `writes.resume` carries them over"
                    ),
                },
                holds: true,
            },
        ]);
    }
    findings
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rights() -> Rights {
        let user = "migrate".to_owned();
        Rights {
            in_recovery: false,
            user,
            reads_sessions: true,
            ends_sessions: true,
            alters_roles: true,
            owns_database: true,
            same_user: 0,
            prepared: 1,
            long: 2,
        }
    }

    #[test]
    fn each_missing_right_stands_in_the_way_and_what_is_waited_for_does_not() {
        assert!(judge_rights(&rights()).iter().all(|finding| finding.holds));
        let spoil: [fn(&mut Rights); 6] = [
            |it| it.in_recovery = true,
            |it| it.reads_sessions = false,
            |it| it.ends_sessions = false,
            |it| it.alters_roles = false,
            |it| it.owns_database = false,
            |it| it.same_user = 1,
        ];
        for spoil in spoil {
            let mut found = rights();
            spoil(&mut found);
            assert_eq!(judge_rights(&found).iter().filter(|finding| !finding.holds).count(), 1);
        }
    }

    #[test]
    fn what_is_not_carried_over_must_be_accepted() {
        let one = || vec!["public.a".to_owned()];
        let found = Contents {
            no_identity: one(),
            unlogged: one(),
            unpublished: one(),
            large_objects: 3,
            sequences: 1,
        };
        let held = |is_logical, accepted: &[Accepted]| {
            judge_contents(&found, is_logical, accepted)
                .iter()
                .filter(|finding| !finding.holds)
                .count()
        };
        assert_eq!((held(true, &[]), held(false, &[])), (4, 1));
        assert_eq!(held(true, &[Accepted::LargeObjects, Accepted::UnloggedTables]), 2);
    }
}
