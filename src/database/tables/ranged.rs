//! One side on an engine whose answers are rows of texts: one session, one snapshot, one statement at a time.
//!
//! A table with an integer key is read range by range. A statement that takes too long is asked again for fewer keys, in the same
//! snapshot. How an engine spells a statement is its own business; what is asked, and what an answer means, is the same.

use std::time::{Duration, Instant};

use super::kept::Partial;
use super::load::Watch;
use super::located::RowMark;
use super::pace::Pace;
use super::shape::View;
use super::sums::{Fold, Split, Sum, Sums};
use super::{Keep, Seen};
use crate::database::{DatabaseError, Row};

/// What a statement may take at least that can not be asked for less.
pub(super) const UNDIVIDED: Duration = Duration::from_secs(30);

/// A session of such an engine, and its words for what is asked of it.
pub(super) trait Asks {
    /// The rows that a query answers with, every column of which is a text; none where it took longer than it may.
    async fn rows(&mut self, statement: &str) -> Result<Option<Vec<Row>>, DatabaseError>;
    /// From here on a statement that takes longer is ended.
    async fn limit(&mut self, limit: Duration) -> Result<(), DatabaseError>;
    /// A statement took too long that can not be asked for less.
    fn slow(&self) -> DatabaseError;
    /// An answer of another form than asked for.
    fn odd(&self, why: &str) -> DatabaseError;
    /// Ends the session in order.
    async fn close(self);

    /// Why the sum is of rows that have no hash, where that may be.
    fn has_no_hash(_sum: i128) -> Option<&'static str> {
        None
    }
    /// How the hashes of rows are put together.
    fn fold(_view: &View) -> Fold {
        Fold::Sum
    }
    /// The least and the greatest value of an integer column.
    fn ends(view: &View, column: &str) -> String;
    /// Part, rows and sum of each part of the whole table.
    fn summed(view: &View) -> String;
    /// The same of keys from one to another, all of which are in that part.
    fn range(view: &View, column: &str, part: i64, keys: (i64, i64)) -> String;
    /// Cell, rows and sum of each cell of some parts.
    fn cells(view: &View, parts: &[i64]) -> String;
    /// Key, digests and number of the rows of some cells of some parts.
    fn marked(view: &View, parts: &[i64], cells: &[i64]) -> String;
}

/// See the module.
#[derive(Debug)]
pub(super) struct Ranged<A> {
    pub(super) session: A,
    pub(super) pace: Pace,
    /// What tells when the server is to be left alone.
    pub(super) watch: Option<Watch>,
    keys_at_once: u64,
}

impl<A: Asks> Ranged<A> {
    pub(super) fn of(session: A, pace: Pace) -> Self {
        Self { session, pace, watch: None, keys_at_once: u64::MAX }
    }

    pub(super) async fn close(self) {
        if let Some(watch) = self.watch {
            watch.close().await;
        }
        self.session.close().await;
    }

    /// Returns once the server may be asked for more.
    pub(super) async fn clear(&mut self) -> Result<(), DatabaseError> {
        match &mut self.watch {
            Some(watch) => watch.clear().await,
            None => Ok(()),
        }
    }

    /// What follows can be asked for less, if it takes too long; or can not.
    pub(super) async fn divisible(&mut self, is_divisible: bool) -> Result<(), DatabaseError> {
        let limit = self.pace.limit;
        self.session.limit(if is_divisible { limit } else { limit.max(UNDIVIDED) }).await
    }

    /// The least and the greatest value of an integer column.
    pub(super) async fn ends(
        &mut self,
        view: &View,
        column: &str,
    ) -> Result<Option<(i64, i64)>, DatabaseError> {
        let row = self.whole(&A::ends(view, column)).await?.into_iter().next().unwrap_or_default();
        if row.iter().any(Option::is_none) {
            return Ok(None);
        }
        let [low, high] = self.texts(row)?;
        let number = |text: String| text.parse().map_err(|_| self.session.odd("no whole number"));
        Ok(Some((number(low)?, number(high)?)))
    }

    /// The sum of every part of the table by one statement.
    pub(super) async fn undivided(
        &mut self,
        view: &View,
        partial: &mut Partial,
        seen: Seen<'_>,
    ) -> Result<(), DatabaseError> {
        let rows = self.whole(&A::summed(view)).await?;
        seen(self.merge(view, &mut partial.sums, rows)?);
        Ok(())
    }

    /// The sum of every range of a key, going on from what was read of it before.
    pub(super) async fn ranges(
        &mut self,
        view: &View,
        (column, shift): (&str, u32),
        partial: &mut Partial,
        seen: Seen<'_>,
        keep: Keep<'_>,
    ) -> Result<(), DatabaseError> {
        let Some((least, greatest)) = self.ends(view, column).await? else { return Ok(()) };
        let least = partial.next.map_or(least, |next| next.max(least));
        self.divisible(true).await?;
        for part in (least >> shift)..=(greatest >> shift) {
            let (low, high) = Split::ends(part, shift);
            let range = (low.max(least), high.min(greatest));
            self.range(view, column, (part, range), partial, seen, keep).await?;
        }
        Ok(())
    }

    /// Adds the rows of a part whose keys lie in a range, by as many statements as it takes.
    async fn range(
        &mut self,
        view: &View,
        column: &str,
        (part, (low, high)): (i64, (i64, i64)),
        partial: &mut Partial,
        seen: Seen<'_>,
        keep: Keep<'_>,
    ) -> Result<(), DatabaseError> {
        let mut next = (low <= high).then_some(low);
        while let Some(from) = next {
            let to = high.min(from.saturating_add_unsigned(self.keys_at_once - 1));
            self.clear().await?;
            let began = Instant::now();
            let asked = A::range(view, column, part, (from, to));
            let Some(rows) = self.session.rows(&asked).await? else {
                if self.keys_at_once == 1 {
                    return Err(self.session.slow());
                }
                let keys = to.abs_diff(from).saturating_add(1);
                self.keys_at_once = (self.keys_at_once.min(keys) / 4).max(1);
                continue;
            };
            let took = began.elapsed();
            seen(self.merge(view, &mut partial.sums, rows)?);
            next = (to < high).then(|| to + 1);
            partial.next = Some(to.saturating_add(1));
            keep(partial);
            self.keys_at_once = self.pace.next(self.keys_at_once, took);
            self.pace.rest(took).await;
        }
        Ok(())
    }

    /// The sum of every cell of some parts.
    pub(super) async fn cells(
        &mut self,
        view: &View,
        parts: &[i64],
    ) -> Result<Sums, DatabaseError> {
        let rows = self.whole(&A::cells(view, parts)).await?;
        let mut sums = Sums::new();
        self.merge(view, &mut sums, rows)?;
        Ok(sums)
    }

    /// The rows of some cells.
    pub(super) async fn rows(
        &mut self,
        view: &View,
        parts: &[i64],
        cells: &[i64],
    ) -> Result<Vec<RowMark>, DatabaseError> {
        let rows = self.whole(&A::marked(view, parts, cells)).await?;
        rows.into_iter().map(|row| self.mark(view, row)).collect()
    }

    fn mark(&self, view: &View, row: Row) -> Result<RowMark, DatabaseError> {
        let number = |text: String| text.parse().map_err(|_| self.session.odd("no digest"));
        let mut texts = row.into_iter();
        let key = texts.by_ref().take(view.key.len()).map(Option::unwrap_or_default).collect();
        let digests = texts.by_ref().take(view.columns.len());
        let digests = digests.map(|text| text.map(number).transpose()).collect::<Result<_, _>>()?;
        let times = texts.next().flatten().and_then(|text| text.parse().ok());
        Ok(RowMark(key, digests, times.ok_or_else(|| self.session.odd("no count"))?))
    }

    /// The rows of a statement that can not be asked for less.
    pub(super) async fn whole(&mut self, statement: &str) -> Result<Vec<Row>, DatabaseError> {
        self.clear().await?;
        self.session.rows(statement).await?.ok_or_else(|| self.session.slow())
    }

    /// Adds sums to others; how many rows they are of.
    pub(super) fn merge(
        &self,
        view: &View,
        sums: &mut Sums,
        rows: Vec<Row>,
    ) -> Result<u64, DatabaseError> {
        let mut read = 0;
        for row in rows {
            let [part, rows, hash] = self.texts(row)?;
            let (part, rows) = (part.parse().ok(), rows.parse().ok());
            let (Some(part), Some(rows), Ok(hash)) = (part, rows, hash.parse()) else {
                return Err(self.session.odd("no sum"));
            };
            if let Some(why) = A::has_no_hash(hash) {
                return Err(DatabaseError::System(why.to_owned()));
            }
            sums.entry(part).or_default().fold(A::fold(view), Sum { rows, hash });
            read += rows;
        }
        Ok(read)
    }

    /// So many texts; empty for NULL.
    pub(super) fn texts<const N: usize>(&self, row: Row) -> Result<[String; N], DatabaseError> {
        let texts: Vec<String> = row.into_iter().map(Option::unwrap_or_default).collect();
        texts.try_into().map_err(|_| self.session.odd("not as many columns as asked for"))
    }
}
