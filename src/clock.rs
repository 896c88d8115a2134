//! The one clock of engine, steps and sandbox.
//!
//! A real run reads the system clock and sleeps on the monotonic one. A sandbox run uses *skipping* time: it flows at
//! the real pace while anybody works, and jumps to the earliest deadline as soon as everybody sleeps. Twenty-four hours
//! of stabilization then cost milliseconds, and no timeout is met by a computation that was merely slow.
//!
//! "Everybody" are the holders of a [`Busy`] guard. Whoever may still act on the world holds one: a running step, a
//! message on its way to the dispatcher, an open question to a person. [`Clock::sleep_until`] gives the guard back while
//! it sleeps, and the jump hands it out again before anybody else can observe an idle world.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use jiff::{SignedDuration, Timestamp};
use tokio::sync::oneshot;

/// Cheap to clone; clones share the time.
#[derive(Debug, Clone)]
pub struct Clock(Arc<Inner>);

#[derive(Debug)]
enum Inner {
    System,
    Skipping(Mutex<Skipping>),
}

#[derive(Debug)]
struct Skipping {
    base: Timestamp,
    /// None: time passes by skipping alone.
    since: Option<Instant>,
    busy: usize,
    sleepers: BTreeMap<(Timestamp, u64), oneshot::Sender<()>>,
    next_sleeper: u64,
}

impl Skipping {
    fn now(&self) -> Timestamp {
        advance(self.base, self.since.map_or(Duration::ZERO, |since| since.elapsed()))
    }

    /// With nobody busy, jumps to the earliest deadline and wakes its sleeper, who is busy from now on.
    fn skip_if_idle(&mut self) {
        while self.busy == 0 {
            let Some(((deadline, _), waker)) = self.sleepers.pop_first() else {
                return;
            };
            if deadline > self.now() {
                self.base = deadline;
                self.since = self.since.map(|_| Instant::now());
            }
            if waker.send(()).is_ok() {
                self.busy += 1;
            }
        }
    }
}

/// Keeps time from being skipped while it is held.
#[derive(Debug)]
pub struct Busy {
    clock: Clock,
    counted: bool,
}

/// A guard given back for a while; dropping it takes it again.
#[derive(Debug)]
pub struct Lent<'a>(&'a mut Busy);

impl Busy {
    /// Lets time be skipped while waiting for others, who hold guards of their own when they have news.
    pub fn lend(&mut self) -> Lent<'_> {
        if let (Inner::Skipping(_), true) = (&*self.clock.0, self.counted) {
            self.counted = false;
            let mut inner = self.clock.skipping();
            inner.busy -= 1;
            inner.skip_if_idle();
        }
        Lent(self)
    }
}

impl Drop for Lent<'_> {
    fn drop(&mut self) {
        if let (Inner::Skipping(_), false) = (&*self.0.clock.0, self.0.counted) {
            self.0.clock.skipping().busy += 1;
            self.0.counted = true;
        }
    }
}

/// A place for a guard that a callee may sleep with: whoever waits takes it and puts it back.
#[derive(Debug, Clone, Default)]
pub struct Hold(Arc<Mutex<Option<Busy>>>);

impl Hold {
    /// Puts a guard there.
    pub fn put(&self, busy: Busy) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(busy);
    }

    /// Takes the guard, if there is one.
    pub fn take(&self) -> Option<Busy> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).take()
    }
}

impl Drop for Busy {
    fn drop(&mut self) {
        if let (Inner::Skipping(_), true) = (&*self.clock.0, self.counted) {
            let mut inner = self.clock.skipping();
            inner.busy -= 1;
            inner.skip_if_idle();
        }
    }
}

impl Clock {
    /// The system's clock.
    pub fn system() -> Self {
        Self(Arc::new(Inner::System))
    }

    /// Skipping time that starts at `base`.
    pub fn skipping_from(base: Timestamp) -> Self {
        Self::skipping_since(base, Some(Instant::now()))
    }

    /// Skipping time that stands still between skips: what is read depends on no one's speed.
    pub fn still_from(base: Timestamp) -> Self {
        Self::skipping_since(base, None)
    }

    fn skipping_since(base: Timestamp, since: Option<Instant>) -> Self {
        Self(Arc::new(Inner::Skipping(Mutex::new(Skipping {
            base,
            since,
            busy: 0,
            sleepers: BTreeMap::new(),
            next_sleeper: 0,
        }))))
    }

    /// Wall-clock time; for windows, ages and records, never for measuring.
    #[expect(clippy::disallowed_methods, reason = "the one place that reads the system clock")]
    pub fn now(&self) -> Timestamp {
        match &*self.0 {
            Inner::System => Timestamp::now(),
            Inner::Skipping(_) => self.skipping().now(),
        }
    }

    /// Whether time is skipped while everybody sleeps.
    pub fn is_skipping(&self) -> bool {
        matches!(&*self.0, Inner::Skipping(_))
    }

    /// Marks the holder as at work.
    pub fn busy(&self) -> Busy {
        if let Inner::Skipping(_) = &*self.0 {
            self.skipping().busy += 1;
        }
        Busy { clock: self.clone(), counted: true }
    }

    /// A guard that counts only once its sleep is over: for deadlines, which never keep time from being skipped.
    pub fn waiting(&self) -> Busy {
        Busy { clock: self.clone(), counted: false }
    }

    /// Sleeps for `duration` of this clock's time, lending `busy` back meanwhile.
    pub async fn sleep(&self, duration: Duration, busy: &mut Busy) {
        self.sleep_until(advance(self.now(), duration), busy).await;
    }

    /// Sleeps until `deadline`. Cancel-safe: a dropped sleep leaves no count behind.
    pub async fn sleep_until(&self, deadline: Timestamp, busy: &mut Busy) {
        let Inner::Skipping(_) = &*self.0 else {
            tokio::time::sleep(since(self.now(), deadline)).await;
            return;
        };
        let (waker, mut woken) = oneshot::channel();
        let (key, wait) = {
            let mut inner = self.skipping();
            let key = (deadline, inner.next_sleeper);
            inner.next_sleeper += 1;
            inner.sleepers.insert(key, waker);
            if busy.counted {
                busy.counted = false;
                inner.busy -= 1;
            }
            inner.skip_if_idle();
            (key, since(inner.now(), deadline))
        };
        let mut asleep = Asleep { clock: self, key, busy, woken: &mut woken };
        tokio::select! {
            _ = &mut *asleep.woken => asleep.busy.counted = true,
            () = tokio::time::sleep(wait) => asleep.wake(),
        }
    }

    fn skipping(&self) -> MutexGuard<'_, Skipping> {
        match &*self.0 {
            Inner::Skipping(inner) => inner.lock().unwrap_or_else(PoisonError::into_inner),
            Inner::System => unreachable!("only asked of a skipping clock"),
        }
    }
}

/// A sleeper in the heap; leaving it in any way makes its holder busy again exactly once.
struct Asleep<'a> {
    clock: &'a Clock,
    key: (Timestamp, u64),
    busy: &'a mut Busy,
    woken: &'a mut oneshot::Receiver<()>,
}

impl Asleep<'_> {
    fn wake(&mut self) {
        if self.busy.counted {
            return;
        }
        let mut inner = self.clock.skipping();
        // Either still in the heap, or a jump has already counted this sleeper.
        if inner.sleepers.remove(&self.key).is_some() {
            inner.busy += 1;
        }
        self.busy.counted = true;
    }
}

impl Drop for Asleep<'_> {
    fn drop(&mut self) {
        self.wake();
    }
}

/// `at + duration`, saturating.
pub fn advance(at: Timestamp, duration: Duration) -> Timestamp {
    SignedDuration::try_from(duration)
        .ok()
        .and_then(|step| at.checked_add(step).ok())
        .unwrap_or(Timestamp::MAX)
}

/// `later - earlier`, zero when the clock went backwards.
pub fn since(earlier: Timestamp, later: Timestamp) -> Duration {
    Duration::try_from(later.duration_since(earlier)).unwrap_or(Duration::ZERO)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_day_passes_at_once_when_everybody_sleeps() {
        let clock = Clock::skipping_from(Timestamp::UNIX_EPOCH);
        let mut busy = clock.busy();
        clock.sleep(Duration::from_hours(24), &mut busy).await;
        assert!(since(Timestamp::UNIX_EPOCH, clock.now()) >= Duration::from_hours(24));
    }

    #[tokio::test]
    async fn still_time_passes_by_skipping_alone() {
        let clock = Clock::still_from(Timestamp::UNIX_EPOCH);
        let mut busy = clock.busy();
        clock.sleep(Duration::from_secs(90), &mut busy).await;
        assert_eq!(clock.now(), advance(Timestamp::UNIX_EPOCH, Duration::from_secs(90)));
    }

    #[tokio::test]
    async fn sleepers_wake_in_order_of_their_deadlines() {
        let clock = Clock::skipping_from(Timestamp::UNIX_EPOCH);
        let start = clock.busy();
        let order = Arc::new(Mutex::new(Vec::new()));
        let tasks: Vec<_> = [3_u64, 1, 2]
            .into_iter()
            .map(|hours| {
                let (clock, order, mut busy) = (clock.clone(), order.clone(), clock.busy());
                tokio::spawn(async move {
                    clock.sleep(Duration::from_hours(hours), &mut busy).await;
                    order.lock().unwrap_or_else(PoisonError::into_inner).push(hours);
                })
            })
            .collect();
        drop(start);
        for task in tasks {
            task.await.expect("the sleeper ends");
        }
        assert_eq!(*order.lock().unwrap_or_else(PoisonError::into_inner), [1, 2, 3]);
    }

    #[tokio::test]
    async fn a_cancelled_sleep_leaves_time_running() {
        let clock = Clock::skipping_from(Timestamp::UNIX_EPOCH);
        let _held = clock.busy();
        let mut busy = clock.busy();
        let cut = tokio::time::timeout(
            Duration::from_millis(1),
            clock.sleep(Duration::from_hours(1), &mut busy),
        )
        .await;
        assert!(cut.is_err(), "somebody else is busy, so nothing is skipped");
        drop(busy);
        assert_eq!(clock.skipping().busy, 1);
        assert!(clock.skipping().sleepers.is_empty());
    }
}
