//! PostgreSQL for real: throw-away servers on loopback. Each test names what it skips where the server is not installed.

pub(crate) mod client;
pub(crate) mod cluster;
pub(crate) mod cutover;
mod frozen;
mod lag;
pub(crate) mod replicas;
mod reverse;
mod sessions;
mod wall;
