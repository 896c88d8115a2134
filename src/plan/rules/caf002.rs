//! Nobody is sent to data that was not compared.

use super::{Breach, Rule, Severity, View};
use crate::plan::Role;

/// The rule.
pub(super) const RULE: Rule = Rule {
    code: "CAF002",
    title: "content is compared between the final sync and the switch",
    what: "Between the last copy and the traffic switch stands a step that compares source and target by \
          content. The last copy of a replicated database is its `writes.pause` with `until`. A sample \
          (`sample_percent`) is no such step.",
    why: "CAF, Migrate, Execute migration: validate data by row counts and hashes before traffic moves. \
          After the switch a difference is found by customers.",
    example: "migrate: 1
wave: w
azure: { subscription: 00000000-0000-0000-0000-00000000c0de, resource_group: rg-dns }
systems:
  source: { folder: source/crm/share }
  target: { folder: target/crm/share }
  app: { http: \"http://crm-source.contoso.example\" }
stages:
  release:
    - id: pause
      uses: writes.pause
      with: { system: app }
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
            let replicated = view.concerning(Role::PausesWrites, switch).filter(|&it| ends_replication(view, it));
            let copies = view.concerning(Role::Syncs, switch).chain(replicated);
            let last = copies.filter(|&copy| view.before(copy, switch)).max()?;
            let between: Vec<usize> = view
                .concerning(Role::VerifiesData, switch)
                .filter(|&check| view.before(last, check) && view.before(check, switch))
                .collect();
            let (sync, id) = (&view.step(last).id, &view.step(switch).id);
            match between.iter().find(|&&check| is_sample(view, check)) {
                _ if between.iter().any(|&check| !is_sample(view, check)) => None,
                Some(&check) => {
                    let sampled = &view.step(check).id;
                    let message = format!("only a sample of the data is compared between `{sync}` and `{id}`");
                    let hint = format!("leave `sample_percent` out of `{sampled}`, or compare all in another step");
                    Some(Breach::at(switch, message, hint))
                }
                None => {
                    let message = format!("nothing compares the data between `{sync}` and `{id}`");
                    let hint = "put a `verify.files` or `verify.tables` between them";
                    Some(Breach::at(switch, message, hint))
                }
            }
        })
        .collect()
}

/// Such a pause ends when everything is at the target.
fn ends_replication(view: &View<'_>, pause: usize) -> bool {
    !view.step(pause).with["until"].is_null()
}

/// What was not drawn may differ.
fn is_sample(view: &View<'_>, check: usize) -> bool {
    !view.step(check).with["sample_percent"].is_null()
}
