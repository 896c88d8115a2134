//! MariaDB to PostgreSQL, by the text that a value has on both.

use migrate::database::{Comparison, Side, TableVerdict};

use super::changes::{self, PACE, judge, mariadb, postgres};
use super::oracle::{Table, Type};
use crate::generate::Dice;
use crate::lab::cases;
use crate::mariadb::Maria;
use crate::postgres::cluster::{ADMIN, Cluster};
use crate::{mariadb, postgres};

type Key = (Type, &'static [&'static str]);

/// At MariaDB; at the same place of the second list, what it is at PostgreSQL.
const KEYS: &[Key] = &[
    (
        Type { sql: "bigint", values: &["1", "-1", "9223372036854775807", "0", "17"] },
        &["1", "-1", "9223372036854775807", "0", "17"],
    ),
    (
        Type { sql: "varchar(20) collate utf8mb4_bin", values: &["''", "'a'", "'é'", "'it''s'"] },
        &["''", "'a'", "'é'", "'it's'"],
    ),
];

const HERE: &[Type] = &[
    Type { sql: "boolean", values: &["0", "1"] },
    Type { sql: "int", values: &["0", "1", "-1", "2147483647"] },
    Type { sql: "bigint unsigned", values: &["0", "18446744073709551615"] },
    Type { sql: "bit(8)", values: &["b'0'", "b'11'"] },
    Type { sql: "decimal(20,4)", values: &["0", "100", "-1.5", "0.0001", "10"] },
    Type {
        sql: "varchar(20)",
        values: &[
            "''", "' '", "'a'", "'a '", "'é'", "'it''s'", "'\\\\'", "'\\n'", "'n'", "'1:a'", "'😀'",
        ],
    },
    Type { sql: "char(5)", values: &["''", "'a'", "' a'"] },
    Type { sql: "enum('x','y')", values: &["'x'", "'y'"] },
    Type { sql: "blob", values: &["''", "x'00'", "x'ff5c'", "x'27'"] },
    Type { sql: "date", values: &["'2024-01-01'", "'1000-01-01'", "'9999-12-31'"] },
    Type { sql: "time(6)", values: &["'00:00'", "'23:59:59.000001'", "'12:00:00.5'"] },
    Type {
        sql: "datetime(6)",
        values: &["'2024-01-01'", "'2024-01-01 00:00:00.000001'", "'1999-12-31 23:59:59.5'"],
    },
    Type { sql: "timestamp", values: &["'2024-01-01 00:00:00'", "'2024-01-01 12:00:01'"] },
];

const THERE: &[Type] = &[
    Type { sql: "boolean", values: &["false", "true"] },
    Type { sql: "bigint", values: &["0", "1", "-1", "2147483647"] },
    Type { sql: "numeric", values: &["0", "18446744073709551615.00"] },
    Type { sql: "smallint", values: &["0", "3"] },
    Type { sql: "numeric", values: &["0.00", "100", "-1.5", "0.0001", "10.0"] },
    Type {
        sql: "text",
        values: &[
            "''", "' '", "'a'", "'a '", "'é'", "'it''s'", "E'\\\\'", "E'\\n'", "'n'", "'1:a'",
            "'😀'",
        ],
    },
    Type { sql: "character(5)", values: &["''", "'a'", "' a'"] },
    Type { sql: "kind", values: &["'x'", "'y'"] },
    Type { sql: "bytea", values: &["''", "'\\x00'", "'\\xff5c'", "'\\x27'"] },
    Type { sql: "date", values: &["'2024-01-01'", "'1000-01-01'", "'9999-12-31'"] },
    Type { sql: "time", values: &["'00:00'", "'23:59:59.000001'", "'12:00:00.5'"] },
    Type {
        sql: "timestamp",
        values: &["'2024-01-01'", "'2024-01-01 00:00:00.000001'", "'1999-12-31 23:59:59.5'"],
    },
    Type { sql: "timestamptz", values: &["'2024-01-01 01:00:00+01'", "'2024-01-01 12:00:01+00'"] },
];

fn there(of: &'static Type) -> &'static Type {
    let place = HERE.iter().position(|here| std::ptr::eq(here.sql, of.sql));
    place.map_or(of, |at| &THERE[at])
}

fn statements(table: &Table, postgres: bool) -> String {
    let type_of = |of: &'static Type| if postgres { there(of) } else { of };
    let quoted = |name: &str| {
        if postgres { format!("\"{}\"", name.replace('"', "\"\"")) } else { format!("`{name}`") }
    };
    let mut columns: Vec<String> = Vec::new();
    if let Some((of, _)) = &table.key {
        let sql = if postgres { of.sql.split(" collate").next().expect("a part") } else { of.sql };
        columns.push(format!("k {sql} primary key"));
    }
    for column in &table.columns {
        let null = if column.not_null { "not null" } else { "null" };
        columns.push(format!("{} {} {null}", quoted(&column.name), type_of(column.of).sql));
    }
    let made = if postgres {
        "set search_path = public; drop table if exists t; create table t"
    } else {
        "set sql_mode = '', time_zone = '+00:00'; create or replace table t"
    };
    let mut made = vec![format!("{made} ({})", columns.join(", "))];
    let rows = if postgres { &table.target } else { &table.source };
    made.extend(
        rows.iter().map(|row| format!("insert into t values {}", table.values_as(row, &type_of))),
    );
    made.join("; ")
}

fn found(source: &Maria, target: &Cluster, tables: &[&str]) -> Comparison {
    let text = format!("host=127.0.0.1 port={} dbname=crm user={ADMIN}", target.port);
    let here =
        async { Side::mysql(&mariadb(&source.system("crm"), mariadb::PASSWORD).await, PACE).await };
    let there =
        async { Side::postgres(&postgres(&text, postgres::cluster::PASSWORD).await, PACE).await };
    changes::found(here, there, tables).expect("compared")
}

fn servers(what: &str) -> Option<(Maria, Cluster)> {
    let servers = (Maria::start(what)?, Cluster::start(what)?);
    servers.1.sql("crm", "create type public.kind as enum ('x', 'y')");
    Some(servers)
}

#[test]
fn every_change_is_found_and_nothing_where_nothing_changed() {
    let Some((source, target)) = servers("tables compared across engines") else { return };
    for seed in 0..cases(60, 4000) {
        let mut dice = Dice::new(seed as u64);
        let mut table = Table::random(&mut dice, KEYS, HERE);
        let change = table.change(&mut dice);
        source.sql("crm", &statements(&table, false));
        target.sql("crm", &statements(&table, true));
        judge(&format!("seed {seed}, {change}"), &table, &found(&source, &target, &["t"]));
    }
}

#[test]
fn what_has_no_text_on_both_is_not_compared() {
    let Some((source, target)) = servers("types without a text on both engines") else { return };
    source.sql(
        "crm",
        "create table part (id int primary key, v double, w int); insert into part values (1, 1.5, 2), (2, 1, 2);
         create table whole (id double primary key); create table changed (id int primary key, v double, w int not null);
         insert into changed values (1, 1, 1)",
    );
    target.sql(
        "crm",
        "create table part (id int primary key, v float8, w int); insert into part values (1, 1.5, 2), (2, 1, 2);
         create table whole (id float8 primary key); create table changed (id int primary key, v float8, w int);
         insert into changed values (1, 1, 2)",
    );
    let told = found(&source, &target, &[]);
    let [changed, part, whole] = &told.tables[..] else { panic!("{told:?}") };
    assert!(
        matches!(&part.verdict, TableVerdict::NotCompared(why) if why.contains("v (double and double precision)")),
        "{told:?}"
    );
    assert!(matches!(&whole.verdict, TableVerdict::NotCompared(_)), "{told:?}");
    let TableVerdict::Different(lines) = &changed.verdict else { panic!("{told:?}") };
    assert_eq!(
        lines[..3],
        [
            "column w: a column not null at the source, a column at the target".to_owned(),
            "1 row differs".to_owned(),
            "row id = 1 different in w".to_owned(),
        ]
    );
    assert!(!told.all_equal());
}
