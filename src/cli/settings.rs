//! What the operational subcommands share: who is at the keyboard, which streams are written how, what a command that is
//! to be typed next begins with.

use std::io::IsTerminal as _;
use std::path::Path;

use super::{Global, can_ask};
use crate::diagnostic::redact::Redactor;
use crate::report::{
    Detail, JsonLines, Line, Output, Overview, Plain, Style, Terminal, Trials, typed,
};
use crate::run::{Operator, Sink};

/// Who types, as the operating system names them; a label, not a proof of identity.
pub(super) fn operator() -> Operator {
    let named = ["USER", "LOGNAME", "USERNAME"].iter().find_map(|name| std::env::var(name).ok());
    let user = named.filter(|name| !name.is_empty()).unwrap_or_else(by_number);
    let host = rustix::system::uname().nodename().to_string_lossy().into_owned();
    Operator { user, host }
}

/// What a command to type begins with, so that it finds this state folder.
pub(super) fn program(state_dir: &Path) -> String {
    let by_environment = std::env::var_os("MIGRATE_STATE_DIR").is_some_and(|dir| dir == state_dir);
    if by_environment || state_dir.as_os_str() == ".migrate" {
        "migrate".to_owned()
    } else {
        format!("migrate --state-dir {}", typed(&state_dir.display().to_string()))
    }
}

/// Name of the process's user where no environment says it, as under cron and in containers.
fn by_number() -> String {
    let id = rustix::process::getuid().as_raw().to_string();
    let users = std::fs::read_to_string("/etc/passwd").unwrap_or_default();
    let mut fields = users.lines().map(|line| line.split(':'));
    let name = fields
        .find_map(|mut of| Some((of.next()?, of.nth(1)?)).filter(|(_, number)| *number == id));
    name.map_or_else(|| format!("uid-{id}"), |(name, _)| name.to_owned())
}

impl Global {
    /// How much is told.
    pub(super) const fn detail(&self) -> Detail {
        match (self.quiet, self.verbose) {
            (true, _) => Detail::Quiet,
            (false, 0) => Detail::Normal,
            (false, _) => Detail::Verbose,
        }
    }

    /// Consumers of a run's facts: JSON lines to standard output if asked for, narration to standard error.
    pub(super) fn sinks(&self, redactor: &Redactor, base: &Path) -> Vec<Box<dyn Sink>> {
        let mut sinks: Vec<Box<dyn Sink>> = Vec::new();
        if self.json {
            sinks.push(Box::new(JsonLines::new(Output::stdout(redactor.clone()), "events")));
        }
        let stderr = std::io::stderr();
        // The log of requests is written between the rows; bars would be torn by it.
        let bars = !self.quiet && !self.json && self.verbose < 2;
        if stderr.is_terminal() && bars {
            sinks.push(Box::new(Terminal::new(
                Style::of(&stderr),
                self.detail(),
                redactor.clone(),
                base,
                self.program(),
                self.can_confirm().then(|| operator().user),
            )));
        } else {
            let detail = if self.json { Detail::Quiet } else { self.detail() };
            sinks.push(Box::new(Plain::new(
                Output::stderr(redactor.clone()).relative_to(base),
                detail,
                self.program(),
            )));
        }
        sinks
    }

    /// One overview on standard output: a page, or an object.
    pub(super) fn show(
        &self,
        overview: Overview,
        redactor: &Redactor,
        base: &Path,
        page: impl FnOnce(&Overview) -> Vec<Line>,
    ) {
        let overview = overview.typed_with(&self.program());
        let output = Output::stdout(redactor.clone());
        if self.json {
            JsonLines::continued(output).value(&serde_json::json!({ "overview": overview }));
        } else {
            output.relative_to(base).page(&page(&overview));
        }
    }

    /// How far trials are, on standard error.
    pub(super) fn trials(&self, name: &'static str, total: usize) -> Trials {
        if self.quiet || self.json {
            Trials::silent(name, total)
        } else if std::io::stderr().is_terminal() && self.verbose < 2 {
            Trials::bar(name, total)
        } else {
            Trials::lines(name, total, Output::stderr(Redactor::default()))
        }
    }

    /// What every command that is to be typed begins with, so that it finds the same state folder.
    pub(super) fn program(&self) -> String {
        program(&self.state_dir)
    }

    /// Whether a person can be asked before something that can not be taken back lightly.
    pub(super) fn can_confirm(&self) -> bool {
        !self.json && can_ask()
    }
}
