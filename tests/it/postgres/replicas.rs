//! Two servers of which one follows the other.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use migrate::database::postgres::{Named, Pair, Server};
use migrate::diagnostic::redact::Secrets;
use migrate::plan::SecretRef;
use migrate::run::RunId;
use serde_json::{Value, json};

use super::cluster::{ADMIN, Cluster, PASSWORD};
use crate::lab::Lab;

const TABLES: &str = "
create table orders (id bigint primary key, item text not null, at timestamptz not null default clock_timestamp());
create table customers (id serial primary key, name text not null);
create role app login password 'loopback-only-Xy7';
grant select, insert, update, delete on all tables in schema public to app;
grant usage, select on all sequences in schema public to app;
";

/// See the module.
pub(crate) struct Replicas {
    pub(crate) source: Cluster,
    pub(crate) target: Cluster,
}

impl Replicas {
    /// A publication of all tables and its subscriber, with `rows` orders copied.
    pub(crate) fn logical(what: &str, rows: u64) -> Option<Self> {
        let (source, target) = (Cluster::start(what)?, Cluster::start(what)?);
        source.sql("crm", TABLES);
        target.sql("crm", TABLES);
        source.sql(
            "crm",
            &format!("insert into orders select n, 'item ' || n from generate_series(1, {rows}) n"),
        );
        source.sql(
            "crm",
            "insert into customers (name) select 'customer ' || n from generate_series(1, 10) n",
        );
        source.sql("crm", "create publication mig for all tables");
        let link = format!(
            "host=127.0.0.1 port={} dbname=crm user={ADMIN} password={PASSWORD}",
            source.port
        );
        target
            .sql("crm", &format!("create subscription migsub connection '{link}' publication mig"));
        let pair = Self { source, target };
        pair.complete();
        Some(pair)
    }

    /// A primary and its physical standby.
    pub(crate) fn physical(what: &str) -> Option<Self> {
        let source = Cluster::start(what)?;
        source.sql("crm", TABLES);
        let target = source.standby();
        target.until("crm", "select pg_is_in_recovery() and exists (select from pg_stat_wal_receiver where status = 'streaming')", "true");
        Some(Self { source, target })
    }

    /// Waits until every table has been copied.
    pub(crate) fn complete(&self) {
        let open = "select count(*) from pg_subscription_rel where srsubstate <> 'r'";
        self.target.until("crm", open, "0");
    }

    /// Everything that is in the two tables.
    pub(crate) fn content(cluster: &Cluster) -> String {
        cluster.text(
            "crm",
            "select md5(string_agg(line, chr(10) order by line)) from
                (select o::text as line from orders o union all select c::text from customers c) lines",
        )
    }

    /// Subscriptions, publications and slots of a server: who follows whom, and by what.
    pub(crate) fn ways(cluster: &Cluster) -> String {
        cluster.text(
            "crm",
            "select (select coalesce(string_agg(concat_ws(' ', subname, subenabled, subslotname, subpublications), ', '), '') from pg_subscription)
                || '; ' || (select coalesce(string_agg(pubname, ', '), '') from pg_publication)
                || '; ' || (select coalesce(string_agg(slot_name, ', '), '') from pg_replication_slots)",
        )
    }

    /// The library's own view of both.
    pub(crate) async fn pair(&self) -> Pair {
        let link = |cluster: &Cluster| json!({ "postgres": format!("host=127.0.0.1 port={} dbname=crm user={ADMIN} connect_timeout=2", cluster.port), "password": "db" });
        let systems: BTreeMap<String, Value> = [("source", &self.source), ("target", &self.target)]
            .map(|(name, it)| (name.to_owned(), link(it)))
            .into();
        let dir = tempfile::tempdir().expect("a folder");
        std::fs::write(dir.path().join("db"), PASSWORD).expect("a file");
        let references = BTreeMap::from([("db".to_owned(), SecretRef::File("db".to_owned()))]);
        let secrets = Secrets::new(references).relative_to(dir.path());
        let server = async |name| {
            let server =
                Server::of(name, &systems, &secrets, Path::new(""), &RunId::new("test")).await;
            server.expect("a server").with_statement_limit(Duration::from_secs(5))
        };
        let pair =
            Pair::find(server("source").await, server("target").await, Named::default()).await;
        pair.expect("one follows the other")
    }

    /// A runbook of these steps with the systems `source` and `target`, in a lab that holds the password.
    pub(crate) fn runbook(&self, lab: &Lab, steps: &str) -> String {
        let (source, target) = (self.source.system(), self.target.system());
        lab.pair(PASSWORD, &source, &target, steps)
    }
}
