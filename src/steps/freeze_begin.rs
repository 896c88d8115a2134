//! `freeze.begin`: locks what must not change, and remembers what it was, so that any later change is noticed.
//!
//! Promises: a lock of another hand is never replaced unseen (its previous state is in the intent); what this run changes
//! itself is no violation; what can not be read is a violation until it can.

use async_trait::async_trait;
use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::{Value, json};

use super::lock::{self, Turn};
use super::{
    Change, Evidence, FailureClass, Granted, Kind, Outcome, Outputs, PerformCx, Preview, Step,
    StepCx, StepError, gate, rights,
};
use crate::azure::{Lock, LockLevel, ResourceId, Right, Wait};
use crate::database::Database;
use crate::database::postgres::Server;
use crate::freeze::{
    Baseline, Exception, FilesWatch, Frozen, Gate, GitRef, GitWatch, Place, Schema, SchemaWatch,
    Stand, level, shown,
};
use crate::plan::{Class, KindSpec, Role};
use crate::run::{Intent, RecordedEffect, Repeat, Undo, Verdict};

/// Parameters of `freeze.begin`.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct With {
    /// Management locks to set.
    #[serde(default)]
    pub locks: Vec<LockAt>,
    /// Gates of pipelines to close: `github: {repository, branches, token}`, `azure-devops: {project, environment,
    /// approvers, token}`.
    #[serde(default)]
    pub gates: Vec<Gate>,
    /// What is watched at every step boundary: `activity-log`, `files: {folder: path}`, `schema: {system: name}`,
    /// `git: {repository: path, ref: main}`.
    #[serde(default)]
    pub watch: Vec<Watch>,
    /// Scopes whose activity log is watched; those of `locks` when not given.
    #[serde(default)]
    pub scopes: Vec<String>,
    /// Changes that were agreed.
    #[serde(default)]
    pub exceptions: Vec<Exception>,
}

/// A lock.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct LockAt {
    /// Name of a resource group, `subscription`, or an ARM id.
    pub scope: String,
    /// `read-only` or `can-not-delete`. Read-only blocks this run's own changes there too.
    pub level: LockLevel,
}

/// Something that is watched.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Watch {
    /// Changes through ARM, by the activity log.
    ActivityLog,
    /// A tree of files, by size and time of change.
    Files(FilesWatch),
    /// Tables, indexes, views and triggers of a database, by the statements that made them.
    Schema(SchemaWatch),
    /// A branch or tag of a Git repository.
    Git(GitWatch),
}

const DOCS: &str = "\
Sets management locks and closes the gates of pipelines (named after wave and step), takes baselines, and from then on the freeze is looked at before every \
step until a `freeze.end`: a lock or a gate that is gone, a change in the activity log that this run did not make, or a file that is \
not as it was stops the run with exit 4 and names who changed what.\n\n\
- `locks`: `read-only` forbids every change through ARM in the scope, *this run's own cutover included* (DNS records, VM \
starts, key listings); lock the source, not what the wave changes.\n\
- `gates: [{ github: { repository: owner/name, branches: [main], token: { secret: name } } }]`: a ruleset lets nobody push or \
merge to the branches, administrators included.\n\
- `gates: [{ azure-devops: { project: organization/project, environment: 7, approvers: [id], token: { secret: name } } }]`: \
every deployment to the environment waits for one of the approvers.\n\
- `watch: [activity-log]`: changes through ARM in `scopes`. The log tells some minutes late.\n\
- `watch: [{ files: { folder: path, exclude: [..] } }]`: path, size and time of change of every file.\n\
- `watch: [{ schema: { system: name } }]`: every table, index, view and trigger of a SQLite file; of a \
PostgreSQL database also its constraints, sequences, functions, enumerations and extensions. Rows may change.\n\
- `watch: [{ git: { repository: path or URL, ref: main } }]`: the commit that a branch or tag names; `git` itself is asked.\n\
- `exceptions`: named, agreed changes with their end; `*` at the end of an operation stands for the rest.\n\n\
Taken back: each lock returns to what was there before, unless another hand changed it. Baselines stay.\n\n\
Outputs: `begun_at`.";

/// The kind.
pub const KIND: Kind = Kind {
    spec: KindSpec {
        name: "freeze.begin",
        summary: "Begin a change freeze: locks, gates of pipelines, and baselines that are watched",
        docs: DOCS,
        example: include_str!("../../examples/steps/freeze.begin.yaml"),
        class: Class::Action,
        repeat: Repeat::Repeatable,
        undo: Undo::Restores,
        roles: &[Role::Freezes],
        outputs: &["begun_at"],
        open_outputs: false,
        schema: || schemars::schema_for!(With),
        check: super::check::<With>,
        describe,
    },
    build: |with| {
        let with = super::read::<With>(with)?;
        if with.locks.is_empty() && with.gates.is_empty() && with.watch.is_empty() {
            return Err("nothing is frozen: give `locks`, `gates` or `watch`".to_owned());
        }
        with.gates.iter().try_for_each(Gate::check)?;
        let log = with.watch.iter().any(|watch| matches!(watch, Watch::ActivityLog));
        for watch in &with.watch {
            if let Watch::Git(git) = watch {
                git.check()?;
            }
        }
        if log && with.log_scopes().is_empty() {
            return Err("`watch: [activity-log]` needs `scopes` or `locks`".to_owned());
        }
        Ok(Box::new(with))
    },
};

fn describe(with: &Value) -> Vec<String> {
    let list = |key: &str| with[key].as_array().cloned().unwrap_or_default();
    let lock = |lock: Value| {
        let text = |key: &str| lock[key].as_str().unwrap_or("?").to_owned();
        let own = if text("level") == "read-only" {
            "; blocks this run's own changes there too"
        } else {
            ""
        };
        format!("lock {} {}{own}", text("scope"), text("level"))
    };
    let gate = |gate: Value| match serde_json::from_value::<Gate>(gate) {
        Ok(gate) => format!("close the gate of {}", gate.shown()),
        Err(_) => "close a gate".to_owned(),
    };
    let watch = |watch: Value| {
        let named = |kind: &str, name: &str| watch[kind][name].as_str().map(str::to_owned);
        if let Some(folder) = named("files", "folder") {
            format!("baseline of the files in {folder}")
        } else if let Some(system) = named("schema", "system") {
            format!("baseline of the schema of {system}")
        } else if let Some(reference) = named("git", "ref") {
            format!("watch {reference} in {}", named("git", "repository").unwrap_or_default())
        } else {
            format!("watch {}", watch.as_str().unwrap_or("?"))
        }
    };
    let locks = list("locks").into_iter().map(lock);
    let gates = list("gates").into_iter().map(gate);
    locks.chain(gates).chain(list("watch").into_iter().map(watch)).collect()
}

/// The type of a lock.
const LOCKS: &str = "Microsoft.Authorization/locks";

impl With {
    fn log_scopes(&self) -> Vec<&str> {
        let locks = self.locks.iter().map(|lock| lock.scope.as_str());
        if self.scopes.is_empty() {
            locks.collect()
        } else {
            self.scopes.iter().map(String::as_str).collect()
        }
    }

    fn wanted(cx: &StepCx, at: &LockAt) -> Lock {
        Lock { name: lock::name(cx), level: Some(at.level), notes: lock::notes(cx) }
    }

    async fn lock(cx: &mut PerformCx<'_>, at: &LockAt) -> Result<(), StepError> {
        let key = format!("lock:{}", at.scope);
        if recorded(cx.read, &key) {
            return Ok(());
        }
        let scope = scope(cx.read, &at.scope)?;
        let (name, wanted) = (lock::name(cx.read), Self::wanted(cx.read, at));
        let now = lock::read(cx.read, &mut cx.wait(), &scope, &name).await?;
        let read = cx.read;
        may_lock(read, &mut cx.wait(), &scope).await?;
        let turn = Turn { key, scope: &scope, name: &name, now, wanted: Some(wanted) };
        turn.make(cx).await
    }

    async fn watch_log(cx: &mut PerformCx<'_>, written: &str) -> Result<(), StepError> {
        let key = format!("activity-log:{written}");
        if recorded(cx.read, &key) {
            return Ok(());
        }
        let scope = scope(cx.read, written)?;
        let since = cx.clock().now();
        let frozen = Frozen::ActivityLog { scope: scope.to_string(), since };
        baseline(cx, key, scope.to_string(), &frozen, |_| Ok(())).await
    }

    async fn watch_files(
        cx: &mut PerformCx<'_>,
        number: usize,
        watch: &FilesWatch,
    ) -> Result<(), StepError> {
        let key = format!("files:{}", watch.folder);
        if recorded(cx.read, &key) {
            return Ok(());
        }
        let folder = cx.path(&watch.folder);
        let read = Baseline::read(folder, &watch.exclude, kept(cx.read, number)).await;
        let (files, text) = read.map_err(|why| {
            unreadable(&watch.folder, &why, "check the folder and the rights on it")
        })?;
        let frozen = Frozen::Files(files.clone());
        let target = watch.folder.clone();
        baseline(cx, key, target, &frozen, |cx| files.keep(&cx.world.progress_dir, &text)).await
    }
}

/// Whoever may lock and not unlock would hold the source for good.
async fn may_lock(
    cx: &StepCx,
    wait: &mut Wait<'_>,
    scope: &ResourceId,
) -> Result<Evidence, StepError> {
    let actions = ["write", "delete"].map(|verb| Right::Action(format!("{LOCKS}/{verb}")));
    rights::prove(cx, wait, &format!("lock {scope}"), scope, &actions).await
}

impl With {
    async fn watch_schema(
        cx: &mut PerformCx<'_>,
        number: usize,
        watch: &SchemaWatch,
    ) -> Result<(), StepError> {
        let key = format!("schema:{}", watch.system);
        if recorded(cx.read, &key) {
            return Ok(());
        }
        let (schema, text) = Self::schema(cx.read, watch, kept(cx.read, number)).await?;
        let frozen = Frozen::Schema(schema.clone());
        let target = watch.system.clone();
        baseline(cx, key, target, &frozen, |cx| schema.keep(&cx.world.progress_dir, &text)).await
    }

    async fn schema(
        cx: &StepCx,
        watch: &SchemaWatch,
        kept: String,
    ) -> Result<(Schema, String), StepError> {
        let failed = |why: String| {
            unreadable(&format!("the schema of {}", watch.system), &why, "check the system")
        };
        let system = cx.world.plan.systems.get(&watch.system);
        let place = if Server::is(system) {
            let server = cx.postgres(&watch.system).await;
            Place::Server(Box::new(server.map_err(|error| failed(error.to_string()))?))
        } else {
            let opened = Database::of(&watch.system, system, |path| cx.path(path)).await;
            Place::File(opened.map_err(|error| failed(error.to_string()))?.path().to_owned())
        };
        Schema::read(&watch.system, place, kept).await.map_err(failed)
    }

    async fn git(cx: &StepCx, watch: &GitWatch) -> Result<GitRef, StepError> {
        let read = GitRef::read(watch, cx.path(&watch.repository)).await;
        read.map_err(|why| {
            let what = format!("{} in {}", watch.reference, watch.repository);
            unreadable(&what, &why, "check the repository and the ref")
        })
    }

    async fn watch_git(cx: &mut PerformCx<'_>, watch: &GitWatch) -> Result<(), StepError> {
        let target = format!("{} in {}", watch.reference, watch.repository);
        let key = format!("git:{target}");
        if recorded(cx.read, &key) {
            return Ok(());
        }
        let reference = Self::git(cx.read, watch).await?;
        baseline(cx, key, target, &Frozen::Git(reference), |_| Ok(())).await
    }
}

/// What a baseline would be taken of, where that is read now. The activity log and files are left for the night.
async fn readable(cx: &StepCx, watch: &Watch) -> Result<Option<Evidence>, StepError> {
    let (check, detail) = match watch {
        Watch::ActivityLog | Watch::Files(_) => return Ok(None),
        Watch::Schema(schema) => {
            let read = With::schema(cx, schema, String::new()).await?;
            (format!("schema of {}", schema.system), format!("{} objects", read.0.objects))
        }
        Watch::Git(git) => {
            let read = With::git(cx, git).await?;
            (format!("{} in {}", git.reference, git.repository), read.commit)
        }
    };
    Ok(Some(Evidence { check, verdict: "readable".to_owned(), detail, holds: true }))
}

/// Where the list of the n-th thing that is watched is kept, beside the journal.
fn kept(cx: &StepCx, number: usize) -> String {
    format!("{}-{number}.list", lock::name(cx))
}

/// Nothing can be remembered of what can not be read.
fn unreadable(what: &str, why: &str, check: &str) -> StepError {
    StepError::new(
        FailureClass::Failed,
        "MIG0404",
        format!("take a baseline of {what}"),
        format!("{why}; nothing was changed"),
    )
    .hint(format!("{check}, then `migrate resume`"))
}

/// Done in an earlier attempt.
fn recorded(cx: &StepCx, key: &str) -> bool {
    cx.recorded.iter().any(|effect| effect.done && effect.intent.key == key)
}

fn scope(cx: &StepCx, written: &str) -> Result<ResourceId, StepError> {
    let scope = cx.world.azure.scope(written);
    scope.map_err(|error| {
        error.into_step_error(format!("find the scope {written}"), "nothing was changed")
    })
}

/// Records a baseline as an effect: what was seen, and from when on it counts.
async fn baseline(
    cx: &mut PerformCx<'_>,
    key: String,
    target: String,
    frozen: &Frozen,
    keep: impl FnOnce(&StepCx) -> std::io::Result<()> + Send,
) -> Result<(), StepError> {
    let classes = (Repeat::Repeatable, Undo::LeavesInPlace);
    let intent = Intent::new(key, target, "baseline", classes, Value::Null, frozen.to_value());
    let Granted::Permit(permit) = cx.effects.intend(intent).await? else { return Ok(()) };
    if let Err(error) = keep(cx.read) {
        cx.effects.not_done(permit, &error.to_string()).await?;
        return Err(StepError::new(
            FailureClass::Failed,
            "MIG0404",
            "keep a baseline beside the journal",
            "nothing was changed",
        )
        .because(&error));
    }
    cx.effects.done(permit, frozen.to_value()).await
}

#[async_trait]
impl Step for With {
    async fn preview(&self, cx: &StepCx) -> Result<Preview, StepError> {
        let mut preview = Preview::default();
        for at in &self.locks {
            let scope = scope(cx, &at.scope)?;
            let now = lock::read(cx, &mut cx.wait(), &scope, &lock::name(cx)).await?;
            let wanted = Self::wanted(cx, at);
            preview.readings.push(may_lock(cx, &mut cx.wait(), &scope).await?);
            if now.as_ref() != Some(&wanted) {
                preview.changes.push(Change {
                    target: scope.to_string(),
                    verb: if now.is_some() { "replace" } else { "create" }.to_owned(),
                    before: now.is_some().then(|| shown(now.as_ref())),
                    after: Some(shown(Some(&wanted))),
                });
            }
            if at.level == LockLevel::ReadOnly {
                preview.readings.push(Evidence {
                    check: format!("lock {} on {}", level(Some(at.level)), at.scope),
                    verdict: "warning".to_owned(),
                    detail: "it blocks this run's own changes in that scope too".to_owned(),
                    holds: true,
                });
            }
        }
        for gate in &self.gates {
            let stand = gate::stand(cx, gate, &lock::name(cx)).await?;
            preview.changes.extend((stand == Stand::Open).then(|| gate::change(gate, false, true)));
        }
        for watch in &self.watch {
            preview.readings.extend(readable(cx, watch).await?);
        }
        Ok(preview)
    }

    async fn perform(&self, cx: &mut PerformCx<'_>) -> Result<Outcome, StepError> {
        // Locks and gates first: what changes after them is no surprise any more.
        for at in &self.locks {
            Self::lock(cx, at).await?;
        }
        for gate in &self.gates {
            let key = format!("gate:{}", gate.shown());
            if !recorded(cx.read, &key) {
                let name = lock::name(cx.read);
                let stand = gate::stand(cx.read, gate, &name).await?;
                gate::make(cx, key, gate, &name, stand, true).await?;
            }
        }
        for (number, watch) in self.watch.iter().enumerate() {
            match watch {
                Watch::ActivityLog => {
                    for scope in self.log_scopes() {
                        Self::watch_log(cx, scope).await?;
                    }
                }
                Watch::Files(files) => Self::watch_files(cx, number, files).await?,
                Watch::Schema(schema) => Self::watch_schema(cx, number, schema).await?,
                Watch::Git(git) => Self::watch_git(cx, git).await?,
            }
        }
        let outputs = Outputs::from([("begun_at".to_owned(), json!(cx.clock().now()))]);
        Ok(Outcome { outputs, evidence: Vec::new() })
    }

    async fn probe(&self, cx: &StepCx, effect: &RecordedEffect) -> Verdict {
        lock::look(cx, cx.wait(), &self.exceptions).at(effect).await
    }

    async fn undo(&self, cx: &mut PerformCx<'_>, effect: &RecordedEffect) -> Result<(), StepError> {
        lock::take_back(cx, effect).await
    }
}
