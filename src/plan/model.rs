//! The plan: what is approved and run. Pure data; everything the engine needs and nothing it must look up again.

use std::collections::BTreeMap;
use std::time::Duration;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::run::{Repeat, Stage, StepId, Undo, WaveName, WorkloadName};

/// A runbook after validation, expansion and ordering.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Plan {
    /// Runbook format version.
    pub format: u32,
    /// The wave.
    pub wave: WaveName,
    /// One line, may be empty.
    #[serde(default)]
    pub summary: String,
    /// The change ticket.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub change: Option<String>,
    /// When release actions may start.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub window: Option<Window>,
    /// How many steps may run side by side.
    pub parallel: u32,
    /// Azure connection settings as written (no secrets).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub azure: Option<AzureSettings>,
    /// References to secrets, never values.
    #[serde(default)]
    pub secrets: BTreeMap<String, SecretRef>,
    /// Named endpoints; `Value` as written, each kind reads what it knows.
    #[serde(default)]
    pub systems: BTreeMap<String, Value>,
    /// Workloads by name.
    #[serde(default)]
    pub workloads: BTreeMap<WorkloadName, Workload>,
    /// Values for expressions that are evaluated at run time.
    #[serde(default)]
    pub vars: BTreeMap<String, Value>,
    /// In an order that respects every edge: edges point to smaller indexes only.
    pub steps: Vec<PlannedStep>,
    /// Rules silenced by the author, with the reason.
    #[serde(default)]
    pub allowed: BTreeMap<String, String>,
}

/// The agreed interval in which release actions may start.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Window {
    /// First moment.
    pub opens: Timestamp,
    /// Last moment.
    pub closes: Timestamp,
    /// Kept free before `closes` for going back.
    #[serde(with = "seconds")]
    pub rollback_reserve: Duration,
}

/// Where and as whom Azure is called.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct AzureSettings {
    /// `public`, `us-government`, `china`, or `custom`.
    pub cloud: String,
    /// ARM endpoint of a custom cloud.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub endpoint: Option<String>,
    /// PEM file of a private CA.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ca_file: Option<String>,
    /// Subscription id.
    pub subscription: String,
    /// Default resource group.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub resource_group: Option<String>,
    /// Credential settings as written: `auto`, or a mapping with the kind of credential.
    #[serde(default)]
    pub credential: Value,
}

/// Where a secret comes from.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SecretRef {
    /// An environment variable.
    Env(String),
    /// A file, relative to the runbook.
    File(String),
    /// An argv list whose standard output is the secret.
    Command(Vec<String>),
    /// A Key Vault secret URL.
    KeyVault(String),
}

/// What moves as a whole.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Workload {
    /// `near-zero-downtime`, `planned-downtime`, …
    #[serde(default)]
    pub strategy: String,
    /// `mission-critical`, `business-critical`, …
    #[serde(default)]
    pub criticality: String,
    /// Every key of the workload as written, for `{{ workload.x }}`.
    #[serde(default)]
    pub fields: BTreeMap<String, Value>,
}

/// What happens to its lane when a step fails.
#[derive(
    Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema,
)]
#[serde(rename_all = "lowercase")]
pub enum OnFailure {
    /// The lane stops; other lanes reach the next barrier.
    #[default]
    Hold,
    /// The run is rolled back.
    Rollback,
    /// The lane goes on.
    Continue,
}

/// Whether a kind only reads.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Class {
    /// Only reads.
    Check,
    /// Changes something. What a journal without the class is taken for.
    #[default]
    Action,
}

/// Retries of a step.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Retry {
    /// Attempts in all, at least 1.
    pub attempts: u32,
    /// First pause; doubles, with jitter, up to 32 times itself.
    #[serde(with = "seconds")]
    pub backoff: Duration,
}

/// One step, ready to run. In a journal that lacks one of the safety fields (`hold_before` to `undo`) it is taken for the
/// worst: held, past return, bound to the window, expiring, changing, unrepeatable, irreversible.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[expect(
    clippy::struct_excessive_bools,
    reason = "independent answers, each its own key of the journalled plan"
)]
pub struct PlannedStep {
    /// Unique in the plan.
    pub id: StepId,
    /// Its stage.
    pub stage: Stage,
    /// Its lane; none is a barrier.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub workload: Option<WorkloadName>,
    /// The kind's name.
    pub uses: String,
    /// Parameters; strings with `{{ steps.… }}` in them are still to be rendered.
    pub with: Value,
    /// Indexes of the steps that must have ended before. Always smaller than the own index.
    pub after: Vec<usize>,
    /// Expression; false skips the step.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub when: Option<String>,
    /// Deadline of one attempt.
    #[serde(default, skip_serializing_if = "Option::is_none", with = "seconds_option")]
    pub timeout: Option<Duration>,
    /// Retries.
    pub retry: Retry,
    /// See [`OnFailure`].
    #[serde(default)]
    pub on_failure: OnFailure,
    /// A planned stop before the step.
    #[serde(default = "yes")]
    pub hold_before: bool,
    /// Rollback is impossible after this step.
    #[serde(default = "yes")]
    pub point_of_no_return: bool,
    /// May start only inside the window less its rollback reserve: release actions up to the last traffic switch.
    /// What follows (resuming writes, telling people, watching) must never be refused by a clock.
    #[serde(default = "yes")]
    pub in_window: bool,
    /// Its reading does not outlive the process: lag, freeze, health. Taken again on resume, before what it guards starts.
    #[serde(default = "yes")]
    pub expires: bool,
    /// Check or action.
    #[serde(default)]
    pub class: Class,
    /// The worst repeat class of its effects.
    #[serde(default)]
    pub repeat: Repeat,
    /// The worst undo class of its effects.
    #[serde(default)]
    pub undo: Undo,
    /// What `{{ vars.x }}` means in this step when it stands in a fragment; empty for the plan's own.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub vars: BTreeMap<String, Value>,
    /// Where it was written: file and line, for messages at run time.
    pub source: (String, u32),
}

const fn yes() -> bool {
    true
}

mod seconds {
    //! Durations as seconds with a fraction, readable in the journal.
    use std::time::Duration;

    use serde::{Deserialize, Deserializer, Serializer, de::Error};

    pub(super) fn serialize<S: Serializer>(value: &Duration, to: S) -> Result<S::Ok, S::Error> {
        to.serialize_f64(value.as_secs_f64())
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Duration, D::Error> {
        Duration::try_from_secs_f64(f64::deserialize(from)?).map_err(D::Error::custom)
    }
}

mod seconds_option {
    //! The same for optional durations.
    use std::time::Duration;

    use serde::{Deserialize, Deserializer, Serializer, de::Error};

    #[expect(clippy::ref_option, reason = "the signature serde's `with` asks for")]
    pub(super) fn serialize<S: Serializer>(
        value: &Option<Duration>,
        to: S,
    ) -> Result<S::Ok, S::Error> {
        match value {
            Some(value) => to.serialize_f64(value.as_secs_f64()),
            None => to.serialize_none(),
        }
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(
        from: D,
    ) -> Result<Option<Duration>, D::Error> {
        Option::<f64>::deserialize(from)?
            .map(Duration::try_from_secs_f64)
            .transpose()
            .map_err(D::Error::custom)
    }
}
