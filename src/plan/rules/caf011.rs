//! A freeze ends.

use super::{Breach, Rule, Severity, View};
use crate::plan::Role;

/// The rule.
pub(super) const RULE: Rule = Rule {
    code: "CAF011",
    title: "a freeze that begins also ends",
    what: "Where a `freeze.begin` stands, a `freeze.end` follows.",
    why: "CAF, Migrate, Prepare: a change freeze has an agreed end. Locks that stay behind stop the next \
          change at the source.",
    example: "migrate: 1
wave: w
stages:
  prepare:
    - id: tell
      uses: notify
      with: { to: [crm-team], message: \"CRM moves\" }
    - id: freeze
      uses: freeze.begin
      with: { locks: [{ scope: rg-crm-source, level: read-only }] }
",
    severity: Severity::Warning,
    check,
};

fn check(view: &View<'_>) -> Vec<Breach> {
    view.all(Role::Freezes)
        .iter()
        .filter(|&&freeze| !view.has_after(Role::Unfreezes, freeze))
        .map(|&freeze| {
            let message = format!("the freeze `{}` never ends", view.step(freeze).id);
            Breach::at(freeze, message, "put a `freeze.end` at the end of `release`")
        })
        .collect()
}
