//! Throw-away PostgreSQL servers on loopback, each with a folder of its own, ended with the test.
//!
//! One data folder is prepared once and copied for each server. Nothing is synced to disk: these tests interrupt this program,
//! never PostgreSQL's own disk.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command};
use std::sync::Mutex;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use sqlx::postgres::{PgConnectOptions, PgSslMode};
use sqlx::{AssertSqlSafe, ConnectOptions as _, Connection as _, PgConnection};
use tokio::runtime::Runtime;

use crate::servers::{self, Account, Answering, PATIENCE, done};

/// Who may do everything, and the password of every user.
pub(crate) const ADMIN: &str = "admin";
pub(crate) const PASSWORD: &str = "loopback-only-Xy7";
/// As whom this program works.
pub(crate) const TOOL: &str = "migrate";
const CONFIG: &str = "
listen_addresses = '127.0.0.1'
wal_level = logical
fsync = off
synchronous_commit = on
shared_buffers = 16MB
max_connections = 60
max_prepared_transactions = 4
wal_retrieve_retry_interval = 200ms
wal_receiver_status_interval = 1s
log_min_messages = warning
";

/// The folder of the newest server programs, which refuse to run as root; says so where there are none.
pub(crate) fn programs(what: &str) -> Option<PathBuf> {
    let installed = fs::read_dir("/usr/lib/postgresql").into_iter().flatten().flatten();
    let mut found: Vec<PathBuf> = installed
        .map(|entry| entry.path().join("bin"))
        .filter(|bin| bin.join("initdb").exists())
        .collect();
    found.sort();
    let missing = match found.last() {
        None => "PostgreSQL is not installed",
        Some(_) if ACCOUNT.is_missing() => "there is no user postgres",
        Some(_) => return found.pop(),
    };
    println!("SKIPPED: {what}: {missing}");
    None
}

const ACCOUNT: Account = Account("postgres");

/// A program of the servers' account that knows the password.
fn command(program: &Path) -> Command {
    let mut command = ACCOUNT.command(program);
    command.env("PGPASSWORD", PASSWORD);
    command
}

fn prepared(programs: &Path) -> PathBuf {
    let version = programs.parent().and_then(Path::file_name).expect("a version").to_string_lossy();
    ACCOUNT.prepared(&format!("postgres-{version}"), |making| {
        let password = making.with_extension("password");
        fs::write(&password, PASSWORD).expect("a file");
        ACCOUNT.give(&password);
        let mut initdb = command(&programs.join("initdb"));
        initdb.arg("-D").arg(making).arg("--pwfile").arg(&password);
        initdb.args(["-A", "scram-sha-256", "-U", ADMIN, "-E", "UTF8", "--locale=C", "--no-sync"]);
        done(initdb);
    })
}

/// A server that runs until it is dropped.
pub(crate) struct Cluster {
    pub(crate) port: u16,
    programs: PathBuf,
    dir: tempfile::TempDir,
    process: Child,
    runtime: Runtime,
    session: Mutex<Option<(String, PgConnection)>>,
}

impl Drop for Cluster {
    fn drop(&mut self) {
        // At once, and yet in such order that its shared memory does not outlive it.
        if let Ok(None) = self.process.try_wait() {
            let _ = kill_process(Pid::from_child(&self.process), Signal::QUIT);
        }
        let _ = self.process.wait();
    }
}

impl Cluster {
    /// An empty server with the database `crm`; none, and a visible skip, where PostgreSQL is not installed.
    pub(crate) fn start(what: &str) -> Option<Self> {
        let programs = programs(what)?;
        let cluster = Self::of(&programs, |data| {
            servers::copy(&prepared(&programs), data);
        });
        cluster.sql("postgres", "create database crm");
        cluster
            .sql("postgres", &format!("create role {TOOL} superuser login password '{PASSWORD}'"));
        Some(cluster)
    }

    /// A physical standby of this one, by its own slot `standby`.
    pub(crate) fn standby(&self) -> Self {
        Self::of(&self.programs, |data| {
            let mut backup = command(&self.programs.join("pg_basebackup"));
            let source =
                format!("host=127.0.0.1 port={} user={ADMIN} application_name=standby", self.port);
            backup.arg("-d").arg(source).arg("-D").arg(data);
            backup.args([
                "-R",
                "-X",
                "stream",
                "-C",
                "-S",
                "standby",
                "--checkpoint=fast",
                "--no-sync",
            ]);
            done(backup);
        })
    }

    /// On another port where somebody took the first.
    fn of(programs: &Path, fill: impl Fn(&Path)) -> Self {
        let dir = ACCOUNT.folder();
        fill(&dir.path().join("data"));
        let launch = |port| launch(programs, dir.path(), port);
        let connect = async |port| options(port, "postgres", ADMIN).connect().await;
        let Answering { port, process, runtime, session } =
            servers::answering(dir.path(), launch, connect);
        let session = Mutex::new(Some(("postgres".to_owned(), session)));
        Self { port, programs: programs.to_owned(), dir, process, runtime, session }
    }

    /// Stops it as a crash would, and starts it again on the same port.
    pub(crate) fn restart(&mut self) {
        self.stop();
        let began = Instant::now();
        // The children of the last one need a moment to leave.
        while self.runtime.block_on(options(self.port, "postgres", ADMIN).connect()).is_err() {
            assert!(
                began.elapsed() < PATIENCE,
                "{} does not start again",
                self.dir.path().display()
            );
            if self.process.try_wait().expect("it is ours").is_some() {
                self.process = launch(&self.programs, self.dir.path(), self.port);
            }
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// Has it speak TLS, too, under this certificate.
    pub(crate) fn encrypt(&self, certificate: &str, key: &str) {
        for (name, pem) in [("server.crt", certificate), ("server.key", key)] {
            let path = self.dir.path().join("data").join(name);
            fs::write(&path, pem).expect("a file");
            fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).expect("it is ours");
            ACCOUNT.give(&path);
        }
        self.sql("postgres", "alter system set ssl = on");
        self.sql("postgres", "select pg_reload_conf()");
        self.until("postgres", "select current_setting('ssl')", "on");
    }

    /// Stops it as a crash would.
    pub(crate) fn stop(&mut self) {
        *self.session.lock().expect("no panic") = None;
        self.process.kill().expect("it is ours");
        self.process.wait().expect("it is ours");
    }

    /// Carries out statements as the administrator.
    #[track_caller]
    pub(crate) fn sql(&self, database: &str, statements: &str) {
        if let Err(error) = self.try_sql(database, statements) {
            panic!("{statements}: {error}");
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
        let asked = format!("select coalesce(({query})::text, '')");
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
        work: impl AsyncFnOnce(&mut PgConnection) -> Result<T, sqlx::Error>,
    ) -> Result<T, sqlx::Error> {
        let mut slot = self.session.lock().expect("no panic");
        let open = slot.take().filter(|(open, _)| open == database);
        // A pause ends sessions, this one too.
        let open = open
            .and_then(|(_, mut open)| self.runtime.block_on(open.ping()).is_ok().then_some(open));
        let mut session = if let Some(open) = open {
            open
        } else {
            // It looks and mends also while a pause is on.
            let options = options(self.port, database, ADMIN);
            let options = options.options([("default_transaction_read_only", "off")]);
            self.runtime.block_on(options.connect())?
        };
        let result = self.runtime.block_on(work(&mut session));
        *slot = result.is_ok().then(|| (database.to_owned(), session));
        result
    }

    /// What it has said of itself.
    pub(crate) fn log(&self) -> String {
        fs::read_to_string(self.dir.path().join("log")).expect("a log")
    }

    /// Options of a session with the database `crm` as any user.
    pub(crate) fn options(&self, user: &str) -> PgConnectOptions {
        options(self.port, "crm", user)
    }

    /// The settings of a system in a runbook whose secret `db` holds the password.
    pub(crate) fn system(&self) -> String {
        self.system_as(TOOL)
    }

    /// The same as another user.
    pub(crate) fn system_as(&self, user: &str) -> String {
        format!(
            "{{ postgres: \"host=127.0.0.1 port={} dbname=crm user={user}\", password: db }}",
            self.port
        )
    }
}

fn launch(programs: &Path, dir: &Path, port: u16) -> Child {
    let settings =
        format!("{CONFIG}port = {port}\nunix_socket_directories = '{}'\n", dir.display());
    let config = dir.join("data/postgresql.conf");
    fs::write(&config, settings).expect("a file");
    ACCOUNT.give(&config);
    let mut server = command(&programs.join("postgres"));
    server.arg("-D").arg(dir.join("data")).stderr(servers::log(dir));
    server.spawn().expect("setpriv is part of util-linux")
}

fn options(port: u16, database: &str, user: &str) -> PgConnectOptions {
    PgConnectOptions::new_without_pgpass()
        .host("127.0.0.1")
        .port(port)
        .database(database)
        .username(user)
        .password(PASSWORD)
        .ssl_mode(PgSslMode::Disable)
        .disable_statement_logging()
}
