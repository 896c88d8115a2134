//! Two servers of which the second follows the first, whatever their engine: what a wait and a pause ask of them.
//!
//! A position is told by the source, and reached by the target; nothing here is a number of seconds, because what a server
//! says of its own lag is wrong on a quiet source and null on an idle one. Marks are a table of one row a run, written at the
//! source and looked for at the target: the proof that what is committed arrives.

use std::fmt;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::DatabaseError;
use crate::journal::EffectPermit;
use crate::run::RunId;

/// A place in the history of a source.
pub trait Position: Clone + fmt::Debug + fmt::Display + Serialize + Send + Sync + 'static {
    /// What lies between two of them.
    const UNIT: &'static str;

    /// How much of `other` is missing here; 0 where all of it is there.
    fn behind(&self, other: &Self) -> u64;

    /// Everything up to `other` is here.
    fn reaches(&self, other: &Self) -> bool {
        self.behind(other) == 0
    }
}

/// What a look says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Standing<P> {
    /// The target has everything up to here, and follows.
    At(P),
    /// It can not be told, and why.
    Unknown(String),
}

/// What a judge found out, or why nothing is known.
pub(super) type Told<T> = Result<T, String>;

/// What is missing is not told, and is never taken for something good.
pub(super) fn known<T>(value: Option<T>, what: &str) -> Told<T> {
    value.ok_or_else(|| format!("{what} is not told"))
}

/// Fails where something is wrong.
pub(super) fn unless(wrong: bool, why: impl FnOnce() -> String) -> Told<()> {
    if wrong { Err(why()) } else { Ok(()) }
}

/// Why there is nothing to look at.
#[derive(Debug, thiserror::Error)]
pub enum PairError {
    /// A server could not be asked.
    #[error(transparent)]
    Database(#[from] DatabaseError),
    /// The target follows nobody, or it is not said whom.
    #[error("{0}")]
    Nothing(String),
}

/// One state of a mark.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Beat {
    /// Counts up.
    pub seq: i64,
    /// When it was written, in microseconds by the clock of the source.
    pub at: i64,
}

/// On which sides the table of marks is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Sides {
    /// At the source.
    pub source: bool,
    /// At the target.
    pub target: bool,
    /// What is written at the source comes to the target.
    pub follows: bool,
}

impl Sides {
    /// On neither.
    pub const NONE: Self = Self { source: false, target: false, follows: false };
    /// On both, and followed.
    pub const BOTH: Self = Self { source: true, target: true, follows: true };
}

/// What a server answers, or why it did not.
type Answer<T> = Result<T, DatabaseError>;

/// A source, and the target that follows it.
pub trait Replication: fmt::Debug + Send {
    /// Where either of them is.
    type Position: Position;
    /// What was read of both sides at once.
    type Look: fmt::Debug + Send + Sync;

    /// Database and address of the source, for messages.
    fn source_at(&self) -> &str;
    /// Database and address of the target.
    fn target_at(&self) -> &str;

    /// Where the history of the source ends now: what was committed before has a smaller position.
    fn position(&mut self) -> impl Future<Output = Answer<Self::Position>> + Send;
    /// Reads both sides once, the target first: what the source says of it afterwards can not be older.
    fn look(&mut self) -> impl Future<Output = Answer<Self::Look>> + Send;
    /// How far the target is. `before` is the look before this one: only two together tell whether errors go on. Pure.
    fn judge(look: &Self::Look, before: Option<&Self::Look>) -> Standing<Self::Position>;
    /// How old what a look saw was already, where the server tells something it heard earlier. Pure.
    fn age(_look: &Self::Look) -> Duration {
        Duration::ZERO
    }
}

/// A replication in which marks can be written: tables of the source come to the target.
pub trait Marked: Replication {
    /// The name of the table of marks.
    const MARKS: &'static str;

    /// The target has a table of marks of its own, which is neither made nor dropped by what is done at the source.
    fn marks_apart(&self) -> bool;

    /// Where the table of marks is now.
    fn sides(&mut self) -> impl Future<Output = Answer<Sides>> + Send;
    /// Others who follow the source and would stop at such a table.
    fn bystanders(&mut self) -> impl Future<Output = Answer<Vec<String>>> + Send;
    /// Makes the table on every side that needs it and lets it be replicated. Harmless where that is so already.
    fn make_marks(&mut self, permit: &EffectPermit) -> impl Future<Output = Answer<()>> + Send;
    /// Writes the mark at the source; answers when it is committed.
    fn mark(
        &mut self,
        permit: &EffectPermit,
        run: &RunId,
        seq: i64,
    ) -> impl Future<Output = Answer<Beat>> + Send;
    /// The mark of this run at the target; none before it has arrived.
    fn arrived(&mut self, run: &RunId) -> impl Future<Output = Answer<Option<Beat>>> + Send;
    /// The clock of the source, in microseconds.
    fn source_now(&mut self) -> impl Future<Output = Answer<i64>> + Send;
    /// Drops the table at the source. Before that a target with marks apart must have every change of it.
    fn drop_marks_at_source(
        &mut self,
        permit: &EffectPermit,
    ) -> impl Future<Output = Answer<()>> + Send;
    /// Drops the table of a target with marks apart, after the source.
    fn drop_marks_at_target(
        &mut self,
        permit: &EffectPermit,
    ) -> impl Future<Output = Answer<()>> + Send;
}
