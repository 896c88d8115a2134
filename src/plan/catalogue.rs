//! What planning needs to know about a step kind. `steps` fills it in; `plan` stays free of I/O.

use serde_json::Value;

use super::model::Class;
use crate::run::{Repeat, Undo};

/// What a kind is for, as far as the CAF rules ask.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Role {
    /// Tells people.
    Notifies,
    /// Asks a person.
    Approves,
    /// Begins a freeze.
    Freezes,
    /// Verifies that the freeze held.
    VerifiesFreeze,
    /// Ends a freeze.
    Unfreezes,
    /// Waits for replication lag.
    WaitsForLag,
    /// Copies data.
    Syncs,
    /// Refuses writes at the source.
    PausesWrites,
    /// Accepts writes again.
    ResumesWrites,
    /// Compares source and target by content.
    VerifiesData,
    /// Lowers a TTL.
    LowersTtl,
    /// Moves traffic.
    SwitchesTraffic,
    /// Probes that something answers.
    Probes,
    /// Proves that the rights are there.
    ProvesRights,
    /// Watches after the cutover.
    Stabilizes,
    /// Builds the target.
    Deploys,
    /// Retires the source.
    Decommissions,
    /// Whatever its author made it.
    Custom,
}

/// The planning side of a kind: one constant in the kind's file.
#[derive(Debug)]
pub struct KindSpec {
    /// `dns.cutover`.
    pub name: &'static str,
    /// One line, imperative: "Change a record set and prove the answer".
    pub summary: &'static str,
    /// Markdown: what, preconditions, effects, how it is taken back.
    pub docs: &'static str,
    /// A step in YAML that validates and plans; a sandbox run of it passes.
    pub example: &'static str,
    /// Check or action.
    pub class: Class,
    /// Worst repeat class over its effects.
    pub repeat: Repeat,
    /// Worst undo class over its effects.
    pub undo: Undo,
    /// For the rules.
    pub roles: &'static [Role],
    /// Names of outputs that later steps may use; empty with `open_outputs`.
    pub outputs: &'static [&'static str],
    /// Outputs are not known at plan time (`exec`, `http.request`, `azure.deploy`).
    pub open_outputs: bool,
    /// JSON Schema of `with`.
    pub schema: fn() -> schemars::Schema,
    /// Reads `with` through the caller's deserializer; the error is shown at the place the deserializer knows.
    pub check: fn(&mut dyn erased_serde::Deserializer<'_>) -> Result<(), erased_serde::Error>,
    /// One line per effect for the plan: "CNAME crm.contoso.example -> crm.azurewebsites.net".
    pub describe: fn(&Value) -> Vec<String>,
}

/// All kinds, by name.
#[derive(Debug, Clone, Copy)]
pub struct Catalogue {
    /// In the order of the reference.
    pub kinds: &'static [&'static KindSpec],
    /// What [`KindSpec::check`] can not say: whether the kind of that name takes `with`, all of whose values are known.
    pub accepts: fn(&str, &Value) -> Result<(), String>,
}

impl Catalogue {
    /// The kind of that name.
    pub fn get(self, name: &str) -> Option<&'static KindSpec> {
        self.kinds.iter().copied().find(|kind| kind.name == name)
    }
}
