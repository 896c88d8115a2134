//! A replication that is turned around: the source follows the target, so that whatever the target accepts is at the source, too,
//! when a wave is taken back.
//!
//! Before version 16 a subscription passes on what it received itself: the two together would send each row round and round. So they
//! never run at once. The one forward is disabled before the one back starts, and is enabled again once that one is gone, beyond all
//! that came back by it.

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::super::DatabaseError;
use super::{How, Lsn, Pair, literal, quoted};
use crate::journal::EffectPermit;

/// The publication at the target, and the subscription to it at the source.
pub const NAME: &str = "migrate_reverse";

/// Which ways replication goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ways {
    /// The target's subscription is enabled.
    pub forward: bool,
    /// The target publishes what it would send back.
    pub published: bool,
    /// The source's subscription is there and enabled.
    pub back: bool,
}

impl Ways {
    /// Turned around.
    pub const TURNED: Self = Self { forward: false, published: true, back: true };
}

const ENABLED: &str =
    "select to_json(coalesce((select subenabled from pg_subscription where subname = $1::text
    and subdbid = (select oid from pg_database where datname = current_database())), false))::text";
const SUBSCRIBED: &str =
    "select to_json(exists (select from pg_subscription where subname = $1::text
    and subdbid = (select oid from pg_database where datname = current_database())))::text";
const PUBLISHED: &str =
    "select to_json(exists (select from pg_publication where pubname = $1::text))::text";
/// Everything that the target has by the subscription, each as it stands in a statement.
const TABLES: &str = "select coalesce(json_agg(format('%I.%I', nspname, relname) order by nspname, relname), '[]')::text
    from pg_subscription subscription join pg_subscription_rel relation on relation.srsubid = subscription.oid
    join pg_class class on class.oid = srrelid join pg_namespace space on space.oid = relnamespace
    where subname = $1::text and subdbid = (select oid from pg_database where datname = current_database())";
/// Slots belong to a server, and not to one of its databases.
const SLOT: &str = "select to_json('migrate_reverse_' || oid)::text from pg_database where datname = current_database()";
const WORKING: &str = "select to_json(exists (select from pg_stat_subscription where subname = $1::text and pid is not null))::text";
const FOLLOWER: &str = "select json_build_object(
    'it is not paused', not exists (select from pg_db_role_setting, unnest(setconfig) entry
        where setrole = 0 and setdatabase = (select oid from pg_database where datname = current_database())
            and entry = 'default_transaction_read_only=on'),
    'the user is no superuser, who alone may make a subscription there', not (select rolsuper from pg_roles where rolname = current_user))::text";
const LEADER: &str = "select json_build_object(
    'wal_level is not logical', current_setting('wal_level') <> 'logical',
    'the user is no superuser, who alone may set where a subscription goes on', not (select rolsuper from pg_roles where rolname = current_user))::text";

/// A statement that fails stands in the server's log as it is, and this one holds a password.
const UNLOGGED: &str = "set log_min_error_statement = panic; set log_statement = none; set log_min_duration_statement = -1";

/// The subscription at the target.
fn forward(pair: &Pair) -> Result<String, DatabaseError> {
    match pair.how() {
        How::Logical { subscription, .. } => Ok(subscription.clone()),
        How::Physical { .. } => {
            let cause = "a standby can not be turned around; only a subscription can".to_owned();
            Err(DatabaseError::Refused { at: pair.target().at().to_owned(), cause })
        }
    }
}

/// Which ways replication goes now.
pub async fn ways(pair: &mut Pair) -> Result<Ways, DatabaseError> {
    let forward = forward(pair)?;
    Ok(Ways {
        forward: pair.ask_target(ENABLED, &[&forward]).await?,
        published: pair.ask_target(PUBLISHED, &[NAME]).await?,
        back: pair.ask_source(ENABLED, &[NAME]).await?,
    })
}

/// What stands in the way of turning it around; nothing is changed by asking.
pub async fn in_the_way(pair: &mut Pair) -> Result<Vec<String>, DatabaseError> {
    forward(pair)?;
    let source: Value = pair.ask_source(FOLLOWER, &[]).await?;
    let target: Value = pair.ask_target(LEADER, &[]).await?;
    let there = |at: &str, told: &Value| -> Vec<String> {
        let told = told.as_object().into_iter().flatten();
        told.filter(|(_, is_so)| **is_so != false)
            .map(|(what, _)| format!("{at}: {what}"))
            .collect()
    };
    let mut found = there(pair.source().at(), &source);
    found.extend(there(pair.target().at(), &target));
    Ok(found)
}

/// Publishes at the target and subscribes at the source, by `link`, without starting it; then stops the way forward. What is written at
/// the target from here on is kept for the source.
pub async fn prepare(
    pair: &mut Pair,
    permit: &EffectPermit,
    link: &str,
) -> Result<(), DatabaseError> {
    let forward = forward(pair)?;
    let (mut source, mut target) = (pair.source().writer().await?, pair.target().writer().await?);
    if !pair.ask_target::<bool>(PUBLISHED, &[NAME]).await? {
        let tables: Vec<String> = pair.ask_target(TABLES, &[&forward]).await?;
        target
            .execute(permit, &format!("create publication {NAME} for table {}", tables.join(", ")))
            .await?;
    }
    if !pair.ask_source::<bool>(SUBSCRIBED, &[NAME]).await? {
        let slot: String = pair.ask_target(SLOT, &[]).await?;
        // An attempt that was cut off may have left it.
        target.execute(permit, &drop_slot(&slot)).await?;
        let statement = format!(
            "create subscription {NAME} connection {} publication {NAME} with (copy_data = false, enabled = false, slot_name = {slot})",
            literal(link)
        );
        source.execute(permit, UNLOGGED).await?;
        source.execute_unlogged(permit, &statement).await?;
    }
    target.execute(permit, &format!("alter subscription {} disable", quoted(&forward))).await?;
    source.close().await;
    target.close().await;
    Ok(())
}

/// The worker of the way forward has ended.
pub async fn has_stopped(pair: &mut Pair) -> Result<bool, DatabaseError> {
    let forward = forward(pair)?;
    pair.ask_target::<bool>(WORKING, &[&forward]).await.map(|works| !works)
}

/// Starts the way back.
pub async fn start(pair: &Pair, permit: &EffectPermit) -> Result<(), DatabaseError> {
    let mut source = pair.source().writer().await?;
    source.execute(permit, &format!("alter subscription {NAME} enable")).await?;
    source.close().await;
    Ok(())
}

/// Ends the way back and removes what it was made of. The source has to have everything by then.
pub async fn end(pair: &mut Pair, permit: &EffectPermit) -> Result<(), DatabaseError> {
    let (mut source, mut target) = (pair.source().writer().await?, pair.target().writer().await?);
    source.execute(permit, &format!("drop subscription if exists {NAME}")).await?;
    let slot: String = pair.ask_target(SLOT, &[]).await?;
    target.execute(permit, &drop_slot(&slot)).await?;
    target.execute(permit, &format!("drop publication if exists {NAME}")).await?;
    source.close().await;
    target.close().await;
    Ok(())
}

/// Starts the way forward again, from that position of the source on: what is before it came from the target.
pub async fn forward_from(
    pair: &mut Pair,
    permit: &EffectPermit,
    position: Lsn,
) -> Result<(), DatabaseError> {
    let name = forward(pair)?;
    if pair.ask_target(ENABLED, &[&name]).await? {
        return Ok(());
    }
    let mut target = pair.target().writer().await?;
    let from = format!(
        "select pg_replication_origin_advance('pg_' || oid, {}::pg_lsn) from pg_subscription where subname = {}
            and subdbid = (select oid from pg_database where datname = current_database())",
        literal(&position.to_string()),
        literal(&name)
    );
    target.execute(permit, &from).await?;
    target.execute(permit, &format!("alter subscription {} enable", quoted(&name))).await?;
    target.close().await;
    Ok(())
}

fn drop_slot(slot: &str) -> String {
    format!(
        "select pg_drop_replication_slot(slot_name) from pg_replication_slots where slot_name = {} and not active",
        literal(slot)
    )
}
