//! A position in the transaction log.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use super::super::replication::Position;

/// Places of the decimal notation: ten for the file, ten for the block, five for the record.
const RECORDS: u128 = 100_000;
const BLOCKS: u128 = 10_000_000_000;

/// A log sequence number: virtual log file, block in it, record in that. Later is greater. SQL Server writes it as
/// `0000002b:00000c30:0001`, and in its views as one number with the three in decimal places.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Lsn {
    file: u32,
    block: u32,
    record: u16,
}

/// A text that is no position.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is no log sequence number")]
pub struct NotALsn(String);

impl Lsn {
    /// The first position after this one, whatever the record there is or will be.
    pub(super) const fn next(self) -> Self {
        // Records of a block are numbered far below the end of the type.
        Self { record: self.record.saturating_add(1), ..self }
    }

    fn decimal(text: &str) -> Option<Self> {
        let fits = text.len() <= 25 && text.bytes().all(|it| it.is_ascii_digit());
        let number: u128 = text.parse().ok().filter(|_| fits)?;
        let (block, record) = (number / RECORDS % BLOCKS, number % RECORDS);
        Some(Self {
            file: u32::try_from(number / RECORDS / BLOCKS).ok()?,
            block: u32::try_from(block).ok()?,
            record: u16::try_from(record).ok()?,
        })
    }

    fn hexadecimal(text: &str) -> Option<Self> {
        let digits = |text: &str, most: usize| {
            let fits = (1..=most).contains(&text.len());
            let fits = fits && text.bytes().all(|it| it.is_ascii_hexdigit());
            u32::from_str_radix(text, 16).ok().filter(|_| fits)
        };
        let mut parts = text.split(':');
        let (file, block) = (digits(parts.next()?, 8)?, digits(parts.next()?, 8)?);
        let record = u16::try_from(digits(parts.next()?, 4)?).ok()?;
        parts.next().is_none().then_some(Self { file, block, record })
    }
}

impl Position for Lsn {
    // How long the files between two positions are is not told.
    const UNIT: &'static str = "blocks of log or more";

    fn behind(&self, other: &Self) -> u64 {
        if self >= other {
            return 0;
        }
        let from = if self.file == other.file { self.block } else { 0 };
        u64::from(other.block.saturating_sub(from)).max(1)
    }
}

impl FromStr for Lsn {
    type Err = NotALsn;

    fn from_str(text: &str) -> Result<Self, NotALsn> {
        let text = text.trim();
        let read = if text.contains(':') { Self::hexadecimal(text) } else { Self::decimal(text) };
        read.ok_or_else(|| NotALsn(text.to_owned()))
    }
}

impl TryFrom<String> for Lsn {
    type Error = NotALsn;

    fn try_from(text: String) -> Result<Self, NotALsn> {
        text.parse()
    }
}

impl From<Lsn> for String {
    fn from(lsn: Lsn) -> Self {
        lsn.to_string()
    }
}

impl fmt::Display for Lsn {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:08x}:{:08x}:{:04x}", self.file, self.block, self.record)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn lsn(text: &str) -> Lsn {
        text.parse().expect("a position")
    }

    #[test]
    fn both_notations_mean_the_same() {
        assert_eq!(lsn("43000000312000001"), lsn("0000002b:00000c30:0001"));
        assert_eq!(lsn("2B:C30:1").to_string(), "0000002b:00000c30:0001");
        for text in [
            "",
            "-1",
            "+1",
            "1.0",
            "1:2",
            "1:2:3:4",
            "1:2:12345",
            "g:1:1",
            "99999999999999999999999999",
        ] {
            assert!(text.parse::<Lsn>().is_err(), "{text}");
        }
    }

    #[test]
    fn what_is_missing_is_at_least_a_block_and_never_more_than_told() {
        assert_eq!(lsn("2b:c30:1").behind(&lsn("2b:c30:1")), 0);
        assert_eq!(lsn("2b:c30:1").behind(&lsn("2b:c30:2")), 1);
        assert_eq!(lsn("2b:c30:1").behind(&lsn("2b:c40:0")), 16);
        assert_eq!(lsn("2b:c30:1").behind(&lsn("2c:8:0")), 8);
        assert_eq!(lsn("2c:0:0").behind(&lsn("2b:c30:1")), 0);
        assert_eq!(lsn("2b:c30:1").next(), lsn("2b:c30:2"));
    }

    proptest! {
        #[test]
        fn it_reads_back_and_keeps_the_order(one: (u32, u32, u16), other: (u32, u32, u16)) {
            let of = |(file, block, record)| Lsn { file, block, record };
            let decimal = |(file, block, record)| format!("{file}{block:010}{record:05}");
            prop_assert_eq!(lsn(&of(one).to_string()), of(one));
            prop_assert_eq!(lsn(&decimal(one)), of(one));
            prop_assert_eq!(of(one).cmp(&of(other)), one.cmp(&other));
            prop_assert_eq!(of(one).reaches(&of(other)), one >= other);
        }
    }
}
