//! YAML: a runbook with the files it names, and a sandbox's scenario.

use std::collections::BTreeMap;

use migrate::diagnostic::render::Renderer;
use migrate::plan::prepare;
use migrate::sandbox::Scenario;
use migrate::steps::CATALOGUE;

/// What starts a further file inside an input: `#file inventory.csv`.
const FILE: &str = "#file ";

/// All that `validate` does: read, plan, check, and show what was found.
pub(crate) fn any(input: &[u8]) {
    let Ok(text) = std::str::from_utf8(input) else { return };
    let mut name = "wave.yaml";
    let mut files = BTreeMap::from([(name.to_owned(), String::new())]);
    for line in text.split_inclusive('\n') {
        if let Some(next) = line.strip_prefix(FILE) {
            name = next.trim();
            files.entry(name.to_owned()).or_default();
        } else if let Some(file) = files.get_mut(name) {
            file.push_str(line);
        }
    }
    let prepared = prepare("wave.yaml", &files, CATALOGUE);
    if let Some(plan) = &prepared.plan {
        plan.fingerprint();
    }
    Renderer::new(&prepared.sources, false).all(&prepared.found);
    assert!(
        prepared.plan.is_some() || !prepared.found.is_empty(),
        "a runbook that can not be planned, and not a word why"
    );
}

/// A scenario file.
pub(crate) fn scenario(input: &[u8]) {
    let Ok(text) = std::str::from_utf8(input) else { return };
    drop(Scenario::parse("scenario.yaml", text));
}
