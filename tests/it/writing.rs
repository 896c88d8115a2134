//! A client that writes throughout, to whichever of two servers takes it, and logs what was acknowledged: by whom, and when. By it a
//! cutover is judged.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use tokio::time::MissedTickBehavior;

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
    by: Side,
    at: Instant,
}

/// How an application comes to its servers.
pub(crate) trait Application: Send + Sync + 'static {
    type Session: Send;
    /// A session at that side, if it lets the application in.
    fn open(&self, side: Side) -> impl Future<Output = Option<Self::Session>> + Send;
    /// Writes the order, which may be there already: what was committed without an answer is. Whether it was acknowledged.
    fn write(session: &mut Self::Session, id: i64) -> impl Future<Output = bool> + Send;
}

/// See the module.
pub(crate) struct Client {
    stop: Arc<AtomicBool>,
    thread: JoinHandle<Vec<Vec<Order>>>,
}

impl Client {
    pub(crate) fn start(application: impl Application) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let told = Arc::clone(&stop);
        let thread = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
            let sessions = (0..SESSIONS).map(|it| write(&application, FIRST + it, &told));
            runtime.expect("a runtime").block_on(futures::future::join_all(sessions))
        });
        Self { stop, thread }
    }

    /// Brings the order that each session has in hand to an end.
    pub(crate) fn stop(self) -> Written {
        self.stop.store(true, Ordering::Relaxed);
        Written(self.thread.join().expect("it wrote"))
    }
}

/// One session: every so many-th order from `id` on, each until it is acknowledged.
async fn write<A: Application>(application: &A, mut id: i64, stop: &AtomicBool) -> Vec<Order> {
    let (mut acknowledged, mut by) = (Vec::new(), Side::Source);
    let mut session: Option<A::Session> = None;
    let mut pace = tokio::time::interval(PACE);
    pace.set_missed_tick_behavior(MissedTickBehavior::Skip);
    loop {
        if session.is_none() {
            session = application.open(by).await;
        }
        let written = match &mut session {
            Some(session) => A::write(session, id).await,
            None => false,
        };
        if written {
            acknowledged.push(Order { id, by, at: Instant::now() });
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

/// One session that writes order after order at the source, where nobody refuses them, until told to stop.
pub(crate) struct Writer {
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<Vec<Instant>>>,
}

impl Writer {
    /// From `first` on, with a pause between.
    pub(crate) fn start<A: Application>(application: A, first: i64, pause: Duration) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let told = Arc::clone(&stop);
        let writes = async move {
            let mut session = application.open(Side::Source).await.expect("a session");
            let mut acknowledged = Vec::new();
            for id in first.. {
                if told.load(Ordering::Relaxed) {
                    break;
                }
                assert!(A::write(&mut session, id).await, "it may write");
                acknowledged.push(Instant::now());
                tokio::time::sleep(pause).await;
            }
            acknowledged
        };
        let thread = std::thread::spawn(|| {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
            runtime.expect("a runtime").block_on(writes)
        });
        Self { stop, thread: Some(thread) }
    }

    /// When each order was acknowledged, from the first one on.
    pub(crate) fn stop(mut self) -> Vec<Instant> {
        self.stop.store(true, Ordering::Relaxed);
        self.thread.take().expect("it runs").join().expect("it wrote")
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
    }
}

/// What the sessions of a client had acknowledged, each in its order.
pub(crate) struct Written(Vec<Vec<Order>>);

impl Written {
    /// What was acknowledged is at the target, and the source has nothing that the target has not. Both lists are sorted.
    #[track_caller]
    pub(crate) fn judge(&self, source: &[i64], target: &[i64]) {
        judge(self.0.iter().flatten().map(|it| it.id), source, target);
    }

    /// How long the session was refused that was refused the longest.
    fn refused_for(&self) -> Duration {
        let refused = self.0.iter().map(|orders| {
            let last = orders.iter().rfind(|it| it.by == Side::Source).expect("some").at;
            let first = orders.iter().find(|it| it.by == Side::Target).expect("it came over").at;
            first.saturating_duration_since(last)
        });
        refused.max().expect("sessions")
    }

    /// Orders a second in the last whole second at the source.
    fn rate(&self) -> usize {
        let orders = || self.0.iter().flatten().filter(|it| it.by == Side::Source).map(|it| it.at);
        let end = orders().max().expect("some");
        orders().filter(|at| end.duration_since(*at) < Duration::from_secs(1)).count()
    }
}

/// The same of any log.
#[track_caller]
pub(crate) fn judge(acknowledged: impl Iterator<Item = i64>, source: &[i64], target: &[i64]) {
    let is_missing = |id: &i64| target.binary_search(id).is_err();
    let missing: Vec<i64> = acknowledged.filter(is_missing).collect();
    let stray: Vec<&i64> = source.iter().filter(|id| is_missing(id)).collect();
    assert!(missing.is_empty(), "acknowledged and missing at the target: {missing:?}");
    assert!(stray.is_empty(), "accepted at the source after the pause: {stray:?}");
}

/// Tells what many cutovers gave.
pub(crate) fn tell(engine: &str, rows: u64, cutovers: &[Written]) {
    let sorted = |mut all: Vec<u128>| {
        all.sort_unstable();
        all
    };
    let refused = sorted(cutovers.iter().map(|it| it.refused_for().as_millis()).collect());
    let rates = sorted(cutovers.iter().map(|it| it.rate() as u128).collect());
    let quantile = |all: &[u128], of_hundred: usize| all[(all.len() - 1) * of_hundred / 100];
    println!(
        "{} cutovers of {rows} rows on {engine} under {} orders a second (median): 0 acknowledged missing, 0 accepted after the pause; \
         refused for p50 {} ms, p95 {} ms, at most {} ms",
        cutovers.len(),
        quantile(&rates, 50),
        quantile(&refused, 50),
        quantile(&refused, 95),
        quantile(&refused, 100),
    );
}
