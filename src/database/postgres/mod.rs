//! PostgreSQL: sessions whose settings do not depend on the server's, positions in its log, and what is built on both.
//!
//! A [`Reader`] can not write: the server refuses it. A [`Writer`] takes a permit for every statement. Neither takes a default of
//! the server, the database or the role for what a comparison or a pause depends on.

pub mod judge;
mod lsn;
pub mod marker;
mod pair;
pub mod preflight;
pub mod reverse;
mod schema;
pub mod sequences;
mod server;
pub mod wall;

pub use lsn::{Lsn, NotALsn};
pub use pair::{How, Named, Pair, position};
pub use schema::schema;
pub use server::{Reader, Server, Writer, literal, quoted};
