//! Lag that can not lie: adversarial states of real servers, judged by an oracle that looks at the rows themselves.

use std::cell::RefCell;
use std::process::Command;
use std::time::Duration;

use migrate::database::postgres::Pair;
use migrate::database::postgres::judge::{Look, Standing};
use migrate::database::replication::{Position as _, Replication as _};
use sqlx::{ConnectOptions as _, Connection as _};
use tokio::runtime::Runtime;

use super::client::Orders;
use super::cluster::Cluster;
use super::replicas::Replicas;
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
    Disabled,
    ConflictLoop,
    LateTable,
    StrayLock,
    DeadLink,
    ReplicaDown,
}

use Fault::{
    ApplyStopped, ConflictLoop, DeadLink, Disabled, IdleSource, LateTable, None as Well,
    ReplicaDown, StrayLock,
};

const LOGICAL: &[Fault] = &[
    Well,
    ConflictLoop,
    IdleSource,
    Disabled,
    StrayLock,
    ApplyStopped,
    DeadLink,
    LateTable,
    Well,
    ConflictLoop,
    ApplyStopped,
    Disabled,
    StrayLock,
    DeadLink,
    ReplicaDown,
];
const PHYSICAL: &[Fault] =
    &[Well, ApplyStopped, IdleSource, DeadLink, StrayLock, ApplyStopped, DeadLink, ReplicaDown];

/// What a fault needs to be healed.
type Heal = Box<dyn FnOnce(&mut Replicas)>;

/// One pair under test.
struct Scene {
    replicas: Replicas,
    is_physical: bool,
    pair: Pair,
    runtime: Runtime,
    before: Option<Look>,
    next: i64,
}

impl Scene {
    fn new(replicas: Replicas, is_physical: bool) -> Self {
        let runtime = Runtime::new().expect("a runtime");
        let pair = runtime.block_on(replicas.pair());
        Self { replicas, is_physical, pair, runtime, before: None, next: 1_000_000 }
    }

    fn write(&mut self, rows: usize) {
        for _ in 0..rows {
            let id = self.next;
            self.next += 1;
            self.replicas
                .source
                .sql("crm", &format!("insert into public.orders (id, item) values ({id}, 'row')"));
        }
    }

    /// Ready by the verdict that `replication.wait` gives: a position told first is reached in a look that nothing speaks
    /// against. What else there is, in words.
    fn verdict(&mut self) -> Result<(), String> {
        let (pair, before) = (&mut self.pair, self.before.take());
        let looked = self.runtime.block_on(async {
            let position = pair.position().await?;
            Ok::<_, migrate::database::DatabaseError>((position, pair.look().await?))
        });
        let (position, look) = looked.map_err(|error| error.to_string())?;
        let standing = look.judge(before.as_ref());
        self.before = Some(look);
        match standing {
            Standing::At(reached) if reached >= position => Ok(()),
            Standing::At(reached) => Err(format!("{} bytes", reached.behind(&position))),
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
        let (source, target, id) = (&self.replicas.source, &self.replicas.target, self.next);
        let stopped = |pid: String| -> Heal {
            signal("STOP", &pid);
            Box::new(move |_| signal("CONT", &pid))
        };
        match fault {
            Well | IdleSource => Box::new(|_| {}),
            ApplyStopped if self.is_physical => {
                target.sql("postgres", "select pg_wal_replay_pause()");
                Box::new(|it| it.target.sql("postgres", "select pg_wal_replay_resume()"))
            }
            ApplyStopped => stopped(
                target.text("crm", "select min(pid) from pg_stat_subscription where relid is null"),
            ),
            Disabled => {
                target.sql("crm", "alter subscription migsub disable");
                Box::new(|it| it.target.sql("crm", "alter subscription migsub enable"))
            }
            ConflictLoop => {
                target.sql(
                    "crm",
                    &format!("insert into public.orders (id, item) values ({id}, 'stray')"),
                );
                Box::new(move |it| {
                    let stray =
                        format!("delete from public.orders where id = {id} and item = 'stray'");
                    it.target.sql("crm", &stray);
                })
            }
            LateTable => {
                let table = format!("public.late_{id}");
                let statement = format!("create table {table} (id int primary key)");
                source.sql("crm", &format!("{statement}; insert into {table} values (1)"));
                Box::new(move |it| {
                    it.target.sql("crm", &statement);
                    it.source.sql("crm", &format!("drop table {table}"));
                })
            }
            StrayLock if self.is_physical => {
                let blocker = Blocker::start(target, "select from public.customers");
                source.sql("crm", "begin; lock table public.customers; commit");
                Box::new(move |_| drop(blocker))
            }
            StrayLock => {
                let blocker = Blocker::start(target, "lock table public.orders in share mode");
                Box::new(move |_| drop(blocker))
            }
            DeadLink => {
                stopped(source.text(
                    "crm",
                    "select min(pid) from pg_stat_replication where state = 'streaming'",
                ))
            }
            ReplicaDown => {
                self.replicas.target.stop();
                Box::new(|it| it.target.restart())
            }
        }
    }

    /// One case; how often it was called ready, and how often wrongly.
    fn case(&mut self, fault: Fault, dice: &mut Dice) -> (usize, usize) {
        self.write(1 + dice.below(3));
        let heal = self.break_it(fault);
        if fault != IdleSource {
            self.write(1 + dice.below(10));
        }
        // A subscriber that is well says so with a delay.
        let within = if matches!(fault, Well | IdleSource) { 400 } else { 40 };
        let scene = RefCell::new(&mut *self);
        let is_wrong = || fault == ReplicaDown || !scene.borrow().is_same();
        let told = looks(dice, within, || scene.borrow_mut().verdict(), is_wrong);
        heal(&mut self.replicas);
        self.until_ready(fault);
        told
    }
}

/// A session that holds what it has locked until it is dropped.
struct Blocker(Option<std::sync::mpsc::Sender<()>>, Option<std::thread::JoinHandle<()>>);

impl Blocker {
    fn start(cluster: &Cluster, statement: &'static str) -> Self {
        let options = cluster.options(super::cluster::ADMIN);
        let (stop, stopped) = std::sync::mpsc::channel::<()>();
        let (locked, has_locked) = std::sync::mpsc::channel();
        let thread = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build()
                .expect("a runtime");
            let mut session = runtime.block_on(options.connect()).expect("a session");
            let begin = format!("begin; {statement}");
            let lock = sqlx::raw_sql(sqlx::AssertSqlSafe(begin)).execute(&mut session);
            runtime.block_on(lock).expect("it has locked");
            locked.send(()).expect("somebody waits");
            // Ends when the other side is dropped.
            let _ = stopped.recv();
            let _ = runtime.block_on(session.close());
        });
        has_locked.recv().expect("it has locked");
        Self(Some(stop), Some(thread))
    }
}

impl Drop for Blocker {
    fn drop(&mut self) {
        drop(self.0.take());
        let _ = self.1.take().map(std::thread::JoinHandle::join);
    }
}

fn signal(name: &str, pid: &str) {
    let sent = Command::new("kill").args([&format!("-{name}"), pid]).status().expect("kill starts");
    assert!(sent.success(), "kill -{name} {pid}");
}

#[test]
fn a_subscriber_is_never_falsely_ready() {
    let Some(replicas) = Replicas::logical("false verdicts on a subscriber", 100) else { return };
    let mut scene = Scene::new(replicas, false);
    scene.until_ready(Well);
    adversarial(LOGICAL, (cases(15, 1500), 5), |fault, dice| scene.case(fault, dice));
}

#[test]
fn a_standby_is_never_falsely_ready() {
    let Some(replicas) = Replicas::physical("false verdicts on a standby") else { return };
    let mut scene = Scene::new(replicas, true);
    scene.until_ready(Well);
    adversarial(PHYSICAL, (cases(8, 500), 6), |fault, dice| scene.case(fault, dice));
}

/// Neither side has the table of a heartbeat.
fn no_marker(replicas: &Replicas) {
    for cluster in [&replicas.source, &replicas.target] {
        assert_eq!(
            cluster.text("crm", "select count(*) from pg_namespace where nspname = 'migrate'"),
            "0"
        );
    }
}

#[test]
fn the_step_waits_for_a_subscriber_and_leaves_nothing() {
    let Some(replicas) = Replicas::logical("replication.wait on a subscriber", 100) else { return };
    let lab = Lab::new("");
    let runbook = replicas.runbook(&lab, &wait("hold_for: 1s, heartbeat: true", "60s"));
    let dry = lab.migrate(["run", &runbook, "--dry-run"]).expect(0);
    assert!(dry.stdout().contains("lag of target"), "{}", dry.said());
    no_marker(&replicas);
    let writer = Writer::start(Orders::of(&replicas), 5000, Duration::from_millis(5));
    let ended = lab.migrate(["run", &runbook, "--json"]).expect(0);
    writer.stop();
    assert!(ended.stdout().contains("by heartbeat"), "{}", ended.said());
    no_marker(&replicas);
    replicas.complete();
    let journal = lab.journal().expect("a journal");
    assert!(
        !journal.contains(super::cluster::PASSWORD)
            && !ended.said().contains(super::cluster::PASSWORD)
    );
    lab.migrate(["rollback", &lab.run_id(), "--yes"]).expect(8);
}

#[test]
fn the_step_waits_for_a_standby() {
    let Some(replicas) = Replicas::physical("replication.wait on a standby") else { return };
    for with in ["hold_for: 1s", "hold_for: 1s, heartbeat: true, slot: standby"] {
        let lab = Lab::new("");
        let runbook = replicas.runbook(&lab, &wait(with, "60s"));
        lab.migrate(["run", &runbook]).expect(0);
        replicas.target.until(
            "crm",
            "select count(*) from pg_namespace where nspname = 'migrate'",
            "0",
        );
        no_marker(&replicas);
    }
    replicas.target.sql("postgres", "select pg_wal_replay_pause()");
    let lab = Lab::new("");
    let ended =
        lab.migrate(["run", &replicas.runbook(&lab, &wait("hold_for: 1s", "2s"))]).expect(4);
    assert!(ended.said().contains("replay at the target: paused"), "{}", ended.said());
}

#[test]
fn what_never_comes_is_refused_and_says_why() {
    let Some(replicas) = Replicas::logical("replication.wait that never ends", 10) else { return };
    let (source, target) = (&replicas.source, &replicas.target);
    let refused = |with: &str, says: &str| {
        let lab = Lab::new("");
        let ended = lab.migrate(["run", &replicas.runbook(&lab, &wait(with, "2s"))]).expect(4);
        assert!(ended.said().contains(says), "{says}: {}", ended.said());
        no_marker(&replicas);
    };
    refused("subscription: other, hold_for: 1s", "has no subscription other");
    refused("slot: standby, hold_for: 1s", "is no standby");
    target.sql("crm", "alter subscription migsub disable");
    refused("hold_for: 1s, heartbeat: true", "the subscription is disabled");
    target.sql("crm", "alter subscription migsub enable");
    source.sql("crm", "alter publication mig set (publish = 'insert')");
    refused("hold_for: 1s", "publication mig leaves out");
    source.sql("crm", "alter publication mig set (publish = 'insert, update, delete, truncate')");
    source.sql("crm", "create table late (id int primary key)");
    refused("hold_for: 1s", "published and not subscribed: public.late");
    // A sandbox run does not touch a real server.
    let lab = Lab::new("");
    let runbook = replicas.runbook(&lab, &wait("hold_for: 1s", "2s"));
    let ended = lab.run(&runbook, &[]);
    assert!(
        ended.code() == Some(1) && ended.said().contains("this is a sandbox run"),
        "{}",
        ended.said()
    );
}

#[test]
fn killed_while_it_beats_it_leaves_nothing_once_resumed() {
    let Some(replicas) = Replicas::logical("kill -9 of a heartbeat", 10) else { return };
    let lab = Lab::new("");
    let runbook = replicas.runbook(&lab, &wait("hold_for: 2s, heartbeat: true", "60s"));
    lag::killed_while_it_beats(&lab, &runbook, || {
        let is_there = "select to_regclass('migrate.marker') is not null";
        replicas.target.until("crm", is_there, "true");
        replicas.target.until("crm", "select count(*) from migrate.marker", "1");
    });
    no_marker(&replicas);
    replicas.complete();
}

#[test]
fn seconds_by_heartbeat_are_the_truth() {
    let Some(replicas) = Replicas::logical("seconds of lag", 10) else { return };
    let lab = Lab::new("");
    let runbook = replicas.runbook(&lab, &wait("hold_for: 1h, heartbeat: true", "2h"));
    let writer = Writer::start(Orders::of(&replicas), 11, Duration::from_millis(5));
    let last = || replicas.target.text("crm", "select max(id) from orders");
    let block = || Blocker::start(&replicas.target, "lock table migrate.marker in share mode");
    lag::seconds(&lab, &runbook, last, block).judge(11, &writer.stop());
}
