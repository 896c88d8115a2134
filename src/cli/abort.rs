//! `migrate abort [RUN]`: running attempts stop where they can be resumed, and the engine ends.

use super::refusal::Refusal;
use super::{Exit, Global, pause};
use crate::run::Request;

/// Arguments of `migrate abort`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// What to stop.
    #[command(flatten)]
    pub what: pause::Args,
}

impl Args {
    /// Hands the request over.
    #[expect(clippy::unnecessary_wraps, reason = "one signature for every subcommand")]
    pub fn run(self, global: &Global) -> anyhow::Result<Exit> {
        Ok(Refusal::told(self.what.ask(global, Request::Abort)))
    }
}
