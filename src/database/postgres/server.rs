//! A server and its sessions.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use secrecy::{ExposeSecret as _, SecretString};
use serde::de::DeserializeOwned;
use serde_json::Value;
use sqlx::postgres::{PgConnectOptions, PgSslMode};
use sqlx::{AssertSqlSafe, ConnectOptions as _, Connection as _, PgConnection};

use super::super::link::Opens;
use super::super::{DatabaseError, declared};
use crate::diagnostic::redact::Secrets;
use crate::journal::EffectPermit;
use crate::plan::{PostgresSystem, Tls};
use crate::run::RunId;

/// How long one statement may take, where nothing else is said.
const STATEMENT_LIMIT: Duration = Duration::from_secs(30);
/// How much later than the server itself this side gives up: a link that died says nothing.
const SILENCE: Duration = Duration::from_secs(5);
const PORT: u16 = 5432;

/// A database of a server, and as whom it is opened. Opens nothing by itself.
#[derive(Clone)]
pub struct Server {
    name: String,
    at: String,
    database: String,
    user: String,
    options: PgConnectOptions,
    link: SecretString,
    connect_limit: Duration,
    statement_limit: Duration,
}

impl std::fmt::Debug for Server {
    /// Without the options: they hold the password.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Server")
            .field("name", &self.name)
            .field("at", &self.at)
            .finish_non_exhaustive()
    }
}

impl Server {
    /// Whether the system of the runbook is of this engine.
    pub fn is(system: Option<&Value>) -> bool {
        system.is_some_and(|system| system.get("postgres").is_some())
    }

    /// The system `name` of the runbook. Its files lie in `beside`; sessions say that they belong to `run`.
    pub async fn of(
        name: &str,
        systems: &BTreeMap<String, Value>,
        secrets: &Secrets,
        beside: &Path,
        run: &RunId,
    ) -> Result<Self, DatabaseError> {
        let system: PostgresSystem = declared(name, systems, ("postgres", "PostgreSQL server"))?;
        let endpoint = system.postgres;
        // Never the caller's PGPASSWORD or password file: what is used is what the runbook names.
        let mut options = PgConnectOptions::new_without_pgpass()
            .host(&endpoint.host)
            .port(endpoint.port.unwrap_or(PORT))
            .username(&endpoint.user)
            .database(&endpoint.database)
            .password("")
            .ssl_mode(match endpoint.tls {
                Tls::Off => PgSslMode::Disable,
                Tls::VerifyCa => PgSslMode::VerifyCa,
                Tls::VerifyFull => PgSslMode::VerifyFull,
            })
            .application_name(&format!("migrate/{run}"))
            .extra_float_digits(3);
        if let Some(file) = &endpoint.root_certificate {
            options = options.ssl_root_cert(beside.join(file));
        }
        let mut link = endpoint.to_string();
        if let Some(secret) = &system.password {
            let password = secrets.get(secret).await.map_err(DatabaseError::System)?;
            options = options.password(password.expose_secret());
            let escaped = password.expose_secret().replace('\\', r"\\").replace('\'', r"\'");
            link = format!("{link} password='{escaped}'");
        }
        Ok(Self {
            name: name.to_owned(),
            at: endpoint.shown(PORT),
            database: endpoint.database,
            user: endpoint.user,
            options: options.disable_statement_logging(),
            link: link.into(),
            connect_limit: Duration::from_secs(endpoint.connect_timeout_seconds.into()),
            statement_limit: STATEMENT_LIMIT,
        })
    }

    /// The same with another limit for each statement.
    #[must_use]
    pub fn with_statement_limit(mut self, limit: Duration) -> Self {
        self.statement_limit = limit;
        self
    }

    /// Its name in the runbook.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Database and address, for messages.
    pub fn at(&self) -> &str {
        &self.at
    }

    /// The database.
    pub fn database(&self) -> &str {
        &self.database
    }

    /// The user whose sessions these are.
    pub fn user(&self) -> &str {
        &self.user
    }

    /// How another server reaches it, in libpq's words, password and all.
    pub fn link(&self) -> SecretString {
        self.link.clone()
    }

    /// A session in which the server refuses every write.
    pub async fn reader(&self) -> Result<Reader, DatabaseError> {
        self.open(false).await
    }

    /// A session that writes, also while everybody else may not.
    pub async fn writer(&self) -> Result<Writer, DatabaseError> {
        Ok(Writer(self.open(true).await?))
    }

    async fn open(&self, writes: bool) -> Result<Reader, DatabaseError> {
        let limit = self.statement_limit.as_millis().to_string();
        // Time zone, dates and encoding the driver pins itself as it starts a session.
        let options = self.options.clone().options([
            ("IntervalStyle", "postgres"),
            ("bytea_output", "hex"),
            ("search_path", "pg_catalog"),
            ("statement_timeout", limit.as_str()),
            ("default_transaction_read_only", if writes { "off" } else { "on" }),
            ("default_transaction_deferrable", "off"),
            ("jit", "off"),
            ("lock_timeout", "0"),
            ("idle_in_transaction_session_timeout", "0"),
            // What is acknowledged is in the log, whatever a standby does.
            ("synchronous_commit", "local"),
        ]);
        let connected = tokio::time::timeout(self.connect_limit, options.connect()).await;
        let connection = match connected {
            Ok(Ok(connection)) => connection,
            Ok(Err(error)) => return Err(DatabaseError::of_server(&self.at, &error)),
            Err(_) => {
                let cause = format!("no connection within {} s", self.connect_limit.as_secs());
                return Err(DatabaseError::Silent { at: self.at.clone(), cause });
            }
        };
        let patience = self.statement_limit + SILENCE;
        let mut reader = Reader { at: self.at.clone(), patience, connection };
        // Not every version has them.
        reader.run("select set_config(name, '0', false) from pg_settings where name in ('idle_session_timeout', 'transaction_timeout')").await?;
        Ok(reader)
    }
}

impl Opens for Server {
    type Session = Reader;

    async fn session(&self) -> Result<Reader, DatabaseError> {
        self.reader().await
    }
}

/// An open session that only reads.
#[derive(Debug)]
pub struct Reader {
    at: String,
    patience: Duration,
    connection: PgConnection,
}

impl Reader {
    /// From here on every statement sees the same: one snapshot, until the session is closed.
    pub async fn snapshot(&mut self) -> Result<(), DatabaseError> {
        self.run("begin isolation level repeatable read, read only").await
    }

    /// The one JSON value that a query answers with, as text; its parameters are texts too, `$1::text`.
    pub async fn json<T: DeserializeOwned>(
        &mut self,
        query: &str,
        parameters: &[&str],
    ) -> Result<T, DatabaseError> {
        // Safe: queries are constants of this program; what comes from outside is a parameter.
        let mut asked = sqlx::query_scalar::<_, String>(AssertSqlSafe(query.to_owned()));
        for parameter in parameters {
            asked = asked.bind(parameter.to_owned());
        }
        let answered = tokio::time::timeout(self.patience, asked.fetch_one(&mut self.connection));
        let text = match answered.await {
            Ok(Ok(text)) => text,
            Ok(Err(error)) => return Err(DatabaseError::of_server(&self.at, &error)),
            Err(_) => return Err(self.silent()),
        };
        serde_json::from_str(&text).map_err(|why| DatabaseError::Silent {
            at: self.at.clone(),
            cause: format!("an answer that can not be read: {why}"),
        })
    }

    /// For queries whose rows are streamed; what fails is told by [`Self::failed`].
    pub fn connection(&mut self) -> &mut PgConnection {
        &mut self.connection
    }

    /// What the driver reported of this server.
    pub fn failed(&self, error: &sqlx::Error) -> DatabaseError {
        DatabaseError::of_server(&self.at, error)
    }

    /// Ends the session in order; dropping it cuts the connection.
    pub async fn close(self) {
        // Nobody depends on the farewell.
        let _ = tokio::time::timeout(SILENCE, self.connection.close()).await;
    }

    fn silent(&self) -> DatabaseError {
        let cause = format!("nothing for {} s", self.patience.as_secs());
        DatabaseError::Silent { at: self.at.clone(), cause }
    }

    async fn run(&mut self, statement: &str) -> Result<(), DatabaseError> {
        // Safe: whoever composes a statement quotes what is not a constant.
        let statement = sqlx::raw_sql(AssertSqlSafe(statement.to_owned()));
        let ran = tokio::time::timeout(self.patience, statement.execute(&mut self.connection));
        match ran.await {
            Ok(Ok(_)) => Ok(()),
            Ok(Err(error)) => Err(DatabaseError::of_server(&self.at, &error)),
            Err(_) => Err(self.silent()),
        }
    }
}

/// An open session that also writes, with a permit for each statement.
#[derive(Debug)]
pub struct Writer(Reader);

impl Writer {
    /// Carries out one statement, or several in one transaction. Names and texts in it are [`quoted`] and [`literal`].
    pub async fn execute(
        &mut self,
        permit: &EffectPermit,
        statement: &str,
    ) -> Result<(), DatabaseError> {
        tracing::debug!(effect = permit.effect().key, at = self.0.at, statement);
        self.0.run(statement).await
    }

    /// The same for a statement that holds a secret.
    pub async fn execute_unlogged(
        &mut self,
        _permit: &EffectPermit,
        statement: &str,
    ) -> Result<(), DatabaseError> {
        self.0.run(statement).await
    }

    /// The one JSON value that a statement answers with which changes something on the way.
    pub async fn execute_json<T: DeserializeOwned>(
        &mut self,
        permit: &EffectPermit,
        statement: &str,
        parameters: &[&str],
    ) -> Result<T, DatabaseError> {
        tracing::debug!(effect = permit.effect().key, at = self.0.at, statement);
        self.0.json(statement, parameters).await
    }

    /// Its reading side.
    pub fn reading(&mut self) -> &mut Reader {
        &mut self.0
    }

    /// Ends the session in order.
    pub async fn close(self) {
        self.0.close().await;
    }
}

/// A name, as it stands in a statement.
pub fn quoted(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}

/// A text, as it stands in a statement whatever `standard_conforming_strings` says.
pub fn literal(text: &str) -> String {
    let doubled = text.replace('\'', "''");
    if text.contains('\\') {
        format!(" E'{}'", doubled.replace('\\', r"\\"))
    } else {
        format!("'{doubled}'")
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn names_and_texts_can_not_end_early() {
        assert_eq!(quoted(r#"a"b"#), r#""a""b""#);
        assert_eq!(literal("it's"), "'it''s'");
        assert_eq!(literal(r"a\'b"), r" E'a\\''b'");
    }

    #[tokio::test]
    async fn a_system_of_another_kind_is_named_and_no_password_is_shown() {
        let systems = BTreeMap::from([
            ("file".to_owned(), json!({ "sqlite": "app.db" })),
            ("db".to_owned(), json!({ "postgres": "host=127.0.0.1 dbname=d user=u" })),
        ]);
        let (secrets, run) = (Secrets::default(), RunId::new("run"));
        let of = async |name| Server::of(name, &systems, &secrets, Path::new(""), &run).await;
        assert!(matches!(of("file").await, Err(DatabaseError::System(_))));
        assert!(matches!(of("none").await, Err(DatabaseError::System(_))));
        let server = of("db").await.expect("a server");
        assert_eq!(
            format!("{server:?}"),
            r#"Server { name: "db", at: "d at 127.0.0.1:5432", .. }"#
        );
    }
}
