//! What throw-away database servers have in common: an account that is not root, programs that die with the test, a data
//! folder that is made once and copied, a free port, certificates.

use std::fs;
use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use tokio::runtime::Runtime;

/// How long a server may take to do what a test waits for.
pub(crate) const PATIENCE: Duration = Duration::from_mins(1);

/// Whom a server belongs to where this is root, which the servers refuse to be.
#[derive(Clone, Copy)]
pub(crate) struct Account(pub(crate) &'static str);

impl Account {
    fn id(self) -> Option<u32> {
        let users = fs::read_to_string("/etc/passwd").ok()?;
        let line = users.lines().find(|line| line.split(':').next() == Some(self.0))?;
        line.split(':').nth(2)?.parse().ok()
    }

    /// It is needed, and not there.
    pub(crate) fn is_missing(self) -> bool {
        is_root() && self.id().is_none()
    }

    /// A program of this account that dies with whoever started it.
    pub(crate) fn command(self, program: &Path) -> Command {
        let mut command = Command::new("setpriv");
        command.args(["--pdeathsig", "KILL"]);
        if is_root() {
            let user = self.0;
            command.args([&format!("--reuid={user}"), &format!("--regid={user}")]);
            command.arg("--clear-groups");
        }
        command.arg(program).current_dir("/").stdin(Stdio::null()).stdout(Stdio::null());
        command.env_clear().env("PATH", "/usr/bin:/bin:/usr/sbin:/sbin").env("LC_ALL", "C");
        command
    }

    pub(crate) fn give(self, path: &Path) {
        if let Some(user) = self.id().filter(|_| is_root()) {
            std::os::unix::fs::chown(path, Some(user), None).expect("root may");
        }
    }

    /// A folder of its own, where it finds its way from outside.
    pub(crate) fn folder(self) -> tempfile::TempDir {
        let dir = tempfile::tempdir().expect("a folder");
        fs::set_permissions(dir.path(), fs::Permissions::from_mode(0o755)).expect("it is ours");
        self.give(dir.path());
        dir
    }

    /// The data folder that is copied; whoever comes first has it made.
    pub(crate) fn prepared(self, name: &str, make: impl FnOnce(&Path)) -> PathBuf {
        let folder = Path::new(env!("CARGO_TARGET_TMPDIR"));
        let data = folder.join(name);
        let lock = fs::File::create(folder.join(format!("{name}.lock"))).expect("a file");
        lock.lock().expect("a lock");
        if !data.exists() {
            let making = folder.join(format!("{name}-making"));
            let _ = fs::remove_dir_all(&making);
            fs::create_dir(&making).expect("a folder");
            self.give(&making);
            make(&making);
            fs::rename(&making, &data).expect("renamed");
        }
        data
    }
}

fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}

/// Runs it to its good end.
#[track_caller]
pub(crate) fn done(mut command: Command) {
    let output = command.stdout(Stdio::piped()).stderr(Stdio::piped()).output().expect("it starts");
    assert!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&output.stderr));
}

/// Copies a prepared data folder, owners and all.
pub(crate) fn copy(from: &Path, to: &Path) {
    let mut copy = Command::new("cp");
    copy.args(["-a", "--reflink=auto"]).arg(from).arg(to);
    done(copy);
}

/// What a server says of itself, in its folder.
pub(crate) fn log(dir: &Path) -> fs::File {
    fs::File::options().create(true).append(true).open(dir.join("log")).expect("a file")
}

/// A server that answers.
pub(crate) struct Answering<T> {
    pub(crate) port: u16,
    pub(crate) process: Child,
    pub(crate) runtime: Runtime,
    /// The first session.
    pub(crate) session: T,
}

/// Launches a server on a free port until one answers: on another port where somebody took the first.
pub(crate) fn answering<T>(
    dir: &Path,
    launch: impl Fn(u16) -> Child,
    connect: impl AsyncFn(u16) -> Result<T, sqlx::Error>,
) -> Answering<T> {
    for _ in 0..20 {
        let port = TcpListener::bind("127.0.0.1:0").and_then(|it| it.local_addr());
        let port = port.expect("a free port").port();
        let mut process = launch(port);
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        let runtime = runtime.expect("a runtime");
        let began = Instant::now();
        while process.try_wait().expect("it is ours").is_none() && began.elapsed() < PATIENCE {
            if let Ok(session) = runtime.block_on(connect(port)) {
                return Answering { port, process, runtime, session };
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        let _ = process.kill();
        let _ = process.wait();
    }
    panic!("no server starts: {}", fs::read_to_string(dir.join("log")).unwrap_or_default())
}

/// Waits until a query is answered with `wanted`.
#[track_caller]
pub(crate) fn until(query: &str, wanted: &str, ask: impl Fn() -> String) {
    let began = Instant::now();
    loop {
        let found = ask();
        if found == wanted {
            return;
        }
        assert!(began.elapsed() < PATIENCE, "{query}: still {found}, never {wanted}");
        std::thread::sleep(Duration::from_millis(10));
    }
}

/// A CA, and a server's certificate and key for an address or a name.
pub(crate) fn certified(to: &str) -> [String; 3] {
    let made = || {
        let ca_key = rcgen::KeyPair::generate()?;
        let mut ca = rcgen::CertificateParams::new(Vec::new())?;
        ca.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
        let root = ca.self_signed(&ca_key)?;
        let key = rcgen::KeyPair::generate()?;
        let own = rcgen::CertificateParams::new([to.to_owned()])?;
        let own = own.signed_by(&key, &rcgen::Issuer::from_params(&ca, &ca_key))?;
        Ok::<_, rcgen::Error>([root.pem(), own.pem(), key.serialize_pem()])
    };
    made().expect("certificates")
}
