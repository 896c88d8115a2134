//! What tells whether a target serves its users: HTTP endpoints, and metrics of Azure Monitor. For `monitor` and `traffic.shift`.
//!
//! Not a kind. A metric is read minute by minute; a minute without a value is unknown, and unknown is never healthy.

use futures::future::join_all;
use jiff::{SignedDuration, Timestamp};
use schemars::JsonSchema;
use serde::Deserialize;

use super::{StepCx, StepError};
use crate::azure::{Aggregation, ArmError, Azure, MetricQuery, MetricSeries, Wait};
use crate::dns::{Endpoint, Health, Reading};
use crate::plan::Span;

/// The service keeps values by the minute.
const MINUTE: i64 = 60;

/// A metric and the values that are good.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct MetricLimit {
    /// ARM id of the resource, or `Microsoft.Web/sites/crm` in the runbook's default resource group.
    pub resource: String,
    /// The metric: `Http5xx`.
    pub metric: String,
    /// Its namespace, where the resource has several.
    #[serde(default)]
    pub namespace: Option<String>,
    /// How the values of a minute become one. Default average.
    #[serde(default)]
    pub aggregation: Aggregation,
    /// Filter over dimensions, `Instance eq '*'` for a series each. All of them must be good.
    #[serde(default)]
    pub filter: Option<String>,
    /// The smallest good value.
    #[serde(default)]
    pub min: Option<f64>,
    /// The largest good value.
    #[serde(default)]
    pub max: Option<f64>,
    /// Minutes that a look covers. Default 5m.
    #[serde(default = "five_minutes")]
    pub window: Span,
    /// How late values may come. Younger minutes may lack theirs; where they have one, it counts. Default 3m.
    #[serde(default = "three_minutes")]
    pub late: Span,
}

const fn five_minutes() -> Span {
    Span::minutes(5)
}
const fn three_minutes() -> Span {
    Span::minutes(3)
}

/// Everything that is looked at together.
#[derive(Debug, Clone, Copy)]
pub(super) struct Signals<'a> {
    pub(super) probes: &'a [Endpoint],
    pub(super) metrics: &'a [MetricLimit],
}

impl Signals<'_> {
    /// Whether there is anything to look at, and every metric has a limit.
    pub(super) fn fit(&self) -> Result<(), String> {
        if self.len() == 0 {
            return Err("give at least one of `probes` or `metrics`".to_owned());
        }
        for MetricLimit { metric, min, max, window, .. } in self.metrics {
            if min.is_none() && max.is_none() {
                return Err(format!("metric `{metric}` has neither `min` nor `max`"));
            }
            if window.duration().as_secs() < MINUTE.unsigned_abs() {
                return Err(format!("metric `{metric}`: `window` is at least a minute"));
            }
        }
        Ok(())
    }

    /// How many there are.
    pub(super) fn len(&self) -> usize {
        self.probes.len() + self.metrics.len()
    }

    /// Their names, in the order of their readings.
    pub(super) fn names(&self) -> Vec<String> {
        let probes = self.probes.iter().map(Endpoint::shown);
        probes.chain(self.metrics.iter().map(MetricLimit::shown)).collect()
    }

    /// Looks once at each. What can not be read is unknown; only a stop from outside is an error.
    pub(super) async fn read(
        &self,
        cx: &StepCx,
        wait: &mut Wait<'_>,
    ) -> Result<Vec<Reading>, StepError> {
        let probes = self.probes.iter().map(|probe| probe.read(&cx.world.network));
        let mut readings = join_all(probes).await;
        for metric in self.metrics {
            let (health, detail) = match metric.read(&cx.world.azure, wait, cx.clock().now()).await
            {
                Ok(judged) => judged,
                Err(ArmError::Cancelled) => return Err(StepError::cancelled("reading a metric")),
                Err(error) => (Health::Unknown, error.to_string()),
            };
            readings.push(Reading { health, detail, latency: None });
        }
        Ok(readings)
    }
}

impl MetricLimit {
    /// `Http5xx of crm`.
    fn shown(&self) -> String {
        let name = self.resource.rsplit('/').next().unwrap_or(&self.resource);
        format!("{} of {name}", self.metric)
    }

    /// The minutes that must have a value, by their beginnings.
    fn required(&self, now: Timestamp) -> impl Iterator<Item = i64> + use<> {
        let seconds = |span: Span| i64::try_from(span.duration().as_secs()).unwrap_or(i64::MAX / 4);
        let whole = |second: i64| second - second.rem_euclid(MINUTE);
        let end = whole(now.as_second().saturating_sub(seconds(self.late)));
        let count = seconds(self.window) / MINUTE;
        (0..count).map(move |minute| end - (count - minute) * MINUTE)
    }

    async fn read(
        &self,
        azure: &Azure,
        wait: &mut Wait<'_>,
        now: Timestamp,
    ) -> Result<(Health, String), ArmError> {
        let resource = azure.within_group(&self.resource)?;
        let first = self.required(now).next().unwrap_or_default();
        let from = Timestamp::from_second(first).unwrap_or(now);
        let query = MetricQuery {
            resource: &resource,
            metric: &self.metric,
            namespace: self.namespace.as_deref(),
            aggregation: self.aggregation,
            filter: self.filter.as_deref(),
            from,
            until: now
                .checked_sub(SignedDuration::from_nanos(now.subsec_nanosecond().into()))
                .unwrap_or(now),
        };
        let metrics = azure.metrics(wait, &query).await?;
        let own = metrics.into_iter().find(|it| it.name.eq_ignore_ascii_case(&self.metric));
        Ok(match own.map(|metric| metric.series) {
            Some(Ok(series)) => self.judge(&series, now),
            Some(Err(why)) => (Health::Unknown, why),
            None => (Health::Unknown, "the metric is not in the answer".to_owned()),
        })
    }

    /// Bad news counts whenever it comes; good news only when it is complete.
    fn judge(&self, series: &[MetricSeries], now: Timestamp) -> (Health, String) {
        let limits = |value: f64| {
            let over =
                self.max.filter(|max| value > *max).map(|max| format!("{value} is over {max}"));
            over.or_else(|| {
                self.min.filter(|min| value < *min).map(|min| format!("{value} is under {min}"))
            })
        };
        let mut values =
            series.iter().flat_map(|series| series.points.iter().filter_map(|it| it.1));
        if let Some(why) = values.find_map(limits) {
            return (Health::Bad, why);
        }
        if series.is_empty() {
            return (Health::Unknown, "there is no series".to_owned());
        }
        let required: Vec<_> = self.required(now).collect();
        let missing = |series: &MetricSeries| {
            let has = |minute: i64| {
                let points = series.points.iter();
                points.filter(|it| it.1.is_some()).any(|it| it.0.as_second() == minute)
            };
            required.iter().filter(|minute| !has(**minute)).count()
        };
        match series.iter().map(missing).max().unwrap_or(0) {
            0 => (Health::Good, format!("within its limits for {} minutes", required.len())),
            gaps => (Health::Unknown, format!("no value for {gaps} of {} minutes", required.len())),
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn metric() -> MetricLimit {
        let with = json!({ "resource": "Microsoft.Web/sites/crm", "metric": "Http5xx", "max": 10.0,
            "aggregation": "total", "window": "3m", "late": "2m" });
        serde_json::from_value(with).expect("parameters")
    }

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).expect("a time")
    }

    fn series(points: &[(i64, Option<f64>)]) -> MetricSeries {
        let points = points.iter().map(|(minute, value)| (at(minute * MINUTE), *value)).collect();
        MetricSeries { dimensions: String::new(), points }
    }

    #[test]
    fn every_minute_but_the_youngest_must_have_its_value() {
        let (metric, now) = (metric(), at(10 * MINUTE + 30));
        assert_eq!(metric.required(now).collect::<Vec<_>>(), [5 * MINUTE, 6 * MINUTE, 7 * MINUTE]);
        let judged = |points: &[(i64, Option<f64>)]| metric.judge(&[series(points)], now).0;
        let full = [(5, Some(0.0)), (6, Some(10.0)), (7, Some(3.0))];
        assert_eq!(judged(&full), Health::Good);
        assert_eq!(judged(&[(5, Some(0.0)), (6, None), (7, Some(3.0))]), Health::Unknown);
        assert_eq!(judged(&full[..2]), Health::Unknown, "a point that did not come at all");
        assert_eq!(judged(&[]), Health::Unknown);
        assert_eq!(metric.judge(&[], now).0, Health::Unknown);
        assert_eq!(metric.judge(&[series(&full), series(&[])], now).0, Health::Unknown);
    }

    #[test]
    fn bad_news_counts_whenever_it_comes() {
        let (metric, now) = (metric(), at(10 * MINUTE + 30));
        let young = [(5, Some(0.0)), (6, None), (9, Some(11.0))];
        assert_eq!(metric.judge(&[series(&young)], now).0, Health::Bad);
        let low = MetricLimit { min: Some(1.0), max: None, ..metric };
        assert_eq!(low.judge(&[series(&young)], now), (Health::Bad, "0 is under 1".to_owned()));
    }
}
