//! Key Vaults: their secrets, read only. In the real service each has a host of its own; here the client puts the vault's
//! name in front of the path.

use hyper::http::StatusCode;
use serde_json::json;

use super::{ArmError, Call, Handled, Outcome, guid, only_get};

/// A secret of the scenario; the versions that the client names are all the same.
pub(super) fn secret(call: &Call<'_>, vault: &str, name: &str) -> Handled {
    only_get(call)?;
    if call.request.query("api-version").is_none() {
        return Err(ArmError::bad_request("BadParameter", "api-version must be specified"));
    }
    let wanted = format!("{vault}/{name}");
    let mut secrets = call.scenario.secrets.iter();
    let found = secrets.find(|(known, _)| known.eq_ignore_ascii_case(&wanted));
    let (_, value) = found.ok_or_else(|| {
        let message = format!("A secret with (name/id) {name} was not found in this key vault.");
        ArmError::new(StatusCode::NOT_FOUND, "SecretNotFound", message)
    })?;
    let id = format!(
        "https://{vault}.vault.azure.net/secrets/{name}/{}",
        guid(&wanted).replace('-', "")
    );
    let attributes = json!({ "enabled": true, "recoveryLevel": "Recoverable" });
    Ok(Outcome::ok(&json!({ "value": value, "id": id, "attributes": attributes })))
}
