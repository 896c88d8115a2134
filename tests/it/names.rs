//! DNS beyond Azure: cutovers and TTLs at real name servers, through the program. Each test names what it skips where a
//! server is not installed.

mod between;
pub(crate) mod servers;

use std::process::Child;
use std::sync::{Arc, Mutex};

use domain::base::Rtype;

use crate::lab::{Ended, Lab, cases};
use between::{Side, between};
use servers::{ALL, ANY, KEY, Make, NameServer, SECRET, ZONE};

/// A server with the zone and a lab whose runbooks name it as the system `names`.
struct Scene {
    server: NameServer,
    lab: Lab,
}

impl Scene {
    fn new(make: Make, types: &[&str]) -> Self {
        let lab = Lab::new("");
        lab.write("tsig.key", SECRET);
        Self { server: NameServer::start(make, types), lab }
    }

    /// A runbook of one DNS step, whose system is reached at `primary`.
    fn runbook(&self, primary: std::net::SocketAddr, uses: &str, with: &str) -> String {
        self.runbook_asking(&[self.server.address], primary, uses, with)
    }

    /// The same with these servers to ask.
    fn runbook_asking(
        &self,
        servers: &[std::net::SocketAddr],
        primary: std::net::SocketAddr,
        uses: &str,
        with: &str,
    ) -> String {
        let servers: Vec<_> = servers.iter().map(|server| format!("\"{server}\"")).collect();
        let servers = servers.join(", ");
        let text = format!(
            "migrate: 1
wave: names
secrets: {{ tsig_key: {{ file: tsig.key }} }}
systems:
  names: {{ rfc2136: \"{primary}\", key_name: {KEY}, secret: tsig_key, servers: [{servers}] }}
stages:
  release:
    - id: dns
      uses: {uses}
      with: {{ zone: {ZONE}, system: names, within: 3s, {with} }}
"
        );
        self.lab.write("names.yaml", &text)
    }

    fn run(&self, with: &str) -> Ended {
        let runbook = self.runbook(self.server.address, "dns.cutover", with);
        self.lab.migrate(["run", &runbook])
    }

    fn roll_back(&self) -> Ended {
        self.lab.migrate(["rollback", &self.lab.run_id(), "--yes"])
    }

    /// The secret is nowhere in what the run kept, and in none of what it said.
    fn keeps_its_secret(&self, ended: &Ended) {
        let journal = self.lab.journal().unwrap_or_default();
        assert!(!journal.contains(SECRET) && !ended.said().contains(SECRET));
    }
}

/// Runs a test against each server that is installed.
fn with_each(what: &str, test: impl Fn(Make)) {
    for make in [Make::Bind, Make::Knot] {
        if make.is_here(what) {
            test(make);
        }
    }
}

const APP: &str = "record: app, type: A, value: 198.51.100.20, ttl: 60, expect: 192.0.2.10";

#[test]
fn a_name_moves_by_one_update_and_comes_back_exactly() {
    with_each("a cutover at a primary and its rollback", |make| {
        let scene = Scene::new(make, ALL);
        let began = scene.server.serial();
        let ended = scene.run(APP).expect(0);
        assert_eq!(scene.server.values("app", Rtype::A), ["198.51.100.20 60"], "{make:?}");
        // The proof of rights before it changed nothing: the zone has a new version once.
        assert_eq!(scene.server.serial(), began + 1, "{make:?}");
        assert!(ended.said().contains("rights at the primary"), "{}", ended.said());
        scene.keeps_its_secret(&ended);
        let ended = scene.roll_back().expect(8);
        assert_eq!(scene.server.values("app", Rtype::A), ["192.0.2.10 300"], "{make:?}");
        assert_eq!(scene.server.serial(), began + 2, "{make:?}");
        scene.keeps_its_secret(&ended);
    });
}

#[test]
fn an_alias_becomes_an_address_and_every_type_moves_in_one_update() {
    with_each("several records in one update", |make| {
        let scene = Scene::new(make, ALL);
        let (server, began) = (&scene.server, scene.server.serial());
        let before = all(server);
        scene
            .run(
                "records: [
        { record: alias, type: A, value: 198.51.100.21, replaces: [CNAME], expect: source.mig.test },
        { record: app, type: A, value: [198.51.100.20, 198.51.100.22], expect: 192.0.2.10 },
        { record: app, type: AAAA, value: \"2001:db8::20\", expect: \"2001:db8::10\" },
        { record: \"@\", type: A, value: 198.51.100.1, expect: 192.0.2.1 },
        { record: \"@\", type: MX, value: 10 mail.contoso.example, expect: 10 mail-source.mig.test },
        { record: cut, type: TXT, value: moved, expect: abcd },
        { record: _sip._tcp, type: SRV, value: 0 5 5061 target.mig.test, ttl: 60 },
        { record: fresh, type: CNAME, value: target.mig.test, expect: [] } ]",
            )
            .expect(0);
        assert_eq!(server.serial(), began + 1, "{make:?}: all in one");
        assert_eq!(server.values("alias", Rtype::A), ["198.51.100.21 300"]);
        assert_eq!(server.values("alias", Rtype::CNAME), [] as [&str; 0]);
        assert_eq!(server.values("app", Rtype::A), ["198.51.100.20 300", "198.51.100.22 300"]);
        assert_eq!(server.values("@", Rtype::MX), ["10 mail.contoso.example 300"]);
        assert_eq!(server.values("_sip._tcp", Rtype::SRV), ["0 5 5061 target.mig.test 60"]);
        assert_eq!(server.values("fresh", Rtype::CNAME), ["target.mig.test 300"]);
        scene.roll_back().expect(8);
        assert_eq!(all(server), before, "{make:?}");
        assert_eq!(server.serial(), began + 2, "{make:?}: one undo");
        let cut = server.ask("cut", Rtype::TXT).answer[0].wire.clone();
        assert_eq!(cut, b"\x02ab\x02cd", "{make:?}: a text comes back in its own strings");
    });
}

fn all(server: &NameServer) -> Vec<Vec<String>> {
    let names = ["alias", "app", "@", "cut", "_sip._tcp", "fresh"];
    let types = [Rtype::A, Rtype::AAAA, Rtype::CNAME, Rtype::MX, Rtype::TXT, Rtype::SRV];
    names.iter().flat_map(|name| types.map(|rtype| server.values(name, rtype))).collect()
}

#[test]
fn what_another_hand_did_after_the_reading_is_not_overwritten() {
    with_each("a failed prerequisite", |make| {
        let scene = Arc::new(Scene::new(make, ALL));
        // Whoever stands between outlives the test's servers, and must not keep them.
        let theirs = Arc::downgrade(&scene);
        // The first update proves the rights; the second is the switch.
        let primary = between(scene.server.address, move |number, side| {
            if (number, side) == (2, Side::Before) {
                let scene = theirs.upgrade().expect("the test goes on");
                scene.server.other_hand(
                    "update delete app.mig.test. A\nupdate add app.mig.test. 300 A 203.0.113.9",
                );
            }
            true
        });
        let runbook = scene.runbook(primary, "dns.cutover", APP);
        let ended = scene.lab.migrate(["run", &runbook]).expect(11);
        assert!(ended.said().contains("MIG0211"), "{}", ended.said());
        assert_eq!(scene.server.values("app", Rtype::A), ["203.0.113.9 300"], "{make:?}");
        // Read anew, it is not what the author expects.
        let ended = scene.lab.migrate(["resume"]).expect(11);
        assert!(ended.said().contains("MIG0203"), "{}", ended.said());
        assert_eq!(scene.server.values("app", Rtype::A), ["203.0.113.9 300"], "{make:?}");
    });
}

#[test]
fn what_another_hand_did_after_the_switch_is_not_taken_back() {
    with_each("a rollback over another hand's change", |make| {
        let scene = Scene::new(make, ALL);
        scene.run(APP).expect(0);
        scene.server.other_hand(
            "update delete app.mig.test. A\nupdate add app.mig.test. 300 A 203.0.113.9",
        );
        let ended = scene.roll_back().expect(9);
        assert!(ended.said().contains("MIG0206"), "{}", ended.said());
        assert_eq!(scene.server.values("app", Rtype::A), ["203.0.113.9 300"], "{make:?}");
    });
}

#[test]
fn a_lost_reply_is_settled_by_asking_the_primary() {
    with_each("a lost reply", |make| {
        for lost in [Side::Before, Side::After] {
            let scene = Scene::new(make, ALL);
            let began = scene.server.serial();
            let primary =
                between(scene.server.address, move |number, side| (number, side) != (2, lost));
            let runbook = scene.runbook(primary, "dns.cutover", APP);
            let ended = scene.lab.migrate(["run", &runbook]);
            assert!(ended.said().contains("MIG0210"), "{}", ended.said());
            if ended.code() != Some(0) {
                scene.lab.migrate(["resume"]).expect(0);
            }
            assert_eq!(scene.server.values("app", Rtype::A), ["198.51.100.20 60"], "{make:?}");
            assert_eq!(scene.server.serial(), began + 1, "{make:?} {lost:?}: once");
        }
    });
}

#[test]
fn killed_around_the_update_it_is_made_once_and_taken_back_once() {
    with_each("kill -9 around an update", |make| {
        for moment in [(2, Side::Before), (2, Side::After)] {
            let scene = Scene::new(make, ALL);
            let began = scene.server.serial();
            let victim = Arc::new(Mutex::new(None::<Child>));
            let killed = Arc::clone(&victim);
            let primary = between(scene.server.address, move |number, side| {
                if (number, side) != moment {
                    return true;
                }
                let mut victim = killed.lock().expect("no panic");
                victim.as_mut().expect("it was started").kill().expect("it is ours");
                false
            });
            let runbook = scene.runbook(primary, "dns.cutover", APP);
            {
                // Held until the process is known, however fast it comes to its update.
                let mut victim = victim.lock().expect("no panic");
                let mut command = scene.lab.command(["run", &runbook]);
                *victim = Some(command.spawn().expect("it starts"));
            }
            wait(&victim);
            scene.lab.migrate(["resume"]).expect(0);
            assert_eq!(scene.server.values("app", Rtype::A), ["198.51.100.20 60"], "{make:?}");
            assert_eq!(scene.server.serial(), began + 1, "{make:?} {moment:?}: once");
            scene.roll_back().expect(8);
            assert_eq!(scene.server.values("app", Rtype::A), ["192.0.2.10 300"], "{make:?}");
            assert_eq!(scene.server.serial(), began + 2, "{make:?} {moment:?}: back once");
        }
    });
}

/// Until the process has ended; whoever kills it needs the lock meanwhile.
fn wait(victim: &Mutex<Option<Child>>) {
    loop {
        let mut victim = victim.lock().expect("no panic");
        let process = victim.as_mut().expect("it was started");
        if let Some(status) = process.try_wait().expect("it is ours") {
            assert_eq!(status.code(), None, "it was not killed");
            return;
        }
        drop(victim);
        std::thread::yield_now();
    }
}

#[test]
fn a_primary_that_would_refuse_the_way_back_is_found_out_before_the_switch() {
    with_each("rights that are missing", |make| {
        // The way back needs CNAME as well as A.
        let scene = Scene::new(make, &["A"]);
        let began = scene.server.serial();
        let with = "record: alias, type: A, value: 198.51.100.21, replaces: [CNAME]";
        let ended = scene.run(with).expect(4);
        assert!(ended.said().contains("MIG0208"), "{}", ended.said());
        assert_eq!(scene.server.serial(), began, "{make:?}");
        assert_eq!(scene.server.values("alias", Rtype::CNAME), ["source.mig.test 300"]);

        let scene = Scene::new(make, ALL);
        scene.lab.write("tsig.key", "b3RoZXItc2VjcmV0LW9mLW90aGVyLXBlb3BsZQ==");
        let ended = scene.run(APP).expect(4);
        assert!(
            ended.said().contains("the secret of the key mig-key is another one"),
            "{}",
            ended.said()
        );
    });
}

#[test]
fn what_stands_in_the_way_is_named_with_the_remedy() {
    with_each("records of another type", |make| {
        let scene = Scene::new(make, ANY);
        let ended = scene.run("record: alias, type: A, value: 198.51.100.21").expect(4);
        assert!(ended.said().contains("replaces: [CNAME]"), "{}", ended.said());
        let scene = Scene::new(make, ANY);
        // A type that this program never moves is not overlooked, either.
        let with = "record: app, type: CNAME, value: target.mig.test, replaces: [A, AAAA]";
        scene.server.other_hand("update add app.mig.test. 300 CAA 0 issue \"ca.example\"");
        let ended = scene.run(with);
        assert!(
            ended.code() == Some(4) && ended.said().contains("a CAA record"),
            "{}",
            ended.said()
        );
    });
}

#[test]
fn a_ttl_is_lowered_outwaited_and_restored() {
    with_each("a TTL at a primary", |make| {
        let scene = Scene::new(make, ALL);
        let with = "records: [{ record: quick, type: A }], ttl: 1";
        let runbook = scene.runbook(scene.server.address, "dns.ttl", with);
        let started = std::time::Instant::now();
        scene.lab.migrate(["run", &runbook]).expect(0);
        // The old TTL was two seconds.
        assert!(started.elapsed().as_secs_f64() >= 2.0, "{make:?}");
        assert_eq!(scene.server.values("quick", Rtype::A), ["192.0.2.12 1"], "{make:?}");
        scene.server.other_hand(
            "update delete quick.mig.test. A\nupdate add quick.mig.test. 1 A 192.0.2.13",
        );
        scene.roll_back().expect(8);
        assert_eq!(scene.server.values("quick", Rtype::A), ["192.0.2.13 2"], "{make:?}");
    });
}

#[test]
fn a_secondary_that_is_stale_is_named_and_waited_for() {
    let what = "a stale secondary";
    if !(Make::Bind.is_here(what) && Make::Knot.is_here(what)) {
        return;
    }
    let scene = Scene::new(Make::Bind, ALL);
    let (primary, stale) = (&scene.server, NameServer::secondary_of(&scene.server));
    let servers = [primary.address, stale.address];
    let runbook = scene.runbook_asking(&servers, primary.address, "dns.cutover", APP);
    let ended = scene.lab.migrate(["run", &runbook]).expect(1);
    let named = format!("{}: 192.0.2.10 (TTL 300 s), in version 100 of the zone", stale.address);
    assert!(ended.said().contains("MIG0202") && ended.said().contains(&named), "{}", ended.said());
    let spread = "1 of 2 (50 %) 192.0.2.10; 1 of 2 (50 %) 198.51.100.20; an old answer lives for 300 s at most";
    assert!(ended.said().contains(spread), "{}", ended.said());
    let serial = primary.serial();
    stale.catch_up_with(primary);
    scene.lab.migrate(["resume"]).expect(0);
    assert_eq!(primary.serial(), serial, "nothing was written twice");
}

#[test]
fn a_resolver_that_remembers_is_named_with_the_time_it_may() {
    let what = "a resolver that remembers";
    if !Make::Bind.is_here(what) {
        return;
    }
    let scene = Scene::new(Make::Bind, ALL);
    let resolver = NameServer::resolver_over(&scene.server);
    assert_eq!(resolver.resolve("app").len(), 1);
    let asking = format!("resolvers: [\"{}\"], {APP}", resolver.address);
    let ended = scene.run(&asking).expect(1);
    let named = format!("resolver {}: 192.0.2.10 (TTL", resolver.address);
    assert!(ended.said().contains("MIG0202") && ended.said().contains(&named), "{}", ended.said());
    // Of a name with a TTL of two seconds it lets go in time.
    let scene = Scene::new(Make::Bind, ALL);
    let resolver = NameServer::resolver_over(&scene.server);
    assert_eq!(resolver.resolve("quick").len(), 1);
    let with = format!(
        "resolvers: [\"{}\"], records: [{{ record: quick, type: A }}], ttl: 1",
        resolver.address
    );
    let runbook = scene.runbook(scene.server.address, "dns.ttl", &with);
    let ended = scene.lab.migrate(["run", &runbook]).expect(0);
    assert!(ended.said().contains("A quick.mig.test at resolver"), "{}", ended.said());
}

/// A world with a private zone, and little else.
pub(crate) const PRIVATE: &str = "
estate: { seed: 7, workloads: [crm], files: 1, orders: 1 }
writer: { orders: 0, pause_ms: 1 }
zones:
  - group: rg-dns
    name: contoso.internal
    private: true
    records: [{ name: db, type: A, ttl: 300, values: [10.0.0.5] }]
";

/// A runbook that moves a name of the private zone.
pub(crate) fn private(lab: &Lab, with: &str) -> String {
    let text = format!(
        "migrate: 1
wave: private
azure: {{ subscription: 00000000-0000-0000-0000-00000000c0de, resource_group: rg-dns }}
stages:
  prepare:
    - id: ttl
      uses: dns.ttl
      with: {{ zone: contoso.internal, private: true, records: [{{ record: db, type: A }}], ttl: 60 }}
  release:
    - id: switch
      uses: dns.cutover
      with: {{ zone: contoso.internal, private: true, record: db, type: A, value: 10.1.0.5, expect: 10.0.0.5{with} }}
"
    );
    lab.write("private.yaml", &text)
}

#[test]
fn a_name_of_a_private_zone_moves_is_read_back_and_comes_back() {
    let lab = Lab::new(PRIVATE);
    let runbook = private(&lab, "");
    let ended = lab.run(&runbook, &[]).expect(0);
    let read_back = "A db.contoso.internal at Azure DNS: equal  10.1.0.5 (TTL 60 s)";
    assert!(ended.said().contains(read_back), "{}", ended.said());
    // Nobody outside its networks can ask for it, and that is not called equal.
    assert!(ended.said().contains("as it is answered: not compared"), "{}", ended.said());
    lab.migrate(["rollback", &lab.run_id(), "--yes"]).expect(8);
    let sets = lab.world().record_sets;
    let db = &sets["contoso.internal/a/db"];
    assert_eq!((&db["TTL"], &db["ARecords"][0]["ipv4Address"]), (&300.into(), &"10.0.0.5".into()));
    let lab = Lab::new(PRIVATE);
    let ended = lab.run(&private(&lab, ", resolvers: [10.0.0.53]"), &[]).expect(0);
    assert!(ended.said().contains("at resolver 10.0.0.53"), "{}", ended.said());
}

#[test]
fn killed_around_a_write_to_a_private_zone_it_is_written_once() {
    let whole = Lab::new(PRIVATE);
    let runbook = private(&whole, "");
    whole.run(&runbook, &[]).expect(0);
    let (world, changes) = (whole.world(), whole.changes());
    let calls = changes.values().sum::<usize>();
    assert_eq!(calls, 2, "{changes:?}");
    for point in (1..whole.records()).step_by(cases(3, 1)) {
        let lab = Lab::new(PRIVATE);
        let killed = lab.run(&runbook, &["--die-at", &format!("after-record:{point}")]);
        assert_eq!(killed.code(), None, "{}", killed.said());
        lab.migrate(["resume"]).expect(0);
        assert_eq!((lab.world(), lab.changes()), (world.clone(), changes.clone()), "{point}");
    }
}
