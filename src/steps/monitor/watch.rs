//! The readings of one watch: counted as they come, kept in a file beside the journal so that a killed watch goes on.
//!
//! A reading that was never taken, because nobody was running or nothing could be compared, is missing. Missing readings
//! never count as good.

use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::path::Path;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::dns::Health;

/// Where the three verdicts begin.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Limits {
    /// So many bad readings of one signal in a row end the watch as failed.
    pub(super) failures_in_a_row: u32,
    /// So many missing readings of one signal in a row end the watch as inconclusive.
    pub(super) missing_in_a_row: u32,
    /// At the end: more bad readings of one signal than this, in percent, are a failure.
    pub(super) failure_percent: f64,
    /// At the end: at least so many good readings of each signal, in percent, are a success.
    pub(super) success_percent: f64,
}

/// How a watch ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Conclusion {
    /// Every signal was good enough.
    Success,
    /// A signal failed: how.
    Failure(String),
    /// Too little was seen to tell.
    Inconclusive(String),
}

/// Counts of one signal.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Tally {
    /// Good readings.
    pub(super) good: u64,
    /// Bad readings.
    pub(super) bad: u64,
    /// Readings where nothing could be compared.
    pub(super) unknown: u64,
    bad_in_a_row: u32,
    unknown_in_a_row: u32,
}

impl Tally {
    /// Counts one reading.
    pub(super) fn take(&mut self, health: Health) {
        let (count, bad_in_a_row, unknown_in_a_row) = match health {
            Health::Good => (&mut self.good, 0, 0),
            Health::Bad => (&mut self.bad, self.bad_in_a_row + 1, 0),
            Health::Unknown => (&mut self.unknown, 0, self.unknown_in_a_row + 1),
        };
        *count += 1;
        self.bad_in_a_row = bad_in_a_row;
        self.unknown_in_a_row = unknown_in_a_row;
    }

    /// What ends the watch at once, if anything.
    pub(super) fn trigger(&self, limits: &Limits) -> Option<Conclusion> {
        if self.bad_in_a_row >= limits.failures_in_a_row {
            return Some(Conclusion::Failure(format!(
                "failed {} times in a row",
                self.bad_in_a_row
            )));
        }
        (self.unknown_in_a_row >= limits.missing_in_a_row).then(|| {
            Conclusion::Inconclusive(format!(
                "could not be compared {} times in a row",
                self.unknown_in_a_row
            ))
        })
    }

    /// The verdict over `expected` readings; those that were not taken are missing.
    pub(super) fn conclude(&self, expected: u64, limits: &Limits) -> Conclusion {
        let expected = expected.max(self.good + self.bad + self.unknown);
        let missing = expected - self.good - self.bad;
        let counts =
            format!("{} good, {} bad, {missing} missing of {expected}", self.good, self.bad);
        if percent(self.bad, expected) > limits.failure_percent {
            Conclusion::Failure(counts)
        } else if percent(self.good, expected) >= limits.success_percent {
            Conclusion::Success
        } else {
            Conclusion::Inconclusive(counts)
        }
    }
}

#[expect(clippy::cast_precision_loss, reason = "counts of readings stay far below 2^52")]
fn percent(part: u64, whole: u64) -> f64 {
    if whole == 0 { 0.0 } else { part as f64 * 100.0 / whole as f64 }
}

/// One line of the file.
#[derive(Debug, Serialize, Deserialize)]
#[serde(tag = "line", rename_all = "snake_case")]
enum Line {
    Started { at: Timestamp },
    Read { slot: u64, probe: usize, health: Health },
    Concluded { verdict: String },
}

/// The file of one watch.
#[derive(Debug)]
pub(super) struct Log {
    file: File,
    /// When the watch began.
    pub(super) started: Timestamp,
    /// By signal.
    pub(super) tallies: Vec<Tally>,
    /// The first slot without a reading.
    pub(super) next_slot: u64,
}

impl Log {
    /// Takes up the watch in this file, or begins one at `now` where there is none or the last one has ended.
    pub(super) fn open(path: &Path, signals: usize, now: Timestamp) -> io::Result<Self> {
        if let Some(folder) = path.parent() {
            std::fs::create_dir_all(folder)?;
        }
        let text = match std::fs::read(path) {
            Ok(bytes) => String::from_utf8_lossy(&bytes).into_owned(),
            Err(error) if error.kind() == io::ErrorKind::NotFound => String::new(),
            Err(error) => return Err(error),
        };
        let mut file = OpenOptions::new().create(true).append(true).open(path)?;
        if !text.is_empty() && !text.ends_with('\n') {
            // A line torn by a crash stays behind as one unreadable line: a missing reading.
            file.write_all(b"\n")?;
        }
        let mut log = Self { file, started: now, tallies: Vec::new(), next_slot: 0 };
        let mut under_way = false;
        for line in text.lines().filter_map(|line| serde_json::from_str(line).ok()) {
            match line {
                Line::Started { at } => {
                    (under_way, log.started, log.next_slot) = (true, at, 0);
                    log.tallies = vec![Tally::default(); signals];
                }
                Line::Concluded { .. } => under_way = false,
                Line::Read { slot, probe, health } => {
                    log.next_slot = log.next_slot.max(slot + 1);
                    if let Some(tally) = log.tallies.get_mut(probe) {
                        tally.take(health);
                    }
                }
            }
        }
        if !under_way {
            (log.started, log.next_slot) = (now, 0);
            log.tallies = vec![Tally::default(); signals];
            log.write(&Line::Started { at: now })?;
        }
        Ok(log)
    }

    /// Counts and keeps the readings of one slot, by signal.
    pub(super) fn take(&mut self, slot: u64, healths: &[Health]) -> io::Result<()> {
        for (probe, &health) in healths.iter().enumerate() {
            self.tallies[probe].take(health);
            self.write(&Line::Read { slot, probe, health })?;
        }
        self.next_slot = slot + 1;
        Ok(())
    }

    /// Ends the watch: another attempt begins a new one.
    pub(super) fn conclude(&mut self, verdict: &str) -> io::Result<()> {
        self.write(&Line::Concluded { verdict: verdict.to_owned() })
    }

    fn write(&mut self, line: &Line) -> io::Result<()> {
        let mut text = serde_json::to_string(line)?;
        text.push('\n');
        self.file.write_all(text.as_bytes())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMITS: Limits = Limits {
        failures_in_a_row: 3,
        missing_in_a_row: 4,
        failure_percent: 5.0,
        success_percent: 95.0,
    };

    fn tally(good: u64, bad: u64, unknown: u64) -> Tally {
        let mut tally = Tally::default();
        let all = [(good, Health::Good), (bad, Health::Bad), (unknown, Health::Unknown)];
        for (times, health) in all {
            (0..times).for_each(|_| tally.take(health));
        }
        tally
    }

    #[test]
    fn three_verdicts_at_the_end() {
        assert_eq!(tally(95, 5, 0).conclude(100, &LIMITS), Conclusion::Success);
        assert!(matches!(tally(94, 6, 0).conclude(100, &LIMITS), Conclusion::Failure(_)));
        assert!(matches!(tally(90, 4, 6).conclude(100, &LIMITS), Conclusion::Inconclusive(_)));
        assert!(matches!(tally(90, 0, 0).conclude(100, &LIMITS), Conclusion::Inconclusive(_)));
        assert!(matches!(tally(0, 0, 0).conclude(1, &LIMITS), Conclusion::Inconclusive(_)));
    }

    #[test]
    fn readings_in_a_row_end_the_watch_at_once() {
        assert_eq!(tally(9, 2, 0).trigger(&LIMITS), None);
        assert!(matches!(tally(9, 3, 0).trigger(&LIMITS), Some(Conclusion::Failure(_))));
        assert!(matches!(tally(9, 0, 4).trigger(&LIMITS), Some(Conclusion::Inconclusive(_))));
    }

    #[test]
    fn a_killed_watch_goes_on_and_a_concluded_one_begins_anew() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("monitor-watch.jsonl");
        let at = |second| Timestamp::from_second(second).expect("a time");
        let mut log = Log::open(&path, 2, at(100)).expect("a new watch");
        log.take(0, &[Health::Good, Health::Good]).expect("kept");
        log.take(1, &[Health::Bad, Health::Good]).expect("kept");
        drop(log);
        let torn = OpenOptions::new().append(true).open(&path);
        torn.expect("the file").write_all(b"{\"line\":\"re").expect("written");
        let mut log = Log::open(&path, 2, at(500)).expect("the same watch");
        assert_eq!((log.started, log.next_slot), (at(100), 2));
        assert_eq!(log.tallies, [tally(1, 1, 0), tally(2, 0, 0)]);
        log.conclude("failure").expect("kept");
        drop(log);
        let log = Log::open(&path, 2, at(900)).expect("another watch");
        assert_eq!((log.started, log.next_slot), (at(900), 0));
        assert_eq!(log.tallies, [tally(0, 0, 0), tally(0, 0, 0)]);
    }
}
