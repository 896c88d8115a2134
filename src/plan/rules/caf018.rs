//! There is time left to go back.

use super::{Breach, Rule, Severity, View};

/// The rule.
pub(super) const RULE: Rule = Rule {
    code: "CAF018",
    title: "the window keeps a reserve for rollback",
    what: "A `window` has a `rollback_reserve` above zero.",
    why: "CAF, Migrate, Plan migration: plan the time a rollback takes into the window. A switch in its last \
          minute leaves none.",
    example: "migrate: 1
wave: w
window: { opens: 2026-12-05T22:00:00+01:00, closes: 2026-12-06T04:00:00+01:00 }
stages:
  release:
    - id: tell
      uses: notify
      with: { to: [crm-team], message: \"CRM moves\" }
",
    severity: Severity::Warning,
    check,
};

fn check(view: &View<'_>) -> Vec<Breach> {
    let reserve = view.plan.window.as_ref().map(|window| window.rollback_reserve);
    if reserve.is_none_or(|reserve| !reserve.is_zero()) {
        return Vec::new();
    }
    let hint = "add `rollback_reserve: 45m`, or what going back takes";
    vec![Breach::of_runbook("the window keeps no time for a rollback", hint)]
}
