//! What endpoints of a Traffic Manager and origins of a Front Door have in common: a weight in its range, a share of the
//! traffic, and a target that may be down.

use serde_json::{Map, Value};

use super::super::faults;
use super::super::scenario::Overload;
use super::super::store::World;
use super::{ArmError, Call};

/// Types of members, as they stand in ids.
const MEMBERS: [&str; 4] = ["externalendpoints", "azureendpoints", "nestedendpoints", "origins"];

/// Parent with its path, and the name, out of a member's lower-case id.
fn member(id: &str) -> Option<(&str, &str, &str)> {
    let (rest, name) = id.rsplit_once('/')?;
    let (path, kind) = rest.rsplit_once('/')?;
    let parent = path.rsplit('/').next()?;
    MEMBERS.contains(&kind).then_some((path, parent, name))
}

fn weight(doc: &Value) -> u64 {
    let properties = &doc["properties"];
    let off = [&properties["endpointStatus"], &properties["enabledState"]]
        .contains(&&Value::from("Disabled"));
    if off { 0 } else { properties["weight"].as_u64().unwrap_or(1) }
}

/// Whether more of the traffic goes there than it bears.
pub(in crate::sandbox) fn is_overloaded(world: &World, overload: &Overload) -> bool {
    let wanted = overload.of.to_ascii_lowercase();
    let mut members = world.docs.iter().filter_map(|(id, doc)| Some((member(id)?, doc)));
    let found = members.find(|((_, parent, name), _)| format!("{parent}/{name}") == wanted);
    let Some(((path, ..), own)) = found else { return false };
    let all = world.below(path).filter(|(id, _)| member(id).is_some_and(|it| it.0 == path));
    let total: u64 = all.map(|(_, doc)| weight(doc)).sum();
    weight(own) * 100 > u64::from(overload.above_percent) * total
}

/// Whether the application behind a host name (`crm-target.contoso.example`) is down now.
pub(super) fn is_down(call: &Call<'_>, host: &str) -> bool {
    let label = host.split('.').next().unwrap_or_default();
    let Some((app, place)) = label.rsplit_once('-') else { return false };
    let elapsed = call.now.duration_since(call.began).as_secs_f64();
    faults::is_down(call.scenario, call.world, &format!("{app}@{place}/health"), elapsed)
}

/// What PATCH makes of the properties that are there: those that it names are replaced, everything else stays.
pub(super) fn merged(found: Option<&Value>, written: &Value) -> Map<String, Value> {
    let mut properties =
        found.and_then(|doc| doc["properties"].as_object().cloned()).unwrap_or_default();
    for (key, value) in written.as_object().into_iter().flatten() {
        properties.insert(key.clone(), value.clone());
    }
    properties
}

/// Refuses a number outside its range.
pub(super) fn in_range(
    properties: &Map<String, Value>,
    key: &str,
    max: u64,
) -> Result<(), ArmError> {
    match properties.get(key) {
        None | Some(Value::Null) => Ok(()),
        Some(value) if value.as_u64().is_some_and(|it| (1..=max).contains(&it)) => Ok(()),
        Some(value) => Err(ArmError::bad_request(
            "BadRequest",
            format!("The value '{value}' of '{key}' is not between 1 and {max}."),
        )),
    }
}
