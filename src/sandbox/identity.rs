//! The managed-identity endpoint, plain HTTP as on a real machine: App Service's form and the instance metadata's.

use hyper::http::{Method, StatusCode};
use serde_json::json;

use super::azure::{CLIENT, token};
use super::http::{Answer, Reply, Request, Site};
use super::scenario::SUBSCRIPTION;
use crate::clock::Clock;

/// Hands a token to everybody who asks as a machine would.
#[derive(Debug)]
pub(super) struct IdentitySite {
    /// The audience of tokens for which none is asked.
    pub(super) audience: String,
}

impl Site for IdentitySite {
    async fn answer(&self, request: Request) -> Answer {
        Answer::Reply(self.reply(&request))
    }
}

impl IdentitySite {
    fn reply(&self, request: &Request) -> Reply {
        let known =
            matches!(request.path.as_str(), "/msi/token" | "/metadata/identity/oauth2/token");
        if request.method != Method::GET || !known {
            return Reply::empty(StatusCode::NOT_FOUND);
        }
        if request.header("metadata").is_none() && request.header("x-identity-header").is_none() {
            let body = json!({ "error": "invalid_request", "error_description": "Required metadata header not specified" });
            return Reply::json(StatusCode::BAD_REQUEST, &body);
        }
        let resource = request.query("resource").unwrap_or(&self.audience);
        let machine = format!(
            "/subscriptions/{SUBSCRIPTION}/resourcegroups/rg-ops/providers/Microsoft.Compute/virtualMachines/operator"
        );
        let expires = Clock::system().now().as_second() + 86_400;
        let body = json!({
            "access_token": token(resource, CLIENT, Some(&machine)), "expires_on": expires.to_string(),
            "expires_in": "86400", "not_before": (expires - 86_400).to_string(), "resource": resource,
            "token_type": "Bearer", "client_id": CLIENT,
        });
        Reply::json(StatusCode::OK, &body)
    }
}
