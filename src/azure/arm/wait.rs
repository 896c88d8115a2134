//! How a call may wait: on whose time, until when, and who is told.
//!
//! Throttling and long-running operations wait on the engine's clock. For skipped time to flow, the caller's own
//! [`Busy`] guard has to be lent, so every call takes a `&mut Wait`. A cancelled attempt ends any wait at once.

use std::fmt;
use std::time::Duration;

use tokio_util::sync::CancellationToken;

use super::ArmError;
use crate::clock::{Busy, Clock, Hold};

/// Permission to wait; made by `StepCx::wait` and `PerformCx::wait`, or by [`Wait::new`].
pub struct Wait<'a> {
    busy: Guard<'a>,
    cancel: CancellationToken,
    say: Option<Say<'a>>,
}

/// Hears why a call waits.
type Say<'a> = Box<dyn Fn(&str) + Send + Sync + 'a>;

enum Guard<'a> {
    Lent(&'a mut Busy),
    /// With where it was held, if it was.
    Own(Option<Busy>, Option<Hold>),
}

/// A guard that was held by somebody goes back there.
impl Drop for Guard<'_> {
    fn drop(&mut self) {
        if let Self::Own(busy, Some(hold)) = self
            && let Some(busy) = busy.take()
        {
            hold.put(busy);
        }
    }
}

impl fmt::Debug for Wait<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Wait")
            .field("cancelled", &self.cancel.is_cancelled())
            .finish_non_exhaustive()
    }
}

impl<'a> Wait<'a> {
    /// Waits with a guard of its own, until cancelled.
    pub fn new(clock: &Clock, cancel: &CancellationToken) -> Self {
        Self::held(&Hold::default(), clock, cancel)
    }

    /// Waits with the guard that is held there, else with one of its own, until cancelled.
    pub fn held(hold: &Hold, clock: &Clock, cancel: &CancellationToken) -> Self {
        let busy = match hold.take() {
            Some(busy) => Guard::Own(Some(busy), Some(hold.clone())),
            None => Guard::Own(Some(clock.busy()), None),
        };
        Self { busy, cancel: cancel.clone(), say: None }
    }

    /// Waits with the attempt's guard, until cancelled.
    pub fn lent(busy: &'a mut Busy, cancel: &CancellationToken) -> Self {
        Self { busy: Guard::Lent(busy), cancel: cancel.clone(), say: None }
    }

    /// Tells somebody why it waits.
    #[must_use]
    pub fn saying(mut self, say: impl Fn(&str) + Send + Sync + 'a) -> Self {
        self.say = Some(Box::new(say));
        self
    }

    /// Ends when the attempt must stop.
    pub(super) fn cancelled(&self) -> CancellationToken {
        self.cancel.clone()
    }

    /// Says why, then sleeps.
    pub(super) async fn sleep(
        &mut self,
        clock: &Clock,
        duration: Duration,
        why: &str,
    ) -> Result<(), ArmError> {
        if let Some(say) = &self.say {
            say(why);
        }
        let busy = match &mut self.busy {
            Guard::Lent(busy) => &mut **busy,
            Guard::Own(busy, _) => busy.as_mut().expect("given back on drop only"),
        };
        tokio::select! {
            () = clock.sleep(duration, busy) => Ok(()),
            () = self.cancel.cancelled() => Err(ArmError::Cancelled),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use jiff::Timestamp;

    use super::*;

    #[tokio::test]
    async fn a_wait_leaves_no_guard_behind_that_would_keep_time() {
        let clock = Clock::skipping_from(Timestamp::UNIX_EPOCH);
        let hold = Hold::default();
        drop(Wait::held(&hold, &clock, &CancellationToken::new()));
        assert!(hold.take().is_none(), "its own guard is gone");
        hold.put(clock.busy());
        drop(Wait::held(&hold, &clock, &CancellationToken::new()));
        let mut busy = hold.take().expect("a held guard is back");
        clock.sleep(Duration::from_hours(1), &mut busy).await;
    }
}
