//! Every reading that must not be taken for ready, one at a time: a healthy link with one thing wrong.

use super::super::super::replication::{Replication as _, Standing};
use super::super::Pair;
use super::super::row::testing::row;
use super::*;

const LAST: &str = "1796000000000000";

/// The source leads a link to the target and one to somebody else.
fn sight() -> Sight {
    let link = |server, partner, role| {
        row(&[
            ("server_name", server),
            ("database_name", "crm"),
            ("partner_server", partner),
            ("partner_database", "crm"),
            ("role_desc", role),
            ("replication_state_desc", "CATCH_UP"),
            ("last_commit", LAST),
        ])
    };
    let leads = |partner| {
        let mut link = link("sql-one", partner, "PRIMARY");
        link.insert("replication_lag_sec".to_owned(), Some("0".to_owned()));
        link.insert("acknowledged_ms_ago".to_owned(), Some("1500".to_owned()));
        link
    };
    Sight {
        databases: ("crm".to_owned(), "crm".to_owned()),
        source: vec![leads("sql-nine"), leads("SQL-TWO")],
        target: vec![link("sql-two", "sql-one", "SECONDARY")],
    }
}

fn with(side: Side, column: &str, value: Option<&str>) -> Sight {
    let mut sight = sight();
    let row = if side == Side::Source { &mut sight.source[1] } else { &mut sight.target[0] };
    row.insert(column.to_owned(), value.map(str::to_owned));
    sight
}

fn judge(sight: &Sight) -> Standing<Committed> {
    Pair::<Geo>::judge(sight, None)
}

#[test]
fn the_target_is_at_its_last_commit_as_old_as_the_last_acknowledgement() {
    let end = Geo::end(&sight().source).expect("it is told");
    assert_eq!(judge(&sight()), Standing::At(end));
    assert_eq!(Geo::age(&sight()), Duration::from_millis(1500));
    assert_eq!(end.to_string(), "2026-11-30T00:53:20Z");
    let behind = with(Side::Target, "last_commit", Some("1795999999000000"));
    let Standing::At(reached) = judge(&behind) else { panic!("{:?}", judge(&behind)) };
    assert_eq!(reached.behind(&end), 1000);
    // The clock of a source may be set back; what it has heard is no older for that.
    assert_eq!(Geo::age(&with(Side::Source, "acknowledged_ms_ago", Some("-7"))), Duration::ZERO);
    // A link that died on a quiet source looks well, and old.
    let stale = with(Side::Source, "acknowledged_ms_ago", Some("600000"));
    assert_eq!((judge(&stale), Geo::age(&stale)), (Standing::At(end), Duration::from_mins(10)));
}

#[test]
fn whatever_is_wrong_is_unknown_and_says_why() {
    let (source, target) = (Side::Source, Side::Target);
    for (side, column, value, because) in [
        (source, "role_desc", Some("SECONDARY"), "role_desc of the source is SECONDARY"),
        (target, "role_desc", Some("PRIMARY"), "role_desc of the target is PRIMARY"),
        (source, "replication_state_desc", Some("SEEDING"), "SEEDING"),
        (target, "replication_state_desc", Some("SUSPENDED"), "SUSPENDED"),
        (target, "replication_state_desc", None, "replication_state_desc"),
        (source, "acknowledged_ms_ago", None, "acknowledged_ms_ago"),
        (source, "replication_lag_sec", None, "replication_lag_sec"),
        (target, "last_commit", None, "last_commit of the target is not told"),
        (target, "last_commit", Some("1796000000000001"), "and the source's last is of"),
        (target, "partner_server", Some("sql-eight"), "has no link with crm at sql-one"),
        (source, "partner_database", Some("hr"), "has no link with crm at sql-two"),
    ] {
        match judge(&with(side, column, value)) {
            Standing::Unknown(why) => assert!(why.contains(because), "`{because}`: {why}"),
            Standing::At(at) => panic!("taken for known, in spite of {column} {value:?}: {at}"),
        }
    }
}

#[test]
fn what_has_vanished_is_unknown() {
    for side in [Side::Source, Side::Target] {
        let mut sight = sight();
        let rows = if side == Side::Source { &mut sight.source } else { &mut sight.target };
        rows.clear();
        assert!(matches!(judge(&sight), Standing::Unknown(why) if why.contains("any more")));
    }
    let mut twice = sight();
    twice.source.push(twice.source[1].clone());
    assert!(matches!(judge(&twice), Standing::Unknown(why) if why.contains("several links")));
}
