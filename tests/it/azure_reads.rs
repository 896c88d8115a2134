//! What is read from Azure before and after a cutover, through the program: metrics, rights, health. Silence opens nothing.

use migrate::sandbox::ledger;

use crate::lab::Lab;

const TINY: &str = "
estate: { seed: 7, workloads: [crm, shop], files: 4, orders: 4 }
writer: { orders: 1, pause_ms: 1 }
";

/// The scenario with one metric of the target, by (seconds, value).
fn errors(points: &str) -> Lab {
    Lab::new(&format!(
        "{TINY}metrics: [{{ resource: Microsoft.Web/sites/crm-target, metric: Http5xx, points: {points} }}]\n"
    ))
}

const MONITOR: &str = "examples/steps/monitor.yaml";

#[test]
fn a_metric_that_goes_bad_ends_the_watch_as_failed() {
    let lab = errors("[[0, 0.0], [7200, 0.0], [7260, 40.0]]");
    let said = lab.run(MONITOR, &[]).expect(7).said();
    for words in ["MIG0431", "Http5xx of crm-target", "failed 3 times in a row"] {
        assert!(said.contains(words), "{words}: {said}");
    }
}

#[test]
fn minutes_without_a_value_are_inconclusive_and_never_healthy() {
    let lab = errors("[[0, 0.0], [7200, null]]");
    let said = lab.run(MONITOR, &[]).expect(4).said();
    assert!(said.contains("MIG0432") && said.contains("could not be compared 10 times"), "{said}");
    // A hole that heals leaves less than what a success needs.
    let lab = errors("[[0, 0.0], [7200, null], [9000, 0.0]]");
    let said = lab.run(MONITOR, &[]).expect(4).said();
    assert!(said.contains("missing of 288"), "{said}");
    // A metric that nobody keeps is no zero either.
    let lab = errors("[]");
    lab.run(MONITOR, &[]).expect(4);
}

#[test]
fn a_failed_metric_triggers_the_rollback_where_the_runbook_says_so() {
    let lab = errors("[[0, 0.0], [600, 0.0], [660, 40.0]]");
    let shift = std::fs::read_to_string("examples/steps/traffic.shift.yaml").expect("an example");
    let watch = "
    - id: watch
      uses: monitor
      on_failure: rollback
      with:
        for: 2h
        every: 5m
        metrics:
          - { resource: Microsoft.Web/sites/crm-target, metric: Http5xx, max: 10 }
";
    let runbook = lab.write("rollback.yaml", &format!("{shift}{watch}"));
    let said = lab.run(&runbook, &[]).expect(8).said();
    assert!(said.contains("MIG0431"), "{said}");
    let world = lab.world().resources;
    let target = world.iter().find(|(id, _)| id.ends_with("externalendpoints/target"));
    assert_eq!(target.expect("an endpoint").1["endpointStatus"], "Disabled");
}

#[test]
fn a_watch_killed_in_the_middle_goes_on_with_the_readings_it_had() {
    let lab = errors("[[0, 0.0]]");
    let killed = lab.run(MONITOR, &["--die-at", "after-call:400"]);
    assert_eq!(killed.code(), None, "{}", killed.said());
    let log = || {
        let path = lab.run_dir().join("progress/monitor-stabilize.jsonl");
        std::fs::read_to_string(path).expect("a log").matches("\"read\"").count()
    };
    let before = log();
    assert!(before > 100, "{before} readings before it was killed");
    lab.migrate(["resume"]).expect(0);
    // Three signals, every five minutes of a day; none twice.
    assert_eq!(log(), 3 * 288);
}

#[test]
fn the_gate_of_a_shift_heeds_a_metric() {
    let lab = errors("[[0, 0.0], [600, 0.0], [660, 40.0]]");
    let shift = std::fs::read_to_string("tests/it/runbooks/shift.yaml").expect("a runbook");
    let gate = "hold_for: 6m
          metrics: [{ resource: Microsoft.Web/sites/crm-target, metric: Http5xx, max: 10 }]";
    let runbook = lab.write("metric.yaml", &shift.replace("hold_for: 2m", gate));
    let said = lab.run(&runbook, &[]).expect(7).said();
    assert!(said.contains("MIG0232") && said.contains("Http5xx of crm-target"), "{said}");
}

#[test]
fn a_missing_right_is_named_before_anything_is_written() {
    let lab = Lab::new(&format!(
        "{TINY}roles: [{{ role: Reader }}, {{ role: DNS Zone Contributor, group: rg-dns }}]\n"
    ));
    let said = lab.run("examples/steps/azure.permissions.yaml", &[]).expect(4).said();
    assert!(
        said.contains("MIG0121")
            && said.contains("no role grants Microsoft.Authorization/locks/write"),
        "{said}"
    );
    assert!(
        said.contains("externalEndpoints/write")
            && !said.contains("grants Microsoft.Network/dnsZones"),
        "{said}"
    );
    assert!(said.contains("Reader at /subscriptions/"), "it says what there is: {said}");

    for kind in ["traffic.shift", "freeze.begin"] {
        let lab = Lab::new(&format!("{TINY}roles: [{{ role: Reader }}]\n"));
        let said = lab.run(&format!("examples/steps/{kind}.yaml"), &[]).expect(4).said();
        assert!(said.contains("MIG0121"), "{kind}: {said}");
        let entries = ledger::read(&lab.sandbox_dir()).expect("a ledger");
        let wrote = entries
            .iter()
            .any(|it| it.is_mutating_request() && it.path.starts_with("/subscriptions"));
        assert!(!wrote, "{kind}");
    }
}

#[test]
fn a_deny_assignment_outweighs_every_role() {
    let lab = Lab::new(&format!(
        "{TINY}denies: [{{ name: stack, group: rg-dns, actions: ['*/write'] }}]\n"
    ));
    let said = lab.run("examples/steps/azure.permissions.yaml", &[]).expect(4).said();
    assert!(said.contains("denied") && said.contains("`stack`"), "{said}");
}

#[test]
fn what_azure_does_not_know_is_waited_for_and_never_taken_for_health() {
    let health = |states: &str| {
        let profile = "Microsoft.Network/trafficManagerProfiles/crm";
        Lab::new(&format!("{TINY}health: [{{ resource: {profile}, states: {states} }}]\n"))
    };
    let example = "examples/steps/azure.health.yaml";
    health("[[0, Unknown], [300, Available]]").run(example, &[]).expect(0);
    for state in ["Unknown", "Degraded", "Unavailable"] {
        let said = health(&format!("[[0, {state}]]")).run(example, &[]).expect(4).said();
        assert!(said.contains("MIG0122"), "{state}: {said}");
    }
    let event = "service_events: [{ id: XY-1, type: ServiceIssue, title: Names fail, service: Azure DNS, region: Global }]\n";
    let said = Lab::new(&format!("{TINY}{event}")).run(example, &[]).expect(4).said();
    assert!(said.contains("ServiceIssue XY-1: Names fail"), "{said}");
}
