//! A person decides on what cannot be taken back.

use super::{Breach, Rule, Severity, View};
use crate::plan::Role;

/// The rule.
pub(super) const RULE: Rule = Rule {
    code: "CAF006",
    title: "an approval stands before a point of no return",
    what: "Before a step with `point_of_no_return: true` stands an `approval`, or it has `hold: before`.",
    why: "CAF, Migrate, Execute migration: go or no-go is decided by named people before the step that ends \
          the way back.",
    example: "migrate: 1
wave: w
stages:
  release:
    - id: tell
      uses: notify
      with: { to: [crm-team], message: \"CRM moves\" }
      point_of_no_return: true
",
    severity: Severity::Error,
    check,
};

fn check(view: &View<'_>) -> Vec<Breach> {
    let steps = view.plan.steps.iter().enumerate();
    steps
        .filter(|(at, step)| {
            step.point_of_no_return && !step.hold_before && !view.has_before(Role::Approves, *at)
        })
        .map(|(at, step)| {
            let message = format!("`{}` is the point of no return, and nobody approves it", step.id);
            Breach::at(at, message, "put an `approval` above it, or add `hold: before`")
        })
        .collect()
}
