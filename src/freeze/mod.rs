//! What a freeze consists of and whether it still holds: locks, and baselines that show what another hand did.
//!
//! The state of a freeze lives in the intents of the step that began it, so whoever has those can tell. What can not be read
//! is unknown, and unknown is not "nothing changed".

mod activity;
mod baseline;
mod gate;
mod git;
mod list;
mod schema;

use std::collections::BTreeMap;
use std::path::Path;

use jiff::Timestamp;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

pub use activity::Ours;
pub use baseline::{Baseline, FilesWatch};
pub use gate::{Door, Gate, GateError, Stand};
pub use git::{GitRef, GitWatch};
pub use schema::{Place, Schema, SchemaWatch};

use crate::azure::{Azure, Lock, LockLevel, ResourceId, Wait};
use crate::database::postgres::Server;
use crate::diagnostic::redact::Secrets;
use crate::run::{RecordedEffect, RunId, Verdict};

/// A change that was agreed although the freeze is on.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Exception {
    /// The operation, `Microsoft.Compute/virtualMachines/restart/action`; a `*` at the end stands for the rest. For files:
    /// `files`; for a schema: `schema`; for a ref: `git`.
    pub operation: String,
    /// The resource's id or its last part, with everything below it. For files: the path below the folder. For a schema:
    /// the name of the table, index, view or trigger. For a ref: its name or the last part of it.
    pub resource: String,
    /// Who agreed.
    pub approver: String,
    /// Until when, RFC 3339.
    #[schemars(with = "String")]
    pub until: Timestamp,
}

impl Exception {
    /// Whether it covers a change of `resource` at that time.
    fn covers(&self, operation: &str, resource: &str, at: Timestamp) -> bool {
        at <= self.until && self.names_operation(operation) && self.names_resource(resource)
    }

    fn names_operation(&self, operation: &str) -> bool {
        let (wanted, operation) =
            (self.operation.to_ascii_lowercase(), operation.to_ascii_lowercase());
        match wanted.strip_suffix('*') {
            Some(start) => operation.starts_with(start),
            None => operation == wanted,
        }
    }

    fn names_resource(&self, resource: &str) -> bool {
        let wanted = self.resource.trim_matches('/').to_ascii_lowercase();
        let resource = format!("/{}/", resource.trim_matches('/').to_ascii_lowercase());
        !wanted.is_empty() && resource.contains(&format!("/{wanted}/"))
    }
}

/// One part of a freeze, as it stands in the intents that begin and end it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "watch", rename_all = "kebab-case")]
pub enum Frozen {
    /// A management lock; none where there is none.
    Lock {
        /// Full id of what is locked.
        scope: String,
        /// The lock of our name there.
        lock: Option<Lock>,
    },
    /// A gate of a pipeline.
    Gate {
        /// Which.
        gate: Gate,
        /// The name it is closed under.
        name: String,
        /// Closed, or not.
        closed: bool,
    },
    /// A tree of files.
    Files(Baseline),
    /// The schema of a database.
    Schema(Schema),
    /// A ref of a Git repository.
    Git(GitRef),
    /// The activity log of a scope.
    ActivityLog {
        /// Full id of what is watched.
        scope: String,
        /// Changes from here on count.
        since: Timestamp,
    },
}

impl Frozen {
    /// For an intent.
    pub fn to_value(&self) -> Value {
        json!(self)
    }

    /// Out of an intent.
    pub fn of(value: &Value) -> Option<Self> {
        serde_json::from_value(value.clone()).ok()
    }
}

/// The id of a lock at a scope, for intents.
pub fn lock_id(scope: &ResourceId, name: &str) -> String {
    format!("{scope}/providers/Microsoft.Authorization/locks/{name}")
}

/// A lock for people.
pub fn shown(lock: Option<&Lock>) -> String {
    match lock {
        None => "no lock".to_owned(),
        Some(lock) => format!("lock {} ({})", lock.name, level(lock.level)),
    }
}

/// A level as a runbook writes it.
pub const fn level(level: Option<LockLevel>) -> &'static str {
    match level {
        Some(LockLevel::ReadOnly) => "read-only",
        Some(LockLevel::CanNotDelete) => "can-not-delete",
        None => "of a level this program does not know",
    }
}

/// Everything a look at a freeze needs.
#[derive(Debug)]
pub struct Look<'a> {
    /// Azure.
    pub azure: &'a Azure,
    /// How calls wait.
    pub wait: Wait<'a>,
    /// How gates are asked.
    pub door: Door<'a>,
    /// Now.
    pub now: Timestamp,
    /// Changes through ARM count up to here. What the run did itself after this step had learnt of it would look foreign.
    pub until: Timestamp,
    /// Where baselines are kept.
    pub kept: &'a Path,
    /// What was agreed.
    pub exceptions: &'a [Exception],
    /// What this run did itself.
    pub ours: Ours,
    /// How database servers are reached.
    pub servers: Servers<'a>,
}

/// What it takes to reach the database servers of a runbook.
#[derive(Debug, Clone, Copy)]
pub struct Servers<'a> {
    /// The runbook's systems.
    pub systems: &'a BTreeMap<String, Value>,
    /// Their passwords.
    pub secrets: &'a Secrets,
    /// Where their certificates lie.
    pub beside: &'a Path,
    /// Whose sessions these are.
    pub run: &'a RunId,
}

impl Servers<'_> {
    /// Where that schema is read.
    async fn place(self, schema: &Schema) -> Result<Place, String> {
        if let Some(file) = schema.file() {
            return Ok(file);
        }
        let server = Server::of(&schema.system, self.systems, self.secrets, self.beside, self.run);
        server
            .await
            .map(|server| Place::Server(Box::new(server)))
            .map_err(|error| error.to_string())
    }
}

impl Look<'_> {
    /// Is that part of the freeze in place and unviolated? A baseline that was never finished is not done: taking it
    /// again is harmless.
    pub async fn at(&mut self, effect: &RecordedEffect) -> Verdict {
        let unknown = |evidence: &str| Verdict::Unknown { evidence: evidence.to_owned() };
        match Frozen::of(&effect.intent.after) {
            None => unknown("the recorded intent is no part of a freeze"),
            Some(Frozen::Lock { scope, lock }) => {
                let before = Frozen::of(&effect.intent.before);
                self.lock(&scope, lock.as_ref(), before).await
            }
            Some(Frozen::Gate { gate, name, closed }) => {
                let before = Frozen::of(&effect.intent.before);
                let was = matches!(before, Some(Frozen::Gate { closed: true, .. }));
                self.gate(&gate, &name, closed, was).await
            }
            Some(_) if !effect.done => Verdict::NotDone,
            Some(Frozen::Files(baseline)) => {
                verdict(baseline.violations(self.kept, self.exceptions, self.now).await, effect)
            }
            Some(Frozen::Schema(schema)) => {
                let seen = match self.servers.place(&schema).await {
                    Ok(place) => {
                        schema.violations(&place, self.kept, self.exceptions, self.now).await
                    }
                    Err(why) => Err(why),
                };
                verdict(seen, effect)
            }
            Some(Frozen::Git(reference)) => {
                verdict(reference.violations(self.exceptions, self.now).await, effect)
            }
            Some(Frozen::ActivityLog { scope, since }) => {
                let seen = self.activity(&scope, since).await;
                verdict(seen, effect)
            }
        }
    }

    async fn lock(
        &mut self,
        scope: &str,
        wanted: Option<&Lock>,
        before: Option<Frozen>,
    ) -> Verdict {
        let before = match before {
            Some(Frozen::Lock { lock, .. }) => lock,
            _ => None,
        };
        let named = wanted.or(before.as_ref()).map(|lock| lock.name.clone()).unwrap_or_default();
        let now = match ResourceId::parse(scope) {
            Ok(id) => self.azure.lock(&mut self.wait, &id, &named).await,
            Err(error) => Err(error),
        };
        match now {
            Err(error) => Verdict::Unknown {
                evidence: format!("the lock at {scope} could not be read: {error}"),
            },
            Ok(now) if now.as_ref() == wanted => {
                let frozen = Frozen::Lock { scope: scope.to_owned(), lock: now };
                Verdict::Done { observed: frozen.to_value() }
            }
            Ok(now) if now == before => Verdict::NotDone,
            Ok(now) => Verdict::Unknown {
                evidence: format!(
                    "{scope} has {}; wanted was {}",
                    shown(now.as_ref()),
                    shown(wanted)
                ),
            },
        }
    }
}

impl Look<'_> {
    async fn gate(&self, gate: &Gate, name: &str, wanted: bool, before: bool) -> Verdict {
        let unknown =
            |why: String| Verdict::Unknown { evidence: format!("{}: {why}", gate.shown()) };
        let closed = match gate.stand(self.door, name).await {
            Ok(Stand::Closed(_)) => true,
            Ok(Stand::Open) => false,
            Ok(Stand::Altered(how)) => {
                return unknown(format!("the gate {name} was altered: {how}"));
            }
            Err(error) => return unknown(format!("the gate could not be read: {error}")),
        };
        if closed == wanted {
            let frozen = Frozen::Gate { gate: gate.clone(), name: name.to_owned(), closed };
            Verdict::Done { observed: frozen.to_value() }
        } else if closed == before {
            Verdict::NotDone
        } else {
            unknown(format!("the gate {name} is {}", stands(closed)))
        }
    }
}

/// A gate for people.
pub const fn stands(closed: bool) -> &'static str {
    if closed { "closed" } else { "open" }
}

/// What was seen of a baseline, as the answer of a probe.
fn verdict(seen: Result<Vec<String>, String>, effect: &RecordedEffect) -> Verdict {
    match seen {
        Ok(violations) if violations.is_empty() => {
            Verdict::Done { observed: effect.intent.after.clone() }
        }
        Ok(violations) => Verdict::Unknown { evidence: violations.join("; ") },
        Err(why) => Verdict::Unknown {
            evidence: format!("{} can not be watched: {why}", effect.intent.target),
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_exception_covers_what_it_names_until_it_ends() {
        let exception = Exception {
            operation: "Microsoft.Compute/virtualMachines/*".to_owned(),
            resource: "vm-1".to_owned(),
            approver: "ops".to_owned(),
            until: "2026-12-05T23:00:00Z".parse().expect("a time"),
        };
        let at = |text: &str| text.parse::<Timestamp>().expect("a time");
        let vm =
            "/subscriptions/s/resourceGroups/rg/providers/Microsoft.Compute/virtualMachines/VM-1";
        let restart = "Microsoft.Compute/virtualMachines/restart/action";
        assert!(exception.covers(restart, vm, at("2026-12-05T22:00:00Z")));
        assert!(!exception.covers(restart, vm, at("2026-12-05T23:00:01Z")));
        assert!(!exception.covers(restart, &format!("{vm}0"), at("2026-12-05T22:00:00Z")));
        assert!(!exception.covers(
            "Microsoft.Network/dnsZones/write",
            vm,
            at("2026-12-05T22:00:00Z")
        ));
    }
}
