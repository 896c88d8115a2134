//! The source goes only when the target has proved itself.

use super::{Breach, Rule, Severity, View};
use crate::plan::Role;

/// The rule.
pub(super) const RULE: Rule = Rule {
    code: "CAF010",
    title: "the source is given up only after a sign-off",
    what: "A step that retires the source, or a point of no return after a switch, follows an `approval` \
          given after the switch.",
    why: "CAF, Migrate, Decommission: keep the source as fallback until the business has signed off. An \
          approval given before the switch says nothing about the target.",
    example: "migrate: 1
wave: w
azure: { subscription: 00000000-0000-0000-0000-00000000c0de, resource_group: rg-dns }
stages:
  release:
    - id: go
      uses: approval
      with: { ask: \"Cut over?\" }
    - id: switch
      uses: dns.cutover
      with: { zone: contoso.example, record: crm, type: CNAME, value: crm-target.contoso.example }
    - id: gone
      uses: notify
      with: { to: [ops], message: \"the source is gone\" }
      point_of_no_return: true
",
    severity: Severity::Error,
    check,
};

fn check(view: &View<'_>) -> Vec<Breach> {
    let retires = view.all(Role::Decommissions).iter().copied();
    let crossings = view.plan.steps.iter().enumerate().filter(|(_, it)| it.point_of_no_return).map(|(at, _)| at);
    let mut steps: Vec<usize> = retires.chain(crossings).collect();
    steps.sort_unstable();
    steps.dedup();
    steps
        .into_iter()
        .filter_map(|at| {
            let switch = view.concerning(Role::SwitchesTraffic, at).filter(|&it| view.before(it, at)).max()?;
            let mut approvals = view.concerning(Role::Approves, at);
            let signed = approvals.any(|it| view.before(switch, it) && view.before(it, at));
            (!signed).then(|| {
                let (id, switch) = (&view.step(at).id, &view.step(switch).id);
                let message = format!("`{id}` gives up the source, and nobody signs off after `{switch}`");
                Breach::at(at, message, "put an `approval` between them, below the stabilization")
            })
        })
        .collect()
}
