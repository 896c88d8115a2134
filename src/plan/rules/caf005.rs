//! People hear that it is done.

use super::{Breach, Rule, Severity, View};
use crate::plan::Role;

/// The rule.
pub(super) const RULE: Rule = Rule {
    code: "CAF005",
    title: "people are told after the switch",
    what: "A `notify` follows the last traffic switch.",
    why: "CAF, Migrate, Execute migration: tell stakeholders before, during and after the cutover. Who waits \
          for the end of it should not have to ask.",
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
    let switches = view.all(Role::SwitchesTraffic);
    let last = switches.iter().filter(|&&switch| !view.has_after(Role::Notifies, switch)).max();
    last.map(|&switch| {
        let message = format!("nobody is told after the switch `{}`", view.step(switch).id);
        Breach::at(switch, message, "put a `notify` at the end of the stage")
    })
    .into_iter()
    .collect()
}
