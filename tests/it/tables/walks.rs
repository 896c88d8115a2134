//! Tables of MariaDB whose key is no integer, read piece by piece in the order of that key.

use std::sync::Mutex;

use migrate::database::{DatabaseError, Depth, Reached, Side, Wanted, compare_servers};
use tokio_util::sync::CancellationToken;

use super::changes::{self, CRAWL, PACE, mariadb};
use crate::mariadb::{Maria, PASSWORD};

/// Columns of a key, and what makes as many different ones of a number. The first table is read before the others, and pieces
/// of it shrink to the least.
const KEYS: &[(&str, &str, &str)] = &[
    ("a_first", "k varchar(40)", "md5(seq)"),
    ("bytes", "k binary(16)", "unhex(md5(seq))"),
    ("choices", "k enum('z','a','m'), l smallint", "1 + seq % 3, seq"),
    (
        "days",
        "k datetime(6), l time(3)",
        "'2024-01-01' + interval seq div 7 microsecond, sec_to_time(seq % 7 + 0.001)",
    ),
    ("descends", "k decimal(5), l varchar(20)", "-(seq div 50), concat(seq % 50, 'é')"),
    (
        "folded",
        "k varchar(20) collate utf8mb4_general_ci, l bigint unsigned",
        "concat(if(seq % 2, 'É', 'z'), seq div 9), 18446744073709551615 - seq",
    ),
    (
        "latin",
        "k char(12) collate latin1_swedish_ci, l decimal(10,3)",
        "concat(char(224 + seq % 20 using latin1), ' ', seq div 100), seq / 1000",
    ),
    (
        "padded",
        "k varchar(12) collate utf8mb4_nopad_bin",
        "concat(seq div 5, repeat(' ', seq % 5))",
    ),
    (
        "uuids",
        "k uuid",
        "concat(left(md5(seq), 12), '4', substr(md5(seq), 14, 3), '8', right(md5(seq), 15))",
    ),
    (
        "wide",
        "k varchar(12) collate utf16_unicode_ci, l bit(20)",
        "concat('☃\\\\''', seq div 64), seq",
    ),
];

/// A key over the beginning of a text, and one that no text names exactly: each by one statement.
const UNDIVIDED: &[(&str, &str, &str)] = &[
    ("floats", "k double", "seq / 3"),
    ("prefixes", "k text, l int, primary key (k(3), l)", "concat('abc', seq), seq"),
];

const ROWS: u64 = 2_000;

fn made(keys: &[(&str, &str, &str)]) -> String {
    let table = |(name, columns, values): &(&str, &str, &str)| {
        let rows = if *name == "a_first" { 40_000 } else { ROWS };
        let names = if columns.contains(", l ") { "k, l" } else { "k" };
        let key = if columns.contains("primary key") {
            String::new()
        } else {
            format!(", primary key ({names})")
        };
        format!(
            "create table {name} ({columns}{key}, v int not null); insert into {name} select {values}, seq from seq_1_to_{rows}"
        )
    };
    keys.iter().map(table).collect::<Vec<_>>().join("; ")
}

#[test]
fn every_row_is_read_once_whatever_the_key() {
    let Some(server) = Maria::start("tables walked by their keys on MariaDB") else { return };
    server.sql("crm", "create database twin default charset utf8mb4");
    for database in ["crm", "twin"] {
        server.sql(database, &format!("{}; {}", made(KEYS), made(UNDIVIDED)));
    }
    let pieces = Mutex::new(std::collections::BTreeMap::<String, Vec<u64>>::new());
    let reached = |reached: Reached<'_>| {
        if reached.rows > 0 {
            pieces
                .lock()
                .expect("no panic")
                .entry(reached.table.to_owned())
                .or_default()
                .push(reached.rows);
        }
    };
    let side = async |database: &str, pace| {
        Side::mysql(&mariadb(&server.system(database), PASSWORD).await, pace).await.expect("a side")
    };
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    let found = runtime.block_on(async {
        let (mut source, mut target) = (side("crm", CRAWL).await, side("twin", CRAWL).await);
        let wanted = Wanted {
            tables: &[],
            exclude: &[],
            depth: Depth { rows: 20, keys: true },
            keep: None,
            sample: None,
        };
        let cancel = CancellationToken::new();
        compare_servers(&mut source, &mut target, wanted, &cancel, &reached)
            .await
            .expect("compared")
    });
    assert!(found.all_equal(), "{found:?}");
    let pieces = pieces.into_inner().expect("no panic");
    for (name, ..) in &KEYS[1..] {
        assert_eq!(pieces[*name].iter().sum::<u64>(), 2 * ROWS, "{name}");
        assert!(pieces[*name].iter().all(|rows| *rows <= 256), "{name}: {:?}", pieces[*name]);
    }
    for (name, ..) in UNDIVIDED {
        assert_eq!(pieces[*name], [ROWS, ROWS], "{name}");
    }
    let changed = KEYS.iter().map(|(name, ..)| format!("update {name} set v = -v where v = 777"));
    server.sql("twin", &changed.collect::<Vec<_>>().join("; "));
    let names: Vec<&str> = KEYS.iter().map(|(name, ..)| *name).collect();
    let told = changes::found(
        async { Ok(side("crm", PACE).await) },
        async { Ok(side("twin", PACE).await) },
        &names,
    );
    for table in told.expect("compared").tables {
        let lines = format!("{:?}", table.verdict);
        assert!(lines.contains("1 row differs") && lines.contains("different in v"), "{table:?}");
    }
}

#[test]
fn a_walk_that_was_cut_off_goes_on_after_the_last_key_it_read() {
    let Some(server) = Maria::start("walks cut off on MariaDB") else { return };
    server.sql("crm", "create database twin default charset utf8mb4");
    changes::filled(&server, &["crm", "twin"], &made(&KEYS[..1]));
    let dir = tempfile::tempdir().expect("a folder");
    let keep = dir.path().join("step.tables.json");
    let until = async |rows| {
        let side = async |database: &str| {
            Side::mysql(&mariadb(&server.system(database), PASSWORD).await, CRAWL).await
        };
        let (source, target) =
            (side("crm").await.expect("open"), side("twin").await.expect("open"));
        changes::compare_until(source, target, &[], Some(&keep), rows).await
    };
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    let (cut, _) = runtime.block_on(until(40_000));
    assert!(matches!(cut, Err(DatabaseError::Cancelled)), "{cut:?}");
    let kept: serde_json::Value =
        serde_json::from_slice(&std::fs::read(&keep).expect("kept")).expect("JSON");
    let after = |side: usize| kept["under_way"]["sides"][side]["after"][0].as_str();
    let bytes = after(0).or(after(1)).expect("a key");
    assert!(bytes.len() == 64 && bytes.chars().all(|it| it.is_ascii_hexdigit()), "{bytes}");
    // What had been read is told at once: it is not read again.
    let (cut, at_once) = runtime.block_on(until(1));
    assert!(matches!(cut, Err(DatabaseError::Cancelled)) && at_once >= 40_000, "{at_once}");
    // The rest of it is: nothing twice, and nothing left out.
    let (compared, read) = runtime.block_on(until(u64::MAX));
    let compared = compared.expect("compared");
    assert!(compared.all_equal() && compared.rows() == 40_000, "{compared:?}");
    assert_eq!(read, 80_000);
}
