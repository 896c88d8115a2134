//! The certificate: what was tried, under which conditions, and what came of it. It is made only from what was seen.

use std::collections::BTreeMap;
use std::num::NonZeroUsize;

use jiff::Timestamp;
use serde::Serialize;

use super::judge::Verdict;
use super::point::Point;
use super::times::Times;
use crate::report::typed;

/// One trial.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Tried {
    /// What was done to it.
    pub point: Point,
    /// What that was: `PUT localhost/subscriptions/…`; empty where it was not reached.
    pub at: String,
    /// What came of it.
    pub verdict: Verdict,
    /// What happened on the way, where that is told also of a trial that ended well; the same in every rehearsal of the same.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub transcript: Vec<String>,
    /// How long the trial took.
    pub real_seconds: f64,
    /// How long the way back took, in the sandbox's time, where there was one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rollback_sandbox_seconds: Option<f64>,
}

/// Which of the points there are were to be tried.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Choice {
    /// Every one.
    Every,
    /// Every so many-th of each series.
    Sample(NonZeroUsize),
    /// Those that were named.
    Named,
}

/// Trials of one kind.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Matrix {
    /// `crash`.
    pub name: &'static str,
    /// What was to be shown, as a sentence.
    pub claim: &'static str,
    /// Points there are.
    pub points: usize,
    /// Which of them were to be tried.
    pub choice: Choice,
    /// How many these are; fewer were tried where the rehearsal was interrupted.
    pub chosen: usize,
    /// What to type for the same matrix over every point; `--point POINT` after it tries one alone.
    pub command: String,
    /// How long it took.
    pub real_seconds: f64,
    /// What the trials say together, and what was not tried.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub notes: Vec<String>,
    /// Every trial.
    pub tried: Vec<Tried>,
}

/// How many trials of one series came to which verdict.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct Count {
    /// As the whole run.
    pub same: usize,
    /// The point was not reached; as the whole run, too.
    pub not_reached: usize,
    /// Exit 6 where no more was promised.
    pub stopped_for_person: usize,
    /// Not as the whole run.
    pub deviated: usize,
}

impl Count {
    /// All of them.
    pub const fn all(&self) -> usize {
        self.same + self.not_reached + self.stopped_for_person + self.deviated
    }

    /// Of one trial.
    pub(super) fn of(verdict: &Verdict) -> Self {
        let mut count = Self::default();
        count.add(verdict);
        count
    }

    fn add(&mut self, verdict: &Verdict) {
        match verdict {
            Verdict::Same => self.same += 1,
            Verdict::NotReached => self.not_reached += 1,
            Verdict::StoppedForPerson(_) => self.stopped_for_person += 1,
            Verdict::Deviated(_) => self.deviated += 1,
        }
    }
}

/// Counts by series, which is the part of a point before its number.
pub fn counts(tried: &[Tried]) -> BTreeMap<String, Count> {
    let mut counts: BTreeMap<String, Count> = BTreeMap::new();
    for tried in tried {
        let point = tried.point.to_string();
        let series = point.split_once(':').map_or(point.as_str(), |(series, _)| series);
        counts.entry(series.to_owned()).or_default().add(&tried.verdict);
    }
    counts
}

impl Matrix {
    /// Counts over all trials.
    pub fn total(&self) -> Count {
        self.tried.iter().fold(Count::default(), |mut total, tried| {
            total.add(&tried.verdict);
            total
        })
    }

    /// No trial met its point: that is no proof of anything.
    pub fn shows_nothing(&self) -> bool {
        self.total().not_reached == self.tried.len()
    }

    /// Whether everything was tried that was to be tried.
    pub const fn is_complete(&self) -> bool {
        self.tried.len() == self.chosen
    }

    /// What to type to try this point again, alone.
    pub fn again(&self, tried: &Tried) -> String {
        format!("{} --point {}", self.command, typed(&tried.point.to_string()))
    }
}

/// See the module.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Certificate {
    /// Version of this program.
    pub tool: String,
    /// The runbook, as it was named.
    pub runbook: String,
    /// Its wave.
    pub wave: String,
    /// Its line about itself.
    pub summary: String,
    /// The change ticket.
    pub change: Option<String>,
    /// Fingerprint of the plan.
    pub plan: String,
    /// Which world it was rehearsed in.
    pub scenario: String,
    /// SHA-256 over the scenario.
    pub scenario_hash: String,
    /// What the world's files and databases follow from.
    pub seed: u64,
    /// When.
    pub at: Timestamp,
    /// How the whole run ended.
    pub ended: String,
    /// Records of its journal.
    pub records: usize,
    /// Its outside calls.
    pub calls: usize,
    /// SHA-256 over the world it left, with which every trial was compared.
    pub world: String,
    /// How long it took.
    pub times: Times,
    /// What else was tried.
    pub matrices: Vec<Matrix>,
}

impl Certificate {
    /// Trials that deviated, over all matrices.
    pub fn deviations(&self) -> usize {
        self.matrices.iter().map(|matrix| matrix.total().deviated).sum()
    }
}
