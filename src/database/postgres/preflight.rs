//! What stands in the way of pausing a PostgreSQL database, found before anything is changed.

use serde::Deserialize;
use serde_json::json;

use super::super::DatabaseError;
use super::super::preflight::{Accepted, Finding};
use super::wall::{Follower, ours};
use super::{How, Pair, Reader};

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
    owns_database: bool,
    makes_schemas: bool,
    superusers: Vec<String>,
    subscriptions: Vec<String>,
    same_user: u64,
    prepared: u64,
    long: u64,
}

#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
struct Contents {
    no_identity: Vec<String>,
    unlogged: Vec<String>,
    unpublished: Vec<String>,
    unowned: Vec<String>,
    bystanders: Vec<String>,
    large_objects: u64,
    sequences: u64,
}

const RIGHTS: &str = concat!(
    "select json_build_object(
    'in_recovery', pg_is_in_recovery(),
    'user', session_user::text,
    'reads_sessions', pg_has_role(current_user, 'pg_read_all_stats', 'usage'),
    'ends_sessions', pg_has_role(current_user, 'pg_signal_backend', 'usage'),
    'owns_database', (select pg_has_role(current_user, datdba, 'usage') from pg_database where datname = current_database()),
    'makes_schemas', has_database_privilege(current_user, current_database(), 'create'),
    'superusers', (select coalesce(json_agg(usename || ', ' || count order by usename), '[]') from (
        select usename, count(*) || ' sessions' as count from pg_stat_activity join pg_roles on pg_roles.oid = usesysid
        where datname = current_database() and rolsuper and backend_type = 'client backend' and pid <> pg_backend_pid() and not ",
    ours!(),
    " group by usename) connected),
    'subscriptions', (select coalesce(json_agg(subname order by subname), '[]') from pg_subscription
        where subenabled and subdbid = (select oid from pg_database where datname = current_database())),
    'same_user', (select count(*) from pg_stat_activity where datname = current_database() and usename = session_user
        and backend_type = 'client backend' and pid <> pg_backend_pid() and not ",
    ours!(),
    "),
    'prepared', (select count(*) from pg_prepared_xacts where database = current_database()),
    'long', (select count(*) from pg_stat_activity where datname = current_database() and xact_start < now() - interval '1 minute'
        and backend_type = 'client backend')
)::text"
);

/// Parts of a partitioned table may be published by the whole. The table of marks is this program's own.
const CONTENTS: &str = "with asked as (select value as pubname from json_array_elements_text($1::text::json)),
    tables as (
        select space.nspname || '.' || class.relname as name, class.oid, relpersistence, relreplident
        from pg_class class join pg_namespace space on space.oid = class.relnamespace
        where relkind = 'r' and nspname !~ '^(pg_|information_schema$)' and relpersistence <> 't'
            and (nspname, relname) <> ('migrate', 'marker')),
    published as (select format('%I.%I', schemaname, tablename)::regclass::oid as oid
        from pg_publication_tables join asked on asked.pubname = pg_publication_tables.pubname::text)
    select json_build_object(
        'no_identity', (select coalesce(json_agg(name order by name), '[]') from tables where relreplident = 'n'
            or relreplident = 'd' and not exists (select from pg_index where indrelid = tables.oid and indisprimary)),
        'unlogged', (select coalesce(json_agg(name order by name), '[]') from tables where relpersistence = 'u'),
        'unpublished', (select coalesce(json_agg(name order by name), '[]') from tables
            where relpersistence = 'p' and not exists (select from published where published.oid = tables.oid
                or published.oid in (select relid from pg_partition_ancestors(tables.oid)))),
        'unowned', (select coalesce(json_agg(pub.pubname order by pub.pubname), '[]') from pg_publication pub join asked on asked.pubname = pub.pubname::text
            where not puballtables and not pg_has_role(pubowner, 'usage')),
        'bystanders', (select coalesce(json_agg(slot_name order by slot_name), '[]') from pg_replication_slots
            where slot_type = 'logical' and plugin = 'pgoutput' and database = current_database() and slot_name <> $2::text
                and exists (select from pg_publication where puballtables)),
        'large_objects', (select count(*) from pg_largeobject_metadata),
        'sequences', (select count(*) from pg_sequences where schemaname !~ '^pg_')
    )::text";

/// What the user of this program may do, and who else is there.
pub async fn rights(
    reader: &mut Reader,
    accepted: &[Accepted],
) -> Result<Vec<Finding>, DatabaseError> {
    Ok(judge_rights(&reader.json(RIGHTS, &[]).await?, accepted))
}

/// What is in the source that the target would not get.
pub async fn contents(
    pair: &mut Pair,
    accepted: &[Accepted],
) -> Result<Vec<Finding>, DatabaseError> {
    let found = read_contents(pair).await?;
    Ok(judge_contents(&found, matches!(pair.how(), How::Logical { .. }), accepted))
}

/// Other subscribers that a table of marks would stop, by their slots.
pub async fn bystanders(pair: &mut Pair) -> Result<Vec<String>, DatabaseError> {
    match pair.how() {
        How::Logical { .. } => Ok(read_contents(pair).await?.bystanders),
        How::Physical { .. } => Ok(Vec::new()),
    }
}

async fn read_contents(pair: &mut Pair) -> Result<Contents, DatabaseError> {
    let (publications, slot) = match pair.how().clone() {
        How::Logical { publications, slot, .. } => (publications, slot),
        How::Physical { .. } => (Vec::new(), String::new()),
    };
    pair.ask_source(CONTENTS, &[&json!(publications).to_string(), &slot]).await
}

/// By what the target comes in.
pub fn follower(pair: Option<&Pair>) -> Follower {
    match pair.map(Pair::how) {
        None => Follower::None,
        Some(How::Logical { slot, .. } | How::Physical { slot: Some(slot) }) => {
            Follower::Slot(slot.clone())
        }
        Some(How::Physical { slot: None }) => Follower::Standby,
    }
}

fn judge_rights(found: &Rights, accepted: &[Accepted]) -> Vec<Finding> {
    let user = &found.user;
    let right = |holds, check: &str, missing| Finding::right(user, holds, check, missing);
    vec![
        right(
            !found.in_recovery,
            "it is a primary",
            "it is a standby, which takes no writes".to_owned(),
        ),
        right(found.reads_sessions, "see every session", format!("{user} lacks pg_read_all_stats")),
        right(found.ends_sessions, "end sessions", format!("{user} lacks pg_signal_backend")),
        right(
            found.owns_database,
            "change the database's settings",
            format!("{user} does not own the database"),
        ),
        right(found.makes_schemas, "make a schema", format!("{user} lacks create on the database")),
        Finding::apart(user, found.same_user),
        Finding::none(
            "superusers that are connected",
            &found.superusers,
            accepted.contains(&Accepted::Superusers),
        ),
        Finding::none(
            "subscriptions by which others write into the source",
            &found.subscriptions,
            false,
        ),
        Finding::open(found.prepared, "prepared transactions"),
        Finding::open(found.long, "transactions older than a minute"),
    ]
}

fn judge_contents(found: &Contents, is_logical: bool, accepted: &[Accepted]) -> Vec<Finding> {
    let finding = |check: &str, what: Accepted, found: &[String]| {
        Finding::none(check, found, accepted.contains(&what))
    };
    let mut findings = vec![finding("unlogged tables", Accepted::UnloggedTables, &found.unlogged)];
    if is_logical {
        let objects: Vec<String> = Some(found.large_objects.to_string())
            .filter(|_| found.large_objects > 0)
            .into_iter()
            .collect();
        findings.extend([
            finding(
                "tables without a replica identity",
                Accepted::NoReplicaIdentity,
                &found.no_identity,
            ),
            finding(
                "tables that are not published",
                Accepted::UnpublishedTables,
                &found.unpublished,
            ),
            finding("large objects", Accepted::LargeObjects, &objects),
            Finding::none("publications that this user may not alter", &found.unowned, false),
            finding(
                "other subscribers, which the table of marks would stop",
                Accepted::OtherSubscribers,
                &found.bystanders,
            ),
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
            owns_database: true,
            makes_schemas: true,
            superusers: Vec::new(),
            subscriptions: Vec::new(),
            same_user: 0,
            prepared: 1,
            long: 2,
        }
    }

    #[test]
    fn each_missing_right_stands_in_the_way_and_what_is_waited_for_does_not() {
        assert!(judge_rights(&rights(), &[]).iter().all(|finding| finding.holds));
        let spoil: [fn(&mut Rights); 8] = [
            |it| it.in_recovery = true,
            |it| it.reads_sessions = false,
            |it| it.ends_sessions = false,
            |it| it.owns_database = false,
            |it| it.makes_schemas = false,
            |it| it.superusers.push("admin".to_owned()),
            |it| it.subscriptions.push("upstream".to_owned()),
            |it| it.same_user = 1,
        ];
        for spoil in spoil {
            let mut found = rights();
            spoil(&mut found);
            assert_eq!(judge_rights(&found, &[]).iter().filter(|it| !it.holds).count(), 1);
        }
    }

    #[test]
    fn what_is_not_carried_over_must_be_accepted() {
        let one = || vec!["public.a".to_owned()];
        let found = Contents {
            no_identity: one(),
            unlogged: one(),
            unpublished: one(),
            unowned: Vec::new(),
            bystanders: one(),
            large_objects: 3,
            sequences: 1,
        };
        let held = |is_logical, accepted: &[Accepted]| {
            judge_contents(&found, is_logical, accepted)
                .iter()
                .filter(|finding| !finding.holds)
                .count()
        };
        assert_eq!((held(true, &[]), held(false, &[])), (5, 1));
        assert_eq!(held(true, &[Accepted::LargeObjects, Accepted::UnloggedTables]), 3);
    }
}
