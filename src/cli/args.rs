//! The shape of the command line.
//!
//! A subcommand is one file with an `Args` struct and `fn run(self, &Global) -> anyhow::Result<Exit>`; it is added to
//! [`Command`] by one variant and one arm.

use std::path::PathBuf;

use clap::{ArgAction, Parser, Subcommand};

use super::{
    Exit, abort, approve, completions, explain, journal, pause, plan, resolve, resume, rollback,
    run, sandbox, schema, status, validate,
};

/// Executes cloud-migration runbooks: resumable, provable cutovers to Azure.
#[derive(Debug, Parser)]
#[command(name = "migrate", version, propagate_version = true, max_term_width = 100)]
pub struct Cli {
    /// Settings that every subcommand takes.
    #[command(flatten)]
    pub global: Global,
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
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
        value_name = "DIR"
    )]
    pub state_dir: PathBuf,
    /// Write JSON, one object a line, to standard output.
    #[arg(long, global = true)]
    pub json: bool,
    /// Say only what went wrong.
    #[arg(long, short, global = true, conflicts_with = "verbose")]
    pub quiet: bool,
    /// Say more; twice for the log of every request.
    #[arg(long, short, global = true, action = ArgAction::Count)]
    pub verbose: u8,
}

/// The subcommands.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Run a runbook.
    Run(run::Args),
    /// Take a run up again where it stopped.
    Resume(resume::Args),
    /// Take a run back.
    Rollback(rollback::Args),
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
    /// Check or show a journal.
    Journal(journal::Args),
    /// Serve a sandbox on loopback until Ctrl-C.
    Sandbox(sandbox::Args),
    /// Check a runbook and say everything that is wrong with it.
    Validate(validate::Args),
    /// Show a runbook's steps in their order, and what each will change.
    Plan(plan::Args),
    /// Write the JSON Schema of a runbook.
    Schema(schema::Args),
    /// Explain a code, a rule or a step kind.
    Explain(explain::Args),
    /// Write a shell's completion script to standard output.
    Completions(completions::Args),
}

impl Command {
    /// Runs it.
    pub fn run(self, global: &Global) -> anyhow::Result<Exit> {
        match self {
            Self::Run(args) => args.run(global),
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
