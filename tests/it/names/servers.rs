//! Real name servers on loopback: BIND and Knot, each on a free port with a throw-away folder, ended with the test.

use std::fmt::Write as _;
use std::fs;
use std::io::{BufRead as _, BufReader, Write as _};
use std::net::{SocketAddr, TcpListener, UdpSocket};
use std::path::Path;
use std::process::{Child, Command, Stdio};

use domain::base::iana::{Opcode, Rcode};
use domain::base::{MessageBuilder, Rtype};
use migrate::dns::record::{Rdata, name};
use migrate::dns::{Mode, Reply, ask};

/// Name of the key that every server of these tests knows.
pub(crate) const KEY: &str = "mig-key";
/// Its secret.
pub(crate) const SECRET: &str = "bWlncmF0ZS10ZXN0LWtleS1vbi1sb29wYmFjay1vbmx5";
/// The zone that each of them keeps.
pub(crate) const ZONE: &str = "mig.test";

const RECORDS: &str = "\
$TTL 300
@ SOA ns1 hostmaster 100 3600 300 86400 60
@ NS ns1
ns1 A 127.0.0.1
@ A 192.0.2.1
@ MX 10 mail-source
mail-source A 192.0.2.13
@ TXT \"v=spf1 -all\"
app A 192.0.2.10
app AAAA 2001:db8::10
alias CNAME source
source A 192.0.2.11
cut TXT \"ab\" \"cd\"
_sip._tcp SRV 0 5 5060 source
quick 2 A 192.0.2.12
crm 2 CNAME crm-source
crm-source A 127.0.0.1
crm-target A 127.0.0.1
";

/// Which program.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Make {
    Bind,
    Knot,
}

impl Make {
    fn program(self) -> &'static str {
        match self {
            Self::Bind => "named",
            Self::Knot => "knotd",
        }
    }

    /// Says so where the program is missing.
    pub(crate) fn is_here(self, what: &str) -> bool {
        let missing = [self.program(), "nsupdate"].into_iter().find(|program| {
            let asked = Command::new(program).arg("-V").stdin(Stdio::null()).output();
            asked.is_err()
        });
        if let Some(missing) = missing {
            println!("SKIPPED: {what}: {missing} is not installed");
        }
        missing.is_none()
    }
}

/// A server that runs until it is dropped.
pub(crate) struct NameServer {
    pub(crate) address: SocketAddr,
    process: Child,
    dir: tempfile::TempDir,
}

impl Drop for NameServer {
    fn drop(&mut self) {
        // It is ours, and nothing of it is kept.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// Every type that these tests move.
pub(crate) const ALL: &[&str] = &["A", "AAAA", "CNAME", "TXT", "MX", "SRV"];

/// The same, and one that they do not.
pub(crate) const ANY: &[&str] = &["A", "AAAA", "CNAME", "TXT", "MX", "SRV", "CAA"];

/// What a server is to the zone.
#[derive(Debug, Clone, Copy)]
enum Part<'a> {
    /// Keeps it, and takes updates of these types. Nobody is told of a new version.
    Primary(&'a [&'a str]),
    /// Took it from there as it started, and asks again when told to (Knot).
    Secondary(SocketAddr),
    /// Asks there, and remembers (BIND).
    Resolver(SocketAddr),
}

impl NameServer {
    /// Starts a primary that takes updates of these types.
    pub(crate) fn start(make: Make, types: &[&str]) -> Self {
        Self::playing(make, Part::Primary(types))
    }

    /// Starts a Knot that has the zone from a primary.
    pub(crate) fn secondary_of(primary: &Self) -> Self {
        Self::playing(Make::Knot, Part::Secondary(primary.address))
    }

    /// Starts a BIND that has answers of the zone from a server of it, and remembers them.
    pub(crate) fn resolver_over(server: &Self) -> Self {
        Self::playing(Make::Bind, Part::Resolver(server.address))
    }

    /// On another port where somebody took the first.
    fn playing(make: Make, part: Part<'_>) -> Self {
        (0..20).find_map(|_| Self::try_start(make, part)).expect("a name server that starts")
    }

    fn try_start(make: Make, part: Part<'_>) -> Option<Self> {
        let address = free_port();
        let dir = tempfile::tempdir().expect("a folder");
        fs::write(dir.path().join("zone"), RECORDS).expect("a zone");
        let config = match make {
            Make::Bind => bind_config(dir.path(), address, part),
            Make::Knot => knot_config(dir.path(), address, part),
        };
        let file = dir.path().join("config");
        fs::write(&file, config).expect("a configuration");
        let mut command = Command::new(make.program());
        match make {
            Make::Bind => command.args(["-g", "-n", "1", "-c"]).arg(&file),
            Make::Knot => command.arg("-c").arg(&file),
        };
        let (reader, writer) = std::io::pipe().expect("a pipe");
        command.stdin(Stdio::null()).stdout(writer.try_clone().expect("a pipe")).stderr(writer);
        let process = command.spawn().expect("it starts");
        drop(command);
        let server = Self { address, process, dir };
        let mut lines = BufReader::new(reader).lines().map_while(Result::ok);
        let ready = |line: &String| match part {
            Part::Secondary(_) => line.contains("serial none -> "),
            _ => line.ends_with(" running") || line.contains("server started"),
        };
        let mut said = String::new();
        let up = lines.any(|line| {
            let _ = writeln!(said, "{line}");
            ready(&line)
        });
        if !up {
            println!("{} ended: {said}", make.program());
            return None;
        }
        // What it says later is read, so that it never waits for a reader.
        std::thread::spawn(move || lines.for_each(drop));
        Some(server)
    }

    /// Asks it.
    pub(crate) fn ask(&self, label: &str, rtype: Rtype) -> Reply {
        let whole = if label == "@" { ZONE.to_owned() } else { format!("{label}.{ZONE}") };
        let asked = name(&whole).expect("a name");
        let runtime = tokio::runtime::Runtime::new().expect("a runtime");
        let reply = ask(self.address, &asked, rtype, Mode::AuthoritativeTcp);
        runtime.block_on(reply).expect("an answer")
    }

    /// What a resolver finds and remembers: the addresses of a name.
    pub(crate) fn resolve(&self, label: &str) -> Vec<String> {
        let asked = name(&format!("{label}.{ZONE}")).expect("a name");
        let runtime = tokio::runtime::Runtime::new().expect("a runtime");
        let reply = runtime.block_on(ask(self.address, &asked, Rtype::A, Mode::Recursive));
        reply.expect("an answer").answer.iter().map(|record| record.rdata.written()).collect()
    }

    /// The values it has, sorted, with their TTL: `192.0.2.10 60`.
    pub(crate) fn values(&self, label: &str, rtype: Rtype) -> Vec<String> {
        let reply = self.ask(label, rtype);
        assert!(reply.authoritative && matches!(reply.rcode, Rcode::NOERROR | Rcode::NXDOMAIN));
        let own = reply.answer.iter().filter(|record| record.rdata.rtype() == rtype);
        let mut values: Vec<_> =
            own.map(|record| format!("{} {}", Rdata::written(&record.rdata), record.ttl)).collect();
        values.sort();
        values
    }

    pub(crate) fn serial(&self) -> u32 {
        self.ask("@", Rtype::SOA).serial.expect("a serial")
    }

    /// Tells a secondary that there is a new version, and waits until it has it.
    pub(crate) fn catch_up_with(&self, primary: &Self) {
        let mut builder = MessageBuilder::new_vec();
        builder.header_mut().set_random_id();
        builder.header_mut().set_opcode(Opcode::NOTIFY);
        let mut builder = builder.question();
        let zone = name(ZONE).expect("a name");
        builder.push((&zone, Rtype::SOA)).expect("room");
        let socket = UdpSocket::bind("127.0.0.1:0").expect("a free port");
        socket.send_to(builder.into_message().as_slice(), self.address).expect("sent");
        while self.serial() != primary.serial() {
            std::thread::yield_now();
        }
    }

    /// Another hand changes the zone.
    pub(crate) fn other_hand(&self, lines: &str) {
        other_hand(self.address, self.dir.path(), lines);
    }
}

/// Changes a zone with BIND's own tool.
pub(crate) fn other_hand(server: SocketAddr, dir: &Path, lines: &str) {
    let key = dir.join("other.key");
    let text = format!("key \"{KEY}\" {{ algorithm hmac-sha256; secret \"{SECRET}\"; }};\n");
    fs::write(&key, text).expect("a key");
    let mut nsupdate = Command::new("nsupdate")
        .arg("-k")
        .arg(&key)
        .stdin(Stdio::piped())
        .spawn()
        .expect("nsupdate starts");
    let text = format!("server {} {}\nzone {ZONE}.\n{lines}\nsend\n", server.ip(), server.port());
    let mut input = nsupdate.stdin.take().expect("a pipe");
    input.write_all(text.as_bytes()).expect("it reads");
    drop(input);
    assert!(nsupdate.wait().expect("it ends").success(), "{lines}");
}

/// A port of 127.0.0.1 that was free for both transports a moment ago.
fn free_port() -> SocketAddr {
    loop {
        let tcp = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let address = tcp.local_addr().expect("bound");
        if UdpSocket::bind(address).is_ok() {
            return address;
        }
    }
}

fn bind_config(dir: &Path, address: SocketAddr, plays: Part<'_>) -> String {
    let (dir, port) = (dir.display(), address.port());
    let (recursion, zone) = match plays {
        Part::Resolver(server) => (
            "yes",
            format!(
                "type forward; forward only; forwarders {{ {} port {}; }};",
                server.ip(),
                server.port()
            ),
        ),
        Part::Primary(types) => (
            "no",
            format!(
                "type primary; file \"zone\"; update-policy {{ grant {KEY} zonesub {}; }};",
                types.join(" ")
            ),
        ),
        Part::Secondary(_) => unreachable!("only Knot plays it"),
    };
    format!(
        "key \"{KEY}\" {{ algorithm hmac-sha256; secret \"{SECRET}\"; }};
options {{
    directory \"{dir}\"; pid-file none; lock-file none; session-keyfile none;
    listen-on port {port} {{ 127.0.0.1; }}; listen-on-v6 {{ none; }};
    recursion {recursion}; dnssec-validation no; notify no; allow-transfer {{ key {KEY}; }};
    empty-zones-enable no;
}};
controls {{ }};
zone \"{ZONE}\" {{ {zone} }};
"
    )
}

fn knot_config(dir: &Path, address: SocketAddr, plays: Part<'_>) -> String {
    let (dir, port) = (dir.display(), address.port());
    let (acl, zone) = match plays {
        Part::Primary(types) => (
            format!(
                "    key: {KEY}\n    action: update\n    update-type: [{}]\n",
                types.join(", ")
            ),
            "    file: zone\n    zonefile-load: whole\n".to_owned(),
        ),
        Part::Secondary(primary) => (
            format!(
                "    address: 127.0.0.1\n    action: notify\nremote:\n  - id: main\n    address: {}@{}\n    key: {KEY}\n",
                primary.ip(),
                primary.port()
            ),
            "    file: copy\n    master: main\n".to_owned(),
        ),
        Part::Resolver(_) => unreachable!("only BIND plays it"),
    };
    format!(
        "server:
  rundir: {dir}
  listen: 127.0.0.1@{port}
  udp-workers: 1
  tcp-workers: 1
  background-workers: 1
log:
  - target: stdout
    any: info
database:
  storage: {dir}
key:
  - id: {KEY}
    algorithm: hmac-sha256
    secret: {SECRET}
acl:
  - id: mig
{acl}zone:
  - domain: {ZONE}
    storage: {dir}
    acl: mig
{zone}"
    )
}
