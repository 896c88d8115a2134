//! A pause of MariaDB that holds, and a target that has everything: cutovers under a client that writes throughout and logs what was
//! acknowledged.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::process::{Child, Stdio};

use sqlx::mysql::MySqlConnectOptions;
use sqlx::{ConnectOptions as _, Connection as _, MySqlConnection};

use super::Maria;
use super::replicas::Replicas;
use crate::child;
use crate::cutover_kills::Pair;
use crate::lab::{Lab, cases};
use crate::writing::{self, Application, Client, Side, Written};

/// What the tool needs, at both: no SUPER, and nothing of the tables but the marks.
const OPERATOR: &str = "
create user operator@'%' identified by 'loopback-only-Xy7';
grant create user, read_only admin, connection admin, binlog admin, process, binlog monitor, slave monitor, replication master admin
    on *.* to operator@'%';
grant select on mysql.* to operator@'%';
grant select, insert, update, delete, create, drop on crm.* to operator@'%'";

/// An application that sets every session back to writing.
pub(super) struct Orders {
    source: MySqlConnectOptions,
    target: MySqlConnectOptions,
}

impl Application for Orders {
    type Session = MySqlConnection;

    async fn open(&self, side: Side) -> Option<MySqlConnection> {
        let options = if side == Side::Source { &self.source } else { &self.target };
        let mut session = options.connect().await.ok()?;
        let writing = "set session tx_read_only = 0";
        sqlx::raw_sql(writing).execute(&mut session).await.ok()?;
        Some(session)
    }

    async fn write(session: &mut MySqlConnection, id: i64) -> bool {
        let insert =
            "insert into orders (id, item) values (?, 'new') on duplicate key update id = id";
        sqlx::query(insert).bind(id).execute(session).await.is_ok()
    }
}

impl Orders {
    pub(super) fn of(replicas: &Replicas) -> Self {
        let open = |server: &Maria| server.options("app");
        Self { source: open(&replicas.source), target: open(&replicas.target) }
    }
}

pub(super) fn client(replicas: &Replicas) -> Client {
    Client::start(Orders::of(replicas))
}

const STEPS: &str = "    - id: lag
      uses: replication.wait
      timeout: 60s
      with: { source: source, target: target, max_lag: 0s, poll: 200ms, hold_for: 1s }
    - id: pause
      uses: writes.pause
      timeout: 60s
      with: { system: source, until: target, accept: [superusers] }
    - id: open
      uses: writes.resume
      timeout: 60s
      with: { system: target, pause: pause, roles: [app] }";

/// Everything that a pause may change: locks, what refuses writes, the table of marks.
pub(super) fn catalogue(server: &Maria) -> String {
    server.text(
        "crm",
        "select concat_ws('; ', @@global.read_only, (select group_concat(concat_ws(' ', user, host,
                coalesce(json_value(priv, '$.account_locked'), 0)) order by user, host) from mysql.global_priv),
            (select count(*) from information_schema.tables where table_name = 'migrate_marker'))",
    )
}

/// A pair that has caught up, with a tool of few rights.
pub(super) fn pair(what: &str) -> Option<Replicas> {
    let replicas = Replicas::start(what)?;
    replicas.source.sql("crm", OPERATOR);
    replicas.caught_up();
    Some(replicas)
}

/// The same, and nobody may write to the target yet.
pub(super) fn closed(what: &str) -> Option<Replicas> {
    let replicas = pair(what)?;
    let close = "set sql_log_bin = 0; alter user app@'%' account lock; set global read_only = 1";
    replicas.target.sql("crm", close);
    Some(replicas)
}

pub(super) fn as_operator(replicas: &Replicas, lab: &Lab, steps: &str) -> String {
    replicas.runbook_as(lab, "operator", steps)
}

pub(super) fn ids(server: &Maria) -> Vec<i64> {
    let ids = "select group_concat(id order by id separator ' ') from orders where id >= 1000000";
    let text = server.text("crm", ids);
    text.split_whitespace().map(|id| id.parse().expect("a number")).collect()
}

pub(super) fn judge(replicas: &Replicas, written: &Written) {
    written.judge(&ids(&replicas.source), &ids(&replicas.target));
}

fn is_over(replicas: &Replicas) -> bool {
    let inside = "select count(*) > 0 from information_schema.processlist where user = 'app'";
    replicas.target.text("crm", inside) == "1"
}

/// Waits until the client writes at the target.
pub(super) fn until_over(replicas: &Replicas) {
    child::until("the client comes over", || is_over(replicas));
    let count = ids(&replicas.target).len();
    child::until("more orders", || ids(&replicas.target).len() > count + 5);
}

impl Pair for Replicas {
    const ENGINE: &str = "MariaDB";

    fn closed(what: &str) -> Option<Self> {
        closed(what)
    }

    fn cutover(&self, lab: &Lab) -> String {
        as_operator(self, lab, STEPS)
    }

    fn client(&self) -> Client {
        let client = client(self);
        self.target.until("crm", "select count(*) > 20 from orders where item = 'new'", "1");
        client
    }

    fn until_over(&self) {
        until_over(self);
    }

    fn ids(&self) -> [Vec<i64>; 2] {
        [ids(&self.source), ids(&self.target)]
    }

    fn catalogue(&self) -> String {
        catalogue(&self.source)
    }
}

#[test]
fn no_acknowledged_write_is_lost_and_none_is_accepted_after_the_pause() {
    let mut cutovers = Vec::new();
    for _ in 0..cases(2, 200) {
        let Some(replicas) = closed("cutovers of MariaDB under a writing client") else { return };
        let before = (catalogue(&replicas.source), catalogue(&replicas.target));
        let lab = Lab::new("");
        let runbook = as_operator(&replicas, &lab, STEPS);
        let client = replicas.client();
        lab.migrate(["run", &runbook]).expect(0);
        until_over(&replicas);
        let written = client.stop();
        judge(&replicas, &written);
        cutovers.push(written);
        lab.migrate(["rollback", &lab.run_id(), "--yes"]).expect(8);
        assert_eq!((catalogue(&replicas.source), catalogue(&replicas.target)), before);
    }
    writing::tell("MariaDB", 100, &cutovers);
}

/// Its name, and whether it has come.
type Moment = (&'static str, fn(&Replicas) -> bool);

const LOCKED: &str = "select coalesce(json_value(priv, '$.account_locked'), 0) from mysql.global_priv where user = 'app'";
const MARKS: &str =
    "select count(*) from information_schema.tables where table_name = 'migrate_marker'";

fn begin(lab: &Lab, runbook: &str) -> Child {
    let mut run = lab.command(["run", runbook]);
    run.stdout(Stdio::null()).stderr(Stdio::null()).spawn().expect("it starts")
}

/// Nobody is let in who may write, with or without this program, and whatever they set.
fn refuses(replicas: &Replicas) {
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    let error =
        runtime.block_on(replicas.source.options("app").connect()).expect_err("it is locked");
    assert!(error.to_string().contains("locked"), "{error}");
}

#[test]
fn killed_in_the_middle_the_pause_holds_and_is_finished() {
    // Each is seen from outside: accounts locked, read_only set, target opened, sentinel written, marks made.
    let moments: [Moment; 5] = [
        ("locks", |it| it.source.text("crm", LOCKED) == "1"),
        ("read_only", |it| it.source.text("crm", "select @@global.read_only") == "ON"),
        ("open", |it| it.target.text("crm", "select @@global.read_only") == "OFF"),
        ("sentinel", |it| {
            it.source.text("crm", MARKS) == "1"
                && it.source.try_sql("crm", "select 1 / count(*) from migrate_marker").is_ok()
                && it.source.text("crm", "select count(*) from migrate_marker") == "1"
        }),
        ("marks", |it| it.target.text("crm", MARKS) == "1"),
    ];
    for (name, moment) in moments.into_iter().take(cases(3, 5)) {
        let Some(mut replicas) = closed("kill -9 in a pause of MariaDB") else { return };
        let before = (catalogue(&replicas.source), catalogue(&replicas.target));
        let lab = Lab::new("");
        let runbook = as_operator(&replicas, &lab, STEPS);
        let client = client(&replicas);
        let mut child = begin(&lab, &runbook);
        while !moment(&replicas) && child.try_wait().expect("it is ours").is_none() {
            std::thread::yield_now();
        }
        let _ = child.kill();
        child.wait().expect("it is ours");
        if name == "read_only" {
            let count = ids(&replicas.source).len();
            refuses(&replicas);
            // A restart forgets read_only, and no lock.
            replicas.source.stop();
            replicas.source.restart();
            assert_eq!(replicas.source.text("crm", "select @@global.read_only"), "OFF");
            refuses(&replicas);
            assert_eq!(ids(&replicas.source).len(), count, "the pause died with the process");
        }
        lab.migrate(["resume"]).expect(0);
        until_over(&replicas);
        judge(&replicas, &client.stop());
        lab.migrate(["rollback", &lab.run_id(), "--yes"]).expect(8);
        let after = (catalogue(&replicas.source), catalogue(&replicas.target));
        assert_eq!(after, before, "killed at {name}");
    }
}

/// Pauses, and gives what is open so long to end.
fn pause(within: &str) -> String {
    format!(
        "    - {{ id: pause, uses: writes.pause, timeout: 60s, with: {{ system: source, until: target, drain_within: {within}, accept: [superusers] }} }}"
    )
}

const XA: &str = "xa start 'tx-7'; insert into orders (id, item) values (7000000, 'two-phase');
    xa end 'tx-7'; xa prepare 'tx-7'";

#[test]
fn a_session_that_has_prepared_is_let_commit_and_one_that_has_not_is_ended() {
    let Some(replicas) = pair("a pause over an attached XA transaction") else { return };
    let before = catalogue(&replicas.source);
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    let app = replicas.source.options("app");
    let (mut prepared, idle) = runtime.block_on(async {
        let mut prepared = app.connect().await.expect("a session");
        sqlx::raw_sql(XA).execute(&mut prepared).await.expect("prepared");
        (prepared, app.connect().await.expect("a session"))
    });
    let lab = Lab::new("");
    let mut child = begin(&lab, &as_operator(&replicas, &lab, &pause("60s")));
    // It has begun to wait once the other session is gone.
    let sessions = "select count(*) from information_schema.processlist where user = 'app'";
    replicas.source.until("crm", sessions, "1");
    let committed = runtime.block_on(sqlx::raw_sql("xa commit 'tx-7'").execute(&mut prepared));
    committed.expect("it is spared, and read_only is not set");
    assert_eq!(child.wait().expect("it is ours").code(), Some(0));
    assert!(runtime.block_on(prepared.ping()).is_err(), "ended once it had committed");
    drop(idle);
    assert_eq!(replicas.target.text("crm", "select count(*) from orders where id = 7000000"), "1");
    lab.migrate(["rollback", &lab.run_id(), "--yes"]).expect(8);
    assert_eq!(catalogue(&replicas.source), before);
}

#[test]
fn a_prepared_transaction_of_nobody_is_waited_for_and_open_ones_are_rolled_back() {
    let Some(replicas) = pair("a pause over a detached XA transaction") else { return };
    let source = &replicas.source;
    source.sql("crm", "create user reader@'%' identified by 'loopback-only-Xy7'; grant select on crm.* to reader@'%'");
    let before = catalogue(source);
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    let mut open = runtime.block_on(async {
        let mut prepared = source.options("app").connect().await.expect("a session");
        sqlx::raw_sql(XA).execute(&mut prepared).await.expect("prepared");
        prepared.close().await.expect("closed");
        let mut open = source.options("app").connect().await.expect("a session");
        let begun = "set session tx_read_only = 0; start transaction; insert into orders (id, item) values (7000001, 'open')";
        sqlx::raw_sql(begun).execute(&mut open).await.expect("open");
        open
    });
    let lab = Lab::new("");
    let runbook = as_operator(&replicas, &lab, &pause("1s"));
    let ended = lab.migrate(["run", &runbook]).expect(1);
    assert!(
        ended.said().contains("MIG0522") && ended.said().contains("prepared transaction 'tx-7'"),
        "{}",
        ended.said()
    );
    assert_eq!(
        source.text("crm", "select @@global.read_only"),
        "OFF",
        "it would refuse the commit"
    );
    assert!(runtime.block_on(sqlx::raw_sql("commit").execute(&mut open)).is_err());
    source.sql("crm", "xa commit 'tx-7'");
    lab.migrate(["resume"]).expect(0);
    let there = "select group_concat(id) from orders where id >= 7000000";
    assert_eq!(replicas.target.text("crm", there), "7000000");
    runtime.block_on(source.options("reader").connect()).expect("whoever can not write goes on");
    // Another hand opens the account again: that stays, and the rest comes back.
    source.sql("crm", "set sql_log_bin = 0; alter user app@'%' account unlock");
    lab.migrate(["rollback", &lab.run_id(), "--yes"]).expect(8);
    assert_eq!(catalogue(source), before);
}

/// A connection whose client has said that it is the application, and nothing more.
fn knock(server: &Maria) -> TcpStream {
    let mut stream = TcpStream::connect(("127.0.0.1", server.port)).expect("a connection");
    let mut length = [0; 4];
    stream.read_exact(&mut length).expect("a greeting");
    let length = u32::from_le_bytes([length[0], length[1], length[2], 0]);
    stream.read_exact(&mut vec![0; length as usize]).expect("a greeting");
    // Protocol 4.1, a password of any form, by a plug-in that the server has to name another one for: it waits for the answer.
    let capabilities = 0x0008_8200_u32.to_le_bytes();
    let answer = [&capabilities[..], &[0, 0, 0, 1, 33], &[0; 23], b"app\0\0", b"none\0"].concat();
    let length = u8::try_from(answer.len()).expect("brief");
    stream.write_all(&[&[length, 0, 0, 1], &answer[..]].concat()).expect("an answer");
    stream
}

#[test]
fn whoever_knocks_when_the_account_is_locked_has_not_come_through() {
    let Some(replicas) = pair("knocking at a paused MariaDB") else { return };
    let source = &replicas.source;
    source.sql("crm", "set global connect_timeout = 600");
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    let idle = runtime.block_on(async {
        let mut prepared = source.options("app").connect().await.expect("a session");
        sqlx::raw_sql(XA).execute(&mut prepared).await.expect("prepared");
        prepared.close().await.expect("closed");
        source.options("app").connect().await.expect("a session")
    });
    let lab = Lab::new("");
    let mut child = begin(&lab, &as_operator(&replicas, &lab, &pause("60s")));
    // It has looked, and waits for what is prepared.
    let those = "information_schema.processlist where user = 'app'";
    source.until("crm", &format!("select count(*) from {those}"), "0");
    let knocks = knock(source);
    source.until("crm", &format!("select group_concat(command) from {those}"), "Connect");
    let session = source.text("crm", &format!("select id from {those}"));
    source.sql("crm", "xa commit 'tx-7'");
    assert_eq!(child.wait().expect("it is ours").code(), Some(0));
    let told = "it was neither taken for a session nor ended";
    assert_eq!(source.text("crm", &format!("select id from {those}")), session, "{told}");
    drop((idle, knocks));
    lab.migrate(["rollback", &lab.run_id(), "--yes"]).expect(8);
}
