//! A publication of the source that the target subscribes to: both are asked whether that is in order, and tracer tokens are
//! posted to it and asked for.
//!
//! Posting is the only thing that this program ever writes to a SQL Server, and only with a permit of the journal. A token changes
//! nothing that a user of the database sees; the Distributor keeps its history for as long as any other, and forgets it.

use super::super::link::Link;
use super::super::replication::{PairError, Told};
use super::super::{DatabaseError, Named};
use super::Server;
use super::pair::Place;
use super::row::Row;
use super::tracer::{self, Arrival, Who};
use crate::journal::EffectPermit;

/// See the module.
#[derive(Debug)]
pub struct Publication {
    source: Link<Place>,
    target: Link<Place>,
    name: String,
    publisher: Who,
    subscriber: Who,
}

impl Publication {
    /// Finds out whether `source` has that publication, whether this user may post to it, and who `target` is. Whether it
    /// subscribes, each look tells.
    pub async fn find(source: Server, target: Server, name: &str) -> Result<Self, PairError> {
        let (mut source, mut target) = (Link::of(source, true), Link::of(target, true));
        let own = source.rows(tracer::WHO).await?;
        let publisher = who(&source, &own)?;
        let row = own.first().map(|row| Row::of("the source", row));
        let says = |column| row.is_some_and(|row| row.says(column, "1"));
        if !says("is_published") {
            let why = format!("{} is not published by transactional replication", source.at());
            return Err(PairError::Nothing(why));
        }
        if !says("is_owner") {
            let cause = "the user is no member of db_owner, who alone may post tracer tokens";
            let at = source.at().to_owned();
            return Err(DatabaseError::Refused { at, cause: cause.to_owned() }.into());
        }
        if source.rows(&tracer::subscriptions(name)).await?.is_empty() {
            let why = format!("there is no publication `{name}` at {}", source.at());
            return Err(PairError::Nothing(why));
        }
        let rows = target.rows(tracer::WHO).await?;
        let subscriber = who(&target, &rows)?;
        Ok(Self { source, target, name: name.to_owned(), publisher, subscriber })
    }

    /// Its name and place, for messages.
    pub fn at(&self) -> String {
        format!("publication {} of {}", self.name, self.source.at())
    }

    /// Whether a token that is posted now comes to the target behind everything that it is to get.
    pub async fn standing(&mut self) -> Result<Told<()>, DatabaseError> {
        let rows = self.target.rows(tracer::WHO).await?;
        if who(&self.target, &rows)? != self.subscriber {
            let why = "another server answers as the target than before";
            return Ok(Err(why.to_owned()));
        }
        let rows = self.source.rows(&tracer::subscriptions(&self.name)).await?;
        Ok(tracer::in_order(&rows, &self.publisher, &self.subscriber))
    }

    /// The tokens that the Distributor knows of, also those of others.
    pub async fn tokens(&mut self) -> Result<Vec<i64>, DatabaseError> {
        let rows = self.source.called(&tracer::tokens(&self.name)).await?;
        let number = |row: &Named| Row::of("a tracer token", row).read("tracer_id");
        rows.iter()
            .map(number)
            .collect::<Result<_, _>>()
            .map_err(|cause| silent(&self.source, cause))
    }

    /// Posts a token; answers with its number once it is in the log.
    pub async fn post(&mut self, _permit: &EffectPermit) -> Result<i64, DatabaseError> {
        let rows = self.source.called(&tracer::post(&self.name)).await?;
        let row = rows.first().map(|row| Row::of("the tracer token", row).read("posted"));
        let number = row.unwrap_or_else(|| Err("no number of a tracer token was told".to_owned()));
        number.map_err(|cause| silent(&self.source, cause))
    }

    /// How far a token has come to the target, or why that can not be told.
    pub async fn arrival(&mut self, token: i64) -> Result<Told<Arrival>, DatabaseError> {
        let rows = self.source.called(&tracer::history(&self.name, token)).await?;
        Ok(tracer::arrival(&rows, &self.subscriber, token))
    }
}

fn who(link: &Link<Place>, rows: &[Named]) -> Result<Who, DatabaseError> {
    Who::of(rows, link.at()).map_err(|cause| silent(link, cause))
}

fn silent(link: &Link<Place>, cause: String) -> DatabaseError {
    DatabaseError::Silent { at: link.at().to_owned(), cause }
}
