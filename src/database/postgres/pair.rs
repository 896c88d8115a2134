//! Two servers of which one follows the other: found, and looked at from both sides.

use serde::Deserialize;
use serde_json::json;

use super::super::DatabaseError;
use super::super::link::Link;
use super::super::replication::{Beat, Marked, PairError, Replication, Sides};
use super::judge::{Look, Primary, Publisher, Standby, Standing, Subscriber};
use super::{Lsn, Reader, Server, Writer, marker, preflight};
use crate::journal::EffectPermit;
use crate::run::RunId;

/// What is read of replication, as a runbook may name it.
#[derive(Debug, Clone, Copy, Default)]
pub struct Named<'a> {
    /// A subscription at the target.
    pub subscription: Option<&'a str>,
    /// A physical slot at the source.
    pub slot: Option<&'a str>,
}

/// How the target follows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum How {
    /// By a subscription, through a slot of that name at the source.
    Logical {
        /// The subscription.
        subscription: String,
        /// Its slot.
        slot: String,
        /// Its publications.
        publications: Vec<String>,
    },
    /// As a standby; through that slot, where one is named.
    Physical {
        /// The slot.
        slot: Option<String>,
    },
}

impl Link<Server> {
    async fn json<T: serde::de::DeserializeOwned>(
        &mut self,
        query: &str,
        parameters: &[&str],
    ) -> Result<T, DatabaseError> {
        let mut session = self.session().await?;
        let answer = session.json(query, parameters).await?;
        self.keep(session);
        Ok(answer)
    }
}

/// See the module.
#[derive(Debug)]
pub struct Pair {
    source: Link<Server>,
    target: Link<Server>,
    how: How,
    /// Writes marks.
    writer: Option<Writer>,
    counts_errors: bool,
    tells_pauses: bool,
}

#[derive(Deserialize)]
struct Follower {
    version: u32,
    in_recovery: bool,
    subscriptions: Vec<Subscription>,
}

#[derive(Deserialize)]
struct Subscription {
    name: String,
    slot: Option<String>,
    publications: Vec<String>,
}

const FOLLOWER: &str = "select json_build_object(
    'version', current_setting('server_version_num')::int,
    'in_recovery', pg_is_in_recovery(),
    'subscriptions', (select coalesce(json_agg(json_build_object(
            'name', subname, 'slot', subslotname, 'publications', subpublications) order by subname), '[]')
        from pg_subscription where subdbid = (select oid from pg_database where datname = current_database()))
)::text";

const PUBLISHER: &str = "select json_build_object(
    'in_recovery', pg_is_in_recovery(),
    'slot', (select json_build_object('active', active, 'wal_status', wal_status, 'confirmed', confirmed_flush_lsn)
        from pg_replication_slots where slot_name = $1::text and database = current_database()),
    'tables', (select coalesce(json_agg(name order by name), '[]')
        from (select distinct schemaname || '.' || tablename as name from pg_publication_tables
            where pubname::text in (select json_array_elements_text($2::text::json))) published),
    'partial', (select coalesce(json_agg(distinct schemaname || '.' || tablename), '[]')
        from pg_publication_tables published where pubname::text in (select json_array_elements_text($2::text::json))
            and (to_jsonb(published) ->> 'rowfilter' is not null or jsonb_array_length(to_jsonb(published) -> 'attnames') < (
                select count(*) from pg_attribute where attrelid = format('%I.%I', schemaname, tablename)::regclass
                    and attnum > 0 and not attisdropped and attgenerated = ''))),
    'publications', (select coalesce(json_agg(json_build_object(
            'name', pubname, 'everything', pubinsert and pubupdate and pubdelete and pubtruncate)), '[]')
        from pg_publication where pubname::text in (select json_array_elements_text($2::text::json)))
)::text";

const PRIMARY: &str = "select json_build_object(
    'in_recovery', pg_is_in_recovery(),
    'system', (select system_identifier::text from pg_control_system()),
    'timeline', case when not pg_is_in_recovery() then left(pg_walfile_name(pg_current_wal_lsn()), 8) end,
    'standbys', (select coalesce(json_agg(coalesce(state, 'not told, for want of pg_monitor')), '[]')
        from pg_stat_replication sender
        where case when $1::text = ''
            then not exists (select from pg_replication_slots where active_pid = sender.pid and slot_type = 'logical')
                and coalesce(state, '') <> 'backup' and application_name <> 'pg_receivewal'
            else exists (select from pg_replication_slots where active_pid = sender.pid and slot_name = $1::text) end)
)::text";

/// What is committed is in the log as far as it was inserted, though it need not be written yet. Between the end of one page and
/// the first record of the next there is only a page's header, which nobody ever reaches by itself.
const POSITION: &str = "select to_json(case when inserted - flushed in (24, 40)
        and mod(flushed - '0/0'::pg_lsn, current_setting('wal_block_size')::int) = 0 then flushed else inserted end)::text
    from pg_current_wal_insert_lsn() inserted, pg_current_wal_flush_lsn() flushed";

/// Where the log of a primary ends now: what was committed before has a smaller position.
pub async fn position(primary: &mut Reader) -> Result<Lsn, DatabaseError> {
    primary.json(POSITION, &[]).await
}

impl Pair {
    /// Finds out how `target` follows `source`. What is named must be there; without a name, there must be one answer.
    pub async fn find(source: Server, target: Server, named: Named<'_>) -> Result<Self, PairError> {
        let mut target = Link::to(target);
        let found: Follower = target.json(FOLLOWER, &[]).await?;
        let at = target.server().at();
        let how = how(found.subscriptions, found.in_recovery, named)
            .map_err(|why| PairError::Nothing(format!("{at} {why}")))?;
        Ok(Self {
            source: Link::to(source),
            target,
            how,
            writer: None,
            counts_errors: found.version >= 150_000,
            tells_pauses: found.version >= 140_000,
        })
    }

    /// How the target follows.
    pub fn how(&self) -> &How {
        &self.how
    }

    /// The source.
    pub fn source(&self) -> &Server {
        self.source.server()
    }

    /// The target.
    pub fn target(&self) -> &Server {
        self.target.server()
    }

    /// One JSON value from the target.
    pub async fn ask_target<T: serde::de::DeserializeOwned>(
        &mut self,
        query: &str,
        parameters: &[&str],
    ) -> Result<T, DatabaseError> {
        self.target.json(query, parameters).await
    }

    /// One JSON value from the source.
    pub async fn ask_source<T: serde::de::DeserializeOwned>(
        &mut self,
        query: &str,
        parameters: &[&str],
    ) -> Result<T, DatabaseError> {
        self.source.json(query, parameters).await
    }
}

impl Replication for Pair {
    type Position = Lsn;
    type Look = Look;

    fn source_at(&self) -> &str {
        self.source.server().at()
    }

    fn target_at(&self) -> &str {
        self.target.server().at()
    }

    async fn position(&mut self) -> Result<Lsn, DatabaseError> {
        self.source.json(POSITION, &[]).await
    }

    async fn look(&mut self) -> Result<Look, DatabaseError> {
        match &self.how {
            How::Logical { subscription, slot, publications } => {
                let query = subscriber(self.counts_errors);
                let subscriber: Subscriber = self.target.json(&query, &[subscription]).await?;
                // Publications may have been changed since; a subscription that is gone has none.
                let asked =
                    json!(subscriber.publications.as_ref().unwrap_or(publications)).to_string();
                let publisher: Publisher = self.source.json(PUBLISHER, &[slot, &asked]).await?;
                Ok(Look::Logical(publisher, subscriber))
            }
            How::Physical { slot } => {
                let query = standby(self.tells_pauses);
                let standby: Standby = self.target.json(&query, &[]).await?;
                // A slot that nobody named, and that the standby comes by, tells it from others.
                let slot = slot.as_ref().or(standby.slot.as_ref());
                let slot = slot.map(String::as_str).unwrap_or_default();
                let primary: Primary = self.source.json(PRIMARY, &[slot]).await?;
                Ok(Look::Physical(primary, standby))
            }
        }
    }

    fn judge(look: &Look, before: Option<&Look>) -> Standing {
        look.judge(before)
    }
}

impl Marked for Pair {
    const MARKS: &'static str = marker::TABLE;

    fn marks_apart(&self) -> bool {
        matches!(self.how, How::Logical { .. })
    }

    async fn sides(&mut self) -> Result<Sides, DatabaseError> {
        marker::sides(self).await
    }

    async fn bystanders(&mut self) -> Result<Vec<String>, DatabaseError> {
        preflight::bystanders(self).await
    }

    async fn make_marks(&mut self, permit: &EffectPermit) -> Result<(), DatabaseError> {
        marker::make(self, permit).await
    }

    async fn mark(
        &mut self,
        permit: &EffectPermit,
        run: &RunId,
        seq: i64,
    ) -> Result<Beat, DatabaseError> {
        let mut writer = match self.writer.take() {
            Some(writer) => writer,
            None => self.source.server().writer().await?,
        };
        let beat = marker::write(&mut writer, permit, run, seq).await?;
        self.writer = Some(writer);
        Ok(beat)
    }

    async fn arrived(&mut self, run: &RunId) -> Result<Option<Beat>, DatabaseError> {
        marker::arrived(self, run).await
    }

    async fn source_now(&mut self) -> Result<i64, DatabaseError> {
        marker::now(self).await
    }

    async fn drop_marks_at_source(&mut self, permit: &EffectPermit) -> Result<(), DatabaseError> {
        marker::drop_at_source(self, permit).await
    }

    async fn drop_marks_at_target(&mut self, permit: &EffectPermit) -> Result<(), DatabaseError> {
        marker::drop_at_target(self, permit).await
    }
}

fn how(
    subscriptions: Vec<Subscription>,
    in_recovery: bool,
    named: Named<'_>,
) -> Result<How, String> {
    if let (Some(slot), None) = (named.slot, named.subscription) {
        let how = How::Physical { slot: Some(slot.to_owned()) };
        return if in_recovery { Ok(how) } else { Err("is no standby".to_owned()) };
    }
    if in_recovery && named.subscription.is_none() {
        return Ok(How::Physical { slot: None });
    }
    let all: Vec<String> = subscriptions.iter().map(|it| it.name.clone()).collect();
    let fits = |it: &Subscription| named.subscription.is_none_or(|name| it.name == name);
    let mut fitting = subscriptions.into_iter().filter(fits);
    match (fitting.next(), fitting.next(), named.subscription) {
        (Some(one), None, _) => {
            let slot = one.slot.ok_or_else(|| format!("subscription {} has no slot", one.name))?;
            Ok(How::Logical { subscription: one.name, slot, publications: one.publications })
        }
        (None, _, Some(name)) => Err(format!("has no subscription {name}")),
        (None, _, None) => Err("has no subscription and is no standby".to_owned()),
        (Some(_), Some(_), _) => Err(format!(
            "has several subscriptions, {}; name one with `subscription:`",
            all.join(", ")
        )),
    }
}

fn subscriber(counts_errors: bool) -> String {
    // The view with the counters came with version 15.
    let errors = if counts_errors {
        "(select apply_error_count + sync_error_count from pg_stat_subscription_stats where subname = $1::text)"
    } else {
        "null"
    };
    // Of workers side by side the leader is the one that has none.
    format!(
        "with mine as (select * from pg_subscription where subname = $1::text
            and subdbid = (select oid from pg_database where datname = current_database())),
        tables as (select space.nspname || '.' || class.relname as name, srsubstate
            from pg_subscription_rel relation join mine on mine.oid = relation.srsubid
            join pg_class class on class.oid = relation.srrelid join pg_namespace space on space.oid = class.relnamespace)
        select json_build_object(
            'enabled', (select subenabled from mine),
            'publications', (select subpublications from mine),
            'worker', (select pid from pg_stat_subscription worker where subname = $1::text and relid is null
                and to_jsonb(worker) ->> 'leader_pid' is null order by pid limit 1),
            'tables', (select coalesce(json_agg(name order by name), '[]') from tables),
            'copying', (select coalesce(json_agg(name order by name) filter (where srsubstate <> 'r'), '[]') from tables),
            'errors', {errors},
            'counts_errors', {counts_errors}
        )::text"
    )
}

fn standby(tells_pauses: bool) -> String {
    let replay = if tells_pauses {
        "pg_get_wal_replay_pause_state()"
    } else {
        "case when pg_is_wal_replay_paused() then 'paused' else 'not paused' end"
    };
    format!(
        "select json_build_object(
            'in_recovery', pg_is_in_recovery(),
            'system', (select system_identifier::text from pg_control_system()),
            'replay', case when pg_is_in_recovery() then {replay} end,
            'replayed', pg_last_wal_replay_lsn(),
            'receiver', (select status from pg_stat_wal_receiver),
            'slot', (select slot_name from pg_stat_wal_receiver),
            'timeline', (select lpad(upper(to_hex(received_tli)), 8, '0') from pg_stat_wal_receiver)
        )::text"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn subscription(name: &str, slot: Option<&str>) -> Subscription {
        Subscription {
            name: name.to_owned(),
            slot: slot.map(str::to_owned),
            publications: Vec::new(),
        }
    }

    #[test]
    fn there_must_be_one_answer() {
        let both = || vec![subscription("a", Some("s_a")), subscription("b", Some("s_b"))];
        let named = |name| Named { subscription: Some(name), slot: None };
        let slot = Named { subscription: None, slot: Some("standby") };
        let chosen = how(both(), false, named("b"));
        assert!(matches!(chosen, Ok(How::Logical { slot, .. }) if slot == "s_b"));
        assert_eq!(how(both(), true, Named::default()), Ok(How::Physical { slot: None }));
        assert!(matches!(how(vec![], true, slot), Ok(How::Physical { slot: Some(_) })));
        for (wrong, says) in [
            (how(both(), false, Named::default()), "several subscriptions, a, b"),
            (how(vec![], false, Named::default()), "is no standby"),
            (how(both(), false, named("c")), "no subscription c"),
            (how(vec![], false, slot), "is no standby"),
            (how(vec![subscription("a", None)], false, Named::default()), "has no slot"),
        ] {
            assert!(wrong.expect_err(says).contains(says));
        }
    }
}
