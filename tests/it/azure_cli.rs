//! A stock Azure CLI against the sandbox, as `migrate sandbox` serves it. Skipped where no `az` is on the path, which
//! `tests/run` says. A command takes a second, so CI tries the heart of it and `tests/soak azure-cli` everything; what was
//! typed and answered is printed.

mod session;

use std::cell::RefCell;
use std::fmt::Write;
use std::path::Path;
use std::process::Command;

use migrate::clock::Clock;
use migrate::sandbox::scenario::{Estate, Record, Writer, Zone};
use migrate::sandbox::{Sandbox, Scenario};

/// An Azure CLI with a configuration of its own that trusts the sandbox and nothing else.
struct Az<'a> {
    home: &'a Path,
    sandbox: &'a Sandbox,
    transcript: RefCell<String>,
}

impl Az<'_> {
    /// Exit code, and what it said on both streams. Words are parted by spaces, unless in single quotes.
    fn run(&self, line: &str) -> (Option<i32>, String) {
        let azure = &self.sandbox.azure;
        let ended = Command::new("az")
            .args(words(line))
            .env("AZURE_CONFIG_DIR", self.home)
            .env("REQUESTS_CA_BUNDLE", &azure.ca_file)
            .env("AZURE_CORE_COLLECT_TELEMETRY", "no")
            .env("AZURE_CORE_NO_COLOR", "1")
            .env("AZURE_CORE_ONLY_SHOW_ERRORS", "1")
            .env("AZURE_CORE_INSTANCE_DISCOVERY", "false")
            .env("IDENTITY_ENDPOINT", &azure.identity)
            .env("IDENTITY_HEADER", "sandbox")
            .output()
            .expect("az starts");
        let said = String::from_utf8_lossy(&[ended.stdout, ended.stderr].concat()).into_owned();
        let mut transcript = self.transcript.borrow_mut();
        writeln!(transcript, "$ az {line}\n{}", said.trim_end()).expect("a text");
        (ended.status.code(), said)
    }

    #[track_caller]
    fn ok(&self, line: &str) -> String {
        let (code, said) = self.run(line);
        assert_eq!(code, Some(0), "az {line}\n{said}");
        said
    }

    /// What it says is exactly this, in lines.
    #[track_caller]
    fn says(&self, line: &str, lines: &[&str]) {
        let said = self.ok(&format!("{line} -o tsv"));
        assert_eq!(said.lines().collect::<Vec<_>>(), lines, "az {line}");
    }

    #[track_caller]
    fn refused(&self, line: &str, with: &str) {
        let (code, said) = self.run(line);
        assert!(code != Some(0) && said.contains(with), "az {line}\n{said}");
    }
}

fn words(line: &str) -> Vec<String> {
    let quoted = line.split('\'').enumerate();
    let mut words = vec![String::new()];
    for (number, part) in quoted {
        if number % 2 == 1 {
            words.last_mut().expect("there is one").push_str(part);
            continue;
        }
        for (number, word) in part.split(' ').enumerate() {
            if number > 0 {
                words.push(String::new());
            }
            words.last_mut().expect("there is one").push_str(word);
        }
    }
    words.retain(|word| !word.is_empty());
    words
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stock_azure_cli_logs_in_lists_changes_and_is_refused() {
    if Command::new("az").arg("--version").output().is_err() {
        println!("SKIPPED: a stock Azure CLI against the sandbox: az is not installed");
        return;
    }
    let dir = tempfile::tempdir().expect("a folder");
    let mut scenario = Scenario {
        estate: Estate { files: 2, orders: 4, ..Estate::default() },
        writer: Writer { orders: 0, pause_ms: 1 },
        operation_seconds: 1,
        unlock_seconds: 1,
        exchanges: true,
        ..Scenario::default()
    };
    scenario.zones.push(Zone {
        group: "rg-dns".to_owned(),
        name: "contoso.internal".to_owned(),
        private: true,
        records: vec![Record {
            name: "db".to_owned(),
            kind: "A".to_owned(),
            ttl: 300,
            values: vec!["10.0.0.5".to_owned()],
        }],
    });
    let world = dir.path().join("sandbox");
    let sandbox = Sandbox::start(&world, scenario, Clock::system()).await.expect("it starts");
    let home = dir.path().join("az");
    std::fs::create_dir(&home).expect("a folder");
    let az = Az { home: &home, sandbox: &sandbox, transcript: RefCell::default() };
    tokio::task::block_in_place(|| session::whole(&az));
    println!("{}", az.transcript.into_inner());
    sandbox.halt().await;
    session::answers_are_as_the_files_say(&world);
}
