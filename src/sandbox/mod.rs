//! A world to rehearse in: an Azure over HTTPS, DNS, applications and an estate, all on loopback, in one folder.
//!
//! [`Sandbox::start`] brings it up. Whatever it answers to a changing request is durable before the answer leaves, so a
//! killed process starts again into the same world on the same ports. Nothing outside the folder is touched, nothing but
//! loopback is bound, and the client code that talks to it is the client code of a real run.

mod app;
mod arm;
mod asides;
mod azure;
mod core;
mod disk;
mod dns;
mod error;
pub mod estate;
pub mod exchanges;
mod faults;
mod forge;
mod home;
mod http;
mod identity;
pub mod ledger;
pub(crate) mod random;
pub mod scenario;
mod sockets;
mod store;
mod throttle;
mod tls;
mod world;

#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::fs::File;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

pub use azure::CLIENT;
pub use error::SandboxError;
pub use home::{Ports, estate_in};
pub use scenario::{SUBSCRIPTION, Scenario, TENANT};
pub use world::{Orders, Table, WorldSnapshot, world};

use self::app::{AppSite, Place, Writer};
use self::core::Core;
use crate::clock::Clock;
use crate::dns::Network;

/// Real time that the writing clients get to finish.
const FINISH_MAX: Duration = Duration::from_secs(30);

/// How a client finds the sandbox's Azure.
#[derive(Debug, Clone)]
pub struct AzureEndpoints {
    /// ARM: `https://localhost:port`.
    pub arm: String,
    /// Authority: the same host; tokens at `{authority}/{tenant}/oauth2/v2.0/token`.
    pub authority: String,
    /// Managed identity, plain HTTP: the value for `IDENTITY_ENDPOINT`.
    pub identity: String,
    /// The certificate authority to trust, PEM.
    pub ca_pem: String,
    /// The same as a file, for `REQUESTS_CA_BUNDLE`.
    pub ca_file: PathBuf,
    /// Tenant id.
    pub tenant: &'static str,
    /// Client id; any secret is right.
    pub client: &'static str,
    /// A secret that is none.
    pub secret: &'static str,
    /// Subscription id.
    pub subscription: &'static str,
}

/// A running sandbox. Dropping it ends its servers at once; [`Sandbox::stop`] ends them in order.
#[derive(Debug)]
pub struct Sandbox {
    /// How a client finds its Azure.
    pub azure: AzureEndpoints,
    /// Names and ports as a run in this sandbox sees them.
    pub network: Network,
    /// Where relative paths of a runbook start: the estate.
    pub base: PathBuf,
    /// The ledger.
    pub ledger: PathBuf,
    /// Loopback ports, kept over restarts.
    pub ports: Ports,
    tasks: TaskTracker,
    writers: TaskTracker,
    finish: CancellationToken,
    stop: CancellationToken,
    _lock: File,
}

impl Sandbox {
    /// Starts the sandbox in `dir`. A folder that holds one already goes on with its own scenario and ports, whatever
    /// `scenario` says.
    pub async fn start(dir: &Path, scenario: Scenario, clock: Clock) -> Result<Self, SandboxError> {
        let lock = home::take(dir)?;
        tls::ensure(dir)?;
        let (settings, sockets) = if let Some(settings) = home::settings(dir)? {
            let sockets = sockets::bind_again(settings.ports).await?;
            (settings, sockets)
        } else {
            let (ports, sockets) = sockets::bind_new().await?;
            let settings = home::Settings { began: clock.now(), ports, scenario };
            home::keep(dir, &settings)?;
            (settings, sockets)
        };
        estate::create(&estate_in(dir), &settings.scenario.estate).await?;
        app::recover(&estate_in(dir), &settings.scenario.estate.workloads).await;
        let core = Core::open(store::Store::open(dir)?, settings.scenario, settings.began, clock)?;
        let azure = endpoints(dir, settings.ports)?;
        let sandbox = Self {
            network: network(settings.ports, &azure.ca_pem)?,
            azure,
            base: estate_in(dir),
            ledger: dir.join(ledger::LEDGER_FILE),
            ports: settings.ports,
            tasks: TaskTracker::new(),
            writers: TaskTracker::new(),
            finish: CancellationToken::new(),
            stop: CancellationToken::new(),
            _lock: lock,
        };
        sandbox.serve(dir, sockets, &Arc::new(core))?;
        Ok(sandbox)
    }

    fn serve(
        &self,
        dir: &Path,
        sockets: sockets::Sockets,
        core: &Arc<Core>,
    ) -> Result<(), SandboxError> {
        let kept = core.scenario().exchanges;
        let azure = azure::AzureSite {
            exchanges: kept.then(|| exchanges::Exchanges::open(dir)).transpose()?,
            core: Arc::clone(core),
            base: self.azure.arm.clone(),
            throttle: throttle::Throttle::default(),
            asides: Arc::default(),
        };
        let tls = Some(tls::acceptor(dir)?);
        self.tasks.spawn(http::serve(sockets.azure, tls, Arc::new(azure), self.stop.clone()));
        let identity = identity::IdentitySite { audience: self.azure.arm.clone() };
        self.tasks.spawn(http::serve(
            sockets.identity,
            None,
            Arc::new(identity),
            self.stop.clone(),
        ));
        for (listener, place) in [(sockets.source, Place::Source), (sockets.target, Place::Target)]
        {
            let site = AppSite::new(Arc::clone(core), place, &self.base);
            self.tasks.spawn(http::serve(listener, None, Arc::new(site), self.stop.clone()));
        }
        for socket in sockets.dns_udp {
            self.tasks.spawn(dns::serve_udp(socket, Arc::clone(core), self.stop.clone()));
        }
        for listener in sockets.dns_tcp {
            self.tasks.spawn(dns::serve_tcp(listener, Arc::clone(core), self.stop.clone()));
        }
        for app in &core.scenario().estate.workloads {
            let writer = Writer::open(dir, app, &core.scenario().writer, &self.network)?;
            self.writers.spawn(writer.run(self.finish.clone(), self.stop.clone()));
        }
        Ok(())
    }

    /// The scenario for a sandbox in `dir`: the one its world was made with, else the given file, else the default. A
    /// given one that is not the world's is refused.
    pub fn scenario(dir: &Path, given: Option<&Path>) -> Result<Scenario, SandboxError> {
        let read = given.map(|path| Ok((path, Scenario::read(path)?))).transpose()?;
        match (read, home::settings(dir)?) {
            (Some((path, given)), Some(settings)) if given != settings.scenario => {
                let why = "the world in this folder was made with another one; take a new folder";
                let name = path.display().to_string();
                Err(SandboxError::Scenario { name, why: why.to_owned() })
            }
            (_, Some(settings)) => Ok(settings.scenario),
            (given, None) => Ok(given.map(|(_, scenario)| scenario).unwrap_or_default()),
        }
    }

    /// When a skipping clock has to start: the last time this world has seen, else the scenario's start.
    pub fn opening_time(dir: &Path, scenario: &Scenario) -> Result<Timestamp, SandboxError> {
        Ok(Self::last_time(dir)?.unwrap_or(scenario.start))
    }

    /// The sandbox's time at its last change; `None` before its first start.
    pub fn last_time(dir: &Path) -> Result<Option<Timestamp>, SandboxError> {
        ledger::last_time(dir)
    }

    /// Lets the writing clients send their last orders, as far as they are accepted and [`FINISH_MAX`] allows, then stops.
    pub async fn stop(self) {
        self.finish.cancel();
        self.writers.close();
        // What is left then is sent after a restart.
        let _ = tokio::time::timeout(FINISH_MAX, self.writers.wait()).await;
        self.halt().await;
    }

    /// Stops with the writing clients where they are; requests under way are answered first.
    pub async fn halt(self) {
        self.stop.cancel();
        for tasks in [&self.writers, &self.tasks] {
            tasks.close();
            tasks.wait().await;
        }
    }
}

impl Drop for Sandbox {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

fn endpoints(dir: &Path, ports: Ports) -> Result<AzureEndpoints, SandboxError> {
    let ca = dir.join(tls::CA_FILE);
    let base = format!("https://localhost:{}", ports.azure);
    Ok(AzureEndpoints {
        arm: base.clone(),
        authority: base,
        identity: format!("http://127.0.0.1:{}/msi/token", ports.identity),
        ca_pem: std::fs::read_to_string(&ca).map_err(SandboxError::file("read", &ca))?,
        ca_file: ca,
        tenant: TENANT,
        client: CLIENT,
        secret: "any-secret-is-right",
        subscription: SUBSCRIPTION,
    })
}

fn network(ports: Ports, ca_pem: &str) -> Result<Network, SandboxError> {
    let resolver = SocketAddr::from((sockets::NAME_SERVERS[0], ports.dns));
    let ports = BTreeMap::from([(80, ports.http), (443, ports.azure), (53, ports.dns)]);
    Network::new(Some(resolver), ports)
        .with_ca(ca_pem.as_bytes())
        .map_err(|error| SandboxError::Certificates(error.to_string()))
}
