use super::super::row::testing::row;
use super::*;

fn who(server: &str) -> Who {
    Who { server: server.to_owned(), database: "crm".to_owned() }
}

fn article(name: &str, subscriber: &str) -> Named {
    row(&[
        ("server_name", "SQL-ONE"),
        ("publication_status", "1"),
        ("repl_freq", "0"),
        ("article", name),
        ("srvname", subscriber),
        ("dest_db", "CRM"),
        ("subscription_status", "2"),
        ("queued_reinit", "0"),
    ])
}

fn changed(mut row: Named, column: &str, value: Option<&str>) -> Named {
    row.insert(column.to_owned(), value.map(str::to_owned));
    row
}

fn judged(rows: &[Named]) -> Told<()> {
    in_order(rows, &who("sql-one"), &who("sql-two"))
}

#[test]
fn every_article_has_to_go_to_the_target() {
    let fine =
        [article("orders", "SQL-TWO"), article("orders", "other"), article("notes", "sql-two")];
    assert_eq!(judged(&fine), Ok(()));
    let cases = [
        (vec![], "is gone"),
        (vec![article("orders", "other")], "does not subscribe to article orders"),
        (vec![article("orders", "SQL-TWO"), article("notes", "other")], "to article notes"),
        (vec![changed(article("orders", "SQL-TWO"), "dest_db", Some("else"))], "to article orders"),
        (vec![changed(article("orders", "SQL-TWO"), "srvname", None)], "to article orders"),
        (
            vec![changed(article("orders", "SQL-TWO"), "article", None)],
            "article of the publication is not told",
        ),
    ];
    for (rows, because) in cases {
        let why = judged(&rows).expect_err(because);
        assert!(why.contains(because), "{because}: {why}");
    }
}

#[test]
fn whatever_is_not_in_order_is_said() {
    let cases = [
        ("server_name", Some("SQL-NEW"), "another server answers"),
        ("publication_status", Some("0"), "publication_status of the publication is 0"),
        ("repl_freq", Some("1"), "publication of snapshots"),
        ("repl_freq", None, "publication of snapshots"),
        ("subscription_status", Some("1"), "is not active"),
        ("subscription_status", None, "is not active"),
        ("queued_reinit", Some("1"), "is to be set up anew"),
        ("queued_reinit", None, "is not told"),
    ];
    for (column, value, because) in cases {
        let why =
            judged(&[changed(article("orders", "SQL-TWO"), column, value)]).expect_err(because);
        assert!(why.contains(because), "{because}: {why}");
    }
}

#[test]
fn a_server_of_azure_calls_itself_by_the_first_part_of_its_name() {
    let azure = |subscriber| {
        in_order(&[article("orders", subscriber)], &who("sql-one"), &who("sql-two")).is_ok()
    };
    assert!(azure("sql-two.database.windows.net") && azure("SQL-TWO.database.chinacloudapi.cn"));
    assert!(!azure("sql-two.contoso.example") && !azure("sql-two2.database.windows.net"));
}

fn token(latencies: [Option<&str>; 3]) -> Named {
    let names = ["distributor_latency", "subscriber_latency", "overall_latency"];
    let base = row(&[("subscriber", "SQL-TWO"), ("subscriber_db", "crm")]);
    names.into_iter().zip(latencies).fold(base, |row, (name, value)| changed(row, name, value))
}

fn come(rows: &[Named]) -> Told<Arrival> {
    arrival(rows, &who("sql-two"), 7)
}

#[test]
fn null_is_not_arrived_and_never_zero() {
    assert_eq!(come(&[token([None, None, None])]), Ok(Arrival::InTheLog));
    assert_eq!(come(&[token([Some("2"), None, None])]), Ok(Arrival::AtTheDistributor));
    assert_eq!(come(&[token([Some("2"), Some("0"), None])]), Ok(Arrival::AtTheDistributor));
    assert_eq!(come(&[token([None, Some("0"), Some("0")])]), Ok(Arrival::InTheLog));
    assert_eq!(
        come(&[token([Some("2"), Some("3"), Some("5")])]),
        Ok(Arrival::There { seconds: 5 })
    );
    assert!(come(&[token([Some("2"), Some("3"), Some("soon")])]).is_err());
}

#[test]
fn what_is_told_of_others_says_nothing_of_the_target() {
    let other = changed(token([Some("0"), Some("0"), Some("0")]), "subscriber", Some("other"));
    let elsewhere =
        changed(token([Some("0"), Some("0"), Some("0")]), "subscriber_db", Some("test"));
    assert!(come(&[]).is_err() && come(&[other.clone(), elsewhere.clone()]).is_err());
    let own = token([Some("1"), None, None]);
    assert_eq!(come(&[other, own.clone(), elsewhere]), Ok(Arrival::AtTheDistributor));
    assert!(come(&[own.clone(), own]).is_err());
}

#[test]
fn names_can_not_end_a_statement_early() {
    for call in
        [post("o'brien"), tokens("o'brien"), history("o'brien", 7), subscriptions("o'brien")]
    {
        assert!(call.contains("N'o''brien'"), "{call}");
    }
}
