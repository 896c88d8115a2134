//! The house keeps its shape: imports point one way, step kinds do not know each other, the core does no I/O.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

/// What each part may import of the others. A part that is not named here may be imported by nobody.
const MAY_IMPORT: &[(&str, &[&str])] = &[
    ("clock", &[]),
    ("crash", &[]),
    ("run", &["clock", "plan"]),
    ("plan", &["clock", "diagnostic", "run", "runbook"]),
    ("runbook", &["diagnostic", "plan", "run"]),
    ("diagnostic", &["crash", "plan", "run"]),
    ("journal", &["crash", "run"]),
    ("process", &["crash", "diagnostic", "journal", "run"]),
    ("http", &["clock", "diagnostic", "journal", "run", "dns"]),
    ("azure", &["clock", "diagnostic", "http", "journal", "plan", "run"]),
    ("dns", &["azure", "clock", "crash", "diagnostic", "http", "journal", "plan", "run"]),
    ("files", &["clock", "crash", "diagnostic", "journal", "plan", "run"]),
    ("database", &["clock", "diagnostic", "journal", "plan", "run"]),
    (
        "freeze",
        &[
            "azure",
            "clock",
            "database",
            "diagnostic",
            "dns",
            "files",
            "http",
            "journal",
            "plan",
            "process",
            "run",
        ],
    ),
    (
        "steps",
        &[
            "azure",
            "clock",
            "crash",
            "database",
            "diagnostic",
            "dns",
            "files",
            "freeze",
            "http",
            "journal",
            "plan",
            "process",
            "run",
        ],
    ),
    ("engine", &["clock", "diagnostic", "journal", "plan", "run", "steps"]),
    ("report", &["clock", "diagnostic", "engine", "journal", "plan", "run", "steps"]),
    (
        "rehearsal",
        &[
            "azure", "clock", "crash", "http", "journal", "plan", "report", "run", "sandbox",
            "steps",
        ],
    ),
    ("sandbox", &["clock", "crash", "dns", "files", "plan", "run"]),
];

/// Parts that are pure: no clock, no file, no socket, no process.
const PURE: &[&str] = &["run", "plan", "runbook"];
const IMPURE: &[&str] = &[
    "std::fs",
    "std::net",
    "std::process",
    "std::env",
    "std::time::SystemTime",
    "std::time::Instant",
    "Timestamp::now",
    "tokio::",
    "reqwest::",
];

fn source() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("src")
}

/// Every source file below `src` that is part of the program, with its text up to its tests.
fn files() -> Vec<(PathBuf, String)> {
    fn walk(dir: &Path, found: &mut Vec<(PathBuf, String)>) {
        let mut entries: Vec<_> = fs::read_dir(dir)
            .expect("a folder")
            .map(|entry| entry.expect("an entry").path())
            .collect();
        entries.sort();
        for path in entries {
            let name = path.file_name().expect("a name").to_string_lossy().into_owned();
            if path.is_dir() {
                if name != "tests" {
                    walk(&path, found);
                }
            } else if path.extension().is_some_and(|it| it == "rs")
                && name != "tests.rs"
                && name != "testing.rs"
            {
                let text = fs::read_to_string(&path).expect("a text");
                let program = text.split("#[cfg(test)]\nmod tests {").next().expect("a part");
                found.push((path, program.to_owned()));
            }
        }
    }
    let mut found = Vec::new();
    walk(&source(), &mut found);
    assert!(found.len() > 50, "only {} files: is this the source tree?", found.len());
    found
}

/// The part of the house a file belongs to: `steps` for `src/steps/notify.rs`.
fn part(path: &Path) -> String {
    let inside = path.strip_prefix(source()).expect("below src");
    let first = inside.iter().next().expect("a component").to_string_lossy();
    first.trim_end_matches(".rs").to_owned()
}

/// Code lines only: what stands in comments is not an import.
fn code(text: &str) -> impl Iterator<Item = (usize, &str)> {
    text.lines()
        .enumerate()
        .map(|(at, line)| (at + 1, line.trim_start()))
        .filter(|(_, line)| !line.starts_with("//"))
}

fn imported(line: &str) -> impl Iterator<Item = &str> {
    line.split("crate::").skip(1).map(|rest| {
        let end = rest.find(|c: char| !(c.is_alphanumeric() || c == '_')).unwrap_or(rest.len());
        &rest[..end]
    })
}

#[test]
fn imports_point_one_way() {
    let table: BTreeMap<&str, BTreeSet<&str>> =
        MAY_IMPORT.iter().map(|(part, may)| (*part, may.iter().copied().collect())).collect();
    let mut wrong = Vec::new();
    for (path, text) in files() {
        let own = part(&path);
        if ["cli", "lib", "main"].contains(&own.as_str()) {
            continue;
        }
        let Some(may) = table.get(own.as_str()) else {
            wrong.push(format!("{}: `{own}` has no row in the table", path.display()));
            continue;
        };
        for (number, line) in code(&text) {
            for other in imported(line).filter(|other| *other != own) {
                if !may.contains(other) && source_part(other) {
                    wrong.push(format!("{}:{number}: `{own}` imports `{other}`", path.display()));
                }
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

fn source_part(name: &str) -> bool {
    source().join(name).is_dir() || source().join(format!("{name}.rs")).is_file()
}

#[test]
fn step_kinds_do_not_know_each_other() {
    let kinds: BTreeSet<String> =
        migrate::steps::KINDS.iter().map(|kind| kind.spec.name.replace('.', "_")).collect();
    for (path, text) in files().into_iter().filter(|(path, _)| part(path) == "steps") {
        let own = path.file_stem().expect("a name").to_string_lossy().into_owned();
        if own == "mod" {
            continue;
        }
        for (number, line) in code(&text) {
            for kind in kinds.iter().filter(|kind| **kind != own) {
                let named = [format!("super::{kind}::"), format!("steps::{kind}::")];
                assert!(
                    !named.iter().any(|name| line.contains(name)),
                    "{}:{number}: knows `{kind}`",
                    path.display()
                );
            }
        }
    }
}

#[test]
fn every_kind_has_a_file_of_its_name_and_is_in_the_list() {
    let listed: BTreeSet<_> = migrate::steps::KINDS
        .iter()
        .map(|kind| source().join("steps").join(kind.spec.name.replace('.', "_")))
        .map(|path| path.with_extension("rs"))
        .collect();
    let written: BTreeSet<_> = files()
        .into_iter()
        .filter(|(_, text)| text.contains("\npub const KIND: Kind"))
        .map(|(path, _)| path)
        .collect();
    assert_eq!(listed, written);
}

#[test]
fn the_core_does_no_io_and_reads_no_clock() {
    for (path, text) in files().into_iter().filter(|(path, _)| PURE.contains(&&*part(path))) {
        for (number, line) in code(&text) {
            for impure in IMPURE {
                assert!(!line.contains(impure), "{}:{number}: {impure}", path.display());
            }
        }
    }
}

#[test]
fn every_file_says_why_it_exists() {
    for (path, text) in files() {
        assert!(text.starts_with("//!"), "{} does not begin with its purpose", path.display());
    }
}
