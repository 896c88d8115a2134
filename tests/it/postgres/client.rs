//! The application of the pairs here, which sets the read-only default back, and what it wrote.

use sqlx::postgres::PgConnectOptions;
use sqlx::{ConnectOptions as _, PgConnection};

use super::cluster::Cluster;
use super::replicas::Replicas;
use crate::writing::{Application, Client, FIRST, Side};

pub(super) struct Orders {
    source: PgConnectOptions,
    target: PgConnectOptions,
}

impl Application for Orders {
    type Session = PgConnection;

    async fn open(&self, side: Side) -> Option<PgConnection> {
        let options = if side == Side::Source { &self.source } else { &self.target };
        options.connect().await.ok()
    }

    async fn write(session: &mut PgConnection, id: i64) -> bool {
        let insert =
            "insert into public.orders (id, item) values ($1, 'new') on conflict (id) do nothing";
        sqlx::query(insert).bind(id).execute(session).await.is_ok()
    }
}

impl Orders {
    pub(super) fn of(replicas: &Replicas) -> Self {
        let open = |cluster: &Cluster| {
            cluster.options("app").options([("default_transaction_read_only", "off")])
        };
        Self { source: open(&replicas.source), target: open(&replicas.target) }
    }
}

/// A client that writes from now on.
pub(crate) fn start(replicas: &Replicas) -> Client {
    Client::start(Orders::of(replicas))
}

/// Everything that clients may have written there, in order.
pub(crate) fn ids(cluster: &Cluster) -> Vec<i64> {
    let query =
        format!("select string_agg(id::text, ' ' order by id) from orders where id >= {FIRST}");
    let text = cluster.text("crm", &query);
    text.split_whitespace().map(|id| id.parse().expect("a number")).collect()
}
