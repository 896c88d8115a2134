//! The command line: arguments, settings, exit codes, one file per subcommand.
//!
//! The only place that may use `anyhow`, and the only one that ends the process. Data goes to standard output,
//! narration to standard error. Nothing imports this module.

mod abort;
mod approve;
mod args;
mod completions;
pub mod disk;
mod dry_run;
pub mod exit;
mod explain;
mod inbox;
mod journal;
mod matrices;
mod pause;
mod plan;
mod prompt;
mod refusal;
mod rehearse;
mod rehearsed;
mod resolve;
mod resume;
mod rollback;
mod run;
mod runs;
mod sandbox;
mod schema;
mod settings;
mod status;
pub mod validate;
mod world;

use std::io::{self, IsTerminal as _, Write as _};
use std::process::ExitCode;
use std::sync::LazyLock;

use clap::Parser as _;

use crate::diagnostic::redact::{RedactingWriter, Redactor};

pub use args::{Cli, Command, Global};
pub use exit::Exit;

/// Reads the command line, runs the subcommand, and turns its result into an exit code.
pub fn main() -> ExitCode {
    std::panic::set_hook(Box::new(|panic| narrate(&format!("{panic}\n"))));
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => {
            // Help and version are no errors and go to standard output; clap knows which is which.
            let _ = error.print();
            return if error.use_stderr() { Exit::Usage } else { Exit::Done }.into();
        }
    };
    if cli.global.verbose >= 2 {
        log_requests();
    }
    match cli.command.run(&cli.global) {
        Ok(exit) => exit.into(),
        Err(error) => {
            narrate(&format!("error: {error:#}\n"));
            Exit::Failed.into()
        }
    }
}

/// The log of `-vv`: this program's own events, which name methods, paths and statuses and never a query or a header.
fn log_requests() {
    tracing_subscriber::fmt()
        .with_env_filter("migrate=debug")
        .with_writer(|| RedactingWriter::new(io::stderr(), net()))
        .with_ansi(colour_on_stderr())
        .init();
}

/// The last net of this process: what it knows passes neither of its two streams, by whatever way it gets there.
fn net() -> Redactor {
    static NET: LazyLock<Redactor> = LazyLock::new(Redactor::default);
    NET.clone()
}

/// Writes data to standard output. A reader that has gone away (`| head`) is no error.
pub fn print(text: &str) -> anyhow::Result<()> {
    ignore_closed_pipe(io::stdout().lock().write_all(net().redact(text).as_bytes()))
}

/// Writes narration to standard error.
pub fn narrate(text: &str) {
    // There is nowhere left to report that standard error is closed.
    let _ = io::stderr().lock().write_all(net().redact(text).as_bytes());
}

fn ignore_closed_pipe(result: io::Result<()>) -> anyhow::Result<()> {
    match result {
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
        other => Ok(other?),
    }
}

/// Whether colour may be written to a stream: it is a terminal and `NO_COLOR` is not set.
pub fn colour(stream: &impl io::IsTerminal) -> bool {
    stream.is_terminal() && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty())
}

/// Whether colour may be written to standard error.
pub fn colour_on_stderr() -> bool {
    colour(&io::stderr())
}

/// Whether a person sits at standard input and can be asked.
pub fn can_ask() -> bool {
    io::stdin().is_terminal() && io::stderr().is_terminal()
}
