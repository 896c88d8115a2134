//! Whether a target has what its source had: a verdict from raw readings of both sides. Pure.
//!
//! The target is ready when it has reached a position that the source told *before* the target was looked at, and nothing
//! says that the readings can not be trusted. What is missing, null or contradictory is unknown, and says why. The seconds
//! that a server tells of itself are not read: they are wrong on a quiet source, and null on an idle one.

use serde::Deserialize;

use super::super::replication::{self, Told, unless};
use super::{Lsn, marker};

/// The publishing side of logical replication.
#[derive(Debug, Clone, PartialEq, Deserialize)]
pub struct Publisher {
    /// It is itself a standby.
    pub in_recovery: Option<bool>,
    /// The slot that the subscription names.
    pub slot: Option<Slot>,
    /// `schema.table` of every published table, sorted.
    pub tables: Option<Vec<String>>,
    /// Of those, the ones of which some rows or columns are left out.
    pub partial: Option<Vec<String>>,
    /// Publications that are named and there.
    pub publications: Option<Vec<Publication>>,
}

/// A replication slot.
#[derive(Debug, Clone, PartialEq, Deserialize)]
pub struct Slot {
    /// Somebody is connected to it.
    pub active: Option<bool>,
    /// `reserved` or `extended` while nothing that is needed has been removed.
    pub wal_status: Option<String>,
    /// The subscriber has everything up to here: it said so after it had written it.
    pub confirmed: Option<Lsn>,
}

/// A publication.
#[derive(Debug, Clone, PartialEq, Deserialize)]
pub struct Publication {
    /// Its name.
    pub name: String,
    /// Inserts, updates, deletes and truncations are all published.
    pub everything: Option<bool>,
}

/// The subscribing side of logical replication.
#[derive(Debug, Clone, PartialEq, Deserialize)]
pub struct Subscriber {
    /// The subscription is enabled.
    pub enabled: Option<bool>,
    /// Publications it asks for.
    pub publications: Option<Vec<String>>,
    /// Process id of its apply worker.
    pub worker: Option<i64>,
    /// `schema.table` of every subscribed table, sorted.
    pub tables: Option<Vec<String>>,
    /// Of those, the ones whose first copy is not complete.
    pub copying: Option<Vec<String>>,
    /// Errors of apply and of first copies so far; none before version 15.
    pub errors: Option<i64>,
    /// Whether that version counts them.
    pub counts_errors: Option<bool>,
}

/// The primary of physical replication.
#[derive(Debug, Clone, PartialEq, Deserialize)]
pub struct Primary {
    /// It is itself a standby.
    pub in_recovery: Option<bool>,
    /// Which cluster it is.
    pub system: Option<String>,
    /// The timeline it writes, as in the names of its files.
    pub timeline: Option<String>,
    /// `streaming` for each standby that is connected (by that slot, where one was named).
    pub standbys: Option<Vec<String>>,
}

/// The standby of physical replication.
#[derive(Debug, Clone, PartialEq, Deserialize)]
pub struct Standby {
    /// It still replays.
    pub in_recovery: Option<bool>,
    /// Which cluster it is a copy of.
    pub system: Option<String>,
    /// `not paused`, `pause requested` or `paused`.
    pub replay: Option<String>,
    /// Replayed up to here.
    pub replayed: Option<Lsn>,
    /// `streaming` while the receiver is connected.
    pub receiver: Option<String>,
    /// The slot by which it comes, if by any.
    pub slot: Option<String>,
    /// The timeline it receives.
    pub timeline: Option<String>,
}

/// One look at both sides.
#[derive(Debug, Clone, PartialEq)]
pub enum Look {
    /// Publication and subscription.
    Logical(Publisher, Subscriber),
    /// Primary and standby.
    Physical(Primary, Standby),
}

/// What a look says.
pub type Standing = replication::Standing<Lsn>;

impl Look {
    /// How far the target is. `before` is the look before this one: only two together tell whether errors go on.
    pub fn judge(&self, before: Option<&Self>) -> Standing {
        let told = match (self, before) {
            (Self::Logical(publisher, subscriber), before) => {
                let before = before.and_then(|look| match look {
                    Self::Logical(_, subscriber) => Some(subscriber),
                    Self::Physical(..) => None,
                });
                logical(publisher, subscriber, before)
            }
            (Self::Physical(primary, standby), _) => physical(primary, standby),
        };
        told.map_or_else(Standing::Unknown, Standing::At)
    }
}

fn known<T: Clone>(value: Option<&T>, what: &str) -> Told<T> {
    replication::known(value, what).cloned()
}

fn logical(
    publisher: &Publisher,
    subscriber: &Subscriber,
    before: Option<&Subscriber>,
) -> Told<Lsn> {
    unless(known(publisher.in_recovery.as_ref(), "whether the source is a primary")?, || {
        "the source is a standby itself".to_owned()
    })?;
    let enabled = known(subscriber.enabled.as_ref(), "whether the subscription is enabled")?;
    unless(!enabled, || "the subscription is disabled".to_owned())?;
    same_tables(publisher, subscriber)?;
    let copying = known(subscriber.copying.as_ref(), "the state of the tables")?;
    unless(!copying.is_empty(), || {
        format!("the first copy of {} is not complete", some(&copying))
    })?;
    healthy(subscriber, before)?;
    let slot =
        publisher.slot.as_ref().ok_or("the slot of the subscription is gone at the source")?;
    unless(slot.active != Some(true), || {
        "nobody is connected to the slot at the source".to_owned()
    })?;
    let kept = known(slot.wal_status.as_ref(), "whether the slot still has its log")?;
    unless(!["reserved", "extended"].contains(&kept.as_str()), || {
        format!("the slot has lost, or is about to lose, a part of its log ({kept})")
    })?;
    known(slot.confirmed.as_ref(), "the position that the subscriber confirmed")
}

/// What is published and what is subscribed must be the same tables, in full.
fn same_tables(publisher: &Publisher, subscriber: &Subscriber) -> Told<()> {
    let asked = known(subscriber.publications.as_ref(), "which publications are subscribed")?;
    let there = known(publisher.publications.as_ref(), "which publications there are")?;
    for name in &asked {
        let found = there.iter().find(|publication| publication.name == *name);
        let found = found.ok_or_else(|| format!("there is no publication {name} at the source"))?;
        unless(found.everything != Some(true), || {
            format!("publication {name} leaves out inserts, updates, deletes or truncations")
        })?;
    }
    let sent = known(publisher.tables.as_ref(), "which tables are published")?;
    let partial = known(publisher.partial.as_ref(), "whether tables are published in whole")?;
    unless(!partial.is_empty(), || {
        format!("rows or columns are left out of what is published: {}", some(&partial))
    })?;
    let taken = known(subscriber.tables.as_ref(), "which tables are subscribed")?;
    // The table of marks is this program's own, and may be half made after a crash; a mark that arrives proves itself.
    let without = |all: &[String], other: &[String]| -> Vec<String> {
        let missing = all.iter().filter(|table| !other.contains(table) && *table != marker::TABLE);
        missing.cloned().collect()
    };
    let (missing, extra) = (without(&sent, &taken), without(&taken, &sent));
    unless(!missing.is_empty(), || format!("published and not subscribed: {}", some(&missing)))?;
    unless(!extra.is_empty(), || format!("subscribed and no longer published: {}", some(&extra)))?;
    unless(sent.is_empty(), || "no table is published".to_owned())
}

/// The worker lives, is the same as before, and fails no more than before.
fn healthy(subscriber: &Subscriber, before: Option<&Subscriber>) -> Told<()> {
    let worker = subscriber.worker.ok_or("the apply worker at the target is not running")?;
    let before = before.ok_or("one look does not tell whether errors go on; looking again")?;
    unless(before.worker != Some(worker), || {
        "the apply worker at the target was started anew since the last look".to_owned()
    })?;
    if !known(subscriber.counts_errors.as_ref(), "whether errors are counted")? {
        return Ok(());
    }
    let errors = known(subscriber.errors.as_ref(), "how often applying failed")?;
    let earlier = known(before.errors.as_ref(), "how often applying had failed")?;
    unless(errors != earlier, || {
        format!("applying failed again at the target: {earlier} errors before, {errors} now")
    })
}

fn physical(primary: &Primary, standby: &Standby) -> Told<Lsn> {
    unless(known(primary.in_recovery.as_ref(), "whether the source is a primary")?, || {
        "the source is a standby itself".to_owned()
    })?;
    unless(!known(standby.in_recovery.as_ref(), "whether the target is a standby")?, || {
        "the target is no standby any more".to_owned()
    })?;
    let (one, other) = (
        known(primary.system.as_ref(), "which cluster the source is")?,
        known(standby.system.as_ref(), "which cluster the target copies")?,
    );
    unless(one != other, || "the target is a copy of another cluster".to_owned())?;
    let replay = known(standby.replay.as_ref(), "whether replay is paused")?;
    unless(replay != "not paused", || format!("replay at the target: {replay}"))?;
    let receiver = standby.receiver.as_ref();
    let receiver = receiver
        .ok_or("the receiver at the target is not running, or pg_monitor is missing to see it")?;
    unless(receiver != "streaming", || format!("the receiver at the target: {receiver}"))?;
    let (one, other) = (
        known(primary.timeline.as_ref(), "which timeline the source writes")?,
        known(standby.timeline.as_ref(), "which timeline the target receives")?,
    );
    unless(one != other, || {
        format!("the target follows another server: timeline {other}, and the source's is {one}")
    })?;
    let standbys = known(primary.standbys.as_ref(), "who is connected to the source")?;
    unless(standbys.is_empty(), || "no standby is connected to the source".to_owned())?;
    unless(!standbys.iter().any(|state| state == "streaming"), || {
        format!("the standby as the source sees it: {}", some(&standbys))
    })?;
    known(standby.replayed.as_ref(), "the position that was replayed")
}

/// A few of many.
fn some(names: &[String]) -> String {
    let shown = names.iter().take(5).cloned().collect::<Vec<_>>().join(", ");
    if names.len() > 5 { format!("{shown} and {} more", names.len() - 5) } else { shown }
}

#[cfg(test)]
mod tests;
