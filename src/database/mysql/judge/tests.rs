//! Every reading that must not be taken for ready, one at a time: a healthy pair with one thing wrong.
#![expect(clippy::unnecessary_wraps, reason = "each stands where a reading may be missing")]

use super::*;

const MARIA: Product = Product::MariaDb(10, 11);
const MYSQL: Product = Product::MySql(8, 0);

fn some(text: &str) -> Option<String> {
    Some(text.to_owned())
}

fn at(product: Product, text: &str) -> Option<Gtids> {
    Some(Gtids::read(product, text).expect("a position"))
}

fn log(text: &str) -> Option<Log> {
    Some(gtid::log(text).expect("a log"))
}

fn connection(source: &str) -> Connection {
    let none = || (some("0"), some(""));
    let filters = ["Replicate_Do_DB", "Replicate_Wild_Ignore_Table"];
    Connection {
        source: some(source),
        io: some("Yes"),
        sql: some("Yes"),
        io_error: none(),
        sql_error: none(),
        skips: some("0"),
        filters: filters.map(|name| (name.to_owned(), some(""))).into(),
    }
}

fn look(product: Product) -> Look {
    let is_maria = product == MARIA;
    let (one, two) = if is_maria { ("1", "2") } else { ("aa", "bb") };
    let (end, reached) =
        if is_maria { ("0-1-9,5-3-2", "0-1-8,5-3-2") } else { ("aa:1-9", "aa:1-8") };
    let own = |id, position| Own {
        product,
        id: some(id),
        logs: Some(true),
        position: at(product, position),
        log: is_maria.then(|| gtid::log(position).expect("a log")),
        applied: is_maria.then(|| Gtids::read(MARIA, "0-9-3").expect("a position")),
    };
    Look {
        database: "crm".to_owned(),
        known: None,
        source: Source {
            own: own(one, end),
            replicas: Some(vec!["7".to_owned(), two.to_uppercase()]),
            filters: Some(vec![("Binlog_Do_DB".to_owned(), some(""))]),
        },
        target: Target {
            own: own(two, reached),
            connections: Some(vec![connection(one)]),
            lenient: Some(vec![
                ("slave_exec_mode".to_owned(), some("STRICT")),
                ("slave_skip_errors".to_owned(), some("OFF")),
            ]),
        },
    }
}

#[test]
fn a_healthy_pair_is_where_the_target_is() {
    for (product, reached) in [(MARIA, "0-1-8,5-3-2"), (MYSQL, "aa:1-8")] {
        assert_eq!(look(product).judge(None), Standing::At(at(product, reached).expect("one")));
    }
    // Another connection, and tables of another database that are left out, are nobody's business.
    let mut look = look(MARIA);
    connections(&mut look).insert(0, Connection { sql: some("No"), ..connection("3") });
    first(&mut look, "1").filters[1].1 = some("mysql.%,performance\\_schema.%,other.log");
    assert!(matches!(look.judge(None), Standing::At(_)));
}

#[test]
fn what_the_author_knows_of_is_no_stray() {
    let mut maria = look(MARIA);
    maria.target.own.log = log("0-1-8,0-2-4,5-3-2");
    let mut mysql = look(MYSQL);
    mysql.target.own.position = at(MYSQL, "aa:1-8,bb:1-4");
    for (mut look, few, all) in [(maria, "0-2-3", "0-2-4"), (mysql, "bb:1-3", "bb:1-4")] {
        for (known, is_ready) in [(None, false), (Some(few), false), (Some(all), true)] {
            look.known = known.and_then(|known| at(look.source.own.product, known));
            assert_eq!(matches!(look.judge(None), Standing::At(_)), is_ready, "{known:?}");
        }
    }
}

fn connections(look: &mut Look) -> &mut Vec<Connection> {
    look.target.connections.as_mut().expect("some")
}

fn first<'a>(look: &'a mut Look, source: &str) -> &'a mut Connection {
    connections(look).iter_mut().find(|it| it.source.as_deref() == Some(source)).expect("one")
}

fn mine(look: &mut Look) -> &mut Connection {
    &mut connections(look)[0]
}

fn lenient(look: &mut Look) -> &mut Vec<(String, Option<String>)> {
    look.target.lenient.as_mut().expect("some")
}

type Spoil = (&'static str, fn(&mut Look), &'static str);

const SPOILED: &[Spoil] = &[
    ("follows nobody", |it| connections(it).clear(), "follows nobody"),
    ("null: connections", |it| it.target.connections = None, "is not told"),
    ("another source", |it| mine(it).source = some("3"), "follows server 3"),
    ("null: source", |it| mine(it).source = None, "follows server unknown"),
    ("receiving stopped", |it| mine(it).io = some("No"), "receives at the target runs: No"),
    ("connecting", |it| mine(it).io = some("Connecting"), "runs: Connecting"),
    ("null: receiving", |it| mine(it).io = None, "is not told"),
    ("applying stopped", |it| mine(it).sql = some("No"), "applies at the target runs: No"),
    ("null: applying", |it| mine(it).sql = None, "is not told"),
    (
        "conflict",
        |it| mine(it).sql_error = (some("1062"), some("Duplicate entry")),
        "error 1062: Duplicate entry",
    ),
    ("null: error", |it| mine(it).sql_error.0 = None, "is not told"),
    ("no way to the source", |it| mine(it).io_error.0 = some("2003"), "error 2003"),
    ("null: error of receiving", |it| mine(it).io_error.0 = None, "is not told"),
    ("passes over", |it| mine(it).skips = some("1"), "pass over 1 events"),
    ("null: passes over", |it| mine(it).skips = None, "is not told"),
    ("filter by database", |it| mine(it).filters[0].1 = some("crm"), "Replicate_Do_DB is crm"),
    ("table left out", |it| mine(it).filters[1].1 = some("CRM.log"), "Ignore_Table is CRM.log"),
    ("pattern left out", |it| mine(it).filters[1].1 = some("%.log"), "Ignore_Table is %.log"),
    (
        "one character left out",
        |it| mine(it).filters[1].1 = some("c_m.log"),
        "Ignore_Table is c_m.log",
    ),
    ("no database", |it| mine(it).filters[1].1 = some("%log"), "Ignore_Table is %log"),
    ("null: filter", |it| mine(it).filters[0].1 = None, "is not told"),
    (
        "log filtered",
        |it| it.source.filters.as_mut().expect("some")[0].1 = some("x"),
        "Binlog_Do_DB is x",
    ),
    ("null: filters of the log", |it| it.source.filters = None, "is not told"),
    ("lenient", |it| lenient(it)[0].1 = some("IDEMPOTENT"), "exec_mode is IDEMPOTENT"),
    ("skips errors", |it| lenient(it)[1].1 = some("1062"), "skip_errors is 1062"),
    ("null: lenient", |it| lenient(it)[1].1 = None, "is not told"),
    ("not there: lenient", |it| drop(lenient(it).pop()), "is not told"),
    ("null: all of it", |it| it.target.lenient = None, "is not told"),
    ("not connected", |it| it.source.replicas = Some(vec!["7".to_owned()]), "not connected"),
    ("null: replicas", |it| it.source.replicas = None, "is not told"),
    ("source without a log", |it| it.source.own.logs = Some(false), "source keeps no binary log"),
    ("null: log", |it| it.source.own.logs = None, "is not told"),
    ("target without a log", |it| it.target.own.logs = Some(false), "target keeps no binary log"),
    ("null: log of the target", |it| it.target.own.logs = None, "is not told"),
    ("null: end", |it| it.source.own.position = None, "is not told"),
    ("null: reached", |it| it.target.own.position = None, "is not told"),
    ("null: who", |it| it.source.own.id = None, "is not told"),
    ("null: who the target is", |it| it.target.own.id = None, "is not told"),
];

#[test]
fn one_thing_wrong_is_never_ready_and_says_what() {
    for product in [MARIA, MYSQL] {
        for (name, spoil, says) in SPOILED {
            let mut look = look(product);
            spoil(&mut look);
            let standing = look.judge(None);
            let told = matches!(&standing, Standing::Unknown(why) if why.contains(says));
            assert!(told, "{name}, {product:?}: {standing:?}");
        }
    }
}

const SPOILED_MARIA: &[Spoil] = &[
    (
        "stray",
        |it| it.target.own.log = log("0-1-8,0-2-9"),
        "target's own, which the source has not: 0-2-9",
    ),
    ("stray in a domain", |it| it.target.own.log = log("0-1-8,7-2-1"), "7-2-1"),
    ("null: log", |it| it.target.own.log = None, "is not told"),
    ("null: log of the source", |it| it.source.own.log = None, "is not told"),
    ("beyond", |it| it.target.own.position = at(MARIA, "0-1-10"), "has 0-1-10, which"),
    ("another history", |it| it.target.own.position = at(MARIA, "0-3-9,5-3-2"), "0-3-9"),
    ("out of order", |it| it.source.own.log = log("0-1-9,0-2-12,5-3-2"), "out of order"),
    (
        "nothing yet",
        |it| (it.source.own.position, it.source.own.log) = (at(MARIA, ""), log("")),
        "no transaction yet",
    ),
    ("a replica itself", |it| it.source.own.applied = at(MARIA, "0-9-10"), "log_slave_updates"),
    ("another replica", |it| it.source.own.applied = at(MARIA, "8-9-1"), "log_slave_updates"),
    ("null: applied", |it| it.source.own.applied = None, "is not told"),
    ("no server id", |it| it.target.own.id = some("7 "), "not connected"),
];

const SPOILED_MYSQL: &[Spoil] = &[
    ("stray", |it| it.target.own.position = at(MYSQL, "aa:1-8,bb:1"), "has not: bb:1"),
    ("beyond", |it| it.target.own.position = at(MYSQL, "aa:1-10"), "has aa:1-10, which"),
    ("nothing yet", |it| it.source.own.position = at(MYSQL, ""), "no transaction yet"),
];

#[test]
fn histories_that_differ_are_never_ready() {
    let spoiled = SPOILED_MARIA.iter().map(|it| (MARIA, it));
    for (product, (name, spoil, says)) in spoiled.chain(SPOILED_MYSQL.iter().map(|it| (MYSQL, it)))
    {
        let mut look = look(product);
        spoil(&mut look);
        let standing = look.judge(None);
        let told = matches!(&standing, Standing::Unknown(why) if why.contains(says));
        assert!(told, "{name}: {standing:?}");
    }
}

#[test]
fn a_source_that_goes_back_is_another_one() {
    for (product, back) in [(MARIA, "0-1-8,5-3-2"), (MYSQL, "aa:1-8")] {
        let before = look(product);
        assert!(matches!(look(product).judge(Some(&before)), Standing::At(_)));
        let mut anew = look(product);
        anew.source.own.position = at(product, back);
        anew.source.own.log = (product == MARIA).then(|| gtid::log(back).expect("a log"));
        let told = anew.judge(Some(&before));
        assert!(matches!(&told, Standing::Unknown(why) if why.contains("begun anew")), "{told:?}");
        let mut other = look(product);
        other.source.own.id = some("9");
        let told = other.judge(Some(&before));
        assert!(
            matches!(&told, Standing::Unknown(why) if why.contains("another server")),
            "{told:?}"
        );
    }
}
