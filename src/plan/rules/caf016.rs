//! Nothing in the release stage can hang for ever.

use super::{Breach, Rule, Severity, View};
use crate::plan::Class;

/// The rule.
pub(super) const RULE: Rule = Rule {
    code: "CAF016",
    title: "release actions have a timeout",
    what: "Every action in `release` has a `timeout`.",
    why: "CAF, Migrate, Execute migration: the cutover has an agreed window and a decision to roll back at an agreed time. A \
          step without a deadline takes both away.",
    example: "migrate: 1
wave: w
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
    view.release()
        .filter(|(at, step)| step.class == Class::Action && step.timeout.is_none() && !view.asks_people(*at))
        .map(|(at, step)| {
            let message = format!("the release action `{}` has no timeout", step.id);
            Breach::at(at, message, "add `timeout: 10m`, or what the step may take at most")
        })
        .collect()
}
