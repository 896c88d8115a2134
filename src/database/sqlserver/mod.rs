//! SQL Server: sessions whose settings do not depend on the server's, and how far one server trails another.
//!
//! Written from Microsoft's documentation and tried against a server of the tests only: no SQL Server was at hand. Nothing is
//! written but the tracer tokens of a replication, by a procedure of the server; the engine knows no session that can not write,
//! so every question is asked within a transaction that is rolled back.

mod error;
mod geo;
mod group;
mod lsn;
mod pair;
mod publication;
mod reader;
mod row;
mod server;
mod shipping;
mod tracer;

pub use geo::{Committed, Geo};
pub use group::{Group, Reached};
pub use lsn::{Lsn, NotALsn};
pub use pair::{Mechanism, Pair, Side, Sight};
pub use publication::Publication;
pub use reader::Reader;
pub use server::{Server, literal, quoted};
pub use shipping::Shipping;
pub use tracer::Arrival;
