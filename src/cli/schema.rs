//! `migrate schema`: the JSON Schema of a runbook, for editors and CI.

use super::{Exit, Global, print};
use crate::steps::CATALOGUE;

/// Arguments of `migrate schema`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Write it on one line.
    #[arg(long)]
    pub compact: bool,
}

impl Args {
    /// Writes the schema.
    pub fn run(self, global: &Global) -> anyhow::Result<Exit> {
        let schema = crate::plan::schema(CATALOGUE);
        let text = if self.compact || global.json {
            schema.to_string()
        } else {
            serde_json::to_string_pretty(&schema)?
        };
        print(&format!("{text}\n"))?;
        Ok(Exit::Done)
    }
}
