//! Azure Resource Manager: requests in, replies and changes out.
//!
//! [`handle`] is a pure function of world, request and time. It never touches the disk; whoever calls it makes the
//! changes durable before the reply leaves. Ids, types and names compare without case and keep the case they were
//! written in, as the real service does.

mod dns;
mod error;
mod groups;
mod replication;
mod subscriptions;

use hyper::http::{Method, StatusCode, header};
use jiff::Timestamp;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

pub(super) use dns::changed_record;
pub(super) use error::ArmError;

use super::http::{Reply, Request};
use super::ledger::Changes;
use super::scenario::Scenario;
use super::store::World;

/// A reply and what has to be durable before it leaves.
#[derive(Debug)]
pub(crate) struct Outcome {
    pub(crate) reply: Reply,
    pub(crate) changes: Changes,
}

impl Outcome {
    fn ok(body: &Value) -> Self {
        Self::with_status(StatusCode::OK, body)
    }

    fn with_status(status: StatusCode, body: &Value) -> Self {
        Self { reply: Reply::json(status, body), changes: Changes::new() }
    }

    fn empty(status: StatusCode) -> Self {
        Self { reply: Reply::empty(status), changes: Changes::new() }
    }

    fn put(mut self, id: &str, doc: Value) -> Self {
        self.changes.insert(id.to_ascii_lowercase(), Some(doc));
        self
    }

    fn remove(mut self, id: &str) -> Self {
        self.changes.insert(id.to_ascii_lowercase(), None);
        self
    }
}

type Handled = Result<Outcome, ArmError>;

/// One request as the providers see it.
pub(crate) struct Call<'a> {
    pub(crate) world: &'a World,
    pub(crate) scenario: &'a Scenario,
    pub(crate) request: &'a Request,
    pub(crate) now: Timestamp,
    /// When the world began.
    pub(crate) began: Timestamp,
    /// `https://localhost:port`, for links back.
    pub(crate) base: &'a str,
    /// Path segments as written.
    segments: Vec<&'a str>,
}

impl Call<'_> {
    /// The id made of the first `count` segments, as written.
    fn id(&self, count: usize) -> String {
        self.segments[..count].iter().fold(String::new(), |id, segment| format!("{id}/{segment}"))
    }

    /// The request's body as JSON.
    fn body(&self) -> Result<Value, ArmError> {
        serde_json::from_slice(&self.request.body).map_err(|error| {
            ArmError::bad_request(
                "InvalidRequestContent",
                format!(
                    "The request content was invalid and could not be deserialized: '{error}'."
                ),
            )
        })
    }

    /// A GUID that no other entry of this world has; the same in every repetition of the world.
    fn fresh_guid(&self, of: &str) -> String {
        guid(&format!("{}:{of}", self.world.next_seq()))
    }

    /// A page of `items` by `$top` and `$skipToken`, with `nextLink` when there is more.
    fn page(&self, items: Vec<Value>) -> Value {
        let number = |name: &str| self.request.query(name).and_then(|text| text.parse().ok());
        let from: usize = number("$skipToken").unwrap_or(0);
        let top: usize = number("$top").filter(|top| *top > 0).unwrap_or(100);
        let total = items.len();
        let value: Vec<_> = items.into_iter().skip(from).take(top).collect();
        let mut page = json!({ "value": value });
        if from + top < total {
            let kept = self
                .request
                .query
                .iter()
                .filter(|(key, _)| !key.eq_ignore_ascii_case("$skipToken"));
            let query = url::form_urlencoded::Serializer::new(String::new())
                .extend_pairs(kept)
                .append_pair("$skipToken", &(from + top).to_string())
                .finish();
            page["nextLink"] = json!(format!("{}{}?{query}", self.base, self.request.path));
        }
        page
    }
}

/// A GUID that follows from a text.
pub(crate) fn guid(of: &str) -> String {
    let hash = Sha256::digest(of.as_bytes());
    let mut bytes = [0; 16];
    bytes.copy_from_slice(&hash[..16]);
    uuid::Builder::from_random_bytes(bytes).into_uuid().to_string()
}

/// Answers one request.
pub(crate) fn handle(
    world: &World,
    scenario: &Scenario,
    request: &Request,
    now: Timestamp,
    began: Timestamp,
    base: &str,
) -> Outcome {
    let segments = request.path.split('/').filter(|segment| !segment.is_empty()).collect();
    let call = Call { world, scenario, request, now, began, base, segments };
    route(&call).unwrap_or_else(|error| Outcome { reply: error.reply(), changes: Changes::new() })
}

fn route(call: &Call<'_>) -> Handled {
    let lower: Vec<String> = call.segments.iter().map(|part| part.to_ascii_lowercase()).collect();
    let lower: Vec<&str> = lower.iter().map(String::as_str).collect();
    if !call
        .request
        .header(header::AUTHORIZATION.as_str())
        .is_some_and(|value| value.starts_with("Bearer "))
    {
        return Err(ArmError::unauthenticated());
    }
    match lower.as_slice() {
        ["subscriptions"] => subscriptions::list(call),
        ["subscriptions", id, ..] if *id != super::scenario::SUBSCRIPTION => {
            Err(ArmError::subscription_not_found(call.segments[1]))
        }
        ["subscriptions", _] => subscriptions::get(call),
        ["subscriptions", _, "resourcegroups", rest @ ..] if rest.len() < 2 => groups::answer(call),
        ["subscriptions", _, "resourcegroups", group, ..]
            if groups::find(call, group).is_none() =>
        {
            Err(ArmError::group_not_found(call.segments[3]))
        }
        ["subscriptions", _, .., "providers", "microsoft.network", "dnszones"] => dns::zones(call),
        [
            "subscriptions",
            _,
            "resourcegroups",
            _,
            "providers",
            "microsoft.network",
            "dnszones",
            _,
            rest @ ..,
        ] => dns::answer(call, rest),
        [.., "replicationmigrationitems"] => replication::list(call),
        [.., "replicationmigrationitems", _] => replication::get(call),
        _ => Err(ArmError::not_found(&call.request.path)),
    }
}

/// A list or a read of a method that is not there.
fn only_get(call: &Call<'_>) -> Result<(), ArmError> {
    if call.request.method == Method::GET { Ok(()) } else { Err(ArmError::method_not_allowed()) }
}

/// The resources of a scenario's world.
pub(super) fn opening(scenario: &Scenario) -> Changes {
    let groups = scenario.groups.iter().map(groups::opening);
    let zones = scenario.zones.iter().flat_map(dns::opening);
    let items = scenario.replication.iter().map(replication::opening);
    groups.chain(zones).chain(items).map(|(id, doc)| (id, Some(doc))).collect()
}
