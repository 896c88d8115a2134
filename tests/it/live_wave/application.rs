//! A small web application in front of a database, as it stands on each side of the wave: it takes orders, and tells who it is
//! and whether it could take one.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};

use axum::extract::State;
use axum::http::StatusCode;
use axum::routing::{get, post};
use axum::{Json, Router};
use serde_json::{Value, json};
use sqlx::postgres::PgConnectOptions;
use sqlx::{ConnectOptions as _, PgConnection};

use crate::postgres::cluster::Cluster;

/// Which of the two.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Site {
    Source,
    Target,
}

impl Site {
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Source => "source",
            Self::Target => "target",
        }
    }
}

/// It answers until it is dropped.
pub(crate) struct Application {
    pub(crate) address: SocketAddr,
    ill: Arc<AtomicBool>,
    _runtime: tokio::runtime::Runtime,
}

/// What its handlers share.
#[derive(Clone)]
struct Desk {
    site: Site,
    database: PgConnectOptions,
    session: Arc<Mutex<Option<PgConnection>>>,
    ill: Arc<AtomicBool>,
}

impl Application {
    /// Starts it in front of that database, as the role `app`.
    pub(crate) fn start(site: Site, cluster: &Cluster) -> Self {
        let runtime =
            tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build();
        let runtime = runtime.expect("a runtime");
        let ill = Arc::new(AtomicBool::new(false));
        // It sets the read-only default back, as an application may: a pause must hold all the same.
        let database = cluster.options("app").options([("default_transaction_read_only", "off")]);
        let desk = Desk { site, database, session: Arc::default(), ill: Arc::clone(&ill) };
        let router = Router::new()
            .route("/health", get(health))
            .route("/orders/{id}", post(take))
            .with_state(desk);
        let listener = runtime.block_on(tokio::net::TcpListener::bind("127.0.0.1:0"));
        let listener = listener.expect("a free port");
        let address = listener.local_addr().expect("bound");
        runtime.spawn(async move { axum::serve(listener, router).await });
        Self { address, ill, _runtime: runtime }
    }

    pub(crate) fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// From now on it says that it is not well, or that it is again.
    pub(crate) fn set_ill(&self, ill: bool) {
        self.ill.store(ill, Ordering::Relaxed);
    }
}

impl Desk {
    /// The session that is open, or a new one; none where the database lets nobody in.
    async fn session(&self) -> Option<PgConnection> {
        let open = self.session.lock().expect("no panic").take();
        match open {
            Some(open) => Some(open),
            None => self.database.connect().await.ok(),
        }
    }

    /// Keeps a session that did its work; any other is dropped.
    fn keep(&self, session: PgConnection) {
        *self.session.lock().expect("no panic") = Some(session);
    }
}

async fn health(State(desk): State<Desk>) -> (StatusCode, Json<Value>) {
    let mut writes = false;
    if let Some(mut session) = desk.session().await {
        let asked = "select current_setting('transaction_read_only') = 'off'";
        let told = sqlx::query_scalar::<_, bool>(asked).fetch_one(&mut session).await;
        if let Ok(told) = told {
            writes = told;
            desk.keep(session);
        }
    }
    let ill = desk.ill.load(Ordering::Relaxed);
    let (code, status) =
        if ill { (StatusCode::SERVICE_UNAVAILABLE, "ill") } else { (StatusCode::OK, "ok") };
    (code, Json(json!({ "site": desk.site.name(), "status": status, "writes": writes })))
}

/// Takes an order. What was committed without an answer is there already when it is asked for again.
async fn take(
    State(desk): State<Desk>,
    axum::extract::Path(id): axum::extract::Path<i64>,
) -> StatusCode {
    let Some(mut session) = desk.session().await else { return StatusCode::SERVICE_UNAVAILABLE };
    let insert =
        "insert into public.orders (id, item) values ($1, 'new') on conflict (id) do nothing";
    match sqlx::query(insert).bind(id).execute(&mut session).await {
        Ok(_) => {
            desk.keep(session);
            StatusCode::OK
        }
        Err(_) => StatusCode::SERVICE_UNAVAILABLE,
    }
}
