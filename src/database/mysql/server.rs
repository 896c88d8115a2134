//! A server and its sessions.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use futures::TryStreamExt as _;
use secrecy::ExposeSecret as _;
use serde_json::Value;
use sqlx::mysql::{MySqlColumn, MySqlConnectOptions, MySqlDatabaseError, MySqlSslMode};
use sqlx::{
    AssertSqlSafe, Column as _, ConnectOptions as _, Connection as _, MySqlConnection, Row as _,
};

use super::super::link::Opens;
use super::super::{DatabaseError, Named, Row, declared};
use crate::diagnostic::redact::Secrets;
use crate::journal::EffectPermit;
use crate::plan::{MysqlSystem, Tls};

/// How long one statement may take, where nothing else is said.
const STATEMENT_LIMIT: Duration = Duration::from_secs(30);
/// How much later than the server itself this side gives up: a link that died says nothing.
const SILENCE: Duration = Duration::from_secs(5);
const PORT: u16 = 3306;

/// Settings that change how values are written out; and a lock by which other sessions of this program know this one.
const PINNED: &str = "do get_lock(concat('migrate/', connection_id()), 0); set session sql_mode = '', time_zone = '+00:00', lc_time_names = 'en_US', \
     div_precision_increment = 4, default_week_format = 0; set names utf8mb4 collate utf8mb4_bin; \
     set session transaction isolation level repeatable read";

/// Who made a server, and its version.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Product {
    /// MariaDB.
    MariaDb(u32, u32),
    /// MySQL.
    MySql(u32, u32),
}

impl Product {
    /// Out of what `version()` answers.
    fn read(text: &str) -> Option<Self> {
        // MariaDB writes `10.11.6-MariaDB`, with a `5.5.5-` before it where it speaks to old replicas.
        let text = text.strip_prefix("5.5.5-").unwrap_or(text);
        let mut numbers = text.split(|it: char| !it.is_ascii_digit()).map(str::parse::<u32>);
        let (major, minor) = (numbers.next()?.ok()?, numbers.next()?.ok()?);
        let maria = text.contains("MariaDB");
        Some(if maria { Self::MariaDb(major, minor) } else { Self::MySql(major, minor) })
    }
}

/// A database of a server, and as whom it is opened. Opens nothing by itself.
#[derive(Clone)]
pub struct Server {
    at: String,
    database: String,
    options: MySqlConnectOptions,
    connect_limit: Duration,
}

impl std::fmt::Debug for Server {
    /// Without the options: they hold the password.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Server").field("at", &self.at).finish_non_exhaustive()
    }
}

impl Server {
    /// Whether the system of the runbook is of this engine.
    pub fn is(system: Option<&Value>) -> bool {
        system.is_some_and(|system| system.get("mysql").is_some())
    }

    /// The system `name` of the runbook. Its files lie in `beside`.
    pub async fn of(
        name: &str,
        systems: &BTreeMap<String, Value>,
        secrets: &Secrets,
        beside: &Path,
    ) -> Result<Self, DatabaseError> {
        let system: MysqlSystem = declared(name, systems, ("mysql", "MySQL server"))?;
        let endpoint = system.mysql;
        let mut options = MySqlConnectOptions::new()
            .username(&endpoint.user)
            .database(&endpoint.database)
            .ssl_mode(match endpoint.tls {
                Tls::Off => MySqlSslMode::Disabled,
                Tls::VerifyCa => MySqlSslMode::VerifyCa,
                Tls::VerifyFull => MySqlSslMode::VerifyIdentity,
            });
        options = if endpoint.host.starts_with('/') {
            options.socket(&endpoint.host)
        } else {
            options.host(&endpoint.host).port(endpoint.port.unwrap_or(PORT))
        };
        if let Some(file) = &endpoint.root_certificate {
            options = options.ssl_ca(beside.join(file));
        }
        if let Some(secret) = &system.password {
            let password = secrets.get(secret).await.map_err(DatabaseError::System)?;
            options = options.password(password.expose_secret());
        }
        Ok(Self {
            at: endpoint.shown(PORT),
            database: endpoint.database,
            options: options.disable_statement_logging(),
            connect_limit: Duration::from_secs(endpoint.connect_timeout_seconds.into()),
        })
    }

    /// Database and address, for messages.
    pub fn at(&self) -> &str {
        &self.at
    }

    /// The database.
    pub fn database(&self) -> &str {
        &self.database
    }

    /// A session in which the server refuses every write.
    pub async fn reader(&self) -> Result<Reader, DatabaseError> {
        self.open("read only").await
    }

    /// A session that writes.
    pub async fn writer(&self) -> Result<Writer, DatabaseError> {
        Ok(Writer(self.open("read write").await?))
    }

    async fn open(&self, access: &str) -> Result<Reader, DatabaseError> {
        let connected = tokio::time::timeout(self.connect_limit, self.options.connect()).await;
        let connection = match connected {
            Ok(Ok(connection)) => connection,
            Ok(Err(error)) => return Err(DatabaseError::of_server(&self.at, &error)),
            Err(_) => {
                let cause = format!("no connection within {} s", self.connect_limit.as_secs());
                return Err(DatabaseError::Silent { at: self.at.clone(), cause });
            }
        };
        let product = Product::MySql(0, 0);
        let mut reader =
            Reader { at: self.at.clone(), connection, product, limit: STATEMENT_LIMIT };
        reader.run(&format!("{PINNED}, {access}")).await?;
        let version = reader.one("select version()").await?.and_then(|row| row.into_iter().next());
        let version = version.flatten().unwrap_or_default();
        reader.product = Product::read(&version).ok_or_else(|| DatabaseError::Silent {
            at: self.at.clone(),
            cause: format!("`{version}` is no version"),
        })?;
        if let Product::MariaDb(..) = reader.product {
            // The quicker of two sides waits for the other one.
            reader.run("set session wait_timeout = 28800, idle_transaction_timeout = 0, idle_readonly_transaction_timeout = 0").await?;
        }
        reader.limit(STATEMENT_LIMIT).await?;
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
    connection: MySqlConnection,
    product: Product,
    limit: Duration,
}

impl Reader {
    /// Who made the server.
    pub const fn product(&self) -> Product {
        self.product
    }

    /// From here on every statement sees the same: one snapshot, until the session is closed.
    pub async fn snapshot(&mut self) -> Result<(), DatabaseError> {
        self.run("start transaction with consistent snapshot, read only").await
    }

    /// From here on the server ends a statement that takes longer.
    pub async fn limit(&mut self, limit: Duration) -> Result<(), DatabaseError> {
        self.limit = limit;
        let milliseconds = limit.as_millis();
        let statement = match self.product {
            Product::MariaDb(..) => {
                format!("set session max_statement_time = {}", limit.as_secs_f64())
            }
            Product::MySql(..) => format!("set session max_execution_time = {milliseconds}"),
        };
        self.run(&statement).await
    }

    /// The rows that a query answers with; none where it took longer than it may. Every column of it is a text.
    pub async fn rows(&mut self, query: &str) -> Result<Option<Vec<Row>>, DatabaseError> {
        let at = self.at.clone();
        // Safe: composed of quoted names and numbers. Not prepared: hardly one is asked twice.
        let asked = sqlx::raw_sql(AssertSqlSafe(query.to_owned()));
        let answered = asked.fetch(&mut self.connection).and_then(|row| {
            let texts = (0..row.len()).map(|column| row.try_get(column)).collect();
            std::future::ready(texts)
        });
        match tokio::time::timeout(self.limit + SILENCE, answered.try_collect()).await {
            Ok(Ok(rows)) => Ok(Some(rows)),
            Ok(Err(error)) if is_too_slow(&error) => Ok(None),
            Ok(Err(error)) => Err(DatabaseError::of_server(&at, &error)),
            Err(_) => Err(self.slow()),
        }
    }

    /// The first row of a query that may not be too slow, if there is any.
    pub async fn one(&mut self, query: &str) -> Result<Option<Row>, DatabaseError> {
        let rows = self.rows(query).await?.ok_or_else(|| self.slow())?;
        Ok(rows.into_iter().next())
    }

    /// The rows of a query that may not be too slow, by the names of its columns, whatever types these have.
    pub async fn named(&mut self, query: &str) -> Result<Vec<Named>, DatabaseError> {
        // Safe: queries are constants of this program; what comes from outside is quoted.
        let asked = sqlx::raw_sql(AssertSqlSafe(query.to_owned()));
        let answered = asked.fetch(&mut self.connection).and_then(|row| {
            let value = |column: &MySqlColumn| -> Result<(String, Option<String>), sqlx::Error> {
                Ok((column.name().to_lowercase(), row.try_get_unchecked(column.ordinal())?))
            };
            std::future::ready(row.columns().iter().map(value).collect::<Result<Named, _>>())
        });
        let answered = tokio::time::timeout(self.limit + SILENCE, answered.try_collect()).await;
        match answered {
            Ok(Ok(rows)) => Ok(rows),
            Ok(Err(error)) => Err(DatabaseError::of_server(&self.at, &error)),
            Err(_) => Err(self.slow()),
        }
    }

    /// A statement took too long that can not be asked for less.
    pub fn slow(&self) -> DatabaseError {
        let cause = format!("a statement took longer than {} s", self.limit.as_secs());
        DatabaseError::Silent { at: self.at.clone(), cause }
    }

    /// An answer of another form than asked for.
    pub fn odd(&self, why: &str) -> DatabaseError {
        let cause = format!("an answer that can not be read: {why}");
        DatabaseError::Silent { at: self.at.clone(), cause }
    }

    /// Ends the session in order; dropping it cuts the connection.
    pub async fn close(self) {
        // Nobody depends on the farewell.
        let _ = tokio::time::timeout(SILENCE, self.connection.close()).await;
    }

    async fn run(&mut self, statements: &str) -> Result<(), DatabaseError> {
        // Safe: whoever composes a statement quotes what is not a constant.
        let ran = sqlx::raw_sql(AssertSqlSafe(statements.to_owned())).execute(&mut self.connection);
        match tokio::time::timeout(self.limit + SILENCE, ran).await {
            Ok(Ok(_)) => Ok(()),
            Ok(Err(error)) => Err(DatabaseError::of_server(&self.at, &error)),
            Err(_) => Err(self.slow()),
        }
    }
}

/// An open session that also writes, with a permit for each statement.
#[derive(Debug)]
pub struct Writer(Reader);

impl Writer {
    /// Carries out one statement. Names and texts in it are [`quoted`] and [`literal`].
    pub async fn execute(
        &mut self,
        permit: &EffectPermit,
        statement: &str,
    ) -> Result<(), DatabaseError> {
        tracing::debug!(effect = permit.effect().key, at = self.0.at, statement);
        self.0.run(statement).await
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

/// The server ended the statement at its limit: MariaDB says 1969, MySQL 3024.
fn is_too_slow(error: &sqlx::Error) -> bool {
    let told = error.as_database_error().and_then(|it| it.try_downcast_ref::<MySqlDatabaseError>());
    told.is_some_and(|told| [1969, 3024].contains(&told.number()))
}

/// A name, as it stands in a statement.
pub fn quoted(name: &str) -> String {
    format!("`{}`", name.replace('`', "``"))
}

/// A text, as it stands in a statement of a session of this program, whose `sql_mode` is empty.
pub fn literal(text: &str) -> String {
    format!("'{}'", text.replace('\\', r"\\").replace('\'', "''"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_read() {
        assert_eq!(Product::read("10.11.6-MariaDB-0+deb12u1"), Some(Product::MariaDb(10, 11)));
        assert_eq!(Product::read("5.5.5-10.5.1-MariaDB"), Some(Product::MariaDb(10, 5)));
        assert_eq!(Product::read("8.0.36"), Some(Product::MySql(8, 0)));
        assert_eq!(Product::read("unknown"), None);
    }

    #[test]
    fn names_can_not_end_early() {
        assert_eq!(quoted("a`b"), "`a``b`");
        assert_eq!(literal(r"it's \ 1"), r"'it''s \\ 1'");
    }
}
