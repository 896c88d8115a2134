//! `migrate status [RUN]`.

use super::refusal::Refusal;
use super::{Exit, Global, net, runs};
use crate::clock::Clock;
use crate::diagnostic::redact::Redactor;
use crate::engine::run_dir;
use crate::journal;
use crate::report::{self, JsonLines, Output, Overview};
use crate::run::RunId;
use crate::sandbox::estate_in;

/// Arguments of `migrate status`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The run: its id, the start of it, or its wave; without it, the only unfinished one or a list of all.
    pub run: Option<String>,
    /// List every run.
    #[arg(long, conflicts_with = "run")]
    pub all: bool,
}

impl Args {
    /// Shows it. Reads the journal only, so it works on a live run, a dead one and a copy.
    #[expect(clippy::unnecessary_wraps, reason = "one signature for every subcommand")]
    pub fn run(self, global: &Global) -> anyhow::Result<Exit> {
        Ok(Refusal::told(self.show(global)))
    }

    fn show(&self, global: &Global) -> Result<Exit, Refusal> {
        let state_dir = &global.state_dir;
        let redactor = net();
        let one = match (&self.run, self.all) {
            (Some(typed), _) => Some(runs::find(state_dir, Some(typed))?),
            (None, true) => None,
            (None, false) => runs::find(state_dir, None).ok(),
        };
        let Some(run) = one else {
            return list(global, redactor);
        };
        let overview = overview(global, &run)?;
        if global.json {
            JsonLines::new(Output::stdout(redactor.clone()), "overview");
        }
        let dir = runs::absolute(&run_dir(state_dir, &run))?;
        let base = if overview.sandbox { estate_in(&dir.join("sandbox")) } else { overview.base() };
        global.show(overview, &redactor, &base, report::status);
        Ok(Exit::Done)
    }
}

/// A run as its journal tells it now.
pub(super) fn overview(global: &Global, run: &RunId) -> Result<Overview, Refusal> {
    let dir = run_dir(&global.state_dir, run);
    let live = journal::holder(&dir.join("lock")).map(|_| Clock::system().now());
    Ok(Overview::read(&dir, live)?)
}

fn list(global: &Global, redactor: Redactor) -> Result<Exit, Refusal> {
    let all = runs::all(&global.state_dir);
    let overviews: Vec<_> =
        all.iter().map(|run| overview(global, run)).collect::<Result<_, _>>()?;
    if global.json {
        let mut lines = JsonLines::new(Output::stdout(redactor), "overviews");
        for overview in overviews {
            lines.value(&overview.typed_with(&global.program()));
        }
    } else if overviews.is_empty() {
        super::narrate(&format!("no run under {}\n", global.state_dir.display()));
    } else {
        Output::stdout(redactor).page(&report::runs(&overviews));
    }
    Ok(Exit::Done)
}
