//! The last net: no known secret passes a sink, in any usual encoding.

use std::collections::BTreeMap;

use secrecy::SecretString;

use crate::plan::SecretRef;

/// Secrets of a run: resolved on first use, known to the redactor from then on.
#[derive(Debug, Default)]
pub struct Secrets {
    references: BTreeMap<String, SecretRef>,
}

impl Secrets {
    /// Secrets behind the runbook's references.
    pub fn new(references: BTreeMap<String, SecretRef>) -> Self {
        Self { references }
    }

    /// The secret of that name. The error names the reference, never a value.
    #[expect(clippy::unused_async, reason = "commands and vaults are asked asynchronously")]
    pub async fn get(&self, name: &str) -> Result<SecretString, String> {
        match self.references.get(name) {
            Some(_) => Err(format!("secret `{name}` can not be resolved yet")),
            None => Err(format!("secret `{name}` is not declared under `secrets`")),
        }
    }
}
