//! A position in the write-ahead log.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use super::super::replication::Position;

/// A position in the write-ahead log of one server, as `pg_lsn` writes it: `16/B374D848`. Later is greater.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Lsn(u64);

/// A text that is no position.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is no position in a write-ahead log")]
pub struct NotALsn(String);

impl Position for Lsn {
    const UNIT: &'static str = "bytes of log";

    fn behind(&self, other: &Self) -> u64 {
        other.0.saturating_sub(self.0)
    }
}

impl FromStr for Lsn {
    type Err = NotALsn;

    fn from_str(text: &str) -> Result<Self, NotALsn> {
        let part = |digits: &str| {
            let fits =
                (1..=8).contains(&digits.len()) && digits.bytes().all(|it| it.is_ascii_hexdigit());
            u64::from_str_radix(digits, 16).ok().filter(|_| fits)
        };
        let halves = text.split_once('/').and_then(|(high, low)| Some((part(high)?, part(low)?)));
        halves.map(|(high, low)| Self(high << 32 | low)).ok_or_else(|| NotALsn(text.to_owned()))
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
        write!(f, "{:X}/{:X}", self.0 >> 32, self.0 & 0xFFFF_FFFF)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn it_reads_back_and_orders_as_the_server_does(a: u64, b: u64) {
            let (a, b) = (Lsn(a), Lsn(b));
            prop_assert_eq!(a.to_string().parse(), Ok(a));
            prop_assert_eq!(a.behind(&b) > 0, a < b);
        }
    }

    #[test]
    fn what_is_no_position_is_refused() {
        for wrong in ["", "0", "/", "0/", "g/0", "+1/0", "0/123456789", "0/0/0", "-1/0"] {
            assert!(wrong.parse::<Lsn>().is_err(), "{wrong}");
        }
        assert_eq!("16/B374D848".parse(), Ok(Lsn(0x16_B374_D848)));
    }
}
