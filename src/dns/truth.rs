//! What every authoritative server of a zone says about a name.
//!
//! A record is changed when all of them say so. A server that is stale, lame, silent or does not speak for the zone is
//! named, and never counts as done. Only an address without a route from this machine (IPv6 without IPv6) may be passed
//! over, and only where the same server was asked at another address.

use std::collections::BTreeSet;
use std::fmt;
use std::net::{IpAddr, SocketAddr};

use domain::base::Rtype;
use domain::base::iana::Rcode;
use futures::future::join_all;

use super::network::{LookupError, Network};
use super::query::{Mode, QueryError, Reply, ask};
use super::record::{Name, Rdata, RecordType, RrSet, name};
use super::update::{Primary, UpdateError};
use crate::clock::Clock;
use crate::plan::ServerAddress;

/// One name server at one address.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Server {
    /// As the zone's NS record or the runbook names it.
    pub name: String,
    /// None when the name has no address.
    pub address: Option<SocketAddr>,
}

impl fmt::Display for Server {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.address {
            // Named by its address.
            Some(address) if self.name.parse() == Ok(address.ip()) => write!(f, "{address}"),
            Some(address) => write!(f, "{} ({})", self.name, address.ip()),
            None => write!(f, "{}", self.name),
        }
    }
}

/// Every authoritative server of a zone.
#[derive(Debug, Clone)]
pub struct Authorities {
    /// The zone.
    pub zone: Name,
    /// Sorted by name and address; never empty.
    pub servers: Vec<Server>,
}

/// What one server said.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Said {
    /// It speaks for the zone and holds this.
    Holds(RrSet),
    /// It answered, but not as an authority.
    NotAuthoritative,
    /// It refused or failed: `REFUSED`, `SERVFAIL`.
    Refused(Rcode),
    /// No answer, and why.
    Silent(String),
    /// Nothing can be sent to this address from here.
    NoRoute,
    /// The server's name has no address, and why.
    NoAddress(String),
}

impl fmt::Display for Said {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Holds(set) => write!(f, "{set}"),
            Self::NotAuthoritative => f.write_str("is not authoritative for the zone"),
            Self::Refused(rcode) => write!(f, "said {rcode}"),
            Self::Silent(why) => write!(f, "gave no answer: {why}"),
            Self::NoRoute => f.write_str("can not be reached from this machine"),
            Self::NoAddress(why) => write!(f, "has no address: {why}"),
        }
    }
}

/// One server's answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ServerAnswer {
    /// Who.
    pub server: Server,
    /// What.
    pub said: Said,
}

impl fmt::Display for ServerAnswer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.server, self.said)
    }
}

/// The answers of all servers to one question, in the order of [`Authorities::servers`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Truth(pub Vec<ServerAnswer>);

impl Authorities {
    /// Finds the servers of a zone by its NS records.
    pub async fn find(network: &Network, zone: &str) -> Result<Self, LookupError> {
        let apex = name(zone).map_err(|_| LookupError::NotAName(zone.to_owned()))?;
        let reply = network.resolve(&apex, Rtype::NS).await?;
        let names = name_servers(&apex, &reply);
        if names.is_empty() {
            let said = format!("{}, no NS record", reply.rcode);
            return Err(LookupError::NoAddress { name: zone.to_owned(), said });
        }
        let mut servers = Vec::new();
        for name in names {
            let found = network.lookup(&name.to_string()).await.unwrap_or_default();
            servers.extend(at(network, &name, found));
        }
        Ok(Self { zone: apex, servers })
    }

    /// Finds them by the zone's NS records at its primary, which need not be one of them; it also knows the addresses of
    /// those whose names lie in the zone.
    pub async fn of_primary(
        network: &Network,
        clock: &Clock,
        primary: &Primary,
    ) -> Result<Self, UpdateError> {
        let zone = primary.zone.clone();
        let names = name_servers(&zone, &primary.ask(clock, &zone, Rtype::NS).await?);
        if names.is_empty() {
            return Err(UpdateError::NotAuthoritative(primary.address, zone.to_string()));
        }
        let mut servers = Vec::new();
        for name in names {
            let mut found = Vec::new();
            if name.ends_with(&zone) {
                for rtype in [Rtype::A, Rtype::AAAA] {
                    let reply = primary.ask(clock, &name, rtype).await?;
                    found.extend(reply.answer.iter().filter_map(|it| it.rdata.address()));
                }
            } else {
                found = network.lookup(&name.to_string()).await.unwrap_or_default();
            }
            servers.extend(at(network, &name, found));
        }
        Ok(Self { zone, servers })
    }

    /// Those that an author names.
    pub async fn named(
        network: &Network,
        zone: Name,
        named: &[ServerAddress],
    ) -> Result<Self, LookupError> {
        let mut servers = Vec::new();
        for server in named {
            let address = network.name_server(server).await?;
            servers.push(Server { name: server.host.clone(), address: Some(address) });
        }
        Ok(Self { zone, servers })
    }

    /// Asks all of them at once for one name and type. An alias at the name is part of the answer.
    pub async fn ask(&self, name: &Name, kind: RecordType) -> Truth {
        let asked = self.servers.iter().map(|server| async move {
            let said = match server.address {
                Some(address) => said(address, name, kind).await,
                None => Said::NoAddress("its name does not resolve".to_owned()),
            };
            ServerAnswer { server: server.clone(), said }
        });
        Truth(join_all(asked).await)
    }
}

/// The name servers that a reply names for a zone.
fn name_servers(zone: &Name, reply: &Reply) -> BTreeSet<Name> {
    let own = reply.answer.iter().filter(|record| record.owner == *zone);
    let servers = own.filter_map(|record| match &record.rdata {
        Rdata::Ns(server) => Some(server.clone()),
        _ => None,
    });
    servers.collect()
}

/// A server at each of its addresses, or at none.
fn at(network: &Network, name: &Name, found: Vec<IpAddr>) -> Vec<Server> {
    let (name, port) = (name.to_string(), network.port(53));
    if found.is_empty() {
        return vec![Server { name, address: None }];
    }
    let address = |ip| Server { name: name.clone(), address: Some(SocketAddr::new(ip, port)) };
    found.into_iter().map(address).collect()
}

async fn said(address: SocketAddr, name: &Name, kind: RecordType) -> Said {
    let mut reply = ask(address, name, kind.rtype(), Mode::Authoritative).await;
    if let Err(QueryError::Silent(_)) = reply {
        // Many company networks let DNS out over TCP only, or the other way round.
        reply = ask(address, name, kind.rtype(), Mode::AuthoritativeTcp).await;
    }
    match reply {
        Err(QueryError::NoRoute(_)) => Said::NoRoute,
        Err(error) => Said::Silent(error.to_string()),
        Ok(reply) if !matches!(reply.rcode, Rcode::NOERROR | Rcode::NXDOMAIN) => {
            Said::Refused(reply.rcode)
        }
        Ok(reply) if !reply.authoritative => Said::NotAuthoritative,
        Ok(reply) => Said::Holds(held(name, reply)),
    }
}

fn held(name: &Name, reply: Reply) -> RrSet {
    let own = reply.answer.into_iter().filter(|record| record.owner == *name);
    let mut set = RrSet { ttl: u32::MAX, values: BTreeSet::new() };
    for record in own {
        set.ttl = set.ttl.min(record.ttl);
        set.values.insert(record.rdata);
    }
    if set.values.is_empty() { RrSet::default() } else { set }
}

impl Truth {
    /// Every server that does not hold what `wanted` accepts, with what it said. Empty means: all of them do.
    pub fn missing(&self, wanted: impl Fn(&RrSet) -> bool) -> Vec<String> {
        self.0
            .iter()
            .filter(|answer| match &answer.said {
                Said::Holds(set) => !wanted(set),
                Said::NoRoute => !self.reached(&answer.server.name),
                _ => true,
            })
            .map(ToString::to_string)
            .collect()
    }

    /// Some address of that server could be asked.
    fn reached(&self, server: &str) -> bool {
        self.0.iter().any(|answer| answer.server.name == server && answer.said != Said::NoRoute)
    }

    /// One line a server, for the record.
    pub fn lines(&self) -> Vec<String> {
        self.0.iter().map(ToString::to_string).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dns::testing::{Canned, TestServer};

    const ZONE: &str = "contoso.example";

    /// ns1 on 127.0.0.4, ns2 on 127.0.0.5 at the same port; ns2 behaves as told.
    async fn zone(ns2: fn() -> Option<Canned>) -> (Vec<TestServer>, Network) {
        let zone_data = |question: &crate::dns::testing::Asked| {
            let mut canned = Canned::authoritative();
            let a = |last| (60, Rdata::A([127, 0, 0, last].into()));
            match (question.name.to_string().as_str(), question.rtype) {
                (ZONE, Rtype::NS) => {
                    for server in ["ns1.contoso.example", "ns2.contoso.example"] {
                        canned.answer.push((60, Rdata::Ns(name(server).expect("a name"))));
                    }
                }
                ("ns1.contoso.example", Rtype::A) => canned.answer.push(a(4)),
                ("ns2.contoso.example", Rtype::A) => canned.answer.push(a(5)),
                ("crm.contoso.example", Rtype::A) => canned.answer.push(a(3)),
                _ => {}
            }
            Some(canned)
        };
        loop {
            let first = TestServer::start("127.0.0.4", zone_data).await;
            let port = first.address.port();
            if let Ok(second) = TestServer::start_at("127.0.0.5", port, move |_| ns2()).await {
                let network = Network::new(Some(first.address), [(53, port)].into());
                return (vec![first, second], network);
            }
        }
    }

    async fn missing(ns2: fn() -> Option<Canned>) -> Vec<String> {
        let (_servers, network) = zone(ns2).await;
        let authorities = Authorities::find(&network, ZONE).await.expect("two servers");
        assert_eq!(authorities.servers.len(), 2);
        let crm = name("crm.contoso.example").expect("a name");
        let truth = authorities.ask(&crm, RecordType::A).await;
        truth.missing(|set| set.values.contains(&Rdata::A([127, 0, 0, 3].into())))
    }

    fn holding(last: u8) -> Canned {
        let mut canned = Canned::authoritative();
        canned.answer.push((60, Rdata::A([127, 0, 0, last].into())));
        canned
    }

    #[tokio::test]
    async fn all_servers_agree() {
        assert_eq!(missing(|| Some(holding(3))).await, Vec::<String>::new());
    }

    #[tokio::test]
    async fn a_stale_server_is_named_with_what_it_serves() {
        assert_eq!(
            missing(|| Some(holding(2))).await,
            ["ns2.contoso.example (127.0.0.5): 127.0.0.2 (TTL 60 s)"]
        );
    }

    #[tokio::test]
    async fn a_server_without_authority_is_named() {
        assert_eq!(
            missing(|| Some(Canned { aa: false, ..holding(3) })).await,
            ["ns2.contoso.example (127.0.0.5): is not authoritative for the zone"]
        );
    }

    #[tokio::test]
    async fn a_refusing_server_is_named() {
        assert_eq!(
            missing(|| Some(Canned { rcode: Rcode::REFUSED, ..holding(3) })).await,
            ["ns2.contoso.example (127.0.0.5): said REFUSED"]
        );
    }
}
