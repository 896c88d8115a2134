//! `traffic.shift` through the program: all over, back by itself when the target breaks under its share, killed anywhere.

use std::collections::BTreeMap;

use migrate::sandbox::{WorldSnapshot, ledger};
use serde_json::Value;

use crate::lab::{Lab, cases};

const TINY: &str = "
estate: { seed: 7, workloads: [crm], files: 4, orders: 4 }
writer: { orders: 1, pause_ms: 1 }
";
/// The target answers 503 as soon as more than two fifths of the traffic come to it.
const BREAKS: &str =
    "outages: [{ path: crm@target/, overloaded: { of: crm/target, above_percent: 40 } }]\n";

/// `name weight state` of every endpoint and origin.
fn weights(world: &WorldSnapshot, below: &str) -> Vec<String> {
    let members =
        world.resources.iter().filter(|(id, it)| id.contains(below) && it["weight"].is_u64());
    let shown = members.map(|(id, it)| {
        let state =
            [&it["endpointStatus"], &it["enabledState"]].into_iter().find_map(Value::as_str);
        let name = id.rsplit('/').next().unwrap_or_default();
        format!("{name} {} {}", it["weight"], state.unwrap_or("?"))
    });
    shown.collect()
}

/// Every PATCH, in order: the member and the weight that it left.
fn patches(lab: &Lab) -> Vec<String> {
    let entries = ledger::read(&lab.sandbox_dir()).expect("a ledger").into_iter();
    let patches = entries.filter(|entry| entry.method == "PATCH" && entry.changed);
    let shown = patches.map(|entry| {
        let id = entry.path.to_ascii_lowercase();
        let name = id.rsplit('/').next().unwrap_or_default().to_owned();
        let line = serde_json::to_value(&entry).expect("plain data");
        format!("{name} {}", line["changes"][&id]["properties"]["weight"])
    });
    shown.collect()
}

const AT_FIRST: [&str; 2] = ["source 1000 Enabled", "target 1 Disabled"];
/// There, and back again.
const BACK: [&str; 6] =
    ["target 10", "source 90", "target 50", "source 50", "source 1000", "target 1"];

#[test]
fn all_traffic_goes_over_and_a_rollback_brings_it_back() {
    for (runbook, below) in [("shift", "trafficmanagerprofiles"), ("shift-fd", "microsoft.cdn")] {
        let lab = Lab::new(TINY);
        lab.run(&format!("tests/it/runbooks/{runbook}.yaml"), &[]).expect(0);
        assert_eq!(weights(&lab.world(), below), ["source 50 Disabled", "target 100 Enabled"]);
        assert_eq!(lab.unannounced(), [] as [String; 0]);
        lab.migrate(["rollback", &lab.run_id(), "--yes"]).expect(8);
        assert_eq!(weights(&lab.world(), below), AT_FIRST);
    }
}

#[test]
fn it_goes_back_by_itself_when_the_target_breaks_at_half_of_the_traffic() {
    let lab = Lab::new(&format!("{TINY}{BREAKS}"));
    let ended = lab.run("tests/it/runbooks/shift.yaml", &[]).expect(7);
    let said = ended.said();
    for words in [
        "MIG0232",
        "at 50 %",
        "traffic is back where it was: source weight 1000",
        "migrate rollback",
    ] {
        assert!(said.contains(words), "{words} is not said:\n{said}");
    }
    assert_eq!(weights(&lab.world(), "trafficmanagerprofiles"), AT_FIRST);
    assert_eq!(patches(&lab), BACK);
    // Nothing is left to take back, and a rollback knows.
    lab.migrate(["rollback", &lab.run_id(), "--yes"]).expect(8);
    assert_eq!(patches(&lab), BACK);

    let lab = Lab::new(&format!("{TINY}{}", BREAKS.replace("crm/target", "web/target")));
    lab.run("tests/it/runbooks/shift-fd.yaml", &[]).expect(7);
    assert_eq!(weights(&lab.world(), "microsoft.cdn"), AT_FIRST);
    assert_eq!(patches(&lab), ["target 50", "source 50", "source 1000", "target 1"]);
}

#[test]
fn a_second_try_begins_with_the_first_percent() {
    let lab = Lab::new(&format!("{TINY}{BREAKS}"));
    lab.run("tests/it/runbooks/shift.yaml", &[]).expect(7);
    lab.migrate(["resume"]).expect(7);
    assert_eq!(patches(&lab), [BACK, BACK].concat());
    assert_eq!(weights(&lab.world(), "trafficmanagerprofiles"), AT_FIRST);
}

#[test]
fn it_goes_back_when_it_can_not_tell() {
    let lab = Lab::new(&format!("{TINY}{BREAKS}"));
    let ended = lab.run("tests/it/runbooks/shift-slow.yaml", &[]).expect(4);
    assert!(ended.said().contains("MIG0233"), "{}", ended.said());
    assert_eq!(patches(&lab), BACK);
    assert_eq!(weights(&lab.world(), "trafficmanagerprofiles"), AT_FIRST);
}

/// Seconds from the world's beginning to the n-th PATCH of a member.
fn seconds_to(lab: &Lab, member: &str, nth: usize) -> i64 {
    let entries = ledger::read(&lab.sandbox_dir()).expect("a ledger");
    let began = entries.first().expect("the opening").at;
    let patches = entries.iter().filter(|it| it.method == "PATCH" && it.path.ends_with(member));
    patches.map(|it| it.at.duration_since(began).as_secs()).nth(nth - 1).expect("a PATCH")
}

#[test]
fn a_lost_reply_and_a_service_that_does_not_answer_then_are_not_another_hand() {
    let whole = Lab::new(TINY);
    whole.run("tests/it/runbooks/shift.yaml", &[]).expect(0);
    // A read is given up after 15.5 s: the probe's is, and the next attempt's is answered.
    let until = seconds_to(&whole, "target", 2) + 17;
    let silence = format!(
        "outages: [{{ path: /trafficManagerProfiles/, for_seconds: {until}, overloaded: {{ of: crm/target, above_percent: 30 }} }}]"
    );
    let lost =
        "faults: [{ path: externalEndpoints/target, method: PATCH, nth: 2, fault: reply_lost }]";
    let lab = Lab::new(&format!("{TINY}{silence}\n{lost}\n"));
    lab.run("tests/it/runbooks/shift.yaml", &[]).expect(0);
    let journal = lab.journal().expect("a journal");
    assert!(
        journal.contains("repeating it is harmless"),
        "the probe was to be left without an answer"
    );
    assert_eq!(patches(&lab), patches(&whole));
    assert_eq!(lab.world().resources, whole.world().resources);
    lab.migrate(["rollback", &lab.run_id(), "--yes"]).expect(8);
    assert_eq!(weights(&lab.world(), "trafficmanagerprofiles"), AT_FIRST);
}

/// A target that breaks as [`BREAKS`] says and is well again a second after the gate has shut.
fn breaks_for_a_while() -> String {
    let whole = Lab::new(&format!("{TINY}{BREAKS}"));
    whole.run("tests/it/runbooks/shift.yaml", &[]).expect(7);
    let back = seconds_to(&whole, "source", 3);
    let breaks = BREAKS.replace("{ path", &format!("{{ for_seconds: {}, path", back + 1));
    format!("{TINY}{breaks}")
}

/// Position of the first record that says so, from 1.
fn record(lab: &Lab, words: &[&str]) -> usize {
    let journal = lab.journal().expect("a journal");
    let mut lines = journal.lines();
    1 + lines.position(|line| words.iter().all(|it| line.contains(it))).expect("such a record")
}

#[test]
fn a_gate_that_has_shut_stays_shut_whatever_keeps_the_traffic_from_going_back_at_once() {
    let scenario = breaks_for_a_while();
    let refused = format!(
        "{scenario}faults: [{{ path: externalEndpoints/source, method: PATCH, nth: 3, fault: conflict }}]\n"
    );
    let lab = Lab::new(&refused);
    lab.run("tests/it/runbooks/shift.yaml", &[]).expect(1);
    assert_eq!(patches(&lab), BACK[..4]);
    let said = lab.migrate(["resume"]).expect(7).said();
    assert!(said.contains("failed 3 times in a row at 50 %"), "{said}");
    assert_eq!(patches(&lab), BACK);
    // Killed between the intent of going back and its write.
    let whole = Lab::new(&scenario);
    whole.run("tests/it/runbooks/shift.yaml", &[]).expect(7);
    let intent = record(&whole, &["\"intent\"", "\"back-1/from\""]);
    let killed = Lab::new(&scenario);
    let point = format!("after-record:{intent}");
    assert_eq!(killed.run("tests/it/runbooks/shift.yaml", &["--die-at", &point]).code(), None);
    killed.migrate(["resume"]).expect(7);
    assert_eq!(patches(&killed), BACK);
}

/// Kills the failing shift at a point and takes it up again: the same world, every change as often. False where the run
/// ended before the point.
fn survives(point: &str, scenario: &str, world: &BTreeMap<String, Value>) -> bool {
    let lab = Lab::new(scenario);
    let killed = lab.run("tests/it/runbooks/shift.yaml", &["--die-at", point]);
    if killed.code() == Some(7) {
        return false;
    }
    assert_eq!(killed.code(), None, "not killed {point}: {}", killed.said());
    // Killed before its journal began, it is started again.
    let resumed = if lab.journal().is_some() {
        lab.migrate(["resume"])
    } else {
        lab.forget_runs();
        lab.run("tests/it/runbooks/shift.yaml", &[])
    };
    assert_eq!(resumed.code(), Some(7), "{point}: {}", resumed.said());
    // The last records say how it ended; whoever resumes after them asks for a second try.
    let again = lab.journal().expect("a journal").matches("\"step_failed\"").count() > 1;
    let expected = if again { [BACK, BACK].concat() } else { BACK.to_vec() };
    assert_eq!(patches(&lab), expected, "{point}");
    assert_eq!(lab.world().resources, *world, "{point}");
    assert_eq!(lab.unannounced(), [] as [String; 0], "{point}");
    true
}

#[test]
fn killed_anywhere_while_it_goes_there_and_back_it_ends_the_same() {
    let scenario = format!("{TINY}{BREAKS}");
    let whole = Lab::new(&scenario);
    whole.run("tests/it/runbooks/shift.yaml", &[]).expect(7);
    let (records, world) = (whole.records(), whole.world().resources);
    // The short form takes every k-th point, so that it meets all parts of the way.
    let every = |points: usize| points.div_ceil(cases(6, usize::MAX).min(points));
    for record in (2..=records).step_by(every(records)) {
        assert!(survives(&format!("after-record:{record}"), &scenario, &world), "{record}");
    }
    let mut calls = 0;
    for call in (1..).step_by(every(120)) {
        if !survives(&format!("before-call:{call}"), &scenario, &world) {
            break;
        }
        calls += 1;
    }
    assert!(calls > 0, "no call was met");
    println!("killed after {} records and before {calls} calls", records - 1);
}

#[test]
fn a_dry_run_shows_the_weights_and_writes_nothing() {
    let lab = Lab::new(TINY);
    let dir = lab.path().join("world");
    let ended = lab.dry_run("tests/it/runbooks/shift.yaml", &dir.display().to_string()).expect(0);
    let said = ended.stdout();
    assert!(said.contains("weight 1, disabled"), "{said}");
    assert!(said.contains("weight 10, then weight 50, then weight 100"), "{said}");
    let entries = ledger::read(&dir).expect("a ledger");
    assert!(entries.iter().all(|entry| entry.method != "PATCH"));
}
