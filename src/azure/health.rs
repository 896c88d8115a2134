//! Resource health and service health (Microsoft.ResourceHealth 2024-02-01): what Azure says of its own.
//!
//! A state that is null, absent or new to this program is unknown. Nothing here takes silence for health.

use jiff::{SignedDuration, Timestamp};
use serde_json::Value;

use super::{ArmError, Azure, ResourceId, Wait};

const API: &str = "2024-02-01";
/// Events are asked for that were updated within so many days; one that is active is updated more often.
const LOOK_BACK: SignedDuration = SignedDuration::from_hours(24 * 30);

/// What Azure says of a resource.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AvailabilityState {
    /// Nothing is known against it.
    Available,
    /// It works, worse than it should.
    Degraded,
    /// It does not work.
    Unavailable,
    /// Azure has not heard from it, or this program does not know the word.
    Unknown,
}

/// The health of one resource.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Availability {
    /// See [`AvailabilityState`].
    pub state: AvailabilityState,
    /// In Azure's words.
    pub summary: String,
    /// `Unplanned`, `Planned`, `User Initiated`; empty where it says none.
    pub reason: String,
    /// When it was last checked, where it says.
    pub reported: Option<Timestamp>,
}

/// An event of service health.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ServiceEvent {
    /// Tracking id.
    pub id: String,
    /// `ServiceIssue`, `PlannedMaintenance`, `HealthAdvisory`, `SecurityAdvisory`, …
    pub kind: String,
    /// `Active` or `Resolved`.
    pub status: String,
    /// Its title.
    pub title: String,
    /// Service, region, and the status there.
    pub impact: Vec<(String, String, String)>,
}

impl ServiceEvent {
    fn from_body(body: &Value) -> Option<Self> {
        let properties = body.get("properties")?;
        let text = |value: &Value, key: &str| value[key].as_str().unwrap_or_default().to_owned();
        let list = |value: &Value| value.as_array().cloned().unwrap_or_default();
        let mut impact = Vec::new();
        for service in list(&properties["impact"]) {
            let (named, regions) =
                (text(&service, "impactedService"), list(&service["impactedRegions"]));
            if regions.is_empty() {
                // It does not say where: everywhere.
                impact.push((named.clone(), "Global".to_owned(), String::new()));
            }
            for region in regions {
                impact.push((
                    named.clone(),
                    text(&region, "impactedRegion"),
                    text(&region, "status"),
                ));
            }
        }
        Some(Self {
            id: body.get("name")?.as_str()?.to_owned(),
            kind: text(properties, "eventType"),
            status: text(properties, "status"),
            title: text(properties, "title"),
            impact,
        })
    }

    /// Whether it is under way for one of these services in one of these regions; an empty list means any. What is under
    /// way and does not say where concerns everybody.
    pub fn concerns(&self, services: &[String], regions: &[String]) -> bool {
        let plain = |text: &str| text.replace(' ', "").to_ascii_lowercase();
        let among = |list: &[String], name: &str| {
            list.is_empty() || list.iter().any(|it| plain(it) == plain(name))
        };
        let here = |(service, region, status): &(String, String, String)| {
            let there = among(regions, region) || plain(region) == "global";
            status != "Resolved" && among(services, service) && there
        };
        self.status != "Resolved" && (self.impact.is_empty() || self.impact.iter().any(here))
    }
}

impl Azure {
    /// The health of a resource; none where Azure has no word about it.
    pub async fn availability(
        &self,
        wait: &mut Wait<'_>,
        resource: &ResourceId,
    ) -> Result<Option<Availability>, ArmError> {
        let id =
            resource.join("providers/Microsoft.ResourceHealth/availabilityStatuses/current")?;
        let Some(body) = self.get(wait, &id, API).await? else { return Ok(None) };
        let text = |key: &str| body["properties"][key].as_str().unwrap_or_default();
        let state = match text("availabilityState") {
            "Available" => AvailabilityState::Available,
            "Degraded" => AvailabilityState::Degraded,
            "Unavailable" => AvailabilityState::Unavailable,
            _ => AvailabilityState::Unknown,
        };
        // A date of year 0001 stands for none.
        let reported = text("reportedTime").parse().ok();
        let reported = reported.filter(|at: &Timestamp| *at > Timestamp::UNIX_EPOCH);
        Ok(Some(Availability {
            state,
            summary: text("summary").to_owned(),
            reason: text("reasonType").to_owned(),
            reported,
        }))
    }

    /// Events of service health that concern the runbook's subscription, as of `now`.
    pub async fn service_events(
        &self,
        wait: &mut Wait<'_>,
        now: Timestamp,
    ) -> Result<Vec<ServiceEvent>, ArmError> {
        let arm = self.arm().await?;
        let scope = self.scope("subscription")?;
        let path = format!("{scope}/providers/Microsoft.ResourceHealth/events");
        let mut url = arm.url(&path, API);
        let from = now.checked_sub(LOOK_BACK).unwrap_or(now);
        // Month first, as its description says.
        let from = from.strftime("%m/%d/%Y").to_string();
        url.query_pairs_mut().append_pair("queryStartTime", &from);
        let events = arm.list(wait, url).await?;
        let read = events.iter().map(|event| {
            ServiceEvent::from_body(event).ok_or_else(|| ArmError::Unreadable {
                what: path.clone(),
                cause: "an event lacks its name or properties".to_owned(),
            })
        });
        read.collect()
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::azure::testing::{Answer, world};

    #[tokio::test]
    async fn what_is_null_absent_or_new_is_unknown() {
        let status = |state: &Value| {
            let properties = json!({ "availabilityState": state, "summary": "s", "reportedTime": "0001-01-01T00:00:00Z" });
            Answer::json(200, &json!({ "name": "current", "properties": properties }))
        };
        let (azure, script, mut wait, _) = world([
            status(&json!("Available")),
            status(&Value::Null),
            status(&json!("Sleepy")),
            Answer::json(200, &json!({})),
            Answer::json(404, &Value::Null),
        ]);
        let id = ResourceId::parse("/subscriptions/s/resourceGroups/rg/providers/A/b/c");
        let id = id.expect("an id");
        let first = azure.availability(&mut wait, &id).await.expect("read").expect("a word");
        assert_eq!((first.state, first.reported), (AvailabilityState::Available, None));
        for _ in 0..3 {
            let other = azure.availability(&mut wait, &id).await.expect("read").expect("a word");
            assert_eq!(other.state, AvailabilityState::Unknown);
        }
        assert_eq!(azure.availability(&mut wait, &id).await.expect("read"), None);
        let line = &script.lines()[0];
        assert!(line.contains("/c/providers/Microsoft.ResourceHealth/availabilityStatuses/current?api-version=2024-02-01"), "{line}");
    }

    #[tokio::test]
    async fn an_event_concerns_services_and_regions_where_it_is_still_active() {
        let impact = json!([{ "impactedService": "Azure DNS", "impactedRegions": [
            { "impactedRegion": "West Europe", "status": "Active" },
            { "impactedRegion": "North Europe", "status": "Resolved" },
        ] }]);
        let event = |name: &str, status: &str, impact: &Value| {
            json!({ "name": name, "properties": { "eventType": "ServiceIssue", "status": status,
                "title": "t", "impact": impact } })
        };
        let events = json!({ "value": [event("A", "Active", &impact), event("B", "Resolved", &impact),
            event("C", "Active", &json!([]))] });
        let (azure, script, mut wait, _) = world([Answer::json(200, &events)]);
        let now = "2026-12-05T20:00:00Z".parse().expect("a time");
        let events = azure.service_events(&mut wait, now).await.expect("read");
        let list = |names: &[&str]| names.iter().map(|&it| it.to_owned()).collect::<Vec<_>>();
        let concerned = |services: &[&str], regions: &[&str]| {
            let found = events.iter().filter(|it| it.concerns(&list(services), &list(regions)));
            found.map(|it| it.id.as_str()).collect::<String>()
        };
        assert_eq!(concerned(&[], &[]), "AC");
        assert_eq!(concerned(&["azure dns"], &["westeurope"]), "AC");
        assert_eq!(concerned(&["Azure DNS"], &["North Europe"]), "C");
        assert_eq!(concerned(&["Storage"], &["West Europe"]), "C");
        let query: Vec<_> = script.seen()[0].url.query_pairs().into_owned().collect();
        assert_eq!(query[1], ("queryStartTime".to_owned(), "11/05/2026".to_owned()));
    }
}
