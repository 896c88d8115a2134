//! `migrate pause [RUN]`: no further step starts until `resume`.

use super::refusal::Refusal;
use super::runs::Found;
use super::{Exit, Global, inbox};
use crate::run::Request;

/// Arguments of `migrate pause`.
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
        Ok(Refusal::told(stop(global, self.run.as_deref(), Request::Pause, &self.comment)))
    }
}

/// Hands a request to stop over to a live engine.
pub(super) fn stop(
    global: &Global,
    run: Option<&str>,
    request: Request,
    comment: &str,
) -> Result<Exit, Refusal> {
    let found = Found::read(&global.state_dir, run)?;
    if found.owner.is_none() {
        let message = format!("run {} is not under way; there is nothing to stop", found.run);
        return Err(Refusal::new(Exit::Refused, message).hint(format!(
            "see how it stands: {} status {}",
            global.program(),
            found.run
        )));
    }
    inbox::submit(global, &found, request, comment)
}
