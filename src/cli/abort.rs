//! `migrate abort [RUN]`: running attempts stop where they can be resumed, and the engine ends.

use super::refusal::Refusal;
use super::{Exit, Global, pause};
use crate::run::Request;

/// Arguments of `migrate abort`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The run: its id, the start of it, or its wave; without it, the only unfinished one.
    pub run: Option<String>,
    /// Kept in the journal with the request.
    #[arg(long, default_value = "", hide_default_value = true)]
    pub comment: String,
}

impl Args {
    /// Hands the request over.
    #[expect(clippy::unnecessary_wraps, reason = "one signature for every subcommand")]
    pub fn run(self, global: &Global) -> anyhow::Result<Exit> {
        Ok(Refusal::told(pause::stop(global, self.run.as_deref(), Request::Abort, &self.comment)))
    }
}
