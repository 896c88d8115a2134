//! What an error of a SQL Server means: whether waiting may heal it. Pure.

use tiberius::error::Error;

use super::super::DatabaseError;

/// Errors that asking again will be answered with: rights, names, statements, and settings that a person has to change.
/// Everything else (busy, failing over, deadlock, shutting down, Azure's transient errors) may pass.
const REFUSALS: &[u32] = &[
    102, 105, 156, 195, 206, 207, 208, 245, 2812, 4121, 8114,
    8115, // statements that this version does not know
    402, 448, 451, 468, 8116, 8117, 9809, // types and collations that do not go together
    229, 230, 262, 297, 300, 916, 14126, 15247, 21050, 21089, // rights
    14013, 20026, 21485, // nothing that transactional replication publishes
    911, 4060, 40508, 40515, 40532, // no such database, or none to be had from here
    976, 978,  // a replica that lets nobody read, or only who says that it only reads
    3906, // a database that is read only
    3952, 41332, // a database, or a table, that has no snapshots
    18452, 18456, 18470, 18486, 18487, 18488, // logins
    40615, 40914, 47073, // firewalls of Azure SQL
];

/// As the error of the server `at`.
pub(super) fn of_server(at: &str, error: &Error) -> DatabaseError {
    let at = at.to_owned();
    match error {
        Error::Server(told) => {
            let cause = format!("{} (error {})", told.message(), told.code());
            if REFUSALS.contains(&told.code()) {
                DatabaseError::Refused { at, cause }
            } else {
                DatabaseError::Silent { at, cause }
            }
        }
        // A certificate that does not verify will not do so later. The driver's own advice is for programmers.
        Error::Tls(why) => {
            let why = why.split_once(". ").map_or(why.as_str(), |(why, _advice)| why);
            DatabaseError::Refused { at, cause: format!("TLS: {why}") }
        }
        Error::Protocol(why) if why.contains("encryption level") => {
            let cause = "the server offers no TLS; `sslmode=disable` goes without, in the clear";
            DatabaseError::Refused { at, cause: cause.to_owned() }
        }
        _ => DatabaseError::Silent { at, cause: error.to_string() },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_may_pass_is_no_refusal() {
        // Login, rights, names, a database that lets nobody in or allows no snapshots, collations.
        for number in [18456, 229, 230, 300, 208, 4060, 976, 3952, 468, 20026, 21050] {
            assert!(REFUSALS.contains(&number), "{number}");
        }
        // Deadlock, lock not granted, a table that was changed under a snapshot, Azure that is busy, moves a database or shuts it
        // down, a group between two primaries, a token that was not posted, a subscription that is not active yet.
        let passing =
            [1205, 1222, 3961, 10928, 10929, 40197, 40501, 40613, 49918, 6005, 17142, 983];
        for number in passing.into_iter().chain([21486, 21487, 21488]) {
            assert!(!REFUSALS.contains(&number), "{number}");
        }
    }

    #[test]
    fn a_certificate_that_does_not_verify_is_a_refusal_without_the_drivers_advice() {
        let told = "the server's certificate was rejected during the TLS handshake: expired. To connect anyway you can";
        let error = of_server("crm at db:1433", &Error::Tls(told.to_owned()));
        let DatabaseError::Refused { cause, .. } = error else { panic!("{error}") };
        assert!(cause.ends_with("expired"), "{cause}");
        let lost = Error::Io { kind: std::io::ErrorKind::UnexpectedEof, message: "eof".to_owned() };
        assert!(matches!(of_server("crm", &lost), DatabaseError::Silent { .. }));
    }
}
