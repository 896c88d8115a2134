//! API versions: a list per type, as ARM has them. A version that no list has is refused in ARM's words.

use super::{ArmError, Call};

const RESOURCES: &[&str] = &[
    "2016-06-01",
    "2018-06-01",
    "2019-06-01",
    "2020-01-01",
    "2020-06-01",
    "2020-10-01",
    "2021-01-01",
    "2021-04-01",
    "2022-09-01",
    "2022-12-01",
    "2023-07-01",
    "2024-03-01",
    "2024-07-01",
    "2024-11-01",
    "2025-03-01",
    "2025-04-01",
];
const DNS: &[&str] = &[
    "2016-04-01",
    "2017-09-01",
    "2017-10-01",
    "2018-03-01-preview",
    "2018-05-01",
    "2023-07-01-preview",
];
const PRIVATE_DNS: &[&str] = &["2018-09-01", "2020-01-01", "2020-06-01", "2024-06-01"];
const TRAFFIC_MANAGER: &[&str] = &[
    "2015-11-01",
    "2017-03-01",
    "2017-05-01",
    "2018-02-01",
    "2018-03-01",
    "2018-04-01",
    "2018-08-01",
    "2022-04-01",
    "2026-09-01",
];
const CDN: &[&str] =
    &["2020-09-01", "2021-06-01", "2023-05-01", "2024-02-01", "2024-09-01", "2025-04-15"];
const LOCKS: &[&str] = &["2015-01-01", "2016-09-01", "2017-04-01", "2020-05-01"];
const METRICS: &[&str] =
    &["2016-09-01", "2018-01-01", "2019-07-01", "2021-05-01", "2023-10-01", "2024-02-01"];
const RIGHTS: &[&str] = &[
    "2015-07-01",
    "2018-01-01-preview",
    "2018-07-01",
    "2020-04-01-preview",
    "2022-04-01",
    "2022-05-01-preview",
];
const HEALTH: &[&str] = &[
    "2015-01-01",
    "2018-07-01",
    "2020-05-01",
    "2022-10-01",
    "2023-10-01-preview",
    "2024-02-01",
    "2025-05-01",
];
const ACTIVITY: &[&str] = &["2014-04-01", "2015-04-01"];
const VAULTS: &[&str] = &[
    "2022-10-01",
    "2023-08-01",
    "2024-01-01",
    "2024-04-01",
    "2024-10-01",
    "2025-01-01",
    "2025-02-01",
    "2025-08-01",
];

const MIGRATION_SERVICES: &[&str] =
    &["2018-04-19", "2021-06-30", "2022-03-30-preview", "2025-06-30"];
const POSTGRES: &[&str] = &["2022-12-01", "2023-06-01-preview", "2024-08-01", "2026-04-01-preview"];
const MANAGED_INSTANCES: &[&str] =
    &["2021-11-01", "2022-08-01-preview", "2023-08-01", "2023-08-01-preview", "2025-08-01-preview"];

/// The list of a provider's type; none for a type that only templates bring.
fn supported(namespace: &str, kind: &str) -> Option<&'static [&'static str]> {
    match (namespace, kind) {
        ("microsoft.resources", _) => Some(RESOURCES),
        ("microsoft.network", "dnszones" | "dnsoperationstatuses" | "dnsoperationresults") => {
            Some(DNS)
        }
        (
            "microsoft.network",
            "privatednszones" | "privatednsoperationstatuses" | "privatednsoperationresults",
        ) => Some(PRIVATE_DNS),
        ("microsoft.network", "trafficmanagerprofiles") => Some(TRAFFIC_MANAGER),
        ("microsoft.cdn", _) => Some(CDN),
        ("microsoft.authorization", "locks") => Some(LOCKS),
        (
            "microsoft.authorization",
            "permissions" | "denyassignments" | "roleassignments" | "roledefinitions",
        ) => Some(RIGHTS),
        ("microsoft.resourcehealth", _) => Some(HEALTH),
        ("microsoft.insights", "metrics") => Some(METRICS),
        ("microsoft.insights", "eventtypes") => Some(ACTIVITY),
        ("microsoft.recoveryservices", "vaults") => Some(VAULTS),
        ("microsoft.datamigration", "services") => Some(MIGRATION_SERVICES),
        ("microsoft.dbforpostgresql", "flexibleservers") => Some(POSTGRES),
        ("microsoft.sql", "managedinstances") => Some(MANAGED_INSTANCES),
        _ => None,
    }
}

/// Checks the version of a request.
pub(super) fn check(call: &Call<'_>, lower: &[&str]) -> Result<(), ArmError> {
    let Some(version) = call.request.query("api-version") else {
        return Err(ArmError::bad_request(
            "MissingApiVersionParameter",
            "The api-version query parameter (?api-version=) is required for all requests.",
        ));
    };
    let provider = lower.iter().rposition(|segment| *segment == "providers");
    let named = provider.and_then(|at| Some((*lower.get(at + 1)?, *lower.get(at + 2)?)));
    let list = named.map_or(Some(RESOURCES), |(namespace, kind)| supported(namespace, kind));
    let Some(list) = list else { return Ok(()) };
    if list.iter().any(|known| known.eq_ignore_ascii_case(version)) {
        return Ok(());
    }
    let known = list.join(", ");
    Err(match named {
        None => ArmError::bad_request(
            "InvalidApiVersionParameter",
            format!(
                "The api-version '{version}' is invalid. The supported versions are '{known}'."
            ),
        ),
        Some((_, kind)) => ArmError::bad_request(
            "NoRegisteredProviderFound",
            format!(
                "No registered resource provider found for location 'global' and API version '{version}' for type '{kind}'. The supported api-versions are '{known}'. The supported locations are 'global'."
            ),
        ),
    })
}
