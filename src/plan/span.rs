//! A span of time as people write it: `30s`, `20m`, `24h`, `1h30m`.
//!
//! One type for every duration in a runbook, so that units stand in the value and are never guessed. A bare number is
//! refused.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error as _};

/// Units, largest first, with their length in milliseconds.
const UNITS: [(&str, u64); 5] =
    [("d", 86_400_000), ("h", 3_600_000), ("m", 60_000), ("s", 1_000), ("ms", 1)];

/// A duration written as numbers with units, largest unit first. Millisecond resolution.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Span(pub Duration);

impl Span {
    /// So many seconds.
    pub const fn seconds(seconds: u64) -> Self {
        Self(Duration::from_secs(seconds))
    }

    /// So many minutes.
    pub const fn minutes(minutes: u64) -> Self {
        Self::seconds(minutes * 60)
    }

    /// So many hours.
    pub const fn hours(hours: u64) -> Self {
        Self::minutes(hours * 60)
    }

    /// As the standard library's type.
    pub const fn duration(self) -> Duration {
        self.0
    }
}

impl From<Span> for Duration {
    fn from(span: Span) -> Self {
        span.0
    }
}

/// Why a text is no [`Span`].
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NotASpan {
    /// Not numbers with units.
    #[error("`{0}` is not a duration; write it with units, like `30s`, `20m`, `24h` or `1h30m`")]
    Malformed(String),
    /// Units repeat or stand in the wrong order.
    #[error("in `{0}` units must go from large to small and each stand once, like `1h30m`")]
    Order(String),
    /// More than fits.
    #[error("`{0}` is too long a duration")]
    TooLong(String),
}

impl FromStr for Span {
    type Err = NotASpan;

    fn from_str(text: &str) -> Result<Self, NotASpan> {
        let malformed = || NotASpan::Malformed(text.to_owned());
        let too_long = || NotASpan::TooLong(text.to_owned());
        let mut rest = text;
        let mut total: u64 = 0;
        let mut next_unit = 0;
        if rest.is_empty() {
            return Err(malformed());
        }
        while !rest.is_empty() {
            let (digits, after) = split_while(rest, |c| c.is_ascii_digit());
            let (unit, after) = split_while(after, |c| c.is_ascii_alphabetic());
            if digits.is_empty() {
                return Err(malformed());
            }
            let amount: u64 = digits.parse().map_err(|_| too_long())?;
            let at = UNITS.iter().position(|&(name, _)| name == unit).ok_or_else(malformed)?;
            if at < next_unit {
                return Err(NotASpan::Order(text.to_owned()));
            }
            next_unit = at + 1;
            total = amount
                .checked_mul(UNITS[at].1)
                .and_then(|part| total.checked_add(part))
                .ok_or_else(too_long)?;
            rest = after;
        }
        Ok(Self(Duration::from_millis(total)))
    }
}

fn split_while(text: &str, keep: impl Fn(char) -> bool) -> (&str, &str) {
    text.split_at(text.find(|c| !keep(c)).unwrap_or(text.len()))
}

impl fmt::Display for Span {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut rest = self.0.as_millis();
        if rest == 0 {
            return f.pad("0s");
        }
        // Days are read but not written: `24h` comes back as it is usually said.
        let text: String = UNITS[1..]
            .iter()
            .filter_map(|&(unit, length)| {
                let amount = rest / u128::from(length);
                rest %= u128::from(length);
                (amount > 0).then(|| format!("{amount}{unit}"))
            })
            .collect();
        f.pad(&text)
    }
}

impl Serialize for Span {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Span {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        struct Visitor;
        impl serde::de::Visitor<'_> for Visitor {
            type Value = Span;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a duration with units, like `30s`, `20m`, `24h` or `1h30m`")
            }

            fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<Span, E> {
                text.parse().map_err(E::custom)
            }
        }
        from.deserialize_str(Visitor).map_err(D::Error::custom)
    }
}

impl JsonSchema for Span {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> std::borrow::Cow<'static, str> {
        "Span".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "type": "string",
            "pattern": "^(?=.)(\\d+d)?(\\d+h)?(\\d+m)?(\\d+s)?(\\d+ms)?$|\\{\\{",
            "description": "A duration with units, like `30s`, `20m`, `24h` or `1h30m`",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_and_writes() {
        for (text, seconds, shown) in [
            ("0s", 0, "0s"),
            ("30s", 30, "30s"),
            ("20m", 1200, "20m"),
            ("24h", 86_400, "24h"),
            ("1h30m", 5400, "1h30m"),
            ("2d", 172_800, "48h"),
            ("90m", 5400, "1h30m"),
        ] {
            let span: Span = text.parse().expect("a span");
            assert_eq!(span, Span::seconds(seconds), "{text}");
            assert_eq!(span.to_string(), shown);
        }
        assert_eq!("250ms".parse(), Ok(Span(Duration::from_millis(250))));
    }

    #[test]
    fn refuses_what_is_not_a_span() {
        for text in ["", "5", "s", "5x", "-5s", "5 s", "1.5h", "٣s"] {
            assert!(matches!(text.parse::<Span>(), Err(NotASpan::Malformed(_))), "{text}");
        }
        for text in ["30m1h", "1h1h"] {
            assert!(matches!(text.parse::<Span>(), Err(NotASpan::Order(_))), "{text}");
        }
        for text in ["99999999999999999999s", "18446744073709551615h"] {
            assert!(matches!(text.parse::<Span>(), Err(NotASpan::TooLong(_))), "{text}");
        }
    }

    #[test]
    fn json_round_trip() {
        let span: Span = serde_json::from_str("\"1h30m\"").expect("a span");
        assert_eq!(serde_json::to_string(&span).expect("text"), "\"1h30m\"");
        assert!(serde_json::from_str::<Span>("30").is_err());
    }
}
