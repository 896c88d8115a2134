//! `azure.health`: Azure says that the resources are available and that nothing it knows of is in the way. Changes nothing.
//!
//! Unknown, stale and silent never open the gate.

use std::time::Duration;

use async_trait::async_trait;
use jiff::Timestamp;
use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::json;

use super::{
    Evidence, FailureClass, Kind, Outcome, Outputs, PerformCx, Preview, Step, StepCx, StepError,
    rights,
};
use crate::azure::{ArmError, Availability, AvailabilityState, ServiceEvent, Wait};
use crate::clock::{age, since};
use crate::plan::{Class, KindSpec, Role, Span};
use crate::run::{RecordedEffect, Repeat, Undo, Verdict};

/// Parameters of `azure.health`.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct With {
    /// ARM ids, or `Microsoft.Network/trafficManagerProfiles/crm` in the runbook's default resource group. Each must be
    /// *Available*.
    #[serde(default)]
    pub resources: Vec<String>,
    /// *Degraded* is good enough.
    #[serde(default)]
    pub degraded_is_good: bool,
    /// A state that was last checked longer ago is unknown. Default 1h.
    #[serde(default = "one_hour")]
    pub stale_after: Span,
    /// No event of service health may be under way that fits.
    #[serde(default)]
    pub events: Option<Events>,
    /// Look again until all is good, this long. Without it, once.
    #[serde(default)]
    pub within: Span,
    /// Pause between two looks. Default 1m.
    #[serde(default = "one_minute")]
    pub every: Span,
}

/// Which events of service health are in the way.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Events {
    /// `Azure DNS`, `Virtual Machines`; any when left out.
    #[serde(default)]
    pub services: Vec<String>,
    /// `West Europe` or `westeurope`; any when left out. *Global* always fits.
    #[serde(default)]
    pub regions: Vec<String>,
    /// Kinds of events. Service issues and planned maintenance when left out.
    #[serde(default = "issues_and_maintenance")]
    pub types: Vec<EventType>,
}

/// A kind of event.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum EventType {
    /// Something of Azure is broken.
    ServiceIssue,
    /// Azure is going to change something.
    PlannedMaintenance,
    /// The subscription has to do something, some day.
    HealthAdvisory,
    /// The same, for security.
    SecurityAdvisory,
}

impl EventType {
    /// Out of the service's word.
    fn of(kind: &str) -> Option<Self> {
        Some(match kind {
            "ServiceIssue" => Self::ServiceIssue,
            "PlannedMaintenance" => Self::PlannedMaintenance,
            "HealthAdvisory" => Self::HealthAdvisory,
            "SecurityAdvisory" => Self::SecurityAdvisory,
            _ => return None,
        })
    }
}

const fn one_hour() -> Span {
    Span::hours(1)
}
const fn one_minute() -> Span {
    Span::minutes(1)
}
fn issues_and_maintenance() -> Vec<EventType> {
    vec![EventType::ServiceIssue, EventType::PlannedMaintenance]
}

const DOCS: &str = "\
Asks Azure for the health of each resource (*Available*, *Degraded*, *Unavailable*, *Unknown*), and for events of service \
health that are under way in the subscription: service issues and planned maintenance, for the services and regions named.\n\n\
With `within` it looks again until all is good or the time is up. What is *Unknown*, was last checked longer ago than \
`stale_after`, has no health at all or could not be read is not good (exit 4).\n\n\
It is Azure's view, which trails by minutes: put an `http.check` beside it for your users' view.\n\n\
Needs `Microsoft.ResourceHealth/*/read`. Output: `states`.";

/// The kind.
pub const KIND: Kind = Kind {
    spec: KindSpec {
        name: "azure.health",
        summary: "Check what Azure says of the health of resources and services",
        docs: DOCS,
        example: include_str!("../../examples/steps/azure.health.yaml"),
        class: Class::Check,
        repeat: Repeat::Repeatable,
        undo: Undo::LeavesInPlace,
        roles: &[Role::Probes],
        outputs: &["states"],
        open_outputs: false,
        schema: || schemars::schema_for!(With),
        check: super::check::<With>,
        describe: |with| {
            let resources = with["resources"].as_array().map_or(0, Vec::len);
            let events = if with["events"].is_null() { "" } else { ", and service health" };
            vec![format!("health of {resources} resources{events}")]
        },
    },
    build: |with| {
        let with = super::read::<With>(with)?;
        if with.resources.is_empty() && with.events.is_none() {
            return Err("give `resources` or `events`".to_owned());
        }
        if with.every.duration().is_zero() {
            return Err("`every` must be above zero".to_owned());
        }
        Ok(Box::new(with))
    },
};

impl With {
    const ATTEMPTED: &str = "check the health of resources and services";

    async fn look(&self, cx: &StepCx, wait: &mut Wait<'_>) -> Result<Vec<Evidence>, StepError> {
        let (azure, now) = (&cx.world.azure, cx.clock().now());
        let mut evidence = Vec::new();
        for resource in &self.resources {
            let id = azure.within_group(resource);
            let id = id.map_err(|it| it.into_step_error(Self::ATTEMPTED, "nothing was changed"))?;
            let read = unread(azure.availability(wait, &id).await)?;
            let (verdict, detail) = match read {
                Ok(found) => self.judge(found.as_ref(), now),
                Err(why) => ("not compared", why),
            };
            evidence.push(line(format!("health of {}", rights::short(&id)), verdict, detail));
        }
        if let Some(events) = &self.events {
            let (verdict, detail) = match unread(azure.service_events(wait, now).await)? {
                Ok(found) => events.judge(&found),
                Err(why) => ("not compared", why),
            };
            evidence.push(line("service health".to_owned(), verdict, detail));
        }
        Ok(evidence)
    }

    fn judge(&self, found: Option<&Availability>, now: Timestamp) -> (&'static str, String) {
        let Some(found) = found else {
            return ("not compared", "Azure keeps no health of it".to_owned());
        };
        let Availability { state, summary, reason, reported } = found;
        // A check that lies ahead has no age: one of two clocks is wrong.
        let old = |at: Timestamp| age(at, now).is_none_or(|it| it > self.stale_after.duration());
        match (state, reported) {
            (AvailabilityState::Unavailable, _) => ("unavailable", words(summary, reason)),
            (AvailabilityState::Degraded, _) if !self.degraded_is_good => {
                ("degraded", words(summary, reason))
            }
            (AvailabilityState::Unknown, _) => ("not compared", words(summary, reason)),
            (_, None) => ("not compared", "it does not say when it was checked".to_owned()),
            (_, Some(at)) if old(*at) => (
                "not compared",
                format!("last checked at {at:.0}, not within {}", self.stale_after),
            ),
            (AvailabilityState::Degraded, _) => ("healthy", format!("degraded: {summary}")),
            (AvailabilityState::Available, _) => ("healthy", "available".to_owned()),
        }
    }
}

fn words(summary: &str, reason: &str) -> String {
    let parts = [summary, reason].into_iter().filter(|it| !it.is_empty());
    let text = parts.collect::<Vec<_>>().join(" - ");
    if text.is_empty() { "Azure says no more".to_owned() } else { text }
}

fn line(check: String, verdict: &str, detail: String) -> Evidence {
    Evidence { check, verdict: verdict.to_owned(), detail, holds: verdict == "healthy" }
}

/// What was read, or why it is unknown.
fn unread<T>(read: Result<T, ArmError>) -> Result<Result<T, String>, StepError> {
    match read {
        Ok(found) => Ok(Ok(found)),
        Err(error) => error.unread(With::ATTEMPTED).map(Err),
    }
}

impl Events {
    fn judge(&self, events: &[ServiceEvent]) -> (&'static str, String) {
        let fits = |event: &&ServiceEvent| {
            // A kind that is new to this program is not left out.
            let wanted = match EventType::of(&event.kind) {
                Some(kind) => self.types.contains(&kind),
                None => !["RCA", "EmergingIssues"].contains(&event.kind.as_str()),
            };
            wanted && event.concerns(&self.services, &self.regions)
        };
        let under_way: Vec<_> = events.iter().filter(fits).collect();
        match under_way.first() {
            None => ("healthy", "no event under way".to_owned()),
            Some(event) => {
                let more = match under_way.len() - 1 {
                    0 => String::new(),
                    more => format!(", and {more} more"),
                };
                ("affected", format!("{} {}: {}{more}", event.kind, event.id, event.title))
            }
        }
    }
}

fn refused(evidence: &[Evidence]) -> StepError {
    let known = "Azure does not call everything healthy; nothing was changed";
    let error = StepError::new(FailureClass::Refused, "MIG0122", With::ATTEMPTED, known);
    let bad = evidence.iter().filter(|it| !it.holds);
    bad.fold(error, |error, it| error.cause(format!("{}: {}: {}", it.check, it.verdict, it.detail)))
        .hint("wait until Azure is well, or take another window, then `migrate resume`")
        .retryable()
}

#[async_trait]
impl Step for With {
    async fn preview(&self, cx: &StepCx) -> Result<Preview, StepError> {
        Ok(Preview { readings: self.look(cx, &mut cx.wait()).await?, ..Preview::default() })
    }

    async fn perform(&self, cx: &mut PerformCx<'_>) -> Result<Outcome, StepError> {
        let (read, started) = (cx.read, cx.clock().steady());
        loop {
            let evidence = self.look(read, &mut cx.wait()).await?;
            let Some(bad) = evidence.iter().find(|it| !it.holds) else {
                let states = evidence.iter().map(|it| json!({ "of": it.check, "is": it.detail }));
                let states = states.collect::<Vec<_>>();
                let outputs = Outputs::from([("states".to_owned(), json!(states))]);
                return Ok(Outcome { outputs, evidence });
            };
            let left = self.within.duration().saturating_sub(since(started, cx.clock().steady()));
            if left == Duration::ZERO {
                return Err(refused(&evidence));
            }
            let (within, said) = (self.within, format!("{}: {}", bad.check, bad.detail));
            cx.progress.say(format!("{said}; waits up to {within}"));
            read.sleep(self.every.duration().min(left), cx.busy).await?;
        }
    }

    async fn probe(&self, _cx: &StepCx, _effect: &RecordedEffect) -> Verdict {
        Verdict::Unknown { evidence: "a check changes nothing".to_owned() }
    }

    async fn undo(
        &self,
        _cx: &mut PerformCx<'_>,
        _effect: &RecordedEffect,
    ) -> Result<(), StepError> {
        Ok(())
    }
}
