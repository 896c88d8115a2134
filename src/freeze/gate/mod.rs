//! Gates of pipelines that a freeze closes, so that nobody deploys to the source in the middle of the night.
//!
//! A gate of ours is found by its name: what a lost reply left behind is recognized, never made twice. One of that name
//! that says something else is another hand's and is left alone. Nothing is changed without a permit, and what can not
//! be read is unknown.

mod devops;
mod github;

use std::fmt::Write as _;

use reqwest::header::HeaderMap;
use reqwest::{Method, Url};
use schemars::JsonSchema;
use secrecy::{ExposeSecret as _, SecretString};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use devops::AzureDevops;
use github::Github;

use crate::diagnostic::redact::Secrets;
use crate::dns::HttpClient;
use crate::http::{self, HttpError, Reply};
use crate::journal::EffectPermit;
use crate::run::{FailureClass, RunId, StepError};

/// A gate, as a runbook writes it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Gate {
    /// Branches of a GitHub repository take no push and no merge.
    Github(Github),
    /// Deployments to an environment of Azure DevOps wait for an approval.
    AzureDevops(AzureDevops),
}

/// A reference to a secret.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Token {
    /// Its name under `secrets`.
    pub secret: String,
}

/// How a gate stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Stand {
    /// None of our name.
    Open,
    /// As we close it; the service's id of it.
    Closed(String),
    /// There is one of our name that is not as we close it: in what.
    Altered(String),
}

/// What requests to a gate need.
#[derive(Debug, Clone, Copy)]
pub struct Door<'a> {
    /// The run's client.
    pub client: &'a HttpClient,
    /// Where tokens come from.
    pub secrets: &'a Secrets,
    /// The run, for ids of changes.
    pub run: &'a RunId,
}

/// Why a gate could not be read or moved.
#[derive(Debug, thiserror::Error)]
pub enum GateError {
    /// The token could not be had.
    #[error("the token could not be read: {0}")]
    Token(String),
    /// An address in the runbook is none.
    #[error("`{0}` is no address of a service")]
    Address(String),
    /// No usable answer.
    #[error(transparent)]
    Http(#[from] HttpError),
    /// The service refused.
    #[error("the service answered {status}: {said}")]
    Refused {
        /// HTTP status.
        status: u16,
        /// What it said, cleaned.
        said: String,
        /// The same request may be accepted later.
        temporary: bool,
    },
    /// An answer that is none of this service.
    #[error("the service's answer could not be read: {0}")]
    Unreadable(String),
}

impl GateError {
    /// Whether a change may have been made nevertheless.
    fn outcome_unknown(&self) -> bool {
        matches!(self, Self::Http(HttpError::Lost { .. }) | Self::Unreadable(_))
    }

    /// As the failure of a step that `attempted` a change, or only to read (`reads`).
    pub fn into_step_error(self, attempted: String, reads: bool) -> StepError {
        let (class, known) = match &self {
            _ if reads => (FailureClass::Failed, "reading changed nothing"),
            it if it.outcome_unknown() => {
                (FailureClass::Unknown, "the request may have been carried out")
            }
            _ => (FailureClass::Failed, "the gate is as it was"),
        };
        let later = matches!(&self, Self::Http(_) | Self::Refused { temporary: true, .. });
        let error = StepError::new(class, "MIG0405", attempted, known)
            .because(&self)
            .hint("check the token's rights and the address under `gates`, then `migrate resume`");
        if later { error.retryable() } else { error }
    }
}

/// One of ours as a service lists it.
struct Found {
    id: String,
    /// In what it is not as we close it.
    altered: Option<String>,
}

impl Gate {
    /// For people and intents.
    pub fn shown(&self) -> String {
        match self {
            Self::Github(gate) => gate.shown(),
            Self::AzureDevops(gate) => gate.shown(),
        }
    }

    /// Says what is wrong with it, if something is.
    pub fn check(&self) -> Result<(), String> {
        let (server, path) = match self {
            Self::Github(gate) => (&gate.server, &gate.repository),
            Self::AzureDevops(gate) => (&gate.server, &gate.project),
        };
        let part = |text: &str| {
            let plain = |c: char| c.is_ascii_alphanumeric() || " -_.".contains(c);
            !text.is_empty() && text != "." && text != ".." && text.chars().all(plain)
        };
        match path.split_once('/') {
            Some((owner, name)) if part(owner) && part(name) => {}
            _ => return Err(format!("`{path}` is not two names with a `/` between them")),
        }
        let url = Url::parse(server).map_err(|_| format!("`{server}` is no URL"))?;
        let bare = url.query().is_none() && url.username().is_empty() && url.password().is_none();
        if url.scheme() != "https" || !bare {
            return Err(format!("`{server}` is not `https://HOST`: a token is sent there"));
        }
        if let Self::AzureDevops(gate) = self
            && gate.approvers.is_empty()
        {
            return Err("an `azure-devops` gate names its `approvers`".to_owned());
        }
        Ok(())
    }

    /// How the gate of that name stands now.
    pub async fn stand(&self, door: Door<'_>, name: &str) -> Result<Stand, GateError> {
        let session = self.session(door).await?;
        let found = match self {
            Self::Github(gate) => gate.find(&session, name).await?,
            Self::AzureDevops(gate) => gate.find(&session, name).await?,
        };
        Ok(match found {
            None => Stand::Open,
            Some(Found { id, altered: None }) => Stand::Closed(id),
            Some(Found { altered: Some(how), .. }) => Stand::Altered(how),
        })
    }

    /// Closes it; `notes` tell whoever meets it why.
    pub async fn close(
        &self,
        door: Door<'_>,
        permit: &EffectPermit,
        name: &str,
        notes: &str,
    ) -> Result<(), GateError> {
        let session = self.session(door).await?;
        let (path, body) = match self {
            Self::Github(gate) => (gate.path(), gate.closed(name)),
            Self::AzureDevops(gate) => (gate.path(), gate.closed(name, notes)),
        };
        session.change(permit, Method::POST, &path, Some(body)).await.map(drop)
    }

    /// Opens it: takes the one with that id away. One that is gone already is open.
    pub async fn open(
        &self,
        door: Door<'_>,
        permit: &EffectPermit,
        id: &str,
    ) -> Result<(), GateError> {
        let session = self.session(door).await?;
        let path = match self {
            Self::Github(gate) => format!("{}/{id}", gate.path()),
            Self::AzureDevops(gate) => gate.path_of(id),
        };
        match session.change(permit, Method::DELETE, &path, None).await {
            Ok(_) | Err(GateError::Refused { status: 404, .. }) => Ok(()),
            Err(error) => Err(error),
        }
    }

    async fn session<'a>(&'a self, door: Door<'a>) -> Result<Session<'a>, GateError> {
        let (server, token) = match self {
            Self::Github(gate) => (&gate.server, &gate.token),
            Self::AzureDevops(gate) => (&gate.server, &gate.token),
        };
        let token = door.secrets.get(&token.secret).await.map_err(GateError::Token)?;
        let headers = match self {
            Self::Github(_) => github::headers(&token),
            Self::AzureDevops(_) => devops::headers(&token),
        };
        Ok(Session { door, server: server.trim_end_matches('/'), headers: headers? })
    }
}

/// Requests of one gate.
struct Session<'a> {
    door: Door<'a>,
    server: &'a str,
    headers: HeaderMap,
}

impl Session<'_> {
    fn url(&self, path: &str) -> Result<Url, GateError> {
        let url = format!("{}{path}", self.server);
        Url::parse(&url).map_err(|_| GateError::Address(url))
    }

    async fn get(&self, path: &str) -> Result<Value, GateError> {
        let url = self.url(path)?;
        self.body(&http::read(self.door.client, &url, self.headers.clone()).await?)
    }

    async fn change(
        &self,
        permit: &EffectPermit,
        method: Method,
        path: &str,
        body: Option<Value>,
    ) -> Result<Value, GateError> {
        let url = self.url(path)?;
        let shown = http::shown(&url);
        let (headers, body) = (self.headers.clone(), body.map(|body| body.to_string()));
        let change = http::Change { method, url: &url, shown: &shown, headers, body };
        let reply = http::change(self.door.client, permit, self.door.run, change).await?;
        // What a change answers is not needed: the gate is read again.
        if reply.status == 204 { Ok(Value::Null) } else { self.body(&reply) }
    }

    fn body(&self, reply: &Reply) -> Result<Value, GateError> {
        // Azure DevOps answers 203 and a sign-in page where a token is not taken.
        if !reply.is_success() || reply.status == 203 {
            let body = reply.json();
            let mut said = body["message"].as_str().unwrap_or("no message").to_owned();
            if body["errors"].is_array() {
                let _ = write!(said, " {}", body["errors"]);
            }
            return Err(GateError::Refused {
                status: reply.status,
                said: self.door.secrets.redactor().redact(&said).into_owned(),
                temporary: reply.is_temporary(),
            });
        }
        if reply.cut_off {
            return Err(GateError::Unreadable("it is too long".to_owned()));
        }
        serde_json::from_str(&reply.body).map_err(|error| GateError::Unreadable(error.to_string()))
    }
}

/// A header with a token in it, kept out of every debug text.
fn authorization(value: &SecretString) -> Result<reqwest::header::HeaderValue, GateError> {
    let (_, mut value) = http::header("authorization", value.expose_secret())
        .map_err(|_| GateError::Token("it holds characters that no header can carry".to_owned()))?;
    value.set_sensitive(true);
    Ok(value)
}
