//! Throw-away MariaDB servers on loopback, each with a folder of its own, ended with the test.
//!
//! One data folder is prepared once and copied for each server. Nothing is synced to disk: these tests interrupt this program,
//! never MariaDB's own disk.

use std::path::{Path, PathBuf};
use std::process::Child;

use sqlx::mysql::{MySqlConnectOptions, MySqlSslMode};
use sqlx::{AssertSqlSafe, ConnectOptions as _, Connection as _, MySqlConnection};
use tokio::runtime::Runtime;

use crate::servers::{self, Account, Answering};

/// Who may do everything, and the password.
pub(crate) const ADMIN: &str = "admin";
pub(crate) const PASSWORD: &str = "loopback-only-Xy7";
const ACCOUNT: Account = Account("mysql");

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
        let missing = match installed("mariadbd") {
            None => "MariaDB is not installed",
            Some(_) if ACCOUNT.is_missing() => "there is no user mysql",
            Some(program) => return Some(Self::of(&program)),
        };
        println!("SKIPPED: {what}: {missing}");
        None
    }

    fn of(program: &Path) -> Self {
        let dir = ACCOUNT.folder();
        servers::copy(&prepared(), &dir.path().join("data"));
        let root = MySqlConnectOptions::new().socket(dir.path().join("socket")).username("root");
        let root = root.disable_statement_logging();
        let launch = |port| launch(program, dir.path(), port);
        let Answering { port, process, runtime, session } =
            servers::answering(dir.path(), launch, async |_| root.connect().await);
        let this = Self { port, dir, process, runtime };
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
        let options = MySqlConnectOptions::new()
            .host("127.0.0.1")
            .port(self.port)
            .username(ADMIN)
            .password(PASSWORD)
            .database(database)
            .ssl_mode(MySqlSslMode::Disabled)
            .disable_statement_logging();
        let ran = self.runtime.block_on(async {
            let mut session = options.connect().await?;
            sqlx::raw_sql(AssertSqlSafe(statements.to_owned())).execute(&mut session).await?;
            session.close().await
        });
        if let Err(error) = ran {
            panic!("{statements}: {error}: {}", self.dir.path().display());
        }
    }

    /// A system of a runbook with this database.
    pub(crate) fn system(&self, database: &str) -> String {
        format!("host=127.0.0.1 port={} dbname={database} user={ADMIN}", self.port)
    }
}

fn launch(program: &Path, dir: &Path, port: u16) -> Child {
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
        "--innodb-flush-log-at-trx-commit=0".to_owned(),
        "--innodb-flush-method=nosync".to_owned(),
        "--sync-frm=0".to_owned(),
        "--server-id=1".to_owned(),
        "--log-bin=binlog".to_owned(),
        "--log-slave-updates".to_owned(),
        "--skip-name-resolve".to_owned(),
        "--character-set-server=utf8mb4".to_owned(),
    ]);
    server.stderr(servers::log(dir)).spawn().expect("setpriv is part of util-linux")
}
