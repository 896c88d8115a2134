//! MariaDB to MariaDB.

use migrate::database::{Comparison, DatabaseError, Pace, Side, TableVerdict};

use super::changes::{self, CRAWL, PACE, goes_on_unless_written, judge, lines, mariadb};
use super::oracle::{Table, Type};
use crate::generate::Dice;
use crate::lab::cases;
use crate::mariadb::{Maria, PASSWORD};

type Key = (Type, &'static [&'static str]);

const KEYS: &[Key] = &[
    (
        Type {
            sql: "bigint",
            values: &[
                "1",
                "4294967297",
                "-1",
                "9223372036854775807",
                "-9223372036854775808",
                "0",
                "17",
            ],
        },
        &["1", "4294967297", "-1", "9223372036854775807", "-9223372036854775808", "0", "17"],
    ),
    (
        Type {
            sql: "bigint unsigned",
            values: &["1", "18446744073709551615", "9223372036854775808"],
        },
        &["'1'", "'18446744073709551615'", "'9223372036854775808'"],
    ),
    (
        Type { sql: "smallint", values: &["1", "2", "3", "-32768", "32767"] },
        &["1", "2", "3", "-32768", "32767"],
    ),
    (
        Type {
            sql: "varchar(20) collate utf8mb4_general_ci",
            values: &["''", "'a'", "'b '", "'é1'", "'it''s'"],
        },
        &["''", "'a'", "'b '", "'é1'", "'it's'"],
    ),
    (Type { sql: "binary(2)", values: &["x'0001'", "x'ff00'"] }, &["'0001'", "'ff00'"]),
];

const TYPES: &[Type] = &[
    Type { sql: "boolean", values: &["true", "false"] },
    Type { sql: "tinyint unsigned", values: &["0", "255"] },
    Type { sql: "int", values: &["0", "1", "-1", "2147483647"] },
    Type {
        sql: "bigint",
        values: &["0", "1", "4294967296", "-1", "9223372036854775807", "-9223372036854775808"],
    },
    Type { sql: "bigint unsigned", values: &["0", "18446744073709551615"] },
    Type {
        sql: "decimal(20,10)",
        values: &["0", "1", "-1", "0.0000000001", "1234567890.0123456789"],
    },
    Type { sql: "float", values: &["0", "1", "1.0000001", "16777216", "16777217e1"] },
    Type { sql: "double", values: &["0", "1", "1.0000000000000002", "5e-324", "1e308", "-1e308"] },
    Type {
        sql: "varchar(20)",
        values: &[
            "''", "' '", "'a'", "'A'", "'a '", "'é'", "'e'", "'it''s'", "'\\\\'", "'\\n'",
            "'NULL'", "'1#a'", "'😀'",
        ],
    },
    Type { sql: "varchar(20) character set latin1", values: &["''", "'a'", "'é'", "'e'"] },
    Type { sql: "char(5)", values: &["''", "'a'", "' a'"] },
    Type { sql: "text", values: &["''", "'a'", "'a '", "'#'", "'0'"] },
    Type { sql: "varbinary(10)", values: &["''", "x'00'", "x'0000'", "x'ff'", "x'23'", "'a'"] },
    Type { sql: "binary(3)", values: &["''", "x'01'", "x'ff'"] },
    Type { sql: "blob", values: &["''", "x'00'", "x'5c'", "x'27'"] },
    Type { sql: "date", values: &["'2024-01-01'", "'1000-01-01'", "'9999-12-31'"] },
    Type { sql: "time(6)", values: &["'00:00'", "'-838:59:59'", "'12:00:00.000001'"] },
    Type {
        sql: "datetime(6)",
        values: &["'2024-01-01'", "'2024-01-01 00:00:00.000001'", "'1000-01-01'"],
    },
    Type { sql: "timestamp(3)", values: &["'2024-01-01 00:00:00'", "'2024-01-01 00:00:00.001'"] },
    Type { sql: "year", values: &["2024", "1901"] },
    Type { sql: "bit(10)", values: &["b'0'", "b'1'", "b'1000000000'"] },
    Type { sql: "enum('x','y','')", values: &["'x'", "'y'", "''"] },
    Type { sql: "set('x','y')", values: &["''", "'x'", "'y'", "'x,y'"] },
    Type { sql: "json", values: &["'{\"a\":1}'", "'{\"a\": 1}'", "'null'", "'[]'"] },
    Type {
        sql: "uuid",
        values: &[
            "'00000000-0000-0000-0000-000000000000'",
            "'00000000-0000-0000-0000-000000000001'",
        ],
    },
    Type { sql: "inet6", values: &["'::1'", "'::2'"] },
    Type { sql: "point", values: &["point(0,0)", "point(0,1)"] },
];

/// One server with the databases `crm` and `twin`.
fn server(what: &str) -> Option<Maria> {
    let server = Maria::start(what)?;
    server.sql("crm", "create database twin default charset utf8mb4");
    Some(server)
}

async fn side(server: &Maria, database: &str, pace: Pace) -> Result<Side, DatabaseError> {
    Side::mysql(&mariadb(&server.system(database), PASSWORD).await, pace).await
}

fn found(server: &Maria, tables: &[&str], pace: Pace) -> Result<Comparison, DatabaseError> {
    changes::found(side(server, "crm", pace), side(server, "twin", pace), tables)
}

fn quoted(name: &str) -> String {
    format!("`{}`", name.replace('`', "``"))
}

/// Statements that make one side of a table; the target's rows come in another order.
fn statements(table: &Table, target: bool) -> String {
    let mut columns: Vec<String> = Vec::new();
    columns.extend(table.key.as_ref().map(|(of, _)| format!("k {} primary key", of.sql)));
    for column in &table.columns {
        let null = if column.not_null { "not null" } else { "null" };
        columns.push(format!("{} {} {null}", quoted(&column.name), column.of.sql));
    }
    let mut made =
        vec![format!("set sql_mode = ''; create or replace table t ({})", columns.join(", "))];
    let mut rows = if target { table.target.clone() } else { table.source.clone() };
    if target {
        rows.reverse();
    }
    made.push("start transaction".to_owned());
    made.extend(rows.iter().map(|row| format!("insert into t values {}", table.values(row))));
    made.push("commit".to_owned());
    made.join("; ")
}

#[test]
fn every_change_is_found_and_nothing_where_nothing_changed() {
    let Some(server) = server("tables compared on MariaDB") else { return };
    for seed in 0..cases(100, 4000) {
        let mut dice = Dice::new(seed as u64);
        let mut table = Table::random(&mut dice, KEYS, TYPES);
        let change = table.change(&mut dice);
        server.sql("crm", &statements(&table, false));
        server.sql("twin", &statements(&table, true));
        let case = format!("seed {seed}, {change}");
        let found = found(&server, &["t"], PACE).unwrap_or_else(|error| panic!("{case}: {error}"));
        judge(&case, &table, &found);
    }
}

#[test]
fn no_two_values_of_a_type_are_alike() {
    let Some(server) = server("values compared on MariaDB") else { return };
    for of in TYPES {
        let pairs = changes::pairs(of.values.len());
        let table = |target| {
            format!(
                "set sql_mode = ''; create or replace table t (v {0}, k int primary key, w {0}); insert into t values {1}",
                of.sql,
                changes::rows_of_pairs(of, &pairs, target)
            )
        };
        server.sql("crm", &table(false));
        server.sql("twin", &table(true));
        let found = found(&server, &["t"], PACE).expect("compared");
        changes::judge_pairs(of.sql, &pairs, &found);
    }
}

#[test]
fn nothing_is_passed_over_because_of_how_it_is_declared_or_who_asks() {
    let Some(server) = server("odd tables on MariaDB") else { return };
    let tables = "create table kept (id int primary key, v int) with system versioning; insert into kept values (1, 1);
        create table named (p int, v text); insert into named select seq, seq from seq_1_to_500;
        create table old (id int primary key, v varchar(5) character set cp1251, k enum('', 'a')); set sql_mode = ''; insert into old values (1, x'98', ''), (2, 'b', 'a')";
    server.sql("crm", tables);
    server.sql("twin", tables);
    // In another order, which is no difference.
    server.sql("twin", "create table other like named; insert into other select * from named order by p desc; drop table named; rename table other to named");
    let equal = found(&server, &[], PACE).expect("compared");
    assert!(equal.all_equal() && equal.tables.len() == 3, "{equal:?}");
    server.sql("twin", "update kept set v = 2; set sql_mode = ''; update old set v = '?' where id = 1; update old set k = 'none' where id = 1");
    let told = found(&server, &[], PACE).expect("compared");
    let different = |name: &str| {
        let table = told.tables.iter().find(|table| table.table == name).expect(name);
        matches!(&table.verdict, TableVerdict::Different(lines) if lines.len() == 2)
    };
    assert!(different("kept") && different("old"), "{told:?}");
    // Of one database there is nothing to prove.
    let itself = changes::found(side(&server, "crm", PACE), side(&server, "crm", PACE), &[]);
    assert!(matches!(itself, Err(DatabaseError::System(_))), "{itself:?}");
    // A user who is told of single tables only.
    server.sql("crm", &format!("create user few@'%' identified by '{PASSWORD}'; grant select on crm.named to few@'%'; grant select on twin.named to few@'%'"));
    let few = async |database: &str| {
        let system = server.system(database).replace("user=admin", "user=few");
        Side::mysql(&mariadb(&system, PASSWORD).await, PACE).await
    };
    let told = changes::found(few("crm"), few("twin"), &[]).expect("compared");
    assert!(!told.all_equal());
    assert!(told.tables.iter().any(|table| matches!(&table.verdict, TableVerdict::NotCompared(why) if why.contains("single tables"))), "{told:?}");
    assert!(changes::found(few("crm"), few("twin"), &["named"]).expect("compared").all_equal());
}

/// Tables large enough for many ranges and cells, with gaps and keys below zero.
const LARGE: &str = "
    create table `Or``ders` (id bigint primary key, v varchar(40), twice bigint as (id * 2) stored);
    insert into `Or``ders` (id, v) select cast(seq as signed) * 1000003 - 5000000000, md5(seq) from seq_1_to_20000;
    create table by_text (id varchar(40) primary key, v int);
    insert into by_text select md5(seq), seq from seq_1_to_20000;
    create table heap (a int, b text);
    insert into heap select seq % 100, seq % 7 from seq_1_to_20000;
    create table two (a int, b varchar(20), v text, primary key (a, b)) partition by hash (a) partitions 3;
    insert into two select seq % 3, seq, 'x' from seq_1_to_20000";

#[test]
fn one_change_among_many_rows_is_named() {
    let Some(server) = server("large tables on MariaDB") else { return };
    for database in ["crm", "twin"] {
        server.sql(database, LARGE);
        server.sql(database, "analyze table `Or``ders`, by_text, heap, two");
    }
    for pace in [PACE, CRAWL] {
        let equal = found(&server, &["Or`ders", "by_text", "heap", "two"], pace).expect("compared");
        assert!(equal.all_equal(), "{equal:?}");
        assert_eq!(equal.rows(), 80_000);
    }
    server.sql(
        "twin",
        "update `Or``ders` set v = insert(v, 3, 1, '!') where id = 12345 * 1000003 - 5000000000;
         update by_text set v = -v where v = 777; insert into heap values (3, '3'); update two set v = 'y' where a = 1 and b = '19999'",
    );
    let found = found(&server, &[], PACE).expect("compared");
    let told: Vec<String> = found
        .tables
        .iter()
        .map(|table| match &table.verdict {
            TableVerdict::Different(lines) => lines.join("; "),
            other => panic!("{}: {other:?}", table.table),
        })
        .collect();
    let key = 12345_i64 * 1_000_003 - 5_000_000_000;
    assert_eq!(told[0], format!("1 row differs; row id = {key} different in v"));
    assert_eq!(
        told[1],
        "1 row differs; row id = 'f1c1592588411002af340cbaedd6fc33' different in v"
    );
    assert!(told[2].starts_with("1 row differs; row #"), "{told:?}");
    assert!(told[2].contains(" times at the source, "), "{told:?}");
    assert_eq!(told[3], "1 row differs; row a = 1, b = '19999' different in v");
}

#[test]
fn what_can_not_be_compared_is_never_equal() {
    let Some(server) = server("what can not be compared on MariaDB") else { return };
    server.sql(
        "crm",
        "create table old (id int primary key) engine = MyISAM; create table columns (id int primary key, v varchar(10) not null default 'x', key v (v));
         create table only_here (id int primary key); insert into only_here values (1), (2);
         create table parent (id int primary key); create table child (id int primary key, p int, constraint c foreign key (p) references parent (id))",
    );
    server.sql(
        "twin",
        "create table old (id int primary key) engine = MyISAM; create table columns (id int primary key, v varchar(10));
         create table parent (id int primary key); create table child (id int primary key, p int)",
    );
    let told = found(&server, &[], PACE).expect("compared");
    let verdict = |name: &str| told.tables.iter().find(|table| table.table == name).expect(name);
    assert!(
        matches!(&verdict("old").verdict, TableVerdict::NotCompared(why) if why.contains("MyISAM"))
    );
    assert_eq!(
        (&verdict("only_here").verdict, verdict("only_here").rows),
        (&TableVerdict::Missing, (2, 0))
    );
    let TableVerdict::Different(columns) = &verdict("columns").verdict else { panic!("{told:?}") };
    assert!(
        columns[0].starts_with(
            "column v: varchar(10) collate utf8mb4_general_ci default 'x' not null at the source, "
        ),
        "{columns:?}"
    );
    assert_eq!(columns[1], "index v: missing at the target");
    let TableVerdict::Different(child) = &verdict("child").verdict else { panic!("{told:?}") };
    assert_eq!(child[0], "foreign key c: missing at the target");
    assert!(!told.all_equal());
    let long = "create table t (id int primary key, v longtext); insert into t values (1, repeat('x', 3000000)), (2, 'a')";
    server.sql("crm", long);
    server.sql("twin", long);
    server.sql("crm", "set global max_allowed_packet = 1048576");
    // Texts are no part of what the limit is for.
    assert!(found(&server, &["t"], PACE).expect("compared").all_equal());
    server.sql("twin", "update t set v = 'b' where id = 1");
    let long = lines(&found(&server, &["t"], PACE).expect("compared"));
    assert_eq!(long, ["1 row differs", "row id = 1 different in v"]);
    let equal = lines(&found(&server, &["parent"], PACE).expect("compared"));
    assert!(equal.is_empty());
}

#[test]
fn a_comparison_that_was_cut_off_goes_on_unless_something_was_written() {
    let Some(server) = server("comparisons cut off on MariaDB") else { return };
    let statements = format!("{LARGE}; analyze table `Or``ders`, by_text, heap, two");
    changes::filled(&server, &["crm", "twin"], &statements);
    goes_on_unless_written(
        async || Ok((side(&server, "crm", CRAWL).await?, side(&server, "twin", CRAWL).await?)),
        || {
            server.sql("twin", "update by_text set v = -v where v = 777");
        },
    );
}
