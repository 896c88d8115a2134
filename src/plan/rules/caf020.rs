//! What was switched to is seen to answer.

use super::{Breach, Rule, Severity, View};
use crate::plan::Role;

/// The rule.
pub(super) const RULE: Rule = Rule {
    code: "CAF020",
    title: "the target is probed after the switch",
    what: "After each traffic switch an `http.check`, `net.check` or `monitor` asks the target.",
    why: "CAF, Migrate, Execute migration: validate the workload right after traffic has moved, while going \
          back is cheap.",
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
        .filter(|&&switch| !view.has_after(Role::Probes, switch) && !view.has_after(Role::Stabilizes, switch))
        .map(|&switch| {
            let message = format!("nothing asks the target after `{}`", view.step(switch).id);
            Breach::at(switch, message, "put an `http.check` below it")
        })
        .collect()
}
