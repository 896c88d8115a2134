//! Against scripted answers of operations that go wrong.

use serde_json::{Value, json};

use super::super::RecordedEffect;
use super::super::testing::Bench;
use super::*;
use crate::azure::testing::{Answer, Script, azure};

const COMPUTE: &str = "/subscriptions/00000000-0000-0000-0000-00000000c0de/resourceGroups/rg-crm-source/providers/Microsoft.Compute";

fn old() -> ResourceId {
    ResourceId::parse(&format!("{COMPUTE}/virtualMachines/crm-old")).expect("an id")
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
    ok(&json!({ "status": "Failed", "error": { "code": "OSProvisioningTimedOut", "message": "no" } }))
}

fn scripted(answers: impl IntoIterator<Item = Answer>) -> Bench {
    let mut bench = Bench::new("decommission", &json!({ "machines": [old()] }), &json!({}));
    bench.connect(|clock| azure(&Script::new(answers), clock));
    bench
}

#[tokio::test]
async fn an_accepted_operation_that_failed_is_settled_by_what_the_machine_shows() {
    let accepted = Answer::json(202, &Value::Null).with("azure-asyncoperation", OPERATION);
    let begun = machine("running").into_iter().chain(machine("running")).chain([accepted, failed()]);
    let bench = scripted(begun);
    let error = bench.perform().await.expect_err("it failed");
    assert_eq!(error.code, "MIG0111", "{error}");
    let effect: RecordedEffect = bench.effects.recorded().remove(0);
    assert!(!effect.done && effect.sent.is_some() && bench.effects.why_not(&effect.intent.key).is_none());
    for (power, wanted) in [("running", "NotDone"), ("stopped", "Unknown"), ("deallocated", "Done")] {
        let looks = (0..2).flat_map(|_| machine(power));
        let bench = scripted([failed()].into_iter().chain(looks));
        let verdict = bench.step().probe(&bench.cx, &effect).await;
        assert_eq!(format!("{:?}", verdict.answered()), wanted, "{power}: {verdict:?}");
    }
}
