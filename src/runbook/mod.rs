//! YAML -> [`Runbook`], with the place of everything and every mistake at once. Pure: files are handed in.
//!
//! A file is read in three passes: events become a tree of places ([`node`]), the tree is read as typed keys ([`de`],
//! [`keys`]), and steps are lowered one by one with their fragments ([`lower`]), so that one bad step hides no other.

pub mod de;
pub mod files;
mod inventory;
pub mod keys;
mod lower;
pub mod node;
pub mod words;
mod yaml;

use std::sync::Arc;

use crate::diagnostic::source::{Mark, Sources};
use crate::diagnostic::{Diagnostic, Severity};
use crate::plan::Workload;
use crate::run::{Stage, WorkloadName};

pub use files::{Files, Unreadable};
pub use keys::{RunbookKeys, StepKeys};
pub use node::Node;
pub use yaml::MAX_BYTES;

/// A runbook as it was read: typed, with places, not yet expanded or ordered.
#[derive(Debug)]
pub struct Runbook {
    /// The keys of the runbook itself.
    pub keys: RunbookKeys,
    /// The same as a tree, without its stages; for places.
    pub root: Node,
    /// Workloads in the order they were written.
    pub workloads: Vec<(WorkloadName, Workload, Mark)>,
    /// Steps of all stages in the order they were written, fragments included.
    pub steps: Vec<Step>,
    /// Whether something was left out because it was wrong; references to it are then not reported.
    pub complete: bool,
}

/// One step as it was written.
#[derive(Debug)]
pub struct Step {
    /// Its stage.
    pub stage: Stage,
    /// Its id, behind the id of each fragment it stands in: `crm-dns/switch`.
    pub id: String,
    /// Its keys.
    pub keys: StepKeys,
    /// Its keys as a tree, without `with` and `undo`; for places.
    pub node: Node,
    /// Its parameters; an empty mapping when none were given.
    pub with: Node,
    /// How to take it back, where that is written.
    pub undo: Option<Node>,
    /// Conditions, its fragments' included; all must hold.
    pub when: Vec<(String, Mark)>,
    /// The fragment it stands in.
    pub scope: Option<Arc<Scope>>,
}

/// One inclusion of a fragment.
#[derive(Debug)]
pub struct Scope {
    /// Parameters as they were written at the including place, over the fragment's defaults.
    pub vars: Node,
    /// The including place.
    pub at: Mark,
    /// The fragment that includes this one.
    pub outer: Option<Arc<Self>>,
}

/// What came of reading a runbook.
#[derive(Debug)]
pub struct Loaded {
    /// Every file that was read.
    pub sources: Sources,
    /// The runbook, as far as it could be read.
    pub runbook: Option<Runbook>,
    /// Everything that is wrong.
    pub found: Vec<Diagnostic>,
}

impl Loaded {
    /// Whether nothing is wrong so far.
    pub fn is_valid(&self) -> bool {
        self.runbook.is_some() && self.found.iter().all(|found| found.severity != Severity::Error)
    }
}

/// Reads a runbook and everything it includes.
pub fn load(name: &str, files: &dyn Files) -> Loaded {
    let mut sources = Sources::default();
    let mut found = Vec::new();
    let runbook = lower::Lowering::new(files, &mut sources, &mut found).runbook(name);
    Loaded { sources, runbook, found }
}
