//! Results that are neither changes nor worth a ledger: what a what-if found, until the process ends.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};

use serde_json::Value;

/// By opaque id.
#[derive(Debug, Default)]
pub(crate) struct Asides(Mutex<BTreeMap<String, Value>>);

impl Asides {
    pub(crate) fn keep(&self, id: &str, result: Value) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).insert(id.to_owned(), result);
    }

    pub(crate) fn get(&self, id: &str) -> Option<Value> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).get(id).cloned()
    }
}
