//! A table of one row a run, written at the source and looked for at the target: the proof that what is committed arrives.
//!
//! It is made and dropped at the source alone, in the database that is followed, and comes and goes at the target by the
//! replication itself. Only where that has ended, because the target was opened, is it dropped on each side.

use super::super::DatabaseError;
use super::super::replication::{Beat, Sides};
use super::{Named, Pair, Server, Writer, literal};
use crate::journal::EffectPermit;
use crate::run::RunId;

/// Its name.
pub(super) const TABLE: &str = "migrate_marker";

const THERE: &str = "select count(*) as there from information_schema.tables
    where table_schema = database() and table_name = 'migrate_marker'";
const NOW: &str = "select cast(floor(unix_timestamp(now(6)) * 1000000) as signed) as at";
const MAKE: &str = "create table if not exists migrate_marker
    (run varchar(190) character set ascii collate ascii_bin primary key, seq bigint not null, at bigint not null) engine = InnoDB";
const REMOVE: &str = "drop table if exists migrate_marker";

fn number(rows: &[Named], name: &str, at: &str) -> Result<i64, DatabaseError> {
    let text = rows.first().and_then(|row| row.get(name)).cloned().flatten();
    text.and_then(|text| text.parse().ok()).ok_or_else(|| DatabaseError::Silent {
        at: at.to_owned(),
        cause: format!("an answer that can not be read: no number `{name}`"),
    })
}

fn beat(rows: &[Named], at: &str) -> Result<Option<Beat>, DatabaseError> {
    if rows.is_empty() {
        return Ok(None);
    }
    Ok(Some(Beat { seq: number(rows, "seq", at)?, at: number(rows, "at", at)? }))
}

fn row_of(run: &RunId) -> String {
    format!("select seq, at from {TABLE} where run = {}", literal(run.as_str()))
}

/// Where the table is now.
pub(super) async fn sides(pair: &mut Pair) -> Result<Sides, DatabaseError> {
    let source = number(&pair.ask_source(THERE).await?, "there", pair.source().at())? > 0;
    let target = is_at_target(pair).await?;
    Ok(Sides { source, target, follows: target })
}

async fn is_at_target(pair: &mut Pair) -> Result<bool, DatabaseError> {
    Ok(number(&pair.ask_target(THERE).await?, "there", pair.target().at())? > 0)
}

/// The row of this run at the target; none before it, or the table, has arrived.
pub(super) async fn arrived(pair: &mut Pair, run: &RunId) -> Result<Option<Beat>, DatabaseError> {
    if !is_at_target(pair).await? {
        return Ok(None);
    }
    let rows = pair.ask_target(&row_of(run)).await?;
    beat(&rows, pair.target().at())
}

/// The clock of the source, in microseconds.
pub(super) async fn now(pair: &mut Pair) -> Result<i64, DatabaseError> {
    let rows = pair.ask_source(NOW).await?;
    number(&rows, "at", pair.source().at())
}

/// Writes the row at the source; answers when it is committed.
pub async fn write(
    source: &mut Writer,
    permit: &EffectPermit,
    run: &RunId,
    seq: i64,
) -> Result<Beat, DatabaseError> {
    let run_text = literal(run.as_str());
    let statement = format!(
        "insert into {TABLE} (run, seq, at) values ({run_text}, {seq}, floor(unix_timestamp(now(6)) * 1000000))
            on duplicate key update seq = values(seq), at = values(at)"
    );
    source.execute(permit, &statement).await?;
    let rows = source.reading().named(&row_of(run)).await?;
    let written = beat(&rows, "the source")?;
    written.ok_or_else(|| DatabaseError::Silent {
        at: TABLE.to_owned(),
        cause: "the row that was written is not there".to_owned(),
    })
}

/// Makes the table at the source. Harmless where it is there.
pub(super) async fn make(pair: &mut Pair, permit: &EffectPermit) -> Result<(), DatabaseError> {
    let mut source = pair.source().writer().await?;
    source.execute(permit, MAKE).await?;
    source.close().await;
    Ok(())
}

/// Drops it there.
pub(super) async fn remove(pair: &mut Pair, permit: &EffectPermit) -> Result<(), DatabaseError> {
    let mut source = pair.source().writer().await?;
    source.execute(permit, REMOVE).await?;
    source.close().await;
    Ok(())
}

/// Every change of the table is at the target: it has the same rows, whose numbers only go up.
pub(super) async fn are_same(pair: &mut Pair) -> Result<bool, DatabaseError> {
    let now = sides(pair).await?;
    if !(now.source && now.target) {
        return Ok(false);
    }
    let rows = format!("select run, seq, at from {TABLE} order by run");
    Ok(pair.ask_source(&rows).await? == pair.ask_target(&rows).await?)
}

/// Drops it at one server, and tells nobody who follows that one.
pub(super) async fn remove_unlogged(
    server: &Server,
    permit: &EffectPermit,
) -> Result<(), DatabaseError> {
    let mut writer = server.writer().await?;
    writer.execute(permit, "set session sql_log_bin = 0").await?;
    writer.execute(permit, REMOVE).await?;
    writer.close().await;
    Ok(())
}
