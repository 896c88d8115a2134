//! Names and ports as a run sees them. In a real run the system's resolver and the ports as written; in a sandbox run the
//! sandbox's DNS server and its ephemeral ports.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use domain::base::Rtype;
use domain::base::iana::Rcode;
use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::{self, PemObject as _};
use tokio::net::TcpStream;
use tokio_rustls::client::TlsStream;

use super::http::HttpClient;
use super::query::{Mode, QueryError, Reply, Waits, ask, exchange};
use super::record::{Name, Rdata, name};
use crate::crash;
use crate::plan::ServerAddress;

/// Time for a TCP connection.
pub(super) const CONNECT_WAIT: Duration = Duration::from_secs(10);
/// Aliases followed before a chain counts as a loop.
const ALIASES_MAX: usize = 8;

/// Names and ports as a run sees them. Cheap to clone; clones share one HTTP client.
#[derive(Debug, Clone, Default)]
pub struct Network {
    names: Names,
    /// Certificate authorities trusted besides the system's.
    authorities: Arc<[CertificateDer<'static>]>,
    client: Arc<OnceLock<HttpClient>>,
}

/// How names become addresses.
#[derive(Debug, Clone, Default)]
pub(super) struct Names {
    pub(super) resolver: Option<SocketAddr>,
    pub(super) ports: Arc<BTreeMap<u16, u16>>,
}

/// Why a name has no address.
#[derive(Debug, thiserror::Error)]
pub enum LookupError {
    /// It can not be one.
    #[error("`{0}` is not a domain name")]
    NotAName(String),
    /// The resolver said so.
    #[error("{name} has no address ({said})")]
    NoAddress {
        /// The name.
        name: String,
        /// What the resolver said: `NXDOMAIN`, `SERVFAIL`, "no record".
        said: String,
    },
    /// The resolver did not answer.
    #[error("the resolver could not be asked for {name}")]
    Resolver {
        /// The name.
        name: String,
        /// Why.
        #[source]
        cause: QueryError,
    },
    /// The system's resolver failed.
    #[error("the system could not resolve {name}")]
    System {
        /// The name.
        name: String,
        /// Why.
        #[source]
        cause: io::Error,
    },
    /// The system's resolver can not be asked for anything but addresses, and no resolver's address is known.
    #[error("no resolver is configured on this machine that could be asked for {0}")]
    NoResolver(String),
}

impl Network {
    /// Names from `resolver` (the system's when none); `ports` maps a scheme's default port to the one to connect to where
    /// nothing names a port: `{80: 18080, 443: 18443, 53: 15353}`.
    pub fn new(resolver: Option<SocketAddr>, ports: BTreeMap<u16, u16>) -> Self {
        let names = Names { resolver, ports: Arc::new(ports) };
        Self { names, ..Self::default() }
    }

    /// Trusts the authorities in this PEM besides the system's.
    pub fn with_ca(self, pem: &[u8]) -> Result<Self, pem::Error> {
        let authorities = CertificateDer::pem_slice_iter(pem).collect::<Result<_, _>>()?;
        Ok(Self { names: self.names, authorities, client: Arc::default() })
    }

    /// The DNS server asked instead of the system's resolver.
    pub fn resolver(&self) -> Option<SocketAddr> {
        self.names.resolver
    }

    /// The port to connect to where only the default port is known.
    pub fn port(&self, default: u16) -> u16 {
        self.names.port(default)
    }

    /// Addresses of a host name or an address literal, sorted, never empty.
    pub async fn lookup(&self, host: &str) -> Result<Vec<IpAddr>, LookupError> {
        self.names.lookup(host).await
    }

    /// Where a name server is that an author names: at its own addresses, or in a sandbox run at the sandbox's.
    pub async fn name_server(
        &self,
        server: &ServerAddress,
    ) -> Result<Vec<SocketAddr>, LookupError> {
        if let Some(own) = self.names.resolver {
            return Ok(vec![own]);
        }
        let found = self.lookup(&server.host).await?;
        Ok(found.into_iter().map(|address| SocketAddr::new(address, server.port)).collect())
    }

    /// Asks the resolver for records of any type; the system's configured one where no other is set.
    pub async fn resolve(&self, name: &Name, rtype: Rtype) -> Result<Reply, LookupError> {
        let resolvers = match self.names.resolver {
            Some(resolver) => vec![resolver],
            None => system_resolvers(),
        };
        let mut last = LookupError::NoResolver(name.to_string());
        for resolver in resolvers {
            match ask(resolver, name, rtype, Mode::Recursive).await {
                Ok(reply) => return Ok(reply),
                Err(cause) => last = LookupError::Resolver { name: name.to_string(), cause },
            }
        }
        Err(last)
    }

    /// The one HTTP client of the run.
    pub fn http_client(&self) -> &HttpClient {
        self.client.get_or_init(|| HttpClient::new(&self.names, &self.authorities))
    }

    /// Opens a TLS connection and verifies the certificate for this host; nothing is sent over it.
    pub async fn tls_connect(&self, host: &str, port: u16) -> io::Result<TlsStream<TcpStream>> {
        let stream = self.tcp_connect(host, port).await?;
        super::tls::handshake(stream, host, &self.authorities).await
    }

    /// Connects to a host, on the mapped port where it is a default port. Tries every address in turn.
    pub async fn tcp_connect(&self, host: &str, port: u16) -> io::Result<TcpStream> {
        let call = crash::call(|| format!("connect {host}:{port}"));
        let port = self.port(port);
        let addresses = self.lookup(host).await.map_err(io::Error::other)?;
        let mut last = io::Error::other("no address");
        for address in addresses {
            let connecting = TcpStream::connect((address, port));
            match tokio::time::timeout(CONNECT_WAIT, connecting).await {
                Ok(Ok(stream)) => {
                    call.made();
                    return Ok(stream);
                }
                Ok(Err(error)) => last = error,
                Err(_elapsed) => last = io::ErrorKind::TimedOut.into(),
            }
        }
        Err(last)
    }
}

impl Names {
    pub(super) fn port(&self, default: u16) -> u16 {
        self.ports.get(&default).copied().unwrap_or(default)
    }

    pub(super) async fn lookup(&self, host: &str) -> Result<Vec<IpAddr>, LookupError> {
        if let Ok(address) = host.trim_matches(['[', ']']).parse() {
            return Ok(vec![address]);
        }
        let Some(resolver) = self.resolver else {
            return system_lookup(host).await;
        };
        let name = name(host).map_err(|_| LookupError::NotAName(host.to_owned()))?;
        let mut said = "no record".to_owned();
        let mut found = BTreeSet::new();
        for rtype in [Rtype::A, Rtype::AAAA] {
            match chase(resolver, &name, rtype).await {
                Ok(Ok(addresses)) => found.extend(addresses),
                Ok(Err(rcode)) => said = rcode.to_string(),
                Err(cause) => {
                    return Err(LookupError::Resolver { name: host.to_owned(), cause });
                }
            }
        }
        if found.is_empty() {
            return Err(LookupError::NoAddress { name: host.to_owned(), said });
        }
        Ok(found.into_iter().collect())
    }
}

/// Addresses of one type, following aliases over several questions where the server does not do it in one.
async fn chase(
    resolver: SocketAddr,
    name: &Name,
    rtype: Rtype,
) -> Result<Result<Vec<IpAddr>, Rcode>, QueryError> {
    let mut at = name.clone();
    for _ in 0..ALIASES_MAX {
        let reply = exchange(resolver, &at, rtype, Mode::Recursive, Waits::default()).await?;
        if reply.rcode != Rcode::NOERROR {
            return Ok(Err(reply.rcode));
        }
        let (end, addresses) = follow(&at, &reply);
        if !addresses.is_empty() || end == at {
            return Ok(Ok(addresses));
        }
        at = end;
    }
    Ok(Err(Rcode::SERVFAIL))
}

/// Follows the aliases of one reply from `start`: where they end, and the addresses there.
fn follow(start: &Name, reply: &Reply) -> (Name, Vec<IpAddr>) {
    let mut at = start.clone();
    for _ in 0..ALIASES_MAX {
        let alias = reply.answer.iter().find_map(|record| match &record.rdata {
            Rdata::Cname(target) if record.owner == at => Some(target.clone()),
            _ => None,
        });
        match alias {
            Some(target) => at = target,
            None => break,
        }
    }
    let addresses = reply
        .answer
        .iter()
        .filter(|record| record.owner == at)
        .filter_map(|record| match record.rdata {
            Rdata::A(address) => Some(IpAddr::V4(address)),
            Rdata::Aaaa(address) => Some(IpAddr::V6(address)),
            _ => None,
        })
        .collect();
    (at, addresses)
}

async fn system_lookup(host: &str) -> Result<Vec<IpAddr>, LookupError> {
    let found = tokio::net::lookup_host((host, 0))
        .await
        .map_err(|cause| LookupError::System { name: host.to_owned(), cause })?;
    let addresses: BTreeSet<IpAddr> = found.map(|address| address.ip()).collect();
    if addresses.is_empty() {
        let said = "no record".to_owned();
        return Err(LookupError::NoAddress { name: host.to_owned(), said });
    }
    Ok(addresses.into_iter().collect())
}

/// Name servers of `/etc/resolv.conf`; none where there is no such file (Windows).
fn system_resolvers() -> Vec<SocketAddr> {
    let text = std::fs::read_to_string("/etc/resolv.conf").unwrap_or_default();
    text.lines()
        .filter_map(|line| line.trim().strip_prefix("nameserver"))
        .filter_map(|rest| rest.split_whitespace().next()?.parse::<IpAddr>().ok())
        .map(|address| SocketAddr::new(address, 53))
        .collect()
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

    use super::*;
    use crate::dns::testing::{Canned, TestServer};

    async fn world() -> (TestServer, Network) {
        let site = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let port = site.local_addr().expect("bound").port();
        tokio::spawn(async move {
            while let Ok((mut stream, _)) = site.accept().await {
                let mut request = [0; 4096];
                let read = stream.read(&mut request).await.unwrap_or_default();
                let text = String::from_utf8_lossy(&request[..read]).to_lowercase();
                let host = text.lines().find(|line| line.starts_with("host:")).unwrap_or_default();
                let reply = format!(
                    "HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: {}\r\n\r\n{host}",
                    host.len()
                );
                let _ = stream.write_all(reply.as_bytes()).await;
            }
        });
        let server = TestServer::start("127.0.0.1", |question| {
            let mut canned = Canned::authoritative();
            match (question.name.to_string().as_str(), question.rtype) {
                ("crm.contoso.example", _) => canned
                    .answer
                    .push((60, Rdata::Cname(name("site.contoso.example").expect("a name")))),
                ("site.contoso.example", Rtype::A) => {
                    canned.answer.push((60, Rdata::A([127, 0, 0, 1].into())));
                }
                ("site.contoso.example", _) => {}
                _ => canned.rcode = Rcode::NXDOMAIN,
            }
            Some(canned)
        })
        .await;
        let network = Network::new(Some(server.address), [(80, port)].into());
        (server, network)
    }

    #[tokio::test]
    async fn lookup_follows_aliases_over_several_questions() {
        let (_server, network) = world().await;
        let found = network.lookup("crm.contoso.example").await.expect("found");
        assert_eq!(found, [IpAddr::from([127, 0, 0, 1])]);
        let error = network.lookup("absent.contoso.example").await.expect_err("absent");
        assert!(error.to_string().contains("NXDOMAIN"), "{error}");
    }

    #[tokio::test]
    async fn http_goes_where_the_resolver_says_on_the_mapped_port_with_the_host_as_written() {
        let (_server, network) = world().await;
        for host in ["crm.contoso.example", "127.0.0.1"] {
            let url = format!("http://{host}/health").parse().expect("a URL");
            let reply = network.http_client().get(&url).send().await.expect("an answer");
            let text = reply.text().await.expect("a body");
            assert!(text.starts_with(&format!("host: {host}")), "{text}");
        }
    }
}
