//! What must not stop is not stopped for hours.

use super::{Breach, Rule, Severity, View};

/// The rule.
pub(super) const RULE: Rule = Rule {
    code: "CAF007",
    title: "mission-critical workloads move without planned downtime",
    what: "A workload with `criticality: mission-critical` has the strategy `near-zero-downtime`.",
    why: "CAF, Migrate, Plan migration, Choose a migration method: planned downtime is for workloads that \
          can bear it; mission-critical ones move by replication.",
    example: "migrate: 1
wave: w
workloads:
  crm: { strategy: planned-downtime, criticality: mission-critical, owner: crm-team }
stages:
  release:
    - id: tell
      uses: notify
      with: { to: [crm-team], message: \"CRM moves\" }
",
    severity: Severity::Error,
    check,
};

fn check(view: &View<'_>) -> Vec<Breach> {
    let workloads = view.plan.workloads.iter();
    workloads
        .filter(|(_, it)| it.criticality == "mission-critical" && it.strategy == "planned-downtime")
        .map(|(name, _)| {
            let message = format!("the mission-critical workload `{name}` moves with planned downtime");
            Breach::of_runbook(message, "use `strategy: near-zero-downtime`")
        })
        .collect()
}
