//! Lag that can not lie: adversarial states of real servers, judged by an oracle that looks at the rows themselves.

use std::cell::RefCell;
use std::time::Duration;

use migrate::database::mysql::Pair;
use migrate::database::replication::{Position as _, Replication as _, Standing};
use sqlx::{ConnectOptions as _, MySqlConnection};
use tokio::runtime::Runtime;

use super::cutover::Orders;
use super::replicas::Replicas;
use super::{ADMIN, Maria, PASSWORD};
use crate::generate::Dice;
use crate::lab::{Lab, cases};
use crate::lag::{self, adversarial, looks, wait};
use crate::writing::Writer;

/// What is wrong in a case. The first two are not: without them a verdict that is never "ready" would pass.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Fault {
    None,
    IdleSource,
    ApplyStopped,
    ReceiveStopped,
    Conflict,
    StrayWrite,
    StrayLock,
    DeadLink,
    Filtered,
    Lenient,
    ReplicaDown,
}

use Fault::{
    ApplyStopped, Conflict, DeadLink, Filtered, IdleSource, Lenient, None as Well, ReceiveStopped,
    ReplicaDown, StrayLock, StrayWrite,
};

const FAULTS: &[Fault] = &[
    Well,
    Conflict,
    IdleSource,
    ApplyStopped,
    StrayWrite,
    ReceiveStopped,
    DeadLink,
    Filtered,
    Well,
    StrayLock,
    Lenient,
    ReplicaDown,
];

/// What a fault needs to be healed.
type Heal = Box<dyn FnOnce(&mut Replicas)>;

/// One pair under test.
struct Scene {
    replicas: Replicas,
    pair: Pair,
    runtime: Runtime,
    next: i64,
}

impl Scene {
    fn new(replicas: Replicas) -> Self {
        let runtime = Runtime::new().expect("a runtime");
        let pair = runtime.block_on(replicas.pair());
        Self { replicas, pair, runtime, next: 1_000_000 }
    }

    /// Orders, each in one of three domains.
    fn write(&mut self, rows: usize, dice: &mut Dice) {
        for _ in 0..rows {
            let (id, domain) = (self.next, dice.below(3));
            self.next += 1;
            let insert = format!("insert into orders (id, item) values ({id}, 'row')");
            self.replicas.source.sql("crm", &format!("set gtid_domain_id = {domain}; {insert}"));
        }
    }

    /// Ready by the verdict that `replication.wait` gives: a position told first is reached in a look that nothing speaks
    /// against. What else there is, in words.
    fn verdict(&mut self) -> Result<(), String> {
        let pair = &mut self.pair;
        let looked = self.runtime.block_on(async {
            let position = pair.position().await?;
            Ok::<_, migrate::database::DatabaseError>((position, pair.look().await?))
        });
        let (position, look) = looked.map_err(|error| error.to_string())?;
        match look.judge(None) {
            Standing::At(reached) if reached.reaches(&position) => Ok(()),
            Standing::At(reached) => Err(format!("{} transactions", reached.behind(&position))),
            Standing::Unknown(why) => Err(why),
        }
    }

    fn is_same(&self) -> bool {
        Replicas::content(&self.replicas.source) == Replicas::content(&self.replicas.target)
    }

    fn until_ready(&mut self, after: Fault) {
        lag::until_ready(|| self.verdict(), &after);
        assert!(self.is_same(), "ready after healing {after:?}, and the rows differ");
    }

    fn break_it(&mut self, fault: Fault) -> Heal {
        let (target, id) = (&self.replicas.target, self.next);
        match fault {
            Well | IdleSource => Box::new(|_| {}),
            ApplyStopped => {
                target.sql("crm", "stop slave sql_thread");
                Box::new(|it| it.target.sql("crm", "start slave"))
            }
            ReceiveStopped => {
                target.sql("crm", "stop slave io_thread");
                Box::new(|it| it.target.sql("crm", "start slave"))
            }
            Conflict => {
                target.sql(
                    "crm",
                    &quietly(&format!("insert into orders (id, item) values ({id}, 'stray')")),
                );
                let mend = quietly(&format!(
                    "delete from orders where id = {id} and item = 'stray'; start slave"
                ));
                Box::new(move |it| {
                    // It stops by itself as soon as it gets there.
                    it.target.until("crm", APPLIES, "OFF");
                    it.target.sql("crm", &mend);
                })
            }
            StrayWrite => {
                self.replicas.caught_up();
                target.sql("crm", "insert into orders (id, item) values (-1, 'stray')");
                let mend = quietly(
                    "stop slave; delete from orders where id = -1; reset master; start slave",
                );
                Box::new(move |it| it.target.sql("crm", &mend))
            }
            StrayLock => {
                let blocker = Blocker::start(target, "lock tables orders read");
                Box::new(move |_| drop(blocker))
            }
            DeadLink => {
                self.replicas.link.freeze();
                Box::new(|it| it.link.thaw())
            }
            Filtered => filtered(&self.replicas, id),
            Lenient => lenient(&self.replicas, id),
            ReplicaDown => {
                self.replicas.target.stop();
                Box::new(|it| it.target.restart())
            }
        }
    }

    /// One case; how often it was called ready, and how often wrongly.
    fn case(&mut self, fault: Fault, dice: &mut Dice) -> (usize, usize) {
        self.write(1 + dice.below(3), dice);
        let heal = self.break_it(fault);
        // A write after a stray one would stop applying.
        if !matches!(fault, IdleSource | StrayWrite) {
            self.write(1 + dice.below(10), dice);
        }
        // Positions go on as if nothing were wrong.
        if matches!(fault, Filtered | Lenient) {
            self.replicas.caught_up();
        }
        let scene = RefCell::new(&mut *self);
        let is_wrong = || fault == ReplicaDown || !scene.borrow().is_same();
        let told = looks(dice, 40, || scene.borrow_mut().verdict(), is_wrong);
        heal(&mut self.replicas);
        self.until_ready(fault);
        told
    }
}

/// Past the log: nobody is told of it.
fn quietly(statements: &str) -> String {
    format!("set sql_log_bin = 0; {statements}")
}

/// From order `id` on nothing comes over, and every position does.
fn filtered(replicas: &Replicas, id: i64) -> Heal {
    // The rows before it are there first.
    replicas.caught_up();
    replicas
        .target
        .sql("crm", "stop slave; set global replicate_ignore_table = 'crm.orders'; start slave");
    Box::new(move |it| {
        it.caught_up();
        let missing =
            format!("select group_concat('(', id, ', ''row'')') from orders where id >= {id}");
        let missing = it.source.text("crm", &missing);
        let mend = quietly(&format!("insert into orders (id, item) values {missing}; start slave"));
        it.target
            .sql("crm", &format!("stop slave; set global replicate_ignore_table = ''; {mend}"));
    })
}

/// A row that is changed at the source is not at the target, which does not mind.
fn lenient(replicas: &Replicas, id: i64) -> Heal {
    let (source, target) = (&replicas.source, &replicas.target);
    target.sql("crm", "stop slave; set global slave_exec_mode = 'IDEMPOTENT'; start slave");
    target.sql("crm", &quietly("delete from orders where id = 1"));
    source.sql("crm", &format!("update orders set item = 'changed {id}' where id = 1"));
    let mend = quietly(&format!("insert into orders values (1, 'changed {id}'); start slave"));
    let mend = format!("stop slave; set global slave_exec_mode = 'STRICT'; {mend}");
    Box::new(move |it| {
        it.caught_up();
        it.target.sql("crm", &mend);
    })
}

const APPLIES: &str = "select variable_value from information_schema.global_status where variable_name = 'slave_running'";

/// A session that holds what it has locked until it is dropped.
struct Blocker {
    runtime: Runtime,
    session: Option<MySqlConnection>,
}

impl Blocker {
    fn start(server: &Maria, statement: &'static str) -> Self {
        let runtime = Runtime::new().expect("a runtime");
        let session = runtime.block_on(async {
            let mut session = server.options(ADMIN).connect().await?;
            sqlx::raw_sql(statement).execute(&mut session).await?;
            Ok::<_, sqlx::Error>(session)
        });
        Self { runtime, session: Some(session.expect("it has locked")) }
    }
}

impl Drop for Blocker {
    fn drop(&mut self) {
        use sqlx::Connection as _;
        let _ = self.session.take().map(|session| self.runtime.block_on(session.close()));
    }
}

#[test]
fn a_replica_is_never_falsely_ready() {
    let Some(replicas) = Replicas::start("false verdicts on a replica of MariaDB") else { return };
    let mut scene = Scene::new(replicas);
    scene.until_ready(Well);
    adversarial(FAULTS, (cases(FAULTS.len(), 1500), 7), |fault, dice| scene.case(fault, dice));
}

const MARKS: &str =
    "select count(*) from information_schema.tables where table_name = 'migrate_marker'";

/// Neither side has the table of a heartbeat.
fn no_marks(replicas: &Replicas) {
    for server in [&replicas.source, &replicas.target] {
        assert_eq!(server.text("crm", MARKS), "0");
    }
}

#[test]
fn the_step_waits_for_a_replica_and_leaves_nothing() {
    let Some(replicas) = Replicas::start("replication.wait on a replica of MariaDB") else {
        return;
    };
    // No more than the documentation asks for.
    replicas.source.sql(
        "crm",
        &format!(
            "create user tool@'%' identified by '{PASSWORD}'; grant slave monitor, binlog monitor, replication master admin on *.* to tool@'%';
             grant select, insert, update, delete, create, drop on crm.* to tool@'%'"
        ),
    );
    replicas.caught_up();
    let lab = Lab::new("");
    let runbook = replicas.runbook_as(&lab, "tool", &wait("hold_for: 1s, heartbeat: true", "60s"));
    let dry = lab.migrate(["run", &runbook, "--dry-run"]).expect(0);
    assert!(dry.stdout().contains("lag of target"), "{}", dry.said());
    no_marks(&replicas);
    let writer = Writer::start(Orders::of(&replicas), 5000, Duration::from_millis(5));
    let ended = lab.migrate(["run", &runbook, "--json"]).expect(0);
    writer.stop();
    assert!(ended.stdout().contains("by heartbeat"), "{}", ended.said());
    no_marks(&replicas);
    let journal = lab.journal().expect("a journal");
    assert!(!journal.contains(PASSWORD) && !ended.said().contains(PASSWORD));
    lab.migrate(["rollback", &lab.run_id(), "--yes"]).expect(8);
    let plain = Lab::new("");
    let runbook = replicas.runbook_as(&plain, "tool", &wait("hold_for: 1s", "60s"));
    plain.migrate(["run", &runbook]).expect(0);
}

#[test]
fn what_never_comes_is_refused_and_says_why() {
    let Some(replicas) = Replicas::start("replication.wait on MariaDB that never ends") else {
        return;
    };
    let refused = |with: &str, code: i32, says: &str| {
        let lab = Lab::new("");
        let ended = lab.migrate(["run", &replicas.runbook(&lab, &wait(with, "2s"))]).expect(code);
        assert!(ended.said().contains(says), "{says}: {}", ended.said());
        no_marks(&replicas);
    };
    refused("subscription: other, hold_for: 1s", 1, "belong to PostgreSQL");
    replicas.target.sql("crm", "stop slave sql_thread");
    refused("hold_for: 1s, heartbeat: true", 4, "the thread that applies at the target runs: No");
    replicas.target.sql("crm", "start slave; insert into orders (id, item) values (-1, 'stray')");
    refused("hold_for: 1s", 4, "transactions of the target's own, which the source has not: 0-2-");
    let own = replicas.target.text("crm", "@@global.gtid_current_pos");
    let lab = Lab::new("");
    let known = wait(&format!("hold_for: 1s, target_own: {own}"), "60s");
    lab.migrate(["run", &replicas.runbook(&lab, &known)]).expect(0);
    replicas.target.sql("crm", "stop slave; set sql_log_bin = 0; delete from orders where id = -1; reset master; start slave");
    // Another server of the same history: all rows are there, and those to come will not be.
    let other =
        Maria::start_as("replication.wait on MariaDB that never ends", 3).expect("it was there");
    other.sql("crm", &format!("create user repl@'%' identified by '{PASSWORD}'; grant replication slave on *.* to repl@'%'; reset master"));
    other.sql("crm", &format!("set global gtid_binlog_state = '{}'", replicas.end()));
    replicas.follow(other.port);
    refused("hold_for: 1s", 4, "the target follows server 3, and the source is 1");
    replicas.target.sql("crm", "stop slave; reset slave all");
    refused("hold_for: 1s", 4, "replicates nobody");
    let lab = Lab::new("");
    let ended = lab
        .migrate(["run", &replicas.runbook_as(&lab, "app", &wait("hold_for: 1s", "2s"))])
        .expect(4);
    assert!(
        ended.said().contains("MIG0308") && ended.said().contains("SLAVE MONITOR"),
        "{}",
        ended.said()
    );
    // A sandbox run does not touch a real server.
    let lab = Lab::new("");
    let ended = lab.run(&replicas.runbook(&lab, &wait("hold_for: 1s", "2s")), &[]);
    assert!(
        ended.code() == Some(1) && ended.said().contains("this is a sandbox run"),
        "{}",
        ended.said()
    );
}

#[test]
fn killed_while_it_beats_it_leaves_nothing_once_resumed() {
    let Some(replicas) = Replicas::start("kill -9 of a heartbeat on MariaDB") else { return };
    let lab = Lab::new("");
    let runbook = replicas.runbook(&lab, &wait("hold_for: 2s, heartbeat: true", "60s"));
    lag::killed_while_it_beats(&lab, &runbook, || {
        replicas.target.until("crm", MARKS, "1");
        replicas.target.until("crm", "select count(*) from migrate_marker", "1");
    });
    no_marks(&replicas);
}

#[test]
fn seconds_by_heartbeat_are_the_truth() {
    let Some(replicas) = Replicas::start("seconds of lag on MariaDB") else { return };
    let lab = Lab::new("");
    let runbook = replicas.runbook(&lab, &wait("hold_for: 1h, heartbeat: true", "2h"));
    let writer = Writer::start(Orders::of(&replicas), 101, Duration::from_millis(5));
    let last = || replicas.target.text("crm", "select max(id) from orders");
    let block = || Blocker::start(&replicas.target, "lock tables migrate_marker read");
    lag::seconds(&lab, &runbook, last, block).judge(101, &writer.stop());
}
