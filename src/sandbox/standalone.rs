//! A sandbox on its own, for other programs to talk to: `migrate sandbox`.

use std::path::Path;

use tokio_util::sync::CancellationToken;

use super::error::SandboxError;
use super::scenario::Scenario;
use super::{Sandbox, home};
use crate::clock::Clock;

/// Runs a sandbox in `dir`, in real time, until `stop`. `show` gets the lines that tell people how to reach it, when it
/// answers. A scenario that is not the one the folder was made with is refused.
pub async fn serve_until(
    dir: &Path,
    scenario: Option<&Path>,
    stop: CancellationToken,
    show: impl FnOnce(Vec<String>) + Send,
) -> Result<(), SandboxError> {
    let given = scenario.map(|path| Ok((path, Scenario::read(path)?))).transpose()?;
    if let (Some((path, given)), Some(settings)) = (&given, home::settings(dir)?)
        && *given != settings.scenario
    {
        return Err(SandboxError::Scenario {
            name: path.display().to_string(),
            why: format!(
                "the world in {} was made with another one; take a new folder",
                dir.display()
            ),
        });
    }
    let scenario = given.map(|(_, scenario)| scenario).unwrap_or_default();
    let sandbox = Sandbox::start(dir, scenario, Clock::system()).await?;
    show(lines(&sandbox, dir));
    stop.cancelled().await;
    sandbox.halt().await;
    Ok(())
}

/// How to reach it, by hand and with a stock Azure CLI.
fn lines(sandbox: &Sandbox, dir: &Path) -> Vec<String> {
    let (azure, ports) = (&sandbox.azure, sandbox.ports);
    let path = |name: &str| dir.join(name).display().to_string();
    vec![
        format!("sandbox in {}, on loopback only", dir.display()),
        format!("  azure     {}  trust {}", azure.arm, path("ca.pem")),
        format!("  identity  {}", azure.identity),
        format!("  dns       127.0.0.4 and 127.0.0.5, port {}", ports.dns),
        format!("  http      127.0.0.2 (source) and 127.0.0.3 (target), port {}", ports.http),
        format!("  files     {}", sandbox.base.display()),
        format!("  ledger    {}", sandbox.ledger.display()),
        String::new(),
        "with the Azure CLI:".to_owned(),
        format!("  export AZURE_CONFIG_DIR={} REQUESTS_CA_BUNDLE={}", path("az"), path("ca.pem")),
        format!("  export IDENTITY_ENDPOINT={} IDENTITY_HEADER=sandbox", azure.identity),
        format!("  az cloud register -n sandbox --endpoint-resource-manager {}", azure.arm),
        "  az cloud set -n sandbox && az login --identity".to_owned(),
        "  az network dns record-set list -g rg-dns -z contoso.example -o table".to_owned(),
    ]
}
