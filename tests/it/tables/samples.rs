//! Samples: every row is counted, the content of a share of the rows compared, and nothing of it is called equal.

use migrate::database::{
    Comparison, DatabaseError, Depth, Sample, Side, TableVerdict, Wanted, compare_servers,
};
use tokio_util::sync::CancellationToken;

use super::changes::{self, PACE};
use crate::mariadb::{self, Maria};
use crate::postgres::cluster::{ADMIN, Cluster, PASSWORD};

const ROWS: u64 = 60_000;

/// Two databases, and how statements are carried out in one of them.
struct Pair<'a> {
    sides: &'a dyn Fn() -> [OpenSide<'a>; 2],
    sql: &'a dyn Fn(&str, &str),
}

type OpenSide<'a> = std::pin::Pin<Box<dyn Future<Output = Result<Side, DatabaseError>> + 'a>>;

impl Pair<'_> {
    fn compared(&self, seed: &str) -> Comparison {
        let runtime = tokio::runtime::Runtime::new().expect("a runtime");
        let sample = Sample { percent: 20, seed: seed.to_owned() };
        let wanted = Wanted {
            tables: &[],
            exclude: &[],
            depth: Depth { rows: 1000, keys: true },
            keep: None,
            sample: Some(&sample),
        };
        runtime.block_on(async {
            let [source, target] = (self.sides)();
            let (mut source, mut target) =
                (source.await.expect("open"), target.await.expect("open"));
            let cancel = CancellationToken::new();
            compare_servers(&mut source, &mut target, wanted, &cancel, &|_| ())
                .await
                .expect("compared")
        })
    }

    fn judge(&self) {
        let first = self.compared("run");
        assert!(first.nothing_differs() && !first.all_equal(), "{first:?}");
        for table in &first.tables {
            assert_eq!(table.rows, (ROWS, ROWS));
            let TableVerdict::Sampled { rows } = table.verdict else { panic!("{table:?}") };
            assert!((ROWS / 20..ROWS / 2).contains(&rows), "{table:?}");
        }
        assert_eq!(first, self.compared("run"), "the same run draws the same");
        assert_ne!(first, self.compared("another run"), "another run draws others");
        // Changes everywhere are found where it looks, and nowhere else.
        for table in ["t", "u"] {
            (self.sql)("twin", &format!("update {table} set v = -v where v % 300 = 0"));
        }
        for table in self.compared("run").tables {
            let TableVerdict::Different(lines) = &table.verdict else { panic!("{table:?}") };
            assert!((1..200).contains(&(lines.len() - 1)), "{}: {}", table.table, lines[0]);
            assert!(lines[1].ends_with(" different in v"), "{}", lines[1]);
        }
        // Rows that are gone are found everywhere.
        for table in ["t", "u"] {
            (self.sql)(
                "twin",
                &format!(
                    "update {table} set v = -v where v < 0; delete from {table} where v % 6000 = 7"
                ),
            );
        }
        for table in self.compared("run").tables {
            assert_eq!(table.rows, (ROWS, ROWS - 10));
            let TableVerdict::Different(lines) = &table.verdict else { panic!("{table:?}") };
            assert_eq!(lines[0], "10 rows differ", "{}", table.table);
            assert!(lines[1].ends_with(" missing at the target"), "{}", lines[1]);
        }
    }
}

#[test]
fn a_sample_on_postgres_counts_all_and_is_never_equal() {
    let Some(cluster) = Cluster::start("samples on PostgreSQL") else { return };
    cluster.sql("postgres", "create database twin");
    for database in ["crm", "twin"] {
        cluster.sql(database, &format!("create table t (id bigint primary key, v int); insert into t select g, g from generate_series(1, {ROWS}) g;
            create table u (id text primary key, v int); insert into u select md5(g::text), g from generate_series(1, {ROWS}) g; analyze"));
    }
    let side = |database: &'static str| -> OpenSide<'_> {
        let system = format!("host=127.0.0.1 port={} dbname={database} user={ADMIN}", cluster.port);
        Box::pin(async move {
            let server = changes::postgres(&system, PASSWORD).await;
            Side::postgres(&server, PACE).await
        })
    };
    let pair = Pair {
        sides: &|| [side("crm"), side("twin")],
        sql: &|database, statement| cluster.sql(database, statement),
    };
    pair.judge();
}

#[test]
fn a_sample_on_mariadb_counts_all_and_is_never_equal() {
    let Some(server) = Maria::start("samples on MariaDB") else { return };
    server.sql("crm", "create database twin default charset utf8mb4");
    for database in ["crm", "twin"] {
        server.sql(database, &format!("create table t (id bigint primary key, v int); insert into t select seq, seq from seq_1_to_{ROWS};
            create table u (id varchar(40) primary key, v int); insert into u select md5(seq), seq from seq_1_to_{ROWS}; analyze table t, u"));
    }
    let side = |database: &'static str| -> OpenSide<'_> {
        let system = server.system(database);
        Box::pin(async move {
            let server = changes::mariadb(&system, mariadb::PASSWORD).await;
            Side::mysql(&server, PACE).await
        })
    };
    let pair = Pair {
        sides: &|| [side("crm"), side("twin")],
        sql: &|database, statement| server.sql(database, statement),
    };
    pair.judge();
}
