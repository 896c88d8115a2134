//! The world a run sees: the real one, or a sandbox that lives as long as this value.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use jiff::Timestamp;
use secrecy::SecretString;
use url::Url;

use super::refusal::Refusal;
use super::{Exit, net};
use crate::azure::{Azure, AzureOverrides, AzureSetup, GivenPrincipal};
use crate::clock::Clock;
use crate::diagnostic::redact::{Redactor, Secrets};
use crate::dns::Network;
use crate::plan::Plan;
use crate::run::RunId;
use crate::sandbox::{AzureEndpoints, Sandbox, Scenario};
use crate::steps::World;

/// A world and what keeps it alive.
#[derive(Debug)]
pub(super) struct Ground {
    /// For the engine.
    pub(super) world: Arc<World>,
    /// Knows every secret that the run resolves.
    pub(super) redactor: Redactor,
    /// Its servers, in a sandbox run.
    pub(super) sandbox: Option<Sandbox>,
}

/// What a world is made for.
#[derive(Debug)]
pub(super) struct Purpose {
    /// The run.
    pub(super) run: RunId,
    /// Its plan.
    pub(super) plan: Plan,
    /// The runbook, absolute.
    pub(super) runbook: PathBuf,
    /// Progress files of bulk effects.
    pub(super) progress_dir: PathBuf,
}

impl Purpose {
    /// The real world.
    pub(super) fn really(self) -> Ground {
        let base = folder_of(&self.runbook);
        self.ground(Clock::system(), Network::default(), base, None, None)
    }

    /// The sandbox in `dir`; its time begins no earlier than `not_before`.
    pub(super) async fn in_sandbox(
        self,
        dir: &Path,
        scenario: Scenario,
        not_before: Option<Timestamp>,
    ) -> Result<Ground, Refusal> {
        let opening = Sandbox::opening_time(dir, &scenario)?;
        let clock = Clock::skipping_from(not_before.map_or(opening, |at| at.max(opening)));
        self.sandboxed(dir, scenario, clock).await
    }

    /// The same for a dry run, which must say the same each time: nobody writes in a new world, and time stands still.
    pub(super) async fn in_still_sandbox(
        self,
        dir: &Path,
        mut scenario: Scenario,
    ) -> Result<Ground, Refusal> {
        scenario.writer.orders = 0;
        let clock = Clock::still_from(Sandbox::opening_time(dir, &scenario)?);
        self.sandboxed(dir, scenario, clock).await
    }

    async fn sandboxed(
        self,
        dir: &Path,
        scenario: Scenario,
        clock: Clock,
    ) -> Result<Ground, Refusal> {
        let sandbox = Sandbox::start(dir, scenario, clock.clone()).await?;
        let overrides = overrides(&sandbox.azure)?;
        let (network, base) = (sandbox.network.clone(), sandbox.base.clone());
        let mut ground = self.ground(clock, network, base, Some(overrides), Some(dir.to_owned()));
        ground.sandbox = Some(sandbox);
        Ok(ground)
    }

    fn ground(
        self,
        clock: Clock,
        network: Network,
        base: PathBuf,
        overrides: Option<AzureOverrides>,
        sandbox: Option<PathBuf>,
    ) -> Ground {
        // References to files are written relative to the runbook, also where the estate is the sandbox's.
        let runbook_dir = folder_of(&self.runbook);
        let secrets =
            Secrets::new(self.plan.secrets.clone()).relative_to(&runbook_dir).known_to(net());
        secrets.look_ahead();
        let redactor = secrets.redactor();
        let secrets = Arc::new(secrets);
        let azure = match self.plan.azure.clone() {
            Some(settings) => Azure::new(AzureSetup {
                run: self.run.clone(),
                settings,
                overrides,
                secrets: Arc::clone(&secrets),
                clock: clock.clone(),
                base: runbook_dir.clone(),
            }),
            None => Azure::disconnected(),
        };
        secrets.open_vault(azure.vaults());
        let world = World {
            run: self.run,
            plan: self.plan,
            clock,
            network,
            azure,
            secrets,
            base,
            runbook_dir,
            progress_dir: self.progress_dir,
            sandbox,
        };
        Ground { world: Arc::new(world), redactor, sandbox: None }
    }
}

impl Ground {
    /// Ends the sandbox in order, if there is one.
    pub(super) async fn leave(self) {
        if let Some(sandbox) = self.sandbox {
            sandbox.stop().await;
        }
    }
}

fn folder_of(runbook: &Path) -> PathBuf {
    runbook.parent().map(Path::to_owned).unwrap_or_default()
}

fn overrides(azure: &AzureEndpoints) -> Result<AzureOverrides, Refusal> {
    let url = |text: &str| Url::parse(text).map_err(|error| Refusal::because(Exit::Failed, &error));
    Ok(AzureOverrides {
        arm: url(&azure.arm)?,
        authority: url(&azure.authority)?,
        audience: azure.arm.clone(),
        ca_pem: azure.ca_pem.clone(),
        credential: GivenPrincipal {
            tenant: azure.tenant.to_owned(),
            client_id: azure.client.to_owned(),
            secret: SecretString::from(azure.secret),
        },
    })
}

/// The scenario of a sandbox run: the one named, else `<runbook>.scenario.yaml` beside the runbook, else the default world.
pub(super) fn scenario(named: Option<&Path>, runbook: &Path) -> Result<Scenario, Refusal> {
    let beside = runbook.with_extension("scenario.yaml");
    match named {
        Some(path) => Ok(Scenario::read(path)?),
        None if beside.is_file() => Ok(Scenario::read(&beside)?),
        None => Ok(Scenario::default()),
    }
}
