//! What a session depends on, and how a server that can not be used is told from one that does not answer.

use std::collections::BTreeMap;
use std::net::TcpListener;
use std::path::Path;
use std::time::Duration;

use migrate::database::DatabaseError;
use migrate::database::postgres::{Reader, Server};
use migrate::diagnostic::redact::Secrets;
use migrate::plan::SecretRef;
use migrate::run::RunId;
use serde_json::{Value, json};

use super::cluster::{ADMIN, Cluster, PASSWORD};
use crate::lab::Lab;
use crate::servers::certified;

/// The server behind such a connection string, with the right password or another.
async fn server(text: &str, password: &str) -> Server {
    let dir = tempfile::tempdir().expect("a folder");
    std::fs::write(dir.path().join("db"), password).expect("a file");
    let references = BTreeMap::from([("db".to_owned(), SecretRef::File("db".to_owned()))]);
    let secrets = Secrets::new(references).relative_to(dir.path());
    let systems =
        BTreeMap::from([("crm".to_owned(), json!({ "postgres": text, "password": "db" }))]);
    Server::of("crm", &systems, &secrets, Path::new(""), &RunId::new("run-1"))
        .await
        .expect("a server")
}

fn block_on<T>(work: impl Future<Output = T>) -> T {
    tokio::runtime::Runtime::new().expect("a runtime").block_on(work)
}

#[test]
fn a_session_takes_nothing_of_what_others_set() {
    let Some(cluster) = Cluster::start("sessions") else { return };
    cluster.sql(
        "crm",
        "create table t (id int); create role app login superuser password 'loopback-only-Xy7';
         alter database crm set \"TimeZone\" = 'Asia/Tokyo'; alter database crm set \"DateStyle\" = 'SQL, DMY';
         alter database crm set default_transaction_read_only = on; alter role app set bytea_output = 'escape';
         alter role app set extra_float_digits = -3; alter role app set search_path = public;
         alter role app set \"IntervalStyle\" = 'iso_8601'",
    );
    block_on(async {
        let text = format!("host=127.0.0.1 port={} dbname=crm user=app", cluster.port);
        let server = server(&text, PASSWORD).await;
        let settings = "select json_object_agg(name, setting)::text from pg_settings where name = any(string_to_array(
            'TimeZone DateStyle IntervalStyle bytea_output extra_float_digits search_path client_encoding application_name default_transaction_read_only', ' '))";
        let mut reader = server.reader().await.expect("a session");
        let found: Value = reader.json(settings, &[]).await.expect("settings");
        let wanted = json!({
            "TimeZone": "UTC", "DateStyle": "ISO, MDY", "IntervalStyle": "postgres", "bytea_output": "hex",
            "extra_float_digits": "3", "search_path": "pg_catalog", "client_encoding": "UTF8",
            "application_name": "migrate/run-1", "default_transaction_read_only": "on",
        });
        assert_eq!(found, wanted);
        // A session that reads can not write; one that writes can, although the database is set to refuse it.
        let refused = write(&mut reader).await.expect_err("it only reads");
        assert!(matches!(refused, DatabaseError::Refused { .. }), "{refused}");
        let mut writer = server.writer().await.expect("a session");
        write(writer.reading()).await.expect("it writes");
    });
    assert_eq!(cluster.text("crm", "select count(*) from public.t"), "1");
}

async fn write(session: &mut Reader) -> Result<Value, DatabaseError> {
    session.json("with made as (insert into public.t values (1) returning id) select json_agg(id)::text from made", &[]).await
}

#[test]
fn what_waiting_does_not_heal_is_told_from_what_it_may() {
    let Some(cluster) = Cluster::start("refusals and silence") else { return };
    cluster.sql("crm", "create role poor login password 'loopback-only-Xy7'");
    let port = cluster.port;
    let deaf = TcpListener::bind("127.0.0.1:0").expect("a port");
    let deaf = deaf.local_addr().expect("bound").port();
    block_on(async {
        let open = async |text: &str, password: &str| server(text, password).await.reader().await;
        let at = |database: &str, user: &str, port: u16| {
            format!("host=127.0.0.1 port={port} dbname={database} user={user} connect_timeout=1")
        };
        for (text, password, says) in [
            (at("crm", ADMIN, port), "another-one", "28P01"),
            (at("absent", ADMIN, port), PASSWORD, "3D000"),
            (format!("{} sslmode=verify-full", at("crm", ADMIN, port)), PASSWORD, "TLS"),
        ] {
            let error = open(&text, password).await.expect_err("refused");
            assert!(
                matches!(&error, DatabaseError::Refused { cause, .. } if cause.contains(says)),
                "{error}"
            );
            assert!(!error.to_string().contains(password), "{error}");
        }
        let mut poor = open(&at("crm", "poor", port), PASSWORD).await.expect("it may connect");
        let error = poor.json::<Value>("select pg_read_file('/etc/hostname')", &[]).await;
        assert!(matches!(error, Err(DatabaseError::Refused { .. })), "{error:?}");
        // Nobody listens there; somebody listens and never answers.
        for port in [1, deaf] {
            let error = open(&at("crm", ADMIN, port), PASSWORD).await.expect_err("nobody");
            assert!(matches!(error, DatabaseError::Silent { .. }), "{error}");
        }
        let slow = server(&at("crm", ADMIN, port), PASSWORD).await;
        let mut slow =
            slow.with_statement_limit(Duration::from_millis(50)).reader().await.expect("a session");
        let error = slow.json::<Value>("select to_json(pg_sleep(60)::text)::text", &[]).await;
        assert!(matches!(error, Err(DatabaseError::Silent { .. })), "{error:?}");
    });
}

#[test]
fn a_server_is_spoken_to_only_when_it_proves_who_it_is() {
    let Some(cluster) = Cluster::start("TLS to a server") else { return };
    let dir = tempfile::tempdir().expect("a folder");
    let [[own, certificate, key], [foreign, ..]] = ["127.0.0.1", "127.0.0.1"].map(certified);
    let [named, other_certificate, other_key] = certified("crm.contoso.example");
    for (name, pem) in [("own", own), ("foreign", foreign), ("named", named)] {
        std::fs::write(dir.path().join(name), pem).expect("a file");
    }
    let open = |mode: &str, ca: Option<&str>| {
        let ca = ca.map(|ca| format!(" sslrootcert={}", dir.path().join(ca).display()));
        let text = format!(
            "host=127.0.0.1 port={} dbname=crm user={ADMIN} sslmode={mode}{}",
            cluster.port,
            ca.unwrap_or_default()
        );
        block_on(async {
            let mut reader = server(&text, PASSWORD).await.reader().await?;
            let used = "select to_json(ssl)::text from pg_stat_ssl where pid = pg_backend_pid()";
            reader.json::<bool>(used, &[]).await
        })
    };
    let refused = |mode: &str, ca: Option<&str>| {
        let error = open(mode, ca).expect_err("it proves nothing");
        assert!(
            matches!(&error, DatabaseError::Refused { cause, .. } if cause.contains("certificate")),
            "{mode} {ca:?}: {error}"
        );
    };
    cluster.encrypt(&certificate, &key);
    assert!(open("verify-full", Some("own")).expect("it is who it says"));
    assert!(open("verify-ca", Some("own")).expect("its CA is known"));
    assert!(!open("disable", None).expect("open to all on the way"));
    // Another CA, and only those that everybody knows.
    for ca in [Some("foreign"), None] {
        refused("verify-full", ca);
        refused("verify-ca", ca);
    }
    // Another name.
    cluster.encrypt(&other_certificate, &other_key);
    refused("verify-full", Some("named"));
    assert!(open("verify-ca", Some("named")).expect("its CA is known"));
}

#[test]
fn a_server_that_dies_under_a_session_is_silent() {
    let Some(mut cluster) = Cluster::start("a server that dies") else { return };
    block_on(async {
        let text = format!(
            "host=127.0.0.1 port={} dbname=crm user={ADMIN} connect_timeout=1",
            cluster.port
        );
        let server = server(&text, PASSWORD).await;
        let mut reader = server.reader().await.expect("a session");
        reader.snapshot().await.expect("a snapshot");
        let count = "select to_json(count(*))::text from pg_class";
        reader.json::<u64>(count, &[]).await.expect("a count");
        // The lab has a runtime of its own.
        tokio::task::block_in_place(|| cluster.stop());
        let error = loop {
            // What its last child still answers is an answer.
            match reader.json::<u64>(count, &[]).await {
                Ok(_) => tokio::task::yield_now().await,
                Err(error) => break error,
            }
        };
        assert!(matches!(error, DatabaseError::Silent { .. }), "{error}");
        tokio::task::block_in_place(|| cluster.restart());
        let mut reader = server.reader().await.expect("a session");
        reader.json::<u64>(count, &[]).await.expect("a count");
    });
}

#[test]
fn a_standby_is_read_and_refuses_to_be_written() {
    let Some(primary) = Cluster::start("a standby") else { return };
    let standby = primary.standby();
    primary.sql("crm", "create table t (id int); insert into t values (7)");
    standby.until("crm", "select to_regclass('t') is not null", "true");
    standby.until("crm", "select max(id) from t", "7");
    block_on(async {
        let text = format!("host=127.0.0.1 port={} dbname=crm user={ADMIN}", standby.port);
        let mut writer = server(&text, PASSWORD).await.writer().await.expect("a session");
        let error = write(writer.reading()).await.expect_err("it is a standby");
        assert!(
            matches!(&error, DatabaseError::Refused { cause, .. } if cause.contains("25006")),
            "{error}"
        );
    });
}

#[test]
fn a_system_validates_as_the_tests_write_it() {
    let Some(cluster) = Cluster::start("systems in a runbook") else { return };
    let lab = Lab::new("");
    let (own, other) = (cluster.system(), cluster.system_as("app"));
    let runbook = lab.write(
        "systems.yaml",
        &format!(
            "migrate: 1
wave: systems
secrets: {{ db: {{ file: db }} }}
systems: {{ crm: {own}, shop: {other} }}
stages: {{ prepare: [{{ id: tell, uses: notify, with: {{ to: [ops], message: hello }} }}] }}
"
        ),
    );
    lab.migrate(["validate", &runbook]).expect(0);
}
