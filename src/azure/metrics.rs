//! Azure Monitor metrics (2024-02-01): one metric of one resource over a time, minute by minute.
//!
//! A minute without data comes as a point without a value, or not at all. It is handed on as missing and never as zero. An
//! error may stand inside an answer with status 200.

use azure_core::http::Method;
use jiff::Timestamp;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::arm::Call;
use super::{ArmError, Azure, ResourceId, Wait};

/// How the values of a minute become one.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Aggregation {
    /// Their mean.
    #[default]
    Average,
    /// Their sum.
    Total,
    /// The smallest.
    Minimum,
    /// The largest.
    Maximum,
    /// How many there were.
    Count,
}

impl Aggregation {
    /// As the service writes it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Average => "average",
            Self::Total => "total",
            Self::Minimum => "minimum",
            Self::Maximum => "maximum",
            Self::Count => "count",
        }
    }
}

/// What is asked.
#[derive(Debug, Clone, PartialEq)]
pub struct MetricQuery<'a> {
    /// The resource.
    pub resource: &'a ResourceId,
    /// The metric.
    pub metric: &'a str,
    /// Its namespace, where the resource has several.
    pub namespace: Option<&'a str>,
    /// How a minute becomes one value.
    pub aggregation: Aggregation,
    /// `$filter` over dimensions: `Instance eq '*'` for a series each.
    pub filter: Option<&'a str>,
    /// The first minute.
    pub from: Timestamp,
    /// The end, exclusive.
    pub until: Timestamp,
}

/// One metric of an answer.
#[derive(Debug, Clone, PartialEq)]
pub struct Metric {
    /// Its name, in the service's casing.
    pub name: String,
    /// `Count`, `Percent`, `Seconds`, …
    pub unit: String,
    /// Its series; or why there are none, which may stand inside an answer with status 200.
    pub series: Result<Vec<MetricSeries>, String>,
}

/// One series: the metric, or one combination of its dimensions.
#[derive(Debug, Clone, PartialEq)]
pub struct MetricSeries {
    /// `name=value` of each dimension, joined by commas; empty without.
    pub dimensions: String,
    /// Begin of each minute that came, and its value if it has one. In order.
    pub points: Vec<(Timestamp, Option<f64>)>,
}

impl Azure {
    /// What the service holds of the metric: one that is not kept for the resource is an error or is not in the answer.
    pub async fn metrics(
        &self,
        wait: &mut Wait<'_>,
        query: &MetricQuery<'_>,
    ) -> Result<Vec<Metric>, ArmError> {
        let arm = self.arm().await?;
        let path = format!("{}/providers/Microsoft.Insights/metrics", query.resource);
        let mut url = arm.url(&path, "2024-02-01");
        // Encoded once. The service also takes what is encoded twice, as the Azure CLI does.
        url.query_pairs_mut()
            .append_pair("metricnames", query.metric)
            .append_pair("timespan", &format!("{}/{}", query.from, query.until))
            .append_pair("interval", "PT1M")
            .append_pair("aggregation", query.aggregation.name());
        if let Some(namespace) = query.namespace {
            url.query_pairs_mut().append_pair("metricnamespace", namespace);
        }
        if let Some(filter) = query.filter {
            url.query_pairs_mut().append_pair("$filter", filter);
        }
        let body = arm.send(wait, &Call::read(Method::Get, url)).await?.value()?;
        let values = body["value"].as_array().ok_or_else(|| ArmError::Unreadable {
            what: format!("{} of {}", query.metric, query.resource),
            cause: "there is no list".to_owned(),
        })?;
        Ok(values.iter().map(|value| Metric::from_body(value, query.aggregation)).collect())
    }
}

impl Metric {
    fn from_body(body: &Value, aggregation: Aggregation) -> Self {
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        let series = match body["errorCode"].as_str() {
            None | Some("" | "Success") => Ok(list(&body["timeseries"])
                .map(|series| MetricSeries::from_body(series, aggregation))
                .collect()),
            Some(code) => Err(format!("{code}: {}", text(&body["errorMessage"]))),
        };
        Self { name: text(&body["name"]["value"]), unit: text(&body["unit"]), series }
    }
}

impl MetricSeries {
    fn from_body(body: &Value, aggregation: Aggregation) -> Self {
        let dimensions = list(&body["metadatavalues"]).map(|dimension| {
            let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
            format!("{}={}", text(&dimension["name"]["value"]), text(&dimension["value"]))
        });
        let points = list(&body["data"]).filter_map(|point| {
            let at = point["timeStamp"].as_str()?.parse().ok()?;
            Some((at, point[aggregation.name()].as_f64().filter(|value| value.is_finite())))
        });
        let mut points: Vec<(Timestamp, _)> = points.collect();
        points.sort_by_key(|(at, _)| *at);
        Self { dimensions: dimensions.collect::<Vec<_>>().join(","), points }
    }
}

fn list(value: &Value) -> impl Iterator<Item = &Value> {
    value.as_array().into_iter().flatten()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::azure::testing::{Answer, world};

    async fn asked(body: &Value) -> (Result<Vec<Metric>, ArmError>, String) {
        let (azure, script, mut wait, _) = world([Answer::json(200, body)]);
        let resource = ResourceId::parse("/subscriptions/s/resourceGroups/rg/providers/A/b/c");
        let resource = resource.expect("an id");
        let query = MetricQuery {
            resource: &resource,
            metric: "Http5xx",
            namespace: None,
            aggregation: Aggregation::Total,
            filter: Some("Instance eq '*'"),
            from: Timestamp::UNIX_EPOCH,
            until: "1970-01-01T00:05:00Z".parse().expect("a time"),
        };
        let metrics = azure.metrics(&mut wait, &query).await;
        (metrics, script.lines().remove(0))
    }

    #[tokio::test]
    async fn a_point_without_its_value_is_missing_and_no_zero() {
        let body = json!({ "cost": 1, "interval": "PT1M", "value": [{
            "name": { "value": "http5xx" }, "unit": "Count", "errorCode": "Success",
            "timeseries": [{
                "metadatavalues": [{ "name": { "value": "instance" }, "value": "a" }],
                "data": [
                    { "timeStamp": "1970-01-01T00:02:00Z", "average": 7.0 },
                    { "timeStamp": "1970-01-01T00:01:00Z", "total": 3.0 },
                    { "timeStamp": "1970-01-01T00:03:00Z" },
                ],
            }],
        }] });
        let (metrics, line) = asked(&body).await;
        let metric = metrics.expect("read").remove(0);
        let series = metric.series.expect("no error");
        assert_eq!((metric.unit.as_str(), series[0].dimensions.as_str()), ("Count", "instance=a"));
        let values: Vec<_> = series[0].points.iter().map(|(_, value)| *value).collect();
        assert_eq!(values, [Some(3.0), None, None]);
        assert!(
            line.contains("timespan=1970-01-01T00%3A00%3A00Z%2F1970-01-01T00%3A05%3A00Z"),
            "{line}"
        );
        assert!(line.contains("api-version=2024-02-01"), "{line}");
    }

    #[tokio::test]
    async fn an_error_may_stand_inside_an_answer() {
        let failed = json!({ "value": [{ "name": { "value": "Http5xx" }, "timeseries": [],
            "errorCode": "InvalidSamplingType", "errorMessage": "no such sampling" }] });
        let metric = asked(&failed).await.0.expect("read").remove(0);
        assert_eq!(metric.series, Err("InvalidSamplingType: no such sampling".to_owned()));
        let none = json!({ "value": [{ "name": { "value": "Http5xx" }, "timeseries": [] }] });
        assert_eq!(asked(&none).await.0.expect("read")[0].series, Ok(vec![]));
        assert!(asked(&json!({ "odd": 1 })).await.0.is_err());
    }
}
