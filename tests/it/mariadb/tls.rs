//! A MariaDB server is spoken to only when it proves who it is, by a CA of its own, and replication is waited for over TLS.

use super::cutover::pair;
use super::replicas::Replicas;
use crate::lab::{Ended, Lab};
use crate::servers::certified;

const LAG: &str = "    - { id: lag, uses: replication.wait, timeout: 60s, with: { source: source, target: target, max_lag: 0s, poll: 100ms, hold_for: 500ms } }";
const SAME: &str = "    - { id: same, uses: verify.tables, timeout: 60s, with: { source: source, target: target } }";

/// A pair whose servers speak TLS under these, and let the tool in by nothing else.
fn encrypted(replicas: &mut Replicas, certificate: &str, key: &str) {
    for server in [&mut replicas.source, &mut replicas.target] {
        server.encrypt(certificate, key);
        server.sql("crm", "set sql_log_bin = 0; alter user operator@'%' require ssl");
    }
}

#[test]
fn a_server_is_spoken_to_only_when_it_proves_who_it_is() {
    let Some(mut replicas) = pair("TLS to MariaDB") else { return };
    let [[own, certificate, key], [foreign, ..]] = ["127.0.0.1", "127.0.0.1"].map(certified);
    let [named, other_certificate, other_key] = certified("crm.contoso.example");
    let run = |replicas: &Replicas, tls: &str, steps: &str| {
        let lab = Lab::new("");
        for (name, pem) in [("own", &own), ("foreign", &foreign), ("named", &named)] {
            lab.write(name, pem);
        }
        let runbook = replicas.runbook_as(&lab, &format!("operator {tls}"), steps);
        lab.migrate(["run", &runbook])
    };
    let refused = |ended: Ended, words: &[&str]| {
        let said = ended.expect(4).said();
        for word in ["MIG0308", "127.0.0.1"].iter().chain(words) {
            assert!(said.contains(word), "{word}: {said}");
        }
    };
    encrypted(&mut replicas, &certificate, &key);
    let both = format!("{LAG}\n{SAME}");
    run(&replicas, "sslmode=verify-full sslrootcert=own", &both).expect(0);
    run(&replicas, "sslmode=verify-ca sslrootcert=own", &both).expect(0);
    refused(run(&replicas, "sslmode=disable", &both), &["Access denied"]);
    // Another CA, and only those that everybody knows.
    for ca in [" sslrootcert=foreign", ""] {
        for mode in ["verify-full", "verify-ca"] {
            let ended = run(&replicas, &format!("sslmode={mode}{ca}"), &both);
            refused(ended, &["certificate"]);
        }
    }
    // Another name.
    encrypted(&mut replicas, &other_certificate, &other_key);
    let ended = run(&replicas, "sslmode=verify-full sslrootcert=named", &both);
    refused(ended, &["certificate"]);
    run(&replicas, "sslmode=verify-ca sslrootcert=named", &both).expect(0);
}
