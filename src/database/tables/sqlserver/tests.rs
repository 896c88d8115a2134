use super::*;
use crate::database::mysql::Product;

fn facts(changed: &[(usize, &str)]) -> [String; 6] {
    let mut facts = ["15", "3", "1", "1", "1", "sql-one crm"].map(str::to_owned);
    for (at, value) in changed {
        (*value).clone_into(&mut facts[*at]);
    }
    facts
}

#[test]
fn a_database_is_compared_where_nothing_of_it_moves_or_is_hidden() {
    assert_eq!(refused(&facts(&[])), None);
    // Azure SQL Database and a managed instance, whatever version they say.
    for edition in ["5", "8"] {
        assert_eq!(refused(&facts(&[(0, "12"), (1, edition)])), None);
    }
    let why = |changed: &[(usize, &str)]| refused(&facts(changed)).expect("refused");
    assert!(why(&[(0, "14")]).contains("from version 15 (2019)"));
    // Nothing told is nothing known.
    assert!(why(&[(0, "")]).contains("from version 15 (2019)"));
    for state in ["0", "2", "3", ""] {
        assert!(why(&[(2, state)]).contains("allow_snapshot_isolation"), "{state}");
    }
    assert!(why(&[(3, "0")]).contains("lacks SELECT"));
    assert!(why(&[(4, "")]).contains("lacks VIEW DEFINITION"));
}

#[test]
fn what_is_not_in_the_snapshot_or_not_whole_is_not_read() {
    assert_eq!(unreadable("0", "0", "0"), None);
    assert!(unreadable("1", "0", "0").expect("not").contains("in memory"));
    assert!(unreadable("0", "1", "0").expect("not").contains("external"));
    assert!(unreadable("0", "0", "2").expect("not").contains("security policy"));
    // An answer that has no row is no table that can be read.
    assert!(unreadable("", "", "").is_some());
}

#[test]
fn columns_are_told_with_their_key_and_what_is_hidden_is_not_compared() {
    let told = |texts: [&str; 5]| texts.map(str::to_owned);
    let columns = [
        told(["b", "int", "0", "", "2"]),
        told(["v", "nvarchar", "1", "masked", "0"]),
        told(["a", "bigint", "0", "", "1"]),
    ];
    assert_eq!(key(&columns), ["a", "b"]);
    let [b, v, a] = columns.map(column);
    assert_eq!((b.form, b.canon, b.not_null), (Form::Int4, Some(Canon::Whole), true));
    assert_eq!((v.declared.as_str(), v.canon, v.not_null), ("masked nvarchar", None, false));
    assert_eq!(a.form, Form::Int8);
}

#[test]
fn names_stand_in_questions_as_texts() {
    let name = format!("{}.{}", quoted("dbo"), quoted("it's]"));
    for asked in [table_of(&name), columns_of(&name)] {
        assert!(asked.contains("object_id(N'[dbo].[it''s]]]')"), "{asked}");
    }
}

#[test]
fn only_a_postgresql_server_is_compared_with_it() {
    let postgres = Engine::Postgres { major: 15, encoding: "UTF8".to_owned() };
    let mariadb = Engine::MySql(Product::MariaDb(10, 11));
    assert!(Engine::SqlServer.meets(&postgres) && postgres.meets(&Engine::SqlServer));
    assert!(postgres.meets(&mariadb) && mariadb.meets(&mariadb));
    for other in [&mariadb, &Engine::SqlServer] {
        assert!(!Engine::SqlServer.meets(other) && !other.meets(&Engine::SqlServer));
    }
}
