//! Values out of rows that are texts throughout. What is not there, null, or not of the form asked for is not told. Pure.

use std::str::FromStr;

use super::super::Named;
use super::super::replication::{Told, known};

/// One row, and whose it is, for messages.
#[derive(Debug, Clone, Copy)]
pub(super) struct Row<'a> {
    of: &'a str,
    row: &'a Named,
}

impl<'a> Row<'a> {
    pub(super) fn of(of: &'a str, row: &'a Named) -> Self {
        Self { of, row }
    }

    /// The text of a column.
    pub(super) fn text(&self, column: &str) -> Told<&'a str> {
        let text = self.row.get(column).and_then(Option::as_deref);
        known(text, &format!("{column} of {}", self.of))
    }

    /// A text that reads as something.
    pub(super) fn read<T: FromStr>(&self, column: &str) -> Told<T> {
        known(self.text(column)?.parse().ok(), &format!("{column} of {}", self.of))
    }

    /// A bit.
    pub(super) fn flag(&self, column: &str) -> Told<bool> {
        match self.text(column)? {
            "1" => Ok(true),
            "0" => Ok(false),
            other => Err(format!("{column} of {} is `{other}`", self.of)),
        }
    }

    /// The column says this, in whatever letters.
    pub(super) fn says(&self, column: &str, expected: &str) -> bool {
        self.text(column).is_ok_and(|text| text.eq_ignore_ascii_case(expected))
    }

    /// Both rows tell the same in a column.
    pub(super) fn agrees(&self, other: &Row<'_>, column: &str) -> Told<bool> {
        Ok(self.text(column)?.eq_ignore_ascii_case(other.text(column)?))
    }

    /// Fails with what the column says instead.
    pub(super) fn must(&self, column: &str, fine: &[&str]) -> Told<()> {
        let told = self.text(column)?;
        if fine.iter().any(|fine| told.eq_ignore_ascii_case(fine)) {
            return Ok(());
        }
        Err(format!("{column} of {} is {told}", self.of))
    }
}

#[cfg(test)]
pub(super) mod testing {
    use super::Named;

    /// A row as a server answers it.
    pub(in super::super) fn row(fields: &[(&str, &str)]) -> Named {
        fields.iter().map(|(name, value)| ((*name).to_owned(), Some((*value).to_owned()))).collect()
    }
}
