//! `migrate journal verify|show [RUN]`.

use std::fs::File;
use std::io::{BufRead as _, BufReader};
use std::path::{Path, PathBuf};

use super::refusal::Refusal;
use super::{Exit, Global, net, runs};
use crate::engine::run_dir;
use crate::journal::{self, Head, Reading};
use crate::report::{Detail, JsonLines, Output, Plain};
use crate::run::Sink as _;

/// Side file with the head at the last stage end.
const HEAD: &str = "head.json";

/// Arguments of `migrate journal`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// What to do with it.
    #[command(subcommand)]
    pub what: What,
}

/// What can be done with a journal.
#[derive(Debug, clap::Subcommand)]
pub enum What {
    /// Check every record and the chain over them.
    Verify(Verify),
    /// Show every record.
    Show(Show),
}

/// Arguments of `migrate journal verify`.
#[derive(Debug, clap::Args)]
pub struct Verify {
    /// The run, or a folder with a journal; without it, the only unfinished run.
    pub run: Option<String>,
    /// A head kept elsewhere (count and hash as JSON, as in the run's head.json): records cut off the end show.
    #[arg(long, value_name = "FILE")]
    pub head: Option<PathBuf>,
}

/// Arguments of `migrate journal show`.
#[derive(Debug, clap::Args)]
pub struct Show {
    /// The run, or a folder with a journal; without it, the only unfinished run.
    pub run: Option<String>,
}

impl Args {
    /// Does it.
    #[expect(clippy::unnecessary_wraps, reason = "one signature for every subcommand")]
    pub fn run(self, global: &Global) -> anyhow::Result<Exit> {
        Ok(Refusal::told(match &self.what {
            What::Verify(verify) => verify.run(global),
            What::Show(show) => show.run(global),
        }))
    }
}

/// A folder with a journal, or a run.
fn folder(global: &Global, typed: Option<&str>) -> Result<PathBuf, Refusal> {
    match typed.map(Path::new) {
        Some(path) if path.join(journal::FILE).is_file() => Ok(path.to_owned()),
        _ => Ok(run_dir(&global.state_dir, &runs::find(&global.state_dir, typed)?)),
    }
}

impl Verify {
    fn run(&self, global: &Global) -> Result<Exit, Refusal> {
        let dir = folder(global, self.run.as_deref())?;
        let reading = journal::read(&dir, |_, _| {})?;
        let side = dir.join(HEAD);
        let mut compared = Vec::new();
        for file in self.head.iter().chain(side.is_file().then_some(&side)) {
            compare(&dir, &reading, file)?;
            compared.push(file.display().to_string());
        }
        let Head { records, hash } = &reading.head;
        if global.json {
            let mut lines = JsonLines::new(Output::stdout(net()), "journal");
            lines.value(&serde_json::json!({
                "run": reading.state.header.run, "head": reading.head, "torn_bytes": reading.torn.len(),
                "compared_with": compared,
            }));
        } else {
            let torn = match reading.torn.len() {
                0 => String::new(),
                bytes => {
                    format!("{bytes} bytes of a torn last record follow; resume cuts them off\n")
                }
            };
            let with = if compared.is_empty() {
                "no head kept elsewhere".to_owned()
            } else {
                compared.join(", ")
            };
            super::narrate(&format!("{torn}compared with {with}\n"));
            let text = format!(
                "{}: {records} records whole and chained, head {hash}\n",
                reading.state.header.run
            );
            Output::stdout(net()).text(&text);
        }
        Ok(Exit::Done)
    }
}

/// The journal must still hold, at its place, the record that was the last one when this head was kept.
fn compare(dir: &Path, reading: &Reading, file: &Path) -> Result<(), Refusal> {
    let text = std::fs::read(file).map_err(|error| {
        Refusal::because(Exit::Usage, &error).hint(format!("can {} be read?", file.display()))
    })?;
    let kept: Head = serde_json::from_slice(&text).map_err(|error| {
        Refusal::usage(format!("{} is no head of a journal: {error}", file.display()))
    })?;
    let refused = |what: String| {
        Err(Refusal::new(Exit::JournalDamaged, what)
            .code("MIG0701")
            .hint(format!("compared with {}", file.display())))
    };
    if kept.records > reading.head.records {
        let cut = kept.records - reading.head.records;
        return refused(format!("{cut} whole records were cut off the end of the journal"));
    }
    match hash_at(dir, kept.records) {
        Some(hash) if hash == kept.hash => Ok(()),
        _ => refused(format!(
            "record {} is not the one that the head was kept of",
            kept.records.saturating_sub(1)
        )),
    }
}

/// Hash of the last of the first `records` records.
fn hash_at(dir: &Path, records: u64) -> Option<String> {
    let index = usize::try_from(records.checked_sub(1)?).ok()?;
    let line =
        BufReader::new(File::open(dir.join(journal::FILE)).ok()?).lines().nth(index)?.ok()?;
    let record: serde_json::Value = serde_json::from_str(&line).ok()?;
    record["hash"].as_str().map(str::to_owned)
}

impl Show {
    fn run(&self, global: &Global) -> Result<Exit, Refusal> {
        let dir = folder(global, self.run.as_deref())?;
        let output = Output::stdout(net());
        if global.json {
            let mut sink = JsonLines::new(output, "events");
            journal::read(&dir, |record, state| sink.on_record(record, state))?;
        } else {
            let mut sink = Plain::new(output, Detail::Verbose, global.program());
            journal::read(&dir, |record, state| sink.on_record(record, state))?;
        }
        Ok(Exit::Done)
    }
}
