//! `migrate journal verify|show [RUN]`.

use std::convert::Infallible;
use std::io;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use serde::Deserialize;

use super::refusal::Refusal;
use super::{Exit, Global, net, runs};
use crate::engine::run_dir;
use crate::journal::{self, Head, Kept};
use crate::report::{Detail, JsonLines, Output, Plain};
use crate::run::{RunId, Sink as _};

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
    /// A head kept elsewhere, against which records cut off the end show: a file with count and hash as JSON (a head.json, a
    /// notification), or both as a summary shows them.
    #[arg(long, value_name = "FILE|COUNT:HASH")]
    pub head: Option<KeptHead>,
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
        let side = side.is_file().then_some(KeptHead::File(side));
        let mut compared = Vec::new();
        for kept in self.head.iter().chain(&side) {
            kept.compare(&dir, &reading.state.header.run)?;
            compared.push(kept.name());
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

/// A head kept elsewhere: a file, or the two values as a summary shows them.
#[derive(Debug, Clone)]
pub enum KeptHead {
    /// `COUNT:HASH`.
    Typed(Head),
    /// JSON: a head, or a message that carries one.
    File(PathBuf),
}

impl FromStr for KeptHead {
    type Err = Infallible;

    fn from_str(text: &str) -> Result<Self, Infallible> {
        let typed = text.split_once(':').and_then(|(records, hash)| {
            let of_hash = hash.len() == 64 && hash.bytes().all(|byte| byte.is_ascii_hexdigit());
            Some(Head {
                records: records.parse().ok()?,
                hash: of_hash.then(|| hash.to_lowercase())?,
            })
        });
        Ok(typed.map_or_else(|| Self::File(text.into()), Self::Typed))
    }
}

impl KeptHead {
    fn name(&self) -> String {
        match self {
            Self::Typed(head) => format!("{}:{}", head.records, head.hash),
            Self::File(path) => path.display().to_string(),
        }
    }

    fn read(&self) -> Result<Head, Refusal> {
        /// What a notification posts, and what `journal verify --json` prints.
        #[derive(Deserialize)]
        #[serde(untagged)]
        enum Carrier {
            Head(Head),
            Message { journal: Head },
            Verified { head: Head },
        }
        let path = match self {
            Self::Typed(head) => return Ok(head.clone()),
            Self::File(path) => path,
        };
        let hint = "a head is {\"records\": 140, \"hash\": \"…\"} in a file, or 140:… as a summary shows it";
        let text = std::fs::read(path).map_err(|error| {
            let shown = path.display();
            let error =
                io::Error::new(error.kind(), format!("can not read the head in {shown}: {error}"));
            Refusal::because(Exit::Usage, &error).hint(hint)
        })?;
        let carrier = serde_json::from_slice(&text).map_err(|_| {
            Refusal::usage(format!("{} holds no head of a journal", path.display())).hint(hint)
        })?;
        let (Carrier::Head(head) | Carrier::Message { journal: head } | Carrier::Verified { head }) =
            carrier;
        Ok(head)
    }

    /// The journal must still hold, at its place, the record that was the last one when this head was kept.
    fn compare(&self, dir: &Path, run: &RunId) -> Result<(), Refusal> {
        let kept = self.read()?;
        let what = match journal::compare(dir, &kept)? {
            Kept::Holds => return Ok(()),
            Kept::Cut { missing, byte } => format!(
                "whole records missing at the end: {missing}, from record {}, byte {byte} on",
                kept.records - missing
            ),
            Kept::Differs { byte } => format!(
                "record {}, byte {byte}, is not the one that the head was kept of",
                kept.records.saturating_sub(1)
            ),
        };
        Err(Refusal::new(Exit::JournalDamaged, what)
            .code("MIG0701")
            .hint(format!("compared with {}; is that a head of run {run}?", self.name()))
            .hint(format!(
                "put a copy of the file back, then: migrate journal verify {run} --head {}",
                self.name()
            )))
    }
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
