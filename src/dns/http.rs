//! The one HTTP client: names through the run's [`super::Network`], ports mapped, time limited, TLS always verified.
//!
//! Reading needs nothing; every other method needs the permit of a journalled intent. Redirects of reads are followed at
//! most three times. Errors are to be shown through [`reqwest::Error::without_url`], because a query can hold a secret.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use reqwest::dns::{Addrs, Name, Resolve, Resolving};
use reqwest::redirect::Policy;
use reqwest::{Certificate, Client, Method, RequestBuilder, Url};
use rustls_pki_types::CertificateDer;

use super::network::{CONNECT_WAIT, Names};
use crate::journal::EffectPermit;

/// Longest silence between two bytes of an answer.
const READ_WAIT: Duration = Duration::from_secs(30);

/// An HTTP client. Cheap to clone.
#[derive(Debug, Clone)]
pub struct HttpClient {
    names: Names,
    /// A resolver learns the name but not the scheme, so each scheme has a client that knows its default port.
    http: Client,
    https: Client,
}

impl HttpClient {
    pub(super) fn new(names: &Names, authorities: &[CertificateDer<'_>]) -> Self {
        Self {
            names: names.clone(),
            http: client(names, 80, authorities),
            https: client(names, 443, authorities),
        }
    }

    /// A read: GET.
    pub fn get(&self, url: &Url) -> RequestBuilder {
        self.to(Method::GET, url)
    }

    /// Any method, for a change whose intent is durable.
    pub fn request(&self, _permit: &EffectPermit, method: Method, url: &Url) -> RequestBuilder {
        self.to(method, url)
    }

    fn to(&self, method: Method, url: &Url) -> RequestBuilder {
        let client = if url.scheme() == "https" { &self.https } else { &self.http };
        client.request(method, self.mapped(url))
    }

    /// Address literals never reach a resolver, so their port is mapped here.
    fn mapped(&self, url: &Url) -> Url {
        let mut url = url.clone();
        let literal = url
            .host_str()
            .is_some_and(|host| host.trim_matches(['[', ']']).parse::<IpAddr>().is_ok());
        if let (true, None, Some(default)) = (literal, url.port(), url.port_or_known_default()) {
            url.set_port(Some(self.names.port(default))).expect("a URL with a host takes a port");
        }
        url
    }
}

fn client(names: &Names, default_port: u16, authorities: &[CertificateDer<'_>]) -> Client {
    let authorities = authorities
        .iter()
        .map(|der| Certificate::from_der(der).expect("a certificate that was read from PEM"));
    let mut builder = Client::builder()
        .user_agent(concat!("migrate/", env!("CARGO_PKG_VERSION")))
        .connect_timeout(CONNECT_WAIT)
        .read_timeout(READ_WAIT)
        .redirect(Policy::limited(3))
        // A kept connection goes on to the old address after a cutover: every request asks for the name anew.
        .pool_max_idle_per_host(0)
        .tls_certs_merge(authorities)
        .dns_resolver(Resolver { names: names.clone(), default_port });
    if names.resolver.is_some() {
        // A proxy would resolve names elsewhere.
        builder = builder.no_proxy();
    }
    builder.build().expect("the TLS library accepts its own defaults")
}

/// [`Names`] as reqwest asks for them. A port in the URL always wins over the one given here.
#[derive(Debug)]
struct Resolver {
    names: Names,
    default_port: u16,
}

impl Resolve for Resolver {
    fn resolve(&self, name: Name) -> Resolving {
        let (names, port) = (self.names.clone(), self.names.port(self.default_port));
        Box::pin(async move {
            let found = names.lookup(name.as_str()).await?;
            let addresses = found.into_iter().map(move |address| SocketAddr::new(address, port));
            Ok(Box::new(addresses) as Addrs)
        })
    }
}
