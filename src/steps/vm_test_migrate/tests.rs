//! A service that says one thing and shows another.

use serde_json::{Value, json};

use super::super::testing::Bench;
use super::*;
use crate::azure::testing::{Answer, Script, azure};
use crate::run::Sent;

const OPERATION: &str = "https://management.azure.com/subscriptions/s/vaults/v/replicationOperationStatus/a93f?api-version=2024-04-01";
const TEST_MACHINE: &str =
    "/subscriptions/s/resourceGroups/rg/providers/Microsoft.Compute/virtualMachines/crm-web-test";

fn ok(body: &Value) -> Answer {
    Answer::json(200, body)
}

fn item(test_state: &str) -> Answer {
    ok(
        &json!({ "name": "crm-web", "properties": { "migrationState": "Replicating", "testMigrateState": test_state } }),
    )
}

fn vm(power: &str) -> [Answer; 2] {
    let view = json!({ "statuses": [{ "code": format!("PowerState/{power}") }] });
    [
        ok(&json!({ "id": TEST_MACHINE, "properties": { "provisioningState": "Succeeded" } })),
        ok(&view),
    ]
}

/// A step whose test machine an earlier attempt made.
fn bench(answers: impl IntoIterator<Item = Answer>) -> Bench {
    let machine = json!({ "vault": "v", "fabric": "f", "container": "c", "item": "crm-web" });
    let with = json!({ "machine": machine, "network": "vnet-test" });
    let mut bench = Bench::new("vm.test_migrate", &with, &json!({}));
    let made = Ended {
        machine: Some(TEST_MACHINE.to_owned()),
        ..Ended::by_state(JobEnd::Succeeded, "Replicating")
    };
    let classes = (Repeat::Guarded, Undo::Restores);
    bench.cx.recorded = vec![RecordedEffect {
        intent: Intent::new(key(TEST, 1), "crm-web", TEST, classes, Value::Null, Value::Null),
        sent: None,
        observed: Some(json!(made)),
        done: true,
    }];
    bench.connect(|clock| azure(&Script::new(answers), clock));
    bench
}

/// What a clean-up meets that ends as a success.
fn cleaned(after: &str, machine: impl IntoIterator<Item = Answer>) -> Vec<Answer> {
    let accepted = Answer::json(202, &Value::Null).with("azure-asyncoperation", OPERATION);
    let job = ok(
        &json!({ "name": "a93f", "properties": { "state": "Succeeded", "tasks": [], "errors": [] } }),
    );
    let before = [item("TestMigrationSucceeded"), accepted, job, item(after), item(after)];
    before.into_iter().chain(machine).collect()
}

#[tokio::test]
async fn a_clean_up_that_says_it_is_done_is_believed_only_when_the_machine_is_gone() {
    let cases = [
        (cleaned("None", vm("running")), "can still be found"),
        (cleaned("TestMigrationSucceeded", vm("running")), "its test is TestMigrationSucceeded"),
    ];
    for (answers, why) in cases {
        let bench = bench(vm("running").into_iter().chain(answers));
        let error = bench.perform().await.expect_err("not gone");
        assert_eq!(error.code, "MIG0443", "{error}");
        assert!(error.causes[0].contains(why), "{error}");
        assert!(bench.effects.why_not("clean-up:1").is_some(), "not called done");
    }
    let gone = cleaned("None", [Answer::json(404, &Value::Null)]);
    let outcome = bench(vm("running").into_iter().chain(gone)).perform().await.expect("gone");
    let verdicts: Vec<_> = outcome.evidence.iter().map(|it| it.verdict.as_str()).collect();
    assert_eq!(verdicts, ["succeeded", "running", "gone"]);
}

#[tokio::test]
async fn a_test_machine_that_does_not_run_fails_the_test_once_it_is_deleted() {
    let looks = (0..61).flat_map(|_| vm("stopped"));
    let mut bench = bench(looks.chain(cleaned("None", [Answer::json(404, &Value::Null)])));
    let error = bench.perform().await.expect_err("it does not run");
    assert_eq!(error.code, "MIG0443", "{error}");
    let made = bench.cx.recorded.remove(0);
    bench.next_attempt();
    bench.cx.recorded.insert(0, made);
    assert_eq!(number(&bench.cx.recorded), 2, "the next try is another test");
}

/// A clean-up that is under way.
fn under_way(link: Option<&str>) -> RecordedEffect {
    let before = json!({ "test_state": "TestMigrationSucceeded", "machine": TEST_MACHINE });
    let classes = (Repeat::Repeatable, Undo::LeavesInPlace);
    let sent = Sent { operation_url: link.map(str::to_owned), request_id: None };
    RecordedEffect {
        intent: Intent::new(key(CLEAN_UP, 1), "crm-web", CLEAN_UP, classes, before, Value::Null),
        sent: Some(sent),
        observed: None,
        done: false,
    }
}

fn job(state: &str) -> Answer {
    ok(&json!({ "name": "a93f", "properties": { "state": state, "tasks": [], "errors": [] } }))
}

#[tokio::test]
async fn a_clean_up_whose_end_can_not_be_read_stays_in_doubt_and_is_settled_by_what_is_left() {
    let ended = cleaned("None", []).into_iter().take(4);
    let silence = (0..6).map(|_| Answer::NoConnection);
    let bench = bench(vm("running").into_iter().chain(ended).chain(silence));
    let error = bench.perform().await.expect_err("unread");
    assert_eq!(error.code, "MIG0104", "{error}");
    assert!(error.known.contains("could not be read"), "{error}");
    let effect = bench.effects.recorded().remove(0);
    assert!(!effect.done && bench.effects.why_not("clean-up:1").is_none(), "{effect:?}");
    let gone = || vec![item("None"), item("None"), Answer::json(404, &Value::Null)];
    let still = [item("None"), item("None")].into_iter().chain(vm("running")).collect();
    for (answers, expected) in [(gone(), true), (still, false)] {
        let bench = self::bench([job("Succeeded")].into_iter().chain(answers));
        let verdict = bench.step().probe(&bench.cx, &under_way(Some(OPERATION))).await;
        assert_eq!(matches!(verdict, Verdict::Done { .. }), expected, "{verdict:?}");
        assert_eq!(verdict == Verdict::NotDone, !expected, "{verdict:?}");
    }
}

#[tokio::test]
async fn an_accepted_operation_without_a_link_is_followed_by_the_job_of_the_item() {
    let accepted = || Answer::json(202, &Value::Null);
    let busy = ok(&json!({ "name": "crm-web", "properties": {
        "testMigrateState": "TestMigrationCleanupInProgress",
        "currentJob": { "jobName": "clean-up", "jobId": "/subscriptions/s/vaults/v/replicationJobs/a93f" } } }));
    let follows = [busy, job("InProgress"), job("Succeeded"), item("None"), item("None")];
    let answers = [item("TestMigrationSucceeded"), accepted()].into_iter().chain(follows);
    let gone = [Answer::json(404, &Value::Null)];
    let bench = bench(vm("running").into_iter().chain(answers).chain(gone));
    bench.perform().await.expect("cleaned up once its job has ended");

    // An item that tells of no job says nothing about how it ended.
    let answers = [item("TestMigrationSucceeded"), accepted(), item("TestMigrationSucceeded")];
    let bench = self::bench(vm("running").into_iter().chain(answers));
    let error = bench.perform().await.expect_err("nobody knows");
    assert_eq!((error.class, error.code.as_str()), (FailureClass::Unknown, "MIG0105"), "{error}");
    let effect = &bench.effects.recorded()[0];
    assert!(!effect.done && bench.effects.why_not("clean-up:1").is_none(), "{effect:?}");
}

#[tokio::test]
async fn a_job_that_a_later_process_followed_says_as_much_as_one_that_was_awaited() {
    let bench = bench([job("Failed"), item("TestMigrationFailed")]);
    let classes = (Repeat::Guarded, Undo::Restores);
    let intent = Intent::new(key(TEST, 1), "crm-web", TEST, classes, Value::Null, Value::Null);
    let effect = RecordedEffect { intent, ..under_way(Some(OPERATION)) };
    let Verdict::Done { observed } = bench.step().probe(&bench.cx, &effect).await else {
        panic!("the job tells");
    };
    let ended = Ended::of(&observed);
    assert_eq!((ended.end, ended.state.as_str()), (Some(JobEnd::Failed), "Replicating"));
}

#[tokio::test]
async fn without_a_record_of_the_job_the_item_tells() {
    let cases = [
        ("TestMigrationSucceeded", Some(true)),
        ("TestMigrationFailed", Some(false)),
        ("None", None),
    ];
    for (state, expected) in cases {
        let bench = bench([item(state)]);
        let before = json!({ "last_test": null });
        let classes = (Repeat::Guarded, Undo::Restores);
        let effect = RecordedEffect {
            intent: Intent::new(key(TEST, 1), "crm-web", TEST, classes, before, Value::Null),
            sent: None,
            observed: None,
            done: false,
        };
        let verdict = bench.step().probe(&bench.cx, &effect).await;
        let well = match &verdict {
            Verdict::Done { observed } => Some(Ended::of(observed).well()),
            _ => None,
        };
        assert_eq!(well, expected, "{state}: {verdict:?}");
        assert_eq!(expected.is_none(), verdict == Verdict::NotDone, "{state}: {verdict:?}");
    }
}
