//! Runbooks from text to plan, with the small catalogue of [`super::testing`].

use std::fmt::Write as _;

use proptest::prelude::*;
use serde_json::json;

use super::testing::{plan, prepared};
use crate::diagnostic::Severity;

/// A runbook with workloads `a` and `b` and these steps in `prepare`.
fn with_steps(steps: &str) -> String {
    format!(
        "migrate: 1\nwave: w\nworkloads: {{a: {{owner: x}}, b: {{owner: y}}}}\nstages:\n  prepare:\n{steps}"
    )
}

fn errors(text: &str, others: &[(&str, &str)]) -> Vec<String> {
    let found = prepared(text, others).found;
    let errors = found.iter().filter(|it| it.severity == Severity::Error);
    errors.map(|it| format!("{}: {}", it.code, it.message)).collect()
}

fn ids(plan: &super::Plan) -> Vec<&str> {
    plan.steps.iter().map(|step| step.id.as_str()).collect()
}

#[test]
fn a_step_for_each_workload_sees_its_own() {
    let plan = plan(&with_steps(
        "    - {id: tell, uses: note, each: workload, with: {text: '{{ workload.name }} of {{ workload.owner }}'}}\n    - {id: end, uses: note}\n",
    ));
    assert_eq!(ids(&plan), ["tell[a]", "tell[b]", "end"]);
    assert_eq!(plan.steps[0].with, json!({ "text": "a of x" }));
    assert_eq!(plan.steps[1].with, json!({ "text": "b of y" }));
    assert_eq!(plan.steps[2].after, [0, 1]);
}

#[test]
fn outputs_of_the_own_lane_are_reached_by_plain_id() {
    let text = "    - {id: lag, uses: lag, each: workload}\n    - {id: go, uses: note, each: workload, with: {text: '{{ steps.lag.seconds }}'}}\n";
    assert_eq!(ids(&plan(&with_steps(text))).len(), 4);
    let outside = format!(
        "{text}    - {{id: end, uses: note, with: {{text: '{{{{ steps.lag.seconds }}}}'}}}}\n"
    );
    assert_eq!(errors(&with_steps(&outside), &[]), ["RB020: there is no step `lag`"]);
    let other = "    - {id: lag, uses: lag, workload: a}\n    - {id: go, uses: note, workload: b, with: {text: '{{ steps.lag.seconds }}'}}\n";
    assert_eq!(
        errors(&with_steps(other), &[]),
        ["RB020: `lag` has not surely ended when this step starts"]
    );
    let told = other.replace("workload: b,", "workload: b, after: [lag],");
    assert_eq!(errors(&with_steps(&told), &[]), Vec::<String>::new());
}

#[test]
fn a_value_known_only_later_fits_every_type() {
    let text = "    - {id: lag, uses: lag}\n    - {id: go, uses: note, with: {number: '{{ steps.lag.seconds }}', text: 5}}\n";
    assert_eq!(errors(&with_steps(text), &[]), ["RB005: expected text, found the number 5"]);
}

#[test]
fn a_single_expression_keeps_the_type_of_its_value() {
    let text = "migrate: 1\nwave: w\nvars: {n: 3, l: [x, y]}\nstages:\n  prepare:\n    - {id: a, uses: note, with: {number: '{{ vars.n }}', list: '{{ vars.l }}'}}\n";
    assert_eq!(plan(text).steps[0].with, json!({ "number": 3, "list": ["x", "y"] }));
}

const FRAGMENT: &str = "vars: {who: null, n: 1}\nsteps:\n  - {id: tell, uses: note, with: {text: '{{ vars.who }}', number: '{{ vars.n }}'}}\n  - {id: lag, uses: lag}\n  - {id: go, uses: note, with: {text: '{{ vars.who }} {{ steps.lag.seconds }}'}}\n";

#[test]
fn fragments_have_their_own_names_and_values() {
    let text = with_steps(
        "    - {id: one, uses: ./f/x.yaml, with: {who: '{{ wave }}'}}\n    - {id: two, uses: ./f/x.yaml, each: workload, with: {who: '{{ workload.name }}', n: 7}}\n    - {id: end, uses: note, after: [one]}\n",
    );
    let prepared = prepared(&text, &[("f/x.yaml", FRAGMENT)]);
    let plan = prepared.plan.unwrap_or_else(|| panic!("{:#?}", prepared.found));
    assert_eq!(ids(&plan)[..3], ["one/tell", "one/lag", "one/go"]);
    assert_eq!(plan.steps[0].with, json!({ "text": "w", "number": 1 }));
    assert_eq!(plan.steps[0].source, ("f/x.yaml".to_owned(), 3));
    assert_eq!(plan.steps[2].vars["who"], json!("w"));
    let second = plan.steps.iter().find(|step| step.id.as_str() == "two/tell[b]").expect("a step");
    assert_eq!(second.with, json!({ "text": "b", "number": 7 }));
}

#[test]
fn mistakes_in_fragments_name_both_places_once() {
    let text = with_steps("    - {id: one, uses: ./f.yaml, each: workload}\n");
    let found = prepared(&text, &[("f.yaml", "- {id: a, uses: note, with: {txt: x}}\n")]).found;
    let error = found.iter().find(|it| it.code == "RB004").expect("the mistake");
    assert_eq!(found.iter().filter(|it| it.code == "RB004").count(), 1);
    assert_eq!(error.place.as_ref().map(|it| (it.file.as_str(), it.line)), Some(("f.yaml", 1)));
    assert_eq!(error.related[0].0.file, "w.yaml");
    let endless = errors(
        &with_steps("    - {id: a, uses: ./f.yaml}\n"),
        &[("f.yaml", "- {id: a, uses: ./f.yaml}\n")],
    );
    assert_eq!(endless, ["RB021: fragments include each other more than 4 deep"]);
}

#[test]
fn workloads_come_from_an_inventory() {
    let text = "migrate: 1\nwave: w\nworkloads: {from: inv.csv}\nstages:\n  prepare:\n    - {id: t, uses: note, each: workload, with: {text: '{{ workload.host }}'}}\n";
    let csv = "name,strategy,owner,host\ncrm,near-zero-downtime,x,h1\nshop,planned-downtime,y,h2\n";
    let prepared = prepared(text, &[("inv.csv", csv)]);
    let plan = prepared.plan.unwrap_or_else(|| panic!("{:#?}", prepared.found));
    assert_eq!(ids(&plan), ["t[crm]", "t[shop]"]);
    assert_eq!(plan.steps[1].with, json!({ "text": "h2" }));
}

#[test]
fn the_window_gates_release_actions_up_to_the_last_switch() {
    let text = "migrate: 1\nwave: w\nstages:\n  prepare:\n    - {id: a, uses: note}\n  release:\n    - {id: b, uses: pause}\n    - {id: c, uses: lag}\n    - {id: d, uses: switch}\n    - {id: e, uses: resume}\n";
    let gated: Vec<bool> = plan(text).steps.iter().map(|step| step.in_window).collect();
    assert_eq!(gated, [false, true, false, true, false]);
}

#[test]
fn the_fingerprint_changes_with_the_plan_and_with_nothing_else() {
    let text = with_steps("    - {id: a, uses: note}\n");
    let same =
        format!("# a comment\n{}", text.replace("{id: a, uses: note}", "{uses: note, id: a}"));
    let other = text.replace("id: a", "id: b");
    let print = |text: &str| {
        let mut plan = plan(text);
        plan.steps.iter_mut().for_each(|step| step.source.1 = 0);
        plan.fingerprint()
    };
    assert_eq!(print(&text), print(&same));
    assert_ne!(print(&text), print(&other));
}

#[test]
fn ten_thousand_steps_are_planned_with_a_few_edges_each() {
    let mut text = "migrate: 1\nwave: w\nworkloads:\n".to_owned();
    for n in 0..200 {
        let _ = writeln!(text, "  w{n}: {{owner: x}}");
    }
    text.push_str("stages:\n  deploy:\n");
    for n in 0..50 {
        let _ = writeln!(
            text,
            "    - {{id: s{n}, uses: note, each: workload, with: {{text: '{{{{ workload.name }}}}'}}}}"
        );
    }
    let plan = plan(&text);
    assert_eq!(plan.steps.len(), 10_000);
    assert!(plan.steps.iter().map(|step| step.after.len()).sum::<usize>() < 10_000);
}

proptest! {
    #[test]
    fn no_text_makes_the_reader_panic(text in "\\PC{0,200}") {
        prepared(&text, &[]);
    }

    #[test]
    fn no_bytes_in_a_step_make_the_reader_panic(
        parts in proptest::collection::vec(
            prop_oneof![
                Just("- "), Just("id: a"), Just("uses: note"), Just("\n      "), Just("\n    - "), Just("{{ "), Just(" }}"), Just("steps"),
                Just("['"), Just("."), Just("with: {"), Just("}"), Just("["), Just("]"), Just(": "), Just("&a "), Just("*a"),
                Just("!!str "), Just("'"), Just("\""), Just("|\n"), Just("# "), Just("each: workload"), Just("after: [a]"), Just("ä"),
                Just("when: "), Just("{%"), Just("\t"), Just("? "), Just("<<: "), Just("---\n"), Just("secrets: "), Just("\u{0}")
            ],
            0..40,
        )
    ) {
        let text = with_steps(&format!("    - {}", parts.concat()));
        let prepared = prepared(&text, &[]);
        for found in &prepared.found {
            crate::diagnostic::render::Renderer::new(&prepared.sources, false).one(found);
        }
    }
}

#[test]
fn a_kind_is_asked_only_once_every_value_is_known() {
    let known = with_steps("    - {id: it, uses: note, with: {number: 13}}\n");
    assert_eq!(errors(&known, &[]), ["RB029: 13 brings bad luck"]);
    let later = with_steps(
        "    - {id: lag, uses: lag}\n    - {id: it, uses: note, with: {number: 13, text: '{{ steps.lag.seconds }}'}}\n",
    );
    assert_eq!(errors(&later, &[]), Vec::<String>::new());
}
