//! Azure Resource Manager's answers: any status, headers and body, to every call this program makes.
//!
//! An input is text. Its first line names the call; each block after a line `==` is one answer: status, headers, an
//! empty line, body. A line that names no call picks one by its length, so that every input asks something.

use std::collections::VecDeque;
use std::sync::{Arc, LazyLock, Mutex, PoisonError};

use async_trait::async_trait;
use azure_core::error::{Error, ErrorKind};
use azure_core::http::headers::Headers;
use azure_core::http::{AsyncRawResponse, HttpClient, Request, StatusCode};
use jiff::Timestamp;
use migrate::azure::played::GROUP;
use migrate::azure::{
    ActivityFilter, ArmError, Azure, Lock, LockLevel, MigrationItemId, RecordSet, RecordType,
    ReplicationItem, ResourceId, Template, Wait,
};
use migrate::clock::Clock;
use migrate::journal::{EffectPermit, Journal};
use migrate::run::{Event, Header, Intent, Record, Repeat, Undo};
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;

const CALLS: [&str; 20] = [
    "get",
    "exists",
    "group",
    "lock",
    "locks",
    "put_lock",
    "delete_lock",
    "zone",
    "record_set",
    "record_sets",
    "put_record_set",
    "delete_record_set",
    "replication_item",
    "replication_items",
    "deployment",
    "deployment_operations",
    "validate_deployment",
    "what_if",
    "create_deployment",
    "activity",
];

/// Makes the call and lets the script answer until it ends.
pub(crate) fn any(input: &[u8]) {
    static RUNTIME: LazyLock<tokio::runtime::Runtime> = LazyLock::new(|| {
        tokio::runtime::Builder::new_current_thread()
            .enable_time()
            .build()
            .expect("a runtime without sockets")
    });
    let first = input.iter().position(|byte| *byte == b'\n').unwrap_or(input.len());
    let (name, rest) = input.split_at(first);
    let named = CALLS.iter().find(|call| call.as_bytes() == name);
    let call = named.copied().unwrap_or(CALLS[first % CALLS.len()]);
    let script = Script(Mutex::new(answers(rest).into()));
    RUNTIME.block_on(Caller::new(script).call(call));
}

/// The answers, in order, each cut at its `==`.
fn answers(mut rest: &[u8]) -> Vec<(u16, Headers, Vec<u8>)> {
    const CUT: &[u8] = b"\n==\n";
    let mut blocks = Vec::new();
    while let Some(at) = rest.windows(CUT.len()).position(|window| window == CUT) {
        rest = &rest[at + CUT.len()..];
        let next = rest.windows(CUT.len()).position(|window| window == CUT);
        blocks.push(answer(&rest[..next.unwrap_or(rest.len())]));
    }
    blocks
}

fn answer(block: &[u8]) -> (u16, Headers, Vec<u8>) {
    let at = block.windows(2).position(|pair| pair == b"\n\n").unwrap_or(block.len());
    let body = block.get(at + 2..).unwrap_or_default().to_vec();
    let head = String::from_utf8_lossy(&block[..at]);
    let mut lines = head.lines();
    let status = lines.next().and_then(|text| text.trim().parse().ok()).unwrap_or(200);
    let mut headers = Headers::new();
    // What the HTTP library hands on: lower-case tokens, and values without line breaks.
    let token = |name: &str| name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-');
    for (name, value) in lines.filter_map(|line| line.split_once(':')) {
        if token(name) {
            headers.insert(name.to_ascii_lowercase(), value.trim().to_owned());
        }
    }
    (status, headers, body)
}

#[derive(Debug)]
struct Script(Mutex<VecDeque<(u16, Headers, Vec<u8>)>>);

#[async_trait]
impl HttpClient for Script {
    async fn execute_request(&self, _: &Request) -> azure_core::Result<AsyncRawResponse> {
        let next = self.0.lock().unwrap_or_else(PoisonError::into_inner).pop_front();
        let (status, headers, body) =
            next.ok_or_else(|| Error::with_message(ErrorKind::Io, "the script has ended"))?;
        Ok(AsyncRawResponse::from_bytes(StatusCode::from(status), headers, body))
    }
}

/// One journal gives the permit that every change of this process is made under.
pub(crate) static PERMIT: LazyLock<EffectPermit> = LazyLock::new(|| {
    let folder = tempfile::tempdir().expect("a folder");
    let header: Header = serde_json::from_value(json!({
        "format": 1, "tool": "0", "run": "r", "operator": { "user": "u", "host": "h" },
        "runbook": "w.yaml", "fingerprint": "f", "sandbox": true,
        "plan": { "format": 1, "wave": "w", "parallel": 1, "steps": [] },
    }))
    .expect("a header");
    let at = Timestamp::UNIX_EPOCH;
    let first = Record { seq: 0, at, event: Event::RunStarted(Box::new(header)) };
    let mut journal = Journal::create(&folder.path().join("run"), &first).expect("a journal");
    let classes = (Repeat::Guarded, Undo::Restores);
    let intent = Intent::new("k", "t", "create", classes, Value::Null, Value::Null);
    journal.append(at, Event::Intent { step: "s".into(), intent, undoes: None });
    journal.sync().expect("a sync").pop().expect("a permit")
});

struct Caller {
    azure: Azure,
    clock: Clock,
}

/// What was read is shown; what failed becomes a step's error.
fn shown<T: std::fmt::Debug>(result: Result<T, ArmError>) -> Option<T> {
    match result {
        Ok(value) => {
            let _ = format!("{value:?}");
            Some(value)
        }
        Err(error) => {
            let _ = error.into_step_error("asking", "nothing changed").to_string();
            None
        }
    }
}

impl Caller {
    fn new(script: Script) -> Self {
        let clock = Clock::still_from(Timestamp::UNIX_EPOCH);
        let azure = Azure::played(Arc::new(script), &clock);
        Self { azure, clock }
    }

    async fn call(&self, call: &str) {
        let mut wait = Wait::new(&self.clock, &CancellationToken::new());
        let (azure, wait) = (&self.azure, &mut wait);
        let scope = azure.scope(GROUP).expect("a scope");
        let zone = azure.zone_id(None, "contoso.example").expect("a zone");
        match call {
            "get" => _ = shown(azure.get(wait, &scope, "2021-04-01").await),
            "exists" => _ = shown(azure.exists(wait, &scope, "2021-04-01").await),
            "group" => _ = shown(azure.group(wait, GROUP).await),
            "lock" => _ = shown(azure.lock(wait, &scope, "freeze").await),
            "locks" => _ = shown(azure.locks(wait, &scope).await),
            "zone" => _ = shown(azure.zone(wait, &zone).await),
            "record_sets" => {
                let sets = shown(azure.record_sets(wait, &zone).await);
                sets.into_iter().flatten().for_each(|set| read(&set));
            }
            "record_set" => {
                let set = azure.record_set(wait, &zone, RecordType::Cname, "crm").await;
                shown(set).flatten().iter().for_each(read);
            }
            "replication_item" | "replication_items" => self.replication(wait, call).await,
            "activity" => {
                let (from, until) = (Timestamp::UNIX_EPOCH, Timestamp::UNIX_EPOCH);
                let filter = ActivityFilter { from, until, scope: scope.clone() };
                let events = shown(azure.activity(wait, &filter).await);
                events.into_iter().flatten().for_each(|event| _ = event.within(&scope));
            }
            "put_lock" | "delete_lock" | "put_record_set" | "delete_record_set" => {
                self.change(wait, call, &scope, &zone).await;
            }
            _ => self.deploy(wait, call).await,
        }
    }

    async fn replication(&self, wait: &mut Wait<'_>, call: &str) {
        let id = MigrationItemId {
            resource_group: None,
            vault: "v".to_owned(),
            fabric: "f".to_owned(),
            container: "c".to_owned(),
            item: "i".to_owned(),
        };
        let look = |item: &ReplicationItem| {
            let _ = (item.lag(Timestamp::UNIX_EPOCH), item.allows("Migrate"));
        };
        if call == "replication_item" {
            shown(self.azure.replication_item(wait, &id).await).flatten().iter().for_each(look);
        } else {
            let vault = self.azure.vault_id(None, "v").expect("an id");
            let items = shown(self.azure.replication_items(wait, &vault).await);
            items.unwrap_or_default().iter().for_each(look);
        }
    }

    async fn change(&self, wait: &mut Wait<'_>, call: &str, scope: &ResourceId, zone: &ResourceId) {
        let azure = &self.azure;
        let values = ["crm.example".to_owned()];
        let set = RecordSet::new("crm", RecordType::Cname, 60, &values).expect("a record set");
        let before = RecordSet { etag: Some("e".to_owned()), ..set.clone() };
        match call {
            "put_lock" => {
                let (name, notes) = ("freeze".to_owned(), String::new());
                let lock = Lock { name, level: Some(LockLevel::ReadOnly), notes };
                shown(azure.put_lock(wait, &PERMIT, scope, &lock).await);
            }
            "delete_lock" => _ = shown(azure.delete_lock(wait, &PERMIT, scope, "freeze").await),
            "put_record_set" => {
                let put = azure.put_record_set(wait, &PERMIT, zone, Some(&before), &set).await;
                shown(put).iter().for_each(read);
            }
            _ => _ = shown(azure.delete_record_set(wait, &PERMIT, zone, &before).await),
        }
    }

    async fn deploy(&self, wait: &mut Wait<'_>, call: &str) {
        let azure = &self.azure;
        let template = Template { template: json!({}), parameters: serde_json::Map::new() };
        let name = "migrate-run";
        match call {
            "deployment" => {
                if let Some(it) = shown(azure.deployment(wait, GROUP, name).await).flatten() {
                    let _ = (it.succeeded(), it.ended());
                }
            }
            "deployment_operations" => {
                _ = shown(azure.deployment_operations(wait, GROUP, name).await);
            }
            "validate_deployment" => {
                _ = shown(azure.validate_deployment(wait, GROUP, name, &template).await);
            }
            "what_if" => _ = shown(azure.what_if(wait, GROUP, name, &template).await),
            _ => {
                let begun =
                    shown(azure.create_deployment(wait, &PERMIT, GROUP, name, &template).await);
                let url = begun.and_then(|accepted| accepted.operation_url);
                shown(azure.finish_deployment(wait, GROUP, name, url.as_deref()).await);
            }
        }
    }
}

fn read(set: &RecordSet) {
    let _ = (set.ttl(), set.values(), set.same_state(set));
    let _ = set.clone().with_ttl(60).with_values(&set.values());
}
