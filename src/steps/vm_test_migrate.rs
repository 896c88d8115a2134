//! `vm.test_migrate`: makes a test machine out of a replica, sees it run, deletes it again and proves that it is gone.
//!
//! The clean-up is an effect of its own, also after a test that failed: nothing is left that costs money or answers to
//! the name of the source. The source and its replication are not touched.

use async_trait::async_trait;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::machine::{
    Carried, Ended, Gate, Machine, WorstHealth, carry_out, check, name_of, running, settle,
};
use super::{
    Change, Evidence, FailureClass, Granted, Kind, Outcome, PerformCx, Preview, Step, StepCx,
    StepError,
};
use crate::azure::{ArmError, JobEnd, Power, ReplicationItem, ResourceId, TestMachine, Wait};
use crate::plan::{Class, KindSpec, Role, Span};
use crate::run::{Intent, RecordedEffect, Repeat, Undo, Verdict};

/// Parameters of `vm.test_migrate`.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct With {
    /// The replicating machine.
    pub machine: Machine,
    /// Virtual network for the test machine: an ARM id, or a name in the runbook's resource group. Take one from which
    /// nobody reaches production.
    pub network: String,
    /// Oldest recovery point to test. Default 1h.
    #[serde(default = "one_hour")]
    pub max_lag: Span,
    /// Worst health of the replication that is good enough. Default normal.
    #[serde(default)]
    pub health: WorstHealth,
    /// How long the test machine may take to run once its job has ended. Default 10m.
    #[serde(default = "ten_minutes")]
    pub runs_within: Span,
}

const fn ten_minutes() -> Span {
    Span::minutes(10)
}
const fn one_hour() -> Span {
    Span::hours(1)
}

const DOCS: &str = "\
Asks Azure Migrate for a test machine in `network`, follows the job, sees the machine run, deletes it by a clean-up job and \
proves that it is gone: the item has no test any more, and the virtual machine can not be found.\n\n\
It refuses (exit 4, nothing changed) unless the service lists `TestMigrate` under `allowedOperations`, the replication is as \
healthy as `health` asks and the last recovery point is at most `max_lag` old. A recovery point that is missing, of the year \
0001 or in the future is unknown, and unknown refuses. A test machine of somebody else's is left alone: the service does not \
allow a second one.\n\n\
A test that fails is cleaned up as well, then the step fails; `migrate resume` makes a new test. A rollback deletes what is \
left of a test.\n\n\
Needs `…/replicationMigrationItems/testMigrate/action` and `testMigrateCleanup/action`, and the right to read jobs and virtual \
machines. Outputs: `job`.";

/// The kind.
pub const KIND: Kind = Kind {
    spec: KindSpec {
        name: "vm.test_migrate",
        summary: "Test-migrate a replicating machine and clean up",
        docs: DOCS,
        example: include_str!("../../examples/steps/vm.test_migrate.yaml"),
        class: Class::Action,
        repeat: Repeat::Repeatable,
        undo: Undo::LeavesInPlace,
        roles: &[Role::Custom],
        outputs: &["job"],
        open_outputs: false,
        schema: || schemars::schema_for!(With),
        check: super::check::<With>,
        describe: |with| {
            let text = |value: &Value| value.as_str().unwrap_or("?").to_owned();
            let (item, network) = (text(&with["machine"]["item"]), text(&with["network"]));
            vec![
                format!("test machine of {item} in {}", name_of(&network)),
                "delete it again".to_owned(),
            ]
        },
    },
    build: |with| Ok(Box::new(super::read::<With>(with)?)),
};

const TEST: &str = "test-migrate";
const CLEAN_UP: &str = "clean-up";
/// Starts the key of an undo.
const UNDO: &str = "undo:";

/// Key of the n-th test or clean-up.
fn key(verb: &str, number: usize) -> String {
    format!("{verb}:{number}")
}

/// Azure Migrate adds `-test` to the name.
fn test_machine(item: &ReplicationItem) -> Option<ResourceId> {
    let id = item.target_machine.as_ref()?;
    ResourceId::parse(&format!("{id}-test")).ok()
}

/// The record of an effect that is done.
fn done<'a>(recorded: &'a [RecordedEffect], key: &str) -> Option<&'a RecordedEffect> {
    recorded.iter().find(|effect| effect.done && effect.intent.key == key)
}

fn ended(effect: &RecordedEffect) -> Ended {
    Ended::of(effect.observed.as_ref().unwrap_or(&Value::Null))
}

/// The number of the test under way: one that failed and was cleaned up is over.
fn number(recorded: &[RecordedEffect]) -> usize {
    let over = |number: &usize| {
        let (test, clean_up) = (key(TEST, *number), key(CLEAN_UP, *number));
        let failed = done(recorded, &test).is_some_and(|test| !ended(test).well());
        done(recorded, &clean_up)
            .is_some_and(|it| failed || Seen::of(&it.intent.after) == Seen::NotRunning)
    };
    1 + (1..=recorded.len()).take_while(over).count()
}

/// What was seen of the test machine before it was deleted. It stands in the intent of the clean-up, so that a later
/// attempt knows it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
enum Seen {
    /// Nobody looked: the test had failed before.
    #[default]
    Nothing,
    /// It ran.
    Running,
    /// It was there and did not run in time.
    NotRunning,
    /// It was not found where it was looked for, or the item does not say where to look.
    NotFound,
}

impl Seen {
    fn of(after: &Value) -> Self {
        Self::deserialize(&after["seen"]).unwrap_or_default()
    }

    fn evidence(self, name: &str) -> Option<Evidence> {
        let (verdict, holds) = match self {
            Self::Nothing => return None,
            Self::Running => ("running", true),
            Self::NotRunning => ("not running", false),
            Self::NotFound => ("not compared", false),
        };
        let (check, verdict) = ("test machine".to_owned(), verdict.to_owned());
        Some(Evidence { check, verdict, detail: name.to_owned(), holds })
    }
}

/// One clean-up.
struct CleanUp {
    key: String,
    /// Id of the test machine, where it is known.
    machine: Option<String>,
    seen: Seen,
}

impl With {
    fn attempted(&self) -> String {
        format!("test-migrate {}", self.machine.item)
    }

    fn gate(&self) -> Gate {
        Gate { operation: "TestMigrate", max_lag: self.max_lag, health: self.health, tested: false }
    }

    /// Makes the test machine, unless an earlier attempt did.
    async fn test(&self, cx: &mut PerformCx<'_>, number: usize) -> Result<Ended, StepError> {
        let (attempted, read, key) = (self.attempted(), cx.read, key(TEST, number));
        if let Some(made) = done(&read.recorded, &key) {
            return Ok(ended(made));
        }
        let item = self.machine.read(read, &mut cx.wait(), &attempted).await?;
        check(&self.gate().readings(&item, read.clock().now()), &attempted)?;
        let refused = |error: ArmError| error.into_step_error(&attempted, "nothing was changed");
        let network = read.world.azure.named("Microsoft.Network/virtualNetworks", &self.network);
        let network = network.map_err(refused)?.to_string();
        let test = TestMachine { recovery_point: self.point(cx, &item).await?, network };
        let stands = |state: &str, network: Option<&str>| json!({ "test_state": state, "network": network, "last_test": item.last_test });
        let before = stands(&item.test_state, None);
        let after = stands("TestMigrationSucceeded", Some(&test.network));
        let classes = (Repeat::Guarded, Undo::Restores);
        let target = self.machine.target(read, &attempted)?;
        let intent = Intent::new(key, target, TEST, classes, before, after);
        let machine = self.machine.id();
        let carried =
            carry_out(cx, &self.machine, (intent, &attempted, judge_test), async |cx, permit| {
                let azure = cx.read.world.azure.clone();
                azure.test_migrate(&mut cx.wait(), permit, &machine, &test).await
            })
            .await?;
        match carried {
            Carried::Before(ended) => Ok(ended),
            Carried::Now(permit, mut ended) => {
                ended.machine = test_machine(&item).map(|id| id.to_string());
                cx.effects.done(permit, json!(ended)).await?;
                Ok(ended)
            }
        }
    }

    /// The newest recovery point: the one whose age the gate has looked at.
    async fn point(
        &self,
        cx: &mut PerformCx<'_>,
        item: &ReplicationItem,
    ) -> Result<String, StepError> {
        let azure = cx.read.world.azure.clone();
        let found = azure.newest_recovery_point(&mut cx.wait(), &self.machine.id()).await;
        let attempted = self.attempted();
        let found =
            found.map_err(|error| error.into_step_error(&attempted, "nothing was changed"))?;
        found.ok_or_else(|| {
            StepError::new(FailureClass::Refused, "MIG0441", attempted, "nothing was changed")
                .cause(format!("{} has no recovery point", item.name))
                .retryable()
        })
    }

    /// Whether the test machine runs.
    async fn runs(&self, cx: &mut PerformCx<'_>, test: &Ended) -> Result<Seen, StepError> {
        let id = test.machine.as_deref().and_then(|id| ResourceId::parse(id).ok());
        let Some(id) = id else { return Ok(Seen::NotFound) };
        let found = running(cx, &id, (self.runs_within, &self.attempted())).await?;
        Ok(match found.map(|machine| machine.power) {
            None => Seen::NotFound,
            Some(Power::Running) => Seen::Running,
            Some(_) => Seen::NotRunning,
        })
    }

    /// Deletes the test machine and proves that it is gone.
    async fn clean_up(&self, cx: &mut PerformCx<'_>, what: CleanUp) -> Result<(), StepError> {
        let CleanUp { key, machine, seen } = what;
        let attempted = format!("delete the test machine of {}", self.machine.item);
        if done(&cx.read.recorded, &key).is_some() {
            return Ok(());
        }
        let item = self.machine.read(cx.read, &mut cx.wait(), &attempted).await?;
        let target = self.machine.target(cx.read, &attempted)?;
        let classes = (Repeat::Repeatable, Undo::LeavesInPlace);
        let stands = |state: &str, machine: Option<&str>| json!({ "test_state": state, "machine": machine, "seen": seen });
        let (before, after) = (stands(&item.test_state, machine.as_deref()), stands("None", None));
        let intent = Intent::new(key, target, CLEAN_UP, classes, before, after);
        let carried = if item.test_state == "None" {
            // Nothing is left to delete: that is what was wanted.
            match cx.effects.intend(intent).await? {
                Granted::AlreadyDone(_) => return Ok(()),
                Granted::Permit(permit) => {
                    Carried::Now(permit, Ended::by_state(JobEnd::Succeeded, "None"))
                }
            }
        } else {
            let (id, comments) = (self.machine.id(), format!("run {}", cx.read.world.run));
            carry_out(
                cx,
                &self.machine,
                (intent, &attempted, judge_clean_up),
                async |cx, permit| {
                    let azure = cx.read.world.azure.clone();
                    azure.clean_up_test(&mut cx.wait(), permit, &id, &comments).await
                },
            )
            .await?
        };
        let Carried::Now(permit, ended) = carried else { return Ok(()) };
        let still = if ended.well() {
            // Where it can not be read the clean-up stays in doubt, and is settled by the probe.
            let left = self.left(cx.read, &mut cx.wait(), machine.as_deref()).await?;
            let Some(left) = left else { return cx.effects.done(permit, json!(ended)).await };
            let known = "the clean-up job ended well, and the test machine is not gone";
            let error = StepError::new(FailureClass::Failed, "MIG0443", attempted, known);
            error.cause(left).hint("delete it by hand, then `migrate resume`")
        } else {
            let hint = "clean it up in Azure Migrate, or `migrate resume` to try again";
            ended.failure(&attempted, "the test machine is still there").hint(hint)
        };
        cx.effects.not_done(permit, &still.to_string()).await?;
        Err(still)
    }

    /// What the test has shown, once everything of it is gone.
    fn outcome(&self, test: &Ended, seen: Seen) -> Result<Outcome, StepError> {
        let left = "what the test left was deleted; the source and its replication are as before";
        let again = "find out why in Azure Migrate; `migrate resume` makes a new test";
        if !test.well() {
            return Err(test.failure(&self.attempted(), left).hint(again));
        }
        let name = test.machine.as_deref().map(name_of).unwrap_or_default();
        if seen == Seen::NotRunning {
            let error = StepError::new(FailureClass::Failed, "MIG0443", self.attempted(), left);
            let within = self.runs_within;
            return Err(error
                .cause(format!("the test machine {name} did not run within {within}"))
                .hint(again));
        }
        let job = test.job.as_ref().map(|job| job.name.clone());
        let made = Evidence {
            check: format!("test migration of {}", self.machine.item),
            verdict: test.word().to_owned(),
            detail: job.as_ref().map(|job| format!("job {job}")).unwrap_or_default(),
            holds: true,
        };
        let gone = Evidence {
            check: "test machine after clean-up".to_owned(),
            verdict: "gone".to_owned(),
            detail: name.to_owned(),
            holds: true,
        };
        let evidence = [made].into_iter().chain(seen.evidence(name)).chain([gone]).collect();
        Ok(Outcome { outputs: [("job".to_owned(), json!(job))].into(), evidence })
    }

    /// What is left of a test whose clean-up has ended; none when all of it is gone.
    async fn left(
        &self,
        cx: &StepCx,
        wait: &mut Wait<'_>,
        machine: Option<&str>,
    ) -> Result<Option<String>, StepError> {
        let attempted = format!("see that the test machine of {} is gone", self.machine.item);
        let known = "the clean-up has ended; whether the test machine is gone could not be read";
        let unread = |error: ArmError| error.into_step_error(&attempted, known);
        let item = self.machine.read(cx, wait, &attempted).await;
        let item = item.map_err(|error| StepError { known: known.to_owned(), ..error })?;
        if item.test_state != "None" {
            return Ok(Some(format!("its test is {}", item.test_state)));
        }
        let Some(machine) = machine else { return Ok(None) };
        let id = ResourceId::parse(machine).map_err(unread)?;
        let found = cx.world.azure.virtual_machine(wait, &id).await.map_err(unread)?;
        Ok(found.map(|machine| format!("{} can still be found", machine.id)))
    }
}

/// What the item's own state says about a test whose job nobody knows.
fn judge_test(item: &ReplicationItem, before: &Value) -> Verdict {
    let ended = |end| Verdict::Done { observed: json!(Ended::by_state(end, &item.test_state)) };
    match item.test_state.as_str() {
        "TestMigrationSucceeded" => ended(JobEnd::Succeeded),
        "TestMigrationCompletedWithInformation" => ended(JobEnd::WithInformation),
        "TestMigrationPartiallySucceeded" => ended(JobEnd::Partially),
        "TestMigrationFailed" => ended(JobEnd::Failed),
        "None" if json!(item.last_test) == before["last_test"] => Verdict::NotDone,
        state => Verdict::Unknown { evidence: format!("a test was made, and now it is {state}") },
    }
}

/// The same about a clean-up.
fn judge_clean_up(item: &ReplicationItem, _before: &Value) -> Verdict {
    match item.test_state.as_str() {
        "None" => Verdict::Done { observed: json!(Ended::by_state(JobEnd::Succeeded, "None")) },
        _ => Verdict::NotDone,
    }
}

#[async_trait]
impl Step for With {
    async fn preview(&self, cx: &StepCx) -> Result<Preview, StepError> {
        let item = self.machine.read(cx, &mut cx.wait(), &self.attempted()).await?;
        let made = test_machine(&item);
        let made = made.as_ref().map_or("a test machine", |id| name_of(id.as_str()));
        let change = |verb: &str, before: Option<&str>, after: Option<&str>| Change {
            target: format!("test machine of {}", self.machine.item),
            verb: verb.to_owned(),
            before: before.map(str::to_owned),
            after: after.map(str::to_owned),
        };
        let changes = vec![change("create", None, Some(made)), change("delete", Some(made), None)];
        Ok(Preview { changes, readings: self.gate().readings(&item, cx.clock().now()) })
    }

    async fn perform(&self, cx: &mut PerformCx<'_>) -> Result<Outcome, StepError> {
        let number = number(&cx.read.recorded);
        let mut test = self.test(cx, number).await?;
        if test.machine.is_none() {
            let item = self.machine.read(cx.read, &mut cx.wait(), &self.attempted()).await?;
            test.machine = test_machine(&item).map(|id| id.to_string());
        }
        let key = key(CLEAN_UP, number);
        let seen = match done(&cx.read.recorded, &key) {
            Some(cleaned) => Seen::of(&cleaned.intent.after),
            None if test.well() => self.runs(cx, &test).await?,
            None => Seen::Nothing,
        };
        self.clean_up(cx, CleanUp { key, machine: test.machine.clone(), seen }).await?;
        self.outcome(&test, seen)
    }

    async fn probe(&self, cx: &StepCx, effect: &RecordedEffect) -> Verdict {
        if effect.intent.verb == TEST {
            return settle(cx, &self.machine, effect, judge_test).await;
        }
        let observed = match settle(cx, &self.machine, effect, judge_clean_up).await {
            // A clean-up that failed has left the machine where it was.
            Verdict::Done { observed } if !Ended::of(&observed).well() => return Verdict::NotDone,
            Verdict::Done { observed } => observed,
            verdict => return verdict,
        };
        match self.left(cx, &mut cx.wait(), effect.intent.before["machine"].as_str()).await {
            Ok(None) => Verdict::Done { observed },
            Ok(Some(_)) => Verdict::NotDone,
            Err(error) => Verdict::Unknown { evidence: error.to_string() },
        }
    }

    async fn undo(&self, cx: &mut PerformCx<'_>, effect: &RecordedEffect) -> Result<(), StepError> {
        let (key, machine) = (format!("{UNDO}{}", effect.intent.key), ended(effect).machine);
        self.clean_up(cx, CleanUp { key, machine, seen: Seen::Nothing }).await
    }
}

#[cfg(test)]
mod tests;
