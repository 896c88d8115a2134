//! Two servers of which one replicates the other, over a link that can be cut without either noticing.

use std::io::{Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Condvar, Mutex};

use migrate::database::mysql::{Pair, Server};
use migrate::diagnostic::redact::Secrets;
use migrate::plan::SecretRef;
use serde_json::json;

use super::{ADMIN, Maria, PASSWORD};
use crate::lab::Lab;

const TABLES: &str = "
create table orders (id bigint primary key, item varchar(40) not null);
create table customers (id int auto_increment primary key, name varchar(40) not null);
insert into orders with recursive n as (select 1 as id union all select id + 1 from n where id < 100) select id, concat('item ', id) from n;
insert into customers (name) select item from orders where id <= 10;
";

/// See the module.
pub(crate) struct Replicas {
    pub(crate) source: Maria,
    pub(crate) target: Maria,
    pub(crate) link: Link,
}

impl Replicas {
    /// A source and its replica, by global transaction ids and with several appliers, with the same hundred orders.
    pub(crate) fn start(what: &str) -> Option<Self> {
        let (source, target) = (Maria::start_as(what, 1)?, Maria::start_as(what, 2)?);
        source.sql(
            "crm",
            &format!(
                "create user repl@'%' identified by '{PASSWORD}'; grant replication slave on *.* to repl@'%';
                 create user app@'%' identified by '{PASSWORD}'; grant select, insert, update, delete on crm.* to app@'%'"
            ),
        );
        target.sql(
            "crm",
            &format!("create user app@'%' identified by '{PASSWORD}'; grant select, insert, update, delete on crm.* to app@'%'"),
        );
        source.sql("crm", TABLES);
        target.sql("crm", TABLES);
        let link = Link::to(source.port);
        let pair = Self { source, target, link };
        // As after a first load: what the load wrote is no transaction of the target's own.
        pair.target.sql("crm", "reset master; set global slave_parallel_threads = 4");
        pair.target.sql("crm", &format!("set global gtid_slave_pos = '{}'", pair.end()));
        pair.follow(pair.link.port);
        Some(pair)
    }

    /// Lets the target replicate whoever answers at that port.
    pub(crate) fn follow(&self, port: u16) {
        self.target.sql(
            "crm",
            &format!(
                "stop slave; change master to master_host = '127.0.0.1', master_port = {port}, master_user = 'repl',
                    master_password = '{PASSWORD}', master_use_gtid = slave_pos, master_connect_retry = 1; start slave"
            ),
        );
    }

    /// Where the source's log ends.
    pub(crate) fn end(&self) -> String {
        self.source.text("crm", "@@global.gtid_binlog_pos")
    }

    /// Waits until the target says that it has passed that.
    #[track_caller]
    pub(crate) fn caught_up(&self) {
        let passed = format!("master_gtid_wait('{}', 60)", self.end());
        assert_eq!(self.target.text("crm", &passed), "0", "{passed}");
    }

    /// Everything that is in the two tables.
    pub(crate) fn content(server: &Maria) -> String {
        server.text(
            "crm",
            "select concat_ws(' ', count(*), coalesce(sum(crc32(concat_ws('#', id, item))), 0),
                (select sum(crc32(concat_ws('#', id, name))) from customers)) from orders",
        )
    }

    /// The library's own view of both.
    pub(crate) async fn pair(&self) -> Pair {
        let link = |server: &Maria| json!({ "mysql": format!("{} connect_timeout=2", server.system("crm")), "password": "db" });
        let systems = [("source", &self.source), ("target", &self.target)]
            .map(|(name, it)| (name.to_owned(), link(it)))
            .into();
        let dir = tempfile::tempdir().expect("a folder");
        std::fs::write(dir.path().join("db"), PASSWORD).expect("a file");
        let references = [("db".to_owned(), SecretRef::File("db".to_owned()))].into();
        let secrets = Secrets::new(references).relative_to(dir.path());
        let server =
            async |name| Server::of(name, &systems, &secrets, dir.path()).await.expect("a server");
        Pair::find(server("source").await, server("target").await, None)
            .await
            .expect("one replicates the other")
    }

    /// A runbook of these steps with the systems `source` and `target`, in a lab that holds the password.
    pub(crate) fn runbook(&self, lab: &Lab, steps: &str) -> String {
        self.runbook_as(lab, ADMIN, steps)
    }

    /// The same as another user.
    pub(crate) fn runbook_as(&self, lab: &Lab, user: &str, steps: &str) -> String {
        let system = |server: &Maria| {
            let system =
                server.system("crm").replace(&format!("user={ADMIN}"), &format!("user={user}"));
            format!("{{ mysql: \"{system}\", password: db }}")
        };
        let (source, target) = (system(&self.source), system(&self.target));
        lab.pair(PASSWORD, &source, &target, steps)
    }
}

/// Whether a link lets nothing through, and who waits for that to end.
type Frozen = Arc<(Mutex<bool>, Condvar)>;

/// A link to a server that can stand still: both ends stay connected and hear nothing.
pub(crate) struct Link {
    pub(crate) port: u16,
    frozen: Frozen,
}

impl Link {
    fn to(server: u16) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let port = listener.local_addr().expect("an address").port();
        let frozen = Frozen::default();
        let shared = Arc::clone(&frozen);
        // It ends with the process, its connections with either end.
        std::thread::spawn(move || {
            for replica in listener.incoming().map_while(Result::ok) {
                let Ok(server) = TcpStream::connect(("127.0.0.1", server)) else { continue };
                for (from, to) in [(&replica, &server), (&server, &replica)] {
                    let (from, to) =
                        (from.try_clone().expect("a socket"), to.try_clone().expect("a socket"));
                    let frozen = Arc::clone(&shared);
                    std::thread::spawn(move || pass(from, to, &frozen));
                }
            }
        });
        Self { port, frozen }
    }

    /// Nothing comes through any more.
    pub(crate) fn freeze(&self) {
        *self.frozen.0.lock().expect("no panic") = true;
    }

    /// What was held back comes through, and what is new.
    pub(crate) fn thaw(&self) {
        *self.frozen.0.lock().expect("no panic") = false;
        self.frozen.1.notify_all();
    }
}

fn pass(mut from: TcpStream, mut to: TcpStream, frozen: &Frozen) {
    let mut bytes = vec![0; 65_536];
    while let Ok(count @ 1..) = from.read(&mut bytes) {
        let open = frozen.0.lock().expect("no panic");
        drop(frozen.1.wait_while(open, |frozen| *frozen).expect("no panic"));
        if to.write_all(&bytes[..count]).is_err() {
            break;
        }
    }
    let _ = to.shutdown(std::net::Shutdown::Both);
}
