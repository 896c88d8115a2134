//! `verify.tables` between a SQL Server of these tests and a real PostgreSQL. What the first one answers is computed here from the
//! documented text of each value, and not by what the program asks: both must come to the same.

use std::collections::BTreeMap;

use md5::{Digest as _, Md5};
use migrate::database::Named;

use super::server::{Answer, PASSWORD, SqlServer, USER};
use crate::lab::Lab;
use crate::postgres::cluster::{ADMIN, Cluster};

/// Name, type at either engine, and whether it may be NULL. The first one is the key.
type Column = (&'static str, &'static str, &'static str, bool);

const ORDERS: &[Column] = &[
    ("id", "bigint", "bigint", false),
    ("name", "nvarchar", "text", true),
    ("code", "nchar", "character(6)", false),
    ("total", "money", "numeric(19,4)", false),
    ("paid", "bit", "boolean", false),
    ("mark", "uniqueidentifier", "uuid", true),
    ("raw", "varbinary", "bytea", true),
    ("due", "date", "date", false),
    ("at", "time", "time", false),
    ("placed", "datetimeoffset", "timestamptz", true),
];

/// A row by the texts of its values; none is NULL.
type Texts = [Option<&'static str>; 10];

const ROWS: [Texts; 3] = [
    [
        Some("1"),
        Some("Zürich 😀 "),
        Some("é"),
        Some("10.5"),
        Some("1"),
        Some("6f9619ff-8b86-d011-b42d-00c04fc964ff"),
        Some("00ff5c"),
        Some("2024-12-31"),
        Some("23:59:59.000001"),
        Some("2024-12-31 22:30:00.250000"),
    ],
    [
        Some("2"),
        Some(""),
        Some(""),
        Some("0"),
        Some("0"),
        None,
        Some(""),
        Some("0001-01-01"),
        Some("00:00:00.000000"),
        None,
    ],
    [
        Some("3"),
        None,
        Some(" n"),
        Some("-922337203685477.5808"),
        Some("1"),
        None,
        None,
        Some("9999-12-31"),
        Some("12:00:00.500000"),
        Some("1753-01-01 00:00:00.000000"),
    ],
];

/// The same rows as PostgreSQL takes them, in its own words.
const INSERTED: &str = "set time zone 'Europe/Zurich';
    insert into orders values (1, 'Zürich 😀 ', 'é', 10.50, true, '6F9619FF-8B86-D011-B42D-00C04FC964FF', '\\x00FF5C',
      '2024-12-31', '23:59:59.000001', '2024-12-31 23:30:00.25+01'),
     (2, '', '', 0.0000, false, null, '', '0001-01-01', '00:00', null),
     (3, null, ' n', -922337203685477.5808, true, null, null, '9999-12-31', '12:00:00.5', '1753-01-01 00:00:00+00')";

/// The first 60 bits of the MD5 of a text.
fn digest(text: &str) -> i64 {
    let digest = Md5::digest(text);
    let first = u64::from_be_bytes(digest[..8].try_into().expect("eight bytes"));
    (first >> 4).cast_signed()
}

/// Values one after the other, each behind the number of its characters.
fn joined(texts: &[Option<&str>]) -> String {
    let item = |text: Option<&str>| match text {
        Some(text) => format!("{}:{text}", text.chars().count()),
        None => "n".to_owned(),
    };
    texts.iter().copied().map(item).collect::<Vec<_>>().concat()
}

/// A row of an answer: its columns have names in their order.
fn told(texts: impl IntoIterator<Item = Option<String>>) -> Named {
    let named = |(at, text)| (format!("c{at:02}"), text);
    texts.into_iter().enumerate().map(named).collect()
}

fn texts<const N: usize>(texts: [&str; N]) -> Named {
    told(texts.map(|text| Some(text.to_owned())))
}

fn one<const N: usize>(row: [&str; N]) -> Answer {
    Answer::Rows(vec![texts(row)])
}

/// The hash of a row's key, which is its first column.
fn name(row: &[Option<&str>]) -> i64 {
    digest(&joined(&row[..1]))
}

/// Number and sum of the rows of each group.
fn summed_by<R: AsRef<[Option<&'static str>]>>(
    rows: &[R],
    group: impl Fn(&[Option<&str>]) -> i64,
) -> Answer {
    let mut groups: BTreeMap<i64, (u64, i128)> = BTreeMap::new();
    for row in rows {
        let (count, sum) = groups.entry(group(row.as_ref())).or_default();
        *count += 1;
        *sum += i128::from(digest(&joined(row.as_ref())));
    }
    let told = groups.into_iter().map(|(group, (count, sum))| {
        texts([&group.to_string(), &count.to_string(), &sum.to_string()])
    });
    Answer::Rows(told.collect())
}

/// The only range of a short table.
fn summed(rows: &[Texts]) -> Answer {
    summed_by(rows, |_| 0)
}

/// The rows with these keys.
fn marked<R: AsRef<[Option<&'static str>]>>(rows: &[R], keys: &[&str]) -> Answer {
    let rows = rows.iter().map(AsRef::as_ref);
    let rows = rows.filter(|row| row[0].is_some_and(|key| keys.contains(&key)));
    let marked = rows.map(|row| {
        let key = row[0].map(str::to_owned);
        let digests = row.iter().map(|text| text.map(|text| digest(text).to_string()));
        told([key].into_iter().chain(digests).chain([Some("1".to_owned())]))
    });
    Answer::Rows(marked.collect())
}

/// What is asked for where a range differs: its cells, and the rows of those that hold `keys`.
fn located(rows: &[Texts], keys: &[&str]) -> [Answer; 2] {
    [summed_by(rows, |row| name(row) & 1023), marked(rows, keys)]
}

const FACTS: [&str; 6] = ["15", "3", "1", "1", "1", "sql-one crm"];

/// The facts, and the only table.
fn opening(facts: [&str; 6]) -> Vec<Answer> {
    vec![one(facts), one(["dbo", "orders"])]
}

/// What the table is, and from where to where its key goes, asked once for both sides and once for this one.
fn shaped(columns: &[Column]) -> Vec<Answer> {
    let columns = columns.iter().enumerate().map(|(at, (name, kind, _, nullable))| {
        let key = if at == 0 { "1" } else { "0" };
        texts([name, kind, if *nullable { "1" } else { "0" }, "", key])
    });
    let ends = || one(["1", "3"]);
    vec![one(["3", "0", "0", "0"]), Answer::Rows(columns.collect()), ends(), ends()]
}

fn answers(more: impl IntoIterator<Item = Answer>) -> SqlServer {
    SqlServer::start([opening(FACTS), shaped(ORDERS), more.into_iter().collect()].concat())
}

fn postgres(what: &str) -> Option<Cluster> {
    let cluster = Cluster::start(what)?;
    let null = |nullable| if nullable { "" } else { "not null" };
    let columns = ORDERS
        .iter()
        .map(|(name, _, kind, nullable)| format!("\"{name}\" {kind} {}", null(*nullable)));
    let columns = columns.collect::<Vec<_>>().join(", ");
    cluster.sql("crm", &format!("create table orders ({columns}, primary key (id)); {INSERTED}"));
    Some(cluster)
}

/// Compares the two, the SQL Server as the source or as the target; what was said.
#[track_caller]
fn compared(
    (server, cluster): (&SqlServer, &Cluster),
    is_source: bool,
    with: &str,
    code: i32,
) -> String {
    let lab = Lab::new("");
    lab.write("db", PASSWORD);
    let (sql, pg) = (server.port, cluster.port);
    let (source, target) = if is_source { ("sql", "pg") } else { ("pg", "sql") };
    let text = format!(
        "migrate: 1
wave: pair
secrets: {{ db: {{ file: db }} }}
systems:
  sql: {{ sqlserver: \"host=127.0.0.1 port={sql} dbname=crm user={USER}\", password: db }}
  pg: {{ postgres: \"host=127.0.0.1 port={pg} dbname=crm user={ADMIN}\", password: db }}
stages:
  release:
    - id: rows
      uses: verify.tables
      with: {{ source: {source}, target: {target}, {with} }}
"
    );
    let runbook = lab.write("pair.yaml", &text);
    let said = lab.migrate(["run", &runbook]).expect(code).said();
    let journal = lab.journal().unwrap_or_default();
    assert!(!journal.contains(PASSWORD) && !said.contains(PASSWORD));
    let holds = "\"verdict\":\"equal\",\"detail\":\"3 rows, hash ";
    assert_eq!(journal.contains(holds), code == 0, "{journal}");
    said
}

/// Settings of sessions of its own, one snapshot, questions, and its end.
#[track_caller]
fn only_read(server: &SqlServer) {
    let batches = server.batches();
    let snapshot =
        "set xact_abort off; set transaction isolation level snapshot; begin transaction";
    assert_eq!(batches.iter().filter(|it| *it == snapshot).count(), 1, "{batches:?}");
    let (snapshot_at, last) = (batches.iter().position(|it| it == snapshot), batches.last());
    let read_at = batches.iter().position(|it| it.contains("[dbo].[orders]"));
    assert!(snapshot_at < read_at && last.is_some_and(|it| it == "rollback transaction"));
    for batch in batches.iter().filter(|it| *it != snapshot && *it != "rollback transaction") {
        let is_question = batch.starts_with("select ") && !batch.contains(';');
        assert!(is_question || batch.starts_with("set ansi_nulls"), "{batch}");
    }
}

#[test]
fn the_same_rows_are_equal_in_either_direction() {
    let Some(cluster) = postgres("SQL Server compared with PostgreSQL") else { return };
    for is_source in [true, false] {
        let server = answers([summed(&ROWS)]);
        compared((&server, &cluster), is_source, "", 0);
        only_read(&server);
        let asked = server.batches().into_iter().filter(|it| it.contains("hashbytes('MD5'"));
        let asked: Vec<_> = asked.collect();
        assert_eq!(asked.len(), 1, "one range is one question: {asked:?}");
        let range = "where t.[id] between convert(bigint, 1) and convert(bigint, 3)";
        assert!(asked[0].contains(range), "{asked:?}");
    }
}

#[test]
fn a_row_that_differs_is_named_with_its_column() {
    let Some(cluster) = postgres("a difference between SQL Server and PostgreSQL") else { return };
    // In every column but the key, what is nearest to it.
    let changes = [
        ("name", 1, " "),
        ("code", 2, "n"),
        ("total", 2, "-922337203685477.5807"),
        ("paid", 2, "0"),
        ("raw", 0, "00ff5d"),
        ("at", 2, "12:00:00.5000001"),
        ("placed", 0, "2024-12-31 23:30:00.250000"),
    ];
    for (column, row, text) in changes {
        let mut rows = ROWS;
        let at = ORDERS.iter().position(|it| it.0 == column).expect("a column");
        rows[row][at] = Some(text);
        let key = rows[row][0].expect("a key");
        let server = answers([vec![summed(&rows)], located(&rows, &[key]).to_vec()].concat());
        let said = compared((&server, &cluster), true, "", 7);
        let told = format!("1 row differs; row id = {key} different in {column}");
        assert!(said.contains("MIG0305") && said.contains(&told), "{column}: {said}");
        only_read(&server);
    }
}

#[test]
fn a_row_on_one_side_only_is_missing_or_extra() {
    let Some(cluster) = postgres("rows missing between SQL Server and PostgreSQL") else { return };
    for (is_source, told) in
        [(true, "row id = 3 extra at the target"), (false, "row id = 3 missing at the target")]
    {
        let rows = &ROWS[..2];
        let server = answers([vec![summed(rows)], located(rows, &["3"]).to_vec()].concat());
        let said = compared((&server, &cluster), is_source, "", 7);
        assert!(said.contains(told), "{said}");
    }
}

#[test]
fn a_table_on_one_side_only_is_counted_there() {
    let Some(cluster) = Cluster::start("a table that only SQL Server has") else { return };
    let cases = [
        (true, "orders (3 rows at the source, 0 at the target): missing at the target"),
        (false, "orders (0 rows at the source, 3 at the target): extra at the target"),
    ];
    for (is_source, told) in cases {
        let counted = summed_by(&ROWS, |row| name(row) & 1023);
        let shaped = shaped(ORDERS)[..2].to_vec();
        let server = SqlServer::start([opening(FACTS), shaped, vec![counted]].concat());
        let said = compared((&server, &cluster), is_source, "", 7);
        assert!(said.contains(told), "{said}");
        only_read(&server);
    }
}

#[test]
fn a_table_without_an_integer_key_is_read_by_one_statement() {
    let Some(cluster) = Cluster::start("a table of SQL Server by another key") else { return };
    let keys = ["0a", "0b", "0c"].map(|byte| format!("{byte}9619ff-8b86-d011-b42d-00c04fc964ff"));
    let values = keys.iter().map(|key| format!("('{key}', 'x')")).collect::<Vec<_>>().join(", ");
    let made = "create table orders (mark uuid primary key, note text not null)";
    cluster.sql("crm", &format!("{made}; insert into orders values {values}"));
    let keys = keys.map(|key| &*key.leak());
    let columns: &[Column] =
        &[("mark", "uniqueidentifier", "uuid", false), ("note", "varchar", "text", false)];
    for (note, code) in [("x", 0), ("x ", 7)] {
        let rows = keys.map(|key| [Some(key), Some(if key == keys[1] { note } else { "x" })]);
        let cells = summed_by(&rows, |row| name(row) & (1024 * 1024 - 1));
        let read =
            vec![summed_by(&rows, |row| name(row) & 1023), cells, marked(&rows, &keys[1..2])];
        // Its key has no ends.
        let shaped = shaped(columns)[..2].to_vec();
        let server = SqlServer::start([opening(FACTS), shaped, read].concat());
        let said = compared((&server, &cluster), true, "", code);
        let told = format!("row mark = '{}' different in note", keys[1]);
        assert_eq!(said.contains(&told), code == 7, "{said}");
        only_read(&server);
    }
}

#[test]
fn what_has_no_text_is_not_compared_and_neither_is_its_table() {
    let Some(cluster) = postgres("types of SQL Server without a text") else { return };
    cluster.sql("crm", "alter table orders add score float8");
    let columns = [ORDERS, &[("score", "float", "float8", true)]].concat();
    let server = SqlServer::start([opening(FACTS), shaped(&columns), vec![summed(&ROWS)]].concat());
    let said = compared((&server, &cluster), true, "", 7);
    let told = "not compared: all but columns that have no text on both engines: score (float and double precision)";
    assert!(said.contains(told), "{said}");
}

#[test]
fn what_may_be_null_on_one_side_only_differs() {
    let Some(cluster) = postgres("columns of SQL Server and PostgreSQL") else { return };
    cluster.sql("crm", "alter table orders alter paid drop not null");
    let mut rows = Vec::from(ROWS);
    let server = answers([summed(&rows)]);
    let said = compared((&server, &cluster), true, "", 7);
    let told = "column paid: a column not null at the source, a column at the target";
    assert!(said.contains(told) && !said.contains("rows differ"), "{said}");
    // By name, whatever is in it.
    rows.truncate(0);
    cluster.sql("crm", "alter table orders rename paid to settled");
    let server = answers([]);
    let said = compared((&server, &cluster), true, "", 7);
    assert!(said.contains("rows not compared: the columns do not match"), "{said}");
}

#[test]
fn a_server_that_can_not_be_read_as_one_is_refused() {
    let Some(cluster) = postgres("what is refused of SQL Server") else { return };
    let cases = [
        (0, "14", "compared from version 15 (2019)"),
        (2, "0", "the database allows no snapshots"),
        (2, "3", "the database allows no snapshots"),
        (4, "0", "its user lacks VIEW DEFINITION"),
    ];
    for (at, value, because) in cases {
        let mut facts = FACTS;
        facts[at] = value;
        let server = SqlServer::start(opening(facts));
        let said = compared((&server, &cluster), true, "", 1);
        assert!(said.contains("MIG0307") && said.contains(because), "{said}");
        // Nothing of it was looked at.
        assert_eq!(server.batches().len(), 2, "{:?}", server.batches());
    }
    let server = answers([summed(&ROWS)]);
    let said = compared((&server, &cluster), true, "load: { max_lag_bytes: 1 }", 1);
    assert!(said.contains("leave `max_lag_bytes` out"), "{said}");
}

#[test]
fn what_breaks_off_in_the_middle_of_a_row_is_never_equal() {
    let Some(cluster) = postgres("a SQL Server that breaks off") else { return };
    let Answer::Rows(rows) = summed(&ROWS) else { panic!("rows break off") };
    let server = answers([Answer::BrokenOff(rows)]);
    let said = compared((&server, &cluster), true, "", 1);
    assert!(said.contains("MIG0309") && said.contains("did not answer"), "{said}");
    assert!(!said.contains("equal"), "{said}");
}

#[test]
fn what_takes_too_long_is_asked_for_less_in_the_same_snapshot() {
    let Some(cluster) = postgres("a SQL Server that is slow") else { return };
    let load = "load: { statement: 1h, statement_limit: 1s }";
    let halves = [summed(&ROWS[..1]), summed(&ROWS[1..])];
    let server = answers([vec![Answer::TooSlow, one(["1"])], halves.to_vec()].concat());
    compared((&server, &cluster), true, load, 0);
    let batches = server.batches();
    assert_eq!(server.logins().len(), 1, "{batches:?}");
    let asked: Vec<_> = batches.iter().filter(|it| it.contains("hashbytes('MD5'")).collect();
    for (asked, (low, high)) in asked.iter().zip([(1, 3), (1, 1), (2, 3)]) {
        let range = format!("between convert(bigint, {low}) and convert(bigint, {high})");
        assert!(asked.contains(&range), "{range}: {asked}");
    }
    assert_eq!(asked.len(), 3);
    // Were the snapshot gone with it, what follows would be of another one.
    let server = answers([Answer::TooSlow, one(["0"])]);
    let said = compared((&server, &cluster), true, load, 1);
    assert!(said.contains("its snapshot went with it"), "{said}");
}

#[test]
fn a_busy_server_is_left_alone_until_it_is_not() {
    let Some(cluster) = postgres("a busy SQL Server") else { return };
    let running = |count: &str| one([count]).named("running");
    // In front of every question, and once more after it was busy.
    let questions = [shaped(ORDERS), vec![summed(&ROWS)]].concat();
    let questions = questions.into_iter().flat_map(|question| [running("2"), question]);
    let script = [opening(FACTS), vec![running("3"), running("4")], questions.collect()].concat();
    let server = SqlServer::start(script);
    compared((&server, &cluster), true, "load: { max_running: 2 }", 0);
    let asked = server.batches().into_iter().filter(|it| it.contains("sys.dm_exec_requests"));
    assert_eq!(asked.count(), 7, "{:?}", server.batches());
}

impl Answer {
    /// The same with another name for its only column.
    fn named(self, name: &str) -> Self {
        let Self::Rows(rows) = self else { panic!("rows have names") };
        let named = |row: Named| row.into_values().map(|text| (name.to_owned(), text)).collect();
        Self::Rows(rows.into_iter().map(named).collect())
    }
}
