//! The runbooks that come with the program are right, look as they are meant to when planned, and their schema is one.

use std::path::Path;

use migrate::steps::KINDS;
use serde_json::Value;

use crate::lab::{Lab, SMALL};

/// Every runbook of a folder, as it is named on a command line.
fn in_folder(folder: &str) -> Vec<String> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(folder);
    let mut names: Vec<String> = std::fs::read_dir(path)
        .expect("a folder")
        .map(|entry| entry.expect("an entry").file_name().to_string_lossy().into_owned())
        // A scenario lies beside its runbook and is none.
        .filter_map(|name| Some(name.strip_suffix(".yaml")?.to_owned()))
        .filter(|name| !name.ends_with(".scenario"))
        .map(|name| format!("{folder}/{name}.yaml"))
        .collect();
    names.sort();
    names
}

#[test]
fn every_runbook_validates_and_plans() {
    let lab = Lab::new(SMALL);
    for name in in_folder("runbooks").iter().chain(&in_folder("examples/steps")) {
        lab.migrate(["validate", name]).expect(0);
        let plan = lab.migrate(["plan", name, "--json"]).expect(0).stdout();
        let lines: Vec<Value> =
            plan.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect();
        assert!(lines[0]["fingerprint"].is_string(), "{name}: {}", lines[0]);
        assert_eq!(lines[0]["steps"], lines.len() - 1, "{name}");
    }
}

#[test]
fn the_waves_keep_the_rules() {
    let lab = Lab::new(SMALL);
    for name in in_folder("runbooks") {
        lab.migrate(["validate", "--strict", &name]).expect(0);
    }
}

#[test]
fn each_example_belongs_to_a_kind() {
    let kinds = KINDS.iter().map(|kind| format!("examples/steps/{}.yaml", kind.spec.name));
    let mut kinds: Vec<String> = kinds.collect();
    kinds.sort();
    assert_eq!(in_folder("examples/steps"), kinds);
}

#[test]
fn the_plan_of_a_wave_shows_order_changes_and_the_way_back() {
    let lab = Lab::new(SMALL);
    let plan = |more: &[&str]| {
        lab.migrate(["plan", "runbooks/wave-1.yaml"].iter().chain(more)).expect(0).stdout()
    };
    // A fingerprint holds the lines that steps stand at; what a comment moves is no other plan to look at.
    let filters = [(r"plan [0-9a-f]{64}", "plan FINGERPRINT")];
    insta::with_settings!({ snapshot_path => "snapshots/plans", prepend_module_to_snapshot => false, filters => filters }, {
        insta::assert_snapshot!("wave-1", plan(&[]));
        insta::assert_snapshot!("wave-1-graph", plan(&["--graph"]));
    });
}

/// Every `$ref` below a value.
fn references(value: &Value, found: &mut Vec<String>) {
    match value {
        Value::Object(entries) => {
            for (key, value) in entries {
                match value.as_str().filter(|_| key == "$ref") {
                    Some(reference) => found.push(reference.to_owned()),
                    None => references(value, found),
                }
            }
        }
        Value::Array(items) => items.iter().for_each(|item| references(item, found)),
        _ => {}
    }
}

#[test]
fn the_schema_holds_together_and_knows_every_kind() {
    let lab = Lab::new(SMALL);
    let text = lab.migrate(["schema"]).expect(0).stdout();
    let schema: Value = serde_json::from_str(&text).expect("JSON");
    assert_eq!(schema["$schema"], "https://json-schema.org/draft/2020-12/schema");
    let mut found = Vec::new();
    references(&schema, &mut found);
    assert!(found.len() > KINDS.len());
    for reference in found {
        let pointer = reference.strip_prefix('#').expect("nothing is fetched");
        assert!(schema.pointer(pointer).is_some(), "{reference} leads nowhere");
    }
    for kind in KINDS {
        let with = &schema["$defs"][format!("with.{}", kind.spec.name)];
        assert!(with.is_object(), "{} has no parameters in the schema", kind.spec.name);
    }
}
