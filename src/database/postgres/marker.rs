//! A table of one row a run, written at the source and looked for at the target: the proof that what is committed arrives.
//!
//! It is made on both sides of a logical replication (at the target first: a change for a table that is not there stops the
//! apply worker) and at the source alone of a physical one, and taken away in the opposite order, once the target has all
//! changes of it.

use std::collections::BTreeSet;

use super::super::DatabaseError;
use super::super::replication::{Beat, Replication as _, Sides};
use super::judge::Look;
use super::{How, Pair, Writer, literal, quoted};
use crate::journal::EffectPermit;
use crate::run::RunId;

/// Its name.
pub const TABLE: &str = "migrate.marker";

const THERE: &str = "select to_json(to_regclass('migrate.marker') is not null)::text";
const NOW: &str = "select to_json((extract(epoch from clock_timestamp()) * 1000000)::bigint)::text";
const BEAT: &str = "select coalesce((select json_build_object('seq', seq, 'at', (extract(epoch from at) * 1000000)::bigint)
    from migrate.marker where run = $1::text)::text, 'null')";
const WRITE: &str = "with written as (
        insert into migrate.marker as marker (run, seq, at) values ($1::text, $2::text::bigint, clock_timestamp())
        on conflict (run) do update set seq = excluded.seq, at = excluded.at
        returning seq, at)
    select json_build_object('seq', seq, 'at', (extract(epoch from at) * 1000000)::bigint)::text from written";
const MAKE: &str = "create schema if not exists migrate;
    create table if not exists migrate.marker (run text primary key, seq bigint not null, at timestamptz not null)";
/// The schema goes too, unless somebody keeps something else in it.
const REMOVE: &str =
    "drop table if exists migrate.marker; do $$ begin drop schema if exists migrate;
    exception when dependent_objects_still_exist then null; end $$";

/// Where the table is now.
pub(super) async fn sides(pair: &mut Pair) -> Result<Sides, DatabaseError> {
    let (source, target) = (pair.ask_source(THERE, &[]).await?, pair.ask_target(THERE, &[]).await?);
    let follows = match pair.how() {
        How::Logical { .. } => tables(pair).await?.subscribed.contains(TABLE),
        How::Physical { .. } => target,
    };
    Ok(Sides { source, target, follows })
}

/// The row of this run at the target; none before it has arrived.
pub(super) async fn arrived(pair: &mut Pair, run: &RunId) -> Result<Option<Beat>, DatabaseError> {
    pair.ask_target(BEAT, &[run.as_str()]).await
}

/// The clock of the source, in microseconds.
pub(super) async fn now(pair: &mut Pair) -> Result<i64, DatabaseError> {
    pair.ask_source(NOW, &[]).await
}

/// Writes the row at the source; answers when it is committed.
pub async fn write(
    source: &mut Writer,
    permit: &EffectPermit,
    run: &RunId,
    seq: i64,
) -> Result<Beat, DatabaseError> {
    source.execute_json(permit, WRITE, &[run.as_str(), &seq.to_string()]).await
}

/// Makes the table on every side that needs it and lets it be replicated. Harmless where that is so already.
pub(super) async fn make(pair: &mut Pair, permit: &EffectPermit) -> Result<(), DatabaseError> {
    let mut source = pair.source().writer().await?;
    if let How::Logical { publications, .. } = pair.how().clone() {
        let mut target = pair.target().writer().await?;
        target.execute(permit, MAKE).await?;
        source.execute(permit, MAKE).await?;
        if !published(pair, &publications).await? {
            // The first of them; a publication of all tables has it by itself.
            let name = publications.first().map(|name| quoted(name)).unwrap_or_default();
            source.execute(permit, &format!("alter publication {name} add table {TABLE}")).await?;
        }
        refresh(pair, &mut target, permit).await?;
        target.close().await;
    } else {
        source.execute(permit, MAKE).await?;
    }
    source.close().await;
    Ok(())
}

/// Drops the table at the source. Before that the target must have every change of it.
pub(super) async fn drop_at_source(
    pair: &Pair,
    permit: &EffectPermit,
) -> Result<(), DatabaseError> {
    let mut source = pair.source().writer().await?;
    source.execute(permit, REMOVE).await?;
    source.close().await;
    Ok(())
}

/// Drops the table at a subscriber, after the source.
pub(super) async fn drop_at_target(
    pair: &mut Pair,
    permit: &EffectPermit,
) -> Result<(), DatabaseError> {
    let mut target = pair.target().writer().await?;
    refresh(pair, &mut target, permit).await?;
    target.execute(permit, REMOVE).await?;
    target.close().await;
    Ok(())
}

async fn published(pair: &mut Pair, publications: &[String]) -> Result<bool, DatabaseError> {
    let names: Vec<String> = publications.iter().map(|name| literal(name)).collect();
    let query = format!(
        "select to_json(exists (select from pg_publication_tables where schemaname = 'migrate' and tablename = 'marker'
            and pubname in ({})))::text",
        names.join(", ")
    );
    pair.ask_source(&query, &[]).await
}

/// Lets the subscription learn which tables there are, without copying: a first copy waits for every open transaction of the
/// source. A table that would join without its rows is refused before, and told should it have slipped in.
async fn refresh(
    pair: &mut Pair,
    target: &mut Writer,
    permit: &EffectPermit,
) -> Result<(), DatabaseError> {
    let How::Logical { subscription, .. } = pair.how().clone() else { return Ok(()) };
    let before = tables(pair).await?;
    let joining: Vec<&String> =
        before.published.difference(&before.subscribed).filter(|it| *it != TABLE).collect();
    if !joining.is_empty() {
        let cause = format!("published and not subscribed: {joining:?}");
        return Err(DatabaseError::Refused { at: pair.target().at().to_owned(), cause });
    }
    let subscription = quoted(&subscription);
    let statement =
        format!("alter subscription {subscription} refresh publication with (copy_data = false)");
    target.execute(permit, &statement).await?;
    let after = tables(pair).await?;
    let joined: Vec<&String> =
        after.subscribed.difference(&before.subscribed).filter(|it| *it != TABLE).collect();
    if joined.is_empty() {
        return Ok(());
    }
    let cause = format!(
        "subscribed meanwhile and without their rows: {joined:?}; take them out of the publication, refresh, and add them again"
    );
    Err(DatabaseError::Refused { at: pair.target().at().to_owned(), cause })
}

/// Tables of both sides.
struct Tables {
    published: BTreeSet<String>,
    subscribed: BTreeSet<String>,
}

async fn tables(pair: &mut Pair) -> Result<Tables, DatabaseError> {
    let (published, subscribed) = match pair.look().await? {
        Look::Logical(publisher, subscriber) => (publisher.tables, subscriber.tables),
        Look::Physical(..) => (None, None),
    };
    let set = |tables: Option<Vec<String>>| tables.unwrap_or_default().into_iter().collect();
    Ok(Tables { published: set(published), subscribed: set(subscribed) })
}
