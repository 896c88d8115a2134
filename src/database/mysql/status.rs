//! What servers of either product answer about replication, under either spelling of their fields: `Slave_IO_Running` and
//! `Replica_IO_Running`, `Master_Server_Id` and `Source_UUID`. Pure; a field that is not there is a reading that is missing.

use super::gtid::{self, Gtids, Log};
use super::judge::{Connection, Own};
use super::{Named, Product};

/// The statements for one product.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Statements {
    /// What it says of itself.
    pub(super) own: &'static str,
    /// Whom it follows.
    pub(super) connections: &'static str,
    /// Who follows it.
    pub(super) replicas: &'static str,
    /// What its log leaves out.
    pub(super) log: &'static str,
}

/// Settings by which applying goes on after an error, under both spellings: two of them are there, or all four.
pub(super) const LENIENT: &str = "show global variables where variable_name in \
     ('slave_exec_mode', 'replica_exec_mode', 'slave_skip_errors', 'replica_skip_errors')";

const MARIA: &str = "select @@global.server_id as id, @@global.log_bin as log_bin, @@global.gtid_binlog_pos as ended, \
     @@global.gtid_binlog_state as log, @@global.gtid_slave_pos as applied";
const MYSQL: &str = "select @@global.server_uuid as id, @@global.log_bin as log_bin, @@global.gtid_mode as gtid_mode, \
     @@global.gtid_executed as executed";

impl Statements {
    /// By product and version.
    pub(super) fn of(product: Product) -> Self {
        let (slaves, master) = ("show slave hosts", "show master status");
        match product {
            Product::MariaDb(..) => Self {
                own: MARIA,
                connections: "show all slaves status",
                replicas: slaves,
                log: master,
            },
            Product::MySql(0..8, _) => {
                Self { own: MYSQL, connections: "show slave status", replicas: slaves, log: master }
            }
            Product::MySql(major, minor) => Self {
                own: MYSQL,
                connections: "show replica status",
                replicas: "show replicas",
                log: if (major, minor) < (8, 2) { master } else { "show binary log status" },
            },
        }
    }
}

/// The text under the first of these names that the row has.
fn field(row: &Named, names: &[&str]) -> Option<String> {
    names.iter().find_map(|name| row.get(*name)).cloned().flatten()
}

/// Filters that the row has a column for, by name.
fn filters(row: &Named, names: &[&str]) -> Vec<(String, Option<String>)> {
    let there = names.iter().filter_map(|name| Some((name, row.get(&name.to_lowercase())?)));
    there.map(|(name, value)| ((*name).to_owned(), value.clone())).collect()
}

/// What a server says of itself; as the source, or as what has applied from one.
pub(super) fn own(product: Product, row: &Named, is_source: bool) -> Result<Own, String> {
    let text = |name: &str| field(row, &[name]);
    let is = |name: &str, fine: [&str; 2]| {
        text(name).map(|value| fine.iter().any(|fine| value.eq_ignore_ascii_case(fine)))
    };
    let log_bin = is("log_bin", ["1", "on"]);
    let (logs, position) = match product {
        Product::MariaDb(..) => (log_bin, if is_source { "ended" } else { "applied" }),
        Product::MySql(..) => {
            let gtids = is("gtid_mode", ["on", "on"]);
            (log_bin.zip(gtids).map(|(log_bin, gtids)| log_bin && gtids), "executed")
        }
    };
    let log: Option<Log> = match product {
        Product::MariaDb(..) => text("log").map(|log| gtid::log(&log)).transpose()?,
        Product::MySql(..) => None,
    };
    let at = |name| text(name).map(|position| Gtids::read(product, &position)).transpose();
    Ok(Own { product, id: text("id"), logs, position: at(position)?, log, applied: at("applied")? })
}

const LEFT_OUT: [&str; 10] = [
    "Replicate_Do_DB",
    "Replicate_Ignore_DB",
    "Replicate_Do_Table",
    "Replicate_Ignore_Table",
    "Replicate_Wild_Do_Table",
    "Replicate_Wild_Ignore_Table",
    "Replicate_Ignore_Server_Ids",
    "Replicate_Do_Domain_Ids",
    "Replicate_Ignore_Domain_Ids",
    "Replicate_Rewrite_DB",
];

/// One connection of a replica.
pub(super) fn connection(product: Product, row: &Named) -> Connection {
    let text = |names: &[&str]| field(row, names);
    let source: &[&str] = match product {
        Product::MariaDb(..) => &["master_server_id"],
        Product::MySql(..) => &["source_uuid", "master_uuid"],
    };
    Connection {
        source: text(source).filter(|id| !["", "0"].contains(&id.as_str())),
        io: text(&["replica_io_running", "slave_io_running"]),
        sql: text(&["replica_sql_running", "slave_sql_running"]),
        io_error: (text(&["last_io_errno"]), text(&["last_io_error"])),
        sql_error: (text(&["last_sql_errno"]), text(&["last_sql_error"])),
        skips: text(&["skip_counter"]),
        filters: filters(row, &LEFT_OUT),
    }
}

/// As whom a replica logs in at its source.
pub(super) fn logs_in_as(row: &Named) -> Option<String> {
    field(row, &["source_user", "master_user"])
}

/// Who is connected as a replica, as [`Own::id`].
pub(super) fn replicas(product: Product, rows: &[Named]) -> Option<Vec<String>> {
    let names: &[&str] = match product {
        Product::MariaDb(..) => &["server_id"],
        Product::MySql(..) => &["replica_uuid", "slave_uuid"],
    };
    rows.iter().map(|row| field(row, names)).collect()
}

/// Filters of a source's log. None where it has no log.
pub(super) fn log_filters(rows: &[Named]) -> Option<Vec<(String, Option<String>)>> {
    rows.first()
        .map(|row| filters(row, &["Binlog_Do_DB", "Binlog_Ignore_DB"]))
        .filter(|both| both.len() == 2)
}

/// Settings by name, with their values.
pub(super) fn settings(rows: &[Named]) -> Option<Vec<(String, Option<String>)>> {
    rows.iter().map(|row| Some((field(row, &["variable_name"])?, field(row, &["value"])))).collect()
}

#[cfg(test)]
mod tests {
    use super::super::judge::{Look, Source, Standing, Target};
    use super::*;

    fn row(fields: &[(&str, &str)]) -> Named {
        fields
            .iter()
            .map(|(name, value)| (name.to_lowercase(), Some((*value).to_owned())))
            .collect()
    }

    const MYSQL_8: Product = Product::MySql(8, 0);

    #[test]
    fn statements_are_spelled_for_the_version() {
        let of = |product| {
            let Statements { connections, replicas, log, .. } = Statements::of(product);
            [connections, replicas, log]
        };
        assert_eq!(
            of(Product::MariaDb(10, 11)),
            ["show all slaves status", "show slave hosts", "show master status"]
        );
        assert_eq!(
            of(Product::MySql(5, 7)),
            ["show slave status", "show slave hosts", "show master status"]
        );
        assert_eq!(of(MYSQL_8), ["show replica status", "show replicas", "show master status"]);
        assert_eq!(
            of(Product::MySql(8, 4)),
            ["show replica status", "show replicas", "show binary log status"]
        );
        assert_eq!(of(Product::MySql(9, 1))[2], "show binary log status");
    }

    /// A pair of MySQL 8 by the fields of its manual; no such server was at hand.
    fn mysql(status: &[(&str, &str)]) -> Look {
        let (one, two) =
            ("3E11FA47-71CA-11E1-9E33-C80AA9429562", "8f4a2b51-0000-11e1-9e33-c80aa9429563");
        let filters: Vec<(&str, &str)> = LEFT_OUT[..6].iter().map(|name| (*name, "")).collect();
        let fields = [
            status,
            &[("Source_UUID", one), ("Skip_Counter", "0"), ("Seconds_Behind_Source", "0")],
            &filters,
        ]
        .concat();
        let set = |last: u32| format!("{}:1-{last}", one.to_lowercase());
        let itself = |id: &str, last| {
            row(&[("id", id), ("log_bin", "1"), ("gtid_mode", "ON"), ("executed", &set(last))])
        };
        let settings = [
            ("replica_exec_mode", "STRICT"),
            ("replica_skip_errors", "OFF"),
            ("slave_exec_mode", "STRICT"),
            ("slave_skip_errors", "OFF"),
        ];
        let settings =
            settings.map(|(name, value)| row(&[("Variable_name", name), ("Value", value)]));
        Look {
            database: "crm".to_owned(),
            known: None,
            source: Source {
                own: own(MYSQL_8, &itself(one, 9), true).expect("a server"),
                replicas: replicas(
                    MYSQL_8,
                    &[row(&[("Server_Id", "2"), ("Source_Id", "1"), ("Replica_UUID", two)])],
                ),
                filters: log_filters(&[row(&[
                    ("File", "binlog.000001"),
                    ("Binlog_Do_DB", ""),
                    ("Binlog_Ignore_DB", ""),
                ])]),
            },
            target: Target {
                own: own(MYSQL_8, &itself(two, 8), false).expect("a server"),
                connections: Some(vec![connection(MYSQL_8, &row(&fields))]),
                lenient: super::settings(&settings),
            },
        }
    }

    const ERRORS: [(&str, &str); 4] = [
        ("Last_IO_Errno", "0"),
        ("Last_IO_Error", ""),
        ("Last_SQL_Errno", "0"),
        ("Last_SQL_Error", ""),
    ];

    #[test]
    fn both_spellings_are_read_and_seconds_are_not() {
        for threads in [
            ("Replica_IO_Running", "Replica_SQL_Running"),
            ("Slave_IO_Running", "Slave_SQL_Running"),
        ] {
            let status = [&ERRORS[..], &[(threads.0, "Yes"), (threads.1, "Yes")]].concat();
            assert!(
                matches!(mysql(&status).judge(None), Standing::At(_)),
                "{:?}",
                mysql(&status).judge(None)
            );
            let stopped = [&ERRORS[..], &[(threads.0, "Yes"), (threads.1, "No")]].concat();
            assert!(
                matches!(mysql(&stopped).judge(None), Standing::Unknown(why) if why.contains("applies"))
            );
        }
        assert!(
            matches!(mysql(&ERRORS).judge(None), Standing::Unknown(why) if why.contains("is not told"))
        );
    }

    #[test]
    fn without_global_ids_there_is_no_position() {
        let anonymous = row(&[
            ("id", "a"),
            ("log_bin", "1"),
            ("gtid_mode", "OFF_PERMISSIVE"),
            ("executed", "a:1"),
        ]);
        assert_eq!(own(MYSQL_8, &anonymous, true).expect("a server").logs, Some(false));
        assert_eq!(own(MYSQL_8, &row(&[("log_bin", "1")]), true).expect("a server").logs, None);
        assert!(own(MYSQL_8, &row(&[("executed", "?")]), true).is_err());
    }
}
