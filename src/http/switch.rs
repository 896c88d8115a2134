//! A maintenance switch: an application's own way to refuse writes, read and set over HTTP.
//!
//! The switch lives in the application. Once set it holds, whether this process lives or not.

use reqwest::header::{CONTENT_TYPE, HeaderMap, HeaderValue};
use reqwest::{Method, Url};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::{HttpError, Reply, change, read, shown};
use crate::dns::HttpClient;
use crate::journal::EffectPermit;
use crate::run::{FailureClass, RunId, StepError};

/// How an application's maintenance switch looks.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Switch {
    /// Path that GET reads and PUT sets, relative to the system's URL.
    pub path: String,
    /// JSON body that makes the application refuse writes.
    pub enable: Value,
    /// JSON body that makes it accept them.
    pub disable: Value,
    /// Field of the answer to GET that says, as `true` or `false`, whether writes are refused.
    pub state: String,
    /// Field of the answer to GET that counts writes still under way; `null` where the application does not tell.
    pub in_flight: Option<String>,
}

impl Default for Switch {
    fn default() -> Self {
        Self {
            path: "/maintenance".to_owned(),
            enable: json!({ "enabled": true }),
            disable: json!({ "enabled": false }),
            state: "enabled".to_owned(),
            in_flight: Some("in_flight".to_owned()),
        }
    }
}

/// What a switch says of itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reading {
    /// Writes are refused.
    pub refuses_writes: bool,
    /// Writes accepted before and still under way; none where the application does not tell.
    pub in_flight: Option<u64>,
}

/// Why a switch could not be read or set.
#[derive(Debug, thiserror::Error)]
pub enum SwitchError {
    /// No answer.
    #[error(transparent)]
    Http(#[from] HttpError),
    /// An answer that is not 2xx.
    #[error("{at} answered {status}")]
    Status {
        /// Scheme, host and path.
        at: String,
        /// The status code.
        status: u16,
        /// The server says that it did nothing.
        refused: bool,
    },
    /// An answer without the field that was asked for.
    #[error("{at} answered without `{field}`, or it is no {kind}")]
    Field {
        /// Scheme, host and path.
        at: String,
        /// The field.
        field: String,
        /// What it should be.
        kind: &'static str,
    },
    /// The system is not one with a URL.
    #[error("{0}")]
    System(String),
}

impl SwitchError {
    /// The failure of a step that only read.
    pub fn as_read_error(&self, attempted: &str) -> StepError {
        let code = if matches!(self, Self::System(_)) { "MIG0307" } else { "MIG0520" };
        let known = "reading changed nothing";
        let error = StepError::new(FailureClass::Failed, code, attempted, known).because(self);
        if matches!(self, Self::Http(_)) { error.retryable() } else { error }
    }

    /// The failure of a step that wanted to set the switch; `Unknown` unless it certainly did not.
    pub fn as_step_error(&self, attempted: &str) -> StepError {
        match self {
            Self::Http(error) => error.as_step_error(attempted, "MIG0521"),
            Self::System(_) => self.as_read_error(attempted),
            Self::Status { refused: true, .. } => {
                let known = "the application refused; the switch is as it was";
                StepError::new(FailureClass::Failed, "MIG0521", attempted, known).because(self)
            }
            _ => {
                let known = "the application may have set the switch";
                StepError::new(FailureClass::Unknown, "MIG0521", attempted, known).because(self)
            }
        }
    }
}

/// The URL of a `{ http: url }` system.
pub fn base(name: &str, system: Option<&Value>) -> Result<Url, SwitchError> {
    let system =
        system.ok_or_else(|| SwitchError::System(format!("there is no system `{name}`")))?;
    let url = system.get("http").and_then(Value::as_str).and_then(|url| url.parse::<Url>().ok());
    url.filter(|url| matches!(url.scheme(), "http" | "https")).ok_or_else(|| {
        SwitchError::System(format!("system `{name}` is no application; expected `http: url`"))
    })
}

/// The URL of `path` at the application.
pub fn at(base: &Url, path: &str) -> Result<Url, SwitchError> {
    base.join(path)
        .ok()
        .filter(|url| url.origin() == base.origin())
        .ok_or_else(|| SwitchError::System(format!("`{path}` is no path at {}", shown(base))))
}

/// One field of the JSON that GET answers; `a.b` reaches into objects.
pub async fn field(client: &HttpClient, url: &Url, name: &str) -> Result<Value, SwitchError> {
    let reply = answered(read(client, url, HeaderMap::new()).await?, url)?;
    find(&reply.json(), name).cloned().ok_or_else(|| missing(url, name, "value"))
}

fn find<'a>(value: &'a Value, name: &str) -> Option<&'a Value> {
    name.split('.').try_fold(value, |value, part| value.get(part))
}

fn missing(url: &Url, field: &str, kind: &'static str) -> SwitchError {
    SwitchError::Field { at: shown(url), field: field.to_owned(), kind }
}

fn answered(reply: Reply, url: &Url) -> Result<Reply, SwitchError> {
    if reply.is_success() {
        return Ok(reply);
    }
    Err(SwitchError::Status { at: shown(url), status: reply.status, refused: reply.refused() })
}

impl Switch {
    /// Reads it.
    pub async fn read(&self, client: &HttpClient, base: &Url) -> Result<Reading, SwitchError> {
        let url = at(base, &self.path)?;
        let said = answered(read(client, &url, HeaderMap::new()).await?, &url)?.json();
        let refuses_writes = find(&said, &self.state)
            .and_then(Value::as_bool)
            .ok_or_else(|| missing(&url, &self.state, "boolean"))?;
        let in_flight = match &self.in_flight {
            None => None,
            Some(field) => Some(
                find(&said, field)
                    .and_then(Value::as_u64)
                    .ok_or_else(|| missing(&url, field, "count"))?,
            ),
        };
        Ok(Reading { refuses_writes, in_flight })
    }

    /// Sets it and reads it back.
    pub async fn set(
        &self,
        client: &HttpClient,
        permit: &EffectPermit,
        run: &RunId,
        base: &Url,
        refuse_writes: bool,
    ) -> Result<Reading, SwitchError> {
        let url = at(base, &self.path)?;
        let body = if refuse_writes { &self.enable } else { &self.disable };
        let json = HeaderValue::from_static("application/json");
        let wanted = super::Change {
            method: Method::PUT,
            url: &url,
            shown: &shown(&url),
            headers: HeaderMap::from_iter([(CONTENT_TYPE, json)]),
            body: Some(body.to_string()),
        };
        answered(change(client, permit, run, wanted).await?, &url)?;
        let lost = |error: SwitchError| {
            let why = format!("accepted, but can not be read back: {error}");
            SwitchError::Http(HttpError::Lost { to: shown(&url), why })
        };
        let reading = self.read(client, base).await.map_err(lost)?;
        if reading.refuses_writes == refuse_writes {
            return Ok(reading);
        }
        let why = format!("accepted, but `{}` reads {}", self.state, reading.refuses_writes);
        Err(HttpError::Lost { to: shown(&url), why }.into())
    }
}
