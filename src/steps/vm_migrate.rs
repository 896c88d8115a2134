//! `vm.migrate`: a machine that Azure Migrate replicates becomes a virtual machine.
//!
//! It starts only where the service allows it, in good health, from a fresh recovery point, after a successful test. What
//! can not be read refuses. With `shut_down` the source is stopped, and nobody here can start it again: that is not taken
//! back by this program, and the journal says what a person has to do.

use async_trait::async_trait;
use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::{Value, json};

use super::machine::{
    Carried, Ended, Gate, Machine, WorstHealth, carry_out, check, name_of, running, settle,
};
use super::{
    Change, Evidence, FailureClass, Kind, Outcome, PerformCx, Preview, Step, StepCx, StepError,
};
use crate::azure::{JobEnd, Power, ReplicationItem, ResourceId};
use crate::plan::{Class, KindSpec, Role, Span};
use crate::run::{Intent, RecordedEffect, Repeat, Undo, Verdict};

/// Parameters of `vm.migrate`.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct With {
    /// The replicating machine.
    pub machine: Machine,
    /// Stop the source first and take its last changes over. Default true; without it the source goes on, and what it
    /// changes from then on is not at the target.
    #[serde(default = "yes")]
    pub shut_down: bool,
    /// Oldest recovery point to migrate from. Default 15m.
    #[serde(default = "fifteen_minutes")]
    pub max_lag: Span,
    /// Worst health of the replication that is good enough. Default normal.
    #[serde(default)]
    pub health: WorstHealth,
    /// Refuse a machine whose last test migration did not succeed. Default true.
    #[serde(default = "yes")]
    pub tested: bool,
    /// How long the new machine may take to run once its job has ended. Default 10m.
    #[serde(default = "ten_minutes")]
    pub runs_within: Span,
}

const fn yes() -> bool {
    true
}
const fn ten_minutes() -> Span {
    Span::minutes(10)
}
const fn fifteen_minutes() -> Span {
    Span::minutes(15)
}

const DOCS: &str = "\
Asks Azure Migrate to migrate one machine, follows the job, and sees the virtual machine run.\n\n\
It refuses (exit 4, nothing changed) unless the service lists `Migrate` under `allowedOperations`, the replication is as \
healthy as `health` asks, the last recovery point is at most `max_lag` old, and (`tested`) the last test migration succeeded. A \
recovery point that is missing, of the year 0001 or in the future is unknown, and unknown refuses.\n\n\
With `shut_down` the source is stopped. A rollback can not start it again and lists that as work for a person: so put an \
`approval` before, and say `point_of_no_return: true`. Without it the source goes on beside its copy; a rollback leaves the \
copy in place.\n\n\
A job that fails may have stopped the source before. The failure names the tasks that ended well; the next try is a new one.\n\n\
Needs `Microsoft.RecoveryServices/vaults/replicationFabrics/replicationProtectionContainers/replicationMigrationItems/migrate/action` \
and the right to read jobs and virtual machines. Outputs: `machine` (id of the virtual machine), `job`.";

/// The kind.
pub const KIND: Kind = Kind {
    spec: KindSpec {
        name: "vm.migrate",
        summary: "Migrate a replicating machine to Azure",
        docs: DOCS,
        example: include_str!("../../examples/steps/vm.migrate.yaml"),
        class: Class::Action,
        repeat: Repeat::Guarded,
        undo: Undo::Irreversible,
        roles: &[Role::SwitchesTraffic],
        outputs: &["machine", "job"],
        open_outputs: false,
        schema: || schemars::schema_for!(With),
        check: super::check::<With>,
        describe: |with| {
            let item = with["machine"]["item"].as_str().unwrap_or("?");
            let source = if with["shut_down"] == false { "goes on" } else { "is shut down" };
            vec![format!("migrate {item}; the source {source}")]
        },
    },
    build: |with| Ok(Box::new(super::read::<With>(with)?)),
};

const VERB: &str = "migrate";

/// Key of a try: one that failed at the target is over.
fn key(recorded: &[RecordedEffect]) -> String {
    let over = |effect: &&RecordedEffect| {
        effect.done && !Ended::of(effect.observed.as_ref().unwrap_or(&Value::Null)).well()
    };
    format!("{VERB}:{}", recorded.iter().filter(over).count() + 1)
}

impl With {
    fn attempted(&self) -> String {
        format!("migrate {}", self.machine.item)
    }

    fn gate(&self) -> Gate {
        Gate {
            operation: "Migrate",
            max_lag: self.max_lag,
            health: self.health,
            tested: self.tested,
        }
    }

    fn intent(&self, key: String, target: String, item: &ReplicationItem) -> Intent {
        let undo = if self.shut_down { Undo::Irreversible } else { Undo::LeavesInPlace };
        let machine = item.target_machine.as_ref().map(ResourceId::as_str);
        let stands = |state: &str, machine: Option<&str>, source: &str| json!({ "state": state, "machine": machine, "source": source, "last_migration": item.last_migration });
        let source = if self.shut_down { "shut down" } else { "as it is" };
        let before = stands(&item.state, None, "as it is");
        let after = stands("MigrationSucceeded", machine, source);
        let intent = Intent::new(key, target, VERB, (Repeat::Guarded, undo), before, after);
        if !self.shut_down {
            return intent;
        }
        let made = machine.map_or("its virtual machine", name_of);
        intent.by_hand(format!(
            "start {} at the source, then stop {made} in Azure; what users changed there since is not at the source",
            self.machine.item
        ))
    }

    /// Has the machine migrated, if it may be.
    async fn migrate(&self, cx: &mut PerformCx<'_>, key: String) -> Result<Ended, StepError> {
        let (attempted, read) = (self.attempted(), cx.read);
        let item = self.machine.read(read, &mut cx.wait(), &attempted).await?;
        check(&self.gate().readings(&item, read.clock().now()), &attempted)?;
        let intent = self.intent(key, self.machine.target(read, &attempted)?, &item);
        let (machine, shut_down) = (self.machine.id(), self.shut_down);
        let carried =
            carry_out(cx, &self.machine, (intent, &attempted, judge), async |cx, permit| {
                let azure = cx.read.world.azure.clone();
                azure.migrate_machine(&mut cx.wait(), permit, &machine, shut_down).await
            })
            .await?;
        match carried {
            Carried::Before(ended) => Ok(ended),
            Carried::Now(permit, mut ended) => {
                ended.machine = item.target_machine.as_ref().map(ToString::to_string);
                cx.effects.done(permit, json!(ended)).await?;
                Ok(ended)
            }
        }
    }

    /// What a failed job leaves, in words.
    fn left(&self, ended: &Ended) -> String {
        let stopped = |task: &str| task.to_ascii_lowercase().starts_with("shutdown");
        let job = ended.job.as_ref();
        let stopped = job.is_some_and(|job| job.finished_tasks().any(stopped));
        let source = match (self.shut_down, stopped) {
            (false, _) => "the source was to go on, and nothing here stopped it",
            (true, true) => "the source was shut down",
            (true, false) => "the source may have been shut down",
        };
        format!("{} is {} and not migrated; {source}", self.machine.item, ended.state)
    }

    /// The virtual machine runs, or why not.
    async fn proved(&self, cx: &mut PerformCx<'_>, ended: &Ended) -> Result<Outcome, StepError> {
        let attempted = self.attempted();
        let job = ended.job.as_ref().map(|job| job.name.clone());
        let mut evidence = vec![Evidence {
            check: format!("migration of {}", self.machine.item),
            verdict: ended.word().to_owned(),
            detail: job.as_ref().map(|job| format!("job {job}")).unwrap_or_default(),
            holds: true,
        }];
        let Some(machine) = &ended.machine else {
            evidence.push(Evidence {
                check: "virtual machine".to_owned(),
                verdict: "not compared".to_owned(),
                detail: "the item does not say where it is".to_owned(),
                holds: false,
            });
            let outputs = [("job".to_owned(), json!(job))].into();
            return Ok(Outcome { outputs, evidence });
        };
        let id = ResourceId::parse(machine)
            .map_err(|error| error.into_step_error(&attempted, "the machine was migrated"))?;
        let found = running(cx, &id, (self.runs_within, &attempted)).await?;
        let power = found.as_ref().map(|machine| machine.power);
        if power != Some(Power::Running) {
            let stands = found.map_or("is not there".to_owned(), |it| format!("is {:?}", it.power));
            let known = "the machine was migrated; its virtual machine does not run";
            return Err(StepError::new(FailureClass::Failed, "MIG0443", attempted, known)
                .cause(format!("{machine} {stands}"))
                .hint("start it, or find out why it does not start, then `migrate resume`")
                .retryable());
        }
        evidence.push(Evidence {
            check: "virtual machine".to_owned(),
            verdict: "running".to_owned(),
            detail: name_of(machine).to_owned(),
            holds: true,
        });
        let outputs =
            [("machine".to_owned(), json!(machine)), ("job".to_owned(), json!(job))].into();
        Ok(Outcome { outputs, evidence })
    }
}

/// What the item's own state says about a try whose job nobody knows.
fn judge(item: &ReplicationItem, before: &Value) -> Verdict {
    let ended = |end| {
        let mut ended = Ended::by_state(end, &item.state);
        ended.machine = item.target_machine.as_ref().map(ToString::to_string);
        Verdict::Done { observed: json!(ended) }
    };
    match item.state.as_str() {
        "MigrationSucceeded" => ended(JobEnd::Succeeded),
        "MigrationCompletedWithInformation" => ended(JobEnd::WithInformation),
        "MigrationPartiallySucceeded" => ended(JobEnd::Partially),
        _ if json!(item.last_migration) == before["last_migration"] => Verdict::NotDone,
        "MigrationFailed" => ended(JobEnd::Failed),
        state => {
            Verdict::Unknown { evidence: format!("a migration was tried, and the item is {state}") }
        }
    }
}

#[async_trait]
impl Step for With {
    async fn preview(&self, cx: &StepCx) -> Result<Preview, StepError> {
        let item = self.machine.read(cx, &mut cx.wait(), &self.attempted()).await?;
        let after =
            item.target_machine.as_ref().map_or("a virtual machine", |id| name_of(id.as_str()));
        let source = if self.shut_down { ", source shut down" } else { "" };
        let change = Change {
            target: format!("machine {}", self.machine.item),
            verb: VERB.to_owned(),
            before: Some(item.state.clone()),
            after: Some(format!("{after} runs in Azure{source}")),
        };
        Ok(Preview {
            changes: vec![change],
            readings: self.gate().readings(&item, cx.clock().now()),
        })
    }

    async fn perform(&self, cx: &mut PerformCx<'_>) -> Result<Outcome, StepError> {
        let (attempted, read) = (self.attempted(), cx.read);
        let key = key(&read.recorded);
        let mut ended = match read.recorded.iter().find(|it| it.done && it.intent.key == key) {
            Some(effect) => Ended::of(effect.observed.as_ref().unwrap_or(&Value::Null)),
            None => self.migrate(cx, key).await?,
        };
        if !ended.well() {
            let hint = "see to the machine in Azure Migrate; `migrate resume` tries again once the service allows it";
            return Err(ended.failure(&attempted, self.left(&ended)).hint(hint));
        }
        if ended.machine.is_none() {
            let item = self.machine.read(read, &mut cx.wait(), &attempted).await?;
            ended.machine = item.target_machine.as_ref().map(ToString::to_string);
        }
        self.proved(cx, &ended).await
    }

    async fn probe(&self, cx: &StepCx, effect: &RecordedEffect) -> Verdict {
        settle(cx, &self.machine, effect, judge).await
    }

    async fn undo(
        &self,
        _cx: &mut PerformCx<'_>,
        _effect: &RecordedEffect,
    ) -> Result<(), StepError> {
        Ok(())
    }
}
