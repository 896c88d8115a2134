//! DNS: asking servers, and changing records.

/// Names and ports as a run sees them.
#[derive(Debug, Clone, Default)]
pub struct Network {
    /// Ask this DNS server instead of the system's resolver.
    pub resolver: Option<std::net::SocketAddr>,
    /// Connect here where a URL names no port, by scheme's default port.
    pub ports: std::collections::BTreeMap<u16, u16>,
}
