//! Two SQL Servers of which one follows the other, by whatever mechanism: both are asked, and what they answer is judged.

use std::fmt;
use std::marker::PhantomData;
use std::time::Duration;

use super::super::link::{Link, Opens};
use super::super::replication::{PairError, Position, Replication, Standing, Told, unless};
use super::super::{DatabaseError, Named};
use super::{Reader, Server};

/// Of which of the two something is asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Side {
    /// What is followed.
    Source,
    /// What follows.
    Target,
}

/// The rows that both sides answered with in one look, and the databases they were asked about.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sight {
    /// The database at the source, and at the target.
    pub databases: (String, String),
    /// What the source says, read last.
    pub source: Vec<Named>,
    /// What the target says.
    pub target: Vec<Named>,
}

/// By what one server follows another: what to ask, and what the answers mean. Pure.
pub trait Mechanism: fmt::Debug + Send + Sync + 'static {
    /// Where either of them is.
    type Position: Position;
    /// Its views are in every database, rather than in `master`: the databases of both sides let sessions in.
    const IN_DATABASE: bool;
    /// What a server has none of where the target follows nobody.
    const NAME: &'static str;

    /// The question to one side; every column of the answer is a text.
    fn question(side: Side, database: &str) -> String;
    /// Where the history of the source ends, by its own rows.
    fn end(source: &[Named]) -> Told<Self::Position>;
    /// Who answers as the source.
    fn identity(source: &[Named]) -> Told<String>;
    /// How far the target is, if nothing speaks against it.
    fn reached(sight: &Sight) -> Told<Self::Position>;
    /// How old what the source tells was already.
    fn age(_sight: &Sight) -> Duration {
        Duration::ZERO
    }
}

/// A server, and the database of it that sessions are opened in.
#[derive(Debug)]
pub(super) struct Place {
    server: Server,
    database: String,
}

impl Opens for Place {
    type Session = Reader;

    async fn session(&self) -> Result<Reader, DatabaseError> {
        self.server.reader(&self.database).await
    }
}

impl Link<Place> {
    pub(super) fn of(server: Server, in_database: bool) -> Self {
        let database = if in_database { server.database() } else { "master" }.to_owned();
        Self::to(Place { server, database })
    }

    async fn ask<M: Mechanism>(&mut self, side: Side) -> Result<Vec<Named>, DatabaseError> {
        let question = M::question(side, self.server().server.database());
        self.rows(&question).await
    }

    /// What a question is answered with.
    pub(super) async fn rows(&mut self, question: &str) -> Result<Vec<Named>, DatabaseError> {
        let mut session = self.session().await?;
        let rows = session.named(question).await?;
        self.keep(session);
        Ok(rows)
    }

    /// What procedures answer with; see [`Reader::called`].
    pub(super) async fn called(&mut self, calls: &str) -> Result<Vec<Named>, DatabaseError> {
        let mut session = self.session().await?;
        let rows = session.called(calls).await?;
        self.keep(session);
        Ok(rows)
    }

    pub(super) fn at(&self) -> &str {
        self.server().server.at()
    }

    fn database(&self) -> String {
        self.server().server.database().to_owned()
    }
}

/// See the module.
#[derive(Debug)]
pub struct Pair<M: Mechanism> {
    source: Link<Place>,
    target: Link<Place>,
    by: PhantomData<M>,
}

impl<M: Mechanism> Pair<M> {
    /// Finds out whether `target` follows anybody; whom, each look tells.
    pub async fn find(source: Server, target: Server) -> Result<Self, PairError> {
        let source = Link::of(source, M::IN_DATABASE);
        let mut target = Link::of(target, M::IN_DATABASE);
        if target.ask::<M>(Side::Target).await?.is_empty() {
            let why = format!("there is no {} at {}", M::NAME, target.at());
            return Err(PairError::Nothing(why));
        }
        Ok(Self { source, target, by: PhantomData })
    }
}

impl<M: Mechanism> Replication for Pair<M> {
    type Position = M::Position;
    type Look = Sight;

    fn source_at(&self) -> &str {
        self.source.at()
    }

    fn target_at(&self) -> &str {
        self.target.at()
    }

    async fn position(&mut self) -> Result<M::Position, DatabaseError> {
        let rows = self.source.ask::<M>(Side::Source).await?;
        M::end(&rows)
            .map_err(|cause| DatabaseError::Silent { at: self.source.at().to_owned(), cause })
    }

    async fn look(&mut self) -> Result<Sight, DatabaseError> {
        let databases = (self.source.database(), self.target.database());
        let target = self.target.ask::<M>(Side::Target).await?;
        // Last: what the target had before is in it.
        let source = self.source.ask::<M>(Side::Source).await?;
        Ok(Sight { databases, source, target })
    }

    fn judge(look: &Sight, before: Option<&Sight>) -> Standing<M::Position> {
        let reached = goes_on::<M>(before, look).and_then(|()| M::reached(look));
        reached.map_or_else(Standing::Unknown, Standing::At)
    }

    fn age(look: &Sight) -> Duration {
        M::age(look)
    }
}

/// The source is the server that it was, and its history goes on where it was.
fn goes_on<M: Mechanism>(before: Option<&Sight>, now: &Sight) -> Told<()> {
    let Some(before) = before else { return Ok(()) };
    let (was, is) = (M::identity(&before.source), M::identity(&now.source)?);
    unless(was.is_ok_and(|was| was != is), || {
        "another server answers as the source than before".to_owned()
    })?;
    // Where it could not tell its end, nothing was said before.
    let (Ok(then), Ok(now)) = (M::end(&before.source), M::end(&now.source)) else { return Ok(()) };
    unless(!now.reaches(&then), || {
        format!("the history of the source was begun anew: it ended at {then}, and now at {now}")
    })
}
