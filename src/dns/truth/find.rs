//! Who is to be asked about a zone.

use std::collections::BTreeSet;
use std::net::{IpAddr, SocketAddr};

use domain::base::Rtype;

use super::{Panel, Serial, Server};
use crate::clock::Clock;
use crate::dns::network::{LookupError, Network};
use crate::dns::query::Reply;
use crate::dns::record::{Name, Rdata, name};
use crate::dns::update::{Primary, UpdateError};
use crate::plan::ServerAddress;

impl Panel {
    /// The servers that the zone's NS records name, at all their addresses.
    pub async fn of_zone(network: &Network, zone: &str) -> Result<Self, LookupError> {
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
        Ok(Self { servers, ..Self::default() })
    }

    /// The same by the NS records at the zone's primary, which need not be one of them; it also knows the addresses of
    /// those whose names lie in the zone.
    pub async fn of_primary(
        network: &Network,
        clock: &Clock,
        primary: &Primary,
    ) -> Result<Self, UpdateError> {
        let zone = &primary.zone;
        let names = name_servers(zone, &primary.ask(clock, zone, Rtype::NS).await?);
        if names.is_empty() {
            return Err(UpdateError::NotAuthoritative(primary.address, zone.to_string()));
        }
        let mut servers = Vec::new();
        for name in names {
            let mut found = Vec::new();
            if name.ends_with(zone) {
                for rtype in [Rtype::A, Rtype::AAAA] {
                    let reply = primary.ask(clock, &name, rtype).await?;
                    found.extend(reply.answer.iter().filter_map(|it| it.rdata.address()));
                }
            } else {
                found = network.lookup(&name.to_string()).await.unwrap_or_default();
            }
            servers.extend(at(network, &name, found));
        }
        Ok(Self { servers, ..Self::default() })
    }

    /// Those that an author names.
    pub async fn named(network: &Network, named: &[ServerAddress]) -> Result<Self, LookupError> {
        Ok(Self { servers: servers(network, named, false).await?, ..Self::default() })
    }

    /// With these resolvers.
    pub async fn with_resolvers(
        mut self,
        network: &Network,
        named: &[ServerAddress],
    ) -> Result<Self, LookupError> {
        self.servers.extend(servers(network, named, true).await?);
        Ok(self)
    }

    /// Counting only what is served in the version of the zone that its primary has now, or a newer one.
    pub async fn as_new_as(
        mut self,
        clock: &Clock,
        primary: &Primary,
    ) -> Result<Self, UpdateError> {
        let least = primary.serial(clock).await?;
        self.serial = least.map(|least| Serial { zone: primary.zone.clone(), least });
        Ok(self)
    }
}

async fn servers(
    network: &Network,
    named: &[ServerAddress],
    recursive: bool,
) -> Result<Vec<Server>, LookupError> {
    let mut servers = Vec::new();
    for server in named {
        for address in network.name_server(server).await? {
            let name = server.host.clone();
            servers.push(Server { name, address: Some(address), recursive });
        }
    }
    Ok(servers)
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
        return vec![Server { name, address: None, recursive: false }];
    }
    let address = |ip| Server {
        name: name.clone(),
        address: Some(SocketAddr::new(ip, port)),
        recursive: false,
    };
    found.into_iter().map(address).collect()
}
