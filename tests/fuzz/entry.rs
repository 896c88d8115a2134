//! What hostile bytes are handed to: one function a parser, shared by the fuzz targets beside this file and by
//! `tests/it/hostile.rs`, which runs the same functions over the committed corpora on the stable toolchain.
//!
//! Each takes any bytes, must return, and must neither panic nor take more than a second or 256 MB. What an entry
//! returns does not matter; [`withstand`] watches the rest. No entry writes outside a temporary folder or opens a socket
//! other than on loopback.

#[path = "entry/arm.rs"]
mod arm;
#[path = "entry/dns.rs"]
mod dns;
#[path = "entry/expression.rs"]
mod expression;
#[path = "entry/journal.rs"]
mod journal;
#[path = "entry/runbook.rs"]
mod runbook;

use std::time::Duration;

#[allow(
    unused_imports,
    reason = "for the tests that share this file; no fuzz target asks for it"
)]
pub(crate) use arm::PERMIT;

/// An entry.
pub(crate) type Entry = fn(&[u8]);

/// Every entry by the name of its target and corpus.
pub(crate) const ENTRIES: &[(&str, Entry)] = &[
    ("runbook", runbook::any),
    ("expression", expression::any),
    ("journal", journal::any),
    ("arm", arm::any),
    ("scenario", runbook::scenario),
    ("dns", dns::any),
];

/// Longest processor time that one input may take.
pub(crate) const TIME: Duration = Duration::from_secs(1);
/// Most kilobytes by which one input may push the process's resident memory up.
pub(crate) const GROWTH_KB: u64 = 256 * 1024;

/// What one input cost.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Cost {
    /// Processor time of this thread.
    pub time: Duration,
    /// By how much the peak of resident memory passed what was resident before.
    pub growth_kb: u64,
}

/// One input to the target's entry; panics when that costs too much. `margin` is how much slower than a fuzz target this
/// build may be.
#[track_caller]
pub(crate) fn withstand(target: &str, input: &[u8], margin: u32) -> Cost {
    let entry = ENTRIES.iter().find(|(name, _)| *name == target).expect("a target of this file").1;
    let cost = bounded(entry, input);
    assert!(
        cost.time <= TIME * margin && cost.growth_kb <= GROWTH_KB,
        "{target}: one input cost {cost:?}"
    );
    cost
}

/// Runs an entry and measures it. Where the system does not tell, the cost is zero: Linux does.
pub(crate) fn bounded(entry: Entry, input: &[u8]) -> Cost {
    // 5 resets the peak of resident memory (proc(5)).
    let reset = std::fs::write("/proc/self/clear_refs", "5").is_ok();
    let (before, began) = (status_kb("VmRSS:"), thread_time());
    entry(input);
    let growth_kb = if reset { status_kb("VmHWM:").saturating_sub(before) } else { 0 };
    Cost { time: thread_time().saturating_sub(began), growth_kb }
}

fn status_kb(field: &str) -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix(field));
    line.and_then(|rest| rest.split_whitespace().next()?.parse().ok()).unwrap_or(0)
}

fn thread_time() -> Duration {
    let stat = std::fs::read_to_string("/proc/thread-self/schedstat").unwrap_or_default();
    Duration::from_nanos(stat.split(' ').next().and_then(|ns| ns.parse().ok()).unwrap_or(0))
}
