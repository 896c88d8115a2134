//! What whole runs of the program say to the sandbox, and what it answers: every request is a listed operation as its
//! file describes it, every answer is one of that operation's.

use std::fs;
use std::path::Path;

use migrate::sandbox::exchanges;

use super::answered::is_only_in_runs;
use super::judge::{Findings, Listed};
use super::openapi::Files;
use super::table::ROWS;
use crate::lab::Lab;
use crate::{names, trails};

/// As small as a world can be, with every exchange kept.
const KEEPING: &str = "
estate: { seed: 7, workloads: [crm, shop], files: 6, orders: 8 }
writer: { orders: 2, pause_ms: 1 }
exchanges: true
";

/// Runbooks that speak to Azure.
fn runbooks() -> Vec<String> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut found = Vec::new();
    for folder in ["examples/steps", "runbooks"] {
        for entry in fs::read_dir(root.join(folder)).expect("a folder") {
            let path = entry.expect("an entry").path();
            let is_runbook = path.extension().is_some_and(|it| it == "yaml")
                && path.with_extension("").extension().is_none_or(|it| it != "scenario");
            if is_runbook && fs::read_to_string(&path).expect("a text").contains("\nazure:") {
                let name = path.file_name().expect("a name").to_string_lossy().into_owned();
                found.push(format!("{folder}/{name}"));
            }
        }
    }
    found.sort();
    found
}

#[test]
fn every_exchange_of_every_runbook_is_as_the_files_say() {
    let Some(files) = Files::given() else { return };
    let listed = Listed::new(&files, &[]);
    let mut findings = Findings::default();
    let runbooks = runbooks();
    assert!(runbooks.len() > 8, "only {runbooks:?}");
    for runbook in &runbooks {
        // A wave with a scenario of its own ends as that says; what is said meanwhile is what counts here.
        let own = fs::read_to_string(runbook.replace(".yaml", ".scenario.yaml")).ok();
        let lab = Lab::new(
            &own.as_ref().map_or(KEEPING.to_owned(), |it| format!("{it}exchanges: true\n")),
        );
        let ended = lab.run(runbook, &[]);
        assert!(own.is_some() || ended.code() == Some(0), "{}", ended.said());
        let kept = exchanges::read(&lab.sandbox_dir()).expect("exchanges");
        listed.judge(&kept, &mut findings);
        if runbook == "runbooks/wave-1.yaml" {
            lab.migrate(["rollback", &lab.run_id(), "--yes"]);
            let after = exchanges::read(&lab.sandbox_dir()).expect("exchanges");
            assert!(after.len() > kept.len(), "a rollback speaks to Azure, too");
            listed.judge(&after, &mut findings);
        }
    }
    for (lab, runbook) in [private_names(), trails()] {
        lab.run(&runbook, &[]).expect(0);
        lab.migrate(["rollback", &lab.run_id(), "--yes"]);
        listed.judge(&exchanges::read(&lab.sandbox_dir()).expect("exchanges"), &mut findings);
    }
    println!(
        "{} exchanges of {} runbooks, operations: {:?}",
        findings.exchanges,
        runbooks.len(),
        findings.met.iter().map(|(_, id)| id).collect::<Vec<_>>()
    );
    let wrong: Vec<_> = findings.client.iter().chain(&findings.sandbox).cloned().collect();
    assert!(wrong.is_empty(), "{} mismatches\n{}", wrong.len(), wrong.join("\n"));
    let met = |spec: &str, id: &str| findings.met.contains(&(spec.to_owned(), id.to_owned()));
    let relied_on = ROWS.iter().filter(|row| is_only_in_runs(row.id));
    let silent: Vec<_> = relied_on.filter(|row| !met(row.spec, row.id)).map(|row| row.id).collect();
    assert!(silent.is_empty(), "answered nowhere: {silent:?}");
}

/// A name of a private zone that moves and comes back.
fn private_names() -> (Lab, String) {
    let lab = Lab::new(&format!("{}exchanges: true\n", names::PRIVATE));
    let runbook = names::private(&lab, "");
    (lab, runbook)
}

/// Everything that can trail.
fn trails() -> (Lab, String) {
    let lab = Lab::new(&format!("{}exchanges: true\n", trails::scenario("")));
    let runbook = lab.write("trails.yaml", &trails::runbook(&trails::RESOURCES));
    (lab, runbook)
}
