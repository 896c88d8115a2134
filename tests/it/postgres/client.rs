//! A client that writes throughout, to whoever takes it, and logs each acknowledged order: by whom, and when. Its sessions set the
//! read-only default back, as an application may.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use sqlx::postgres::PgConnectOptions;
use sqlx::{ConnectOptions as _, PgConnection};
use tokio::time::MissedTickBehavior;

use super::cluster::Cluster;
use super::replicas::Replicas;

/// The first order's number; those that were there before are below it.
pub(crate) const FIRST: i64 = 1_000_000;
/// Sessions, and between two orders of one of them: 1,000 orders a second together.
const SESSIONS: i64 = 4;
const PACE: Duration = Duration::from_millis(4);

/// Which server acknowledged.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Side {
    Source,
    Target,
}

/// An order that was acknowledged.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Order {
    pub(crate) id: i64,
    pub(crate) by: Side,
    pub(crate) at: Instant,
}

/// See the module.
pub(crate) struct Client {
    stop: Arc<AtomicBool>,
    thread: JoinHandle<Vec<Vec<Order>>>,
}

impl Client {
    pub(crate) fn start(replicas: &Replicas) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let open = |cluster: &Cluster| {
            cluster.options("app").options([("default_transaction_read_only", "off")])
        };
        let (source, target) = (open(&replicas.source), open(&replicas.target));
        let told = Arc::clone(&stop);
        let thread = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
            let session = |number| write(FIRST + number, &source, &target, &told);
            let sessions = (0..SESSIONS).map(session);
            runtime.expect("a runtime").block_on(futures::future::join_all(sessions))
        });
        Self { stop, thread }
    }

    /// The orders of each session, in their order.
    pub(crate) fn stop(self) -> Vec<Vec<Order>> {
        self.stop.store(true, Ordering::Relaxed);
        self.thread.join().expect("it wrote")
    }
}

/// One session: every so many-th order from `id` on, each until it is acknowledged.
async fn write(
    mut id: i64,
    source: &PgConnectOptions,
    target: &PgConnectOptions,
    stop: &AtomicBool,
) -> Vec<Order> {
    let (mut acknowledged, mut by) = (Vec::new(), Side::Source);
    let mut session: Option<PgConnection> = None;
    let mut pace = tokio::time::interval(PACE);
    pace.set_missed_tick_behavior(MissedTickBehavior::Skip);
    loop {
        if session.is_none() {
            let options = if by == Side::Source { source } else { target };
            session = options.connect().await.ok();
        }
        let written = match &mut session {
            // What was committed without an answer is there already.
            Some(session) => {
                let insert = "insert into public.orders (id, item) values ($1, 'new') on conflict (id) do nothing";
                sqlx::query(insert).bind(id).execute(&mut *session).await.is_ok()
            }
            None => false,
        };
        if written {
            acknowledged.push(Order { id, by, at: Instant::now() });
            // Told to stop, it still brings the order that it has in hand to an end.
            if stop.load(Ordering::Relaxed) {
                return acknowledged;
            }
            id += SESSIONS;
            pace.tick().await;
        } else {
            session = None;
            by = if by == Side::Source { Side::Target } else { Side::Source };
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    }
}

/// Everything that clients may have written there, in order.
pub(crate) fn ids(cluster: &Cluster) -> Vec<i64> {
    let query =
        format!("select string_agg(id::text, ' ' order by id) from orders where id >= {FIRST}");
    let text = cluster.text("crm", &query);
    text.split_whitespace().map(|id| id.parse().expect("a number")).collect()
}

/// What was acknowledged is at the target, and the source has nothing that the target has not.
#[track_caller]
pub(crate) fn judge(replicas: &Replicas, acknowledged: impl Iterator<Item = i64>) {
    let (source, target) = (ids(&replicas.source), ids(&replicas.target));
    let is_missing = |id: &i64| target.binary_search(id).is_err();
    let missing: Vec<i64> = acknowledged.filter(is_missing).collect();
    let stray: Vec<i64> = source.into_iter().filter(is_missing).collect();
    assert!(missing.is_empty(), "acknowledged and missing at the target: {missing:?}");
    assert!(stray.is_empty(), "accepted at the source after the pause: {stray:?}");
}
