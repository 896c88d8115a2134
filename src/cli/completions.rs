//! `migrate completions SHELL`.

use clap::CommandFactory as _;
use clap_complete::{Shell, generate};

use super::{Cli, Exit, Global, print};

/// Arguments of `migrate completions`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The shell.
    pub shell: Shell,
}

impl Args {
    /// Writes the script.
    pub fn run(self, _: &Global) -> anyhow::Result<Exit> {
        let mut script = Vec::new();
        generate(self.shell, &mut Cli::command(), "migrate", &mut script);
        print(&String::from_utf8(script)?)?;
        Ok(Exit::Done)
    }
}
