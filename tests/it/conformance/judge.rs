//! A conversation, request by request: which listed operation each is, and what is wrong with it on either side.

use std::collections::BTreeSet;

use migrate::sandbox::exchanges::Exchange;
use serde_json::Value;
use url::Url;

use super::openapi::{Files, Node, Operation};
use super::rules::{KNOWN, Known, is_undescribed, wrapped};
use super::schema::{Schemas, Side, faults};
use super::table::{RESOURCES, ROWS};
use super::verdict::{Claim, api_version, line};

/// The operations that may be met.
pub(crate) struct Listed<'a> {
    schemas: Schemas<'a>,
    operations: Vec<Operation>,
}

/// What a conversation was found to be.
#[derive(Debug, Default)]
pub(crate) struct Findings {
    /// Mismatches of requests, and requests that are no listed operation.
    pub(crate) client: BTreeSet<String>,
    /// Mismatches of answers.
    pub(crate) sandbox: BTreeSet<String>,
    /// Operations that were answered with success: file and id.
    pub(crate) met: BTreeSet<(String, String)>,
    /// Known departures of the services that were met, by their place in the list.
    pub(crate) known: BTreeSet<usize>,
    pub(crate) exchanges: usize,
}

/// What stands in the place of an operation's id for a poll.
const POLL: &str = "a poll";

/// Resource types that are asked for by id alone: an author's `azure.check` names them.
const BY_ID: [&str; 2] =
    ["/providers/microsoft.web/sites/", "/providers/microsoft.network/virtualnetworks/"];

/// Parts of paths that no file at hand describes: virtual machines and disks, assessments, Key Vaults.
const WITHOUT_FILES: [&str; 3] = [
    "/providers/microsoft.compute/",
    "/providers/microsoft.migrate/assessmentprojects/",
    "/keyvault/",
];

fn has_no_file(exchange: &Exchange) -> bool {
    let path = exchange.path.to_ascii_lowercase();
    WITHOUT_FILES.iter().any(|part| path.contains(part))
}

impl<'a> Listed<'a> {
    /// The client's operations, and those further ones.
    pub(crate) fn new(files: &'a Files, further: &[(&str, &[&str])]) -> Self {
        let own = ROWS.iter().map(|row| (row.spec, row.id));
        let further = further.iter().flat_map(|(spec, ids)| ids.iter().map(move |id| (*spec, *id)));
        let operations = own.chain(further).map(|(spec, id)| files.operation(spec, id)).collect();
        Self { schemas: Schemas::new(files), operations }
    }

    /// The one that describes it best.
    fn operation(&self, exchange: &Exchange) -> Option<&Operation> {
        let path = exchange.path.to_ascii_lowercase();
        let by_id = BY_ID.iter().any(|part| path.contains(part));
        let fits = self.operations.iter().filter(|it| {
            it.method == exchange.method
                && (it.words() > 0 || by_id)
                && it.matches(&exchange.path).is_some()
        });
        fits.max_by_key(|it| it.words())
    }

    /// Holds a conversation against the files.
    pub(crate) fn judge(&self, conversation: &[Exchange], findings: &mut Findings) {
        let mut links = BTreeSet::new();
        for exchange in conversation {
            findings.exchanges += 1;
            let asked = (exchange.path.clone(), exchange.query.clone());
            let led = links.contains(&asked);
            links.extend(links_of(exchange));
            match self.operation(exchange) {
                Some(operation) => self.held(operation, exchange, led, findings),
                None if led => self.polled(exchange, findings),
                None if has_no_file(exchange) || is_undescribed(exchange) => {}
                None => {
                    findings.client.insert(format!("no listed operation: {}", line(exchange)));
                }
            }
        }
    }

    fn held(&self, operation: &Operation, exchange: &Exchange, led: bool, to: &mut Findings) {
        let exchange = wrapped(exchange);
        let claim = Claim { schemas: &self.schemas, operation, exchange: &exchange };
        // A link is followed as it came, whatever it says.
        if !led {
            let faults = claim.request_faults().into_iter();
            to.client.extend(faults.map(|fault| told(&operation.id, &fault, &exchange)));
            let of = (operation.file.as_str(), operation.id.as_str());
            let mut rows = ROWS.iter().filter(|row| (row.spec, row.id) == of);
            let sent = api_version(&exchange);
            if operation.words() > 0 && rows.all(|row| Some(row.sends) != sent) {
                let fault = format!("api-version {sent:?} is not in the table");
                to.client.insert(told(&operation.id, &fault, &exchange));
            }
        }
        to.sift(&operation.id, &exchange, claim.answer_faults());
        if exchange.status.is_some_and(|status| status < 300) {
            to.met.insert((operation.file.clone(), operation.id.clone()));
        }
    }

    /// The answer to a poll: no file describes its path, ARM's common types its body.
    fn polled(&self, exchange: &Exchange, to: &mut Findings) {
        let body = &exchange.answer;
        match exchange.status {
            Some(200 | 202) if body.get("status").is_some_and(Value::is_string) => {
                let schema = self.status_schema(body);
                let faults = faults(&self.schemas.validator(Side::Answer, &schema), body);
                to.sift(POLL, exchange, faults);
            }
            Some(200..300 | 404 | 429) | None => {}
            Some(status) => to.sift(POLL, exchange, vec![format!("status {status}")]),
        }
    }

    fn status_schema(&self, body: &Value) -> Node {
        if body.pointer("/properties/changes").is_some() {
            return self.schemas.files.follow(RESOURCES, "#/definitions/WhatIfOperationResult");
        }
        let types = "common-types/resource-management/v3/types.json";
        self.schemas.files.follow(types, "#/definitions/OperationStatusResult")
    }
}

impl Findings {
    /// Adds the faults of an answer, but those that the service itself is known to have.
    fn sift(&mut self, operation: &str, exchange: &Exchange, faults: Vec<String>) {
        for fault in faults {
            let of = |it: &Known| operation.starts_with(it.operation) && fault.contains(it.fault);
            match KNOWN.iter().position(of) {
                Some(at) => drop(self.known.insert(at)),
                None => drop(self.sandbox.insert(told(operation, &fault, exchange))),
            }
        }
    }
}

/// A fault with its place; without the positions in lists, so that the same fault of every item is one.
fn told(operation: &str, fault: &str, exchange: &Exchange) -> String {
    let (place, what) = fault.split_once(": ").unwrap_or(("", fault));
    let parts = place.split('/');
    let parts = parts.map(|part| if part.parse::<u32>().is_ok() { "*" } else { part });
    let place = parts.collect::<Vec<_>>().join("/");
    format!("{operation}: {place}: {what}  [{}]", line(exchange))
}

/// Where an answer leads, as the next request would show it.
fn links_of(exchange: &Exchange) -> Vec<(String, Vec<(String, String)>)> {
    let headers = ["location", "azure-asyncoperation"];
    let headers = headers.into_iter().filter_map(|name| exchange.answer_headers.get(name));
    let links = headers.map(String::as_str).chain(exchange.answer["nextLink"].as_str());
    let parsed = links.filter_map(|link| Url::parse(link).ok());
    let shown = parsed.map(|url| (url.path().to_owned(), url.query_pairs().into_owned().collect()));
    shown.collect()
}
