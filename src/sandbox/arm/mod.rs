//! Azure Resource Manager: requests in, replies and changes out.
//!
//! [`handle`] is a pure function of world, request and time. It never touches the disk; whoever calls it makes the
//! changes durable before the reply leaves. Ids, types and names compare without case and keep the case they were
//! written in, as the real service does.

mod activity;
mod authorization;
mod compute;
mod deployments;
mod dns;
mod error;
mod front_door;
mod generic;
mod groups;
mod health;
mod locks;
mod metrics;
mod operations;
mod replicas;
mod replication;
mod subscriptions;
mod template;
mod traffic_manager;
mod vaults;
mod versions;
mod weights;

use hyper::http::{Method, StatusCode, header};
use jiff::Timestamp;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

pub(super) use compute::machine_runs;
use dns::Service;
pub(super) use dns::changed_record;
pub(super) use error::ArmError;
pub(super) use weights::is_overloaded;

use super::asides::Asides;
use super::http::{Reply, Request};
use super::ledger::Changes;
use super::scenario::{SUBSCRIPTION, Scenario};
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

/// What a request meets: the world and everything around it.
#[derive(Clone, Copy)]
pub(crate) struct Setting<'a> {
    pub(crate) world: &'a World,
    pub(crate) scenario: &'a Scenario,
    pub(crate) now: Timestamp,
    /// When the world began.
    pub(crate) began: Timestamp,
    /// `https://localhost:port`, for links back.
    pub(crate) base: &'a str,
    /// Results that outlive a request and change nothing.
    pub(crate) asides: &'a Asides,
    /// The operation that this request starts is to fail.
    pub(crate) fails: bool,
}

/// One request as the providers see it.
struct Call<'a> {
    setting: Setting<'a>,
    request: &'a Request,
    /// Path segments as written.
    segments: Vec<&'a str>,
}

impl<'a> std::ops::Deref for Call<'a> {
    type Target = Setting<'a>;
    fn deref(&self) -> &Setting<'a> {
        &self.setting
    }
}

impl Call<'_> {
    /// The id made of the first `count` segments, as written.
    fn id(&self, count: usize) -> String {
        self.segments[..count].iter().fold(String::new(), |id, segment| format!("{id}/{segment}"))
    }

    /// The request's body as JSON. The key `template` may stand without quotes: the Azure CLI writes it so, and ARM
    /// reads it.
    fn body(&self) -> Result<Value, ArmError> {
        let text = String::from_utf8_lossy(&self.request.body);
        let quoted = || text.replacen(", template:", ", \"template\":", 1);
        let parsed = serde_json::from_str(&text).or_else(|_| serde_json::from_str(&quoted()));
        parsed.map_err(|error| {
            let message = format!(
                "The request content was invalid and could not be deserialized: '{error}'."
            );
            ArmError::bad_request("InvalidRequestContent", message)
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
        let next = from.saturating_add(top);
        if next < total {
            let kept = self
                .request
                .query
                .iter()
                .filter(|(key, _)| !key.eq_ignore_ascii_case("$skipToken"));
            let query = url::form_urlencoded::Serializer::new(String::new())
                .extend_pairs(kept)
                .append_pair("$skipToken", &next.to_string())
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

/// Whether a request changes nothing although its method is POST.
pub(crate) fn only_reads(request: &Request) -> bool {
    let path = request.path.to_ascii_lowercase();
    !request.mutates() || path.ends_with("/validate") || path.ends_with("/whatif")
}

/// Answers one request.
pub(crate) fn handle(setting: Setting<'_>, request: &Request) -> Outcome {
    let segments = request.path.split('/').filter(|segment| !segment.is_empty()).collect();
    let call = Call { setting, request, segments };
    route(&call).unwrap_or_else(|error| Outcome { reply: error.reply(), changes: Changes::new() })
}

fn route(call: &Call<'_>) -> Handled {
    let lower: Vec<String> = call.segments.iter().map(|part| part.to_ascii_lowercase()).collect();
    let lower: Vec<&str> = lower.iter().map(String::as_str).collect();
    let token = call.request.header(header::AUTHORIZATION.as_str());
    if !token.is_some_and(|value| value.starts_with("Bearer ")) {
        return Err(ArmError::unauthenticated());
    }
    if let ["keyvault", vault, "secrets", name, ..] = lower.as_slice() {
        return vaults::secret(call, vault, name);
    }
    versions::check(call, &lower)?;
    match lower.as_slice() {
        ["subscriptions"] => subscriptions::list(call),
        ["subscriptions", id, ..] if *id != SUBSCRIPTION => {
            Err(ArmError::subscription_not_found(call.segments[1]))
        }
        ["subscriptions", _] => subscriptions::get(call),
        // Front Door's `operationresults` are status documents, whatever their name.
        [.., "microsoft.cdn", "operationresults", id] | [.., "dnsoperationstatuses", id] => {
            operations::status(call, id)
        }
        [.., "privatednsoperationstatuses", id] => operations::private_dns_status(call, id),
        [.., "operationresults" | "dnsoperationresults" | "privatednsoperationresults", id] => {
            operations::result(call, id)
        }
        [.., "replicationoperationstatus", id] => replication::status(call, id),
        [.., "providers", "microsoft.authorization", "locks"] => locks::list(call),
        [.., "providers", "microsoft.authorization", "locks", _] => locks::answer(call),
        [.., "microsoft.insights", "eventtypes", "management", "values"] => activity::list(call),
        [.., "providers", "microsoft.insights", "metrics"] => metrics::list(call),
        [.., "microsoft.resourcehealth", kind] => health::answer(call, &[kind]),
        [.., "microsoft.resourcehealth", kind, name] => health::answer(call, &[kind, name]),
        [.., "microsoft.authorization", kind] => authorization::answer(call, &[kind]),
        [.., "microsoft.authorization", kind, name] => authorization::answer(call, &[kind, name]),
        _ => provider(call, &lower),
    }
}

/// Everything that a lock may be in the way of.
fn provider(call: &Call<'_>, lower: &[&str]) -> Handled {
    if !only_reads(call.request) {
        locks::check(call, &call.request.path, &call.request.method)?;
    }
    if let Some(handled) = replicas::answer(call) {
        return handled;
    }
    match lower {
        [_, _, "resourcegroups", rest @ ..] if rest.len() < 2 => groups::answer(call),
        [_, _, "resourcegroups", group, ..] if groups::find(call, group).is_none() => {
            Err(ArmError::group_not_found(call.segments[3]))
        }
        [_, _, "resources"] | [_, _, _, _, "resources"] => generic::list(call),
        [_, _, _, _, "deployments", _, "operations"] => deployments::operations_of(call),
        [_, _, _, _, "providers", "microsoft.resources", "deployments", rest @ ..] => {
            deployments::answer(call, rest)
        }
        [_, _, .., "providers", "microsoft.network", "dnszones"] => {
            dns::zones(call, Service::Public)
        }
        [_, _, .., "providers", "microsoft.network", "privatednszones"] => {
            dns::zones(call, Service::Private)
        }
        [_, _, _, _, "providers", "microsoft.network", "dnszones", _, rest @ ..] => {
            dns::answer(call, Service::Public, rest)
        }
        [_, _, _, _, "providers", "microsoft.network", "privatednszones", _, rest @ ..] => {
            dns::answer(call, Service::Private, rest)
        }
        [_, _, .., "providers", "microsoft.network", "trafficmanagerprofiles"] => {
            traffic_manager::list(call)
        }
        [_, _, _, _, "providers", "microsoft.network", "trafficmanagerprofiles", _, rest @ ..] => {
            traffic_manager::answer(call, rest)
        }
        [_, _, _, _, "providers", "microsoft.cdn", "profiles", _, "origingroups", rest @ ..] => {
            front_door::answer(call, rest)
        }
        [.., "replicationmigrationitems"] => replication::list(call),
        [.., "replicationmigrationitems", _] => replication::get(call),
        [.., "replicationmigrationitems", _, "migrationrecoverypoints"] => {
            replication::points(call)
        }
        [.., "replicationmigrationitems", _, verb] => replication::act(call, verb),
        [.., "replicationjobs"] => replication::jobs(call),
        [.., "replicationjobs", _] => {
            replication::job(call, call.segments[call.segments.len() - 1])
        }
        [.., "microsoft.compute", "virtualmachines", _, "instanceview"] => compute::view(call),
        [.., "microsoft.compute", "virtualmachines", _, verb @ ("deallocate" | "start")] => {
            compute::power(call, verb)
        }
        [.., "microsoft.compute", "locations", _, "operations", id] => operations::status(call, id),
        [.., "providers", "microsoft.compute", kind, _] => compute::answer(call, kind),
        [.., "providers", _, _, _] | [.., "providers", _, _, _, _, _] => generic::answer(call),
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
    let vaults = scenario.replication.iter().map(replication::vault);
    let locks = scenario.locks.iter().map(locks::opening);
    let managers = scenario.traffic_managers.iter().flat_map(traffic_manager::opening);
    let doors = scenario.front_doors.iter().flat_map(front_door::opening);
    let roles = scenario.roles.iter().map(authorization::opening);
    let others = scenario.resources.iter().filter_map(|resource| {
        let id = resource["id"].as_str()?;
        Some((id.to_ascii_lowercase(), generic::doc(id, resource)))
    });
    let docs = groups.chain(zones).chain(items).chain(vaults).chain(locks);
    let docs = docs.chain(managers).chain(doors).chain(roles).chain(others);
    docs.map(|(id, doc)| (id, Some(doc))).collect()
}
