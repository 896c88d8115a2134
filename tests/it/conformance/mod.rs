//! Client and sandbox against Azure's own `OpenAPI` files, which neither was generated from.
//!
//! `AZURE_REST_API_SPECS` names the files; without it each test says SKIPPED. [`client`] holds every request of the client
//! and every example answer against them, one test per operation; [`recorded`] does the same for what whole runs of the
//! program say to the sandbox and what it answers; [`answered`] asks the sandbox directly for the rest.

mod adapter;
mod answered;
mod behaviour;
mod caller;
mod client;
mod judge;
mod openapi;
mod played;
mod recorded;
mod rules;
mod schema;
mod table;
mod verdict;

use migrate::sandbox::exchanges::Exchange;

/// Holds the sandbox's answers to another client against the files, whatever that client asked and in which version.
pub(crate) fn answers_to_others(conversation: &[Exchange]) {
    let Some(files) = openapi::Files::given() else { return };
    let listed = judge::Listed::new(&files, answered::FURTHER);
    let mut findings = judge::Findings::default();
    listed.judge(conversation, &mut findings);
    println!("{} answers, of {} operations", findings.exchanges, findings.met.len());
    let wrong: Vec<_> = findings.sandbox.into_iter().collect();
    assert!(wrong.is_empty(), "{} mismatches\n{}", wrong.len(), wrong.join("\n"));
}
