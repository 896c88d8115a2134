//! Where this process kills itself: the seams of a crash matrix.
//!
//! A rehearsal tells a child one point, `before-call:12`, and the child ends itself there with SIGKILL, which no destructor,
//! no buffer and no signal handler outlives. Points are counted by one atomic; the calls are listed in a file, so that
//! whoever judges the death knows at which call it came. It is one per process, because what dies is the process.
//!
//! Never armed but in a sandbox run, and silent unless armed: a real run can not meet a point.

use std::fmt;
use std::fs::File;
use std::io::Write as _;
use std::ops::RangeInclusive;
use std::str::FromStr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, OnceLock, PoisonError};

use serde::{Serialize, Serializer};

/// Which side of something.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Side {
    /// Nothing of it has happened.
    Before,
    /// It has happened, and nobody has been told.
    After,
}

/// What a point lies at.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Boundary {
    /// A journal record. Before it: everything that follows from the records of earlier syncs may have happened, and
    /// nothing of its own batch is on disk. After it: it is durable, and nothing has followed from it.
    Record,
    /// An outside call: a request that reached the sandbox, a question to a name server, a child process, a file that a
    /// bulk copy puts in place or deletes.
    Call,
}

/// One point, as `before-call:12` on a command line.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct KillPoint {
    /// What it lies at.
    pub boundary: Boundary,
    /// Which of them, from 1.
    pub number: u64,
    /// On which side.
    pub side: Side,
}

impl fmt::Display for KillPoint {
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        let side = match self.side {
            Side::Before => "before",
            Side::After => "after",
        };
        let boundary = match self.boundary {
            Boundary::Record => "record",
            Boundary::Call => "call",
        };
        write!(to, "{side}-{boundary}:{}", self.number)
    }
}

impl FromStr for KillPoint {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let parsed = || {
            let (place, number) = text.split_once(':')?;
            let (side, boundary) = match place {
                "before-record" => (Side::Before, Boundary::Record),
                "after-record" => (Side::After, Boundary::Record),
                "before-call" => (Side::Before, Boundary::Call),
                "after-call" => (Side::After, Boundary::Call),
                _ => return None,
            };
            let number = number.parse().ok().filter(|number| *number > 0)?;
            Some(Self { boundary, number, side })
        };
        parsed().ok_or_else(|| {
            "a point is before-record:N, after-record:N, before-call:N or after-call:N, N from 1"
                .to_owned()
        })
    }
}

impl Serialize for KillPoint {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.collect_str(self)
    }
}

#[derive(Debug)]
struct Armed {
    point: Option<KillPoint>,
    calls: Option<Mutex<File>>,
}

static ARMED: OnceLock<Armed> = OnceLock::new();
static CALLS: AtomicU64 = AtomicU64::new(0);

/// Makes this process die at `point` and list its outside calls in `calls`, one a line. The first word counts: a process
/// that is armed stays as it is.
pub fn arm(point: Option<KillPoint>, calls: Option<File>) {
    // Only a second command in one process could find it set, and there is none.
    let _ = ARMED.set(Armed { point, calls: calls.map(Mutex::new) });
}

/// Whether the point lies on `side` of one of these records.
pub fn is_due(side: Side, records: RangeInclusive<u64>) -> bool {
    ARMED.get().and_then(|armed| armed.point).is_some_and(|point| {
        point.side == side && point.boundary == Boundary::Record && records.contains(&point.number)
    })
}

/// An outside call that has been begun and not been answered.
#[derive(Debug)]
#[must_use = "its end is a point, too"]
pub struct Call(u64);

/// Counts an outside call, before anything of it has been done; `name` is a method and a target.
pub fn call(name: impl FnOnce() -> String) -> Call {
    let Some(armed) = ARMED.get() else { return Call(0) };
    let call = Call(CALLS.fetch_add(1, Ordering::SeqCst) + 1);
    if let Some(calls) = &armed.calls {
        let mut calls = calls.lock().unwrap_or_else(PoisonError::into_inner);
        // The list is for people; a call is not refused because it could not be listed.
        let _ = calls.write_all(format!("{} {}\n", call.0, name().replace('\n', " ")).as_bytes());
    }
    call.reached(Side::Before);
    call
}

impl Call {
    /// What it changes is durable where it changes it; whoever made it has not been told.
    pub fn made(self) {
        self.reached(Side::After);
    }

    fn reached(&self, side: Side) {
        let here = KillPoint { boundary: Boundary::Call, number: self.0, side };
        if ARMED.get().is_some_and(|armed| armed.point == Some(here)) {
            die();
        }
    }
}

/// Ends this process as `kill -9` does.
pub fn die() -> ! {
    let _ = rustix::process::kill_process(rustix::process::getpid(), rustix::process::Signal::KILL);
    std::process::abort();
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_point_reads_as_it_is_written() {
        for text in ["before-record:1", "after-record:17", "before-call:12", "after-call:9000"] {
            assert_eq!(
                text.parse::<KillPoint>().map(|point| point.to_string()).as_deref(),
                Ok(text)
            );
        }
    }

    #[test]
    fn what_is_no_point_is_refused() {
        for text in [
            "",
            "17",
            "record:17",
            "before-record:",
            "after-call:0",
            "after-call:-1",
            "before-step:2",
        ] {
            assert!(text.parse::<KillPoint>().is_err(), "{text}");
        }
    }
}
