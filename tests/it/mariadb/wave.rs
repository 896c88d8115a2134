//! `runbooks/mariadb-near-zero.yaml` against real servers: a MariaDB pair, BIND, an application on each side, while a client writes to
//! whichever database takes it. Nothing that was acknowledged is missing at the target; before it is opened the wave is taken back,
//! after it there is no way back.

use std::fs;
use std::net::SocketAddr;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use axum::http::StatusCode;
use axum::routing::get;
use axum::{Json, Router};
use domain::base::Rtype;
use migrate::clock::Clock;
use serde_json::json;
use sqlx::mysql::MySqlConnectOptions;
use sqlx::{ConnectOptions as _, Connection as _};
use tokio::runtime::Runtime;

use super::cutover::{catalogue, client, closed, ids, judge, until_over};
use super::replicas::Replicas;
use super::{Maria, PASSWORD};
use crate::child;
use crate::lab::Lab;
use crate::live_wave::world::{with_line, with_paragraph};
use crate::names::servers::{ALL, KEY, Make, NameServer, SECRET, ZONE};
use crate::servers;
use crate::writing::Client;

/// An application on one side: it tells which it is, and whether it could take an order. It answers until it is dropped.
struct Application {
    address: SocketAddr,
    ill: Arc<AtomicBool>,
    _runtime: Runtime,
}

impl Application {
    fn start(site: &'static str, server: &Maria) -> Self {
        let runtime = Runtime::new().expect("a runtime");
        let (database, ill) = (server.options("app"), Arc::new(AtomicBool::new(false)));
        let is_ill = Arc::clone(&ill);
        let health = move || {
            let (database, is_ill) = (database.clone(), Arc::clone(&is_ill));
            async move {
                let is_ill = is_ill.load(Ordering::Relaxed);
                let told = json!({ "site": site, "status": if is_ill { "ill" } else { "ok" }, "writes": writes(&database).await });
                let code = if is_ill { StatusCode::SERVICE_UNAVAILABLE } else { StatusCode::OK };
                (code, Json(told))
            }
        };
        let router = Router::new().route("/health", get(health));
        let listener = runtime.block_on(tokio::net::TcpListener::bind("127.0.0.1:0"));
        let listener = listener.expect("a free port");
        let address = listener.local_addr().expect("bound");
        runtime.spawn(async move { axum::serve(listener, router).await });
        Self { address, ill, _runtime: runtime }
    }
}

/// Whether the database lets the application in, and takes what it writes.
async fn writes(database: &MySqlConnectOptions) -> bool {
    let asked = async {
        let mut session = database.connect().await?;
        let refuses: bool =
            sqlx::query_scalar("select @@global.read_only").fetch_one(&mut session).await?;
        session.close().await?;
        Ok::<_, sqlx::Error>(!refuses)
    };
    asked.await.unwrap_or(false)
}

/// Servers that the runbook is written for, a client that writes, and a run that waits for its approval.
struct Scene {
    lab: Lab,
    client: Client,
    names: NameServer,
    source: Application,
    target: Application,
    replicas: Replicas,
    start: (String, String),
}

impl Scene {
    fn new(what: &str) -> Option<Self> {
        if !Make::Bind.is_here(what) {
            return None;
        }
        let replicas = closed(what)?;
        let source = Application::start("source", &replicas.source);
        let target = Application::start("target", &replicas.target);
        let names = NameServer::start(Make::Bind, ALL);
        let (lab, client) = (Lab::new(""), client(&replicas));
        replicas.target.until("crm", "select count(*) > 20 from orders where item = 'new'", "1");
        let start = (catalogue(&replicas.source), catalogue(&replicas.target));
        let scene = Self { lab, client, names, source, target, replicas, start };
        scene.lab.migrate(["run", &scene.runbook()]).expect(5);
        scene.lab.migrate(["approve", "go"]).expect(0);
        Some(scene)
    }

    /// The runbook as it stands, but for its window and its `vars`: those are of this world.
    fn runbook(&self) -> String {
        let Self { lab, names, replicas, .. } = self;
        lab.write("crm-db.password", PASSWORD);
        lab.write("tsig.key", SECRET);
        let now = Clock::system().now();
        let window = format!(
            "window: {{ opens: {now}, closes: {}, rollback_reserve: 30m }}\n",
            now + std::time::Duration::from_hours(4)
        );
        let text = fs::read_to_string("runbooks/mariadb-near-zero.yaml").expect("a runbook");
        let database = |server: &Maria| {
            format!("host=127.0.0.1 port={} dbname=crm user=operator", server.port)
        };
        let vars = format!(
            "vars:
  source_db: {}
  target_db: {}
  repository: {}
  branch: main
  source_app: http://{}
  target_app: http://{}
  zone: {ZONE}
  primary: \"{names}\"
  servers: [\"{names}\"]
  key: {KEY}
  ttl: 1
  caught_up_for: 1s
  # Whoever looks at these servers is one.
  accepted: [superusers]
  watch: 2s
  every: 1s
",
            database(&replicas.source),
            database(&replicas.target),
            repository(lab),
            self.source.address,
            self.target.address,
            names = names.address,
        );
        let text = with_paragraph(&text, "vars:", &vars);
        lab.write("mariadb-near-zero.yaml", &with_line(&text, "window:", &window))
    }

    fn leads_to(&self) -> Vec<String> {
        self.names.values("crm", Rtype::CNAME)
    }
}

/// A repository with a branch that does not move.
fn repository(lab: &Lab) -> String {
    let path = lab.path().join("crm");
    for arguments in [
        &["init", "--quiet", "--initial-branch=main"][..],
        &[
            "-c",
            "user.name=t",
            "-c",
            "user.email=t@t",
            "commit",
            "--quiet",
            "--allow-empty",
            "-m",
            "one",
        ],
    ] {
        fs::create_dir_all(&path).expect("a folder");
        let mut git = Command::new("git");
        git.current_dir(&path).args(arguments);
        servers::done(git);
    }
    path.display().to_string()
}

#[test]
fn a_wave_moves_a_database_and_a_name_and_then_there_is_no_way_back() {
    let Some(scene) = Scene::new("a live wave of MariaDB") else { return };
    let said = scene.lab.migrate(["resume"]).expect(0).said();
    for says in ["rows in orders: equal", "no return", "writes paused"] {
        assert!(said.contains(says), "{says}: {said}");
    }
    assert_eq!(scene.leads_to(), ["crm-target.mig.test 1"]);
    until_over(&scene.replicas);
    let journal = scene.lab.journal().expect("a journal");
    assert!(!journal.contains(PASSWORD) && !journal.contains(SECRET));
    let open = catalogue(&scene.replicas.target);
    let refused = scene.lab.migrate(["rollback", &scene.lab.run_id(), "--yes"]).expect(4);
    assert!(refused.said().contains("step open"), "{}", refused.said());
    assert!(refused.said().contains("crossed the point of no return"), "{}", refused.said());
    assert_eq!(catalogue(&scene.replicas.target), open, "what it has accepted stays");
    judge(&scene.replicas, &scene.client.stop());
}

#[test]
fn before_it_is_open_the_wave_is_taken_back() {
    let Some(scene) = Scene::new("a live wave of MariaDB that is taken back") else { return };
    scene.source.ill.store(true, Ordering::Relaxed);
    let ended = scene.lab.migrate(["resume"]).expect(4);
    assert!(ended.said().contains("MIG0204"), "{}", ended.said());
    scene.lab.migrate(["rollback", &scene.lab.run_id(), "--yes"]).expect(8);
    let Replicas { source, target, .. } = &scene.replicas;
    assert_eq!((catalogue(source), catalogue(target)), scene.start);
    assert_eq!(scene.leads_to(), ["crm-source.mig.test 2"]);
    let before = ids(source).len();
    child::until("the client writes there again", || ids(source).len() > before);
    let (written, kept) = (scene.client.stop(), ids(source));
    written.judge(&kept, &kept);
}
