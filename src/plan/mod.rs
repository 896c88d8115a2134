//! Runbook -> Plan: expand, order, check, fingerprint. Pure.

mod catalogue;
pub mod expression;
mod model;
mod span;

pub use catalogue::{Catalogue, KindSpec, Role};
pub use model::{
    AzureSettings, Class, OnFailure, Plan, PlannedStep, Retry, SecretRef, Window, Workload,
};
pub use span::{NotASpan, Span};
