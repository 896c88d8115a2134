//! A client that writes to whichever of two servers takes it, and logs what was acknowledged: by it a cutover is judged.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// Which server acknowledged.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Side {
    Source,
    Target,
}

/// An order that was acknowledged.
pub(crate) type Acknowledged = (i64, Side, Instant);

/// The number of its first order.
const FIRST: i64 = 1_000_000;

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
    thread: JoinHandle<Vec<Acknowledged>>,
}

impl Client {
    pub(crate) fn start(application: impl Application) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let told = Arc::clone(&stop);
        let thread = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build()
                .expect("a runtime");
            runtime.block_on(write(&application, &told))
        });
        Self { stop, thread }
    }

    pub(crate) fn stop(self) -> Vec<Acknowledged> {
        self.stop.store(true, Ordering::Relaxed);
        self.thread.join().expect("it wrote")
    }
}

async fn write<A: Application>(application: &A, stop: &AtomicBool) -> Vec<Acknowledged> {
    let (mut acknowledged, mut side, mut id) = (Vec::new(), Side::Source, FIRST);
    let mut session: Option<A::Session> = None;
    while !stop.load(Ordering::Relaxed) {
        if session.is_none() {
            session = application.open(side).await;
        }
        let written = match &mut session {
            Some(session) => A::write(session, id).await,
            None => false,
        };
        if written {
            acknowledged.push((id, side, Instant::now()));
            id += 1;
            tokio::time::sleep(Duration::from_millis(1)).await;
        } else {
            session = None;
            side = if side == Side::Source { Side::Target } else { Side::Source };
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    }
    acknowledged
}

/// What was acknowledged is at the target, and the source has nothing that the target has not. How long the client was
/// refused. Both lists are sorted.
pub(crate) fn judge(acknowledged: &[Acknowledged], source: &[i64], target: &[i64]) -> Duration {
    let missing: Vec<_> =
        acknowledged.iter().map(|it| it.0).filter(|id| target.binary_search(id).is_err()).collect();
    let stray: Vec<_> = source.iter().filter(|id| target.binary_search(id).is_err()).collect();
    assert!(missing.is_empty(), "acknowledged and missing at the target: {missing:?}");
    assert!(stray.is_empty(), "accepted at the source after the pause: {stray:?}");
    let last = acknowledged.iter().rfind(|it| it.1 == Side::Source).expect("some").2;
    let first = acknowledged.iter().find(|it| it.1 == Side::Target).expect("it came over").2;
    first.saturating_duration_since(last)
}

/// What many cutovers gave.
pub(crate) fn told(engine: &str, mut refused: Vec<Duration>) {
    refused.sort();
    let quantile = |of_hundred: usize| refused[(refused.len() - 1) * of_hundred / 100].as_millis();
    println!(
        "{} cutovers of {engine}: 0 acknowledged writes missing, 0 accepted after the pause; writes refused for p50 {} ms, p95 {} ms",
        refused.len(),
        quantile(50),
        quantile(95)
    );
}
