//! The activity log (2015-04-01): what was changed in a scope, by whom.
//!
//! Events arrive minutes late and in any order, so a watch looks back over a margin and knows events by `eventDataId`.
//! Reads are not logged. The service keeps ninety days.

use std::collections::BTreeSet;
use std::time::Duration;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::{ArmError, Azure, ResourceId, Wait};
use crate::clock::since;

/// Which events.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ActivityFilter {
    /// First moment.
    pub from: Timestamp,
    /// Last moment.
    pub until: Timestamp,
    /// Events of this scope's resource group, or of its subscription where it is none of a group.
    pub scope: ResourceId,
}

/// One event.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ActivityEvent {
    /// `eventDataId`: the identity of the event, the same on every page and in every answer.
    pub id: String,
    /// When it happened.
    pub at: Timestamp,
    /// When the log learnt of it, where it says.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub submitted: Option<Timestamp>,
    /// `Microsoft.Network/dnsZones/CNAME/write`.
    pub operation: String,
    /// `Started`, `Accepted`, `Succeeded`, `Failed`, …
    pub status: String,
    /// User, application or empty.
    pub caller: String,
    /// The resource, in the service's casing.
    pub resource_id: String,
    /// Joins the events of one change.
    pub correlation_id: String,
    /// `x-ms-client-request-id` of the request, where the log has it: changes of our own carry ours.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub client_request_id: Option<String>,
}

/// What the service keeps; it refuses to look further back.
const KEPT: Duration = Duration::from_hours(24 * 90);

impl ActivityEvent {
    fn from_body(body: &Value) -> Option<Self> {
        let text = |pointer: &str| {
            body.pointer(pointer).and_then(Value::as_str).unwrap_or_default().to_owned()
        };
        let time = |key: &str| body.get(key).and_then(Value::as_str).and_then(|at| at.parse().ok());
        Some(Self {
            id: body.get("eventDataId")?.as_str()?.to_owned(),
            at: time("eventTimestamp")?,
            submitted: time("submissionTimestamp"),
            operation: text("/operationName/value"),
            status: text("/status/value"),
            caller: text("/caller"),
            // Some events name their resource in `authorization` alone.
            resource_id: [text("/resourceId"), text("/authorization/scope")]
                .into_iter()
                .find(|id| !id.is_empty())
                .unwrap_or_default(),
            correlation_id: text("/correlationId"),
            client_request_id: Some(text("/httpRequest/clientRequestId"))
                .filter(|id| !id.is_empty()),
        })
    }

    /// Whether the resource of the event lies in `scope`.
    pub fn within(&self, scope: &ResourceId) -> bool {
        let (inner, outer) =
            (self.resource_id.to_ascii_lowercase(), scope.as_str().to_ascii_lowercase());
        inner.strip_prefix(&outer).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
    }
}

impl ActivityFilter {
    fn expression(&self) -> String {
        let group = self
            .scope
            .segment("resourceGroups")
            .map(|group| format!(" and resourceGroupName eq '{}'", group.replace('\'', "''")));
        let (from, until) = (self.from, self.until);
        let group = group.unwrap_or_default();
        format!("eventTimestamp ge '{from}' and eventTimestamp le '{until}'{group}")
    }
}

impl Azure {
    /// Events of the scope's subscription or resource group, each once, oldest first.
    pub async fn activity(
        &self,
        wait: &mut Wait<'_>,
        filter: &ActivityFilter,
    ) -> Result<Vec<ActivityEvent>, ArmError> {
        if since(filter.from, filter.until) > KEPT {
            return Err(ArmError::Settings("the activity log keeps ninety days only".to_owned()));
        }
        let arm = self.arm().await?;
        let subscription = filter.scope.segment("subscriptions").ok_or_else(|| {
            ArmError::Settings(format!("`{}` is in no subscription", filter.scope))
        })?;
        let path = format!(
            "/subscriptions/{subscription}/providers/Microsoft.Insights/eventtypes/management/values"
        );
        let mut url = arm.url(&path, "2015-04-01");
        url.query_pairs_mut().append_pair("$filter", &filter.expression());
        let items = arm.list(wait, url).await?;
        read(&items).ok_or_else(|| ArmError::Unreadable {
            what: path,
            cause: "an event has no id or no time".to_owned(),
        })
    }
}

/// None when one of them can not be read: it might be the change that nobody agreed to.
fn read(items: &[Value]) -> Option<Vec<ActivityEvent>> {
    let mut events = items.iter().map(ActivityEvent::from_body).collect::<Option<Vec<_>>>()?;
    let mut seen = BTreeSet::new();
    events.retain(|event| seen.insert(event.id.clone()));
    events.sort_by(|a, b| (a.at, &a.id).cmp(&(b.at, &b.id)));
    Some(events)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::azure::testing::{Answer, world};

    fn scope(text: &str) -> ResourceId {
        ResourceId::parse(text).expect("an id")
    }

    fn event(id: &str, at: &str) -> Value {
        json!({ "eventDataId": id, "eventTimestamp": at, "submissionTimestamp": null,
            "operationName": { "value": "Microsoft.Network/dnsZones/write" }, "status": { "value": "Succeeded" },
            "resourceId": "/subscriptions/s/resourcegroups/RG-dns/providers/x", "caller": "a@b.c", "httpRequest": null })
    }

    #[tokio::test]
    async fn late_and_repeated_events_count_once_and_in_order() {
        let next = "https://management.azure.com/next";
        let (azure, script, mut wait, _) = world([
            Answer::json(
                200,
                &json!({ "value": [event("b", "2026-11-21T08:00:02Z")], "nextLink": next }),
            ),
            Answer::json(
                200,
                &json!({ "value": [
                event("a", "2026-11-21T08:00:01.1234567Z"), event("b", "2026-11-21T08:00:02Z"),
            ] }),
            ),
        ]);
        let time = |text: &str| text.parse().expect("a time");
        let filter = ActivityFilter {
            from: time("2026-11-21T07:00:00Z"),
            until: time("2026-11-21T09:00:00Z"),
            scope: scope("/subscriptions/other/resourceGroups/rg'dns"),
        };
        let events = azure.activity(&mut wait, &filter).await.expect("both pages");
        assert_eq!(events.iter().map(|event| event.id.as_str()).collect::<Vec<_>>(), ["a", "b"]);
        assert!(script.seen()[0].url.path().starts_with("/subscriptions/other/providers/"));
        let query: Vec<_> = script.seen()[0].url.query_pairs().into_owned().collect();
        assert_eq!(
            query[1].1,
            "eventTimestamp ge '2026-11-21T07:00:00Z' and eventTimestamp le '2026-11-21T09:00:00Z' \
             and resourceGroupName eq 'rg''dns'"
        );
        assert!(events[0].within(&scope("/subscriptions/s/resourceGroups/rg-dns")));
        assert!(!events[0].within(&scope("/subscriptions/s/resourceGroups/rg")));
    }

    #[tokio::test]
    async fn what_can_not_be_read_is_not_nothing() {
        let at = Timestamp::UNIX_EPOCH;
        for body in [json!({}), json!({ "value": null }), json!({ "value": [{ "odd": 1 }] })] {
            let (azure, _, mut wait, _) = world([Answer::json(200, &body)]);
            let filter = ActivityFilter { from: at, until: at, scope: scope("/subscriptions/s") };
            let error = azure.activity(&mut wait, &filter).await.expect_err("unreadable");
            assert!(matches!(error, ArmError::Unreadable { .. }), "{body}: {error}");
        }
    }

    #[tokio::test]
    async fn looking_back_further_than_the_service_keeps_is_refused_here() {
        let (azure, script, mut wait, _) = world([]);
        let until = Timestamp::UNIX_EPOCH;
        let from = until - jiff::SignedDuration::from_hours(24 * 91);
        let filter = ActivityFilter { from, until, scope: scope("/subscriptions/s") };
        assert!(azure.activity(&mut wait, &filter).await.is_err());
        assert!(script.seen().is_empty());
    }
}
