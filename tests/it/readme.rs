//! The README lists what the program has: every step kind as its specification says, every exit code.

use migrate::cli::Exit;
use migrate::plan::Class;
use migrate::run::{Repeat, Undo};
use migrate::steps::KINDS;

const README: &str = include_str!("../../README.md");

fn missing(rows: impl IntoIterator<Item = String>) -> Vec<String> {
    rows.into_iter().filter(|row| !README.lines().any(|line| line == row)).collect()
}

#[test]
fn every_step_kind_stands_in_it_with_its_classes() {
    let rows = KINDS.iter().map(|kind| {
        let spec = &kind.spec;
        let (repeat, undo) = match (spec.class, spec.repeat, spec.undo) {
            (Class::Check, ..) => ("reads only", "reads only"),
            (Class::Action, repeat, undo) => (
                match repeat {
                    Repeat::Guarded => "guarded",
                    Repeat::Repeatable => "repeatable",
                    Repeat::Ask => "ask",
                },
                match undo {
                    Undo::Restores => "restores",
                    Undo::LeavesInPlace => "leaves in place",
                    Undo::Irreversible => "irreversible",
                },
            ),
        };
        format!("| `{}` | {} | {repeat} | {undo} |", spec.name, spec.summary)
    });
    assert_eq!(missing(rows), [] as [String; 0]);
}

#[test]
fn every_exit_code_stands_in_it() {
    let rows = Exit::ALL.iter().map(|(exit, means)| format!("| {} | {means} |", exit.code()));
    assert_eq!(missing(rows), [] as [String; 0]);
}

#[test]
fn every_direct_dependency_stands_in_it() {
    let manifest = include_str!("../../Cargo.toml");
    let (_, after) = manifest.split_once("[dependencies]").expect("dependencies");
    let (listed, _) = after.split_once("[profile").expect("profiles follow");
    let names = listed.lines().filter_map(|line| line.split_once(" = ").map(|(name, _)| name));
    let table: Vec<_> = README.lines().filter(|line| line.starts_with("| ")).collect();
    let is_named = |name: &str| {
        let name = if name == "azure_core_legacy" { "azure_core" } else { name };
        table
            .iter()
            .any(|line| line.split(|c: char| " |,;*:()".contains(c)).any(|word| word == name))
    };
    let unnamed: Vec<_> = names.filter(|name| !is_named(name)).collect();
    assert_eq!(unnamed, [] as [&str; 0]);
}
