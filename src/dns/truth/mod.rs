//! What every authoritative server of a zone says about a name, over UDP and TCP, and the resolvers an author names.
//!
//! A record is changed when all of them say so. A server that is stale, lame, silent, of two minds or does not speak for
//! the zone is named, and never counts as done. Only what this machine can not reach may be passed over: an address
//! without a route (IPv6 without IPv6) where the same server was asked at another address, and a transport that is closed
//! towards every server alike.
//!
//! A server that tells others something else than us can not be told from an honest one.

mod ask;
mod find;
#[cfg(test)]
mod liars;
mod share;
#[cfg(test)]
mod tests;

use std::collections::BTreeSet;
use std::fmt;
use std::net::SocketAddr;

use domain::base::iana::Rcode;
use futures::future::join_all;

use super::query::Waits;
use super::record::{Name, RecordType, RrSet};

/// One name server at one address.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Server {
    /// As the zone's NS record or the runbook names it.
    pub name: String,
    /// None when the name has no address.
    pub address: Option<SocketAddr>,
    /// A resolver: it answers from a cache, and speaks for nobody.
    pub recursive: bool,
}

impl fmt::Display for Server {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let resolver = if self.recursive { "resolver " } else { "" };
        match self.address {
            // Named by its address.
            Some(address) if self.name.parse() == Ok(address.ip()) => {
                write!(f, "{resolver}{address}")
            }
            Some(address) => write!(f, "{resolver}{} ({})", self.name, address.ip()),
            None => write!(f, "{resolver}{}", self.name),
        }
    }
}

/// Everybody who is asked about a zone.
#[derive(Debug, Clone, Default)]
pub struct Panel {
    /// Authoritative servers and resolvers.
    pub servers: Vec<Server>,
    /// The zone's serial at its primary: a server with an older one may be right by chance, and wrong a moment later.
    pub serial: Option<Serial>,
    /// How long each may take.
    pub waits: Waits,
}

/// Which version of a zone, by what only goes up.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Serial {
    /// The zone.
    pub zone: Name,
    /// At least this one.
    pub least: u32,
}

/// How a question reached a server.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Transport {
    /// Datagrams.
    Udp,
    /// A connection.
    Tcp,
}

impl fmt::Display for Transport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Udp => "UDP",
            Self::Tcp => "TCP",
        })
    }
}

/// What one server said.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Said {
    /// It speaks for the zone, or is a resolver, and holds this.
    Holds(RrSet),
    /// The same, but it was silent over this transport.
    HoldsBut(RrSet, Transport),
    /// One thing over UDP, another over TCP.
    TwoMinds(RrSet, RrSet),
    /// It holds this in a version of the zone that is older than the primary's.
    Behind(RrSet, Option<u32>),
    /// It answered, but not as an authority.
    NotAuthoritative,
    /// It refused or failed: `REFUSED`, `SERVFAIL`.
    Refused(Rcode),
    /// No answer, and why.
    Silent(String),
    /// Nothing can be sent to this address from here.
    NoRoute,
    /// The server's name has no address.
    NoAddress,
}

impl Said {
    /// What it holds, where it says so beyond doubt about itself.
    pub fn held(&self) -> Option<&RrSet> {
        match self {
            Self::Holds(set) | Self::HoldsBut(set, _) | Self::Behind(set, _) => Some(set),
            _ => None,
        }
    }
}

impl fmt::Display for Said {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Holds(set) => write!(f, "{set}"),
            Self::HoldsBut(set, transport) => write!(f, "{set}, but no answer over {transport}"),
            Self::TwoMinds(udp, tcp) => write!(f, "{udp} over UDP, and {tcp} over TCP"),
            Self::Behind(set, Some(serial)) => write!(f, "{set}, in version {serial} of the zone"),
            Self::Behind(set, None) => write!(f, "{set}, in an unknown version of the zone"),
            Self::NotAuthoritative => f.write_str("is not authoritative for the zone"),
            Self::Refused(rcode) => write!(f, "said {rcode}"),
            Self::Silent(why) => write!(f, "gave no answer: {why}"),
            Self::NoRoute => f.write_str("can not be reached from this machine"),
            Self::NoAddress => f.write_str("has no address: its name does not resolve"),
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

/// The answers of all servers to one question, in the order of [`Panel::servers`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Truth(pub Vec<ServerAnswer>);

impl Panel {
    /// Asks all of them at once for one name and type. An alias at the name is part of the answer.
    pub async fn ask(&self, name: &Name, kind: RecordType) -> Truth {
        let asked = self.servers.iter().map(|server| async move {
            let said = match server.address {
                Some(address) if server.recursive => {
                    ask::resolver(address, name, kind, self.waits).await
                }
                Some(address) => {
                    let said = ask::authority(address, name, kind, self.waits).await;
                    self.in_version(address, said).await
                }
                None => Said::NoAddress,
            };
            ServerAnswer { server: server.clone(), said }
        });
        Truth(join_all(asked).await)
    }

    /// What a server holds counts only in a version of the zone that is new enough.
    async fn in_version(&self, address: SocketAddr, said: Said) -> Said {
        let Some(Serial { zone, least }) = &self.serial else { return said };
        let Some(held) = said.held() else { return said };
        match ask::serial(address, zone, self.waits).await {
            Some(serial) if ask::is_at_least(serial, *least) => said,
            serial => Said::Behind(held.clone(), serial),
        }
    }
}

impl Truth {
    /// Every server that does not hold what `wanted` accepts, with what it said. Empty means: all of them do.
    pub fn missing(&self, wanted: impl Fn(&Server, &RrSet) -> bool) -> Vec<&ServerAnswer> {
        let closed = self.closed();
        self.0
            .iter()
            .filter(|ServerAnswer { server, said }| match said {
                Said::Holds(set) => !wanted(server, set),
                Said::HoldsBut(set, transport) => {
                    closed != Some(*transport) || !wanted(server, set)
                }
                Said::NoRoute => !self.reached(&server.name),
                _ => true,
            })
            .collect()
    }

    /// The transport over which no authoritative server at all can be asked from here.
    pub fn closed(&self) -> Option<Transport> {
        let authorities = || self.0.iter().filter(|answer| !answer.server.recursive);
        let mut silent = authorities().map(|answer| match answer.said {
            Said::HoldsBut(_, transport) => Some(transport),
            _ => None,
        });
        let first = silent.next().flatten()?;
        // One server that is silent over one transport is that server's doing, at however many addresses.
        let names: BTreeSet<_> = authorities().map(|answer| &answer.server.name).collect();
        (names.len() > 1 && silent.all(|other| other == Some(first))).then_some(first)
    }

    /// Some address of that server could be asked.
    fn reached(&self, server: &str) -> bool {
        self.0.iter().any(|answer| answer.server.name == server && answer.said != Said::NoRoute)
    }
}
