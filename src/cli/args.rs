//! The shape of the command line.
//!
//! A subcommand is one file with an `Args` struct and `fn run(self, &Global) -> anyhow::Result<Exit>`; it is added to
//! [`Command`] by one variant and one arm.

use std::path::PathBuf;

use clap::{ArgAction, Parser, Subcommand};

use super::{
    Exit, abort, approve, completions, explain, journal, pause, plan, rehearse, resolve, resume,
    rollback, run, sandbox, schema, status, validate,
};

/// Heading of the settings that are the same for all.
const EVERYWHERE: &str = "Everywhere";

/// Executes cloud-migration runbooks: resumable, provable cutovers to Azure.
#[derive(Debug, Parser)]
#[command(name = "migrate", version, propagate_version = true, max_term_width = 100, after_long_help = exit_codes())]
pub struct Cli {
    /// Settings that every subcommand takes.
    #[command(flatten)]
    pub global: Global,
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// The exit codes, below the help of the whole program.
fn exit_codes() -> String {
    Exit::ALL.iter().fold("Exit codes:".to_owned(), |text, (exit, means)| {
        format!("{text}\n  {:>3}  {means}", exit.code())
    })
}

/// Settings that every subcommand takes.
#[derive(Debug, Clone, clap::Args)]
pub struct Global {
    /// Where journals and locks live.
    #[arg(
        long,
        global = true,
        env = "MIGRATE_STATE_DIR",
        default_value = ".migrate",
        value_name = "DIR",
        help_heading = EVERYWHERE
    )]
    pub state_dir: PathBuf,
    /// Write JSON, one object a line, to standard output.
    #[arg(long, global = true, help_heading = EVERYWHERE)]
    pub json: bool,
    /// Say only what went wrong.
    #[arg(long, short, global = true, conflicts_with = "verbose", help_heading = EVERYWHERE)]
    pub quiet: bool,
    /// Say more; twice for a log of the requests to Azure, too.
    #[arg(long, short, global = true, action = ArgAction::Count, help_heading = EVERYWHERE)]
    pub verbose: u8,
}

/// The subcommands.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Check runbooks and say everything that is wrong with them.
    Validate(validate::Args),
    /// Show a runbook's steps in their order, and what each will change.
    Plan(plan::Args),
    /// Run a runbook.
    Run(run::Args),
    /// Rehearse a runbook in a sandbox: how long it takes, and whether it survives a crash anywhere.
    Rehearse(rehearse::Args),
    /// Take a run up again where it stopped.
    Resume(resume::Args),
    /// Show how a run stands, or list the runs.
    Status(status::Args),
    /// Answer a step that asks, or release a planned hold.
    Approve(approve::Args),
    /// Start no further step of a run.
    Pause(pause::Args),
    /// End a run at the next safe point; it can be resumed.
    Abort(abort::Args),
    /// Decide about a step that can not go on by itself.
    Resolve(resolve::Args),
    /// Take a run back.
    Rollback(rollback::Args),
    /// Check or show a journal.
    Journal(journal::Args),
    /// Explain a code, a rule or a step kind.
    Explain(explain::Args),
    /// Serve a sandbox on loopback until Ctrl-C.
    Sandbox(sandbox::Args),
    /// Write the JSON Schema of a runbook.
    Schema(schema::Args),
    /// Write a shell's completion script to standard output.
    Completions(completions::Args),
}

impl Command {
    /// Runs it.
    pub fn run(self, global: &Global) -> anyhow::Result<Exit> {
        match self {
            Self::Run(args) => args.run(global),
            Self::Rehearse(args) => args.run(global),
            Self::Resume(args) => args.run(global),
            Self::Rollback(args) => args.run(global),
            Self::Status(args) => args.run(global),
            Self::Approve(args) => args.run(global),
            Self::Pause(args) => args.run(global),
            Self::Abort(args) => args.run(global),
            Self::Resolve(args) => args.run(global),
            Self::Journal(args) => args.run(global),
            Self::Sandbox(args) => args.run(global),
            Self::Validate(args) => args.run(global),
            Self::Plan(args) => args.run(global),
            Self::Schema(args) => args.run(global),
            Self::Explain(args) => args.run(global),
            Self::Completions(args) => args.run(global),
        }
    }
}
