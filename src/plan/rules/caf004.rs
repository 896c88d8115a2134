//! People hear of a freeze before they run into it.

use super::{Breach, Rule, Severity, View};
use crate::plan::Role;

/// The rule.
pub(super) const RULE: Rule = Rule {
    code: "CAF004",
    title: "people are told before the freeze",
    what: "A `notify` stands before each `freeze.begin`.",
    why: "CAF, Migrate, Prepare: announce the change freeze to everybody who could change the source. A lock \
          that comes unannounced is taken for a fault.",
    example: "migrate: 1
wave: w
stages:
  prepare:
    - id: freeze
      uses: freeze.begin
      with: { locks: [{ scope: rg-crm-source, level: read-only }] }
",
    severity: Severity::Warning,
    check,
};

fn check(view: &View<'_>) -> Vec<Breach> {
    view.all(Role::Freezes)
        .iter()
        .filter(|&&freeze| !view.has_before(Role::Notifies, freeze))
        .map(|&freeze| {
            let message = format!("nobody is told before the freeze `{}`", view.step(freeze).id);
            Breach::at(freeze, message, "put a `notify` above it")
        })
        .collect()
}
