//! A wave that lives: `runbooks/postgres-near-zero.yaml` against real servers, while a client writes to whatever the name leads to.
//!
//! Nothing that was acknowledged is missing at the target, nothing is accepted at the source after the pause, the name and the
//! application follow; killed anywhere and taken up it ends the same; taken back, the world is as it was, and what the target
//! accepted meanwhile is at the source.

mod application;
mod by_hand;
mod client;
pub(crate) mod world;

use std::time::Duration;

use crate::child::Running;
use crate::lab::{Lab, cases};
use crate::names::servers::SECRET;
use crate::postgres::client::ids;
use crate::postgres::cluster::PASSWORD;
use application::Site;
use client::{Client, Order};
use world::World;

/// How long the watch after the switch lasts.
const WATCH: Duration = Duration::from_secs(3);
/// No process of these tests lasts so long, however busy the machine.
const PATIENCE: Duration = Duration::from_mins(3);

/// A world, a client that writes in it, and a run that waits for its approval.
struct Scene {
    lab: Lab,
    client: Client,
    world: World,
    start: Vec<String>,
    /// Version of the zone at first.
    serial: u32,
}

impl Scene {
    fn new(what: &str, watch: Duration) -> Option<Self> {
        let world = World::start(what)?;
        let (start, serial) = (world.state(), world.names.serial());
        let client = Client::start(&world);
        client.until_more_at(Site::Source);
        let lab = Lab::new("");
        let runbook = world.runbook(&lab, watch);
        lab.migrate(["run", &runbook]).expect(5);
        lab.migrate(["approve", "go"]).expect(0);
        Some(Self { lab, client, world, start, serial })
    }

    /// Takes it up in the background.
    fn resumed(&self) -> Running {
        Running::start(self.lab.command(["resume"]), self.lab.path(), "resume")
    }

    /// Waits until the journal says so, or the process has ended.
    fn until_journalled(&self, running: &mut Running, said: &str) {
        let is_so = || self.lab.journal().is_some_and(|journal| journal.contains(said));
        while !is_so() && running.ended_within(Duration::ZERO).is_none() {
            std::thread::yield_now();
        }
    }

    /// Takes it back; the world is as it was, nothing is lost, and the client writes at the source again.
    fn is_taken_back(&self) {
        self.lab.migrate(["rollback", &self.lab.run_id(), "--yes"]).expect(8);
        assert_eq!(self.world.state(), self.start);
        self.client.until_more_at(Site::Source);
        let (kept, orders) = (ids(&self.world.replicas.source), self.client.orders());
        let missing: Vec<_> =
            orders.iter().filter(|it| kept.binary_search(&it.id).is_err()).collect();
        assert!(missing.is_empty(), "acknowledged and missing at the source: {missing:?}");
        // What it writes there is followed as before.
        let last = self.client.orders().last().map_or(0, |order| order.id);
        let arrived = format!("select exists (select from orders where id = {last})");
        self.world.replicas.target.until("crm", &arrived, "true");
    }
}

/// Every effect of a wave that has ended well, at the target itself.
fn has_moved(scene: &Scene) {
    let Scene { world, client, .. } = scene;
    let (source, target) = (&world.replicas.source, &world.replicas.target);
    assert_eq!(world.leads_to(), ["crm-target.mig.test 1"]);
    // Its TTL and its value were changed, once each.
    assert_eq!(world.names.serial(), scene.serial + 2);
    client.until_more_at(Site::Target);
    world.judge(&client.orders());
    let may_log_in = "select rolcanlogin from pg_roles where rolname = 'app'";
    assert_eq!(source.text("crm", may_log_in), "false");
    assert_eq!(target.text("crm", may_log_in), "true");
    let number = |cluster: &crate::postgres::cluster::Cluster, query: &str| -> i64 {
        cluster.text("crm", query).parse().expect("a number")
    };
    let last = "select last_value from customers_id_seq";
    assert_eq!(number(target, last), number(source, last) + 1000);
    let journal = scene.lab.journal().expect("a journal");
    assert!(!journal.contains(PASSWORD) && !journal.contains(SECRET));
}

/// The orders of a wave that was not taken back: first all at the source, then all at the target. How long nobody took one.
fn refused_for(orders: &[Order]) -> Duration {
    let moved =
        orders.iter().position(|order| order.by == Site::Target).expect("some at the target");
    assert!(moved > 0 && orders[moved..].iter().all(|order| order.by == Site::Target));
    orders[moved].at - orders[moved - 1].at
}

#[test]
fn a_wave_moves_a_database_a_name_and_an_application_under_a_writing_client() {
    let Some(scene) = Scene::new("a live wave", WATCH) else { return };
    let ended = scene.lab.migrate(["resume"]).expect(0);
    has_moved(&scene);
    scene.lab.migrate(["journal", "verify", &scene.lab.run_id()]).expect(0);
    let said = ended.said();
    for says in [
        "rows in orders: equal",
        "sequences: carried over",
        "back to source: flows",
        "writes paused",
    ] {
        assert!(said.contains(says), "{says}: {said}");
    }
    let Scene { world, client, .. } = scene;
    let orders = client.stop();
    world.judge(&orders);
    let refused = refused_for(&orders).as_millis();
    println!(
        "{} orders acknowledged, 0 missing at the target; refused for {refused} ms",
        orders.len()
    );
}

#[test]
fn a_source_that_could_not_take_over_again_is_found_before_the_switch_and_the_wave_is_taken_back() {
    let Some(scene) = Scene::new("a live wave without a way back", WATCH) else { return };
    scene.world.source.set_ill(true);
    let ended = scene.lab.migrate(["resume"]).expect(4);
    assert!(ended.said().contains("MIG0204"), "{}", ended.said());
    // Paused, compared, and not switched.
    assert_eq!(scene.world.leads_to(), ["crm-source.mig.test 1"]);
    assert!(scene.client.orders().iter().all(|order| order.by == Site::Source));
    scene.world.judge(&scene.client.orders());
    scene.is_taken_back();
    let orders = scene.client.orders();
    assert!(orders.iter().all(|order| order.by == Site::Source));
}

#[test]
fn a_target_that_falls_ill_after_the_switch_ends_the_watch_and_the_wave_is_taken_back() {
    let Some(scene) = Scene::new("a live wave that is watched", Duration::from_mins(5)) else {
        return;
    };
    let mut running = scene.resumed();
    scene.until_journalled(&mut running, r#"{"step_started":{"step":"stabilize","#);
    has_moved(&scene);
    scene.world.target.set_ill(true);
    let ended = running.ended_within(PATIENCE).expect("the watch ends");
    assert_eq!(ended.code(), Some(7), "{}", running.said());
    scene.is_taken_back();
}

/// Seen in the journal, those that are furthest from a safe point first: the sentinel written, the name about to change, the pause
/// begun, replication about to be turned around, turned around, the name changed, the target about to be opened, opened.
const MOMENTS: [&str; 8] = [
    r#"{"done":{"step":"pause","key":"sentinel","#,
    r#"{"intent":{"step":"switch","#,
    r#"{"intent":{"step":"pause","#,
    r#"{"intent":{"step":"ready","intent":{"key":"reverse","#,
    r#"{"done":{"step":"ready","key":"reverse","#,
    r#"{"done":{"step":"switch","#,
    r#"{"intent":{"step":"open","#,
    r#"{"done":{"step":"open","key":"role:app","#,
];

#[test]
fn killed_anywhere_it_is_taken_up_and_ends_the_same() {
    for moment in MOMENTS.into_iter().take(cases(2, 8)) {
        let Some(scene) = Scene::new("kill -9 in a live wave", WATCH) else { return };
        let mut running = scene.resumed();
        scene.until_journalled(&mut running, moment);
        running.kill();
        let status = running.ended_within(PATIENCE).expect("it is gone");
        assert_eq!(status.code(), None, "{moment}: {}", running.said());
        scene.lab.migrate(["resume"]).expect(0);
        has_moved(&scene);
        scene.is_taken_back();
        println!("killed at {moment}: ended the same, and was taken back");
    }
}
