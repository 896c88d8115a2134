//! From a query to an answer, as RFC 1034 has it for an authoritative server that follows nothing.
//!
//! NXDOMAIN means that no record set is at or below the name; a name without that type answers no error and the zone's
//! SOA. A name in no zone is refused, but for the services outside Azure that stand here. A CNAME is answered as it stands: following it is the resolver's work.

use std::str::FromStr;

use domain::base::iana::{Class, Opcode, Rcode};
use domain::base::message_builder::{AdditionalBuilder, AnswerBuilder};
use domain::base::{Message, MessageBuilder, Name, Rtype, Serial, StreamTarget, Ttl};
use domain::rdata::{A, Aaaa, Cname, Mx, Ns, Ptr, Soa, Srv, Txt};
use serde_json::Value;

use super::super::forge;
use super::super::store::World;

/// A plain datagram holds this much; EDNS may allow more.
const DATAGRAM_BYTES: usize = 512;
/// No datagram is larger, so that none is fragmented.
const DATAGRAM_BYTES_MAX: usize = 1232;

type Owner = Name<Vec<u8>>;
type Answer = AnswerBuilder<StreamTarget<Vec<u8>>>;

/// The answer to a datagram, truncated with TC where it does not fit; `None` for what is not a query.
pub(super) fn datagram(world: &World, query: &[u8]) -> Option<Vec<u8>> {
    let message = Message::from_octets(query).ok()?;
    let allowed = message.opt().map_or(DATAGRAM_BYTES, |opt| {
        usize::from(opt.udp_payload_size()).clamp(DATAGRAM_BYTES, DATAGRAM_BYTES_MAX)
    });
    let whole = stream(world, query)?;
    if whole.len() <= allowed {
        return Some(whole);
    }
    let mut cut = MessageBuilder::new_stream_vec().start_answer(&message, Rcode::NOERROR).ok()?;
    cut.header_mut().set_aa(true);
    cut.header_mut().set_tc(true);
    Some(cut.finish().as_dgram_slice().to_vec())
}

/// The answer over TCP, without its length.
pub(super) fn stream(world: &World, query: &[u8]) -> Option<Vec<u8>> {
    let message = Message::from_octets(query).ok()?;
    if message.header().qr() {
        return None;
    }
    let built = build(world, &message)?;
    Some(built.finish().as_dgram_slice().to_vec())
}

fn build(
    world: &World,
    query: &Message<&[u8]>,
) -> Option<AdditionalBuilder<StreamTarget<Vec<u8>>>> {
    let start = |rcode| MessageBuilder::new_stream_vec().start_answer(query, rcode).ok();
    if query.header().opcode() != Opcode::QUERY {
        return Some(start(Rcode::NOTIMP)?.additional());
    }
    let Ok(question) = query.sole_question() else {
        return Some(start(Rcode::FORMERR)?.additional());
    };
    let name = question.qname().to_string().trim_end_matches('.').to_ascii_lowercase();
    if forge::HOSTS.contains(&name.as_str()) {
        let mut answer = start(Rcode::NOERROR)?;
        if question.qtype() == Rtype::A {
            let owner = Owner::from_str(&question.qname().to_string()).ok()?;
            answer.push((owner, Ttl::from_secs(60), A::from_octets(127, 0, 0, 1))).ok()?;
        }
        return Some(answer.additional());
    }
    let Some(zone) = zone_of(world, &name).filter(|_| question.qclass() == Class::IN) else {
        return Some(start(Rcode::REFUSED)?.additional());
    };
    let sets = zone.sets_at(&name);
    let found = sets.iter().find(|set| set.kind == Rtype::CNAME || set.kind == question.qtype());
    let rcode =
        if sets.is_empty() && !zone.has_below(&name) { Rcode::NXDOMAIN } else { Rcode::NOERROR };
    let mut answer = start(rcode)?;
    answer.header_mut().set_aa(true);
    let mut additional = if let Some(set) = found {
        let owner = Owner::from_str(&question.qname().to_string()).ok()?;
        set.push(&mut answer, &owner)?;
        answer.additional()
    } else {
        let soa = zone.sets_at(&zone.name).into_iter().find(|set| set.kind == Rtype::SOA)?;
        let mut authority = answer.authority();
        let (data, negative_ttl) = soa.soa()?;
        authority.push((Owner::from_str(&zone.name).ok()?, negative_ttl, data)).ok()?;
        authority.additional()
    };
    if query.opt().is_some() {
        let sized = |opt: &mut domain::base::message_builder::OptBuilder<'_, _>| {
            opt.set_udp_payload_size(1232);
            Ok(())
        };
        additional.opt(sized).ok()?;
    }
    Some(additional)
}

/// A zone of the ARM side.
struct Zone<'a> {
    world: &'a World,
    id: &'a str,
    name: String,
}

/// The zone with the longest name that is the queried name or above it.
fn zone_of<'a>(world: &'a World, name: &str) -> Option<Zone<'a>> {
    let types = ["Microsoft.Network/dnszones", "Microsoft.Network/privateDnsZones"];
    let zones = world.docs.iter().filter(|(_, doc)| types.iter().any(|it| doc["type"] == **it));
    zones
        .filter_map(|(id, doc)| {
            let zone = doc["name"].as_str()?.to_ascii_lowercase();
            let inside = name == zone || name.ends_with(&format!(".{zone}"));
            inside.then(|| Zone { world, id, name: zone })
        })
        .max_by_key(|zone| zone.name.len())
}

impl<'a> Zone<'a> {
    fn sets(&self) -> impl Iterator<Item = (String, &'a Value)> {
        self.world.below(self.id).filter_map(|(_, doc)| {
            let fqdn = doc["properties"]["fqdn"].as_str()?;
            Some((fqdn.trim_end_matches('.').to_ascii_lowercase(), doc))
        })
    }

    fn sets_at(&self, name: &str) -> Vec<Set<'a>> {
        self.sets()
            .filter(|(fqdn, _)| fqdn == name)
            .filter_map(|(_, doc)| {
                let kind = doc["type"].as_str()?.rsplit('/').next()?;
                let kind = Rtype::from_str(kind).ok()?;
                Some(Set { kind, properties: &doc["properties"], world: self.world })
            })
            .collect()
    }

    fn has_below(&self, name: &str) -> bool {
        let suffix = format!(".{name}");
        self.sets().any(|(fqdn, _)| fqdn.ends_with(&suffix))
    }
}

/// A record set of the ARM side.
struct Set<'a> {
    kind: Rtype,
    properties: &'a Value,
    world: &'a World,
}

impl Set<'_> {
    fn ttl(&self) -> Ttl {
        Ttl::from_secs(number(&self.properties["TTL"]).unwrap_or(0))
    }

    /// Adds its records; `None` when the ARM side holds something that cannot be said in DNS.
    fn push(&self, answer: &mut Answer, owner: &Owner) -> Option<()> {
        let (mut properties, ttl) = (self.properties, self.ttl());
        if let Some(target) = properties["targetResource"]["id"].as_str() {
            // An alias answers what its resource has: a public address, or another record set.
            let target = self.world.get(target)?;
            if let Some(address) = target["properties"]["ipAddress"].as_str() {
                let address: std::net::Ipv4Addr = address.parse().ok()?;
                return answer.push((owner, ttl, A::from(address))).ok();
            }
            properties = &target["properties"];
        }
        let each = |field: &str| properties[field].as_array().into_iter().flatten();
        match self.kind {
            Rtype::A => each("ARecords").try_for_each(|record| {
                let address: std::net::Ipv4Addr = record["ipv4Address"].as_str()?.parse().ok()?;
                answer.push((owner, ttl, A::from(address))).ok()
            }),
            Rtype::AAAA => each("AAAARecords").try_for_each(|record| {
                let address: std::net::Ipv6Addr = record["ipv6Address"].as_str()?.parse().ok()?;
                answer.push((owner, ttl, Aaaa::new(address))).ok()
            }),
            Rtype::CNAME => {
                let target = name(&properties["CNAMERecord"]["cname"])?;
                answer.push((owner, ttl, Cname::new(target))).ok()
            }
            Rtype::NS => each("NSRecords").try_for_each(|record| {
                answer.push((owner, ttl, Ns::new(name(&record["nsdname"])?))).ok()
            }),
            Rtype::PTR => each("PTRRecords").try_for_each(|record| {
                answer.push((owner, ttl, Ptr::new(name(&record["ptrdname"])?))).ok()
            }),
            Rtype::MX => each("MXRecords").try_for_each(|record| {
                let exchange = name(&record["exchange"])?;
                answer.push((owner, ttl, Mx::new(number(&record["preference"])?, exchange))).ok()
            }),
            Rtype::SRV => each("SRVRecords").try_for_each(|record| {
                let (priority, weight) = (number(&record["priority"])?, number(&record["weight"])?);
                let data =
                    Srv::new(priority, weight, number(&record["port"])?, name(&record["target"])?);
                answer.push((owner, ttl, data)).ok()
            }),
            Rtype::TXT => each("TXTRecords").try_for_each(|record| {
                let text: String =
                    record["value"].as_array()?.iter().filter_map(Value::as_str).collect();
                let data: Txt<Vec<u8>> = Txt::build_from_slice(text.as_bytes()).ok()?;
                answer.push((owner, ttl, data)).ok()
            }),
            Rtype::SOA => answer.push((owner, ttl, self.soa()?.0)).ok(),
            _ => None,
        }
    }

    /// The SOA and the TTL of negative answers.
    fn soa(&self) -> Option<(Soa<Owner>, Ttl)> {
        let soa = &self.properties["SOARecord"];
        let seconds = |field: &str| Some(Ttl::from_secs(number(&soa[field])?));
        let minimum = seconds("minimumTTL")?;
        let data = Soa::new(
            name(&soa["host"])?,
            name(&soa["email"])?,
            Serial(number(&soa["serialNumber"])?),
            seconds("refreshTime")?,
            seconds("retryTime")?,
            seconds("expireTime")?,
            minimum,
        );
        Some((data, self.ttl().min(minimum)))
    }
}

fn name(value: &Value) -> Option<Owner> {
    Owner::from_str(value.as_str()?).ok()
}

fn number<T: TryFrom<u64>>(value: &Value) -> Option<T> {
    T::try_from(value.as_u64()?).ok()
}
