//! One HTTP endpoint and what its answer must be: the reading behind `http.check`, `monitor` and the way back of a cutover.
//!
//! Three outcomes, never two: good, bad, and *unknown* where nothing could be compared. No answer at all is bad, because a
//! user would see the same; a name that could not be looked up, or an expression that does not fit the body, is unknown.

use std::error::Error;
use std::fmt;
use std::time::{Duration, Instant};

use minijinja::value::Serde;
use minijinja::{Environment, UndefinedBehavior, Value as JinjaValue, context};
use reqwest::Url;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::network::{LookupError, Network};
use crate::plan::Span;

/// Largest body that is looked at.
const BODY_MAX: usize = 1 << 20;

/// An endpoint and what its answer must be.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Endpoint {
    /// `http://` or `https://`. The query is never shown.
    #[schemars(with = "String")]
    pub url: Url,
    /// Status that is good; any from 200 to 299 when none is given.
    #[serde(default)]
    pub status: Option<u16>,
    /// Text that the body must contain.
    #[serde(default)]
    pub contains: Option<String>,
    /// Expression over `status`, `body` and `json` that must be true: `json.site == "target"`.
    #[serde(default)]
    pub that: Option<String>,
    /// Slowest answer that is good.
    #[serde(default)]
    pub latency_max: Option<Span>,
}

/// `host:port`.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(try_from = "String")]
#[schemars(with = "String")]
pub struct HostPort {
    /// Name or address; an IPv6 address is written in brackets.
    pub host: String,
    /// Port; a default port is mapped in a sandbox run.
    pub port: u16,
}

impl TryFrom<String> for HostPort {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        text.rsplit_once(':')
            .and_then(|(host, port)| Some((host.trim_matches(['[', ']']), port.parse().ok()?)))
            .filter(|(host, port)| !host.is_empty() && *port != 0)
            .map(|(host, port)| Self { host: host.to_owned(), port })
            .ok_or_else(|| format!("`{text}` is not `host:port`"))
    }
}

/// What came out.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Health {
    /// As it must be.
    Good,
    /// Not as it must be.
    Bad,
    /// Nothing could be compared.
    Unknown,
}

impl fmt::Display for Health {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Good => "healthy",
            Self::Bad => "failing",
            Self::Unknown => "not compared",
        })
    }
}

/// One look at an endpoint.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reading {
    /// What came out.
    pub health: Health,
    /// Why, without anything that changes from look to look.
    pub detail: String,
    /// From the request to the last byte; none without an answer.
    pub latency: Option<Duration>,
}

impl Endpoint {
    /// Anything below 300 is good.
    pub fn answering(url: Url) -> Self {
        Self { url, status: None, contains: None, that: None, latency_max: None }
    }

    /// The URL without its query and password.
    pub fn shown(&self) -> String {
        shown(&self.url)
    }

    /// Looks once.
    pub async fn read(&self, network: &Network) -> Reading {
        let asked = Instant::now();
        let answer = match self.fetch(network).await {
            Ok(answer) => answer,
            Err(error) => return no_answer(error),
        };
        let latency = asked.elapsed();
        let (health, detail) = self.judge(answer.0, &answer.1, latency);
        Reading { health, detail, latency: Some(latency) }
    }

    async fn fetch(&self, network: &Network) -> Result<(u16, String), reqwest::Error> {
        let mut response = network.http_client().get(&self.url).send().await?;
        let status = response.status().as_u16();
        let mut body = Vec::new();
        while let Some(chunk) = response.chunk().await? {
            body.extend_from_slice(&chunk);
            if body.len() >= BODY_MAX {
                body.truncate(BODY_MAX);
                break;
            }
        }
        Ok((status, String::from_utf8_lossy(&body).into_owned()))
    }

    fn judge(&self, status: u16, body: &str, latency: Duration) -> (Health, String) {
        let good_status = match self.status {
            Some(wanted) => status == wanted,
            None => (200..300).contains(&status),
        };
        if !good_status {
            return (Health::Bad, format!("status {status}"));
        }
        if let Some(text) = &self.contains
            && !body.contains(text.as_str())
        {
            return (Health::Bad, format!("status {status}, body without {text:?}"));
        }
        if let Some(limit) = self.latency_max
            && latency > limit.duration()
        {
            return (Health::Bad, format!("status {status}, slower than {limit}"));
        }
        match self.that.as_deref().map(|that| (that, holds(that, status, body))) {
            Some((that, Ok(false))) => (Health::Bad, format!("status {status}, not {that}")),
            Some((that, Err(why))) => {
                (Health::Unknown, format!("status {status}, {that} could not be evaluated: {why}"))
            }
            Some((that, Ok(true))) => (Health::Good, format!("status {status}, {that}")),
            None => (Health::Good, format!("status {status}")),
        }
    }
}

/// A URL without query, fragment and user information.
pub fn shown(url: &Url) -> String {
    let port = url.port().map(|port| format!(":{port}")).unwrap_or_default();
    format!("{}://{}{port}{}", url.scheme(), url.host_str().unwrap_or_default(), url.path())
}

/// Evaluates the expression; what is not there is an error, never false.
pub(crate) fn holds(that: &str, status: u16, body: &str) -> Result<bool, String> {
    let mut environment = Environment::new();
    environment.set_undefined_behavior(UndefinedBehavior::Strict);
    let json = serde_json::from_str(body).ok().map(|json: Value| JinjaValue::from(Serde(json)));
    let expression = environment.compile_expression(that).map_err(|error| error.to_string())?;
    let value = match json {
        Some(json) => expression.eval(context! { status, body, json }),
        None => expression.eval(context! { status, body }),
    };
    let value = value.map_err(|error| error.to_string())?;
    if value.is_undefined() {
        return Err("it is undefined".to_owned());
    }
    Ok(value.is_true())
}

fn no_answer(error: reqwest::Error) -> Reading {
    let error = error.without_url();
    let mut unknown = false;
    let mut detail = "no answer".to_owned();
    let mut cause: Option<&dyn Error> = Some(&error);
    while let Some(error) = cause {
        if let Some(lookup) = error.downcast_ref::<LookupError>() {
            unknown = !matches!(lookup, LookupError::NoAddress { .. });
        }
        cause = error.source();
        if cause.is_none() || error.is::<LookupError>() {
            detail = format!("no answer: {error}");
            break;
        }
    }
    let health = if unknown { Health::Unknown } else { Health::Bad };
    Reading { health, detail, latency: None }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn endpoint(that: Option<&str>) -> Endpoint {
        Endpoint {
            url: "http://user:pw@crm.contoso.example:81/health?key=s3cret".parse().expect("a URL"),
            status: None,
            contains: None,
            that: that.map(str::to_owned),
            latency_max: Some(Span::seconds(1)),
        }
    }

    #[test]
    fn what_is_shown_holds_no_query_and_no_password() {
        assert_eq!(endpoint(None).shown(), "http://crm.contoso.example:81/health");
    }

    #[test]
    fn an_expression_that_does_not_fit_is_unknown_and_never_good() {
        let body = r#"{"status":"ok","site":"target"}"#;
        let judged = |that| endpoint(Some(that)).judge(200, body, Duration::ZERO).0;
        assert_eq!(judged("json.site == 'target'"), Health::Good);
        assert_eq!(judged("json.site == 'source'"), Health::Bad);
        assert_eq!(judged("json.absent.deeper == 'x'"), Health::Unknown);
        assert_eq!(judged("json.absent"), Health::Unknown);
        assert_eq!(judged("json.site =="), Health::Unknown);
        let other = endpoint(Some("json.site == 'target'"));
        assert_eq!(other.judge(200, "<html>", Duration::ZERO).0, Health::Unknown);
    }

    #[test]
    fn status_and_latency_have_limits() {
        assert_eq!(endpoint(None).judge(503, "", Duration::ZERO).0, Health::Bad);
        assert_eq!(endpoint(None).judge(204, "", Duration::from_secs(2)).0, Health::Bad);
        assert_eq!(endpoint(None).judge(204, "", Duration::ZERO).0, Health::Good);
    }

    #[tokio::test]
    async fn nobody_listening_is_bad_and_a_silent_resolver_is_unknown() {
        let free = std::net::UdpSocket::bind("127.0.0.1:0").expect("a free port");
        let address = free.local_addr().expect("bound");
        drop(free);
        let closed = Network::new(None, [(80, address.port())].into());
        let mut endpoint = endpoint(None);
        endpoint.url = "http://127.0.0.1/health".parse().expect("a URL");
        assert_eq!(endpoint.read(&closed).await.health, Health::Bad);
        endpoint.url = "http://crm.contoso.example/health".parse().expect("a URL");
        let deaf = Network::new(Some(address), [].into());
        assert_eq!(endpoint.read(&deaf).await.health, Health::Unknown);
    }

    #[test]
    fn host_and_port_are_read_as_written() {
        let read = |text: &str| HostPort::try_from(text.to_owned()).map(|it| (it.host, it.port));
        assert_eq!(read("crm:443"), Ok(("crm".to_owned(), 443)));
        assert_eq!(read("[::1]:443"), Ok(("::1".to_owned(), 443)));
        for wrong in ["crm", "crm:", ":443", "crm:0", "crm:https"] {
            assert!(read(wrong).is_err(), "{wrong}");
        }
    }
}
