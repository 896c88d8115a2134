//! Throw-away MariaDB servers on loopback, each with a folder of its own, ended with the test.
//!
//! One data folder is prepared once and copied for each server. Nothing is synced to disk: these tests interrupt this program,
//! never MariaDB's own disk.

mod cutover;
mod lag;
pub(crate) mod replicas;
mod tls;
mod wall;
mod wave;

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Child;
use std::time::{Duration, Instant};

use sqlx::mysql::{MySqlConnectOptions, MySqlSslMode};
use sqlx::{AssertSqlSafe, ConnectOptions as _, Connection as _, MySqlConnection};
use tokio::runtime::Runtime;

use crate::servers::{self, Account, Answering, PATIENCE};

/// Who may do everything, and the password.
pub(crate) const ADMIN: &str = "admin";
pub(crate) const PASSWORD: &str = "loopback-only-Xy7";
const ACCOUNT: Account = Account("mysql");
/// By which a server proves who it is, where these lie in its folder.
const CERTIFICATE: &str = "server.crt";
const KEY: &str = "server.key";

fn installed(program: &str) -> Option<PathBuf> {
    let folders = ["/usr/sbin", "/usr/bin", "/usr/local/bin"];
    folders.iter().map(|folder| Path::new(folder).join(program)).find(|path| path.exists())
}

fn prepared() -> PathBuf {
    ACCOUNT.prepared("mariadb-data", |making| {
        let install = installed("mariadb-install-db").expect("it comes with the server");
        let mut install = ACCOUNT.command(&install);
        install.arg("--no-defaults").arg(format!("--datadir={}", making.display()));
        install.args(["--auth-root-authentication-method=normal", "--skip-test-db"]);
        servers::done(install);
    })
}

/// A server that runs until it is dropped, with the database `crm`.
pub(crate) struct Maria {
    pub(crate) port: u16,
    program: PathBuf,
    id: u32,
    dir: tempfile::TempDir,
    process: Child,
    runtime: Runtime,
}

impl Drop for Maria {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

impl Maria {
    /// A server; none, and a visible skip, where MariaDB is not installed. On another port where somebody took the first.
    pub(crate) fn start(what: &str) -> Option<Self> {
        Self::start_as(what, 1)
    }

    /// The same with a server id of its own, for one that replicates another.
    pub(crate) fn start_as(what: &str, id: u32) -> Option<Self> {
        let missing = match installed("mariadbd") {
            None => "MariaDB is not installed",
            Some(_) if ACCOUNT.is_missing() => "there is no user mysql",
            Some(program) => return Some(Self::of(program, id)),
        };
        println!("SKIPPED: {what}: {missing}");
        None
    }

    fn of(program: PathBuf, id: u32) -> Self {
        let dir = ACCOUNT.folder();
        servers::copy(&prepared(), &dir.path().join("data"));
        let root = MySqlConnectOptions::new().socket(dir.path().join("socket")).username("root");
        let root = root.disable_statement_logging();
        let launch = |port| launch(&program, dir.path(), port, id);
        let Answering { port, process, runtime, session } =
            servers::answering(dir.path(), launch, async |_| root.connect().await);
        let this = Self { port, program, id, dir, process, runtime };
        this.prepare(session);
        this
    }

    fn prepare(&self, mut session: MySqlConnection) {
        let statements = format!(
            "create user {ADMIN}@'%' identified by '{PASSWORD}'; grant all on *.* to {ADMIN}@'%' with grant option;
             create user {ADMIN}@'localhost' identified by '{PASSWORD}'; grant all on *.* to {ADMIN}@'localhost' with grant option;
             create database crm default charset utf8mb4"
        );
        let made = async {
            sqlx::raw_sql(AssertSqlSafe(statements)).execute(&mut session).await?;
            session.close().await
        };
        self.runtime.block_on(made).expect("users");
    }

    /// Carries out statements as the administrator.
    #[track_caller]
    pub(crate) fn sql(&self, database: &str, statements: &str) {
        if let Err(error) = self.try_sql(database, statements) {
            panic!("{statements}: {error}: {}", self.dir.path().display());
        }
    }

    /// The same, which may fail.
    pub(crate) fn try_sql(&self, database: &str, statements: &str) -> Result<(), sqlx::Error> {
        self.with(database, async |session| {
            sqlx::raw_sql(AssertSqlSafe(statements.to_owned())).execute(session).await.map(drop)
        })
    }

    /// The one value that a query answers, as text; empty for NULL.
    #[track_caller]
    pub(crate) fn text(&self, database: &str, query: &str) -> String {
        let asked = format!("select coalesce(cast(({query}) as char), '')");
        let answered = self.with(database, async |session| {
            sqlx::query_scalar::<_, String>(AssertSqlSafe(asked)).fetch_one(session).await
        });
        answered.unwrap_or_else(|error| panic!("{query}: {error}"))
    }

    /// Waits until a query answers `wanted`.
    #[track_caller]
    pub(crate) fn until(&self, database: &str, query: &str, wanted: &str) {
        servers::until(query, wanted, || self.text(database, query));
    }

    fn with<T>(
        &self,
        database: &str,
        work: impl AsyncFnOnce(&mut MySqlConnection) -> Result<T, sqlx::Error>,
    ) -> Result<T, sqlx::Error> {
        self.runtime.block_on(async {
            let mut session = self.options(ADMIN).database(database).connect().await?;
            let worked = work(&mut session).await?;
            session.close().await?;
            Ok(worked)
        })
    }

    /// Options of a session with the database `crm` as any user.
    pub(crate) fn options(&self, user: &str) -> MySqlConnectOptions {
        MySqlConnectOptions::new()
            .host("127.0.0.1")
            .port(self.port)
            .username(user)
            .password(PASSWORD)
            .database("crm")
            .ssl_mode(MySqlSslMode::Disabled)
            .disable_statement_logging()
    }

    /// Stops it as a crash would.
    pub(crate) fn stop(&mut self) {
        self.process.kill().expect("it is ours");
        self.process.wait().expect("it is ours");
    }

    /// Starts it again on the same port.
    pub(crate) fn restart(&mut self) {
        self.process = launch(&self.program, self.dir.path(), self.port, self.id);
        let began = Instant::now();
        while self.try_sql("crm", "do 1").is_err() {
            assert!(
                began.elapsed() < PATIENCE,
                "{} does not start again",
                self.dir.path().display()
            );
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// Has it speak TLS, too, under this certificate; it is started again for that.
    pub(crate) fn encrypt(&mut self, certificate: &str, key: &str) {
        for (name, pem) in [(CERTIFICATE, certificate), (KEY, key)] {
            let path = self.dir.path().join(name);
            fs::write(&path, pem).expect("a file");
            fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).expect("it is ours");
            ACCOUNT.give(&path);
        }
        self.stop();
        self.restart();
        assert_eq!(self.text("crm", "@@have_ssl"), "YES");
    }

    /// A system of a runbook with this database.
    pub(crate) fn system(&self, database: &str) -> String {
        format!("host=127.0.0.1 port={} dbname={database} user={ADMIN}", self.port)
    }
}

fn launch(program: &Path, dir: &Path, port: u16, id: u32) -> Child {
    let mut server = ACCOUNT.command(program);
    let at = |name: &str| dir.join(name).display().to_string();
    server.arg("--no-defaults").args([
        format!("--datadir={}", at("data")),
        format!("--socket={}", at("socket")),
        format!("--pid-file={}", at("pid")),
        format!("--tmpdir={}", dir.display()),
        format!("--port={port}"),
        "--bind-address=127.0.0.1".to_owned(),
        "--innodb-buffer-pool-size=32M".to_owned(),
        // What a killed server has committed is there when it is started again.
        "--innodb-flush-log-at-trx-commit=2".to_owned(),
        "--innodb-flush-method=nosync".to_owned(),
        "--sync-frm=0".to_owned(),
        format!("--server-id={id}"),
        "--log-bin=binlog".to_owned(),
        "--binlog-format=row".to_owned(),
        "--gtid-strict-mode".to_owned(),
        "--relay-log=relay".to_owned(),
        "--log-slave-updates".to_owned(),
        "--skip-name-resolve".to_owned(),
        "--character-set-server=utf8mb4".to_owned(),
    ]);
    if dir.join(CERTIFICATE).exists() {
        server.args([format!("--ssl-cert={}", at(CERTIFICATE)), format!("--ssl-key={}", at(KEY))]);
    }
    server.stderr(servers::log(dir)).spawn().expect("setpriv is part of util-linux")
}
