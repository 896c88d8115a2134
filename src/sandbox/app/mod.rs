//! The applications that migrate: one per workload at two sites, over plain HTTP, with their orders in the site's
//! database, a maintenance switch that refuses writes, and the endpoint that webhooks go to.
//!
//! The switch and the webhooks are in the ledger. Orders are not: they are rows, durable by the database's own commit
//! before they are answered.

mod orders;
mod writer;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use hyper::http::{Method, StatusCode};
use serde_json::{Value, json};

pub(super) use orders::{CHANNEL, open};
pub(super) use writer::{Writer, acknowledged};

use super::arm;
use super::core::{Carried, Core, Kind};
use super::http::{Answer, Reply, Request, Site};
use super::ledger::Changes;
use super::store::World;

/// Where an application runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Place {
    Source,
    Target,
}

impl Place {
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Source => "source",
            Self::Target => "target",
        }
    }
}

/// All applications of one site.
#[derive(Debug)]
pub(super) struct AppSite {
    core: Arc<Core>,
    place: Place,
    /// `estate/<site>`.
    folder: PathBuf,
    load: Arc<Mutex<Loads>>,
}

/// By application.
type Loads = BTreeMap<String, Load>;

/// What an application has to do, and refused to do, since this process started.
#[derive(Debug, Clone, Copy, Default)]
struct Load {
    in_flight: u64,
    refused: u64,
}

/// One order that is being taken.
struct InFlight {
    load: Arc<Mutex<Loads>>,
    app: String,
}

impl InFlight {
    fn enter(load: &Arc<Mutex<Loads>>, app: &str) -> Self {
        let entered = Self { load: Arc::clone(load), app: app.to_owned() };
        entered.count(|load| load.in_flight += 1);
        entered
    }

    fn count(&self, change: impl FnOnce(&mut Load)) {
        let mut load = self.load.lock().unwrap_or_else(PoisonError::into_inner);
        change(load.entry(self.app.clone()).or_default());
    }
}

impl Drop for InFlight {
    fn drop(&mut self) {
        self.count(|load| load.in_flight -= 1);
    }
}

impl Site for AppSite {
    async fn answer(&self, request: Request) -> Answer {
        let label = request.host.split('.').next().unwrap_or("");
        if label == "hooks" {
            let path = format!("{}{}", request.host, request.path);
            return self.core.answer(Kind::Changes, path, request, hook).await;
        }
        let apps = &self.core.scenario().estate.workloads;
        let app = apps.iter().find(|app| label == **app || label.starts_with(&format!("{app}-")));
        match app.cloned() {
            Some(app) => self.application(app, request).await,
            None => self.server(label.to_owned(), request).await,
        }
    }
}

/// What a database server does when it starts after a crash: an order that was half written is taken back. `estate` holds
/// both sites; an application that is not there yet has nothing to recover.
pub(super) async fn recover(estate: &Path, apps: &[String]) {
    for place in [Place::Source, Place::Target] {
        for app in apps {
            let database = estate.join(place.name()).join(app).join("app.db");
            if database.exists() {
                // One that can not be opened refuses its orders later, and says so then.
                let _ = orders::stats(&database).await;
            }
        }
    }
}

impl AppSite {
    pub(super) fn new(core: Arc<Core>, place: Place, estate: &Path) -> Self {
        let folder = estate.join(place.name());
        Self { core, place, folder, load: Arc::default() }
    }

    /// A migrated server: it answers at the target as long as its virtual machine runs.
    async fn server(&self, name: String, request: Request) -> Answer {
        if self.place != Place::Target || request.path != "/health" {
            return Answer::Reply(Reply::empty(StatusCode::NOT_FOUND));
        }
        let path = format!("{name}@target/health");
        let provider = move |carried: Carried<'_>, _: &Request| {
            let reply = if arm::machine_runs(carried.world, &name) {
                let body = json!({ "status": "ok", "server": name, "site": Place::Target.name() });
                Reply::json(StatusCode::OK, &body)
            } else {
                Reply::empty(StatusCode::BAD_GATEWAY)
            };
            (reply, Changes::new())
        };
        self.core.answer(Kind::Reads, path, request, provider).await
    }

    async fn application(&self, app: String, request: Request) -> Answer {
        let database = self.folder.join(&app).join("app.db");
        match (request.method.clone(), request.path.as_str()) {
            (Method::POST, "/orders") => Answer::Reply(self.order(&app, &request).await),
            (Method::GET, "/orders/stats") => {
                let refused = self.load(&app, |load| load.refused);
                let stats = orders::stats(&database).await.unwrap_or_default();
                let body = json!({ "accepted": stats.accepted, "refused": refused, "last_id": stats.last_id });
                Answer::Reply(Reply::json(StatusCode::OK, &body))
            }
            (Method::GET | Method::PUT, "/health" | "/maintenance") => {
                let path = format!("{app}@{}{}", self.place.name(), request.path);
                let (place, load) = (self.place, self.load(&app, |load| *load));
                let kind = if request.mutates() { Kind::Changes } else { Kind::Reads };
                let provider = move |carried: Carried<'_>, request: &Request| {
                    application(carried.world, request, place, &app, load)
                };
                self.core.answer(kind, path, request, provider).await
            }
            _ => Answer::Reply(Reply::empty(StatusCode::NOT_FOUND)),
        }
    }

    /// An order counts as in flight from before the switch is looked at until it is durable, so that a switch that is on
    /// with nothing in flight means that no order can still arrive. A client that hangs up does not end it half way. It
    /// is real work: time is not skipped over it.
    async fn order(&self, app: &str, request: &Request) -> Reply {
        let busy = self.core.clock.busy();
        let in_flight = InFlight::enter(&self.load, app);
        if is_paused(&self.core.store.world(), self.place, app) {
            self.load(app, |load| load.refused += 1);
            let body = json!({ "error": "maintenance" });
            return Reply::json(StatusCode::SERVICE_UNAVAILABLE, &body).with("retry-after", "1");
        }
        let (database, body) = (self.folder.join(app).join("app.db"), request.body.clone());
        let accepting = tokio::spawn(async move {
            let reply = orders::accept(&database, &body).await;
            drop((in_flight, busy));
            reply
        });
        accepting.await.unwrap_or_else(|_panic| Reply::empty(StatusCode::INTERNAL_SERVER_ERROR))
    }

    fn load<T>(&self, app: &str, look: impl FnOnce(&mut Load) -> T) -> T {
        let mut load = self.load.lock().unwrap_or_else(PoisonError::into_inner);
        look(load.entry(app.to_owned()).or_default())
    }
}

/// The ledger's key of a switch.
fn switch(place: Place, app: &str) -> String {
    format!("maintenance-{}-{app}", place.name())
}

fn is_paused(world: &World, place: Place, app: &str) -> bool {
    world.get(&switch(place, app)).is_some_and(|switch| switch["enabled"] == true)
}

/// `/health` and `/maintenance`.
fn application(
    world: &World,
    request: &Request,
    place: Place,
    app: &str,
    load: Load,
) -> (Reply, Changes) {
    let paused = is_paused(world, place, app);
    let state = |enabled: bool| json!({ "enabled": enabled, "in_flight": load.in_flight });
    if request.path == "/health" {
        let body = json!({ "status": "ok", "app": app, "site": place.name() });
        return (Reply::json(StatusCode::OK, &body), Changes::new());
    }
    if request.method == Method::GET {
        return (Reply::json(StatusCode::OK, &state(paused)), Changes::new());
    }
    let wanted: Option<bool> = serde_json::from_slice(&request.body)
        .ok()
        .and_then(|body: Value| body["enabled"].as_bool());
    let Some(enabled) = wanted else {
        let body = json!({ "error": "the body is {\"enabled\": true} or {\"enabled\": false}" });
        return (Reply::json(StatusCode::BAD_REQUEST, &body), Changes::new());
    };
    let changes = if enabled == paused {
        Changes::new()
    } else {
        Changes::from([(switch(place, app), Some(json!({ "enabled": enabled })))])
    };
    (Reply::json(StatusCode::OK, &state(enabled)), changes)
}

/// A webhook: kept once per idempotency key.
fn hook(carried: Carried<'_>, request: &Request) -> (Reply, Changes) {
    if request.method != Method::POST {
        return (Reply::empty(StatusCode::METHOD_NOT_ALLOWED), Changes::new());
    }
    let named = request.header("idempotency-key").map(|key| format!("hook-{}-{key}", request.path));
    let key = named.unwrap_or_else(|| {
        format!("hook-{}-without-key-{}", request.path, carried.world.next_seq())
    });
    let key = key.to_ascii_lowercase();
    if carried.world.get(&key).is_some() {
        return (Reply::empty(StatusCode::OK), Changes::new());
    }
    let text = String::from_utf8_lossy(&request.body).into_owned();
    let body = serde_json::from_str(&text).unwrap_or(Value::String(text));
    let delivery =
        json!({ "path": request.path, "key": request.header("idempotency-key"), "body": body });
    (Reply::empty(StatusCode::ACCEPTED), Changes::from([(key, Some(delivery))]))
}
