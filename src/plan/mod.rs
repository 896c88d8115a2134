//! Runbook -> Plan: expand, order, check, fingerprint. Pure.

mod build;
mod catalogue;
mod endpoint;
pub mod expression;
mod language;
mod model;
mod order;
mod precedence;
mod reference;
pub mod rules;
mod scene;
mod schema;
mod settings;
mod span;
mod system;
mod template;

pub use build::{Prepared, prepare};
pub use catalogue::{Catalogue, KindSpec, Role};
pub use endpoint::{Endpoint, MysqlSystem, PostgresSystem, SqlserverSystem, Tls};
pub use model::{
    AzureSettings, Class, OnFailure, Plan, PlannedStep, Retry, SecretRef, Window, Workload,
};
pub use schema::schema;
pub use span::{NotASpan, Span};
pub use system::{NameServer, ServerAddress, TsigAlgorithm};

#[cfg(test)]
pub(crate) mod testing;
#[cfg(test)]
mod tests;
