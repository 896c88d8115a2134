//! One HTTP/1.1 server loop for all of the sandbox's listeners.
//!
//! It speaks in whole requests and whole replies, because that is what a ledger can hold, and it can do what a web
//! framework will not: close the connection without an answer ([`Answer::HangUp`]), which is how a lost reply looks.

use std::future::Future;
use std::sync::Arc;

use bytes::Bytes;
use http_body_util::{BodyExt, Full, Limited};
use hyper::body::Incoming;
use hyper::http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, header};
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use serde_json::Value;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::crash;

/// Larger bodies are refused; ARM's own limit for a template is 4 MB.
const BODY_BYTES_MAX: usize = 8 << 20;

/// A whole request.
#[derive(Debug, Clone)]
pub(crate) struct Request {
    pub(crate) method: Method,
    /// `Host` without the port, in lower case.
    pub(crate) host: String,
    /// Percent-decoded.
    pub(crate) path: String,
    /// Decoded pairs, in order.
    pub(crate) query: Vec<(String, String)>,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Bytes,
}

impl Request {
    /// The first query value of that name, compared without case as ARM does.
    pub(crate) fn query(&self, name: &str) -> Option<&str> {
        let found = self.query.iter().find(|(key, _)| key.eq_ignore_ascii_case(name));
        found.map(|(_, value)| value.as_str())
    }

    /// A header that is text.
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).and_then(|value| value.to_str().ok())
    }

    /// Whether the method may change something.
    pub(crate) fn mutates(&self) -> bool {
        !matches!(self.method, Method::GET | Method::HEAD | Method::OPTIONS)
    }
}

/// A whole reply.
#[derive(Debug, Clone)]
pub(crate) struct Reply {
    pub(crate) status: StatusCode,
    pub(crate) headers: Vec<(HeaderName, String)>,
    pub(crate) body: Bytes,
}

impl Reply {
    /// A JSON body.
    pub(crate) fn json(status: StatusCode, body: &Value) -> Self {
        Self {
            status,
            headers: vec![(header::CONTENT_TYPE, "application/json; charset=utf-8".to_owned())],
            body: body.to_string().into(),
        }
    }

    /// No body.
    pub(crate) fn empty(status: StatusCode) -> Self {
        Self { status, headers: Vec::new(), body: Bytes::new() }
    }

    /// Adds a header.
    #[must_use]
    pub(crate) fn with(mut self, name: &'static str, value: impl Into<String>) -> Self {
        self.headers.push((HeaderName::from_static(name), value.into()));
        self
    }
}

/// What the client sees.
#[derive(Debug)]
pub(crate) enum Answer {
    Reply(Reply),
    /// The connection is closed without an answer.
    HangUp,
}

/// Who answers at a listener.
pub(crate) trait Site: Send + Sync + 'static {
    fn answer(&self, request: Request) -> impl Future<Output = Answer> + Send;
}

/// Serves until cancelled; requests under way are answered first.
pub(crate) async fn serve<S: Site>(
    listener: TcpListener,
    tls: Option<TlsAcceptor>,
    site: Arc<S>,
    stop: CancellationToken,
) {
    let connections = TaskTracker::new();
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            () = stop.cancelled() => break,
        };
        let Ok((stream, _)) = accepted else {
            // Out of descriptors, or the peer left at once; neither ends the server.
            tokio::task::yield_now().await;
            continue;
        };
        let (tls, site, stop) = (tls.clone(), Arc::clone(&site), stop.clone());
        connections.spawn(async move {
            // A failed handshake is the client's to report.
            match tls {
                Some(tls) => {
                    if let Ok(stream) = tls.accept(stream).await {
                        connection(stream, site, stop).await;
                    }
                }
                None => connection(stream, site, stop).await,
            }
        });
    }
    connections.close();
    connections.wait().await;
}

async fn connection<I, S>(stream: I, site: Arc<S>, stop: CancellationToken)
where
    I: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    S: Site,
{
    let service = service_fn(move |incoming| {
        let site = Arc::clone(&site);
        async move {
            let answer = match read(incoming).await {
                Ok(request) => counted(site.as_ref(), request).await,
                Err(refusal) => Answer::Reply(refusal),
            };
            match answer {
                Answer::Reply(reply) => Ok(write(reply)),
                Answer::HangUp => Err("the reply is lost, as the scenario says"),
            }
        }
    });
    let serving =
        hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(stream), service);
    tokio::pin!(serving);
    // An error here is a connection that ended early, on purpose or not.
    tokio::select! {
        _ = serving.as_mut() => {}
        () = stop.cancelled() => {
            serving.as_mut().graceful_shutdown();
            let _ = serving.await;
        }
    }
}

/// The answer to a request, which is an outside call of the run unless the writing client sent it.
async fn counted<S: Site>(site: &S, request: Request) -> Answer {
    if request.path == "/orders" {
        return site.answer(request).await;
    }
    let call = crash::call(|| format!("{} {}{}", request.method, request.host, request.path));
    let answer = site.answer(request).await;
    call.made();
    answer
}

async fn read(incoming: hyper::Request<Incoming>) -> Result<Request, Reply> {
    let (head, body) = incoming.into_parts();
    let body = Limited::new(body, BODY_BYTES_MAX)
        .collect()
        .await
        .map_err(|_| Reply::empty(StatusCode::PAYLOAD_TOO_LARGE))?
        .to_bytes();
    let host = head.headers.get(header::HOST).and_then(|host| host.to_str().ok()).unwrap_or("");
    let host = host.rsplit_once(':').map_or(host, |(name, _)| name).to_ascii_lowercase();
    let query = head.uri.query().unwrap_or("");
    Ok(Request {
        method: head.method,
        host,
        path: percent_decoded(head.uri.path()),
        query: url::form_urlencoded::parse(query.as_bytes()).into_owned().collect(),
        headers: head.headers,
        body,
    })
}

fn write(reply: Reply) -> hyper::Response<Full<Bytes>> {
    let mut response = hyper::Response::new(Full::new(reply.body));
    *response.status_mut() = reply.status;
    for (name, value) in reply.headers {
        let value = HeaderValue::from_str(&value).expect("the sandbox writes plain header values");
        response.headers_mut().append(name, value);
    }
    response
}

/// Infallible: what is not a valid escape stays as it is.
pub(crate) fn percent_decoded(path: &str) -> String {
    let mut bytes = Vec::with_capacity(path.len());
    let mut rest = path.as_bytes();
    while let Some((&first, after)) = rest.split_first() {
        let escaped = (first == b'%')
            .then(|| after.get(..2))
            .flatten()
            .and_then(|hex| str::from_utf8(hex).ok())
            .and_then(|hex| u8::from_str_radix(hex, 16).ok());
        bytes.push(escaped.unwrap_or(first));
        rest = if escaped.is_some() { &after[2..] } else { after };
    }
    String::from_utf8_lossy(&bytes).into_owned()
}
