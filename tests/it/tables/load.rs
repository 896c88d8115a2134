//! A comparison leaves busy servers alone: it waits, says why, asks nothing meanwhile, and goes on.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use migrate::database::{
    DatabaseError, Depth, Limits, Reached, Side, Told, Wanted, Watch, compare_servers,
};
use sqlx::{ConnectOptions as _, Connection as _, MySqlConnection, PgConnection};
use tokio::sync::mpsc::{UnboundedReceiver, unbounded_channel};
use tokio_util::sync::CancellationToken;

use super::changes::{self, PACE};
use crate::mariadb::{self, Maria};
use crate::postgres::cluster::{ADMIN, Cluster, PASSWORD};

const ROWS: &str = "create table t (id bigint primary key, v int); insert into t select";

/// What each side said why it waits, in turn.
type Says = UnboundedReceiver<(usize, String)>;

/// Waits until both sides have said once more why they wait; the last of what they said.
async fn said_by_both(says: &mut Says) -> String {
    let (mut heard, mut last) = ([false; 2], String::new());
    while heard != [true; 2] {
        let (side, why) = says.recv().await.expect("it waits");
        (heard[side], last) = (true, why);
    }
    last
}

/// Compares while `control` looks on, with the number of rows that were read, and ends what the comparison waits for.
async fn waits(
    sides: impl AsyncFnOnce([Told; 2]) -> Result<[Side; 2], DatabaseError>,
    control: impl AsyncFnOnce(Says, Arc<AtomicU64>),
) {
    let (say, says) = unbounded_channel();
    let told = [0, 1].map(|side| -> Told {
        let say = say.clone();
        Arc::new(move |why: &str| drop(say.send((side, why.to_owned()))))
    });
    let [mut source, mut target] = sides(told).await.expect("open");
    let read = Arc::new(AtomicU64::new(0));
    let reached = |reached: Reached<'_>| {
        read.fetch_add(reached.rows, Ordering::Relaxed);
    };
    let depth = Depth { rows: 20, keys: true };
    let wanted = Wanted { tables: &[], exclude: &[], depth, keep: None, sample: None };
    let cancel = CancellationToken::new();
    let compared = compare_servers(&mut source, &mut target, wanted, &cancel, &reached);
    let (compared, ()) = tokio::join!(compared, control(says, Arc::clone(&read)));
    let compared = compared.expect("compared");
    assert!(compared.all_equal() && compared.rows() == 5000, "{compared:?}");
    source.close().await;
    target.close().await;
}

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Runtime::new().expect("a runtime")
}

fn postgres(what: &str) -> Option<Cluster> {
    let cluster = Cluster::start(what)?;
    cluster.sql("postgres", "create database twin");
    for database in ["crm", "twin"] {
        cluster.sql(database, &format!("{ROWS} g, g from generate_series(1, 5000) g"));
    }
    Some(cluster)
}

async fn sides(
    cluster: &Cluster,
    limits: Limits,
    told: [Told; 2],
) -> Result<[Side; 2], DatabaseError> {
    let open = async |database: &str, told: Told| -> Result<Side, DatabaseError> {
        let system = format!("host=127.0.0.1 port={} dbname={database} user={ADMIN}", cluster.port);
        let server = changes::postgres(&system, PASSWORD).await;
        let watch = Watch::postgres(&server, limits, told).await?;
        Ok(Side::postgres(&server, PACE).await?.watched(watch))
    };
    let [here, there] = told;
    Ok([open("crm", here).await?, open("twin", there).await?])
}

/// Begins of the last statements within snapshots of this program.
const LAST_STATEMENTS: &str = "select coalesce(string_agg(pid || ' ' || query_start, ', ' order by pid), '') from pg_stat_activity \
     where application_name like 'migrate/%' and state = 'idle in transaction'";

#[test]
fn it_waits_while_sessions_run_on_postgres() {
    let Some(cluster) = postgres("waiting for sessions on PostgreSQL") else { return };
    runtime().block_on(async {
        let mut busy = tokio::task::JoinSet::new();
        for _ in 0..2 {
            let mut session = cluster.options(ADMIN).connect().await.expect("a session");
            busy.spawn(async move { sqlx::query("select pg_sleep(3600)").execute(&mut session).await });
        }
        let mut admin = cluster.options(ADMIN).connect().await.expect("a session");
        let asleep = "select count(*) from pg_stat_activity where state = 'active' and query = 'select pg_sleep(3600)'";
        while sqlx::query_scalar::<_, i64>(asleep).fetch_one(&mut admin).await.expect("a count") < 2 {}
        let limits = Limits { running: Some(1), lag_bytes: None };
        waits(async |told| sides(&cluster, limits, told).await, async |mut says, read| {
            let why = said_by_both(&mut says).await;
            assert!(why.contains(" sessions run, limit 1") && why.contains("waiting for "), "{why}");
            let last = async |admin: &mut PgConnection| sqlx::query_scalar::<_, String>(LAST_STATEMENTS).fetch_one(admin).await.expect("texts");
            let before = last(&mut admin).await;
            said_by_both(&mut says).await;
            said_by_both(&mut says).await;
            assert_eq!(before, last(&mut admin).await);
            assert_eq!(before.split(", ").count(), 2, "{before}");
            assert_eq!(read.load(Ordering::Relaxed), 0);
            let ended = "select pg_terminate_backend(pid) from pg_stat_activity where query = 'select pg_sleep(3600)'";
            sqlx::query(ended).execute(&mut admin).await.expect("ended");
        })
        .await;
        busy.shutdown().await;
        admin.close().await.expect("closed");
    });
}

#[test]
fn it_waits_for_a_follower_and_for_what_it_is_not_told() {
    let Some(cluster) = postgres("waiting for followers on PostgreSQL") else { return };
    let standby = cluster.standby();
    cluster.until(
        "postgres",
        "select count(*) from pg_stat_replication where state = 'streaming'",
        "1",
    );
    standby.sql("postgres", "select pg_wal_replay_pause()");
    standby.until("postgres", "select pg_get_wal_replay_pause_state()", "paused");
    cluster.sql("postgres", "create table behind as select generate_series(1, 10000)");
    let limits = Limits { running: None, lag_bytes: Some(65_536) };
    runtime().block_on(async {
        let mut follower =
            standby.options(ADMIN).database("postgres").connect().await.expect("a session");
        waits(
            async |told| sides(&cluster, limits, told).await,
            async |mut says, read| {
                let why = said_by_both(&mut says).await;
                assert!(why.contains(" bytes a follower is behind, limit 65536"), "{why}");
                said_by_both(&mut says).await;
                assert_eq!(read.load(Ordering::Relaxed), 0);
                sqlx::query("select pg_wal_replay_resume()")
                    .execute(&mut follower)
                    .await
                    .expect("resumed");
            },
        )
        .await;
        follower.close().await.expect("closed");
    });
    // A user who is not told what others do waits until he is.
    cluster.sql(
        "crm",
        &format!("create role poor login password '{PASSWORD}'; grant select on t to poor"),
    );
    cluster.sql("twin", "grant select on t to poor");
    let limits = Limits { running: Some(1000), lag_bytes: None };
    runtime().block_on(async {
        let mut admin = cluster.options(ADMIN).connect().await.expect("a session");
        let poor = async |database: &str, told: Told| -> Result<Side, DatabaseError> {
            let system =
                format!("host=127.0.0.1 port={} dbname={database} user=poor", cluster.port);
            let server = changes::postgres(&system, PASSWORD).await;
            let watch = Watch::postgres(&server, limits, told).await?;
            Ok(Side::postgres(&server, PACE).await?.watched(watch))
        };
        let open = async |[here, there]: [Told; 2]| -> Result<[Side; 2], DatabaseError> {
            Ok([poor("crm", here).await?, poor("twin", there).await?])
        };
        waits(open, async |mut says, read| {
            let why = said_by_both(&mut says).await;
            assert!(
                why.contains("this user is not told how many sessions run, limit 1000"),
                "{why}"
            );
            assert_eq!(read.load(Ordering::Relaxed), 0);
            sqlx::query("grant pg_monitor to poor").execute(&mut admin).await.expect("granted");
        })
        .await;
    });
}

#[test]
fn it_waits_while_threads_run_on_mariadb() {
    let Some(server) = Maria::start("waiting for threads on MariaDB") else { return };
    server.sql("crm", "create database twin default charset utf8mb4");
    for database in ["crm", "twin"] {
        server.sql(database, &format!("{ROWS} seq, seq from seq_1_to_5000"));
    }
    let connect = async || server.options(mariadb::ADMIN).connect().await.expect("a session");
    runtime().block_on(async {
        let mut busy = tokio::task::JoinSet::new();
        for _ in 0..5 {
            let mut session = connect().await;
            busy.spawn(async move { sqlx::query("select sleep(3600)").execute(&mut session).await });
        }
        let mut admin = connect().await;
        let asleep = "select count(*) from information_schema.processlist where info = 'select sleep(3600)'";
        while sqlx::query_scalar::<_, i64>(asleep).fetch_one(&mut admin).await.expect("a count") < 5 {}
        // Sessions of the other side, which is on the same server, may run as it looks.
        let limits = Limits { running: Some(3), lag_bytes: None };
        let open = async |database: &str, told: Told| -> Result<Side, DatabaseError> {
            let of = changes::mariadb(&server.system(database), mariadb::PASSWORD).await;
            let far = Limits { lag_bytes: Some(1), ..limits };
            let refused = Watch::mysql(&of, far, told.clone()).await;
            assert!(matches!(refused, Err(DatabaseError::System(_))), "{refused:?}");
            let watch = Watch::mysql(&of, limits, told).await?;
            Ok(Side::mysql(&of, PACE).await?.watched(watch))
        };
        let open = async |[here, there]: [Told; 2]| -> Result<[Side; 2], DatabaseError> { Ok([open("crm", here).await?, open("twin", there).await?]) };
        waits(open, async |mut says, read| {
            let why = said_by_both(&mut says).await;
            assert!(why.contains(" sessions run, limit 3"), "{why}");
            // Whatever was selected within the snapshots would count; this one counts itself.
            let selects = "select cast(variable_value as int) from information_schema.global_status where variable_name = 'Com_select'";
            let asked = async |admin: &mut MySqlConnection| sqlx::query_scalar::<_, i64>(selects).fetch_one(admin).await.expect("a count");
            let before = asked(&mut admin).await;
            said_by_both(&mut says).await;
            said_by_both(&mut says).await;
            assert_eq!(asked(&mut admin).await, before + 1);
            assert_eq!(read.load(Ordering::Relaxed), 0);
            let ids = "select id from information_schema.processlist where info = 'select sleep(3600)'";
            for id in sqlx::query_scalar::<_, i64>(ids).fetch_all(&mut admin).await.expect("ids") {
                sqlx::query(sqlx::AssertSqlSafe(format!("kill {id}"))).execute(&mut admin).await.expect("ended");
            }
        })
        .await;
        busy.shutdown().await;
        admin.close().await.expect("closed");
    });
}
