//! Users can write again.

use super::{Breach, Rule, Severity, View};
use crate::plan::Role;

/// The rule.
pub(super) const RULE: Rule = Rule {
    code: "CAF013",
    title: "writes are resumed after they were paused",
    what: "A `writes.resume` follows each `writes.pause`.",
    why: "CAF, Migrate, Execute migration: the cutover ends with the workload open for writes at the target. \
          A pause without an end is an outage.",
    example: "migrate: 1
wave: w
systems:
  source: { folder: source/crm/share }
  target: { folder: target/crm/share }
  app: { http: \"http://crm-source.contoso.example\" }
stages:
  release:
    - id: pause
      uses: writes.pause
      with: { system: app }
",
    severity: Severity::Warning,
    check,
};

fn check(view: &View<'_>) -> Vec<Breach> {
    view.all(Role::PausesWrites)
        .iter()
        .filter(|&&pause| !view.has_after(Role::ResumesWrites, pause))
        .map(|&pause| {
            let message = format!("writes stay paused after `{}`", view.step(pause).id);
            Breach::at(pause, message, "put a `writes.resume` below the switch")
        })
        .collect()
}
