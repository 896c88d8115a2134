//! Throw-away MariaDB servers on loopback, each with a folder of its own, ended with the test.
//!
//! One data folder is prepared once and copied for each server. Nothing is synced to disk: these tests interrupt this program,
//! never MariaDB's own disk.

use std::fs;
use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use sqlx::mysql::{MySqlConnectOptions, MySqlSslMode};
use sqlx::{AssertSqlSafe, ConnectOptions as _, Connection as _, MySqlConnection};
use tokio::runtime::Runtime;

/// Who may do everything, and the password.
pub(crate) const ADMIN: &str = "admin";
pub(crate) const PASSWORD: &str = "loopback-only-Xy7";
/// How long a server may take to do what a test waits for.
const PATIENCE: Duration = Duration::from_mins(1);

fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}

fn installed(program: &str) -> Option<PathBuf> {
    let folders = ["/usr/sbin", "/usr/bin", "/usr/local/bin"];
    folders.iter().map(|folder| Path::new(folder).join(program)).find(|path| path.exists())
}

/// Whom the servers belong to, when this is root.
fn user_id() -> Option<u32> {
    let users = fs::read_to_string("/etc/passwd").ok()?;
    let line = users.lines().find(|line| line.starts_with("mysql:"))?;
    line.split(':').nth(2)?.parse().ok()
}

/// A program of the servers' user that dies with whoever started it.
fn command(program: &Path) -> Command {
    let mut command = Command::new("setpriv");
    command.args(["--pdeathsig", "KILL"]);
    if is_root() {
        command.args(["--reuid=mysql", "--regid=mysql", "--clear-groups"]);
    }
    command.arg(program).current_dir("/").stdin(Stdio::null()).stdout(Stdio::null());
    command.env_clear().env("PATH", "/usr/bin:/bin:/usr/sbin:/sbin").env("LC_ALL", "C");
    command
}

fn give(path: &Path) {
    if let Some(user) = user_id().filter(|_| is_root()) {
        std::os::unix::fs::chown(path, Some(user), None).expect("root may");
    }
}

/// The data folder that is copied, made by whoever comes first.
fn prepared() -> PathBuf {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR"));
    let data = folder.join("mariadb-data");
    let lock = fs::File::create(folder.join("mariadb.lock")).expect("a file");
    lock.lock().expect("a lock");
    if !data.exists() {
        let making = folder.join("mariadb-making");
        let _ = fs::remove_dir_all(&making);
        fs::create_dir(&making).expect("a folder");
        give(&making);
        let mut install =
            command(&installed("mariadb-install-db").expect("it comes with the server"));
        install.arg("--no-defaults").arg(format!("--datadir={}", making.display()));
        install.args(["--auth-root-authentication-method=normal", "--skip-test-db"]);
        let output = install.stderr(Stdio::piped()).output().expect("it starts");
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        fs::rename(&making, &data).expect("renamed");
    }
    data
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
            Some(_) if is_root() && user_id().is_none() => "there is no user mysql",
            Some(program) => return Some(Self::of(&program)),
        };
        println!("SKIPPED: {what}: {missing}");
        None
    }

    fn of(program: &Path) -> Self {
        let dir = tempfile::tempdir().expect("a folder");
        fs::set_permissions(dir.path(), fs::Permissions::from_mode(0o755)).expect("it is ours");
        give(dir.path());
        let copied = Command::new("cp")
            .args(["-a", "--reflink=auto"])
            .arg(prepared())
            .arg(dir.path().join("data"))
            .status();
        assert!(copied.expect("cp").success());
        for _ in 0..20 {
            let port = TcpListener::bind("127.0.0.1:0").and_then(|it| it.local_addr());
            let port = port.expect("a free port").port();
            let mut process = launch(program, dir.path(), port);
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
            let runtime = runtime.expect("a runtime");
            let began = Instant::now();
            while process.try_wait().expect("it is ours").is_none() && began.elapsed() < PATIENCE {
                let socket = dir.path().join("socket");
                let root = MySqlConnectOptions::new().socket(socket).username("root");
                if let Ok(session) = runtime.block_on(root.disable_statement_logging().connect()) {
                    let this = Self { port, dir, process, runtime };
                    this.prepare(session);
                    return this;
                }
                std::thread::sleep(Duration::from_millis(20));
            }
            let _ = process.kill();
            let _ = process.wait();
        }
        panic!(
            "no server starts: {}",
            fs::read_to_string(dir.path().join("log")).unwrap_or_default()
        )
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
    let log = fs::File::options().create(true).append(true).open(dir.join("log")).expect("a file");
    let mut server = command(program);
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
    server.stderr(log).spawn().expect("setpriv is part of util-linux")
}
