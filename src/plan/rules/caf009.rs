//! Caches forget the old address before it changes.

use super::{Breach, Rule, Severity, View};
use crate::plan::Role;

/// The rule.
pub(super) const RULE: Rule = Rule {
    code: "CAF009",
    title: "the TTL is lowered an old TTL ahead of the switch",
    what: "Before each DNS cutover stands a `dns.ttl`, which also outwaits the old TTL.",
    why: "CAF, Migrate, Prepare: lower the TTL well ahead. Until the old one has run out, resolvers go on \
          sending clients to the source, and so does a rollback.",
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
        .map(|&switch| (switch, view.step(switch)))
        .filter(|(at, step)| step.uses.starts_with("dns.") && !view.has_before(Role::LowersTtl, *at))
        .map(|(at, step)| {
            let message = format!("no TTL is lowered before `{}`", step.id);
            Breach::at(at, message, "put a `dns.ttl` in a stage before it")
        })
        .collect()
}
