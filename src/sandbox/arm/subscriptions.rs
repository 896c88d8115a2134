//! The one subscription.

use serde_json::{Value, json};

use super::super::scenario::{SUBSCRIPTION, TENANT};
use super::{Call, Handled, Outcome, only_get};

fn doc() -> Value {
    json!({
        "id": format!("/subscriptions/{SUBSCRIPTION}"),
        "subscriptionId": SUBSCRIPTION,
        "tenantId": TENANT,
        "displayName": "migrate sandbox",
        "state": "Enabled",
        "authorizationSource": "RoleBased",
        "managedByTenants": [],
        "subscriptionPolicies": { "spendingLimit": "Off" },
    })
}

pub(super) fn list(call: &Call<'_>) -> Handled {
    only_get(call)?;
    Ok(Outcome::ok(&json!({ "value": [doc()] })))
}

pub(super) fn get(call: &Call<'_>) -> Handled {
    only_get(call)?;
    Ok(Outcome::ok(&doc()))
}
