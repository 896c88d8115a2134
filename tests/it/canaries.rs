//! Canaries: forty secrets in twelve encodings, through the error paths of every step kind.
//!
//! Each is put wherever a runbook may hold a secret, and servers and children repeat what they were given, in every
//! encoding and with every failure. Then all that came out is searched: both streams of every command, at every verbosity,
//! every file but the sandbox's world, and by strace every write that does not go to a server and every child's command
//! line and environment. The aim is to find nothing; a test of its own shows that the search would find each of them.

mod echo;
mod encodings;
mod nest;
mod search;
mod strace;
mod values;

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::fs;
use std::os::unix::fs::PermissionsExt as _;

use migrate::steps::{KINDS, Kind};
use serde_json::{Map, Value, json};

use crate::lab::{SMALL, cases};
use echo::{Echo, Manner, closed_port};
use encodings::ENCODINGS;
use nest::{Nest, name};
use search::Search;
use values::{Canary, canaries};

/// Of a child's output so much is kept at either end.
const KEPT: usize = 32 * 1024;

fn canary(shape: &'static str, value: impl Into<String>) -> Canary {
    Canary { shape, value: value.into() }
}

#[test]
fn the_search_finds_each_canary_in_each_encoding() {
    let canaries = canaries("http://127.0.0.1:1");
    let dir = tempfile::tempdir().expect("a folder");
    let mut hits = 0;
    let mut search = Search::new(&canaries);
    for canary in &canaries {
        for encoding in &ENCODINGS {
            for text in (encoding.of)(&canary.value) {
                fs::write(dir.path().join("out"), format!("before {text} after")).expect("a file");
                search.found.clear();
                search.folder("dir", dir.path());
                let hit = ("dir/out".to_owned(), canary.shape, encoding.name);
                // The part of a short one that base64 leaves whole may be too short to look for.
                let told = text.len() < 7 || search.found.contains(&hit);
                assert!(told, "{} as {} is not found: {text}", canary.shape, encoding.name);
            }
            hits += 1;
        }
    }
    println!("canaries, self-test: {hits} of {} found", 40 * 12);
    assert_eq!(hits, 40 * 12);
}

/// Every canary in every encoding, in files that a child can print without exceeding what is kept of its output.
fn spoken(nest: &Nest) -> Vec<String> {
    let mut files = vec![String::new()];
    for canary in &nest.canaries {
        for encoding in &ENCODINGS {
            for text in (encoding.of)(&canary.value) {
                let last = files.last_mut().expect("one at least");
                if last.len() + text.len() > 2 * KEPT - 2000 {
                    files.push(String::new());
                }
                let last = files.last_mut().expect("one at least");
                last.extend([encoding.name, ": ", &text, "\n"]);
            }
        }
    }
    let files = files.into_iter().enumerate().map(|(index, text)| {
        let name = format!("spoken-{index}");
        nest.file(&name, text.as_bytes());
        name
    });
    files.collect()
}

/// What children do with secrets.
fn children(nest: &Nest) -> Vec<Value> {
    let all = nest.canaries.iter().enumerate();
    let env: Map<_, _> =
        all.clone().map(|(index, _)| (name(index), json!({ "secret": name(index) }))).collect();
    let mut steps = Vec::new();
    let mut step = |id: &str, with: Value| {
        let mut with = with;
        with["env"] = json!(env);
        with["repeat"] = json!("repeatable");
        steps.push(json!({ "id": id, "uses": "exec", "with": with }));
    };
    for file in spoken(nest) {
        step(&format!("well-{file}"), json!({ "argv": ["cat", file] }));
        step(
            &format!("badly-{file}"),
            json!({ "shell": format!("cat {file}; cat {file} >&2; exit 3") }),
        );
    }
    let mut pieces = String::new();
    for (index, canary) in all {
        let bytes = canary.value.as_bytes();
        let (head, tail) = bytes.split_at(bytes.len() / 2);
        nest.file(&format!("head-{index}"), head);
        nest.file(&format!("tail-{index}"), tail);
        write!(pieces, "cat head-{index}; cat tail-{index}; echo; ").expect("a String");
    }
    step("pieces", json!({ "shell": format!("{pieces} ( {pieces} ) >&2; exit 3") }));
    let long = &nest.canaries.iter().find(|it| it.shape == "4 KiB").expect("one of them").value;
    // Cut by what is kept of either end.
    let text = format!(
        "{}{long}{}{long}{}",
        "a".repeat(KEPT - 2000),
        "b".repeat(3 * KEPT),
        "c".repeat(KEPT - 2000)
    );
    nest.file("cut", text.as_bytes());
    step("cut", json!({ "argv": ["cat", "cut"] }));
    step("cut-badly", json!({ "shell": "cat cut >&2; exit 3" }));
    step("no-program", json!({ "argv": ["/no/such/program"] }));
    step("no-folder", json!({ "argv": ["true"], "folder": "no-such-folder" }));
    steps
}

/// Where requests go, and what goes wrong there.
fn addresses(plain: &Echo) -> Vec<(String, String)> {
    let at = |manner: &str| (manner.to_owned(), format!("{}/{manner}", plain.url));
    let mut all: Vec<_> = [
        "200", "401", "403", "404", "409", "412", "429", "500", "503", "bad-json", "cut",
        "redirect",
    ]
    .map(at)
    .to_vec();
    all.push(("closed".to_owned(), format!("http://127.0.0.1:{}/closed", closed_port())));
    all.push(("nowhere".to_owned(), "http://nowhere.invalid/nowhere".to_owned()));
    all.push(("no-tls".to_owned(), format!("{}/no-tls", plain.url.replace("http:", "https:"))));
    all
}

fn is_header(value: &str) -> bool {
    value.chars().all(|c| matches!(c, ' '..='~' | '\t'))
}

/// Requests with every secret that a header can carry, and one with those that it can not.
fn requests(nest: &Nest, plain: &Echo) -> Vec<Value> {
    let headers = |legal: bool| -> Value {
        let all = nest.canaries.iter().enumerate().filter(|(_, it)| is_header(&it.value) == legal);
        let header = |index| json!({ "secret": name(index), "prefix": "Bearer " });
        Value::Object(all.map(|(index, _)| (format!("x-{}", name(index)), header(index))).collect())
    };
    let mut steps: Vec<Value> = addresses(plain)
        .into_iter()
        .map(|(manner, url)| {
            let with = json!({ "url": url, "headers": headers(true), "repeat": "repeatable", "undo": "leaves-in-place" });
            json!({ "id": format!("request-{manner}"), "uses": "http.request", "with": with })
        })
        .collect();
    let with = json!({ "url": plain.url, "headers": headers(false), "repeat": "repeatable" });
    steps.push(json!({ "id": "request-illegal", "uses": "http.request", "with": with }));
    steps
}

/// Gates of both services, each with one of the forty as its token, at the services' own places or at another.
fn gates(nest: &Nest, server: Option<&str>) -> Vec<Value> {
    let freeze = |index: usize| {
        let token = json!({ "secret": name(index) });
        let mut gates = json!([
            { "github": { "repository": "contoso/crm", "token": token } },
            { "azure-devops": { "project": "contoso/crm", "environment": index, "approvers": ["a"], "token": token } },
        ]);
        if let Some(server) = server {
            gates[0]["github"]["server"] = json!(server);
            gates[1]["azure-devops"]["server"] = json!(server);
        }
        // The second is asked first where the first would end the step.
        if index % 2 == 1 {
            gates.as_array_mut().expect("a list").reverse();
        }
        json!({ "id": format!("gate-{index}"), "uses": "freeze.begin", "with": { "gates": gates } })
    };
    (0..nest.canaries.len().min(40)).step_by(3).map(freeze).collect()
}

/// Messages to webhooks whose URLs are secrets: those among the forty, and one for each failure.
fn messages(nest: &Nest) -> Vec<Value> {
    let hooks = nest.canaries.iter().enumerate().filter(|(_, it)| it.value.starts_with("http"));
    hooks
        .map(|(index, _)| {
            let with = json!({ "to": ["crm-team"], "message": "Tonight", "webhook": { "secret": name(index) } });
            json!({ "id": format!("message-{index}"), "uses": "notify", "with": with })
        })
        .collect()
}

/// The forty, and a webhook for each failure.
fn with_webhooks(plain: &Echo) -> Vec<Canary> {
    let mut all = canaries(&plain.url);
    for (index, (_, url)) in addresses(plain).into_iter().enumerate() {
        all.push(canary(
            "a webhook",
            format!("{url}/T0QZX{index}/B8KWVJ?sig=hq{index}zx%2Bwebhook%3D"),
        ));
    }
    all
}

/// A step whose outcome nobody knows: its child is killed, and its probe says too much and nothing.
fn in_doubt(nest: &Nest, plain: &Echo) -> String {
    let file = "spoken-0";
    let secret = |index: usize| json!({ "secret": name(index) });
    let doubt = json!({ "id": "doubt", "uses": "exec", "with": {
        "shell": format!("cat {file} >&2; kill -9 $$"), "env": { "A": secret(0), "B": secret(1) },
        "probe": ["sh", "-c", format!("cat {file} >&2; exit 3")] } });
    let request = json!({ "id": "request-doubt", "uses": "http.request", "workload": "b", "with": {
        "url": format!("{}/500", plain.url), "headers": { "x-a": secret(0), "x-b": secret(1) },
        "probe": { "url": format!("{}/403", plain.url), "that": "json.done" } } });
    let mut runbook = json!({ "migrate": 1, "wave": "doubt", "secrets": nest.secrets(), "stages": { "release": [doubt] } });
    runbook["stages"]["deploy"] = json!([request]);
    runbook["stages"]["deploy"][0].as_object_mut().expect("a step").remove("workload");
    nest.write("doubt.yaml", &runbook)
}

#[test]
fn children_requests_and_messages_say_nothing() {
    let plain = Echo::plain();
    let mut nest = Nest::new(with_webhooks(&plain), SMALL);
    // Nobody listens there.
    let gates = gates(&nest, Some("https://127.0.0.1:1"));
    let steps = [children(&nest), requests(&nest, &plain), messages(&nest), gates].concat();
    let runbook = nest.runbook("canaries.yaml", &steps);
    nest.tell(&["run", &runbook, "--dry-run", "-vv"]);
    let ended = if strace::is_there() {
        nest.traced(&["run", &runbook, "-vv"])
    } else {
        println!(
            "SKIPPED: writes, command lines and environments of children: strace is not installed"
        );
        nest.tell(&["run", &runbook, "-vv"])
    };
    assert!(ended.stderr().contains("[secret]"), "nothing was hidden: {}", ended.said());
    let run = nest.run_id();
    for step in ["request-403", "badly-spoken-0", "well-spoken-0", "gate-0", "gate-3"] {
        let journal = nest.lab.journal().expect("a journal");
        assert!(
            journal.contains(&format!("\"step\":\"{step}\"")),
            "{step} did not run: {}",
            ended.said()
        );
    }
    nest.ask_about(&runbook, &run);
    nest.tell(&["resume", &run, "--json"]);
    nest.tell(&["rollback", &run, "--yes", "-vv"]);
    nest.look_at_files();
    nest.report("children, requests, messages");
}

#[test]
fn a_run_in_doubt_and_a_run_that_was_killed_say_nothing() {
    let plain = Echo::plain();
    let mut nest = Nest::new(canaries(&plain.url), SMALL);
    spoken(&nest);
    let runbook = in_doubt(&nest, &plain);
    nest.tell(&["run", &runbook, "--json"]);
    let run = nest.run_id();
    nest.tell(&["resume", &run]);
    nest.tell(&["resolve", &run, "request-doubt", "--not-done", "--comment", "it said qzvkwjxp"]);
    nest.tell(&["resume", &run, "-vv"]);
    nest.ask_about(&runbook, &run);
    nest.look_at_files();
    // The child kills the program, and the program's children leave what they were about to say.
    let with = json!({ "shell": "cat spoken-0; cat spoken-0 >&2; kill -9 $PPID; sleep 0.2", "env": { "A": { "secret": name(0) } } });
    let runbook =
        nest.runbook("killed.yaml", &[json!({ "id": "killer", "uses": "exec", "with": with })]);
    fs::rename(nest.path().join("state"), nest.path().join("doubted")).expect("a folder");
    nest.tell(&["run", &runbook, "-vv"]);
    assert!(
        nest.lab.journal().is_some_and(|it| !it.contains("step_succeeded")),
        "it was not killed"
    );
    nest.look_at_files();
    let run = nest.run_id();
    nest.tell(&["resume", &run, "--json"]);
    nest.tell(&["status", &run]);
    nest.look_at_files();
    nest.report("in doubt, killed");
}

/// The example of a kind that talks to Azure, sent elsewhere.
fn elsewhere(nest: &Nest, kind: &Kind, azure: &Echo, credential: &str) -> Option<String> {
    let ca = nest.path().join("ca.pem");
    fs::write(&ca, &azure.ca_pem).expect("a file");
    let text = kind.spec.example;
    if !text.contains("\nazure:\n") {
        return None;
    }
    let all: Map<_, _> = (0..40).map(|index| (format!("p{index}"), json!(name(index)))).collect();
    let template = "template: azure.deploy.json";
    let secure = format!("{template}\n        secure_parameters: {}", Value::Object(all));
    let text = text.replace("  cloud: public\n", "").replace(template, &secure).replace(
        "\nazure:\n",
        &format!(
            "\nsecrets: {}\nazure:\n  cloud: custom\n  endpoint: {}\n  ca_file: {}\n  credential: {credential}\n",
            nest.secrets(),
            azure.url,
            ca.display()
        ),
    );
    let path = nest.path().join(format!("{}.yaml", kind.spec.name));
    fs::write(&path, text).expect("a runbook");
    fs::copy("examples/steps/azure.deploy.json", nest.path().join("azure.deploy.json"))
        .expect("a template");
    Some(path.display().to_string())
}

/// How Azure answers, the quick ones first.
const MANNERS: [Manner; 11] = [
    Manner::Status(403),
    Manner::Status(401),
    Manner::NoToken,
    Manner::BadJson,
    Manner::Status(409),
    Manner::Status(412),
    Manner::Redirect,
    Manner::Status(404),
    Manner::Cut,
    Manner::Status(429),
    Manner::Status(500),
];

#[test]
fn what_azure_quotes_is_not_repeated() {
    let token = format!("eyJhbGciOiJSUzI1NiJ9.{}.qzx-8kw_vj", "cXp4OGt3dmpwcXp4OGt3dmo".repeat(20));
    let key = rcgen::KeyPair::generate_for(&rcgen::PKCS_RSA_SHA256).expect("an RSA key");
    let certificate =
        rcgen::CertificateParams::new(Vec::new()).and_then(|it| it.self_signed(&key)).expect("one");
    let key = key.serialize_pem();
    let mut all = canaries("http://127.0.0.1:1");
    all.push(canary("a bearer token", token.as_str()));
    all.push(canary("a signed assertion", "eyJhbGciOiJSUzI1NiIsInR5cCI6IkpXVCIs"));
    all.push(canary("a certificate's key", key.as_str()));
    let mut nest = Nest::new(all, SMALL);
    nest.file("principal.pem", format!("{key}\n{}", certificate.pem()).as_bytes());
    let by_secret = format!(
        "{{ service_principal: {{ tenant: tenant, client_id: app, secret: {} }} }}",
        name(9)
    );
    let by_certificate =
        "{ service_principal: { tenant: tenant, client_id: app, certificate: principal.pem } }";
    let manners = &MANNERS[..cases(4, MANNERS.len()).min(MANNERS.len())];
    let mut runs = 0;
    for (index, &manner) in manners.iter().enumerate() {
        let azure = Echo::azure(manner, &token);
        for (nth, kind) in KINDS.iter().enumerate() {
            let credential = if (index + nth) % 2 == 0 { &by_secret } else { by_certificate };
            let Some(runbook) = elsewhere(&nest, kind, &azure, credential) else { continue };
            let flags: &[&str] =
                [&["-vv"][..], &["--json"], &["--json", "-vv"], &["-q"]][(index + nth) % 4];
            nest.tell(&[&["run", &runbook][..], flags].concat());
            if runs % 7 == 0 {
                nest.tell(&["run", &runbook, "--dry-run"]);
            }
            runs += 1;
        }
        nest.look_at_files();
        if std::env::var_os("MIGRATE_SOAK").is_some() {
            println!(
                "canaries, Azure answers {manner:?}: {runs} runs, {} found",
                nest.search.found.len()
            );
        }
    }
    nest.report("Azure's answers");
}

/// A CLI that tells everything it was given, and gives no token.
const TELLTALE: &str = r#"#!/bin/sh
{ echo "$0 $*"; env; } > "$(dirname "$0")/told"
env >&2
exit 1
"#;

#[test]
fn the_azure_cli_is_given_no_secret() {
    let mut nest = Nest::new(canaries("http://127.0.0.1:1"), SMALL);
    let dir = nest.path().join("told");
    fs::create_dir(&dir).expect("a folder");
    fs::write(dir.join("az"), TELLTALE).expect("a script");
    fs::set_permissions(dir.join("az"), fs::Permissions::from_mode(0o755)).expect("a script");
    let azure = Echo::azure(Manner::Status(403), "unused");
    let kind = KINDS.iter().find(|kind| kind.spec.name == "azure.deploy").expect("a kind");
    let runbook = elsewhere(&nest, kind, &azure, "azure-cli").expect("it talks to Azure");
    let path = std::env::var("PATH").expect("a path");
    let path = format!("{}:{path}", dir.display());
    nest.tell_with(
        &[("PATH", &path), ("SYSTEM_ACCESSTOKEN", &nest.canaries[1].value.clone())],
        &["run", &runbook, "-vv"],
    );
    let told = fs::read_to_string(dir.join("told")).expect("it was started");
    assert!(told.contains("account get-access-token") && told.contains("HOME="), "{told}");
    nest.search.folder("told", &dir);
    nest.look_at_files();
    nest.report("the Azure CLI");
}

/// What the sandbox can do to a request.
const FAULTS: [&str; 6] = [
    "conflict",
    "precondition_failed",
    "server_error",
    "operation_fails",
    "reply_lost",
    "{ throttled: { retry_after: 1 } }",
];

#[test]
fn no_kind_says_anything_when_the_sandbox_fails() {
    let mut all = canaries("http://127.0.0.1:1");
    // The sandbox's tokens are not signed, so all of them begin alike.
    all.push(canary("the sandbox's token", "eyJhbGciOiJub25lIiwidHlwIjoiSldUIn0"));
    let mut nest = Nest::new(all, SMALL);
    let per_kind = cases(1, FAULTS.len()).min(FAULTS.len());
    let mut runs = 0;
    for (nth, kind) in KINDS.iter().enumerate() {
        for turn in 0..per_kind {
            let fault = FAULTS[(nth + turn) % FAULTS.len()];
            let scenario = nest.path().join("scenario.yaml").display().to_string();
            let faults: Vec<_> =
                (1..4).map(|n| format!("{{ path: /, nth: {n}, fault: {fault} }}")).collect();
            nest.file(
                "scenario.yaml",
                format!("{SMALL}faults: [{}]\n", faults.join(", ")).as_bytes(),
            );
            let secrets = format!("migrate: 1\nsecrets: {}\n", nest.secrets());
            let example = kind.spec.example;
            let has_own = example.contains("\nsecrets:");
            let text = if has_own {
                example.to_owned()
            } else {
                example.replacen("migrate: 1\n", &secrets, 1)
            };
            let path = nest.path().join("example.yaml");
            fs::write(&path, text).expect("a runbook");
            fs::copy("examples/steps/azure.deploy.json", nest.path().join("azure.deploy.json"))
                .expect("a template");
            let path = path.display().to_string();
            let flags: &[&str] = [&["-vv"][..], &["--json", "-vv"], &["-v"]][(nth + turn) % 3];
            let line = ["run", &path, "--sandbox", "--yes", "--scenario", &scenario];
            nest.tell(&[&line[..], flags].concat());
            runs += 1;
        }
    }
    nest.file("scenario.yaml", SMALL.as_bytes());
    let scenario = nest.path().join("scenario.yaml").display().to_string();
    let gates = nest.runbook("gates.yaml", &gates(&nest, None));
    let closed = nest.tell(&["run", &gates, "--sandbox", "--yes", "--scenario", &scenario, "-vv"]);
    assert!(closed.said().contains("close branches"), "no gate was closed: {}", closed.said());
    nest.look_at_files();
    println!("canaries, sandbox: {} kinds, {runs} runs", KINDS.len());
    nest.report("faults of the sandbox");
}

#[test]
fn each_kind_that_takes_a_secret_is_tried() {
    let takes = |kind: &&&Kind| {
        let schema = (kind.spec.schema)().to_value().to_string();
        schema.contains("\"secret\"") || schema.contains("secure_parameters")
    };
    let kinds: BTreeSet<_> = KINDS.iter().filter(takes).map(|kind| kind.spec.name).collect();
    assert_eq!(
        kinds,
        BTreeSet::from(["azure.deploy", "exec", "freeze.begin", "http.request", "notify"])
    );
}
