//! The wave is known to change management.

use super::{Breach, Rule, Severity, View};
use crate::plan::Class;

/// The rule.
pub(super) const RULE: Rule = Rule {
    code: "CAF015",
    title: "the change ticket is named",
    what: "A runbook with actions in `release` names its ticket under `change`.",
    why: "CAF, Migrate, Prepare: the cutover goes through change management. The ticket in the journal ties \
          what was approved to what was run.",
    example: "migrate: 1
wave: w
azure: { subscription: 00000000-0000-0000-0000-00000000c0de, resource_group: rg-dns }
stages:
  release:
    - id: switch
      uses: dns.cutover
      with: { zone: contoso.example, record: crm, type: CNAME, value: crm-target.contoso.example }
",
    severity: Severity::Warning,
    check,
};

fn check(view: &View<'_>) -> Vec<Breach> {
    let acts = view.release().any(|(at, step)| step.class == Class::Action && !view.asks_people(at));
    if !acts || view.plan.change.is_some() {
        return Vec::new();
    }
    vec![Breach::of_runbook("the release has no change ticket", "add `change: \"CHG…\"`")]
}
