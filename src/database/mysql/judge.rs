//! Whether a replica has what its source had: a verdict from raw readings of both sides. Pure.
//!
//! The target is ready when it has reached a position that the source told *before* the target was looked at, both threads of
//! its connection to this very source run, nothing is left out on the way, and nothing was written past it. What is missing,
//! null or contradictory is unknown, and says why. `Seconds_Behind_Master` is not read: it is null when a thread has stopped,
//! zero when the link is dead, and wrong on a quiet source.

use super::super::replication::{self, Position as _, Told, known, unless};
use super::Product;
use super::gtid::{self, Gtids, Log};

/// What a server says of itself.
#[derive(Debug, Clone, PartialEq)]
pub struct Own {
    /// Who made it.
    pub product: Product,
    /// By what the other side knows it: the server id in MariaDB, the uuid in MySQL.
    pub id: Option<String>,
    /// It keeps a binary log with global transaction ids.
    pub logs: Option<bool>,
    /// Of the source: where its log ends. Of the target: what it has applied.
    pub position: Option<Gtids>,
    /// Of MariaDB: whose transactions are in its log.
    pub log: Option<Log>,
    /// Of a source of MariaDB: what it has applied from others.
    pub applied: Option<Gtids>,
}

/// The source.
#[derive(Debug, Clone, PartialEq)]
pub struct Source {
    /// Itself.
    pub own: Own,
    /// Who is connected to it as a replica.
    pub replicas: Option<Vec<String>>,
    /// Filters of its log, by name; those that are empty too.
    pub filters: Option<Vec<(String, Option<String>)>>,
}

/// The target.
#[derive(Debug, Clone, PartialEq)]
pub struct Target {
    /// Itself.
    pub own: Own,
    /// Its connections to sources.
    pub connections: Option<Vec<Connection>>,
    /// Settings by which it goes on where applying fails, by name with their values.
    pub lenient: Option<Vec<(String, Option<String>)>>,
}

/// One connection of a replica.
#[derive(Debug, Clone, PartialEq)]
pub struct Connection {
    /// The source, as [`Own::id`].
    pub source: Option<String>,
    /// `Yes` while the thread that receives is connected.
    pub io: Option<String>,
    /// `Yes` while the thread that applies runs.
    pub sql: Option<String>,
    /// Number and words of the last error of each thread; number 0 and no words where there was none.
    pub io_error: (Option<String>, Option<String>),
    /// Likewise of applying.
    pub sql_error: (Option<String>, Option<String>),
    /// How many events are to be passed over.
    pub skips: Option<String>,
    /// What is left out, by name; filters that are empty too.
    pub filters: Vec<(String, Option<String>)>,
}

/// One look at both sides.
#[derive(Debug, Clone, PartialEq)]
pub struct Look {
    /// The database that is followed.
    pub database: String,
    /// Transactions of the target's own that an author knows of.
    pub known: Option<Gtids>,
    /// The source, read last.
    pub source: Source,
    /// The target.
    pub target: Target,
}

/// What a look says.
pub type Standing = replication::Standing<Gtids>;

impl Own {
    /// Where the log of a source ends, as far as it says what came before.
    pub fn end(&self) -> Told<&Gtids> {
        unless(!*known(self.logs.as_ref(), "whether the source keeps a log")?, || {
            "the source keeps no binary log with global transaction ids".to_owned()
        })?;
        let position = known(self.position.as_ref(), "the position of the source")?;
        unless(position.is_empty(), || {
            "the log of the source has no transaction yet: nobody can tell what was there before it"
                .to_owned()
        })?;
        if let Product::MariaDb(..) = self.product {
            let log = known(self.log.as_ref(), "whose transactions the log of the source holds")?;
            position
                .is_in_order(log)
                .map_err(|why| format!("the source: {why}; set gtid_strict_mode there"))?;
            // What came to it from others goes on only if it is in its own log.
            let applied = known(self.applied.as_ref(), "what the source has applied itself")?;
            unless(!position.reaches(applied), || {
                format!(
                    "the source has applied transactions of others ({applied}) that its own log does not hold; see log_slave_updates"
                )
            })?;
        }
        Ok(position)
    }
}

impl Look {
    /// How far the target is. `before` is the look before this one.
    pub fn judge(&self, before: Option<&Self>) -> Standing {
        let reached = self.goes_on(before).and_then(|()| self.reached());
        reached.map_or_else(Standing::Unknown, |position| Standing::At(position.clone()))
    }

    /// The source is the server that it was, and its log goes on where it was.
    fn goes_on(&self, before: Option<&Self>) -> Told<()> {
        let Some(before) = before.map(|look| &look.source.own) else { return Ok(()) };
        let now = &self.source.own;
        unless(before.id != now.id, || {
            "another server answers as the source than before".to_owned()
        })?;
        // Where it could not tell its end, nothing was said before.
        let (Ok(then), Ok(now)) = (before.end(), now.end()) else { return Ok(()) };
        unless(!now.reaches(then), || {
            format!("the log of the source was begun anew: it ended at {then}, and now at {now}")
        })
    }

    fn reached(&self) -> Told<&Gtids> {
        let (source, target) = (&self.source.own, &self.target.own);
        let end = source.end()?;
        let id = known(source.id.as_ref(), "who the source is")?;
        let connections = known(self.target.connections.as_ref(), "whom the target follows")?;
        let mine = of_source(connections, id)?;
        for connection in &mine {
            healthy(connection)?;
            whole(&connection.filters, &self.database)?;
        }
        let filters = known(self.source.filters.as_ref(), "what the log of the source leaves out")?;
        whole(filters, &self.database)?;
        strict(known(self.target.lenient.as_ref(), "whether the target passes over errors")?)?;
        let replicas = known(self.source.replicas.as_ref(), "who is connected to the source")?;
        let own = known(target.id.as_ref(), "who the target is")?;
        unless(!replicas.iter().any(|replica| replica.eq_ignore_ascii_case(own)), || {
            "the target is not connected, as the source sees it".to_owned()
        })?;
        let reached = known(target.position.as_ref(), "the position of the target")?;
        self.strays(own, end)?;
        unless(reached.beyond(end).is_some(), || {
            format!(
                "the target has {}, which the source has not",
                reached.beyond(end).unwrap_or_default()
            )
        })?;
        Ok(reached)
    }

    /// Nothing was written at the target past the replication.
    fn strays(&self, own: &str, end: &Gtids) -> Told<()> {
        let (source, target) = (&self.source.own, &self.target.own);
        unless(!*known(target.logs.as_ref(), "whether the target keeps a log")?, || {
            "the target keeps no binary log with global transaction ids, which would show what is written there past the replication".to_owned()
        })?;
        let author = self.known.as_ref();
        let stray = match target.product {
            Product::MariaDb(..) => {
                let log =
                    known(target.log.as_ref(), "whose transactions the log of the target holds")?;
                let theirs =
                    known(source.log.as_ref(), "whose transactions the log of the source holds")?;
                let own = own.parse().map_err(|_| format!("`{own}` is no server id"))?;
                gtid::own(log, own, theirs, author)
            }
            Product::MySql(..) => {
                let position = known(target.position.as_ref(), "the position of the target")?;
                let strays = position.own(own, end);
                strays.filter(|_| author.is_none_or(|author| position.own(own, author).is_some()))
            }
        };
        stray.map_or(Ok(()), |stray| {
            Err(format!("transactions of the target's own, which the source has not: {stray}"))
        })
    }
}

/// Connections to that source; there must be one.
fn of_source<'a>(connections: &'a [Connection], id: &str) -> Told<Vec<&'a Connection>> {
    let is_mine = |it: &&Connection| {
        it.source.as_deref().is_some_and(|source| source.eq_ignore_ascii_case(id))
    };
    let mine: Vec<&Connection> = connections.iter().filter(is_mine).collect();
    if !mine.is_empty() {
        return Ok(mine);
    }
    let Some(other) = connections.first() else {
        return Err("the target follows nobody".to_owned());
    };
    // Before it has been connected it does not know whom it follows.
    healthy(other)?;
    let whom = other.source.as_deref().unwrap_or("unknown");
    Err(format!("the target follows server {whom}, and the source is {id}"))
}

fn healthy(connection: &Connection) -> Told<()> {
    let Connection { io, sql, io_error, sql_error, skips, .. } = connection;
    for (name, running, (number, words)) in
        [("receives", io, io_error), ("applies", sql, sql_error)]
    {
        let running = known(running.as_ref(), &format!("whether the thread that {name} runs"))?;
        let number = known(number.as_ref(), &format!("the last error of the thread that {name}"))?;
        let words = words.as_deref().filter(|words| !words.is_empty());
        let because = words.map(|words| format!(": {words}")).unwrap_or_default();
        unless(running != "Yes", || {
            format!("the thread that {name} at the target runs: {running}{because}")
        })?;
        unless(number != "0", || {
            format!("the thread that {name} at the target had error {number}{because}")
        })?;
    }
    let skips = known(skips.as_ref(), "how many events are passed over")?;
    unless(skips != "0", || format!("the target is to pass over {skips} events"))
}

/// Filters, by the names of the settings, none of which may keep anything of the database back.
fn whole(filters: &[(String, Option<String>)], database: &str) -> Told<()> {
    for (name, value) in filters {
        let value = known(value.as_ref(), name)?;
        unless(!value.is_empty() && leaves_out(name, value, database), || {
            format!("what comes over is filtered: {name} is {value}")
        })?;
    }
    Ok(())
}

/// Whether a filter may keep a table of the database back. Those by database go by what a session has selected where statements
/// are logged, and tell nothing.
fn leaves_out(name: &str, value: &str, database: &str) -> bool {
    let mut patterns = value.split(',').map(|pattern| pattern.trim().split_once('.'));
    match name {
        "Replicate_Wild_Do_Table" => !patterns.any(|pattern| pattern == Some((database, "%"))),
        "Replicate_Ignore_Table" | "Replicate_Wild_Ignore_Table" => {
            patterns.any(|pattern| pattern.is_none_or(|(of, _)| may_be(of, database)))
        }
        _ => true,
    }
}

/// Whether a pattern may mean that database.
pub(super) fn may_be(pattern: &str, database: &str) -> bool {
    let pattern = pattern.replace('\\', "");
    let alike = |(one, other): (char, char)| one == '_' || one.eq_ignore_ascii_case(&other);
    pattern.contains('%')
        || pattern.len() == database.len() && pattern.chars().zip(database.chars()).all(alike)
}

/// Where applying fails it stops. With anything else a row may be missing and nobody is told.
fn strict(settings: &[(String, Option<String>)]) -> Told<()> {
    unless(settings.len() < 2, || "whether the target passes over errors is not told".to_owned())?;
    for (name, value) in settings {
        let value = known(value.as_ref(), name)?;
        let fine = ["STRICT", "OFF", ""].iter().any(|fine| value.eq_ignore_ascii_case(fine));
        unless(!fine, || format!("the target passes over errors: {name} is {value}"))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests;
