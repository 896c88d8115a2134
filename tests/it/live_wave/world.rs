//! The world that `runbooks/postgres-near-zero.yaml` is written for, on loopback: two PostgreSQL servers of which one follows the
//! other by logical replication, BIND for the name, an application on each side. Everything ends with the test.

use std::fs;
use std::time::Duration;

use domain::base::Rtype;
use migrate::clock::Clock;

use super::application::{Application, Site};
use super::client::Order;
use crate::lab::Lab;
use crate::names::servers::{ALL, KEY, Make, NameServer, SECRET, ZONE};
use crate::postgres::client::ids;
use crate::postgres::cluster::{Cluster, PASSWORD};
use crate::postgres::cutover::catalogue;
use crate::postgres::replicas::Replicas;
use crate::writing::{FIRST, judge};

/// The name by which clients find the application.
pub(crate) const NAME: &str = "crm.mig.test";
const RUNBOOK: &str = "runbooks/postgres-near-zero.yaml";

/// See the module.
pub(crate) struct World {
    pub(crate) replicas: Replicas,
    pub(crate) names: NameServer,
    pub(crate) source: Application,
    pub(crate) target: Application,
}

impl World {
    /// None, and a visible skip, where a server is not installed.
    pub(crate) fn start(what: &str) -> Option<Self> {
        if !Make::Bind.is_here(what) {
            return None;
        }
        let replicas = Replicas::logical(what, 1000)?;
        // Nobody writes there before it is opened.
        replicas.target.sql("crm", "alter role app nologin");
        let source = Application::start(Site::Source, &replicas.source);
        let target = Application::start(Site::Target, &replicas.target);
        Some(Self { replicas, names: NameServer::start(Make::Bind, ALL), source, target })
    }

    /// The runbook as it stands, but for its window and its `vars`: those are of this world.
    pub(crate) fn runbook(&self, lab: &Lab, watch: Duration) -> String {
        lab.write("crm-db.password", PASSWORD);
        lab.write("tsig.key", SECRET);
        let now = Clock::system().now();
        let window = format!(
            "window: {{ opens: {now}, closes: {}, rollback_reserve: 30m }}\n",
            now + Duration::from_hours(4)
        );
        let text = fs::read_to_string(RUNBOOK).expect("a runbook");
        let text = with_paragraph(&text, "vars:", &self.vars(watch));
        lab.write("postgres-near-zero.yaml", &with_line(&text, "window:", &window))
    }

    fn vars(&self, watch: Duration) -> String {
        let database = |cluster: &Cluster| {
            format!("host=127.0.0.1 port={} dbname=crm user=migrate", cluster.port)
        };
        let (names, watch) = (self.names.address, watch.as_secs());
        format!(
            "vars:
  source_db: {}
  target_db: {}
  source_app: {}
  target_app: {}
  zone: {ZONE}
  primary: \"{names}\"
  servers: [\"{names}\"]
  key: {KEY}
  ttl: 1
  caught_up_for: 1s
  # Whoever looks at these servers is one.
  accepted: [superusers]
  watch: {watch}s
  every: 1s
",
            database(&self.replicas.source),
            database(&self.replicas.target),
            self.source.url(),
            self.target.url(),
        )
    }

    /// What the name leads to, with its TTL.
    pub(crate) fn leads_to(&self) -> Vec<String> {
        self.names.values("crm", Rtype::CNAME)
    }

    /// Everything that the wave changes and a rollback restores: logins, defaults and marks on both sides, where the target's
    /// sequences stand, who follows whom, what the name leads to.
    pub(crate) fn state(&self) -> Vec<String> {
        let Replicas { source, target } = &self.replicas;
        let sequence = "select last_value || ' ' || is_called from customers_id_seq";
        let mut state = vec![catalogue(source), catalogue(target), target.text("crm", sequence)];
        state.extend([Replicas::ways(source), Replicas::ways(target)]);
        state.extend(self.leads_to());
        state
    }

    /// What was acknowledged is at the target, and the source has nothing that the target has not.
    #[track_caller]
    pub(crate) fn judge(&self, acknowledged: &[Order]) {
        let (source, target) = (ids(&self.replicas.source), ids(&self.replicas.target));
        judge(acknowledged.iter().map(|it| it.id), &source, &target);
        assert!(source.first() == Some(&FIRST), "the client never wrote at the source");
    }
}

/// The text with another line instead of the one that begins like that.
pub(crate) fn with_line(text: &str, begins: &str, other: &str) -> String {
    let at = text.find(&format!("\n{begins}")).expect("the runbook has it") + 1;
    let end = text[at..].find('\n').map_or(text.len(), |length| at + length + 1);
    format!("{}{other}{}", &text[..at], &text[end..])
}

/// The same with a paragraph, which ends at an empty line.
pub(crate) fn with_paragraph(text: &str, begins: &str, other: &str) -> String {
    let at = text.find(&format!("\n{begins}")).expect("the runbook has it") + 1;
    let end = text[at..].find("\n\n").map_or(text.len(), |length| at + length + 1);
    format!("{}{other}{}", &text[..at], &text[end..])
}
