//! The HTTPS listener: authority, cloud metadata and ARM on one port, as `az cloud register` finds them; and, by their own
//! names, the services whose pipelines a freeze closes.

use std::sync::Arc;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use hyper::http::{Method, StatusCode};
use jiff::Timestamp;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use super::arm::{self, guid};
use super::asides::Asides;
use super::core::{Carried, Core, Kind};
use super::exchanges::{Exchange, Exchanges};
use super::forge::Forge;
use super::http::{Answer, Reply, Request, Site};
use super::ledger::{Cause, Entry};
use super::scenario::TENANT;
use super::throttle::Throttle;
use crate::clock::Clock;

/// The application that every sandbox's service principal is.
pub const CLIENT: &str = "00000000-0000-0000-0000-00000000c11e";

/// ARM and its authority.
#[derive(Debug)]
pub(super) struct AzureSite {
    pub(super) core: Arc<Core>,
    /// `https://localhost:port`.
    pub(super) base: String,
    pub(super) throttle: Throttle,
    pub(super) asides: Arc<Asides>,
    /// Kept where the scenario says so.
    pub(super) exchanges: Option<Exchanges>,
}

impl Site for AzureSite {
    async fn answer(&self, request: Request) -> Answer {
        if let Some(forge) = Forge::at(&request.host) {
            let kind = if request.mutates() { Kind::Changes } else { Kind::Reads };
            let path = format!("{}{}", request.host, request.path);
            let provider =
                move |carried: Carried<'_>, request: &Request| forge.answer(carried.world, request);
            return self.core.answer(kind, path, request, provider).await;
        }
        if let Some(reply) = self.authority(&request) {
            return Answer::Reply(reply);
        }
        let Some(exchanges) = &self.exchanges else { return self.throttled(request).await };
        let asked = Exchange::asked(&request);
        let answer = self.throttled(request).await;
        exchanges.keep(asked, &answer);
        answer
    }
}

/// The ids that every reply carries.
fn named(reply: Reply, asked: Option<String>, now: Timestamp) -> Reply {
    let id = uuid::Uuid::new_v4().to_string();
    let reply = reply
        .with("x-ms-request-id", id.clone())
        .with("x-ms-correlation-request-id", id.clone())
        .with(
            "x-ms-routing-request-id",
            format!("WESTEUROPE:{}:{id}", now.strftime("%Y%m%dT%H%M%SZ")),
        );
    match asked {
        Some(asked) => reply.with("x-ms-client-request-id", asked),
        None => reply,
    }
}

impl AzureSite {
    async fn throttled(&self, request: Request) -> Answer {
        let left = match self.throttle.take(&request.method, self.core.now()) {
            Ok(left) => left,
            Err(refusal) => return Answer::Reply(refusal),
        };
        let asked = request.header("x-ms-client-request-id").map(str::to_owned);
        match self.arm(request).await {
            Answer::Reply(reply) => {
                Answer::Reply(named(reply.with(left.0, left.1), asked, self.core.now()))
            }
            Answer::HangUp => Answer::HangUp,
        }
    }

    async fn arm(&self, request: Request) -> Answer {
        let (path, base, asides) =
            (request.path.clone(), self.base.clone(), Arc::clone(&self.asides));
        let kind = if arm::only_reads(&request) { Kind::Reads } else { Kind::Changes };
        let provider = move |carried: Carried<'_>, request: &Request| {
            let setting = arm::Setting {
                world: carried.world,
                scenario: carried.core.scenario(),
                now: carried.now,
                began: carried.core.began(),
                base: &base,
                asides: &asides,
                fails: carried.fails,
            };
            let outcome = arm::handle(setting, request);
            (outcome.reply, outcome.changes)
        };
        self.core.answer(kind, path, request, provider).await
    }

    /// What needs no token.
    fn authority(&self, request: &Request) -> Option<Reply> {
        let path = request.path.trim_matches('/').to_ascii_lowercase();
        let segments: Vec<&str> = path.split('/').collect();
        let base = &self.base;
        let body = match (&request.method, segments.as_slice()) {
            (&Method::GET, ["metadata", "endpoints"]) => metadata(base),
            (&Method::GET, [tenant, "v2.0", ".well-known", "openid-configuration"]) => json!({
                "issuer": format!("{base}/{tenant}/v2.0"),
                "authorization_endpoint": format!("{base}/{tenant}/oauth2/v2.0/authorize"),
                "token_endpoint": format!("{base}/{tenant}/oauth2/v2.0/token"),
                "jwks_uri": format!("{base}/{tenant}/discovery/v2.0/keys"),
                "tenant_region_scope": "EU", "cloud_instance_name": "localhost",
                "response_types_supported": ["code"], "subject_types_supported": ["pairwise"],
                "id_token_signing_alg_values_supported": ["RS256"],
            }),
            (&Method::POST, [_, "oauth2", "v2.0", "token"]) => {
                let form = url::form_urlencoded::parse(&request.body);
                let client = form.into_owned().find(|(key, _)| key == "client_id");
                let client = client.map_or_else(|| CLIENT.to_owned(), |(_, id)| id);
                let token = token(base, &client, None);
                json!({ "token_type": "Bearer", "expires_in": 86_399, "ext_expires_in": 86_399, "access_token": token })
            }
            _ => return None,
        };
        Some(Reply::json(StatusCode::OK, &body))
    }
}

fn metadata(base: &str) -> Value {
    json!({
        "name": "MigrateSandbox", "portal": base, "resourceManager": format!("{base}/"),
        "graph": format!("{base}/graph/"), "graphAudience": format!("{base}/graph/"),
        "microsoftGraphResourceId": format!("{base}/msgraph/"), "sqlManagement": format!("{base}/sql/"),
        "batch": format!("{base}/batch/"), "gallery": format!("{base}/gallery/"), "media": format!("{base}/media/"),
        "vmImageAliasDoc": format!("{base}/aliases.json"), "activeDirectoryDataLake": format!("{base}/datalake/"),
        "authentication": {
            "loginEndpoint": base, "audiences": [format!("{base}/"), base], "tenant": TENANT,
            "identityProvider": "AAD",
        },
        "suffixes": {
            "storage": "core.sandbox.invalid", "keyVaultDns": "vault.sandbox.invalid",
            "sqlServerHostname": "database.sandbox.invalid",
            "azureDataLakeStoreFileSystem": "adls.sandbox.invalid",
            "azureDataLakeAnalyticsCatalogAndJob": "adla.sandbox.invalid",
            "acrLoginServer": "acr.sandbox.invalid", "mysqlServerEndpoint": "mysql.sandbox.invalid",
            "postgresqlServerEndpoint": "postgres.sandbox.invalid",
        },
    })
}

/// A JWT in form only: clients read its claims, and nobody but this sandbox takes it.
pub(super) fn token(audience: &str, client: &str, identity: Option<&str>) -> String {
    let now = Clock::system().now().as_second();
    let mut claims = json!({
        "aud": audience, "iss": format!("{audience}/{TENANT}/"), "iat": now, "nbf": now, "exp": now + 86_400,
        "appid": client, "oid": object_id(client), "sub": object_id(client), "tid": TENANT, "idtyp": "app", "ver": "1.0",
    });
    if let Some(resource) = identity {
        claims["xms_mirid"] = json!(resource);
    }
    let part = |value: &Value| URL_SAFE_NO_PAD.encode(value.to_string());
    format!("{}.{}.", part(&json!({ "alg": "none", "typ": "JWT" })), part(&claims))
}

/// The object id of an application.
pub(super) fn object_id(client: &str) -> String {
    guid(client)
}

/// Who sent a request, by the token's claims; a person's name before an application's id.
fn caller(request: &Request) -> Option<String> {
    claim(request, &["upn", "appid"])
}

/// The same by object id.
pub(super) fn caller_object(request: &Request) -> Option<String> {
    claim(request, &["oid"])
}

fn claim(request: &Request, names: &[&str]) -> Option<String> {
    let token = request.header("authorization")?.strip_prefix("Bearer ")?;
    let claims = URL_SAFE_NO_PAD.decode(token.split('.').nth(1)?).ok()?;
    let claims: Value = serde_json::from_slice(&claims).ok()?;
    names.iter().find_map(|name| claims[name].as_str()).map(str::to_owned)
}

/// The ledger's record of a request, before its answer is known.
pub(super) fn entry(request: &Request, seq: u64, at: Timestamp, path: String) -> Entry {
    let header = |name: &str| request.header(name).map(str::to_owned);
    Entry {
        seq,
        at,
        cause: Cause::Request,
        method: request.method.to_string(),
        path,
        body: hex(&Sha256::digest(&request.body)),
        request_id: header("idempotency-key").or_else(|| header("x-ms-client-request-id")),
        if_match: header("if-match"),
        if_none_match: header("if-none-match"),
        caller: caller(request),
        status: 0,
        fault: None,
        changed: false,
        changes: super::ledger::Changes::new(),
    }
}

/// Lower-case hexadecimal.
pub(super) fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::with_capacity(bytes.len() * 2), |mut text, byte| {
        use std::fmt::Write;
        write!(text, "{byte:02x}").expect("writing to a string does not fail");
        text
    })
}
