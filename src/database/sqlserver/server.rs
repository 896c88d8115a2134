//! A server, and how it is logged in to.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use secrecy::{ExposeSecret as _, SecretString};
use serde_json::Value;
use tiberius::error::Error;
use tiberius::{AuthMethod, Client, Config, EncryptionLevel};
use tokio::net::TcpStream;
use tokio_util::compat::TokioAsyncWriteCompatExt as _;

use super::super::{DatabaseError, declared};
use super::error::of_server;
use super::reader::{Reader, Wire};
use crate::diagnostic::redact::Secrets;
use crate::plan::{Endpoint, SqlserverSystem, Tls};

const PORT: u16 = 1433;
/// Where a gateway may send a session, one after the other.
const REDIRECTIONS: usize = 3;

/// A database of a server, and as whom it is opened. Opens nothing by itself.
#[derive(Clone)]
pub struct Server {
    at: String,
    endpoint: Endpoint,
    config: Config,
    password: SecretString,
}

impl std::fmt::Debug for Server {
    /// Without the password.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Server").field("at", &self.at).finish_non_exhaustive()
    }
}

impl Server {
    /// Whether the system of the runbook is of this engine.
    pub fn is(system: Option<&Value>) -> bool {
        system.is_some_and(|system| system.get("sqlserver").is_some())
    }

    /// The system `name` of the runbook. Its files lie in `beside`.
    pub async fn of(
        name: &str,
        systems: &BTreeMap<String, Value>,
        secrets: &Secrets,
        beside: &Path,
    ) -> Result<Self, DatabaseError> {
        let system: SqlserverSystem = declared(name, systems, ("sqlserver", "SQL Server"))?;
        let password = match &system.password {
            Some(secret) => secrets.get(secret).await.map_err(DatabaseError::System)?,
            None => SecretString::default(),
        };
        let endpoint = system.sqlserver;
        let config = config(&endpoint, beside).await?;
        Ok(Self { at: endpoint.shown(PORT), endpoint, config, password })
    }

    /// Database and address, for messages.
    pub fn at(&self) -> &str {
        &self.at
    }

    /// The database.
    pub fn database(&self) -> &str {
        &self.endpoint.database
    }

    /// A session in that database, which need not be the one this is about: a replica's may let nobody in.
    pub async fn reader(&self, database: &str) -> Result<Reader, DatabaseError> {
        let limit = Duration::from_secs(self.endpoint.connect_timeout_seconds.into());
        let client = match tokio::time::timeout(limit, self.connect(database)).await {
            Ok(Ok(client)) => client,
            Ok(Err(error)) => return Err(of_server(&self.at, &error)),
            Err(_) => {
                let cause = format!("no connection within {} s", limit.as_secs());
                return Err(DatabaseError::Silent { at: self.at.clone(), cause });
            }
        };
        Reader::begin(self.at.clone(), client).await
    }

    /// Logs in, where need be at the server that the first one names.
    async fn connect(&self, database: &str) -> Result<Wire, Error> {
        let mut host = self.endpoint.host.clone();
        let mut port = self.endpoint.port.unwrap_or(PORT);
        for _ in 0..REDIRECTIONS {
            let mut config = self.config.clone();
            config.host(&host);
            config.port(port);
            config.database(database);
            let (user, password) = (&self.endpoint.user, self.password.expose_secret());
            config.authentication(AuthMethod::sql_server(user, password));
            let stream = TcpStream::connect((host.as_str(), port)).await?;
            stream.set_nodelay(true)?;
            match Box::pin(Client::connect(config, stream.compat_write())).await {
                Err(Error::Routing { host: next, port: there }) => (host, port) = (next, there),
                connected => return connected.map(Box::new),
            }
        }
        Err(Error::Protocol("one server after the other sends this session to the next".into()))
    }
}

/// What does not change from one session to the next.
async fn config(endpoint: &Endpoint, beside: &Path) -> Result<Config, DatabaseError> {
    let mut config = Config::new();
    config.application_name("migrate");
    // Limits are set around each call, so that what is said of them is said in one way.
    config.handshake_timeout(None);
    config.command_timeout(None);
    config.trust_webpki_roots();
    config.encryption(match endpoint.tls {
        Tls::Off => EncryptionLevel::NotSupported,
        Tls::VerifyCa | Tls::VerifyFull => EncryptionLevel::Required,
    });
    if let Some(file) = &endpoint.root_certificate {
        let path = beside.join(file);
        let pem = tokio::fs::read(&path).await.map_err(|why| {
            DatabaseError::System(format!("can not read {}: {why}", path.display()))
        })?;
        config.trust_cert_ca_bundle(pem);
    }
    Ok(config)
}

/// A name, as it stands in a statement.
pub fn quoted(name: &str) -> String {
    format!("[{}]", name.replace(']', "]]"))
}

/// A text, as it stands in a statement.
pub fn literal(text: &str) -> String {
    format!("N'{}'", text.replace('\'', "''"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_and_names_can_not_end_early() {
        assert_eq!(literal("it's"), "N'it''s'");
        assert_eq!(quoted("a]b[c"), "[a]]b[c]");
    }
}
