//! Every request of the client against its operation, every example of an answer through the client.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use azure_core::http::Url;
use migrate::sandbox::exchanges::Exchange;
use serde_json::Value;

use super::openapi::{Example, Files, Operation};
use super::played::{Asking, Player};
use super::schema::Schemas;
use super::table::{ROWS, Read, Row};
use super::verdict::{Claim, api_version};

/// Checks one row of the table.
pub(crate) async fn holds(id: &str, spec: &str) {
    let Some(files) = Files::given() else { return };
    let row = ROWS.iter().find(|row| (row.id, row.spec) == (id, spec)).expect("it is listed");
    let operation = files.operation(row.spec, row.id);
    let examples = row.examples(&files, &operation);
    let (schemas, mut wrong) = (Schemas::new(&files), Vec::new());
    for (method, ask) in row.methods {
        for example in &examples {
            let given = row.given.map(|given| given());
            let player = Player::new(&operation, given, example, ended(&examples));
            let read = ask(&mut Asking::of(&player)).await;
            let seen = player.seen();
            let (_, first) = seen.first().expect("a request");
            let claim = Claim { schemas: &schemas, operation: &operation, exchange: first };
            let faults = claim.request_faults().into_iter();
            wrong.extend(faults.map(|it| format!("{method}: {it}")));
            if api_version(first) != Some(row.sends) {
                wrong.push(format!("{method}: api-version is {:?}", api_version(first)));
            }
            wrong.extend(strays(&seen).into_iter().map(|it| format!("{method}: follows {it}")));
            let read = read.map_err(|error| (error.status(), error.to_string()));
            if let Err(why) = judged(example, &seen, read) {
                wrong.push(format!("{method}, example {}: {why}", example.name));
            }
        }
    }
    wrong.sort();
    wrong.dedup();
    assert!(wrong.is_empty(), "{id}: {} mismatches\n{}", wrong.len(), wrong.join("\n"));
}

impl Row {
    /// The files' examples; a 404 where there is none.
    fn examples(&self, files: &Files, operation: &Operation) -> Vec<Example> {
        let mut own = files.operation(self.spec, &operation.id).examples;
        // An answer that was asked to be short is none to what we ask.
        own.retain(|example| !example.asked.contains(&"$select".to_owned()));
        if !own.is_empty() {
            return own;
        }
        let like = self.like.map(|like| files.operation(self.spec, like).examples);
        let mut like = like.unwrap_or_default();
        like.retain(|example| example.status == 200);
        if like.is_empty() {
            let name = "none in the files".to_owned();
            like.push(Example { name, status: 404, ..Example::default() });
        }
        like
    }
}

/// An answer that says that all is over.
fn ended(examples: &[Example]) -> Option<&Example> {
    examples.iter().find(|it| {
        let says = |pointer| it.body.pointer(pointer).is_some_and(|state| state == "Succeeded");
        it.status == 200 && (says("/status") || says("/properties/provisioningState"))
    })
}

/// Requests after the first that no earlier answer led to, and that do not ask for the same thing again.
fn strays(seen: &[(Url, Exchange)]) -> Vec<String> {
    let mut strays = Vec::new();
    for (number, (url, _)) in seen.iter().enumerate().skip(1) {
        let led = seen[..number].iter().any(|(from, earlier)| {
            let headers = ["location", "azure-asyncoperation"];
            let links = headers.into_iter().filter_map(|name| earlier.answer_headers.get(name));
            let links = links.map(String::as_str).chain(earlier.answer["nextLink"].as_str());
            links.into_iter().any(|link| from.join(link).is_ok_and(|link| link == *url))
        });
        if !led && *url != seen[0].0 {
            strays.push(url.to_string());
        }
    }
    strays
}

/// Whether what was read is what the example says.
fn judged(
    example: &Example,
    seen: &[(Url, Exchange)],
    read: Result<Read, (Option<u16>, String)>,
) -> Result<(), String> {
    let read = match read {
        Ok(read) => read,
        Err((status, _)) if example.status >= 400 && status == Some(example.status) => {
            return Ok(());
        }
        Err((_, error)) => return Err(format!("not understood: {error}")),
    };
    if example.status >= 400 {
        let none = read.is_none_or(|items| items.is_empty());
        return if example.status == 404 && none {
            Ok(())
        } else {
            Err("taken for success".into())
        };
    }
    let Some(read) = read else { return Ok(()) };
    // What an operation came to is in its last answer.
    let came_to = seen.last().map_or(&example.body, |(_, exchange)| &exchange.answer);
    let body = if example.status == 202 { came_to } else { &example.body };
    let list = body.get("value").or_else(|| body.pointer("/properties/changes"));
    let items = match list.and_then(Value::as_array) {
        Some(items) => items.iter().collect(),
        None => vec![body],
    };
    if items.len() != read.len() {
        return Err(format!("{} of {} items were read", read.len(), items.len()));
    }
    for words in &read {
        let missing = |item: &Value| words.iter().find(|word| !holds_word(item, word)).cloned();
        if items.iter().all(|item| missing(item).is_some()) {
            return Err(format!("{words:?} do not all stand in one of its items"));
        }
    }
    Ok(())
}

fn holds_word(value: &Value, word: &str) -> bool {
    match value {
        Value::Object(fields) => fields.values().any(|value| holds_word(value, word)),
        Value::Array(items) => items.iter().any(|item| holds_word(item, word)),
        Value::String(text) => text == word && !word.is_empty(),
        Value::Number(number) => word.parse::<serde_json::Number>().is_ok_and(|it| it == *number),
        Value::Bool(_) | Value::Null => false,
    }
}

#[test]
fn the_list_and_where_versions_differ() {
    let Some(files) = Files::given() else { return };
    let mut lines = BTreeSet::new();
    for row in ROWS {
        let operation = files.operation(row.spec, row.id);
        let version = if operation.version == row.sends {
            row.sends.to_owned()
        } else {
            format!("{} (the file is {})", row.sends, operation.version)
        };
        let examples = operation.examples.len();
        let name = row.id;
        assert!(lines.insert(format!("{name}: {version}, {examples} examples")), "{name} twice");
    }
    println!("{} operations of the client:", lines.len());
    println!("{}", lines.into_iter().collect::<Vec<_>>().join("\n"));
}

/// Names of the client's methods that ask Azure, by their source: those that are lent a `Wait`.
fn methods_in(dir: &Path, found: &mut BTreeSet<String>) {
    for entry in fs::read_dir(dir).expect("a folder") {
        let path = entry.expect("an entry").path();
        if path.is_dir() && path.ends_with("credential") {
            continue;
        }
        if path.is_dir() {
            methods_in(&path, found);
            continue;
        }
        let text = fs::read_to_string(&path).expect("a text");
        for rest in text.split("    pub async fn ").skip(1) {
            let (name, rest) = rest.split_once('(').expect("parameters");
            let (parameters, _) = rest.split_once(')').expect("their end");
            if parameters.contains("&self") && parameters.contains("&mut Wait") {
                found.insert(name.split('<').next().unwrap_or_default().to_owned());
            }
        }
    }
}

/// Methods whose operations no file at hand describes: virtual machines and disks, assessments of Azure Migrate.
const WITHOUT_FILES: [&str; 8] = [
    "assessed_machines",
    "attach_compute",
    "compute_stands",
    "delete_compute",
    "finish_compute",
    "put_snapshot",
    "set_power",
    "virtual_machine",
];

#[test]
fn every_method_that_asks_azure_is_listed() {
    let mut methods = BTreeSet::new();
    methods_in(&Path::new(env!("CARGO_MANIFEST_DIR")).join("src/azure"), &mut methods);
    let listed = ROWS.iter().flat_map(|row| row.methods).map(|(name, _)| (*name).to_owned());
    println!(
        "SKIPPED: conformance of {}: no file at hand describes them",
        WITHOUT_FILES.join(", ")
    );
    let listed: BTreeSet<_> = listed.chain(WITHOUT_FILES.map(str::to_owned)).collect();
    assert!(methods.len() > 15, "only {methods:?}: is this the source?");
    assert_eq!(methods, listed, "left: in src/azure; right: in the table");
}
