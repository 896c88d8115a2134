//! Every reading that must not be taken for ready, one at a time: healthy log shipping with one thing wrong.

use super::super::super::replication::{Position as _, Replication as _, Standing};
use super::super::Pair;
use super::super::row::testing::row;
use super::*;

const BACKED_UP: &str = "43000000312000001";
const BEFORE: &str = "43000000311200001";

fn sight() -> Sight {
    let job = [
        ("last_lsn", BACKED_UP),
        ("family_guid", "family"),
        ("last_recovery_fork_guid", "fork"),
        ("seconds_ago", "240"),
        ("threshold_minutes", "60"),
    ];
    let source = [
        &job[..],
        &[
            ("server_name", "SQL-ONE"),
            ("state_desc", "ONLINE"),
            ("recovery_model_desc", "FULL"),
            ("log_end_lsn", "0000002b:00000c2f:0003"),
        ],
    ];
    let target = [
        &job[..],
        &[
            ("primary_server", "sql-one"),
            ("primary_database", "crm"),
            ("state_desc", "RESTORING"),
            ("is_in_standby", "0"),
        ],
    ];
    Sight {
        databases: ("crm".to_owned(), "crm_copy".to_owned()),
        source: vec![row(&source.concat())],
        target: vec![row(&target.concat())],
    }
}

fn with(side: Side, column: &str, value: Option<&str>) -> Sight {
    let mut sight = sight();
    let rows = if side == Side::Source { &mut sight.source } else { &mut sight.target };
    rows[0].insert(column.to_owned(), value.map(str::to_owned));
    sight
}

fn judge(sight: &Sight) -> Standing<Lsn> {
    Pair::<Shipping>::judge(sight, None)
}

#[track_caller]
fn is_there(sight: &Sight) -> bool {
    let end = Shipping::end(&sight.source).expect("it is told");
    match judge(sight) {
        Standing::At(reached) => reached.reaches(&end),
        Standing::Unknown(why) => panic!("{why}"),
    }
}

#[test]
fn the_target_has_what_was_backed_up_and_restored_and_no_more() {
    // The last record of the log is the last one of the backup.
    assert!(is_there(&sight()));
    // One more record was written since.
    assert!(!is_there(&with(Side::Source, "log_end_lsn", Some("0000002b:00000c30:0001"))));
    // A backup that is not restored yet.
    assert!(!is_there(&with(Side::Target, "last_lsn", Some(BEFORE))));
    let mut standby = with(Side::Target, "state_desc", Some("ONLINE"));
    standby.target[0].insert("is_in_standby".to_owned(), Some("1".to_owned()));
    assert!(is_there(&standby));
}

#[test]
fn a_source_whose_tail_was_backed_up_ends_there() {
    let mut closed = with(Side::Source, "state_desc", Some("RESTORING"));
    for gone in ["log_end_lsn", "seconds_ago", "threshold_minutes"] {
        closed.source[0].insert(gone.to_owned(), None);
    }
    assert!(is_there(&closed));
    closed.target[0].insert("last_lsn".to_owned(), Some(BEFORE.to_owned()));
    assert!(!is_there(&closed));
}

#[test]
fn whatever_is_wrong_is_unknown_and_says_why() {
    let (source, target) = (Side::Source, Side::Target);
    for (side, column, value, because) in [
        (source, "state_desc", Some("SUSPECT"), "state_desc of the source is SUSPECT"),
        (source, "log_end_lsn", None, "log_end_lsn"),
        (source, "server_name", Some("SQL-NINE"), "follows crm at sql-one"),
        (source, "server_name", None, "server_name"),
        (source, "recovery_model_desc", Some("SIMPLE"), "SIMPLE"),
        (source, "seconds_ago", Some("3601"), "over its threshold"),
        (source, "seconds_ago", None, "seconds_ago of the source is not told"),
        (source, "last_lsn", None, "last_lsn of the source is not told"),
        (source, "last_lsn", Some(BEFORE), "has backed up to"),
        (source, "family_guid", Some("another"), "family_guid differs"),
        (target, "primary_database", Some("hr"), "follows hr at"),
        (target, "primary_server", None, "primary_server"),
        (target, "state_desc", Some("ONLINE"), "was recovered"),
        (target, "state_desc", Some("SUSPECT"), "SUSPECT"),
        (target, "seconds_ago", Some("3601"), "over its threshold"),
        (target, "seconds_ago", Some("-5"), "in the future"),
        (target, "seconds_ago", None, "seconds_ago of the target is not told"),
        (target, "threshold_minutes", None, "threshold_minutes"),
        (target, "last_lsn", None, "last_lsn of the target is not told"),
        (target, "last_recovery_fork_guid", Some("other"), "last_recovery_fork_guid differs"),
        (target, "family_guid", None, "family_guid"),
    ] {
        let Standing::Unknown(why) = judge(&with(side, column, value)) else {
            panic!("taken for known, in spite of {column} {value:?}");
        };
        assert!(why.contains(because), "`{because}`: {why}");
    }
}

#[test]
fn what_has_vanished_or_is_there_twice_is_unknown() {
    for (rows, because) in [(0, "any more"), (2, "several times")] {
        let mut sight = sight();
        sight.target = vec![sight.target[0].clone(); rows];
        let Standing::Unknown(why) = judge(&sight) else { panic!("taken for known") };
        assert!(why.contains(because), "{why}");
    }
}
