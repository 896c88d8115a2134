//! Azure Monitor metrics: series by the minute as the scenario scripts them, with points that lack their value.
//!
//! `timespan` may come encoded twice, as the Azure CLI sends it.

use hyper::http::StatusCode;
use jiff::civil::DateTime;
use jiff::tz::TimeZone;
use jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};

use super::super::http::percent_decoded;
use super::super::scenario::{Metric, SUBSCRIPTION};
use super::{ArmError, Call, Handled, Outcome, only_get};

const MINUTE: i64 = 60;
const AGGREGATIONS: [&str; 5] = ["average", "total", "minimum", "maximum", "count"];
/// Points of one answer at most.
const POINTS_MAX: i64 = 2880;

fn id(metric: &Metric) -> String {
    let Metric { group, resource, .. } = metric;
    format!("/subscriptions/{SUBSCRIPTION}/resourceGroups/{group}/providers/{resource}")
}

/// `{resource}/providers/Microsoft.Insights/metrics`.
pub(super) fn list(call: &Call<'_>) -> Handled {
    only_get(call)?;
    let bad = |message: String| ArmError::bad_request("BadRequest", message);
    let resource = call.id(call.segments.len() - 3);
    let own: Vec<_> = call
        .scenario
        .metrics
        .iter()
        .filter(|metric| id(metric).eq_ignore_ascii_case(&resource))
        .collect();
    if own.is_empty() {
        return Err(ArmError::not_found(&resource));
    }
    let (from, until) =
        timespan(call).ok_or_else(|| bad("The timespan can not be read.".to_owned()))?;
    let asked = call.request.query("aggregation").unwrap_or("average").to_ascii_lowercase();
    let asked: Vec<_> = asked.split(',').map(str::trim).collect();
    if let Some(other) = asked.iter().find(|it| !AGGREGATIONS.contains(*it)) {
        return Err(bad(format!("The aggregation '{other}' is not supported.")));
    }
    let names = call.request.query("metricnames").unwrap_or("");
    let mut values = Vec::new();
    for name in names.split(',').map(str::trim) {
        let found = own.iter().find(|metric| metric.metric.eq_ignore_ascii_case(name));
        let metric = found.ok_or_else(|| unknown(name, &own))?;
        values.push(value(call, metric, (from, until), &asked));
    }
    let kind: Vec<_> = own[0].resource.split('/').collect();
    Ok(Outcome::ok(&json!({
        "cost": (until.as_second() - from.as_second()) / MINUTE,
        "timespan": format!("{from}/{until}"), "interval": "PT1M", "value": values,
        "namespace": kind[..kind.len().min(2)].join("/"), "resourceregion": "westeurope",
    })))
}

fn unknown(name: &str, own: &[&Metric]) -> ArmError {
    let valid: Vec<_> = own.iter().map(|metric| metric.metric.as_str()).collect();
    let message = format!(
        "Failed to find metric configuration for metric: {name}. Valid metrics: {}",
        valid.join(",")
    );
    ArmError::new(StatusCode::BAD_REQUEST, "BadRequest", message)
}

/// The whole minutes asked for; the last hour without a word.
fn timespan(call: &Call<'_>) -> Option<(Timestamp, Timestamp)> {
    let whole = |at: Timestamp| {
        Timestamp::from_second(at.as_second() - at.as_second().rem_euclid(MINUTE)).ok()
    };
    let Some(text) = call.request.query("timespan") else {
        let from = call.now.checked_sub(SignedDuration::from_hours(1)).ok()?;
        return Some((whole(from)?, whole(call.now)?));
    };
    // The query is decoded already; what was encoded twice still has its percent signs.
    let text = percent_decoded(text);
    let (from, until) = text.split_once('/')?;
    let (from, until) = (whole(time(from)?)?, time(until)?);
    let minutes = until.as_second().checked_sub(from.as_second())? / MINUTE;
    (0..=POINTS_MAX).contains(&minutes).then_some((from, until))
}

/// A time that names no zone, as the Azure CLI sends it, is UTC.
fn time(text: &str) -> Option<Timestamp> {
    let in_utc = |text: &str| text.parse::<DateTime>().ok()?.to_zoned(TimeZone::UTC).ok();
    text.parse().ok().or_else(|| in_utc(text).map(|zoned| zoned.timestamp()))
}

fn value(
    call: &Call<'_>,
    metric: &Metric,
    (from, until): (Timestamp, Timestamp),
    asked: &[&str],
) -> Value {
    let newest = call.now.as_second() - i64::from(metric.late_seconds);
    let minutes = (from.as_second()..until.as_second()).step_by(60);
    let data = minutes.filter_map(|second| {
        let at = Timestamp::from_second(second).ok()?;
        let mut point = json!({ "timeStamp": at.to_string() });
        let since_start = at.duration_since(call.began).as_secs_f64();
        // A minute is complete when it is over; its value comes later still.
        if let Some(value) = metric.value(since_start).filter(|_| second + MINUTE <= newest) {
            for name in asked {
                point[*name] = json!(value);
            }
        }
        Some(point)
    });
    let data: Vec<_> = data.collect();
    json!({
        "id": format!("{}/providers/Microsoft.Insights/metrics/{}", id(metric), metric.metric),
        "type": "Microsoft.Insights/metrics",
        "name": { "value": metric.metric, "localizedValue": metric.metric },
        "displayDescription": metric.metric, "unit": metric.unit,
        "timeseries": [{ "metadatavalues": [], "data": data }], "errorCode": "Success",
    })
}
