//! `migrate sandbox`: the sandbox on its own, for others to talk to, until Ctrl-C.

use std::path::PathBuf;

use serde_json::json;

use super::refusal::Refusal;
use super::{Exit, Global, narrate, net};
use crate::clock::Clock;
use crate::report::{JsonLines, Output};
use crate::sandbox::Sandbox;

/// Arguments of `migrate sandbox`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Where its world is kept; a folder that holds one goes on with it.
    #[arg(long, value_name = "DIR", default_value = ".migrate/sandbox")]
    pub dir: PathBuf,
    /// What the world is at first and what happens in it; without it, the default world.
    #[arg(long, value_name = "FILE")]
    pub scenario: Option<PathBuf>,
}

impl Args {
    /// Serves until it is interrupted.
    pub fn run(self, global: &Global) -> anyhow::Result<Exit> {
        Refusal::settled(self.serve(global))
    }

    async fn serve(self, global: &Global) -> Result<Exit, Refusal> {
        let scenario = Sandbox::scenario(&self.dir, self.scenario.as_deref())?;
        let sandbox = Sandbox::start(&self.dir, scenario, Clock::system()).await?;
        show(global, &sandbox);
        narrate(&for_azure_cli(&sandbox));
        narrate("\nlistening on loopback only; Ctrl-C ends it\n");
        if tokio::signal::ctrl_c().await.is_err() {
            narrate("Ctrl-C can not be caught here; end the process instead\n");
            std::future::pending::<()>().await;
        }
        sandbox.stop().await;
        Ok(Exit::Done)
    }
}

/// What a stock Azure CLI needs, ready to be pasted into another shell, and a few things to look at. Its configuration stays
/// apart from the person's own.
fn for_azure_cli(sandbox: &Sandbox) -> String {
    let azure = &sandbox.azure;
    let ca = std::path::absolute(&azure.ca_file).unwrap_or_else(|_| azure.ca_file.clone());
    format!(
        "\nfor a stock Azure CLI, in another shell:\n\n\
         export AZURE_CONFIG_DIR=\"$(mktemp -d)\" REQUESTS_CA_BUNDLE='{}'\n\
         export IDENTITY_ENDPOINT='{}' IDENTITY_HEADER=sandbox\n\
         az cloud register -n sandbox --endpoint-resource-manager {}\n\
         az cloud set -n sandbox\n\
         az login --identity\n\
         {LOOKS}",
        ca.display(),
        azure.identity,
        azure.arm,
    )
}

/// What there is to see in the default world.
const LOOKS: &str = "\
az group list -o table
az network dns record-set list -g rg-dns -z contoso.example -o table
az lock list -o table
az deployment group list -g rg-crm -o table
az monitor activity-log list --offset 1h --query '[].[eventTimestamp, operationName.value, status.value]' -o tsv
";

fn show(global: &Global, sandbox: &Sandbox) {
    let azure = &sandbox.azure;
    let resolver = sandbox.network.resolver().map(|at| at.to_string()).unwrap_or_default();
    let facts = [
        ("arm", azure.arm.clone()),
        ("ca", azure.ca_file.display().to_string()),
        ("authority", azure.authority.clone()),
        ("identity", azure.identity.clone()),
        ("tenant", azure.tenant.to_owned()),
        ("client", azure.client.to_owned()),
        ("secret", format!("{} (any is right)", azure.secret)),
        ("subscription", azure.subscription.to_owned()),
        ("dns", resolver),
        ("source site", format!("http://127.0.0.2:{}", sandbox.ports.http)),
        ("target site", format!("http://127.0.0.3:{}", sandbox.ports.http)),
        ("files", sandbox.base.display().to_string()),
        ("ledger", sandbox.ledger.display().to_string()),
    ];
    let output = Output::stdout(net());
    if global.json {
        let map: serde_json::Map<_, _> =
            facts.into_iter().map(|(name, value)| (name.replace(' ', "_"), json!(value))).collect();
        JsonLines::new(output, "sandbox").value(&map);
    } else {
        let mut output = output;
        for (name, value) in facts {
            output.text(&format!("{name:<13} {value}\n"));
        }
    }
}
