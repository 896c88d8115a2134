//! `replication.wait`: holds everything back until the lag has been at or under a limit for a time. Changes nothing but, where
//! `heartbeat: true` asks for it, a table of its own; and it posts tracer tokens, where a replication has those.
//!
//! A reading that is missing, null, stale or an error is unknown, and unknown never opens the gate. The deadline is the
//! step's own `timeout`.

mod command;
mod gate;
mod heartbeat;
mod positions;
mod servers;
mod tokens;
mod traced;

use std::time::Duration;

use async_trait::async_trait;
use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::{Value, json};

use self::gate::{Gate, Reading, Stand};
use self::positions::Positions;
use self::servers::{Servers, Watch};
use self::traced::Traced;
use super::machine::Machine;
use super::{
    Evidence, FailureClass, Kind, Outcome, Outputs, PerformCx, Preview, Step, StepCx, StepError,
};
use crate::azure::{ArmError, ResourceId, Trail, Wait};
use crate::database::sqlserver::{Geo, Group, Shipping};
use crate::database::{mysql, postgres, sqlserver};
use crate::plan::{Class, KindSpec, Role, Span};
use crate::run::{RecordedEffect, Repeat, Undo, Verdict};

/// Parameters of `replication.wait`; one of `items`, `resources`, `command`, and `source` with `target`.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct With {
    /// Azure Migrate replication items; all of them must be at or under the limit.
    #[serde(default)]
    pub items: Vec<Machine>,
    /// ARM ids of what replicates: Azure Migrate or Site Recovery items, Database Migration Service tasks, migrations of
    /// PostgreSQL flexible servers, links of SQL managed instances. All of them must be at or under the limit.
    #[serde(default)]
    pub resources: Vec<String>,
    /// Argv list that prints the lag: seconds as a number, or `{"lag_seconds": n, "at": "<RFC 3339>"}`.
    #[serde(default)]
    pub command: Vec<String>,
    /// The database server that is followed, as `systems` names it: PostgreSQL, MariaDB, MySQL or SQL Server.
    #[serde(default)]
    pub source: Option<String>,
    /// The server of the same kind that follows.
    #[serde(default)]
    pub target: Option<String>,
    /// Of PostgreSQL: the subscription at the target, where it has several.
    #[serde(default)]
    pub subscription: Option<String>,
    /// Of PostgreSQL: the slot at the source by which a physical standby follows.
    #[serde(default)]
    pub slot: Option<String>,
    /// Of MariaDB and MySQL: transactions that the target committed itself and the source need not have, such as those of a first
    /// load, spelled as there: `0-2-17`, or `8f4a2b51-…:1-17`. One more is a stray write.
    #[serde(default)]
    pub target_own: Option<String>,
    /// Of SQL Server (protocol-simulated): by what the target follows the source.
    #[serde(default)]
    pub by: Option<By>,
    /// Of SQL Server, with `by: transactional-replication`: the publication at the source that the target subscribes to.
    #[serde(default)]
    pub publication: Option<String>,
    /// Write a row at the source four times a second and look for it at the target: seconds to a quarter, instead of what
    /// positions tell. Its table, `migrate.marker` in PostgreSQL and `migrate_marker` in MariaDB and MySQL, is made and removed by
    /// this step.
    #[serde(default)]
    pub heartbeat: bool,
    /// The most lag that is good.
    pub max_lag: Span,
    /// How long it must stay so. Default 30s.
    #[serde(default = "thirty_seconds")]
    pub hold_for: Span,
    /// Pause between two looks. Default 5s.
    #[serde(default = "five_seconds")]
    pub poll: Span,
    /// A reading older than this is unknown. Default 2m.
    #[serde(default = "two_minutes")]
    pub stale_after: Span,
}

/// By what one SQL Server follows another.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum By {
    /// An Always On availability group, also a distributed one such as the link of a managed instance.
    AvailabilityGroup,
    /// Log backups that are copied and restored.
    LogShipping,
    /// Geo-replication of Azure SQL Database.
    GeoReplication,
    /// Transactional replication, in which `publication` is replicated. Tracer tokens are posted to it.
    TransactionalReplication,
}

const fn thirty_seconds() -> Span {
    Span::seconds(30)
}
const fn five_seconds() -> Span {
    Span::seconds(5)
}
const fn two_minutes() -> Span {
    Span::minutes(2)
}

/// What `max_lag: 0s` lets pass between two servers.
const UNDER_A_SECOND: Duration = Duration::from_millis(999);

const DOCS: &str = "\
Looks at the lag every `poll` and ends when it has been at or under `max_lag` for `hold_for`, from readings younger than \
`stale_after` and without a gap between them.\n\n\
- `items`: Azure Migrate replication items. The lag is the age of the last recovery point; a point in the future counts as no \
lag. An item that is not replicating, in critical health or in need of a resynchronization is not ready.\n\
- `resources`: ARM ids. A Site Recovery protected item trails by its `rpoInSeconds`; a task of the Database Migration Service (which also moves MySQL to flexible servers) \
and a migration of a PostgreSQL flexible server by the `latency` of their databases, once each waits for its cutover and has \
applied all changes that came in; a link of a SQL managed instance by its send plus its redo lag. A replication that has failed \
or ended is refused at once: waiting does not help.\n\
- `command`: any program that prints the lag. It gets a bare environment, and 30 s.\n\
- `source` and `target`: two PostgreSQL servers, the second a logical subscriber or a physical standby of the first; or two MariaDB or \
two MySQL servers, the second a replica of the first; or two SQL Servers, as `by` says. Both sides are \
read and compared; the seconds that a server tells of itself are never used (those of a tracer token are measured). Without a heartbeat, lag is the time since the source ended \
at a position that the target has reached by now, at most; with `heartbeat: true` it is the age of the last row that has arrived, by the \
clock of the source alone. A lag under a second counts as none.\n\
- Between PostgreSQL servers, not ready is: a subscription that is disabled, without \
a worker, whose worker was started anew or failed again between two looks, whose tables are not all copied, or that holds other tables \
than the publication; a slot that is gone, idle, or has lost a part of its log; a standby that is paused, not streaming, or a copy of another \
cluster; and whatever is null. The user needs `pg_monitor` on both sides; a heartbeat needs the owner of the publication and of the \
subscription.\n\
- Between MariaDB or MySQL servers, positions are global transaction ids, and `Seconds_Behind_Master` is not read. Not ready is: a thread \
that does not run or had an error; a replica of another server, or one that the source does not see; a filter that may keep a table of the \
database back; settings by which applying goes on after errors; a source or target without a binary log; (MariaDB) a source whose numbers \
went back, as `gtid_strict_mode` prevents; a transaction of the target's own that neither the source has nor `target_own` names (or, after a \
first load, `RESET MASTER` there before the replication begins); a source that answers as another server, or from an earlier place, than \
before; and whatever is null. What was written past the log (`sql_log_bin = 0`, `RESET MASTER` at the source of a connected replica) no \
position shows: `verify.tables` does. The user needs, in MariaDB, `BINLOG MONITOR` and `REPLICATION MASTER ADMIN` at the source and \
`SLAVE MONITOR` at the target; in MySQL, `REPLICATION CLIENT` on both and `REPLICATION SLAVE` at the source; for a heartbeat, to make, \
write and drop its table.\n\
- Between SQL Servers (protocol-simulated: tried against a server of the tests only, never against a real one) no heartbeat is written, and `secondary_lag_seconds`, `last_restored_latency` and `replication_lag_sec` \
are not taken for a lag. `by: availability-group` (also a distributed one, such as the link of a managed instance): the log that the target has on disk \
reaches the end of the source's, and it has redone the source's last commit, each by that side's own row. Not ready is data movement that is suspended, disconnected or in \
another state than `SYNCHRONIZED` (with asynchronous commit, `SYNCHRONIZING`), a queue that the source knows no size of, roles that have changed, a replica that \
is gone. `by: log-shipping`: the last log backup restored ends behind the end of the source's log, or, once the source is `RESTORING` because the tail of \
its log was backed up, behind the end of that; no lag is under the interval of backups before. Not ready is a job that is over its own \
threshold, a target that was recovered or follows another database, backups of another history. `by: geo-replication` (Azure SQL Database): the target's last \
commit is the source's; a reading is as old as the last acknowledgement that the source has, so that a quiet source may need a larger \
`stale_after`. The user needs `VIEW SERVER STATE` (for log shipping also to read `msdb`), for geo-replication `VIEW DATABASE STATE`; SQL Server 2016 SP2 or later. \
`by: transactional-replication`: tracer tokens are posted to `publication` at the source (`sp_posttracertoken`), one at a time and at most one \
in 5 s, and the Distributor notes when they come to the target (`sp_helptracertokenhistory`); all that was committed before one is there with it. The lag is how \
long the last one took, as the servers measured it and as far as this machine's clock agrees, and at least for how long the next one is missing. One that has not \
arrived (NULL) tells of no lag; tokens of an earlier attempt are not believed. Not ready is an article of the publication that the target \
does not subscribe to, a subscription that is not active or is to be set up anew, a history that does not name the target (by its `@@SERVERNAME`; an availability group's listener is not recognised). What agents were told to skip, no token shows: \
`verify.tables` does. The tokens stay in the Distributor's history until it is cleaned up, or until `sp_deletetracertokenhistory` removes them. The user needs \
`db_owner` in the database of the source, and to log in to that of the target.\n\n\
Missing, null, stale and failing readings are unknown, which is not ready; the line shown says why. The deadline is the \
step's `timeout`: lag that never falls ends with exit 4.\n\n\
Outputs: `lag_seconds`, `held_seconds`.";

/// The kind.
pub const KIND: Kind = Kind {
    spec: KindSpec {
        name: "replication.wait",
        summary: "Wait until replication lag is low and stays low",
        docs: DOCS,
        example: include_str!("../../examples/steps/replication.wait.yaml"),
        class: Class::Check,
        repeat: Repeat::Repeatable,
        undo: Undo::LeavesInPlace,
        roles: &[Role::WaitsForLag],
        outputs: &["lag_seconds", "held_seconds"],
        open_outputs: false,
        schema: || schemars::schema_for!(With),
        check: super::check::<With>,
        describe,
    },
    build: |with| {
        let with = super::read::<With>(with)?;
        let servers = with.source.is_some() && with.target.is_some();
        let given =
            [!with.items.is_empty(), !with.resources.is_empty(), !with.command.is_empty(), servers];
        if given.into_iter().filter(|given| *given).count() != 1
            || with.source.is_some() != with.target.is_some()
        {
            return Err(
                "give one of `items`, `resources`, `command`, or `source` with `target`".to_owned()
            );
        }
        let of_servers = [&with.subscription, &with.slot, &with.target_own, &with.publication];
        let of_servers = of_servers.iter().any(|it| it.is_some());
        if !servers && (with.heartbeat || with.by.is_some() || of_servers) {
            return Err("`subscription`, `slot`, `target_own`, `by`, `publication` and `heartbeat` belong to `source` and `target`".to_owned());
        }
        if with.publication.is_some() != with.posts_tokens() {
            return Err(
                "`by: transactional-replication` and `publication` belong together".to_owned()
            );
        }
        if with.subscription.is_some() && with.slot.is_some() {
            return Err(
                "give `subscription` for a logical replication or `slot` for a physical one"
                    .to_owned(),
            );
        }
        for written in &with.resources {
            let id = ResourceId::parse(written).map_err(|error| error.to_string())?;
            if !Trail::is_told_by(&id) {
                return Err(format!("`{written}` is of no type that tells how far it trails"));
            }
        }
        if with.poll.duration().is_zero() {
            return Err("`poll` must be above zero".to_owned());
        }
        Ok(Box::new(with))
    },
};

fn describe(with: &Value) -> Vec<String> {
    let text = |key: &str| with[key].as_str().map(str::to_owned);
    let limit = text("max_lag").unwrap_or_else(|| "?".to_owned());
    let hold = text("hold_for").unwrap_or_else(|| thirty_seconds().to_string());
    let lag = format!("lag at most {limit} for {hold}");
    let beats = with["heartbeat"] == true;
    let beats = beats.then(|| {
        "makes a table for its heartbeat, writes a row of it meanwhile, and removes it".to_owned()
    });
    let publication = text("publication").map(|name| {
        format!("posts tracer tokens to publication {name} meanwhile, which stay in the Distributor's history")
    });
    [lag].into_iter().chain(beats).chain(publication).collect()
}

impl With {
    fn attempted(&self) -> String {
        format!("wait for a lag of at most {} held for {}", self.max_lag, self.hold_for)
    }

    fn posts_tokens(&self) -> bool {
        self.by == Some(By::TransactionalReplication)
    }

    /// What one of the server pair needs; none where something else is looked at.
    fn servers(&self, cx: &StepCx) -> Option<Box<dyn Watch + '_>> {
        let (source, target) = (self.source.as_deref()?, self.target.as_deref()?);
        let system = cx.world.plan.systems.get(source);
        Some(if sqlserver::Server::is(system) {
            self.sqlservers(source, target)
        } else if mysql::Server::is(system) {
            Box::new(Servers::<mysql::Pair>::new(source, target, self))
        } else {
            Box::new(Servers::<postgres::Pair>::new(source, target, self))
        })
    }

    /// Without `by` no pair is found, and that is said.
    fn sqlservers<'a>(&'a self, source: &'a str, target: &'a str) -> Box<dyn Watch + 'a> {
        match self.by {
            None | Some(By::AvailabilityGroup) => {
                Box::new(Positions::<sqlserver::Pair<Group>>::new(source, target, self))
            }
            Some(By::LogShipping) => {
                Box::new(Positions::<sqlserver::Pair<Shipping>>::new(source, target, self))
            }
            Some(By::GeoReplication) => {
                Box::new(Positions::<sqlserver::Pair<Geo>>::new(source, target, self))
            }
            Some(By::TransactionalReplication) => Box::new(Traced::new(source, target, self)),
        }
    }

    /// Servers are looked at through sessions; a lag that no two readings can tell apart is none.
    fn limit(&self) -> Duration {
        let limit = self.max_lag.duration();
        if self.source.is_some() { limit.max(UNDER_A_SECOND) } else { limit }
    }

    /// How often is looked: a heartbeat that is written seldom tells little.
    fn pace(&self) -> Duration {
        let poll = self.poll.duration();
        if self.heartbeat { poll.min(heartbeat::PACE) } else { poll }
    }

    /// One look at everything: names with their readings. `Err` for what waiting can not heal.
    async fn look(
        &self,
        cx: &StepCx,
        wait: &mut Wait<'_>,
    ) -> Result<Vec<(String, Reading)>, StepError> {
        // The time of asking: a recovery point made while the answer travels is no lag.
        let now = cx.clock().now();
        if !self.command.is_empty() {
            let reading = command::read(&self.command, &cx.world.base, now).await;
            return Ok(vec![(self.command[0].clone(), reading)]);
        }
        let mut look = Vec::new();
        for (name, id) in self.ids(cx).map_err(|error| self.refused(error))? {
            let reading = match cx.world.azure.trail(wait, &id, now).await {
                Ok(Some(Trail::Behind { lag, age })) => Reading::Lag { lag, age },
                Ok(Some(Trail::Unknown(why))) => Reading::Unknown(format!("{name}: {why}")),
                Ok(Some(Trail::Over(why))) => return Err(self.over(&name, why)),
                Ok(None) => return Err(self.absent(&id)),
                Err(error) => Reading::Unknown(error.unread(self.attempted())?),
            };
            look.push((name, reading));
        }
        Ok(look)
    }

    /// What is looked at, by name.
    fn ids(&self, cx: &StepCx) -> Result<Vec<(String, ResourceId)>, ArmError> {
        let azure = &cx.world.azure;
        let items = self
            .items
            .iter()
            .map(|item| Ok((item.item.clone(), azure.replication_item_id(&item.id())?)));
        let resources = self.resources.iter().map(|written| {
            let id = ResourceId::parse(written)?;
            Ok((super::machine::name_of(id.as_str()).to_owned(), id))
        });
        items.chain(resources).collect()
    }

    fn refused(&self, error: ArmError) -> StepError {
        error.into_step_error(self.attempted(), "nothing was changed")
    }

    fn over(&self, name: &str, why: String) -> StepError {
        let known = format!("the replication of {name} has failed or ended; nothing was changed");
        StepError::new(FailureClass::Refused, "MIG0413", self.attempted(), known)
            .cause(why)
            .hint("start the replication again, then `migrate resume`")
    }

    fn absent(&self, id: &ResourceId) -> StepError {
        let known = format!("there is no {id}; nothing was changed");
        StepError::new(FailureClass::Refused, "MIG0412", self.attempted(), known)
            .hint("correct `items` or `resources` in the runbook")
    }

    fn never(&self, last: &str) -> StepError {
        let changed = if self.posts_tokens() { "nothing but tracer tokens" } else { "nothing" };
        StepError::new(
            FailureClass::Refused,
            "MIG0411",
            self.attempted(),
            format!("the lag never got there in time; last: {last}; {changed} was changed"),
        )
        .hint("find out why the target trails, then `migrate resume`")
        .retryable()
    }

    /// Looks until the gate opens, or time is up.
    async fn wait(
        &self,
        cx: &mut PerformCx<'_>,
        mut servers: Option<&mut (dyn Watch + '_)>,
    ) -> Result<Outcome, StepError> {
        let read = cx.read;
        let mut gate =
            Gate::new(self.limit(), self.hold_for.duration(), self.stale_after.duration());
        loop {
            let look = match &mut servers {
                Some(servers) => servers.look(cx).await?,
                None => self.look(read, &mut cx.wait()).await?,
            };
            let (lag_seconds, shown) = worst(&look);
            let readings: Vec<Reading> = look.into_iter().map(|(_, reading)| reading).collect();
            let stand = gate.take(read.clock().steady(), &readings);
            let line = self.line(&stand, &shown);
            if let Stand::Open { held } = stand {
                let outputs = Outputs::from([
                    ("lag_seconds".to_owned(), json!(lag_seconds)),
                    ("held_seconds".to_owned(), json!(held.as_secs())),
                ]);
                let evidence = Evidence {
                    check: "replication lag".to_owned(),
                    verdict: "at or under the limit".to_owned(),
                    detail: line,
                    holds: true,
                };
                return Ok(Outcome { outputs, evidence: vec![evidence] });
            }
            if read.cancel.is_cancelled() {
                return Err(self.never(&line));
            }
            read.progress.say(line.clone());
            // Woken by the deadline: that is an answer too.
            if read.sleep(self.pace(), cx.busy).await.is_err() {
                return Err(self.never(&line));
            }
        }
    }

    fn line(&self, stand: &Stand, worst: &str) -> String {
        let (limit, hold) = (self.max_lag, self.hold_for);
        match stand {
            Stand::Open { held } | Stand::Holding { held } => {
                format!("{worst}, limit {limit}; held {} s of {hold}", held.as_secs())
            }
            Stand::Above(_) => format!("{worst}, limit {limit}; over the limit"),
            Stand::Unknown(why) => format!("unknown, so not ready: {why}"),
        }
    }
}

/// The worst lag of a look with the age of its reading, for people.
fn worst(look: &[(String, Reading)]) -> (f64, String) {
    let lags = look.iter().filter_map(|(name, reading)| match reading {
        Reading::Lag { lag, age } => Some((*lag, *age, name)),
        Reading::Unknown(_) => None,
    });
    match lags.max() {
        Some((lag, age, name)) => {
            let (lag, age) = (lag.as_secs_f64(), age.as_secs());
            // What is measured in parts of a second says so.
            let places = usize::from(lag.fract() > 0.0);
            (lag, format!("lag of {name} {lag:.places$} s, reading {age} s old"))
        }
        None => (f64::NAN, "no reading".to_owned()),
    }
}

#[async_trait]
impl Step for With {
    async fn preview(&self, cx: &StepCx) -> Result<Preview, StepError> {
        let look = match self.servers(cx) {
            Some(mut servers) => servers.preview(cx).await?,
            None => self.look(cx, &mut cx.wait()).await?,
        };
        let reading = |(name, reading): (String, Reading)| match reading {
            Reading::Lag { lag, .. } => Evidence {
                check: format!("lag of {name}"),
                verdict: "read".to_owned(),
                detail: format!("{} s, limit {}", lag.as_secs(), self.max_lag),
                holds: lag <= self.limit(),
            },
            Reading::Unknown(why) => Evidence {
                check: format!("lag of {name}"),
                verdict: "not compared".to_owned(),
                detail: why,
                holds: false,
            },
        };
        Ok(Preview { readings: look.into_iter().map(reading).collect(), ..Preview::default() })
    }

    async fn perform(&self, cx: &mut PerformCx<'_>) -> Result<Outcome, StepError> {
        let mut servers = self.servers(cx.read);
        let waited = self.wait(cx, servers.as_deref_mut()).await;
        match servers {
            Some(mut servers) => servers.end(cx, waited).await,
            None => waited,
        }
    }

    async fn probe(&self, cx: &StepCx, effect: &RecordedEffect) -> Verdict {
        match self.servers(cx) {
            Some(mut servers) => servers.probe(cx, effect).await,
            None => Verdict::Unknown { evidence: "a check changes nothing".to_owned() },
        }
    }

    async fn undo(&self, cx: &mut PerformCx<'_>, effect: &RecordedEffect) -> Result<(), StepError> {
        match self.servers(cx.read) {
            Some(mut servers) => servers.undo(cx, effect).await,
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::{Bench, SandboxBench};
    use super::*;

    fn item(name: &str) -> Value {
        json!({ "vault": "vault-crm", "fabric": "fabric-1", "container": "container-1", "item": name })
    }

    #[tokio::test]
    async fn lag_reaches_zero_and_stays_there() {
        let sandbox = SandboxBench::start().await;
        let with = json!({ "items": [item("crm-db"), item("crm-web")], "max_lag": "0s" });
        let outcome = sandbox.step("replication.wait", &with).perform().await.expect("reached");
        assert_eq!(outcome.outputs["held_seconds"].as_u64().map(|held| held >= 30), Some(true));
    }

    #[tokio::test]
    async fn an_item_that_is_not_there_is_refused_at_once() {
        let sandbox = SandboxBench::start().await;
        let with = json!({ "items": [item("absent")], "max_lag": "0s" });
        let error = sandbox.step("replication.wait", &with).perform().await.expect_err("absent");
        assert_eq!((error.class, error.code.as_str()), (FailureClass::Refused, "MIG0412"));
    }

    #[cfg(unix)]
    #[tokio::test]
    async fn a_lag_that_never_falls_is_refused_when_time_is_up() {
        let with = json!({ "command": ["/bin/sh", "-c", "echo 9"], "max_lag": "1s" });
        let step = Bench::new("replication.wait", &with, &json!({}));
        step.cx.cancel.cancel();
        let error = step.perform().await.expect_err("never");
        assert_eq!((error.class, error.code.as_str()), (FailureClass::Refused, "MIG0411"));
        assert!(error.known.contains("lag of /bin/sh 9 s, reading 0 s old, limit 1s"), "{error}");
    }
}
