//! Record data in a form that compares exactly: the same value from ARM's JSON, from a runbook and from the wire is equal.
//!
//! Names compare without regard to case, TXT by its bytes after its chunks are joined. Types that this program never
//! changes are not represented.

use std::collections::BTreeSet;
use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use domain::base::Rtype;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// An absolute domain name; compares without regard to case.
pub type Name = domain::base::Name<Vec<u8>>;

/// Record types whose record sets can be moved.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema,
)]
#[serde(rename_all = "UPPERCASE")]
pub enum RecordType {
    /// IPv4 addresses.
    A,
    /// IPv6 addresses.
    Aaaa,
    /// An alias.
    Cname,
    /// Text.
    Txt,
    /// Mail exchanges: `10 mail.example.org`.
    Mx,
    /// Where a service is: `0 5 5060 sip.example.org`.
    Srv,
}

impl RecordType {
    /// All of them.
    pub const ALL: [Self; 6] = [Self::A, Self::Aaaa, Self::Cname, Self::Txt, Self::Mx, Self::Srv];

    /// As written in runbooks, URLs and answers.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::A => "A",
            Self::Aaaa => "AAAA",
            Self::Cname => "CNAME",
            Self::Txt => "TXT",
            Self::Mx => "MX",
            Self::Srv => "SRV",
        }
    }

    /// The type on the wire.
    pub const fn rtype(self) -> Rtype {
        match self {
            Self::A => Rtype::A,
            Self::Aaaa => Rtype::AAAA,
            Self::Cname => Rtype::CNAME,
            Self::Txt => Rtype::TXT,
            Self::Mx => Rtype::MX,
            Self::Srv => Rtype::SRV,
        }
    }

    /// Reads one value as a person writes it. `Err` says what is expected instead.
    pub fn parse(self, text: &str) -> Result<Rdata, String> {
        let name = |text: &str| {
            name(text).map_err(|error| format!("`{text}` is not a domain name: {error}"))
        };
        match self {
            Self::A => text
                .parse()
                .map(Rdata::A)
                .map_err(|_| format!("`{text}` is not an IPv4 address like 192.0.2.7")),
            Self::Aaaa => text
                .parse()
                .map(Rdata::Aaaa)
                .map_err(|_| format!("`{text}` is not an IPv6 address like 2001:db8::7")),
            Self::Cname => name(text).map(Rdata::Cname),
            Self::Txt => Ok(Rdata::Txt(text.as_bytes().to_vec())),
            Self::Mx => {
                let (preference, exchange) = text
                    .split_once(' ')
                    .and_then(|(number, rest)| Some((number.parse().ok()?, rest.trim())))
                    .ok_or_else(|| format!("`{text}` is not `<preference> <host>`"))?;
                Ok(Rdata::Mx(preference, name(exchange)?))
            }
            Self::Srv => {
                let mut words = text.split_whitespace();
                let mut number = || words.next()?.parse().ok();
                let numbers = (number(), number(), number());
                match (numbers, words.next(), words.next()) {
                    ((Some(priority), Some(weight), Some(port)), Some(target), None) => {
                        Ok(Rdata::Srv(priority, weight, port, name(target)?))
                    }
                    _ => Err(format!("`{text}` is not `<priority> <weight> <port> <host>`")),
                }
            }
        }
    }
}

impl fmt::Display for RecordType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

/// Reads a name; a missing dot at the end is added.
pub fn name(text: &str) -> Result<Name, domain::base::name::FromStrError> {
    text.parse()
}

/// The value of one record.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Rdata {
    /// An IPv4 address.
    A(Ipv4Addr),
    /// An IPv6 address.
    Aaaa(Ipv6Addr),
    /// The name aliased to.
    Cname(Name),
    /// Bytes of all chunks, joined.
    Txt(Vec<u8>),
    /// Preference and exchange.
    Mx(u16, Name),
    /// Priority, weight, port and host.
    Srv(u16, u16, u16, Name),
    /// A name server.
    Ns(Name),
}

impl Rdata {
    /// Its type on the wire.
    pub const fn rtype(&self) -> Rtype {
        match self {
            Self::A(_) => Rtype::A,
            Self::Aaaa(_) => Rtype::AAAA,
            Self::Cname(_) => Rtype::CNAME,
            Self::Txt(_) => Rtype::TXT,
            Self::Mx(..) => Rtype::MX,
            Self::Srv(..) => Rtype::SRV,
            Self::Ns(_) => Rtype::NS,
        }
    }

    /// The address, of a record that is one.
    pub const fn address(&self) -> Option<IpAddr> {
        match self {
            Self::A(address) => Some(IpAddr::V4(*address)),
            Self::Aaaa(address) => Some(IpAddr::V6(*address)),
            _ => None,
        }
    }

    /// As a person writes it: [`RecordType::parse`] reads it again.
    pub fn written(&self) -> String {
        match self {
            Self::Txt(bytes) => String::from_utf8_lossy(bytes).into_owned(),
            other => other.to_string(),
        }
    }

    /// The value as it goes over the wire, names written out; a text in strings as long as they may be.
    pub fn wire(&self) -> Vec<u8> {
        match self {
            Self::A(address) => address.octets().to_vec(),
            Self::Aaaa(address) => address.octets().to_vec(),
            Self::Cname(name) | Self::Ns(name) => name.as_slice().to_vec(),
            Self::Txt(text) if text.is_empty() => vec![0],
            Self::Txt(text) => text
                .chunks(usize::from(u8::MAX))
                .flat_map(|part| {
                    let length = u8::try_from(part.len()).expect("a part is at most that long");
                    std::iter::once(length).chain(part.iter().copied())
                })
                .collect(),
            Self::Mx(preference, name) => [&preference.to_be_bytes(), name.as_slice()].concat(),
            Self::Srv(priority, weight, port, name) => {
                let numbers = [priority, weight, port].map(|number| number.to_be_bytes());
                [numbers.as_flattened(), name.as_slice()].concat()
            }
        }
    }
}

impl fmt::Display for Rdata {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::A(address) => write!(f, "{address}"),
            Self::Aaaa(address) => write!(f, "{address}"),
            Self::Cname(name) | Self::Ns(name) => write!(f, "{name}"),
            Self::Txt(bytes) => write!(f, "{:?}", String::from_utf8_lossy(bytes)),
            Self::Mx(preference, name) => write!(f, "{preference} {name}"),
            Self::Srv(priority, weight, port, name) => {
                write!(f, "{priority} {weight} {port} {name}")
            }
        }
    }
}

/// What a server holds for one name and type. An empty set means that there is none.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct RrSet {
    /// Seconds; of the record with the smallest, where a broken server sends different ones. For how long it may be
    /// remembered, where there is none.
    pub ttl: u32,
    /// Values; order does not count.
    pub values: BTreeSet<Rdata>,
}

impl RrSet {
    /// The values alone: `192.0.2.7, 192.0.2.8`.
    pub fn shown_values(&self) -> String {
        if self.values.is_empty() {
            return "no record".to_owned();
        }
        self.values.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")
    }
}

impl fmt::Display for RrSet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.shown_values())?;
        if self.values.is_empty() { Ok(()) } else { write!(f, " (TTL {} s)", self.ttl) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_read_as_written_and_compare_without_case() {
        for (kind, text) in [
            (RecordType::A, "192.0.2.7"),
            (RecordType::Aaaa, "2001:db8::7"),
            (RecordType::Cname, "crm-target.contoso.example"),
            (RecordType::Mx, "10 mail.contoso.example"),
            (RecordType::Srv, "0 5 5060 sip.contoso.example"),
        ] {
            assert_eq!(kind.parse(text).expect("valid").to_string(), text);
        }
        let cname = RecordType::Cname;
        assert_eq!(cname.parse("CRM.Contoso.example."), cname.parse("crm.contoso.example"));
        assert!(RecordType::A.parse("crm.contoso.example").is_err());
        assert!(RecordType::Srv.parse("5 5060 sip.contoso.example").is_err());
        assert!(RecordType::Srv.parse("0 5 5060 sip.contoso.example x").is_err());
    }
}
