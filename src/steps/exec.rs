//! `exec`: runs a command of the author's. It says how to probe it or that repeating is safe; else a crash in it is unknown.
//!
//! The process is journalled before it runs. After a crash the probe waits for one that still runs, and knows of one that
//! never did.

use std::collections::BTreeMap;
use std::time::Duration;

use async_trait::async_trait;
use schemars::JsonSchema;
use secrecy::SecretString;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::{Change, Granted, Kind, Outcome, PerformCx, Preview, Step, StepCx, StepError};
use crate::plan::{Class, KindSpec, Role};
use crate::process::{Ended, Identity, ProcessError, Program};
use crate::run::{Evidence, FailureClass, Intent, RecordedEffect, Repeat, Sent, Undo, Verdict};

/// Key of the intent.
const KEY: &str = "run";
/// Key of the intent that takes it back.
const UNDO_KEY: &str = "undo:run";
/// Standard error shown in a failure, from its end.
const STDERR_SHOWN: usize = 2000;
/// Between two looks at a process that outlived us, in real time.
const LOOK: Duration = Duration::from_millis(500);

/// Parameters of `exec`.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct With {
    /// The program and its arguments; no shell reads them. Either this or `shell`.
    #[serde(default)]
    pub argv: Vec<String>,
    /// A script for `/bin/sh`. Values of a run reach it through `env` only.
    #[serde(default)]
    pub shell: Option<String>,
    /// Environment variables besides `PATH`, `HOME` and `LANG`: texts, or `{ secret: name }`.
    #[serde(default)]
    pub env: BTreeMap<String, EnvValue>,
    /// Where it runs; the runbook's folder when not given.
    #[serde(default)]
    pub folder: Option<String>,
    /// A command that only reads and tells whether the work is done: exit code 0 is done, 1 is not done, others are unknown.
    #[serde(default)]
    pub probe: Vec<String>,
    /// Say `repeatable` if running it again is harmless.
    #[serde(default)]
    pub repeat: Option<Harmless>,
    /// A command that takes it back, or `leaves-in-place` where nothing needs to be.
    #[serde(default)]
    pub undo: Option<UndoBy>,
}

/// The value of an environment variable.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(untagged)]
pub enum EnvValue {
    /// As it stands.
    Text(String),
    /// A secret.
    Secret(SecretName),
}

/// A reference to a secret.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct SecretName {
    /// Its name under `secrets`.
    pub secret: String,
}

/// The author's word that a repeat is harmless.
#[derive(Debug, Clone, Copy, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Harmless {
    /// Running it again changes nothing more.
    Repeatable,
}

/// How a command is taken back.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(untagged)]
pub enum UndoBy {
    /// By another command.
    Argv(Vec<String>),
    /// Not at all, and that harms nothing.
    Nothing(LeavesInPlace),
}

/// The author's word that what a command leaves behind is harmless.
#[derive(Debug, Clone, Copy, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum LeavesInPlace {
    /// It stays.
    LeavesInPlace,
}

/// The kind.
pub const KIND: Kind = Kind {
    spec: KindSpec {
        name: "exec",
        summary: "Run a command",
        docs: "Runs `argv` without a shell, or `shell` as a script for `/bin/sh` that gets values through `env` only. The child sees `PATH`, \
               `HOME`, `LANG` and what `env` names, has no input, a process group of its own, and of its output the first and the last \
               32 KiB are kept.\n\n\
               After a crash somebody must know whether it did its work: `probe` (a command that only reads: exit code 0 done, 1 not done, \
               others unknown) or `repeat: repeatable`. Without either, a command cut off in the middle stops the run for `migrate resolve`. \
               Exit code 0 is success; any other says that the work was not done, and the next attempt runs it again.\n\n\
               `undo:` names a command that takes it back, or `leaves-in-place`. Without it a rollback lists the step as manual work. \
               Outputs: `stdout`, `exit_code`; they are journalled, so a command must not print secrets that this program does not know.",
        example: include_str!("../../examples/steps/exec.yaml"),
        class: Class::Action,
        repeat: Repeat::Ask,
        undo: Undo::Irreversible,
        roles: &[Role::Custom],
        outputs: &["stdout", "exit_code"],
        open_outputs: false,
        schema: || schemars::schema_for!(With),
        check: |from| {
            let with: With = erased_serde::deserialize(from)?;
            with.valid().map_err(serde::de::Error::custom)?;
            // What is still an expression here would become part of the script when it is known.
            if with.shell.is_some_and(|script| script.contains("{{")) {
                let why = "`shell` takes no values of a run in its text; hand them over in `env`";
                return Err(serde::de::Error::custom(why));
            }
            Ok(())
        },
        describe,
    },
    build: |with| {
        let with: With = super::read(with)?;
        with.valid()?;
        Ok(Box::new(with))
    },
};

fn describe(with: &Value) -> Vec<String> {
    let argv = with["argv"]
        .as_array()
        .map(|argv| argv.iter().filter_map(Value::as_str).collect::<Vec<_>>().join(" "));
    let shell = || with["shell"].as_str().unwrap_or("?").lines().next().unwrap_or_default();
    vec![format!(
        "run {}",
        argv.filter(|argv| !argv.is_empty()).unwrap_or_else(|| shell().to_owned())
    )]
}

impl With {
    fn valid(&self) -> Result<(), String> {
        match (&self.shell, self.argv.is_empty()) {
            (Some(_), false) => Err("`argv` and `shell` exclude each other".to_owned()),
            (None, true) => Err("there is nothing to run; say `argv` or `shell`".to_owned()),
            _ => Ok(()),
        }
    }

    fn argv(&self) -> Vec<String> {
        match &self.shell {
            Some(script) => vec!["/bin/sh".to_owned(), "-c".to_owned(), script.clone()],
            None => self.argv.clone(),
        }
    }

    fn shown(&self) -> String {
        match &self.shell {
            Some(script) => format!("shell: {}", script.lines().next().unwrap_or_default()),
            None => self.argv.join(" "),
        }
    }

    fn classes(&self) -> (Repeat, Undo) {
        let repeat = if self.repeat.is_some() { Repeat::Repeatable } else { Repeat::Ask };
        let undo = match self.undo {
            Some(UndoBy::Argv(_)) => Undo::Restores,
            Some(UndoBy::Nothing(_)) => Undo::LeavesInPlace,
            None => Undo::Irreversible,
        };
        (repeat, undo)
    }

    async fn program(&self, cx: &StepCx, argv: Vec<String>) -> Result<Program, StepError> {
        let mut env = BTreeMap::new();
        for (name, value) in &self.env {
            let value = match value {
                EnvValue::Text(text) => SecretString::from(text.clone()),
                EnvValue::Secret(SecretName { secret }) => {
                    cx.world.secrets.get(secret).await.map_err(|why| {
                        let known = "the command was not started";
                        let class = FailureClass::Failed;
                        StepError::new(class, "MIG0502", format!("run {}", self.shown()), known)
                            .cause(why)
                    })?
                }
            };
            env.insert(name.clone(), value);
        }
        let folder =
            self.folder.as_ref().map_or_else(|| cx.world.base.clone(), |path| cx.path(path));
        Ok(Program { argv, env, folder, redactor: cx.world.secrets.redactor() })
    }

    /// Carries one command out, from intent to outcome; answers with what was journalled as done.
    async fn carry_out(
        &self,
        cx: &PerformCx<'_>,
        intent: Intent,
        argv: Vec<String>,
    ) -> Result<Value, StepError> {
        let attempted = format!("run {}", intent.target);
        let program = self.program(cx, argv).await?;
        let permit = match cx.effects.intend(intent).await? {
            Granted::AlreadyDone(observed) => return Ok(observed),
            Granted::Permit(permit) => permit,
        };
        let held = match program.hold() {
            Ok(held) => held,
            Err(error) => {
                let error = self.lost(cx, &attempted, &error);
                cx.effects.not_done(permit, &error.to_string()).await?;
                return Err(error);
            }
        };
        let request_id = held.identity().map(|process| process.as_str().to_owned());
        cx.effects.sent(&permit, Sent { operation_url: None, request_id }).await?;
        cx.progress.say(attempted.clone());
        let ended = held.go(&permit, &cx.cancel).await;
        let ended = ended.map_err(|error| self.lost(cx, &attempted, &error))?;
        match ended.code {
            Some(0) => {
                let observed =
                    json!({ "exit_code": 0, "stdout": clean(cx, ended.stdout.trim_end()) });
                cx.effects.done(permit, observed.clone()).await?;
                Ok(observed)
            }
            Some(code) => {
                let error = failed(cx, &attempted, code, &ended);
                cx.effects.not_done(permit, &error.to_string()).await?;
                Err(error)
            }
            None => {
                let known = "a signal ended the command in the middle";
                let error = StepError::new(FailureClass::Unknown, "MIG0502", attempted, known);
                Err(error.cause(tail(&clean(cx, &ended.stderr))))
            }
        }
    }

    fn lost(&self, cx: &StepCx, attempted: &str, error: &ProcessError) -> StepError {
        let code = "MIG0502";
        match error {
            ProcessError::NotStarted { .. } => {
                let known = "the command was not started; nothing was changed";
                StepError::new(FailureClass::Failed, code, attempted, known).because(error)
            }
            ProcessError::Lost(_) => {
                let known = "the command was started; how far it came is not known";
                StepError::new(FailureClass::Unknown, code, attempted, known).because(error)
            }
            ProcessError::Stopped => {
                let mut stopped = StepError::cancelled(attempted);
                "the command and everything it started were stopped in the middle"
                    .clone_into(&mut stopped.known);
                let hint = if self.probe.is_empty() && self.repeat.is_none() {
                    format!("look what it did, then `migrate resolve {}`", cx.step.id)
                } else {
                    "`migrate resume` finds out how far it came".to_owned()
                };
                stopped.hint(hint)
            }
        }
    }

    /// Asks the author's probe.
    async fn ask_probe(&self, cx: &StepCx) -> Result<bool, String> {
        if self.probe.is_empty() {
            return Err("the step has no `probe`".to_owned());
        }
        let program =
            self.program(cx, self.probe.clone()).await.map_err(|error| error.to_string())?;
        match program.read(&cx.cancel).await.map_err(|error| error.to_string())? {
            Ended { code: Some(0), .. } => Ok(true),
            Ended { code: Some(1), .. } => Ok(false),
            Ended { code, stderr, .. } => {
                let code =
                    code.map_or_else(|| "a signal".to_owned(), |code| format!("code {code}"));
                Err(format!("the probe ended with {code}: {}", tail(&clean(cx, &stderr))))
            }
        }
    }
}

/// Without any secret that this run knows.
fn clean(cx: &StepCx, text: &str) -> String {
    cx.world.secrets.redactor().redact(text).into_owned()
}

fn tail(text: &str) -> String {
    let text = text.trim_end();
    let from = text.len().saturating_sub(STDERR_SHOWN);
    let from = (from..=text.len()).find(|&at| text.is_char_boundary(at)).unwrap_or_default();
    if text.is_empty() {
        "it wrote nothing to standard error".to_owned()
    } else {
        text[from..].to_owned()
    }
}

fn failed(cx: &StepCx, attempted: &str, code: i32, ended: &Ended) -> StepError {
    let known = format!("the command ended with code {code}: it says that it did not do its work");
    StepError::new(FailureClass::Failed, "MIG0501", attempted, known)
        .cause(tail(&clean(cx, &ended.stderr)))
        .hint("remove the cause; `migrate resume` runs the command again")
        .retryable()
}

/// Waits, in real time, for a process that outlived the program that started it.
async fn outlive(cx: &StepCx, process: &Identity) -> Result<(), String> {
    while process.is_running() == Some(true) {
        cx.progress.say(format!("waits for {} from an earlier attempt", process.as_str()));
        tokio::select! {
            () = tokio::time::sleep(LOOK) => {}
            () = cx.cancel.cancelled() => {
                return Err(format!("{} from an earlier attempt still runs", process.as_str()));
            }
        }
    }
    Ok(())
}

#[async_trait]
impl Step for With {
    async fn preview(&self, _cx: &StepCx) -> Result<Preview, StepError> {
        let change = Change {
            target: self.shown(),
            verb: "run".to_owned(),
            before: None,
            after: Some(match (self.probe.is_empty(), self.repeat) {
                (false, _) => "with a probe".to_owned(),
                (true, Some(_)) => "repeatable".to_owned(),
                (true, None) => "unknown if it is cut off in the middle".to_owned(),
            }),
        };
        Ok(Preview { changes: vec![change], readings: Vec::new() })
    }

    async fn perform(&self, cx: &mut PerformCx<'_>) -> Result<Outcome, StepError> {
        let names: Vec<&String> = self.env.keys().collect();
        let after = json!({ "argv": self.argv(), "folder": self.folder, "env": names });
        let intent = Intent::new(KEY, self.shown(), "run", self.classes(), Value::Null, after);
        let observed = self.carry_out(cx, intent, self.argv()).await?;
        let ended = Evidence {
            check: format!("run {}", self.shown()),
            verdict: "done".to_owned(),
            detail: match observed["exit_code"].as_i64() {
                Some(code) => format!("exit code {code}"),
                None => "the probe says so".to_owned(),
            },
            holds: true,
        };
        let outputs = ["stdout", "exit_code"].map(|name| (name.to_owned(), observed[name].clone()));
        Ok(Outcome { outputs: outputs.into(), evidence: vec![ended] })
    }

    async fn probe(&self, cx: &StepCx, effect: &RecordedEffect) -> Verdict {
        let Some(sent) = &effect.sent else {
            // The command waits for a word that is only said after this record.
            return Verdict::NotDone;
        };
        let process = sent.request_id.as_deref().and_then(Identity::parse);
        if let Some(process) = &process
            && let Err(evidence) = outlive(cx, process).await
        {
            return Verdict::Unknown { evidence };
        }
        let undo = effect.intent.key == UNDO_KEY;
        match self.ask_probe(cx).await {
            Ok(in_place) if in_place != undo => {
                Verdict::Done { observed: json!({ "exit_code": null, "stdout": null }) }
            }
            Ok(_) => Verdict::NotDone,
            Err(why) => {
                let process = process.as_ref().map_or("a process", Identity::as_str);
                let evidence =
                    format!("{process} was started and has ended, nobody saw how; {why}");
                Verdict::Unknown { evidence }
            }
        }
    }

    async fn undo(&self, cx: &mut PerformCx<'_>, effect: &RecordedEffect) -> Result<(), StepError> {
        let Some(UndoBy::Argv(argv)) = &self.undo else { return Ok(()) };
        let intent = Intent::new(
            UNDO_KEY,
            argv.join(" "),
            "run",
            (self.classes().0, Undo::LeavesInPlace),
            effect.observed.clone().unwrap_or_default(),
            json!({ "argv": argv, "folder": self.folder }),
        );
        self.carry_out(cx, intent, argv.clone()).await.map(drop)
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::Bench;
    use super::*;
    use crate::diagnostic::redact::Redactor;

    fn bench(with: &Value) -> Bench {
        Bench::new("exec", with, &json!({}))
    }

    #[tokio::test]
    async fn a_command_runs_once() {
        let bench = bench(&json!({ "shell": "echo x >> ran; cat ran" }));
        let outcome = bench.perform().await.expect("run");
        assert_eq!(outcome.outputs["stdout"], json!("x"));
        assert_eq!(bench.perform().await.expect("done already"), outcome);
        let [effect] = &bench.effects.recorded()[..] else { panic!("one effect") };
        assert_eq!(effect.intent.repeat, Repeat::Ask);
        assert!(effect.sent.as_ref().is_some_and(|sent| sent.request_id.is_some()));
    }

    #[tokio::test]
    async fn another_exit_code_is_a_known_failure() {
        let bench = bench(&json!({ "argv": ["/bin/sh", "-c", "echo why >&2; exit 4"] }));
        let error = bench.perform().await.expect_err("failed");
        assert_eq!((error.code.as_str(), error.class), ("MIG0501", FailureClass::Failed));
        assert_eq!(error.causes, ["why"]);
        assert!(bench.effects.why_not(KEY).is_some());
    }

    #[tokio::test]
    async fn a_command_cut_off_is_unknown_without_a_probe_and_known_with_one() {
        let without = bench(&json!({ "shell": "touch begun; kill -9 $$" }));
        let error = without.perform().await.expect_err("killed");
        assert_eq!(error.class, FailureClass::Unknown);
        let effect = &without.effects.recorded()[0];
        assert!(matches!(without.step().probe(&without.cx, effect).await, Verdict::Unknown { .. }));
        for (file, done) in [("begun", true), ("never", false)] {
            let with = json!({ "shell": "touch begun; kill -9 $$", "probe": ["test", "-e", file] });
            let bench = bench(&with);
            bench.perform().await.expect_err("killed");
            let verdict = bench.step().probe(&bench.cx, &bench.effects.recorded()[0]).await;
            assert_eq!(matches!(verdict, Verdict::Done { .. }), done, "{verdict:?}");
        }
    }

    #[tokio::test]
    async fn what_was_never_let_go_is_not_done() {
        let bench = bench(&json!({ "argv": ["no-such-program-anywhere"] }));
        let error = bench.perform().await.expect_err("not there");
        assert_eq!((error.code.as_str(), error.class), ("MIG0502", FailureClass::Failed));
        let verdict = bench.step().probe(&bench.cx, &bench.effects.recorded()[0]).await;
        assert_eq!(verdict, Verdict::NotDone);
    }

    #[tokio::test]
    async fn the_probe_waits_for_a_process_that_outlived_us() {
        let bench = bench(&json!({ "argv": ["true"], "probe": ["test", "-e", "done"] }));
        bench.perform().await.expect("run");
        // A process of an earlier attempt that still runs, and does its work while the probe waits.
        let script = "read -r word; touch done";
        let argv = ["/bin/sh", "-c", script].map(str::to_owned).to_vec();
        let folder = bench.folder.path().to_owned();
        let still = Program { argv, env: BTreeMap::new(), folder, redactor: Redactor::default() }
            .hold()
            .expect("a child");
        let mut effect = bench.effects.recorded()[0].clone();
        effect.sent = still.identity().map(|process| Sent {
            operation_url: None,
            request_id: Some(process.as_str().to_owned()),
        });
        let probe = bench.step().probe(&bench.cx, &effect);
        let permit = crate::journal::EffectPermit::for_test(KEY);
        let (verdict, ended) = tokio::join!(probe, still.go(&permit, &bench.cx.cancel));
        assert_eq!(ended.expect("an end").code, Some(0));
        assert!(matches!(verdict, Verdict::Done { .. }), "{verdict:?}");
    }

    #[tokio::test]
    async fn a_preview_runs_nothing_and_undo_runs_its_command() {
        let bench = bench(&json!({ "shell": "touch it", "undo": ["rm", "it"] }));
        bench.step().preview(&bench.cx).await.expect("a preview");
        assert!(!bench.folder.path().join("it").exists());
        bench.perform().await.expect("run");
        assert!(bench.folder.path().join("it").exists());
        bench.undo(&bench.effects.recorded()[0]).await.expect("undone");
        assert!(!bench.folder.path().join("it").exists());
    }

    #[test]
    fn a_script_takes_no_values_in_its_text() {
        let check = |with: Value| {
            let mut from = <dyn erased_serde::Deserializer>::erase(with);
            (KIND.spec.check)(&mut from).is_ok()
        };
        assert!(check(json!({ "shell": "echo $X", "env": { "X": "{{ steps.a.x }}" } })));
        assert!(!check(json!({ "shell": "echo {{ steps.a.x }}" })));
        assert!(!check(json!({ "shell": "true", "argv": ["true"] })));
    }

    #[tokio::test]
    async fn a_stopped_command_is_left_in_doubt() {
        let bench = bench(&json!({ "argv": ["sleep", "1000"] }));
        bench.cx.cancel.cancel();
        let error = bench.perform().await.expect_err("stopped");
        assert_eq!(error.class, FailureClass::Cancelled);
        let effect = &bench.effects.recorded()[0];
        assert!(!effect.done && bench.effects.why_not(KEY).is_none());
    }
}
