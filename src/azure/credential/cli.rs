//! Starts the Azure CLI without what is none of its business: it gets the environment, where its account is found, but for
//! the variables that hold secrets of the runbook or of this program.

use std::ffi::OsStr;
use std::io;
use std::process::{Output, Stdio};

use async_trait::async_trait;
use azure_identity::Executor;
use tokio::process::Command;

/// See the module.
#[derive(Debug)]
pub(super) struct Scrubbed {
    /// Variables that the child does not get.
    pub(super) without: Vec<String>,
}

#[async_trait]
impl Executor for Scrubbed {
    async fn run(&self, program: &OsStr, arguments: &[&OsStr]) -> io::Result<Output> {
        let mut command = Command::new(program);
        for variable in &self.without {
            command.env_remove(variable);
        }
        command.args(arguments).stdin(Stdio::null()).kill_on_drop(true).output().await
    }
}
