//! HTTP requests of steps: what came back, or how sure it is that nothing was changed.
//!
//! A reading may be repeated; a change is sent once, with the permit of its intent and an `Idempotency-Key` that is the same in
//! every attempt. When its reply is lost nothing is guessed: [`HttpError::Lost`] leaves the answer to a probe. No URL's query,
//! path secrets or credentials ever stand in an error.

mod switch;

pub use switch::{Reading, Switch, SwitchError, at, base, field};

use reqwest::header::{HeaderMap, HeaderName, HeaderValue};
use reqwest::{Method, Response, Url};

use crate::diagnostic::redact::Redactor;
use crate::dns::HttpClient;
pub use crate::dns::endpoint::shown;
use crate::journal::EffectPermit;
use crate::run::{EffectId, FailureClass, RunId, StepError};

/// Bytes of an answer that are kept.
pub const BODY_BYTES_MAX: usize = 64 * 1024;

/// An answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reply {
    /// Status code.
    pub status: u16,
    /// The body as text, cut off after [`BODY_BYTES_MAX`].
    pub body: String,
    /// There was more of it.
    pub cut_off: bool,
}

impl Reply {
    /// The body without any secret that `redactor` knows, and without half of one where it was cut off.
    pub fn clean(&self, redactor: &Redactor) -> String {
        let whole = self.body.as_bytes();
        let kept = if self.cut_off { redactor.beginning(whole) } else { whole };
        String::from_utf8_lossy(&redactor.redact_bytes(kept)).into_owned()
    }

    /// 200 to 299.
    pub fn is_success(&self) -> bool {
        (200..300).contains(&self.status)
    }

    /// The server says that it did nothing: it did not accept the request, or not now.
    pub fn refused(&self) -> bool {
        (400..500).contains(&self.status) || self.status == 503
    }

    /// The same request may be accepted later.
    pub fn is_temporary(&self) -> bool {
        matches!(self.status, 408 | 425 | 429 | 503)
    }

    /// The body as JSON; `Null` where it is none.
    pub fn json(&self) -> serde_json::Value {
        serde_json::from_str(&self.body).unwrap_or_default()
    }
}

/// Why there is no answer.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum HttpError {
    /// The request never left: no connection, or it could not be built.
    #[error("{to} was not reached: {why}")]
    NotSent {
        /// Scheme, host and path of the URL.
        to: String,
        /// Why.
        why: String,
    },
    /// It may have arrived; the answer did not.
    #[error("{to} gave no answer: {why}")]
    Lost {
        /// Scheme, host and path of the URL.
        to: String,
        /// Why.
        why: String,
    },
}

/// A change to be requested.
#[derive(Debug, Clone)]
pub struct Change<'a> {
    /// `POST`, `PUT`, …
    pub method: Method,
    /// Where to.
    pub url: &'a Url,
    /// How the URL may be called in messages; a webhook's path can be its secret.
    pub shown: &'a str,
    /// Besides `Idempotency-Key`.
    pub headers: HeaderMap,
    /// The body, if any.
    pub body: Option<String>,
}

/// The stable id of a change: `<run>/<step>/<key>`, percent-encoded where a header could not carry it.
pub fn idempotency_key(run: &RunId, effect: &EffectId) -> String {
    let text = format!("{run}/{effect}");
    text.chars().fold(String::with_capacity(text.len()), |mut key, character| {
        if character.is_ascii_graphic() && character != '%' {
            key.push(character);
        } else {
            let mut bytes = [0; 4];
            for byte in character.encode_utf8(&mut bytes).bytes() {
                key.push('%');
                key.push_str(&crate::run::hex(&[byte]));
            }
        }
        key
    })
}

/// Reads headers as they stand in a runbook. The error names the header, never its value.
pub fn header(name: &str, value: &str) -> Result<(HeaderName, HeaderValue), String> {
    let parsed =
        HeaderName::from_bytes(name.as_bytes()).ok().zip(HeaderValue::from_str(value).ok());
    parsed.ok_or_else(|| format!("header `{name}` is not one that HTTP can carry"))
}

/// GET.
pub async fn read(client: &HttpClient, url: &Url, headers: HeaderMap) -> Result<Reply, HttpError> {
    let sent = client.get(url).headers(headers).send().await;
    receive(sent, url, &shown(url)).await
}

/// Sends a change, once.
pub async fn change(
    client: &HttpClient,
    permit: &EffectPermit,
    run: &RunId,
    change: Change<'_>,
) -> Result<Reply, HttpError> {
    let key = idempotency_key(run, permit.effect());
    let mut request = client
        .request(permit, change.method, change.url)
        .headers(change.headers)
        .header("Idempotency-Key", key);
    if let Some(body) = change.body {
        request = request.body(body);
    }
    receive(request.send().await, change.url, change.shown).await
}

async fn receive(
    sent: reqwest::Result<Response>,
    url: &Url,
    shown: &str,
) -> Result<Reply, HttpError> {
    let to = shown.to_owned();
    let mut response = sent.map_err(|error| {
        // A redirect may fail to connect after the first server has done everything.
        let first = error.url().is_none_or(|at| {
            // The port of an address literal is mapped on the way.
            let port = url.port().is_none() || at.port() == url.port();
            let same = |part: fn(&Url) -> Option<&str>| part(at) == part(url);
            let server = same(Url::host_str) && at.scheme() == url.scheme() && port;
            server && at.path() == url.path() && same(Url::query)
        });
        let unsent = error.is_builder() || (error.is_connect() && first);
        let why = chain(&error.without_url());
        let to = to.clone();
        if unsent { HttpError::NotSent { to, why } } else { HttpError::Lost { to, why } }
    })?;
    let status = response.status().as_u16();
    let mut body = Vec::new();
    while body.len() <= BODY_BYTES_MAX {
        match response.chunk().await {
            Ok(Some(chunk)) => body.extend_from_slice(&chunk),
            Ok(None) => break,
            Err(error) => {
                return Err(HttpError::Lost { to, why: chain(&error.without_url()) });
            }
        }
    }
    let cut_off = body.len() > BODY_BYTES_MAX;
    body.truncate(BODY_BYTES_MAX);
    Ok(Reply { status, body: String::from_utf8_lossy(&body).into_owned(), cut_off })
}

fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut next = error.source();
    while let Some(cause) = next {
        text.push_str(": ");
        text.push_str(&cause.to_string());
        next = cause.source();
    }
    text
}

impl HttpError {
    /// The failure of a step that wanted to change something. A lost reply is unknown; the engine asks the probe.
    pub fn as_step_error(&self, attempted: &str, code: &str) -> StepError {
        match self {
            Self::NotSent { .. } => {
                let known = "the request never left; nothing was changed";
                StepError::new(FailureClass::Failed, code, attempted, known)
                    .because(self)
                    .retryable()
            }
            Self::Lost { .. } => {
                let known = "the request may have arrived; its answer did not";
                StepError::new(FailureClass::Unknown, code, attempted, known).because(self)
            }
        }
    }

    /// The failure of a step that only wanted to read.
    pub fn as_read_error(&self, attempted: &str, code: &str) -> StepError {
        StepError::new(FailureClass::Failed, code, attempted, "reading changed nothing")
            .because(self)
            .retryable()
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    use tokio::net::TcpListener;

    use super::*;
    use crate::dns::Network;

    async fn post(port: u16) -> Result<Reply, HttpError> {
        let url: Url = format!("http://127.0.0.1:{port}/hook?token=hush").parse().expect("a URL");
        let network = Network::default();
        let run = RunId::new("run");
        let (method, headers, body) = (Method::POST, HeaderMap::new(), Some("{}".to_owned()));
        let shown = shown(&url);
        let wanted = Change { method, url: &url, shown: &shown, headers, body };
        change(network.http_client(), &EffectPermit::for_test("key"), &run, wanted).await
    }

    /// Answers one request with `answer` and gives back what was asked.
    async fn serve(answer: &'static str) -> (u16, tokio::task::JoinHandle<String>) {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let port = listener.local_addr().expect("an address").port();
        let served = tokio::spawn(async move {
            let (mut stream, _) = listener.accept().await.expect("a connection");
            let mut asked = vec![0; 4096];
            let read = stream.read(&mut asked).await.expect("a request");
            stream.write_all(answer.as_bytes()).await.expect("an answer");
            String::from_utf8_lossy(&asked[..read]).into_owned()
        });
        (port, served)
    }

    #[tokio::test]
    async fn a_change_carries_its_id() {
        let (port, served) = serve("HTTP/1.1 202 Accepted\r\ncontent-length: 2\r\n\r\nok").await;
        let reply = post(port).await.expect("an answer");
        assert_eq!((reply.status, reply.body.as_str()), (202, "ok"));
        let asked = served.await.expect("a request").to_lowercase();
        assert!(asked.contains("idempotency-key: run/step/key\r\n"), "{asked}");
    }

    #[tokio::test]
    async fn a_reply_that_breaks_off_is_lost_and_a_closed_port_was_never_reached() {
        let (port, served) = serve("HTTP/1.1 200 OK\r\ncontent-length: 20\r\n\r\nhalf").await;
        let lost = post(port).await.expect_err("half an answer");
        served.await.expect("a request");
        assert!(matches!(lost, HttpError::Lost { .. }), "{lost}");
        assert!(!lost.to_string().contains("hush"));
        let closed = post(port).await.expect_err("nobody listens");
        assert!(matches!(closed, HttpError::NotSent { .. }), "{closed}");
    }

    #[test]
    fn a_body_that_was_cut_off_ends_before_half_a_secret() {
        let (secret, redactor) = ("correct-horse-battery-staple", Redactor::default());
        redactor.register(&secret.into()).expect("long enough");
        for kept in 6..secret.len() {
            let body = ".".repeat(5_000) + secret + "; " + &secret[..kept];
            let clean =
                |cut_off| Reply { status: 200, body: body.clone(), cut_off }.clean(&redactor);
            assert!(!clean(true).contains(&secret[..6]), "{kept} bytes of it are left");
            assert!(clean(false).ends_with(&secret[..kept]), "what is whole is not cut");
        }
    }

    #[test]
    fn an_id_is_always_a_header() {
        let effect = EffectId { step: "käse[a b]".into(), key: "message".to_owned() };
        assert_eq!(idempotency_key(&RunId::new("r"), &effect), "r/k%c3%a4se[a%20b]/message");
    }
}
