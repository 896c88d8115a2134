//! `migrate` executes cloud-migration runbooks.

pub mod azure;
pub mod cli;
pub mod clock;
pub mod database;
pub mod diagnostic;
pub mod dns;
pub mod engine;
pub mod files;
pub mod freeze;
pub mod http;
pub mod journal;
pub mod plan;
pub mod process;
pub mod report;
pub mod run;
pub mod runbook;
pub mod sandbox;
pub mod steps;
