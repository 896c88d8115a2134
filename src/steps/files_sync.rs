//! `files.sync`: copies what differs from one tree to another. Nothing at the target goes away unless asked for.

use std::path::PathBuf;

use async_trait::async_trait;
use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::{Value, json};

use super::{Change, Kind, Outcome, PerformCx, Preview, Step, StepCx, StepError};
use crate::files::{
    self, Differs, Exclude, FilesError, Manifest, Store, SyncError, SyncPlan, SyncReport,
};
use crate::plan::{Class, KindSpec, Role};
use crate::run::{Evidence, FailureClass, Intent, RecordedEffect, Repeat, Undo, Verdict};

/// Parameters of `files.sync`.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct With {
    /// The system to copy from: `{ folder: path }` under `systems`.
    pub source: String,
    /// The system to copy to.
    pub target: String,
    /// When two files of the same name count as different: `size-or-time` (default) or `content`.
    #[serde(default)]
    pub differs: Differs,
    /// Paths relative to the tree that are left out, each with everything below it.
    #[serde(default)]
    pub exclude: Vec<String>,
    /// Delete at the target what the source does not have. Those files are gone: this can not be taken back.
    #[serde(default)]
    pub delete_extra: bool,
}

/// The kind.
pub const KIND: Kind = Kind {
    spec: KindSpec {
        name: "files.sync",
        summary: "Copy what differs from one file tree to another",
        docs: "Copies every file that is missing or different at the target. Each file is written under a temporary name, \
               read back and compared by SHA-256, and only then renamed to its own name; its time of change is copied along. \
               A sync that was stopped goes on where it was: what has been copied is not copied again.\n\n\
               Symbolic links, special files and names that are not text are not copied; they are counted and named in the \
               evidence. A file or folder that can not be read fails the step when everything else has been copied. A file that changes while it is read is read again, up to three times.\n\n\
               The copy stays at the target when the run is taken back. With `delete_extra: true`, files that the source does \
               not have are deleted at the target, and that can not be taken back.",
        example: include_str!("../../examples/steps/files.sync.yaml"),
        class: Class::Action,
        repeat: Repeat::Repeatable,
        undo: Undo::LeavesInPlace,
        roles: &[Role::Syncs],
        outputs: &["files", "bytes", "deleted"],
        open_outputs: false,
        schema: || schemars::schema_for!(With),
        check: super::check::<With>,
        describe,
    },
    build: |with| Ok(Box::new(super::read::<With>(with)?)),
};

fn describe(with: &Value) -> Vec<String> {
    let text = |key: &str| with[key].as_str().unwrap_or("?").to_owned();
    let extra = if with["delete_extra"] == true { ", delete what is extra" } else { "" };
    vec![format!("files of {} -> {}{extra}", text("source"), text("target"))]
}

impl With {
    fn stores(&self, cx: &StepCx) -> Result<(Store, Store), StepError> {
        let store = |name: &str| {
            Store::of(name, cx.world.plan.systems.get(name), |path| cx.path(path)).map_err(|why| {
                StepError::new(FailureClass::Failed, "MIG0307", self.attempted(), why)
                    .hint("correct `systems` in the runbook")
            })
        };
        Ok((store(&self.source)?, store(&self.target)?))
    }

    fn attempted(&self) -> String {
        format!("copy files of {} to {}", self.source, self.target)
    }

    async fn plan(&self, cx: &StepCx) -> Result<(Store, Store, SyncPlan), StepError> {
        let (source, target) = self.stores(cx)?;
        let exclude = Exclude::new(&self.exclude);
        let plan = async {
            let here = source.manifest(&exclude).await?;
            let there = match target.manifest(&exclude).await {
                // The first copy makes the folder.
                Err(FilesError::NoFolder(_)) => Manifest::default(),
                there => there?,
            };
            let before = files::copied_before(&progress_file(cx));
            files::plan((&source, &here), (&target, &there), self.differs, &before, &cx.cancel)
                .await
        };
        let plan = plan.await.map_err(|error| error.as_step_error(&self.attempted()))?;
        Ok((source, target, plan))
    }

    fn deletes(&self, plan: &SyncPlan) -> usize {
        if self.delete_extra { plan.extra.len() } else { 0 }
    }

    fn intent(&self, source: &Store, target: &Store) -> Intent {
        let undo = if self.delete_extra { Undo::Irreversible } else { Undo::LeavesInPlace };
        Intent::new(
            "tree",
            target.folder().display().to_string(),
            "copy",
            (Repeat::Repeatable, undo),
            Value::Null,
            json!({
                "source": source.folder(),
                "differs": self.differs,
                "exclude": self.exclude,
                "delete_extra": self.delete_extra,
            }),
        )
    }

    fn stopped(&self, error: &SyncError) -> StepError {
        if matches!(error, SyncError::Files(FilesError::Cancelled)) {
            let mut stopped = StepError::cancelled(&self.attempted());
            "files already copied stay; every file at the target is whole"
                .clone_into(&mut stopped.known);
            return stopped;
        }
        let (code, class) = match error {
            SyncError::Changing(_) => ("MIG0303", FailureClass::Failed),
            _ => ("MIG0302", FailureClass::Failed),
        };
        let known = "files already copied stay; every file at the target is whole";
        let error = StepError::new(class, code, self.attempted(), known).because(error);
        error.hint("remove the cause and run `migrate resume`: what has been copied is not copied again").retryable()
    }
}

/// Beside the journal; step ids are file names but for the brackets of `each`, which every file system takes.
fn progress_file(cx: &StepCx) -> PathBuf {
    cx.world.progress_dir.join(format!("{}.files.jsonl", cx.step.id))
}

fn not_copied(report: &SyncReport) -> Option<Evidence> {
    let (path, why) = report.not_copied.first_key_value()?;
    let count = report.not_copied.len();
    Some(Evidence {
        check: "files not copied".to_owned(),
        verdict: "not copied".to_owned(),
        detail: format!("{count}; first {path}: {why}"),
        holds: false,
    })
}

#[async_trait]
impl Step for With {
    async fn preview(&self, cx: &StepCx) -> Result<Preview, StepError> {
        let (_, target, plan) = self.plan(cx).await?;
        let deletes = self.deletes(&plan);
        let mut changes = Vec::new();
        if !plan.copy.is_empty() || deletes > 0 {
            let extra = if deletes > 0 { format!(", {deletes} deleted") } else { String::new() };
            changes.push(Change {
                target: target.name().to_owned(),
                verb: "copy".to_owned(),
                before: Some(format!("{} files equal", plan.equal)),
                after: Some(format!(
                    "{} files ({} bytes) copied{extra}",
                    plan.copy.len(),
                    plan.bytes()
                )),
            });
        }
        let not_copied = not_copied(&SyncReport {
            not_copied: plan.not_copied.clone(),
            ..SyncReport::default()
        });
        Ok(Preview { changes, readings: not_copied.into_iter().collect() })
    }

    async fn perform(&self, cx: &mut PerformCx<'_>) -> Result<Outcome, StepError> {
        let (source, target, plan) = self.plan(cx).await?;
        // A sync that failed in the middle is not done, in a known state; what has been copied stays copied.
        let observed = cx
            .change(self.intent(&source, &target), async |permit| {
                let progress = cx.progress.clone();
                let seen = move |done, total| progress.amount("copying", done, total, "files");
                let report = files::carry_out(
                    &plan,
                    (&source, &target),
                    self.delete_extra,
                    &progress_file(cx),
                    permit,
                    &cx.cancel,
                    &seen,
                )
                .await
                .map_err(|error| self.stopped(&error))?;
                Ok(json!({
                    // The whole tree: the same, however many attempts it took.
                    "files": plan.equal + plan.copy.len() as u64,
                    "bytes": plan.equal_bytes + plan.bytes(),
                    "deleted": report.deleted,
                    "equal": plan.equal,
                    "not_copied": not_copied(&report),
                }))
            })
            .await?;
        Ok(outcome(&observed))
    }

    async fn probe(&self, cx: &StepCx, _effect: &RecordedEffect) -> Verdict {
        match self.plan(cx).await {
            // Not the whole of the source was seen, so not the whole of it is in place as far as anybody knows.
            Ok((_, _, plan)) if plan.unread().is_some() => Verdict::NotDone,
            Ok((_, _, plan)) if plan.copy.is_empty() && self.deletes(&plan) == 0 => {
                let not_copied = not_copied(&SyncReport {
                    not_copied: plan.not_copied.clone(),
                    ..SyncReport::default()
                });
                Verdict::Done {
                    observed: json!({
                        "files": plan.equal,
                        "bytes": plan.equal_bytes,
                        "deleted": 0,
                        "equal": plan.equal,
                        "not_copied": not_copied,
                    }),
                }
            }
            Ok(_) => Verdict::NotDone,
            Err(error) => Verdict::Unknown { evidence: error.to_string() },
        }
    }

    async fn undo(
        &self,
        _cx: &mut PerformCx<'_>,
        _effect: &RecordedEffect,
    ) -> Result<(), StepError> {
        // The copy stays: it harms nobody, and the engine asks only for effects that restore.
        Ok(())
    }
}

/// What later steps and the summary see, out of what was journalled as done.
fn outcome(observed: &Value) -> Outcome {
    let mut evidence = vec![Evidence {
        check: "files copied".to_owned(),
        verdict: "copied".to_owned(),
        detail: format!(
            "{} files, {} bytes in place, each copy read back; {} deleted",
            observed["files"], observed["bytes"], observed["deleted"]
        ),
        holds: true,
    }];
    evidence.extend(serde_json::from_value::<Evidence>(observed["not_copied"].clone()));
    let outputs = ["files", "bytes", "deleted"]
        .into_iter()
        .map(|name| (name.to_owned(), observed[name].clone()))
        .collect();
    Outcome { outputs, evidence }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::super::testing::Bench;
    use super::*;

    fn bench(with: &Value) -> Bench {
        let systems = json!({ "a": { "folder": "source" }, "b": { "folder": "target" } });
        let bench = Bench::new("files.sync", with, &systems);
        fs::create_dir(bench.folder.path().join("source")).expect("a folder");
        fs::write(bench.folder.path().join("source/one"), "1").expect("a file");
        bench
    }

    #[tokio::test]
    async fn a_tree_is_one_effect_and_a_second_attempt_does_nothing() {
        let bench = bench(&json!({ "source": "a", "target": "b" }));
        let outcome = bench.perform().await.expect("copied");
        assert_eq!(outcome.outputs["files"], json!(1));
        assert_eq!(bench.perform().await.expect("done already"), outcome);
        let [effect] = &bench.effects.recorded()[..] else { panic!("one effect") };
        assert!(matches!(bench.step().probe(&bench.cx, effect).await, Verdict::Done { .. }));
        fs::write(bench.folder.path().join("source/two"), "2").expect("a file");
        assert_eq!(bench.step().probe(&bench.cx, effect).await, Verdict::NotDone);
    }

    #[tokio::test]
    async fn a_preview_makes_no_folder() {
        let bench = bench(&json!({ "source": "a", "target": "b" }));
        let preview = bench.step().preview(&bench.cx).await.expect("a preview");
        assert_eq!(preview.changes[0].after.as_deref(), Some("1 files (1 bytes) copied"));
        assert!(!bench.folder.path().join("target").exists());
        assert!(!bench.cx.world.progress_dir.exists());
    }

    #[tokio::test]
    async fn links_are_evidence_that_does_not_hold() {
        let bench = bench(&json!({ "source": "a", "target": "b" }));
        std::os::unix::fs::symlink("one", bench.folder.path().join("source/link")).expect("a link");
        let outcome = bench.perform().await.expect("copied");
        assert_eq!(
            outcome.evidence[1].detail,
            "1; first link: a symbolic link to one, not followed"
        );
        assert!(!outcome.evidence[1].holds);
    }

    #[tokio::test]
    async fn a_system_of_another_kind_is_named() {
        let bench = bench(&json!({ "source": "a", "target": "c" }));
        let error = bench.perform().await.expect_err("no system");
        assert_eq!(
            (error.code.as_str(), error.known.as_str()),
            ("MIG0307", "there is no system `c`")
        );
    }
}
