//! Against a sandbox in which another hand is at work, and against scripted answers of operations that go wrong.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde_json::{Value, json};

use super::super::testing::{Bench, SandboxBench};
use super::super::{Outputs, RecordedEffect};
use super::*;
use crate::azure::testing::{Answer, Script, azure};

const COMPUTE: &str = "/subscriptions/00000000-0000-0000-0000-00000000c0de/resourceGroups/rg-crm-source/providers/Microsoft.Compute";

fn old() -> ResourceId {
    ResourceId::parse(&format!("{COMPUTE}/virtualMachines/crm-old")).expect("an id")
}

fn with(until: &str) -> Value {
    json!({ "machines": [old()], "until": until, "approval": "sign-off" })
}

/// A step whose deletion is signed off.
fn bench(sandbox: &SandboxBench, until: &str) -> Bench {
    let mut bench = sandbox.step("decommission", &with(until));
    let approval = json!({
        "id": "sign-off", "stage": "release", "uses": "approval", "with": {}, "after": [],
        "retry": { "attempts": 1, "backoff": 0.0 }, "class": "check", "repeat": "repeatable",
        "undo": "leaves_in_place", "source": ["runbook.yaml", 1],
    });
    bench.plan_step(serde_json::from_value(approval).expect("a step"));
    let answered = (StepId::new("sign-off"), Outputs::default());
    bench.cx.outputs = Arc::new(BTreeMap::from([answered]));
    bench
}

/// Another hand starts, stops or deletes something.
async fn another_hand(bench: &Bench, verb: &str, id: &ResourceId) {
    let (azure, permit) = (&bench.cx.world.azure, EffectPermit::for_test(verb));
    let mut wait = bench.cx.wait();
    let accepted = match verb {
        "delete" => azure.delete_compute(&mut wait, &permit, id).await,
        power => azure.set_power(&mut wait, &permit, id, power).await,
    };
    azure.finish_compute(&mut wait, accepted.expect("accepted"), id).await.expect("done");
}

async fn power(bench: &Bench) -> Option<Power> {
    let found = bench.cx.world.azure.virtual_machine(&mut bench.cx.wait(), &old()).await;
    found.expect("read").map(|machine| machine.power)
}

#[tokio::test]
async fn what_an_earlier_attempt_proved_is_read_again_before_anything_is_deleted() {
    let sandbox = SandboxBench::start().await;
    let snapshot =
        ResourceId::parse(&format!("{COMPUTE}/snapshots/crm-old-disk-retired")).expect("an id");
    let keeping = bench(&sandbox, "snapshot");
    keeping.perform().await.expect("stopped and kept");
    let mut deleting = bench(&sandbox, "deleted");
    deleting.effects = keeping.effects;
    deleting.next_attempt();
    another_hand(&deleting, "start", &old()).await;
    let error = deleting.perform().await.expect_err("it runs again");
    assert_eq!((error.class, error.code.as_str()), (FailureClass::Refused, "MIG0463"), "{error}");
    assert!(error.known.contains("crm-old is not deallocated"), "{error}");
    another_hand(&deleting, "deallocate", &old()).await;
    another_hand(&deleting, "delete", &snapshot).await;
    let error = deleting.perform().await.expect_err("nothing is kept");
    assert!(error.known.contains("crm-old-disk-retired is not complete"), "{error}");
    assert_eq!(power(&deleting).await, Some(Power::Deallocated), "and it is still there");
}

#[tokio::test]
async fn a_rollback_leaves_a_machine_that_did_not_run_before_as_it_is() {
    let sandbox = SandboxBench::start().await;
    let bench = bench(&sandbox, "deallocated");
    another_hand(&bench, "deallocate", &old()).await;
    bench.perform().await.expect("it stands still already");
    another_hand(&bench, "start", &old()).await;
    bench.undo(&bench.effects.recorded()[0]).await.expect("nothing to take back");
    assert_eq!(power(&bench).await, Some(Power::Running));
}

fn ok(body: &Value) -> Answer {
    Answer::json(200, body)
}

fn machine(power: &str) -> [Answer; 2] {
    let view = json!({ "statuses": [{ "code": format!("PowerState/{power}") }] });
    [ok(&json!({ "id": old(), "properties": { "provisioningState": "Succeeded" } })), ok(&view)]
}

const OPERATION: &str = "https://management.azure.com/subscriptions/s/providers/Microsoft.Compute/locations/w/operations/1?api-version=2024-07-01";

fn failed() -> Answer {
    ok(
        &json!({ "status": "Failed", "error": { "code": "OSProvisioningTimedOut", "message": "no" } }),
    )
}

fn scripted(answers: impl IntoIterator<Item = Answer>) -> Bench {
    let mut bench = Bench::new("decommission", &json!({ "machines": [old()] }), &json!({}));
    bench.connect(|clock| azure(&Script::new(answers), clock));
    bench
}

#[tokio::test]
async fn a_machine_of_which_nobody_knows_whether_it_runs_is_left_alone() {
    let bench = scripted(machine("starting"));
    let error = bench.perform().await.expect_err("refused");
    assert_eq!((error.class, error.code.as_str()), (FailureClass::Refused, "MIG0464"), "{error}");
    assert!(bench.effects.recorded().is_empty());
}

#[tokio::test]
async fn an_accepted_operation_that_failed_is_settled_by_what_the_machine_shows() {
    let accepted = Answer::json(202, &Value::Null).with("azure-asyncoperation", OPERATION);
    let begun =
        machine("running").into_iter().chain(machine("running")).chain([accepted, failed()]);
    let bench = scripted(begun);
    let error = bench.perform().await.expect_err("it failed");
    assert_eq!(error.code, "MIG0111", "{error}");
    let effect: RecordedEffect = bench.effects.recorded().remove(0);
    assert!(
        !effect.done
            && effect.sent.is_some()
            && bench.effects.why_not(&effect.intent.key).is_none()
    );
    for (power, wanted) in [("running", "NotDone"), ("stopped", "Unknown"), ("deallocated", "Done")]
    {
        let looks = (0..2).flat_map(|_| machine(power));
        let bench = scripted([failed()].into_iter().chain(looks));
        let verdict = bench.step().probe(&bench.cx, &effect).await;
        assert_eq!(format!("{:?}", verdict.answered()), wanted, "{power}: {verdict:?}");
    }
}
