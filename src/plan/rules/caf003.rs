//! A traffic switch can be taken back, and that is known before it is made.

use super::{Breach, Rule, Severity, View};
use crate::plan::Role;
use crate::run::Undo;

/// The rule.
pub(super) const RULE: Rule = Rule {
    code: "CAF003",
    title: "each traffic switch has an undo that is proved first",
    what: "A step that moves traffic can move it back, and names the `fallback` at the source that is asked before it moves \
           anything; or it is marked as the point of no return.",
    why: "CAF, Migrate, Plan migration: every cutover needs a tested rollback. Sending traffic back is the first thing a \
          rollback does, and it helps only if the source still answers.",
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
    let switches = view.all(Role::SwitchesTraffic).iter().map(|&at| (at, view.step(at)));
    switches
        .filter(|(_, step)| !step.point_of_no_return)
        .filter_map(|(at, step)| {
            let id = &step.id;
            if step.undo != Undo::Restores {
                let message = format!("`{id}` moves traffic and cannot move it back");
                return Some(Breach::at(at, message, "use a kind that restores, or `point_of_no_return: true`"));
            }
            step.with["fallback"].is_null().then(|| {
                let message = format!("`{id}` does not prove that the source still answers");
                Breach::at(at, message, "add `fallback:` with a URL at the source")
            })
        })
        .collect()
}
