//! What is done to a trial, in one word of a command line: `after-call:12`, `fail-at:switch[crm]`, `faults:7/3`.

use std::fmt;
use std::str::FromStr;

use serde::{Serialize, Serializer};

use crate::crash::KillPoint;
use crate::run::StepId;

/// See the module.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Point {
    /// The process is killed there.
    Kill(KillPoint),
    /// The step is taken for failed once it has done its work.
    FailAt(StepId),
    /// Requests of the run meet the faults of a draw.
    Faults {
        /// What all draws of a matrix follow from.
        seed: u64,
        /// Which of them, from 1.
        trial: usize,
    },
}

impl Point {
    /// The flag that asks for the matrix which has such points.
    pub const fn flag(&self) -> &'static str {
        match self {
            Self::Kill(_) => "--crash-matrix",
            Self::FailAt(_) => "--rollback-matrix",
            Self::Faults { .. } => "--faults",
        }
    }
}

impl fmt::Display for Point {
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Kill(point) => point.fmt(to),
            Self::FailAt(step) => write!(to, "fail-at:{step}"),
            Self::Faults { seed, trial } => write!(to, "faults:{seed}/{trial}"),
        }
    }
}

impl FromStr for Point {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if let Some(step) = text.strip_prefix("fail-at:") {
            return Ok(Self::FailAt(StepId::new(step)));
        }
        if let Some(draw) = text.strip_prefix("faults:") {
            let numbers = draw.split_once('/').and_then(|(seed, trial)| {
                let trial = trial.parse().ok().filter(|trial| *trial > 0)?;
                Some(Self::Faults { seed: seed.parse().ok()?, trial })
            });
            return numbers.ok_or_else(|| "faults are faults:SEED/N, N from 1".to_owned());
        }
        text.parse().map(Self::Kill).map_err(|why: String| {
            format!("{why}; or fail-at:STEP, or faults:SEED/N, as a certificate names it")
        })
    }
}

impl Serialize for Point {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.collect_str(self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_point_is_read_as_it_is_written_and_knows_its_matrix() {
        let points = [
            ("before-record:17", "--crash-matrix"),
            ("after-call:3", "--crash-matrix"),
            ("fail-at:switch[crm]", "--rollback-matrix"),
            ("faults:7/3", "--faults"),
        ];
        for (text, flag) in points {
            let point: Point = text.parse().expect("a point");
            assert_eq!((point.to_string().as_str(), point.flag()), (text, flag));
        }
        for wrong in ["faults:7", "faults:7/0", "faults:x/1", "after-lunch:1", ""] {
            assert!(wrong.parse::<Point>().is_err(), "{wrong}");
        }
    }
}
