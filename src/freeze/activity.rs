//! What another hand did in a scope, by the activity log.
//!
//! The log tells late, so every look goes back to the beginning of the freeze. What this run did itself is known by the
//! request ids of its own effects; a change that failed, because a lock held, changed nothing.

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;

use super::{Exception, Look};
use crate::azure::{ActivityEvent, ActivityFilter, ResourceId, change_request_id};
use crate::run::{EffectId, RecordedEffect, RunId, StepId};

/// What this run changed: request ids of its effects, and the resources they are about.
#[derive(Debug, Clone, Default)]
pub struct Ours {
    requests: BTreeSet<String>,
    targets: BTreeSet<String>,
}

impl Ours {
    /// From the effects of the run's steps.
    pub fn of<'e>(
        run: &RunId,
        effects: impl IntoIterator<Item = (&'e StepId, &'e RecordedEffect)>,
    ) -> Self {
        let mut ours = Self::default();
        for (step, effect) in effects {
            let id = EffectId { step: step.clone(), key: effect.intent.key.clone() };
            ours.requests.insert(change_request_id(run, &id).to_string());
            ours.targets.insert(effect.intent.target.to_ascii_lowercase());
        }
        ours
    }

    /// By its request id where the log has one, else by the resource.
    fn made(&self, event: &ActivityEvent) -> bool {
        match &event.client_request_id {
            Some(id) => self.requests.contains(&id.to_ascii_lowercase()),
            None => self.targets.contains(&event.resource_id.to_ascii_lowercase()),
        }
    }
}

/// Providers that write notes about resources without changing them.
const NOTES: [&str; 4] = [
    "microsoft.advisor/",
    "microsoft.resourcehealth/",
    "microsoft.authorization/policies/",
    "microsoft.insights/",
];

fn is_change(event: &ActivityEvent) -> bool {
    let operation = event.operation.to_ascii_lowercase();
    ["/write", "/delete", "/action"].iter().any(|end| operation.ends_with(end))
        && !NOTES.iter().any(|start| operation.starts_with(start))
}

/// Changes that nobody agreed to: one line each, oldest first.
fn violations(
    events: &[ActivityEvent],
    scope: &ResourceId,
    ours: &Ours,
    exceptions: &[Exception],
) -> Vec<String> {
    // A deployment of ours writes resources under its own correlation id.
    let own: BTreeSet<&str> = events
        .iter()
        .filter(|event| ours.made(event))
        .map(|event| event.correlation_id.as_str())
        .filter(|id| !id.is_empty())
        .collect();
    let mut failed = BTreeSet::new();
    let mut changes = BTreeMap::new();
    for event in events.iter().filter(|event| event.within(scope) && is_change(event)) {
        let one = if event.correlation_id.is_empty() { &event.id } else { &event.correlation_id };
        let change =
            (one, event.operation.to_ascii_lowercase(), event.resource_id.to_ascii_lowercase());
        if event.status.eq_ignore_ascii_case("failed") {
            failed.insert(change.clone());
        }
        let agreed =
            exceptions.iter().any(|it| it.covers(&event.operation, &event.resource_id, event.at));
        if !agreed && !own.contains(event.correlation_id.as_str()) && !ours.made(event) {
            changes.entry(change).or_insert(event);
        }
    }
    let mut found: Vec<_> =
        changes.into_iter().filter(|(change, _)| !failed.contains(change)).collect();
    found.sort_by_key(|(_, event)| (event.at, event.id.clone()));
    found.into_iter().map(|(_, event)| line(event)).collect()
}

fn line(event: &ActivityEvent) -> String {
    let caller = if event.caller.is_empty() { "somebody" } else { &event.caller };
    format!("{caller} did {} to {} at {}", event.operation, event.resource_id, event.at)
}

impl Look<'_> {
    /// Changes in a scope since the freeze began. `Err` says why the log can not tell.
    pub(super) async fn activity(
        &mut self,
        scope: &str,
        since: Timestamp,
    ) -> Result<Vec<String>, String> {
        let id = ResourceId::parse(scope).map_err(|error| error.to_string())?;
        let until = self.until.max(since);
        let filter = ActivityFilter { from: since, until, scope: id.clone() };
        let events = self.azure.activity(&mut self.wait, &filter).await;
        let events = events.map_err(|error| error.to_string())?;
        Ok(violations(&events, &id, &self.ours, self.exceptions))
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::run::{Intent, Repeat, Undo};

    const SCOPE: &str = "/subscriptions/s/resourceGroups/rg-crm-source";

    fn event(id: &str, correlation: &str, status: &str, resource: &str) -> ActivityEvent {
        ActivityEvent {
            id: id.to_owned(),
            at: Timestamp::from_second(100).expect("a time"),
            submitted: None,
            operation: "Microsoft.Compute/virtualMachines/write".to_owned(),
            status: status.to_owned(),
            caller: "eve@contoso.example".to_owned(),
            resource_id: format!("{SCOPE}/providers/Microsoft.Compute/virtualMachines/{resource}"),
            correlation_id: correlation.to_owned(),
            client_request_id: None,
        }
    }

    fn found(events: &[ActivityEvent], ours: &Ours) -> Vec<String> {
        violations(events, &ResourceId::parse(SCOPE).expect("an id"), ours, &[])
    }

    #[test]
    fn a_change_is_named_once_with_its_author_and_a_failed_one_is_none() {
        let events = [
            event("1", "c", "Started", "vm"),
            event("2", "c", "Succeeded", "VM"),
            event("3", "d", "Started", "other"),
            event("4", "d", "Failed", "other"),
        ];
        let found = found(&events, &Ours::default());
        assert_eq!(found.len(), 1, "{found:?}");
        assert!(found[0].starts_with("eve@contoso.example did Microsoft.Compute"), "{found:?}");
    }

    #[test]
    fn what_this_run_did_is_known_by_its_request_id_and_all_that_came_of_it() {
        let (run, step) = (RunId::new("run"), StepId::new("deploy"));
        let classes = (Repeat::Guarded, Undo::Restores);
        let intent = Intent::new("deployment", "x", "create", classes, json!(null), json!(1));
        let effect = RecordedEffect { intent, sent: None, observed: None, done: true };
        let ours = Ours::of(&run, [(&step, &effect)]);
        let id = EffectId { step: step.clone(), key: "deployment".to_owned() };
        let mut own = event("1", "c", "Succeeded", "deployment");
        own.client_request_id = Some(change_request_id(&run, &id).to_string());
        let nested = event("2", "c", "Succeeded", "vm");
        assert_eq!(found(&[own.clone(), nested], &ours), Vec::<String>::new());
        own.client_request_id = Some("another".to_owned());
        assert_eq!(found(&[own], &ours).len(), 1);
    }

    #[test]
    fn other_scopes_and_mere_notes_do_not_count() {
        let mut elsewhere = event("1", "c", "Succeeded", "vm");
        elsewhere.resource_id = elsewhere.resource_id.replace("rg-crm-source", "rg-crm-source-2");
        let mut note = event("2", "d", "Succeeded", "vm");
        note.operation = "Microsoft.Advisor/recommendations/available/action".to_owned();
        assert_eq!(found(&[elsewhere, note], &Ours::default()), Vec::<String>::new());
    }
}
