//! Systems whose settings are checked while the plan is made, and how a server is written.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// A primary name server that takes signed updates (RFC 2136): `{rfc2136: 10.0.0.53, key_name: …, secret: …}`.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "NameServerSystem")]
pub struct NameServer {
    /// The primary: `10.0.0.53`, `10.0.0.53:5353`, `ns1.contoso.example`.
    pub rfc2136: ServerAddress,
    /// Name of the TSIG key, as both sides know it.
    pub key_name: String,
    /// Its algorithm.
    #[serde(default)]
    pub algorithm: TsigAlgorithm,
    /// The secret under `secrets` that holds the key in base64, as `tsig-keygen` writes it.
    pub secret: String,
    /// The servers of its zones as they are reached from here; those that the zone's NS records name when not given.
    #[serde(default)]
    pub servers: Vec<ServerAddress>,
}

/// Algorithm of a TSIG key.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
#[expect(missing_docs, reason = "the names are those of RFC 8945")]
pub enum TsigAlgorithm {
    HmacSha1,
    #[default]
    HmacSha256,
    HmacSha384,
    HmacSha512,
}

impl TsigAlgorithm {
    /// As it is written.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::HmacSha1 => "hmac-sha1",
            Self::HmacSha256 => "hmac-sha256",
            Self::HmacSha384 => "hmac-sha384",
            Self::HmacSha512 => "hmac-sha512",
        }
    }
}

/// A name server as an author writes it: an address or a name, with or without a port.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(try_from = "String", into = "String")]
#[schemars(with = "String")]
pub struct ServerAddress {
    /// Address or name, without brackets.
    pub host: String,
    /// 53 when not written.
    pub port: u16,
}

impl TryFrom<String> for ServerAddress {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        let wrong = || format!("`{text}` is not a server: write `10.0.0.53` or `10.0.0.53:5353`");
        let bracketed = text.strip_prefix('[').and_then(|rest| rest.split_once(']'));
        let (host, port) = match (bracketed, text.matches(':').count()) {
            (Some((host, rest)), _) => {
                (host, rest.strip_prefix(':').or(rest.is_empty().then_some("53")))
            }
            (None, 1) => {
                text.split_once(':').map(|(host, port)| (host, Some(port))).ok_or_else(wrong)?
            }
            // Without a colon a name or an IPv4 address, with several an IPv6 address.
            (None, _) => (text.as_str(), Some("53")),
        };
        let port = port.and_then(|port| port.parse().ok()).filter(|port| *port != 0);
        let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_' | ':' | '%');
        match port {
            Some(port) if !host.is_empty() && host.chars().all(plain) => {
                Ok(Self { host: host.to_owned(), port })
            }
            _ => Err(wrong()),
        }
    }
}

impl From<ServerAddress> for String {
    fn from(server: ServerAddress) -> Self {
        server.to_string()
    }
}

impl std::fmt::Display for ServerAddress {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match (self.port, self.host.contains(':')) {
            (53, _) => f.write_str(&self.host),
            (port, true) => write!(f, "[{}]:{port}", self.host),
            (port, false) => write!(f, "{}:{port}", self.host),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_server_reads_as_it_is_written() {
        for (text, host, port) in [
            ("10.0.0.53", "10.0.0.53", 53),
            ("10.0.0.53:5353", "10.0.0.53", 5353),
            ("ns1.contoso.example", "ns1.contoso.example", 53),
            ("2001:db8::1", "2001:db8::1", 53),
            ("[2001:db8::1]:5353", "2001:db8::1", 5353),
        ] {
            let server = ServerAddress::try_from(text.to_owned()).expect(text);
            assert_eq!((server.host.as_str(), server.port), (host, port));
            assert_eq!(server.to_string(), text);
        }
        for wrong in ["", ":53", "ns1:", "ns1:0", "ns1:x", "[::1]x", "a b", "http://ns1"] {
            assert!(ServerAddress::try_from(wrong.to_owned()).is_err(), "{wrong}");
        }
    }
}
