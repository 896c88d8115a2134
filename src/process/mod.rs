//! Child processes: a scrubbed environment, a process group of their own, capped output, and no start before a journal
//! record says so.
//!
//! A child is spawned *held*: it waits for one word from us before it becomes the command. If we die before saying it, the
//! command never runs; if we die after, the journal knows the process and [`Identity::is_running`] finds it again. Descriptors
//! of this process are never inherited (Rust opens them close-on-exec), standard input is empty.

mod capture;
mod identity;

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use secrecy::{ExposeSecret as _, SecretString};
use tokio::io::AsyncWriteExt as _;
use tokio::process::{Child, ChildStdin, Command};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use crate::crash;
use crate::diagnostic::redact::Redactor;
use crate::journal::EffectPermit;
use capture::capture;
pub use identity::Identity;

/// Variables a child gets from us; everything else is named in the runbook.
const INHERITED: [&str; 3] = ["PATH", "HOME", "LANG"];
/// The word a held child waits for, then becomes the command. Arguments are passed on, never interpolated.
const HOLD: &str = r#"read -r word && [ "$word" = go ] || exit 125; exec "$@" </dev/null"#;
/// Between asking a group to end and killing it.
const MERCY: Duration = Duration::from_secs(2);
/// How long output is still read after the child has ended, in case its own children hold the pipe.
const LAST_WORDS: Duration = Duration::from_millis(500);

/// A command to run.
#[derive(Debug, Clone)]
pub struct Program {
    /// The program and its arguments; never empty.
    pub argv: Vec<String>,
    /// Variables besides the few that are inherited.
    pub env: BTreeMap<String, SecretString>,
    /// Where it runs.
    pub folder: PathBuf,
    /// Whose secrets are not to be cut in half where output is left out.
    pub redactor: Redactor,
}

/// How a child ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ended {
    /// Its exit code; none when a signal ended it.
    pub code: Option<i32>,
    /// Standard output, head and tail.
    pub stdout: String,
    /// Standard error, head and tail.
    pub stderr: String,
}

/// Why there is no [`Ended`].
#[derive(Debug, thiserror::Error)]
pub enum ProcessError {
    /// Nothing was started.
    #[error("can not start {program}")]
    NotStarted {
        /// The program.
        program: String,
        /// Why not.
        #[source]
        cause: io::Error,
    },
    /// It was started, and what became of it could not be read.
    #[error("lost sight of the command")]
    Lost(#[source] io::Error),
    /// We ended it, and everything in its group.
    #[error("the command was stopped")]
    Stopped,
}

/// A child that waits for our word.
#[derive(Debug)]
pub struct Held {
    /// What is run, without its arguments.
    name: String,
    group: Group,
    word: ChildStdin,
    output: [JoinHandle<String>; 2],
    /// Ends the reading of output.
    enough: CancellationToken,
}

impl Program {
    /// Spawns it held. Nothing of the command has run when this returns.
    pub fn hold(&self) -> Result<Held, ProcessError> {
        let program = self.argv.first().map(String::as_str).unwrap_or_default();
        let failed = |cause| ProcessError::NotStarted { program: program.to_owned(), cause };
        self.find(program).map_err(failed)?;
        let mut command = Command::new("/bin/sh");
        command
            .args(["-c", HOLD, "sh"])
            .args(&self.argv)
            .current_dir(&self.folder)
            .env_clear()
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .kill_on_drop(true);
        #[cfg(unix)]
        command.process_group(0);
        for name in INHERITED {
            if let Some(value) = std::env::var_os(name) {
                command.env(name, value);
            }
        }
        for (name, value) in &self.env {
            command.env(name, value.expose_secret());
        }
        let mut child = command.spawn().map_err(failed)?;
        let word = child.stdin.take().expect("standard input is piped");
        let stdout = child.stdout.take().expect("standard output is piped");
        let stderr = child.stderr.take().expect("standard error is piped");
        let enough = CancellationToken::new();
        let output = [
            tokio::spawn(capture(stdout, self.redactor.clone(), enough.clone())),
            tokio::spawn(capture(stderr, self.redactor.clone(), enough.clone())),
        ];
        let id = child.id();
        Ok(Held {
            name: program.to_owned(),
            group: Group { child, id, ended: false },
            word,
            output,
            enough,
        })
    }

    /// Runs it to its end as a reading: whoever wrote it promises that it changes nothing.
    pub async fn read(&self, cancel: &CancellationToken) -> Result<Ended, ProcessError> {
        self.hold()?.run(cancel).await
    }

    /// Whether there is such a program; a held shell would only find out later.
    fn find(&self, program: &str) -> io::Result<()> {
        let found = if program.contains('/') {
            self.folder.join(program).is_file()
        } else {
            let path = self.env.get("PATH").map(|path| path.expose_secret().into());
            let path = path.or_else(|| std::env::var_os("PATH")).unwrap_or_default();
            std::env::split_paths(&path).any(|folder: PathBuf| folder.join(program).is_file())
        };
        let missing = || io::Error::new(io::ErrorKind::NotFound, "no such program on the PATH");
        if !Path::new(&self.folder).is_dir() {
            return Err(io::Error::new(io::ErrorKind::NotFound, "its folder does not exist"));
        }
        if found { Ok(()) } else { Err(missing()) }
    }
}

impl Held {
    /// The process, for the journal.
    pub fn identity(&self) -> Option<Identity> {
        self.group.id.map(Identity::of)
    }

    /// Lets it run to its end. Cancelled, the whole group is asked to end, then killed.
    pub async fn go(
        self,
        _permit: &EffectPermit,
        cancel: &CancellationToken,
    ) -> Result<Ended, ProcessError> {
        self.run(cancel).await
    }

    async fn run(mut self, cancel: &CancellationToken) -> Result<Ended, ProcessError> {
        let call = crash::call(|| format!("start {}", self.name));
        self.word.write_all(b"go\n").await.map_err(ProcessError::Lost)?;
        drop(self.word);
        let status = tokio::select! {
            status = self.group.child.wait() => status.map_err(ProcessError::Lost)?,
            () = cancel.cancelled() => {
                self.group.end().await;
                return Err(ProcessError::Stopped);
            }
        };
        self.group.ended = true;
        call.made();
        let [stdout, stderr] = self.output;
        let mut both = std::pin::pin!(futures::future::join(stdout, stderr));
        let (stdout, stderr) = match tokio::time::timeout(LAST_WORDS, &mut both).await {
            Ok(both) => both,
            Err(_elapsed) => {
                self.enough.cancel();
                both.await
            }
        };
        let [stdout, stderr] = [stdout, stderr].map(Result::unwrap_or_default);
        Ok(Ended { code: status.code(), stdout, stderr })
    }
}

/// A child with everything it started. Dropped before its end, all of it is killed.
#[derive(Debug)]
struct Group {
    child: Child,
    /// The group's too; the child forgets it when it has been waited for, and others of the group may outlive it.
    id: Option<u32>,
    ended: bool,
}

impl Group {
    async fn end(&mut self) {
        self.signal(rustix::process::Signal::TERM);
        // Cut off, in real time: the child does not live in a sandbox's clock.
        let _ = tokio::time::timeout(MERCY, self.child.wait()).await;
        self.signal(rustix::process::Signal::KILL);
        let _ = self.child.wait().await;
        self.ended = true;
    }

    fn signal(&self, signal: rustix::process::Signal) {
        let id = self.id.and_then(|id| i32::try_from(id).ok());
        if let Some(group) = id.and_then(rustix::process::Pid::from_raw) {
            // A group that is gone needs no signal.
            let _ = rustix::process::kill_process_group(group, signal);
        }
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        if !self.ended {
            self.signal(rustix::process::Signal::KILL);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shell(script: &str, folder: &Path) -> Program {
        let argv = ["/bin/sh", "-c", script].map(str::to_owned).to_vec();
        Program {
            argv,
            env: BTreeMap::new(),
            folder: folder.to_owned(),
            redactor: Redactor::default(),
        }
    }

    async fn run(script: &str) -> Ended {
        let folder = tempfile::tempdir().expect("a folder");
        shell(script, folder.path()).read(&CancellationToken::new()).await.expect("an end")
    }

    #[tokio::test]
    async fn code_and_output_come_back() {
        let ended = run("echo out; echo err >&2; exit 3").await;
        let wanted =
            Ended { code: Some(3), stdout: "out\n".to_owned(), stderr: "err\n".to_owned() };
        assert_eq!(ended, wanted);
        assert_eq!(run("cat; kill -9 $$").await.code, None, "empty input; ended by a signal");
    }

    #[tokio::test]
    async fn nothing_runs_before_the_word() {
        let folder = tempfile::tempdir().expect("a folder");
        let held = shell("touch ran", folder.path()).hold().expect("a child");
        let identity = held.identity().expect("a process");
        assert_eq!(identity.is_running(), Some(true));
        let Held { group, word, output, .. } = held;
        // We die: the pipe closes without a word.
        drop(word);
        let mut group = group;
        let status = group.child.wait().await.expect("an end");
        group.ended = true;
        drop(output);
        assert_eq!(status.code(), Some(125));
        assert!(!folder.path().join("ran").exists());
        assert_eq!(identity.is_running(), Some(false));
    }

    #[tokio::test]
    async fn a_cancelled_command_takes_its_children_with_it() {
        let folder = tempfile::tempdir().expect("a folder");
        let script = "trap '' TERM; sleep 1000 & echo $! > child; wait; sleep 1000";
        let (program, cancel) = (shell(script, folder.path()), CancellationToken::new());
        let child = folder.path().join("child");
        let stop = async {
            while std::fs::read_to_string(&child).map_or(true, |text| !text.ends_with('\n')) {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
            cancel.cancel();
        };
        let (stopped, ()) = tokio::join!(program.read(&cancel), stop);
        assert!(matches!(stopped, Err(ProcessError::Stopped)));
        let pid = std::fs::read_to_string(child).expect("a pid");
        let stat = format!("/proc/{}/stat", pid.trim());
        // A kill returns before its group is dead. Gone, or a zombie that only its new parent can bury; else this never ends.
        while std::fs::read_to_string(&stat).is_ok_and(|state| !state.contains(") Z ")) {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    #[tokio::test]
    async fn the_environment_is_scrubbed() {
        let folder = tempfile::tempdir().expect("a folder");
        let mut program = shell("env", folder.path());
        program.env.insert("TOKEN".to_owned(), SecretString::from("hush"));
        let ended = program.read(&CancellationToken::new()).await.expect("an end");
        assert!(ended.stdout.contains("TOKEN=hush\n"));
        assert!(!ended.stdout.contains("CARGO"), "{}", ended.stdout);
    }

    #[test]
    fn a_program_that_is_not_there_is_not_started() {
        let argv = vec!["no-such-program-anywhere".to_owned()];
        let program = Program { argv, ..shell("true", &std::env::temp_dir()) };
        assert!(matches!(program.hold(), Err(ProcessError::NotStarted { .. })));
    }
}
