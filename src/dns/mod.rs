//! DNS and the network as a run sees it: who a name is, where a URL leads, and what each authoritative server says.
//!
//! - [`Network`] is the one place that turns names into addresses, for HTTP, TCP and DNS alike. A sandbox run points it at
//!   the sandbox's DNS server; everything above stays the same.
//! - [`query`] asks exactly one server exactly one question.
//! - [`truth`] asks every authoritative server of a zone, over both transports, and the resolvers an author
//!   names, because a record is changed only when all of them say so.
//! - [`keeper`] reads and changes record sets where a zone is kept: at Azure DNS ([`azure`]) or at a primary name server
//!   ([`update`]). It alone changes anything, and it takes a permit.

pub mod azure;
pub mod endpoint;
pub mod http;
pub mod keeper;
pub mod network;
pub mod query;
pub mod record;
pub mod set;
mod settle;
#[cfg(test)]
pub(crate) mod testing;
mod tls;
pub mod truth;
pub mod update;

pub use azure::AzureZone;
pub use endpoint::{Endpoint, Health, HostPort, Reading};
pub use http::HttpClient;
pub use keeper::{Hands, Keeper, KeeperError, Turn};
pub use network::{LookupError, Network};
pub use query::{Mode, QueryError, Reply, Waits, ask};
pub use record::{Name, Rdata, RecordType, RrSet};
pub use set::{Content, Set};
pub use settle::{Patience, Settled};
pub use truth::{Panel, Said, Serial, Server, ServerAnswer, Transport, Truth};
