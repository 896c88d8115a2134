//! Where a server is in a replication, as global transaction ids. Pure.
//!
//! MariaDB tells the last transaction of each domain (`0-1-17`: domain, server, number), which stands for all before it; MySQL
//! tells every transaction, by who committed it first (`3e11fa47-…:1-17`).

use std::collections::BTreeMap;
use std::fmt;

use serde::Serialize;

use super::super::replication::Position;
use super::Product;

/// Server and number of a transaction of MariaDB.
type Last = (u32, u64);
/// First and last number of transactions without a gap.
type Run = (u64, u64);

/// A position.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(into = "String")]
pub enum Gtids {
    /// MariaDB: the last one of each domain.
    Last(BTreeMap<u32, Last>),
    /// MySQL: all of them, by the server that committed them.
    All(BTreeMap<String, Vec<Run>>),
}

/// What a server of MariaDB has in its log: the last number of each server, by domain. It tells whose they are.
pub type Log = BTreeMap<(u32, u32), u64>;

impl Gtids {
    /// As the server spells it.
    pub fn read(product: Product, text: &str) -> Result<Self, String> {
        match product {
            Product::MariaDb(..) => {
                let log = maria(text)?.map(|((domain, server), number)| (domain, (server, number)));
                Ok(Self::Last(log.collect()))
            }
            Product::MySql(..) => mysql(text).map(Self::All),
        }
    }

    /// Nothing at all.
    pub fn is_empty(&self) -> bool {
        match self {
            Self::Last(domains) => domains.is_empty(),
            Self::All(servers) => servers.is_empty(),
        }
    }

    /// What is here and not in `source`, of domains or servers that it knows: another history, or a later one.
    pub fn beyond(&self, source: &Self) -> Option<String> {
        match (self, source) {
            (Self::Last(here), Self::Last(there)) => there.iter().find_map(|(domain, last)| {
                let own = here.get(domain)?;
                (is_missing(Some(last), *own) > 0).then(|| written(*domain, *own))
            }),
            (Self::All(here), Self::All(there)) => there.keys().find_map(|server| {
                let runs = here.get(server)?;
                (missing(there.get(server), runs) > 0).then(|| spelled(server, runs))
            }),
            _ => Some("transactions of another product".to_owned()),
        }
    }

    /// Of MySQL: what `server` committed itself and `source` does not have.
    pub fn own(&self, server: &str, source: &Self) -> Option<String> {
        let (Self::All(here), Self::All(there)) = (self, source) else { return None };
        let (server, runs) = here.get_key_value(&server.to_lowercase())?;
        (missing(there.get(server), runs) > 0).then(|| spelled(server, runs))
    }

    /// Of MariaDB: whether the last one of each domain has the greatest number that is in the log. Only then does a number
    /// say what came before it; `gtid_strict_mode` keeps it so.
    pub fn is_in_order(&self, log: &Log) -> Result<(), String> {
        let Self::Last(domains) = self else { return Ok(()) };
        for ((domain, server), number) in log {
            let last = domains.get(domain).copied().unwrap_or_default();
            if *number > last.1 || *number == last.1 && *server != last.0 {
                let (first, last) = (written(*domain, (*server, *number)), written(*domain, last));
                return Err(format!("its transactions are out of order: {last} after {first}"));
            }
        }
        Ok(())
    }
}

/// A log of MariaDB, as `gtid_binlog_state` spells it.
pub(super) fn log(text: &str) -> Result<Log, String> {
    Ok(maria(text)?.collect())
}

/// Of MariaDB: what is in the log of `server`, committed by itself, and neither in that of its source nor `known` besides.
pub(super) fn own(log: &Log, server: u32, source: &Log, known: Option<&Gtids>) -> Option<String> {
    let own = log.iter().filter(|((_, by), _)| *by == server);
    let strays = own.filter(|(key, number)| source.get(key).is_none_or(|there| there < number));
    let mut strays = strays.map(|((domain, by), number)| (*domain, (*by, *number)));
    let stray = strays.find(|(domain, (by, number))| {
        let Some(Gtids::Last(known)) = known else { return true };
        known.get(domain).is_none_or(|last| last.0 != *by || last.1 < *number)
    });
    stray.map(|(domain, last)| written(domain, last))
}

impl Position for Gtids {
    const UNIT: &'static str = "transactions";

    fn behind(&self, other: &Self) -> u64 {
        match (self, other) {
            (Self::Last(here), Self::Last(there)) => there
                .iter()
                .map(|(domain, last)| is_missing(here.get(domain), *last))
                .fold(0, u64::saturating_add),
            (Self::All(here), Self::All(there)) => there
                .iter()
                .map(|(server, runs)| missing(here.get(server), runs))
                .fold(0, u64::saturating_add),
            _ => u64::MAX,
        }
    }
}

/// How many there are from `here` to `last` of the same domain. The same number of another server is another transaction.
fn is_missing(here: Option<&Last>, last: Last) -> u64 {
    let (server, number) = here.copied().unwrap_or_default();
    match last.1.saturating_sub(number) {
        0 if number == last.1 && server != last.0 => 1,
        numbers => numbers,
    }
}

/// How many of `runs` are not in `here`, whose runs do not overlap.
fn missing(here: Option<&Vec<Run>>, runs: &[Run]) -> u64 {
    let here = here.map_or(&[][..], Vec::as_slice);
    let there = |run: &Run| {
        let both = here.iter().map(|own| (own.0.max(run.0), own.1.min(run.1)));
        both.filter(|(first, last)| first <= last)
            .map(|(first, last)| last - first + 1)
            .fold(0, u64::saturating_add)
    };
    runs.iter()
        .map(|run| (run.1 - run.0 + 1).saturating_sub(there(run)))
        .fold(0, u64::saturating_add)
}

fn maria(text: &str) -> Result<impl Iterator<Item = ((u32, u32), u64)>, String> {
    let read = |one: &str| {
        let mut parts = one.trim().split('-');
        let mut part = || parts.next();
        let (domain, server, number) =
            (part()?.parse().ok()?, part()?.parse().ok()?, part()?.parse().ok()?);
        part().is_none().then_some(((domain, server), number))
    };
    let all = text.split(',').filter(|one| !one.trim().is_empty());
    let all: Option<Vec<_>> = all.map(read).collect();
    all.map(Vec::into_iter).ok_or_else(|| format!("`{text}` is no position of MariaDB"))
}

fn mysql(text: &str) -> Result<BTreeMap<String, Vec<Run>>, String> {
    let unfit = || format!("`{text}` is no set of transactions of MySQL");
    let mut servers: BTreeMap<String, Vec<Run>> = BTreeMap::new();
    for one in text.split(',').map(str::trim).filter(|one| !one.is_empty()) {
        let mut parts = one.split(':');
        let mut server = parts.next().unwrap_or_default().to_lowercase();
        for part in parts {
            // Since 8.3 a tag may stand before the runs that have it.
            if part.starts_with(|first: char| first.is_ascii_alphabetic() || first == '_') {
                server = format!(
                    "{}:{}",
                    server.split(':').next().unwrap_or_default(),
                    part.to_lowercase()
                );
                continue;
            }
            let (first, last) = part.split_once('-').unwrap_or((part, part));
            let run: Option<Run> = first.parse().ok().zip(last.parse().ok());
            let run = run.filter(|(first, last)| 0 < *first && first <= last).ok_or_else(unfit)?;
            servers.entry(server.clone()).or_default().push(run);
        }
        if !servers.contains_key(&server) {
            return Err(unfit());
        }
    }
    Ok(servers)
}

fn written(domain: u32, (server, number): Last) -> String {
    format!("{domain}-{server}-{number}")
}

fn spelled(server: &str, runs: &[Run]) -> String {
    let run = |(first, last): &Run| {
        if first == last { format!(":{first}") } else { format!(":{first}-{last}") }
    };
    format!("{server}{}", runs.iter().map(run).collect::<String>())
}

impl fmt::Display for Gtids {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let all: Vec<String> = match self {
            Self::Last(domains) => {
                domains.iter().map(|(domain, last)| written(*domain, *last)).collect()
            }
            Self::All(servers) => {
                servers.iter().map(|(server, runs)| spelled(server, runs)).collect()
            }
        };
        f.write_str(&all.join(","))
    }
}

impl From<Gtids> for String {
    fn from(gtids: Gtids) -> Self {
        gtids.to_string()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const MARIA: Product = Product::MariaDb(10, 11);
    const MYSQL: Product = Product::MySql(8, 0);
    const A: &str = "3e11fa47-71ca-11e1-9e33-c80aa9429562";

    fn at(text: &str) -> Gtids {
        let product = if text.contains(':') { MYSQL } else { MARIA };
        Gtids::read(product, text).expect("a position")
    }

    #[test]
    fn a_domain_is_reached_by_its_number_and_every_domain_counts() {
        for (here, there, behind) in [
            ("0-1-5", "0-1-5", 0),
            ("0-1-6", "0-1-5", 0),
            ("0-1-4", "0-1-5", 1),
            ("0-2-6", "0-1-5", 0),
            // The same number by another server is another transaction.
            ("0-2-5", "0-1-5", 1),
            ("0-1-5", "0-1-5,7-1-3", 3),
            ("0-1-5,7-1-1", "0-1-5,7-1-3", 2),
            ("0-1-5,9-1-1", "0-1-5", 0),
        ] {
            assert_eq!(at(here).behind(&at(there)), behind, "{here} to {there}");
        }
        assert_eq!(at("0-1-6").beyond(&at("0-1-5")).as_deref(), Some("0-1-6"));
        assert_eq!(at("0-2-5").beyond(&at("0-1-5")).as_deref(), Some("0-2-5"));
        assert_eq!(at("0-1-5,9-1-1").beyond(&at("0-1-5")), None);
    }

    #[test]
    fn numbers_that_went_back_say_nothing() {
        let state = |text| log(text).expect("a log");
        assert_eq!(at("0-1-9,1-2-3").is_in_order(&state("0-1-9,0-2-5,1-2-3")), Ok(()));
        assert!(at("0-2-5").is_in_order(&state("0-1-10,0-2-5")).is_err());
        assert!(at("0-2-5").is_in_order(&state("0-1-5,0-2-5")).is_err());
        assert!(at("").is_in_order(&state("0-1-10")).is_err());
    }

    #[test]
    fn what_a_replica_committed_itself_is_told() {
        let state = |text| log(text).expect("a log");
        let own = |log, source, known: Option<&str>| {
            own(&state(log), 2, &state(source), known.map(at).as_ref())
        };
        assert_eq!(own("0-1-5,0-2-6", "0-1-5", None).as_deref(), Some("0-2-6"));
        assert_eq!(own("0-1-5,0-2-6", "0-1-5,0-2-6", None), None);
        assert_eq!(own("0-1-5", "0-1-5", None), None);
        assert_eq!(own("0-1-9,0-2-6", "0-1-9", Some("0-2-6")), None);
        assert_eq!(own("0-1-9,0-2-7", "0-1-9", Some("0-2-6")).as_deref(), Some("0-2-7"));
        assert_eq!(own("0-1-9,0-2-6", "0-1-9", Some("1-2-6,0-3-7")).as_deref(), Some("0-2-6"));
        let (here, there) = (at(&format!("{A}:1-3,b:1-9")), at("b:1-9"));
        assert_eq!(here.own(&A.to_uppercase(), &there), Some(format!("{A}:1-3")));
        assert_eq!(here.own(A, &at(&format!("{A}:1-3"))), None);
    }

    #[test]
    fn sets_of_mysql_are_compared_number_by_number() {
        for (here, there, behind) in [
            (format!("{A}:1-10"), format!("{A}:1-10"), 0),
            (format!("{A}:1-4:6-10"), format!("{A}:1-10"), 1),
            (format!("{A}:1-20"), format!("{A}:1-10"), 0),
            ("b:1".to_owned(), format!("{A}:1-10:12,b:1"), 11),
            (format!("{A}:1-10"), format!("{A}:1-10:tag:1-2"), 2),
        ] {
            assert_eq!(at(&here).behind(&at(&there)), behind, "{here} to {there}");
        }
        assert_eq!(at("a:1-5").beyond(&at("a:1-4,b:1")).as_deref(), Some("a:1-5"));
        assert_eq!(at("a:1-4,c:1").beyond(&at("a:1-4,b:1")), None);
    }

    #[test]
    fn other_spellings_are_refused() {
        for wrong in ["0-1", "0-1-2-3", "a-1-2", "0-1-x", "-1-0-1", "0-1--2"] {
            assert!(Gtids::read(MARIA, wrong).is_err(), "{wrong}");
        }
        for wrong in ["a", "a:", "a:0", "a:5-3", "a:1-x", "a:1--2", "a:tag"] {
            assert!(Gtids::read(MYSQL, wrong).is_err(), "{wrong}");
        }
        assert!(Gtids::read(MARIA, "").expect("nothing yet").is_empty());
        assert_eq!(at("A:1-3:7,\n B:1").to_string(), "a:1-3:7,b:1");
        assert_eq!(at("1-2-3,0-1-9").to_string(), "0-1-9,1-2-3");
    }

    proptest! {
        /// Against the plain list of numbers.
        #[test]
        fn what_is_missing_is_counted(here in proptest::collection::btree_set(1_u64..40, 0..30), there in proptest::collection::btree_set(1_u64..40, 0..30)) {
            let runs = |numbers: &std::collections::BTreeSet<u64>| numbers.iter().map(|it| (*it, *it)).collect::<Vec<_>>();
            let counted = missing(Some(&runs(&here)), &runs(&there));
            prop_assert_eq!(counted, there.difference(&here).count() as u64);
        }
    }
}
