//! The wall of a pause of MariaDB against whoever finds a way through it, and what is found before anything is changed.

use sqlx::ConnectOptions as _;

use super::cutover::{as_operator, catalogue, pair};
use super::replicas::Replicas;
use crate::lab::{Ended, Lab};

/// Pauses the source, with these parameters besides.
fn pause(with: &str) -> String {
    format!(
        "    - {{ id: pause, uses: writes.pause, timeout: 60s, with: {{ system: source{with} }} }}"
    )
}

fn says(ended: &Ended, words: &[&str]) {
    for word in words {
        assert!(ended.said().contains(word), "{word}: {}", ended.said());
    }
}

/// The pause is refused with these words, in a dry run too, and changes nothing.
fn refused(replicas: &Replicas, with: &str, words: &[&str]) {
    let before = (catalogue(&replicas.source), catalogue(&replicas.target));
    let lab = Lab::new("");
    let runbook = as_operator(replicas, &lab, &pause(with));
    says(&lab.migrate(["run", &runbook]).expect(4), words);
    let dry = Lab::new("");
    let runbook = as_operator(replicas, &dry, &pause(with));
    let shown = dry.migrate(["run", &runbook, "--dry-run"]).stdout();
    for word in words.iter().filter(|word| !word.starts_with("MIG") && !word.contains("nothing")) {
        assert!(shown.contains(word), "{word}: {shown}");
    }
    assert_eq!((catalogue(&replicas.source), catalogue(&replicas.target)), before, "{words:?}");
}

fn locked(replicas: &Replicas) -> String {
    replicas.source.text(
        "crm",
        "select group_concat(concat(user, '@', host) order by user, host separator ' ') from mysql.global_priv
            where json_value(priv, '$.account_locked') = 1 and user <> 'mariadb.sys'",
    )
}

#[test]
fn whoever_can_change_something_is_locked_and_who_can_not_is_not() {
    let Some(replicas) = pair("who may write to MariaDB") else { return };
    let source = &replicas.source;
    source.sql(
        "crm",
        "create user by_global, by_table, by_column, by_routine, by_role, by_proxy, reader, stranger, app@'10.0.0.%';
            create table hidden (id int primary key, note text);
            create procedure add_note() insert into hidden values (1, 'by its definer');
            grant create on *.* to by_global@'%';
            grant delete on hidden to by_table@'%'; grant update (note) on hidden to by_column@'%';
            grant execute on procedure add_note to by_routine@'%';
            create role inner_crew; grant insert on crm.* to inner_crew; create role crew; grant inner_crew to crew;
            grant crew to by_role@'%'; grant select on crm.* to reader@'%';
            insert into mysql.proxies_priv (host, user, proxied_host, proxied_user, with_grant, grantor)
                values ('%', 'by_proxy', '%', 'app', 0, 'root@localhost');
            flush privileges",
    );
    replicas.caught_up();
    let before = catalogue(source);
    let target = catalogue(&replicas.target);
    let lab = Lab::new("");
    let runbook = as_operator(&replicas, &lab, &pause(", accept: [superusers], until: target"));
    let writers =
        "app@% app@10.0.0.% by_column@% by_global@% by_proxy@% by_role@% by_routine@% by_table@%";
    let shown = lab.migrate(["run", &runbook, "--dry-run"]).expect(0).stdout();
    for writer in writers.split(' ') {
        assert!(shown.contains(&format!("account {writer} at")), "{writer}: {shown}");
    }
    lab.migrate(["run", &runbook]).expect(0);
    assert_eq!(locked(&replicas), writers);
    lab.migrate(["rollback", &lab.run_id(), "--yes"]).expect(8);
    assert_eq!(catalogue(source), before);
    assert_eq!(catalogue(&replicas.target), target, "no lock was replicated");
    // What everybody may, everybody is locked for.
    source.sql("crm", "grant insert on hidden to public");
    replicas.caught_up();
    let lab = Lab::new("");
    let runbook = as_operator(&replicas, &lab, &pause(", accept: [superusers], until: target"));
    let said = lab.migrate(["run", &runbook]).expect(0).said();
    assert!(said.contains("login of repl@%"), "{said}");
    assert_eq!(locked(&replicas), format!("{writers} reader@% stranger@%"));
}

#[test]
fn what_stands_in_the_way_is_found_before_anything_is_changed() {
    let Some(replicas) = pair("preflight of a pause of MariaDB") else { return };
    let source = &replicas.source;
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    let sessions = runtime.block_on(async {
        let chief = source.options("admin").connect().await.expect("a session");
        let same = source.options("operator").connect().await.expect("a session");
        (chief, same)
    });
    source.sql(
        "crm",
        "create table cache (id int) engine = memory; create user ''@'%'; grant insert on crm.* to ''@'%';
         create event nightly on schedule every 1 day do delete from crm.orders where id < 0;
         set global event_scheduler = on",
    );
    replicas.caught_up();
    let words = [
        "MIG0524",
        "admin, 1 sessions",
        "1 other sessions are of operator",
        "crm.cache",
        "@%",
        "crm.nightly",
        "nothing was changed",
    ];
    refused(&replicas, ", until: target", &words);
    drop(sessions);
    source.sql("crm", "drop user ''@'%'");
    replicas.caught_up();
    source.until(
        "crm",
        "select count(*) from information_schema.processlist where user = 'operator'",
        "0",
    );
    let accepted = ", accept: [superusers, events], until: target";
    refused(&replicas, accepted, &["tables without transactions", "crm.cache"]);
    refused(
        &replicas,
        ", roles: [ap]",
        &["roles that are not there, or are this program's own", "ap"],
    );
    refused(&replicas, ", roles: [operator]", &["operator@%"]);
    let lab = Lab::new("");
    let runbook = as_operator(&replicas, &lab, &pause(", slot: s, until: target"));
    says(&lab.migrate(["run", &runbook]).expect(4), &["MIG0524", "`slot` are of PostgreSQL"]);
    // A source into which others write.
    source.sql("crm", &format!("change master to master_host = '127.0.0.1', master_port = {}, master_user = 'repl', master_use_gtid = no; start slave", replicas.link.port));
    refused(&replicas, accepted, &["replication by which others write into the source"]);
    source.sql("crm", "stop slave; reset slave all; drop table cache");
    source.sql("crm", "revoke read_only admin, binlog admin on *.* from operator@'%'; revoke select on mysql.* from operator@'%'");
    replicas.caught_up();
    replicas.target.sql("crm", "create table stray (id int primary key)");
    let lacks = [
        "transactions of the target's own",
        "lacks READ_ONLY ADMIN",
        "lacks BINLOG ADMIN",
        "lacks SELECT on mysql.*",
    ];
    refused(&replicas, accepted, &lacks);
}

#[test]
fn a_gap_that_another_hand_makes_is_seen_in_every_attempt() {
    let Some(replicas) = pair("gaps in a wall of MariaDB") else { return };
    let source = &replicas.source;
    source.sql("crm", "xa start 'tx-7'; insert into orders (id, item) values (7, 'two-phase') on duplicate key update item = 'two-phase'; xa end 'tx-7'; xa prepare 'tx-7'");
    let lab = Lab::new("");
    let steps = pause(", accept: [superusers], until: target, drain_within: 1s");
    let runbook = as_operator(&replicas, &lab, &steps);
    says(&lab.migrate(["run", &runbook]).expect(1), &["MIG0522", "prepared transaction 'tx-7'"]);
    let set = |what: &str| {
        source.sql("crm", &format!("set sql_log_bin = 0; alter user app@'%' account {what}"));
    };
    set("unlock");
    says(&lab.migrate(["resume"]).expect(11), &["MIG0523", "app@% may log in"]);
    set("lock");
    // What came between the look and the wall is not passed over either.
    source.sql("crm", "create table late (id int) engine = memory");
    source.sql("crm", "xa rollback 'tx-7'");
    replicas.caught_up();
    says(&lab.migrate(["resume"]).expect(4), &["MIG0524", "crm.late"]);
    source.sql("crm", "drop table late");
    lab.migrate(["resume"]).expect(0);
    assert_eq!(source.text("crm", "select @@global.read_only"), "ON");
    lab.migrate(["rollback", &lab.run_id(), "--yes"]).expect(8);
    assert_eq!(locked(&replicas), "");
}

#[test]
fn what_is_of_postgresql_is_refused_by_name() {
    let Some(replicas) = pair("writes.resume of MariaDB") else { return };
    let open = |with: &str| {
        let lab = Lab::new("");
        let steps = format!(
            "    - {{ id: open, uses: writes.resume, timeout: 60s, with: {{ system: target, {with} }} }}"
        );
        let runbook = as_operator(&replicas, &lab, &steps);
        lab.migrate(["run", &runbook]).expect(4)
    };
    let before = catalogue(&replicas.target);
    says(&open("sequences_from: source"), &["MIG0524", "carries sequences and AUTO_INCREMENT"]);
    says(&open("reverse: { to: source }"), &["MIG0524", "`reverse` is of PostgreSQL"]);
    says(&open("roles: [ap]"), &["MIG0524", "there is no account ap"]);
    assert_eq!(catalogue(&replicas.target), before);
}
