//! PostgreSQL for real: throw-away servers on loopback. Each test names what it skips where the server is not installed.

pub(crate) mod cluster;
mod cutover;
mod frozen;
mod lag;
mod replicas;
mod sessions;
mod wall;
