//! Why a command did not do what it was asked: exit code, code of the page, causes, and what to type instead.

use std::error::Error;
use std::panic::{AssertUnwindSafe, catch_unwind};

use anyhow::Context as _;
use tokio::runtime::Runtime;

use super::{Exit, narrate};
use crate::engine::EngineError;
use crate::journal::{JournalError, LockError, Owner};
use crate::run::Finish;
use crate::sandbox::SandboxError;

/// An end of the command that is no result of a run.
#[derive(Debug)]
pub(super) struct Refusal {
    /// How the process ends.
    pub(super) exit: Exit,
    code: Option<&'static str>,
    message: String,
    causes: Vec<String>,
    hints: Vec<String>,
}

impl Refusal {
    /// With a message: lower case, no full stop.
    pub(super) fn new(exit: Exit, message: impl Into<String>) -> Self {
        Self { exit, code: None, message: message.into(), causes: Vec::new(), hints: Vec::new() }
    }

    /// The command line asks for something that makes no sense.
    pub(super) fn usage(message: impl Into<String>) -> Self {
        Self::new(Exit::Usage, message)
    }

    /// An error with its causes.
    pub(super) fn because(exit: Exit, error: &dyn Error) -> Self {
        let mut refusal = Self::new(exit, error.to_string());
        let mut next = error.source();
        while let Some(cause) = next {
            refusal.causes.push(cause.to_string());
            next = cause.source();
        }
        refusal
    }

    /// Somebody else runs it; `program` is what a command to type begins with.
    pub(super) fn held(owner: &Owner, program: &str) -> Self {
        let Owner { run, user, host, pid, since, .. } = owner;
        Self::new(
            Exit::Locked,
            format!("run {run} is under way: {user}@{host}, process {pid}, since {since:.0}"),
        )
        .hint(format!("see what it does: {program} status {run}"))
    }

    /// The run could not be claimed.
    pub(super) fn locked(error: &LockError, program: &str) -> Self {
        match error {
            LockError::Held { owner: Some(owner), .. } => Self::held(owner, program),
            LockError::Held { owner: None, .. } => Self::because(Exit::Locked, error),
            LockError::Unusable { .. } => Self::because(Exit::JournalNotWritten, error)
                .hint("nothing was changed: when the cause is mended, type the same command again"),
        }
    }

    /// Points to a page of `migrate explain`.
    #[must_use]
    pub(super) const fn code(mut self, code: &'static str) -> Self {
        self.code = Some(code);
        self
    }

    /// What to type or change.
    #[must_use]
    pub(super) fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hints.push(hint.into());
        self
    }

    /// Carries a command out in a runtime of its own. What it left running ends with the process: after a second Ctrl-C
    /// nobody waits for a thread that still copies a file.
    pub(super) fn settled(work: impl Future<Output = Result<Exit, Self>>) -> anyhow::Result<Exit> {
        let runtime = Runtime::new().context(
            "can not start the program's threads; nothing was changed, type the same command again",
        )?;
        let ended = catch_unwind(AssertUnwindSafe(|| runtime.block_on(work)));
        let exit = Self::told(ended.unwrap_or_else(|_| Err(Self::panicked())));
        runtime.shutdown_background();
        Ok(exit)
    }

    /// The program itself gave way, outside of any step: inside one, a panic is the outcome of that attempt.
    fn panicked() -> Self {
        let what = "the program panicked outside of any step; what was under way is in doubt";
        Self::new(Exit::Unknown, what).code("MIG0706").hint(
            "what is journalled is safe: `migrate status` shows it, `migrate resume` probes what is in doubt",
        )
    }

    /// Says it on standard error; the end of every command that may be refused.
    pub(super) fn told(result: Result<Exit, Self>) -> Exit {
        result.unwrap_or_else(|refusal| {
            let code = refusal.code.map(|code| format!("[{code}]")).unwrap_or_default();
            let mut text = format!("error{code}: {}\n", refusal.message);
            let causes = refusal.causes.iter().map(|cause| format!("  cause: {cause}\n"));
            let hints = refusal.hints.iter().map(|hint| format!("  hint:  {hint}\n"));
            text.extend(causes.chain(hints));
            narrate(&text);
            refusal.exit
        })
    }
}

impl From<JournalError> for Refusal {
    fn from(error: JournalError) -> Self {
        let exit = if error.is_write() { Exit::JournalNotWritten } else { Exit::JournalDamaged };
        let hint = match (error.run(), &error) {
            (Some(run), error) if error.is_write() => format!(
                "make room or mend the disk, then: migrate resume {run} (what was begun is asked of its target first)"
            ),
            (Some(run), JournalError::Unreadable { .. }) => {
                format!("when it can be read again: migrate resume {run}")
            }
            (Some(run), JournalError::Damaged { .. } | JournalError::Inconsistent { .. }) => {
                format!("put a copy of the file back, then: migrate journal verify {run}")
            }
            _ => format!("migrate explain {}", error.code()),
        };
        Self::because(exit, &error).code(error.code()).hint(hint)
    }
}

impl From<EngineError> for Refusal {
    fn from(error: EngineError) -> Self {
        match error {
            EngineError::Journal(error) => error.into(),
            EngineError::Rewrites(_) => Self::because(Exit::Drift, &error)
                .hint("what has begun can not be rewritten: undo the edit, or roll the run back"),
            EngineError::Illegal(_) | EngineError::Signals(_) => {
                Self::because(Exit::Failed, &error)
            }
        }
    }
}

impl From<SandboxError> for Refusal {
    fn from(error: SandboxError) -> Self {
        Self::because(Exit::Failed, &error)
            .code(error.code())
            .hint("a sandbox touches nothing outside its folder: mend the cause and type the same command again")
    }
}

impl From<Finish> for Exit {
    fn from(finish: Finish) -> Self {
        match finish {
            Finish::Completed => Self::Done,
            Finish::RolledBack => Self::RolledBack,
            Finish::RollbackIncomplete => Self::RollbackIncomplete,
            Finish::Failed => Self::Failed,
            Finish::Refused => Self::Refused,
            Finish::WaitsForPerson => Self::NeedsPerson,
            Finish::Unknown => Self::Unknown,
            Finish::Mismatch => Self::Mismatch,
            Finish::Drift => Self::Drift,
            Finish::Interrupted => Self::Interrupted,
            Finish::Terminated => Self::Terminated,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_panic_ends_with_an_exit_code_of_the_table() {
        let exit = Refusal::settled(async { panic!("a defect") }).expect("a runtime");
        assert_eq!(exit, Exit::Unknown);
    }
}
