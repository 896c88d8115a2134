//! A server that repeats all it was sent, and otherwise does what the first part of the path says: what a proxy with
//! debugging left on does to whoever trusts it.
//!
//! With a certificate it also answers as a cloud's metadata and its authority do, so that a run signs in and then meets
//! one answer for everything.

use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::TcpListener;
use std::sync::Arc;

use rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};
use rustls::{ServerConfig, ServerConnection, StreamOwned};
use serde_json::{Value, json};

/// How everything but metadata and tokens is answered where the path does not say it.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Manner {
    /// With this status and an error that quotes the request.
    Status(u16),
    /// With something that is no JSON and quotes the request.
    BadJson,
    /// With half an answer that quotes the request.
    Cut,
    /// Elsewhere, where nobody listens, with the request in the URL.
    Redirect,
    /// Already the authority refuses, and quotes what it was sent.
    NoToken,
}

/// A request as it came.
struct Request {
    target: String,
    /// Request line, headers and body.
    text: String,
}

/// See the module. It serves until the process ends.
pub(crate) struct Echo {
    /// Scheme, host and port.
    pub(crate) url: String,
    /// The certificate to trust.
    pub(crate) ca_pem: String,
}

impl Echo {
    /// In plain text.
    pub(crate) fn plain() -> Self {
        let (listener, port) = listen();
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                // A client that is killed breaks its connection.
                std::thread::spawn(move || drop(serve(stream, None)));
            }
        });
        Self { url: format!("http://127.0.0.1:{port}"), ca_pem: String::new() }
    }

    /// Over TLS, in the place of Azure; `token` is what its authority hands out.
    pub(crate) fn azure(manner: Manner, token: &str) -> Self {
        let (listener, port) = listen();
        let made =
            rcgen::generate_simple_self_signed(["localhost".to_owned()]).expect("a certificate");
        let ca_pem = made.cert.pem();
        let key = PrivateKeyDer::from(PrivatePkcs8KeyDer::from(made.signing_key.serialize_der()));
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let config = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .expect("versions")
            .with_no_client_auth()
            .with_single_cert(vec![made.cert.der().clone()], key)
            .expect("a key");
        let (config, url) = (Arc::new(config), format!("https://localhost:{port}"));
        let cloud = Arc::new(Cloud { url: url.clone(), token: token.to_owned(), manner });
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let (config, cloud) = (Arc::clone(&config), Arc::clone(&cloud));
                std::thread::spawn(move || {
                    let tls = ServerConnection::new(config).expect("a configuration");
                    drop(serve(StreamOwned::new(tls, stream), Some(&cloud)));
                });
            }
        });
        Self { url, ca_pem }
    }
}

struct Cloud {
    url: String,
    token: String,
    manner: Manner,
}

impl Cloud {
    /// What a cloud says of itself, and a token.
    fn answer(&self, request: &Request) -> Option<(u16, String)> {
        let refuses = matches!(self.manner, Manner::NoToken);
        let body = if request.target.starts_with("/metadata/endpoints") {
            json!({ "resourceManager": self.url, "authentication": {
                "loginEndpoint": self.url, "audiences": ["https://management.sandbox/"] } })
        } else if request.target.contains("/oauth2/") && refuses {
            let said = format!("AADSTS7000215: Invalid client secret provided: {}", request.text);
            return Some((
                401,
                json!({ "error": "invalid_client", "error_description": said }).to_string(),
            ));
        } else if request.target.contains("/oauth2/") {
            json!({ "token_type": "Bearer", "expires_in": 86_400, "access_token": self.token })
        } else if request.target.contains("openid-configuration") {
            let at = |what: &str| format!("{}/tenant/oauth2/v2.0/{what}", self.url);
            json!({ "issuer": self.url, "authorization_endpoint": at("authorize"), "token_endpoint": at("token") })
        } else {
            return None;
        };
        Some((200, body.to_string()))
    }
}

fn listen() -> (TcpListener, u16) {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let port = listener.local_addr().expect("an address").port();
    (listener, port)
}

/// A port on which nobody listens.
pub(crate) fn closed_port() -> u16 {
    listen().1
}

fn read(stream: &mut impl BufRead) -> io::Result<Request> {
    let (mut text, mut length) = (String::new(), 0);
    loop {
        let mut line = Vec::new();
        if stream.read_until(b'\n', &mut line)? == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        let line = String::from_utf8_lossy(&line).into_owned();
        text.push_str(&line);
        if line.trim().is_empty() {
            break;
        }
        if let Some((_, value)) =
            line.split_once(':').filter(|(name, _)| name.eq_ignore_ascii_case("content-length"))
        {
            length = value.trim().parse().unwrap_or(0);
        }
    }
    let mut body = vec![0; length];
    stream.read_exact(&mut body)?;
    text.push_str(&String::from_utf8_lossy(&body));
    let target = text.split(' ').nth(1).unwrap_or("/").to_owned();
    Ok(Request { target, text })
}

fn serve(stream: impl Read + Write, cloud: Option<&Cloud>) -> io::Result<()> {
    let mut stream = BufReader::new(stream);
    let request = read(&mut stream)?;
    if let Some((status, body)) = cloud.and_then(|cloud| cloud.answer(&request)) {
        return reply(stream.get_mut(), status, "", &body);
    }
    let first = request.target.split(['/', '?']).nth(1).unwrap_or_default();
    let manner = match (cloud, first) {
        (Some(cloud), _) => cloud.manner,
        (None, "bad-json") => Manner::BadJson,
        (None, "cut") => Manner::Cut,
        (None, "redirect") => Manner::Redirect,
        (None, status) => Manner::Status(status.parse().unwrap_or(200)),
    };
    answer(stream.get_mut(), manner, &request)
}

fn answer(stream: &mut impl Write, manner: Manner, request: &Request) -> io::Result<()> {
    let quoted: Value = json!({
        "code": "Echo", "message": request.text, "target": request.target,
        "details": [{ "code": "Quoted", "message": json!({ "said": request.text }).to_string() }],
    });
    match manner {
        Manner::Status(status) => {
            let header = "retry-after: 1\r\nwww-authenticate: Bearer error=\"invalid_token\"\r\n";
            reply(stream, status, header, &json!({ "error": quoted }).to_string())
        }
        Manner::NoToken => reply(stream, 401, "", &json!({ "error": quoted }).to_string()),
        Manner::BadJson => reply(stream, 200, "", &format!("<html>{}", request.text)),
        Manner::Cut => {
            write!(stream, "HTTP/1.1 200 OK\r\ncontent-length: 1000000\r\n\r\n{}", request.text)?;
            stream.flush()
        }
        Manner::Redirect => {
            let whole: String =
                url::form_urlencoded::byte_serialize(request.text.as_bytes()).collect();
            let to = format!(
                "http://127.0.0.1:{}/login?next={}&said={whole}",
                closed_port(),
                request.target
            );
            reply(stream, 307, &format!("location: {to}\r\n"), "")
        }
    }
}

fn reply(stream: &mut impl Write, status: u16, headers: &str, body: &str) -> io::Result<()> {
    write!(
        stream,
        "HTTP/1.1 {status} Said\r\ncontent-type: application/json\r\nconnection: close\r\n{headers}\
         content-length: {}\r\n\r\n{body}",
        body.len()
    )?;
    stream.flush()
}
