//! The pure core against a small world: random plans, outcomes, people and crashes; the promises asserted at every step.
#![expect(clippy::print_stdout, reason = "figures")]

mod coverage;
mod model;
mod script;
mod stops;
mod world;

use proptest::prelude::*;
use proptest::strategy::ValueTree as _;
use proptest::test_runner::{Config, RngAlgorithm, TestRng, TestRunner};

use super::*;
use coverage::Coverage;
use script::{Script, script};
use world::World;

/// Cases of each test: the short form, or what `tests/soak simulation` asks for.
fn cases() -> u32 {
    match std::env::var("MIGRATE_SOAK") {
        Err(_) => 1_500,
        Ok(text) => text.parse().unwrap_or(200_000),
    }
}

/// What the journal claims is what is there.
fn compare(world: &World) {
    for step in &world.state.plan().steps {
        for key in ["k0", "k1"] {
            let there = world.made.contains(&(step.id.clone(), key.to_owned()));
            let claimed = world.model.in_place(&step.id, key);
            assert!(
                claimed.is_none_or(|claimed| claimed == there),
                "{} {key}: the journal says {claimed:?}, the target {there}",
                step.id
            );
        }
    }
}

fn forward(script: Script) -> World {
    let mut world = World::new(script);
    world.forward();
    compare(&world);
    let ended = match finish(&world.state) {
        Finish::Completed => Some(Ending::Completed),
        Finish::RolledBack => Some(Ending::RolledBack),
        Finish::RollbackIncomplete => Some(Ending::RollbackIncomplete),
        _ => None,
    };
    assert_eq!(ended, world.state.ended, "the word for the end is the end");
    world
}

fn there_and_back(script: Script) -> World {
    let mut world = forward(script);
    world.back();
    compare(&world);
    if world.state.ended == Some(Ending::RolledBack) {
        for step in world.state.plan().steps.iter().filter(|it| it.undo == Undo::Restores) {
            let left = world.made.iter().find(|(of, _)| *of == step.id);
            assert!(left.is_none(), "rolled back, and {left:?} is still there");
        }
    }
    world
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(cases()))]

    #[test]
    fn no_interruption_does_a_thing_twice_or_loses_one(script in script()) {
        forward(script);
    }

    #[test]
    fn a_rollback_leaves_the_world_as_it_was(script in script()) {
        there_and_back(script);
    }
}

/// The same scripts every time, until every row was taken: a row that nothing reaches is a failure and not bad luck.
#[test]
fn every_row_of_both_tables_is_taken() {
    const SCRIPTS: usize = 20_000;
    let rng = TestRng::deterministic_rng(RngAlgorithm::ChaCha);
    let mut runner = TestRunner::new_with_rng(Config::default(), rng);
    let mut coverage = Coverage::default();
    let mut scripts = 0;
    while scripts < SCRIPTS && !coverage.is_complete() {
        let tree = script().new_tree(&mut runner).expect("a script");
        coverage.join(&there_and_back(tree.current()).coverage);
        scripts += 1;
    }
    let [transitions, recoveries] = coverage.count();
    println!(
        "simulation: {} cases of each property; after {scripts} scripts, transitions {} of {}, recoveries {} of {}",
        cases(),
        transitions.0,
        transitions.1,
        recoveries.0,
        recoveries.1
    );
    assert_eq!(coverage.never_taken(), (Vec::new(), Vec::new()), "rows that were never taken");
}
