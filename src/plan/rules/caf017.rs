//! Release starts when it was agreed to start.

use super::{Breach, Rule, Severity, View};
use crate::plan::Class;

/// The rule.
pub(super) const RULE: Rule = Rule {
    code: "CAF017",
    title: "release actions have a window",
    what: "A runbook with actions in `release` has a `window`.",
    why: "CAF, Migrate, Plan migration: the cutover window is agreed with the business. Without it a run \
          that is late goes on into working hours.",
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
    if !acts || view.plan.window.is_some() {
        return Vec::new();
    }
    vec![Breach::of_runbook("the release has no window", "add `window: {opens: …, closes: …, rollback_reserve: 45m}`")]
}
