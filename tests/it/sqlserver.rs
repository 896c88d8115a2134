//! `replication.wait` between SQL Servers, and `verify.tables` from one to PostgreSQL, against servers of these tests that speak
//! the protocol: no SQL Server was at hand. What its views answer is taken from their documentation; a second client that others
//! wrote checks what is spoken here.

mod server;
mod tables;
mod tds;
mod tls;
mod tracer;

use std::io::Write as _;
use std::process::{Command, Stdio};

use migrate::database::Named;

use crate::lab::Lab;
use crate::servers::certified;
use server::{Answer, Door, PASSWORD, SqlServer, USER};

const END: &str = "43000000312000001";
const BEFORE: &str = "43000000311200001";

fn row(fields: &[(&str, &str)]) -> Named {
    fields.iter().map(|(name, value)| ((*name).to_owned(), Some((*value).to_owned()))).collect()
}

/// A replica of an availability group whose log on disk ends there.
fn replica(id: &str, is_local: bool, is_primary: bool, log: &str) -> Named {
    let bit = |it| if it { "1" } else { "0" };
    let role = if is_local == is_primary { "PRIMARY" } else { "SECONDARY" };
    row(&[
        ("group_id", "11111111-1111-1111-1111-111111111111"),
        ("group_name", "ag-crm"),
        ("is_distributed", "0"),
        ("replica_id", id),
        ("replica_server_name", id),
        ("availability_mode_desc", "SYNCHRONOUS_COMMIT"),
        ("is_local", bit(is_local)),
        ("is_primary_replica", bit(is_primary)),
        ("group_database_id", "db"),
        ("synchronization_state_desc", "SYNCHRONIZED"),
        ("is_suspended", "0"),
        ("database_state_desc", "ONLINE"),
        ("log_send_queue_size", "0"),
        ("redo_queue_size", "0"),
        ("end_of_log_lsn", log),
        ("last_hardened_lsn", log),
        ("last_commit_lsn", BEFORE),
        ("connected_state_desc", "CONNECTED"),
        ("local_role_desc", role),
    ])
}

fn primary() -> Answer {
    // Of its secondary it says what it would like to be true.
    Answer::Rows(vec![replica("one", true, true, END), replica("two", false, false, END)])
}

fn secondary(log: &str) -> Answer {
    Answer::Rows(vec![replica("two", true, false, log)])
}

fn changed(answer: Answer, column: &str, value: Option<&str>) -> Answer {
    let Answer::Rows(mut rows) = answer else { panic!("rows are changed") };
    rows[0].insert(column.to_owned(), value.map(str::to_owned));
    Answer::Rows(rows)
}

/// Log shipping: the source, and a target that has restored so far.
fn shipping(restored: &str) -> (Answer, Answer) {
    let job = |last: &str| {
        row(&[
            ("last_lsn", last),
            ("family_guid", "family"),
            ("last_recovery_fork_guid", "fork"),
            ("seconds_ago", "60"),
            ("threshold_minutes", "45"),
        ])
    };
    let mut source = job(END);
    source.extend(row(&[
        ("server_name", "SQL-ONE"),
        ("state_desc", "RESTORING"),
        ("recovery_model_desc", "FULL"),
    ]));
    let mut target = job(restored);
    target.extend(row(&[
        ("primary_server", "SQL-ONE"),
        ("primary_database", "crm"),
        ("state_desc", "RESTORING"),
        ("is_in_standby", "0"),
    ]));
    (Answer::Rows(vec![source]), Answer::Rows(vec![target]))
}

/// Geo-replication: the source, acknowledged so long ago, and a target whose last commit is of that time.
fn geo(acknowledged: &str, last_commit: &str) -> (Answer, Answer) {
    let link = |server, partner, role, last_commit| {
        row(&[
            ("server_name", server),
            ("database_name", "crm"),
            ("partner_server", partner),
            ("partner_database", "crm"),
            ("role_desc", role),
            ("replication_state_desc", "CATCH_UP"),
            ("last_commit", last_commit),
        ])
    };
    let mut source = link("sql-one", "sql-two", "PRIMARY", "1796000000000000");
    source.extend(row(&[("replication_lag_sec", "0"), ("acknowledged_ms_ago", acknowledged)]));
    let target = link("sql-two", "sql-one", "SECONDARY", last_commit);
    (Answer::Rows(vec![source]), Answer::Rows(vec![target]))
}

/// How long something may take that ends well, and how long is waited for what never does.
const PATIENCE: &str = "60s";
const IN_VAIN: &str = "4s";

/// A runbook that waits for the second of two servers, in a lab that holds the password.
fn runbook(lab: &Lab, ports: (u16, u16), more: &str, with: &str, timeout: &str) -> String {
    let system = |port| {
        let server = format!("host=127.0.0.1 port={port} dbname=crm user={USER} connect_timeout=1");
        format!("{{ sqlserver: \"{server} {more}\", password: db }}")
    };
    let (source, target) = (system(ports.0), system(ports.1));
    let limit = if with.contains("max_lag") { "" } else { "max_lag: 0s," };
    let steps = format!(
        "    - id: lag
      uses: replication.wait
      timeout: {timeout}
      with: {{ source: source, target: target, poll: 100ms, hold_for: 300ms, {limit} {with} }}"
    );
    lab.pair(PASSWORD, &source, &target, &steps)
}

/// Runs the wait to its end; what was said.
#[track_caller]
fn wait(source: &SqlServer, target: &SqlServer, with: &str, code: i32, says: &[&str]) -> String {
    let lab = Lab::new("");
    let timeout = if code == 0 { PATIENCE } else { IN_VAIN };
    let runbook = runbook(&lab, (source.port, target.port), "", with, timeout);
    let said = lab.migrate(["run", &runbook]).expect(code).said();
    for says in says {
        assert!(said.contains(says), "{says}: {said}");
    }
    let journal = lab.journal().unwrap_or_default();
    assert!(!journal.contains(PASSWORD) && !said.contains(PASSWORD));
    said
}

const GROUP: &str = "by: availability-group";

/// Nothing but settings of its own session, and questions within transactions that are rolled back.
#[track_caller]
fn only_asked(server: &SqlServer) {
    let batches = server.batches();
    assert!(batches.len() > 2, "{batches:?}");
    for batch in batches {
        let is_setting = batch.starts_with("set ansi_nulls") && !batch.contains("select");
        let is_question = batch.starts_with("begin transaction; select ")
            && batch.ends_with("; rollback transaction")
            && batch.matches(';').count() == 2;
        assert!(is_setting || is_question, "{batch}");
    }
}

#[test]
fn the_step_waits_until_the_target_is_there_by_each_mechanism() {
    let (ships, restored) = shipping(END);
    let (leads, follows) = geo("900", "1796000000000000");
    let cases = [
        ("availability-group", "master", primary(), secondary(BEFORE), secondary(END)),
        ("log-shipping", "master", ships, shipping(BEFORE).1, restored),
        ("geo-replication", "crm", leads, geo("900", "1795999990000000").1, follows),
    ];
    for (by, database, source, behind, there) in cases {
        // A pair is found, and a while goes by in which the target is not there.
        let behind = std::iter::repeat_n(behind, 60);
        let source = SqlServer::start([source]);
        let target = SqlServer::start(behind.chain([there]).collect::<Vec<_>>());
        wait(&source, &target, &format!("by: {by}"), 0, &["at or under the limit"]);
        for server in [&source, &target] {
            only_asked(server);
            let logins = server.logins();
            assert!(
                logins.iter().all(|it| it.user == USER && it.database == database),
                "{logins:?}"
            );
        }
        assert!(target.batches().len() > 60, "{by}: {}", target.batches().len());
    }
}

#[test]
fn a_dry_run_looks_and_a_sandbox_run_does_not() {
    let (source, target) = (SqlServer::start([primary()]), SqlServer::start([secondary(END)]));
    let lab = Lab::new("");
    let runbook = runbook(&lab, (source.port, target.port), "", GROUP, PATIENCE);
    let dry = lab.migrate(["run", &runbook, "--dry-run"]).expect(0);
    assert!(dry.stdout().contains("lag of target"), "{}", dry.said());
    only_asked(&target);
    let asked = target.batches().len();
    let ended = lab.run(&runbook, &[]).expect(1);
    assert!(ended.said().contains("this is a sandbox run"), "{}", ended.said());
    assert_eq!(target.batches().len(), asked);
}

#[test]
fn what_is_not_well_is_never_ready_and_says_why() {
    let stale = geo("600000", "1796000000000000");
    let recovered = changed(shipping(END).1, "state_desc", Some("ONLINE"));
    let suspended = changed(secondary(END), "is_suspended", Some("1"));
    let suspended = changed(suspended, "suspend_reason_desc", Some("SUSPEND_FROM_USER"));
    let cases = [
        (GROUP, primary(), secondary(BEFORE), "blocks of log or more behind"),
        (GROUP, primary(), suspended, "data movement is suspended: SUSPEND_FROM_USER"),
        (GROUP, primary(), changed(secondary(END), "last_hardened_lsn", None), "is not told"),
        (
            GROUP,
            changed(primary(), "is_primary_replica", Some("0")),
            secondary(END),
            "roles have changed",
        ),
        (GROUP, primary(), Answer::Error(1205, "deadlocked"), "(error 1205)"),
        (GROUP, Answer::Error(40613, "not currently available"), secondary(END), "(error 40613)"),
        (GROUP, primary(), broken_off(), "did not answer"),
        (GROUP, primary(), Answer::Nothing, "no answer came in time"),
        ("by: log-shipping", shipping(END).0, recovered, "it takes no more logs"),
        ("by: geo-replication", stale.0, stale.1, "the reading is 600 s old"),
    ];
    for (with, source, target, because) in cases {
        let (source, target) = (SqlServer::start([source]), SqlServer::start([target]));
        wait(&source, &target, with, 4, &["MIG0411", because]);
    }
}

/// A secondary whose answer breaks off in its only row.
fn broken_off() -> Answer {
    let Answer::Rows(rows) = secondary(END) else { panic!("rows break off") };
    Answer::BrokenOff(rows)
}

#[test]
fn what_breaks_off_and_comes_back_is_asked_again() {
    let source =
        SqlServer::start([primary(), Answer::Error(1222, "lock request time out"), primary()]);
    let found = secondary(END);
    let target = SqlServer::start([broken_off(), found.clone(), broken_off(), found]);
    wait(&source, &target, GROUP, 0, &["at or under the limit"]);
    assert!(target.logins().len() > 2, "{:?}", target.logins());
}

#[test]
fn what_waiting_does_not_heal_is_refused_at_once() {
    let refused = |with: &str, target: Answer, code: i32, says: &[&str]| {
        let (source, target) = (SqlServer::start([primary()]), SqlServer::start([target]));
        wait(&source, &target, with, code, says);
    };
    let denied = Answer::Error(300, "VIEW SERVER STATE permission was denied on object 'server'.");
    refused(GROUP, denied, 4, &["MIG0308", "VIEW SERVER STATE", "(error 300)"]);
    refused(GROUP, Answer::Rows(vec![]), 4, &["MIG0412", "there is no replica of the database"]);
    refused("stale_after: 1m", secondary(END), 1, &["MIG0307", "say by what the target follows"]);
    let beat = format!("{GROUP}, heartbeat: true");
    refused(&beat, secondary(END), 1, &["MIG0307", "no heartbeat is written to a SQL Server"]);
    let slot = format!("{GROUP}, slot: one");
    refused(&slot, secondary(END), 1, &["MIG0307", "belong to PostgreSQL"]);
}

#[test]
fn a_login_is_refused_sent_on_or_never_answered() {
    let target = SqlServer::start([secondary(END)]);
    let there = SqlServer::start([primary()]);
    // Azure's gateway names the server that has the database.
    let gateway = SqlServer::behind(Door::Elsewhere(there.port), [primary()]);
    wait(&gateway, &target, GROUP, 0, &[]);
    assert!(gateway.batches().is_empty() && !there.batches().is_empty());
    let deaf = SqlServer::behind(Door::Deaf, [primary()]);
    wait(&deaf, &target, GROUP, 4, &["MIG0411", "no connection within 1 s"]);
    let lab = Lab::new("");
    let wrong = runbook(&lab, (there.port, target.port), "", GROUP, PATIENCE);
    lab.write("db", "another password");
    let said = lab.migrate(["run", &wrong]).expect(4).said();
    assert!(said.contains("MIG0308") && said.contains("(error 18456)"), "{said}");
    // What is to be encrypted does not go in the clear: nobody logs in.
    let (before, lab) = (target.logins().len(), Lab::new(""));
    let encrypted =
        runbook(&lab, (there.port, target.port), "sslmode=verify-full", GROUP, PATIENCE);
    let said = lab.migrate(["run", &encrypted]).expect(4).said();
    assert!(said.contains("MIG0308") && said.contains("offers no TLS"), "{said}");
    assert_eq!(target.logins().len(), before);
}

#[test]
fn a_server_is_spoken_to_only_when_it_proves_who_it_is() {
    let [own, certificate, key] = certified("127.0.0.1");
    let [named, other_certificate, other_key] = certified("sql.contoso.example");
    let proves = |certificate: &str, key: &str, answer: Answer| {
        SqlServer::behind(Door::Encrypted(tls::identity(certificate, key)), [answer])
    };
    let source = proves(&certificate, &key, primary());
    let target = proves(&certificate, &key, secondary(END));
    let other = proves(&other_certificate, &other_key, secondary(END));
    let run = |target: &SqlServer, ca: &str, code: i32| {
        let lab = Lab::new("");
        lab.write("ca.pem", &own);
        lab.write("named.pem", &named);
        let proof = format!("sslmode=verify-full {ca}");
        let runbook = runbook(&lab, (source.port, target.port), &proof, GROUP, PATIENCE);
        lab.migrate(["run", &runbook]).expect(code).said()
    };
    run(&target, "sslrootcert=ca.pem", 0);
    let (before, there) = (target.logins().len(), target.batches().len());
    assert!(before > 0 && there > 2);
    // A CA that is not the server's, none but the known ones, and another server's certificate.
    for (server, ca) in
        [(&target, "sslrootcert=named.pem"), (&target, ""), (&other, "sslrootcert=named.pem")]
    {
        let said = run(server, ca, 4);
        assert!(said.contains("MIG0308") && said.contains("TLS: "), "{ca}: {said}");
        assert!(!said.contains("Config::"), "{said}");
    }
    assert_eq!((target.logins().len(), other.logins().len()), (before, 0));
}

/// What `tsql`, a client of others, prints after logging in and asking something.
fn tsql(port: u16, password: &str, asks_for: &str) -> Option<String> {
    let mut tsql = Command::new("tsql");
    tsql.args(["-H", "127.0.0.1", "-p", &port.to_string(), "-U", USER, "-P", password]);
    tsql.args(["-D", "crm", "-o", "q"]).env("TDSVER", "7.4").env("LC_ALL", "C.UTF-8");
    tsql.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = tsql.spawn().ok()?;
    let mut asks = child.stdin.take().expect("it is piped");
    // One that was not let in does not read on.
    let _ = write!(asks, "{asks_for}\ngo\nexit\n");
    drop(asks);
    let output = child.wait_with_output().expect("it ends");
    Some(
        [output.stdout, output.stderr].map(|it| String::from_utf8_lossy(&it).into_owned()).concat(),
    )
}

const REPLICAS: &str = "select replicas";

#[test]
fn another_client_understands_the_server_of_these_tests() {
    let two = Answer::Rows(vec![
        row(&[("name", "Zürich"), ("state", "ONLINE")]),
        Named::from([("name".to_owned(), Some("b".to_owned())), ("state".to_owned(), None)]),
    ]);
    let server = SqlServer::start([two]);
    let Some(said) = tsql(server.port, PASSWORD, REPLICAS) else {
        println!(
            "SKIPPED: a second client of the TDS server of the tests: tsql (freetds-bin) is not installed"
        );
        return;
    };
    assert!(said.contains("name\tstate") && said.contains("Zürich\tONLINE"), "{said}");
    assert!(said.contains("b\tNULL"), "{said}");
    assert_eq!(server.logins()[0].database, "crm");
    let failing = SqlServer::start([Answer::Error(229, "The SELECT permission was denied.")]);
    let said = tsql(failing.port, PASSWORD, REPLICAS).expect("it was there");
    assert!(said.contains("Msg 229") && said.contains("permission was denied"), "{said}");
    let said = tsql(failing.port, "another password", REPLICAS).expect("it was there");
    assert!(said.contains("18456") || said.contains("Login failed"), "{said}");
}
