//! Step kinds, one file each.
//!
//! To add one: write `src/steps/<name>.rs` with a `With` struct, a `pub const KIND: Kind`, and the four methods of
//! [`Step`]; then add its name to the modules and to the list below. Schema, reference, `explain`, completions and the
//! laws of `tests/it/laws.rs` follow from the list. A step never imports another step, the engine or a report.

pub mod approval;
pub mod assess_readiness;
pub mod azure_check;
pub mod azure_deploy;
pub mod azure_health;
pub mod azure_permissions;
pub mod decommission;
pub mod dns_cutover;
pub mod dns_ttl;
pub mod exec;
pub mod files_sync;
pub mod freeze_begin;
pub mod freeze_end;
pub mod freeze_verify;
pub mod http_check;
pub mod http_request;
pub mod monitor;
pub mod net_check;
pub mod notify;
pub mod replication_wait;
pub mod traffic_shift;
pub mod verify_files;
pub mod verify_tables;
pub mod vm_migrate;
pub mod vm_test_migrate;
pub mod writes_pause;
pub mod writes_resume;

// What they share.
mod barrier;
pub mod context;
mod fallback;
mod gate;
mod lock;
mod machine;
mod marking;
mod rights;
mod signals;
#[cfg(test)]
mod testing;
mod zone;

use async_trait::async_trait;
use serde::{Deserialize, Serialize};
use serde_json::Value;

pub use context::{Begun, Effects, Granted, PerformCx, Progress, StepCx, World};

use crate::plan::{Catalogue, KindSpec};
pub use crate::run::{
    Answer, Evidence, FailureClass, Outcome, Outputs, Question, RecordedEffect, StepError, Verdict,
};

/// What one step of a kind can do. All four are required; there are no optional side traits.
#[async_trait]
pub trait Step: Send + Sync {
    /// Reads only. What would change, before -> after; for a check, what it reads now.
    async fn preview(&self, cx: &StepCx) -> Result<Preview, StepError>;

    /// Does it. Called again after a crash or for a retry: effects already done come back as
    /// [`Granted::AlreadyDone`], so the same code path finishes what is left.
    async fn perform(&self, cx: &mut PerformCx<'_>) -> Result<Outcome, StepError>;

    /// Reads only. Is this recorded intent in place? Waits for a long-running operation that is still under way.
    async fn probe(&self, cx: &StepCx, effect: &RecordedEffect) -> Verdict;

    /// Takes one recorded effect back, from its recorded previous state, through `cx.effects` like any other change.
    /// Called last effect first, only for effects that are done, or may be, and whose class is `Restores`.
    async fn undo(&self, cx: &mut PerformCx<'_>, effect: &RecordedEffect) -> Result<(), StepError>;
}

/// A kind: its planning side and its constructor.
#[derive(Debug)]
pub struct Kind {
    /// What planning needs.
    pub spec: KindSpec,
    /// Builds a step from `with`, rendered. `Err` says what is wrong with it.
    pub build: fn(&Value) -> Result<Box<dyn Step>, String>,
}

/// What a dry run shows.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Preview {
    /// What would change.
    pub changes: Vec<Change>,
    /// What was read.
    pub readings: Vec<Evidence>,
}

/// One change, before -> after.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Change {
    /// The thing, as an operator names it.
    pub target: String,
    /// `create`, `replace`, `delete`, …
    pub verb: String,
    /// What is there now; none when nothing is.
    pub before: Option<String>,
    /// What would be there; none when it would go.
    pub after: Option<String>,
}

/// The list. Order is the order of the reference.
macro_rules! kinds {
    ($($module:ident),* $(,)?) => {
        /// Every kind.
        pub const KINDS: &[&Kind] = &[$(&$module::KIND),*];
        /// Every kind's planning side.
        pub const CATALOGUE: Catalogue =
            Catalogue { kinds: &[$(&$module::KIND.spec),*], accepts };
    };
}

// One a line, in braces: rustfmt leaves it so, and two additions do not meet.
kinds! {
    notify,
    approval,
    assess_readiness,
    azure_check,
    azure_deploy,
    azure_health,
    azure_permissions,
    freeze_begin,
    freeze_verify,
    freeze_end,
    net_check,
    http_check,
    replication_wait,
    vm_test_migrate,
    vm_migrate,
    dns_ttl,
    dns_cutover,
    traffic_shift,
    monitor,
    files_sync,
    verify_files,
    verify_tables,
    writes_pause,
    writes_resume,
    decommission,
    exec,
    http_request,
}

/// The kind of that name.
pub fn kind(name: &str) -> Option<&'static Kind> {
    KINDS.iter().copied().find(|kind| kind.spec.name == name)
}

/// Whether a step can be built from `with`.
fn accepts(name: &str, with: &Value) -> Result<(), String> {
    kind(name).map_or(Ok(()), |kind| (kind.build)(with).map(drop))
}

/// Reads `with` as `T`: the body of every kind's `build`.
pub fn read<T: serde::de::DeserializeOwned>(with: &Value) -> Result<T, String> {
    T::deserialize(with).map_err(|error| error.to_string())
}

/// Checks `with` as `T` through the caller's deserializer: the body of every kind's `check`.
pub fn check<T: serde::de::DeserializeOwned>(
    from: &mut dyn erased_serde::Deserializer<'_>,
) -> Result<(), erased_serde::Error> {
    erased_serde::deserialize::<T>(from).map(drop)
}
