//! A day of real load is watched before the wave counts as done.

use super::{Breach, Rule, Severity, View};
use crate::plan::{Role, Span};

/// The rule.
pub(super) const RULE: Rule = Rule {
    code: "CAF008",
    title: "stabilization lasts at least 24 h",
    what: "A `monitor` of at least 24 h follows each traffic switch.",
    why: "CAF, Migrate, Execute migration: watch the workload for 24 to 48 hours after the cutover, a full \
          business cycle, with the source kept as fallback.",
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
    let day = Span::hours(24);
    let long = |at: usize| {
        let written = view.step(at).with["for"].as_str();
        // A duration that an expression decides is not known yet and gets the benefit of the doubt.
        written.is_none_or(|text| text.parse::<Span>().map_or(true, |span| span >= day))
    };
    view.all(Role::SwitchesTraffic)
        .iter()
        .filter_map(|&switch| {
            let mut watches = view.concerning(Role::Stabilizes, switch).filter(|&it| view.before(switch, it)).peekable();
            let id = &view.step(switch).id;
            let message = if watches.peek().is_none() {
                format!("nothing watches the workload after `{id}`")
            } else if watches.any(long) {
                return None;
            } else {
                format!("the workload is watched for less than 24 h after `{id}`")
            };
            Some(Breach::at(switch, message, "put a `monitor` with `for: 24h` below it"))
        })
        .collect()
}
