//! PostgreSQL to PostgreSQL.

use migrate::database::{Comparison, DatabaseError, Pace, Side, TableVerdict};

use super::changes::{self, CRAWL, PACE, goes_on_unless_written, judge, lines, postgres};
use super::oracle::{Table, Type};
use crate::generate::Dice;
use crate::lab::cases;
use crate::postgres::cluster::{ADMIN, Cluster, PASSWORD};

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
                "1024",
                "65536",
            ],
        },
        &[
            "1",
            "4294967297",
            "-1",
            "9223372036854775807",
            "-9223372036854775808",
            "0",
            "17",
            "1024",
            "65536",
        ],
    ),
    (
        Type { sql: "smallint", values: &["1", "2", "3", "-32768", "32767"] },
        &["1", "2", "3", "-32768", "32767"],
    ),
    (
        Type { sql: "text", values: &["''", "'a'", "'A'", "'a '", "'é'", "'it''s'"] },
        &["''", "'a'", "'A'", "'a '", "'é'", "'it's'"],
    ),
    (
        Type {
            sql: "uuid",
            values: &[
                "'00000000-0000-0000-0000-000000000001'",
                "'ffffffff-ffff-ffff-ffff-ffffffffffff'",
            ],
        },
        &["'00000000-0000-0000-0000-000000000001'", "'ffffffff-ffff-ffff-ffff-ffffffffffff'"],
    ),
    (
        Type {
            sql: "timestamptz",
            values: &["'2024-01-01 00:00:00.000001+00'", "'infinity'", "'-infinity'"],
        },
        &["'2024-01-01 00:00:00.000001+00'", "'infinity'", "'-infinity'"],
    ),
];

const TYPES: &[Type] = &[
    Type { sql: "boolean", values: &["true", "false"] },
    Type { sql: "smallint", values: &["0", "1", "-1", "32767"] },
    Type { sql: "integer", values: &["0", "1", "-1", "2147483647"] },
    // The hash of the server itself is the same for 1, 4294967296 and 18446744069414584319 of these.
    Type {
        sql: "bigint",
        values: &[
            "0",
            "1",
            "4294967296",
            "-1",
            "-4294967297",
            "9223372036854775807",
            "-9223372036854775808",
        ],
    },
    Type {
        sql: "numeric",
        values: &["0", "0.0", "1", "1.0", "1.00", "'NaN'", "'Infinity'", "'-Infinity'", "1e100"],
    },
    Type { sql: "numeric(6,2)", values: &["0", "1", "1.01", "'NaN'", "-1"] },
    Type {
        sql: "real",
        values: &["0", "'-0'", "'NaN'", "'Infinity'", "'-Infinity'", "1.0000001", "1"],
    },
    Type {
        sql: "double precision",
        values: &[
            "0",
            "'-0'",
            "'NaN'",
            "'Infinity'",
            "'-Infinity'",
            "5e-324",
            "1",
            "1.0000000000000002",
        ],
    },
    Type {
        sql: "text",
        values: &[
            "''", "' '", "'a'", "'A'", "'a '", "'é'", "'e'", "'it''s'", "E'\\\\'", "E'\\n'",
            "'NULL'", "'n'", "'1:a'",
        ],
    },
    Type { sql: "varchar(10)", values: &["''", "' '", "'a'", "'a '"] },
    Type { sql: "character(5)", values: &["''", "'a'", "' a'"] },
    Type { sql: "bpchar", values: &["''", "'a'", "'a '", "'a  '"] },
    Type { sql: "bytea", values: &["''", "'\\x00'", "'\\x0000'", "'\\xff'", "'\\x5c'"] },
    Type {
        sql: "uuid",
        values: &[
            "'00000000-0000-0000-0000-000000000000'",
            "'00000000-0000-0000-0000-000000000001'",
        ],
    },
    Type { sql: "date", values: &["'2024-01-01'", "'0001-01-01 BC'", "'infinity'", "'-infinity'"] },
    Type { sql: "time", values: &["'00:00'", "'24:00'", "'12:00:00.000001'"] },
    Type { sql: "timetz", values: &["'10:00+00'", "'12:00+02'", "'11:00+01'"] },
    Type {
        sql: "timestamp",
        values: &[
            "'2024-01-01'",
            "'2024-01-01 00:00:00.000001'",
            "'infinity'",
            "'-infinity'",
            "'4713-01-01 BC'",
        ],
    },
    Type {
        sql: "timestamptz",
        values: &["'2024-01-01 00:00+00'", "'2024-01-01 00:00+01'", "'infinity'", "'-infinity'"],
    },
    Type { sql: "interval", values: &["'0'", "'1 mon'", "'30 days'", "'720:00:00'", "'-1 mon'"] },
    Type { sql: "json", values: &["'{\"a\":1}'", "'{\"a\": 1}'", "'null'", "'\"\"'"] },
    Type {
        sql: "jsonb",
        values: &["'1'", "'1.0'", "'1.00'", "'null'", "'{\"a\":1}'", "'[]'", "'{}'", "'\"1\"'"],
    },
    Type {
        sql: "integer[]",
        values: &["'{}'", "'{1,2,3,4}'", "'{{1,2},{3,4}}'", "'[0:1]={1,2}'", "'{1,2}'", "'{NULL}'"],
    },
    Type { sql: "text[]", values: &["'{}'", "'{NULL}'", "'{\"NULL\"}'", "'{a,b}'", "'{\"a,b\"}'"] },
    Type { sql: "mood", values: &["'calm'", "'cross'"] },
    Type { sql: "mood[]", values: &["'{calm}'", "'{cross}'", "'{calm,cross}'"] },
    Type { sql: "pair", values: &["'(1,)'", "'(,)'", "'(1,\"\")'", "'(1,a)'"] },
    Type { sql: "even", values: &["0", "2", "-2"] },
    Type { sql: "money_of_us", values: &["0", "1", "1.01"] },
    Type { sql: "inet", values: &["'1.2.3.4'", "'1.2.3.4/24'", "'::1'"] },
    Type { sql: "cidr", values: &["'1.2.3.0/24'", "'1.2.3.0/25'"] },
    Type { sql: "bit(3)", values: &["B'000'", "B'001'"] },
    Type { sql: "bit varying", values: &["B''", "B'0'", "B'00'", "B'1'"] },
    Type { sql: "int4range", values: &["'empty'", "'[1,2)'", "'[1,3)'", "'(,)'"] },
    Type { sql: "point", values: &["'(0,0)'", "'(0,-0)'", "'(0,1)'"] },
    Type { sql: "tsvector", values: &["''", "'a'", "'a:1'"] },
    Type { sql: "money", values: &["0", "1", "1.01"] },
    Type { sql: "xml", values: &["'<a/>'", "'<a></a>'"] },
];

const KINDS: &str = "create type public.mood as enum ('calm', 'cross'); create type public.pair as (i int, t text);
    create domain public.even as int check (value % 2 = 0); create domain public.money_of_us as numeric(8,2);";

/// One server with the source `crm` and two targets: one that is like it, and one of another encoding, where only text is alike.
fn cluster(what: &str) -> Option<Cluster> {
    let cluster = Cluster::start(what)?;
    cluster.sql("postgres", "create database twin");
    cluster.sql("postgres", "create database latin encoding latin1 locale 'C' template template0");
    // Numbers of types differ between the databases.
    cluster.sql(
        "twin",
        "create type public.first as enum ('a'); create type public.second as enum ('b')",
    );
    for database in ["crm", "twin", "latin"] {
        cluster.sql(database, KINDS);
    }
    cluster.sql(
        "crm",
        "create type public.second as enum ('b'); create type public.first as enum ('a')",
    );
    Some(cluster)
}

fn system(cluster: &Cluster, database: &str) -> String {
    format!("host=127.0.0.1 port={} dbname={database} user={ADMIN}", cluster.port)
}

async fn side(cluster: &Cluster, database: &str, pace: Pace) -> Result<Side, DatabaseError> {
    Side::postgres(&postgres(&system(cluster, database), PASSWORD).await, pace).await
}

fn found(
    cluster: &Cluster,
    target: &str,
    tables: &[&str],
    pace: Pace,
) -> Result<Comparison, DatabaseError> {
    changes::found(side(cluster, "crm", pace), side(cluster, target, pace), tables)
}

fn quoted(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}

/// Statements that make one side of a table: rows in this order, some of them written twice over.
fn statements(
    dice: &mut Dice,
    table: &Table,
    name: &str,
    partitioned: bool,
    target: bool,
) -> String {
    let mut columns: Vec<String> = Vec::new();
    if let Some((of, _)) = &table.key {
        columns.push(format!("k {} primary key", of.sql));
    }
    for column in &table.columns {
        let null = if column.not_null { " not null" } else { "" };
        columns.push(format!("{} {}{null}", quoted(&column.name), column.of.sql));
    }
    let mut made = vec![format!(
        "set search_path = public, pg_catalog; create table {name} ({})",
        columns.join(", ")
    )];
    if partitioned && table.key.is_some() {
        made[0] += " partition by hash (k)";
        for part in 0..2 {
            made.push(format!(
                "create table {name}_{part} partition of {name} for values with (modulus 2, remainder {part})"
            ));
        }
    }
    let mut rows = if target { table.target.clone() } else { table.source.clone() };
    if target {
        rows.reverse();
    }
    made.extend(rows.iter().map(|row| format!("insert into {name} values {}", table.values(row))));
    let first =
        table.columns.first().filter(|_| dice.chance(50)).map(|column| quoted(&column.name));
    made.extend(first.map(|column| format!("update {name} set {column} = {column}")));
    made.join("; ")
}

#[test]
fn every_change_is_found_and_nothing_where_nothing_changed() {
    let Some(cluster) = cluster("tables compared on PostgreSQL") else { return };
    for seed in 0..cases(120, 4000) {
        let mut dice = Dice::new(seed as u64);
        let mut table = Table::random(&mut dice, KEYS, TYPES);
        let change = table.change(&mut dice);
        let target = *dice.pick(&["twin", "twin", "latin"]);
        let partitioned = dice.chance(20);
        for database in ["crm", target] {
            let made = statements(&mut dice, &table, "t", partitioned, database == target);
            cluster.sql(database, &made);
        }
        let case = format!("seed {seed}, {change}, against {target}");
        let found =
            found(&cluster, target, &["t"], PACE).unwrap_or_else(|error| panic!("{case}: {error}"));
        judge(&case, &table, &found);
        for database in ["crm", target] {
            cluster.sql(database, "drop table public.t");
        }
    }
}

/// So many values of each type are also swapped between two rows.
const SWAPPED: usize = 3;

/// Every value of a type against every other: they differ where they are not the same one, in a row and between two rows.
#[test]
fn no_two_values_of_a_type_are_alike() {
    let Some(cluster) = cluster("values compared on PostgreSQL") else { return };
    for of in TYPES {
        let pairs = changes::pairs(of.values.len());
        // As the first column it is the last one that is mixed in.
        let table = |target| {
            format!(
                "set search_path = public, pg_catalog; create table t (v {0}, k int primary key, w {0}); insert into t values {1}",
                of.sql,
                changes::rows_of_pairs(of, &pairs, target)
            )
        };
        for target in ["twin", "latin"] {
            cluster.sql("crm", &table(false));
            cluster.sql(target, &table(true));
            let found = found(&cluster, target, &["t"], PACE).expect("compared");
            changes::judge_pairs(&format!("{} against {target}", of.sql), &pairs, &found);
            for (one, other) in pairs.iter().filter(|(one, other)| one < other && *other < SWAPPED)
            {
                // Two rows that swapped a value, without a key.
                let rows = |first: usize, second: usize| {
                    format!(
                        "set search_path = public, pg_catalog; drop table if exists swapped; create table swapped (v {}, n int); insert into swapped values ({}, 1), ({}, 2)",
                        of.sql, of.values[first], of.values[second]
                    )
                };
                cluster.sql("crm", &rows(*one, *other));
                cluster.sql(target, &rows(*other, *one));
                let found = self::found(&cluster, target, &["swapped"], PACE).expect("compared");
                assert!(
                    !found.all_equal(),
                    "{}: {} and {}",
                    of.sql,
                    of.values[*one],
                    of.values[*other]
                );
            }
            for database in ["crm", target] {
                cluster.sql(database, "drop table public.t; drop table if exists public.swapped");
            }
        }
    }
}

/// Tables large enough for many pages, ranges and cells.
const LARGE: &str = "
    create schema \"Sales Dept\";
    create table \"Sales Dept\".\"Or\"\"ders\" (id bigint primary key, v text, twice bigint generated always as (id * 2) stored);
    insert into \"Sales Dept\".\"Or\"\"ders\" select g::int8 * 1000003 - 5000000000, md5(g::text) from generate_series(1, 20000) g;
    create table by_uuid (id uuid primary key, v int);
    insert into by_uuid select md5(g::text)::uuid, g from generate_series(1, 20000) g;
    create table heap (a int, b text);
    insert into heap select g % 100, (g % 7)::text from generate_series(1, 20000) g;
    create table two (a int, b text, v text, primary key (a, b));
    insert into two select g % 3, g::text, 'x' from generate_series(1, 20000) g;
    analyze";

#[test]
fn one_change_among_many_rows_is_named() {
    let Some(cluster) = cluster("large tables on PostgreSQL") else { return };
    cluster.sql("crm", LARGE);
    cluster.sql("twin", LARGE);
    for pace in [PACE, CRAWL] {
        let equal = found(&cluster, "twin", &[], pace).expect("compared");
        assert!(equal.all_equal(), "{equal:?}");
        assert_eq!(equal.rows(), 80_000);
    }
    cluster.sql(
        "twin",
        "update \"Sales Dept\".\"Or\"\"ders\" set v = overlay(v placing '!' from 3) where id = 12345 * 1000003::int8 - 5000000000;
         update by_uuid set v = -v where v = 777; delete from by_uuid where v = 778;
         insert into heap values (3, '3'); update two set v = 'y' where a = 1 and b = '19999'",
    );
    let found = found(&cluster, "twin", &[], PACE).expect("compared");
    let told: Vec<(String, String)> = found
        .tables
        .iter()
        .map(|table| match &table.verdict {
            TableVerdict::Different(lines) => (table.table.clone(), lines.join("; ")),
            other => panic!("{}: {other:?}", table.table),
        })
        .collect();
    let uuid =
        |number: i32| cluster.text("crm", &format!("select id from by_uuid where v = {number}"));
    let by_uuid = {
        let mut lines = [
            format!("row id = '{}' different in v", uuid(777)),
            format!("row id = '{}' missing at the target", uuid(778)),
        ];
        // In the order in which parts are looked at.
        if !told[1].1.starts_with(&format!("2 rows differ; {}", lines[0])) {
            lines.reverse();
        }
        format!("2 rows differ; {}", lines.join("; "))
    };
    assert_eq!(told[0].0, "Sales Dept.\"Or\"\"ders\"");
    assert_eq!(
        told[0].1,
        format!("1 row differs; row id = {} different in v", 12345_i64 * 1_000_003 - 5_000_000_000)
    );
    assert_eq!((told[1].0.as_str(), &told[1].1), ("by_uuid", &by_uuid));
    assert!(told[2].1.starts_with("1 row differs; row #"), "{told:?}");
    // 29 rows or 28 are alike before the one that is added.
    assert!(
        told[2].1.contains(" times at the source, ") && told[2].1.ends_with(" at the target"),
        "{told:?}"
    );
    assert_eq!(told[3].1, "1 row differs; row a = 1, b = '19999' different in v");
}

#[test]
fn many_differences_are_a_lower_bound() {
    let Some(cluster) = cluster("many differences on PostgreSQL") else { return };
    let table = "create table t (id int primary key, v int); insert into t select g, 0 from generate_series(1, 20000) g";
    cluster.sql("crm", table);
    cluster.sql("twin", &format!("{table}; update t set v = 1"));
    let lines = lines(&found(&cluster, "twin", &["t"], PACE).expect("compared"));
    assert!(lines[0].starts_with("at least 1"), "{}", lines[0]);
    assert!(lines[1].ends_with(" different in v"), "{}", lines[1]);
}

#[test]
fn a_statement_that_takes_too_long_is_asked_again_for_less() {
    let Some(cluster) = cluster("slow statements on PostgreSQL") else { return };
    // As text, eight columns of many rows: more than the limit in one piece, far less in a page.
    let columns: Vec<String> = (0..8).map(|at| format!("v{at} text default md5('{at}')")).collect();
    let table = format!(
        "create table t (id int primary key, {}); insert into t select g from generate_series(1, 20000) g",
        columns.join(", ")
    );
    cluster.sql("crm", &table);
    cluster.sql("latin", &table);
    let limited = Pace { limit: std::time::Duration::from_millis(40), ..PACE };
    let found = found(&cluster, "latin", &["t"], limited).expect("compared");
    assert!(found.all_equal(), "{found:?}");
    assert_eq!(found.rows(), 20_000);
}

#[test]
fn what_can_not_be_compared_is_never_equal() {
    let Some(cluster) = cluster("what can not be compared on PostgreSQL") else { return };
    cluster.sql(
        "crm",
        "create table only_here (id int primary key); insert into only_here values (1), (2);
         create table columns (id int primary key, v text not null default 'x', w int);
         create table keyed (id int primary key); create table hidden (id int primary key);
         create extension postgres_fdw; create server far foreign data wrapper postgres_fdw;
         create foreign table elsewhere (id int) server far;
         create role poor login password 'loopback-only-Xy7'; grant select on all tables in schema public to poor;
         alter table hidden enable row level security",
    );
    cluster.sql(
        "twin",
        "create table only_there (id int); create table columns (id int primary key, v text, w bigint, x int);
         create table keyed (id int); create table hidden (id int primary key); create table elsewhere (id int)",
    );
    let told = found(&cluster, "twin", &[], PACE).expect("compared");
    let verdict = |name: &str| told.tables.iter().find(|table| table.table == name).expect(name);
    assert_eq!(
        (&verdict("only_here").verdict, verdict("only_here").rows),
        (&TableVerdict::Missing, (2, 0))
    );
    assert_eq!(verdict("only_there").verdict, TableVerdict::Extra);
    assert_eq!(
        verdict("columns").verdict,
        TableVerdict::Different(vec![
            "column v: text default 'x'::text not null at the source, text at the target"
                .to_owned(),
            "column w: integer at the source, bigint at the target".to_owned(),
            "column x: extra at the target".to_owned(),
            "rows not compared: the columns do not match".to_owned(),
        ])
    );
    assert!(
        matches!(&verdict("keyed").verdict, TableVerdict::Different(lines) if lines.len() >= 2)
    );
    assert!(
        matches!(&verdict("elsewhere").verdict, TableVerdict::NotCompared(why) if why.contains("foreign table"))
    );
    assert!(!told.all_equal());
    let absent = found(&cluster, "twin", &["absent"], PACE).expect("compared");
    assert!(matches!(absent.tables[0].verdict, TableVerdict::NotCompared(_)));
    // Row security would hide rows from this user; that is an error, not a smaller table.
    let poor = format!("host=127.0.0.1 port={} dbname=crm user=poor", cluster.port);
    let hidden = async { Side::postgres(&postgres(&poor, PASSWORD).await, PACE).await };
    let refused = changes::found(hidden, side(&cluster, "twin", PACE), &["hidden"]);
    assert!(matches!(refused, Err(DatabaseError::Refused { .. })), "{refused:?}");
}

#[test]
fn what_is_beside_the_tables_is_compared_too() {
    let Some(cluster) = cluster("what is beside tables on PostgreSQL") else { return };
    let table = "create table t (id serial primary key, v public.mood); insert into t (v) values ('calm'), ('calm')";
    cluster.sql("crm", &format!("{table}; create extension citext; create domain public.odd as int check (value % 2 = 1)"));
    cluster.sql("twin", &format!("{table}; create extension pg_trgm; create domain public.odd as int; select setval('t_id_seq', 1)"));
    let told = found(&cluster, "twin", &[], PACE).expect("compared");
    assert_eq!(
        told.beside,
        [
            "extension citext: missing at the target",
            "type public.odd: domain over integer CHECK (((VALUE % 2) = 1)) at the source, domain over integer at the target",
            "sequence public.t_id_seq: at 2 at the source, at 1 at the target",
        ]
    );
    assert!(!told.all_equal());
    let only_the_table = found(&cluster, "twin", &["t"], PACE).expect("compared");
    assert!(only_the_table.all_equal(), "{only_the_table:?}");
    cluster.sql("twin", "create extension citext; drop domain public.odd; create domain public.odd as int check (value % 2 = 1); select setval('t_id_seq', 1000)");
    let told = found(&cluster, "twin", &[], PACE).expect("compared");
    assert!(told.all_equal(), "{told:?}");
    // Set, and nothing given out since.
    cluster.sql("crm", "select setval('t_id_seq', 5000, false)");
    let told = found(&cluster, "twin", &[], PACE).expect("compared");
    assert_eq!(
        told.beside,
        ["sequence public.t_id_seq: at 4999 at the source, at 1000 at the target"]
    );
}

#[test]
fn a_comparison_that_was_cut_off_goes_on_unless_something_was_written() {
    let Some(cluster) = cluster("comparisons cut off on PostgreSQL") else { return };
    // It takes transaction ids of its own, at times of its own.
    cluster.sql("crm", "alter system set autovacuum = off");
    cluster.sql("crm", "select pg_reload_conf()");
    let vacuuming = "select count(*) from pg_stat_activity where backend_type like 'autovacuum %'";
    cluster.until("crm", vacuuming, "0");
    for database in ["crm", "twin"] {
        cluster.sql(database, LARGE);
        cluster.sql(database, "vacuum (freeze)");
    }
    goes_on_unless_written(
        async || Ok((side(&cluster, "crm", CRAWL).await?, side(&cluster, "twin", CRAWL).await?)),
        || {
            cluster.sql("twin", "update by_uuid set v = -v where v = 777");
        },
    );
}
