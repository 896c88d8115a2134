//! Every reading that must not be taken for ready, one at a time: a healthy pair with one thing wrong.

use super::super::super::replication::{Replication as _, Standing};
use super::super::Pair;
use super::super::row::testing::row;
use super::*;

const GROUP: &str = "11111111-1111-1111-1111-111111111111";
const LINK: &str = "99999999-9999-9999-9999-999999999999";
const END: &str = "43000000312000001";
const BEFORE: &str = "43000000311200001";
const COMMIT: &str = "43000000311900002";

/// A replica of the group, as a server with that role sees it.
fn replica(id: &str, local: &str, primary: &str, seen_from: &str) -> Named {
    row(&[
        ("group_id", GROUP),
        ("group_name", "ag-crm"),
        ("is_distributed", "0"),
        ("replica_id", id),
        ("replica_server_name", id),
        ("availability_mode_desc", "SYNCHRONOUS_COMMIT"),
        ("is_local", local),
        ("is_primary_replica", primary),
        ("group_database_id", "db"),
        ("synchronization_state_desc", "SYNCHRONIZED"),
        ("is_suspended", "0"),
        ("database_state_desc", "ONLINE"),
        ("log_send_queue_size", "0"),
        ("redo_queue_size", "0"),
        ("end_of_log_lsn", END),
        ("last_hardened_lsn", END),
        ("last_commit_lsn", COMMIT),
        ("connected_state_desc", "CONNECTED"),
        ("local_role_desc", seen_from),
    ])
}

/// One group: the primary sees itself and the secondary, the secondary itself.
fn one_group() -> Sight {
    Sight {
        databases: ("crm".to_owned(), "crm".to_owned()),
        source: vec![replica("one", "1", "1", "PRIMARY"), replica("two", "0", "0", "PRIMARY")],
        target: vec![replica("two", "1", "0", "SECONDARY")],
    }
}

/// A distributed group: the source sees the group at the far end, which knows the link by its name.
fn distributed() -> Sight {
    let mut sight = one_group();
    let far = &mut sight.source[1];
    set(far, "group_id", Some(LINK));
    set(far, "group_name", Some("link-crm"));
    set(far, "is_distributed", Some("1"));
    set(far, "availability_mode_desc", Some("ASYNCHRONOUS_COMMIT"));
    let forwarder = &mut sight.target[0];
    set(forwarder, "group_id", Some("22222222-2222-2222-2222-222222222222"));
    set(forwarder, "group_name", Some("ag-azure"));
    set(forwarder, "is_primary_replica", Some("1"));
    set(forwarder, "synchronization_state_desc", Some("SYNCHRONIZING"));
    sight
}

fn set(row: &mut Named, column: &str, value: Option<&str>) {
    row.insert(column.to_owned(), value.map(str::to_owned));
}

fn judge(sight: &Sight) -> Standing<Reached> {
    Pair::<Group>::judge(sight, None)
}

#[track_caller]
fn unknown(sight: &Sight, because: &str) {
    match judge(sight) {
        Standing::Unknown(why) => assert!(why.contains(because), "`{because}` is not in: {why}"),
        Standing::At(reached) => panic!("taken for known, in spite of `{because}`: {reached}"),
    }
}

/// What is wrong: the side, the row of it, the column, its value, and what the verdict says.
type Wrong = (Side, usize, &'static str, Option<&'static str>, &'static str);

const SOURCE: Side = Side::Source;
const TARGET: Side = Side::Target;

#[test]
fn a_healthy_pair_is_where_the_target_is() {
    for sight in [one_group(), distributed()] {
        let end = Group::end(&sight.source).expect("it is told");
        let Standing::At(reached) = judge(&sight) else { panic!("{:?}", judge(&sight)) };
        assert!(reached.reaches(&end));
    }
    // A third replica that nobody reaches is none of this.
    let mut sight = one_group();
    let mut third = replica("three", "0", "0", "PRIMARY");
    set(&mut third, "connected_state_desc", Some("DISCONNECTED"));
    sight.source.push(third);
    assert!(matches!(judge(&sight), Standing::At(_)));
}

#[test]
fn a_target_that_trails_is_behind_in_log_or_commits() {
    let end = Group::end(&one_group().source).expect("it is told");
    for column in ["last_hardened_lsn", "last_commit_lsn"] {
        let mut sight = one_group();
        // The primary goes on to say that all is there.
        set(&mut sight.target[0], column, Some(BEFORE));
        let Standing::At(reached) = judge(&sight) else { panic!("{:?}", judge(&sight)) };
        assert!(!reached.reaches(&end) && reached.behind(&end) > 0, "{column}");
    }
}

#[test]
fn whatever_is_wrong_is_unknown_and_says_why() {
    let both: &[Wrong] = &[
        (SOURCE, 0, "end_of_log_lsn", None, "end_of_log_lsn of the source is not told"),
        (SOURCE, 0, "last_commit_lsn", Some("soon"), "last_commit_lsn of the source is not told"),
        (SOURCE, 0, "is_primary_replica", Some("0"), "roles have changed"),
        (SOURCE, 0, "is_primary_replica", None, "is not told"),
        (SOURCE, 0, "local_role_desc", Some("RESOLVING"), "RESOLVING"),
        (SOURCE, 0, "is_suspended", Some("1"), "suspended"),
        (SOURCE, 0, "database_state_desc", Some("SUSPECT"), "SUSPECT"),
        (SOURCE, 1, "is_suspended", Some("1"), "suspended"),
        (SOURCE, 1, "is_suspended", None, "is_suspended of the target, as the source sees it"),
        (SOURCE, 1, "connected_state_desc", Some("DISCONNECTED"), "DISCONNECTED"),
        (SOURCE, 1, "connected_state_desc", None, "connected_state_desc"),
        (SOURCE, 1, "log_send_queue_size", None, "log_send_queue_size"),
        (SOURCE, 1, "redo_queue_size", None, "redo_queue_size"),
        (SOURCE, 1, "synchronization_state_desc", Some("NOT SYNCHRONIZING"), "NOT SYNCHRONIZING"),
        (SOURCE, 1, "availability_mode_desc", Some("CONFIGURATION_ONLY"), "CONFIGURATION_ONLY"),
        (TARGET, 0, "synchronization_state_desc", Some("NOT SYNCHRONIZING"), "NOT SYNCHRONIZING"),
        (TARGET, 0, "synchronization_state_desc", Some("REVERTING"), "REVERTING"),
        (TARGET, 0, "is_suspended", Some("1"), "suspended"),
        (TARGET, 0, "database_state_desc", Some("RECOVERY_PENDING"), "RECOVERY_PENDING"),
        (TARGET, 0, "last_hardened_lsn", None, "last_hardened_lsn of the target is not told"),
        (TARGET, 0, "last_commit_lsn", None, "last_commit_lsn of the target is not told"),
        (TARGET, 0, "last_commit_lsn", Some("43000000999900001"), "and the source only"),
    ];
    for healthy in [one_group, distributed] {
        for (side, at, column, value, because) in both {
            unknown(&with(healthy(), *side, *at, column, *value), because);
        }
    }
}

fn with(mut sight: Sight, side: Side, at: usize, column: &str, value: Option<&str>) -> Sight {
    let rows = if side == Side::Source { &mut sight.source } else { &mut sight.target };
    set(&mut rows[at], column, value);
    sight
}

#[test]
fn a_synchronous_replica_must_be_synchronized_on_both_sides() {
    for (side, at) in [(SOURCE, 1), (TARGET, 0)] {
        let sight =
            with(one_group(), side, at, "synchronization_state_desc", Some("SYNCHRONIZING"));
        unknown(&sight, "SYNCHRONIZING");
    }
}

#[test]
fn one_group_knows_both_replicas_and_their_roles() {
    let wrong: &[Wrong] = &[
        (TARGET, 0, "is_primary_replica", Some("1"), "or both sides are"),
        (TARGET, 0, "replica_id", Some("four"), "does not know the replica"),
        (TARGET, 0, "group_database_id", Some("other"), "two databases of one group"),
    ];
    for (side, at, column, value, because) in wrong {
        unknown(&with(one_group(), *side, *at, column, *value), because);
    }
}

#[test]
fn a_distributed_group_is_found_by_its_name_and_must_be_led_by_the_source() {
    unknown(&with(distributed(), SOURCE, 1, "local_role_desc", Some("SECONDARY")), "SECONDARY");
    let mut named = distributed();
    let mut link = named.target[0].clone();
    set(&mut link, "is_distributed", Some("1"));
    set(&mut link, "group_name", Some("link-crm"));
    named.target.push(link);
    assert!(matches!(judge(&named), Standing::At(_)));
    set(&mut named.target[1], "group_name", Some("link-hr"));
    unknown(&named, "share no availability group");
    let mut two = distributed();
    two.source.push(two.source[1].clone());
    unknown(&two, "or several");
}

#[test]
fn what_has_vanished_is_unknown() {
    let mut sight = one_group();
    sight.source.truncate(1);
    unknown(&sight, "does not know the replica");
    for side in [Side::Source, Side::Target] {
        let mut sight = one_group();
        let rows = if side == Side::Source { &mut sight.source } else { &mut sight.target };
        rows.clear();
        unknown(&sight, "has no replica of the database any more");
    }
}

#[test]
fn another_source_and_a_history_that_went_back_are_unknown() {
    let before = one_group();
    let other = with(one_group(), SOURCE, 0, "replica_id", Some("five"));
    let back = with(
        with(one_group(), SOURCE, 0, "end_of_log_lsn", Some(BEFORE)),
        TARGET,
        0,
        "last_hardened_lsn",
        Some(BEFORE),
    );
    for (now, because) in [(other, "another server"), (back, "begun anew")] {
        match Pair::<Group>::judge(&now, Some(&before)) {
            Standing::Unknown(why) => assert!(why.contains(because), "{why}"),
            Standing::At(reached) => panic!("taken for known, in spite of `{because}`: {reached}"),
        }
    }
}

#[test]
fn the_name_of_the_database_can_not_end_the_question() {
    assert!(Group::question(TARGET, "c'rm").ends_with("where b.name = N'c''rm'"));
}
