//! Writes pause for minutes only if the target has caught up.

use super::{Breach, Rule, Severity, View};
use crate::plan::Role;
use crate::run::Stage;

/// The rule.
pub(super) const RULE: Rule = Rule {
    code: "CAF012",
    title: "the lag is zero before writes are paused",
    what: "In a workload with `strategy: near-zero-downtime` a `replication.wait` stands before \
          `writes.pause`.",
    why: "CAF, Migrate, Execute migration, near-zero downtime: wait until replication lag is near zero and \
          stays there, then pause writes. What the lag is at that moment is how long users wait.",
    example: "migrate: 1
wave: w
systems:
  source: { folder: source/crm/share }
  target: { folder: target/crm/share }
  app: { http: \"http://crm-source.contoso.example\" }
workloads:
  crm: { strategy: near-zero-downtime, owner: crm-team }
stages:
  release:
    - id: pause
      uses: writes.pause
      with: { system: app }
      workload: crm
",
    severity: Severity::Warning,
    check,
};

fn check(view: &View<'_>) -> Vec<Breach> {
    view.all(Role::PausesWrites)
        .iter()
        .filter(|&&pause| view.strategy(pause) == "near-zero-downtime"
                && view.step(pause).stage == Stage::Release && !view.has_before(Role::WaitsForLag, pause))
        .map(|&pause| {
            let message = format!("`{}` pauses writes without waiting for the lag to reach zero", view.step(pause).id);
            Breach::at(pause, message, "put a `replication.wait` with `max_lag: 0s` above it")
        })
        .collect()
}
