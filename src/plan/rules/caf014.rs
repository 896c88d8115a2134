//! Somebody answers for each workload.

use super::{Breach, Rule, Severity, View};

/// The rule.
pub(super) const RULE: Rule = Rule {
    code: "CAF014",
    title: "each workload has an owner",
    what: "Every workload names its `owner`.",
    why: "CAF, Migrate, Plan migration: each workload needs a named owner who confirms that it works at the target and who \
          is called when it does not.",
    example: "migrate: 1
wave: w
workloads:
  crm: { strategy: near-zero-downtime }
stages:
  prepare:
    - id: tell
      workload: crm
      uses: notify
      with: { to: [ops], message: hello }
",
    severity: Severity::Warning,
    check,
};

fn check(view: &View<'_>) -> Vec<Breach> {
    let ownerless = |fields: &std::collections::BTreeMap<String, serde_json::Value>| {
        fields.get("owner").and_then(serde_json::Value::as_str).is_none_or(str::is_empty)
    };
    let names: Vec<&str> = view
        .plan
        .workloads
        .iter()
        .filter(|(_, workload)| ownerless(&workload.fields))
        .map(|(name, _)| name.as_str())
        .collect();
    if names.is_empty() {
        return Vec::new();
    }
    let message = format!("no owner is named for {}", super::list(&names));
    vec![Breach::of_runbook(message, "add `owner:` to the workload")]
}
