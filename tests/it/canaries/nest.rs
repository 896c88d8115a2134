//! Where canaries live: a state folder, a runbook that refers to every one of them, and the search through all that comes
//! out of it.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::process::{Command, Output};

use serde_json::{Map, Value, json};

use super::search::Search;
use super::strace;
use super::values::Canary;
use crate::lab::{Ended, Lab};

/// See the module.
pub(crate) struct Nest {
    pub(crate) lab: Lab,
    pub(crate) canaries: Vec<Canary>,
    pub(crate) search: Search,
}

/// The name under `secrets` and of the variable or file behind it.
pub(crate) fn name(index: usize) -> String {
    format!("S{index:02}")
}

impl Nest {
    pub(crate) fn new(canaries: Vec<Canary>, scenario: &str) -> Self {
        let lab = Lab::new(scenario);
        for (index, canary) in canaries.iter().enumerate() {
            fs::write(lab.path().join(name(index)), format!("{}\n", canary.value)).expect("a file");
        }
        let search = Search::new(&canaries);
        Self { lab, canaries, search }
    }

    /// `secrets:` of a runbook: from the environment, from files and from commands, in turn.
    pub(crate) fn secrets(&self) -> Value {
        let all = (0..self.canaries.len()).map(|index| {
            let name = name(index);
            let from = match index % 3 {
                0 => json!({ "env": name }),
                1 => json!({ "file": name }),
                _ => json!({ "command": ["cat", self.lab.path().join(&name)] }),
            };
            (name, from)
        });
        Value::Object(all.collect::<Map<_, _>>())
    }

    /// A runbook of steps that all have their turn, whatever becomes of the others.
    pub(crate) fn runbook(&self, file: &str, steps: &[Value]) -> String {
        let steps: Vec<Value> = steps
            .iter()
            .map(|step| {
                let mut step = step.clone();
                step["on_failure"] = json!("continue");
                step
            })
            .collect();
        self.write(file, &json!({
            "migrate": 1, "wave": "canaries", "secrets": self.secrets(), "stages": { "release": steps },
        }))
    }

    /// JSON is YAML.
    pub(crate) fn write(&self, file: &str, runbook: &Value) -> String {
        let path = self.lab.path().join(file);
        fs::write(&path, runbook.to_string()).expect("a runbook");
        path.display().to_string()
    }

    /// The variables that hold canaries.
    fn lend(&self, command: &mut Command) {
        for (index, canary) in self.canaries.iter().enumerate().step_by(3) {
            command.env(name(index), &canary.value);
        }
    }

    fn ended(&mut self, what: &str, output: Output) -> Ended {
        self.search.bytes(&format!("{what}: standard output"), &output.stdout);
        self.search.bytes(&format!("{what}: standard error"), &output.stderr);
        Ended(output)
    }

    /// Runs the program, for ten seconds at most, and looks at what it says.
    pub(crate) fn tell(&mut self, arguments: &[&str]) -> Ended {
        self.tell_with(&[], arguments)
    }

    /// The same with more variables.
    pub(crate) fn tell_with(&mut self, more: &[(&str, &str)], arguments: &[&str]) -> Ended {
        let plain = self.lab.command(arguments);
        let mut command = Command::new("timeout");
        command.args(["--signal=TERM", "10"]).arg(plain.get_program()).args(plain.get_args());
        command.current_dir(self.lab.path()).stdin(std::process::Stdio::null());
        for (name, value) in plain.get_envs() {
            command.env(name, value.unwrap_or_default());
        }
        self.lend(&mut command);
        command.envs(more.iter().copied());
        let output = command.output().expect("the program starts");
        self.ended(&arguments.join(" "), output)
    }

    /// The same under strace, looking at what the program writes anywhere but to its sockets, and at what it starts.
    pub(crate) fn traced(&mut self, arguments: &[&str]) -> Ended {
        let log = self.lab.path().join("trace");
        let plain = self.lab.command(arguments);
        let mut command = strace::over(&plain, &log);
        command.current_dir(self.lab.path()).stdin(std::process::Stdio::null());
        for (name, value) in plain.get_envs() {
            command.env(name, value.unwrap_or_default());
        }
        self.lend(&mut command);
        let output = command.output().expect("strace starts");
        let passed: BTreeSet<String> = (0..self.canaries.len()).map(name).collect();
        strace::look(&log, &passed, &mut self.search);
        fs::remove_file(&log).expect("a log");
        self.ended(&format!("strace {}", arguments.join(" ")), output)
    }

    /// Looks at every file that runs have left.
    pub(crate) fn look_at_files(&mut self) {
        let state = self.lab.path().join("state");
        self.search.folder("state", &state);
    }

    /// Every reading command over what runs have left, at every verbosity.
    pub(crate) fn ask_about(&mut self, runbook: &str, run: &str) {
        for line in [
            &["validate", runbook][..],
            &["validate", runbook, "--json"],
            &["plan", runbook],
            &["plan", runbook, "--json", "-vv"],
            &["status"],
            &["status", run, "-vv"],
            &["status", run, "--json"],
            &["journal", "show", run],
            &["journal", "show", run, "--json"],
            &["journal", "verify", run],
            &["journal", "verify", run, "--json"],
        ] {
            self.tell(line);
        }
    }

    /// The only run's id.
    pub(crate) fn run_id(&self) -> String {
        self.lab.run_id()
    }

    pub(crate) fn file(&self, name: &str, bytes: &[u8]) {
        fs::write(self.lab.path().join(name), bytes).expect("a file");
    }

    pub(crate) fn path(&self) -> &Path {
        self.lab.path()
    }

    /// What was searched and found; the end of every test.
    pub(crate) fn report(&self, name: &str) {
        let Search { found, outputs, bytes, .. } = &self.search;
        println!(
            "canaries, {name}: {} canaries x 12 encodings, {outputs} outputs, {bytes} bytes, {} found",
            self.canaries.len(),
            found.len()
        );
        assert!(found.is_empty(), "{} found: {found:#?}", found.len());
    }
}
