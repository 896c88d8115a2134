//! What is copied last is what the source last accepted.

use super::{Breach, Rule, Severity, View};
use crate::plan::Role;

/// The rule.
pub(super) const RULE: Rule = Rule {
    code: "CAF001",
    title: "writes are paused before the final sync",
    what: "Where data is copied and traffic is switched, writes are paused before the last copy starts.",
    why: "CAF, Migrate, Execute migration, near-zero downtime: pause writes, then synchronise the last \
          changes. A write that the source accepts after the last copy is lost at the switch.",
    example: "migrate: 1
wave: w
azure: { subscription: 00000000-0000-0000-0000-00000000c0de, resource_group: rg-dns }
systems:
  source: { folder: source/crm/share }
  target: { folder: target/crm/share }
  app: { http: \"http://crm-source.contoso.example\" }
stages:
  release:
    - id: final-sync
      uses: files.sync
      with: { source: source, target: target }
    - id: switch
      uses: dns.cutover
      with: { zone: contoso.example, record: crm, type: CNAME, value: crm-target.contoso.example }
",
    severity: Severity::Error,
    check,
};

fn check(view: &View<'_>) -> Vec<Breach> {
    view.all(Role::SwitchesTraffic)
        .iter()
        .filter_map(|&switch| {
            let last = view.concerning(Role::Syncs, switch).filter(|&sync| view.before(sync, switch)).max()?;
            let paused = view.has_before(Role::PausesWrites, last);
            (!paused).then(|| {
                let (sync, switch) = (&view.step(last).id, &view.step(switch).id);
                let message = format!("`{sync}` is the last copy before `{switch}`, and writes are not paused before it");
                Breach::at(last, message, "put a `writes.pause` above it")
            })
        })
        .collect()
}
