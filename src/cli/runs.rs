//! Finding a run by what a person types: its id, the start of it, the wave's name, or nothing at all.

use std::fs::File;
use std::io::{Read as _, Seek as _, SeekFrom};
use std::path::{Path, PathBuf};

use super::Exit;
use super::refusal::Refusal;
use super::settings::program;
use crate::engine::run_dir;
use crate::journal::{self, Owner, Reading};
use crate::run::{RunId, StepId};

/// Bytes at the end of a journal that surely hold its last record when that says that the run ended.
const TAIL: u64 = 4096;

/// Every run under the state folder, the oldest first.
pub(super) fn all(state_dir: &Path) -> Vec<RunId> {
    let Ok(entries) = std::fs::read_dir(state_dir.join("runs")) else { return Vec::new() };
    let mut runs: Vec<_> = entries
        .filter_map(|entry| entry.ok()?.file_name().into_string().ok())
        .filter(|name| state_dir.join("runs").join(name).join(journal::FILE).is_file())
        .map(RunId::new)
        .collect();
    runs.sort_by(|a, b| parts(a).1.cmp(parts(b).1).then(a.cmp(b)));
    runs
}

/// Wave and time of a run id: `wave-3-20261205T210211Z-1f3a`.
fn parts(run: &RunId) -> (&str, &str) {
    let mut parts = run.as_str().rsplitn(3, '-').skip(1);
    let stamp = parts.next().unwrap_or_default();
    (parts.next().unwrap_or_default(), stamp)
}

/// The run that is meant.
pub(super) fn find(state_dir: &Path, typed: Option<&str>) -> Result<RunId, Refusal> {
    let runs = all(state_dir);
    let Some(typed) = typed else {
        let open: Vec<_> = runs.into_iter().filter(|run| !has_ended(state_dir, run)).collect();
        return match open.as_slice() {
            [only] => Ok(only.clone()),
            [] => Err(Refusal::usage(format!("no unfinished run under {}", state_dir.display()))
                .hint(format!("list every run: {} status --all", program(state_dir)))),
            _ => Err(Refusal::usage(format!("which run? {}", list(&open)))),
        };
    };
    if let Some(exact) = runs.iter().find(|run| run.as_str() == typed) {
        return Ok(exact.clone());
    }
    if let Some(latest) = runs.iter().rfind(|run| parts(run).0 == typed) {
        return Ok(latest.clone());
    }
    let meant: Vec<_> =
        runs.iter().filter(|run| run.as_str().starts_with(typed)).cloned().collect();
    match meant.as_slice() {
        [only] => Ok(only.clone()),
        [] => {
            Err(Refusal::usage(format!("no run or wave `{typed}` under {}", state_dir.display()))
                .hint(format!("list every run: {} status --all", program(state_dir))))
        }
        _ => Err(Refusal::usage(format!("`{typed}` begins several runs: {}", list(&meant)))),
    }
}

fn list(runs: &[RunId]) -> String {
    runs.iter().map(RunId::as_str).collect::<Vec<_>>().join(", ")
}

/// Whether the last record says that the run is over. What can not be read counts as unfinished.
pub(super) fn has_ended(state_dir: &Path, run: &RunId) -> bool {
    let tail = || -> std::io::Result<String> {
        let mut file = File::open(run_dir(state_dir, run).join(journal::FILE))?;
        let length = file.metadata()?.len();
        file.seek(SeekFrom::Start(length.saturating_sub(TAIL)))?;
        let mut bytes = Vec::new();
        file.read_to_end(&mut bytes)?;
        Ok(String::from_utf8_lossy(&bytes).into_owned())
    };
    let Ok(tail) = tail() else { return false };
    let last = tail.lines().next_back().unwrap_or_default();
    serde_json::from_str::<serde_json::Value>(last)
        .is_ok_and(|record| !record["event"]["run_ended"].is_null())
}

/// A run with its journal read.
#[derive(Debug)]
pub(super) struct Found {
    /// Its folder.
    pub(super) dir: PathBuf,
    /// Its id.
    pub(super) run: RunId,
    /// What its journal says.
    pub(super) reading: Reading,
    /// The process at work on it.
    pub(super) owner: Option<Owner>,
}

impl Found {
    /// Finds it and reads it.
    pub(super) fn read(state_dir: &Path, typed: Option<&str>) -> Result<Self, Refusal> {
        let run = find(state_dir, typed)?;
        let dir = absolute(&run_dir(state_dir, &run))?;
        let reading = journal::read(&dir, |_, _| {})?;
        let owner = journal::holder(&dir.join("lock"));
        Ok(Self { dir, run, reading, owner })
    }

    /// The step of that name, or a refusal that names the nearest one.
    pub(super) fn step(&self, typed: &str) -> Result<StepId, Refusal> {
        let id = StepId::from(typed);
        let steps = &self.reading.state.plan().steps;
        if steps.iter().any(|step| step.id == id) {
            return Ok(id);
        }
        let nearest = steps
            .iter()
            .max_by(|a, b| {
                let near = |step: &StepId| strsim::jaro_winkler(step.as_str(), typed);
                near(&a.id).total_cmp(&near(&b.id))
            })
            .map(|step| format!("did you mean `{}`?", step.id));
        let refusal = Refusal::usage(format!("run {} has no step `{typed}`", self.run));
        Err(match nearest {
            Some(hint) => refusal.hint(hint),
            None => refusal,
        })
    }
}

/// Where a path leads whatever the working folder is when the run is taken up again.
pub(super) fn absolute(path: &Path) -> Result<PathBuf, Refusal> {
    std::path::absolute(path).map_err(|error| Refusal::because(Exit::Usage, &error))
}

/// `[RUN] STEP`: the run may be left out when only one is unfinished.
pub(super) fn run_and_step(typed: &[String]) -> (Option<&str>, &str) {
    match typed {
        [run, step] => (Some(run), step),
        [step] => (None, step),
        _ => unreachable!("clap takes one or two values"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn state_dir(runs: &[(&str, &str)]) -> tempfile::TempDir {
        let dir = tempfile::tempdir().expect("a folder");
        for (run, last) in runs {
            let folder = dir.path().join("runs").join(run);
            std::fs::create_dir_all(&folder).expect("a folder");
            let text = format!(
                "{{\"event\":{{\"run_started\":{{}}}}}}\n{{\"event\":{{\"{last}\":{{}}}}}}\n"
            );
            std::fs::write(folder.join(journal::FILE), text).expect("a file");
        }
        dir
    }

    const RUNS: &[(&str, &str)] = &[
        ("wave-1-20261205T210211Z-1f3a", "run_ended"),
        ("wave-1-20261206T210211Z-02bb", "run_ended"),
        ("wave-2-20261204T210211Z-77aa", "run_stopped"),
    ];

    fn found(dir: &tempfile::TempDir, typed: Option<&str>) -> Result<String, Exit> {
        find(dir.path(), typed).map(|run| run.to_string()).map_err(|refusal| refusal.exit)
    }

    #[test]
    fn a_run_is_found_by_id_prefix_wave_or_by_being_the_only_open_one() {
        let dir = state_dir(RUNS);
        let ok = |run: &str| Ok(run.to_owned());
        assert_eq!(found(&dir, Some("wave-1-20261205T210211Z-1f3a")), ok(RUNS[0].0));
        assert_eq!(found(&dir, Some("wave-1-20261205")), ok(RUNS[0].0));
        assert_eq!(found(&dir, Some("wave-1")), ok(RUNS[1].0), "the latest of the wave");
        assert_eq!(found(&dir, None), ok(RUNS[2].0), "the only unfinished one");
        assert_eq!(found(&dir, Some("wave-")), Err(Exit::Usage));
        assert_eq!(found(&dir, Some("wave-9")), Err(Exit::Usage));
    }

    #[test]
    fn without_a_name_two_open_runs_or_none_are_refused() {
        assert_eq!(found(&state_dir(&RUNS[..2]), None), Err(Exit::Usage));
        let two = [RUNS[2], ("wave-3-20261204T210211Z-77aa", "run_stopped")];
        assert_eq!(found(&state_dir(&two), None), Err(Exit::Usage));
    }
}
