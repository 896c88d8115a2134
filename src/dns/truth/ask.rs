//! One server, one question, every transport.

use std::collections::BTreeSet;
use std::net::SocketAddr;

use domain::base::iana::Rcode;
use domain::base::{Rtype, Serial};

use super::{Said, Transport};
use crate::dns::query::{Mode, QueryError, Reply, Waits, ask_within};
use crate::dns::record::{Name, RecordType, RrSet};

/// What an authoritative server says, over UDP and over TCP at once.
pub(super) async fn authority(
    address: SocketAddr,
    name: &Name,
    kind: RecordType,
    waits: Waits,
) -> Said {
    let ask = |mode| ask_within(address, name, kind.rtype(), mode, waits);
    let (udp, tcp) = tokio::join!(ask(Mode::Authoritative), ask(Mode::AuthoritativeTcp));
    match (said(name, udp, true), said(name, tcp, true)) {
        (Said::Holds(udp), Said::Holds(tcp)) if udp == tcp => Said::Holds(udp),
        (Said::Holds(udp), Said::Holds(tcp)) => Said::TwoMinds(udp, tcp),
        (Said::Holds(set), Said::Silent(_)) => Said::HoldsBut(set, Transport::Tcp),
        (Said::Silent(_), Said::Holds(set)) => Said::HoldsBut(set, Transport::Udp),
        // Whatever is wrong over one transport is wrong.
        (Said::Holds(_), wrong) | (wrong, _) => wrong,
    }
}

/// What a resolver says.
pub(super) async fn resolver(
    address: SocketAddr,
    name: &Name,
    kind: RecordType,
    waits: Waits,
) -> Said {
    let reply = ask_within(address, name, kind.rtype(), Mode::Recursive, waits).await;
    said(name, reply, false)
}

/// Serial of a server's version of a zone.
pub(super) async fn serial(address: SocketAddr, zone: &Name, waits: Waits) -> Option<u32> {
    for mode in [Mode::Authoritative, Mode::AuthoritativeTcp] {
        if let Ok(reply) = ask_within(address, zone, Rtype::SOA, mode, waits).await {
            return reply.serial.filter(|_| reply.authoritative);
        }
    }
    None
}

/// Serials go round (RFC 1982).
pub(super) fn is_at_least(serial: u32, least: u32) -> bool {
    Serial(serial) >= Serial(least)
}

fn said(name: &Name, reply: Result<Reply, QueryError>, authority: bool) -> Said {
    match reply {
        Err(QueryError::NoRoute(_)) => Said::NoRoute,
        Err(error) => Said::Silent(error.to_string()),
        Ok(reply) if !matches!(reply.rcode, Rcode::NOERROR | Rcode::NXDOMAIN) => {
            Said::Refused(reply.rcode)
        }
        Ok(reply) if authority && !reply.authoritative => Said::NotAuthoritative,
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
    if set.values.is_empty() {
        // How long the news may be remembered that there is nothing.
        set.ttl = reply.negative_ttl.unwrap_or_default();
    }
    set
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn serials_go_round() {
        assert!(is_at_least(7, 7) && is_at_least(8, 7) && !is_at_least(6, 7));
        assert!(is_at_least(2, u32::MAX - 2) && !is_at_least(u32::MAX - 2, 2));
    }
}
