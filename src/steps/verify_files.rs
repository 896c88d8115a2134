//! `verify.files`: compares two trees by content. Only all-equal opens what comes after it.

use async_trait::async_trait;
use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::{Value, json};

use super::{Kind, Outcome, PerformCx, Preview, Step, StepCx, StepError};
use crate::files::{self, Comparison, Exclude, Hash, Store};
use crate::plan::{Class, KindSpec, Role};
use crate::run::{Evidence, FailureClass, RecordedEffect, Repeat, Undo, Verdict};

/// Differences that are named one by one.
const NAMED: usize = 20;

/// Parameters of `verify.files`.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct With {
    /// The system the files came from: `{ folder: path }` under `systems`.
    pub source: String,
    /// The system they were copied to.
    pub target: String,
    /// Digests to compare: `sha256` (default), `md5`, or both.
    #[serde(default = "sha256")]
    #[schemars(length(min = 1))]
    pub hashes: Vec<Hash>,
    /// Compare times of change as well.
    #[serde(default)]
    pub times: bool,
    /// Paths relative to the tree that are left out, each with everything below it.
    #[serde(default)]
    pub exclude: Vec<String>,
}

fn sha256() -> Vec<Hash> {
    vec![Hash::Sha256]
}

/// The kind.
pub const KIND: Kind = Kind {
    spec: KindSpec {
        name: "verify.files",
        summary: "Compare two file trees by content",
        docs: "Reads every file on both sides and compares sizes and digests. Each file is equal, different, missing (at the \
               target), extra (at the target) or not compared; a file that could not be read, a symbolic link, a special file \
               and a name that is not text are *not compared*, never equal.\n\n\
               The step succeeds only if every file is equal. Otherwise it fails as a mismatch (exit 7) and names the first 20 \
               differences. Empty folders, owners and modes are not compared. MD5 finds accidents, not forgeries.",
        example: include_str!("../../examples/steps/verify.files.yaml"),
        class: Class::Check,
        repeat: Repeat::Repeatable,
        undo: Undo::LeavesInPlace,
        roles: &[Role::VerifiesData],
        outputs: &["files", "bytes", "digest"],
        open_outputs: false,
        schema: || schemars::schema_for!(With),
        check: super::check::<With>,
        describe,
    },
    build: |with| {
        let with: With = super::read(with)?;
        if with.hashes.is_empty() {
            return Err("`hashes` is empty; without a digest nothing is compared".to_owned());
        }
        Ok(Box::new(with))
    },
};

fn describe(with: &Value) -> Vec<String> {
    let text = |key: &str| with[key].as_str().unwrap_or("?").to_owned();
    vec![format!("files of {} = {}", text("source"), text("target"))]
}

impl With {
    fn attempted(&self) -> String {
        format!("compare files of {} and {}", self.source, self.target)
    }

    /// The target's folder as written, when an earlier step of the runbook has yet to bring it.
    fn target_to_come<'a>(&self, cx: &'a StepCx) -> Option<&'a str> {
        let path = cx.world.plan.systems.get(&self.target)?["folder"].as_str()?;
        (!cx.path(path).exists()).then_some(path)
    }

    async fn compare(&self, cx: &StepCx) -> Result<Comparison, StepError> {
        let store = |name: &str| {
            Store::of(name, cx.world.plan.systems.get(name), |path| cx.path(path)).map_err(|why| {
                StepError::new(FailureClass::Failed, "MIG0307", self.attempted(), why)
                    .hint("correct `systems` in the runbook")
            })
        };
        let (source, target) = (store(&self.source)?, store(&self.target)?);
        let exclude = Exclude::new(&self.exclude);
        let how = (&exclude, self.hashes.as_slice(), self.times);
        let progress = cx.progress.clone();
        let seen = move |done, total| progress.amount("comparing", done, total, "files");
        files::compare(&source, &target, how, &cx.cancel, &seen)
            .await
            .map_err(|error| error.as_step_error(&self.attempted()))
    }

    fn evidence(&self, found: &Comparison) -> Evidence {
        let [different, missing, extra, not_compared] = found.counts();
        let verdict = match () {
            () if found.all_equal() => "equal",
            () if different + missing + extra == 0 => "not compared",
            () => "different",
        };
        Evidence {
            check: format!("files of {} and {}", self.source, self.target),
            verdict: verdict.to_owned(),
            detail: format!(
                "{} equal ({} bytes), {different} different, {missing} missing, {extra} extra, {not_compared} not compared; \
                 source {} files, {} bytes; target {} files, {} bytes",
                found.equal,
                found.equal_bytes,
                found.source.0,
                found.source.1,
                found.target.0,
                found.target.1
            ),
            holds: found.all_equal(),
        }
    }

    fn mismatch(&self, found: &Comparison) -> StepError {
        let mut error = StepError::new(
            FailureClass::Mismatch,
            "MIG0304",
            self.attempted(),
            self.evidence(found).detail,
        )
        .hint(
            "copy again with `files.sync`, or look at the files named; nothing was changed by this",
        );
        let named = found.rest.iter().take(NAMED);
        error.causes.extend(named.map(|(path, verdict)| format!("{path}: {verdict}")));
        let more = found.rest.len().saturating_sub(NAMED);
        if more > 0 { error.cause(format!("and {more} more")) } else { error }
    }
}

#[async_trait]
impl Step for With {
    async fn preview(&self, cx: &StepCx) -> Result<Preview, StepError> {
        let reading = match self.target_to_come(cx) {
            Some(path) => Evidence {
                check: format!("files of {} and {}", self.source, self.target),
                verdict: "not compared".to_owned(),
                detail: format!("{path} is not there yet"),
                holds: false,
            },
            None => self.evidence(&self.compare(cx).await?),
        };
        Ok(Preview { changes: Vec::new(), readings: vec![reading] })
    }

    async fn perform(&self, cx: &mut PerformCx<'_>) -> Result<Outcome, StepError> {
        let found = self.compare(cx).await?;
        if !found.all_equal() {
            return Err(self.mismatch(&found));
        }
        let outputs = [
            ("files", json!(found.equal)),
            ("bytes", json!(found.equal_bytes)),
            ("digest", json!(found.tree)),
        ];
        Ok(Outcome {
            outputs: outputs.into_iter().map(|(name, value)| (name.to_owned(), value)).collect(),
            evidence: vec![self.evidence(&found)],
        })
    }

    async fn probe(&self, _cx: &StepCx, _effect: &RecordedEffect) -> Verdict {
        // A check declares no effect.
        Verdict::NotDone
    }

    async fn undo(
        &self,
        _cx: &mut PerformCx<'_>,
        _effect: &RecordedEffect,
    ) -> Result<(), StepError> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::super::testing::Bench;
    use super::*;

    fn bench(files: &[(&str, &str)]) -> Bench {
        let systems = json!({ "a": { "folder": "source" }, "b": { "folder": "target" } });
        let bench = Bench::new("verify.files", &json!({ "source": "a", "target": "b" }), &systems);
        for side in ["source", "target"] {
            fs::create_dir(bench.folder.path().join(side)).expect("a folder");
        }
        for (path, text) in files {
            fs::write(bench.folder.path().join(path), text).expect("a file");
        }
        bench
    }

    #[tokio::test]
    async fn only_all_equal_succeeds() {
        let equal = bench(&[("source/a", "1"), ("target/a", "1")]);
        let outcome = equal.perform().await.expect("equal");
        assert!(outcome.evidence[0].holds);
        let different = bench(&[("source/a", "1"), ("target/a", "2")]);
        let error = different.perform().await.expect_err("different");
        assert_eq!((error.class, error.code.as_str()), (FailureClass::Mismatch, "MIG0304"));
    }

    #[tokio::test]
    async fn twenty_differences_are_named() {
        let names: Vec<String> = (0..25).map(|at| format!("source/{at:02}")).collect();
        let files: Vec<(&str, &str)> = names.iter().map(|name| (name.as_str(), "1")).collect();
        let error = bench(&files).perform().await.expect_err("all missing");
        assert_eq!(error.causes.len(), 21);
        assert_eq!(error.causes[0], "00: missing at the target");
        assert_eq!(error.causes[20], "and 5 more");
    }

    #[tokio::test]
    async fn a_target_to_come_is_foreseen_but_is_no_equal_target() {
        let bench = bench(&[("source/a", "1")]);
        fs::remove_dir(bench.folder.path().join("target")).expect("it goes");
        let preview = bench.step().preview(&bench.cx).await.expect("a preview");
        assert_eq!(preview.readings[0].detail, "target is not there yet");
        let error = bench.perform().await.expect_err("no target");
        assert_eq!(error.code.as_str(), "MIG0301");
    }

    #[tokio::test]
    async fn what_was_not_compared_does_not_open_the_gate() {
        let bench = bench(&[("source/a", "1"), ("target/a", "1")]);
        std::os::unix::fs::symlink("a", bench.folder.path().join("source/b")).expect("a link");
        std::os::unix::fs::symlink("a", bench.folder.path().join("target/b")).expect("a link");
        let error = bench.perform().await.expect_err("not compared");
        assert_eq!(error.class, FailureClass::Mismatch);
        let preview = bench.step().preview(&bench.cx).await.expect("a preview");
        assert_eq!(preview.readings[0].verdict, "not compared");
    }
}
