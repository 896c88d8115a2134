//! Metrics of Azure Monitor as a scenario scripts them.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// One metric of one resource.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Metric {
    /// What follows `/providers/` in the resource's id: `Microsoft.Web/sites/crm`.
    pub resource: String,
    /// Its resource group.
    #[serde(default = "rg_crm")]
    pub group: String,
    /// `Http5xx`.
    pub metric: String,
    /// `Count`, `Percent`, `Seconds`, …
    #[serde(default = "count")]
    pub unit: String,
    /// Points of (seconds since the world's start, value), joined by straight lines; the last one lasts. After a point
    /// without a value nothing is measured until the next.
    pub points: Vec<(f64, Option<f64>)>,
    /// So young values are not there yet, in seconds.
    #[serde(default = "two_minutes")]
    pub late_seconds: u32,
}

impl Metric {
    /// The value so long after the world's start, if it was measured. Before the first point it is as there.
    pub(crate) fn value(&self, since_start: f64) -> Option<f64> {
        let &(first_at, first) = self.points.first()?;
        let mut earlier = (first_at, first);
        for &(at, value) in &self.points {
            if since_start < at {
                let (from, to) = (earlier.1?, value.or(earlier.1)?);
                let share = (since_start - earlier.0) / (at - earlier.0).max(f64::EPSILON);
                return Some(from + share.max(0.0) * (to - from));
            }
            earlier = (at, value);
        }
        earlier.1
    }
}

fn rg_crm() -> String {
    "rg-crm".to_owned()
}

fn count() -> String {
    "Count".to_owned()
}

const fn two_minutes() -> u32 {
    120
}

/// The metrics of the default world: a site that answers everything, quickly.
pub(super) fn default_metrics() -> Vec<Metric> {
    let steady = |metric: &str, unit: &str, value| Metric {
        resource: "Microsoft.Web/sites/crm-target".to_owned(),
        group: rg_crm(),
        metric: metric.to_owned(),
        unit: unit.to_owned(),
        points: vec![(0.0, Some(value))],
        late_seconds: two_minutes(),
    };
    vec![steady("Http5xx", "Count", 0.0), steady("HttpResponseTime", "Seconds", 0.1)]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_metric_follows_its_points_and_has_holes() {
        let points = vec![(0.0, Some(0.0)), (100.0, Some(10.0)), (200.0, None), (300.0, Some(4.0))];
        let metric = Metric { points, ..default_metrics().remove(0) };
        let values = [-60.0, 50.0, 150.0, 200.0, 299.0, 300.0, 1e6].map(|at| metric.value(at));
        let expected = [Some(0.0), Some(5.0), Some(10.0), None, None, Some(4.0), Some(4.0)];
        assert_eq!(values, expected);
    }
}
