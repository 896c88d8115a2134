//! People decide to move traffic.

use super::{Breach, Rule, Severity, View};
use crate::plan::Role;

/// The rule.
pub(super) const RULE: Rule = Rule {
    code: "CAF019",
    title: "an approval stands before the traffic switch",
    what: "An `approval` or a `hold: before` stands before each traffic switch in `release`.",
    why: "CAF, Migrate, Execute migration: a go or no-go decision by the owners stands before the cutover, \
          on the evidence gathered so far.",
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
    view.all(Role::SwitchesTraffic)
        .iter()
        .filter(|&&switch| !view.step(switch).hold_before && !view.has_before(Role::Approves, switch))
        .map(|&switch| {
            let message = format!("nobody approves the switch `{}`", view.step(switch).id);
            Breach::at(switch, message, "put an `approval` above it, or add `hold: before`")
        })
        .collect()
}
