//! MariaDB and MySQL: sessions whose settings do not depend on the server's, positions in a replication, and what is built on
//! both.
//!
//! A [`Reader`] can not write: the server refuses it. A [`Writer`] takes a permit for every statement.

pub mod accounts;
mod gtid;
pub mod judge;
pub mod marker;
mod pair;
mod preflight;
mod server;
mod sessions;
mod status;
pub mod wall;

pub use super::Named;
pub use gtid::{Gtids, Log};
pub use pair::Pair;
pub use server::{Product, Reader, Server, Writer, literal, quoted};
