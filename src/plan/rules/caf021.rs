//! A freeze does not lock what the run itself changes.

use super::{Breach, Rule, Severity, View};
use crate::plan::{PlannedStep, Role};

/// The rule.
pub(super) const RULE: Rule = Rule {
    code: "CAF021",
    title: "a read-only lock covers nothing that the run changes",
    what: "No step changes resources of a group or subscription while a `freeze.begin` of the same run locks it read-only.",
    why: "CAF, Migrate, Prepare: freeze the source, and test the way through it. Azure answers every change below a \
          `ReadOnly` lock with 409 ScopeLocked, this run's own cutover included: the night ends at the switch.",
    example: "migrate: 1
wave: w
azure: { subscription: 00000000-0000-0000-0000-00000000c0de, resource_group: rg-dns }
stages:
  prepare:
    - id: freeze
      uses: freeze.begin
      with: { locks: [{ scope: rg-dns, level: read-only }] }
  release:
    - id: switch
      uses: dns.cutover
      with: { zone: contoso.example, record: crm, type: CNAME, value: crm-target.contoso.example }
",
    severity: Severity::Error,
    check,
};

/// Kinds that change resources of the group they name, or of the runbook's own.
const CHANGES_ITS_GROUP: [&str; 4] = ["azure.deploy", "dns.cutover", "dns.ttl", "traffic.shift"];

fn check(view: &View<'_>) -> Vec<Breach> {
    let mut breaches = Vec::new();
    for &freeze in view.all(Role::Freezes) {
        let locked: Vec<_> = read_only_scopes(view.step(freeze)).collect();
        for (at, step) in view.plan.steps.iter().enumerate() {
            let Some(group) = changed_group(view, step) else { continue };
            let covered = locked.iter().any(|scope| covers(scope, group));
            if covered && view.before(freeze, at) && !is_ended(view, freeze, at) {
                let message = format!(
                    "`{}` changes {group}, which `{}` has locked read-only",
                    step.id,
                    view.step(freeze).id
                );
                let hint = "lock what the wave leaves, not what it changes; or use `can-not-delete`";
                breaches.push(Breach::at(at, message, hint));
            }
        }
    }
    breaches
}

fn read_only_scopes(freeze: &PlannedStep) -> impl Iterator<Item = &str> {
    let locks = freeze.with["locks"].as_array().map(Vec::as_slice).unwrap_or_default();
    let read_only = locks.iter().filter(|lock| lock["level"] == "read-only");
    read_only.filter_map(|lock| lock["scope"].as_str())
}

fn changed_group<'p>(view: &View<'p>, step: &'p PlannedStep) -> Option<&'p str> {
    if !CHANGES_ITS_GROUP.contains(&step.uses.as_str()) || step.with["system"].is_string() {
        return None;
    }
    let default = || view.plan.azure.as_ref()?.resource_group.as_deref();
    step.with["resource_group"].as_str().or_else(default)
}

/// Whether a lock at that scope, a name or an id, is above the whole group.
fn covers(scope: &str, group: &str) -> bool {
    let scope = scope.trim_matches('/').to_ascii_lowercase();
    let parts: Vec<_> = scope.split('/').collect();
    match parts[..] {
        ["subscription"] | ["subscriptions", _] => true,
        [name] | ["subscriptions", _, "resourcegroups", name] => name.eq_ignore_ascii_case(group),
        _ => false,
    }
}

/// Whether the freeze has ended when that step starts.
fn is_ended(view: &View<'_>, freeze: usize, step: usize) -> bool {
    let ends = view.all(Role::Unfreezes).iter();
    ends.copied().any(|end| view.before(freeze, end) && view.before(end, step))
}

#[cfg(test)]
mod tests {
    use super::covers;

    #[test]
    fn a_lock_covers_its_group_by_name_or_id_and_a_subscription_every_group() {
        for scope in [
            "rg-dns",
            "RG-DNS",
            "/subscriptions/s/resourceGroups/rg-dns",
            "subscription",
            "/subscriptions/s",
        ] {
            assert!(covers(scope, "rg-dns"), "{scope}");
        }
        let one = "/subscriptions/s/resourceGroups/rg-dns/providers/Microsoft.Network/dnsZones/z";
        for scope in ["rg-crm", one] {
            assert!(!covers(scope, "rg-dns"), "{scope}");
        }
    }
}
