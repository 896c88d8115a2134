//! DNS and the network as a run sees it: who a name is, where a URL leads, and what each authoritative server says.
//!
//! - [`Network`] is the one place that turns names into addresses, for HTTP, TCP and DNS alike. A sandbox run points it at
//!   the sandbox's DNS server; everything above stays the same.
//! - [`query`] asks exactly one server exactly one question.
//! - [`truth`] asks every authoritative server of a zone, because a record is changed only when all of them say so.
//!
//! Nothing here changes anything anywhere.

pub mod azure;
pub mod endpoint;
pub mod http;
pub mod network;
pub mod query;
pub mod record;
mod settle;
#[cfg(test)]
pub(crate) mod testing;
mod tls;
pub mod truth;

pub use endpoint::{Endpoint, Health, HostPort, Reading};
pub use http::HttpClient;
pub use network::{LookupError, Network};
pub use query::{Mode, QueryError, Reply, ask};
pub use record::{Name, Rdata, RecordType, RrSet};
pub use settle::{Patience, Settled};
pub use truth::{Authorities, Said, Server, ServerAnswer, Truth};
