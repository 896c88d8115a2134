//! The one clock of engine, steps and sandbox.
//!
//! A real run has two clocks. The *wall* clock says what people agreed on: when a window opens, until when an answer
//! counts, how old a reading is. Anybody may set it, also in the middle of a run. The *steady* clock can not be set: it began
//! with the wall clock's time when the process did and runs evenly since. The rules:
//!
//! - What lasts is steady: timeouts, pauses between attempts, polling, how long a gate held. A jump neither ends nor
//!   prolongs it.
//! - What begins at a moment begins by the wall clock. It is looked at several times a second, so a clock that is put right
//!   is believed at once.
//! - What ends at a moment is over as soon as either clock, or a record of this process, has passed it
//!   ([`Now::latest`]): a clock that is set back does not open a window again.
//! - What must be waited out, as an old TTL in caches, is over only when both clocks have passed it ([`Now::earliest`]).
//! - A reading from the future has no age ([`age`]): one of two clocks is wrong, and nobody can tell how old it is.
//!
//! A sandbox run uses *skipping* time: it flows at
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

/// One moment by both clocks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Now {
    /// What the wall clock shows.
    pub wall: Timestamp,
    /// What it would show if nobody had set it since the process began.
    pub steady: Timestamp,
}

impl Now {
    /// The later of both: what may be used until a moment is judged by it.
    pub fn latest(self) -> Timestamp {
        self.wall.max(self.steady)
    }

    /// The earlier of both: what must be waited out is judged by it.
    pub fn earliest(self) -> Timestamp {
        self.wall.min(self.steady)
    }
}

impl From<Timestamp> for Now {
    /// Nobody has set the clock.
    fn from(at: Timestamp) -> Self {
        Self { wall: at, steady: at }
    }
}

#[derive(Debug)]
enum Inner {
    System { base: Timestamp, since: Instant },
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
    #[expect(clippy::disallowed_methods, reason = "the one place that reads the system clock")]
    pub fn system() -> Self {
        Self(Arc::new(Inner::System { base: Timestamp::now(), since: Instant::now() }))
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
            Inner::System { .. } => Timestamp::now(),
            Inner::Skipping(_) => self.skipping().now(),
        }
    }

    /// Time that nobody can set; for measuring, never to be shown or kept.
    pub fn steady(&self) -> Timestamp {
        match &*self.0 {
            Inner::System { base, since } => advance(*base, since.elapsed()),
            Inner::Skipping(_) => self.skipping().now(),
        }
    }

    /// Both.
    pub fn both(&self) -> Now {
        match &*self.0 {
            Inner::System { .. } => Now { wall: self.now(), steady: self.steady() },
            Inner::Skipping(_) => self.now().into(),
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

    /// Sleeps for `duration` of steady time, lending `busy` back meanwhile. Cancel-safe: a dropped sleep leaves no count
    /// behind.
    pub async fn sleep(&self, duration: Duration, busy: &mut Busy) {
        let Inner::Skipping(_) = &*self.0 else {
            tokio::time::sleep(duration).await;
            return;
        };
        let deadline = advance(self.now(), duration);
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
            Inner::System { .. } => unreachable!("only asked of a skipping clock"),
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

/// How far apart two right clocks may be.
const SKEW_MAX: Duration = Duration::from_mins(1);

/// How old something is that bears the time `of`; none when that is in the future.
pub fn age(of: Timestamp, now: Timestamp) -> Option<Duration> {
    (since(now, of) <= SKEW_MAX).then(|| since(of, now))
}

/// `later - earlier`, zero when the clock went backwards.
pub fn since(earlier: Timestamp, later: Timestamp) -> Duration {
    Duration::try_from(later.duration_since(earlier)).unwrap_or(Duration::ZERO)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_comes_from_the_future_has_no_age() {
        let at = |second| Timestamp::from_second(second).expect("a time");
        assert_eq!(age(at(100), at(104)), Some(Duration::from_secs(4)));
        assert_eq!(age(at(100), at(40)), Some(Duration::ZERO), "two clocks are never quite equal");
        assert_eq!(age(at(100), at(39)), None);
        assert_eq!(since(Timestamp::MAX, Timestamp::MIN), Duration::ZERO);
        assert_eq!(advance(Timestamp::MAX, Duration::MAX), Timestamp::MAX);
        assert!(since(Timestamp::MIN, Timestamp::MAX) > Duration::from_hours(1 << 20));
    }

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
