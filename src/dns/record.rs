//! Record data in a form that compares exactly: the same value from ARM's JSON, from a runbook and from the wire is equal.
//!
//! Names compare without regard to case, TXT by its bytes after its chunks are joined. Types that this program never
//! changes are not represented.

use std::collections::BTreeSet;
use std::fmt;
use std::net::{Ipv4Addr, Ipv6Addr};

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
}

impl RecordType {
    /// As written in runbooks, URLs and answers.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::A => "A",
            Self::Aaaa => "AAAA",
            Self::Cname => "CNAME",
            Self::Txt => "TXT",
            Self::Mx => "MX",
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
    /// A name server.
    Ns(Name),
    /// The serial of a zone's start of authority.
    SoaSerial(u32),
}

impl fmt::Display for Rdata {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::A(address) => write!(f, "{address}"),
            Self::Aaaa(address) => write!(f, "{address}"),
            Self::Cname(name) | Self::Ns(name) => write!(f, "{name}"),
            Self::Txt(bytes) => write!(f, "{:?}", String::from_utf8_lossy(bytes)),
            Self::Mx(preference, name) => write!(f, "{preference} {name}"),
            Self::SoaSerial(serial) => write!(f, "serial {serial}"),
        }
    }
}

/// What a server holds for one name and type. An empty set means that there is none.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct RrSet {
    /// Seconds; of the record with the smallest, where a broken server sends different ones.
    pub ttl: u32,
    /// Values; order does not count.
    pub values: BTreeSet<Rdata>,
}

impl fmt::Display for RrSet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.values.is_empty() {
            return f.write_str("no record");
        }
        for (at, value) in self.values.iter().enumerate() {
            write!(f, "{}{value}", if at == 0 { "" } else { ", " })?;
        }
        write!(f, " (TTL {} s)", self.ttl)
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
        ] {
            assert_eq!(kind.parse(text).expect("valid").to_string(), text);
        }
        let cname = RecordType::Cname;
        assert_eq!(cname.parse("CRM.Contoso.example."), cname.parse("crm.contoso.example"));
        assert!(RecordType::A.parse("crm.contoso.example").is_err());
    }
}
